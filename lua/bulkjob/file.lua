--- Whole files, and directories for them.
local core = require "bulkjob.core"

local file = {}

--- The bytes from `first` to `last` of a regular file, counted from 1; without them, all of it. Fewer if it is shorter.
---@param path string
---@param first integer|nil
---@param last integer|nil
---@return string|nil text, string|nil why
function file.read(path, first, last)
  local input, err = core.open_input(path)
  if not input then
    return nil, err.message
  end
  first = first or 1
  local text
  text, err = input:read(math.max(0, (last or input:size()) - first + 1), first - 1)
  input:close()
  if err then
    return nil, err.message
  end
  return text or ""
end

--- Makes a directory, or takes the one that is there.
---@param path string
---@param of_a_file string the message of the error when something else is there, such as a file
---@return true|nil ok, bulkjob.Error|nil err
function file.make_directory(path, of_a_file)
  local ok, err = core.make_directory(path)
  if not ok and (core.stat(path) or core.is_direct(path)) then
    err.message = of_a_file
  end
  return ok, err
end

return file
