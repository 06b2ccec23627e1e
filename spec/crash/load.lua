-- A load that may kill itself. Run by spec/crash_spec.lua.
local crash = require "spec.crash.crash"

local options = {
  object = "Account", operation = "insert", part_bytes = tonumber(os.getenv "PART_BYTES"), jobs = tonumber(os.getenv "JOBS"),
  journal = os.getenv "JOURNAL", results = os.getenv "RESULTS",
}
if os.getenv "ROWS" then
  local n = 0
  options.columns = { "Name", "Ext__c" }
  options.rows = function()
    n = n + 1
    if n == 20 then
      crash.at "spool"
    end
    return n <= tonumber(os.getenv "ROWS") and { Name = "Row " .. n, Ext__c = "E" .. n } or nil
  end
else
  options.file = os.getenv "FILE"
end
local report = assert(crash.client:load(options))
io.write(("%d %d %d %d\n"):format(report.records, report.processed, crash.requests, crash.lines))
