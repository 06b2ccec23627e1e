--- The query resources, Q1 to Q7 of the fact sheet.

local accept = require "accept"
local body = require "body"
local common = require "job_requests"
local errors = require "errors"
local jobs = require "jobs"
local json = require "json"
local query_run = require "query_run"
local quota = require "quota"
local request_log = require "request_log"
local respond = require "respond"
local settings = require "settings"

local M = {}

local OPERATIONS = { query = true, queryAll = true }
local CREATE_FIELDS = { operation = true, query = true, contentType = true, columnDelimiter = true, lineEnding = true }
local PAGE_LINKS = 5 -- in one resultPages answer (fact sheet 5)

local function check_create(fields)
  local err = body.check_fields(fields, CREATE_FIELDS) or common.check_text_fields(fields) or common.check_format(fields)
  if err then
    return err
  elseif not fields.operation then
    return errors.job "InvalidJob : The field operation is required"
  elseif not OPERATIONS[fields.operation] then
    return errors.new(400, "INVALIDOPERATION", ("'%s' is not a valid value for operation"):format(fields.operation))
  elseif not fields.query or fields.query == "" then
    return errors.job "InvalidJob : The field query is required"
  end
end

--- Q1
function M.create(request)
  local fields, err = body.json()
  err = err or check_create(fields)
  if err then
    return nil, err
  end
  local plan
  plan, err = query_run.compile(fields.query, fields.operation, request.version)
  err = err or quota.take_query()
  if err then
    return nil, err
  end
  fields.object = plan.object.name
  local job = jobs.create("query", fields, request.version)
  request_log.about(ngx.ctx.entry, job.id)
  job.plan = plan
  query_run.enqueue(job)
  return respond.json(jobs.view(job, "create"))
end

--- Q2
function M.info(request)
  return common.info(request, "query")
end

local function abort(job)
  if jobs.is_terminal(job) then
    return errors.job_state "Aborting already Completed Job not allowed"
  end
  query_run.stop(job)
  jobs.transition(job, "Aborted")
end

local function close()
  return errors.job_state "Closing already Completed Job not allowed"
end

local changes = { Aborted = abort, UploadComplete = close }

--- As in ingest.
M.abort_job = abort

function M.delete_job(job)
  if not jobs.is_terminal(job) then
    return errors.not_terminated()
  end
  jobs.remove(job)
end

--- Q5
function M.patch(request)
  return common.patch(request, "query", changes)
end

--- Q6. Unlike ingest jobs, a query job in UploadComplete cannot be deleted.
function M.delete(request)
  local job = jobs.find(request.id, "query")
  local err = common.check_owner(job) or M.delete_job(job)
  if err then
    return nil, err
  end
  return { status = 204, headers = {}, body = "" }
end

--- Q7
function M.list(request)
  return common.list(request, "query", { Classic = true, V2Query = true, V2Ingest = true })
end

-- Locators: the number of a page's first row, with a mark of the job in it, so that one nobody handed out is refused.

local function seal(job, row)
  return ngx.crc32_short(job.id .. ":" .. row)
end

local function locator_of(job, row)
  return (ngx.encode_base64(("%d-%08x"):format(row, seal(job, row))):gsub("=", ""))
end

--- The first row a locator stands for; nil for a wrong one.
local function row_of(job, locator)
  local text = ngx.decode_base64(locator .. ("="):rep(-#locator % 4))
  local row, mark = (text or ""):match "^(%d+)%-(%x+)$"
  row = tonumber(row)
  if row and tonumber(mark, 16) == seal(job, row) and row <= job.processed then
    return row
  end
end

--- The job of a results request, or why there are no results.
local function finished_job(request)
  local job = jobs.find(request.id, "query")
  if not job then
    return nil, errors.not_found()
  elseif job.api_version ~= request.version then
    return nil, errors.new(409, "API_VERSION_MISMATCH",
      ("The job was made with version %s; its results cannot be read with %s"):format(job.api_version, request.version))
  elseif job.state ~= "JobComplete" then
    return nil, errors.job_state(("Results of a job in state %s are not available"):format(job.state))
  end
  return job
end

local function first_row(job, request)
  local locator = request.args.locator
  if not locator then
    return 0
  end
  local row = row_of(job, locator)
  if not row then
    return nil, errors.locator()
  end
  return row
end

--- Q3
function M.results(request)
  local job, err = finished_job(request)
  err = err or accept.check_csv()
  local from
  if not err then
    from, err = first_row(job, request)
  end
  if err then
    return nil, err
  end
  local most = settings.values.query_page_records
  if request.args.maxRecords then
    most = request.args.maxRecords:find "^%d+$" and tonumber(request.args.maxRecords)
    if not most or most < 1 then
      return nil, errors.value(("'%s' is not a valid value for maxRecords"):format(request.args.maxRecords))
    end
  end
  local to = math.min(from + most, job.processed)
  local size, stream = query_run.page(job, from, to)
  return {
    status = 200,
    headers = {
      ["Content-Type"] = "text/csv;charset=UTF-8",
      ["Sforce-Locator"] = ngx.ctx.fault.repeats and locator_of(job, from) or to < job.processed and locator_of(job, to) or "null",
      ["Sforce-NumberOfRecords"] = ("%d"):format(to - from),
    },
    size = size,
    stream = stream,
  }
end

-- The names of a page's link and of the list of them, in the shapes that were seen (fact sheet 11.1).
local PAGE_NAMES = {
  resultUrl = { "resultPages", "resultUrl" }, resultLink = { "resultPages", "resultLink" }, resultChunks = { "resultChunks", "resultLink" },
}

--- Q4
function M.pages(request)
  local values = settings.values
  local names = PAGE_NAMES[values.result_pages]
  if not names then
    return nil, values.result_pages == "403" and errors.new(403, "API_DISABLED_FOR_ORG", "Parallel results are not enabled for this org")
      or errors.not_found()
  end
  local job, err = finished_job(request)
  local from
  if not err then
    from, err = first_row(job, request)
  end
  if err then
    return nil, err
  end
  -- Chunks are named from the version on, and the first has no locator.
  local chunks = values.result_pages == "resultChunks"
  local base = ("/jobs/query/%s/"):format(job.id)
  local root = ("/services/data/v%s"):format(job.api_version)
  local size = values.query_page_records
  local links, begin = {}, from
  while #links < PAGE_LINKS and (from < job.processed or (#links == 0 and from == 0)) do
    local locator = (not chunks or from > 0) and "?locator=" .. locator_of(job, from) or ""
    links[#links + 1] = json.object { { names[2], (chunks and "" or root) .. base .. "results" .. locator } }
    from = from + size
  end
  local repeats = ngx.ctx.fault.repeats
  local done = from >= job.processed and not repeats
  local following = root .. base .. "resultPages?locator=" .. locator_of(job, repeats and begin or from)
  return respond.json(json.object {
    { names[1], json.array(links) },
    { values.result_pages_next, not done and following or chunks and json.null or nil },
    { "done", done },
  })
end

return M
