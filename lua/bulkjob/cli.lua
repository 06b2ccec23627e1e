--- The command `bulkjob`.
local commands = require "bulkjob.cli.commands"
local core = require "bulkjob.core"
local new_parser = require "bulkjob.cli.parser"
local output = require "bulkjob.cli.output"
local session = require "bulkjob.cli.session"
local status = require "bulkjob.cli.status"

-- Options of the sandbox command by the names of the parser.
local SANDBOX_OPTIONS = {
  port = "--port", https = "--https", tls_port = "--tls-port", http2 = "--http2", control_port = "--control-port", bind = "--bind",
  dir = "--dir", keep = "--keep", token = "--token", ready_file = "--ready-file", owner = "--owner", json = "--json",
}

local function sandbox_arguments(options)
  local words = {}
  for name, flag in pairs(SANDBOX_OPTIONS) do
    if options[name] then
      words[#words + 1] = flag
      words[#words + 1] = options[name] ~= true and tostring(options[name]) or nil
    end
  end
  for _, setting in ipairs(options.set) do
    words[#words + 1] = "--set"
    words[#words + 1] = setting
  end
  return words
end

-- Becomes the sandbox, so that a signal for this process is one for that. It is in the tree, in the rock, or where `make install` and
-- the Debian package put it.
local function run_sandbox(options, program)
  local here = (core.real_path(program) or program):match "^(.*)/[^/]*$" or "."
  for _, place in ipairs { here .. "/../sandbox/run", here .. "/../share/bulkjob/sandbox/run" } do
    if core.stat(place) then
      error(core.exec(place, sandbox_arguments(options)), 0)
    end
  end
  io.stderr:write "bulkjob: the sandbox is not installed. It comes with the sources, the rock and the Debian package bulkjob-sandbox\n"
  return status.REFUSED
end

-- What the library calls them, where the command says something else.
local FLAGS = {
  externalIdFieldName = "--external-id", assignmentRuleId = "--assignment-rule", columnDelimiter = "--column-delimiter",
  lineEnding = "--line-ending", retry_failed = "--retry-failed", join = "--join", results = "--results",
}

-- What the client and the sources of its token call what comes from the command line or the environment.
local OF_THE_CLIENT = {
  instance_url = "SF_INSTANCE_URL", access_token = "SF_ACCESS_TOKEN", client_id = "--client-id", client_secret = "SF_CLIENT_SECRET",
  username = "--username", password = "SF_PASSWORD", security_token = "SF_SECURITY_TOKEN", refresh_token = "SF_REFRESH_TOKEN",
  key_file = "--jwt-key", login_url = "--login-url", org = "--org", ca_file = "--ca-file", proxy = "--proxy",
  api_version = "--api-version", timeout = "--timeout", ["retry.tries"] = "--retries",
}

local function fail(options, err)
  output.error(options, err)
  return status.REFUSED
end

local function run(options, arguments)
  if options.command == "sandbox" then
    return run_sandbox(options, arguments[0])
  end
  local client, err = session.client(options)
  local code
  if client then
    code, err = commands[options.command](client, options, arguments)
    client:close()
    if not code then
      session.check_interrupt()
    end
  end
  return code or fail(options, err)
end

-- Lets the parser, which writes its help and leaves by itself, write and leave as we do. Answers the options, or nil and what is wrong
-- with the arguments, below how the command is used.
local function parse(parser, arguments)
  local problem
  function parser.error(command, message) -- of the subcommand at hand
    if message == "too many arguments" then
      message = message .. ": a query, or a name with blanks in it, goes into quotes"
    end
    problem = command:get_usage() .. "\n\nbulkjob: " .. message
    error(problem, 0)
  end
  local host_print, host_write, host_exit = print, io.write, os.exit
  rawset(_G, "print", output.line)
  rawset(io, "write", output.text)
  rawset(os, "exit", function()
    host_exit(output.finish({}, status.GOOD), true)
  end)
  local good, options = pcall(parser.parse, parser, arguments)
  rawset(_G, "print", host_print)
  rawset(io, "write", host_write)
  rawset(os, "exit", host_exit)
  if not good and options ~= problem then
    error(options, 0)
  end
  return good and options or nil, problem
end

-- Misuse that the parser cannot see, such as an upsert without --external-id, in the words of the command. Nil for any other error.
local function misuse(why)
  local text = tostring(why)
  if not text:find "^bulkjob[%w_.]*: " then
    text = text:gsub("^.-:%d+: ", "") -- where in the program it was raised
  end
  if text:find "^bulkjob: " then
    text = text:gsub("^bulkjob: %w+: ", "bulkjob: ")
    text = text:gsub("^bulkjob: (%l+) is missing", "bulkjob: --%1 is missing"):gsub("^bulkjob: object: ", "bulkjob: --object: ")
    return (text:gsub("[%a_]+", FLAGS))
  end
  local about = text:match "^bulkjob%.[%w_.]+: (.*)$" -- the client, or a source of its token
  return about and "bulkjob: "
    .. about:gsub("^option '(.-)'", "%1"):gsub("^[%a_.]+", OF_THE_CLIENT):gsub("insecure = true", "--insecure")
end

--- Runs the command with these arguments. Answers its exit code.
---@param arguments string[]
---@return integer status
return function(arguments)
  core.fill_descriptors()
  local parser = new_parser()
  local options, problem = parse(parser, arguments)
  if not options then
    io.stderr:write(problem, "\n")
    return status.USAGE
  end
  local trace
  local good, code = xpcall(function()
    return run(options, arguments)
  end, function(why)
    trace = debug.traceback()
    return why
  end)
  if options.json and code == (good and status.INTERRUPTED or session.INTERRUPTED) then
    output.json_record("error", core.error("cancelled", "interrupted"))
  end
  if good then
    return output.finish(options, code)
  elseif code == session.INTERRUPTED then
    return status.INTERRUPTED
  elseif core.is_error(code) then
    return fail(options, code)
  end
  local text = misuse(code)
  if not text then
    io.stderr:write("bulkjob: an error of the program itself: ", tostring(code), "\n", trace or "", "\n")
    return status.REFUSED
  end
  io.stderr:write(text, "\n")
  return status.USAGE
end
