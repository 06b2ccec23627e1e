--- Waits in a thread of copas, whose loop goes on with its others. Copas 1 has no timers, so the descriptor tells the time too.

-- What copas asks of a socket that it reads from. The first read finds nothing, and copas watches the descriptor.
local readable = {}
readable.__index = readable

function readable:getfd() return self.fd end
function readable:dirty() return false end
function readable:close() end
function readable:receive()
  if self.watched then
    return true
  end
  self.watched = true
  return nil, "timeout"
end

---@param waiting bulkjob.Waiting
---@return false|nil failed
---@return string|nil why
return function(waiting)
  local fd, why = waiting:pollfd(true)
  local most = require "socket"._SETSIZE
  if not fd then
    return false, why
  elseif most and fd >= most then
    -- LuaSocket would refuse it too, but inside of copas, and that would end the loop of all threads.
    return false, ("copas cannot watch descriptor %d, as the select of LuaSocket takes those below %d"):format(fd, most)
  end
  -- With `waiting` in it, so that the descriptor stays open for as long as copas has it, even if the coroutine is closed.
  require "copas".receive(setmetatable({ fd = fd, waiting = waiting }, readable))
end
