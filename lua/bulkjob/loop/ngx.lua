--- Waits in nginx: a cosocket gets a byte from the engine's thread, and the worker goes on with other requests. nginx cannot
--- watch a descriptor of ours, but it can connect to a path.
local core = require "bulkjob.core"

-- A cosocket has to have a time-out, in milliseconds, and logs an error when it comes. So the engine keeps the time.
local NEVER = 2 ^ 31 - 1

-- ngx.sleep(0) is a line in the error log.
local SHORTEST = 0.001

-- A cosocket to whose other end `waiting` is wired, or nil, why.
local function connect(waiting)
  local path, why = core.wait_path()
  if not path then
    return nil, why
  end
  local socket = ngx.socket.tcp()
  local ok
  socket:settimeouts(NEVER, NEVER, NEVER)
  ok, why = socket:connect("unix:" .. path)
  if not ok then
    return nil, why
  end
  ok, why = waiting:wire()
  if not ok then
    socket:close()
    return nil, why
  end
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
  local socket, why = connect(waiting)
  if not socket then
    return false, why
  end
  socket:receive(1)
  waiting:hang_up()
  socket:close()
end
