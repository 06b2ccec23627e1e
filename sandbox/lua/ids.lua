--- Salesforce ids: 15 characters that tell case apart, and 3 that carry the case of those 15.

local M = {}

local DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
local SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

-- Each start is an org of its own: what is bound to the id of one must not be taken on in another.
local file = assert(io.open("/dev/urandom", "rb"))
M.ORG = "00D8d0" .. file:read(9):gsub(".", function(c)
  local i = c:byte() % #DIGITS + 1
  return DIGITS:sub(i, i)
end)
file:close()

-- Which users this org knows.
M.counters = {}
M.first = 41573000 -- where they begin; another place at each start of an org whose directory is kept

local function base62(n, width)
  local out = {}
  for i = width, 1, -1 do
    local digit = n % 62
    out[i] = DIGITS:sub(digit + 1, digit + 1)
    n = (n - digit) / 62
  end
  return table.concat(out)
end

--- The three characters that make an 18 character id of one with 15: five bits for each group of five, low bit first.
function M.suffix(id15)
  local out = {}
  for group = 0, 2 do
    local bits = 0
    for i = 0, 4 do
      if id15:sub(group * 5 + i + 1, group * 5 + i + 1):find "^%u" then
        bits = bits + 2 ^ i
      end
    end
    out[group + 1] = SUFFIX:sub(bits + 1, bits + 1)
  end
  return table.concat(out)
end

--- The 18 character form of an id, or nil when the text is no id at all.
function M.full(text)
  if #text == 15 and text:find "^%w+$" then
    return text .. M.suffix(text)
  elseif #text == 18 and text:find "^%w+$" then
    local id15 = text:sub(1, 15)
    if M.suffix(id15) == text:sub(16):upper() then
      return id15 .. text:sub(16):upper()
    end
  end
  return nil
end

--- A new id with the given three character prefix. Counters start high, so that ids look as they do in a real org.
function M.new(prefix)
  local n = (M.counters[prefix] or M.first) + 1
  M.counters[prefix] = n
  local id15 = prefix .. "8d0" .. base62(n, 9)
  return id15 .. M.suffix(id15)
end

--- A prefix for an object that tests define: "a00", "a01", ...
local custom = 0
function M.new_prefix()
  custom = custom + 1
  return "a" .. base62(custom, 2)
end

M.USER = "0058d000003TnWr" .. M.suffix "0058d000003TnWr"

return M
