--- The ingest resources, I1 to I11 of the fact sheet.

local accept = require "accept"
local body = require "body"
local errors = require "errors"
local jobs = require "jobs"
local loader = require "loader"
local multipart = require "multipart"
local quota = require "quota"
local request_log = require "request_log"
local respond = require "respond"
local results = require "results"
local schema = require "schema"
local settings = require "settings"
local store = require "store"
local common = require "job_requests"

local M = {}

local OPERATIONS = { insert = true, update = true, upsert = true, delete = true, hardDelete = true }
local CREATE_FIELDS = {
  object = true, operation = true, externalIdFieldName = true, contentType = true, columnDelimiter = true, lineEnding = true,
  assignmentRuleId = true,
}

--- What is wrong with a create request, as an error; nil when it is good.
local function check_create(fields, version)
  local err = body.check_fields(fields, CREATE_FIELDS) or common.check_text_fields(fields) or common.check_format(fields)
  if err then
    return err
  end
  if not fields.object or fields.object == "" then
    return errors.job "InvalidJob : The field object is required"
  elseif not fields.operation then
    return errors.job "InvalidJob : The field operation is required"
  elseif not OPERATIONS[fields.operation] then
    return errors.new(400, "INVALIDOPERATION", ("'%s' is not a valid value for operation"):format(fields.operation))
  elseif schema.is_unsupported(fields.object) then
    return errors.entity(fields.object)
  end
  local object = schema.find(fields.object)
  if object.read_only then
    return errors.entity(fields.object)
  end
  if fields.operation == "upsert" then
    local name = fields.externalIdFieldName
    local field = name and object:field(name)
    if not name then
      return errors.job "InvalidJob : The field externalIdFieldName is required for upsert"
    elseif not field or not (field.external_id or field.id_lookup or field.name == "Id") then
      return errors.job(("InvalidJob : Field name provided, %s does not match an External ID for %s"):format(name, object.name))
    end
  elseif fields.externalIdFieldName then
    return errors.job "InvalidJob : The field externalIdFieldName is for upsert only"
  end
  if fields.assignmentRuleId then
    if tonumber(version) < 49 then
      return errors.parser 'Unrecognized field "assignmentRuleId"'
    elseif not fields.assignmentRuleId:find "^01Q%w+$" then
      return errors.value(("'%s' is not a valid id of an assignment rule"):format(fields.assignmentRuleId))
    end
  end
  if fields.operation == "hardDelete" and not settings.values.hard_delete then
    return errors.new(400, "FEATURENOTENABLED", "hardDelete needs the permission Bulk API Hard Delete")
  end
end

local function create(fields, version)
  local err = check_create(fields, version) or quota.check_ingest()
  if err then
    return nil, err
  end
  local job = jobs.create("ingest", fields, version)
  request_log.about(ngx.ctx.entry, job.id)
  job.object = schema.find(fields.object).name
  return job
end

local function characters(text)
  local _, n = text:gsub("[^\128-\191]", "")
  return n
end

--- I2: job and data in one request.
local function create_multipart(request, content_type)
  local limit = settings.values.multipart_limit
  local text, err = body.read(limit * 4 + 65536) -- a character may take four bytes
  if not text then
    return nil, err
  end
  local parts, problem = multipart.parts(content_type, text)
  if not parts then
    return nil, errors.job("InvalidJob : " .. problem)
  end
  local first, second = parts[1], parts[2]
  if #parts ~= 2 or first.name ~= "job" or second.name ~= "content" then
    return nil, errors.job "InvalidJob : The parts must be job, then content"
  elseif first.media_type ~= "application/json" then
    return nil, errors.media_type(first.media_type, "application/json")
  elseif second.media_type ~= "text/csv" then
    return nil, errors.media_type(second.media_type, "text/csv")
  elseif characters(second.body) > limit then
    return nil, errors.job(("InvalidJob : The job data is longer than %d characters"):format(limit))
  end
  local fields
  fields, err = body.parse(first.body)
  if not fields then
    return nil, err
  end
  local job
  job, err = create(fields, request.version)
  if not job then
    return nil, err
  end
  if #second.body > 0 then
    local file = assert(io.open(jobs.path(job, "data"), "wb"))
    file:write(second.body)
    file:close()
  end
  job.bytes, job.uploads = #second.body, 1
  jobs.transition(job, "UploadComplete")
  loader.enqueue(job)
  return respond.json(jobs.view(job, "create"))
end

--- I1
function M.create(request)
  local kind, content_type = body.media_type()
  if kind == "multipart/form-data" then
    return create_multipart(request, content_type)
  end
  local fields, err = body.json()
  if not fields then
    return nil, err
  end
  local job
  job, err = create(fields, request.version)
  if not job then
    return nil, err
  end
  return respond.json(jobs.view(job, "create"))
end

-- The sentence of a second upload, refused at the upload or, with the service's own spelling, at the close (fact sheet 11.9).
local CONTENTS = " contents for job: <%s>, please 'Close' / 'Abort' / 'Delete' the current Job then create a new Job and make sure you only "
  .. "do 'PUT' once on a given Job."

local function check_upload(job)
  if job.state ~= "Open" then
    return errors.job_state(("Data cannot be uploaded to a job in state %s"):format(job.state))
  elseif job.uploads > 0 and settings.values.second_upload == "refused" then
    return errors.job_state("Found multiple" .. CONTENTS:format(job.id:sub(1, 15)))
  end
end

--- The limit counts the bytes after the service's base64 (fact sheet 5).
local function check_size(bytes)
  if math.ceil((bytes or 0) / 3) * 4 > settings.values.upload_limit then
    return errors.new(400, "CLIENTINPUTERROR", "The uploaded data is too large. The limit is 150 MB after base64 encoding")
  end
end

--- I3
function M.upload(request)
  local job = jobs.find(request.id, "ingest")
  if not job then
    return nil, errors.not_found()
  end
  local kind, content_type = body.media_type()
  if kind ~= "text/csv" then
    return nil, errors.media_type(content_type, "text/csv")
  end
  local err = body.check_encoding() or check_upload(job) or check_size(tonumber(ngx.var.http_content_length))
  if err then
    return nil, err
  end
  local arriving = jobs.path(job, "part" .. ngx.var.connection)
  local bytes
  bytes, err = body.save(arriving)
  -- The job may have moved on while the body came in.
  err = err or check_upload(job) or check_size(bytes) or (job.deleted and errors.not_found())
  if err then
    os.remove(arriving)
    return nil, err
  end
  if bytes > 0 then
    assert(os.rename(arriving, jobs.path(job, "data")))
  end
  job.bytes = bytes
  job.uploads = job.uploads + 1
  store.save_job(job)
  return { status = 201, headers = {}, body = "" }
end

local function close(job)
  if job.state ~= "Open" then
    return errors.job_state "Closing already Completed Job not allowed"
  elseif job.uploads > 1 then
    return errors.job("Found multipe" .. CONTENTS:format(job.id:sub(1, 15)))
  end
  jobs.transition(job, "UploadComplete")
  loader.enqueue(job)
end

local function abort(job)
  if jobs.is_terminal(job) then
    return errors.job_state "Aborting already Completed Job not allowed"
  end
  loader.abort(job)
end

local changes = { UploadComplete = close, Aborted = abort }

--- What a PATCH and a DELETE do, for the page on the control port too. They answer an error when they may not.
M.abort_job = abort

function M.delete_job(job)
  if not jobs.is_terminal(job) and job.state ~= "UploadComplete" then
    return errors.not_terminated()
  end
  loader.stop(job)
  jobs.remove(job)
end

--- I4, I5
function M.patch(request)
  return common.patch(request, "ingest", changes)
end

--- I6
function M.delete(request)
  local job = jobs.find(request.id, "ingest")
  local err = common.check_owner(job) or M.delete_job(job)
  if err then
    return nil, err
  end
  return { status = 204, headers = {}, body = "" }
end

--- I7
function M.info(request)
  return common.info(request, "ingest")
end

--- I8
function M.list(request)
  return common.list(request, "ingest", { BigObjectIngest = true, Classic = true, V2Ingest = true })
end

--- I9, I10, I11
local function result_getter(kind)
  return function(request)
    local job = jobs.find(request.id, "ingest")
    if not job then
      return nil, errors.not_found()
    end
    local err = accept.check_csv()
    if err then
      return nil, err
    end
    return results.answer(job, kind)
  end
end

M.successful = result_getter "successful"
M.failed = result_getter "failed"
M.unprocessed = result_getter "unprocessed"

return M
