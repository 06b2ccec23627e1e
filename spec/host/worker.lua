-- Called in a thread of nginx's own, by ngx.run_worker_thread: what the org answers for its limits.
local worker = {}

function worker.limit(url, token, ca_file)
  local bulkjob = require "bulkjob"
  local client = bulkjob.client { instance_url = url, access_token = token, ca_file = ca_file }
  local limits, err = client:limits()
  client:close()
  return limits and limits.DailyApiRequests.Max or tostring(err)
end

return worker
