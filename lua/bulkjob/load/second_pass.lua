--- The failed rows of a load that may do better the second time, such as those that met a lock.
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local task = require "bulkjob.task"

local second_pass = {}

local PIECE = 64 * 1024

local function open(path, mode)
  local file, why = io.open(path, mode)
  return file or error(core.error("io", why), 0)
end

local function check_written(ok, why)
  return ok or error(core.error("io", tostring(why)), 0)
end

-- Writes rows with these columns as they come; `writer.add(row)`, `writer.close()`.
local function new_writer(path, columns, format)
  local writer = core.csv_writer { columns = columns, delimiter = format.columnDelimiter, line_ending = format.lineEnding }
  local out = open(path .. ".part", "wb")
  writer:header()
  return {
    add = function(row)
      local ok, err = writer:row(row)
      check_written(ok, err and err.message)
      if writer:size() > PIECE then
        check_written(out:write(writer:take()))
      end
    end,
    close = function()
      check_written(out:write(writer:take()))
      check_written(out:close())
      local ok, err = core.publish(path .. ".part", path)
      return ok or error(err, 0)
    end,
  }
end

--- Splits the failed rows: those whose error holds `pattern` go to `again`, without the service's own columns, the others to
--- `kept`. Raises an error table.
---@param failed string path
---@param columns string[] all of that file
---@param format { columnDelimiter: string, lineEnding: string }
---@param pattern string plain text
---@param again string path
---@param kept string path
---@return integer count of rows to be loaded again
function second_pass.split(failed, columns, format, pattern, again, kept)
  local own = {}
  for _, name in ipairs(columns) do
    if not name:find "^sf__" then
      own[#own + 1] = name
    end
  end
  local first, rest = new_writer(again, own, format), new_writer(kept, columns, format)
  local next_row, err = csv.rows({ file = failed }, { delimiter = format.columnDelimiter })
  local row = next_row and next_row() or err and error(err, 0)
  local count = 0
  while row do
    if (row.sf__Error or ""):find(pattern, 1, true) then
      count = count + 1
      first.add(row)
    else
      rest.add(row)
    end
    task.breathe()
    row = next_row()
  end
  first.close()
  rest.close()
  return count
end

--- Writes `first` and, without its header, `second` to `path`. Raises an error table.
function second_pass.merge(first, second, path)
  local out = open(path .. ".part", "wb")
  for _, from in ipairs { first, second } do
    local file = open(from, "rb")
    if from == second then
      file:read "*l"
    end
    local piece = file:read(PIECE)
    while piece do
      check_written(out:write(piece))
      task.breathe()
      piece = file:read(PIECE)
    end
    file:close()
  end
  check_written(out:close())
  local ok, err = core.publish(path .. ".part", path)
  return ok or error(err, 0)
end

return second_pass
