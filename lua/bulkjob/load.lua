--- Whole loads: a file of any size as many jobs, each record once.
local core = require "bulkjob.core"
local crew = require "bulkjob.crew"
local outcome = require "bulkjob.load.outcome"
local part_of_load = require "bulkjob.load.part"
local plan = require "bulkjob.load.plan"

local client_methods = core.client_methods

-- The guide, Limits: 150 MB after base64, which is 100 MB raw.
local PART_BYTES = 100000000
local JOBS = 4

---@class bulkjob.LoadOptions
---@field object string
---@field operation "insert"|"update"|"upsert"|"delete"|"hardDelete"
---@field externalIdFieldName string|nil
---@field assignmentRuleId string|nil
---@field file string|nil a CSV file: this or `rows`
---@field rows table[]|(fun(): table|nil)|nil written to the disk first: beside the journal, or where temporary files go
---@field columns string[]|nil of rows
---@field jobs integer|nil how many at the same time, 4 by default
---@field part_bytes integer|nil at most so many in one job, 100,000,000 by default
---@field journal string|nil a file that a load which was broken off is taken on from, by the same call again
---@field results string|nil a directory for successful.csv, failed.csv and unprocessed.csv
---@field join boolean|nil write joined.csv there, too: each row of the input with what became of it
---@field retry_failed string|nil load rows once more whose error holds this text, such as "UNABLE_TO_LOCK_ROW"
---@field describe boolean|nil look whether the object has the columns, first
---@field on_progress fun(progress: bulkjob.Progress)|nil
---@field wait boolean|nil false: come back when all is closed

---@class bulkjob.Progress
---@field bytes integer sent
---@field total_bytes integer
---@field records integer in all
---@field processed integer as the service counts them
---@field failed integer
---@field jobs table<string, integer> by what they do: waiting, creating, uploading, closing, processing, done, failed
---@field rate number bytes a second
---@field seconds number
---@field seconds_left number|nil nil while nobody can tell

---@class bulkjob.Report
---@field jobs table[] job infos, in the order of the parts
---@field records integer
---@field processed integer
---@field failed integer
---@field unprocessed integer
---@field bytes integer
---@field seconds number
---@field results { successful: string, failed: string, unprocessed: string, joined: string|nil }|nil the files
---@field strays integer how many empty, open jobs creates with lost answers may have left behind
---@field retried integer|nil rows that were loaded once more

local TYPES = {
  object = "string", operation = "string", externalIdFieldName = "string", assignmentRuleId = "string", file = "string",
  rows = "table or function", columns = "table", jobs = "number", part_bytes = "number", journal = "string", results = "string",
  describe = "boolean", on_progress = "function", wait = "boolean", join = "boolean", retry_failed = "string",
}
local NEEDED = { "object", "operation" }
local OPERATIONS = { insert = true, update = true, upsert = true, delete = true, hardDelete = true }

local function misuse(text)
  error("bulkjob: load: " .. text, 4)
end

local function check_options(options)
  if type(options) ~= "table" then
    misuse("a table expected, got " .. type(options))
  end
  for name, value in pairs(options) do
    local expected = TYPES[name]
    if not expected then
      misuse("unknown option '" .. tostring(name) .. "'")
    elseif not expected:find(type(value), 1, true) then
      misuse(name .. ": " .. expected .. " expected, got " .. type(value))
    end
  end
  for _, name in ipairs(NEEDED) do
    if not options[name] then
      misuse(name .. " is missing")
    end
  end
  if not OPERATIONS[options.operation] then
    misuse("operation: insert, update, upsert, delete or hardDelete expected, got " .. options.operation)
  elseif (options.operation == "upsert") ~= (options.externalIdFieldName ~= nil) then
    misuse("externalIdFieldName goes with an upsert, and an upsert needs it")
  elseif (options.file ~= nil) == (options.rows ~= nil) then
    misuse "either file or rows expected"
  end
  for _, name in ipairs { "join", "retry_failed" } do
    if options[name] and (not options.results or options.wait == false) then
      misuse(name .. " needs results, and to wait for them")
    end
  end
  for _, name in ipairs { "jobs", "part_bytes" } do
    local value = options[name]
    if value and not (value >= 1 and value % 1 == 0) then
      misuse(name .. ": a whole number from 1 on expected, got " .. tostring(value))
    end
  end
end

-- Where ending a worker leaves no doubt: an upload is rolled back, a job that runs goes on without us. A create or a close under way
-- comes to its end.
local INTERRUPTIBLE = { uploading = true, processing = true }

local function may_cancel(worker)
  return worker.part and INTERRUPTIBLE[worker.part.doing]
end

local function work(load, worker)
  while not load.crew.err do
    local part = load.parts[load.next_part]
    load.next_part = load.next_part + 1
    if not part then
      return
    end
    worker.part = part
    local ok, err = part_of_load.run(load, part)
    if not ok then
      load.crew:stop(err)
    end
  end
end

local function progress(load)
  local seconds = core.now() - load.began
  local now = {
    bytes = 0, total_bytes = 0, records = load.plan.records, processed = 0, failed = 0, jobs = {}, seconds = seconds,
  }
  for _, part in ipairs(load.parts) do
    local uploading = part.doing == "uploading" and core.job_facts(part.job).upload
    now.bytes = now.bytes + (uploading and math.min(uploading:progress(), part.bytes) or part.sent)
    now.total_bytes = now.total_bytes + part.bytes
    now.processed = now.processed + (part.info and part.info.numberRecordsProcessed or 0)
    now.failed = now.failed + (part.info and part.info.numberRecordsFailed or 0)
    now.jobs[part.doing] = (now.jobs[part.doing] or 0) + 1
  end
  now.rate = seconds > 0 and now.bytes / seconds or 0
  -- Processing takes the longer part of most loads, so what was processed tells more than what was sent.
  local done = load.options.wait == false and now.bytes / math.max(now.total_bytes, 1) or now.processed / math.max(now.records, 1)
  now.seconds_left = done > 0 and seconds * (1 - done) / done or nil
  return now
end

local function run(load)
  local ok, err = plan.open(load)
  if not ok then
    return nil, err
  end
  load.header, err = plan.read_range(load.file, load.plan.header_first, load.plan.header_last)
  if not load.header then
    return nil, err
  end
  load.crew:run(math.min(load.options.jobs or JOBS, #load.parts), function(worker)
    work(load, worker)
  end)
  if load.crew.err then
    return nil, load.crew.err
  end
  local sums
  sums, err = outcome.report(load)
  load.finished = sums ~= nil
  return sums, err
end

local function clean_up(load)
  if load.journal then
    load.journal:close()
  end
  if load.temporary and (load.finished or not load.journal) then
    os.remove(load.temporary)
  end
end

--- Loads a whole file, or rows, as many jobs as it takes. Each record arrives once, or the report says which did not: with a
--- `journal`, also when the program or the machine is stopped at any moment, and the same call is made again.
---@param options bulkjob.LoadOptions
---@return bulkjob.Report|nil report, bulkjob.Error|nil err
function client_methods:load(options)
  check_options(options)
  local load = {
    client = self, options = options, part_bytes = options.part_bytes or PART_BYTES, began = core.now(),
    parts = {}, next_part = 1, strays = 0,
  }
  load.crew = crew.new {
    client = self, on_progress = options.on_progress, may_cancel = may_cancel,
    progress = function()
      return progress(load)
    end,
  }
  return load.crew:whole(run, load, clean_up)
end
