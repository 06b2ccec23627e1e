--- What an extract does, and what of it an earlier run has done: its journal.
local core = require "bulkjob.core"
local journal = require "bulkjob.journal"
local outfile = require "bulkjob.outfile"

local plan = {}

local SAME = { "query", "operation", "file", "columnDelimiter", "lineEnding", "max_records", "org", "api_version" }

local function asked_for(extract)
  local options = extract.options
  return {
    extract = 1, query = options.query, operation = extract.operation, file = options.file, columnDelimiter = options.columnDelimiter,
    lineEnding = options.lineEnding, max_records = options.max_records, org = core.org(extract.client),
    api_version = core.api_version(extract.client), parallel = extract.parallel,
  }
end

local function forget(extract)
  extract.head, extract.rows, extract.bytes, extract.fetched = 1, 0, 0, {}
end

-- Takes over what the journal says.
local function replay(extract, lines)
  local whole
  extract.parallel = lines[1].parallel
  for i = 2, #lines do
    local line = lines[i]
    if line.job then
      forget(extract)
      extract.job_id, whole = line.job, nil
    elseif line.page == extract.head then
      extract.fetched[line.page] = line
      extract.head, extract.rows, extract.bytes = line.page + 1, extract.rows + line.rows, line.bytes
    elseif line.whole then
      whole = line
    else
      return nil, core.error("io", "journal " .. extract.options.journal .. ": line " .. i .. " makes no sense")
    end
  end
  extract.bytes_before = extract.bytes
  return true, whole
end

local function size(path)
  local stat = core.stat(path)
  return stat and stat.size
end

-- All was there: what is left, if anything, is to give the file its name.
local function take_up_whole(extract, whole)
  local ok, err = true, nil
  if size(extract.part) == extract.bytes then
    ok, err = outfile.publish(extract.client, extract.part, extract.options.file)
  elseif size(extract.options.file) ~= extract.bytes then
    -- Somebody has taken the file away, and wants it again.
    forget(extract)
    extract.job_id = nil
    return true
  end
  extract.finished, extract.info = ok, whole.whole
  return ok, err
end

--- Opens the journal, if there is to be one, and takes over what is in it.
---@return true|nil ok, bulkjob.Error|nil err
function plan.open(extract)
  local path = extract.options.journal
  if not path then
    return true
  end
  local err
  extract.journal, err = journal.open(path)
  if not extract.journal then
    return nil, err
  elseif not extract.journal.lines[1] then
    return true
  end
  local ok
  ok, err = extract.journal:compare("extract", asked_for(extract), SAME)
  if not ok then
    return nil, err
  end
  local whole
  ok, whole = replay(extract, extract.journal.lines)
  if not ok then
    return nil, whole
  elseif whole then
    return take_up_whole(extract, whole)
  elseif extract.head > 1 and (size(extract.part) or 0) < extract.bytes then
    -- The pages are gone, but not the job.
    forget(extract)
    return plan.begin_job(extract, extract.job_id)
  end
  return true
end

local function add(extract, line)
  return not extract.journal or extract.journal:add(line)
end

--- From here on there are the pages of this job, from the first.
---@return true|nil ok, bulkjob.Error|nil err
function plan.begin_job(extract, id)
  forget(extract)
  local ok, err = true, nil
  if extract.journal and extract.journal.is_empty then
    ok, err = extract.journal:add(asked_for(extract))
  end
  if ok then
    ok, err = add(extract, { job = id })
  end
  return ok, err
end

--- A page is in the file, which has so many bytes now.
function plan.note_page(extract, number, page)
  return add(extract, { page = number, locator = page.locator, next = page.next, rows = page.rows, bytes = extract.bytes })
end

--- All pages are.
function plan.note_whole(extract)
  return add(extract, { whole = extract.info })
end

return plan
