-- load.lua: each row of accounts.csv arrives once, also when this is stopped and started again.
local bulkjob = require "bulkjob"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN", -- or auth = bulkjob.auth.jwt { … }
}

local report, err = client:load {
  object = "Account", operation = "upsert", externalIdFieldName = "Ext__c",
  file = "accounts.csv",
  journal = "accounts.run", -- a directory that remembers what was done
  results = "results", -- a directory for successful.csv, failed.csv and unprocessed.csv
}

if not report then
  io.stderr:write(tostring(err), "\n")
  for _, job in ipairs(err.jobs or {}) do -- what was sent before the error
    io.stderr:write("job ", job.id, ": ", job.state or "state unknown", "\n")
  end
  os.exit(3)
end

print(("%d rows: %d stored, %d failed, %d not processed"):format(
  report.records, report.processed - report.failed, report.failed, report.unprocessed))
for _, reason in ipairs(report.errors or {}) do
  print(("%d times %s: %s"):format(reason.count, reason.code or "?", reason.message))
end
os.exit(report.processed - report.failed == report.records and 0 or 1)
