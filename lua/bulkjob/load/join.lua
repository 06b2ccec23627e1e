--- What became of each row of a file: the three result files of a load, joined with what was loaded, in the order of the input.
---
--- The service guarantees no order, so a row is found by what it holds: by the external id of an upsert, by the Id of an update or a
--- delete, else by all columns that the results have, too. Numbers are compared as numbers, since the service writes them its own
--- way. Rows that are the same cannot be told apart, and neither can their outcomes: these are handed out in turn.
---
--- Both sides are split by a checksum into files, one pair of which fits into memory at a time.
local core = require "bulkjob.core"
local files = require "bulkjob.load.files"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

local join = {}

-- About so many rows are in memory at a time. As many files as that takes are open at once, but not more than a process may have.
local BUCKET_ROWS = 20000
local MOST_BUCKETS = 100

local OUTCOMES = { "successful", "failed", "unprocessed" }

--- The columns that are put before those of the file.
join.columns = { "sf__Outcome", "sf__Id", "sf__Created", "sf__Error" }

local UNKNOWN = core.json_encode { "", "unknown", "", "", "" }

-- As the service may write it, too: 912260031 comes back as 9.12260031E8.
local function normal(value)
  local number = value and value:find "%d" and tonumber(value)
  return number and math.abs(number) < math.huge and ("%.17g"):format(number) or value or ""
end

local function key_of(this, row)
  local parts = {}
  for i, name in ipairs(this.key) do
    parts[i] = normal(row[name])
  end
  return table.concat(parts, "\0")
end

local function bucket_path(this, kind, i)
  return this.path .. "." .. kind .. i
end

local function open_buckets(this, kind, mode)
  local opened = {}
  for i = 1, this.buckets do
    opened[i] = files.open(bucket_path(this, kind, i), mode)
  end
  return opened
end

local function close_all(opened)
  for _, file in ipairs(opened) do
    files.check(file:close())
  end
end

-- Calls `use` with each row of a file, its key, and the number of its bucket.
local function walk(this, path, use)
  files.walk(this.client, path, this.delimiter, function(row)
    local key = key_of(this, row)
    use(row, key, core.crc32(key) % this.buckets + 1)
  end)
end

local function split(this)
  local outcomes = open_buckets(this, "outcomes", "wb")
  for _, outcome in ipairs(OUTCOMES) do
    walk(this, this.results[outcome], function(row, key, bucket)
      local line = { key, outcome, row.sf__Id or "", row.sf__Created or "", row.sf__Error or "" }
      files.check(outcomes[bucket]:write(core.json_encode(line), "\n"))
    end)
  end
  close_all(outcomes)
  local keys = open_buckets(this, "keys", "wb")
  walk(this, this.file, function(_, key, bucket)
    files.check(keys[bucket]:write(core.json_encode { key }, "\n"))
  end)
  close_all(keys)
end

local function each_line(this, kind, i, use)
  local file = files.open(bucket_path(this, kind, i), "rb")
  for line in file:lines() do
    use(line, core.json_decode(line)[1])
  end
  file:close()
  wait.breathe(this.client)
end

-- The outcomes of one bucket, in the order of its rows.
local function match(this, i)
  local queues = {}
  each_line(this, "outcomes", i, function(line, key)
    local queue = queues[key] or { taken = 0 }
    queue[#queue + 1] = line
    queues[key] = queue
  end)
  local matched = files.open(bucket_path(this, "matched", i), "wb")
  each_line(this, "keys", i, function(_, key)
    local queue = queues[key]
    if queue then
      queue.taken = queue.taken + 1
    end
    files.check(matched:write(queue and queue[queue.taken] or UNKNOWN, "\n"))
  end)
  files.check(matched:close())
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
  local matched = open_buckets(this, "matched", "rb")
  walk(this, this.file, function(row, _, bucket)
    local found = core.json_decode(matched[bucket]:read "*l")
    for i, name in ipairs(join.columns) do
      row[name] = found[i + 1]
    end
    files.check(writer:row(row))
    this.out.write(writer:take())
  end)
  this.out.write(writer:take())
  close_all(matched)
  this.out.publish()
end

local function run(this)
  this.out = files.begin(this.path)
  split(this)
  for i = 1, this.buckets do
    match(this, i)
  end
  write_all(this)
end

--- Joins a file with its results.
---@param options { client: bulkjob.Client, file: string, columns: string[], key: string[], delimiter: string, line_ending: string,
---  records: integer, results: table<string, string>, path: string } `key`: the columns to find a row by; `path`: of the file to write
---@return true|nil ok, bulkjob.Error|nil err
function join.files(options)
  local this = setmetatable({
    buckets = math.max(1, math.min(MOST_BUCKETS, math.ceil(options.records / BUCKET_ROWS))),
  }, { __index = options })
  local good, err = yieldable.pcall(run, this)
  for _, kind in ipairs { "outcomes", "keys", "matched" } do
    for i = 1, this.buckets do
      os.remove(bucket_path(this, kind, i))
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
