--- Servers of other people as processes of a spec, on free ports of 127.0.0.1.
local helper = require "spec.helper"
local socket = require "socket"

local server = {}
server.__index = server

--- A port that is free now.
function server.free_port()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return port
end

local function listens(port)
  local connection = socket.connect("127.0.0.1", port)
  return connection and connection:close() and true
end

--- Starts a program that listens on the port, and waits until it does. What it says goes to a file.
---@param command string for the shell
---@param port integer
---@return table server to be stopped by `stop`
function server.start(command, port)
  local self = setmetatable({ port = port, log = os.tmpname() }, server)
  local pipe = assert(io.popen(("exec %s >%s 2>&1 </dev/null & echo $!"):format(command, self.log)))
  self.pid = tonumber(pipe:read "*l")
  pipe:close()
  helper.wait_until(function()
    return listens(port)
  end, function()
    local said = self:said()
    self:stop()
    return command .. " does not listen: " .. said
  end)
  return self
end

--- What it has said so far.
function server:said()
  return helper.content(self.log) or ""
end

--- Ends it, and waits until nobody listens on its port.
function server:stop()
  os.execute("kill " .. self.pid .. " 2>/dev/null")
  os.remove(self.log)
  helper.wait_until(function()
    return not listens(self.port)
  end, function()
    return "a server on port " .. self.port .. " does not end"
  end)
end

return server
