--- `bulkjob extract`: the rows of a query, to a file or to the standard output.
local bar = require "bulkjob.cli.bar"
local core = require "bulkjob.core"
local jobs = require "bulkjob.job"
local resumable = require "bulkjob.cli.resumable"
local outfile = require "bulkjob.outfile"
local output = require "bulkjob.cli.output"
local rows = require "bulkjob.cli.rows"
local status = require "bulkjob.cli.status"

local function describe(progress)
  if not progress.total_rows then
    return 0, { "the query is " .. progress.state }
  end
  local share = progress.total_rows > 0 and progress.rows / progress.total_rows or 1
  return share, {
    output.number(progress.rows) .. " of " .. output.count(progress.total_rows, "row"), output.bytes(progress.bytes),
    progress.pages .. (progress.pages == 1 and " page" or " pages"),
  }
end

local function print_report(report, options)
  if options.json then
    output.json_record("report", report)
  else
    output.line(("%s, %s, %s: %s"):format(output.count(report.rows, "row"), output.bytes(report.bytes), output.time(report.seconds),
      report.file))
  end
end

-- The library's whole extract: pages at the same time, and a journal.
local function to_file(client, options, arguments)
  local show, clear = bar.new(options, describe)
  local report, code = resumable(client, options, arguments, options.output, clear, function(journal)
    return client:extract {
      query = options.query, operation = options.all_rows and "queryAll" or "query", file = options.output,
      journal = journal, restart = options.restart,
      columnDelimiter = options.columnDelimiter, lineEnding = options.lineEnding, max_records = options.max_records,
      pages = options.pages, on_progress = show,
    }
  end, print_report)
  return report and status.GOOD or code
end

-- The lines of a set, one for each row.
local function lines(set, format)
  local columns, err = set:columns()
  if not columns then
    error(err, 0)
  end
  local line = rows[format](columns)
  return function()
    local row = set:next()
    return row and line(row)
  end
end

local function pieces(job, options)
  local set = job:results { max_records = options.max_records, typed = options.typed }
  if options.format == "csv" then
    return set:chunks()
  end
  return lines(set, options.format)
end

local function write_all(client, out, next_piece)
  for piece in next_piece do
    local ok, err = outfile.write(client, out, piece)
    if not ok then
      return nil, err
    end
  end
  return out:publish()
end

local function write_file(client, path, next_piece)
  local out, begun = core.begin_output(path)
  if not out then
    return nil, begun
  end
  local good, ok, err = pcall(write_all, client, out, next_piece)
  out:discard()
  if not good then
    error(ok, 0)
  end
  return ok, err
end

local function stream(client, job, options)
  local info, err = jobs.complete(job)
  if not info then
    return nil, err
  elseif options.output then
    return write_file(client, options.output, pieces(job, options))
  end
  return output.pieces(pieces(job, options))
end

-- Row by row as they come, each page when the one before it has been written.
local function as_they_come(client, options)
  local job, err = client:create {
    operation = options.all_rows and "queryAll" or "query", query = options.query, columnDelimiter = options.columnDelimiter,
    lineEnding = options.lineEnding,
  }
  if not job then
    return nil, err
  end
  local good, ok
  good, ok, err = pcall(stream, client, job, options)
  if not (good and ok) and not jobs.FINAL[job.state] then
    job:abort() -- nobody waits for it any more
  end
  if not good then
    error(ok, 0)
  end
  return ok and status.GOOD, err
end

---@return integer|nil status, bulkjob.Error|nil err
return function(client, options, arguments)
  options.format = options.format or (options.json and not options.output and "json" or "csv")
  -- A pipe gets the rows as they come, and nothing is made beside it.
  local whole = options.output and options.format == "csv"
    and (options.pages or options.journal or not core.is_direct(options.output))
  if options.typed and options.format == "csv" then
    error("bulkjob: --typed goes with --format json or lua: CSV is text", 0)
  elseif (options.pages or options.journal or options.restart) and not whole then
    error("bulkjob: --pages, --journal and --restart go with CSV and --output", 0)
  elseif whole then
    return to_file(client, options, arguments)
  end
  return as_they_come(client, options)
end
