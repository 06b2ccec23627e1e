--- `bulkjob --version`, without the parser and the commands: to load them takes three times as long as all else here.
local core = require "bulkjob.core"
local output = require "bulkjob.cli.output"
local status = require "bulkjob.cli.status"

--- Prints the version. Answers the exit code of the command.
---@return integer status
return function()
  core.fill_descriptors()
  output.line("bulkjob " .. core.version)
  return output.finish({}, status.GOOD)
end
