--- The control API, on a port of its own: POST /sandbox/NAME with a JSON object, or GET /sandbox/NAME?key=value. Answers JSON. What there is
-- and what it takes is checked here, from one table, which GET /sandbox lists.

local app = require "app"
local faults = require "faults"
local hold = require "hold"
local jobs = require "jobs"
local json = require "json"
local page = require "page"
local query_run = require "query_run"
local quota = require "quota"
local records = require "records"
local request_log = require "request_log"
local results = require "results"
local session = require "session"
local settings = require "settings"
local signature = require "signature"
local walk = require "walk"

local M = {}

local function job_of(id)
  return jobs.find(id) or error("no such job: " .. tostring(id), 0)
end

local function optional_job(id)
  if id and id ~= true then
    return job_of(id)
  end
end

local YIELD_BYTES = 8388608 -- bytes that are digested before requests get their turn

--- The whole result of a query job as one CSV with one header: { sha256 =, bytes =, rows = }.
local function digest(args)
  local job = job_of(args.id)
  if job.kind ~= "query" or job.state ~= "JobComplete" then
    error("only query jobs that are complete have a result", 0)
  end
  local bytes, stream = query_run.page(job, 0, job.processed)
  local sum, since = signature.sha256(), 0
  stream(function(piece)
    sum(piece)
    since = since + #piece
    if since >= YIELD_BYTES then
      ngx.sleep(0.001)
      since = 0
    end
    return true
  end)
  return { sha256 = sum(), bytes = bytes, rows = job.processed }
end


-- What the arguments of the commands may be. "any": not looked at here.
local TYPES = { text = "string", number = "number", boolean = "boolean", object = "table", list = "table" }

-- Name, what it does, its arguments (name, type, "needed"; more = true lets others pass), and what it does with them.
local COMMANDS = {}
local by_name = {}

local function command(name, about, arguments, run)
  local entry = { name = name, about = about, arguments = arguments, run = run }
  COMMANDS[#COMMANDS + 1] = entry
  by_name[name] = entry
end

command("info", "how to reach the org", {}, function()
  local info = { token = session.token }
  for key, value in pairs(app.info) do
    info[key] = value
  end
  return info
end)

command("fault", "add a fault; answers its number", { more = true }, function(args)
  local ok, err = faults.check(args)
  if not ok then
    error(err, 0)
  end
  return { id = faults.add(args) }
end)

command("faults", "all faults, with how often they are still due", {}, function()
  return { faults = json.array(faults.all()) }
end)

command("remove_fault", "remove one fault", { { "id", "number", "needed" } }, function(args)
  if not faults.remove(args.id) then
    error(("no such fault: %g"):format(args.id), 0)
  end
end)

command("clear_faults", "remove all faults", {}, function()
  faults.clear()
end)

command("set", "change settings; answers all of them", { more = true }, function(args)
  local ok, err = settings.set(args)
  if not ok then
    error(err, 0)
  elseif args.username then
    records.rename_user(args.username)
  end
  return settings.values
end)

command("settings", "all settings", {}, function()
  return settings.values
end)

command("requests", "the request log, oldest first; path is a piece of text or a Lua pattern, since a number, other keys are compared",
  { more = true }, function(args)
    return { requests = json.array(request_log.select(args)) }
  end)

command("clear_requests", "empty the request log", {}, function()
  request_log.clear()
end)

command("jobs", "all jobs as the org sees them", {}, function()
  local list = {}
  for i, job in ipairs(jobs.all()) do
    list[i] = jobs.inspect(job)
  end
  return { jobs = json.array(list) }
end)

command("job", "one job as the org sees it", { { "id", "text", "needed" } }, function(args)
  return jobs.inspect(job_of(args.id))
end)

command("seed_jobs", "jobs that only stand in the listings: jobs, or count of them like job", {
  { "jobs", "list" }, { "count", "number" }, { "job", "object" },
}, function(args)
  local made = {}
  for _, fields in ipairs(args.jobs or {}) do
    made[#made + 1] = jobs.seed(fields).id
  end
  for _ = 1, args.count or 0 do
    made[#made + 1] = jobs.seed(args.job or {}).id
  end
  return { ids = json.array(made) }
end)

command("count", "how many living records an object has", { { "object", "text", "needed" } }, function(args)
  return { count = walk.count_records(args.object, walk.sleep) }
end)

command("times", "how often rows were written, by the value of a field (Ext__c)", { { "object", "text", "needed" }, { "field", "text" } },
  function(args)
    return { times = records.times(args.object, args.field or "Ext__c") }
  end)

command("define", "a new object, or new fields of one: name, type, length, required, unique, external_id", {
  { "object", "text", "needed" }, { "fields", "list", "needed" },
}, function(args)
  records.define(args.object, args.fields)
end)

command("hold", "keep a job, or all (id true), in a state, in InProgress after so many rows", {
  { "id", "any" }, { "state", "text" }, { "rows", "number" },
}, function(args)
  local state = args.state or "UploadComplete"
  if state ~= "UploadComplete" and state ~= "InProgress" then
    error("jobs can be held in UploadComplete and InProgress", 0)
  end
  hold.hold(optional_job(args.id), state, args.rows)
end)

command("release", "let a job, or all, go on", { { "id", "any" } }, function(args)
  hold.release(optional_job(args.id))
end)

command("discard", "count the rows of a job, or of all, without storing them", { { "id", "any" }, { "on", "boolean" } }, function(args)
  local job = optional_job(args.id)
  local on = args.on ~= false
  if job then
    job.discard = on
  else
    settings.values.discard = on
  end
end)

command("synthetic", "make a result set of a job (successful, failed, unprocessed) so many bytes of made-up rows", {
  { "id", "text", "needed" }, { "kind", "text" }, { "bytes", "number", "needed" },
}, function(args)
  local kind = (args.kind or "failed"):lower():gsub("results$", ""):gsub("records$", "")
  if kind ~= "successful" and kind ~= "failed" and kind ~= "unprocessed" then
    error("kind must be successful, failed or unprocessed", 0)
  end
  return { rows = results.synthesize(job_of(args.id), kind, args.bytes) }
end)

command("synthetic_query", "make up the result of a query job, or of all (id true): rows, bytes, row_bytes, characters, filler, last_line_end", {
  { "id", "any" }, { "result", "object" },
}, function(args)
  local job = optional_job(args.id)
  if not job then
    query_run.synthesize_all(args.result)
  elseif job.kind ~= "query" or not args.result then
    error("a query job and its result are needed", 0)
  else
    query_run.synthesize(job, args.result)
  end
end)

command("digest", "sha256, bytes and rows of the whole result of a query job", { { "id", "text", "needed" } }, digest)

command("new_token", "a new token; the old one is dead", {}, function()
  return { token = session.issue() }
end)

command("kill_token", "every call answers 401 until there is a new token", {}, function()
  session.kill()
end)

command("reset", "an empty org: no records, jobs, faults and log, settings as at the start; the token stays", {}, function()
  app.reset()
end)

command("stop", "end the org", {}, function()
  app.stop()
end)

command("usage", "what counts against the daily limits", {}, function()
  return quota.used
end)

--- What there is: the answer of GET /sandbox.
local function index()
  local list = {}
  for i, entry in ipairs(COMMANDS) do
    local arguments = {}
    for j, argument in ipairs(entry.arguments) do
      arguments[j] = { name = argument[1], type = argument[2], needed = argument[3] == "needed" }
    end
    list[i] = { name = entry.name, about = entry.about, arguments = json.array(arguments) }
  end
  return { commands = json.array(list), fault_keys = faults.KEYS, settings = settings.values }
end

local function check(entry, args)
  local known = {}
  for _, argument in ipairs(entry.arguments) do
    local name, kind, needed = unpack(argument, 1, 3)
    local value = args[name]
    known[name] = true
    if value == nil and needed then
      error(("%s needs %s (%s)"):format(entry.name, name, kind), 0)
    elseif value ~= nil and kind ~= "any" and type(value) ~= TYPES[kind] then
      error(("%s must be a %s"):format(name, kind), 0)
    elseif kind == "list" and value and next(value) ~= nil and #value == 0 then
      error(name .. " must be a list", 0)
    end
  end
  for name in pairs(args) do
    if not known[name] and not entry.arguments.more then
      error(("%s has no argument %s"):format(entry.name, name), 0)
    end
  end
end

local function arguments_of_query()
  local args = {}
  for key, value in pairs(ngx.req.get_uri_args()) do
    args[key] = tonumber(value) or (value == "true" or value ~= "false" and value)
  end
  return args
end

local function arguments_of_body()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if not text then
    local path = ngx.req.get_body_file()
    local file = path and io.open(path, "rb")
    text = file and file:read "*a" or "{}"
    if file then
      file:close()
    end
  end
  local value, err = json.decode(text)
  if type(value) ~= "table" then
    error("a JSON object is needed" .. (err and ": " .. err or ""), 0)
  end
  for key, item in pairs(value) do
    if item == json.null then
      value[key] = nil
    end
  end
  return value
end

local function answer(status, value)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.print(json.encode_plain(value, ngx.req.get_method() == "GET"), "\n")
end

function M.handle()
  -- A page of another site that is open in a browser on this machine has no business here.
  local origin = ngx.var.http_origin
  if origin and origin ~= ngx.var.scheme .. "://" .. (ngx.var.http_host or "") then
    return answer(403, { error = "requests from other sites are refused" })
  end
  local path = ngx.var.uri:gsub("/$", "")
  if not path:find "^/sandbox" and (path ~= "" or (ngx.var.http_accept or ""):find("text/html", 1, true)) then
    return page.handle(path)
  end
  if path == "" or path == "/sandbox" then
    return answer(200, index())
  end
  local entry = by_name[path:match "^/sandbox/([%w_]+)$" or ""]
  if not entry then
    return answer(404, { error = "no such command; GET /sandbox lists them" })
  end
  local ok, value = xpcall(function()
    local args = ngx.req.get_method() == "GET" and arguments_of_query() or arguments_of_body()
    check(entry, args)
    return entry.run(args) or { ok = true }
  end, function(message)
    if tostring(message):find "^[^ ]+%.lua:%d+: " then
      ngx.log(ngx.ERR, message, "\n", debug.traceback()) -- no refusal, but a bug
    end
    return message
  end)
  if ok then
    return answer(200, value)
  end
  return answer(400, { error = (tostring(value):gsub("^[^ ]+%.lua:%d+: ", "")) })
end

return M
