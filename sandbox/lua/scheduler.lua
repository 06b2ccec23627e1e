--- Moves jobs on as time passes. One long-lived timer serves all jobs: each job with something to do has one entry in a heap, and its
-- work is a coroutine that yields the seconds until it wants to go on.

local clock = require "clock"
local Heap = require "heap"
local semaphore = require "ngx.semaphore"
local plain_coroutine = require "plain_coroutine"

local M = {}

local heap = Heap.new()
local wake = semaphore.new(0)

local BURST = 0.004 -- seconds of work before requests get their turn
local ROUNDS = 1000 -- of the loop in one timer, since a timer frees its memory only at its end

local function resume(entry)
  local job = entry.job
  if job.ticket ~= entry then
    return -- the job was aborted, deleted or sent elsewhere meanwhile
  end
  local ok, delay = plain_coroutine.resume(entry.work)
  if not ok then
    ngx.log(ngx.ERR, "job ", job.id, ": ", delay, "\n", debug.traceback(entry.work))
    job.ticket = nil
  elseif plain_coroutine.status(entry.work) == "dead" or job.ticket ~= entry then
    if job.ticket == entry then
      job.ticket = nil
    end
  else
    entry.due = clock.now() + (delay or 0)
    heap:push(entry)
  end
end

--- Give a job something to do, in so many seconds. What it had to do before is forgotten.
function M.start(job, work, delay)
  local entry = { due = clock.now() + (delay or 0), job = job, work = plain_coroutine.create(work) }
  job.ticket = entry
  heap:push(entry)
  if heap:peek() == entry then
    wake:post(1)
  end
end

--- Go on at once with what a job is waiting to do.
function M.poke(job)
  local entry = job.ticket
  if entry then
    job.ticket = { due = clock.now(), job = job, work = entry.work }
    heap:push(job.ticket)
    wake:post(1)
  end
end

--- The job has nothing to do any more.
function M.cancel(job)
  job.ticket = nil
end

local function loop(premature)
  if premature then
    return
  end
  for _ = 1, ROUNDS do
    local began = clock.now()
    local top = heap:peek()
    while top and top.due <= clock.now() do
      resume(heap:pop())
      if clock.now() - began > BURST then
        ngx.sleep(0.001) -- ngx.sleep(0) writes a warning to the log
        began = clock.now()
      end
      top = heap:peek()
    end
    wake:wait(top and math.max(top.due - clock.now(), 0.001) or 60)
  end
  ngx.timer.at(0, loop)
end

function M.run()
  ngx.timer.at(0, loop)
end

return M
