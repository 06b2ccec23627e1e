--- The org's records in SQLite, one table for each object, and what the service does with one row of an upload.

local clock = require "clock"
local ids = require "ids"
local schema = require "schema"
local settings = require "settings"
local soql_dates = require "soql_dates"
local sqlite = require "sqlite"
local store = require "store"

local M = {}

local NULL = {} -- a field that the row clears (#N/A), beside nil for one it leaves alone
local db

local function q(name)
  return '"' .. name .. '"'
end

local SQL_TYPES = { number = "REAL", integer = "REAL", boolean = "INTEGER" }

local function column_sql(field)
  -- Text compares without regard to case in SOQL.
  return q(field.name) .. " " .. (SQL_TYPES[field.type] or "TEXT COLLATE NOCASE")
end

local function is_stored(field)
  return field.type ~= "compound" and not field.formula
end

local function create_index(object, field)
  if field.unique then
    db:run(("CREATE UNIQUE INDEX IF NOT EXISTS %s ON %s(%s) WHERE IsDeleted = 0"):format(q(object.name .. field.name), q(object.name), q(field.name)))
  elseif field.external_id or field.id_lookup then
    db:run(("CREATE INDEX IF NOT EXISTS %s ON %s(%s)"):format(q(object.name .. field.name), q(object.name), q(field.name)))
  end
end

local function create_table(object)
  local columns = { "Times INTEGER DEFAULT 1" } -- how often a row of an upload was written here
  for _, field in ipairs(object.fields) do
    if field.name == "Id" then
      columns[#columns + 1] = "Id TEXT PRIMARY KEY"
    elseif is_stored(field) then
      columns[#columns + 1] = column_sql(field)
    end
  end
  db:run(("CREATE TABLE IF NOT EXISTS %s(%s) WITHOUT ROWID"):format(q(object.name), table.concat(columns, ", ")))
  for _, field in ipairs(object.fields) do
    create_index(object, field)
  end
end

local function add_users()
  db:run('INSERT INTO "User"(Id, Username, FirstName, LastName, IsActive, IsDeleted) VALUES(?, ?, ?, ?, 1, 0)',
    { ids.USER, settings.values.username, "Ada", "Admin" })
  local org = ids.ORG .. ids.suffix(ids.ORG)
  db:run('INSERT INTO "Organization"(Id, Name, InstanceName, OrganizationType, IsSandbox, IsDeleted) VALUES(?, ?, ?, ?, 1, 0)',
    { org, "Sandbox", "LOCAL", "Developer Edition" })
end

--- The user has another name from now on.
function M.rename_user(name)
  db:run('UPDATE "User" SET Username = ? WHERE Id = ?', { name, ids.USER })
end

--- Open the database, and go on with what is in it. keep: it will be opened again.
function M.open(path, keep)
  db = sqlite.open(path, keep)
  M.db = db
  store.open(db, keep)
  for _, defined in ipairs(store.objects()) do
    M.define(defined.name, defined.fields, defined.prefix)
  end
  for _, object in pairs(schema.objects) do
    create_table(object)
  end
  if M.count "User" == 0 then
    add_users()
  else
    M.rename_user(settings.values.username)
  end
  local starts = tonumber(store.get "starts" or 0)
  store.put("starts", starts + 1)
  ids.first = ids.first + starts * 10000000 -- ids that were given out before are not given out again
end

--- An org without records, with the objects it began with.
function M.reset()
  db:finish_rows()
  for _, object in pairs(schema.objects) do
    db:run("DROP TABLE " .. q(object.name))
  end
  schema.reset()
  for _, object in pairs(schema.objects) do
    create_table(object)
  end
  add_users()
end

--- Add an object, or fields to one that is there. prefix: of its ids, when it was defined before. Raises a text for what cannot be.
function M.define(name, fields, prefix)
  local object = schema.find(name)
  if not object then
    object = schema.define(name, prefix, fields)
    create_table(object)
  else
    for _, field in ipairs(fields) do
      schema.add_field(object, field)
      if not prefix then
        db:run(("ALTER TABLE %s ADD COLUMN %s"):format(q(object.name), column_sql(field)))
        create_index(object, field)
      end
    end
  end
  if not prefix then
    store.save_object(object.name, object.prefix, fields)
  end
end

local function find_object(name)
  local object = type(name) == "string" and schema.find(name)
  return object or error("no such object: " .. tostring(name), 0)
end

--- How many living records an object has. most: count no further than that.
function M.count(name, most)
  local object = find_object(name)
  return db:first(("SELECT count(*) FROM (SELECT 1 FROM %s WHERE IsDeleted = 0 LIMIT %d)"):format(q(object.name), most or -1))
end

--- The Id that stands so many records after that one; nil when there are fewer.
function M.id_after(name, id, count)
  return (db:first(("SELECT Id FROM %s WHERE Id > ? ORDER BY Id LIMIT 1 OFFSET %d"):format(q(find_object(name).name), count - 1), { id }))
end

--- How often rows were written, by the value of one field.
function M.times(name, field_name)
  local object = find_object(name)
  local field = object:field(field_name) or error("no such field: " .. field_name, 0)
  local out = {}
  local sql = ("SELECT %s, sum(Times) FROM %s WHERE %s IS NOT NULL GROUP BY 1"):format(q(field.name), q(object.name), q(field.name))
  for row in db:rows(sql) do
    out[tostring(row[1])] = row[2]
  end
  return out
end

-- Row errors: STATUS_CODE:message:fields -- (fact sheet 4.5)

local function row_error(code, message, ...)
  local fields = table.concat({ ... }, ", ")
  return nil, ("%s:%s:%s"):format(code, message, fields == "" and "--" or fields .. " --")
end

local function bad_value(field, value, kind)
  return row_error("INVALID_TYPE_ON_FIELD_IN_RECORD", ("%s: value not of required type: %s"):format(kind, value), field.name)
end

-- Values

local readers = {}

function readers.text(field, value)
  -- Lengths count characters, not bytes.
  if #value > field.length then
    local _, characters = value:gsub("[^\128-\191]", "")
    if characters > field.length then
      return row_error("STRING_TOO_LONG",
        ("%s: data value too large: %s (max length=%d)"):format(field.name, value:sub(1, 255), field.length), field.name)
    end
  end
  if field.format == "email" and not value:find "^[^@%s]+@[^@%s]+%.[^@%s]+$" then
    return row_error("INVALID_EMAIL_ADDRESS", ("%s: invalid email address: %s"):format(field.name, value), field.name)
  end
  return value
end

function readers.number(field, value)
  if not value:find "^[+-]?%d*%.?%d*[eE]?[+-]?%d*$" or not tonumber(value) then
    return bad_value(field, value, "Number")
  end
  return tonumber(value)
end

function readers.integer(field, value)
  local result = readers.number(field, value)
  if not result or result % 1 ~= 0 then
    return bad_value(field, value, "Integer")
  end
  return result
end

function readers.boolean(field, value)
  local word = value:lower()
  if word ~= "true" and word ~= "false" then
    return bad_value(field, value, "Boolean")
  end
  return word == "true" and 1 or 0
end

function readers.date(field, value)
  local year, month, day = value:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)$"
  if not year or not soql_dates.exists(tonumber(year), tonumber(month), tonumber(day)) then
    return bad_value(field, value, "Date")
  end
  return value
end

--- Date-times are kept as UTC text, the form the service answers with.
function readers.datetime(field, value)
  local day = value:match "^[^T]+"
  local seconds = readers.date(field, day or "") and value:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d" and (value:find "Z$" or value:find "[+-]%d%d:?%d%d$")
    and clock.parse(value)
  if not seconds then
    return bad_value(field, value, "Datetime")
  end
  local ms = value:match "%.(%d%d?%d?)" or "0"
  return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. "." .. (ms .. "00"):sub(1, 3) .. "Z"
end

local function object_of_id(id, targets)
  for _, name in ipairs(targets) do
    local object = schema.find(name)
    if object and object.prefix == id:sub(1, 3) then
      return object
    end
  end
end

local function exists(object, id)
  return db:first(("SELECT IsDeleted FROM %s WHERE Id = ?"):format(q(object.name)), { id })
end

function readers.reference(field, value)
  local id = ids.full(value)
  if not id then
    return row_error("MALFORMED_ID", ("%s: id value of incorrect type: %s"):format(field.name, value), field.name)
  end
  local object = object_of_id(id, field.targets)
  if not object then
    return row_error("FIELD_INTEGRITY_EXCEPTION", ("%s: id value of incorrect type: %s"):format(field.name, value), field.name)
  end
  local deleted = exists(object, id)
  if deleted == 1 then
    return row_error("ENTITY_IS_DELETED", "entity is deleted", field.name)
  elseif not deleted then
    return row_error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field.name)
  end
  return id
end

--- The id of the record whose indexed field holds a value: Parent.Ext__c and the like.
local function look_up(column, value)
  local target, key = column.target, column.key
  local found = {}
  for row in db:rows(("SELECT Id FROM %s WHERE %s = ? AND IsDeleted = 0 LIMIT 2"):format(q(target.name), q(key.name)), { value }) do
    found[#found + 1] = row[1]
  end
  if #found == 0 then
    return row_error("INVALID_FIELD", ("Foreign key external ID: %s not found for field %s in entity %s")
      :format(value, key.name, target.name))
  elseif #found > 1 then
    return row_error("DUPLICATE_EXTERNAL_ID", ("Foreign key external ID: %s is not unique"):format(value), key.name)
  end
  return found[1]
end

--- A cell of the upload as a value: NULL for #N/A, nil for an empty one; nil and a row error when it does not fit.
local function read_cell(column, cell)
  if cell == "" then
    return nil
  elseif cell == "#N/A" then
    return NULL
  elseif column.key then
    return look_up(column, cell)
  end
  return (readers[column.field.type] or readers.text)(column.field, cell)
end

-- Headers

--- What a header name stands for: { field = } or { field =, target =, key = } for a relationship (fact sheet 6.1). nil when there is no
-- such field.
function M.column(object, name)
  local field = object:field(name)
  if field and field.type ~= "compound" then
    return { field = field }
  end
  local type_name, relationship, key_name = name:match "^([%w_]+):([%w_]+)%.([%w_]+)$"
  if not type_name then
    relationship, key_name = name:match "^([%w_]+)%.([%w_]+)$"
  end
  field = relationship and object:relationship(relationship)
  if not field then
    return nil
  end
  -- The object type is needed for fields with several targets, and an error on others.
  if (type_name ~= nil) ~= (#field.targets > 1) then
    return nil
  end
  local target = schema.find(type_name or field.targets[1])
  local key = target and target:field(key_name)
  if not key or not (key.external_id or key.id_lookup or key.name == "Id") then
    return nil
  end
  return { field = field, target = target, key = key }
end

-- Rows

local function missing_fields(object, values)
  local missing = {}
  for _, field in ipairs(object.fields) do
    if field.required and (values[field.name] == nil or values[field.name] == NULL) then
      missing[#missing + 1] = field.name
    end
  end
  return missing
end

local function required_error(missing)
  local names = table.concat(missing, ", ")
  return row_error("REQUIRED_FIELD_MISSING", ("Required fields are missing: [%s]"):format(names), unpack(missing))
end

--- message: SQLite's, which ends with the column's name.
local function duplicate_error(object, values, message)
  local name = message:match "([%w_]+)$"
  local other = db:first(("SELECT Id FROM %s WHERE %s = ? AND IsDeleted = 0"):format(q(object.name), q(name)), { values[name] })
  return row_error("DUPLICATE_VALUE", ("duplicate value found: %s duplicates value on record with id: %s"):format(name, other or ""), name)
end

local function insert(object, values)
  local missing = missing_fields(object, values)
  if #missing > 0 then
    return required_error(missing)
  end
  local id = ids.new(object.prefix)
  local now = clock.iso(clock.org_now()):gsub("%+0000$", "Z")
  local names = { "Id", "IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp" }
  local params = { id, 0, now, ids.USER, now, ids.USER, now }
  local n = #names
  for _, field in ipairs(object.fields) do
    local value = values[field.name]
    if value == nil then
      value = field.default
    end
    if value == nil and field.type == "boolean" and not field.read_only then
      value = 0
    end
    if value == nil and field.name == "OwnerId" then
      value = ids.USER
    end
    if value ~= nil and value ~= NULL then
      n = n + 1
      names[n], params[n] = q(field.name), value
    end
  end
  local ok, message = db:run(("INSERT INTO %s(%s) VALUES(%s)")
    :format(q(object.name), table.concat(names, ","), ("?,"):rep(n - 1) .. "?"), params, n)
  if not ok then
    return duplicate_error(object, values, message)
  end
  return id, true
end

local function update(object, id, values)
  local sets, params, n = {}, {}, 0
  for _, field in ipairs(object.fields) do
    local value = values[field.name]
    if value ~= nil and field.name ~= "Id" then
      if value == NULL and field.required then
        return required_error { field.name }
      end
      n = n + 1
      sets[n] = q(field.name) .. " = ?"
      params[n] = value ~= NULL and value or nil
    end
  end
  local now = clock.iso(clock.org_now()):gsub("%+0000$", "Z")
  sets[n + 1] = "LastModifiedDate = ?, SystemModstamp = ?, Times = Times + 1"
  params[n + 1], params[n + 2], params[n + 3] = now, now, id
  local ok, message = db:run(("UPDATE %s SET %s WHERE Id = ?"):format(q(object.name), table.concat(sets, ", ")), params, n + 3)
  if not ok then
    return duplicate_error(object, values, message)
  end
  return id, false
end

function M.is_living(object, id)
  return exists(object, id) == 0
end

--- The id in a row, if a living record of this object has it.
local function living(object, cell, verb)
  if not cell or cell == "" or cell == "#N/A" then
    return row_error("MISSING_ARGUMENT", ("Id not specified in %s call"):format(verb), "Id")
  end
  local id = ids.full(cell)
  if not id then
    return row_error("MALFORMED_ID", ("Id: bad id %s"):format(cell), "Id")
  end
  local deleted = exists(object, id)
  if deleted == 1 then
    return row_error("ENTITY_IS_DELETED", "entity is deleted")
  elseif not deleted then
    return row_error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
  end
  return id
end

--- All cells of a row as values by field name; "Id" is left to the caller.
local function read_row(columns, cells)
  local values = {}
  for i, column in ipairs(columns) do
    local field = column.field
    if field.name ~= "Id" then
      local cell = cells[i]
      if field.read_only then
        if cell ~= "" then
          return row_error("INVALID_FIELD_FOR_INSERT_UPDATE", ("Unable to create/update fields: %s. Please check the security settings "
            .. "of this field and verify that it is read/write for your profile or permission set."):format(field.name), field.name)
        end
      else
        local value, err = read_cell(column, cell)
        if err then
          return nil, err
        end
        if value ~= nil then -- a field may have two columns, by id and by relationship
          values[field.name] = value
        end
      end
    end
  end
  return values
end

local operations = {}

function operations.insert(context, cells)
  if context.id_column and cells[context.id_column] ~= "" then
    return row_error("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", "Id")
  end
  local values, err = read_row(context.columns, cells)
  if not values then
    return nil, err
  end
  return insert(context.object, values)
end

function operations.update(context, cells)
  local id, err = living(context.object, cells[context.id_column], "an update")
  local values
  if id then
    values, err = read_row(context.columns, cells)
  end
  if not values then
    return nil, err
  end
  return update(context.object, id, values)
end

function operations.upsert(context, cells)
  local object, key = context.object, context.key
  local cell = cells[context.key_column or 0] or ""
  if key.name == "Id" then
    if cell == "" then
      return operations.insert(context, cells)
    end
    return operations.update(context, cells)
  end
  if cell == "" or cell == "#N/A" then
    return row_error("MISSING_ARGUMENT", ("%s not specified"):format(key.name), key.name)
  end
  local values, err = read_row(context.columns, cells)
  if not values then
    return nil, err
  end
  local value = values[key.name]
  local seen = type(value) == "string" and value:lower() or value
  if context.seen[seen] then -- rows that are worked together must differ in it (fact sheet 11.10)
    return row_error("DUPLICATE_VALUE", ("Duplicate external id specified: %s"):format(cell), key.name)
  end
  context.seen[seen] = true
  local found = {}
  local sql = ("SELECT Id FROM %s WHERE %s = ? AND IsDeleted = 0 LIMIT 2"):format(q(object.name), q(key.name))
  local first = db:first(sql, { value })
  if first and not key.unique then
    for row in db:rows(sql, { value }) do
      found[#found + 1] = row[1]
    end
    if #found > 1 then
      return row_error("DUPLICATE_EXTERNAL_ID", ("%s: more than one record found for external id field: [%s]")
        :format(key.name, table.concat(found, ", ")), key.name)
    end
  end
  if first then
    return update(object, first, values)
  end
  return insert(object, values)
end

operations["delete"] = function(context, cells)
  local id, err = living(context.object, cells[context.id_column], "a delete")
  if not id then
    return nil, err
  end
  db:run(("UPDATE %s SET IsDeleted = 1, SystemModstamp = ? WHERE Id = ?"):format(q(context.object.name)),
    { (clock.iso(clock.org_now()):gsub("%+0000$", "Z")), id })
  return id, false
end

function operations.hardDelete(context, cells)
  local id, err = living(context.object, cells[context.id_column], "a delete")
  if not id then
    return nil, err
  end
  db:run(("DELETE FROM %s WHERE Id = ?"):format(q(context.object.name)), { id })
  return id, false
end

--- One row of an upload. context: object, columns, id_column, key, key_column. Returns the record's id and whether it was made; or nil
-- and the text for sf__Error.
function M.process(operation, context, cells)
  return operations[operation](context, cells)
end

return M
