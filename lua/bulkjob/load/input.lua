--- What a load is given: a file or rows, looked through, and cut into parts.
local columns = require "bulkjob.load.columns"
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local describe = require "bulkjob.describe"
local files = require "bulkjob.load.files"
local source = require "bulkjob.source"
local token_renewal = require "bulkjob.token_renewal"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

local input = {}

local PIECE = 64 * 1024

local function write_chunks(path, chunks, yield)
  local file = files.create(path)
  while true do
    local chunk, err = chunks()
    yield()
    if chunk then
      file.write(chunk)
    elseif err then
      file.discard()
      files.check(nil, core.is_error(err) and err or "the source failed: " .. tostring(err))
    else
      file.publish()
      return
    end
  end
end

-- Writes rows to the disk: a part has to be sent again when a connection breaks, and after a crash.
local function spool(load, rows, format)
  local yield = wait.yielder(load.client)
  local chunks, err = source.chunks(rows, format, yield)
  files.check(chunks, core.is_error(err) and err or "the source failed: " .. tostring(err))
  local path = load.run:file "rows.csv"
  write_chunks(path, chunks, yield)
  if not load.run.temporary then
    files.check(core.sync(path))
  end
  load.file, load.is_spooled = path, true
end

-- The rows of a file without the columns of the service's own, as results have them.
local function spool_without(load, facts)
  spool(load, {
    rows = assert(csv.rows({ file = load.file }, { delimiter = facts.columnDelimiter })), columns = columns.to_load(facts.columns),
  }, facts)
end

local function check_file(load)
  local facts, err = csv.check({ file = load.file }, {
    part_bytes = load.part_bytes, sha256 = not load.run.temporary, -- what is not kept is never compared with another
  }, wait.yielder(load.client))
  if err and err.kind == "csv" then -- others say where already
    err.message = (load.options.file or "rows") .. ": " .. err.message
  end
  return files.check(facts, err)
end

--- Looks through the input, and says what the load is about: `load.file`, `load.facts` and the identity of the run. Raises an error
--- table.
---@return table identity
function input.open(load)
  local options = load.options
  local facts = {}
  load.file = options.file
  if options.rows then
    spool(load, { rows = options.rows, columns = options.columns }, {})
  end
  if load.file then
    facts = check_file(load)
    if #columns.to_load(facts.columns) < #facts.columns then
      spool_without(load, facts)
      facts = check_file(load)
    end
  end
  load.facts = facts
  return {
    kind = "load", org = token_renewal.org(load.client), object = options.object, operation = options.operation,
    externalIdFieldName = options.externalIdFieldName, assignmentRuleId = options.assignmentRuleId,
    columnDelimiter = facts.columnDelimiter, lineEnding = facts.lineEnding, size = facts.bytes, content = facts.sha256,
  }
end

-- Looks through the bytes of a part with the header before them. The facts, or nil, err.
local function check_part(load, part, part_bytes)
  local source_file = files.check(core.open_input(load.file))
  local at = 0
  local facts, err = csv.check(function()
    at = at + 1
    local from = part.first - 1 + (at - 2) * PIECE
    if at == 1 then
      return load.header
    end
    return source_file:read(math.min(PIECE, math.max(0, part.last - from)), from)
  end, { part_bytes = part_bytes, delimiter = load.plan.columnDelimiter }, wait.yielder(load.client))
  source_file:close()
  return facts, err
end

--- Cuts a part once more.
---@return { first: integer, last: integer, records: integer, digest: string }[]
function input.cut(load, part)
  local facts = files.check(check_part(load, part, load.part_bytes))
  for _, piece in ipairs(facts.parts) do
    piece.first, piece.last = piece.first + part.first - 1 - #load.header, piece.last + part.first - 1 - #load.header
  end
  return facts.parts
end

--- Raises an error if the input is no longer what was loaded. Each part was compared while it went up, but not since.
function input.check_unchanged(load)
  local stat = not load.is_spooled and files.check(core.stat(load.file))
  if not stat then
    return
  end
  local same = stat.size == load.facts.bytes
  for _, part in ipairs(same and load.parts or {}) do
    local facts, err = check_part(load, part)
    if err and err.kind ~= "csv" then -- it cannot be read
      error(err, 0)
    end
    same = same and facts ~= nil and facts.parts[1] ~= nil and facts.parts[1].digest == part.digest
  end
  if not same then
    error(core.error("io", load.file .. ": it was changed since it was checked", { code = "CONTENT_CHANGED" }), 0)
  end
end

-- The service finds a field in any letter case, and then gives its values back empty in results.
local function check_case(name, right)
  if name ~= right then
    return "the field '" .. name .. "' is spelt '" .. right .. "'; spelt otherwise, results come back without its values"
  end
end

-- What is wrong with a column Relationship.Field or Type:Relationship.Field, by which a record leads to its parent (the guide,
-- Relationship Fields in a Header Row)? Nil: nothing. Raises what the service answers.
local function check_relationship(load, description, name, look_up)
  local object, type_name, relationship, field = load.options.object, nil, name:match "^([^.]+)%.(.+)$"
  if relationship and relationship:find(":", 1, true) then
    type_name, relationship = relationship:match "^(.-):(.+)$"
  end
  local link = relationship and description.relationships[relationship:lower()]
  if not link then
    return object .. " has no relationship '" .. (relationship or name) .. "'"
  elseif field:find(".", 1, true) then
    return "'" .. name .. "' goes over more than one relationship, and the service takes one"
  end
  local targets = type(link.referenceTo) == "table" and link.referenceTo or {}
  local target = targets[1]
  if #targets > 1 and not type_name then
    return ("'%s' leads to several objects: '%s:%s' or the like is needed"):format(name, target, name)
  elseif #targets == 1 and type_name then
    return ("'%s' leads to %s alone: '%s.%s' is needed"):format(name, target, relationship, field)
  elseif type_name then
    target = nil
    for _, one in ipairs(targets) do
      target = target or (one:lower() == type_name:lower() and one)
    end
  end
  if not target then
    return ("'%s' does not lead to %s"):format(relationship, tostring(type_name))
  end
  local there = look_up(target).fields[field:lower()]
  if not there then
    return target .. " has no field '" .. field .. "'"
  elseif there.externalId == false and there.idLookup == false then
    return ("'%s' of %s is no external id, and finds no record"):format(field, target)
  end
  return check_case(name, (type_name and target .. ":" or "") .. link.relationshipName .. "." .. there.name)
end

local function check_column(load, description, name, look_up)
  if name:find(".", 1, true) then
    return check_relationship(load, description, name, look_up)
  end
  local field = description.fields[name:lower()]
  if not field then
    return load.options.object .. " has no field '" .. name .. "'"
  end
  return check_case(name, field.name)
end

-- What is wrong with the first of these columns that the object does not have, or not spelt so, and its name; or nil. Raises what the
-- service answers.
local function find_wrong_column(load, names)
  if load.options.object:find "[^%w_]" then
    return "'" .. load.options.object .. "' is no name of an object"
  end
  local known = {}
  local function look_up(object)
    known[object:lower()] = known[object:lower()] or files.check(describe(load.client, object))
    return known[object:lower()]
  end
  local description = look_up(load.options.object)
  for _, name in ipairs(names) do
    local problem = check_column(load, description, name, look_up)
    if problem then
      return problem, name
    end
  end
end

-- Does the object have the columns? True, or nil, err.
local function compare_describe(load)
  local problem, name = find_wrong_column(load, load.facts.columns)
  if not problem then
    return true
  elseif not name then
    return nil, core.error("csv", problem)
  end
  local err = core.error("csv", (load.options.file or "rows") .. ": line 1: " .. problem)
  err.line, err.column = 1, name
  return nil, err
end

--- Does the service surely give back the values of these columns? Of those that are spelt as its fields are. When it does not say how
--- that is, nobody knows.
---@param names string[]
---@return boolean
function input.comes_back(load, names)
  local good, problem = yieldable.pcall(find_wrong_column, load, names)
  if not good and not (core.is_error(problem) and problem.kind ~= "cancelled") then
    error(problem, 0)
  end
  return problem == nil
end

-- The guide, Limits: a batch has 10,000 rows, and is what the day's limit counts. A request for each step of a job, and some for
-- looking at it.
local BATCH_ROWS, REQUESTS_A_JOB = 10000, 10

-- Says so, as an event, when the load cannot fit in what is left for today. What is left changes by the minute, so it is tried all
-- the same.
local function warn_of_limits(load)
  local on_event = core.client_option(load.client, "on_event")
  local limits = on_event and #load.facts.parts > 0 and load.client:limits()
  if not limits then
    return
  end
  local batches = 0
  for _, part in ipairs(load.facts.parts) do
    batches = batches + math.ceil(part.records / BATCH_ROWS)
  end
  for name, needed in pairs { DailyBulkApiBatches = batches, DailyApiRequests = #load.facts.parts * REQUESTS_A_JOB } do
    local left = type(limits[name]) == "table" and limits[name].Remaining
    if left and needed > left then
      on_event { type = "limit", name = name, needed = needed, remaining = left }
    end
  end
end

--- The plan of a new run, after the last looks at what may stand in its way.
---@return table|nil plan, bulkjob.Error|nil err
function input.plan(load)
  local ok, err = true, nil
  if load.options.describe then
    ok, err = compare_describe(load)
  end
  if not ok then
    return nil, err
  end
  warn_of_limits(load)
  return load.facts
end

return input
