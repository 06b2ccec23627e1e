--- Whole extracts: the rows of a query in one file, which is there when all of them are.
local core = require "bulkjob.core"
local worker_pool = require "bulkjob.worker_pool"
local file = require "bulkjob.extract.file"
local files = require "bulkjob.load.files"
local job = require "bulkjob.job"
local links = require "bulkjob.extract.links"
local options = require "bulkjob.options"
local outfile = require "bulkjob.outfile"
local page = require "bulkjob.page"
local pages = require "bulkjob.pages"
local run = require "bulkjob.run"
local token_renewal = require "bulkjob.token_renewal"

local client_methods = core.client_methods
local check = files.check

local PAGES = 4

local OPTIONS = {
  query = "text", operation = { "query", "queryAll" }, file = "text", max_records = "count", pages = "count", journal = "text",
  columnDelimiter = options.DELIMITERS, lineEnding = options.LINE_ENDINGS, restart = "boolean", on_progress = "function",
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
local function reuse_job(extract, id)
  local earlier = extract.client:job(id, "query")
  local info, err = earlier:info()
  check(info or job.is_gone(earlier, err), err)
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
    reuse_job(extract, extract.run.parts[1].job)
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
  while not extract.pool.err do
    local this, err = links.take(extract)
    local ok = this
    if this then
      worker.page = this
      ok, err = file.fetch(extract, this)
    end
    if links.is_refused(extract, this, err) then
      extract.refused = extract.refused or err
      err = extract.refused
    end
    if err then
      extract.pool:stop(err)
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
local function resume(extract)
  local this = extract.run
  local last = this.pages[#this.pages]
  -- The listed pages are those without `max_records`, also where only the call at hand has that.
  extract.parallel = extract.parallel and this.head.plan.parallel
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
local function check_file(path, journal)
  local directory = path:match "^(.+)/[^/]*$" or path:match "^/" or "."
  check(not core.list_directory(path), path .. ": it is a directory")
  check(not journal or not core.same_file(directory, journal), path .. ": it is in the directory of the journal")
  if not core.is_direct(path) then
    check(core.can_make(directory))
  end
end

local function begin(extract)
  local given, client = extract.options, extract.client
  check_file(given.file, given.journal)
  -- Without a journal all is beside the file, if that is to be a file: it cannot be moved from elsewhere in one step.
  local part, direct = given.file .. ".part", core.is_direct(given.file)
  extract.run = check(run.open {
    client = client, path = given.journal or not (direct or core.stat(part)) and part or nil, temporary = not given.journal,
    near = not direct and (given.file:match "^(.*)/[^/]*$" or ".") or nil, restart = given.restart,
  })
  check(token_renewal.sign_in(client))
  local situation = check(extract.run:begin({
    kind = "extract", org = token_renewal.org(client), operation = extract.operation, query = given.query,
    columnDelimiter = given.columnDelimiter, lineEnding = given.lineEnding, api_version = core.api_version(client),
  }, function()
    return { parallel = extract.parallel }
  end, {}))
  extract.part, extract.resumed = extract.run:file "rows.csv", situation == "resumed"
end

local function fetch_pages(extract)
  check(file.open(extract))
  links.begin(extract)
  extract.pool:run(extract.parallel and math.min(extract.options.pages or PAGES, links.MOST_AHEAD) or 1, function(worker)
    work(extract, worker)
  end)
end

local function fetch_all(extract)
  await_job(extract)
  fetch_pages(extract)
  if extract.refused and extract.pool:take_back(extract.refused) then
    extract.parallel = false -- each page tells where the next one is
    fetch_pages(extract)
  end
  local ok, err = not extract.pool.err, extract.pool.err
  if ok then
    ok, err = page.check_total(extract.job, "/results", extract.rows, function()
      return extract.info
    end)
  end
  if err and err.wrong_pages then -- a later call must not go on behind these
    begin_job(extract, extract.job.id)
  end
  check(ok, err)
  check(extract.run:note { whole = extract.info })
end

local function go(extract)
  begin(extract)
  if not extract.resumed or not resume(extract) then
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

-- Without a journal no later call can use the job.
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
  extract.pool = worker_pool.new {
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
  return extract.pool:run_whole(go, extract, clean_up)
end
