--- One page of a result set: asked for, and compared with what the service says of it. The results of an ingest job are one page.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local task = require "bulkjob.task"
local url = require "bulkjob.url"

local page = {}

-- Downloads under way, and the ids of their jobs.
local downloads = setmetatable({}, { __mode = "k" })

--- Ends the downloads of a job.
function page.end_downloads(job)
  local client = core.job_client(job)
  for this, id in pairs(downloads) do
    if id == job.id and this:job() and core.job_client(this:job()) == client then
      task.wake_waiter(this)
      this:cancel()
    end
  end
end

local function tail_of(set)
  local query = {}
  if set.locator then
    query[#query + 1] = "locator=" .. url.escape(set.locator)
  end
  if set.options.max_records then
    query[#query + 1] = string.format("maxRecords=%d", set.options.max_records)
  end
  return set.tail .. (#query > 0 and "?" .. table.concat(query, "&") or "")
end

--- Asks for the page at the set's locator. `...`: a path, whether to append, and the header that it has to have.
---@return table|nil call, bulkjob.Error|nil err
function page.begin(set, ...)
  if not set.job.kind then
    local info, err = set.ask.kind(set.job)
    if not info then
      return nil, err
    end
  end
  local this, err = core.results(set.job, tail_of(set), ...)
  if this then
    downloads[this] = set.job.id
  end
  return this, err
end

local function broken(set, message, more)
  local fields = more or {}
  fields.job_id = set.job.id
  return nil, core.error("protocol", message, fields)
end

-- A page that is not there, or of a query one of something else, may come right the next time: so many tries, with such pauses.
local TRIES, PAUSE = 3, 0.2

--- Takes `step(set)`, the answer of which is that of a page, until the page has come right. `let_go`, between two tries, ends what is
--- under way. Only for a page of which nobody has got a row.
---@return any ok, bulkjob.Error|nil err
function page.try(set, step, let_go)
  for try = 1, TRIES do
    local ok, err = step(set)
    local may_come = err and (err.status == 404 or err.other_columns and set.job.kind == "query")
    if ok or not may_come or try == TRIES then
      return ok, err
    end
    let_go(set)
    local slept, why = call.sleep(set.client, PAUSE)
    if not slept then
      return nil, why
    end
  end
end

-- What the service answers to another version does not say which (the guide, query_get_job_results).
local function explain(set, err)
  if err and err.status == 409 then
    local version = core.job_facts(set.job).info.apiVersion
    err.message = err.message .. "; results of a query are read with the api_version that it was made with"
      .. (version and ", " .. version or "")
  end
  return nil, err
end

--- What the service says of a page that has come: { locator =, records =, rows =, header = }, or nil, err.
function page.finish(set)
  local facts, err = set.call:result()
  if not facts then
    return explain(set, err)
  end
  return facts
end

--- Pages without a row that may follow each other. A list of pages that never ends has to end somewhere.
page.MOST_EMPTY = 1000

--- Goes on to the page at this locator: nil, err when it is one that was there before, or when too many pages without a row came one
--- behind the other.
---@param at { job: bulkjob.Job, seen: table<string, true>, empty_pages: integer|nil } who goes from page to page
---@param locator string
---@param rows integer|nil of the page before it
---@return true|nil ok, bulkjob.Error|nil err
function page.turn(at, locator, rows)
  if at.seen[locator] then
    return broken(at, "the locator " .. locator .. " came twice", { wrong_pages = true })
  end
  at.seen[locator] = true
  at.empty_pages = rows == 0 and (at.empty_pages or 0) + 1 or 0
  if at.empty_pages > page.MOST_EMPTY then
    return broken(at, ("more than %d pages without a row came one behind the other"):format(page.MOST_EMPTY),
      { wrong_pages = true })
  end
  return true
end

--- The locator of the page behind the one that these facts are of; false when there is none; or nil, err. Only a query has pages; its
--- last one says so with the word null (the guide, query_get_job_results), so a missing header is no end. `rows`: when they were
--- counted by the caller.
function page.next_locator(set, facts, rows)
  if set.job.kind ~= "query" then
    return false
  end
  local expected = tonumber(facts.records)
  if rows and expected and rows ~= expected then
    return broken(set, ("a page of results holds %d rows, and Sforce-NumberOfRecords says %s"):format(rows, facts.records))
  elseif facts.locator == "null" or set.options.single then
    return false
  end
  local ok, err = page.turn(set, facts.locator, rows or facts.rows)
  return ok and facts.locator, err
end

--- Every page repeats the header. One that differs is a page of something else: nil, err. Of an ingest job without such rows the service
--- may send nothing at all.
function page.check_header(set, header)
  if header == "" and set.job.kind == "ingest" then
    return true
  elseif set.header and set.header ~= header then
    return broken(set, "a page of results has other columns than the page before it", { other_columns = true })
  end
  set.header = header
  return true
end

-- How many rows a resource holds as the info of a complete job counts them. A counter may be missing (dataloader, pull request 1033).
local TOTALS = {
  ["/results"] = function(info)
    return info.numberRecordsProcessed
  end,
  ["/successfulResults"] = function(info)
    return info.numberRecordsProcessed and info.numberRecordsFailed and info.numberRecordsProcessed - info.numberRecordsFailed
  end,
  ["/failedResults"] = function(info)
    return info.numberRecordsFailed
  end,
}

local function wrong_total(job, count, rows)
  return nil, core.error("protocol", ("rows that the job counts: %d; rows in its results: %d"):format(count, rows),
    { job_id = job.id, wrong_pages = true })
end

--- Are these, as far as is known, not more rows than there can be? Pages that never end would fill the disk.
---@return true|nil ok, bulkjob.Error|nil err
function page.check_so_far(job, tail, rows)
  local info = core.job_facts(job).info
  local total = TOTALS[tail] and info.state == "JobComplete" and TOTALS[tail](info)
  if total and rows > total then
    return wrong_total(job, total, rows)
  end
  return true
end

--- Compares the number of rows of a whole resource with what the complete job says. A handle that does not know asks the service, and
--- so does one that knows something else: that may be older than the rows.
---@param job bulkjob.Job
---@param tail string "/results" and so on; of the records that were not processed there is no counter
---@param rows integer
---@param ask_info fun(job: bulkjob.Job): table|nil, bulkjob.Error|nil
---@return true|nil ok, bulkjob.Error|nil err
function page.check_total(job, tail, rows, ask_info)
  local info = core.job_facts(job).info
  local total = TOTALS[tail]
  if not total or info.state == "Aborted" or info.state == "Failed" or info.state == "JobComplete" and total(info) == rows then
    return true
  end
  local fresh, err = ask_info(job)
  if not fresh then
    return nil, err
  end
  local count = fresh.state == "JobComplete" and total(fresh)
  if count and count ~= rows then
    return wrong_total(job, count, rows)
  end
  return true
end

return page
