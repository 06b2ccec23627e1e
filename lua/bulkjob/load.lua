--- Whole loads: a file of any size as many jobs, each record once.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local job = require "bulkjob.job"
local journal = require "bulkjob.journal"
local results = require "bulkjob.results"
local source = require "bulkjob.source"
local task = require "bulkjob.task"
local yieldable = require "bulkjob.yieldable"

local client_methods = core.client_methods

-- The guide, Limits: 150 MB after base64, which is 100 MB raw.
local PART_BYTES = 100000000
local JOBS = 4

-- Bytes of the start and the end of a file that tell it from another.
local ENDS = 64 * 1024

-- Seconds between two looks at how far it is.
local TICK = 0.2

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
---@field describe boolean|nil look whether the object has the columns, first
---@field on_progress fun(progress: bulkjob.Progress)|nil
---@field wait boolean|nil false: come back when all is closed

---@class bulkjob.Progress
---@field bytes integer sent
---@field total_bytes integer
---@field records integer in all
---@field processed integer as the service counts them
---@field failed integer
---@field jobs table<string, integer> by what they do: waiting, creating, uploading, closing, processing, done
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
---@field results { successful: string, failed: string, unprocessed: string }|nil the files

local TYPES = {
  object = "string", operation = "string", externalIdFieldName = "string", assignmentRuleId = "string", file = "string",
  rows = "table or function", columns = "table", jobs = "number", part_bytes = "number", journal = "string", results = "string",
  describe = "boolean", on_progress = "function", wait = "boolean",
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
  for _, name in ipairs { "jobs", "part_bytes" } do
    local value = options[name]
    if value and not (value >= 1 and value % 1 == 0) then
      misuse(name .. ": a whole number from 1 on expected, got " .. tostring(value))
    end
  end
end

-- ---- what is loaded ----

local function read_range(path, first, last)
  local file, why = io.open(path, "rb")
  local text
  if file then
    file:seek("set", first - 1)
    text, why = last < first and "" or file:read(last - first + 1), why
    file:close()
  end
  if not text then
    return nil, core.error("io", path .. ": " .. tostring(why or "it became shorter"))
  end
  return text
end

-- What tells this file from another, or from itself after a change.
local function identify(path)
  local stat, err = core.stat(path)
  if not stat then
    return nil, err
  end
  local first, last
  first, err = read_range(path, 1, math.min(ENDS, stat.size))
  if first then
    last, err = read_range(path, math.max(1, stat.size - ENDS + 1), stat.size)
  end
  if not last then
    return nil, err
  end
  return { size = stat.size, mtime = stat.mtime, first = core.crc32(first), last = core.crc32(last) }
end

local function write_chunks(path, chunks)
  local file, why = io.open(path, "wb")
  if not file then
    return nil, core.error("io", why)
  end
  local chunk, err, ok
  repeat
    chunk, err = chunks()
    if chunk then
      ok, why = file:write(chunk)
      err = not ok and core.error("io", path .. ": " .. tostring(why)) or nil
    end
    task.breathe()
  until not chunk or err
  ok, why = file:close()
  if not ok and not err then
    err = core.error("io", path .. ": " .. tostring(why))
  end
  if err then
    os.remove(path)
    return nil, core.is_error(err) and err or core.error("io", "the source failed: " .. tostring(err))
  end
  return true
end

-- Rows of results that are loaded again have columns of the service's own, which it takes from nobody.
local function is_own_column(name)
  return name:find("^sf__") ~= nil
end

local function without_own_columns(path, facts)
  local columns = {}
  for _, name in ipairs(facts.columns) do
    if not is_own_column(name) then
      columns[#columns + 1] = name
    end
  end
  return { rows = assert(csv.rows({ file = path }, { delimiter = facts.columnDelimiter })), columns = columns }, {
    columnDelimiter = facts.columnDelimiter, lineEnding = facts.lineEnding,
  }
end

-- Writes rows to the disk: a part has to be sent again when a connection breaks, and after a crash.
local function spool(load, rows, format)
  local path = load.options.journal and load.options.journal .. ".rows.csv" or os.tmpname()
  local chunks, err = source.chunks(rows, format or {})
  if not chunks then
    return nil, err
  end
  load.temporary = path
  local ok
  ok, err = write_chunks(path, chunks)
  if not ok then
    return nil, err
  end
  load.file = path
  return true
end

local function check_file(load)
  local facts, err = csv.check({ file = load.file }, { part_bytes = load.part_bytes }, task.breathe)
  if not facts then
    err.message = load.file .. ": " .. err.message
    return nil, err
  end
  return facts
end

local function has_own_columns(facts)
  for _, name in ipairs(facts.columns) do
    if is_own_column(name) then
      return true
    end
  end
end

-- Does the object have the columns?
local function compare_describe(load, facts)
  if load.options.object:find "[^%w_]" then
    return nil, core.error("csv", "'" .. load.options.object .. "' is no name of an object")
  end
  local description, err = call.run(load.client, core.read(load.client, "sobjects/" .. load.options.object .. "/describe"))
  if not description then
    return nil, err
  end
  local known = {}
  for _, field in ipairs(type(description.fields) == "table" and description.fields or {}) do
    known[tostring(field.name):lower()] = true
    if type(field.relationshipName) == "string" then
      known[field.relationshipName:lower()] = true
    end
  end
  for _, name in ipairs(facts.columns) do
    local field = name:match "^[^:]+:([^.]+)%." or name:match "^([^.]+)%." or name
    if not known[field:lower()] then
      err = core.error("csv", load.file .. ": line 1: " .. load.options.object .. " has no field '" .. name .. "'")
      err.line, err.column = 1, name
      return nil, err
    end
  end
  return true
end

-- The guide, Limits: a batch has 10,000 rows, and is what the day's limit counts. A request for each step of a job, and some for
-- looking at it.
local BATCH_ROWS, REQUESTS_A_JOB = 10000, 10

-- Says so, as an event, when the load cannot fit in what is left for today. What is left changes by the minute, so it is tried all
-- the same.
local function warn_of_limits(load)
  local on_event = core.client_option(load.client, "on_event")
  local limits = on_event and load.client:limits()
  if not limits then
    return
  end
  local batches = 0
  for _, part in ipairs(load.parts) do
    batches = batches + math.ceil(part.records / BATCH_ROWS)
  end
  for name, needed in pairs { DailyBulkApiBatches = batches, DailyApiRequests = #load.parts * REQUESTS_A_JOB } do
    local left = type(limits[name]) == "table" and limits[name].Remaining
    if left and needed > left then
      on_event { type = "limit", name = name, needed = needed, remaining = left }
    end
  end
end

local function new_part(number, first, last, records)
  return { number = number, first = first, last = last, records = records, sent = 0, doing = "waiting" }
end

-- Looks through the file and cuts it. A load that is taken on has the cuts in its journal.
local function prepare(load)
  local options = load.options
  local ok, facts, err
  load.file = options.file
  if options.rows then
    ok, err = spool(load, { rows = options.rows, columns = options.columns })
    if not ok then
      return nil, err
    end
  end
  facts, err = check_file(load)
  if facts and has_own_columns(facts) then
    ok, err = spool(load, without_own_columns(load.file, facts))
    facts = nil
    if ok then
      facts, err = check_file(load)
    end
  end
  if facts and options.describe then
    ok, err = compare_describe(load, facts)
    facts = ok and facts
  end
  if not facts then
    return nil, err
  end
  load.plan = {
    load = 1, file = load.file, object = options.object, operation = options.operation,
    externalIdFieldName = options.externalIdFieldName, assignmentRuleId = options.assignmentRuleId,
    part_bytes = load.part_bytes, org = core.org(load.client),
    columnDelimiter = facts.columnDelimiter, lineEnding = facts.lineEnding, records = facts.records,
    header_first = facts.header_first, header_last = facts.header_last, parts = {},
  }
  for i, part in ipairs(facts.parts) do
    load.plan.parts[i] = { part.first, part.last, part.records }
    load.parts[i] = new_part(i, part.first, part.last, part.records)
  end
  return true
end

-- ---- the journal ----

local SAME = { "object", "operation", "externalIdFieldName", "assignmentRuleId", "part_bytes", "org" }

local function refuse(load, what)
  return nil, core.error("io", "journal " .. load.options.journal .. ": it was made for another load: " .. what)
end

-- Is the plan in the journal that of this load?
local function compare_plan(load, plan)
  local options = load.options
  if plan.load ~= 1 then
    return refuse(load, "not one of this version")
  end
  local mine = {
    object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
    assignmentRuleId = options.assignmentRuleId, part_bytes = load.part_bytes, org = core.org(load.client),
  }
  for _, name in ipairs(SAME) do
    if plan[name] ~= mine[name] and not (name == "org" and not (plan.org and mine.org)) then
      return refuse(load, name .. " was " .. tostring(plan[name]) .. ", and is " .. tostring(mine[name]))
    end
  end
  if options.file and plan.source.path ~= options.file then
    return refuse(load, "the file was " .. tostring(plan.source.path) .. ", and is " .. options.file)
  elseif not options.file and plan.source.path then
    return refuse(load, "it was a file, and now there are rows")
  end
  for _, path in ipairs { plan.file, options.file } do
    local now, err = identify(path)
    if not now then
      return nil, err
    end
    local was = path == plan.file and plan.identity or plan.source.identity
    for name, value in pairs(was) do
      if now[name] ~= value then
        return refuse(load, path .. " has changed since")
      end
    end
  end
  return true
end

-- Up to so many jobs may have been made at this time that nobody knows of.
local function lost_create(load, count, time)
  load.lost = load.lost + count
  load.lost_times[#load.lost_times + 1] = time
end

local STEPS = { creating = true, lost = true, created = true, uploaded = true, closing = true, closed = true, aborting = true, done = true }

-- Takes over what the journal says about the parts.
local function replay(load, lines)
  local plan = lines[1]
  load.plan, load.file = plan, plan.file
  if plan.file ~= load.options.file then
    load.temporary = plan.file
  end
  for i, cut in ipairs(plan.parts) do
    load.parts[i] = new_part(i, cut[1], cut[2], cut[3])
  end
  for i = 2, #lines do
    local line = lines[i]
    local part = load.parts[line.part]
    if not part or not STEPS[line.step] then
      return nil, core.error("io", "journal " .. load.options.journal .. ": line " .. i .. " makes no sense")
    end
    part.step = line.step
    if line.step == "creating" then
      part.job_id = nil
      load.unanswered[line.part] = line.time
    elseif line.step == "created" then
      part.job_id = line.job
      load.known_jobs[line.job] = true
      load.unanswered[line.part] = nil
    elseif line.step == "lost" then
      load.unanswered[line.part] = nil
      lost_create(load, line.count, line.time)
    elseif line.step == "done" then
      part.info = line.info
    end
  end
  for _, time in pairs(load.unanswered) do
    lost_create(load, 1, time)
  end
  return true
end

local function open_journal(load)
  local path = load.options.journal
  local opened, err, ok
  if path then
    opened, err = journal.open(path)
    if not opened then
      return nil, err
    end
    load.journal = opened
    if opened.lines[1] then
      ok, err = compare_plan(load, opened.lines[1])
      if ok then
        ok, err = replay(load, opened.lines)
      end
      return ok, err
    end
  end
  ok, err = prepare(load)
  if ok and #load.parts > 0 then
    warn_of_limits(load)
  end
  if not ok or not load.journal then
    return ok, err
  end
  load.plan.identity, err = identify(load.file)
  load.plan.source = { path = load.options.file }
  if load.plan.identity and load.options.file then
    load.plan.source.identity, err = identify(load.options.file)
  end
  if err then
    return nil, err
  end
  return load.journal:add(load.plan)
end

-- Notes a step of a part before what depends on it.
local function note(load, part, step, more)
  part.step = step
  if not load.journal then
    return true
  end
  local line = more or {}
  line.part, line.step = part.number, step
  return load.journal:add(line)
end

-- ---- one part ----

-- What became of the job that an earlier run had for this part. True: it was closed, and is never sent again. False: nothing of it
-- can have been processed, and it is gone. nil, err: nobody can say.
local function settle(load, part)
  if not part.job_id then
    return false
  end
  local handle = load.client:job(part.job_id, "ingest")
  local info, err = handle:info()
  local was_open = part.step == "created" or part.step == "uploaded" or part.step == "aborting"
  if not info then
    if err.status == 404 and was_open then
      return false
    end
    return nil, err
  elseif info.state == "Open" then
    local ok
    ok, err = note(load, part, "aborting")
    if ok then
      ok, err = handle:abort()
    end
    if not ok then
      return nil, err
    end
    return false
  elseif info.state == "Aborted" and was_open then
    return false
  end
  part.job = handle
  return true
end

local function stopped()
  return nil, core.error("cancelled", "the load was stopped")
end

-- Rolls back the job of a part that failed, if it is surely Open.
local function roll_back(load, part, err)
  if not part.job or part.job.state ~= "Open" or err.in_doubt then
    return nil, err
  end
  local ok, why = note(load, part, "aborting")
  if ok then
    ok, why = part.job:abort()
  end
  if not ok then
    job.add_also(err, why)
  end
  return nil, err
end

local function create(load, part)
  local plan = load.plan
  local time = os.time()
  local ok, err = note(load, part, "creating", { time = time })
  if not ok then
    return nil, err
  end
  part.doing = "creating"
  part.job, err = load.client:create {
    object = plan.object, operation = plan.operation, externalIdFieldName = plan.externalIdFieldName,
    assignmentRuleId = plan.assignmentRuleId, columnDelimiter = plan.columnDelimiter, lineEnding = plan.lineEnding,
  }
  if not part.job then
    local count = err.attempts or 1
    lost_create(load, count, time)
    local noted, why = note(load, part, "lost", { count = count, time = time })
    if not noted then
      job.add_also(err, why)
    end
    return nil, err
  end
  local facts = core.job_facts(part.job)
  load.known_jobs[part.job.id] = true
  load.user = load.user or facts.info.createdById
  if facts.lost > 0 then
    lost_create(load, facts.lost, time)
  end
  ok, err = note(load, part, "created", { job = part.job.id })
  return ok, err
end

local function upload(load, part)
  part.doing = "uploading"
  local ok, err = part.job:upload { file = load.file, first = part.first, last = part.last, header = load.header }
  if not ok then
    return nil, err
  end
  part.sent = part.last - part.first + 1
  return note(load, part, "uploaded")
end

local function close(load, part)
  part.doing = "closing"
  local ok, err = note(load, part, "closing")
  if ok then
    ok, err = part.job:close()
  end
  if not ok then
    return nil, err
  end
  return note(load, part, "closed")
end

local function send(load, part)
  for _, step in ipairs { create, upload, close } do
    local ok, err
    if load.err then
      ok, err = stopped()
    else
      ok, err = step(load, part)
    end
    if not ok then
      return roll_back(load, part, err)
    end
  end
  return true
end

local function wait(load, part)
  part.doing = "processing"
  local info, err = part.job:wait { on_progress = function(seen)
    part.info = seen
  end }
  if not info then
    return nil, err
  end
  part.info = info
  return note(load, part, "done", { info = info })
end

local function run_part(load, part)
  local ok, err = part.step == "done", nil
  if ok then
    part.job = load.client:job(part.job_id, "ingest")
  else
    local closed
    closed, err = settle(load, part)
    if closed == false then
      closed, err = send(load, part)
    end
    ok = closed
    part.info = part.job and core.job_facts(part.job).info
    if ok and load.options.wait ~= false then
      ok, err = wait(load, part)
    end
  end
  part.sent = part.last - part.first + 1
  part.doing = ok and "done" or "failed"
  return ok, err
end

-- ---- all parts ----

-- Ends what the other workers do, where that leaves no doubt: an upload is rolled back, a job that runs goes on without us. A create
-- or a close under way comes to its end.
local INTERRUPTIBLE = { uploading = true, processing = true }

local function stop(load, err)
  if load.err then
    if load.err ~= err and err.kind ~= "cancelled" then
      job.add_also(load.err, err)
    end
    return
  end
  load.err = err
  local me = task.running()
  for _, worker in ipairs(load.workers) do
    if worker.task ~= me and worker.part and INTERRUPTIBLE[worker.part.doing] then
      worker.task:cancel()
    end
  end
end

local function work(load, worker)
  while not load.err do
    local part = load.parts[load.next_part]
    load.next_part = load.next_part + 1
    if not part then
      return
    end
    worker.part = part
    local ok, err = run_part(load, part)
    if not ok then
      stop(load, err)
    end
  end
end

local function progress(load)
  local seconds = core.now() - load.began
  local now = {
    bytes = 0, total_bytes = 0, records = load.plan.records, processed = 0, failed = 0, jobs = {}, seconds = seconds,
  }
  for _, part in ipairs(load.parts) do
    local size = part.last - part.first + 1
    local uploading = part.doing == "uploading" and core.job_facts(part.job).upload
    now.bytes = now.bytes + (uploading and math.min(uploading:progress(), size) or part.sent)
    now.total_bytes = now.total_bytes + size
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

local function tick(load)
  repeat
    load.options.on_progress(progress(load))
  until not call.sleep(load.client, TICK) or load.over
  load.options.on_progress(progress(load))
end

-- Runs the workers to their end.
local function run_workers(load)
  for i = 1, math.min(load.options.jobs or JOBS, #load.parts) do
    local worker = {}
    worker.task = load.client:spawn(work, load, worker)
    load.workers[i] = worker
  end
  local ticker = load.options.on_progress and load.client:spawn(tick, load)
  for _, worker in ipairs(load.workers) do
    local _, err = worker.task:result()
    if err then
      stop(load, err)
    end
  end
  load.over = true
  if ticker then
    ticker:cancel()
    local _, err = ticker:result()
    if err and err.kind ~= "cancelled" then -- it was, if it had no time to begin
      stop(load, err)
    end
  end
end

-- Creates whose answers got lost, or went with a crash, may have left a job: Open, empty, and ours. More of them than creates were
-- lost are not all ours, and are left alone: they can process nothing.
local STRAY_SECONDS = 300

local function created_at(info)
  local year, month, day, hour, minute, second =
    tostring(info.createdDate):match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)"
  if not year then
    return nil
  end
  local utc = { year = year, month = month, day = day, hour = hour, min = minute, sec = second, isdst = false }
  local now = os.time()
  local shift = os.difftime(now, os.time(os.date("!*t", now)))
  return os.time(utc) + shift
end

local function abort_strays(load)
  if load.lost == 0 or not load.user then
    return
  end
  local found = {}
  for info in load.client:jobs { state = "Open", object = load.plan.object, operation = load.plan.operation, createdById = load.user } do
    local at = created_at(info)
    for _, time in ipairs(load.lost_times) do
      if at and math.abs(at - time) <= STRAY_SECONDS and not load.known_jobs[info.id] then
        found[#found + 1] = info.id
        break
      end
    end
  end
  for _, id in ipairs(#found <= load.lost and found or {}) do
    load.client:job(id, "ingest"):abort()
  end
end

local RESULTS = { successful = "successful_results", failed = "failed_results", unprocessed = "unprocessed_records" }

local function save_results(load)
  local paths = {}
  local ok, err = core.make_directory(load.options.results)
  for name, method in pairs(RESULTS) do
    local sets = {}
    for i, part in ipairs(load.parts) do
      sets[i] = part.job[method](part.job)
    end
    paths[name] = load.options.results .. "/" .. name .. ".csv"
    if ok then
      ok, err = results.save_all(sets, paths[name])
    end
  end
  if not ok then
    return nil, err
  end
  return paths
end

local function report(load)
  local sums = { jobs = {}, records = load.plan.records, processed = 0, failed = 0, bytes = 0 }
  for i, part in ipairs(load.parts) do
    sums.jobs[i] = part.info
    sums.processed = sums.processed + (part.info.numberRecordsProcessed or 0)
    sums.failed = sums.failed + (part.info.numberRecordsFailed or 0)
    sums.bytes = sums.bytes + part.last - part.first + 1
  end
  sums.unprocessed = sums.records - sums.processed
  sums.seconds = core.now() - load.began
  return sums
end

local function run(load)
  local ok, err = open_journal(load)
  if not ok then
    return nil, err
  end
  load.header, err = read_range(load.file, load.plan.header_first, load.plan.header_last)
  if not load.header then
    return nil, err
  end
  run_workers(load)
  local good, why = yieldable.pcall(abort_strays, load)
  if load.err then
    return nil, load.err
  elseif not good then
    return nil, why
  end
  local sums = report(load)
  if load.options.results and load.options.wait ~= false and #load.parts > 0 then
    sums.results, err = save_results(load)
    if not sums.results then
      return nil, err
    end
  end
  load.finished = true
  return sums
end

-- An error that came from outside, such as an interrupt: everything that is Open is rolled back before it goes on.
local function clean_up(load, err)
  stop(load, core.is_error(err) and err or core.error("cancelled", tostring(err)))
  for _, worker in ipairs(load.workers) do
    worker.task:result()
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
    parts = {}, workers = {}, next_part = 1, known_jobs = {},
    lost = 0, lost_times = {}, unanswered = {},
  }
  local good, sums, err = yieldable.pcall(run, load)
  if not good then
    yieldable.pcall(clean_up, load, sums)
  end
  load.over = true
  if load.journal then
    load.journal:close()
  end
  if load.temporary and (load.finished or not load.journal) then
    os.remove(load.temporary)
  end
  if not good then
    error(sums, 0)
  end
  return sums, err
end
