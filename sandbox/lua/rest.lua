--- The REST resources beside bulk that clients need to sign in and to look around: who they are, objects, single records, small queries.

local app = require "app"
local body = require "body"
local describe = require "describe"
local errors = require "errors"
local ids = require "ids"
local json = require "json"
local oauth = require "oauth"
local records = require "records"
local respond = require "respond"
local schema = require "schema"
local session = require "session"
local settings = require "settings"
local soql = require "soql"
local walk = require "walk"

local M = {}

local PAGE_ROWS = 2000 -- of a query (REST API Developer Guide, "Query")
local MAX_QUERIES = 50 -- of which further pages can be asked for

local queries, query_order = {}, {}

-- Who the user is

--- The address of the user's identity, as the token answer gives it.
local function identity_url()
  return oauth.identity_url(app.base_url())
end

local function urls()
  local base = app.base_url() .. "/services/"
  return json.object {
    { "rest", base .. "data/v{version}/" }, { "sobjects", base .. "data/v{version}/sobjects/" },
    { "query", base .. "data/v{version}/query/" }, { "enterprise", base .. "Soap/c/{version}/" .. ids.ORG },
    { "partner", base .. "Soap/u/{version}/" .. ids.ORG }, { "custom_domain", app.base_url() },
  }
end

local ORG18 = ids.ORG .. ids.suffix(ids.ORG)

--- GET /services/oauth2/userinfo
function M.userinfo()
  local name = settings.values.username
  return respond.json(json.object {
    { "sub", identity_url() }, { "user_id", ids.USER }, { "organization_id", ORG18 }, { "preferred_username", name },
    { "nickname", "integration" }, { "name", "Ada Admin" }, { "email", name }, { "email_verified", true }, { "given_name", "Ada" },
    { "family_name", "Admin" }, { "zoneinfo", "GMT" }, { "urls", urls() }, { "active", true }, { "user_type", "STANDARD" },
    { "language", "en_US" }, { "locale", "en_US" }, { "utcOffset", 0 },
  })
end

--- GET /id/ORG/USER
function M.identity()
  local name = settings.values.username
  return respond.json(json.object {
    { "id", identity_url() }, { "asserted_user", true }, { "user_id", ids.USER }, { "organization_id", ORG18 }, { "username", name },
    { "nick_name", "integration" }, { "display_name", "Ada Admin" }, { "email", name }, { "email_verified", true },
    { "first_name", "Ada" }, { "last_name", "Admin" }, { "timezone", "GMT" }, { "urls", urls() }, { "active", true },
    { "user_type", "STANDARD" }, { "language", "en_US" }, { "locale", "en_US" }, { "utcOffset", 0 },
  })
end

--- /services/oauth2/revoke, with the token in the form or in the query. It needs no header.
function M.revoke(args)
  local token = args.token
  if not token and body.media_type() == "application/x-www-form-urlencoded" then
    token = ngx.decode_args(body.read() or "").token
  end
  if token ~= session.token and token ~= settings.values.refresh_token then
    return {
      status = 400,
      headers = { ["Content-Type"] = "application/json;charset=UTF-8" },
      body = '{"error":"unsupported_token_type","error_description":"this token is not supported"}',
    }
  end
  session.kill()
  return { status = 200, headers = {}, body = "" }
end

-- Objects and records

function M.objects(request)
  local names = {}
  for _, object in pairs(schema.objects) do
    names[#names + 1] = object.name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    names[i] = describe.summary(schema.find(name), request.version)
  end
  return respond.json(json.object { { "encoding", "UTF-8" }, { "maxBatchSize", 200 }, { "sobjects", json.array(names) } })
end

function M.object(request)
  local object = schema.find(request.id)
  if not object then
    return nil, errors.not_found()
  end
  return respond.json(json.object {
    { "objectDescribe", describe.summary(object, request.version) }, { "recentItems", json.array {} },
  })
end

--- A value of the database as JSON.
local function json_value(field, value)
  if value == nil then
    return field.type == "boolean" and false or json.null
  elseif field.type == "boolean" then
    return value ~= 0
  elseif field.type == "datetime" then
    return (value:gsub("Z$", "+0000"))
  end
  return value
end

local function attributes(object, version, id)
  return json.object { { "type", object.name }, { "url", ("/services/data/v%s/sobjects/%s/%s"):format(version, object.name, id or "") } }
end

--- A row of a query as JSON: fields of parents are in objects of their own, null where there is no parent.
local function record_of(plan, row, version)
  local id
  for i, name in ipairs(plan.names) do
    id = name == "Id" and row[i] or id
  end
  local record = json.object { { "attributes", attributes(plan.object, version, id) } }
  local parents = {}
  for i, name in ipairs(plan.names) do
    local target, path = record, ""
    for part in name:gmatch "([%w_]+)%." do
      path = path .. part .. "."
      local parent = parents[path]
      if not parent then
        parent = json.object { { "attributes", json.object { { "type", part } } } }
        parents[path] = parent
        target[#target + 1] = { part, parent }
      end
      target = parent
    end
    target[#target + 1] = { name:match "[^.]+$", json_value(plan.fields[i], row[i]) }
    if path ~= "" and row[i] ~= nil then
      target.has_value = true
    end
  end
  for _, pair in ipairs(record) do
    local value = pair[2]
    local is_parent = type(value) == "table" and parents[pair[1] .. "."] == value
    if is_parent and not value.has_value then
      pair[2] = json.null
    end
  end
  return record
end

--- The rows of a query from that of number `from` on (from 0), at most `most`: as a rule those that come next.
local function take_rows(query, from, most)
  local rows, finish, at = query.rows, query.finish, query.at
  query.rows, query.finish = nil, nil -- another request may ask for the same meanwhile
  if rows and at ~= from then
    finish()
    rows = nil
  end
  if not rows then
    rows, finish = walk.rows(query.plan, walk.sleep)
    at = 0
  end
  local list = {}
  while #list < most do
    local row = rows()
    if not row then
      return list
    end
    at = at + 1
    list[#list + 1] = at > from and row or nil
  end
  if query.rows or query.is_forgotten or at >= query.total then
    finish()
  else
    query.rows, query.finish, query.at = rows, finish, at
  end
  return list
end

local function forget(query)
  query.is_forgotten = true
  if query.rows then
    query.finish()
  end
end

local function query_page(query, from, version)
  local plan = query.plan
  local list = take_rows(query, from, PAGE_ROWS)
  for i, row in ipairs(list) do
    list[i] = record_of(plan, row, version)
  end
  local following = from + PAGE_ROWS < query.total
    and ("/services/data/v%s/query/%s-%d"):format(version, query.id, from + PAGE_ROWS) or nil
  return respond.json(json.object {
    { "totalSize", query.total }, { "done", following == nil }, { "nextRecordsUrl", following }, { "records", json.array(list) },
  })
end

local NUMBERS = { number = true, integer = true }

local function column_of(name, field, joined)
  return json.object {
    { "aggregate", false }, { "booleanType", field.type == "boolean" }, { "columnName", name }, { "custom", name:find "__c$" ~= nil },
    { "displayName", name }, { "foreignKeyName", json.null }, { "insertable", not field.read_only }, { "joinColumns", json.array(joined) },
    { "numberType", NUMBERS[field.type] == true }, { "textType", field.type == "text" and field.name ~= "Id" },
    { "updatable", not field.read_only },
  }
end

--- The columns of a query, for columns=true, with which the Salesforce CLI begins. Fields of a parent are its joined columns.
local function describe_columns(plan)
  local list, parents = {}, {}
  for i, name in ipairs(plan.names) do
    local parent, rest = name:match "^([%w_]+)%.(.+)$"
    local column = column_of(rest or name, plan.fields[i], {})
    if not parent then
      list[#list + 1] = column
    elseif parents[parent] then
      table.insert(parents[parent], column)
    else
      parents[parent] = { column }
      list[#list + 1] = column_of(parent, { type = "reference", read_only = true }, parents[parent])
    end
  end
  return respond.json(json.object {
    { "columnMetadata", json.array(list) }, { "entityName", plan.object.name }, { "groupBy", false },
    { "idSelected", plan.names[1] == "Id" }, { "keyPrefix", plan.object.prefix },
  })
end

local function run_query(request, all_rows)
  local text = request.args.q
  if not text or text == "" then
    return nil, errors.new(400, "MALFORMED_QUERY", "The parameter q is missing")
  end
  local plan, err = soql.compile(text, { all_rows = all_rows, rest = true })
  if not plan then
    return nil, err
  elseif request.args.columns == "true" then
    return describe_columns(plan)
  end
  if plan.counts then
    return respond.json(json.object {
      { "totalSize", walk.count(plan, walk.sleep) }, { "done", true }, { "records", json.array {} },
    })
  end
  local query = { id = ids.new "01g", plan = plan, total = walk.count(plan, walk.sleep) }
  query.is_forgotten = query.total <= PAGE_ROWS
  if not query.is_forgotten then
    queries[query.id] = query
    query_order[#query_order + 1] = query.id
    if #query_order > MAX_QUERIES then
      local oldest = table.remove(query_order, 1)
      forget(queries[oldest])
      queries[oldest] = nil
    end
  end
  return query_page(query, 0, request.version)
end

function M.query(request)
  return run_query(request, false)
end

function M.query_all(request)
  return run_query(request, true)
end

--- A further page of a query.
function M.query_more(request)
  local id, from = request.id:match "^(%w+)%-(%d+)$"
  local query = id and queries[id]
  if not query then
    return nil, errors.locator()
  end
  return query_page(query, tonumber(from), request.version)
end

--- The object and the id of a request for one record, or nil and an error.
local function place(request)
  local object, id = schema.find(request.id), ids.full(request.second or "")
  if not object then
    return nil, errors.not_found()
  elseif not id or id:sub(1, 3) ~= object.prefix then
    return nil, errors.new(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: " .. (request.second or ""))
  elseif not records.is_living(object, id) then
    return nil, errors.new(404, "ENTITY_IS_DELETED", "entity is deleted") -- unknown ids are told in the same way
  end
  return object, id
end

--- GET of one record, all fields or those of ?fields=.
function M.record(request)
  local object, id = place(request)
  if not object then
    return nil, id
  end
  local names = request.args.fields
  if not names then
    local all = {}
    for _, field in ipairs(object.fields) do
      all[#all + 1] = field.type ~= "compound" and field.name or nil
    end
    names = table.concat(all, ",")
  end
  local plan, err = soql.compile(("SELECT %s FROM %s WHERE Id = '%s'"):format(names, object.name, id), { rest = true })
  if not plan then
    return nil, err
  end
  local rows, finish = records.db:rows(plan.sql, plan.params)
  local row = rows()
  finish()
  return respond.json(record_of(plan, row, request.version))
end

--- A JSON value as the cell of an upload that means the same. clears: whether null and "" clear the field.
local function cell_of(value, clears)
  if value == json.null or value == "" then
    return clears and "#N/A" or ""
  elseif type(value) == "number" then
    return ("%.15g"):format(value)
  end
  return tostring(value)
end

--- The columns and cells of a JSON record, or nil and an error.
local function columns_of(object, fields, clears)
  local columns, cells = {}, {}
  for name, value in pairs(fields) do
    if name ~= "attributes" then
      if type(value) == "table" then -- { "Account": { "Ext__c": "1" } }
        local key, inner = next(value)
        name, value = ("%s.%s"):format(name, tostring(key)), inner
      end
      local column = records.column(object, name)
      if not column then
        return nil, errors.new(400, "INVALID_FIELD", ("No such column '%s' on sobject of type %s"):format(name, object.name))
      end
      columns[#columns + 1] = column
      cells[#cells + 1] = cell_of(value, clears)
    end
  end
  return columns, cells
end

--- A row's text for sf__Error as an answer of REST.
local function row_refusal(text)
  local code, message, names = text:match "^([%u_]+):(.*):(.-)%s*%-%-$"
  local fields = {}
  for name in (names or ""):gmatch "[%w_]+" do
    fields[#fields + 1] = name
  end
  local list = json.array { json.object { { "message", message or text }, { "errorCode", code }, { "fields", json.array(fields) } } }
  return respond.json(list, 400)
end

local function write(object, operation, id, fields)
  local columns, cells = columns_of(object, fields, operation ~= "insert")
  if not columns then
    return nil, cells
  elseif object.read_only then
    return row_refusal("INSUFFICIENT_ACCESS_OR_READONLY:insufficient access rights on object " .. object.name .. ":--")
  end
  local context = { object = object, columns = columns, id_column = nil, seen = {} }
  for i, column in ipairs(columns) do
    if column.field.name == "Id" then
      context.id_column = i
    end
  end
  if id then
    if context.id_column then
      return row_refusal "INVALID_FIELD:The Id field should not be specified in the sobject data.:Id --"
    end
    columns[#columns + 1], cells[#cells + 1] = records.column(object, "Id"), id
    context.id_column = #columns
  end
  local made, err = records.process(operation, context, cells)
  if not made then
    return row_refusal(err)
  elseif operation ~= "insert" then
    return { status = 204, headers = {}, body = "" }
  end
  return respond.json(json.object { { "id", made }, { "success", true }, { "errors", json.array {} } }, 201)
end

--- POST of a new record.
function M.create(request)
  local object = schema.find(request.id)
  if not object then
    return nil, errors.not_found()
  end
  local fields, err = body.json()
  if not fields then
    return nil, err
  end
  return write(object, "insert", nil, fields)
end

function M.update(request)
  local object, id = place(request)
  if not object then
    return nil, id
  end
  local fields, err = body.json()
  if not fields then
    return nil, err
  end
  return write(object, "update", id, fields)
end

function M.delete(request)
  local object, id = place(request)
  if not object then
    return nil, id
  end
  return write(object, "delete", id, {})
end

return M
