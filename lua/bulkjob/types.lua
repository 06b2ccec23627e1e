--- What the columns of a query hold, by the service's own description of its objects.
local describe = require "bulkjob.describe"

local types = {}

-- The guide to the SOAP API, Primitive Data Types and Field Types. All else stays text: dates have no type in Lua.
local NAMES = { int = "integer", long = "integer", double = "number", currency = "number", percent = "number", boolean = "boolean" }

--- The types of columns such as `Name` or `Owner.Profile.Name`, in their order: "integer", "number", "boolean" or "text". One
--- request for each object. What leads to objects of several kinds is text.
---@param client bulkjob.Client
---@param object string
---@param columns string[]
---@return string[]|nil types, bulkjob.Error|nil err
function types.of(client, object, columns)
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
    local field = description and description.fields[column:match("[^.]+$"):lower()]
    list[i] = field and NAMES[field.type] or "text"
  end
  return list
end

return types
