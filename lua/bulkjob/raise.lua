--- Errors where they have to be raised: by iterators, and by bulkjob.assert.
local core = require "bulkjob.core"

local raise = {}

-- How many errors that were raised as text can be had back by it.
local KEPT = 64

local kept, order, last = {}, {}, 0

-- The text, for which raise.caught gives the error.
local function keep(text, err)
  last = last % KEPT + 1
  if order[last] and order[last] ~= text then
    kept[order[last]] = nil
  end
  order[last], kept[text] = text, err
  return text
end

--- Raises an error of ours: the table itself. nginx shows nothing of an error that is no string ("unknown reason"), so there its line
--- is raised.
---@param err bulkjob.Error|any
function raise.error(err)
  error(core.is_error(err) and core.host "ngx" and keep(tostring(err), err) or err, 0)
end

--- As Lua's assert, for errors of this library, in every host: what it raises is a string, the line of the error with the position of
--- the caller. Lua's own raises the table, which hosts such as nginx, and the interpreters of Lua 5.1 and LuaJIT, do not show.
---@param value any
---@param err any
---@return any ... all that was given
function raise.assert(value, err, ...)
  if value then
    return value, err, ...
  elseif err == nil then
    error("assertion failed!", 2)
  end
  local _, text = pcall(error, tostring(err), 3) -- which puts the position before it
  if type(err) == "table" then
    keep(text, err)
  end
  error(text, 0)
end

--- What was raised, as pcall gives it: the table of the error if it is one of ours, also where its line was raised in place of it. All
--- else comes as it is.
---@param value any
---@return any
function raise.caught(value)
  return type(value) == "string" and kept[value] or value
end

return raise
