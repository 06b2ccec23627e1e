--- Random loads under random trouble: inputs, options, settings of the org and faults of the network are drawn by chance, somebody
--- else aborts, closes or deletes a job now and then, the loading process is killed, cancelled and begun again until it has its
--- report, and then the org's records and all result files are held against the input.
---
---   tools/run-lua build/lua5.4 lua5.4 spec/random_loads.lua SECONDS [SEED]
---
--- tries one round after the other for so many seconds. What a round draws depends on its seed alone; what is wrong with one is
--- printed with its seed.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"
local run_program = require "spec.crash.run"

local random_loads = {}

local random, pick, chance

-- A generator of our own: the same numbers in every Lua.
local function seed(number)
  local state = (number * 2654435761) % 4294967296
  function random(most) -- 1 to most
    state = (state * 16807 + 12345) % 2147483647
    return math.floor(state / 64) % most + 1
  end
  for _ = 1, 5 do
    random(2)
  end
  function pick(list)
    return list[random(#list)]
  end
  function chance(percent)
    return random(100) <= percent
  end
end

-- ---- inputs ----

local PIECES = { "a", "B", " ", '"', "\n", "ü", "€", ",", ";", "|", "\t", "0", "1.50", "-", "true", "^", "`", "'", "2024-02-29", "#", "\r\n" }

local function random_text()
  local pieces = {}
  for i = 1, random(6) do
    pieces[i] = pick(PIECES)
  end
  -- The service takes the blanks around a value away.
  return (table.concat(pieces):gsub("^%s+", ""):gsub("%s+$", ""))
end

local function quoted(value, delimiter)
  if chance(25) or value:find('["\r\n]') or value:find(delimiter, 1, true) then
    return '"' .. value:gsub('"', '""') .. '"'
  end
  return value
end

-- The rows, each with what must become of it, and the text of their file.
local function random_input(operation, ids)
  local input = { rows = {}, good = 0, bad = 0, key = "Ext__c" }
  local columns = { "Ext__c", "Name" }
  for _, name in ipairs { "Notes__c", "Text__c", "Long__c" } do
    if chance(40) then
      columns[#columns + 1] = name
    end
  end
  if operation == "update" then
    input.key = "Text__c"
    columns = { "Id", "Text__c", "Name" }
  end
  for i = #columns, 2, -1 do
    local k = random(i)
    columns[i], columns[k] = columns[k], columns[i]
  end
  local delimiter = pick { ",", ",", ";", "|", "\t", "^", "`" }
  local line_end = pick { "\n", "\n", "\r\n" }
  local lines = { table.concat(columns, delimiter) }
  local last_good
  for i = 1, operation == "update" and #ids or random(pick { 1, 5, 40, 120 }) do
    local row = { Ext__c = "E" .. i, Text__c = "T" .. i, Id = ids[i] }
    if operation ~= "update" then
      row.Text__c = random_text()
    end
    row.Notes__c, row.Long__c = random_text(), random_text()
    row.Name = "N" .. random_text():gsub("%c", " ") .. "N"
    row.expected = "successful"
    if chance(15) and operation ~= "update" then
      row.expected, row.Name = "failed", "" -- REQUIRED_FIELD_MISSING
    elseif chance(5) and operation == "update" then
      row.expected, row.Id = "failed", "001000000000000AAA"
    end
    local cells = {}
    for k, name in ipairs(columns) do
      cells[k] = quoted(row[name], delimiter)
    end
    lines[#lines + 1] = table.concat(cells, delimiter)
    input.rows[i] = row
    input[row.expected == "failed" and "bad" or "good"] = input[row.expected == "failed" and "bad" or "good"] + 1
    last_good = row.expected ~= "failed" and row or last_good
  end
  input.text = (chance(20) and "\239\187\191" or "") .. table.concat(lines, line_end) .. (chance(70) and line_end or "")
  input.columns, input.delimiter, input.last_good = columns, delimiter, last_good
  return input
end

-- ---- the org ----

local function random_settings()
  return {
    queue_seconds = pick { 0, 0, 0.05 }, processing_seconds = pick { 0, 0.02, 0.2 }, slice_rows = pick { 1, 3, 200 },
    second_upload = pick { "refused", "taken" }, counters = chance(70), abort_goes_on_rows = pick { 0, 2, 200 },
    abort_goes_on_seconds = pick { 0, 0.1 }, shuffle_results = chance(50), gzip = chance(70), reformat_numbers = false,
  }
end

local REFUSAL = '[{"errorCode":"REQUEST_REFUSED","message":"not now"}]'

local function random_fault()
  local fault = pick {
    { status = 500 }, { status = 503 }, { status = 503, effect = true }, { status = 500, body = "<html>", effect = true },
    { status = 400, body = REFUSAL }, { status = 401, body = '[{"errorCode":"INVALID_SESSION_ID","message":"no"}]' }, { status = 200, body = "<html>" },
    { status = 429 }, { status = 400, body = "<html>", effect = true }, { status = 204, body = "", effect = true },
    { reset = "before" }, { reset = "after" }, { reset = "body" }, { close = "before" }, { close = "after" },
    { close = "after", effect = false }, { reset = "idle" }, { close = "idle", seconds = 0.01 }, { cut = 10 }, { cut = 60 },
    { stall = 1, stall_when = "before" }, { stall = 1, stall_when = "after" }, { drop_header = "Content-Type" },
    { reset = "after", effect = "late", seconds = 0.3 }, { close = "after", effect = "late", seconds = 0.6 },
    { status = 503, effect = "late", seconds = 0.3 }, { gzip_cut = 20 }, { drop_field = "state" }, { drop_field = "id" },
    { length_off = 5 }, { length_off = -5 },
  }
  fault = helper.with(fault, { count = pick { 1, 1, 2, 5 } })
  if fault.status == 204 then
    fault.method = "PUT"
  end
  if chance(60) then
    fault.method = fault.method or pick { "POST", "PUT", "PATCH", "PATCH", "GET" }
  end
  if chance(40) then
    fault.chance, fault.seed = random(10) / 10, random(1000)
  else
    fault.after = random(10) - 1
  end
  return fault
end

-- ---- a round ----

-- What the shell must not read.
local function as_json(value)
  return (core.json_encode(value):gsub("'", "'\\''"))
end

local function random_values(options)
  local values = { OPTIONS = as_json(options), KILL = "never", TIMEOUT = 0.5 }
  local fate, cancel = random(10), chance(30)
  if fate <= 3 then
    values.KILL = "request:" .. random(25)
  elseif fate <= 5 then
    values.KILL = ("journal:%d:%s"):format(random(14), cancel and pick { "before", "after" } or pick { "before", "half", "after" })
  elseif fate == 6 then
    values.RAISE = random(4) - 1
  end
  if values.KILL ~= "never" and cancel then
    values.CANCEL = 1
  end
  return values
end

-- How the command calls the options that it takes.
local FLAGS = {
  object = "--object", operation = "--operation", externalIdFieldName = "--external-id", jobs = "--jobs", part_bytes = "--part-bytes",
  journal = "--journal", results = "--results", join = "--join", retry_failed = "--retry-failed", describe = "--describe",
}

-- Loads by the command, which is killed after so many seconds.
local function run_command(org, options, seconds)
  local words = {
    "SF_INSTANCE_URL='" .. org.url .. "' SF_ACCESS_TOKEN='" .. org.token .. "' timeout -s KILL", ("%.3f"):format(seconds), os.getenv "LUA",
    "bin/bulkjob --json load", helper.quote(options.file), "--timeout 0.5 --retries 2", options.wait == false and "--no-wait" or "",
  }
  for name, flag in pairs(FLAGS) do
    local value = options[name]
    if value then
      words[#words + 1] = value == true and flag or flag .. " " .. helper.quote(value)
    end
  end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text:gsub('{"progress"[^\n]*\n', "")
end

-- Somebody else does something to one of the jobs.
local function meddle(org, act)
  local jobs = {}
  for _, job in ipairs(org:jobs()) do
    if job.kind ~= "query" and (job.state ~= "Open" or job.bytes > 0) then
      jobs[#jobs + 1] = job.id
    end
  end
  if #jobs == 0 then
    return false
  end
  local client = helper.client(org, { retry = { tries = 1 } })
  local job = client:job(pick(jobs), "ingest")
  local _, err = job[act](job)
  client:close()
  return not err
end

-- Calls the program until it has a report. Nil, and what it said last, when that never comes. `act`: what somebody else does once.
local function call_till_done(org, options, say, act)
  local text
  for try = 1, 30 do
    if try == 8 then
      org:clear_faults()
    end
    options.jobs, options.part_bytes = random(4), pick { 120, 300, 1000, 100000 }
    local by_command, seconds = chance(15), random(900) / 1000
    local values = try > 12 and { OPTIONS = as_json(options), KILL = "never" } or random_values(options)
    if by_command and try <= 12 then
      values.KILL = "command"
      text = run_command(org, options, seconds)
    else
      text = run_program("any_load", org, values)
    end
    say("  " .. try .. " " .. values.KILL .. (values.CANCEL and " cancel" or "") .. ": " .. text:sub(1, 300):gsub("%s+$", ""))
    if act and chance(40) and meddle(org, act) then
      say("  somebody else: " .. act)
      act = nil
    end
    local answer = core.json_decode(text:match "({[^\n]*})\n" or "")
    if type(answer) == "table" and answer.report then
      return answer.report
    end
  end
  return nil, text
end

local function read_rows(path, delimiter)
  local rows = {}
  for row in assert(bulkjob.csv.rows({ file = path }, { delimiter = delimiter })) do
    rows[#rows + 1] = row
  end
  return rows
end

local function check(condition, message, ...)
  if not condition then
    error(select("#", ...) > 0 and message:format(...) or message, 0)
  end
end

-- `before`: how often each record was written before the load. `meddled`: somebody else has acted, so rows may be missing; those that
-- are there are what is expected of the results then.
local function check_records(org, input, before, meddled)
  local times = org:times("Account", input.key)
  for _, row in ipairs(input.rows) do
    local key = row[input.key]
    local wanted = row.expected == "failed" and 0 or before + 1
    local count = times[key] or 0
    check(count == wanted or meddled and count <= before, "row %s was written %d times, not %d", key, count, wanted)
    row.written = count > before
  end
end

-- Somebody else has acted: each row is in one file at most, and those in a file are what became of them.
local function check_meddled_results(report, input)
  local seen, count = {}, 0
  for _, name in ipairs { "successful", "failed", "unprocessed" } do
    for _, row in ipairs(read_rows(report.results[name], input.delimiter)) do
      local key = row[input.key]
      check(not seen[key], "row %s is in two results", key)
      seen[key], count = name, count + 1
    end
  end
  check(count == #input.rows - report.unknown, "%d rows in results, %d unknown, of %d", count, report.unknown, #input.rows)
  for _, row in ipairs(input.rows) do
    local name = seen[row[input.key]]
    check(not name or (name == "successful") == row.written, "row %s is %swritten, and in %s.csv", row[input.key],
      row.written and "" or "not ", tostring(name))
  end
  local joined = report.results.joined and read_rows(report.results.joined, input.delimiter) or {}
  for i, row in ipairs(joined) do
    local name = seen[input.rows[i][input.key]] or "unknown"
    check(row.sf__Outcome == name, "joined.csv, row %d: %s, not %s", i, row.sf__Outcome, name)
  end
end

local function check_results(report, input)
  for _, name in ipairs { "successful", "failed", "unprocessed" } do
    local seen, count = {}, 0
    for _, row in ipairs(read_rows(report.results[name], input.delimiter)) do
      local key = row[input.key]
      check(key and not seen[key], "%s.csv has %s twice", name, tostring(key))
      seen[key], count = true, count + 1
    end
    local wanted = 0
    for _, row in ipairs(input.rows) do
      local here = row.expected == name
      check(here == (seen[row[input.key]] or false), "%s.csv: row %s is%s there", name, row[input.key], here and " not" or "")
      wanted = wanted + (here and 1 or 0)
    end
    check(count == wanted, "%s.csv has %d rows, not %d", name, count, wanted)
  end
  if report.results.joined then
    local joined = read_rows(report.results.joined, input.delimiter)
    check(#joined == #input.rows, "joined.csv has %d rows, not %d", #joined, #input.rows)
    for i, row in ipairs(input.rows) do
      check(joined[i].sf__Outcome == row.expected, "joined.csv, row %d: %s, not %s", i, joined[i].sf__Outcome, row.expected)
      for _, name in ipairs(input.columns) do
        check(joined[i][name] == row[name], "joined.csv, row %d: %s", i, name)
      end
    end
  end
end

local function check_jobs(org, report)
  local left = {}
  for _, id in ipairs(report.left_open or {}) do
    left[id] = true
  end
  for _, job in ipairs(org:jobs()) do
    check(job.kind == "query" or job.state ~= "Open" or job.bytes == 0 or left[job.id], "job %s is left Open", job.id)
  end
end

local function check_report(report, input)
  check(report.records == #input.rows, "records: %d, not %d", report.records, #input.rows)
  check(report.processed == #input.rows and report.failed == input.bad and report.unprocessed == 0 and report.unknown == 0,
    "processed %d, failed %d, unprocessed %d, unknown %d; of %d rows %d are bad", report.processed, report.failed, report.unprocessed,
    report.unknown, #input.rows, input.bad)
end

-- Records to be updated: their ids.
local function make_records(org)
  local client = helper.client(org)
  local rows = {}
  for i = 1, random(40) do
    rows[i] = { Name = "before " .. i }
  end
  local job = assert(client:create { object = "Account", operation = "insert" })
  assert(job:upload { rows = rows })
  assert(job:close())
  helper.finished(job)
  local ids = {}
  for row in job:successful_results() do
    ids[#ids + 1] = row.sf__Id
  end
  client:close()
  return ids
end

--- One round. Raises what is wrong with it.
---@param org table of helper.org
---@param number integer the seed
---@param directory string of this round alone, empty
---@param say fun(line: string)
function random_loads.round(org, number, directory, say)
  seed(number)
  org:reset()
  org:set(helper.AT_ONCE)
  local operation = pick { "insert", "insert", "upsert", "update" }
  local input = random_input(operation, operation == "update" and make_records(org) or {})
  local file = directory .. "/input.csv"
  local out = assert(io.open(file, "wb"))
  out:write(input.text)
  out:close()
  local with_results = chance(80)
  local options = {
    object = "Account", operation = operation, externalIdFieldName = operation == "upsert" and "Ext__c" or nil, file = file,
    journal = directory .. "/journal", results = with_results and directory .. "/results" or nil,
    join = with_results and chance(60) or nil, retry_failed = with_results and chance(40) and "REQUIRED_FIELD" or nil,
    describe = chance(20) or nil,
  }
  local settings = random_settings()
  local act = chance(20) and pick { "abort", "delete", "close" } or nil
  if act then
    settings.abort_goes_on_rows = 0 -- else rows become good behind the report, which says so by lower_bound
  end
  org:set(settings)
  for _ = 1, random(5) - 1 do
    local fault = random_fault()
    say("  fault " .. core.json_encode(fault))
    org:fault(fault)
  end
  say("  " .. core.json_encode(options))
  if chance(20) then
    options.wait, options.join, options.retry_failed = false, nil, nil
    check(call_till_done(org, options, say, act), "no report without waiting")
    options.wait = nil
  end
  local report, text = call_till_done(org, options, say, act)
  check(report, "no report: %s", tostring(text))
  helper.sleep(0.3) -- effects that come late, and rows that go on after an abort
  helper.wait_until(function()
    local states = helper.states(org)
    return not states.UploadComplete and not states.InProgress
  end)
  check_records(org, input, operation == "update" and 1 or 0, act)
  if not act then
    check_report(report, input)
  end
  check(report.processed + report.unprocessed + report.unknown == #input.rows, "the sums of the report do not fit")
  if report.results then
    (act and check_meddled_results or check_results)(report, input)
  end
  check_jobs(org, report)
  local again = call_till_done(org, options, say)
  check(again and again.repeated and again.processed == report.processed, "it cannot be asked again")
end

if arg and arg[0] and arg[0]:find "random_loads%.lua$" then
  local limit, number = core.now() + tonumber(arg[1]), tonumber(arg[2] or os.time())
  local org = helper.org()
  local rounds, wrong = 0, 0
  while core.now() < limit do
    local directory, lines = os.tmpname(), {}
    os.remove(directory)
    assert(core.make_directory(directory))
    local good, why = pcall(random_loads.round, org, number, directory, function(line)
      lines[#lines + 1] = line
    end)
    rounds = rounds + 1
    if not good then
      wrong = wrong + 1
      print(("seed %d: %s\n%s"):format(number, tostring(why), table.concat(lines, "\n")))
      io.stdout:flush()
    end
    os.execute("rm -rf " .. helper.quote(directory))
    number = number + 1
  end
  print(org:errors())
  org:stop()
  print(("%d rounds, %d wrong"):format(rounds, wrong))
  os.exit(wrong == 0)
end

return random_loads
