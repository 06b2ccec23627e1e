-- The service of haproxy.cfg. While it waits for the org, HAProxy serves other connections.
local bulkjob = require "bulkjob"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
}

local function load_accounts(csv)
  local job, err = client:create { object = "Account", operation = "insert", data = csv } -- at most 100,000 characters
  local info
  if job then
    info, err = job:wait()
  end
  if not info then
    core.log(core.err, tostring(err))
    return 502, err.code or err.kind
  end
  local failed = info.numberRecordsFailed
  return 200, info.numberRecordsProcessed - failed .. " rows stored, " .. failed .. " failed"
end

core.register_service("load_accounts", "http", function(applet)
  local status, text = load_accounts(applet:receive())
  applet:set_status(status)
  applet:start_response()
  applet:send(text .. "\n")
end)
