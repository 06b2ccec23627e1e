--- Rows as lines of text.
local core = require "bulkjob.core"

local rows = {}

-- lua-cjson writes 14 digits.
local function number(value)
  local text = ("%.14g"):format(value)
  return tonumber(text) == value and text or ("%.17g"):format(value)
end

local function json_value(value)
  if value == nil then
    return "null"
  end
  return type(value) == "number" and number(value) or core.json_encode(value)
end

-- One line, whatever the text holds: %q breaks lines where the text does.
local function lua_value(value)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r"))
  end
  return type(value) == "number" and number(value) or tostring(value)
end

--- A function that makes a JSON object of a row, its names in the order of the columns.
---@param columns string[]
---@return fun(row: table): string
function rows.json(columns)
  local names = {}
  for i, column in ipairs(columns) do
    names[i] = core.json_encode(column) .. ":"
  end
  return function(row)
    local parts = {}
    for i, column in ipairs(columns) do
      parts[i] = names[i] .. json_value(row[column])
    end
    return "{" .. table.concat(parts, ",") .. "}\n"
  end
end

--- A function that makes a Lua table constructor of a row: `load("return " .. line)()` gives it back.
---@param columns string[]
---@return fun(row: table): string
function rows.lua(columns)
  local names = {}
  for i, column in ipairs(columns) do
    names[i] = "[" .. lua_value(column) .. "]="
  end
  return function(row)
    local parts = {}
    for i, column in ipairs(columns) do
      if row[column] ~= nil then
        parts[#parts + 1] = names[i] .. lua_value(row[column])
      end
    end
    return "{" .. table.concat(parts, ",") .. "}\n"
  end
end

return rows
