-- Loads rows in a program that has a loop of its own, as small as can be: lua5.4 own_loop.lua
local bulkjob = require "bulkjob"
local socket = require "socket"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  loop = function(waiting)
    local fd, why = waiting:pollfd() -- may be another one each time; do not close it
    if not fd then
      return false, why -- no descriptor is left: the error of the call
    end
    coroutine.yield(fd, waiting:timeout()) -- to the loop below; nil: no limit
  end,
}

local report, err
local program = coroutine.create(function()
  report, err = client:load {
    object = "Account", operation = "insert", rows = { { Name = "One" }, { Name = "Two" } },
  }
end)

local turns = 0
while coroutine.status(program) ~= "dead" do
  local ok, fd, seconds = coroutine.resume(program)
  if not ok then
    error(fd)
  elseif fd then -- sleep until the descriptor is readable, or the time has passed
    socket.select({ { getfd = function() return fd end } }, nil, seconds)
  end
  turns = turns + 1
end
client:close()

if not report then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(report.processed - report.failed .. " rows stored, " .. report.failed .. " failed")
print(turns > 1 and "the loop went on" or "the loop stood still")
