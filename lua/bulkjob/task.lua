--- Tasks: coroutines in which every call lets the others run. Each client has a scheduler of its own; `client:poll` moves those of its
--- tasks that can move.
---
--- A hook of the host, such as one that ends a program that takes too long, may raise an error after any instruction here, and any
--- allocation may fail. No task is lost by that, as each fact stands in one place, is changed by one assignment, and is given up only
--- after what follows from it was done:
---
--- - a task belongs to the scheduler as long as it stands in `scheduler.tasks`: it is put there last when it is made, and removed
---   last when it has ended;
--- - it leaves the queue `ready` only after it was moved, news are dropped and timers taken off only after their task was woken, and
---   a task is woken before that is done for which it has to look;
--- - all else (`place`, `sleepers`, `count`, whether the client is idle) are hints, which are withdrawn before they could be wrong.
---
--- So what was broken off is done once more, and a task may be moved without need: each wait looks again whether it is over.
local core = require "bulkjob.core"
local heap = require "bulkjob.heap"
local loop = require "bulkjob.loop"
local queue = require "bulkjob.queue"
local raise = require "bulkjob.raise"
local yieldable = require "bulkjob.yieldable"

---@class bulkjob.ScheduledTask: bulkjob.Task every field is there from the start, so that setting one needs no memory
---@field package scheduler table
---@field package thread thread
---@field package number integer the tag of its news
---@field package place integer|false where it was put into the queue last
---@field package begun boolean it has run
---@field package waits_for table|false the call or pause it waits for
---@field package cancelling boolean its next wait is to be cancelled
---@field package timer table|false
---@field package joined table|false the tasks that wait for it
---@field package asked boolean somebody has asked for its result
---@field package ended boolean
---@field package results table|false what it returned, packed
---@field package raised any what it raised
---@field package why string|false why it was ended from outside
---@field package err bulkjob.Error|false
---@field package on_failure (fun(err: bulkjob.Error))|false called when it ends by an error, perhaps more than once
---@field package on_callback_error fun(why: any)|false gets what on_event raises in it, and the call goes on
local methods = {}

local task_meta = { __index = methods, __name = "bulkjob.task" }

local task = {}

local client_methods, idle, set_busy = core.client_methods, core.idle, core.set_busy

-- As many news, and as many timers, as are handed out at once.
local BATCH = 200

-- Seconds after which poll(0) returns, so that the host can draw its frame. What one task does between two waits comes on top.
local TIME_SLICE = 0.0003

local NOTHING = {} -- in place of what a task raised: nothing, or it is not known
local WAITS = {} -- what a task yields that waits for a call

local unpack = table.unpack or unpack -- luacheck: ignore

local function pack(...)
  return { n = select("#", ...), ... }
end

-- The tasks by their coroutines. Weak both ways: a task holds its coroutine, and where Lua has no ephemerons (5.1, LuaJIT) none
-- that a client left behind would ever be collected. A task is held by its scheduler.
local by_thread = setmetatable({}, { __mode = "kv" })

--- The task that calls this, or nil. A coroutine that a task has made itself is none.
---@return bulkjob.Task|nil
function task.running()
  local thread = yieldable.running()
  return thread and by_thread[thread]
end

local function find_scheduler(client)
  return core.client_option(client, "tasks")
end

local function get_scheduler(client)
  local scheduler = find_scheduler(client)
  if not scheduler then
    local channel = core.channel()
    scheduler = {
      client = client,
      channel = channel,
      next_news = channel:news(),
      tasks = {}, -- by number, those that have not ended
      last_number = 0,
      count = false, -- how many that are, if that is known
      ready = queue.new(), -- those that can move
      timers = {}, -- a heap of { at =, task = }
      failed = queue.new(), -- tasks that raised, and nobody has asked for their result
      slice_ends = 0, -- when the task at hand should let the others run
      sleepers = setmetatable({}, { __mode = "v" }), -- who sleeps in poll: see `poll`
    }
    core.set_tasks(client, scheduler, channel)
  end
  return scheduler
end

local function belongs(self)
  return self.scheduler.tasks[self.number] == self
end

local function is_ready(self)
  return self.place and queue.holds(self.scheduler.ready, self.place, self)
end

-- A poll that sleeps has to look.
local function wake_poll(scheduler)
  set_busy(scheduler.client)
  if scheduler.sleepers[1] then
    scheduler.channel:wake()
  end
end

--- The task can move.
---@param self bulkjob.Task
function task.wake(self)
  if belongs(self) and not is_ready(self) then
    wake_poll(self.scheduler)
    self.place = queue.put(self.scheduler.ready, self)
  end
end

local wake = task.wake

--- Wakes the task that waits for this call, which somebody else is about to end.
function task.wake_waiter(this)
  for _, self in pairs(by_thread) do
    if self.waits_for == this then
      wake(self)
    end
  end
end

local function start_timer(self, at)
  self.timer = { at = at, task = self }
  set_busy(self.scheduler.client)
  heap.push(self.scheduler.timers, self.timer)
end

-- The first timer that still counts: a task that was woken by something else has another by now.
local function first_timer(scheduler)
  local timers = scheduler.timers
  while timers[1] and timers[1].task.timer ~= timers[1] do
    heap.drop_first(timers)
  end
  return timers[1]
end

--- Waits, in a task, until the call or pause may have something new.
---@param this { timeout: function, watch: function, cancel: function }
function task.wait(this)
  local self = task.running()
  if self.cancelling then
    self.cancelling = false
    this:cancel()
    return
  end
  local seconds = this:timeout()
  if seconds then
    start_timer(self, core.now() + seconds)
  end
  this:watch(self.scheduler.channel, self.number)
  self.waits_for = this
  coroutine.yield(WAITS)
  self.waits_for = false
  self.timer = false
end

-- Waiting for a condition has this of a call. There is nothing to watch.
local condition_wait = {}
condition_wait.__index = condition_wait

function condition_wait:timeout()
  return self.patience
end
function condition_wait.watch() end
function condition_wait:cancel()
  self.cancelled = true
end

--- Waits, in a task, for a condition (a table that tasks wait on): until task.signal, or for no reason. False when the wait was
--- cancelled.
---@param condition table
---@param patience number|nil seconds after which the wait is over in any case, for where the task that is to signal may be gone
---@return boolean
function task.wait_condition(condition, patience)
  local this = setmetatable({ patience = patience }, condition_wait)
  condition[#condition + 1] = task.running()
  task.wait(this)
  return not this.cancelled
end

--- Wakes all that wait for the condition.
function task.signal(condition)
  for i = 1, #condition do
    wake(condition[i])
  end
  for i = #condition, 1, -1 do
    condition[i] = nil
  end
end

--- Lets the others run if this task has used up its time slice.
function task.yield()
  local self = task.running()
  if self and core.now() >= self.scheduler.slice_ends then
    coroutine.yield()
  end
end

-- What a task raised, as an error with the traceback of the task.
local function as_error(thread, value)
  local debug = core.host "debug" -- a sandbox may have none
  local text = tostring(value)
  local trace = debug and debug.traceback(thread, text) or text
  if core.is_error(value) then
    value.traceback = trace
    return value
  end
  return core.error("task", text, { traceback = trace, raised = type(value) ~= "string" and value or nil })
end

-- What ended the task in place of a return.
local function error_of(self)
  if not self.err then
    if self.why then
      self.err = core.error("cancelled", self.why)
    elseif self.raised == NOTHING then
      self.err = core.error("task", "the error that the task raised was lost, as another one came from outside, such as from a hook")
    else
      self.err = as_error(self.thread, self.raised)
    end
  end
  return self.err
end

-- The task has ended. Can be called again when it was broken off.
local function finish(self)
  local scheduler = self.scheduler
  self.ended = true
  set_busy(scheduler.client)
  if self.joined then
    task.signal(self.joined)
  end
  if self.on_failure and not self.results then
    self.asked = true
    self.on_failure(error_of(self))
  elseif not (self.results or self.joined or self.why) then
    queue.put(scheduler.failed, self)
  end
  scheduler.count = false
  by_thread[self.thread] = nil
  scheduler.tasks[self.number] = nil
end

-- Ends a task from outside.
local function drop(self, why)
  self.why = why
  finish(self)
end

-- A yield of the user's own lets the others run, too.
local function note(self, good, what)
  if not good then
    self.raised = raise.caught(what)
  elseif what ~= WAITS and coroutine.status(self.thread) ~= "dead" then
    wake(self)
  end
end

-- Hands out the news and the timers whose time has come.
local function gather(scheduler)
  local n = 0
  for number in scheduler.next_news do
    local self = scheduler.tasks[number]
    if self and self.waits_for then
      wake(self)
    end
    n = n + 1
    if n >= BATCH then
      break
    end
  end
  if scheduler.timers[1] then
    local now = core.now()
    for _ = 1, BATCH do
      local timer = first_timer(scheduler)
      if not timer or timer.at > now then
        break
      end
      wake(timer.task)
      timer.task.timer = false -- so it is dropped
    end
  end
end

-- The task that is being moved, perhaps none: see client:poll. Where a loop of the host resumes, too, one may be moved inside another.
local moved = false

-- Moves a task that stands in the queue. False if it cannot be moved now: this is inside of it.
local function move(self)
  local status = coroutine.status(self.thread)
  if not belongs(self) then
    return true
  elseif status == "suspended" and not self.ended then
    local outer = moved
    moved = self
    self.place = false -- whoever wakes it from now on puts it into the queue again
    note(self, coroutine.resume(self.thread))
    moved = outer
  elseif status ~= "suspended" and status ~= "dead" then
    return false
  end
  if self.ended or coroutine.status(self.thread) == "dead" then
    finish(self)
  end
  return true
end

-- Moves the tasks that can move, until the time slice is over. True if one did.
local function run_ready(scheduler)
  local ready = scheduler.ready
  gather(scheduler)
  local self, place = queue.first(ready)
  if not self then
    return false
  end
  local ends = core.now() + TIME_SLICE
  scheduler.slice_ends = ends
  local any = false
  repeat
    if move(self) then
      any = true
      queue.remove(ready, place)
    end
    self, place = queue.first(ready, place + 1)
    if not self then
      gather(scheduler)
      self, place = queue.first(ready, place)
    end
  until not self or core.now() >= ends
  return any
end

-- The error of the first task that raised, if nobody has asked for its result.
local function first_failure(scheduler)
  local failed, place = queue.first(scheduler.failed)
  while failed do
    local told = failed.asked
    failed.asked = true
    queue.remove(scheduler.failed, place)
    if not told then
      return error_of(failed)
    end
    failed, place = queue.first(scheduler.failed)
  end
end

-- What the coroutine of a task runs. What it returns is kept before the coroutine ends.
local function body(self, fn, args)
  return function()
    local given = args
    self.begun, args = true, nil
    self.results = pack(fn(unpack(given, 1, given.n)))
  end
end

--- Starts a task with the next poll: `fn(...)` in a coroutine in which every call lets other tasks run.
---@param fn fun(...): ...
---@return bulkjob.Task
function client_methods:spawn(fn, ...)
  if type(fn) ~= "function" then
    error("bulkjob: spawn: a function expected, got " .. type(fn), 2)
  end
  local scheduler = get_scheduler(self)
  local number = scheduler.last_number + 1
  scheduler.last_number = number
  local this = setmetatable({
    scheduler = scheduler, number = number, place = false, begun = false, waits_for = false, cancelling = false, timer = false,
    joined = false, asked = false, ended = false, results = false, raised = NOTHING, why = false, err = false,
    on_failure = false, on_callback_error = false,
  }, task_meta)
  this.thread = coroutine.create(body(this, fn, pack(...)))
  by_thread[this.thread] = this
  wake_poll(scheduler)
  this.place = queue.put(scheduler.ready, this)
  scheduler.count = false
  scheduler.tasks[number] = this
  return this
end

local MAIN = {} -- the main program, where Lua 5.1 gives it no coroutine

local function is_dead(who)
  return who ~= MAIN and coroutine.status(who) == "dead"
end

-- Does another coroutine sleep in a poll of this client?
local function is_polled(scheduler, me)
  local sleeper = scheduler.sleepers[1]
  if not sleeper or sleeper.by == me or is_dead(sleeper.by) then
    return false
  end
  sleeper = nil -- luacheck: ignore
  collectgarbage() -- one that an error has thrown out of its poll is held no more
  return scheduler.sleepers[1] ~= nil
end

-- Whoever polls must not be a task, and must be the only one to do so.
local function check_caller(scheduler, name)
  local me = yieldable.running() or MAIN
  if by_thread[me] then
    error("bulkjob: " .. name .. ": called in a task; a task waits by its calls, and for other tasks by their result()", 3)
  elseif is_polled(scheduler, me) then
    error("bulkjob: " .. name .. ": another coroutine polls this client already", 3)
  end
  return me
end

-- Seconds until a poll has something to do even without news, nil: no such moment.
local function time_left(scheduler)
  if queue.first(scheduler.ready) then
    return 0
  end
  local timer = first_timer(scheduler)
  return timer and math.max(0, timer.at - core.now())
end

-- How many tasks have not ended.
local function count_tasks(scheduler)
  if not scheduler.count then
    local n = 0
    for _ in pairs(scheduler.tasks) do
      n = n + 1
    end
    scheduler.count = n
  end
  return scheduler.count
end

-- Sleeps until a task can move, or until `till`.
local function sleep(scheduler, me, till)
  scheduler.channel:set_deadline(till)
  local way = loop.choose(core.client_option(scheduler.client, "loop"))
  local sleeper = { by = me } -- held by this function alone
  scheduler.sleepers[1] = sleeper
  set_busy(scheduler.client)
  local problem = loop.wait(way, scheduler.channel)
  if scheduler.sleepers[1] == sleeper then
    scheduler.sleepers[1] = nil
  end
  return problem
end

-- Moves what can move; waits until something can, but not beyond `till`. Where tasks can always move, the host's loop has its turn
-- all the same.
local function poll(scheduler, me, till)
  repeat
    local any = run_ready(scheduler)
    local now = core.now()
    if next(scheduler.tasks) == nil or (any and not loop.is_due()) or (not any and till and now >= till) then
      return
    end
    local left = any and 0 or time_left(scheduler)
    local at = left and now + left
    local problem = sleep(scheduler, me, at and till and math.min(at, till) or at or till)
    if problem and not any then
      raise.error(problem)
    end
  until any
end

--- Moves every task on that can move. Waits until one can, at most `seconds` (nil: no limit); `poll(0)` never waits, and gives
--- back after a fraction of a millisecond.
---@param seconds number|nil
---@return integer left how many tasks are not done
---@return bulkjob.Error|nil err what a task raised whose result nobody has asked for
function client_methods:poll(seconds)
  -- Nothing to do, the most frequent answer, with as few looks as it takes: between two frames all of it leaves the cache.
  local left = seconds == 0 and not (moved and task.running()) and idle(self)
  if left then
    return left
  end
  local scheduler = find_scheduler(self)
  if seconds ~= 0 and seconds ~= nil and type(seconds) ~= "number" then
    error("bulkjob: poll: a number of seconds expected, got " .. type(seconds), 2)
  elseif not scheduler then
    return 0
  end
  local me = check_caller(scheduler, "poll")
  if seconds == 0 then
    run_ready(scheduler)
    if not (queue.first(scheduler.ready) or scheduler.timers[1] or queue.first(scheduler.failed)) then
      core.set_idle(self, count_tasks(scheduler))
    end
  else
    poll(scheduler, me, seconds and core.now() + seconds)
  end
  return count_tasks(scheduler), first_failure(scheduler)
end

--- Polls until no task is left.
---@return true|nil ok
---@return bulkjob.Error|nil err the first thing a task raised whose result nobody has asked for
function client_methods:run()
  local scheduler = find_scheduler(self)
  if not scheduler then
    return true
  end
  local me = check_caller(scheduler, "run")
  while next(scheduler.tasks) ~= nil do
    poll(scheduler, me)
  end
  local err = first_failure(scheduler)
  scheduler.failed = queue.new() -- the others are told to nobody
  if err then
    return nil, err
  end
  return true
end

--- For loops of other kinds: a descriptor that is readable when `poll(0)` has something to do.
---@return integer
function client_methods:pollfd()
  return get_scheduler(self).channel:pollfd()
end

--- What to watch the descriptor for.
---@return "r"
function client_methods:events()
  return get_scheduler(self).channel:events()
end

--- Seconds after which `poll(0)` has something to do even if the descriptor is not readable; nil: no such moment.
---@return number|nil
function client_methods:timeout()
  return time_left(get_scheduler(self))
end

--- Is it over?
---@return boolean
function methods:done()
  return self.ended
end

local function wait_for(self)
  local waiter = task.running()
  if waiter == self then
    error("bulkjob: result: a task cannot wait for itself", 3)
  elseif not waiter then
    local me = check_caller(self.scheduler, "result")
    while not self.ended do
      poll(self.scheduler, me)
    end
    return true
  end
  self.joined = self.joined or {}
  while not self.ended do
    if not task.wait_condition(self.joined) then
      return false
    end
  end
  return true
end

--- What the task returned. Waits until it is done: other tasks run meanwhile.
---@return ... `nil, err` if the task raised or was cancelled; err.traceback says where it raised, err.raised what if that is
---  no string
function methods:result()
  self.asked = true
  if not wait_for(self) then
    return nil, core.error("cancelled", "the wait for a task was cancelled")
  elseif not self.results then
    return nil, error_of(self)
  end
  return unpack(self.results, 1, self.results.n)
end

--- Ends what the task waits for: that call returns `nil, err` with the kind "cancelled", as the next one does that would wait if
--- it waits for none now. What the task does then, such as rolling a job back, is not cancelled. One that has not begun never
--- runs. False if it was done already.
---@return boolean
function methods:cancel()
  if self.ended then
    return false
  elseif not self.begun then
    drop(self, "the task was cancelled before it began")
  elseif self.waits_for then
    wake(self)
    self.waits_for:cancel()
  else
    self.cancelling = true
  end
  return true
end

function task_meta:__tostring()
  return "bulkjob.task " .. self.number .. (self.ended and (self.results and " (done)" or " (failed)") or "")
end

local close = client_methods.close

--- Ends what is under way, calls and tasks. Twice is harmless.
function client_methods:close()
  local scheduler = find_scheduler(self)
  local this = task.running()
  local tasks = scheduler and scheduler.tasks or {}
  for _, other in pairs(tasks) do
    wake(other)
  end
  close(self)
  for _, other in pairs(tasks) do
    if other ~= this then
      drop(other, "the client was closed")
      if is_ready(other) then -- nobody polls any more: the queue would keep it, and all that its coroutine holds
        queue.remove(scheduler.ready, other.place)
      end
      if coroutine.close and coroutine.status(other.thread) == "suspended" then -- luacheck: ignore
        coroutine.close(other.thread) -- luacheck: ignore
      end
    end
  end
end

core.client_meta.__close = client_methods.close

return task
