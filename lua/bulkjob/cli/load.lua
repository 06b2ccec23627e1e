--- `bulkjob load`: a whole file.
local bar = require "bulkjob.cli.bar"
local core = require "bulkjob.core"
local files = require "bulkjob.load.files"
local resumable = require "bulkjob.cli.resumable"
local output = require "bulkjob.cli.output"
local session = require "bulkjob.cli.session"
local status = require "bulkjob.cli.status"

-- How much is done, and what is said of it, the most important first. The way up is the one half, the processing the other.
local function describe(progress)
  local sent = progress.total_bytes > 0 and progress.bytes / progress.total_bytes or 1
  local processed = progress.records > 0 and progress.processed / progress.records or 1
  local busy = 0
  for name, count in pairs(progress.jobs) do
    busy = busy + (name ~= "waiting" and name ~= "done" and name ~= "failed" and count or 0)
  end
  return (sent + processed) / 2, {
    output.number(progress.processed) .. " of " .. output.count(progress.records, "row"), output.bytes(progress.bytes) .. " sent",
    busy .. (busy == 1 and " job" or " jobs"),
  }
end

-- So many jobs and so many reasons are shown.
local MOST_SHOWN = 10

-- The report is no wider than this, also on a wider terminal, and no narrower.
local MOST_COLUMNS, LEAST_COLUMNS = 80, 24
local STDOUT = 1

local function columns()
  return math.max(LEAST_COLUMNS, math.min(output.columns(STDOUT) or MOST_COLUMNS, MOST_COLUMNS))
end

-- The text, or its beginning where it is longer than so many bytes; no character is cut in two.
local function cut(text, bytes)
  return #text <= bytes and text or text:sub(1, bytes - 3):gsub("[\192-\255]?[\128-\191]*$", "") .. "..."
end

-- A text in as many lines as it takes, each behind so many blanks.
local function wrap(text, indent)
  local lines, line, room = {}, "", columns() - indent
  for word in text:gmatch "%S+" do
    word = cut(word, room)
    if line ~= "" and #line + 1 + #word > room then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(indent))
end

-- A sentence of the report. Programs get it in one line.
local function print_sentence(text)
  output.line(output.columns(STDOUT) and wrap(text, 4) or text)
end

local function print_more(list, what)
  if #list > MOST_SHOWN then
    print_sentence(("and %s more %s; --json shows all"):format(output.number(#list - MOST_SHOWN), what))
  end
end

local function print_jobs(report)
  local bad = {}
  for _, info in ipairs(report.jobs) do
    if info.gone or info.errorMessage or info.state == "Failed" or info.state == "Aborted" then
      bad[#bad + 1] = info
    end
  end
  for i = 1, math.min(#bad, MOST_SHOWN) do
    local info = bad[i]
    output.line(wrap(("job %s %s%s"):format(info.id, info.gone and "is gone" or "is " .. tostring(info.state),
      info.errorMessage and ": " .. info.errorMessage or ""), 4))
  end
  print_more(bad, "jobs")
end

local function print_errors(errors)
  if #errors > 0 then
    output.line "why rows failed:"
  end
  for i = 1, math.min(#errors, MOST_SHOWN) do
    local reason, names, values = errors[i], {}, {}
    for name in pairs(reason.example) do
      names[#names + 1] = name
    end
    table.sort(names)
    for k, name in ipairs(names) do
      values[k] = name .. "=" .. reason.example[name]
    end
    output.line(("%10s  %s"):format(output.number(reason.count),
      wrap((reason.code and reason.code .. ": " or "") .. reason.message, 12)))
    if values[1] then
      output.line((" "):rep(12) .. cut("such as " .. table.concat(values, ", "):gsub("%c", " "), columns() - 12))
    end
  end
  print_more(errors, "reasons")
end

-- Where the failed rows are, when nobody has asked for files of them.
local function print_failed_jobs(report)
  local ids = {}
  for _, info in ipairs(report.jobs) do
    if (info.numberRecordsFailed or 0) > 0 then
      ids[#ids + 1] = info.id
    end
  end
  output.line "to print the failed rows of a job:"
  for i = 1, math.min(#ids, MOST_SHOWN) do
    output.line("    bulkjob results " .. ids[i] .. " failed")
  end
  print_more(ids, "jobs with failed rows")
end

local function print_report(report, options)
  if options.json then
    output.json_record("report", report)
    return
  end
  local begin = ("%s in %s, %s: "):format(output.count(report.records, "row"), output.count(#report.jobs, "job"),
    output.time(report.seconds))
  if options.no_wait then
    print_sentence(begin .. "all is sent and closed, and the service goes on by itself")
  else
    print_sentence(begin .. ("%s good, %s failed, %s not processed"):format(output.number(report.processed - report.failed),
      output.number(report.failed), output.number(report.unprocessed)))
  end
  for _, note in ipairs {
    { options.no_wait and (options.journal or options.file ~= "-"),
      "the same command without --no-wait waits for it, and fetches what came of it" },
    { report.repeated, "all of it was done by an earlier call, and nothing was sent" },
    { report.resumed, "an earlier call had begun it" },
    { report.unknown > 0, output.number(report.unknown) .. " of them have an unknown outcome: their jobs or results are gone" },
    { report.strays > 0, "a create without a response may have left an empty open job; bulkjob jobs --state Open shows it" },
    { report.left_open, "jobs left open, as they could not be aborted: " .. table.concat(report.left_open or {}, ", ") },
  } do
    if note[1] then
      print_sentence(note[2])
    end
  end
  print_jobs(report)
  print_errors(report.errors or {})
  if report.blank then
    output.line(wrap("failed.csv lacks values that the service did not give back: it cannot be loaded again. The names in the header may "
      .. "be in another case than those of the fields; --describe tells", 0))
  end
  if report.failed > 0 and not report.results then
    print_failed_jobs(report)
  end
  for _, name in ipairs { "successful", "failed", "unprocessed", "joined" } do
    if report.results and report.results[name] then
      output.line(("%-12s %s"):format(name .. ":", report.results[name]))
    end
  end
end

local PIECE = 64 * 1024

-- The standard input as a file in a directory of its own: a part has to be sent again when a connection breaks.
local function spool(path)
  local file = files.check(io.open(path, "wb"))
  local piece, why = io.stdin:read(PIECE)
  while piece do
    files.check(file:write(piece))
    session.check_interrupt()
    piece, why = io.stdin:read(PIECE)
  end
  files.check(file:close())
  session.check_interrupt() -- which may be why it ended
  files.check(not why, "the standard input: " .. tostring(why))
end

local function load_file(client, options, arguments, path)
  local show, clear = bar.new(options, describe)
  local report, code = resumable(client, options, arguments, options.file ~= "-" and path or nil, clear, function(journal)
    local report, err = client:load {
      object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
      assignmentRuleId = options.assignmentRuleId, file = path, jobs = options.jobs, part_bytes = options.part_bytes,
      journal = journal, restart = options.restart, results = options.results, join = options.join, retry_failed = options.retry_failed,
      describe = options.describe, wait = not options.no_wait, on_progress = show,
    }
    if err and options.file == "-" then
      local from, to = err.message:find(path, 1, true)
      err.message = from and err.message:sub(1, from - 1) .. "the standard input" .. err.message:sub(to + 1) or err.message
    end
    return report, err
  end, print_report)
  if not report then
    return code
  end
  return (report.failed == 0 and (options.no_wait or report.unprocessed + report.unknown == 0)) and status.GOOD or status.SOME_FAILED
end

---@return integer status
return function(client, options, arguments)
  if options.file ~= "-" then
    return load_file(client, options, arguments, options.file)
  end
  local directory = files.check(core.temporary_directory(nil, "bulkjob-"))
  local path = directory .. "/stdin.csv"
  local good, code = pcall(function()
    spool(path)
    return load_file(client, options, arguments, path)
  end)
  os.remove(path)
  os.remove(directory)
  if not good then
    error(code, 0)
  end
  return code
end
