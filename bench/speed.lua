-- How fast it is, beside what others reach on the same machine in the same run.
--
--   make bench                    or: tools/run-lua build/lua5.4 lua5.4 bench/speed.lua [ONLY]
--
-- Each line is a ratio to something else that does the same work. Both run in turn, each time in a process of its own, and the table
-- gives the median of the ratios of five such pairs, and the lowest and highest. What computes is held against the other by seconds
-- of processor, which other programs on the machine change little; transfers by the clock as well. A line that falls short of what it
-- should be says so. The same goes to build/bench.json, and as a picture to doc/bench.svg if gnuplot is there.
--
-- Peers: curl; plain Lua; the Rust crate csv (librust-csv-dev and cargo; left out without them). Transfers go over plain HTTP to a
-- sandbox on this machine.
local cjson = require "cjson"
local core = require "bulkjob.core"

local PAIRS = 5
local RECORDS = 200000 -- of a CSV file of 30 MB
local TIMES = 3 -- so often they are in the large one, 91 MB, near to the most that one upload may have: both stay in memory
local TRANSFER_BYTES = 300e6
local ROW_BYTES = 100

local LINE = '001%015d,Account %07d,A-%07d,City %d,%s,%d.50,2026-01-%02dT10:00:00Z,%s,+49 30 %07d,"The quick brown fox, ""jumps"" %d"\n'

local only = arg[1]
local root = assert(os.getenv "BUILD"):match "^(.*)/build/[^/]*$"

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  if not pipe:close() then
    error("it failed: " .. text, 0)
  end
  return text
end

---- One run of something: { cpu =, seconds =, amount = } ----

-- Any program.
local function run(command)
  local text = output_of("bash -c " .. quote("TIMEFORMAT='%U %S %R'; time " .. command .. " >/dev/null"))
  local user, system, seconds = text:match "(%S+) (%S+) (%S+)\n$"
  if not seconds then
    error(command .. ": " .. text, 0)
  end
  return { cpu = tonumber(user) + tonumber(system), seconds = tonumber(seconds) }
end

local environment = "" -- of what runs in it: where the sandbox is

-- bench/lib/work.lua in one of the Luas.
local function work(lua, ...)
  local words = { root .. "/tools/run-lua", root .. "/build/" .. lua, lua, root .. "/bench/lib/work.lua", ... }
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  local text = output_of(environment .. table.concat(words, " "))
  local cpu, seconds, amount = text:match "^(%S+)%s+(%S+)%s+(%S+)\n$"
  if not cpu then
    error(text, 0)
  end
  return { cpu = tonumber(cpu), seconds = tonumber(seconds), amount = tonumber(amount) }
end

---- The data ----

-- RECORDS, and that so many times over. Answers how many bytes.
local function write_csv(path, times)
  local countries = { "Germany", "France", "Spain", "Japan" }
  local file = assert(io.open(path, "wb"))
  file:write "Id,Name,Ext__c,City,Country,Amount,Created,Flag,Phone,Notes\n"
  for n = 0, RECORDS * times - 1 do
    local i = n % RECORDS
    file:write(LINE:format(i, i, i, i % 500, countries[i % 4 + 1], i * 3, i % 28 + 1, tostring(i % 2 == 0), i, i))
  end
  local size = file:seek()
  file:close()
  return size
end

-- The program of the Rust crate, or nil and why there is none.
local function rust_peer()
  local registry = "/usr/share/cargo/registry"
  if not core.open_input(registry .. "/csv-1.1.6/Cargo.toml") then
    return nil, "librust-csv-dev is not installed"
  end
  local built = root .. "/build/csv-peer"
  local ok, text = pcall(output_of, ("cd %s && cargo build --release --offline --target-dir %s --config %s --config %s"):format(
    quote(root .. "/bench/peers/csv"), quote(built), quote 'source.crates-io.replace-with="debian"',
    quote(("source.debian.directory=%q"):format(registry))))
  if not ok then
    return nil, "it cannot be built here: " .. text
  end
  return quote(built .. "/release/csv-peer")
end

---- The lines: work, peer, what the ratio is of and should be ----

local csv_path, large_path, out_path = os.tmpname(), os.tmpname(), os.tmpname()

local function ratio_of(field)
  return function(ours, peer)
    return ours[field] / peer[field]
  end
end

local function speed(ours, peer)
  return peer.seconds / ours.seconds
end

local function csv_lines(large_bytes)
  local rust, why = rust_peer()
  local lines = {
    { name = "CSV to rows, 10 fields, Lua 5.4", peer = "plain Lua making the same tables", of = "its time", ratio = ratio_of "cpu",
      most = 0.7,
      reason = "the peer has its strings: to make and free them in Lua is most of it, the reader itself an eighth",
      ours = function() return work("lua5.4", "rows", csv_path) end,
      beside = function() return work("lua5.4", "plain rows", csv_path, RECORDS) end },
    { name = "CSV to rows, 10 fields, LuaJIT", peer = "the same in Lua 5.4", of = "its time", ratio = ratio_of "cpu", most = 0.7,
      reason = "strings and tables are made by LuaJIT's C interface and freed by its collector, which compiled code does not help",
      ours = function() return work("luajit", "rows", csv_path) end,
      beside = function() return work("lua5.4", "rows", csv_path) end },
    { name = "rows to CSV, 10 fields, Lua 5.4", peer = "plain Lua visiting the fields", of = "its time", ratio = ratio_of "cpu", most = 1.5,
      reason = "a field takes 670 instructions, and to visit it alone 300",
      ours = function() return work("lua5.4", "encode", csv_path, RECORDS) end,
      beside = function() return work("lua5.4", "plain fields", csv_path, RECORDS) end },
  }
  if rust then
    table.insert(lines, 1, { name = "checking and cutting CSV", peer = "Rust crate csv, parsing only", of = "its speed", least = 2,
      ratio = function(ours, peer) return peer.cpu / ours.cpu end,
      note = function(ours, peer) return ("%.0f and %.0f MB/s"):format(large_bytes / 1e6 / ours.cpu, large_bytes / 1e6 / peer.cpu) end,
      ours = function() return work("lua5.4", "check", large_path) end,
      beside = function() return run(rust .. " " .. quote(large_path)) end })
  else
    print("checking and cutting CSV is left out: " .. why)
  end
  return lines
end

local function start_lines()
  local lua = ("LUA_PATH=%s LUA_CPATH=%s lua5.4 "):format(quote(root .. "/lua/?.lua;;"), quote(root .. "/build/lua5.4/?.so;;"))
  local times = 20
  local function often(command)
    return function()
      return run(("bash -c %s"):format(quote(("for i in {1..%d}; do %s; done"):format(times, command))))
    end
  end
  local function milliseconds(ours, peer)
    return (ours.cpu - peer.cpu) / times * 1000
  end
  return {
    { name = 'require "bulkjob"', peer = "lua5.4 -e ''", of = "ms more", ratio = milliseconds, most = 12,
      reason = "loading libcurl and what it needs is the floor",
      ours = often(lua .. "-e " .. quote 'require "bulkjob"'), beside = often "lua5.4 -e ''" },
    { name = "bulkjob --version", peer = "curl --version", of = "its time", ratio = ratio_of "cpu", most = 1.3,
      reason = "both load libcurl, and this an interpreter and its modules on top",
      ours = often(lua .. quote(root .. "/bin/bulkjob") .. " --version"),
      beside = often "curl --version" },
  }
end

local function transfer_lines()
  local control = require "sandbox.control"
  local rows = TRANSFER_BYTES / ROW_BYTES
  local org = control.start {
    discard = true, queue_seconds = 0, processing_seconds = 0, query_rows = rows, query_row_bytes = ROW_BYTES, query_page_records = rows,
  }
  local client = require("bulkjob").client { instance_url = org.url, access_token = org.token }
  environment = ("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN=%s "):format(quote(org.url), quote(org.token))
  local function new_job()
    return assert(client:create { object = "Account", operation = "insert" }).id
  end
  local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
  assert(query:wait())
  local ingest = new_job()
  org:synthetic(ingest, "failed", TRANSFER_BYTES)
  local function curl(path, arguments)
    return run(("curl -sSf -H %s %s %s"):format(quote("Authorization: Bearer " .. org.token), arguments,
      quote(org.url .. "/services/data/v66.0/jobs/" .. path)))
  end
  local function download(path)
    return function()
      return curl(path, "-H 'Accept: text/csv' -o " .. quote(out_path))
    end
  end
  local function twice(path)
    local one = ("curl -sSf -H %s -H %s -o /dev/null %s"):format(quote("Authorization: Bearer " .. org.token), quote "Accept: text/csv",
      quote(org.url .. "/services/data/v66.0/jobs/" .. path))
    return function()
      return run("bash -c " .. quote(one .. " & " .. one .. "; wait"))
    end
  end
  local function save(kind, id)
    return function()
      return work("lua5.4", "save", kind, id, out_path)
    end
  end
  return {
    { name = "saving the results of a query, rows counted", peer = "curl -o", of = "its speed", ratio = speed, least = 0.95,
      ours = save("query", query.id), beside = download("query/" .. query.id .. "/results"), also = { most = 1.15 },
      twice = twice("query/" .. query.id .. "/results") },
    { name = "saving the results of an ingest job", peer = "curl -o", of = "its speed", ratio = speed, least = 1.0,
      ours = save("ingest", ingest), beside = download("ingest/" .. ingest .. "/failedResults"), also = { most = 1.05 },
      twice = twice("ingest/" .. ingest .. "/failedResults") },
    { name = "uploading a file", peer = "curl -T", of = "its speed", ratio = speed, least = 1.0,
      ours = function() return work("lua5.4", "upload", new_job(), large_path) end,
      beside = function()
        return curl("ingest/" .. new_job() .. "/batches", "-H 'Content-Type: text/csv' -H Expect: -T " .. quote(large_path))
      end },
  }, org
end

---- The table ----

local function median(values)
  local sorted = { (table.unpack or unpack)(values) }
  table.sort(sorted)
  return sorted[math.ceil(#sorted / 2)], sorted[1], sorted[#sorted]
end

local function verdict(line, value)
  if line.least then
    return value >= line.least, ("at least %g"):format(line.least)
  end
  return value <= line.most, ("at most %g"):format(line.most)
end

local results = {}

local function report(line, name, of, ratios, wanted, note)
  local middle, low, high = median(ratios)
  local good, limit = verdict(wanted, middle)
  print(("%-44s %-32s %6.2f of %s (%.2f to %.2f), %s: %s%s"):format(name, line.peer, middle, of, low, high, limit,
    good and "holds" or "FALLS SHORT", note and ", " .. note or ""))
  if not good and line.reason then
    print("    " .. line.reason)
  end
  results[#results + 1] = {
    name = name, peer = line.peer, of = of, median = middle, lowest = low, highest = high, least = wanted.least, most = wanted.most,
    holds = good,
  }
end

local function measure(line)
  local ratios, processor, note = {}, {}, nil
  line.ours() -- files come into memory, a server warms up
  for i = 1, PAIRS do
    local ours, peer = line.ours(), line.beside()
    ratios[i] = line.ratio(ours, peer)
    processor[i] = ours.cpu / peer.cpu
    note = line.note and line.note(ours, peer)
  end
  report(line, line.name, line.of, ratios, line, note)
  if line.also then
    report(line, line.name, "its processor time", processor, line.also)
  end
end

-- How fast two of the peer are together beside one: above 1 the server is not the limit.
local function show_server(line)
  local one = line.beside().seconds
  local two = line.twice().seconds
  print(("    the server is not the limit as long as two at once are faster than one: %.2f times as fast"):format(2 * one / two))
end

local function write_files()
  local json = assert(io.open(root .. "/build/bench.json", "w"))
  json:write(cjson.encode(results), "\n")
  json:close()
  local data = assert(io.open(root .. "/build/bench.dat", "w"))
  for _, r in ipairs(results) do
    data:write(('"%s: %s, %s"\t%g\t%g\t%g\t%g\n'):format(r.name, r.of, r.peer, r.median, r.lowest, r.highest, r.least or r.most))
  end
  data:close()
  local plot = ("gnuplot -e %s %s"):format(quote(("data='%s/build/bench.dat'; picture='%s/doc/bench.svg'"):format(root, root)),
    quote(root .. "/bench/speed.gnuplot"))
  if not pcall(output_of, "gnuplot --version") then
    print "gnuplot is not there: no picture is drawn"
  elseif not only then
    output_of(plot)
  end
end

local function measure_all(lines)
  for _, line in ipairs(lines) do
    if not only or line.name:find(only, 1, true) then
      measure(line)
      if line.twice then
        show_server(line)
      end
    end
  end
end

write_csv(csv_path, 1)
local large_bytes = write_csv(large_path, TIMES)
print(("%d pairs of each: the median, and from the lowest to the highest"):format(PAIRS))
measure_all(csv_lines(large_bytes))
measure_all(start_lines())
local lines, org = transfer_lines()
measure_all(lines)
org:stop()
write_files()
for _, path in ipairs { csv_path, large_path, out_path } do
  os.remove(path)
end
