--- Where the command has its secrets from. Never from its arguments, which every user of the machine can see.
local core = require "bulkjob.core"

local secrets = {}

local function read_file(path)
  local file, why = io.open(path, "r")
  if not file then
    return nil, core.error("auth", "--secrets: " .. why)
  end
  local values, number = {}, 0
  for line in file:lines() do
    number = number + 1
    line = number == 1 and line:gsub("^\239\187\191", "") or line -- the byte order mark of editors of Windows
    local name, value = line:match "^%s*([%w_]+)=(.-)\r?$"
    if name then
      values[name] = value
    elseif not line:find "^%s*#" and line:find "%S" then
      file:close()
      return nil, core.error("auth", ("--secrets: %s: line %d: NAME=VALUE expected"):format(path, number))
    end
  end
  file:close()
  return values
end

--- What is known of secrets: a function that gives the one of a name, or nil. With a prompt the terminal is asked for one that is
--- missing.
---@param path string|nil the file of --secrets
---@return (fun(name: string, prompt: string|nil): string|nil)|nil, bulkjob.Error|nil err
function secrets.open(path)
  local values, err = {}, nil
  if path then
    values, err = read_file(path)
  end
  return values and function(name, prompt)
    local value = values[name] or os.getenv(name)
    if (not value or value == "") and prompt and core.interrupts() == 0 then -- Ctrl-C at one prompt is meant for all
      value = core.ask_secret("bulkjob: " .. prompt .. ": ")
    end
    return value ~= "" and value or nil
  end, err
end

return secrets
