-- Every allocation fails once, alone and with all that come after it: in the Lua state, and in the C core.
-- Prints `not ok …` for each run that crashed, leaked or hung, and last `N passed, N failed`. Run by `make oom`.
local core = require "bulkjob.core"
local helper = require "spec.helper"

local host, cpath = arg[1], arg[2]
local SETTINGS = { queue_seconds = 0, processing_seconds = 0, query_page_records = 2 }
-- How many allocations lie between two that fail. The extract shares most of its way with the job.
local SCRIPTS = { job = 1, extract = 17, tasks = 1 }
local org = helper.org(SETTINGS)
local directory = os.tmpname()
os.remove(directory)
assert(core.make_directory(directory))
local key_file, extract = directory .. "/key.pem", directory .. "/rows.csv"
helper.shell("openssl genrsa -out " .. key_file .. " 1024")

local function run(script, side, mode, n)
  os.execute("rm -rf " .. helper.quote(extract) .. "*")
  local command = table.concat({
    "SF_INSTANCE_URL=" .. org.tls_url, "SF_ACCESS_TOKEN='" .. org.token .. "'", "SSL_CERT_FILE=" .. org.ca_file,
    "KEY_FILE=" .. key_file, "EXTRACT=" .. extract,
    "LUA_CPATH='" .. cpath .. "'", "LSAN_OPTIONS=suppressions=tools/lsan.supp:print_suppressions=0",
    "timeout 300", host, "spec/oom/" .. script .. ".lua", side, mode, n, "2>&1; echo status $?",
  }, " ")
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- Now and then, so that the list of jobs stays short.
local function forget_jobs(n)
  if n % 50 == 0 then
    org:reset()
    org:set(SETTINGS)
  end
end

local passed, failed = 0, 0

local function sweep(script, step, side)
  local text = run(script, side, "once", 2 ^ 31)
  local total = tonumber(text:match "^(%d+) ok\n")
  if not total or total == 0 then
    print("not ok " .. script .. ", " .. side .. ", with memory enough: " .. text)
    failed = failed + 1
  end
  for _, mode in ipairs { "once", "always" } do
    print(("# %s, %s, %s: %d allocations"):format(script, side, mode, total or 0))
    io.stdout:flush()
    for n = 1, total or 0, step do
      forget_jobs(n)
      text = run(script, side, mode, n)
      if text:find "status 0\n$" then
        passed = passed + 1
      else
        failed = failed + 1
        print(("not ok %s, %s, %s, allocation %d of %d\n%s"):format(script, side, mode, n, total, text))
      end
    end
  end
end

for script, step in pairs(SCRIPTS) do
  sweep(script, step, "lua")
  sweep(script, step, "c")
end
org:stop()
os.execute("rm -rf '" .. directory .. "'")
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0)
