-- How the cost grows with the work: records from ten thousand to ten million, jobs from one to a thousand.
--
--   make bench-growth                    or: tools/run-lua build/lua5.4 lua5.4 bench/growth.lua [MOST-RECORDS [ONLY]]
--
-- Seconds of processor, each in a Lua process of its own, the lowest of three, and the peak of its resident memory. The slope is that of
-- the logarithms of cost and size: 1 is linear. Ends non-zero when a slope is above 1.1, or when the peak of the largest size is more
-- than 8 MB above that of the one before.
local core = require "bulkjob.core"

local RUNS = 3
local SLOPE, GROWN_MB = 1.1, 8
local RECORDS_OF_A_JOB, PAGE_RECORDS = 1000, 2500

local most, only = tonumber(arg[1]) or 10000000, arg[2]
local root = assert(os.getenv "BUILD"):match "^(.*)/build/[^/]*$"
local directory = assert(core.temporary_directory(nil, "growth-"))
local environment = ""

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

-- The seconds of processor and the peak in MB of bench/lib/work.lua.
local function work(...)
  local words = { root .. "/tools/run-lua", root .. "/build/lua5.4", "lua5.4", root .. "/bench/lib/work.lua", ... }
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  local least, peak = math.huge, 0
  for _ = 1, RUNS do
    local pipe = assert(io.popen(environment .. table.concat(words, " ") .. " 2>&1"))
    local text = pipe:read "*a"
    pipe:close()
    local cpu, mb = text:match "^(%S+)%s+%S+%s+%S+%s+(%S+)\n$"
    if not cpu then
      error(text, 0)
    end
    least, peak = math.min(least, tonumber(cpu)), math.max(peak, tonumber(mb))
  end
  return least, peak
end

-- The slope between the two largest, where what is the same for all sizes weighs least.
local function slope_of(sizes, costs)
  local n = #sizes
  return math.log(costs[n] / costs[n - 1]) / math.log(sizes[n] / sizes[n - 1])
end

local good = true

-- `cost(size)` gives seconds and MB.
local function measure(name, sizes, unit, cost)
  if only and not name:find(only, 1, true) then
    return
  end
  local costs, peaks, shown = {}, {}, {}
  for i, size in ipairs(sizes) do
    costs[i], peaks[i] = cost(size)
    shown[i] = ("%d: %.2f µs each, %.1f MB"):format(size, costs[i] / size * 1e6, peaks[i])
  end
  local slope = slope_of(sizes, costs)
  local grown = peaks[#peaks] - peaks[#peaks - 1]
  local linear = slope <= SLOPE and grown <= GROWN_MB
  good = good and linear
  print(("%-42s slope %.2f: %s"):format(name, slope, linear and "linear" or "GROWS FASTER"))
  print(("    %s: %s"):format(unit, table.concat(shown, "; ")))
end

local function write_csv(path, records)
  local file = assert(io.open(path, "wb"))
  file:write "Name,Ext__c,Phone\n"
  for i = 1, records do
    file:write(("Account %d,A-%d,\"+49 30, %d\"\n"):format(i, i, i))
  end
  file:close()
  return path
end

local function sizes_to(first, last)
  local sizes = {}
  while first <= last do
    sizes[#sizes + 1] = first
    first = first * 10
  end
  return sizes
end

local function start_org(settings)
  local org = require("sandbox.control").start(settings)
  environment = ("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN=%s "):format(quote(org.url), quote(org.token))
  return org
end

local function main()
  local records, files = sizes_to(10000, most), {}
  for _, n in ipairs(records) do
    files[n] = write_csv(directory .. "/" .. n, n)
  end
  measure("checking and cutting CSV", records, "records", function(n)
    return work("check", files[n])
  end)
  measure("CSV to rows", records, "records", function(n)
    return work("rows", files[n])
  end)
  local org = start_org { https = false, discard = true, queue_seconds = 1e6, log_size = 100 }
  measure("a load up to its closes", records, "records", function(n)
    return work("load", files[n], 100e6)
  end)
  local jobs = sizes_to(1, math.min(1000, most / RECORDS_OF_A_JOB))
  measure("the same in jobs of " .. RECORDS_OF_A_JOB .. " records", jobs, "jobs", function(n)
    local path = write_csv(directory .. "/jobs", n * RECORDS_OF_A_JOB)
    local file = assert(io.open(path))
    local bytes = file:seek "end"
    file:close()
    return work("load", path, math.ceil(bytes / n) + 100)
  end)
  org:stop()
  for _, n in ipairs(records) do
    os.remove(files[n])
  end
  measure("an extract", records, "records", function(n)
    org = start_org { https = false, queue_seconds = 0, processing_seconds = 0, query_rows = n, query_page_records = PAGE_RECORDS }
    local cost, peak = work("extract", directory .. "/rows.csv")
    org:stop()
    return cost, peak
  end)
end

local ok, why = pcall(main)
os.execute("rm -rf " .. quote(directory))
if not ok then
  error(why, 0)
end
os.exit(good)
