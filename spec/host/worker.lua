-- Called in a thread of nginx's own, by ngx.run_worker_thread: what the org answers for its limits.
local worker = {}

function worker.limit(url, token, ca_file)
  local bulkjob = require "bulkjob"
  local client = bulkjob.client { instance_url = url, access_token = token, ca_file = ca_file }
  local limits, err = client:limits()
  client:close()
  return limits and limits.DailyApiRequests.Max or tostring(err)
end

function worker.keys()
  local k = {} for n, v in pairs(ngx) do k[#k+1]=n end
  return table.concat(k, " ") .. " PHASE " .. tostring(ngx.get_phase and ngx.get_phase())
end

return worker
