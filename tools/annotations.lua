--- Reads a file of annotations for lua-language-server, such as lua/bulkjob/meta.lua. It knows the tags that are used there, and refuses
--- all else: a tag, a type or a parameter that is misspelt is an error with its line, and so is a field or a function without a text.
---
--- The file is a list of blocks with empty lines between them:
---
---   --[[ … ]]            text of the reference page, in Markdown, as it is
---   -- …                 a remark for who reads the file
---   --- … ---@class …    a class, with its fields. A text stands above what it is about; `Default:` in that of a field begins its default
---   --- … ---@alias …    a type, or a list of values with their texts
---   --- … function …     a function, with its parameters and results
local annotations = {}

local PRIMITIVES = {}
for name in ("any boolean function integer lightuserdata nil number string table"):gmatch "%a+" do
  PRIMITIVES[name] = true
end

---- Types ----

-- What is read: the text, how far it is read, and how to say what is wrong with it.
local reader = {}
reader.__index = reader

function reader:skip()
  self.at = self.text:find("%S", self.at) or #self.text + 1
  return self.at
end

-- Takes what matches at this place.
function reader:take(pattern)
  local found = self.text:match("^" .. pattern, self:skip())
  if found then
    self.at = self.at + #found
  end
  return found
end

-- What was read from there.
function reader:since(from)
  return (self.text:sub(from, self.at - 1):gsub("%s+$", ""))
end

function reader:need(pattern, what)
  return self:take(pattern) or self.fail(("%s expected at '%s'"):format(what, self.text:sub(self.at)))
end

local read_type

-- Names and their types up to a closing bracket: { name =, optional =, type = } for each.
local function read_members(r, close)
  local list = {}
  while not r:take(close) do
    local name = r:take "%.%.%." or r:need("[%a_][%w_]*", "a name")
    local optional = r:take "%?" ~= nil
    r:need(":", "':'")
    list[#list + 1] = { name = name, optional = optional, type = read_type(r) }
    if not r:take "," then
      r:need(close, "',' or '" .. close:sub(-1) .. "'")
      break
    end
  end
  return list
end

local function read_function(r)
  r:need("%(", "'('")
  local this = { kind = "function", params = read_members(r, "%)"), returns = {} }
  if r:take ":" then
    repeat
      this.returns[#this.returns + 1] = read_type(r)
    until not r:take ","
  end
  return this
end

local function read_unit(r)
  if r:take "%(" then
    local inner = read_type(r)
    r:need("%)", "')'")
    return inner
  elseif r:take "{" then
    return { kind = "record", fields = read_members(r, "}") }
  end
  local text = r:take '"[^"]*"'
  if text then
    return { kind = "literal", value = text:sub(2, -2) }
  end
  local name = r:need("[%a_][%w_.]*", "a type")
  if name == "fun" then
    return read_function(r)
  elseif name == "true" or name == "false" then
    return { kind = "literal", value = name == "true" }
  elseif name == "table" and r:take "<" then
    local key = read_type(r)
    r:need(",", "','")
    local value = read_type(r)
    r:need(">", "'>'")
    return { kind = "table", key = key, value = value }
  end
  r.names[#r.names + 1] = { name = name, fail = r.fail }
  return { kind = "name", name = name }
end

-- A type, as one of { kind = "name"|"literal"|"array"|"table"|"record"|"function"|"union" }, with its `text`.
function read_type(r)
  local from, list = r:skip(), {}
  repeat
    local begin, unit = r:skip(), read_unit(r)
    while r:take "%[%]" do
      unit.text = r:since(begin):sub(1, -3)
      unit = { kind = "array", of = unit }
    end
    unit.text = r:since(begin)
    list[#list + 1] = unit
    if r:take "%?" then
      list[#list + 1] = { kind = "name", name = "nil", text = "nil" }
    end
  until not r:take "|"
  if not list[2] then
    return list[1]
  end
  return { kind = "union", list = list, text = r:since(from) }
end

---- Blocks ----

local function has(list, name)
  for _, item in ipairs(list) do
    if item.name == name then
      return true
    end
  end
  return false
end

-- The texts that stand above something, as one; and what is said to be its default.
local function take_text(this)
  local text = table.concat(this.pending, "\n")
  this.pending = {}
  local before, default = text:match "^(.-)%s*Default: (.*)$"
  return before or text, default and (default:gsub("%s+", " "):gsub("%.$", ""))
end

local function read_field(this, r)
  local name = r:take "%[[%a]+%]" or r:need("[%a_][%w_]*", "the name of a field")
  local field = { name = name, optional = r:take "%?" ~= nil, type = read_type(r) }
  field.text, field.default = take_text(this)
  if not this.block or this.block.kind ~= "class" then
    r.fail "a field without a class"
  elseif has(this.block.fields, name) then
    r.fail(name .. " is there twice")
  elseif r:take ".+" then
    r.fail "the text of a field stands above it"
  elseif field.text == "" then
    r.fail(name .. " has no text")
  end
  table.insert(this.block.fields, field)
end

local tags = {}

function tags.meta() end

function tags.class(this, r)
  this.block = { kind = "class", name = r:need("[%a][%w_.]*", "the name of a class"), fields = {}, functions = {}, text = take_text(this) }
  if r:take ":" then
    this.block.parent = r:need("[%a][%w_.]*", "the name of a class")
    r.names[#r.names + 1] = { name = this.block.parent, fail = r.fail }
  end
  return this.block
end

tags.field = read_field

function tags.alias(this, r)
  this.block = { kind = "alias", name = r:need("[%a][%w_.]*", "the name of a type"), text = take_text(this), values = {} }
  r:skip()
  if r.at <= #r.text then
    this.block.type = read_type(r)
  end
  return this.block
end

function tags.overload(this, r)
  local calls = read_type(r)
  if not this.block or this.block.kind ~= "class" or calls.kind ~= "function" then
    r.fail "how an object of a class is called, as fun(…), expected"
  end
  this.block.call = calls
end

-- These come before a function, which is not known yet.
function tags.param(this, r)
  local name = r:take "%.%.%." or r:need("[%a_][%w_]*", "the name of a parameter")
  local param = { name = name, optional = r:take "%?" ~= nil, type = read_type(r), text = r:take ".+" }
  table.insert(this.params, param)
end

tags["return"] = function(this, r)
  local result = { type = read_type(r), name = r:need("[%a_.][%w_.]*", "the name of a result") }
  if r:take ".+" then
    r.fail "what a function returns is told in its text"
  end
  table.insert(this.returns, result)
end

function tags.generic(this, r)
  local name = r:need("%u", "a capital letter")
  this.generic[name] = true
end

local function read_value(this, r)
  local value = r:need('"[^"]*"', "a value")
  local text = r:need("#%s*.+", "'#' and a text")
  if not this.block or this.block.kind ~= "alias" or this.block.type then
    r.fail "a value without an alias"
  end
  table.insert(this.block.values, { value = value:sub(2, -2), text = (text:gsub("^#%s*", "")) })
end

-- A line of code: a table that stands for a class, or a function.
local function read_code(this, line, fail)
  local path, separator, name, list = line:match "^function ([%w_.]+)([.:])([%w_]+)%((.*)%) end$"
  if not path then
    path = line:match "^local ([%w_]+) = {}$" or line:match "^([%w_.]+) = {}$"
    if not path or not this.block or this.block.kind ~= "class" then
      fail "this is neither the table of a class nor an empty function"
    end
    this.block.variable, this.variables[path] = path, this.block
    return
  end
  local class = this.variables[path] or fail(path .. " stands for no class")
  local names = {}
  for i, param in ipairs(this.params) do
    names[i] = param.name
  end
  if table.concat(names, ", ") ~= list then
    fail(("the parameters are (%s), and what is said of them is about (%s)"):format(list, table.concat(names, ", ")))
  elseif has(class.functions, name) or has(class.fields, name) then
    fail(name .. " is there twice")
  end
  local this_one = {
    kind = "function", class = class, name = name, call = path .. separator .. name, params = this.params, returns = this.returns,
    text = take_text(this), generic = this.generic,
  }
  if this_one.text == "" then
    fail(name .. " has no text")
  end
  table.insert(class.functions, this_one)
  this.params, this.returns, this.generic = {}, {}, {}
  return this_one
end

local function read_line(this, line, fail)
  local tag, rest = line:match "^%-%-%-@(%a+)%s*(.*)$"
  local r = setmetatable({ text = rest or line:match "^%-%-%-|%s*(.*)$", at = 1, fail = fail, names = this.names }, reader)
  if tag then
    return (tags[tag] or fail("unknown tag @" .. tag))(this, r)
  elseif r.text then
    return read_value(this, r)
  elseif line:find "^%-%-%-" then
    table.insert(this.pending, (line:gsub("^%-%-%- ?", "")))
  else
    return read_code(this, line, fail)
  end
end

-- Ends a block: what was read belongs to something.
local function end_block(this, fail)
  if this.pending[1] or this.params[1] or this.returns[1] then
    fail "a text, or parameters, that belong to nothing"
  end
  this.block = nil
end

-- All types are known. A generic one is known in its function alone.
local function check_names(this)
  for _, used in ipairs(this.names) do
    if not (PRIMITIVES[used.name] or this.known[used.name] or used.name:find "^%u$") then
      used.fail("unknown type " .. used.name)
    end
  end
end

--- Reads a file. Raises what is wrong with it: "PATH:LINE: WHAT".
---@param path string
---@return { blocks: table[], known: table<string, table> } file the blocks in their order, as { kind = "text"|"class"|"alias"|"function",
---  … }; classes and aliases by their names
function annotations.read(path)
  local this = { pending = {}, params = {}, returns = {}, generic = {}, variables = {}, names = {}, known = {}, blocks = {} }
  local number, text, before = 0, nil, ""
  for line in io.lines(path) do
    number = number + 1
    local at = number
    local function fail(what)
      error(("%s:%d: %s"):format(path, at, what), 0)
    end
    if text then
      if line == "]]" then
        table.insert(this.blocks, { kind = "text", text = table.concat(text, "\n") })
        text = nil
      else
        text[#text + 1] = line
      end
    elseif line == "" then
      end_block(this, fail)
    elseif line == "--[[" then
      text = before == "" and {} or fail "an empty line before it expected: an editor takes it for a part of the block above"
    elseif line:find "^%-%-" and not line:find "^%-%-%-" then
      if this.block or this.pending[1] then
        fail "a remark within a block"
      end
    else
      if before == "]]" then
        fail "an empty line before it expected: an editor takes the text above for a part of it"
      end
      local block = read_line(this, line, fail)
      if block then
        table.insert(this.blocks, block)
        if block.kind ~= "function" then
          this.known[block.name] = not this.known[block.name] and block or fail(block.name .. " is there twice")
        end
      end
    end
    before = line
  end
  assert(not text, path .. ": a text does not end")
  end_block(this, function(what)
    error(path .. ": " .. what, 0)
  end)
  check_names(this)
  return this
end

return annotations
