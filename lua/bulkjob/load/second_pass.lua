--- The failed rows of a load that may do better the second time, such as those that met a lock.
local columns = require "bulkjob.load.columns"
local core = require "bulkjob.core"
local files = require "bulkjob.load.files"
local wait = require "bulkjob.wait"

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
function second_pass.split(client, failed, names, format, pattern, again, kept)
  local first, rest = files.new_writer(again, columns.to_load(names), format), files.new_writer(kept, names, format)
  local count = 0
  files.walk(client, failed, format.columnDelimiter, function(row)
    if (row.sf__Error or ""):find(pattern, 1, true) then
      count = count + 1
      first.add(row)
    else
      rest.add(row)
    end
  end)
  first.close()
  rest.close()
  return count
end

--- Writes `first` and, without its header, `second` to `path`. Raises an error table.
function second_pass.merge(client, first, second, path)
  local out = files.begin(path)
  files.check(core.end_last_line(first))
  for _, from in ipairs { first, second } do
    local file = files.open(from)
    if from == second then
      file.line()
    end
    for piece in file.piece do
      out.write(piece)
      wait.yield(client)
    end
    file.close()
  end
  out.publish()
end

return second_pass
