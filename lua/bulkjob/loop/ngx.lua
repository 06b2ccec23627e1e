--- Waits in nginx: a cosocket gets a byte from the engine's thread, and the worker goes on with other requests. nginx cannot
--- watch a descriptor of ours, but it can connect to a path.
local core = require "bulkjob.core"

-- A cosocket has to have a time-out, in milliseconds, and logs an error when it comes. So the engine keeps the time.
local NEVER = 2 ^ 31 - 1

---@param waiting bulkjob.Waiting
return function(waiting)
  local socket = ngx.socket.tcp()
  socket:settimeouts(NEVER, NEVER, NEVER)
  assert(socket:connect("unix:" .. core.wait_path()))
  waiting:wire()
  socket:receive(1)
  waiting:hang_up()
  socket:close()
end
