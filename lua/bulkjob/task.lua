--- Tasks: coroutines in which every call lets the others run. Each client has a board of its own; `client:poll` moves the tasks
--- on it that can move.
local core = require "bulkjob.core"
local heap = require "bulkjob.heap"
local loop = require "bulkjob.loop"
local yieldable = require "bulkjob.yieldable"

---@class bulkjob.Task
---@field package board table
---@field package thread thread
---@field package number integer the tag of its news
---@field package waits_for table|nil the call or pause it waits for
---@field package ended boolean|nil
---@field package results table|nil what it returned, packed
---@field package err bulkjob.Error|nil what ended it in place of a return
---@field package at_end fun(err: bulkjob.Error|nil)|nil called at its end
---@field package at_trouble fun(why: any)|nil gets what on_event raises in it, and the call goes on
local methods = {}

local task_meta = { __index = methods, __name = "bulkjob.task" }

local task = {}

local client_methods, idle, set_busy = core.client_methods, core.idle, core.set_busy

-- As much news, and as many alarms, as are handed out at once.
local HANDFUL = 200

-- Seconds after which a turn of poll gives the host its frame back. What one task does between two waits comes on top.
local TURN = 0.0003

local unpack = table.unpack or unpack -- luacheck: ignore

local function pack(...)
  return { n = select("#", ...), ... }
end

-- The tasks by their coroutines. Weak both ways: a task holds its coroutine, and where Lua has no ephemerons (5.1, LuaJIT) none
-- that a client left behind would ever be collected. A task that can go on is held by its board.
local tasks = setmetatable({}, { __mode = "kv" })

--- The task that calls this, or nil. A coroutine that a task has made itself is none.
---@return bulkjob.Task|nil
function task.running()
  local thread = yieldable.running()
  return thread and tasks[thread]
end

local function find_board(client)
  return core.client_option(client, "tasks")
end

local function get_board(client)
  local board = find_board(client)
  if not board then
    local channel = core.channel()
    board = {
      client = client,
      channel = channel,
      next_news = channel:news(),
      by_number = {},
      last_number = 0,
      count = 0,
      first = nil, -- of those that can move, linked by `after`
      last = nil,
      alarms = {}, -- a heap of { at =, task = }
      failed = {}, -- errors of tasks that nobody has asked for their result
      turn_ends = 0, -- when the task at hand should let the others run
      asleep = false, -- somebody waits on the channel
    }
    core.set_tasks(client, board, channel)
  end
  return board
end

--- The task can move.
---@param self bulkjob.Task
function task.wake(self)
  if self.queued or self.ended then
    return
  end
  self.queued = true
  self.after = nil
  local board = self.board
  if board.last then
    board.last.after = self
  else
    board.first = self
  end
  board.last = self
  set_busy(board.client)
  if board.asleep then
    board.channel:ring()
  end
end

local wake = task.wake

--- Wakes the task that waits for this call, which somebody else has ended.
function task.wake_waiter(this)
  for _, self in pairs(tasks) do
    if self.waits_for == this then
      wake(self)
    end
  end
end

local function set_alarm(self, at)
  self.alarm = { at = at, task = self }
  heap.push(self.board.alarms, self.alarm)
  set_busy(self.board.client)
end

-- The first alarm that still counts: a task that was woken by something else has another by now.
local function first_alarm(board)
  local alarms = board.alarms
  while alarms[1] and alarms[1].task.alarm ~= alarms[1] do
    heap.drop_first(alarms)
  end
  return alarms[1]
end

--- Waits, in a task, until the call or pause may have something new.
---@param this { timeout: function, watch: function, cancel: function }
function task.wait(this)
  local self = task.running()
  if self.cancelling then
    self.cancelling = nil
    this:cancel()
    return
  end
  local seconds = this:timeout()
  if seconds then
    set_alarm(self, core.now() + seconds)
  end
  this:watch(self.board.channel, self.number)
  self.waits_for = this
  coroutine.yield()
  self.waits_for = nil
  self.alarm = nil
end

-- What waits at a gate has nothing to watch.
local signal = {}
signal.__index = signal

function signal.timeout() end
function signal.watch() end
function signal:cancel()
  self.cancelled = true
end

--- Waits, in a task, until somebody opens the gate, which is a table for that. False when the wait was cancelled.
---@return boolean
function task.wait_at(gate)
  local this = setmetatable({}, signal)
  gate[#gate + 1] = task.running()
  task.wait(this)
  return not this.cancelled
end

--- Wakes all that wait at the gate.
function task.open(gate)
  for i = 1, #gate do
    wake(gate[i])
    gate[i] = nil
  end
end

--- Lets the others run if this task has had its turn.
function task.breathe()
  local self = task.running()
  if self and core.now() >= self.board.turn_ends then
    wake(self)
    coroutine.yield()
  end
end

-- Takes the task off its board, before anything that may want memory.
local function finish(self)
  local board = self.board
  self.ended = true
  board.by_number[self.number] = nil
  board.count = board.count - 1
  tasks[self.thread] = nil
  if self.joined then
    task.open(self.joined)
  end
end

local function tell_end(self)
  if self.at_end then
    self.at_end(self.err)
  end
end

local function cancelled(self, message)
  finish(self)
  self.err = core.error("cancelled", message)
  tell_end(self)
end

-- What a task raised, as an error with the traceback of the task.
local function as_error(thread, value)
  local trace = debug.traceback(thread, tostring(value))
  if core.is_error(value) then
    value.traceback = trace
    return value
  end
  return core.error("task", tostring(value), { traceback = trace })
end

local function resumed(self, good, ...)
  if coroutine.status(self.thread) ~= "dead" then
    -- A yield of the user's own lets the others run, too.
    if not self.waits_for then
      wake(self)
    end
    return
  end
  finish(self)
  if good then
    self.results = pack(...)
    return
  end
  self.err = as_error(self.thread, ...)
  if self.at_end then
    self.asked = true
  elseif not self.joined then
    table.insert(self.board.failed, self)
    set_busy(self.board.client)
  end
  tell_end(self)
end

local function hand_out(board, number)
  local self = board.by_number[number]
  if self and self.waits_for then
    wake(self)
  end
end

-- Hands out the news, and rings the alarms whose time has come.
local function gather(board)
  for _ = 1, HANDFUL do
    local number = board.next_news()
    if not number then
      break
    end
    hand_out(board, number)
  end
  if board.alarms[1] then
    local now = core.now()
    for _ = 1, HANDFUL do
      local alarm = first_alarm(board)
      if not alarm or alarm.at > now then
        break
      end
      heap.drop_first(board.alarms)
      alarm.task.alarm = nil
      wake(alarm.task)
    end
  end
end

local function take_first(board)
  local self = board.first
  board.first = self.after
  if not board.first then
    board.last = nil
  end
  self.queued = nil
  return self
end

-- How many tasks are inside a resume: where a loop of the host resumes, too, others may run meanwhile.
local moving = 0

local function resume(self)
  local args = self.args
  self.args = nil
  moving = moving + 1
  if args then
    resumed(self, coroutine.resume(self.thread, unpack(args, 1, args.n)))
  else
    resumed(self, coroutine.resume(self.thread))
  end
  moving = moving - 1
end

-- Moves the tasks that can move, until the turn is over. True if one did.
local function take_turn(board)
  gather(board)
  if not board.first then
    return false
  end
  local ends = core.now() + TURN
  board.turn_ends = ends
  repeat
    local self = take_first(board)
    if not self:done() then
      resume(self)
    end
    if not board.first then
      gather(board)
    end
  until not board.first or core.now() >= ends
  return true
end

local function first_failure(board)
  while board.failed[1] do
    local failed = table.remove(board.failed, 1)
    if not failed.asked then
      return failed.err
    end
  end
end

-- What the coroutine of a task begins with: in Lua 5.1 that has to be a Lua function.
local function begin(fn, ...)
  return fn(...)
end

--- Starts a task with the next poll: `fn(...)` in a coroutine in which every call lets other tasks run.
---@param fn fun(...): ...
---@return bulkjob.Task
function client_methods:spawn(fn, ...)
  if type(fn) ~= "function" then
    error("bulkjob: spawn: a function expected, got " .. type(fn), 2)
  end
  local board = get_board(self)
  local number = board.last_number + 1
  local this = setmetatable({
    board = board,
    number = number,
    thread = coroutine.create(begin),
    args = pack(fn, ...),
  }, task_meta)
  board.by_number[number] = this
  board.last_number = number
  board.count = board.count + 1
  tasks[this.thread] = this
  wake(this)
  return this
end

local MAIN = {} -- the main program, where Lua 5.1 gives it no coroutine

-- Who polls must be nobody's task, and the only one to do so.
local function check_caller(board, name)
  local me = yieldable.running() or MAIN
  local other = board.polled_by
  if tasks[me] then
    error("bulkjob: " .. name .. ": called in a task; a task waits by its calls, and for other tasks by their result()", 3)
  elseif board.asleep and other ~= me and (other == MAIN or coroutine.status(other) ~= "dead") then
    error("bulkjob: " .. name .. ": another coroutine polls this client already", 3)
  end
  board.polled_by = me
end

-- Seconds until a poll has something to do even without news, nil: no such moment.
local function time_left(board)
  if board.first then
    return 0
  end
  local alarm = first_alarm(board)
  return alarm and math.max(0, alarm.at - core.now())
end

-- Moves what can move; waits until something can, but not beyond `till`. Where tasks can always move, the host's loop has its turn
-- all the same.
local function poll(board, till)
  repeat
    local moved = take_turn(board)
    local now = core.now()
    if board.count == 0 or (moved and not loop.is_due()) or (not moved and till and now >= till) then
      return
    end
    local left = moved and 0 or time_left(board)
    local at = left and now + left
    board.channel:till(at and till and math.min(at, till) or at or till)
    local way = loop.choose(core.client_option(board.client, "loop"))
    board.asleep = true
    set_busy(board.client)
    local problem = loop.wait(way, board.channel)
    board.asleep = false
    if problem and not moved then
      error(problem, 0)
    end
  until moved
end

--- Moves every task on that can move. Waits until one can, at most `seconds` (nil: no limit); `poll(0)` never waits, and gives
--- back after a fraction of a millisecond.
---@param seconds number|nil
---@return integer left how many tasks are not done
---@return bulkjob.Error|nil err what a task raised whose result nobody has asked for
function client_methods:poll(seconds)
  -- Nothing to do, the most frequent answer, with as few looks as it takes: between two frames all of it leaves the cache.
  local left = seconds == 0 and moving == 0 and idle(self)
  if left then
    return left
  end
  local board = find_board(self)
  if seconds ~= 0 and seconds ~= nil and type(seconds) ~= "number" then
    error("bulkjob: poll: a number of seconds expected, got " .. type(seconds), 2)
  elseif not board then
    return 0
  end
  check_caller(board, "poll")
  if seconds == 0 then
    take_turn(board)
    if not (board.first or board.alarms[1] or board.failed[1]) then
      core.set_idle(self, board.count)
    end
  else
    poll(board, seconds and core.now() + seconds)
  end
  return board.count, board.failed[1] and first_failure(board)
end

--- Polls until no task is left.
---@return true|nil ok
---@return bulkjob.Error|nil err the first thing a task raised whose result nobody has asked for
function client_methods:run()
  local board = find_board(self)
  if not board then
    return true
  end
  check_caller(board, "run")
  while board.count > 0 do
    poll(board)
  end
  local err = first_failure(board)
  board.failed = {}
  if err then
    return nil, err
  end
  return true
end

--- For loops of other kinds: a descriptor that is readable when `poll(0)` has something to do.
---@return integer
function client_methods:pollfd()
  return get_board(self).channel:pollfd()
end

--- What to watch the descriptor for.
---@return "r"
function client_methods:events()
  return get_board(self).channel:events()
end

--- Seconds after which `poll(0)` has something to do even if the descriptor is not readable; nil: no such moment.
---@return number|nil
function client_methods:timeout()
  return time_left(get_board(self))
end

--- Is it over?
---@return boolean
function methods:done()
  return self.ended == true
end

local function wait_for(self)
  local waiter = task.running()
  if waiter == self then
    error("bulkjob: result: a task cannot wait for itself", 3)
  elseif not waiter then
    check_caller(self.board, "result")
    while not self:done() do
      poll(self.board)
    end
    return true
  end
  self.joined = self.joined or {}
  while not self:done() do
    if not task.wait_at(self.joined) then
      return false
    end
  end
  return true
end

--- What the task returned. Waits until it is done: other tasks run meanwhile.
---@return ... `nil, err` if the task raised or was cancelled; err.traceback says where it raised
function methods:result()
  self.asked = true
  if not wait_for(self) then
    return nil, core.error("cancelled", "the wait for a task was cancelled")
  elseif not self.results then
    return nil, self.err or core.error("task", "what the task returned was lost: not enough memory")
  end
  return unpack(self.results, 1, self.results.n)
end

--- Ends what the task waits for: that call returns `nil, err` with the kind "cancelled", as the next one does that would wait if
--- it waits for none now. What the task does then, such as rolling a job back, is not cancelled. One that has not begun never
--- runs. False if it was done already.
---@return boolean
function methods:cancel()
  if self:done() then
    return false
  elseif self.args then
    cancelled(self, "the task was cancelled before it began")
  elseif self.waits_for then
    self.waits_for:cancel()
    wake(self)
  else
    self.cancelling = true
  end
  return true
end

function task_meta:__tostring()
  return "bulkjob.task " .. self.number .. (self.err and " (failed)" or self.ended and " (done)" or "")
end

-- Drops the tasks of a client that was closed.
local function drop_tasks(client)
  local board = core.client_option(client, "tasks")
  local this = task.running()
  for _, other in pairs(board and board.by_number or {}) do
    if other ~= this then
      cancelled(other, "the client was closed")
      if coroutine.close and coroutine.status(other.thread) == "suspended" then -- luacheck: ignore
        coroutine.close(other.thread) -- luacheck: ignore
      end
    end
  end
end

local close = client_methods.close

--- Ends what is under way, calls and tasks. Twice is harmless.
function client_methods:close()
  close(self)
  drop_tasks(self)
end

core.client_meta.__close = client_methods.close

return task
