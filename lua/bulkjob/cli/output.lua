--- What the command prints: for people, or as JSON lines.
local core = require "bulkjob.core"
local status = require "bulkjob.cli.status"

local output = {}

local stdout = io.stdout

--- 1234567 as "1,234,567".
function output.number(n)
  local text = ("%.0f"):format(n)
  local left = #text % 3
  local rest = text:sub(left + 1):gsub("%d%d%d", ",%0")
  return left == 0 and rest:sub(2) or text:sub(1, left) .. rest
end

--- "1 row", "1,234 rows".
function output.count(n, what)
  return output.number(n) .. " " .. what .. (n == 1 and "" or "s")
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

-- Why the standard output took no more; nothing is written to it after that.
local failure

-- Writes at once, so that it is known whether that worked.
local function write(text)
  if failure then
    return false
  end
  local ok, why = stdout:write(text)
  if ok then
    ok, why = stdout:flush()
  end
  if not ok then
    failure = tostring(why)
  end
  return not failure
end

-- The reader has closed the pipe, as `head` does: that ends what is written, and is no error.
local function reader_has_gone()
  return failure == "Broken pipe"
end

--- Writes a line. One that cannot be written goes to the standard error, so that it is not lost. False if it cannot.
---@param text string
---@return boolean
function output.line(text)
  local ok = write(text .. "\n")
  if not ok and not reader_has_gone() then
    io.stderr:write(text, "\n")
  end
  return ok
end

--- Writes a text. False if it cannot be written.
---@param text string
---@return boolean
function output.text(text)
  return write(text)
end

local DEFAULT_COLUMNS = 80

--- How many columns the terminal has; nil where there is none.
---@param descriptor integer 1 for the standard output, 2 for the standard error
---@return integer|nil
function output.columns(descriptor)
  local width = core.terminal(descriptor)
  return width and (width > 0 and width or tonumber(os.getenv "COLUMNS") or DEFAULT_COLUMNS)
end

--- One JSON object a line.
---@return boolean
function output.json(value)
  return output.line(core.json_encode(value))
end

-- The lists among the fields of reports and errors. lua-cjson writes an empty table as an object.
local LISTS = { also = true, errors = true, jobs = true, left_open = true, parts = true, replaced = true }

--- A report or an error: one JSON object on a line, in which a list without items is [].
---@param name "report"|"error"
---@param fields table
---@return boolean
function output.json_record(name, fields)
  local members = {}
  for field, value in pairs(fields) do
    local text = LISTS[field] and next(value) == nil and "[]" or core.json_encode(value)
    members[#members + 1] = core.json_encode(field) .. ":" .. text
  end
  return output.line(('{"%s":{%s}}'):format(name, table.concat(members, ",")))
end

--- The same as output.json, of what need not be seen by all means.
function output.json_progress(value)
  write(core.json_encode(value) .. "\n")
end

--- What went wrong with the standard output, for the end of the command; nil if nothing did.
---@return bulkjob.Error|nil
function output.problem()
  if failure and not reader_has_gone() then
    return core.error("io", "the standard output: " .. failure)
  end
end

--- The same for what must not be lost even when the reader has gone.
---@param what string what is lost
---@return bulkjob.Error|nil
function output.loss(what)
  if failure then
    return core.error("io", what .. " could not be written to the standard output: " .. failure)
  end
end

--- Writes what the iterator gives to the standard output. The reader may close the pipe: that ends it, and is no error.
---@param ... any an iterator, as for takes it
---@return true|nil ok, bulkjob.Error|nil err
function output.pieces(...)
  for piece in ... do
    local ok, why = stdout:write(piece)
    if not ok then
      failure = tostring(why)
      break
    end
  end
  write "" -- what is not out yet
  local err = output.problem()
  return not err or nil, err
end

local UNAUTHORIZED = 401

--- Says what went wrong: to a program as JSON, to people on the standard error.
---@param options { json: boolean|nil, org: string|nil, client_id: string|nil }
---@param err bulkjob.Error
function output.error(options, err)
  if not (options.json and output.json_record("error", err)) then
    io.stderr:write("bulkjob: ", tostring(err), "\n")
    if err.status == UNAUTHORIZED and not options.org and not options.client_id then
      io.stderr:write "bulkjob: SF_ACCESS_TOKEN has expired, or is not a token of the org of SF_INSTANCE_URL: sign in again\n"
    end
  end
end

--- The exit code when all is written: what was to be written and could not be is an error, however the rest went.
---@param options { json: boolean|nil }
---@param code integer of the rest
---@return integer
function output.finish(options, code)
  local err = code ~= status.REFUSED and output.problem()
  if not err then
    return code
  end
  output.error(options, err)
  return status.REFUSED
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
    output.line(("%-" .. widest + 1 .. "s %s"):format(key .. ":", tostring(t[key])))
  end
end

--- Lines of columns of a fixed width; the last is as wide as it is. False if it cannot be written.
---@return boolean
function output.row(values, widths)
  local parts = {}
  for i, value in ipairs(values) do
    parts[i] = i < #values and ("%-" .. widths[i] .. "s"):format(value) or value
  end
  return output.line(table.concat(parts, "  "))
end

return output
