--- The date literals of SOQL (TODAY, LAST_N_DAYS:30, THIS_QUARTER, ...) as the days they stand for. The org's user lives in UTC, its weeks
-- begin on Sunday and its fiscal year in January.

local M = {}

local DAY = 86400

--- Days since 1970 of a date of the calendar; months beyond 1 to 12 run on into other years.
local function day_number(year, month, day)
  local months = year * 12 + month - 1
  year, month = math.floor(months / 12), months % 12 + 1
  if month <= 2 then
    year = year - 1
  end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

--- Is there such a day?
function M.exists(year, month, day)
  return month >= 1 and month <= 12 and day >= 1 and day <= day_number(year, month + 1, 1) - day_number(year, month, 1)
end

-- For each unit: the first day of the one that is n away from the one that today is in.
local STARTS = {
  DAY = function(today, n)
    return today.number + n
  end,
  WEEK = function(today, n)
    return today.number - (today.number + 4) % 7 + 7 * n -- 1970 began on a Thursday
  end,
  MONTH = function(today, n)
    return day_number(today.year, today.month + n, 1)
  end,
  QUARTER = function(today, n)
    return day_number(today.year, today.month - (today.month - 1) % 3 + 3 * n, 1)
  end,
  YEAR = function(today, n)
    return day_number(today.year + n, 1, 1)
  end,
}

local DAYS = { YESTERDAY = -1, TODAY = 0, TOMORROW = 1 }
local RELATIVE = { LAST = -1, THIS = 0, NEXT = 1 }

--- A literal as the first day and the one after its last, or nil when it is none. name: in capitals, n: what stands after the colon.
local function range(name, n, today)
  name = name:gsub("_FISCAL", "")
  if not n then
    local away = DAYS[name]
    if away then
      return today.number + away, today.number + away + 1
    end
    local side = name:match "^(%u+)_90_DAYS$"
    if side then
      return range(side .. "_N_DAYS", 90, today)
    end
    local which, unit = name:match "^(%u+)_(%u+)$"
    local start, step = STARTS[unit or ""], RELATIVE[which or ""]
    if start and step and unit ~= "DAY" then
      return start(today, step), start(today, step + 1)
    end
    return nil
  end
  local unit = name:match "^N_(%u+)S_AGO$"
  if STARTS[unit or ""] then
    return STARTS[unit](today, -n), STARTS[unit](today, 1 - n)
  end
  local side
  side, unit = name:match "^(%u+)_N_(%u+)S$"
  local start = STARTS[unit or ""]
  if start and side == "LAST" then
    return start(today, -n), start(today, unit == "DAY" and 1 or 0) -- today is one of the last days
  elseif start and side == "NEXT" then
    return start(today, 1), start(today, n + 1)
  end
end

--- The days that a literal stands for: its first, and the one after its last, as YYYY-MM-DD. nil when the text is no literal.
--- now: seconds since 1970.
function M.range(text, now)
  local name, n = text:upper():match "^([%u%d_]+):?(%d*)$"
  if not name or (n == "") == (text:find ":" ~= nil) then
    return nil
  end
  local date = os.date("!*t", math.floor(now))
  local today = { year = date.year, month = date.month, number = math.floor(now / DAY) }
  local from, to = range(name, n ~= "" and tonumber(n) or nil, today)
  if from then
    return os.date("!%Y-%m-%d", from * DAY), os.date("!%Y-%m-%d", to * DAY)
  end
end

return M
