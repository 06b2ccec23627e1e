--- What the REST API tells of an object: just the fields, and of those what a loader asks about.

local errors = require "errors"
local json = require "json"
local respond = require "respond"
local schema = require "schema"

local M = {}

-- As the service calls them.
local TYPES = { text = "string", number = "double", integer = "int" }

--- GET /sobjects/NAME/describe
function M.object(request)
  local object = schema.find(request.id)
  if not object then
    return nil, errors.not_found()
  end
  local fields = {}
  for i, field in ipairs(object.fields) do
    fields[i] = json.object {
      { "createable", not field.read_only }, { "externalId", field.external_id == true }, { "name", field.name },
      { "referenceTo", json.array(field.targets or {}) }, { "relationshipName", field.relationship or json.null },
      { "type", TYPES[field.type] or field.type }, { "updateable", not field.read_only },
    }
  end
  return respond.json(json.object { { "fields", json.array(fields) }, { "name", object.name } })
end

return M
