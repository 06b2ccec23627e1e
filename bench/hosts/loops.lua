-- How well requests and a loop's other work get along, in each event loop and in plain code.
--
--   make bench                    or: tools/run-lua build/lua5.4 lua5.4 bench/hosts/loops.lua
--
-- Each figure is the median of three. Ends non-zero when one is beyond its limit. The org is a sandbox in a process of its own, over
-- HTTP, so whatever else runs on the machine counts too.

local loops = require "spec.loops" -- copas has to come before socket.http, which the sandbox needs
local bulkjob = require "bulkjob"
local control = require "sandbox.control"
local core = require "bulkjob.core"

local MILLI, MICRO = 1e-3, 1e-6
local ROUNDS = 3
local JOBS, JOB_SECONDS, BEAT = 100, 50 * MILLI, 5 * MILLI
local GETS, WAITS = 2000, 20

local org
local all_hold = true

local function median(measure)
  local values = {}
  for i = 1, ROUNDS do
    values[i] = measure()
  end
  table.sort(values)
  return values[(ROUNDS + 1) / 2]
end

local function report(name, value, unit, unit_name, limit)
  local holds = value <= limit
  all_hold = all_hold and holds
  print(("%-58s %8.2f %s  at most %4.0f %s  %s"):format(name, value / unit, unit_name, limit / unit, unit_name,
    holds and "holds" or "DOES NOT HOLD"))
end

local function new_client(options)
  local all = { instance_url = org.url, access_token = org.token, max_connections = JOBS }
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  return bulkjob.client(all)
end

-- Seconds that all requests took together, and by how much the heartbeat was late at most.
local function together(loop, client)
  local left, latest, ends = JOBS, 0, nil
  local begun = core.now()
  for _ = 1, JOBS do
    loop.go(function()
      assert(client:limits())
      left = left - 1
      ends = core.now()
    end)
  end
  loop.go(function()
    while left > 0 do
      local due = core.now() + BEAT
      loop.sleep(BEAT)
      latest = math.max(latest, core.now() - due)
    end
  end)
  local errors = loop.run()
  assert(#errors == 0, tostring(errors[1]))
  return ends - begun, latest
end

local function in_loops()
  org:fault { method = "GET", path = "/limits", stall = JOB_SECONDS, stall_when = "before", count = -1 }
  for _, new_loop in ipairs(loops) do
    local loop = new_loop()
    local client = new_client { loop = loop.option }
    local latest = {}
    together(loop, client) -- for the connections, and all that happens once
    report(("%s: %d requests of %.0f ms, side by side"):format(loop.name, JOBS, JOB_SECONDS / MILLI), median(function()
      local seconds
      seconds, latest[#latest + 1] = together(loop, client)
      return seconds
    end), MILLI, "ms", 100 * MILLI)
    report(loop.name .. ": the beat of 5 ms meanwhile, late at most", median(function()
      return table.remove(latest)
    end), MILLI, "ms", 10 * MILLI)
    client:close()
  end
end

local function in_plain_code()
  local took
  local client = new_client { on_event = function(event)
    took = event.seconds
  end }
  assert(client:limits())
  report("plain code: from the end of a request to its result", median(function()
    local late = 0
    for _ = 1, WAITS do
      local begun = core.now()
      assert(client:limits())
      late = math.max(late, core.now() - begun - took)
    end
    return late
  end), MILLI, "ms", 1 * MILLI)
  client:close()

  org:clear_faults()
  org:fault { method = "GET", path = "/limits", status = 200, body = "{}", count = -1 }
  client = new_client()
  report("plain code: a small GET after the other, each", median(function()
    local begun = core.now()
    for _ = 1, GETS do
      assert(client:limits())
    end
    return (core.now() - begun) / GETS
  end), MICRO, "us", 120 * MICRO)
  client:close()
end

local function all()
  print(jit and jit.version or _VERSION)
  in_loops()
  in_plain_code()
end

org = control.start { log_size = 100 }
local ok, why = pcall(all)
org:stop()
if not ok then
  io.stderr:write(tostring(why), "\n")
end
os.exit(ok and all_hold and 0 or 1)
