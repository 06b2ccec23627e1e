-- Prints doc/reference.md, made from the annotations for editors: lua5.4 tools/reference.lua > doc/reference.md
package.path = "?.lua;" .. package.path
local annotations = require "tools.annotations"

local file = annotations.read "lua/bulkjob/meta.lua"

-- As GitHub names the anchor of a heading.
local function anchor_of(heading)
  return "#" .. heading:gsub("[^%w%s_-]", ""):gsub("%s", "-"):lower()
end

-- The heading that each class and alias stands under, for links.
local anchors = {}
local heading
for _, block in ipairs(file.blocks) do
  if block.kind == "text" then
    for title in ("\n" .. block.text):gsub("\n```.-\n```", ""):gmatch "\n#+ ([^\n]+)" do
      heading = title
    end
  elseif block.kind ~= "function" then
    anchors[block.name] = anchor_of(heading)
  end
end

---- Types ----

-- A type as code, which links to the first class in it.
local function unit(type)
  local target
  for name in type.text:gmatch "bulkjob%.[%a_.]+" do
    target = target or anchors[name]
  end
  local code = "`" .. type.text .. "`"
  return target and "[" .. code .. "](" .. target .. ")" or code
end

local function is_nil(type)
  return type.kind == "name" and type.name == "nil"
end

-- The type in words. Nil is left out where something else says that.
local function words(type, without_nil)
  local list = {}
  for _, one in ipairs(type.kind == "union" and type.list or { type }) do
    if not (without_nil and is_nil(one)) then
      list[#list + 1] = unit(one)
    end
  end
  local last = table.remove(list)
  return #list > 0 and table.concat(list, ", ") .. " or " .. last or last
end

local function may_be_nil(type)
  return type.kind == "union" and is_nil(type.list[#type.list])
end

---- Tables ----

local function print_row(cells)
  for i, cell in ipairs(cells) do
    cells[i] = cell:gsub("\n%s*", " "):gsub("|", "\\|")
  end
  print("| " .. table.concat(cells, " | ") .. " |")
end

local function print_head(names)
  print_row(names)
  print("| " .. ("--- | "):rep(#names - 1) .. "--- |")
end

local function print_fields(class)
  local has_default = false
  for _, field in ipairs(class.fields) do
    has_default = has_default or field.default ~= nil
  end
  print_head(has_default and { "name", "type", "default", "meaning" } or { "name", "type", "meaning" })
  for _, field in ipairs(class.fields) do
    local cells = { "`" .. field.name .. (field.optional and "?" or "") .. "`", words(field.type) }
    if has_default then
      cells[3] = field.default or ""
    end
    cells[#cells + 1] = field.text
    print_row(cells)
  end
end

local function print_values(alias)
  print_head { "value", "meaning" }
  for _, value in ipairs(alias.values) do
    print_row { "`\"" .. value.value .. "\"`", value.text }
  end
end

local function print_function(this)
  local names, meaning = {}, { this.text }
  for i, param in ipairs(this.params) do
    names[i] = param.name .. (param.optional and "?" or "")
    if param.text or param.type.text ~= "any" then
      local text = ("<br>`%s`: %s%s"):format(param.name, words(param.type), param.text and ", " .. param.text or "")
      table.insert(meaning, text)
    end
  end
  local returns = {}
  for i, result in ipairs(this.returns) do
    returns[i] = words(result.type) .. (result.name == "..." and " …" or "")
  end
  local first, last = this.returns[1], this.returns[2]
  if last and last.name == "err" and may_be_nil(first.type) then
    returns = { words(first.type, true) .. ", or `nil, err`" }
  end
  print_row { ("`%s(%s)`"):format(this.call, table.concat(names, ", ")), table.concat(returns, ", "), table.concat(meaning, " ") }
end

---- The page ----

local printers = {}

function printers.text(block)
  print(block.text)
end

function printers.class(class)
  print("**`" .. class.name .. "`**" .. (class.text ~= "" and ": " .. class.text or ""))
  if class.parent then
    print("With the fields of " .. unit({ text = class.parent }) .. ".")
  end
  if class.fields[1] then
    print()
    print_fields(class)
  end
end

function printers.alias(alias)
  local name = "**`" .. alias.name .. "`**"
  if alias.type then
    print(name .. " is " .. words(alias.type) .. "." .. (alias.text ~= "" and "\n" .. alias.text or ""))
  else
    print(name .. "\n")
    print_values(alias)
  end
end

-- Functions that stand one behind the other share a table.
printers["function"] = function(block, before)
  if before.kind ~= "function" then
    print_head { "function", "returns", "meaning" }
  end
  print_function(block)
end

for i, block in ipairs(file.blocks) do
  local before = file.blocks[i - 1]
  if before and not (block.kind == "function" and before.kind == "function") then
    print()
  end
  printers[block.kind](block, before)
end
