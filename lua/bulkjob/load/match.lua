--- Which outcome belongs to which row. Pure: no file, no request.
---
--- The service guarantees no order, and may write a number or a date in another way than it was sent. So values have a *canonical form*,
--- which is the same however the service writes the value; two values that differ may have the same one, such as 42 and 0042. A row
--- never gets the outcome of a row that differs from it: what cannot be told apart gets none.
local core = require "bulkjob.core"

local match = {}

-- Digits of a number that a double keeps for sure. All arithmetic is on whole numbers, for the locale may have another decimal point.
local DIGITS = 15

-- A decimal number in one form, whatever the exponent, the zeros around it and the digits that a double does not keep; or nil.
local function number_form(value)
  local sign, digits, tail = value:match "^([+-]?)(%d*)(.*)$"
  local fraction, exponent = tail:match "^%.?(%d*)(.*)$"
  if #digits + #fraction == 0 or (tail:sub(1, 1) ~= "." and fraction ~= "") then
    return nil
  end
  exponent = exponent == "" and "0" or exponent:match "^[eE]([+-]?%d%d?%d?%d?)$"
  if not exponent then
    return nil
  end
  local point = #digits + tonumber(exponent)
  local zeros, all = (digits .. fraction):match "^(0*)(.*)$"
  if all == "" then
    return "0"
  end
  point = point - #zeros
  local whole = tonumber((all .. ("0"):rep(DIGITS)):sub(1, DIGITS)) + (all:sub(DIGITS + 1, DIGITS + 1):find "[5-9]" and 1 or 0)
  local text = ("%.0f"):format(whole)
  if #text > DIGITS then
    point = point + 1
  end
  return ("%s%se%d"):format(sign == "-" and "-" or "", text:match "^(.-)0*$", point)
end

-- Days from some day long ago. A year begins in March here, so that the leap day is its last.
local function days_of(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return year * 365 + leap_days + math.floor((153 * (month - 3) + 2) / 5) + day
end

-- A date, or a time of a day, in one form, whatever the zone it is written in; or nil. Parts of a second do not count.
local function date_form(value)
  local year, month, day, rest = value:match "^(%d%d%d%d)%-(%d%d?)%-(%d%d?)(.*)$"
  if not year then
    return nil
  end
  local seconds = days_of(tonumber(year), tonumber(month), tonumber(day)) * 86400
  if rest ~= "" then
    local hour, minute, more = rest:match "^[tT ](%d%d?):(%d%d)(.*)$"
    if not hour then
      return nil
    end
    local second, zone = more:match "^:(%d%d)%.?%d*(.*)$"
    zone = zone or more
    local sign, zone_hours, zone_minutes = zone:match "^([+-])(%d%d):?(%d%d)$"
    if not sign and not zone:find "^[zZ]?$" then
      return nil
    end
    local offset = sign and (tonumber(zone_hours) * 60 + tonumber(zone_minutes)) * (sign == "-" and -60 or 60) or 0
    seconds = seconds + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second or 0) - offset
  end
  return ("%.0f s"):format(seconds)
end

-- How the service writes what can be sent in several ways.
local WORDS = { ["true"] = "1e1", yes = "1e1", y = "1e1", t = "1e1", ["false"] = "0", no = "0", n = "0", f = "0", ["#n/a"] = "" }

-- An Id has 15 characters, and 18 with a checksum.
local LONG_ID, SHORT_ID = 18, 15

--- The canonical form of a value. Blanks around it and the case of letters do not count.
---@param value string
---@return string
function match.canonical(value)
  local text = value:match "^%s*(.-)%s*$"
  local form = text:find "^[+-]?%.?%d" and (number_form(text) or date_form(text))
  if form then
    return form
  end
  text = text:lower()
  if #text == LONG_ID and text:find "^%w+$" then
    return text:sub(1, SHORT_ID)
  end
  return WORDS[text] or text
end

-- The canonical forms of these values, as one text. `exact[i]`: that value counts as it is.
local function canonical_all(values, exact)
  local forms = {}
  for i, value in ipairs(values) do
    forms[i] = exact and exact[i] and value or match.canonical(value)
  end
  return core.json_encode(forms)
end

--- The class of a row: rows of two classes never have the outcomes of each other. By the key, where it is not empty, else by all
--- values.
---@param values string[]
---@param key integer|nil the place of the key among the values
---@return string
function match.class(values, key)
  local form = key and match.canonical(values[key]) or ""
  return form ~= "" and "key " .. form or "all " .. canonical_all(values)
end

local function group(list, by)
  local groups, order = {}, {}
  for _, one in ipairs(list) do
    local name = by(one)
    if not groups[name] then
      groups[name] = {}
      order[#order + 1] = name
    end
    table.insert(groups[name], one)
  end
  return groups, order
end

-- Has each group as many outcomes as it has rows? Then no value of these was written in another way: that would be one outcome too
-- many where the service's own way of writing stands already.
local function is_balanced(rows, outcomes)
  for name, list in pairs(rows) do
    if not outcomes[name] or #outcomes[name] ~= #list then
      return false
    end
  end
  for name in pairs(outcomes) do
    if not rows[name] then
      return false
    end
  end
  return true
end

local function by_text(one)
  return one.text
end

-- How rows and outcomes are told apart, one way after the other. `balanced`: only where that is sure.
local function new_steps(key, exact_columns)
  local text = { by = by_text, balanced = true }
  return {
    text,
    key and { by = function(one)
      return one.values[key]
    end, balanced = true } or text,
    { by = function(one)
      return canonical_all(one.values)
    end },
    text,
    { by = function(one)
      return canonical_all(one.values, exact_columns())
    end },
    text,
  }
end

local function are_the_same(rows)
  for _, row in ipairs(rows) do
    if row.text ~= rows[1].text or row.whole ~= rows[1].whole then
      return false
    end
  end
  return true
end

local function assign(rows, outcomes, steps, at)
  local step = steps[at]
  if are_the_same(rows) then -- these are all outcomes that can be theirs
    for i = 1, #outcomes <= #rows and #outcomes or 0 do
      rows[i].outcome = outcomes[i]
    end
    return
  elseif #outcomes == 0 or not step then
    return
  end
  local groups, order = group(rows, step.by)
  local theirs = group(outcomes, step.by)
  if step.balanced and not is_balanced(groups, theirs) then
    return assign(rows, outcomes, steps, at + 1)
  end
  for _, name in ipairs(order) do
    assign(groups[name], theirs[name] or {}, steps, at + 1)
  end
end

--- Gives rows of one class their outcomes: sets `row.outcome`, or leaves it nil where no outcome is surely that of the row.
---@param rows { text: string, values: string[], whole: string|nil }[] `text`: the same for the same values, and for no others; `whole`:
---  where rows have columns that are not compared, the same with those
---@param outcomes { text: string, values: string[] }[] those of the class
---@param key integer|nil the place of the key among the values
---@param exact_columns fun(): boolean[]|nil which values the service gives back as they were sent, if that is known; asked for only
---  where the values alone do not tell
function match.run(rows, outcomes, key, exact_columns)
  assign(rows, outcomes, new_steps(key, exact_columns), 1)
end

return match
