-- A load that may kill itself. Run by spec/crash_spec.lua.
local crash = require "spec.crash.crash"

local options = {
  object = "Account", operation = "insert", part_bytes = tonumber(os.getenv "PART_BYTES"), jobs = tonumber(os.getenv "JOBS"),
  journal = os.getenv "JOURNAL", results = os.getenv "RESULTS", retry_failed = os.getenv "RETRY",
}
if os.getenv "ROWS" then
  local n = 0
  options.columns = { "Name", "Ext__c" }
  options.rows = function()
    n = n + 1
    if n == 20 then
      crash.at "spool"
    end
    return n <= tonumber(os.getenv "ROWS") and { Name = "Row " .. n, Ext__c = (os.getenv "PREFIX" or "E") .. n } or nil
  end
else
  options.file = os.getenv "FILE"
end
local report
if os.getenv "CANCEL" then
  local task = crash.client:spawn(crash.client.load, crash.client, options)
  function crash.cancel()
    task:cancel()
  end
  report = assert(task:result())
else
  report = assert(crash.client:load(options))
end
io.write(("%d %d %d %d\n"):format(report.records, report.processed, crash.requests, crash.lines))
