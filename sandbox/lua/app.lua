--- Starts the org inside nginx's worker, and ends it with the process that started it.

local ffi = require "ffi"
local faults = require "faults"
local jobs = require "jobs"
local late = require "late"
local loader = require "loader"
local query_run = require "query_run"
local quota = require "quota"
local records = require "records"
local request_log = require "request_log"
local results = require "results"
local scheduler = require "scheduler"
local session = require "session"
local settings = require "settings"

ffi.cdef [[
int kill(int pid, int sig);
int getppid(void);
]]

local M = { info = {} }

local SIGTERM, NO_SUCH_PROCESS = 15, 3
local WATCH_SECONDS = 0.5

--- The launcher cleans up when it ends in an orderly way. When it was killed, this does.
local function clean_up()
  if not M.keep then
    os.execute("rm -rf '" .. M.info.dir:gsub("'", "'\\''") .. "'")
  end
end

--- End with the launcher (our parent), and with the process it works for.
local function watch(premature)
  if premature then
    return
  end
  local orphaned = ffi.C.getppid() ~= M.launcher
  local alone = M.owner > 0 and ffi.C.kill(M.owner, 0) ~= 0 and ffi.errno() == NO_SUCH_PROCESS
  if orphaned or alone then
    ffi.C.kill(orphaned and ngx.worker.pid() or M.launcher, SIGTERM)
    if orphaned then
      clean_up()
    end
    return
  end
  ngx.timer.at(WATCH_SECONDS, watch)
end

--- End the org: the launcher does it.
function M.stop()
  ffi.C.kill(M.launcher, SIGTERM)
end

--- An org as it was at the start.
function M.reset()
  for _, job in ipairs(jobs.all()) do
    local work = job.kind == "query" and query_run or loader
    work.stop(job) -- closes its files and cursors
  end
  os.execute("rm -rf '" .. jobs.dir .. "/jobs' && mkdir '" .. jobs.dir .. "/jobs'")
  jobs.reset()
  faults.clear()
  late.reset()
  results.reset()
  query_run.make_up_all(nil)
  request_log.clear()
  quota.reset()
  settings.reset()
  settings.set(M.start_settings)
  records.reset()
end

--- info: dir, url, tls_url, control_url, ca_file. options: launcher and owner (process ids), keep, settings, token.
function M.start(info, options)
  info.pid, info.launcher_pid = ngx.worker.pid(), options.launcher
  M.info = info
  late.url = info.url
  M.launcher, M.owner, M.keep = options.launcher, options.owner, options.keep
  M.start_settings = options.settings
  assert(settings.set(options.settings))
  jobs.dir = info.dir
  records.open(info.dir .. "/org.db")
  session.issue()
  scheduler.run()
  ngx.timer.at(WATCH_SECONDS, watch)
  local cjson = require "cjson"
  local out = {}
  for key, value in pairs(info) do
    out[key] = value
  end
  out.token = session.token
  local file = assert(io.open(info.dir .. "/ready.new", "w"))
  file:write(cjson.encode(out), "\n")
  file:close()
  os.rename(info.dir .. "/ready.new", info.dir .. "/ready")
end

return M
