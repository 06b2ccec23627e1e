-- What spec/c/states.c runs in each state: begins whatever can be under way, and leaves it so.
local bulkjob = require "bulkjob"

local round = ...
local JOB, STALLED = os.getenv "JOB", os.getenv "STALLED"

local function new_client(url)
  return bulkjob.client {
    instance_url = url,
    access_token = os.getenv "SF_ACCESS_TOKEN",
    ca_file = os.getenv "SF_CA_FILE",
    timeout = 3600,
  }
end

local client = new_client(os.getenv "SF_INSTANCE_URL")
local moving = {} -- what has got as far as it should

-- A call that is not answered, and a task that waits for it.
local call = client:spawn(function()
  client:job(STALLED, "ingest"):info()
end)
client:spawn(call.result, call)

-- A task between two looks at its job.
client:spawn(function()
  client:job(JOB, "ingest"):wait {
    on_progress = function()
      moving.wait = true
    end,
  }
end)

-- Uploads of which the service takes no more.
client:spawn(function()
  client:job(JOB, "ingest"):upload(function()
    moving.upload = true
    return ("x"):rep(60000) .. "\n"
  end)
end)
client:spawn(function()
  client:job(JOB, "ingest"):upload("Name\n" .. ("x"):rep(300000))
end)

-- Downloads that are read in part, by a task and before it.
client:spawn(function()
  local set = client:job(JOB, "ingest"):failed_results()
  for _ = 1, 100 do
    set:next()
  end
  moving.download = true
  while true do
    coroutine.yield()
  end
end)
local left = client:job(JOB, "ingest"):failed_results()
left:next()

-- A name that is looked up for longer than this state lives.
local lost = new_client "https://slow.test"
lost:spawn(lost.limits, lost)
lost:poll(0)

while not (moving.wait and moving.upload and moving.download) do
  client:poll(0.05)
end
if round % 2 == 0 then
  client:close()
  lost:close()
end
