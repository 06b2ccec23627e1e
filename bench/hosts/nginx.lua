-- What an nginx worker feels of the jobs that run in it.
--
--   make bench-hosts              or: tools/run-lua build/lua5.4 lua5.4 bench/hosts/nginx.lua [CHECK]
--
-- Workers with jobs are compared with an idle one, everything on this machine; the two are measured in turns, a second each, so that
-- what else the machine does hits both. Each figure is the median of three rounds.
-- The probe is one kept connection that asks for a trivial location every 2 ms. CPU is that of all threads of the worker if nothing
-- else is said, in percent of a core. Ends non-zero when a figure does not hold. Needs wrk.

local bulkjob = require "bulkjob"
local cjson = require "cjson"
local control = require "sandbox.control"
local lfs = require "lfs"
local nginx = require "spec.nginx"
local socket = require "socket"

local ROUNDS = 3
local UPLOAD_BYTES, RESULT_BYTES = 200 * 1000 * 1000, 20 * 1000 * 1000
local PROBE = "build/plain/probe"

local only = arg[1]
local org, backend, upload_path
local all_hold = true

---- Measuring ----

local function output(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- Microseconds: the median, the 99th percentile, the longest.
local function probe(server, path, seconds, interval_ms)
  local text = output(("%s %d %s %g %g"):format(PROBE, server.port, path, seconds, interval_ms))
  local p50, p99, max = text:match "^%d+ (%S+) (%S+) (%S+)\n$"
  assert(p50, text)
  return { p50 = tonumber(p50), p99 = tonumber(p99), max = tonumber(max) }
end

local function requests_per_second(server)
  local text = output(("wrk -t 1 -c 2 -d 1 http://127.0.0.1:%d/trivial"):format(server.port))
  return assert(tonumber(text:match "Requests/sec:%s+(%S+)"), text)
end

-- Seconds on a CPU, of one thread or (without `thread`) of all that there are.
local function cpu_seconds(pid, thread)
  local ns = 0
  for name in lfs.dir(("/proc/%d/task"):format(pid)) do
    if name:find "^%d+$" and (not thread or tonumber(name) == thread) then
      local file = assert(io.open(("/proc/%d/task/%s/schedstat"):format(pid, name)))
      ns = ns + file:read "*n"
      file:close()
    end
  end
  return ns / 1e9
end

local function cpu_percent(pid, seconds, thread)
  local begun, before = socket.gettime(), cpu_seconds(pid, thread)
  socket.sleep(seconds)
  return 100 * (cpu_seconds(pid, thread) - before) / (socket.gettime() - begun)
end

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

-- What `measure` says of the one and of the other, in turns: the medians.
local function in_turns(turns, one, other, measure)
  local ones, others = {}, {}
  for i = 1, turns do
    ones[i], others[i] = measure(one), measure(other)
  end
  return median(ones), median(others)
end

local function p50_ms(server_and_path)
  return probe(server_and_path[1], server_and_path[2], 1, 0).p50 / 1000
end

local function p99_ms(server)
  return probe(server, "/trivial", 1, 2).p99 / 1000
end

---- Telling ----

local function line(name, idle, now, unit, limit, holds)
  all_hold = all_hold and holds
  print(("%-58s %9s %9s %-5s %-22s %s"):format(name, idle and ("%.2f"):format(idle) or "", ("%.2f"):format(now), unit, limit,
    holds and "holds" or "DOES NOT HOLD"))
  io.stdout:flush()
end

local function yes(name, what, holds)
  all_hold = all_hold and holds
  print(("%-58s %-48s %s"):format(name, what, holds and "holds" or "DOES NOT HOLD"))
  io.stdout:flush()
end

local function gather(fn)
  local lists = {}
  for _ = 1, ROUNDS do
    for name, value in pairs(fn()) do
      lists[name] = lists[name] or {}
      table.insert(lists[name], value)
    end
  end
  local medians = {}
  for name, values in pairs(lists) do
    medians[name] = median(values)
  end
  return medians
end

---- The servers ----

local PENDING = [[
  location = /trivial { content_by_lua_block { ngx.header.content_length = 3 ngx.print "ok\n" } }
  location = /limits {
    lua_check_client_abort on;
    content_by_lua_block {
      assert(ngx.on_abort(function() ngx.exit(499) end))
      ngx.say(assert(client { max_connections = 2000 }:limits()).DailyApiRequests.Max)
    }
  }
  location = /job {
    lua_check_client_abort on;
    content_by_lua_block {
      assert(ngx.on_abort(function() ngx.exit(499) end))
      local job = assert(client():create { object = "Account", operation = "insert", data = "Name\nOne\n" })
      ngx.say(assert(job:wait()).state)
    }
  }
]]

local complaints = {}

-- Runs with a worker of its own, whose complaints are gathered.
local function with_server(options, fn)
  options.org = options.org or org
  local server = nginx.start(options)
  local results = { pcall(fn, server) }
  for _, text in ipairs(server:complaints()) do
    complaints[#complaints + 1] = text
  end
  server:stop()
  if not results[1] then
    error(results[2], 0)
  end
  return results[2]
end

local function stall(seconds)
  org:reset()
  org:fault { method = "GET", path = "/limits", stall = seconds, count = -1 }
end

-- So many requests that wait. `what` of the org's requests tells that they do.
local function open_many(server, n, path, what)
  local connections = {}
  for i = 1, n do
    connections[i] = server:open(path)
  end
  assert(nginx.eventually(30, function()
    return #org:requests(what) >= n
  end), "not all of them came to wait")
  return connections
end

local function close_all(connections)
  for _, connection in ipairs(connections) do
    connection:close()
  end
end

-- How many of them got this answer.
local function count_answers(connections, wanted)
  local n = 0
  for _, connection in ipairs(connections) do
    n = n + (nginx.read(connection, 30) == wanted and 1 or 0)
  end
  return n
end

-- Seconds until the process is gone, nil if it stays.
local function seconds_until_gone(pid, since)
  while lfs.attributes("/proc/" .. pid) do
    if socket.gettime() > since + 10 then
      return math.huge
    end
    socket.sleep(0.001)
  end
  return socket.gettime() - since
end

local LIMIT = "5000000"
local AT_LIMITS, AT_JOBS = { path = "/limits" }, { method = "GET", path = "/jobs/ingest/" }

---- The checks ----

local checks = {}

-- Both workers have had a request, so both have an engine.
function checks.pending()
  local figures = gather(function()
    org:reset()
    return with_server({ server = PENDING }, function(idle)
      return with_server({ server = PENDING }, function(busy)
        nginx.read(idle:open "/limits")
        nginx.read(busy:open "/limits")
        stall(120)
        local connections = open_many(busy, 100, "/limits", AT_LIMITS)
        local now = { cpu = cpu_percent(busy:workers()[1], 10), idle_cpu = cpu_percent(idle:workers()[1], 2) }
        now.idle_p99, now.p99 = in_turns(6, idle, busy, p99_ms)
        now.idle_rate, now.rate = in_turns(6, idle, busy, requests_per_second)
        now.more_p99, now.ratio = now.p99 - now.idle_p99, now.rate / now.idle_rate
        close_all(connections)
        return now
      end)
    end)
  end)
  line("100 pending: CPU over 10 s", figures.idle_cpu, figures.cpu, "%", "at most 0.5", figures.cpu <= 0.5)
  line("100 pending: probe p99", figures.idle_p99, figures.p99, "ms", "at most idle + 0.3", figures.more_p99 <= 0.3)
  line("100 pending: wrk, 2 connections", figures.idle_rate, figures.rate, "/s", "within 10 % of idle", figures.ratio >= 0.9)
end

-- A wait looks often at first. After a minute it looks every 20 s, and what is left is the price of 50 looks, a tenth of a second
-- and more between them.
function checks.waiting()
  local figures = gather(function()
    org:reset()
    org:hold()
    return with_server({ server = PENDING }, function(server)
      local connections = open_many(server, 100, "/job", AT_JOBS)
      socket.sleep(60)
      local cpu = cpu_percent(server:workers()[1], 10)
      close_all(connections)
      return { cpu = cpu }
    end)
  end)
  line("100 in job:wait for a minute: CPU over 10 s", nil, figures.cpu, "%", "at most 0.5", figures.cpu <= 0.5)
end

function checks.latency()
  local pieces = {
    http = ("upstream backend { server 127.0.0.1:%d; keepalive 8; }"):format(backend.port),
    server = [[
      location = /services/data/v66.0/limits {
        proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      }
      location = /ours { content_by_lua_block {
        local limits = assert(client { instance_url = "]] .. backend.url .. [[", timeout = 5 }:limits())
        local text = require("cjson").encode(limits)
        ngx.header.content_length = #text
        ngx.print(text)
      } }
    ]],
  }
  local figures = gather(function()
    return with_server(pieces, function(server)
      local idle, ours = in_turns(6, { server, "/services/data/v66.0/limits" }, { server, "/ours" }, p50_ms)
      return { idle = idle, ours = ours, added = ours - idle }
    end)
  end)
  line("a backend of 20 ms: p50 (idle: by proxy_pass)", figures.idle, figures.ours, "ms", "at most idle + 0.5", figures.added <= 0.5)
end

function checks.upload()
  local server_pieces = PENDING .. [[
    location = /upload { content_by_lua_block {
      local mine, n = client { instance_url = ngx.var.arg_tls and ORG.tls_url or ORG.url }, 0
      local till = ngx.now() + tonumber(ngx.var.arg_seconds)
      repeat
        local job = assert(mine:create { object = "Account", operation = "insert" })
        assert(job:upload { file = "]] .. upload_path .. [[" })
        assert(job:abort())
        n = n + 1
      until ngx.now() >= till
      ngx.say(n)
    } }
  ]]
  for _, how in ipairs { { "http", "" }, { "https", "&tls=1" } } do
    local figures = gather(function()
      org:reset()
      org:set { upload_limit = 2 * UPLOAD_BYTES, discard = true }
      return with_server({ server = server_pieces }, function(server)
        local worker = server:workers()[1]
        local idle = { cpu = cpu_percent(worker, 2, worker), probe = probe(server, "/trivial", 4, 2) }
        local begun = socket.gettime()
        local upload = server:open("/upload?seconds=11" .. how[2])
        socket.sleep(0.3)
        local cpu = cpu_percent(worker, 5, worker)
        local p99 = probe(server, "/trivial", 5, 2).p99 / 1000
        local n = assert(tonumber((nginx.read(upload, 60))), "an upload failed")
        return { idle_cpu = idle.cpu, idle_p99 = idle.probe.p99 / 1000, cpu = cpu, p99 = p99,
          speed = n * UPLOAD_BYTES / 1e6 / (socket.gettime() - begun) }
      end)
    end)
    local name = ("uploads of 200 MB, %s, %.0f MB/s: "):format(how[1], figures.speed)
    line(name .. "main thread", figures.idle_cpu, figures.cpu, "%", "at most 5", figures.cpu <= 5)
    line(name .. "probe p99", figures.idle_p99, figures.p99, "ms", "at most 5", figures.p99 <= 5)
  end
end

-- Rows pass through Lua, on the worker's only thread: what holds others up is how long it takes until they have their turn.
function checks.rows()
  local server_pieces = PENDING .. [[
    location = /rows { content_by_lua_block {
      local mine, n = client(), 0
      local till = ngx.now() + tonumber(ngx.var.arg_seconds)
      local ways = {
        read = function()
          for _ in mine:job(ngx.var.arg_id, "ingest"):failed_results() do
            n = n + 1
          end
        end,
        make = function()
          local job = assert(mine:create { object = "Account", operation = "insert" })
          assert(job:upload { rows = function()
            n = n + 1
            return n % 200000 > 0 and { Name = "Name " .. n, Ext__c = n } or nil
          end })
          assert(job:abort())
        end,
      }
      repeat
        ways[ngx.var.arg_way]()
      until ngx.now() >= till
      ngx.say(n)
    } }
  ]]
  for _, way in ipairs { "read", "make" } do
    local figures = gather(function()
      org:reset()
      org:set { discard = true }
      local job = assert(bulkjob.client { instance_url = org.url, access_token = org.token }:create {
        object = "Account", operation = "insert" })
      org:synthetic(job.id, "failed", RESULT_BYTES)
      return with_server({ server = server_pieces }, function(server)
        local idle = probe(server, "/trivial", 4, 2)
        local begun = socket.gettime()
        local rows = server:open(("/rows?seconds=5&way=%s&id=%s"):format(way, job.id))
        socket.sleep(0.3)
        local now = probe(server, "/trivial", 4, 2)
        local n = assert(tonumber((nginx.read(rows, 60))), "the rows failed")
        return { idle_p99 = idle.p99 / 1000, p99 = now.p99 / 1000, rate = n / (socket.gettime() - begun) }
      end)
    end)
    line(("rows, to %s %.0f a second: probe p99"):format(way, figures.rate), figures.idle_p99, figures.p99, "ms", "at most 5",
      figures.p99 <= 5)
  end
end

function checks.many()
  local least = math.huge
  for _ = 1, ROUNDS do
    stall(3)
    least = math.min(least, with_server({ server = PENDING }, function(server)
      return count_answers(open_many(server, 1000, "/limits", AT_LIMITS), LIMIT)
    end))
  end
  yes("1,000 pending at once", least .. " answers (the worst of three)", least == 1000)
end

function checks.reload()
  local least = math.huge
  local figures = gather(function()
    stall(2)
    return with_server({ server = PENDING }, function(server)
      local old = server:workers()[1]
      local connections = open_many(server, 20, "/limits", AT_LIMITS)
      server:signal "HUP"
      least = math.min(least, count_answers(connections, LIMIT))
      return { gone = seconds_until_gone(old, socket.gettime()) }
    end)
  end)
  yes("HUP with 20 pending", least .. " answers (the worst of three)", least == 20)
  line("HUP with 20 pending: old worker gone after the last", nil, figures.gone, "s", "at most 0.5", figures.gone <= 0.5)
end

function checks.term()
  local clean = 0
  local figures = gather(function()
    stall(60)
    return with_server({ server = PENDING }, function(server)
      local worker, master = server:workers()[1], server.pid
      local connections = open_many(server, 200, "/limits", AT_LIMITS)
      local since = socket.gettime()
      server:signal "TERM"
      local gone = math.max(seconds_until_gone(worker, since), seconds_until_gone(master, since))
      local code = nginx.eventually(5, function()
        return server:exit_code()
      end)
      local good = code == 0 and #server:log "worker process %d+ exited with code 0" == 1 and #server:log "exited on signal" == 0
      clean = clean + (good and 1 or 0)
      close_all(connections)
      return { gone = gone }
    end)
  end)
  line("TERM with 200 pending: gone", nil, figures.gone, "s", "at most 0.5", figures.gone <= 0.5)
  yes("TERM with 200 pending: exit code 0, no signal", clean .. " of " .. ROUNDS, clean == ROUNDS)
end

function checks.reloads()
  local HUPS = 100
  with_server({ server = ([[
    location = /load { content_by_lua_block {
      ngx.say(assert(client { instance_url = "]] .. backend.url .. [[" }:limits()).DailyApiRequests.Max)
    } }
  ]]) }, function(server)
    local wrk = assert(io.popen(("wrk -t 1 -c 20 -d 15 http://127.0.0.1:%d/load 2>&1"):format(server.port)))
    local started = "start worker process %d+"
    for i = 1, HUPS do
      server:signal "HUP"
      assert(nginx.eventually(10, function()
        return #server:log(started) > i
      end), "no new worker after a HUP")
      socket.sleep(0.05)
    end
    local text = wrk:read "*a"
    wrk:close()
    local answers, bad = text:match "(%d+) requests in", tonumber(text:match "Non%-2xx or 3xx responses: (%d+)" or 0)
    local gone = nginx.eventually(10, function()
      return #server:log "worker process %d+ exited with code 0" == HUPS
    end)
    local crashes = #server:log "exited on signal"
    yes(HUPS .. " HUPs under load", ("%d crashes, %s answers, %d bad"):format(crashes, answers, bad), crashes == 0 and bad == 0 and gone)
  end)
end

function checks.abort()
  local figures = gather(function()
    org:reset()
    return with_server({ server = PENDING }, function(server)
      local worker = server:workers()[1]
      nginx.read(server:open "/limits")
      local fds, threads = nginx.count(worker, "fd"), nginx.count(worker, "task")
      stall(60)
      close_all(open_many(server, 500, "/limits", AT_LIMITS))
      socket.sleep(5)
      return { fds = nginx.count(worker, "fd") - fds, threads = nginx.count(worker, "task") - threads }
    end)
  end)
  line("500 clients gone, after 5 s: descriptors more than before", nil, figures.fds, "", "at most 5", figures.fds <= 5)
  line("500 clients gone, after 5 s: threads more than before", nil, figures.threads, "", "at most 0", figures.threads <= 0)
end

local ORDER = { "pending", "waiting", "latency", "upload", "rows", "many", "reload", "term", "reloads", "abort" }

local function write_upload()
  local file = assert(io.open(upload_path, "wb"))
  local text = "Name,Ext__c,Description\n"
  local rest = ("Account,A-1,The quick brown fox jumps over the lazy dog; and again it jumps over the lazy dog\n"):rep(10000)
  file:write(text)
  for _ = 1, math.floor(UPLOAD_BYTES / #rest) do
    file:write(rest)
  end
  file:close()
end

local function run()
  assert(output "command -v wrk" ~= "", "wrk is missing: tools/deps bench")
  local built = output "make -s LUA=luajit SAN= all build/plain/probe"
  assert(built == "", built)
  org = control.start { log_size = 5000 }
  backend = nginx.start { server = [[ location / { content_by_lua_block {
    ngx.sleep(0.02)
    local text = ']] .. cjson.encode { DailyApiRequests = { Max = 5000000, Remaining = 1 } } .. [['
    ngx.header.content_length = #text
    ngx.header.content_type = "application/json"
    ngx.print(text)
  } } ]] }
  backend.url = "http://127.0.0.1:" .. backend.port
  upload_path = os.tmpname()
  write_upload()
  print(("%-58s %9s %9s"):format("", "idle", "now"))
  for _, name in ipairs(ORDER) do
    if not only or name == only then
      checks[name]()
    end
  end
  yes("lines at warn or above in the error logs", #complaints .. (complaints[1] and ": " .. complaints[1] or ""), #complaints == 0)
end

local ok, why = pcall(run)
if upload_path then
  os.remove(upload_path)
end
if backend then
  backend:stop()
end
if org then
  org:stop()
end
if not ok then
  io.stderr:write(tostring(why), "\n")
end
os.exit(ok and all_hold and 0 or 1)
