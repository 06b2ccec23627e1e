-- How much memory large transfers take, and how fast they are beside the curl command on the same server.
--
--   make bench-large                    or: tools/run-lua build/lua5.4 lua5.4 bench/memory.lua [CASE]
--
-- Each transfer runs in a Lua process of its own, over HTTPS to a sandbox on this machine. "above start" is the peak of its resident
-- memory less what it was before `require "bulkjob"`, so the libraries (libcurl, OpenSSL: some 8 MB) count too. Ends non-zero when
-- a peak is 16 MB or more above start.
-- curl always sends a finished file, so beside rows and chunks it shows what making them in Lua costs.

local status = require "bench.lib.status"

local MB = 1e6
local UPLOAD_BYTES, RESULT_BYTES = 100 * MB, 300 * MB
local LIMIT_MB = 16
local RUNS = 2 -- of each; the peak is the highest, the time is the best

local LINE = ("Account %07d,A-%07d,The quick brown fox jumps over the lazy dog; and again it jumps over the lazy dog\n")
local HEADER = "Name,Ext__c,Description\n"

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

---- In the child: one transfer ----

local UPLOADS, DOWNLOADS = {}, {}

function UPLOADS.file(path)
  return { file = path }
end

function UPLOADS.rows()
  local n, bytes = 0, #HEADER
  return {
    columns = { "Name", "Ext__c", "Description" },
    rows = function()
      if bytes >= UPLOAD_BYTES then
        return nil
      end
      n = n + 1
      bytes = bytes + #LINE + 4
      return {
        Name = ("Account %07d"):format(n), Ext__c = ("A-%07d"):format(n),
        Description = "The quick brown fox jumps over the lazy dog; and again it jumps over the lazy dog",
      }
    end,
  }
end

function UPLOADS.chunks()
  local n, bytes = 0, 0
  return function()
    if bytes >= UPLOAD_BYTES then
      return nil
    end
    local lines = { bytes == 0 and HEADER or "" }
    for i = 2, 257 do
      n = n + 1
      lines[i] = LINE:format(n, n)
    end
    local chunk = table.concat(lines)
    bytes = bytes + #chunk
    return chunk
  end
end

function DOWNLOADS.rows(set, rows)
  local n, last = 0, nil
  for row in set:rows() do
    n, last = n + 1, row
  end
  assert(n == rows, n .. " rows came of " .. rows)
  assert(tonumber(last.Number) == rows)
end

function DOWNLOADS.save(set, _, path)
  assert(set:save(path))
  local file = assert(io.open(path, "rb"))
  assert(file:seek "end" == RESULT_BYTES)
  file:close()
end

-- CHILD what how url token ca_file job path rows compress
local function child(what, how, url, token, ca_file, id, path, rows, compress)
  local reset = assert(io.open("/proc/self/clear_refs", "w"))
  reset:write "5"
  reset:close()
  local start = status "VmRSS"
  local bulkjob = require "bulkjob"
  local core = require "bulkjob.core"
  local client = bulkjob.client { instance_url = url, access_token = token, ca_file = ca_file, compress = compress == "true" }
  local job = client:job(id, "ingest")
  local cpu, begun = os.clock(), core.now()
  if what == "upload" then
    assert(job:upload(UPLOADS[how](path)))
  else
    DOWNLOADS[how](job:failed_results(), tonumber(rows), path)
  end
  io.write(("%d %d %f %f\n"):format(start, status "VmHWM", core.now() - begun, os.clock() - cpu))
end

if arg[1] == "CHILD" then
  local unpack = table.unpack or unpack -- luacheck: ignore
  return child(unpack(arg, 2))
end

---- In the parent: all of them, and curl beside each ----

local bulkjob = require "bulkjob"
local control = require "sandbox.control"
local only = arg[1]

local org = control.start { discard = true }
local client = bulkjob.client { instance_url = org.tls_url, access_token = org.token, ca_file = org.ca_file }
local upload_path, result_path, out_path = os.tmpname(), os.tmpname(), os.tmpname()

local function new_job()
  return assert(client:create { object = "Account", operation = "insert" })
end

local function last_line(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text:match "([^\n]*)\n*$", text
end

local function run_ours(case, id, rows)
  local words = { os.getenv "LUA" or arg[-1], arg[0], "CHILD", case.what, case.how, org.tls_url, org.token, org.ca_file, id,
    case.what == "upload" and upload_path or result_path, rows, case.compress }
  for i = 1, #words do
    words[i] = quote(words[i])
  end
  local line, text = last_line(table.concat(words, " "))
  local start, peak, seconds, cpu = line:match "^(%d+) (%d+) (%S+) (%S+)$"
  if not start then
    error("the transfer failed: " .. text, 0)
  end
  return { above = (tonumber(peak) - tonumber(start)) * 1024 / MB, seconds = tonumber(seconds), cpu = tonumber(cpu) }
end

local function run_curl(case, id)
  local url = org.tls_url .. "/services/data/v66.0/jobs/ingest/" .. id
  local form = "%{http_code} %{time_total} %{size_upload}"
  local command = ("curl -sS --cacert %s -H %s -w %s"):format(quote(org.ca_file), quote("Authorization: Bearer " .. org.token), quote(form))
  if case.what == "upload" then
    command = command .. (" -T %s -H 'Content-Type: text/csv' -H Expect: -o /dev/null %s/batches"):format(quote(upload_path), url)
  else
    command = command .. (" %s -H 'Accept: text/csv' -o %s %s/failedResults"):format(
      case.compress and "--compressed" or "", case.how == "save" and quote(out_path) or "/dev/null", url)
  end
  local line, text = last_line(command)
  local code, seconds = line:match "^(%d+) (%S+)"
  if not code or not code:find "^2" then
    error("curl failed: " .. text, 0)
  end
  return tonumber(seconds)
end

local CASES = {
  { name = "upload: file", what = "upload", how = "file", compress = true },
  { name = "upload: iterator of rows", what = "upload", how = "rows", compress = true },
  { name = "upload: function of chunks", what = "upload", how = "chunks", compress = true },
  { name = "results: rows, gzip", what = "download", how = "rows", compress = true },
  { name = "results: rows, plain", what = "download", how = "rows", compress = false },
  { name = "results: save, gzip", what = "download", how = "save", compress = true },
  { name = "results: save, plain", what = "download", how = "save", compress = false },
}

local function run(case)
  local upload = case.what == "upload"
  local bytes = upload and UPLOAD_BYTES or RESULT_BYTES
  local rows, peak, cpu, seconds, curl = 0, 0, math.huge, math.huge, math.huge
  local used = {}
  local function job_for_one()
    if upload or #used == 0 then
      used[#used + 1] = new_job().id
      rows = upload and 0 or org:synthetic(used[1], "failed", bytes)
    end
    return used[#used]
  end
  for _ = 1, RUNS do
    curl = math.min(curl, run_curl(case, job_for_one()))
    local ours = run_ours(case, job_for_one(), rows)
    peak, cpu, seconds = math.max(peak, ours.above), math.min(cpu, ours.cpu), math.min(seconds, ours.seconds)
  end
  for _, id in ipairs(used) do
    assert(client:job(id, "ingest"):abort())
    assert(client:job(id, "ingest"):delete())
  end
  local good = peak < LIMIT_MB
  print(("%-27s %8.1f %8.0f %8.0f %8.2f %8.2f  %s"):format(case.name, peak, bytes / MB / seconds, bytes / MB / curl,
    curl / seconds, cpu, good and "" or "TOO MUCH"))
  return good
end

local function all()
  local file = assert(io.open(upload_path, "wb"))
  for chunk in UPLOADS.chunks() do
    file:write(chunk)
  end
  file:close()
  print(("%s: uploads of %d MB, results of %d MB, over HTTPS"):format(jit and jit.version or _VERSION, UPLOAD_BYTES / MB,
    RESULT_BYTES / MB))
  print(("%-27s %8s %8s %8s %8s %8s"):format("", "MB above", "MB/s", "MB/s", "speed /", "CPU"))
  print(("%-27s %8s %8s %8s %8s %8s"):format("", "start", "", "of curl", "curl's", "seconds"))
  local good = true
  for _, case in ipairs(CASES) do
    if not only or case.name:find(only, 1, true) then
      good = run(case) and good
    end
  end
  return good
end

local ok, good = pcall(all)
os.remove(upload_path)
os.remove(result_path)
os.remove(out_path)
org:stop()
if not ok then
  io.stderr:write(tostring(good), "\n")
elseif not good then
  io.stderr:write(("a peak is %d MB or more above start\n"):format(LIMIT_MB))
end
os.exit(ok and good and 0 or 1)
