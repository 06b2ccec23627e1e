--- What bench/speed.lua measures, each in a Lua process of its own: WORK ARGUMENTS... Prints the seconds of processor and of the clock
--- that it took, and how much of it there was.
local core = require "bulkjob.core"

local COLUMNS = { "Id", "Name", "Ext__c", "City", "Country", "Amount", "Created", "Flag", "Phone", "Notes" }

local works = {}

local function new_client()
  return require("bulkjob").client {
    instance_url = os.getenv "SF_INSTANCE_URL", access_token = os.getenv "SF_ACCESS_TOKEN", compress = false, timeout = 600,
  }
end

-- The rows of a file, up to a number.
local function some_rows(path, most)
  local rows = {}
  for row in require("bulkjob").csv.rows { file = path } do
    rows[#rows + 1] = row
    if #rows == most then
      break
    end
  end
  return rows
end

-- What is done before the time counts comes back as a function that does the rest and gives the amount.

function works.check(path)
  local csv = require("bulkjob").csv
  return function()
    return assert(csv.check { file = path }).records
  end
end

function works.rows(path)
  local csv = require("bulkjob").csv
  return function()
    local n = 0
    for _ in csv.rows { file = path } do
      n = n + 1
    end
    return n
  end
end

-- The same tables, from strings that are there.
works["plain rows"] = function(path, records)
  local ready = {}
  for i, row in ipairs(some_rows(path, 1000)) do
    local values = {}
    for k, name in ipairs(COLUMNS) do
      values[k] = row[name]
    end
    ready[i] = values
  end
  return function()
    local last
    for i = 1, tonumber(records) do
      local values, row = ready[i % 1000 + 1], {}
      for k = 1, #COLUMNS do
        row[COLUMNS[k]] = values[k]
      end
      last = row
    end
    return last and records
  end
end

function works.encode(path, records)
  local csv = require("bulkjob").csv
  local rows = some_rows(path, 1000)
  return function()
    for _ = 1, records / 1000 do
      assert(csv.encode(rows, COLUMNS))
    end
    return records
  end
end

-- Looks at the same fields.
works["plain fields"] = function(path, records)
  local rows = some_rows(path, 1000)
  return function()
    local there = 0
    for _ = 1, records / 1000 do
      for _, row in ipairs(rows) do
        for k = 1, #COLUMNS do
          if row[COLUMNS[k]] ~= nil then
            there = there + 1
          end
        end
      end
    end
    return there / #COLUMNS
  end
end

function works.save(kind, id, path)
  local job = new_client():job(id, kind)
  return function()
    assert((kind == "query" and job:results() or job:failed_results()):save(path))
    local file = assert(io.open(path))
    local size = file:seek "end"
    file:close()
    return size
  end
end

function works.upload(id, path)
  local job = new_client():job(id, "ingest")
  return function()
    assert(job:upload { file = path })
    return 0
  end
end

local work = works[arg[1]](arg[2], arg[3], arg[4])
collectgarbage()
local cpu, begun = os.clock(), core.now()
local amount = work()
print(os.clock() - cpu, core.now() - begun, amount)
