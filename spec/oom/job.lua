-- What oom_host runs: a job from create to results, the second half of it in tasks. Whatever cannot be had is said by an error.
local bulkjob = require "bulkjob"
arm()
local events = 0
local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  ca_file = os.getenv "SSL_CERT_FILE",
  retry = { tries = 2, base = 0.001 },
  on_event = function()
    events = events + 1
  end,
}
local job = assert(client:create { object = "Account", operation = "insert" })
assert(job:upload { rows = { { Name = "x", Ext__c = "1" }, { Name = "y" } } })
assert(job:close())
local done = client:spawn(function()
  return assert(job:wait())
end)
client:spawn(function()
  assert(done:result())
  for row in job:successful_results() do
    assert(row.Name)
  end
  assert(job:failed_results():read())
end)
assert(client:run())
assert(client:job(job.id):info())
assert(not client:job(job.id):abort())
client:jobs()()
client:close()
