-- Loads rows in a thread of copas, while the loop goes on: lua5.1 in_copas.lua
local copas = require "copas"
local bulkjob = require "bulkjob"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  loop = bulkjob.loop.copas, -- has to be said: copas 1 does not tell that it runs
}

local report, err
copas.addthread(function()
  report, err = client:load {
    object = "Account", operation = "insert", rows = { { Name = "One" }, { Name = "Two" } },
  }
end)

-- The loop, in which other threads have their turn, too.
local steps = 0
repeat
  copas.step(0.1)
  steps = steps + 1
until report or err
client:close()

if not report then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(report.processed - report.failed .. " rows stored, " .. report.failed .. " failed")
print(steps > 1 and "the loop went on" or "the loop stood still")
