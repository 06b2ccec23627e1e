--- The service's own description of an object.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local url = require "bulkjob.url"

--- The fields of an object by their names, and those that lead to another object by the name of that relationship, in lower case.
---@param client bulkjob.Client
---@param object string
---@return { fields: table<string, table>, relationships: table<string, table> }|nil description, bulkjob.Error|nil err
return function(client, object)
  local path = "sobjects/" .. url.escape(object) .. "/describe"
  local description, err = call.run(client, core.read(client, path))
  if not description then
    return nil, err
  elseif type(description.fields) ~= "table" then
    return nil, core.error("protocol", path .. ": no fields in the answer")
  end
  local fields, relationships = {}, {}
  for _, field in ipairs(description.fields) do
    if type(field.name) == "string" then
      fields[field.name:lower()] = field
    end
    if type(field.relationshipName) == "string" then
      relationships[field.relationshipName:lower()] = field
    end
  end
  return { fields = fields, relationships = relationships }
end
