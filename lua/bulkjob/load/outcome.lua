--- What a load has come to: its results on the disk, and the report. Errors are raised, as error tables.
local columns = require "bulkjob.load.columns"
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local files = require "bulkjob.load.files"
local input = require "bulkjob.load.input"
local join = require "bulkjob.load.join"
local outfile = require "bulkjob.outfile"
local reasons = require "bulkjob.load.reasons"
local results = require "bulkjob.results"
local second_pass = require "bulkjob.load.second_pass"
local types = require "bulkjob.types"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

local outcome = {}

local ALL = { "successful", "failed", "unprocessed", "joined" }

--- Looks whether results can be put where they shall go, and takes that directory for this load alone.
function outcome.open(load)
  local directory, source = load.options.results, load.options.file
  if not directory then
    return
  end
  local journal = load.options.journal
  load.made_results = not core.list_directory(directory)
  files.check(file.make_directory(directory,
    "results: " .. directory .. " is a file: results go into a directory of their own, which is made when it is not there"))
  if source and core.same_file(directory, source:match "^(.*/)[^/]*$" or ".") then
    files.check(nil, "results: " .. directory .. " holds the input, " .. source .. ": results need a directory of their own")
  elseif journal and core.same_file(directory, journal) then
    files.check(nil, "results: " .. directory .. " is the directory of the journal: results need a directory of their own")
  end
  for _, name in ipairs(ALL) do
    local path = directory .. "/" .. name .. ".csv"
    files.check(not core.is_direct(path) and not core.list_directory(path), path .. ": a regular file expected")
    files.check(not source or not core.same_file(path, source), "results: " .. path .. " is the input")
  end
  load.results_lock = files.check(core.lock(directory .. "/."))
  files.check(core.can_make(directory))
end

local NAMES = { "successful", "failed", "unprocessed" }

-- Its method of a job, and the columns that the service puts before those of the file.
local RESULTS = {
  successful = { "successful_results", "sf__Id", "sf__Created" }, failed = { "failed_results", "sf__Id", "sf__Error" },
  unprocessed = { "unprocessed_records" },
}

-- Rows in a file of results.
local function count_rows(load, path)
  local count = 0
  files.walk(load.client, path, load.plan.columnDelimiter, function()
    count = count + 1
  end)
  return count
end

local function first_file(load, name)
  return load.run:file("first." .. name .. ".csv")
end

-- Sets that have not the same columns in the same order.
local function save_apart(load, sets, path)
  local paths = {}
  for i, set in ipairs(sets) do
    paths[i] = path .. "." .. i
    local ok, err = results.save_all({ set }, paths[i])
    if not ok then
      return nil, err
    end
  end
  files.merge(load.client, paths, path, load.plan)
  for _, from in ipairs(paths) do
    core.remove(from)
  end
  return true
end

local function save(load, name)
  local path, sets = first_file(load, name), {}
  core.remove(path) -- it may be of a part whose results were lost since
  for _, part in ipairs(load.parts) do
    if not part.lost then
      local handle = part.handle or load.client:job(part.job, "ingest")
      sets[#sets + 1] = handle[RESULTS[name][1]](handle)
    end
  end
  if sets[1] then
    local ok, err = results.save_all(sets, path)
    if err and err.other_columns then
      ok, err = save_apart(load, sets, path)
    end
    if not ok then
      return nil, err
    end
  end
  -- Where there is no row, the service may send nothing at all: a 204, or an empty body.
  local stat = core.stat(path)
  if not stat or stat.size == 0 then
    local names = columns.to_load(load.plan.columns)
    for i = #RESULTS[name], 2, -1 do
      table.insert(names, 1, RESULTS[name][i])
    end
    files.new_writer(path, names, load.plan).close()
  end
  files.check(core.end_last_line(path))
  if name == "unprocessed" then -- of which the service has no counter: what came must at least be whole rows
    count_rows(load, path)
  end
  return core.sync(path)
end

-- Fetches the results of all jobs but those that are gone, whose rows are unknown then.
local function fetch_all(load)
  for _, name in ipairs(NAMES) do
    local ok, err = save(load, name)
    if not ok then
      for _, part in ipairs(load.parts) do
        if err.not_found and part.job == err.job_id and not part.lost then
          part.lost = true
          return fetch_all(load)
        end
      end
      error(err, 0)
    end
  end
end

-- Bytes of which a checksum is taken at a time.
local PIECE = 64 * 1024

-- Size and checksum of a file, for a later call: without a journal there is none.
local function sum(load, path)
  local facts = { size = 0, sum = 0 }
  local source = not load.run.temporary and files.check(core.open_input(path))
  while source do
    local piece, err = source:read(PIECE)
    if not piece then
      source:close()
      files.check(not err, err)
      break
    end
    facts.size, facts.sum = facts.size + #piece, core.crc32(("%.0f:"):format(facts.sum) .. piece)
    wait.yield(load.client)
  end
  return facts
end

-- A file that an earlier call has left is what that call has noted, or an error.
local function check_unchanged(load, path, noted)
  local now = noted and sum(load, path)
  files.check(not noted or now.size == noted.size and now.sum == noted.sum, path .. ": it was changed since it was written")
end

-- Fetched once: another time they may come in another order, or not at all.
local function fetch(load)
  local fetched, paths = load.run.said.fetched, {}
  local going_on = fetched ~= nil
  for _, part in ipairs(load.parts) do
    part.lost = part.info.gone or (fetched and fetched.lost[tostring(part.number)])
  end
  if not fetched then
    fetch_all(load)
    fetched = { files = {}, lost = {} }
    for _, name in ipairs(NAMES) do
      fetched.files[name] = sum(load, first_file(load, name))
    end
    for _, part in ipairs(load.parts) do
      fetched.lost[tostring(part.number)] = part.lost or nil
    end
    files.check(load.run:note { fetched = fetched })
  end
  for _, name in ipairs(NAMES) do
    paths[name] = first_file(load, name)
    check_unchanged(load, paths[name], going_on and fetched.files[name])
  end
  return paths
end

-- Have these rows of results all that was sent? `names`: of all their columns; `empty`: of those without a value in any row.
local function are_complete(load, names, empty)
  local there = {}
  for _, name in ipairs(names) do
    there[name:lower()] = true
  end
  for _, name in ipairs(columns.to_load(load.plan.columns)) do
    if not there[name:lower()] then
      return false
    end
  end
  return not empty[1] or input.comes_back(load, empty)
end

-- Loads once more what failed for a reason that may be gone, and puts both passes together: a run inside the run. Which rows these are
-- is noted, for a later call may name another reason, or none.
local function retry_failed(load, sums, paths)
  local options, noted = load.options, load.run.said.second
  local again, kept = load.run:file "again.csv", load.run:file "kept.csv"
  local names = files.read_header(paths.failed, load.plan.columnDelimiter)
  local text = noted and noted.text or options.retry_failed
  local count, empty = second_pass.split(load.client, paths.failed, names, load.plan, text, again, kept)
  if not noted then
    noted = { text = text, blank = count > 0 and not are_complete(load, names, empty) }
    files.check(load.run:note { second = noted })
  end
  sums.blank = noted.blank or nil
  sums.retried = noted.blank and 0 or count
  if sums.retried == 0 then
    return paths
  end
  local second = files.check(load.client:load {
    object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
    assignmentRuleId = options.assignmentRuleId, jobs = options.jobs, part_bytes = options.part_bytes, file = again,
    journal = not load.run.temporary and load.run:file "second" or nil, results = load.run:file "second.results",
  })
  local merged = {}
  for name, path in pairs(paths) do
    merged[name] = load.run:file(name .. ".csv")
    files.merge(load.client, { name == "failed" and kept or path, second.results[name] }, merged[name], load.plan)
  end
  for _, info in ipairs(second.jobs) do
    sums.jobs[#sums.jobs + 1] = info
  end
  sums.processed = sums.processed - count + second.processed
  sums.failed = sums.failed - count + second.failed
  sums.unprocessed = sums.unprocessed + second.unprocessed
  sums.unknown = sums.unknown + second.unknown
  sums.strays = sums.strays + second.strays
  sums.lower_bound = sums.lower_bound or second.lower_bound
  for _, id in ipairs(second.left_open or {}) do
    sums.left_open = sums.left_open or {}
    table.insert(sums.left_open, id)
  end
  return merged
end

local KEYS = { update = "Id", delete = "Id", hardDelete = "Id" }

local function join_results(load, paths)
  local options = load.options
  local path, result_columns = load.run:file "joined.csv", {}
  for name, from in pairs(paths) do
    result_columns[name] = files.read_header(from, load.plan.columnDelimiter)
  end
  local ok, err = join.files {
    client = load.client, file = load.file, columns = load.plan.columns, key = options.externalIdFieldName or KEYS[options.operation],
    delimiter = load.plan.columnDelimiter, line_ending = load.plan.lineEnding, records = load.plan.records, results = paths,
    result_columns = result_columns, path = path,
    exact_columns = function(names)
      return (types.exact(load.client, options.object, names))
    end,
  }
  input.check_unchanged(load) -- whatever came of it
  files.check(ok, err)
  paths.joined = path
end

-- Why rows failed, by the file of them. Where the service gave no counters (dataloader, pull request 1033), the files count.
local function tell_reasons(load, sums, paths)
  local tally = reasons.new()
  files.walk(load.client, paths.failed, load.plan.columnDelimiter, tally.add)
  sums.errors = tally.list()
  sums.blank = sums.blank or tally.is_blank or nil
  if sums.uncounted then
    sums.failed = tally.count
    sums.processed = tally.count + count_rows(load, paths.successful)
    sums.unprocessed = sums.records - sums.processed - sums.unknown
    sums.uncounted = nil
  end
end

local function read_reasons(load, part, tally)
  local set = load.client:job(part.job, "ingest"):failed_results()
  local row = set:next()
  while row do
    tally.add(row)
    row = set:next()
  end
end

-- The same where nobody wants files. A load is not an error when the reasons cannot be had, unless they are all that tells how many
-- rows failed.
local function fetch_reasons(load, sums)
  local tally, all = reasons.new(), true
  for _, part in ipairs(load.parts) do
    local info, before = part.info, tally.count
    local uncounted = info.state == "JobComplete" and not info.numberRecordsProcessed -- it has processed all
    if not info.gone and info.numberRecordsFailed ~= 0 and (all or uncounted) then
      local good, err = yieldable.pcall(read_reasons, load, part, tally)
      if not good and (not core.is_error(err) or uncounted and err.status ~= 404) then
        error(err, 0)
      end
      all = all and good
      if uncounted then
        local what = good and "processed" or "unknown"
        sums[what], sums.unprocessed = sums[what] + part.records, sums.unprocessed - part.records
        sums.failed = sums.failed + (good and tally.count - before or 0)
      end
    end
  end
  sums.errors = all and tally.list() or nil
end

local function sum_up(load)
  local sums = {
    jobs = {}, records = load.plan.records, processed = 0, failed = 0, unknown = 0, bytes = 0, strays = load.run.strays,
    resumed = load.resumed, repeated = false, replaced = load.run.head.replaced,
    left_open = load.run.left_open[1] and load.run.left_open or nil,
  }
  for i, part in ipairs(load.parts) do
    local info = part.info
    sums.jobs[i] = info
    sums.bytes = sums.bytes + part.bytes
    if part.lost or info.gone then
      sums.unknown = sums.unknown + part.records
    else
      sums.processed = sums.processed + (info.numberRecordsProcessed or 0)
      sums.failed = sums.failed + (info.numberRecordsFailed or 0)
      local counted = info.numberRecordsProcessed ~= nil
      sums.uncounted = sums.uncounted or not counted or nil
      sums.lower_bound = sums.lower_bound
        or load.asked.wait and (info.state == "Aborted" or not counted and info.state ~= "JobComplete") or nil
    end
  end
  sums.unprocessed = sums.records - sums.processed - sums.unknown
  sums.seconds = core.now() - load.began
  return sums
end

-- Gives the files of this run their names, and takes those of another away, so that the two never lie side by side. Going on, what is
-- no longer in the run has its name already, and may be gone by the user's own hand.
local function publish(load, going_on)
  local noted = load.run.said.publish
  -- A relative path may lead elsewhere by now.
  local directory = core.list_directory(noted.directory) and noted.directory or load.options.results
  for _, name in ipairs(ALL) do
    local path = directory .. "/" .. name .. ".csv"
    local is_to_come = not noted.files[name] or core.stat(load.run:file(noted.files[name].name))
    if is_to_come and not core.list_directory(path) then
      core.remove(path)
    end
  end
  noted.report.results, noted.report.resumed = {}, load.resumed
  for name, facts in pairs(noted.files) do
    local from, to = load.run:file(facts.name), directory .. "/" .. name .. ".csv"
    noted.report.results[name] = to
    if core.stat(from) then
      check_unchanged(load, from, going_on and facts)
      files.check(outfile.publish(load.client, from, to))
    end
  end
  return noted.report
end

local function assemble(load)
  local paths = fetch(load)
  local sums = sum_up(load)
  if load.options.retry_failed or load.run.said.second then
    paths = retry_failed(load, sums, paths)
  end
  tell_reasons(load, sums, paths)
  if load.options.join then
    join_results(load, paths)
  end
  local list = {}
  for name, path in pairs(paths) do
    list[name] = sum(load, path)
    list[name].name = path:match("[^/]*$"):sub(#load.run.id + 2)
  end
  files.check(load.run:note { publish = { directory = load.options.results, files = list, report = sums } })
end

--- The report of a load whose parts are all at their end, with the result files that its options ask for.
---@return bulkjob.LoadReport report
function outcome.report(load)
  local sums
  if load.asked.results then
    local going_on = load.run.said.publish ~= nil
    if not going_on then
      assemble(load)
    end
    sums = publish(load, going_on)
  else
    sums = sum_up(load)
    if load.asked.wait then
      fetch_reasons(load, sums)
    end
    sums.uncounted = nil
  end
  files.check(load.run:finish(sums, load.asked))
  return sums
end

return outcome
