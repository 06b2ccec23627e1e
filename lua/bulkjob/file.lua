--- Whole files.
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

return file
