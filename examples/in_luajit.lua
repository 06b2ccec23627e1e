-- Loads rows that are C structs, made into Lua tables one at a time: luajit in_luajit.lua
local ffi = require "ffi"
local bulkjob = require "bulkjob"

ffi.cdef [[ typedef struct { int number; double revenue; } account; ]]

local COUNT = 1000
local accounts = ffi.new("account[?]", COUNT)
for i = 0, COUNT - 1 do
  accounts[i].number, accounts[i].revenue = i + 1, i * 0.25
end

local i = -1
local function next_row()
  i = i + 1
  if i < COUNT then
    return { Ext__c = "A-" .. accounts[i].number, Name = "Account " .. accounts[i].number, AnnualRevenue = accounts[i].revenue }
  end
end

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
}
local report, err = client:load {
  object = "Account", operation = "upsert", externalIdFieldName = "Ext__c",
  rows = next_row, columns = { "Ext__c", "Name", "AnnualRevenue" },
}
client:close()

if not report then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(report.processed - report.failed .. " rows stored, " .. report.failed .. " failed")
