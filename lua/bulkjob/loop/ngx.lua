--- Waits in nginx: a cosocket gets a byte from the engine's thread, and the worker goes on with other requests. nginx cannot
--- watch a descriptor of ours, but it can connect to a path.
local unix_socket = require "bulkjob.loop.unix_socket"

-- A cosocket has to have a time-out, in milliseconds, and logs an error when it comes. So the engine keeps the time.
local NEVER = 2 ^ 31 - 1

-- ngx.sleep(0) is a line in the error log.
local SHORTEST = 0.001

local function new_socket()
  local socket = ngx.socket.tcp()
  socket:settimeouts(NEVER, NEVER, NEVER)
  return socket
end

---@param waiting bulkjob.Waiting
---@param pause boolean|nil
---@return false|nil failed
---@return string|nil why
return function(waiting, pause)
  if pause then
    return ngx.sleep(math.max(waiting:timeout(), SHORTEST))
  end
  local socket, why = unix_socket.connect(waiting, new_socket, "unix:")
  if not socket then
    return false, why
  end
  if not unix_socket.wait(waiting, socket) and ngx.worker.exiting() then
    return false, "nginx ends what its old worker still does (worker_shutdown_timeout)"
  end
end
