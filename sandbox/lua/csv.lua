--- CSV as the service reads and writes it (fact sheet 6.1, 6.2 and the parser's words in 4.4).

local byte, find, sub, gsub = string.byte, string.find, string.sub, string.gsub

local M = {}

M.DELIMITERS = {
  BACKQUOTE = "`", CARET = "^", COMMA = ",", PIPE = "|", SEMICOLON = ";", TAB = "\t",
}
M.LINE_ENDS = { LF = "\n", CRLF = "\r\n" }

local UNESCAPED = "Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote"
local UNCLOSED = "Failed to parse CSV. EOF reached before closing an opened quote"
local TRAILING = "Failed to parse CSV. Not expecting more text after end quote"

local QUOTE, LF, CR = byte '"', byte "\n", byte "\r"
local CHUNK = 65536
local MORE, LINE_END = {}, {} -- answers of parse_record beside a record

local Reader = {}
Reader.__index = Reader

--- Read a file record by record. options: delimiter and line_ending by their names in the API, strict_inner, from (where in the file the
-- first record begins).
function M.reader(path, options)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local delimiter = M.DELIMITERS[options.delimiter]
  file:seek("set", options.from or 0)
  return setmetatable({
    file = file,
    delimiter = byte(delimiter),
    stop = "[\r\n\"%" .. delimiter .. "]",
    crlf = options.line_ending == "CRLF",
    strict_inner = options.strict_inner,
    buffer = "",
    position = 1, -- of the next record in the buffer
    base = options.from or 0, -- where in the file the buffer begins
    eof = false,
  }, Reader)
end

function Reader:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

--- Where in the file the next record begins.
function Reader:offset()
  return self.base + self.position - 1
end

function Reader:fill(size)
  local chunk = self.file:read(size)
  if not chunk then
    self.eof = true
    return
  end
  self.buffer = sub(self.buffer, self.position) .. chunk
  self.base = self.base + self.position - 1
  self.position = 1
end

--- Does the text inside quotes break its lines as the rest of the file does?
local function inner_line_ends_differ(text, crlf)
  if crlf then
    return find(gsub(text, "\r\n", ""), "[\r\n]") ~= nil
  end
  return find(text, "\r", 1, true) ~= nil
end

--- One record from the buffer. Returns the fields, their number and the position after it; or MORE when the buffer ends too
-- early, LINE_END when the line ends otherwise than the job said, or nil and the parser's message. With collect false the
-- fields are only counted.
function Reader:parse_record(collect)
  local buffer, eof, delimiter, stop = self.buffer, self.eof, self.delimiter, self.stop
  local position, fields, n = self.position, collect and {} or nil, 0
  local c
  while true do
    local value
    if byte(buffer, position) == QUOTE then
      local from, at, escaped = position + 1, position + 1, false
      while true do
        local quote = find(buffer, '"', at, true)
        if not quote then
          if eof then
            return nil, UNCLOSED
          end
          return MORE
        end
        local after = byte(buffer, quote + 1)
        if after == QUOTE then
          escaped, at = true, quote + 2
        elseif not after and not eof then
          return MORE
        else
          position = quote + 1
          if collect then
            value = sub(buffer, from, quote - 1)
            if escaped then
              value = gsub(value, '""', '"')
            end
          end
          if self.strict_inner and inner_line_ends_differ(sub(buffer, from, quote - 1), self.crlf) then
            return LINE_END
          end
          break
        end
      end
      c = byte(buffer, position)
      if c and c ~= delimiter and c ~= LF and c ~= CR then
        return nil, TRAILING
      end
    else
      local stop_at = find(buffer, stop, position)
      if not stop_at and not eof then
        return MORE
      end
      stop_at = stop_at or #buffer + 1
      c = byte(buffer, stop_at)
      if c == QUOTE then
        return nil, UNESCAPED
      end
      if collect then
        value = sub(buffer, position, stop_at - 1)
      end
      position = stop_at
    end
    n = n + 1
    if collect then
      fields[n] = value
    end
    if c == delimiter then
      position = position + 1
    elseif c == LF then
      if self.crlf then
        return LINE_END
      end
      return fields or true, n, position + 1
    elseif c == CR then
      local after = byte(buffer, position + 1)
      if not after and not eof then
        return MORE
      elseif after ~= LF or not self.crlf then
        return LINE_END
      end
      return fields or true, n, position + 2
    else -- the end of the file ends the last record as well
      return fields or true, n, position
    end
  end
end

--- Blank lines between records carry nothing. Returns true when one was stepped over.
function Reader:skip_blank()
  local first = byte(self.buffer, self.position)
  if first == LF and not self.crlf then
    self.position = self.position + 1
    return true
  elseif first == CR and self.crlf and byte(self.buffer, self.position + 1) == LF then
    self.position = self.position + 2
    return true
  end
  return false
end

--- The next record: its fields and their number. nil at the end; nil and { kind = "line" | "parse", text = } for a bad one.
function Reader:next(collect)
  local size = CHUNK
  while true do
    if self.position > #self.buffer then
      if self.eof then
        return nil
      end
      self:fill(size)
    elseif not self:skip_blank() then
      local fields, n, position = self:parse_record(collect)
      if fields == MORE then
        self:fill(size)
        size = size * 2 -- a record longer than the buffer: fewer and larger reads
      elseif fields == LINE_END then
        return nil, { kind = "line" }
      elseif not fields then
        return nil, { kind = "parse", text = n }
      else
        self.position = position
        return fields, n
      end
    end
  end
end

--- A value as it stands in result files: always in quotes (fact sheet 6.2).
function M.quote(value)
  if find(value, '"', 1, true) then
    value = gsub(value, '"', '""')
  end
  return '"' .. value .. '"'
end

--- A line of a result file.
function M.line(values, n, delimiter, line_end)
  local out = {}
  for i = 1, n do
    out[i] = M.quote(values[i] or "")
  end
  return table.concat(out, delimiter) .. line_end
end

return M
