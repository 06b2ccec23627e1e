-- Loads rows in a coroutine of luv, while the loop goes on: lua5.4 in_luv.lua
local uv = require "luv"
local bulkjob = require "bulkjob"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  loop = bulkjob.loop.luv, -- has to be said, since the coroutine starts before uv.run
}

-- Something else that the loop does.
local ticks, timer = 0, uv.new_timer()
timer:start(0, 1, function()
  ticks = ticks + 1
end)

local report, err
coroutine.wrap(function()
  report, err = client:load {
    object = "Account", operation = "insert", rows = { { Name = "One" }, { Name = "Two" } },
  }
  timer:close()
end)()
uv.run()
client:close()

if not report then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(report.processed - report.failed .. " rows stored, " .. report.failed .. " failed")
print(ticks > 1 and "the timer went on" or "the timer stood still")
