-- A whole extract of a large result, and a walk over it: how much memory, how fast, and is every byte right?
--
--   tools/run-lua build/lua5.4 lua5.4 bench/extract.lua [ROWS]       20,000,000 rows of 100 bytes, 2 GB, if not said
--
-- Over HTTPS from a sandbox on this machine, in pages of 50,000 rows, with one page request in a hundred failing at random. The extract
-- and the walk (over half of the rows) run each in a Lua process of its own; its peak of resident memory, libraries included, has to
-- stay below 24 MB. Beside it curl fetches the same pages to files, one after the other and without faults: the time of the extract is
-- given as a ratio to that.
local core = require "bulkjob.core"
local status = require "bench.lib.status"

local LIMIT_MB = 24
local PAGE_ROWS, ROW_BYTES = 50000, 100
local FAULTS = { { reset = "after" }, { status = 503 }, { cut = 1000000 }, { gzip_cut = 10000 } }

local function peak_mb()
  return status "VmHWM" / 1024
end

local function new_client()
  return require("bulkjob").client {
    instance_url = os.getenv "SF_INSTANCE_URL", access_token = os.getenv "SF_ACCESS_TOKEN", ca_file = os.getenv "SF_CA_FILE",
    retry = { base = 0.01, cap = 0.1, tries = 8 }, timeout = 600,
  }
end

local function finish(good)
  local peak = peak_mb()
  print(("  peak of resident memory: %.1f MB, limit %d"):format(peak, LIMIT_MB))
  os.exit(good and peak < LIMIT_MB)
end

local actions = {}

function actions.extract(path)
  local waited, began = 0, core.now()
  local report = assert(new_client():extract {
    query = "SELECT Id FROM Account", file = path, journal = path .. ".journal",
    on_progress = function(progress)
      if not progress.total_rows then
        waited = core.now() - began
      end
    end,
  })
  local seconds = report.seconds - waited
  print(("extract: %d rows, %d pages, %.0f MB in %.1f s, %.0f MB/s"):format(report.rows, report.pages, report.bytes / 1e6, seconds,
    report.bytes / 1e6 / seconds))
  local file = assert(io.open(path .. ".seconds", "w"))
  file:write(report.job.id, " ", seconds)
  file:close()
  finish(true)
end

function actions.walk(id, rows)
  local began = core.now()
  local count = 0
  for row in new_client():job(id, "query"):results():rows() do
    count = count + 1
    assert(tonumber(row.Number) == count)
    if count == tonumber(rows) then
      break
    end
  end
  local seconds = core.now() - began
  print(("walk: %d rows in %.1f s, %.0f rows/s"):format(count, seconds, count / seconds))
  finish(count == tonumber(rows))
end

local function run_in_process(org, ...)
  local ok, _, code = os.execute(("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN='%s' SF_CA_FILE=%s %s bench/extract.lua %s"):format(org.tls_url,
    org.token, org.ca_file, os.getenv "LUA", table.concat({ ... }, " ")))
  return (code or ok) == 0
end

-- The time of curl for the same pages.
local function time_curl(org, id, rows, path)
  local base = ("%s/services/data/v66.0/jobs/query/%s/results"):format(org.tls_url, id)
  local urls = {}
  local client = require("bulkjob").client { instance_url = org.tls_url, access_token = org.token, ca_file = org.ca_file }
  for set in assert(client:job(id, "query"):pages()) do
    urls[#urls + 1] = ('url = "%s?locator=%s"\noutput = "%s.curl-%d"'):format(base, set.locator, path, #urls)
  end
  assert(#urls == math.ceil(rows / PAGE_ROWS))
  local config = assert(io.open(path .. ".curl", "w"))
  config:write(('header = "Authorization: Bearer %s"\nheader = "Accept: text/csv"\ncompressed\ncacert = "%s"\nsilent\n'):format(org.token,
    org.ca_file), table.concat(urls, "\n"), "\n")
  config:close()
  local began = core.now()
  assert(os.execute(("curl -K %s.curl"):format(path)))
  return core.now() - began
end

local function main(rows)
  local control = require "sandbox.control"
  local path = os.tmpname()
  local org = control.start {
    queue_seconds = 0, processing_seconds = 0, query_rows = rows, query_row_bytes = ROW_BYTES, query_page_records = PAGE_ROWS,
  }
  for i, fault in ipairs(FAULTS) do
    fault.path, fault.count, fault.chance, fault.seed = "/results?", -1, 0.0025, i
    org:fault(fault)
  end
  local good = run_in_process(org, "extract", path)
  local file = assert(io.open(path .. ".seconds"))
  local id, seconds = file:read "*a":match "^(%S+) (%S+)$"
  file:close()
  local failed = 0
  for _, request in ipairs(org:requests { path = "/results?" }) do
    failed = failed + (request.fault and 1 or 0)
  end
  print(("  %d page requests failed"):format(failed))
  local digest = assert(io.popen("sha256sum " .. path))
  local same = digest:read("*a"):match "^%x+" == org:digest(id).sha256
  digest:close()
  print("  every byte as the sandbox has it: " .. tostring(same))
  org:clear_faults()
  local curl = time_curl(org, id, rows, path)
  print(("  %.2f of the time of curl, which took %.1f s"):format(tonumber(seconds) / curl, curl))
  good = run_in_process(org, "walk", id, math.floor(rows / 2)) and good and same
  org:stop()
  os.execute("rm -rf " .. path .. "*")
  os.exit(good)
end

local action = actions[arg[1]]
if action then
  action(arg[2], arg[3])
else
  main(tonumber(arg[1]) or 20000000)
end
