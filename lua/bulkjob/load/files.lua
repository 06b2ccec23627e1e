--- The files that a load's outcome goes through. What goes wrong with one is raised, as an error table.
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local wait = require "bulkjob.wait"

local files = {}

local PIECE = 64 * 1024

---@param path string
---@param mode string
---@return file*
function files.open(path, mode)
  local file, why = io.open(path, mode)
  return file or error(core.error("io", why), 0)
end

--- What a write or a close, of a file or of CSV, has answered.
---@param ok any
---@param why string|bulkjob.Error|nil
function files.check(ok, why)
  return ok or error(core.is_error(why) and why or core.error("io", tostring(why)), 0)
end

--- Begins a file that has its name when it is published.
---@param path string
---@return { write: fun(text: string), publish: fun(), discard: fun() }
function files.begin(path)
  if core.is_direct(path) then
    error(core.error("io", path .. ": a regular file expected"), 0)
  end
  local out = files.check(core.begin_output(path))
  local pieces, size = {}, 0
  local function flush()
    files.check(out:write(table.concat(pieces)))
    pieces, size = {}, 0
  end
  return {
    write = function(text)
      pieces[#pieces + 1], size = text, size + #text
      if size > PIECE then
        flush()
      end
    end,
    publish = function()
      flush()
      files.check(out:publish())
    end,
    discard = function()
      out:discard()
    end,
  }
end

--- Writes rows with these columns as they come. The file has its name when the writer is closed.
---@param path string
---@param names string[]
---@param format { columnDelimiter: string, lineEnding: string }
---@return { add: fun(row: table), close: fun() }
function files.new_writer(path, names, format)
  local writer = core.csv_writer { columns = names, delimiter = format.columnDelimiter, line_ending = format.lineEnding }
  local out = files.begin(path)
  writer:header()
  return {
    add = function(row)
      files.check(writer:row(row))
      if writer:size() > PIECE then
        out.write(writer:take())
      end
    end,
    close = function()
      out.write(writer:take())
      out.publish()
    end,
  }
end

--- Calls `use` with each row of a CSV file. Others run meanwhile.
---@param client bulkjob.Client
---@param path string
---@param delimiter string|nil
---@param use fun(row: table<string, string>)
function files.walk(client, path, delimiter, use)
  local next_row, err = csv.rows({ file = path }, { delimiter = delimiter })
  files.check(next_row, err)
  for row in next_row do
    use(row)
    wait.yield(client)
  end
end

return files
