--- What bench/speed.lua measures, each in a Lua process of its own: WORK ARGUMENTS... Prints the seconds of processor and of the clock
--- that it took, how much of it there was, and the peak of the resident memory in MB.
local core = require "bulkjob.core"
local status = require "bench.lib.status"

local COLUMNS = { "Id", "Name", "Ext__c", "City", "Country", "Amount", "Created", "Flag", "Phone", "Notes" }

local works = {}

-- `plain`: it does not ask for gzip, as curl does not for what it saves.
local function new_client(plain)
  return require("bulkjob").client {
    instance_url = os.getenv "SF_INSTANCE_URL", access_token = os.getenv "SF_ACCESS_TOKEN", compress = not plain, timeout = 600,
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

-- The same strings and tables, as the module makes them, with nothing of CSV. Of so many rows that their strings are gone when they come
-- again, and so few that they stay in the processor's cache.
works["made rows"] = function(path, records)
  local values = {}
  for _, row in ipairs(some_rows(path, 3000)) do
    for _, name in ipairs(COLUMNS) do
      values[#values + 1] = row[name]
    end
  end
  local next_row = require "made_rows"(values, function(a, b, c, d, e, f, g, h, i, j)
    return { Id = a, Name = b, Ext__c = c, City = d, Country = e, Amount = f, Created = g, Flag = h, Phone = i, Notes = j }
  end)
  return function()
    local n = 0
    for _ in next_row do
      n = n + 1
      if n == tonumber(records) then
        return n
      end
    end
  end
end

-- The same strings and tables, out of lines that are in memory, at places that are known.
works["cut rows"] = function(path)
  local lines = {}
  for line in io.lines(path) do
    lines[#lines + 1] = line
  end
  local sub = string.sub
  return function()
    local last
    for i = 2, #lines do
      local s = lines[i]
      last = {
        Id = sub(s, 1, 18), Name = sub(s, 20, 34), Ext__c = sub(s, 36, 44), City = sub(s, 46, 53), Country = sub(s, 55, 61),
        Amount = sub(s, 63, 68), Created = sub(s, 70, 89), Flag = sub(s, 91, 95), Phone = sub(s, 97, 110), Notes = sub(s, 112, 150),
      }
    end
    return last and #lines - 1
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
  local job = new_client(true):job(id, kind)
  return function()
    assert((kind == "query" and job:results() or job:failed_results()):save(path))
    local file = assert(io.open(path))
    local size = file:seek "end"
    file:close()
    return size
  end
end

function works.upload(id, path)
  local job = new_client(true):job(id, "ingest")
  return function()
    assert(job:upload { file = path })
    return 0
  end
end

-- The jobs whose ids a file names, one a line.
local function jobs_of(client, path)
  local jobs = {}
  for id in io.lines(path) do
    jobs[#jobs + 1] = client:job(id, "ingest")
  end
  return jobs
end

function works.closes(path)
  local jobs = jobs_of(new_client(), path)
  return function()
    for _, job in ipairs(jobs) do
      assert(assert(job:close()).state == "UploadComplete")
    end
    return #jobs
  end
end

-- Each job in a task of its own.
local function in_tasks(path, fn)
  local client = new_client()
  local jobs = jobs_of(client, path)
  return function()
    for _, job in ipairs(jobs) do
      client:spawn(fn, job)
    end
    assert(client:run())
    return #jobs
  end
end

function works.infos(path, times)
  return in_tasks(path, function(job)
    for _ = 1, tonumber(times) do
      assert(job:info())
    end
  end)
end

function works.waits(path, seconds)
  return in_tasks(path, function(job)
    local _, err = job:wait { timeout = tonumber(seconds) }
    assert(err and err.kind == "timeout", err)
  end)
end

function works.load(path, part_bytes)
  local client = new_client(true)
  return function()
    local report = assert(client:load {
      object = "Account", operation = "insert", file = path, part_bytes = tonumber(part_bytes), wait = false,
    })
    return report.records
  end
end

function works.extract(path)
  local client = new_client(true)
  return function()
    return assert(client:extract { query = "SELECT Id FROM Account", file = path }).rows
  end
end

local work = works[arg[1]](arg[2], arg[3], arg[4])
collectgarbage()
local cpu, begun = os.clock(), core.now()
local amount = work()
print(os.clock() - cpu, core.now() - begun, amount, status "VmHWM" / 1024)
