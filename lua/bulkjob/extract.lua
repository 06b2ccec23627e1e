--- Whole extracts: the rows of a query in one file, which is there when all of them are.
local core = require "bulkjob.core"
local crew = require "bulkjob.crew"
local file = require "bulkjob.extract.file"
local job = require "bulkjob.job"
local links = require "bulkjob.extract.links"
local outfile = require "bulkjob.outfile"
local pages = require "bulkjob.pages"
local plan = require "bulkjob.extract.plan"

local client_methods = core.client_methods

local PAGES = 4

---@class bulkjob.ExtractOptions
---@field query string SOQL
---@field operation "query"|"queryAll"|nil "query" by default
---@field file string where the rows go; beside it, until it is whole, are files with ".part" in their names
---@field columnDelimiter string|nil
---@field lineEnding string|nil
---@field max_records integer|nil rows for each page; then the pages come one after the other, for the service cuts those that it
---  gives links for
---@field pages integer|nil how many at the same time, 4 by default, from API version 58.0 on
---@field journal string|nil a file that an extract which was broken off is taken on from, by the same call again
---@field on_progress fun(progress: bulkjob.ExtractProgress)|nil

---@class bulkjob.ExtractProgress
---@field state string of the job
---@field rows integer in the file
---@field total_rows integer|nil nil as long as the service does not know
---@field pages integer in the file
---@field bytes integer on the disk
---@field rate number bytes a second
---@field seconds number
---@field seconds_left number|nil nil while nobody can tell

---@class bulkjob.ExtractReport
---@field job table its info
---@field rows integer
---@field pages integer
---@field bytes integer of the file
---@field seconds number
---@field file string

local TYPES = {
  query = "string", operation = "string", file = "string", columnDelimiter = "string", lineEnding = "string", max_records = "number",
  pages = "number", journal = "string", on_progress = "function",
}

local function misuse(text)
  error("bulkjob: extract: " .. text, 4)
end

local function check_options(options)
  if type(options) ~= "table" then
    misuse("a table expected, got " .. type(options))
  end
  for name, value in pairs(options) do
    if not TYPES[name] then
      misuse("unknown option '" .. tostring(name) .. "'")
    elseif TYPES[name] ~= type(value) then
      misuse(name .. ": " .. TYPES[name] .. " expected, got " .. type(value))
    end
  end
  if not options.query or not options.file then
    misuse((options.query and "file" or "query") .. " is missing")
  elseif options.operation and options.operation ~= "query" and options.operation ~= "queryAll" then
    misuse("operation: query or queryAll expected, got " .. options.operation)
  end
  for _, name in ipairs { "pages", "max_records" } do
    local value = options[name]
    if value and not (value >= 1 and value % 1 == 0) then
      misuse(name .. ": a whole number from 1 on expected, got " .. tostring(value))
    end
  end
end

local function progress(extract)
  local seconds = core.now() - extract.began
  local bytes = file.bytes(extract)
  local now = {
    state = extract.job and extract.job.state or "Open", rows = extract.rows, pages = extract.head - 1, bytes = bytes, seconds = seconds,
    rate = seconds > 0 and (bytes - extract.bytes_before) / seconds or 0,
    total_rows = extract.info and extract.info.state == "JobComplete" and extract.info.numberRecordsProcessed or nil,
  }
  local done = now.total_rows and now.total_rows > 0 and now.rows / now.total_rows or 0
  now.seconds_left = done > 0 and extract.bytes_before == 0 and seconds * (1 - done) / done or nil
  return now
end

-- A job that an earlier run had made, if it is of use: its results are kept for seven days (the guide, Limits).
local function take_up_job(extract)
  local earlier = extract.client:job(extract.job_id, "query")
  local info, err = earlier:info()
  if info and info.state ~= "Failed" and info.state ~= "Aborted" then
    extract.job = earlier
  elseif not info and err.status ~= 404 then
    return nil, err
  end
  return true
end

local function create_job(extract)
  local options = extract.options
  local err
  extract.job, err = extract.client:create {
    operation = extract.operation, query = options.query, columnDelimiter = options.columnDelimiter, lineEnding = options.lineEnding,
  }
  if not extract.job then
    return nil, err
  end
  return plan.begin_job(extract, extract.job.id)
end

-- The job, and its info when it is complete.
local function await_job(extract)
  local ok, err = true, nil
  if extract.job_id then
    ok, err = take_up_job(extract)
  end
  if ok and not extract.job then
    ok, err = create_job(extract)
  end
  if not ok then
    return nil, err
  end
  local on_progress = extract.options.on_progress
  extract.info, err = job.complete(extract.job, {
    on_progress = on_progress and function(now)
      extract.info = now
      on_progress(progress(extract))
    end,
  })
  return extract.info, err
end

local function work(extract, worker)
  while not extract.crew.err do
    local page, err = links.take(extract)
    local ok = page
    if page then
      worker.page = page
      ok, err = file.fetch(extract, page)
    end
    if err then
      extract.crew:stop(err)
    end
    if not ok then
      links.wake(extract) -- whoever waits for a page that will not come
      return
    end
  end
end

local function check_total(extract)
  local total = extract.info.numberRecordsProcessed
  if total and total ~= extract.rows then
    return nil, core.error("protocol", ("the pages hold %d rows, and the job says that it found %d"):format(extract.rows, total),
      { job_id = extract.job.id })
  end
  return true
end

local function report(extract)
  return {
    job = extract.info, rows = extract.rows, pages = extract.head - 1, bytes = extract.bytes, seconds = core.now() - extract.began,
    file = extract.options.file,
  }
end

local function run(extract)
  local ok, err = plan.open(extract)
  if ok and extract.finished then
    return report(extract)
  end
  if ok then
    ok, err = await_job(extract)
  end
  if ok then
    ok, err = file.open(extract)
  end
  if not ok then
    return nil, err
  end
  links.begin(extract)
  extract.crew:run(extract.parallel and extract.options.pages or extract.parallel and PAGES or 1, function(worker)
    work(extract, worker)
  end)
  if extract.crew.err then
    return nil, extract.crew.err
  end
  ok, err = check_total(extract)
  if ok then
    ok, err = plan.note_whole(extract)
  end
  if ok then
    ok, err = outfile.publish(extract.client, extract.part, extract.options.file)
  end
  if not ok then
    return nil, err
  end
  extract.finished = true
  return report(extract)
end

-- Without a journal nobody goes on: the job would run for nothing, and its pages lie about.
local function clean_up(extract, err)
  local left = not extract.journal and not extract.finished
  file.close(extract, left)
  if extract.journal then
    extract.journal:close()
  end
  if left and extract.job and not job.FINAL[extract.job.state] then
    local ok, why = extract.job:abort()
    if not ok and core.is_error(err) then
      job.add_also(err, why)
    end
  end
end

--- Runs a query and puts all its rows into one file, with one header, in the order in which the service has them. The file is there
--- when it is whole. With a `journal`, the same call made again goes on behind the last whole page, whatever has stopped it.
---@param options bulkjob.ExtractOptions
---@return bulkjob.ExtractReport|nil report, bulkjob.Error|nil err
function client_methods:extract(options)
  check_options(options)
  local extract = {
    client = self, options = options, operation = options.operation or "query", began = core.now(),
    part = core.is_direct(options.file) and os.tmpname() or options.file .. ".part",
    parallel = pages.exist(self) and not options.max_records and options.pages ~= 1,
    head = 1, -- the page that comes next into the file
    rows = 0, bytes = 0, bytes_before = 0, fetched = {},
  }
  extract.crew = crew.new {
    client = self, on_progress = options.on_progress,
    progress = function()
      return progress(extract)
    end,
    may_cancel = function()
      return true
    end,
  }
  return extract.crew:whole(run, extract, clean_up)
end
