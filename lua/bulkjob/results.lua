--- Result sets: the rows of a job, streamed.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local outfile = require "bulkjob.outfile"
local page = require "bulkjob.page"
local raise = require "bulkjob.raise"
local task = require "bulkjob.task"
local types = require "bulkjob.types"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

local methods = {}

local results = {}

-- After so many rows others run, if the reader has used up its time slice.
local YIELD_ROWS = 8

-- Seconds after which a task that waits for another one's step looks for itself.
local PATIENCE = 1

-- A header has at most 32,000 characters (the guide, Prepare CSV Files), of at most four bytes, and quotes.
local HEADER_BYTES = 256 * 1024

local set_meta = { __index = methods, __name = "bulkjob.result_set" }

--- A set over the resource `tail` of a job. Makes no request.
---@param job bulkjob.Job
---@param tail string "/successfulResults" and so on
---@param options { max_records: integer|nil, locator: string|nil, typed: boolean|nil, single: boolean|nil, count: table|nil } `single`: one
---  page, behind which there are others; `count`: what the sets of job:pages share, { pages =, rows = {} }
---@param ask { kind: fun(job), format: fun(job), info: fun(job) } each answers a table, or nil, err: what a handle made from an id
---  has to find out first, and what the service knows of the job in the end
function results.new(job, tail, options, ask)
  return setmetatable({
    job = job,
    tail = tail,
    options = options,
    ask = ask,
    locator = options.locator,
    seen = { [options.locator or ""] = true },
    client = core.job_client(job),
    condition = {}, -- where tasks wait for the one that is reading
    rows_before = 0, -- in the pages that are over
  }, set_meta)
end

local function closed_meanwhile(self)
  return nil, core.error("cancelled", "the result set was closed while it was read", { job_id = self.job.id })
end

-- Brings more bytes into the reader, or tells it that there are no more. True, or nil, err.
local function fill(self)
  local this = self.call
  local moved, err = this:fill(self.reader)
  if not moved then
    return nil, err
  elseif moved > 0 or call.advance(self.client, this) ~= "done" then
    return true
  elseif self.call ~= this then
    return closed_meanwhile(self)
  end
  self.facts, err = page.finish(self)
  if not self.facts then
    return nil, err
  end
  self.reader:finish()
  return true
end

-- The rows that were handled begin with a column of the service's own, so the first delimiter in their header is the delimiter.
-- Other rows have any columns: what looks like a delimiter there may be part of a name.
local DELIMITER_SHOWS = { ["/successfulResults"] = true, ["/failedResults"] = true }

local function find_delimiter(self)
  if not self.delimiter_known and not DELIMITER_SHOWS[self.tail] then
    local info, err = self.ask.format(self.job)
    if not info then
      return nil, err
    end
    self.delimiter = info.columnDelimiter
  end
  self.delimiter_known = true
  return true
end

-- Calls a method of the reader until it has what it gives: that, false at the end of the page, or nil, err.
local function take(self, method)
  while true do
    local value, err = method(self.reader)
    if value or value == false then
      return value
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

local function set_types(self, columns)
  if not self.types then
    local info, err = self.ask.format(self.job)
    if info then
      self.types, err = types.of(self.client, info.object, columns)
    end
    if not self.types then
      return nil, err
    end
  end
  if not self.reader then
    return closed_meanwhile(self)
  end
  self.reader:types(self.types)
  return true
end

local function read_header(self)
  local columns, err = take(self, self.reader.header)
  if columns == nil then
    return nil, err
  end
  self.names = columns or {}
  local ok
  ok, err = page.check_header(self, table.concat(self.names, "\0"))
  if ok and columns and self.options.typed then
    ok, err = set_types(self, columns)
  end
  return ok, err
end

local function begin_page(self)
  local call_made, err = page.begin(self)
  local ok = call_made
  if ok then
    self.call = call_made
    ok, err = find_delimiter(self)
  end
  if not ok then
    return nil, err
  elseif self.call ~= call_made then
    return closed_meanwhile(self)
  end
  self.reader = core.csv_reader { delimiter = self.delimiter }
  self.facts = nil
  self.count = 0
  return read_header(self)
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

local function open_page(self)
  return page.try(self, begin_page, close_page)
end

-- The rows of all sets of job:pages, as soon as each of them was read to its end, however often.
local function rows_of_pages(self)
  local count, rows, read = self.options.count, 0, 0
  count.rows[self.options] = self.rows_before
  for _, of_page in pairs(count.rows) do
    rows, read = rows + of_page, read + 1
  end
  return read == count.pages and rows
end

-- Behind the last page: are these all rows that the job has? A set that has begun elsewhere cannot tell.
local function check_total(self)
  local rows = not self.options.locator and self.rows_before
  if self.options.count then
    rows = rows_of_pages(self)
  end
  if not rows then
    return true
  end
  return page.check_total(self.job, self.tail, rows, self.ask.info)
end

local function call_plain(step, self)
  return true, step(self)
end

-- Takes a step that waits. Meanwhile no other task gets at the set.
local function alone(self, step)
  self.reading = yieldable.running() or true
  local good, ok, err = (yieldable.works and yieldable.pcall or call_plain)(step, self)
  self.reading = nil
  task.signal(self.condition)
  if not good then
    raise.error(ok)
  elseif not ok then
    self.failed = err
    self:close()
  end
  return ok, err
end

-- Waits until the task that takes such a step has taken it. An error from outside, such as a hook raises, can end that task at any
-- point, and then nobody signals.
local function wait_for_reader(self)
  local reading = self.reading
  if reading == (yieldable.running() or true) or (type(reading) == "thread" and coroutine.status(reading) == "dead") then
    self.reading = nil
  elseif not task.running() or not yieldable.works then
    error("bulkjob: another coroutine is reading this result set, and only tasks of client:spawn can read one side by side", 0)
  elseif not task.wait_condition(self.condition, PATIENCE) then
    raise.error(core.error("cancelled", "the wait for rows was cancelled", { job_id = self.job.id }))
  end
end

local function fail(self, err)
  self.failed = err
  self:close()
  raise.error(err)
end

-- Adds the rows of a page to those before it. The locator of the page behind it, or nil, err when that must not be asked for.
local function go_on(self, locator, rows)
  self.rows_before = self.rows_before + (rows or 0)
  if locator then
    local ok, err = page.check_so_far(self.job, self.tail, self.rows_before)
    if not ok then
      return nil, err
    end
  end
  return locator
end

-- Behind the last row of a page: on to the next one, or to the end.
local function leave_page(self)
  local locator, err = page.next_locator(self, self.facts, self.count)
  if locator ~= nil then
    locator, err = go_on(self, locator, self.count)
  end
  if locator == nil then
    fail(self, err)
  end
  close_page(self)
  self.locator = locator
  if not locator then
    local ok
    ok, err = alone(self, check_total)
    if not ok then
      raise.error(err)
    end
    self:close()
  end
end

--- The next row, or nil at the end. Raises an error table. Several tasks can read from one set: each row goes to one of them.
---@return table<string, string>|nil row
function methods:next()
  while not self.closed do
    local ok, err = true, nil
    if self.reading then
      wait_for_reader(self)
    elseif not self.reader then
      ok, err = alone(self, open_page)
    else
      local row, bad = self.reader:next()
      if row then
        self.count = self.count + 1
        if self.count % YIELD_ROWS == 0 then
          wait.yield(self.client)
        end
        return row
      elseif bad then
        bad.job_id = self.job.id
        fail(self, bad)
      elseif row == false then
        leave_page(self)
      else
        ok, err = alone(self, fill)
      end
    end
    if not ok then
      raise.error(err)
    end
  end
  if self.failed then -- whoever asks again, or another task, is not told that this was the end
    raise.error(self.failed)
  end
  return nil
end

--- The names of the columns, in their order. Before the first row this begins the download.
---@return string[]|nil names, bulkjob.Error|nil err
function methods:columns()
  while not self.names and self.reading do
    wait_for_reader(self)
  end
  if not self.names then
    if self.closed then
      return nil, self.failed or core.error("cancelled", "the result set was closed", { job_id = self.job.id })
    end
    local ok, err = alone(self, open_page)
    if not ok then
      return nil, err
    end
  end
  return self.names
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

-- What is new in a piece of a page: all of it, but of a page that is not the first what comes behind the header. A last row
-- without a line end gets one as soon as there is another.
local function behind_header(self, piece, page_ended)
  if not self.headed then
    self.line = self.line .. piece
    local line_end = self.line:find("\n", 1, true) or page_ended and #self.line
    if not line_end then
      return ""
    end
    local first = not self.header
    local ok, err = page.check_header(self, self.line:sub(1, line_end))
    if not ok then
      return nil, err
    end
    self.headed = true
    piece = first and self.line or self.line:sub(line_end + 1)
  end
  if piece ~= "" then
    local open = self.last_byte and self.last_byte ~= "\n"
    self.last_byte = piece:sub(-1)
    return open and not self.page_begun and self.header:match "\r?\n?$" .. piece or piece
  end
  return piece
end

-- The next piece of a page; "" before there is one, and where a page has ended; nil, err.
local function next_piece(self)
  local piece, err, facts, locator
  if not self.call then
    self.call, err = page.begin(self)
    self.headed, self.line, self.page_begun = false, "", false
    if not self.call then
      return nil, err
    end
  end
  local this = self.call
  piece = this:read()
  wait.yield(self.client)
  local ended = piece == "" and call.advance(self.client, this) == "done"
  if self.call ~= this then
    return closed_meanwhile(self)
  elseif ended then
    facts, err = page.finish(self)
    if facts then
      locator, err = page.next_locator(self, facts)
    end
    if locator ~= nil then
      locator, err = go_on(self, locator, facts.rows)
    end
    if locator == nil then
      return nil, err
    end
  end
  piece, err = behind_header(self, piece, ended)
  if not piece then
    return nil, err
  elseif piece ~= "" then
    self.page_begun = true
  end
  if ended then
    self.call, self.locator = nil, locator
    self.ended = not locator
  end
  return piece
end

-- The first piece of a page that holds something; "" when the page has ended without one; nil, err. Whether the page is a wrong one
-- is known by then, and not before: a try of page.try that ended earlier would count for nothing.
local function first_piece(self)
  local piece, err
  repeat
    piece, err = next_piece(self)
  until piece ~= "" or not self.call
  return piece, err
end

-- The next piece of the text; false at the end; nil, err.
local function next_chunk(self)
  local piece, err = "", nil
  while piece == "" and not self.closed do
    if self.ended then
      piece, err = check_total(self)
      piece = piece and false
      self.closed = true
    elseif self.page_begun and self.call then -- what of this page has come cannot be taken back
      piece, err = next_piece(self)
    else
      piece, err = page.try(self, first_piece, close_page)
    end
  end
  return piece ~= "" and piece, err
end

local function take_chunk(self)
  local err
  self.piece, err = next_chunk(self)
  return self.piece ~= nil, err
end

--- The CSV text piece by piece, with one header: `for text in set:chunks() do`. Raises an error table, also when a page turns
--- out short behind its last piece.
---@return fun(): string|nil
function methods:chunks()
  self = from_start(self)
  return function()
    while self.reading do
      wait_for_reader(self)
    end
    local ok, err
    if not self.failed then
      ok, err = alone(self, take_chunk)
    end
    if not ok then
      raise.error(err or self.failed)
    end
    local piece = self.piece
    self.piece = nil
    return piece or nil
  end, nil, nil, self
end

--- The whole CSV text, in memory.
---@return string|nil text, bulkjob.Error|nil err
function methods:read()
  self = from_start(self)
  local parts = {}
  while true do
    local piece, err = next_chunk(self)
    if piece == nil then
      self:close()
      return nil, err
    elseif not piece then
      return table.concat(parts)
    end
    parts[#parts + 1] = piece
  end
end

--- The first line of a file, with its end.
---@return string|nil header, bulkjob.Error|nil err
function results.header_of(path)
  local text, why = file.read(path, 1, HEADER_BYTES)
  local header = text and text:match "^[^\n]*"
  return header and header .. "\n", why and core.error("io", why)
end

--- Saves the page at the locator of the set, the header of which must be that of the pages before.
---@param self bulkjob.ResultSet
---@param target string|userdata the path of a file of our own, or an output (core.begin_output)
---@param append boolean|nil without its header, behind what the file holds, if there is one
---@return { rows: integer, next: string|false, header: string }|nil facts `next`: the locator of the page behind it
---@return bulkjob.Error|nil err
function results.save_page(self, target, append)
  local facts, locator, err
  local ok = true
  if append then
    ok, err = core.end_last_line(target)
  end
  if not ok then
    return nil, err
  end
  facts, err = page.try(self, function()
    self.call, err = page.begin(self, target, append, self.header)
    if not self.call then
      return nil, err
    end
    call.advance(self.client, self.call)
    return page.finish(self)
  end, close_page)
  self.call = nil
  if facts then
    locator, err = page.next_locator(self, facts)
  end
  if locator == nil then
    return nil, err
  end
  ok, err = page.check_header(self, facts.header)
  if not ok then
    return nil, err
  end
  facts.next = locator
  return facts
end

local function save_pages(self, out, append)
  repeat
    local saved, err = results.save_page(self, out, append)
    if not saved then
      return nil, err
    end
    self.locator, err = go_on(self, saved.next, saved.rows)
    if self.locator == nil then
      return nil, err
    end
    append = true
  until not self.locator
  return check_total(self)
end

-- A pipe or the like gets the text as it comes. `before`: the set whose text is in it already.
local function pass_on(self, out, before)
  self.last_byte = before and before.last_byte
  while true do
    local piece, err = next_chunk(self)
    if not piece then
      return piece == false or nil, err
    end
    local ok
    ok, err = outfile.write(self.client, out, piece)
    if not ok then
      return nil, err
    end
  end
end

local function save_sets(sets, out)
  for i, set in ipairs(sets) do
    local ok, err
    set.header = i > 1 and sets[i - 1].header or nil
    if out:is_direct() then
      ok, err = pass_on(set, out, sets[i - 1])
    else
      ok, err = save_pages(set, out, out:size() > 0)
    end
    if not ok then
      return nil, err
    end
  end
  return true
end

--- Saves sets with the same columns to one file, with one header. It appears under its name only when it is whole. A symbolic link
--- is followed; what is no regular file, such as a pipe, is written to as the text comes.
---@param sets bulkjob.ResultSet[] at least one
---@param path string
---@return true|nil ok
---@return bulkjob.Error|nil err `other_columns`: the sets have not the same columns in the same order
function results.save_all(sets, path)
  local out, begun = core.begin_output(path)
  if not out then
    return nil, begun
  end
  local fresh = {}
  for i, set in ipairs(sets) do
    fresh[i] = from_start(set)
  end
  -- Whatever ends it, an interrupt too, leaves no half file and no download behind.
  local good, ok, err = yieldable.pcall(save_sets, fresh, out)
  for _, set in ipairs(fresh) do
    set:close()
  end
  if good and ok then
    ok, err = out:publish()
  end
  out:discard()
  if not good then
    raise.error(ok)
  end
  return ok, err
end

--- Saves the CSV as it comes, without passing through Lua. The file appears under its name only when it is whole. A symbolic link is
--- followed. What is no regular file (a pipe, a terminal, a device) is written to as the text comes: then an error may come behind it.
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
