--- The org's clock: real time, plus an offset that tests may set.

local settings = require "settings"

local M = {}

--- Seconds since 1970, fresh (nginx's own clock stands still while Lua runs).
function M.now()
  ngx.update_time()
  return ngx.now()
end

--- What the org believes the time to be.
function M.org_now()
  return M.now() + settings.values.clock_offset
end

--- Dates as the service writes them: UTC, "+0000" without a colon, milliseconds always .000 (fact sheet 2.1).
function M.iso(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%S.000+0000", math.floor(seconds))
end

--- The reverse of iso, for dates that tests hand in. Returns nil for anything else.
function M.parse(text)
  local y, mo, d, h, mi, s, sign, oh, om = text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)%.?%d*([+-]?)(%d?%d?):?(%d?%d?)Z?$"
  if not y then
    return nil
  end
  y, mo, d = tonumber(y), tonumber(mo), tonumber(d)
  -- Days since 1970 by the civil calendar; os.time would read the table as local time.
  local year = mo <= 2 and y - 1 or y
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * (mo + (mo > 2 and -3 or 9)) + 2) / 5) + d - 1
  local doe = yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy
  local days = era * 146097 + doe - 719468
  local seconds = days * 86400 + tonumber(h) * 3600 + tonumber(mi) * 60 + tonumber(s)
  local offset = (tonumber(oh) or 0) * 3600 + (tonumber(om) or 0) * 60
  return sign == "-" and seconds + offset or seconds - offset
end

return M
