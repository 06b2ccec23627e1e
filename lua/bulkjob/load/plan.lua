--- What a load is made of: the file, checked and cut, or the journal of an earlier run of the same load.
local columns = require "bulkjob.load.columns"
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local describe = require "bulkjob.describe"
local file = require "bulkjob.file"
local journal = require "bulkjob.journal"
local source = require "bulkjob.source"
local wait = require "bulkjob.wait"

local plan = {}

-- Bytes of the start and the end of a file that tell it from another.
local ENDS = 64 * 1024

--- The bytes from `first` to `last` of a file, counted from 1, or fewer if it is shorter.
function plan.read_range(path, first, last)
  local text, why = file.read(path, first, last)
  return text, why and core.error("io", why)
end

-- What tells this file from another, or from itself after a change.
local function identify(path)
  local stat, err = core.stat(path)
  if not stat then
    return nil, err
  end
  local first, last
  first, err = plan.read_range(path, 1, math.min(ENDS, stat.size))
  if first then
    last, err = plan.read_range(path, math.max(1, stat.size - ENDS + 1), stat.size)
  end
  if not last then
    return nil, err
  end
  return { size = stat.size, mtime = stat.mtime, first = core.crc32(first), last = core.crc32(last) }
end

local function write_chunks(path, chunks, breathe)
  if core.is_direct(path) then -- a pipe, perhaps, at which io.open would wait
    return nil, core.error("io", path .. ": a regular file expected")
  end
  local out, why = io.open(path, "wb")
  if not out then
    return nil, core.error("io", why)
  end
  local chunk, err, ok
  repeat
    chunk, err = chunks()
    if chunk then
      ok, why = out:write(chunk)
      err = not ok and core.error("io", path .. ": " .. tostring(why)) or nil
    end
    breathe()
  until not chunk or err
  ok, why = out:close()
  if not ok and not err then
    err = core.error("io", path .. ": " .. tostring(why))
  end
  if err then
    os.remove(path)
    return nil, core.is_error(err) and err or core.error("io", "the source failed: " .. tostring(err))
  end
  return true
end

-- The rows of a file without the columns of the service's own, as results have them, and their format.
local function rows_to_load(path, facts)
  return {
    rows = assert(csv.rows({ file = path }, { delimiter = facts.columnDelimiter })), columns = columns.to_load(facts.columns),
  }, {
    columnDelimiter = facts.columnDelimiter, lineEnding = facts.lineEnding,
  }
end

-- Writes rows to the disk: a part has to be sent again when a connection breaks, and after a crash.
local function spool(load, rows, format)
  local path = load.options.journal and load.options.journal .. ".rows.csv" or os.tmpname()
  local breathe = wait.breather(load.client)
  local chunks, err = source.chunks(rows, format or {}, breathe)
  if not chunks then
    return nil, err
  end
  load.temporary = path
  local ok
  ok, err = write_chunks(path, chunks, breathe)
  if not ok then
    return nil, err
  end
  load.file = path
  return true
end

local function check_file(load)
  local facts, err = csv.check({ file = load.file }, { part_bytes = load.part_bytes }, wait.breather(load.client))
  if err and err.kind == "csv" then -- others say where already
    err.message = load.file .. ": " .. err.message
  end
  return facts, err
end

-- Does the object have the columns?
local function compare_describe(load, facts)
  if load.options.object:find "[^%w_]" then
    return nil, core.error("csv", "'" .. load.options.object .. "' is no name of an object")
  end
  local description, err = describe(load.client, load.options.object)
  if not description then
    return nil, err
  end
  for _, name in ipairs(facts.columns) do
    local field = name:match "^[^:]+:([^.]+)%." or name:match "^([^.]+)%." or name
    if not (description.fields[field:lower()] or description.relationships[field:lower()]) then
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

local function new_part(number, first, last, records, digest)
  return {
    number = number, first = first, last = last, bytes = last - first + 1, records = records, digest = digest, sent = 0, doing = "waiting",
  }
end

-- What has to be the same when a load is taken on. Besides these, the file.
local SAME = { "object", "operation", "externalIdFieldName", "assignmentRuleId", "part_bytes", "org" }

local function asked_for(load)
  local options = load.options
  return {
    load = 1, object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
    assignmentRuleId = options.assignmentRuleId, part_bytes = load.part_bytes, org = core.org(load.client),
  }
end

local FACTS = { "columnDelimiter", "lineEnding", "records", "header_first", "header_last" }

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
  if facts and #columns.to_load(facts.columns) < #facts.columns then
    ok, err = spool(load, rows_to_load(load.file, facts))
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
  load.plan = asked_for(load)
  load.plan.file, load.plan.parts = load.file, {}
  for _, name in ipairs(FACTS) do
    load.plan[name] = facts[name]
  end
  for i, part in ipairs(facts.parts) do
    load.plan.parts[i] = { part.first, part.last, part.records, part.digest }
    load.parts[i] = new_part(i, part.first, part.last, part.records, part.digest)
  end
  return true
end

-- Is the plan in the journal that of this load?
local function compare_plan(load, old)
  local options = load.options
  local same, why = load.journal:compare("load", asked_for(load), SAME)
  if not same then
    return nil, why
  elseif options.file and old.source.path ~= options.file then
    return load.journal:refuse("the file was " .. tostring(old.source.path) .. ", and is " .. options.file)
  elseif not options.file and old.source.path then
    return load.journal:refuse("it was a file, and now there are rows")
  end
  for _, path in ipairs { old.file, options.file } do
    local now, err = identify(path)
    if not now then
      return nil, err
    end
    local was = path == old.file and old.identity or old.source.identity
    for name, value in pairs(was) do
      if now[name] ~= value then
        return load.journal:refuse(path .. " has changed since")
      end
    end
  end
  return true
end

local STEPS = { creating = true, lost = true, created = true, uploaded = true, closing = true, closed = true, aborting = true, done = true }

-- Takes over what the journal says about the parts.
local function replay(load, lines)
  local old = lines[1]
  load.plan, load.file = old, old.file
  if old.file ~= load.options.file then
    load.temporary = old.file
  end
  for i, cut in ipairs(old.parts) do
    load.parts[i] = new_part(i, cut[1], cut[2], cut[3], cut[4])
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
      load.strays = load.strays + 1 -- until its answer is noted
    elseif line.step == "created" then
      part.job_id = line.job
      load.strays = load.strays + (line.lost or 0) - 1
    elseif line.step == "lost" then
      load.strays = load.strays + line.count - 1
    elseif line.step == "done" then
      part.info = line.info
    end
  end
  return true
end

--- Fills in `load.plan`, `load.parts`, `load.file` and `load.journal`: from the journal of an earlier run, or anew.
---@return true|nil ok, bulkjob.Error|nil err
function plan.open(load)
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

return plan
