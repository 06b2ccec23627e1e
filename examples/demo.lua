-- Loads 10,000 accounts into a local org, reads them back, compares every value; then takes a job back before it runs.
-- Run it with `make demo`. Against a real org only the options of `bulkjob.client` would differ.

package.path = './?.lua;' .. package.path
local accounts = require 'examples.accounts'
local bulkjob = require 'bulkjob'
local sandbox = require 'sandbox.control'

local COUNT = 10000

-- A local org: nginx on 127.0.0.1 with a certificate authority of its own. It takes its time, so that there is something to see.
local org = sandbox.start { processing_seconds = 1.5 }
print('local org      ' .. org.tls_url)

local client = bulkjob.client {
  instance_url = org.tls_url,
  access_token = org.token,
  ca_file = org.ca_file,
}

-- 1. A CSV file, with all that makes CSV awkward.
local path = os.tmpname()
local rows = {}
for i = 1, COUNT do
  rows[i] = accounts.row(i)
end
local file <close> = assert(io.open(path, 'wb'))
file:write(assert(bulkjob.csv.encode(rows, accounts.columns)))
file:close()
print(('file           %s, %d accounts'):format(path, COUNT))

-- 2. Load it. A bulk job is a transaction: nothing is processed before close.
local function load_file()
  local job <close> = assert(client:create { object = 'Account', operation = 'upsert', externalIdFieldName = 'Ext__c' })
  print('create         ' .. tostring(job))
  assert(job:upload { file = path })
  local info = assert(job:close())
  print('close          ' .. info.state)
  info = assert(job:wait {
    on_progress = function(now)
      io.write(('\rwait           %-15s %6d rows   '):format(now.state, now.numberRecordsProcessed or 0))
      io.flush()
    end,
  })
  print(('\nprocessed      %d, failed %d'):format(info.numberRecordsProcessed, info.numberRecordsFailed))
  local created = 0
  for row in job:successful_results() do
    created = created + (row.sf__Created == 'true' and 1 or 0)
  end
  for row in job:failed_results() do
    print('refused        ' .. row.Ext__c .. ': ' .. row.sf__Error)
  end
  print('created        ' .. created)
end

-- 3. Read it back, and compare every value.
local function compare()
  local query = assert(client:create {
    operation = 'query',
    query = 'SELECT ' .. table.concat(accounts.columns, ', ') .. ' FROM Account ORDER BY Ext__c',
  })
  assert(query:wait())
  local seen, different = 0, 0
  for row in query:results { max_records = 2500 } do
    seen = seen + 1
    local sent = accounts.row(seen)
    for _, column in ipairs(accounts.columns) do
      local value = sent[column] == nil and '' or tostring(sent[column])
      if row[column] ~= value then
        different = different + 1
        print(('different      account %d, %s: sent %q, got %q'):format(seen, column, value, row[column]))
      end
    end
  end
  print(('read back      %d accounts, %d values compared, %d different'):format(seen, seen * #accounts.columns, different))
  return seen == COUNT and different == 0
end

-- 4. A job that is taken back: uploaded, and then somebody changes their mind.
local function take_back()
  local job <close> = assert(client:create { object = 'Account', operation = 'insert' })
  assert(job:upload 'Name\nNever to be seen\n')
  local info = assert(job:abort())
  print(('abort          %s is %s'):format(info.id, info.state))
  local query = assert(client:create {
    operation = 'query',
    query = "SELECT Id FROM Account WHERE Name = 'Never to be seen'",
  })
  assert(query:wait())
  local found = query:results()() ~= nil
  print('its row        ' .. (found and 'IS THERE' or 'is not there'))
  return not found
end

local ok, good = xpcall(function()
  load_file()
  local same = compare()
  return take_back() and same
end, debug.traceback)
client:close()
org:stop()
os.remove(path)
if not ok then
  io.stderr:write(good, '\n')
end
print((ok and good) and 'all as it should be' or 'NOT as it should be')
os.exit(ok and good and 0 or 1, true)
