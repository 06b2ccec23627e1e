--- JSON with keys in the order they are written, and numbers written as we want them (66.0).
-- Reading is left to lua-cjson.

local cjson = require "cjson.safe"

local M = { null = cjson.null }

local OBJECT, ARRAY, RAW = {}, {}, {}

--- An object from a list of { key, value } pairs; pairs without a value are left out.
function M.object(pairs_list)
  return setmetatable(pairs_list, OBJECT)
end

function M.array(list)
  return setmetatable(list, ARRAY)
end

--- A value that is already JSON text.
function M.raw(text)
  return setmetatable({ text = text }, RAW)
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(c)
  return ESCAPES[c] or ("\\u%04x"):format(c:byte())
end

local function quote(text)
  return '"' .. text:gsub('[%z\1-\31"\\]', escape) .. '"'
end

local encode

local function join(open, items, close, indent)
  if #items == 0 then
    return open .. close
  elseif not indent then
    return open .. table.concat(items, ",") .. close
  end
  local inner = indent .. "  "
  return open .. "\n" .. inner .. table.concat(items, ",\n" .. inner) .. "\n" .. indent .. close
end

function encode(value, indent)
  local kind = type(value)
  if kind == "string" then
    return quote(value)
  elseif kind == "number" then
    if value % 1 == 0 and value > -1e15 and value < 1e15 then
      return ("%d"):format(value)
    end
    local text
    for digits = 14, 17 do -- the shortest that reads back the same
      text = ("%." .. digits .. "g"):format(value)
      if tonumber(text) == value then
        break
      end
    end
    return text
  elseif kind == "table" then
    local meta = getmetatable(value)
    if meta == RAW then
      return value.text
    end
    local inner, items = indent and indent .. "  ", {}
    if meta == ARRAY then
      for i, item in ipairs(value) do
        items[i] = encode(item, inner)
      end
      return join("[", items, "]", indent)
    end
    for _, pair in ipairs(value) do
      if pair[2] ~= nil then
        items[#items + 1] = quote(pair[1]) .. (indent and " : " or ":") .. encode(pair[2], inner)
      end
    end
    return join("{", items, "}", indent)
  elseif value == M.null then
    return "null"
  end
  return tostring(value)
end

--- JSON text of a value made of M.object, M.array, M.raw, strings, numbers and booleans.
function M.encode(value, pretty)
  return encode(value, pretty and "" or nil)
end

local function plain(value)
  local meta = type(value) == "table" and getmetatable(value)
  if type(value) ~= "table" or meta == OBJECT or meta == RAW then
    return value
  end
  local list = {}
  if #value > 0 or meta == ARRAY then
    for i, item in ipairs(value) do
      list[i] = plain(item)
    end
    return M.array(list)
  end
  for name, item in pairs(value) do
    list[#list + 1] = { tostring(name), plain(item) }
  end
  table.sort(list, function(a, b)
    return a[1] < b[1]
  end)
  return M.object(list)
end

--- JSON text of ordinary Lua tables, the keys of objects in their order. A table without anything in it is an object: M.array makes it an
-- array.
function M.encode_plain(value, pretty)
  return encode(plain(value), pretty and "" or nil)
end

M.decode = cjson.decode

return M
