-- Does a process that lives long stay as small as it was? 10,000 jobs are made, filled, closed, waited for and collected.
--
--   make bench-large                    or: tools/run-lua build/lua5.4 lua5.4 bench/jobs.lua
--
-- What the process has after 10,000 is compared with what it had after 1,000. Ends non-zero when there is a descriptor or a thread
-- more, or more memory than the small amounts below.

local bulkjob = require "bulkjob"
local control = require "sandbox.control"
local core = require "bulkjob.core"
local lfs = require "lfs"
local status = require "bench.lib.status"

local FIRST, LAST, CLIENT_JOBS = 1000, 10000, 100
local LUA_KB = 4 -- the interpreter's own tables: interned strings, hash parts that were grown
local RSS_KB = 1024 -- what malloc keeps differs by some pages, and comes to rest after some thousand jobs
local DATA = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"

local function entries(path)
  local n = 0
  for name in lfs.dir(path) do
    n = n + (name:find "^%d+$" and 1 or 0)
  end
  return n
end

local function sizes()
  collectgarbage()
  collectgarbage() -- what the finalizers of the first have let go
  return {
    fds = entries "/proc/self/fd", threads = entries "/proc/self/task",
    lua = collectgarbage "count", rss = status "VmRSS",
  }
end

local function one_job(client)
  local job = assert(client:create { object = "Account", operation = "insert" })
  assert(job:upload(DATA))
  assert(job:close())
  assert(job:info())
end

local function run(org)
  local client, first
  local begun = core.now()
  for n = 1, LAST do
    -- A new client now and then: they have to go as well.
    if n % CLIENT_JOBS == 1 then
      client = bulkjob.client { instance_url = org.tls_url, access_token = org.token, ca_file = org.ca_file }
    end
    one_job(client)
    if n == FIRST then
      first = sizes()
    end
  end
  local seconds = core.now() - begun
  return first, sizes(), seconds
end

local function report(first, last, seconds)
  local good = true
  print(("%s: %d jobs, four requests each, in %.1f s (%.2f ms a job)"):format(jit and jit.version or _VERSION, LAST, seconds,
    seconds / LAST * 1000))
  print(("%-14s %10s %10s %10s %10s"):format("", "at " .. FIRST, "at " .. LAST, "more", "allowed"))
  local function row(name, key, allowed)
    local more = last[key] - first[key]
    local ok = more <= allowed
    good = good and ok
    print(("%-14s %10.1f %10.1f %10.1f %10d  %s"):format(name, first[key], last[key], more, allowed, ok and "" or "GREW"))
  end
  row("descriptors", "fds", 0)
  row("threads", "threads", 0)
  row("Lua, KiB", "lua", LUA_KB)
  row("resident, KiB", "rss", RSS_KB)
  return good
end

local org = control.start { discard = true, queue_seconds = 0, processing_seconds = 0, log_size = 100 }
local ok, first, last, seconds = pcall(run, org)
org:stop()
if not ok then
  io.stderr:write(tostring(first), "\n")
  os.exit(1)
end
os.exit(report(first, last, seconds) and 0 or 1)
