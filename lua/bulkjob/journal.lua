--- The journal of a load or an extract: what was done, line by line, each on the disk before the step that depends on it. One
--- JSON object a line; the first says what is done, the others how far it is.
local core = require "bulkjob.core"
local file = require "bulkjob.file"

---@class bulkjob.Journal
local methods = {}

local journal = {}

local journal_meta = { __index = methods }

local function io_error(path, message)
  return core.error("io", "journal " .. path .. ": " .. message)
end

local function decode(path, text)
  local lines, size = {}, 0
  for line in text:gmatch "([^\n]*)\n" do
    local value = core.json_decode(line)
    if type(value) ~= "table" then
      return nil, io_error(path, "line " .. #lines + 1 .. " is damaged")
    end
    lines[#lines + 1] = value
    size = size + #line + 1
  end
  return lines, size
end

--- Opens a journal, or begins one. A last line without its end was cut off by a crash: it never counted, and is forgotten.
---@param path string
---@return bulkjob.Journal|nil journal journal.lines are those that are there
---@return bulkjob.Error|nil err with the code "LOCKED" while another process has it open
function journal.open(path)
  local log, err = core.open_log(path)
  if not log then
    return nil, err
  end
  local lines, size, ok
  local text, why = file.read(path)
  if text then
    lines, size = decode(path, text)
    err = not lines and size
  else
    err = io_error(path, why)
  end
  if lines and size < #text then
    ok, err = log:cut(size)
    lines = ok and lines
  end
  if not lines then
    log:close()
    return nil, err
  end
  return setmetatable({ path = path, log = log, lines = lines, is_empty = #lines == 0 }, journal_meta)
end

--- Adds a line. When this returns true, it is on the disk.
---@param value table
---@return true|nil ok, bulkjob.Error|nil err
function methods:add(value)
  local ok, err = self.log:append(core.json_encode(value) .. "\n")
  if not ok then
    return nil, io_error(self.path, err.message)
  end
  self.is_empty = false
  return true
end

--- What a journal is answered that is about something else.
---@return nil, bulkjob.Error
function methods:refuse(what)
  return nil, io_error(self.path, "it was made for something else: " .. what)
end

--- Is its first line about the same as what is asked for now?
---@param kind string the field that says what kind of journal it is
---@param asked table
---@param names string[] the fields that must be the same
---@return true|nil ok, bulkjob.Error|nil err
function methods:compare(kind, asked, names)
  local old = self.lines[1]
  if old[kind] ~= 1 then
    return self:refuse("not a " .. kind .. " of this version")
  end
  for _, name in ipairs(names) do
    -- The org may be known only when somebody has signed in.
    if old[name] ~= asked[name] and not (name == "org" and not (old.org and asked.org)) then
      return self:refuse(name .. " was " .. tostring(old[name]) .. ", and is " .. tostring(asked[name]))
    end
  end
  return true
end

--- A journal in which nothing is said is removed.
function methods:close()
  if self.is_empty then
    os.remove(self.path)
  end
  self.log:close()
end

return journal
