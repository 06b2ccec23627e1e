-- How fast it is, beside what others reach on the same machine in the same run.
--
--   make bench                    or: tools/run-lua build/lua5.4 lua5.4 bench/speed.lua [ONLY]
--
-- Each line is a ratio to something else that does the same work. Both run in turn, each time in a process of its own, and the table
-- gives the median of the ratios of five such pairs, and the lowest and highest. What computes is held against the other by seconds
-- of processor, which other programs on the machine change little; transfers by the clock as well. A line that falls short of what it
-- should be says so. The same goes to build/bench.json, and as a picture to doc/bench.svg if gnuplot is there.
--
-- Peers: curl; libcurl in a program of bench/peers; plain Lua; the Rust crate csv (librust-csv-dev and cargo) and jsforce (from npm,
-- where JSFORCE says), which are left out when they are not there. Transfers go over plain HTTP to a sandbox on this machine. Where it
-- takes part, two of the peer at once are held against one: as long as they are faster than one after the other, the server could do
-- more than it is asked for.
local cjson = require "cjson"
local core = require "bulkjob.core"

local PAIRS = 5
local RECORDS = 200000 -- of a CSV file of 30 MB
local TIMES = 3 -- so often they are in the large one, 91 MB, near to the most that one upload may have: both stay in memory
local TRANSFER_BYTES = 300e6
local ROW_BYTES = 100
local WHOLE = 5 -- so often they are in the file of a whole load: a million records, 152 MB
local PARTS = 4
local JOBS = 1000
local INFOS = 10 -- of each job
local WAIT_SECONDS = 10

local LINE = '001%015d,Account %07d,A-%07d,City %d,%s,%d.50,2026-01-%02dT10:00:00Z,%s,+49 30 %07d,"The quick brown fox, ""jumps"" %d"\n'

local only = arg[1]
local unpack = table.unpack or unpack -- luacheck: ignore
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

-- A program that prints seconds of processor and of the clock, and how much it was.
local function run_timed(command)
  local text = output_of(command)
  local cpu, seconds, amount = text:match "^(%S+)%s+(%S+)%s+(%S+)%s*%S*\n$"
  if not cpu then
    error(text, 0)
  end
  return { cpu = tonumber(cpu), seconds = tonumber(seconds), amount = tonumber(amount) }
end

-- Two commands at the same time.
local function both(one, other)
  return run("bash -c " .. quote(one .. " & " .. (other or one) .. " & wait"))
end

-- bench/lib/work.lua in one of the Luas.
local function work(lua, ...)
  local words = { root .. "/tools/run-lua", root .. "/build/" .. lua, lua, root .. "/bench/lib/work.lua", ... }
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  return run_timed(environment .. table.concat(words, " "))
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

local csv_path, large_path, whole_path, out_path = os.tmpname(), os.tmpname(), os.tmpname(), os.tmpname()

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
      reason = "the peer has its strings: to make and free them is nearly all of it, as the next line shows",
      ours = function() return work("lua5.4", "rows", csv_path) end,
      beside = function() return work("lua5.4", "plain rows", csv_path, RECORDS) end },
    { name = "CSV to rows, 10 fields, Lua 5.4", peer = "its strings and tables alone, no CSV", of = "its time", ratio = ratio_of "cpu",
      most = 1.15,
      ours = function() return work("lua5.4", "rows", csv_path) end,
      beside = function() return work("lua5.4", "made rows", csv_path, RECORDS) end },
    { name = "CSV to rows, 10 fields, Lua 5.4", peer = "plain Lua that makes the strings, too", of = "its time", ratio = ratio_of "cpu",
      most = 0.7,
      ours = function() return work("lua5.4", "rows", csv_path) end,
      beside = function() return work("lua5.4", "cut rows", csv_path) end },
    { name = "CSV to rows, 10 fields, LuaJIT", peer = "the same in Lua 5.4", of = "its time", ratio = ratio_of "cpu", most = 0.7,
      reason = "strings and tables are made by LuaJIT's C interface and freed by its collector, which compiled code does not help",
      ours = function() return work("luajit", "rows", csv_path) end,
      beside = function() return work("lua5.4", "rows", csv_path) end },
    { name = "rows to CSV, 10 fields, Lua 5.4", peer = "plain Lua visiting the fields", of = "its time", ratio = ratio_of "cpu", most = 1.5,
      reason = "a field takes 350 instructions, and to visit it alone as many",
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

-- The scanner beside its twins.
local function scanner_lines()
  local function scanner(name)
    return function()
      return run_timed(quote(root .. "/build/plain/scanners") .. " " .. name .. " " .. quote(csv_path))
    end
  end
  local function gigabytes(ours, peer)
    return ("%.1f and %.1f GB/s"):format(ours.amount / 1e9 / ours.cpu, peer.amount / 1e9 / peer.cpu)
  end
  local lines = {}
  for _, what in ipairs { { "csv", "quotes, delimiters and line ends" }, { "utf8", "what is no UTF-8" } } do
    for _, twin in ipairs { { "vector", "the same by vectors of 16 bytes" }, { "plain", "the same in plain C" } } do
      lines[#lines + 1] = {
        name = "looking for " .. what[2], peer = twin[2], of = "its speed", least = 1, note = gigabytes,
        ratio = function(ours, peer) return peer.cpu / ours.cpu end,
        ours = scanner(what[1]), beside = scanner(what[1] .. "-" .. twin[1]),
      }
    end
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

-- A sandbox, to which all that is measured goes from now on, and a client of it.
local function start_org(settings)
  local org = require("sandbox.control").start(settings)
  environment = ("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN=%s "):format(quote(org.url), quote(org.token))
  return org, require("bulkjob").client { instance_url = org.url, access_token = org.token }
end

local function transfer_lines()
  local rows = TRANSFER_BYTES / ROW_BYTES
  local org, client = start_org {
    discard = true, queue_seconds = 0, processing_seconds = 0, query_rows = rows, query_row_bytes = ROW_BYTES, query_page_records = rows,
  }
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
      return both(one)
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
  }, function()
    org:stop()
  end
end

-- Small calls.
local function call_lines()
  -- What is closed stays in the queue, so that nothing is processed beside what is measured.
  local org, client = start_org { https = false, discard = true, queue_seconds = 1e6, log_size = 100 }
  local peer = ("%s/build/plain/calls %%s %s %s %%s <%%s"):format(root, quote(org.url), quote(org.token))
  local paths = {}
  -- The ids of new jobs, in a file.
  local function new_jobs()
    local path = os.tmpname()
    paths[#paths + 1] = path
    local file = assert(io.open(path, "w"))
    for _ = 1, JOBS do
      client:spawn(function()
        file:write(assert(client:create { object = "Account", operation = "insert" }).id, "\n")
      end)
    end
    assert(client:run())
    file:close()
    return path
  end
  local function calls(what, path, number)
    return peer:format(what, number or "", path)
  end
  local closed = new_jobs()
  run_timed(calls("closes", closed))
  local function peer_of(what, number)
    return function()
      return run_timed(calls(what, closed, number))
    end, function()
      return both(calls(what, closed, number))
    end
  end
  local infos, two_infos = peer_of("infos", INFOS)
  local waits, two_waits = peer_of("waits", WAIT_SECONDS)
  local reason = "a call crosses from Lua to the thread that has libcurl and back: two more wake-ups, and a table is made of the response"
  return {
    { name = JOBS .. " closes, one after another", peer = "libcurl, one connection", of = "its time", ratio = ratio_of "seconds",
      most = 1.15, also = { most = 1.6 }, reason = reason,
      ours = function() return work("lua5.4", "closes", new_jobs()) end,
      beside = function() return run_timed(calls("closes", new_jobs())) end,
      twice = function() return both(calls("closes", new_jobs()), calls("closes", new_jobs())) end },
    { name = ("%d infos of %d jobs at once"):format(JOBS * INFOS, JOBS), peer = "curl_multi, 8 connections", of = "its time",
      ratio = ratio_of "seconds", most = 1.15, also = { most = 1.6 }, reason = reason,
      ours = function() return work("lua5.4", "infos", closed, INFOS) end, beside = infos, twice = two_infos },
    { name = ("%d jobs waited for, %d s"):format(JOBS, WAIT_SECONDS), peer = "the same looks by curl_multi", of = "its processor time",
      ratio = ratio_of "cpu", most = 1.3, reason = reason,
      ours = function() return work("lua5.4", "waits", closed, WAIT_SECONDS) end, beside = waits, twice = two_waits },
  }, function()
    org:stop()
    for _, path in ipairs(paths) do
      os.remove(path)
    end
  end
end

-- The whole file in PARTS, each with its header. No value in it holds a line feed.
local function cut_file(bytes)
  local file = assert(io.open(whole_path, "rb"))
  local header, paths = file:read "*L", {}
  for i = 1, PARTS do
    paths[i] = whole_path .. "." .. i
    local part = assert(io.open(paths[i], "wb"))
    part:write(header)
    while file:seek() < bytes * i / PARTS do
      part:write(file:read(math.max(1, math.floor(bytes * i / PARTS) - file:seek())), file:read "*L" or "")
    end
    part:close()
  end
  file:close()
  return paths
end

-- Whole loads.
local function load_lines()
  -- What is loaded stays in the queue: what the service does with it is not measured.
  local org = start_org { https = false, discard = true, queue_seconds = 1e6 }
  local bytes = write_csv(whole_path, WHOLE)
  local parts = cut_file(bytes)
  local function peer(program)
    return ("%s %s %s %s"):format(program, quote(org.url), quote(org.token), table.concat(parts, " "))
  end
  local script = peer(quote(root .. "/bench/peers/load.sh"))
  local function our_load()
    return work("lua5.4", "load", whole_path, math.ceil(bytes / PARTS) + 1000)
  end
  local lines = {
    { name = "a whole load up to its closes, a million records", peer = "curl, parts cut beforehand", of = "its time",
      ratio = ratio_of "seconds", most = 1, ours = our_load, beside = function() return run(script) end,
      twice = function() return both(script) end,
      reason = "the file is checked, cut and its checksums are taken before the first upload, and curl has its parts" },
  }
  local jsforce = os.getenv "JSFORCE"
  if jsforce then
    local node = jsforce .. "/node_modules/.bin/node"
    local command = peer((core.stat(node) and quote(node) or "node") .. " " .. quote(root .. "/bench/peers/jsforce.mjs"))
    lines[2] = { name = "a whole load up to its closes, beside jsforce", peer = "jsforce, parts cut beforehand", of = "its time",
      ratio = ratio_of "seconds", most = 1, also = { most = 1 }, ours = our_load, beside = function() return run(command) end }
  else
    print "jsforce is left out: JSFORCE does not say where it is"
  end
  return lines, function()
    org:stop()
    for _, path in ipairs(parts) do
      os.remove(path)
    end
  end
end

-- Whole extracts.
local function extract_lines()
  local records = RECORDS * WHOLE
  local org = start_org {
    https = false, queue_seconds = 0, processing_seconds = 0, query_rows = records, query_row_bytes = ROW_BYTES,
    query_page_records = records / PARTS,
  }
  local function curl(path)
    return ("%s %s %s %s"):format(quote(root .. "/bench/peers/extract.sh"), quote(org.url), quote(org.token), quote(path))
  end
  local other = out_path .. ".other"
  return {
    { name = "a whole extract, a million records, 4 pages", peer = "curl, a file for each page", of = "its time",
      ratio = ratio_of "seconds", most = 1, ours = function() return work("lua5.4", "extract", out_path) end,
      beside = function() return run(curl(out_path)) end, twice = function() return both(curl(out_path), curl(other)) end,
      reason = "the rows are counted, and the pages put together into one file" },
  }, function()
    org:stop()
    for i = 0, PARTS - 1 do
      os.remove(out_path .. "." .. i)
      os.remove(other .. "." .. i)
    end
  end
end

---- The table ----

local function median(values)
  local sorted = { unpack(values) }
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
    if r.of ~= "ms more" then -- all others are ratios
      data:write(('"%s: %s, %s"\t%g\t%g\t%g\t%g\n'):format(r.name, r.of, r.peer, r.median, r.lowest, r.highest, r.least or r.most))
    end
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

local function main()
  write_csv(csv_path, 1)
  local large_bytes = write_csv(large_path, TIMES)
  print(("%d pairs of each: the median, and from the lowest to the highest"):format(PAIRS))
  measure_all(csv_lines(large_bytes))
  measure_all(scanner_lines())
  measure_all(start_lines())
  for _, group in ipairs { transfer_lines, call_lines, load_lines, extract_lines } do
    local lines, clean_up = group()
    local ok, why = pcall(measure_all, lines)
    clean_up()
    if not ok then
      error(why, 0)
    end
  end
  write_files()
end

local ok, why = pcall(main)
for _, path in ipairs { csv_path, large_path, whole_path, out_path } do
  os.remove(path)
end
if not ok then
  error(why, 0)
end
