--- What can be uploaded: text, a file, rows, a function. Rows and functions become chunks of CSV.
local core = require "bulkjob.core"
local options = require "bulkjob.options"

local source = {}

-- As many rows are looked at between two yields: some microseconds.
local NAMED_ROWS = 100

-- The same of rows that are written, and how long a chunk gets. Lua 5.4 works off what was allocated at once in one step of its
-- collector: a string of 64 KiB costs a game half a millisecond in one frame. Where nobody waits, there is less to pay in large steps.
local SHARED = { rows = 8, bytes = 16 * 1024 }
local ALONE = { rows = 1000, bytes = 1024 * 1024 }

local FORMS = {
  file = { file = "string", first = "number", last = "number", header = "string", digest = "string" },
  rows = { rows = "table or function", columns = "table" },
}

local function check_fields(s, form)
  options.check("source", s, FORMS[form], { form }, 0)
  for _, key in ipairs { "first", "last" } do
    local value = s[key] or 1
    if not (value % 1 == 0 and math.abs(value) <= options.MOST_WHOLE) then
      error("bulkjob: source: " .. key .. ": a whole number of bytes expected, got " .. tostring(value), 0)
    end
  end
  if s.digest and not (#s.digest == 32 and s.digest:find "^[0-9a-f]+$") then
    error("bulkjob: source: digest: 32 hexadecimal digits in small letters expected, got '" .. s.digest .. "'", 0)
  end
  return form
end

--- What kind of source it is. Raises when it is none.
---@return "text"|"file"|"rows"|"chunks"
function source.kind(s)
  if type(s) == "string" then
    return "text"
  elseif type(s) == "function" then
    return "chunks"
  elseif type(s) == "table" and (s.file ~= nil or s.rows ~= nil) then
    return check_fields(s, s.file ~= nil and "file" or "rows")
  end
  error("bulkjob: a source expected (a CSV string, { file = path }, { rows = rows } or a function), got "
    .. (type(s) == "table" and "a table without file or rows" or type(s)), 0)
end

--- Can it be read from its start again?
function source.is_repeatable(s)
  return type(s) == "table" and type(s.rows) == "table"
end

local function dont_yield() end

-- The names of all fields of an array of rows, sorted, or nil, err.
local function all_columns(rows, yield)
  local names = {}
  local first = 1
  local err
  repeat
    first, err = core.csv_names(names, rows, first, NAMED_ROWS)
    yield()
  until not first
  if err then
    return nil, err
  end
  return core.csv_sorted(names)
end

-- As many entries of an array are looked at between two yields.
local SEEN_ROWS = 1000

-- What would be left out without an error: rows behind a hole, and what is no array of rows at all.
local function check_array(rows, yield)
  local count, last, key, name = 0, 0, nil, nil
  repeat
    key, count, last = core.csv_indexes(rows, key, count, last, SEEN_ROWS)
    if type(key) ~= "number" then
      name = key ~= nil and tostring(key) or name
    elseif key < 1 or key % 1 ~= 0 then
      return core.error("csv", ("rows[%s]: an array begins with rows[1]"):format(tostring(key)))
    end
    yield()
  until key == nil
  if last > count then
    local hole = 1
    while rows[hole] ~= nil do
      hole = hole + 1
    end
    return core.error("csv", ("rows[%d] is missing, and there is a rows[%.0f]"):format(hole, last))
  elseif count == 0 and name then
    return core.error("csv", ("rows: an array of rows expected, got a table with '%s': a single row goes into { }"):format(name))
  end
end

-- The array, or a function that gives row after row, then nil, or nil and what went wrong; and the columns: all of the array's, or the
-- first row's of an iterator.
local function open_rows(s, yield)
  local columns = s.columns
  if type(s.rows) == "table" then
    local rows = s.rows
    local problem = check_array(rows, yield)
    if problem then
      return nil, problem
    elseif not columns then
      local err
      columns, err = all_columns(rows, yield)
      if not columns then
        return nil, err
      end
    end
    return rows, columns
  end
  local next_row = s.rows
  if columns then
    return next_row, columns
  end
  local first, failure = next_row()
  if first == nil then
    return nil, failure or core.error("csv", "no rows, and no columns given to make a header from")
  end
  local err
  columns, err = all_columns({ first }, yield)
  if not columns then
    return nil, err
  end
  return function()
    local row = first
    if row ~= nil then
      first = nil
      return row
    end
    return next_row()
  end, columns, true
end

-- A function that writes the next few rows of an array. As the one below, it answers the bytes that wait and whether there may be more, or
-- nil, err.
local function array_writer(writer, rows, step)
  local next_row = 1
  return function()
    local size, following = writer:rows(rows, next_row, step.rows, step.bytes)
    if not size then
      return nil, following
    end
    next_row = following
    return size, following ~= nil
  end
end

-- The same of an iterator.
local function iterator_writer(writer, next_row, step, strict)
  return function()
    local size = writer:size()
    for _ = 1, step.rows do
      local row, failure = next_row()
      if failure ~= nil and row == nil then
        return nil, failure
      elseif row == nil then
        return size, false
      end
      local err
      size, err = writer:row(row, strict)
      if not size then
        return nil, err
      elseif size >= step.bytes then
        break
      end
    end
    return size, true
  end
end

local function row_chunks(s, format, yield, step)
  local rows, columns, strict = open_rows(s, yield)
  if not rows then
    local err = columns
    return nil, err
  elseif #columns == 0 then
    return nil, core.error("csv", "there are no columns")
  end
  local writer = core.csv_writer {
    columns = columns,
    delimiter = format.columnDelimiter or "COMMA",
    line_ending = format.lineEnding or "LF",
  }
  writer:header()
  local write = type(rows) == "table" and array_writer(writer, rows, step) or iterator_writer(writer, rows, step, strict)
  local more = true
  return function()
    local size = writer:size()
    while more and size < step.bytes do
      local err
      size, more = write()
      if not size then
        more, err = false, more
        return nil, err
      end
      yield()
    end
    if size > 0 then
      return writer:take()
    end
  end
end

--- A function that gives the source's text in chunks, then nil, or `nil, err`.
---@param s bulkjob.Source rows or a function
---@param format { columnDelimiter: string|nil, lineEnding: string|nil } for rows
---@param yield fun()|nil called every few rows, to let others run
function source.chunks(s, format, yield)
  if type(s) == "function" then
    return s
  end
  return row_chunks(s, format, yield or dont_yield, yield and SHARED or ALONE)
end

local function file_text(s, most)
  local opened, err = core.open_input(s.file)
  if not opened then
    return nil, err
  end
  local size = opened:size()
  local first, last = s.first or 1, s.last or size
  local text
  if first < 1 or last > size or last < first - 1 then
    err = core.error("io", string.format("%s: bytes %.0f to %.0f asked for, but the file has %.0f", s.file, first, last, size))
  else
    text, err = opened:read(math.min(last - first + 1, most + 1), first - 1)
  end
  opened:close()
  if err then
    return nil, err
  end
  return (s.header or "") .. (text or "")
end

--- The whole text of a source, for a request that carries it. `nil, err` when it is longer than `most` bytes.
function source.text(s, format, most, yield)
  local kind = source.kind(s)
  local text, err
  if kind == "text" then
    text = s
  elseif kind == "file" then
    text, err = file_text(s, most)
  else
    local chunks
    chunks, err = source.chunks(s, format, yield)
    local parts, size = {}, 0
    while chunks and size <= most do
      local chunk
      chunk, err = chunks()
      if not chunk then
        break
      end
      parts[#parts + 1] = chunk
      size = size + #chunk
    end
    text = not err and table.concat(parts) or nil
  end
  if not text then
    return nil, core.is_error(err) and err or core.error("io", "the source failed: " .. tostring(err))
  elseif #text > most then
    return nil, core.error("csv", "the data is longer than " .. most .. " bytes")
  end
  return text
end

return source
