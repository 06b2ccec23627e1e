-- Loads rows in a coroutine of cqueues, while another one goes on: lua5.4 in_cqueues.lua
local cqueues = require "cqueues"
local bulkjob = require "bulkjob"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
}

local controller = cqueues.new()
local report, err
controller:wrap(function()
  report, err = client:load {
    object = "Account", operation = "insert", rows = { { Name = "One" }, { Name = "Two" } },
  }
end)

-- Something else that the controller does.
local ticks = 0
controller:wrap(function()
  while not (report or err) do
    ticks = ticks + 1
    cqueues.sleep(0.001)
  end
end)
assert(controller:loop())
client:close()

if not report then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(report.processed - report.failed .. " rows stored, " .. report.failed .. " failed")
print(ticks > 1 and "the other coroutine went on" or "the other coroutine stood still")
