--- Synthetic query results of any size: nothing is stored, and each page is made when it is asked for. The rows have their numbers in
-- them and one length (or one byte more, where a length for all of them is wished), so that where a row begins can be computed.

local ffi = require "ffi"

local M = {}

local Synthetic = {}
Synthetic.__index = Synthetic

local CHUNK = 65536
local MOST_ROW_BYTES = 16777216
local NUMBER_AT, DIGITS = 1, 12 -- where the digits of the number are in a row

-- A made-up row is as bad as others are: quotes and a line break inside quotes, letters of more than one byte.
local TEXT = 'A ""quoted"" word\nand a Grüße '
local TEXT_CHARACTERS = 28 -- in the value that this stands for

local TYPES = { rows = "number", bytes = "number", row_bytes = "number", characters = "number", filler = "string", last_line_end = "boolean" }

local function whole(value, least)
  return value >= least and value % 1 == 0
end

local function check(options)
  for key, value in pairs(options) do
    if TYPES[key] ~= type(value) then
      error(TYPES[key] and ("%s must be a %s"):format(key, TYPES[key]) or "unknown key: " .. tostring(key), 0)
    end
  end
  local sizes = (options.bytes and 1 or 0) + (options.row_bytes and 1 or 0) + (options.characters and 1 or 0)
  if not options.rows or not whole(options.rows, 0) or options.rows >= 10 ^ DIGITS then
    error("rows must be a whole number", 0)
  elseif sizes > 1 then
    error("bytes, row_bytes and characters say the same thing: only one of them", 0)
  elseif options.filler and (#options.filler ~= 1 or options.filler:find '["\128-\255]') then
    error("filler must be one character of one byte, and no quote", 0)
  end
end

--- Write a number over the digits of a row.
local function put_number(buffer, at, number)
  for i = at + DIGITS - 1, at, -1 do
    local rest = math.floor(number / 10)
    buffer[i] = 48 + number - rest * 10
    number = rest
  end
end

--- A result of options.rows rows. How long they are says one of: bytes (the result as a whole, with one header), row_bytes, characters
-- (of the value Text); else as short as they can be. options.filler: the character that Text is filled with ("x"). options.last_line_end:
-- false if pages end without one. Raises a text for options that cannot be.
function M.new(options, delimiter, line_end)
  check(options)
  local self = setmetatable({ rows = options.rows, line_end = line_end, open_end = options.last_line_end == false }, Synthetic)
  self.header = '"Number"' .. delimiter .. '"Text"' .. line_end
  self.before = '"' .. ("0"):rep(DIGITS) .. '"' .. delimiter .. '"' .. TEXT
  self.after = '"' .. line_end
  self.filler = options.filler or "x"
  local shortest = #self.before + #self.after
  self.row_bytes, self.longer = options.row_bytes or shortest, 0
  if options.characters then
    self.row_bytes = shortest + options.characters - TEXT_CHARACTERS
  elseif options.bytes then
    local bytes = options.bytes - #self.header + (self.open_end and self.rows > 0 and #line_end or 0)
    self.row_bytes = self.rows > 0 and math.floor(bytes / self.rows) or shortest
    self.longer = bytes - self.rows * self.row_bytes -- so many of the first rows have one byte more
  end
  if not whole(self.row_bytes, shortest) or self.row_bytes > MOST_ROW_BYTES or not whole(self.longer, 0) or self.longer > self.rows then
    error(("no such rows: one has %d to %d bytes, and there is a header of %d"):format(shortest, MOST_ROW_BYTES, #self.header), 0)
  end
  return self
end

--- Where the row of that number (from 0) begins, behind the header.
function Synthetic:offset(row)
  return row * self.row_bytes + math.min(row, self.longer)
end

--- How many bytes the page of these rows has: those from number `from` on (from 0), up to that of number `to`.
function Synthetic:size(from, to)
  return #self.header + self:offset(to) - self:offset(from) - (self.open_end and to > from and #self.line_end or 0)
end

--- Rows of one length. Numbers are written over those in a block of rows that is used again and again. The row before number `open_at`
-- has no line end.
function Synthetic:stream_alike(from, to, length, open_at, write)
  if from >= to then
    return true
  end
  local row = self.before .. self.filler:rep(length - #self.before - #self.after) .. self.after
  local count = math.min(math.max(math.floor(CHUNK / length), 1), to - from)
  local text = row:rep(count)
  local block = ffi.new("uint8_t[?]", #text)
  ffi.copy(block, text, #text)
  while from < to do
    count = math.min(count, to - from)
    for i = 0, count - 1 do
      put_number(block, i * length + NUMBER_AT, from + i + 1)
    end
    from = from + count
    local bytes = count * length
    if from == open_at then
      bytes = bytes - #self.line_end
    end
    if not write(ffi.string(block, bytes)) then
      return false
    end
  end
  return true
end

--- Pass the page of these rows to write, in pieces.
function Synthetic:stream(from, to, write)
  local open_at = self.open_end and to
  return write(self.header)
    and self:stream_alike(from, math.min(to, self.longer), self.row_bytes + 1, open_at, write)
    and self:stream_alike(math.max(from, self.longer), to, self.row_bytes, open_at, write)
end

return M
