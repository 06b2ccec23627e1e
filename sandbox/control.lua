--- Starts a sandbox org from a test or a tool, and controls it. Needs LuaSocket and lua-cjson. Lua 5.1 to 5.4 and LuaJIT.
--
--   local org = require("sandbox.control").start { processing_seconds = 0.05 }
--   org:fault { method = "PATCH", status = 503, count = 2 }
--   ...
--   org:stop()
--
-- The org ends with the process that started it, however that ends, and when the org is collected as garbage.

local cjson = require("cjson").new()
local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"

local M = {}

local Org = {}
Org.__index = Org

-- Limits for what hangs: a busy machine takes seconds.
local START_SECONDS, STOP_SECONDS = 60, 60

-- Options of start that are not settings of the org.
local LAUNCHER_OPTIONS = {
  dir = "--dir", port = "--port", tls_port = "--tls-port", control_port = "--control-port", token = "--token", bind = "--bind",
  http2_requests = "--http2-requests", http2_streams = "--http2-streams",
}

local to_integer = rawget(math, "tointeger") or function(value)
  return value
end

--- lua-cjson reads every number as a float on Lua 5.3 and later.
local function plain(value)
  if type(value) == "number" then
    return to_integer(value) or value
  elseif value == cjson.null then
    return nil
  elseif type(value) == "table" then
    for key, item in pairs(value) do
      value[key] = plain(item)
    end
  end
  return value
end

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read "*a"
  file:close()
  return text
end

--- The directory this file is in.
local function here()
  local source = debug.getinfo(1, "S").source:match "^@(.*)$"
  return source:match "^(.*)/[^/]*$" or "."
end

--- Start an org. options: any setting of README.md, and dir, port, tls_port, control_port, keep, token, bind, https (false: HTTP only),
--- http2 (true: org.http2_url is there), http2_requests, http2_streams.
function M.start(options)
  local command = { quote(here() .. "/run") }
  local ready = os.tmpname()
  os.remove(ready)
  for key, value in pairs(options or {}) do
    if LAUNCHER_OPTIONS[key] then
      command[#command + 1] = LAUNCHER_OPTIONS[key] .. " " .. quote(value)
    elseif key == "keep" then
      command[#command + 1] = value and "--keep" or ""
    elseif key == "http2" then
      command[#command + 1] = value and "--http2" or ""
    elseif key ~= "https" then
      command[#command + 1] = "--set " .. quote(key .. "=" .. tostring(value))
    end
  end
  if not options or options.https ~= false then
    command[#command + 1] = "--https"
  end
  -- The shell's parent is this process. The sandbox watches it; and its standard input is a pipe from us, of which it reads the end
  -- when we end. It runs in the background (where a shell would give it no input: hence the 3), so that closing the pipe never waits.
  command[#command + 1] = "--owner $PPID --until-eof --ready-file " .. quote(ready)
  local pipe = assert(io.popen(("{ %s 2>%s <&3 3<&- & } 3<&0"):format(table.concat(command, " "), quote(ready .. ".err")), "w"))
  local deadline = socket.gettime() + START_SECONDS
  local text
  repeat
    socket.sleep(0.01)
    text = read_file(ready)
    local problem = not text and read_file(ready .. ".err")
    if (problem and problem:find "^sandbox:") or socket.gettime() > deadline then
      pipe:close()
      problem = read_file(ready .. ".err")
      os.remove(ready .. ".err")
      error("the sandbox did not start: " .. tostring(problem):gsub("^sandbox: ", ""):gsub("%s+$", ""), 2)
    end
  until text
  os.remove(ready)
  os.remove(ready .. ".err")
  local org = plain(cjson.decode(text))
  org.pipe = pipe
  return setmetatable(org, Org)
end

--- Send a command of the control API and return its answer.
function Org:command(name, arguments)
  -- An empty Lua table could be an array: say that it is an object.
  local text = arguments and next(arguments) ~= nil and cjson.encode(arguments) or "{}"
  local chunks = {}
  local ok, status = http.request {
    url = self.control_url .. "/sandbox/" .. name,
    method = "POST",
    headers = { ["content-length"] = tostring(#text), ["content-type"] = "application/json" },
    source = ltn12.source.string(text),
    sink = ltn12.sink.table(chunks),
  }
  if not ok then
    error("the sandbox does not answer: " .. tostring(status), 3)
  end
  local answer = plain(cjson.decode(table.concat(chunks)))
  if status ~= 200 then
    error("sandbox: " .. tostring(answer.error), 3)
  end
  return answer
end

--- Add a fault (keys: README.md). Returns its number, which stands in the log of the requests it hit.
function Org:fault(fault)
  return self:command("fault", fault).id
end

--- All faults with how often they are still due (left) and how many requests they still let pass (skip).
function Org:faults()
  return self:command("faults").faults
end

function Org:remove_fault(id)
  self:command("remove_fault", { id = id })
end

function Org:clear_faults()
  self:command "clear_faults"
end

--- Change settings. Returns all of them.
function Org:set(settings)
  return self:command("set", settings)
end

--- The requests so far, oldest first. filter: method, path (piece of text or pattern), status, since (a number) and any other field.
function Org:requests(filter)
  return self:command("requests", filter).requests
end

function Org:clear_requests()
  self:command "clear_requests"
end

--- All jobs as the org sees them; one of them.
function Org:jobs()
  return self:command("jobs").jobs
end

function Org:job(id)
  return self:command("job", { id = id })
end

--- How many living records an object has.
function Org:count(object)
  return self:command("count", { object = object }).count
end

--- How often rows were written, by the value of a field: { [value] = times }.
function Org:times(object, field)
  return self:command("times", { object = object, field = field }).times
end

--- Add an object, or fields to one: fields = { { name =, type =, length =, required =, unique =, external_id = }, ... }.
function Org:define(object, fields)
  self:command("define", { object = object, fields = fields })
end

--- Make the org empty again: no records, jobs, faults, log; settings as at the start. The token stays.
function Org:reset()
  self:command "reset"
end

--- Make a new token; the old one is dead. Also sets org.token.
function Org:new_token()
  self.token = self:command("new_token").token
  return self.token
end

--- From now on every call answers 401, until new_token.
function Org:kill_token()
  self:command "kill_token"
end

--- Keep one job (id) or all (true) in "UploadComplete", or in "InProgress" after so many rows.
function Org:hold(id, state, rows)
  self:command("hold", { id = id == nil or id, state = state, rows = rows })
end

--- Let one job, or all, go on.
function Org:release(id)
  self:command("release", { id = id == nil or id })
end

--- Count the rows of one job (id) or of all (true) without storing them; on = false ends it.
function Org:discard(id, on)
  self:command("discard", { id = id == nil or id, on = on })
end

--- Make a result set of a job ("successful", "failed", "unprocessed") so many bytes of made-up rows. Returns the number of rows.
function Org:synthetic(id, kind, bytes)
  return self:command("synthetic", { id = id, kind = kind, bytes = bytes }).rows
end

--- Make up the result of a query job (id), or of all (true) that begin from now on: { rows =, and one of bytes, row_bytes, characters;
--- filler =, last_line_end = }, which README.md explains. Of all without a table: real results again.
function Org:synthetic_query(id, result)
  self:command("synthetic_query", { id = id, result = result })
end

--- The whole result of a query job as one CSV with one header: { sha256 =, bytes =, rows = }.
function Org:digest(id)
  return self:command("digest", { id = id })
end

--- Jobs that only stand in the listings: { {...}, ... } or { count = n, job = {...} }, with the API's field names. Returns their ids.
function Org:seed_jobs(jobs)
  if not jobs.count and not jobs.jobs then
    jobs = { jobs = jobs }
  end
  return self:command("seed_jobs", jobs).ids
end

--- What counts against the daily limits: api, batches, query_jobs.
function Org:usage()
  return self:command "usage"
end

--- The lines of the org's error log: empty in ordinary runs.
function Org:errors()
  return read_file(self.dir .. "/logs/error.log") or ""
end

--- End the org and wait until it is gone.
function Org:stop()
  if not self.pipe then
    return
  end
  pcall(self.command, self, "stop")
  self.pipe:close()
  self.pipe = nil
  local deadline = socket.gettime() + STOP_SECONDS
  repeat
    local left = io.open(self.temporary and self.dir or self.dir .. "/ready") -- what goes last
    if left then
      left:close()
      socket.sleep(0.005)
    end
  until not left or socket.gettime() > deadline
end

return M
