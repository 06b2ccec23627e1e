--- The verbs of a job, each taken to its end.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local options = require "bulkjob.options"
local page = require "bulkjob.page"
local pages = require "bulkjob.pages"
local raise = require "bulkjob.raise"
local results = require "bulkjob.results"
local source = require "bulkjob.source"
local task = require "bulkjob.task"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

local methods = core.job_methods

local job = {}

--- The states in which the service changes nothing more.
job.FINAL = { JobComplete = true, Failed = true, Aborted = true }

-- Seconds between two looks at a job. Each costs one of the org's API calls.
local FIRST_POLL, POLL_GROWTH, LONGEST_POLL = 0.2, 1.6, 20

-- Seconds that even `timeout = 0` leaves for one look.
local SHORTEST_LOOK = 1

-- Bytes of a source that can be read only once. A dead token shows in the first moments of an upload: by then the engine has taken a
-- megabyte, and the system's buffers some more.
local MOST_KEPT = 4 * 1024 * 1024

-- Tries of an abort that nobody asked for: whoever waits has an error already.
local CLEANUP_TRIES = 2

local function run(self, this)
  return call.run(core.job_client(self), this)
end

-- Reads the info of a job of this kind; `deadline` (on core.now) bounds that.
local function read_as(self, kind, deadline)
  return run(self, core.info(self, kind, deadline and math.max(deadline - core.now(), SHORTEST_LOOK)))
end

-- Finds out what kind of job an id stands for, with one request for an ingest job and two for a query. The kind of the handle
-- changes only when it is known: other tasks may be using it.
local function find_kind(self, deadline)
  local first
  for _, kind in ipairs { "ingest", "query" } do
    local info, err = read_as(self, kind, deadline)
    if info then
      core.set_kind(self, self.kind or kind)
      return info
    elseif err.status ~= 404 then
      return nil, err
    end
    first = first or err
  end
  return nil, first
end

local function look(self, deadline)
  if self.kind then
    return read_as(self, self.kind, deadline)
  end
  return find_kind(self, deadline)
end

-- A method that finds out the kind of its job first, if need be.
local function verb(begin)
  return function(self, ...)
    if not self.kind then
      local info, err = find_kind(self)
      if not info then
        return nil, err
      end
    end
    return begin(self, ...)
  end
end

local function local_error(self, message, in_doubt)
  return nil, core.error("job", message, { job_id = self.id, state = self.state, in_doubt = in_doubt })
end

local function ingest_only(self, name)
  if self.kind == "query" then
    error("bulkjob: a query job has no " .. name, 3)
  end
end

--- What the service knows about the job now.
---@return table|nil info, bulkjob.Error|nil err
function methods:info()
  return look(self)
end

--- Deletes the job and what the service keeps of it. Rows that were processed stay.
---@return true|nil ok, bulkjob.Error|nil err
methods.delete = verb(function(self)
  return run(self, core.delete(self))
end)

--- Does an error about this job mean that it is gone? Only when the service itself says so, not a proxy, and says it twice: one of its
--- servers may not know a job that another has made.
---@param self bulkjob.Job
---@param err bulkjob.Error
---@return boolean
function job.is_gone(self, err)
  local info, why
  if err.not_found then
    info, why = look(self)
  end
  return info == nil and why ~= nil and why.not_found == true
end

--- Lists an error among what failed beside another.
function job.add_also(err, another)
  err.also = err.also or {}
  table.insert(err.also, another)
end

-- Rolls the job back if it is ours and surely Open: then nothing can have been processed. The error, if that failed.
local function roll_back(self)
  if core.job_facts(self).surely_open then
    local _, why = run(self, core.abort(self, CLEANUP_TRIES))
    return core.job_facts(self).surely_open and why or nil -- another task may have closed it meanwhile
  end
end

local function source_error(err)
  return core.is_error(err) and err or core.error("io", "the source failed: " .. tostring(err))
end

-- Feeds a call from `open`, which gives a function of chunks and can be called again for another try. The first chunk is made
-- before the first request, so that a source that fails at once costs none.
local function pump(client, this, open)
  local chunks, chunk, at
  local function take()
    local err
    chunk, err = chunks()
    at = 1
    if chunk ~= nil and type(chunk) ~= "string" then
      error("bulkjob: upload: a string or nil expected from the source, got " .. type(chunk), 0)
    elseif chunk == nil and err ~= nil then
      this:cancel(source_error(err))
    end
  end
  local function begin()
    local err
    chunks, err = open()
    if chunks then
      take()
    else
      this:cancel(source_error(err))
    end
  end
  begin()
  while true do
    local need = call.advance(client, this)
    if need == "done" then
      return
    elseif need == "restart" then
      begin()
    elseif chunk then
      at = at + this:push(chunk, at)
      if at > #chunk then
        take()
      end
    else
      this:finish()
    end
  end
end

-- An `open` for pump whose source can be read only once. What it has given so far is kept, and given again at the next try, as long as
-- that is little.
local function open_once(this, open)
  local chunks, err, ended
  local kept, size = {}, 0
  local function take()
    if ended then
      return nil
    end
    local chunk, why = chunks()
    ended = chunk == nil
    size = size + (type(chunk) == "string" and #chunk or 0)
    if kept and size > MOST_KEPT then
      kept = nil
      this:set_once()
    elseif kept then
      kept[#kept + 1] = chunk
    end
    return chunk, why
  end
  return function()
    if not chunks then
      chunks, err = open()
      if not chunks then
        return nil, err
      end
    end
    local i = 0
    return function()
      i = i + 1
      if kept and kept[i] then
        return kept[i]
      end
      return take()
    end
  end
end

-- The settings that rows are written with, from the service when this handle does not know them.
local function row_format(self)
  local info, err = core.job_facts(self).info, nil
  if not info.lineEnding then
    info, err = look(self)
  end
  return info, err
end

local function begin_upload(self, src)
  local kind = source.kind(src)
  local format, err
  if kind == "rows" then
    format, err = row_format(self)
    if not format then
      return nil, err
    end
  end
  local facts = core.job_facts(self)
  if facts.uploaded then
    return local_error(self, "this job has its data already: one upload for each job")
  elseif facts.upload then -- its failure would abort the job under the other one
    return local_error(self, "another upload to this job is under way: one upload for each job")
  elseif kind == "text" or kind == "file" then
    return core.upload(self, kind, src)
  end
  local this = core.upload(self, "queue")
  local function open()
    return source.chunks(src, format, wait.yielder(core.job_client(self)))
  end
  return this, nil, source.is_repeatable(src) and open or open_once(this, open)
end

--- Uploads the job's data. A job takes one upload. When it fails after something was sent, a job that this client made is aborted:
--- it is Open, so nothing was processed, and the service might refuse a second one.
---@param src bulkjob.Source
---@return true|nil ok, bulkjob.Error|nil err
methods.upload = verb(function(self, src)
  ingest_only(self, "upload")
  local this, err, open = begin_upload(self, src)
  if not this then
    return nil, err
  end
  local good, why = yieldable.pcall(open and pump or call.run, core.job_client(self), this, open)
  if not good then
    this:cancel()
  end
  local ok
  ok, err = this:result()
  local why_not = not ok and this:was_sent() and roll_back(self)
  if why_not then
    job.add_also(err, why_not)
  end
  if not good then
    raise.error(why)
  end
  return ok, err
end)

--- Commits: the service begins to process. So it is not the way to release a job: what calls `close` on every way out, such as Fennel's
--- `with-open`, would commit after an error. `bulkjob.with` rolls back. Safe to repeat. Refused here as long as no upload was
--- acknowledged, unless the handle was made from an id; and once this handle has sent an abort.
---@return table|nil info state "UploadComplete", or a later one if the job has moved on since
---@return bulkjob.Error|nil err `in_doubt`: a close was sent, and may have taken effect or still take it
methods.close = verb(function(self)
  ingest_only(self, "close: it runs from the start")
  local facts = core.job_facts(self)
  if facts.ours and not facts.uploaded and self.state == "Open" then
    return local_error(self, "nothing was uploaded to this job: upload first, or abort")
  end
  return run(self, core.close(self))
end)

-- Another task may be uploading or reading.
local function end_transfers(self)
  local upload = core.job_facts(self).upload
  if upload then
    task.wake_waiter(upload)
    upload:cancel()
  end
  page.end_downloads(self)
end

--- Rolls back what is Open. A job that runs is stopped: rows that were processed stay. Safe to repeat.
---@return table|nil info state "Aborted"
---@return bulkjob.Error|nil err
methods.abort = verb(function(self)
  end_transfers(self)
  return run(self, core.abort(self))
end)

local WAIT_OPTIONS = { timeout = "seconds", on_progress = "function" }

--- Looks at the job until it is in a final state, less and less often. A time-out or a failed look leaves the job alone. A job of Bulk
--- API 1.0 never comes to one here: that is an error at once.
---@param given { timeout: number|nil, on_progress: fun(info: table)|nil }|nil `timeout` in seconds, none by default; it bounds
---  the last look at the job, too
---@return table|nil info state "JobComplete", "Failed" or "Aborted"
---@return bulkjob.Error|nil err
function methods:wait(given)
  given = options.check("wait", given or {}, WAIT_OPTIONS)
  local facts = core.job_facts(self)
  local deadline = given.timeout and core.now() + given.timeout
  local pause = FIRST_POLL
  while true do
    local info, err = look(self, deadline)
    if not info then
      if deadline and err.kind == "timeout" and core.now() >= deadline then
        err.message = "the state of the job could not be read within " .. given.timeout .. " seconds; it goes on without us"
      end
      return nil, err
    end
    if given.on_progress then
      given.on_progress(info)
    end
    if job.FINAL[info.state] then
      return info
    elseif info.jobType == "Classic" then
      return local_error(self, "the job is one of Bulk API 1.0 (jobType Classic), and " .. info.state .. ": how far its batches are, and "
        .. "what becomes of them, is told by that API only")
    elseif info.state == "Open" and facts.ours then
      if core.job_facts(self).surely_open then
        return local_error(self, "the job is Open: it does not run before close")
      end
      return local_error(self, "the job is Open, and whether a close that was sent takes effect is not known", true)
    end
    local left = deadline and deadline - core.now() or math.huge
    if left <= 0 then
      return nil, core.error("timeout", "the job is still " .. info.state .. " after " .. given.timeout
        .. " seconds; it goes on without us", { job_id = self.id, state = info.state })
    end
    -- Jitter, so that many waiters do not ask at the same time.
    local ok
    ok, err = call.sleep(facts.client, math.min(pause * (0.8 + 0.4 * math.random()), left))
    if not ok then
      err.job_id, err.state = self.id, info.state
      return nil, err
    end
    pause = math.min(pause * POLL_GROWTH, LONGEST_POLL)
  end
end

--- Waits for a query to be complete. One that failed or was aborted is an error.
---@param self bulkjob.Job
---@param given { on_progress: fun(info: table)|nil }|nil
---@return table|nil info, bulkjob.Error|nil err
function job.complete(self, given)
  local info, err = self:wait(given)
  if info and info.state ~= "JobComplete" then
    return nil, core.error("job", "the query " .. (info.state == "Failed" and "failed" or "was aborted")
      .. (info.errorMessage and ": " .. info.errorMessage or ""), { job_id = info.id, state = info.state })
  end
  return info, err
end

-- What a result set has to ask about a handle that was made from an id.
local ask = { kind = find_kind, format = row_format, info = function(self)
  return run(self, core.info(self, self.kind))
end }

local function result_set(tail)
  return function(self)
    ingest_only(self, tail)
    return results.new(self, "/" .. tail, {}, ask)
  end
end

--- The rows that were processed, with `sf__Id` and `sf__Created`. No request before the first use of the set.
---@return bulkjob.ResultSet
methods.successful_results = result_set("successfulResults")

--- The rows that were refused, with `sf__Id` and `sf__Error`.
---@return bulkjob.ResultSet
methods.failed_results = result_set("failedResults")

--- The rows that were never looked at, because the job failed or was aborted.
---@return bulkjob.ResultSet
methods.unprocessed_records = result_set("unprocessedrecords")

local RESULTS_OPTIONS = { max_records = "count", locator = "string", typed = "boolean" }
local PAGES_OPTIONS = { typed = "boolean" }

local function query_only(self, name, given, known)
  if self.kind == "ingest" then
    error("bulkjob: an ingest job has successful_results, failed_results and unprocessed_records", 3)
  end
  return options.check(name, given or {}, known)
end

--- The rows of a query job, page after page. Values are text, and an empty one is "". With `typed` they are what the object's
--- describe says: integers, numbers, booleans, and nil for an empty one; all else, and what would lose something, stays text.
---@param given { max_records: integer|nil, locator: string|nil, typed: boolean|nil }|nil rows for each page; where to begin
---@return bulkjob.ResultSet
function methods:results(given)
  return results.new(self, "/results", query_only(self, "results", given, RESULTS_OPTIONS), ask)
end

--- The pages of a query job, as the service cut them: sets that can be read at the same time, by tasks.
---@param given { typed: boolean|nil }|nil
---@return bulkjob.ResultSet[]|nil pages in the order of the rows; `for set in pages do` walks over them, too
---@return bulkjob.Error|nil err
methods.pages = verb(function(self, given)
  given = query_only(self, "pages", given, PAGES_OPTIONS)
  local list, err = pages.all(self)
  if list and not list[1] then
    list[1] = results.new(self, "/results", given, ask)
    return list
  end
  local count = list and { pages = #list, rows = {} }
  for i, locator in ipairs(list or {}) do
    -- The last one follows where its own answer leads: rows behind it would be lost.
    list[i] = results.new(self, "/results",
      { locator = locator ~= "" and locator or nil, typed = given.typed, single = i < #list, count = count }, ask)
  end
  return list, err
end)

-- What happens when a scope that held the job is left.
local function leave(self, err)
  if core.job_facts(self).surely_open then
    end_transfers(self)
  end
  local why = roll_back(self)
  if why and core.is_error(err) then
    job.add_also(err, why)
  elseif why and err == nil then
    raise.error(why)
  end
end

-- `local job <close> = …` in Lua 5.4.
core.job_meta.__close = leave

local function finish(self, ok, ...)
  if not ok then
    leave(self, (...))
    raise.error((...))
  end
  leave(self, nil)
  return ...
end

--- What `<close>` does, for the Lua versions that lack it: calls `fn(job)`, and aborts the job if it is still Open then.
---@param self bulkjob.Job
---@param fn fun(job: bulkjob.Job): ...
---@return ... what `fn` returns; raises what it raises
function job.with(self, fn)
  if not pcall(core.job_facts, self) then
    error("bulkjob: with: a job expected, got " .. type(self), 2)
  elseif type(fn) ~= "function" then
    error("bulkjob: with: a function expected, got " .. type(fn), 2)
  end
  return finish(self, yieldable.pcall(fn, self))
end

return job
