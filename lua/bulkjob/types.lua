--- What the columns of a query hold, by the service's own description of its objects.
local describe = require "bulkjob.describe"

local types = {}

-- The guide to the SOAP API, Primitive Data Types and Field Types. All else stays text: dates have no type in Lua.
local NAMES = { int = "integer", long = "integer", double = "number", currency = "number", percent = "number", boolean = "boolean" }

-- Those that the service may write in another way than they were sent.
local REWRITTEN = { int = true, long = true, double = true, currency = true, percent = true, boolean = true, date = true,
  datetime = true, time = true }

--- What describe says of columns such as `Name` or `Owner.Profile.Name`, in their order. One request for each object. False for a
--- column that is not there, and behind what leads to objects of several kinds.
---@param client bulkjob.Client
---@param object string
---@param columns string[]
---@return (table|false)[]|nil fields, bulkjob.Error|nil err
function types.fields(client, object, columns)
  local known = {}
  local function look_up(name)
    local err
    if not known[name] then
      known[name], err = describe(client, name)
    end
    return known[name], err
  end
  local list = {}
  for i, column in ipairs(columns) do
    local at = object
    for name in column:gmatch "([^.]+)%." do
      local description, err = look_up(at)
      if not description then
        return nil, err
      end
      local field = description.relationships[name:lower()]
      at = field and type(field.referenceTo) == "table" and #field.referenceTo == 1 and field.referenceTo[1]
      if not at then
        break
      end
    end
    local description, err
    if at then
      description, err = look_up(at)
      if not description then
        return nil, err
      end
    end
    list[i] = description and description.fields[column:match("[^.]+$"):lower()] or false
  end
  return list
end

-- A list of what `of` answers for the field of each column, which is false where describe does not know one.
local function for_each(client, object, columns, of)
  local list, err = types.fields(client, object, columns)
  for i, field in ipairs(list or {}) do
    list[i] = of(field)
  end
  return list, err
end

--- The types of columns, in their order: "integer", "number", "boolean" or "text". What leads to objects of several kinds is text.
---@return string[]|nil types, bulkjob.Error|nil err
function types.of(client, object, columns)
  return for_each(client, object, columns, function(field)
    return field and NAMES[field.type] or "text"
  end)
end

--- Which columns come back in results as they were sent, for they are neither numbers nor dates. Not the ones that describe does not
--- know.
---@return boolean[]|nil exact, bulkjob.Error|nil err
function types.exact(client, object, columns)
  return for_each(client, object, columns, function(field)
    return field and not REWRITTEN[field.type]
  end)
end

return types
