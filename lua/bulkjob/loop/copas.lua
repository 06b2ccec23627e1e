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
return function(waiting)
  require "copas".receive(setmetatable({ fd = waiting:pollfd(true) }, readable))
end
