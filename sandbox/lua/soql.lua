--- SOQL into SQL: SELECT fields FROM object [WHERE comparisons joined by AND] [ORDER BY fields] [LIMIT n]. What the Bulk API refuses is
-- refused here too (fact sheet 1.10).

local clock = require "clock"
local errors = require "errors"
local schema = require "schema"

local M = {}

local KEYWORDS = {
  SELECT = true, FROM = true, WHERE = true, AND = true, OR = true, NOT = true, ORDER = true, BY = true, ASC = true, DESC = true,
  NULLS = true, FIRST = true, LAST = true, LIMIT = true, OFFSET = true, GROUP = true, HAVING = true, IN = true, LIKE = true,
  TYPEOF = true, USING = true, FOR = true, WITH = true, ALL = true, ROWS = true,
}

local ESCAPES = { n = "\n", r = "\r", t = "\t", b = "\b", f = "\f" }

-- Errors are thrown as tables inside and returned by M.compile.
local function refuse(code, message)
  error(errors.new(400, code, message), 0)
end

local function malformed(message)
  refuse("MALFORMED_QUERY", message)
end

-- Words

local function read_string(text, position)
  local out, at = {}, position + 1
  while true do
    local stop = text:find("['\\]", at)
    if not stop then
      malformed "Unterminated string literal"
    end
    out[#out + 1] = text:sub(at, stop - 1)
    if text:sub(stop, stop) == "'" then
      return table.concat(out), stop + 1
    end
    local c = text:sub(stop + 1, stop + 1)
    out[#out + 1] = ESCAPES[c:lower()] or c
    -- A pattern must still tell \% and \_ from % and _.
    if c == "%" or c == "_" then
      out[#out] = "\\" .. c
    end
    at = stop + 2
  end
end

local function tokens(text)
  local list, position = {}, 1
  local function add(kind, value)
    list[#list + 1] = { kind = kind, value = value, upper = kind == "name" and value:upper() or nil }
  end
  while true do
    position = text:find("%S", position)
    if not position then
      break
    end
    local c = text:sub(position, position)
    if c == "'" then
      local value
      value, position = read_string(text, position)
      add("string", value)
    else
      local literal = text:match("^%d%d%d%d%-%d%d%-%d%dT[%d:.]+[Z+-]?[%d:]*", position) or text:match("^%d%d%d%d%-%d%d%-%d%d", position)
      local number = not literal and text:match("^[+-]?%d+%.?%d*[eE]?[+-]?%d*", position)
      local name = text:match("^[%a][%w_.:]*", position)
      local sign = text:match("^[<>!]=", position) or text:match("^<>", position) or text:match("^[=<>(),]", position)
      if literal then
        add("date", literal)
      elseif number then
        add("number", number)
      elseif name then
        add("name", name)
      elseif sign then
        add("sign", sign)
      else
        malformed("unexpected token: '" .. c .. "'")
      end
      position = position + #(literal or number or name or sign)
    end
  end
  add "end"
  return list
end

-- Grammar

local Parser = {}
Parser.__index = Parser

function Parser:peek()
  return self.list[self.at]
end

function Parser:take()
  local token = self.list[self.at]
  self.at = self.at + 1
  return token
end

function Parser:accept(word)
  local token = self:peek()
  if token.upper == word or (token.kind == "sign" and token.value == word) then
    self.at = self.at + 1
    return true
  end
  return false
end

function Parser:unexpected()
  local token = self:peek()
  malformed(token.kind == "end" and "unexpected end of query" or ("unexpected token: '%s'"):format(token.value))
end

function Parser:expect(word)
  if not self:accept(word) then
    self:unexpected()
  end
end

function Parser:name()
  local token = self:peek()
  if token.kind ~= "name" or KEYWORDS[token.upper] then
    self:unexpected()
  end
  self.at = self.at + 1
  return token.value
end

function Parser:select_list()
  local names = {}
  repeat
    if self:accept "(" then
      refuse("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    elseif self:peek().upper == "TYPEOF" then
      refuse("API_ERROR", "TYPEOF not supported in Bulk Query")
    end
    local name = self:name()
    if self:peek().value == "(" and self:peek().kind == "sign" then
      if name:upper() == "FIELDS" then
        refuse("API_ERROR", "The SOQL FIELDS function is not supported in Bulk Query")
      end
      refuse("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    end
    names[#names + 1] = name
  until not self:accept ","
  return names
end

local OPERATORS = { ["="] = "=", ["!="] = "<>", ["<>"] = "<>", ["<"] = "<", ["<="] = "<=", [">"] = ">", [">="] = ">=" }

function Parser:literal()
  local token = self:take()
  if token.kind == "string" or token.kind == "number" or token.kind == "date" then
    return token
  elseif token.upper == "TRUE" or token.upper == "FALSE" then
    return { kind = "boolean", value = token.upper == "TRUE" }
  elseif token.upper == "NULL" then
    return { kind = "null" }
  end
  self.at = self.at - 1
  self:unexpected()
end

function Parser:condition()
  local condition = { name = self:name() }
  if self:peek().value == "(" then
    self:unexpected()
  end
  if self:accept "LIKE" then
    condition.operator = "LIKE"
    condition.values = { self:literal() }
  elseif self:peek().upper == "IN" or self:peek().upper == "NOT" then
    condition.operator = self:accept "NOT" and "NOT IN" or "IN"
    self:expect "IN"
    self:expect "("
    if self:peek().upper == "SELECT" then
      refuse("API_ERROR", "Semi joins are not supported by the sandbox")
    end
    condition.values = {}
    repeat
      condition.values[#condition.values + 1] = self:literal()
    until not self:accept ","
    self:expect ")"
  else
    local token = self:take()
    condition.operator = token.kind == "sign" and OPERATORS[token.value]
    if not condition.operator then
      self.at = self.at - 1
      self:unexpected()
    end
    condition.values = { self:literal() }
  end
  return condition
end

local REFUSED = { OFFSET = "OFFSET", GROUP = "GROUP BY", HAVING = "HAVING", TYPEOF = "TYPEOF" }

function Parser:query()
  local query = { conditions = {}, order = {} }
  self:expect "SELECT"
  query.names = self:select_list()
  self:expect "FROM"
  query.object = self:name()
  if self:accept "WHERE" then
    repeat
      query.conditions[#query.conditions + 1] = self:condition()
      if self:peek().upper == "OR" then
        malformed "OR is not supported by the sandbox: join comparisons by AND"
      end
    until not self:accept "AND"
  end
  if self:accept "ORDER" then
    self:expect "BY"
    repeat
      local item = { name = self:name(), direction = "ASC" }
      if self:accept "DESC" then
        item.direction = "DESC"
      else
        self:accept "ASC"
      end
      if self:accept "NULLS" then
        item.nulls = self:accept "LAST" and "LAST" or "FIRST"
        if item.nulls == "FIRST" then
          self:expect "FIRST"
        end
      end
      query.order[#query.order + 1] = item
    until not self:accept ","
  end
  if self:accept "LIMIT" then
    local token = self:take()
    query.limit = token.kind == "number" and tonumber(token.value)
    if not query.limit or query.limit % 1 ~= 0 or query.limit < 0 then
      malformed "LIMIT needs a whole number"
    end
  end
  local refused = REFUSED[self:peek().upper or ""]
  if refused == "GROUP BY" or refused == "HAVING" then
    refuse("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
  elseif refused then
    refuse("API_ERROR", refused .. " not supported in Bulk Query")
  elseif self:peek().kind ~= "end" then
    self:unexpected()
  end
  return query
end

-- Meaning

local function invalid_field(object, name)
  refuse("INVALID_FIELD", ("No such column '%s' on entity '%s'. If you are attempting to use a custom field, be sure to append the '__c' "
    .. "after the custom field name."):format(name, object.name))
end

local function column(field)
  if field.type == "compound" then
    refuse("API_ERROR", "Selecting compound data not supported in Bulk Query")
  end
  return field.formula or ('"%s"'):format(field.name)
end

--- A field name, or one of a direct parent, as a SQL expression and its field. Returns the name as the result header shows it too.
local function resolve(object, name)
  local own, parent_name, child = name, name:match "^([%w_]+)%.([%w_.]+)$"
  if parent_name and parent_name:lower() == object.name:lower() then
    own, parent_name = child, nil -- Account.Name FROM Account
  end
  if not parent_name then
    local field = object:field(own)
    if not field then
      invalid_field(object, own)
    end
    return column(field), field, field.name
  end
  local reference = object:relationship(parent_name)
  local target = reference and schema.find(reference.targets[1])
  if not reference then
    refuse("INVALID_FIELD", ("Didn't understand relationship '%s' in field path. If you are attempting to use a custom relationship, be "
      .. "sure to append the '__r' after the custom relationship name."):format(parent_name))
  end
  local field = target:field(child)
  if not field then
    invalid_field(target, child)
  end
  local inner = column(field)
  return ('(SELECT %s FROM "%s" AS parent WHERE parent.Id = base."%s")'):format(inner, target.name, reference.name), field,
    reference.relationship .. "." .. field.name
end

local QUOTED = { text = true, reference = true }

local function mismatch(name, wanted)
  refuse("INVALID_FIELD", ("filter criterion must be of type %s for field %s"):format(wanted, name))
end

--- A literal as a SQL parameter, checked against the field's type.
local function parameter(field, literal)
  local kind = literal.kind
  if QUOTED[field.type] then
    if kind ~= "string" then
      mismatch(field.name, "string")
    end
    return literal.value
  elseif field.type == "boolean" then
    if kind ~= "boolean" then
      mismatch(field.name, "boolean")
    end
    return literal.value and 1 or 0
  elseif field.type == "number" or field.type == "integer" then
    if kind ~= "number" then
      mismatch(field.name, "double")
    end
    return tonumber(literal.value)
  elseif kind ~= "date" then
    mismatch(field.name, field.type)
  elseif field.type == "datetime" then
    local seconds = clock.parse(literal.value)
    if not seconds then
      mismatch(field.name, "dateTime")
    end
    return os.date("!%Y-%m-%dT%H:%M:%S.000Z", seconds)
  end
  return literal.value
end

local function compile_condition(object, condition, params)
  local expression, field = resolve(object, condition.name)
  local function bind(literal)
    params[#params + 1] = parameter(field, literal)
    return "?"
  end
  local literal = condition.values[1]
  if condition.operator == "IN" or condition.operator == "NOT IN" then
    local marks = {}
    for i, value in ipairs(condition.values) do
      marks[i] = bind(value)
    end
    return ("%s %s (%s)"):format(expression, condition.operator, table.concat(marks, ","))
  elseif literal.kind == "null" then
    if condition.operator ~= "=" and condition.operator ~= "<>" then
      malformed "null can only be compared by = and !="
    end
    return expression .. (condition.operator == "=" and " IS NULL" or " IS NOT NULL")
  elseif condition.operator == "LIKE" then
    if not QUOTED[field.type] then
      refuse("INVALID_FIELD", "invalid operator on " .. field.type .. " field")
    end
    return expression .. " LIKE " .. bind(literal) .. " ESCAPE '\\'"
  elseif condition.operator == "<>" then
    -- A record without a value is different from any value.
    return ("(%s <> %s OR %s IS NULL)"):format(expression, bind(literal), expression)
  end
  return ("%s %s %s"):format(expression, condition.operator, bind(literal))
end

--- Compile a query. Returns { object =, sql =, params =, names =, fields = } or nil and an error. options: all_rows (queryAll),
-- sorted_names (columns in alphabetical order, before v50.0).
function M.compile(text, options)
  local ok, result = pcall(function()
    local query = setmetatable({ list = tokens(text), at = 1 }, Parser):query()
    if schema.is_unsupported(query.object) then
      refuse("INVALIDENTITY", ("Entity '%s' is not supported by the Bulk API."):format(query.object))
    end
    local object = schema.find(query.object)
    if options.sorted_names then
      table.sort(query.names)
    end
    local expressions, fields, names, params = {}, {}, {}, {}
    for i, name in ipairs(query.names) do
      expressions[i], fields[i], names[i] = resolve(object, name)
      for j = 1, i - 1 do
        if names[j] == names[i] then
          malformed("duplicate field selected: " .. names[i])
        end
      end
    end
    local conditions = { options.all_rows and "1" or "IsDeleted = 0" }
    for _, condition in ipairs(query.conditions) do
      conditions[#conditions + 1] = compile_condition(object, condition, params)
    end
    local sql = ('SELECT %s FROM "%s" AS base WHERE %s'):format(table.concat(expressions, ", "), object.name,
      table.concat(conditions, " AND "))
    local order = {}
    for i, item in ipairs(query.order) do
      -- Without a word on it, records without a value come first, either way.
      order[i] = ("%s %s NULLS %s"):format((resolve(object, item.name)), item.direction, item.nulls or "FIRST")
    end
    if #order > 0 then
      sql = sql .. " ORDER BY " .. table.concat(order, ", ")
    end
    if query.limit then
      sql = sql .. " LIMIT " .. ("%d"):format(query.limit)
    end
    return {
      object = object, sql = sql, params = params, names = names, fields = fields,
      chunkable = #query.order == 0 and not query.limit,
    }
  end)
  if ok then
    return result
  elseif type(result) == "table" and result.is_error then
    return nil, result
  end
  error(result, 0)
end

return M
