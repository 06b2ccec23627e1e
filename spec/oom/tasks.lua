-- What oom_host runs: tasks, while memory is short and after that. None of them is left, whatever could not be had.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"

local HANG_SECONDS = 20

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  ca_file = os.getenv "SSL_CERT_FILE",
  retry = { tries = 2, base = 0.001 },
}
assert(client:limits())
local tasks = {}
arm()
pcall(function()
  for i = 1, 3 do
    tasks[i] = client:spawn(function()
      assert(client:limits())
      coroutine.yield()
      return i > 1 and tasks[i - 1]:result()
    end)
  end
  client:poll(0)
  return client:run()
end)
disarm()
local till = core.now() + HANG_SECONDS
local left
repeat
  left = client:poll(0.1)
until left == 0 or core.now() > till
for i, task in pairs(tasks) do
  if not task:done() then
    print("task " .. i .. " is left for ever, of " .. left)
    os.exit(1)
  end
end
client:close()
