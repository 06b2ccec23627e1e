--- The one check of an option table, for all public calls.
local options = {}

--- What the service takes (the guide, create_job).
options.DELIMITERS = { "BACKQUOTE", "CARET", "COMMA", "PIPE", "SEMICOLON", "TAB" }
options.LINE_ENDINGS = { "LF", "CRLF" }

--- Up to here a number of Lua is a whole number, and can be written as one.
options.MOST_WHOLE = 2 ^ 53

-- Kinds of values that are no types of Lua: their type, what they are called, and which values of the type they are.
local KINDS = {
  text = { "string", "a string", function(value)
    return value ~= ""
  end },
  count = { "number", "a whole number from 1 on", function(value)
    return value >= 1 and value % 1 == 0 and value <= options.MOST_WHOLE
  end },
  seconds = { "number", "a number of seconds", function(value)
    return value >= 0
  end },
}

-- Nil when the value is what is expected, else what that is and what the value is called.
local function mismatch(value, expected)
  local kind = KINDS[expected]
  if type(expected) == "table" then
    for _, word in ipairs(expected) do
      if word == value then
        return nil
      end
    end
    return table.concat(expected, ", ", 1, #expected - 1) .. " or " .. expected[#expected],
      type(value) == "string" and value or type(value)
  elseif kind then
    if type(value) ~= kind[1] then
      return kind[2], type(value)
    elseif not kind[3](value) then
      return kind[2], value == "" and "an empty one" or tostring(value)
    end
    return nil
  end
  for name in expected:gmatch "%a+" do
    if name == type(value) or name == "any" then
      return nil
    end
  end
  return expected, type(value)
end

--- Looks through a table of options. Raises what is wrong with it: "bulkjob: NAME: OPTION: WHAT expected, got VALUE".
---@param name string of the call; one that begins with "bulkjob." stands as it is
---@param given any
---@param known table<string, string|string[]> what each option takes: types of Lua such as "table or function", "any", "text",
---  "count", "seconds", or a list of words
---@param needed string[]|nil the options that must be there
---@param level integer|nil whose fault it is, as error() takes it: 3, who called who called this, if not said; 0: nobody is named
---@return table given
function options.check(name, given, known, needed, level)
  local function misuse(text)
    error((name:find "^bulkjob%." and "" or "bulkjob: ") .. name .. ": " .. text, level == 0 and 0 or (level or 3) + 1)
  end
  if type(given) ~= "table" then
    misuse("a table expected, got " .. type(given))
  end
  for key, value in pairs(given) do
    if not known[key] then
      misuse("unknown option '" .. tostring(key) .. "'")
    end
    local what, got = mismatch(value, known[key])
    if what then
      misuse(key .. ": " .. what .. " expected, got " .. got)
    end
  end
  for _, key in ipairs(needed or {}) do
    if given[key] == nil then
      misuse(key .. " is missing")
    end
  end
  return given
end

return options
