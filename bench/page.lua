-- What does the local org's page cost, with 10,000 jobs, one of a million rows, a million records and a full log of requests?
--
--   make bench-large                    or: tools/run-lua build/lua5.4 lua5.4 bench/page.lua [CASE]
--
-- Each page is loaded again and again for three seconds, and meanwhile one kept connection asks for /limits as fast as it can. The figures
-- are the medians of three rounds. Ends non-zero when one does not hold.

local bulkjob = require "bulkjob"
local control = require "sandbox.control"
local core = require "bulkjob.core"
local figures = require "bench.lib.figures"
local socket = require "socket"

local JOBS, ROWS, LOGGED, SECONDS = 10000, 1000000, 100000, 3

local only = arg[1]
local org = control.start { https = false, slice_rows = 5000, processing_seconds = 0, log_size = LOGGED }

--- Asks for /limits on a kept connection until `enough` says so: the seconds that each took.
local function ask_limits(enough)
  local host, port = org.url:match "^http://(.*):(%d+)$"
  local connection = assert(socket.connect(host, tonumber(port)))
  connection:setoption("tcp-nodelay", true)
  local request = ("GET /services/data/v66.0/limits HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n"):format(host, org.token)
  local times = {}
  repeat
    local begun = core.now()
    assert(connection:send(request))
    local status, length = assert(connection:receive()), nil
    assert(status:find " 200 ", status)
    for line in function() return assert(connection:receive()) end do
      if line == "" then
        break
      end
      length = tonumber(line:lower():match "^content%-length: (%d+)$") or length
    end
    assert(connection:receive(length))
    times[#times + 1] = core.now() - begun
  until enough(#times)
  connection:close()
  return times
end

--- Loads a page again and again: the milliseconds of one load, and what a request for /limits takes meanwhile, 99 of 100 and the longest.
local function beside(path)
  local pipe
  if path then
    local url = org.control_url .. path
    pipe = assert(io.popen(("for i in $(seq 1000); do echo 'url = \"%s\"'; echo 'output = /dev/null'; done | "):format(url)
      .. ("timeout %d curl -s -H 'Accept: text/html' -w '%%{stderr}%%{http_code} %%{time_total}\\n' -K - 2>&1"):format(SECONDS)))
  end
  local over = core.now() + SECONDS
  local times = ask_limits(function()
    return core.now() >= over
  end)
  local loads = {}
  if pipe then
    for line in pipe:lines() do
      local status, seconds = line:match "^(%d+) (%d+%.%d+)$"
      if status then -- else the line that the end of the time has cut off
        assert(status == "200", line)
        loads[#loads + 1] = tonumber(seconds) * 1000
      end
    end
    pipe:close()
    assert(#loads > 0, "the page was never loaded whole")
  end
  local p99 = figures.quantile(times, 0.99) * 1000
  return path and figures.quantile(loads, 0.5) or p99, p99, times[#times] * 1000
end

local function rows()
  local n = 0
  return function()
    if n < ROWS then
      local lines = {}
      for i = 1, 10000 do
        lines[i] = ("Row %d,E%d"):format(n + i, n + i)
      end
      n = n + 10000
      return (n == 10000 and "Name,Ext__c\n" or "") .. table.concat(lines, "\n") .. "\n"
    end
  end
end

local function prepare()
  local client = bulkjob.client { instance_url = org.url, access_token = org.token }
  local begun = core.now()
  local job = assert(client:create { object = "Account", operation = "insert" })
  assert(job:upload(rows()))
  assert(job:close())
  assert(assert(job:wait()).numberRecordsProcessed == ROWS)
  local query = assert(client:create { operation = "query", query = "SELECT Id, Name FROM Account" })
  assert(assert(query:wait()).numberRecordsProcessed == ROWS)
  client:close()
  local loaded = core.now() - begun
  org:seed_jobs { count = JOBS, job = { state = "JobComplete" } }
  ask_limits(function(n)
    return n >= LOGGED
  end)
  print(("%d jobs, one of %d rows, and %d requests in the log, made in %.0f and %.0f s"):format(JOBS, ROWS, LOGGED, loaded,
    core.now() - begun - loaded))
  return job.id, query.id
end

local function case(name, path, most)
  return {
    name = name,
    figures = {
      { name = "a load of it", unit = "ms", most = most }, { name = "/limits meanwhile, 99 of 100", unit = "ms", most = 20 },
      { name = "/limits meanwhile, the longest", unit = "ms" },
    },
    run = function()
      return beside(path)
    end,
  }
end

local ok, good = pcall(function()
  local load, query = prepare()
  return figures.run({
    { name = "no page", figures = { { name = "/limits, 99 of 100", unit = "ms" } }, run = function() return (beside()) end },
    case("the list of jobs", "/", 50), case("its last page", "/?page=200", 50), case("the job of a million rows", "/jobs/" .. load, 50),
    case("the query of a million rows", "/jobs/" .. query, 50), case("the records", "/records", 100),
    case("the records, with a filter that looks through all", "/records?where=Name%3D%27Row%201000000%27", 5000),
    case("the settings", "/settings", 50), case("the faults", "/faults", 50),
  }, only)
end)
org:stop()
if not ok then
  error(good, 0)
end
os.exit(good)
