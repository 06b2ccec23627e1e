-- A whole load of a large file: how much memory it takes, and is every value of every record in the org afterwards?
--
--   tools/run-lua build/lua5.4 lua5.4 bench/load.lua [RECORDS]       10,000,000 records, 1 GB, if not said
--
-- The file has quoted line breaks. The load runs in a Lua process of its own, over HTTPS to a sandbox on this machine, with 4 jobs at a
-- time; its peak of resident memory, libraries included, has to stay below 32 MB. Then all records are read back by a query.
local core = require "bulkjob.core"
local status = require "bench.lib.status"

local LIMIT_MB = 32
local COLUMNS = { "Name", "Ext__c", "Notes__c" }

local function record(i)
  return ("Row %d"):format(i), ("E%d"):format(i), ("a \"note\"\nwith a break, and more of it behind that, to make it long, %d"):format(i)
end

local function peak_mb()
  return status "VmHWM" / 1024
end

local function new_client()
  return require("bulkjob").client {
    instance_url = os.getenv "SF_INSTANCE_URL", access_token = os.getenv "SF_ACCESS_TOKEN", ca_file = os.getenv "SF_CA_FILE",
    timeout = 600,
  }
end

local function load(path)
  local report = assert(new_client():load {
    object = "Account", operation = "insert", file = path, journal = path .. ".journal", jobs = 4,
  })
  print(("loaded %d records in %d jobs, %d failed, %.0f MB in %.0f s"):format(report.records, #report.jobs, report.failed,
    report.bytes / 1e6, report.seconds))
  print(("peak of resident memory: %.1f MB, limit %d"):format(peak_mb(), LIMIT_MB))
  os.exit(report.processed == report.records and report.failed == 0 and peak_mb() < LIMIT_MB)
end

-- The records come in any order. Each number has to come once: a byte for each says which did.
local function compare(records)
  local client = new_client()
  local query = assert(client:create { operation = "query", query = "SELECT " .. table.concat(COLUMNS, ", ") .. " FROM Account" })
  assert(query:wait())
  local seen, rows = {}, 0
  for row in query:results() do
    local i = tonumber(row.Ext__c:match "^E(%d+)$")
    local name, _, notes = record(i)
    assert(row.Name == name and row.Notes__c == notes, "record " .. i .. " came back otherwise")
    assert(not seen[i], "record " .. i .. " is there twice")
    seen[i] = true
    rows = rows + 1
  end
  print(("read back %d records, every value the same"):format(rows))
  os.exit(rows == records)
end

local function write_file(path, records)
  local file = assert(io.open(path, "wb"))
  file:write(table.concat(COLUMNS, ","), "\n")
  for i = 1, records do
    local name, ext, notes = record(i)
    file:write(name, ",", ext, ',"', notes:gsub('"', '""'), '"\n')
  end
  file:close()
end

local function run(records)
  local control = require "sandbox.control"
  local path = os.tmpname()
  write_file(path, records)
  local org = control.start { queue_seconds = 0, processing_seconds = 0 }
  local good = true
  for _, what in ipairs { "load", "compare" } do
    local began = core.now()
    local command = ("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN='%s' SF_CA_FILE=%s %s bench/load.lua %s %s"):format(
      org.tls_url, org.token, org.ca_file, os.getenv "LUA", what, what == "load" and path or records)
    local ok, _, code = os.execute(command)
    good = good and (ok == true or ok == 0) and (code or 0) == 0
    print(("  %s: %.0f s"):format(what, core.now() - began))
  end
  org:stop()
  os.remove(path)
  os.execute("rm -rf " .. path .. ".journal")
  os.exit(good)
end

if arg[1] == "load" then
  load(arg[2])
elseif arg[1] == "compare" then
  compare(tonumber(arg[2]))
else
  run(tonumber(arg[1]) or 10000000)
end
