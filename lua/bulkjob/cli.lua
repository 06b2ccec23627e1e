--- The command `bulkjob`.
local commands = require "bulkjob.cli.commands"
local core = require "bulkjob.core"
local load = require "bulkjob.cli.load"
local new_parser = require "bulkjob.cli.parser"
local output = require "bulkjob.cli.output"
local session = require "bulkjob.cli.session"

local USAGE, REFUSED, INTERRUPTED = 2, 3, 130

-- The sandbox is in the tree, or where `make install` put it.
local function run_sandbox(program)
  local here = program:match "^(.*)/[^/]*$" or "."
  for _, place in ipairs { here .. "/../sandbox/run", here .. "/../share/bulkjob/sandbox/run" } do
    if core.stat(place) then
      local ok, _, status = os.execute("exec '" .. place:gsub("'", "'\\''") .. "'")
      return status or ok -- a number in Lua 5.1 and LuaJIT
    end
  end
  io.stderr:write "bulkjob: the sandbox is not installed\n"
  return REFUSED
end

local function fail(options, err)
  if options.json then
    output.json { error = err }
  else
    io.stderr:write("bulkjob: ", tostring(err), "\n")
  end
  return REFUSED
end

local function run(options, arguments)
  if options.command == "sandbox" then
    return run_sandbox(arguments[0])
  end
  local client, err = session.client(options)
  local status
  if client then
    if options.command == "load" then
      status, err = load(client, options, arguments)
    else
      status, err = commands[options.command](client, options)
    end
    client:close()
  end
  return status or fail(options, err)
end

--- Runs the command with these arguments. Answers its exit code.
---@param arguments string[]
---@return integer status
return function(arguments)
  local parser = new_parser()
  local ok, options = parser:pparse(arguments)
  if not ok then
    io.stderr:write(parser:get_usage(), "\n\nbulkjob: ", options, "\n")
    return USAGE
  end
  local status
  ok, status = pcall(run, options, arguments)
  if ok then
    return status
  elseif status == session.INTERRUPTED then
    return INTERRUPTED
  elseif core.is_error(status) then
    return fail(options, status)
  end
  -- Misuse that the parser cannot see, such as an upsert without --external-id.
  io.stderr:write((tostring(status):gsub("^[^ ]*:%d+: ", ""):gsub("^bulkjob: %w+: ", "bulkjob: ")), "\n")
  return USAGE
end
