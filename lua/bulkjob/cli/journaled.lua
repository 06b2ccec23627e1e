--- Work with a journal, and a way on when it is stopped.
local core = require "bulkjob.core"
local session = require "bulkjob.cli.session"
local shell = require "bulkjob.shell"
local status = require "bulkjob.cli.status"

local function say_how_to_go_on(arguments, journal, kept)
  if core.stat(journal) then
    io.stderr:write("bulkjob: ", kept, " is kept; to go on: ", shell.command(arguments), "\n")
  else
    io.stderr:write "bulkjob: nothing was done\n"
  end
end

--- Calls `work(journal)`, which answers a report, or nil, err. Without --journal there is one beside `file`, which goes when all is
--- done.
---@param options table
---@param arguments string[]
---@param file string
---@param kept string what a stop leaves
---@param clear fun() ends the display of the progress
---@param work fun(journal: string): table|nil, bulkjob.Error|nil
---@return table|nil report nil when it was interrupted, too
---@return bulkjob.Error|nil err
---@return integer|nil status of an interrupt
return function(options, arguments, file, kept, clear, work)
  local journal = options.journal or file .. ".bulkjob-journal"
  local good, report, err = pcall(work, journal)
  clear()
  if not good and report ~= session.INTERRUPTED then
    error(report, 0)
  elseif not good or not report then
    say_how_to_go_on(arguments, journal, kept)
    return nil, err, not good and status.INTERRUPTED or nil
  end
  if not options.journal and not options.no_wait then
    os.remove(journal)
  end
  return report
end
