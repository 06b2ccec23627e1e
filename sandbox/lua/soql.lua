--- SOQL into SQL. What the Bulk API refuses is refused here too (fact sheet 1.10); the query resource of REST takes COUNT() and OFFSET.

local clock = require "clock"
local errors = require "errors"
local ids = require "ids"
local schema = require "schema"
local settings = require "settings"
local soql_dates = require "soql_dates"

local M = {}

local KEYWORDS = {
  SELECT = true, FROM = true, WHERE = true, AND = true, OR = true, NOT = true, ORDER = true, BY = true, ASC = true, DESC = true,
  NULLS = true, FIRST = true, LAST = true, LIMIT = true, OFFSET = true, GROUP = true, HAVING = true, IN = true, LIKE = true,
  TYPEOF = true, USING = true, FOR = true, WITH = true, ALL = true, ROWS = true, AS = true, INCLUDES = true, EXCLUDES = true,
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

-- Functions of the SELECT list that change how a value looks. The org has one language and one currency.
local LOOKS = { TOLABEL = true, FORMAT = true, CONVERTCURRENCY = true }

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
      local called = name:upper()
      if called == "FIELDS" then
        refuse("API_ERROR", "The SOQL FIELDS function is not supported in Bulk Query")
      elseif LOOKS[called] then
        self:expect "("
        name = self:name()
        self:expect ")"
      elseif called == "COUNT" and self.rest and #names == 0 then
        self:expect "("
        self:expect ")"
        return names, true
      else
        refuse("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
      end
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
  elseif token.kind == "name" then
    local from, to = soql_dates.range(token.value, clock.org_now())
    if from then
      return { kind = "range", from = from, to = to }
    end
  end
  self.at = self.at - 1
  self:unexpected()
end

-- Functions of the WHERE clause over dates: where their value stands in the text of the date, and its type.
local DATE_PARTS = {
  CALENDAR_YEAR = { 1, 4, "integer" }, CALENDAR_MONTH = { 6, 2, "integer" }, DAY_IN_MONTH = { 9, 2, "integer" },
  HOUR_IN_DAY = { 12, 2, "integer" }, DAY_ONLY = { 1, 10, "date" },
}

--- A comparison: { name =, part =, operator =, values = { literals } } or, for a semi-join, { ..., query = }.
function Parser:comparison()
  local condition = { name = self:name() }
  if self:peek().kind == "sign" and self:peek().value == "(" then
    condition.part = DATE_PARTS[condition.name:upper()]
    if not condition.part and condition.name:upper() ~= "TOLABEL" then
      self:unexpected()
    end
    self:expect "("
    condition.name = self:name()
    self:expect ")"
  end
  if self:accept "LIKE" then
    condition.operator = "LIKE"
    condition.values = { self:literal() }
  elseif self:peek().upper == "IN" or self:peek().upper == "NOT" then
    condition.operator = self:accept "NOT" and "NOT IN" or "IN"
    self:expect "IN"
    self:expect "("
    if self:peek().upper == "SELECT" then
      if self.nested or self.depth > 0 then
        malformed(self.nested and "Nesting of semi join sub-selects is not supported"
          or "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested WHERE expressions.")
      end
      self.nested = true
      condition.query = self:query()
      self.nested = false
    else
      condition.values = {}
      repeat
        condition.values[#condition.values + 1] = self:literal()
      until not self:accept ","
    end
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

--- A condition in brackets, a negated one, or a comparison.
function Parser:term()
  if self:accept "NOT" then
    self.depth = self.depth + 1
    local inner = self:term()
    self.depth = self.depth - 1
    return { word = "NOT", inner }
  elseif self:accept "(" then
    local inner = self:condition()
    self:expect ")"
    return inner
  end
  return self:comparison()
end

--- Terms joined by AND, or by OR: the two are mixed only by brackets.
function Parser:condition()
  local start = self.at
  local all = { self:term() }
  local word = self:peek().upper
  if word ~= "AND" and word ~= "OR" then
    return all[1]
  end
  if word == "OR" then -- a semi-join cannot stand in it
    self.at = start
    self.depth = self.depth + 1
    all = { self:term() }
  end
  while self:accept(word) do
    all[#all + 1] = self:term()
  end
  if word == "OR" then
    self.depth = self.depth - 1
  end
  if self:peek().upper == "AND" or self:peek().upper == "OR" then
    self:unexpected()
  end
  all.word = word
  return all
end

function Parser:whole_number(word)
  local token = self:take()
  local number = token.kind == "number" and tonumber(token.value)
  if not number or number % 1 ~= 0 or number < 0 then
    malformed(word .. " needs a whole number")
  end
  return number
end

--- A name with its short beginning written out.
local function expand(query, name)
  local first, rest = name:match "^([%w_]+)%.(.+)$"
  local path = first and query.aliases[first:lower()]
  return path and path .. rest or name
end

--- The object, and short names: FROM Account a, a.Owner o. Each short name stands for a path from the object, with a dot at its end.
function Parser:sources(query)
  query.object, query.aliases = self:name(), {}
  local function alias(path)
    self:accept "AS"
    if self:peek().kind == "name" and not KEYWORDS[self:peek().upper] then
      query.aliases[self:name():lower()] = path
    end
  end
  alias ""
  while self:accept "," do
    alias(expand(query, self:name()) .. ".")
  end
end

function Parser:order_item()
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
  return item
end

local REFUSED = { OFFSET = "OFFSET", GROUP = "GROUP BY", HAVING = "HAVING", TYPEOF = "TYPEOF" }

--- A query up to its end, or to the bracket that ends a semi-join.
function Parser:query()
  local query = { order = {} }
  self:expect "SELECT"
  query.names, query.counts = self:select_list()
  self:expect "FROM"
  self:sources(query)
  if self:accept "WHERE" then
    query.condition = self:condition()
  end
  if self:accept "ORDER" then
    self:expect "BY"
    repeat
      query.order[#query.order + 1] = self:order_item()
    until not self:accept ","
  end
  if self:accept "LIMIT" then
    query.limit = self:whole_number "LIMIT"
  end
  if self.rest and self:accept "OFFSET" then
    query.offset = self:whole_number "OFFSET"
  end
  local refused = REFUSED[self:peek().upper or ""]
  if refused == "GROUP BY" or refused == "HAVING" then
    refuse("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
  elseif refused then
    refuse("API_ERROR", refused .. " not supported in Bulk Query")
  elseif not self.nested and self:peek().kind ~= "end" then
    self:unexpected()
  end
  return query
end

-- Meaning

local function invalid_field(object, name)
  refuse("INVALID_FIELD", ("No such column '%s' on entity '%s'. If you are attempting to use a custom field, be sure to append the '__c' "
    .. "after the custom field name."):format(name, object.name))
end

local function column(field, table_name)
  if field.type == "compound" then
    refuse("API_ERROR", "Selecting compound data not supported in Bulk Query")
  elseif field.formula then
    return (field.formula:gsub("@", table_name))
  end
  return ('%s."%s"'):format(table_name, field.name)
end

local MOST_PARENTS = 5

--- A field name, or one of a parent, as a SQL expression and its field. Returns the name as the result header shows it too.
local function resolve(object, name, table_name, depth)
  table_name, depth = table_name or "base", depth or 0
  local own, parent_name, child = name, name:match "^([%w_]+)%.([%w_.]+)$"
  if parent_name and depth == 0 and parent_name:lower() == object.name:lower() and not object:relationship(parent_name) then
    return resolve(object, child, table_name, depth) -- Account.Name FROM Account
  end
  if not parent_name then
    local field = object:field(own)
    if not field then
      invalid_field(object, own)
    end
    return column(field, table_name), field, field.name
  end
  local reference = object:relationship(parent_name)
  if not reference or depth == MOST_PARENTS then
    refuse("INVALID_FIELD", ("Didn't understand relationship '%s' in field path. If you are attempting to use a custom relationship, be "
      .. "sure to append the '__r' after the custom relationship name."):format(parent_name))
  end
  -- A field with several targets has the value of that one which there is.
  local values, field, shown = {}, nil, nil
  for i, target_name in ipairs(reference.targets) do
    local target = schema.find(target_name)
    local leaf = child:find(".", 1, true) == nil and child
    if target and (not leaf or target:field(leaf) or i == #reference.targets and not field) then
      local parent = ("p%d_%d"):format(depth + 1, i)
      local inner
      inner, field, shown = resolve(target, child, parent, depth + 1)
      values[#values + 1] = ('(SELECT %s FROM "%s" AS %s WHERE %s.Id = %s."%s")')
        :format(inner, target.name, parent, parent, table_name, reference.name)
    end
  end
  local value = #values > 1 and ("coalesce(%s)"):format(table.concat(values, ", ")) or values[1]
  return value, field, reference.relationship .. "." .. shown
end

local QUOTED = { text = true, reference = true }

local function mismatch(name, wanted)
  refuse("INVALID_FIELD", ("filter criterion must be of type %s for field %s"):format(wanted, name))
end

local function is_id(field)
  return field.type == "reference" or field.name == "Id"
end

--- A literal as a SQL parameter, checked against the field's type.
local function parameter(field, literal)
  local kind = literal.kind
  if QUOTED[field.type] then
    if kind ~= "string" then
      mismatch(field.name, "string")
    end
    return is_id(field) and ids.full(literal.value) or literal.value
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
  elseif #literal.value ~= 10 then
    mismatch(field.name, "date")
  end
  return literal.value
end

-- What a comparison with days asks of the first and of the one after the last.
local RANGES = {
  ["="] = "(%s >= '%s' AND %s < '%s')", ["<"] = "%s < '%s'", [">="] = "%s >= '%s'", ["<="] = "%s < '%s'", [">"] = "%s >= '%s'",
}

--- A date literal covers days: from the first on, and before the one after the last. A date-time's text begins with its day.
local function compare_range(field, expression, operator, range)
  if field.type ~= "date" and field.type ~= "datetime" then
    mismatch(field.name, field.type == "text" and "string" or field.type)
  elseif operator == "<>" then
    return ("coalesce(NOT %s, 1)"):format(compare_range(field, expression, "=", range))
  elseif operator == "=" then
    return RANGES["="]:format(expression, range.from, expression, range.to)
  elseif not RANGES[operator] then
    malformed("a date literal cannot be compared by " .. operator)
  end
  return RANGES[operator]:format(expression, (operator == "<" or operator == ">=") and range.from or range.to)
end

local compile_query

--- A semi-join: the ids of one object that a field of another has.
local function compile_join(field, expression, condition, params, options)
  local inner = condition.query
  options.has_join = true
  if not is_id(field) then
    refuse("INVALID_FIELD", ("The left operand '%s' cannot have a sub-select: it is no id"):format(field.name))
  elseif #inner.names ~= 1 or inner.counts then
    malformed "A semi join sub-select must select exactly one field"
  elseif #inner.order > 0 or inner.limit then
    malformed "ORDER BY and LIMIT are not allowed in semi join sub-selects"
  end
  local plan = compile_query(inner, { all_rows = options.all_rows, rest = options.rest, params = params })
  if not is_id(plan.fields[1]) then
    refuse("INVALID_FIELD", ("The selected field '%s' in the subquery must be an id"):format(plan.names[1]))
  end
  if condition.operator == "NOT IN" then
    return ("coalesce(%s NOT IN (%s), 1)"):format(expression, plan.sql)
  end
  return ("%s IN (%s)"):format(expression, plan.sql)
end

local function compile_comparison(object, query, condition, params, options)
  local expression, field = resolve(object, expand(query, condition.name))
  local part = condition.part
  if part then
    if field.type ~= "datetime" and (field.type ~= "date" or part[1] > 10) then
      mismatch(field.name, "dateTime")
    end
    expression = ("substr(%s, %d, %d)"):format(expression, part[1], part[2])
    expression = part[3] == "integer" and ("CAST(%s AS INTEGER)"):format(expression) or expression
    field = { name = field.name, type = part[3] }
  end
  if condition.query then
    return compile_join(field, expression, condition, params, options)
  end
  local operator, literal = condition.operator, condition.values[1]
  local function bind(value)
    params[#params + 1] = parameter(field, value)
    return "?"
  end
  if operator == "IN" or operator == "NOT IN" then
    local marks, has_null = {}, false
    for _, value in ipairs(condition.values) do
      if value.kind == "null" then
        has_null = true
      else
        marks[#marks + 1] = bind(value)
      end
    end
    local found = ("coalesce(%s IN (%s), %d)"):format(expression, table.concat(marks, ","), has_null and 1 or 0)
    if operator == "IN" and not has_null then
      found = ("%s IN (%s)"):format(expression, table.concat(marks, ",")) -- a form that an index serves
    end
    return operator == "IN" and found or "NOT " .. found
  elseif literal.kind == "null" then
    if operator ~= "=" and operator ~= "<>" then
      malformed "null can only be compared by = and !="
    end
    return expression .. (operator == "=" and " IS NULL" or " IS NOT NULL")
  elseif literal.kind == "range" then
    return compare_range(field, expression, operator, literal)
  elseif operator == "LIKE" then
    if not QUOTED[field.type] then
      refuse("INVALID_FIELD", "invalid operator on " .. field.type .. " field")
    end
    return expression .. " LIKE " .. bind(literal) .. " ESCAPE '\\'"
  elseif operator == "<>" then
    -- A record without a value is different from any value.
    return ("(%s <> %s OR %s IS NULL)"):format(expression, bind(literal), expression)
  end
  return ("%s %s %s"):format(expression, operator, bind(literal))
end

local function compile_condition(object, query, condition, params, options)
  if not condition.word then
    return compile_comparison(object, query, condition, params, options)
  end
  local parts = {}
  for i, inner in ipairs(condition) do
    parts[i] = compile_condition(object, query, inner, params, options)
  end
  if condition.word == "NOT" then
    return ("NOT coalesce((%s), 0)"):format(parts[1]) -- a comparison with no value is false, so its contrary is true
  end
  return "(" .. table.concat(parts, " " .. condition.word .. " ") .. ")"
end

local function find_object(name, rest)
  local object = schema.find(name)
  if object then
    return object
  elseif rest or settings.values.unknown_object == "INVALID_TYPE" and not schema.is_closed(name) then
    refuse("INVALID_TYPE", ("sObject type '%s' is not supported. If you are attempting to use a custom object, be sure to append the '__c' "
      .. "after the entity name. Please reference your WSDL or the describe call for the appropriate names."):format(name))
  end
  refuse("INVALIDENTITY", ("Entity '%s' is not supported by the Bulk API."):format(name))
end

--- A parsed query as a plan. options.params takes the parameters, in their order.
function compile_query(query, options)
  local object, params = find_object(query.object, options.rest), options.params
  if options.sorted_names then
    table.sort(query.names)
  end
  local expressions, fields, names = {}, {}, {}
  for i, name in ipairs(query.names) do
    expressions[i], fields[i], names[i] = resolve(object, expand(query, name))
    for j = 1, i - 1 do
      if names[j] == names[i] then
        malformed("duplicate field selected: " .. names[i])
      end
    end
  end
  local conditions = { options.all_rows and "1" or "base.IsDeleted = 0" }
  if query.condition then
    conditions[2] = compile_condition(object, query, query.condition, params, options)
  end
  local columns = query.counts and "count(*)" or table.concat(expressions, ", ")
  local where = (' FROM "%s" AS base WHERE %s'):format(object.name, table.concat(conditions, " AND "))
  local order, keys, with_keys = {}, {}, { columns }
  for i, item in ipairs(query.order) do
    local expression, field = resolve(object, expand(query, item.name))
    local folded = QUOTED[field.type] and field.name ~= "Id" -- a parent's text has lost its column's way to compare
    -- Without a word on it, records without a value come first, either way.
    order[i] = ("%s%s %s NULLS %s"):format(expression, folded and " COLLATE NOCASE" or "", item.direction, item.nulls or "FIRST")
    keys[i] = { descends = item.direction == "DESC", nulls_last = item.nulls == "LAST" }
    with_keys[i + 1] = folded and "lower(" .. expression .. ")" or expression
  end
  local sorting = #order > 0 and " ORDER BY " .. table.concat(order, ", ") or ""
  local limit = (query.limit or query.offset) and (" LIMIT %d OFFSET %d"):format(query.limit or -1, query.offset or 0) or ""
  local piece = where .. " AND base.Id > ? AND base.Id <= ?"
  return { object = object, params = params, names = names, fields = fields, counts = query.counts,
    sql = "SELECT " .. columns .. where .. sorting .. limit,
    piece = "SELECT " .. table.concat(with_keys, ", ") .. piece .. sorting .. (query.limit and #order > 0 and (" LIMIT %d"):format(
      query.limit + (query.offset or 0)) or ""),
    count_piece = "SELECT count(*)" .. piece, keys = keys, limit = query.limit, offset = query.offset, has_join = options.has_join }
end

--- Compile a query. Returns a plan, or nil and an error. options: all_rows (queryAll), sorted_names (columns in alphabetical order, before
-- v50.0), rest (the query resource of REST; the plan may have counts = true).
--
-- A plan is { object =, names =, fields =, counts =, params =, sql = all rows; and, for walk.lua, piece = and count_piece = with two more
-- parameters: of the records with an Id after the one and up to the other; keys = how their last columns sort them, limit =, offset =,
-- has_join = }.
function M.compile(text, options)
  local ok, result = pcall(function()
    local query = setmetatable({ list = tokens(text), at = 1, depth = 0, rest = options.rest }, Parser):query()
    return compile_query(query, {
      all_rows = options.all_rows, sorted_names = options.sorted_names, rest = options.rest, params = {},
    })
  end)
  if ok then
    return result
  elseif type(result) == "table" and result.is_error then
    return nil, result
  end
  error(result, 0)
end

return M
