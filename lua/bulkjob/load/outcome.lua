--- What a load has come to: its results on the disk, and the report.
local columns = require "bulkjob.load.columns"
local core = require "bulkjob.core"
local files = require "bulkjob.load.files"
local join = require "bulkjob.load.join"
local plan = require "bulkjob.load.plan"
local results = require "bulkjob.results"
local second_pass = require "bulkjob.load.second_pass"

local outcome = {}

-- A header has at most 32,000 characters (the guide, Prepare CSV Files), of at most four bytes, and quotes.
local HEADER_BYTES = 256 * 1024

-- The names in the header of a file.
local function read_columns(path)
  local text, err = plan.read_range(path, 1, HEADER_BYTES)
  if not text then
    return nil, err
  end
  local check = core.csv_check {}
  check:feed(text)
  local names = check:facts().columns
  check:close()
  if not names then
    return nil, core.error("protocol", path .. ": no header")
  end
  return names
end

-- Its method of a job, and the columns that the service puts before those of the file.
local RESULTS = {
  successful = { "successful_results", "sf__Id", "sf__Created" }, failed = { "failed_results", "sf__Id", "sf__Error" },
  unprocessed = { "unprocessed_records" },
}

-- Where there is no row, the service may send nothing at all: a 204, or an empty body.
local function give_header(load, path, result)
  local stat, err = core.stat(path)
  if not stat or stat.size > 0 then
    return stat, err
  end
  local names
  names, err = read_columns(load.file)
  if not names then
    return nil, err
  end
  names = columns.to_load(names)
  for i = #result, 2, -1 do
    table.insert(names, 1, result[i])
  end
  files.new_writer(path, names, load.plan).close()
  return true
end

local function save_results(load)
  local paths = {}
  local ok, err = core.make_directory(load.options.results)
  for name, result in pairs(RESULTS) do
    local sets = {}
    for i, part in ipairs(load.parts) do
      sets[i] = part.job[result[1]](part.job)
    end
    paths[name] = load.options.results .. "/" .. name .. ".csv"
    if ok then
      ok, err = results.save_all(sets, paths[name])
    end
    if ok then
      ok, err = give_header(load, paths[name], result)
    end
  end
  if not ok then
    return nil, err
  end
  return paths
end

-- Loads once more what failed for a reason that may be gone, and puts both passes together. A second pass that was broken off goes
-- on from a journal of its own; what it loads was cut out before, and is the same.
local function retry_failed(load, sums)
  local options, paths = load.options, sums.results
  local directory = options.results .. "/second"
  local again, kept = (options.journal or directory) .. ".retry.csv", directory .. ".kept.csv"
  local names, err = read_columns(paths.failed)
  if not names then
    return nil, err
  end
  local count = second_pass.split(load.client, paths.failed, names, load.plan, options.retry_failed, again .. ".new", kept)
  local unfinished = options.journal and core.stat(options.journal .. ".retry")
  if not unfinished then
    files.publish(again .. ".new", again)
  end
  os.remove(again .. ".new")
  sums.retried = count
  if count == 0 then
    os.remove(again)
    os.remove(kept)
    return true
  end
  local second
  second, err = load.client:load {
    object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
    assignmentRuleId = options.assignmentRuleId, jobs = options.jobs, part_bytes = options.part_bytes, file = again,
    journal = options.journal and options.journal .. ".retry", results = directory,
  }
  if not second then
    return nil, err
  end
  for name, path in pairs(paths) do
    second_pass.merge(load.client, name == "failed" and kept or path, second.results[name], path)
    os.remove(second.results[name])
  end
  os.remove(kept)
  os.remove(directory)
  for _, info in ipairs(second.jobs) do
    sums.jobs[#sums.jobs + 1] = info
  end
  sums.processed = sums.processed - count + second.processed
  sums.failed = sums.failed - count + second.failed
  sums.unprocessed = sums.records - sums.processed
  if not options.journal then
    os.remove(again)
  end
  return true
end

local KEYS = { update = "Id", delete = "Id", hardDelete = "Id" }

local function join_results(load, sums)
  local options = load.options
  local names, there, err
  names, err = read_columns(load.file)
  if names then
    there, err = read_columns(sums.results.successful)
  end
  if not there then
    return nil, err
  end
  sums.results.joined = options.results .. "/joined.csv"
  return join.files {
    client = load.client, file = load.file, columns = names,
    key = columns.key(names, there, options.externalIdFieldName or KEYS[options.operation]),
    delimiter = load.plan.columnDelimiter, line_ending = load.plan.lineEnding, records = load.plan.records, results = sums.results,
    path = sums.results.joined,
  }
end

local function sum_up(load)
  local sums = { jobs = {}, records = load.plan.records, processed = 0, failed = 0, bytes = 0, strays = load.strays }
  for i, part in ipairs(load.parts) do
    sums.jobs[i] = part.info
    sums.processed = sums.processed + (part.info.numberRecordsProcessed or 0)
    sums.failed = sums.failed + (part.info.numberRecordsFailed or 0)
    sums.bytes = sums.bytes + part.bytes
  end
  sums.unprocessed = sums.records - sums.processed
  sums.seconds = core.now() - load.began
  return sums
end

--- The report of a load whose parts are all at their end, with the result files that its options ask for.
---@return bulkjob.Report|nil report, bulkjob.Error|nil err
function outcome.report(load)
  local sums = sum_up(load)
  if not load.options.results or load.options.wait == false or #load.parts == 0 then
    return sums
  end
  local ok, err
  sums.results, err = save_results(load)
  ok = sums.results ~= nil
  if ok and load.options.retry_failed then
    ok, err = retry_failed(load, sums)
  end
  if ok and load.options.join then
    ok, err = join_results(load, sums)
  end
  if not ok then
    return nil, err
  end
  return sums
end

return outcome
