--- Waits in a coroutine that libuv resumes: with luv, or in Neovim.
local yieldable = require "bulkjob.yieldable"

local luv = {}

local function neovim()
  return type(vim) == "table" and (vim.uv or vim.loop)
end

--- Is this a coroutine that the loop of libuv can go on without? luv knows only of the loops it runs itself, so a coroutine
--- that was started before `uv.run` has to be told (`loop = bulkjob.loop.luv`). Neovim's always runs.
function luv.is_running()
  local this, is_main = yieldable.running()
  local uv = package.loaded.luv
  return this and not is_main and (neovim() or uv and uv.loop_mode and uv.loop_mode()) and true
end

-- The descriptor tells the time, too: a timer of libuv that is over at once would keep its other timers waiting.
---@param waiting bulkjob.Waiting
function luv.wait(waiting)
  local uv = neovim() or require "luv"
  local this = yieldable.running()
  local poll = uv.new_poll(waiting:pollfd(true))
  poll:start("r", function()
    poll:close()
    if coroutine.status(this) == "dead" then -- closed in mid-wait; libuv needed the descriptor until now
      return waiting:close()
    end
    local ok, why = coroutine.resume(this)
    if not ok then
      error(debug.traceback(this, tostring(why)), 0)
    end
  end)
  coroutine.yield()
end

return luv
