-- An extract that may kill itself. Run by spec/crash_spec.lua.
local crash = require "spec.crash.crash"

local report = assert(crash.client:extract {
  query = "SELECT Name, Ext__c FROM Account", file = os.getenv "FILE", journal = os.getenv "JOURNAL", pages = tonumber(os.getenv "PAGES"),
})
io.write(("%d %d %d %d\n"):format(report.rows, report.pages, crash.requests, crash.lines))
