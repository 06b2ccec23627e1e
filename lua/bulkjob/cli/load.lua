--- `bulkjob load`: a whole file.
local bar = require "bulkjob.cli.bar"
local kept = require "bulkjob.cli.kept"
local output = require "bulkjob.cli.output"
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
    output.number(progress.processed) .. " of " .. output.number(progress.records) .. " rows", output.bytes(progress.bytes) .. " sent",
    busy .. (busy == 1 and " job" or " jobs"),
  }
end

local function print_report(report, options)
  if options.json then
    output.json { report = report }
    return
  end
  output.line(("%s rows in %d %s, %s: %s good, %s failed, %s not processed"):format(output.number(report.records), #report.jobs,
    #report.jobs == 1 and "job" or "jobs", output.time(report.seconds), output.number(report.processed - report.failed),
    output.number(report.failed), output.number(report.unprocessed)))
  for what, there in pairs {
    ["all of it was done by an earlier call, and nothing was sent"] = report.repeated, ["an earlier call had begun it"] = report.resumed,
    [output.number(report.unknown) .. " of them nobody knows about: their jobs or results are gone"] = report.unknown > 0,
    ["a create without an answer may have left an empty open job; bulkjob jobs --state Open shows it"] = report.strays > 0,
    ["left open, and not ours to close: " .. table.concat(report.left_open or {}, ", ")] = report.left_open ~= nil,
  } do
    if there then
      output.line(what)
    end
  end
  for _, name in ipairs { "successful", "failed", "unprocessed", "joined" } do
    if report.results and report.results[name] then
      output.line(("%-12s %s"):format(name .. ":", report.results[name]))
    end
  end
end

---@return integer|nil status, bulkjob.Error|nil err
return function(client, options, arguments)
  local show, clear = bar.new(options, describe)
  local report, err, stopped = kept(client, options, arguments, options.file, clear, function(journal)
    return client:load {
      object = options.object, operation = options.operation, externalIdFieldName = options.externalIdFieldName,
      assignmentRuleId = options.assignmentRuleId, file = options.file, jobs = options.jobs, part_bytes = options.part_bytes,
      journal = journal, restart = options.restart, results = options.results, join = options.join, retry_failed = options.retry_failed,
      describe = options.describe, wait = not options.no_wait, on_progress = show,
    }
  end, print_report)
  if not report then
    return stopped, err
  end
  return (report.failed == 0 and (options.no_wait or report.unprocessed + report.unknown == 0)) and status.GOOD or status.SOME_FAILED
end
