--- The failed rows of a load that may do better the second time, such as those that met a lock.
local columns = require "bulkjob.load.columns"
local files = require "bulkjob.load.files"

local second_pass = {}

--- Splits the failed rows: those whose error holds `pattern` go to `again`, without the service's own columns, the others to
--- `kept`. Raises an error table.
---@param client bulkjob.Client
---@param failed string path
---@param names string[] the columns of that file
---@param format { columnDelimiter: string, lineEnding: string }
---@param pattern string plain text
---@param again string path
---@param kept string path
---@return integer count of rows to be loaded again
---@return string[] empty the columns in which none of them has a value
function second_pass.split(client, failed, names, format, pattern, again, kept)
  local first, rest = files.new_writer(again, columns.to_load(names), format), files.new_writer(kept, names, format)
  local count, empty, filled = 0, {}, {}
  files.walk(client, failed, format.columnDelimiter, function(row)
    if (row.sf__Error or ""):find(pattern, 1, true) then
      count = count + 1
      first.add(row)
      for name, value in pairs(row) do
        filled[name] = filled[name] or value ~= ""
      end
    else
      rest.add(row)
    end
  end)
  first.close()
  rest.close()
  for _, name in ipairs(columns.to_load(names)) do
    empty[#empty + 1] = not filled[name] and name or nil
  end
  return count, empty
end

return second_pass
