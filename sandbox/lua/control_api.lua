--- The control API, on a port of its own: POST /sandbox/NAME with a JSON object, or GET /sandbox/NAME?key=value. Answers JSON.

local cjson = require "cjson"
local app = require "app"
local faults = require "faults"
local hold = require "hold"
local jobs = require "jobs"
local query_run = require "query_run"
local quota = require "quota"
local records = require "records"
local request_log = require "request_log"
local results = require "results"
local session = require "session"
local settings = require "settings"
local signature = require "signature"

local M = {}


local function job_of(id)
  return jobs.find(id) or error("no such job: " .. tostring(id), 0)
end

local function optional_job(id)
  if id and id ~= true then
    return job_of(id)
  end
end

local commands = {}

--- How to reach the org.
function commands.info()
  local info = {}
  for key, value in pairs(app.info) do
    info[key] = value
  end
  info.token = session.token
  return info
end

--- Add a fault; see the table in README.md.
function commands.fault(args)
  local ok, err = faults.check(args)
  if not ok then
    error(err, 0)
  end
  return { id = faults.add(args) }
end

function commands.faults()
  return { faults = faults.all() }
end

function commands.clear_faults()
  faults.clear()
end

function commands.set(args)
  local ok, err = settings.set(args)
  if not ok then
    error(err, 0)
  elseif args.username then
    records.rename_user(args.username)
  end
  return settings.values
end

function commands.settings()
  return settings.values
end

function commands.requests(args)
  return { requests = request_log.select(args) }
end

function commands.clear_requests()
  request_log.clear()
end

function commands.jobs()
  local list = {}
  for i, job in ipairs(jobs.all()) do
    list[i] = jobs.inspect(job)
  end
  return { jobs = list }
end

function commands.job(args)
  return jobs.inspect(job_of(args.id))
end

--- Jobs that only stand in the listings: { jobs = { {...}, ... } }, or { count = n, job = {...} } for n alike.
function commands.seed_jobs(args)
  local made = {}
  for _, fields in ipairs(args.jobs or {}) do
    made[#made + 1] = jobs.seed(fields).id
  end
  for _ = 1, args.count or 0 do
    made[#made + 1] = jobs.seed(args.job or {}).id
  end
  return { ids = made }
end

function commands.count(args)
  return { count = records.count(args.object) }
end

--- How often rows were written, by the value of a field: { times = { value = n } }.
function commands.times(args)
  return { times = records.times(args.object, args.field or "Ext__c") }
end

--- Add an object, or fields to one: { object =, fields = { { name =, type =, length =, required =, unique =, external_id = }, ... } }.
function commands.define(args)
  records.define(args.object, args.fields)
end

function commands.hold(args)
  local state = args.state or "UploadComplete"
  if state ~= "UploadComplete" and state ~= "InProgress" then
    error("jobs can be held in UploadComplete and InProgress", 0)
  end
  hold.hold(optional_job(args.id), state, args.rows)
end

function commands.release(args)
  hold.release(optional_job(args.id))
end

--- Count the rows of one job, or of all, without storing them.
function commands.discard(args)
  local job = optional_job(args.id)
  local on = args.on ~= false
  if job then
    job.discard = on
  else
    settings.values.discard = on
  end
end

--- Make a result set of a job so many bytes: { id =, kind = "successful" | "failed" | "unprocessed", bytes = }.
function commands.synthetic(args)
  local kind = (args.kind or "failed"):lower():gsub("results$", ""):gsub("records$", "")
  if kind ~= "successful" and kind ~= "failed" and kind ~= "unprocessed" then
    error("kind must be successful, failed or unprocessed", 0)
  end
  return { rows = results.synthesize(job_of(args.id), kind, tonumber(args.bytes)) }
end

--- Make up the result of a query job, or of all (id = true) that begin from now on: { id =, result = { rows =, ... } }; see made_up.lua.
function commands.synthetic_query(args)
  local job = optional_job(args.id)
  if not job then
    query_run.make_up_all(args.result)
  elseif job.kind ~= "query" or type(args.result) ~= "table" then
    error("a query job and its result are needed", 0)
  else
    query_run.make_up(job, args.result)
  end
end

local BREATH = 8388608 -- bytes that are digested before requests get their turn

--- The whole result of a query job as one CSV with one header: { sha256 =, bytes =, rows = }.
function commands.digest(args)
  local job = job_of(args.id)
  if job.kind ~= "query" or job.state ~= "JobComplete" then
    error("only query jobs that are complete have a result", 0)
  end
  local bytes, stream = query_run.page(job, 0, job.processed)
  local digest, since = signature.sha256(), 0
  stream(function(piece)
    digest(piece)
    since = since + #piece
    if since >= BREATH then
      ngx.sleep(0.001)
      since = 0
    end
    return true
  end)
  return { sha256 = digest(), bytes = bytes, rows = job.processed }
end

function commands.new_token()
  return { token = session.issue() }
end

function commands.kill_token()
  session.kill()
end

--- An org as it was at the start: no jobs, records, faults or requests, all settings as they were. The token stays.
function commands.reset()
  app.reset()
end

function commands.stop()
  app.stop()
end

function commands.usage()
  return quota.used
end

local function arguments()
  if ngx.req.get_method() == "GET" then
    local args = {}
    for key, value in pairs(ngx.req.get_uri_args()) do
      args[key] = tonumber(value) or (value == "true" or value ~= "false" and value)
    end
    return args
  end
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
  local value = cjson.decode(text)
  if type(value) ~= "table" then
    error("a JSON object is needed", 0)
  end
  return value
end

function M.handle()
  ngx.header["Content-Type"] = "application/json"
  local command = commands[ngx.var.uri:match "^/sandbox/([%w_]+)$" or ""]
  if not command then
    ngx.status = 404
    return ngx.print '{"error":"no such command"}'
  end
  local ok, answer = pcall(function()
    return command(arguments()) or { ok = true }
  end)
  if not ok then
    ngx.status = 400
    answer = { error = tostring(answer) }
  end
  ngx.print(cjson.encode(answer))
end

return M
