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

-- A function that gives the text of a source in pieces, then nil, or nil and what went wrong; one that lets go of the source; and
-- the input, if it is a file. Or nil, err.
local function open(from)
  if type(from) == "function" then
    return from, function() end
  elseif type(from) == "string" then
    local at = 1
    return function()
      local piece = from:sub(at, at + PIECE - 1)
      at = at + PIECE
      return piece ~= "" and piece or nil
    end, function() end
  elseif type(from) ~= "table" or type(from.file) ~= "string" then
    error("bulkjob.csv: CSV text, { file = path } or a function expected, got " .. type(from), 3)
  end
  local input, err = core.open_input(from.file)
  if not input then
    return nil, err
  end
  return function()
    if input then
      return input:read(PIECE)
    end
  end, function()
    if input then
      input:close()
      input = nil
    end
  end, input
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
  local read, close = open(from)
  if not read then
    return nil, close
  end
  local reader = core.csv_reader(given)
  local ended = false
  local closer = setmetatable({}, { __close = close })
  return function()
    while not ended do
      local row, err = reader:next()
      if row == nil and not err then
        local piece, failure = read()
        if piece == nil and failure then
          err = source_error(failure)
        elseif piece == nil then
          reader:finish()
        else
          err = select(2, reader:feed(piece))
        end
      end
      if row then
        return row
      elseif row == false or err then
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
  local read, close, input = open(from)
  if not read then
    return nil, close
  end
  local check = core.csv_check(given)
  local parts = {}
  local ok, err
  repeat
    local more, failure
    if input then
      more, failure = check:read(input) -- without a string of Lua for each piece
      ok, err = more ~= nil, failure
    else
      more, failure = read()
      if more then
        ok, err = check:feed(more)
      else
        ok, err = not failure, failure and source_error(failure)
      end
    end
    if ok and not more then
      ok, err = check:finish()
    end
    for _, part in ipairs(check:parts()) do
      parts[#parts + 1] = part
    end
    if pause then
      pause()
    end
  until not ok or not more
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
