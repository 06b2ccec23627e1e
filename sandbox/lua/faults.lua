--- Faults that tests ask for: which requests they hit, and how often.

local M = {}

local list, last_id = {}, 0

-- Key -> type. README.md says what each does.
local KEYS = {
  method = "string", path = "string", count = "number", after = "number", chance = "number", seed = "number",
  status = "number", body = "string", headers = "table", effect = "any", early = "boolean",
  reset = "string", close = "string", body_bytes = "number", seconds = "number", gone = "string",
  body_times = "number", encoding = "string", header_bytes = "number", informational = "number", trailers = "number",
  stall = "number", stall_when = "string",
  cut = "number", framing = "string", content_length = "number", length_off = "number", drop_header = "any",
  drop_field = "any", repeats = "boolean",
  gzip_cut = "number", rate = "number",
}

-- The least and the most that a number may be, and whether it must be a whole one; from 0 on and any if not said.
local RANGES = {
  count = { -math.huge, math.huge, true }, after = { 0, math.huge, true }, chance = { 0, 1 }, seed = { -math.huge, math.huge },
  status = { 200, 599, true }, body_bytes = { 0, math.huge, true }, cut = { 0, math.huge, true }, gzip_cut = { 0, math.huge, true },
  content_length = { 0, math.huge, true }, length_off = { -math.huge, math.huge, true }, rate = { 1, math.huge },
  body_times = { -math.huge, math.huge, true }, informational = { -math.huge, math.huge, true }, trailers = { -math.huge, math.huge, true },
  header_bytes = { 0, 10000000, true },
}

local CHOICES = {
  effect = { [true] = true, [false] = true, late = true },
  gone = { before = true, after = true },
  encoding = { gzip = true, deflate = true, br = true, zstd = true, identity = true },
  reset = { before = true, after = true, body = true, idle = true },
  close = { before = true, after = true, body = true, idle = true },
  stall_when = { before = true, after = true },
  framing = { length = true, chunked = true },
}

function M.check(fault)
  for key, value in pairs(fault) do
    local wanted = KEYS[key]
    if not wanted then
      return nil, "unknown key of a fault: " .. tostring(key)
    elseif wanted ~= "any" and type(value) ~= wanted then
      return nil, ("%s must be a %s"):format(key, wanted)
    elseif CHOICES[key] and not CHOICES[key][value] then
      return nil, ("bad value for %s: %s"):format(key, tostring(value))
    elseif type(value) == "number" then
      local least, most, whole = unpack(RANGES[key] or { 0, math.huge }, 1, 3)
      if not (value >= least and value <= most) or (whole and value % 1 ~= 0) then
        return nil, ("bad value for %s: %s"):format(key, tostring(value))
      end
    end
  end
  if fault.effect == "late" and not (fault.status or fault.reset == "after" or fault.close == "after") then
    return nil, "effect = \"late\" needs a status, or reset or close = \"after\""
  end
  return true
end

--- The keys of a fault and their types.
M.KEYS = KEYS

--- Add a fault. Returns its number.
function M.add(fault)
  last_id = last_id + 1
  fault.id = last_id
  fault.left = fault.count or 1
  fault.skip = fault.after or 0
  fault.random_state = (fault.seed or 1) * 1103515245 % 2147483647 -- small seeds begin with small numbers
  list[#list + 1] = fault
  return fault.id
end

function M.clear()
  list = {}
end

--- Remove one fault. false when there is none of that number.
function M.remove(id)
  for i, fault in ipairs(list) do
    if fault.id == id then
      table.remove(list, i)
      return true
    end
  end
  return false
end

function M.all()
  return list
end

local function matches(fault, method, uri)
  if fault.method and fault.method:upper() ~= method then
    return false
  elseif not fault.path then
    return true
  elseif uri:find(fault.path, 1, true) then
    return true
  end
  local ok, found = pcall(string.find, uri, fault.path)
  return ok and found ~= nil
end

-- A generator of its own for each fault, so that the same seed hits the same requests (Park and Miller, "minimal standard").
local function is_hit(fault)
  fault.random_state = fault.random_state * 16807 % 2147483647
  return fault.random_state / 2147483647 < fault.chance
end

--- The fault that this request gets, used up by one; nil for none. The first that fits and is not used up is taken.
function M.take(method, uri)
  for _, fault in ipairs(list) do
    if fault.left ~= 0 and matches(fault, method, uri) then
      if fault.skip > 0 then
        fault.skip = fault.skip - 1
      elseif not fault.chance or is_hit(fault) then
        fault.left = fault.left - 1 -- a count below zero never ends
        return fault
      end
    end
  end
end

return M
