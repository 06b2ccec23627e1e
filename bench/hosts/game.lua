-- What a game pays for its frames: how long client:poll(0) takes while much waits, connects, moves or ends.
--
--   make bench                    or: tools/run-lua build/lua5.4 lua5.4 bench/hosts/game.lua [CASE]
--
-- The org is a sandbox in a process of its own. Ends non-zero when a limit does not hold. Whatever else runs on the machine counts
-- too: "interrupted" are the calls in which the kernel gave the processor to somebody else.

local bulkjob = require "bulkjob"
local control = require "sandbox.control"
local core = require "bulkjob.core"
local figures = require "bench.lib.figures"
local socket = require "socket"
local status = require "bench.lib.status"

-- As doc/reference.md tells games. The program lua5.4 asks for the generational mode, in which now and then everything is collected at
-- once; and a step of the incremental one goes through most of a small heap, unless its steps are made smaller.
if _VERSION == "Lua 5.4" then
  collectgarbage("incremental", 200, 10, 10)
end

local MICRO, MILLI = 1e-6, 1e-3
local FRAME = 1 / 60
local FOREVER = 60

local function client_of(org, options)
  local all = {
    instance_url = org.url, access_token = org.token, ca_file = org.ca_file, max_connections = 1000, retry = { tries = 1 },
    timeout = 120, nice = 10, -- as a game should have it: else the engine's thread takes the processor from the frame that woke it
  }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return bulkjob.client(all)
end

local function with_org(settings, fn)
  local org = control.start(settings)
  local answers = { pcall(fn, org) }
  org:stop()
  assert(answers[1], answers[2])
  return (table.unpack or unpack)(answers, 2)
end

local function stall(org, seconds)
  org:fault { path = "/limits", stall = seconds, stall_when = "before", count = -1 }
end

local function spawn_limits(client, n)
  local tasks = {}
  for i = 1, n do
    tasks[i] = client:spawn(client.limits, client)
  end
  return tasks
end

-- How often the kernel has taken the processor away from this thread.
local function interruptions()
  return status("nonvoluntary_ctxt_switches", "thread-self")
end

-- How long one poll(0) takes, what it answers, and whether it was interrupted.
local function poll_once(client)
  local interrupted = interruptions()
  local before = core.now()
  local left = client:poll(0)
  return core.now() - before, left, interruptions() > interrupted
end

-- The longest poll(0) of those that were not interrupted, and of all.
local Worst = {}
Worst.__index = Worst

local function worst()
  return setmetatable({ own = 0, all = 0, count = 0 }, Worst)
end

function Worst:poll(client)
  local cost, left, interrupted = poll_once(client)
  self.count = self.count + 1
  self.all = math.max(self.all, cost)
  self.own = math.max(self.own, interrupted and 0 or cost)
  return left
end

function Worst:values()
  return self.own / MILLI, self.all / MILLI
end

-- Calls `frame` once a frame of so many seconds, until it answers true or so many frames are over.
local function play(length, count, frame)
  local at = core.now()
  for _ = 1, count do
    if frame() then
      return true
    end
    at = math.max(at + length, core.now())
    figures.sleep_till(at)
  end
end

-- Polls until the org has got so many requests, and libcurl has done what it does in the second after.
local function until_sent(org, client, n)
  repeat
    play(5 * MILLI, 200, function()
      client:poll(0)
    end)
  until #org:requests { path = "/limits" } >= n
  figures.sleep_till(core.now() + 1)
end

---- Waiting ----

local function idle(n)
  return with_org({}, function(org)
    stall(org, FOREVER)
    local client = client_of(org)
    spawn_limits(client, n)
    until_sent(org, client, n)
    local costs, nothing = {}, {}
    local function take(list, fn)
      play(4 * MILLI, 500, function()
        local before = core.now()
        fn(client, 0)
        list[#list + 1] = core.now() - before
      end)
    end
    take(nothing, function() end)
    take(costs, client.poll)
    local calls = 200000
    local begun = core.now()
    for _ = 1, calls do
      client:poll(0)
    end
    local each = (core.now() - begun) / calls
    client:close()
    return figures.quantile(costs, 0.5) / MICRO, figures.quantile(costs, 0.99) / MICRO, each / MICRO,
      figures.quantile(nothing, 0.5) / MICRO, figures.quantile(nothing, 0.99) / MICRO
  end)
end

local function idle_of_both()
  local p50, p99, each, nothing, nothing_p99 = idle(1000)
  local one_p50, _, one_each = idle(1)
  return p50, p99, each, p50 / one_p50, each / one_each, nothing, nothing_p99
end

local function cpu_when_nobody_polls()
  return with_org({}, function(org)
    stall(org, FOREVER)
    local client = client_of(org)
    spawn_limits(client, 1000)
    until_sent(org, client, 1000)
    local seconds, before = 5, os.clock()
    figures.sleep_till(core.now() + seconds)
    local used = os.clock() - before
    client:close()
    return used / seconds * 100
  end)
end

---- Starting ----

-- In a program of its own, since a program starts its engine once.
local FIRST = [[
local core = require "bulkjob.core"
local client = require "bulkjob".client { instance_url = arg[1], access_token = arg[2] }
client:spawn(client.limits, client)
local before = core.now()
client:poll(0)
print(core.now() - before)
]]

local function lua_of_its_own(code, org, read)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local pipe = assert(io.popen(("exec '%s' %s %s '%s'"):format(os.getenv "LUA" or arg[-1], path, org.url, org.token)))
  local value = read(pipe)
  pipe:close()
  os.remove(path)
  return value
end

local function first_poll()
  return with_org({}, function(org)
    return lua_of_its_own(FIRST, org, function(pipe)
      return pipe:read "*n"
    end) / MILLI
  end)
end

local function connect(url, n)
  return with_org({}, function(org)
    local client = client_of(org, { instance_url = org[url] })
    assert(client:limits()) -- the engine runs
    stall(org, FOREVER)
    spawn_limits(client, n)
    collectgarbage() -- or what the spawns owe the collector would be paid in a poll
    local costs = worst()
    repeat
      play(2 * MILLI, 200, function()
        costs:poll(client)
      end)
    until #org:requests { path = "/limits" } > n
    client:close()
    return costs:values()
  end)
end

local function average(list)
  local sum = 0
  for _, value in ipairs(list) do
    sum = sum + value
  end
  return sum / #list
end

local function spawn_and_start()
  return with_org({}, function(org)
    local client = client_of(org)
    assert(client:limits())
    stall(org, FOREVER)
    local own, all = {}, {}
    for _ = 1, 1000 do
      local interrupted = interruptions()
      local before = core.now()
      client:spawn(client.limits, client)
      client:poll(0)
      all[#all + 1] = core.now() - before
      own[#own + 1] = interruptions() == interrupted and all[#all] or nil
    end
    client:close()
    return average(own) / MICRO, figures.quantile(own, 0.99) / MICRO, average(all) / MICRO
  end)
end

---- Moving data ----

local UPLOAD_BYTES = 200e6
local ROWS, RESULT_BYTES = 30000, 3e6

local function new_job(client)
  return assert(client:create { object = "Account", operation = "insert" })
end

local function csv_file(bytes)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write "Name,Ext__c,Description\n"
  local block = ("Account,A-1,The quick brown fox jumps over the lazy dog; and again it jumps over the lazy dog\n"):rep(1000)
  while file:seek() < bytes do
    file:write(block)
  end
  file:close()
  return path
end

-- Runs `fn` as the only task, at 60 frames a second.
local function play_task(client, fn)
  local task = client:spawn(fn)
  local costs = worst()
  play(FRAME, math.huge, function()
    return costs:poll(client) == 0
  end)
  assert(task:result())
  return costs
end

local function upload_file()
  local path = csv_file(UPLOAD_BYTES)
  local share, own, all = with_org({ discard = true, upload_limit = 2 * UPLOAD_BYTES }, function(org)
    local client = client_of(org, { instance_url = org.tls_url })
    -- The best of some: a machine with other work has good and bad seconds.
    local blocking, played = math.huge, math.huge
    local costs = { own = 0, all = 0 }
    for _ = 1, 4 do
      local job = new_job(client)
      local begun = core.now()
      assert(job:upload { file = path })
      blocking = math.min(blocking, core.now() - begun)
      job = new_job(client)
      begun = core.now()
      local these = play_task(client, function()
        return job:upload { file = path }
      end)
      played = math.min(played, core.now() - begun)
      costs.own, costs.all = math.max(costs.own, these.own), math.max(costs.all, these.all)
    end
    return blocking / played * 100, costs.own / MILLI, costs.all / MILLI
  end)
  os.remove(path)
  return share, own, all
end

local function player(i)
  return {
    Name = "Player " .. i, Ext__c = "P-" .. i, NumberOfEmployees = i * 7 % 5000,
    Description = "Seen in the last week, on all levels",
  }
end

local function moved(costs, rows)
  local own, all = costs:values()
  return own, all, rows / (costs.count * FRAME)
end

local function upload_rows(form)
  return with_org({ discard = true }, function(org)
    local client = client_of(org, { instance_url = org.tls_url })
    local rows, i = {}, 0
    if form == "array" then
      for n = 1, ROWS do
        rows[n] = player(n)
      end
    else
      function rows()
        i = i + 1
        return i <= ROWS and player(i) or nil
      end
    end
    local job = new_job(client)
    collectgarbage()
    return moved(play_task(client, function()
      return job:upload { rows = rows }
    end), ROWS)
  end)
end

local function read_results()
  return with_org({ discard = true }, function(org)
    local client = client_of(org, { instance_url = org.tls_url })
    local job = new_job(client)
    local count = org:synthetic(job.id, "failed", RESULT_BYTES)
    collectgarbage()
    local seen = 0
    local costs = play_task(client, function()
      for _ in job:failed_results() do
        seen = seen + 1
      end
      return true
    end)
    assert(seen == count)
    return moved(costs, count)
  end)
end

---- Ending ----

local function burst()
  return with_org({}, function(org)
    stall(org, 3)
    local client = client_of(org)
    local tasks = spawn_limits(client, 1000)
    until_sent(org, client, 1000)
    figures.sleep_till(core.now() + 4)
    local costs = worst()
    repeat until costs:poll(client) == 0
    for _, task in ipairs(tasks) do
      assert(task:result())
    end
    return costs:values()
  end)
end

-- A place where every connection is taken, and none is ever answered; and one where none is even taken.
local function silent_listener()
  return assert(socket.bind("127.0.0.1", 0, 1024))
end

local function full_listener()
  local listener = assert(socket.bind("127.0.0.1", 0, 1))
  local _, port = listener:getsockname()
  local queue = {}
  for i = 1, 8 do
    queue[i] = socket.tcp()
    queue[i]:settimeout(0)
    queue[i]:connect("127.0.0.1", port)
  end
  return listener, queue
end

-- The worst cancel of so many tasks that hang there.
local function cancel(listener, scheme)
  local _, port = listener:getsockname()
  local client = bulkjob.client {
    instance_url = ("%s://127.0.0.1:%d"):format(scheme, port), access_token = "t", insecure = true, max_connections = 1000,
    retry = { tries = 1 },
  }
  local tasks = spawn_limits(client, 100)
  play(5 * MILLI, 100, function()
    client:poll(0)
  end)
  local most = 0
  for _, task in ipairs(tasks) do
    local before = core.now()
    assert(task:cancel())
    most = math.max(most, core.now() - before)
  end
  assert(play(MILLI, 1000, function()
    return client:poll(0) == 0
  end), "a cancelled task did not end")
  local _, err = tasks[1]:result()
  assert(err.kind == "cancelled", tostring(err))
  return most / MILLI
end

local function cancel_both()
  local listener, queue = full_listener()
  local connecting = cancel(listener, "http")
  listener:close()
  for _, other in ipairs(queue) do
    other:close()
  end
  listener = silent_listener()
  local greeting = cancel(listener, "https")
  listener:close()
  return connecting, greeting
end

-- A program of its own whose last line comes while 200 requests wait. It tells when that was.
local LEAVING = [[
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local client = bulkjob.client { instance_url = arg[1], access_token = arg[2], max_connections = 1000 }
for _ = 1, 200 do
  client:spawn(client.limits, client)
end
local till = core.now() + 1
while core.now() < till do
  client:poll(0.1)
end
io.write(("%.6f\n"):format(core.now()))
io.stdout:flush()
]]

local function end_of_program()
  return with_org({}, function(org)
    stall(org, FOREVER)
    return lua_of_its_own(LEAVING, org, function(pipe)
      local left = pipe:read "*n"
      pipe:read "*a"
      return core.now() - left
    end) / MILLI
  end)
end

-- spec/hung_dns.lua: one transfer may take 0.3 s to connect, the answer to the other one takes 1 s.
local function hung_dns()
  return with_org({}, function(org)
    org:fault { path = "/limits", after = 1, stall = 1, stall_when = "before" }
    local pipe = assert(io.popen(("LD_PRELOAD=build/hung_dns.so exec '%s' spec/hung_dns.lua %s '%s'"):format(
      os.getenv "LUA" or arg[-1], org.url, org.token)))
    local text = pipe:read "*a"
    pipe:close()
    local after, other_after, longest = text:match "^timeout (%S+) ok (%S+) (%S+)\n$"
    assert(after, text)
    return after * 1000, other_after * 1000, longest * 1000
  end)
end

-- The worst frame has the limit; what the kernel did to it is told.
local function worst_figures(name, most, more)
  return {
    { name = name .. ": worst poll(0)", unit = "ms", most = most },
    { name = "  the same with those that the kernel interrupted", unit = "ms" },
    more,
  }
end

local function rows_figures(name)
  return worst_figures(name .. " at 60 frames/s", 0.5, { name = "  rows a second", unit = "" })
end

local CASES = {
  { name = "idle", run = idle_of_both, figures = {
    { name = "poll(0), 1,000 wait: p50", unit = "us", most = 3 },
    { name = "poll(0), 1,000 wait: p99", unit = "us", most = 10 },
    { name = "poll(0) back to back, 1,000 wait", unit = "us", most = 0.2 },
    { name = "p50 with 1,000 over that with 1", unit = "", most = 1.5 },
    { name = "back to back with 1,000 over that with 1", unit = "", most = 1.5 },
    { name = "  a function that does nothing, once a frame: p50", unit = "us" },
    { name = "  a function that does nothing, once a frame: p99", unit = "us" },
  } },
  { name = "nobody polls", run = cpu_when_nobody_polls, figures = {
    { name = "processor time of the process, 1,000 wait", unit = "%", most = 0.1 },
  } },
  { name = "connect", run = function() return connect("url", 1000) end, figures = worst_figures("1,000 connect", 0.5) },
  { name = "connect over TLS", run = function() return connect("tls_url", 100) end,
    figures = worst_figures("100 connect over TLS", 0.5) },
  { name = "first request", run = first_poll, figures = {
    { name = "the poll(0) that starts libcurl and the engine, once in a program", unit = "ms" },
  } },
  { name = "start", run = spawn_and_start, figures = {
    { name = "client:spawn and the poll that starts it: average", unit = "us", most = 20 },
    { name = "client:spawn and the poll that starts it: p99", unit = "us", most = 200 },
    { name = "  the average with those that the kernel interrupted", unit = "us" },
  } },
  { name = "upload of a file", run = upload_file, figures = {
    { name = "200 MB over TLS at 60 frames/s: speed beside blocking", unit = "%", least = 80 },
    (table.unpack or unpack)(worst_figures("200 MB over TLS at 60 frames/s", 0.5)),
  } },
  { name = "upload of an array", run = function() return upload_rows "array" end, figures = rows_figures "array" },
  { name = "upload of an iterator", run = function() return upload_rows "iterator" end, figures = rows_figures "iterator" },
  { name = "results", run = read_results, figures = rows_figures "results row by row" },
  { name = "burst", run = burst, figures = worst_figures("1,000 are done at once", 1) },
  { name = "cancel", run = cancel_both, figures = {
    { name = "task:cancel() in a connect that hangs: worst of 100", unit = "ms", most = 1 },
    { name = "task:cancel() in a TLS handshake that hangs: worst of 100", unit = "ms", most = 1 },
  } },
  { name = "end", run = end_of_program, figures = {
    { name = "the Lua state closed, 200 wait", unit = "ms", most = 50 },
  } },
  { name = "name server", run = hung_dns, figures = {
    { name = "it hangs, connect_timeout is 0.3 s: failed after", unit = "ms", most = 500 },
    { name = "another transfer, answered after 1 s: done after", unit = "ms", most = 1100 },
    { name = "worst poll(0)", unit = "ms", most = 0.5 },
  } },
}

os.exit(figures.run(CASES, arg[1]) and 0 or 1)
