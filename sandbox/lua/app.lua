--- Starts the org inside nginx's worker, and ends it with the process that started it.

local ffi = require "ffi"
local faults = require "faults"
local jobs = require "jobs"
local json = require "json"
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
local start_file = require "start_file"
local store = require "store"

ffi.cdef [[
int kill(int pid, int sig);
int getppid(void);
struct pollfd { int fd; short events; short revents; };
int poll(struct pollfd *, unsigned long, int);
intptr_t read(int, void *, size_t);
]]

local M = { info = {} }

local SIGTERM, NO_SUCH_PROCESS = 15, 3
local WATCH_SECONDS = 0.5

-- All that a sandbox writes into its directory, as in the launcher; what tells others that it is gone goes last.
local NAMES = "jobs tmp logs org.db org.db-journal org.db-wal org.db-shm nginx.conf start ca.key ca.pem server.key server.csr server.ext "
  .. "server.pem ready.new problem.new problem nginx.pid .bulkjob-sandbox.new .bulkjob-sandbox ready"

--- The launcher cleans up when it ends in an orderly way. When it was killed, this does.
local function clean_up()
  local dir = "'" .. M.info.dir:gsub("'", "'\\''") .. "'"
  local command = "cd " .. dir .. " && rm -rf " .. (M.keep and "nginx.pid ready" or NAMES)
  if M.made and not M.keep then
    command = command .. "; cd / && rmdir " .. dir .. " 2>/dev/null"
  end
  os.execute(command)
end

--- Remove the file that says that the org is ready, unless it is another's by now.
local function remove_ready_file()
  local path = M.ready_file
  for _, name in ipairs(path and { path, path .. ".new" } or {}) do
    local file = io.open(name, "rb")
    local text = file and file:read "*a" or ""
    if file then
      file:close()
    end
    if text ~= "" and M.ready_text:sub(1, #text) == text then -- it may have been written in part
      os.remove(name)
    end
  end
end

local STANDARD_INPUT = 3 -- where the launcher hands its own over
local IN, ERROR, HUNG_UP = 1, 8, 16

--- Has the standard input of the launcher ended?
local function input_is_over()
  local poll = ffi.new("struct pollfd[1]", { { STANDARD_INPUT, IN, 0 } })
  if ffi.C.poll(poll, 1, 0) <= 0 then
    return false
  end
  local events = poll[0].revents
  if bit.band(events, IN) == 0 then
    return bit.band(events, ERROR + HUNG_UP) ~= 0
  end
  return ffi.C.read(STANDARD_INPUT, ffi.new "char[4096]", 4096) == 0
end

local function is_gone(pid)
  return ffi.C.kill(pid, 0) ~= 0 and ffi.errno() == NO_SUCH_PROCESS
end

--- End with the launcher (our parent), and with the processes it works for.
local function watch(premature)
  if premature then
    return
  end
  local orphaned, alone = ffi.C.getppid() ~= M.launcher, M.until_eof and input_is_over()
  for _, owner in ipairs(M.owners) do
    alone = alone or is_gone(owner)
  end
  if orphaned then
    remove_ready_file()
    clean_up()
    ffi.C.kill(ngx.worker.pid(), SIGTERM)
    return
  elseif alone then
    ffi.C.kill(M.launcher, SIGTERM) -- again and again, should it be busy
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
  os.execute("rm -rf '" .. jobs.dir:gsub("'", "'\\''") .. "'/jobs/*")
  jobs.reset()
  faults.clear()
  late.reset()
  results.reset()
  query_run.synthesize_all(nil)
  request_log.clear()
  quota.reset()
  settings.reset()
  settings.set(M.start_settings)
  records.reset()
  store.clear()
end

--- The address that a request came to, as the client knows it: the org may listen on all addresses of a machine.
function M.base_url()
  local url = ngx.var.scheme == "https" and M.info.tls_url or M.info.url
  return M.public and ngx.var.http_host and ngx.var.scheme .. "://" .. ngx.var.http_host or url
end

local ANY = { ["0.0.0.0"] = "127.0.0.1", ["[::]"] = "[::1]" }

--- options: dir, bind, port, tls_port (false: HTTP only), http2_port (false: none), control_port, launcher and owners (process ids), keep, made (the directory was
--- made by us), until_eof.
function M.start(options)
  local start_settings, start = start_file.read(options.dir)
  M.launcher, M.owners, M.keep, M.made = options.launcher, options.owners, options.keep, options.made
  M.until_eof, M.ready_file = options.until_eof, start and start.ready_file
  M.start_settings = assert(start_settings, start)
  assert(settings.set(start_settings))
  M.public = options.bind ~= "127.0.0.1"
  local host = ANY[options.bind] or options.bind
  local info = {
    dir = options.dir, url = ("http://%s:%s"):format(host, options.port), control_url = ("http://%s:%s"):format(host, options.control_port),
    pid = ngx.worker.pid(), launcher_pid = options.launcher, temporary = options.made and not options.keep,
  }
  if options.tls_port then
    info.tls_url = ("https://%s:%s"):format(host == "127.0.0.1" and "localhost" or host, options.tls_port)
    info.ca_file = options.dir .. "/ca.pem"
  end
  if options.http2_port then
    info.http2_url = info.tls_url:gsub("%d+$", options.http2_port)
  end
  M.info = info
  late.url = info.url
  jobs.dir = options.dir
  records.open(options.dir .. "/org.db", options.keep)
  store.open(records.db, options.keep)
  session.issue(start.token or store.get "token")
  for _, job in ipairs(store.jobs()) do
    local work = job.kind == "query" and query_run or loader
    jobs.restore(job)
    work.restore(job)
  end
  scheduler.run()
  ngx.timer.at(WATCH_SECONDS, watch)
  local ready = { { "token", session.token } }
  for key, value in pairs(info) do
    ready[#ready + 1] = { key, value }
  end
  table.sort(ready, function(a, b)
    return a[1] < b[1]
  end)
  local file = assert(io.open(info.dir .. "/ready.new", "w"))
  M.ready_text = json.encode(json.object(ready)) .. "\n"
  assert(file:write(M.ready_text))
  assert(file:close())
  assert(os.rename(info.dir .. "/ready.new", info.dir .. "/ready"))
end

return M
