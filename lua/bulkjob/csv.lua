--- The CSV that the service speaks, read and written row by row.
local core = require "bulkjob.core"
local options = require "bulkjob.options"
local raise = require "bulkjob.raise"
local source = require "bulkjob.source"

local csv = {}

local PIECE = 64 * 1024

local READ_OPTIONS = { delimiter = "string", max_record = "number" }
local WRITE_OPTIONS = { delimiter = "string", line_ending = options.LINE_ENDINGS }
local CHECK_OPTIONS = { delimiter = "string", part_bytes = "count", sha256 = "boolean" }

local function source_error(failure)
  return core.is_error(failure) and failure or core.error("io", "the source failed: " .. tostring(failure))
end

-- A function that moves the next piece of a source into a core.csv_reader or core.csv_check, and answers true, false when there is no
-- more, or nil, err; and one that lets go of the source. Or nil, err.
local function open(from)
  if type(from) == "function" then
    return function(to)
      local piece, failure = from()
      if piece ~= nil then
        return to:feed(piece)
      elseif failure then
        return nil, source_error(failure)
      end
      return false
    end, function() end
  elseif type(from) == "string" then
    local at = 1
    return function(to)
      local piece = from:sub(at, at + PIECE - 1)
      at = at + PIECE
      if piece == "" then
        return false
      end
      return to:feed(piece)
    end, function() end
  elseif type(from) ~= "table" or type(from.file) ~= "string" then
    error("bulkjob.csv: CSV text, { file = path } or a function expected, got " .. type(from), 3)
  end
  local input, err = core.open_input(from.file)
  if not input then
    return nil, err
  end
  return function(to)
    if not input then
      return false
    end
    return to:read(input) -- without a string of Lua for each piece
  end, function()
    if input then
      input:close()
      input = nil
    end
  end
end

--- Reads CSV. The delimiter is found in the header; both line endings are known; values are always strings.
---@param from string|{ file: string }|fun(): string|nil, any text, a file, or a function that gives pieces until nil; `nil, err`
---  from it is a failure
---@param given { delimiter: string|nil, max_record: integer|nil }|nil the delimiter as a character or by the service's name;
---  the longest record in bytes, 16 MiB by default
---@return fun(): table<string, string>|nil next_row raises the error of bad data, or of reading it; nil, err from here when a
---  file cannot be opened
function csv.rows(from, given)
  given = options.check("bulkjob.csv", given or {}, READ_OPTIONS)
  local fill, close = open(from)
  if not fill then
    return nil, close
  end
  local reader = core.csv_reader(given)
  local ended = false
  local closer = setmetatable({}, { __close = close })
  return function()
    while not ended do
      local row, err = reader:next()
      if row then
        return row
      elseif row == nil and not err then
        local more
        more, err = fill(reader)
        if more == false then
          reader:finish()
        end
      end
      if row == false or err then
        ended = true
        close()
        reader:close()
        if err then
          raise.error(err)
        end
      end
    end
  end, nil, nil, closer
end

--- Writes CSV.
---@param rows table[]|fun(): table|nil, any an array without holes, or an iterator; `nil, err` from it is a failure
---@param columns string[]|nil an array needs none: the union of all names, sorted; an iterator then takes those of its first
---  row and refuses any other
---@param given { delimiter: string|nil, line_ending: "LF"|"CRLF"|nil }|nil
---@return string|nil text, bulkjob.Error|nil err
function csv.encode(rows, columns, given)
  if type(rows) ~= "table" and type(rows) ~= "function" then
    error("bulkjob.csv: rows: an array or an iterator expected, got " .. type(rows), 2)
  end
  given = options.check("bulkjob.csv", given or {}, WRITE_OPTIONS)
  local chunks, err = source.chunks({ rows = rows, columns = columns },
    { columnDelimiter = given.delimiter, lineEnding = given.line_ending })
  if not chunks then
    return nil, source_error(err)
  end
  local parts = {}
  while true do
    local chunk
    chunk, err = chunks()
    if not chunk then
      if err then
        return nil, source_error(err)
      end
      return parts[2] and table.concat(parts) or parts[1] -- which makes no copy of the only one
    end
    parts[#parts + 1] = chunk
  end
end

--- Looks through CSV for what the service would refuse: no header, an empty name or one twice, quotes that are not closed or stand
--- where none may, records with another number of values, mixed line ends, text that is no UTF-8, and what is longer than the
--- service takes. Values are not looked at.
---@param from string|{ file: string }|fun(): string|nil, any
---@param given { delimiter: string|nil, part_bytes: integer|nil, sha256: boolean|nil }|nil `part_bytes`: cut so that no part with a
---  header is longer; `sha256`: take the checksum of the whole, too
---@param pause fun()|nil called now and then
---@return bulkjob.CsvFacts|nil facts
---@return bulkjob.Error|nil err the first fault: err.line, err.byte (from 1), and err.column, the name, where there is one
function csv.check(from, given, pause)
  given = options.check("bulkjob.csv", given or {}, CHECK_OPTIONS)
  local fill, close = open(from)
  if not fill then
    return nil, close
  end
  local check = core.csv_check(given)
  local parts = {}
  local more, ok, err
  repeat
    more, err = fill(check)
    if more == false then
      ok, err = check:finish()
    end
    for _, part in ipairs(check:parts()) do
      parts[#parts + 1] = part
    end
    if pause then
      pause()
    end
  until not more
  close()
  local facts = ok and check:facts()
  check:close()
  if not facts then
    return nil, err
  end
  facts.parts = parts
  return facts
end

return csv
