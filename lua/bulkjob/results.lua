--- Result sets: the rows of a job, streamed.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local task = require "bulkjob.task"
local yieldable = require "bulkjob.yieldable"

---@class bulkjob.ResultSet
local methods = {}

local results = {}

-- After so many rows a task lets the others run, if it has had its turn.
local BREATH_ROWS = 8

local set_meta = { __index = methods, __name = "bulkjob.result_set" }

--- A set over the resource `tail` of a job. Makes no request.
---@param job bulkjob.Job
---@param tail string "/successfulResults" and so on
---@param options { max_records: integer|nil, locator: string|nil }
---@param ask { kind: fun(job): table|nil, table|nil; format: fun(job): table|nil, table|nil } what a handle made from an id has
---  to find out first
function results.new(job, tail, options, ask)
  return setmetatable({
    job = job,
    tail = tail,
    options = options,
    ask = ask,
    locator = options.locator,
    seen = { [options.locator or ""] = true },
    client = core.job_facts(job).client,
  }, set_meta)
end

local function escape(text)
  return (text:gsub("[^%w%-%._~]", function(c)
    return string.format("%%%02X", c:byte())
  end))
end

local function page_tail(self)
  local query = {}
  if self.locator then
    query[#query + 1] = "locator=" .. escape(self.locator)
  end
  if self.options.max_records then
    query[#query + 1] = string.format("maxRecords=%d", self.options.max_records)
  end
  return self.tail .. (#query > 0 and "?" .. table.concat(query, "&") or "")
end

local function begin_page(self, ...)
  if not self.job.kind then
    local info, err = self.ask.kind(self.job)
    if not info then
      return nil, err
    end
  end
  return core.results(self.job, page_tail(self), ...)
end

local function broken(self, message)
  return nil, core.error("protocol", message, { job_id = self.job.id })
end

-- After a page came whole: the locator of the next one, false when there is none, or nil, err. Only a query has pages; its
-- last one says so with the word null (the guide, query_get_job_results), so a missing header is no end.
local function next_locator(self, page, rows)
  if self.job.kind ~= "query" then
    return false
  end
  local expected = tonumber(page.records)
  if not page.locator then
    return broken(self, "a page of results came without the Sforce-Locator header")
  elseif rows and expected and rows ~= expected then
    return broken(self, string.format("a page of results holds %d rows, and Sforce-NumberOfRecords says %d", rows, expected))
  elseif page.locator == "null" then
    return false
  elseif self.seen[page.locator] then
    return broken(self, "the locator " .. page.locator .. " came twice")
  end
  self.seen[page.locator] = true
  return page.locator
end

-- Brings more bytes into the reader, or tells it that there are no more. True, or nil, err.
local function fill(self)
  local moved, err = self.call:fill(self.reader)
  if not moved then
    return nil, err
  elseif moved > 0 or call.advance(self.client, self.call) ~= "done" then
    return true
  end
  local page
  page, err = self.call:result()
  if not page then
    return nil, err
  end
  self.page = page
  self.reader:finish()
  return true
end

-- The rows that were handled begin with a column of the service's own, so the first delimiter in their header is the delimiter.
-- Other rows have any columns: what looks like a delimiter there may be part of a name.
local DELIMITER_SHOWS = { ["/successfulResults"] = true, ["/failedResults"] = true }

local function settle_delimiter(self)
  if not self.settled and not DELIMITER_SHOWS[self.tail] then
    local info, err = self.ask.format(self.job)
    if not info then
      return nil, err
    end
    self.delimiter = info.columnDelimiter
  end
  self.settled = true
  return true
end

local function open_page(self)
  local call_made, err = begin_page(self)
  local ok = call_made
  if ok then
    ok, err = settle_delimiter(self)
  end
  if not ok then
    return nil, err
  end
  self.call = call_made
  self.reader = core.csv_reader { delimiter = self.delimiter }
  self.page = nil
  self.count = 0
  return true
end

local function close_page(self)
  if self.call then
    self.call:cancel()
    self.call = nil
  end
  if self.reader then
    self.reader:close()
    self.reader = nil
  end
end

-- The next row of the page at hand; false at its end; nil, err.
local function next_row(self)
  while true do
    local row, err = self.reader:next()
    if row then
      self.count = self.count + 1
      if self.count % BREATH_ROWS == 0 then
        task.breathe()
      end
      return row
    elseif row == false then
      return false
    elseif err then
      err.job_id = self.job.id
      return nil, err
    end
    local ok
    ok, err = fill(self)
    if not ok then
      return nil, err
    end
  end
end

local function fail(self, err)
  self:close()
  error(err, 0)
end

--- The next row, or nil at the end. Raises an error table.
---@return table<string, string>|nil row
function methods:next()
  while not self.closed do
    local row, err
    if not self.call then
      local ok
      ok, err = open_page(self)
      if not ok then
        fail(self, err)
      end
    end
    row, err = next_row(self)
    if row then
      return row
    elseif row == nil then
      fail(self, err)
    end
    local locator
    locator, err = next_locator(self, self.page, self.count)
    if locator == nil then
      fail(self, err)
    end
    close_page(self)
    self.locator = locator
    if not locator then
      self:close()
    end
  end
  return nil
end

--- For `for row in set:rows() do`. Left early, the download ends (in Lua 5.4 at once, else when the set is collected or
--- closed).
function methods:rows()
  return self.next, self, nil, self
end

-- A set of its own over the same rows: reading or saving all of them has nothing to do with how far somebody has walked.
local function from_start(self)
  return results.new(self.job, self.tail, self.options, self.ask)
end

--- The whole CSV text, in memory.
---@return string|nil text, bulkjob.Error|nil err
function methods:read()
  self = from_start(self)
  local parts = {}
  repeat
    local this, err = begin_page(self)
    if not this then
      return nil, err
    end
    local skip = #parts > 0
    repeat
      local text = this:read()
      task.breathe()
      if skip then
        local line_end = text:find("\n", 1, true)
        text = line_end and text:sub(line_end + 1) or ""
        skip = not line_end
      end
      parts[#parts + 1] = text ~= "" and text or nil
    until text == "" and call.advance(self.client, this) == "done"
    local page, locator
    page, err = this:result()
    if page then
      locator, err = next_locator(self, page)
    end
    if locator == nil then
      return nil, err
    end
    self.locator = locator
  until not locator
  return table.concat(parts)
end

local function save_pages(self, path, append)
  repeat
    local page, locator, err
    self.call, err = begin_page(self, path, append)
    if self.call then
      page, err = call.run(self.client, self.call)
    end
    if page then
      locator, err = next_locator(self, page)
    end
    if locator == nil then
      return nil, err
    end
    self.locator = locator
    append = true
  until not locator
  return true
end

local function save_sets(sets, path)
  for i, set in ipairs(sets) do
    local there = i > 1 and core.stat(path)
    local ok, err = save_pages(set, path, there and there.size > 0)
    if not ok then
      return nil, err
    end
  end
  return true
end

--- Saves sets with the same columns to one file, with one header. It appears under its name only when it is whole.
---@param sets bulkjob.ResultSet[] at least one
---@param path string
---@return true|nil ok, bulkjob.Error|nil err
function results.save_all(sets, path)
  local part = path .. ".part"
  local fresh = {}
  for i, set in ipairs(sets) do
    fresh[i] = from_start(set)
  end
  -- Whatever ends it, an interrupt too, leaves no half file and no download behind.
  local good, ok, err = yieldable.pcall(save_sets, fresh, part)
  for _, set in ipairs(fresh) do
    set:close()
  end
  if good and ok then
    ok, err = core.publish(part, path)
  end
  if not good or not ok then
    os.remove(part)
  end
  if not good then
    error(ok, 0)
  end
  return ok, err
end

--- Saves the CSV as it comes, without passing through Lua. The file appears under its name only when it is whole.
---@param path string
---@return true|nil ok, bulkjob.Error|nil err
function methods:save(path)
  if type(path) ~= "string" then
    error("bulkjob: save: a path expected, got " .. type(path), 2)
  end
  return results.save_all({ self }, path)
end

--- Ends the download, if there is one. Twice is harmless.
function methods:close()
  self.closed = true
  close_page(self)
end

set_meta.__call = methods.next
set_meta.__close = methods.close
function set_meta:__tostring()
  return "bulkjob.result_set of " .. tostring(self.job) .. self.tail
end

return results
