--- Waits in HAProxy, in what may yield there: tasks, services and actions. As nginx it cannot watch a descriptor of ours, but its
--- sockets can connect to a path.
local bulkjob_core = require "bulkjob.core"

local haproxy = {}

-- The longest that core.tcp can be told, in seconds. The engine keeps the time.
local NEVER = 2147483

-- The coroutine that connects: others wait until it has got its connection. Weak, as HAProxy collects, and never resumes, what
-- waits for a client that has gone.
local connecting = setmetatable({}, { __mode = "v" })

--- Is this HAProxy, in a coroutine of its own?
function haproxy.is_running()
  local _, is_main = coroutine.running()
  return type(core) == "table" and core.register_service and not is_main
end

-- A socket to whose other end `waiting` is wired, or nil, why.
local function connect(waiting)
  local path, why = bulkjob_core.wait_path()
  if not path then
    return nil, why
  end
  local socket = core.tcp()
  socket:settimeout(NEVER)
  local ok
  ok, why = socket:connect("unix@" .. path)
  if ok then
    ok, why = waiting:wire()
  end
  if not ok then
    socket:close()
    return nil, why
  end
  return socket
end

---@param waiting bulkjob.Waiting
---@return false|nil failed
---@return string|nil why
function haproxy.wait(waiting)
  while connecting[1] do
    core.msleep(1)
  end
  connecting[1] = coroutine.running()
  local socket, why = connect(waiting)
  connecting[1] = nil
  if not socket then
    return false, why
  end
  socket:receive(1)
  waiting:hang_up()
  socket:close()
end

return haproxy
