--- Waits in a coroutine that libuv resumes: with luv, or in Neovim.
local core = require "bulkjob.core"
local yieldable = require "bulkjob.yieldable"

local luv = {}

local function neovim()
  local vim = core.host "vim"
  return type(vim) == "table" and (vim.uv or vim.loop)
end

--- Is this a coroutine that the loop of libuv can go on without? luv knows only of the loops it runs itself, so a coroutine
--- that was started before `uv.run` has to be told (`loop = bulkjob.loop.luv`). Neovim's always runs.
function luv.is_running()
  local this, is_main = yieldable.running()
  local uv = package.loaded.luv
  return this and not is_main and (neovim() or uv and uv.loop_mode and uv.loop_mode()) and true
end

-- Neovim's API cannot be called in a callback of its loop, so whoever waited goes on outside of it.
local function schedule(fn)
  local vim = core.host "vim"
  if type(vim) == "table" and vim.schedule then
    return vim.schedule(fn)
  end
  fn()
end

local RESUMED = "the coroutine waits for libuv's loop, and another one has resumed it. A generator that waits cannot be one of coroutines"

-- What the coroutine yields that waits. The loop takes no notice, and nor does whoever has just started the coroutine; but one that
-- takes it for a value, as from a generator of the user's, has to hear why there is none.
local function refuse()
  error("bulkjob: this is no value: the coroutine that yielded it waits for libuv's loop, which will resume it. A generator that waits "
    .. "cannot be one of coroutines; read in the coroutine that uses the values, or give the client loop = bulkjob.loop.block", 0)
end
local waits = setmetatable({}, { __index = refuse, __newindex = refuse, __call = refuse, __concat = refuse, __len = refuse })

-- What a coroutine yielded when the loop had resumed it: nobody is there to take it.
local function check_yield(this, ok, ...)
  if not ok then
    local debug = core.host "debug"
    local why = tostring((...))
    error(debug and debug.traceback(this, why) or why, 0)
  elseif coroutine.status(this) ~= "dead" and (...) ~= nil and (...) ~= waits then
    error("bulkjob: a coroutine yielded a value to libuv's loop, which had resumed it after a wait: nobody takes it there", 0)
  end
end

-- The descriptor tells the time, too: a timer of libuv that is over at once would keep its other timers waiting.
---@param waiting bulkjob.Waiting
---@return false|nil failed
---@return string|nil why
function luv.wait(waiting)
  local uv = neovim() or require "luv"
  local this, is_main = yieldable.running()
  if not this or is_main then
    return false, "loop = bulkjob.loop.luv goes with a coroutine, which libuv's loop resumes, and this is none"
  end
  local fd, why = waiting:pollfd(true)
  if not fd then
    return false, why
  end
  local poll = uv.new_poll(fd)
  local over = false
  local function go_on()
    if coroutine.status(this) == "dead" then -- closed in mid-wait; libuv needed the descriptor until now
      return waiting:close()
    end
    over = true
    check_yield(this, coroutine.resume(this))
  end
  poll:start("r", function()
    poll:close()
    schedule(go_on)
  end)
  coroutine.yield(waits)
  if not over then
    poll:close()
    return false, RESUMED
  end
end

return luv
