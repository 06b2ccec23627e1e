--- The command as a process, without a terminal and in a real one (tmux), for specs.
local helper = require "spec.helper"

local command = {}

--- The command line that runs it from the tree.
function command.line(arguments)
  return os.getenv "LUA" .. " bin/bulkjob " .. arguments
end

--- Runs it, behind `environment`, lines of shell. Answers its exit code, what it printed, and what it said on the standard error.
function command.run(directory, environment, arguments)
  local out, err = directory .. "/out", directory .. "/err"
  local pipe = assert(io.popen(environment .. command.line(arguments) .. " </dev/null >" .. out .. " 2>" .. err .. "; echo $?"))
  local status = tonumber(pipe:read "*a")
  pipe:close()
  return status, helper.content(out), helper.content(err)
end

local terminal = {}
local started = 0
terminal.__index = terminal

--- Starts it in a terminal of so many columns. After its end the terminal shows "status N". To be stopped by `stop`.
function command.start(directory, columns, environment, arguments)
  -- The server of the terminal before may still be about to end: a new one at its socket would end with it.
  started = started + 1
  local self = setmetatable({ socket = "bulkjob" .. directory:gsub("%W", "") .. "-" .. started }, terminal)
  local path = directory .. "/script"
  local script = assert(io.open(path, "w"))
  script:write(environment, "\nexport LUA_PATH='", os.getenv "LUA_PATH", "' LUA_CPATH='", os.getenv "LUA_CPATH", "'\n",
    "trap : INT\n", command.line(arguments), "\necho status $?\nsleep ", helper.NEVER_SECONDS, "\n")
  script:close()
  self:tmux(("-f /dev/null new-session -d -x %d -y 12 'sh %s'"):format(columns, path))
  return self
end

function terminal:tmux(arguments)
  local pipe = io.popen("tmux -L " .. self.socket .. " " .. arguments .. " 2>&1")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

function terminal:screen()
  return self:tmux "capture-pane -p"
end

function terminal:send(keys)
  self:tmux("send-keys " .. keys)
end

--- The screen as soon as it shows what the pattern means.
function terminal:wait_for(pattern)
  local text
  return helper.wait_until(function()
    text = self:screen()
    return text:find(pattern) and text
  end, function()
    return "not on the screen: " .. pattern .. "\n" .. text
  end)
end

function terminal:stop()
  self:tmux "kill-server"
end

return command
