--- What the REST API tells of an object and of its fields.

local errors = require "errors"
local json = require "json"
local respond = require "respond"
local schema = require "schema"

local M = {}

-- As the service calls them.
local TYPES = { text = "string", number = "double", integer = "int", compound = "address" }

local function type_of(field)
  if field.name == "Id" then
    return "id"
  elseif field.format then
    return field.format
  end
  return TYPES[field.type] or field.type
end

local function is_custom(name)
  return name:find "__c$" ~= nil
end

--- The pairs that are in the list of objects as well as in an object's own description.
local function common(object, version)
  local base = ("/services/data/v%s/sobjects/%s"):format(version, object.name)
  local writable = not object.read_only
  return {
    { "createable", writable }, { "custom", is_custom(object.name) }, { "deletable", writable }, { "keyPrefix", object.prefix },
    { "label", object.name }, { "labelPlural", object.name }, { "layoutable", true }, { "name", object.name }, { "queryable", true },
    { "retrieveable", true }, { "searchable", true }, { "undeletable", false }, { "updateable", writable },
    { "urls", json.object { { "sobject", base }, { "describe", base .. "/describe" }, { "rowTemplate", base .. "/{ID}" } } },
  }
end

function M.summary(object, version)
  return json.object(common(object, version))
end

local function describe_field(field)
  local writable = not field.read_only and field.type ~= "compound"
  return json.object {
    { "autoNumber", false }, { "calculated", false }, { "createable", writable }, { "custom", is_custom(field.name) },
    { "defaultValue", field.default or json.null }, { "externalId", field.external_id == true }, { "filterable", field.type ~= "compound" },
    { "idLookup", field.id_lookup == true or field.external_id == true or field.name == "Id" }, { "label", field.name },
    { "length", field.length or 0 }, { "name", field.name }, { "nillable", not field.required and field.name ~= "Id" },
    { "picklistValues", json.array {} }, { "referenceTo", json.array(field.targets or {}) },
    { "relationshipName", field.relationship or json.null }, { "sortable", field.type ~= "compound" }, { "type", type_of(field) },
    { "unique", field.unique == true }, { "updateable", writable },
  }
end

--- GET /sobjects/NAME/describe
function M.object(request)
  local object = schema.find(request.id)
  if not object then
    return nil, errors.not_found()
  end
  local fields = {}
  for i, field in ipairs(object.fields) do
    fields[i] = describe_field(field)
  end
  local pairs_list = common(object, request.version)
  pairs_list[#pairs_list + 1] = { "childRelationships", json.array {} }
  pairs_list[#pairs_list + 1] = { "fields", json.array(fields) }
  pairs_list[#pairs_list + 1] = { "recordTypeInfos", json.array {} }
  return respond.json(json.object(pairs_list))
end

return M
