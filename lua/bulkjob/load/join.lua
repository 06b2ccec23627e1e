--- What became of each row of a file: the three result files of a load, joined with what was loaded, in the order of the input.
---
--- The service guarantees no order, so a row is found by what it holds: by the external id of an upsert or the Id of an update or a
--- delete where that tells, else by all columns that the results have, too. load/match.lua says which outcome belongs to which row.
---
--- Both sides are split by a checksum into files, one pair of which fits into memory at a time.
local core = require "bulkjob.core"
local files = require "bulkjob.load.files"
local match = require "bulkjob.load.match"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

local join = {}

-- About so many rows are in memory at a time. As many files as that takes are open at once, but not more than a process may have.
local BUCKET_ROWS = 20000
local MOST_BUCKETS = 100

local OUTCOMES = { "successful", "failed", "unprocessed" }

--- The columns that are put before those of the file.
join.columns = { "sf__Outcome", "sf__Id", "sf__Created", "sf__Error" }

local UNKNOWN = core.json_encode { "", "", "unknown", "", "", "" }

local function bucket_path(this, kind, i)
  return this.path .. "." .. kind .. i
end

-- Opens the buckets by `open`, of load/files.lua, and calls `use` with them.
local function with_buckets(this, kind, open, use)
  local opened = {}
  for i = 1, this.buckets do
    opened[i] = open(bucket_path(this, kind, i))
  end
  use(opened)
  for _, file in ipairs(opened) do
    (file.publish or file.close)()
  end
end

-- Calls `use` with each row of a file, its class, its values and the number of its bucket. `names`: of the columns to compare, as this
-- file has them.
local function walk(this, path, names, use)
  files.walk(this.client, path, this.delimiter, function(row)
    local values = {}
    for i, name in ipairs(names) do
      values[i] = row[name]
    end
    local class = match.class(values, this.key or nil)
    use(row, class, values, core.crc32(class) % this.buckets + 1)
  end)
end

local function split(this)
  with_buckets(this, "outcomes", files.create, function(outcomes)
    for _, outcome in ipairs(OUTCOMES) do
      walk(this, this.results[outcome], this.compared[outcome], function(row, class, values, bucket)
        local line = { class, core.json_encode(values), outcome, row.sf__Id or "", row.sf__Created or "", row.sf__Error or "" }
        outcomes[bucket].write(core.json_encode(line) .. "\n")
      end)
    end
  end)
  local columns = this.columns
  local all_compared = #columns == #this.compared.input
  with_buckets(this, "rows", files.create, function(rows)
    walk(this, this.file, this.compared.input, function(row, class, values, bucket)
      local whole
      if not all_compared then
        whole = {}
        for i, name in ipairs(columns) do
          whole[i] = row[name]
        end
        whole = core.json_encode(whole)
      end
      rows[bucket].write(core.json_encode { class, core.json_encode(values), whole } .. "\n")
    end)
  end)
end

-- The lines of a bucket: all in their order, and by their classes.
local function read_bucket(this, kind, i)
  local all, classes = {}, {}
  local file = files.open(bucket_path(this, kind, i))
  for text in file.line do
    local line = core.json_decode(text)
    local class = line[1]
    local one = { text = line[2], values = core.json_decode(line[2]), whole = line[3], line = text }
    all[#all + 1] = one
    classes[class] = classes[class] or {}
    table.insert(classes[class], one)
    wait.yield(this.client)
  end
  file.close()
  return all, classes
end

-- The outcomes of one bucket, in the order of its rows.
local function match_bucket(this, i)
  local _, outcomes = read_bucket(this, "outcomes", i)
  local all, classes = read_bucket(this, "rows", i)
  for class, rows in pairs(classes) do
    match.run(rows, outcomes[class] or {}, this.key or nil, this.exact_columns)
    wait.yield(this.client)
  end
  local matched = files.create(bucket_path(this, "matched", i))
  for _, row in ipairs(all) do
    matched.write((row.outcome and row.outcome.line or UNKNOWN) .. "\n")
  end
  matched.publish()
end

local function write_all(this)
  local columns = {}
  for _, list in ipairs { join.columns, this.columns } do
    for _, name in ipairs(list) do
      columns[#columns + 1] = name
    end
  end
  local writer = core.csv_writer { columns = columns, delimiter = this.delimiter, line_ending = this.line_ending }
  writer:header()
  with_buckets(this, "matched", files.open, function(matched)
    walk(this, this.file, this.compared.input, function(row, _, _, bucket)
      local found = core.json_decode(matched[bucket].line())
      for i, name in ipairs(join.columns) do
        row[name] = found[i + 2]
      end
      files.check(writer:row(row))
      this.out.write(writer:take())
    end)
  end)
  this.out.write(writer:take())
  this.out.publish()
end

local function run(this)
  this.out = files.begin(this.path)
  split(this)
  for i = 1, this.buckets do
    match_bucket(this, i)
  end
  write_all(this)
end

-- The columns that are compared: those of the file that all results have, too, perhaps in another case of the letters. Under the names
-- that each of the files has for them.
local function compare_columns(options)
  local there, compared = {}, { input = {} }
  for _, outcome in ipairs(OUTCOMES) do
    there[outcome], compared[outcome] = {}, {}
    for _, name in ipairs(options.result_columns[outcome]) do
      there[outcome][name:lower()] = name
    end
  end
  for _, name in ipairs(options.columns) do
    local low = name:lower()
    if there.successful[low] and there.failed[low] and there.unprocessed[low] then
      table.insert(compared.input, name)
      for _, outcome in ipairs(OUTCOMES) do
        table.insert(compared[outcome], there[outcome][low])
      end
    end
  end
  return compared
end

-- The place of a column among these, whatever the case of its letters; or nil.
local function place_of(names, wanted)
  for i, name in ipairs(names) do
    if wanted and name:lower() == wanted:lower() then
      return i
    end
  end
end

-- Which of these columns the service gives back as they were sent, as match.run asks for it. Asked for at most once.
local function new_exact_columns(options, names)
  local known, exact = false, nil
  return function()
    if not known then
      known, exact = true, options.exact_columns(names)
    end
    return exact
  end
end

--- Joins a file with its results.
---@param options { client: bulkjob.Client, file: string, columns: string[], key: string|nil, delimiter: string, line_ending: string,
---  records: integer, results: table<string, string>, result_columns: table<string, string[]>, path: string,
---  exact_columns: fun(names: string[]): boolean[]|nil } `key`: the column that tells a row from all others, as a rule;
---  `result_columns`: of each of the results; `path`: of the file to write; `exact_columns`: which of these columns are neither numbers
---  nor dates, so that the service gives them back as they were sent; nil: nobody knows
---@return true|nil ok, bulkjob.Error|nil err
function join.files(options)
  local compared = compare_columns(options)
  local this = setmetatable({
    buckets = math.max(1, math.min(MOST_BUCKETS, math.ceil(options.records / BUCKET_ROWS))),
    compared = compared, key = place_of(compared.input, options.key) or false,
    exact_columns = new_exact_columns(options, compared.input),
  }, { __index = options })
  local good, err = yieldable.pcall(run, this)
  for _, kind in ipairs { "outcomes", "rows", "matched" } do
    for i = 1, this.buckets do
      core.remove(bucket_path(this, kind, i))
    end
  end
  if good then
    return true
  elseif this.out then
    this.out.discard()
  end
  if core.is_error(err) then
    return nil, err
  end
  error(err, 0)
end

return join
