--- Work that can be resumed: it is kept in a run until its report is printed, and when it is stopped, the command that resumes it is
--- printed.
local core = require "bulkjob.core"
local output = require "bulkjob.cli.output"
local run = require "bulkjob.run"
local session = require "bulkjob.cli.session"
local shell = require "bulkjob.shell"
local status = require "bulkjob.cli.status"

local function say_how_to_go_on(options, arguments, journal, err)
  if core.is_error(err) and (err.parts or err.code == "LOCKED") then
    return -- that is a run of somebody else, and the error says all
  end
  local committed, damaged = run.is_committed(journal)
  local line = shell.command(arguments)
  if damaged then
    return -- and err says so
  elseif committed == nil then
    io.stderr:write "bulkjob: nothing was done\n"
    if not options.journal and core.is_error(err) and err.message:find(journal, 1, true) == 1 then
      io.stderr:write "bulkjob: this directory keeps what was done, until all is done; --journal names another one\n"
    end
  elseif committed then
    io.stderr:write("bulkjob: what was committed is kept; to go on: ", line, "\n")
  elseif options.command == "load" then
    io.stderr:write("bulkjob: nothing was committed, so any other load may take its place; to go on: ", line, "\n")
  else
    io.stderr:write("bulkjob: what is on the disk is kept; to go on: ", line, "\n")
  end
end

--- Calls `work(journal)`, which answers a report, or nil, err, and prints the report, or the error and how to go on. The run is in
--- FILE.bulkjob, or where --journal says; the one beside the file goes when all is done and said.
---@param client bulkjob.Client
---@param options table
---@param arguments string[]
---@param file string|nil nil: nothing is kept without --journal
---@param clear fun() ends the display of the progress
---@param work fun(journal: string|nil): table|nil, bulkjob.Error|nil
---@param print_report fun(report: table, options: table)
---@return table|nil report
---@return integer|nil status without a report, when all is said
return function(client, options, arguments, file, clear, work, print_report)
  local journal = options.journal or file and file .. ".bulkjob"
  local good, report, err = pcall(function()
    local report, err = work(journal)
    if not report then
      session.check_interrupt() -- which may be why
    end
    return report, err
  end)
  clear()
  if not good and report ~= session.INTERRUPTED then
    error(report, 0)
  elseif not good or not report then
    if good then
      output.error(options, err)
    end
    if journal then
      say_how_to_go_on(options, arguments, journal, err)
    end
    return nil, good and status.REFUSED or status.INTERRUPTED
  end
  print_report(report, options)
  if not output.problem() and not options.journal and journal and not options.no_wait then
    run.remove(client, journal)
  end
  return report
end
