--- The subcommands. Each gets the client, the options and the arguments, and answers an exit code, or nil, err.
local extract = require "bulkjob.cli.extract"
local load = require "bulkjob.cli.load"
local output = require "bulkjob.cli.output"
local status = require "bulkjob.cli.status"

local commands = { extract = extract, load = load }

local GOOD, SOME_FAILED = status.GOOD, status.SOME_FAILED

local function show(options, value)
  if options.json then
    output.json(value)
  else
    output.fields(value)
  end
end

local function show_info(options, info, err)
  if not info then
    return nil, err
  end
  show(options, info)
  return GOOD
end

local SPEC = {
  "object", "operation", "externalIdFieldName", "assignmentRuleId", "query", "columnDelimiter", "lineEnding",
}

function commands.create(client, options)
  local spec = {}
  for _, name in ipairs(SPEC) do
    spec[name] = options[name]
  end
  local job, err = client:create(spec)
  if not job then
    return nil, err
  end
  if options.json then
    output.json { id = job.id, kind = job.kind, state = job.state }
  else
    output.line(job.id)
  end
  local lost = output.loss("the id of the job " .. job.id .. ", which is " .. (job.state or "there") .. ",")
  return not lost and GOOD or nil, lost
end

function commands.upload(client, options)
  local job = client:job(options.id, "ingest")
  local ok, err = job:upload { file = options.file }
  return ok and GOOD, err
end

for _, verb in ipairs { "close", "abort", "info" } do
  commands[verb] = function(client, options)
    local job = client:job(options.id)
    return show_info(options, job[verb](job))
  end
end

function commands.delete(client, options)
  local ok, err = client:job(options.id):delete()
  return ok and GOOD, err
end

function commands.wait(client, options)
  local info, err = client:job(options.id):wait { timeout = options.timeout }
  if not info then
    return nil, err
  end
  show(options, info)
  return info.state == "JobComplete" and (info.numberRecordsFailed or 0) == 0 and GOOD or SOME_FAILED
end

local RESULTS = { successful = "successful_results", failed = "failed_results", unprocessed = "unprocessed_records" }

function commands.results(client, options)
  local job = client:job(options.id)
  local info, err = job:info()
  if not info then
    return nil, err
  end
  local set
  if job.kind == "query" then
    set = job:results()
  else
    local method = RESULTS[options.which or "successful"]
    set = job[method](job)
  end
  local ok
  if options.output then
    ok, err = set:save(options.output)
  else
    ok, err = output.pieces(set:chunks())
  end
  return ok and GOOD, err
end

-- In 80 columns, with an object of up to 14 characters.
local WIDTHS = { 18, 14, 10, 16 }

-- "2026-03-04T09:15:27.000+0000" to the minute. The service gives UTC.
local function minute(date)
  return (date:gsub("^(%d+-%d+-%d+)T(%d+:%d+).*", "%1 %2"))
end

-- What the service leaves out is empty.
local function columns_of(info)
  return { info.id, info.state or "", info.operation or "", minute(info.createdDate or ""), info.object or "" }
end

function commands.jobs(client, options)
  if not options.json then
    output.row({ "ID", "STATE", "OPERATION", "CREATED (UTC)", "OBJECT" }, WIDTHS)
  end
  for info in client:jobs { kind = options.kind, state = options.state, object = options.object, operation = options.operation } do
    local written
    if options.json then
      written = output.json(info)
    else
      written = output.row(columns_of(info), WIDTHS)
    end
    if not written then
      break
    end
  end
  return GOOD
end

function commands.limits(client, options)
  local limits, err = client:limits()
  if not limits then
    return nil, err
  end
  local left = {}
  for name, limit in pairs(limits) do
    if type(limit) == "table" and limit.Remaining then
      left[name] = output.number(limit.Remaining) .. " of " .. output.number(limit.Max)
    end
  end
  show(options, options.json and limits or left)
  return GOOD
end

return commands
