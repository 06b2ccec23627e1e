--- The CSV that the service speaks, read and written row by row.
local core = require "bulkjob.core"
local source = require "bulkjob.source"

local csv = {}

local PIECE = 64 * 1024

local READ_OPTIONS = { delimiter = true, max_record = true }
local WRITE_OPTIONS = { delimiter = true, line_ending = true }

-- A misspelt option would be read as none.
local function check_options(options, known)
  if options ~= nil and type(options) ~= "table" then
    error("bulkjob.csv: options: a table expected, got " .. type(options), 3)
  end
  for name in pairs(options or {}) do
    if not known[name] then
      error("bulkjob.csv: unknown option '" .. tostring(name) .. "'", 3)
    end
  end
  return options or {}
end

-- A function that gives the text of a source in pieces, then nil, or nil and what went wrong; and one that lets go of the source.
-- Or nil, err.
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
  local file, why = io.open(from.file, "rb")
  if not file then
    return nil, core.error("io", why)
  end
  return function()
    if file then
      local piece, failure = file:read(PIECE)
      return piece, failure and core.error("io", from.file .. ": " .. failure)
    end
  end, function()
    if file then
      file:close()
      file = nil
    end
  end
end

--- Reads CSV. The delimiter is found in the header; both line endings are known; values are always strings.
---@param from string|{ file: string }|fun(): string|nil, any text, a file, or a function that gives pieces until nil; `nil, err`
---  from it is a failure
---@param options { delimiter: string|nil, max_record: integer|nil }|nil the delimiter as a character or by the service's name;
---  the longest record in bytes, 16 MiB by default
---@return fun(): table<string, string>|nil next_row raises the error of bad data, or of reading it; nil, err from here when a
---  file cannot be opened
function csv.rows(from, options)
  options = check_options(options, READ_OPTIONS)
  local read, close = open(from)
  if not read then
    return nil, close
  end
  local reader = core.csv_reader(options)
  local ended = false
  local closer = setmetatable({}, { __close = close })
  return function()
    while not ended do
      local row, err = reader:next()
      if row == nil and not err then
        local piece, failure = read()
        if piece == nil and failure then
          err = core.is_error(failure) and failure or core.error("io", "the source failed: " .. tostring(failure))
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
          error(err, 0)
        end
      end
    end
  end, nil, nil, closer
end

--- Writes CSV.
---@param rows table[]|fun(): table|nil
---@param columns string[]|nil an array needs none: the union of all names, sorted; an iterator then takes those of its first
---  row and refuses any other
---@param options { delimiter: string|nil, line_ending: "LF"|"CRLF"|nil }|nil
---@return string|nil text, bulkjob.Error|nil err
function csv.encode(rows, columns, options)
  if type(rows) ~= "table" and type(rows) ~= "function" then
    error("bulkjob.csv: rows: an array or an iterator expected, got " .. type(rows), 2)
  end
  options = check_options(options, WRITE_OPTIONS)
  local chunks, err = source.chunks({ rows = rows, columns = columns },
    { columnDelimiter = options.delimiter, lineEnding = options.line_ending })
  if not chunks then
    return nil, err
  end
  local parts = {}
  while true do
    local chunk
    chunk, err = chunks()
    if not chunk then
      if err then
        return nil, err
      end
      return table.concat(parts)
    end
    parts[#parts + 1] = chunk
  end
end

return csv
