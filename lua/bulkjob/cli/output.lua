--- What the command prints: for people, or as JSON lines.
local core = require "bulkjob.core"

local output = {}

--- 1234567 as "1,234,567".
function output.number(n)
  local text = ("%.0f"):format(n)
  local left = #text % 3
  local rest = text:sub(left + 1):gsub("%d%d%d", ",%0")
  return left == 0 and rest:sub(2) or text:sub(1, left) .. rest
end

local UNITS = { "B", "kB", "MB", "GB", "TB" }

--- Bytes in the largest unit that leaves a number before the point.
function output.bytes(n)
  local unit = 1
  while n >= 999.5 and unit < #UNITS do
    n, unit = n / 1000, unit + 1
  end
  return (unit == 1 and "%.0f %s" or n < 9.95 and "%.1f %s" or "%.0f %s"):format(n, UNITS[unit])
end

--- Seconds as "0:42" or "1:02:03".
function output.time(seconds)
  local s = math.floor(seconds + 0.5)
  local hours, minutes = math.floor(s / 3600), math.floor(s / 60) % 60
  return hours > 0 and ("%d:%02d:%02d"):format(hours, minutes, s % 60) or ("%d:%02d"):format(minutes, s % 60)
end

--- One JSON object a line.
function output.json(value)
  print(core.json_encode(value))
end

local function refused(why)
  if why == "Broken pipe" then
    return true
  end
  return nil, core.error("io", "the standard output: " .. tostring(why))
end

--- Writes what the iterator gives to the standard output. Whoever reads it may have seen enough: that ends it, and is no error.
---@param ... any an iterator, as for takes it
---@return true|nil ok, bulkjob.Error|nil err
function output.pieces(...)
  for piece in ... do
    local ok, why = io.stdout:write(piece)
    if not ok then
      return refused(why)
    end
  end
  local ok, why = io.stdout:flush()
  if not ok then
    return refused(why)
  end
  return true
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- `name: value` lines, the values in one column.
function output.fields(t)
  local widest = 0
  local keys = sorted_keys(t)
  for _, key in ipairs(keys) do
    widest = math.max(widest, #key)
  end
  for _, key in ipairs(keys) do
    print(("%-" .. widest + 1 .. "s %s"):format(key .. ":", tostring(t[key])))
  end
end

--- Lines of columns of a fixed width; the last is as wide as it is.
function output.row(values, widths)
  local parts = {}
  for i, value in ipairs(values) do
    parts[i] = i < #values and ("%-" .. widths[i] .. "s"):format(value) or value
  end
  print((table.concat(parts, "  ")))
end

return output
