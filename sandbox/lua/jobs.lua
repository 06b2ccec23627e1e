--- All jobs of the org: their states, what each answer shows of them (fact sheet 2.1, 2.2) and the listings (1.8).

local clock = require "clock"
local ids = require "ids"
local json = require "json"
local settings = require "settings"
local store = require "store"

local M = {}

-- They are made here, and M.reset is not called before this file is loaded: the LuaJIT of Debian 12 compiles a function that sets locals
-- which are still on the stack to one that never tells the garbage collector of their later values (LuaJIT's issue 1085), and it then frees
-- what is in use.
local by_id, order, walks, walk_count = {}, {}, {}, 0
M.dir = nil -- where job files live

local TERMINAL = { JobComplete = true, Failed = true, Aborted = true }

function M.reset()
  by_id, order, walks, walk_count = {}, {}, {}, 0
end

function M.is_terminal(job)
  return TERMINAL[job.state] == true
end

--- Every change of state goes through here, so that tests can count how often each took effect.
function M.transition(job, state)
  job.state = state
  job.modified = clock.org_now()
  job.transitions[state] = (job.transitions[state] or 0) + 1
  job.history[#job.history + 1] = { state = state, at = job.modified }
  store.save_job(job)
end

local last_number = 0

local function enter(job)
  last_number = last_number + 1
  job.number = last_number
  by_id[job.id] = job
  order[#order + 1] = job
  return job
end

local function add(job)
  job.created = job.created or clock.org_now()
  job.modified = job.modified or job.created
  job.created_by = job.created_by or ids.USER
  job.processed, job.failed = job.processed or 0, job.failed or 0
  job.transitions, job.history = {}, {}
  job.uploads = 0
  return enter(job)
end

--- A job that the org remembers from before its last start.
function M.restore(job)
  last_number = math.max(last_number, job.number)
  by_id[job.id] = job
  order[#order + 1] = job
end

--- A new job from the fields of a create request.
function M.create(kind, fields, version)
  local job = add {
    id = ids.new "750",
    kind = kind,
    job_type = kind == "query" and "V2Query" or "V2Ingest",
    operation = fields.operation,
    object = fields.object,
    query_text = fields.query,
    pk_chunking_supported = kind == "query", -- of the object, whatever the query (fact sheet 11.13)
    external_id_field = fields.externalIdFieldName,
    assignment_rule_id = fields.assignmentRuleId,
    content_type = "CSV",
    column_delimiter = fields.columnDelimiter or "COMMA",
    line_ending = fields.lineEnding or "LF",
    api_version = version,
    concurrency_mode = "Parallel",
  }
  M.transition(job, kind == "query" and "UploadComplete" or "Open")
  return job
end

--- A job that only stands in the listings, as a test describes it with the field names of the API. Bulk API 1.0 jobs and those of
-- other users come in this way.
function M.seed(fields)
  local is_query = fields.operation == "query" or fields.operation == "queryAll"
  local kind = fields.kind or is_query and "query" or "ingest"
  local classic = fields.jobType == "Classic"
  local created = fields.createdDate and (clock.parse(fields.createdDate) or error("bad createdDate: " .. fields.createdDate, 0))
  local job = add {
    id = fields.id or ids.new "750",
    kind = kind,
    job_type = fields.jobType or (kind == "query" and "V2Query" or "V2Ingest"),
    operation = fields.operation or "insert",
    object = fields.object or "Account",
    external_id_field = fields.externalIdFieldName,
    content_type = fields.contentType or "CSV",
    -- 1.0 jobs have neither (fact sheet 1.8).
    column_delimiter = fields.columnDelimiter or not classic and "COMMA" or nil,
    line_ending = fields.lineEnding or not classic and "LF" or nil,
    api_version = ("%.1f"):format(fields.apiVersion or 66),
    concurrency_mode = fields.concurrencyMode or "Parallel",
    pk_chunking = fields.isPkChunkingEnabled,
    created = created,
    modified = fields.systemModstamp and clock.parse(fields.systemModstamp) or created,
    created_by = fields.createdById,
    state = fields.state or "Open",
    processed = fields.numberRecordsProcessed,
    failed = fields.numberRecordsFailed,
    seeded = true,
  }
  store.save_job(job)
  return job
end

--- The job of that id; the 15 character form will do. kind: "ingest" or "query".
function M.find(id, kind)
  local job = by_id[ids.full(id) or id]
  if job and (not kind or job.kind == kind) then
    return job
  end
end

function M.all()
  return order
end

function M.remove(job)
  by_id[job.id] = nil
  for i, other in ipairs(order) do
    if other == job then
      table.remove(order, i)
      break
    end
  end
  job.deleted = true
  store.remove_job(job)
  for _, suffix in ipairs { "data", "successful", "failed", "rows", "index" } do
    os.remove(M.path(job, suffix))
  end
end

--- A file of this job: its upload, its results.
function M.path(job, suffix)
  return ("%s/jobs/%s.%s"):format(M.dir, job.id, suffix)
end

--- Milliseconds between two moments of a job's work; 0 while it runs (fact sheet 2.1).
local function milliseconds(from, to)
  return from and to and math.floor((to - from) * 1000 + 0.5) or 0
end

local NO_COUNTERS = { Open = true }

--- A job as JSON. answer: "create", "patch", "get" or "list".
function M.view(job, answer)
  local is_query = job.kind == "query"
  local full = answer == "get" or answer == "list"
  local settled = answer ~= "patch"
  local counted = answer == "get" and not NO_COUNTERS[job.state] and settings.values.counters
  local got = answer == "get"
  local fields = {
    { "id", job.id },
    { "operation", job.operation },
    { "object", job.object },
    { "createdById", job.created_by },
    { "createdDate", clock.iso(job.created) },
    { "systemModstamp", clock.iso(job.modified) },
    { "state", job.state },
    { "externalIdFieldName", job.external_id_field },
    { "assignmentRuleId", job.assignment_rule_id },
    { "concurrencyMode", job.concurrency_mode },
    { "contentType", job.content_type },
    { "apiVersion", json.raw(job.api_version) },
  }
  local function put(name, value)
    fields[#fields + 1] = { name, value }
  end
  if full then
    put("jobType", job.job_type)
  end
  if settled then
    if not is_query and job.state == "Open" and job.job_type ~= "Classic" then
      put("contentUrl", ("services/data/v%s/jobs/ingest/%s/batches"):format(job.api_version, job.id))
    end
    put("lineEnding", job.line_ending)
    put("columnDelimiter", job.column_delimiter)
  end
  if counted then
    put("numberRecordsProcessed", job.processed)
    if not is_query then
      put("numberRecordsFailed", job.failed)
    end
  end
  if got then
    local spent = milliseconds(job.started, job.finished)
    put("retries", 0)
    put("totalProcessingTime", spent)
    if not is_query then
      put("apiActiveProcessingTime", spent)
      put("apexProcessingTime", 0)
    end
    put("errorMessage", job.error_message)
    if is_query then
      put("isPkChunkingSupported", job.pk_chunking_supported == true)
    end
  end
  return json.object(fields)
end

--- A job as the org itself sees it, for tests.
function M.inspect(job)
  return {
    id = job.id, kind = job.kind, jobType = job.job_type, operation = job.operation, object = job.object, state = job.state,
    apiVersion = job.api_version, createdById = job.created_by, createdDate = clock.iso(job.created),
    lineEnding = job.line_ending, columnDelimiter = job.column_delimiter, externalIdFieldName = job.external_id_field,
    transitions = job.transitions, uploads = job.uploads, bytes = job.bytes or 0, rows = job.rows, processed = job.processed,
    failed = job.failed, errorMessage = job.error_message, held = job.held or false, seeded = job.seeded or false,
    discard = job.discard or false,
  }
end

-- Listings. A locator stands for the list as it was when the walk began, so jobs made meanwhile neither shift nor repeat a page.

local MAX_WALKS = 50

--- Jobs come in no defined order (fact sheet 1.8): here by their ids read backwards.
local function scrambled(list)
  local keys = {}
  for _, job in ipairs(list) do
    keys[job] = job.id:sub(1, 15):reverse()
  end
  table.sort(list, function(a, b)
    return keys[a] < keys[b]
  end)
  return list
end

local function select_jobs(kind, filter)
  local out = {}
  for _, job in ipairs(order) do
    -- The query listing may be asked for V2Ingest jobs too.
    local in_listing = job.kind == kind or (kind == "query" and filter.jobType == "V2Ingest" and job.job_type == "V2Ingest")
    if in_listing
      and (not filter.jobType or job.job_type == filter.jobType)
      and (not filter.concurrencyMode or job.concurrency_mode:lower() == filter.concurrencyMode)
      and (not filter.isPkChunkingEnabled or job.pk_chunking)
    then
      out[#out + 1] = job
    end
  end
  return scrambled(out)
end

--- One page of a listing: the jobs and the locator of the next page (nil at the end). nil when the locator is not of this listing.
function M.page(kind, filter, locator)
  local walk, from
  if locator then
    local number, offset = locator:match "^01g8d000000(%w%w%w%w)AAQ%-(%d+)$"
    walk = number and walks[tonumber(number, 36)]
    from = tonumber(offset)
    if not walk or walk.kind ~= kind or not walk.offsets[from] then
      return nil
    end
  else
    walk, from = { kind = kind, jobs = select_jobs(kind, filter), offsets = {} }, 0
  end
  local size = settings.values.list_page_size
  local page = {}
  for i = from + 1, math.min(from + size, #walk.jobs) do
    if not walk.jobs[i].deleted then
      page[#page + 1] = walk.jobs[i]
    end
  end
  local following = from + size
  if following >= #walk.jobs then
    return page
  end
  if not walk.number then
    walk_count = walk_count + 1
    walk.number = walk_count
    walks[walk_count] = walk
    walks[walk_count - MAX_WALKS] = nil
  end
  walk.offsets[following] = true
  local digits, n = "", walk.number
  for _ = 1, 4 do
    local d = n % 36
    digits = ("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"):sub(d + 1, d + 1) .. digits
    n = (n - d) / 36
  end
  return page, ("01g8d000000%sAAQ-%d"):format(digits, following)
end

return M
