--- For hosts that cannot watch a descriptor of ours, but can connect to a path: their own socket gets a byte from the engine's
--- thread.
local core = require "bulkjob.core"

local unix_socket = {}

--- A socket of the host to whose other end `waiting` is connected. Nobody else may connect until this is back.
---@param waiting bulkjob.Waiting
---@param new_socket fun(): table a socket whose time-outs are set
---@param scheme string what the host puts before the path of a unix socket
---@return table|nil socket
---@return string|nil why
function unix_socket.connect(waiting, new_socket, scheme)
  local path, why = core.wait_path()
  if not path then
    return nil, why
  end
  local socket = new_socket()
  local ok
  ok, why = socket:connect(scheme .. path)
  if ok then
    ok, why = waiting:connect()
  end
  if not ok then
    socket:close()
    return nil, why
  end
  return socket
end

--- Waits for the byte on a connected socket, and ends the connection.
---@return string|nil byte nil when the host has ended the connection before
function unix_socket.wait(waiting, socket)
  local byte = socket:receive(1)
  waiting:disconnect()
  socket:close()
  return byte
end

return unix_socket
