--- `bulkjob load`: a whole file, with its progress, and a way on when it is stopped.
local bar = require "bulkjob.cli.bar"
local core = require "bulkjob.core"
local output = require "bulkjob.cli.output"
local session = require "bulkjob.cli.session"

local GOOD, SOME_FAILED, INTERRUPTED = 0, 1, 130

local function quote(word)
  return word:find "^[%w_@%%+=:,./-]+$" and word or "'" .. word:gsub("'", "'\\''") .. "'"
end

local function say_how_to_go_on(arguments, options)
  if not core.stat(options.journal) then
    io.stderr:write "bulkjob: nothing was sent\n"
    return
  end
  local words = { "bulkjob" }
  for _, word in ipairs(arguments) do
    words[#words + 1] = quote(word)
  end
  io.stderr:write("bulkjob: what was committed is kept; to go on: ", table.concat(words, " "), "\n")
end

local function print_report(report, options)
  if options.json then
    output.json { report = report }
    return
  end
  print(("%s rows in %d %s, %s: %s good, %s failed, %s not processed"):format(output.number(report.records), #report.jobs,
    #report.jobs == 1 and "job" or "jobs", output.time(report.seconds), output.number(report.processed - report.failed),
    output.number(report.failed), output.number(report.unprocessed)))
  for _, name in ipairs { "successful", "failed", "unprocessed", "joined" } do
    if report.results and report.results[name] then
      print(("%-12s %s"):format(name .. ":", report.results[name]))
    end
  end
end

---@return integer|nil status, bulkjob.Error|nil err
return function(client, options, arguments)
  local own_journal = not options.journal
  options.journal = options.journal or options.file .. ".bulkjob-journal"
  local show, clear = bar.new(options)
  local good, report, err = pcall(client.load, client, {
    object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
    assignmentRuleId = options.assignmentRuleId, file = options.file, jobs = options.jobs, part_bytes = options.part_bytes,
    journal = options.journal, results = options.results, join = options.join, retry_failed = options.retry_failed,
    describe = options.describe, wait = not options.no_wait, on_progress = show,
  })
  clear()
  if not good and report == session.INTERRUPTED then
    say_how_to_go_on(arguments, options)
    return INTERRUPTED
  elseif not good then
    error(report, 0)
  elseif not report then
    say_how_to_go_on(arguments, options)
    return nil, err
  end
  print_report(report, options)
  if own_journal and not options.no_wait then
    os.remove(options.journal)
  end
  return (report.failed == 0 and (options.no_wait or report.unprocessed == 0)) and GOOD or SOME_FAILED
end
