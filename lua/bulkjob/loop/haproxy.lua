--- Waits in HAProxy, in what may yield there: tasks, services and actions. As nginx it cannot watch a descriptor of ours, but its
--- sockets can connect to a path. As an ordinary user HAProxy may start no thread, and so no engine, unless its configuration has
--- `insecure-fork-wanted` in the section `global`.
local ours = require "bulkjob.core"
local unix_socket = require "bulkjob.loop.unix_socket"

local haproxy = {}

-- The longest that core.tcp can be told, in seconds. The engine keeps the time.
local NEVER = 2147483

-- The coroutine that connects: others wait until it has got its connection. Weak, as HAProxy collects, and never resumes, what
-- waits for a client that has gone.
local connecting = setmetatable({}, { __mode = "v" })

--- Is this HAProxy, in a coroutine of its own?
function haproxy.is_running()
  local host, _, is_main = ours.host "core", coroutine.running()
  return type(host) == "table" and host.register_service and not is_main
end

local function new_socket()
  local socket = core.tcp()
  socket:settimeout(NEVER)
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
  local socket, why = unix_socket.connect(waiting, new_socket, "unix@")
  connecting[1] = nil
  if not socket then
    return false, why
  end
  unix_socket.wait(waiting, socket)
end

return haproxy
