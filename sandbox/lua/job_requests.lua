--- What ingest and query resources have in common: checks of a create body, PATCH, job info, listings.

local body = require "body"
local csv = require "csv"
local errors = require "errors"
local ids = require "ids"
local jobs = require "jobs"
local json = require "json"
local respond = require "respond"
local settings = require "settings"

local M = {}

local STATES = {
  Open = true, UploadComplete = true, InProgress = true, JobComplete = true, Failed = true, Aborted = true,
}

--- All fields of the create bodies are text; null and "" are the same as absent (fact sheet 11.3).
function M.check_text_fields(fields)
  for name, value in pairs(fields) do
    if value == json.null or value == "" then
      fields[name] = nil
    elseif type(value) ~= "string" then
      return errors.parser(("Cannot read the value of %s as text"):format(name))
    end
  end
end

--- contentType, columnDelimiter and lineEnding.
function M.check_format(fields)
  local function bad(name)
    return errors.value(("'%s' is not a valid value for %s"):format(fields[name], name))
  end
  if fields.contentType and fields.contentType ~= "CSV" then
    return bad "contentType"
  elseif fields.columnDelimiter and not csv.DELIMITERS[fields.columnDelimiter] then
    return bad "columnDelimiter"
  elseif fields.lineEnding and not csv.LINE_ENDS[fields.lineEnding] then
    return bad "lineEnding"
  end
end

--- A job may be changed by its creator, or with "Manage Data Integrations" (fact sheet 1.5).
function M.check_owner(job)
  if not job then
    return errors.not_found()
  elseif job.created_by ~= ids.USER and not settings.values.manage_data_integrations then
    return errors.new(400, "INVALIDUSER", "InvalidUser : The job belongs to another user")
  end
end

-- The fields that clients send beside state (fact sheet 11.3): what they read, which says nothing.
local PATCH_FIELDS = {
  state = true, id = true, operation = true, object = true, createdById = true, createdDate = true, systemModstamp = true,
  externalIdFieldName = true, concurrencyMode = true, contentType = true, apiVersion = true, contentUrl = true, lineEnding = true,
  columnDelimiter = true, assignmentRuleId = true, jobType = true,
}

--- PATCH of the field state. changes: what to do for each state that may be asked for.
function M.patch(request, kind, changes)
  local job = jobs.find(request.id, kind)
  local err = M.check_owner(job)
  if err then
    return nil, err
  end
  if job.job_type == "Classic" then -- jobs of the Bulk API 1.0 never change here (fact sheet 11.12)
    return nil, errors.job "InvalidJob : The job was not made by Bulk API 2.0"
  end
  local fields
  fields, err = body.json()
  err = err or body.check_fields(fields, PATCH_FIELDS)
  if err then
    return nil, err
  end
  local state = fields.state
  if type(state) ~= "string" then
    return nil, errors.job "InvalidJob : The field state is required"
  elseif not STATES[state] then
    return nil, errors.value(("'%s' is not a valid value for state"):format(state))
  elseif not changes[state] then
    return nil, errors.job_state(("The state %s cannot be set"):format(state))
  end
  err = changes[state](job)
  if err then
    return nil, err
  end
  return respond.json(jobs.view(job, "patch"))
end

function M.info(request, kind)
  local job = jobs.find(request.id, kind)
  if not job then
    return nil, errors.not_found()
  end
  return respond.json(jobs.view(job, "get"))
end

--- A page of a listing. With the setting query_list_next = "ingest" the next page of either is named under /jobs/ingest, as in the guide's
-- own example of the query listing (fact sheet 1.8): the locator is what counts. Parameters that are unknown say nothing.
function M.list(request, kind, job_types)
  local args = request.args
  local filter = { jobType = args.jobType, concurrencyMode = args.concurrencyMode and args.concurrencyMode:lower() }
  if filter.jobType and not job_types[filter.jobType] then
    return nil, errors.value(("'%s' is not a valid value for jobType"):format(filter.jobType))
  elseif filter.concurrencyMode and filter.concurrencyMode ~= "serial" and filter.concurrencyMode ~= "parallel" then
    return nil, errors.value(("'%s' is not a valid value for concurrencyMode"):format(args.concurrencyMode))
  end
  local chunking = args.isPkChunkingEnabled
  if chunking and chunking ~= "true" and chunking ~= "false" then
    return nil, errors.value(("'%s' is not a valid value for isPkChunkingEnabled"):format(chunking))
  end
  filter.isPkChunkingEnabled = chunking == "true"
  local page, locator = jobs.page(kind, filter, args.queryLocator)
  if not page then
    return nil, errors.locator()
  end
  local records = {}
  for i, job in ipairs(page) do
    records[i] = jobs.view(job, "list")
  end
  local place = kind == "query" and settings.values.query_list_next or "ingest"
  local following = locator and ("/services/data/v%s/jobs/%s?queryLocator=%s"):format(request.version, place, locator)
  return respond.json(json.object {
    { "done", locator == nil },
    { "nextRecordsUrl", following or json.null },
    { "records", json.array(records) },
  })
end

return M
