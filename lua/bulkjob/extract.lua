--- Whole extracts: the rows of a query in one file, which is there when all of them are.
local core = require "bulkjob.core"
local crew = require "bulkjob.crew"
local file = require "bulkjob.extract.file"
local files = require "bulkjob.load.files"
local job = require "bulkjob.job"
local links = require "bulkjob.extract.links"
local options = require "bulkjob.options"
local outfile = require "bulkjob.outfile"
local page = require "bulkjob.page"
local pages = require "bulkjob.pages"
local run = require "bulkjob.run"
local trip = require "bulkjob.trip"

local client_methods = core.client_methods
local check = files.check

local PAGES = 4

---@class bulkjob.ExtractOptions
---@field query string SOQL
---@field operation "query"|"queryAll"|nil "query" by default
---@field file string where the rows go; beside it, until it is whole and without a journal, is the directory FILE.part
---@field columnDelimiter string|nil
---@field lineEnding string|nil
---@field max_records integer|nil rows for each page; then the pages come one after the other, for the service cuts those that it
---  gives links for
---@field pages integer|nil how many at the same time, 4 by default, from API version 58.0 on
---@field journal string|nil the directory of the run: the same call again goes on where this one was stopped
---@field restart boolean|nil begin anew, whatever the journal holds
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
---@field resumed boolean an earlier call had begun it

local OPTIONS = {
  query = "text", operation = { "query", "queryAll" }, file = "text", columnDelimiter = "text", lineEnding = "text",
  max_records = "count", pages = "count", journal = "text", restart = "boolean", on_progress = "function",
}

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

-- From here on there are the pages of this job, from the first.
local function begin_job(extract, id)
  extract.head, extract.rows, extract.bytes, extract.fetched = 1, 0, 0, {}
  check(extract.run:note { part = 1, step = "created", job = id })
end

-- A job that an earlier call had made, if it is of use: its results are kept for seven days (the guide, Limits).
local function take_up_job(extract, id)
  local earlier = extract.client:job(id, "query")
  local info, err = earlier:info()
  check(info or err.status == 404, err)
  extract.job = info and info.state ~= "Failed" and info.state ~= "Aborted" and earlier or nil
end

local function create_job(extract)
  local given = extract.options
  extract.job = check(extract.client:create {
    operation = extract.operation, query = given.query, columnDelimiter = given.columnDelimiter, lineEnding = given.lineEnding,
  })
  begin_job(extract, extract.job.id)
end

-- Waits for the job to be complete.
local function await_job(extract)
  if extract.run.parts[1] then
    take_up_job(extract, extract.run.parts[1].job)
  end
  if not extract.job then
    create_job(extract)
  end
  local on_progress = extract.options.on_progress
  extract.info = check(job.complete(extract.job, {
    on_progress = on_progress and function(now)
      extract.info = now
      on_progress(progress(extract))
    end,
  }))
end

local function work(extract, worker)
  while not extract.crew.err do
    local this, err = links.take(extract)
    local ok = this
    if this then
      worker.page = this
      ok, err = file.fetch(extract, this)
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

local function report(extract)
  return {
    job = extract.info, rows = extract.rows, pages = extract.head - 1, bytes = extract.bytes, seconds = core.now() - extract.began,
    file = extract.options.file, resumed = extract.resumed,
  }
end

local function size(path)
  local stat = core.stat(path)
  return stat and stat.size
end

-- Takes over the pages that an earlier call has noted. True when all is there, and at most the name of the file is missing.
local function take_on(extract)
  local this = extract.run
  local last = this.pages[#this.pages]
  extract.parallel = this.head.plan.parallel
  for i, noted in ipairs(this.pages) do
    extract.fetched[i] = noted
    extract.rows = extract.rows + noted.rows
  end
  extract.head, extract.bytes = #this.pages + 1, last and last.bytes or 0
  extract.bytes_before = extract.bytes
  local there = size(extract.part)
  if this.said.whole and (there or size(extract.options.file)) == extract.bytes then
    extract.info = this.said.whole
    return true
  elseif last and (there or 0) < extract.bytes then
    begin_job(extract, this.parts[1].job) -- the pages are gone, but not the job
  end
  return false
end

-- Refuses what can be refused before there is a job.
local function check_file(path)
  check(not core.list_directory(path), path .. ": it is a directory")
  if not core.is_direct(path) then
    check(core.can_make(path:match "^(.+)/[^/]*$" or path:match "^/" or "."))
  end
end

local function begin(extract)
  local given, client = extract.options, extract.client
  check_file(given.file)
  -- Without a journal all is beside the file, if that is to be a file: it cannot be moved from elsewhere in one step.
  local part, direct = given.file .. ".part", core.is_direct(given.file)
  extract.run = check(run.open {
    client = client, path = given.journal or not (direct or core.stat(part)) and part or nil, temporary = not given.journal,
    near = not direct and (given.file:match "^(.*)/[^/]*$" or ".") or nil, restart = given.restart,
  })
  check(trip.sign_in(client))
  local situation = check(extract.run:begin({
    kind = "extract", org = run.org(client), operation = extract.operation, query = given.query,
    columnDelimiter = given.columnDelimiter, lineEnding = given.lineEnding, api_version = core.api_version(client),
  }, function()
    return { parallel = extract.parallel }
  end, {}))
  extract.part, extract.resumed = extract.run:file "rows.csv", situation == "resumed"
end

local function fetch_all(extract)
  await_job(extract)
  check(file.open(extract))
  links.begin(extract)
  extract.crew:run(extract.parallel and (extract.options.pages or PAGES) or 1, function(worker)
    work(extract, worker)
  end)
  check(not extract.crew.err, extract.crew.err)
  check(page.check_total(extract.job, "/results", extract.rows, function()
    return extract.info
  end))
  check(extract.run:note { whole = extract.info })
end

local function go(extract)
  begin(extract)
  if not extract.resumed or not take_on(extract) then
    fetch_all(extract)
  end
  if size(extract.part) then
    check(outfile.publish(extract.client, extract.part, extract.options.file))
  end
  local sums = report(extract)
  check(extract.run:finish(sums, {}))
  extract.finished = true
  return sums
end

-- Without a journal nobody goes on: the job would run for nothing.
local function clean_up(extract, err)
  if extract.run then
    extract.run:close()
  end
  if not extract.options.journal and not extract.finished and extract.job and not job.FINAL[extract.job.state] then
    local ok, why = extract.job:abort()
    if not ok and core.is_error(err) then
      job.add_also(err, why)
    end
  end
end

--- Runs a query and puts all its rows into one file, with one header, in the order in which the service has them. The file is there
--- when it is whole. With a `journal`, the same call made again goes on behind the last whole page, whatever has stopped it; a
--- finished one begins anew.
---@param given bulkjob.ExtractOptions
---@return bulkjob.ExtractReport|nil report, bulkjob.Error|nil err
function client_methods:extract(given)
  options.check("extract", given, OPTIONS, { "query", "file" })
  local extract = {
    client = self, options = given, operation = given.operation or "query", began = core.now(),
    parallel = pages.exist(self) and not given.max_records and given.pages ~= 1,
    head = 1, -- the page that comes next into the file
    rows = 0, bytes = 0, bytes_before = 0, fetched = {},
  }
  extract.crew = crew.new {
    client = self, on_progress = given.on_progress,
    progress = function()
      return progress(extract)
    end,
    may_cancel = function()
      return true
    end,
    wake = function()
      links.wake(extract)
    end,
  }
  return extract.crew:whole(go, extract, clean_up)
end
