--- A pool of workers: tasks that work on one load or extract. The first error ends them all.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local job = require "bulkjob.job"
local task = require "bulkjob.task"
local yieldable = require "bulkjob.yieldable"

---@class bulkjob.WorkerPool
---@field err bulkjob.Error|nil the first error, with what failed after it in err.also
local methods = {}
local pool_meta = { __index = methods }

local worker_pool = {}

-- Seconds between two calls of on_progress.
local PROGRESS_SECONDS = 0.2

--- A pool without workers.
---@param options { client: bulkjob.Client, on_progress: fun(progress: table)|nil, progress: (fun(): table),
---  may_cancel: (fun(worker: table): boolean), wake: fun()|nil } `wake`: for workers that wait for each other
---@return bulkjob.WorkerPool
function worker_pool.new(options)
  return setmetatable({ options = options, workers = {} }, pool_meta)
end

--- Ends what the workers do, but the one that calls this, and those that may not be cancelled now.
---@param err bulkjob.Error
function methods:stop(err)
  if self.err then
    if self.err ~= err and err.kind ~= "cancelled" then
      job.add_also(self.err, err)
    end
    return
  end
  self.err = err
  local me = task.running()
  for _, worker in ipairs(self.workers) do
    if worker.task ~= me and self.options.may_cancel(worker) then
      worker.task:cancel()
    end
  end
end

local function report_progress(self)
  local options = self.options
  repeat
    options.on_progress(options.progress())
  until not call.sleep(options.client, PROGRESS_SECONDS) or self.over
  options.on_progress(options.progress())
end

-- Starts a task whose error, or that of a callback of the user's in it, ends all of them at once.
local function spawn(self, fn, ...)
  local this = self.options.client:spawn(fn, ...)
  local function fail(err)
    self:stop(core.is_error(err) and err or core.error("task", tostring(err)))
    if self.options.wake then
      self.options.wake()
    end
  end
  this.on_failure = function(err)
    if err and not (self.over and err.kind == "cancelled") then
      fail(err)
    end
  end
  this.on_callback_error = fail
  return this
end

-- Waits until a task is done, also when whoever waits is cancelled: that ends them all, but it does not end the wait.
local function join(self, this)
  repeat
    local _, err = this:result()
    if err and not this:done() then
      self.cancelled = true
      self:stop(err)
    end
  until this:done()
end

--- Runs `count` workers to their end. Each is a table of its own, given to `work`, with the worker's task in it.
---@param count integer
---@param work fun(worker: table)
function methods:run(count, work)
  for i = 1, count do
    local worker = {}
    worker.task = spawn(self, work, worker)
    self.workers[i] = worker
  end
  self.reporter = self.options.on_progress and spawn(self, report_progress, self)
  self:wait()
end

--- Waits until all workers are at their end.
function methods:wait()
  for _, worker in ipairs(self.workers) do
    join(self, worker.task)
  end
  self.over = true
  if self.reporter then
    self.reporter:cancel()
    join(self, self.reporter)
  end
end

--- Makes the pool as it was before its workers, who are at their end by `err`, which there is another way around. False when that is
--- not all that has ended them.
---@param err bulkjob.Error
---@return boolean
function methods:take_back(err)
  if self.err ~= err or err.also or self.cancelled then
    return false
  end
  self.err, self.over, self.workers, self.reporter = nil, nil, {}, nil
  return true
end

-- An error that came from outside, such as an interrupt: the workers come to their end before it goes on.
local function stop_from_outside(self, err)
  self:stop(core.is_error(err) and err or core.error("cancelled", tostring(err)))
  self:wait()
end

--- Calls `fn(state)`, which answers a result or nil, err, and then `clean_up(state, err)`, also after an error that was raised.
---@param fn fun(state: table): any, bulkjob.Error|nil
---@param state table
---@param clean_up fun(state: table, err: any)
---@return any result, bulkjob.Error|nil err
function methods:run_whole(fn, state, clean_up)
  local good, result, err = yieldable.pcall(fn, state)
  if not good then
    yieldable.pcall(stop_from_outside, self, result)
    err = result
  end
  yieldable.pcall(clean_up, state, err)
  if not good and not core.is_error(err) then
    error(err, 0)
  elseif not good then
    return nil, err
  end
  return result, err
end

return worker_pool
