--- The files that a load's outcome goes through. What goes wrong with one is raised, as an error table. Not by Lua's `io`, which a host
--- may have taken away.
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local wait = require "bulkjob.wait"

local files = {}

-- As many files as a process may have are open at once.
local PIECE = 16 * 1024

--- What a write or a close, of a file or of CSV, has answered.
---@param ok any
---@param why string|bulkjob.Error|nil
function files.check(ok, why)
  return ok or error(core.is_error(why) and why or core.error("io", tostring(why)), 0)
end

--- Opens a file of the run.
---@param path string
---@return { line: (fun(): string|nil), piece: (fun(): string|nil), close: fun() } `line` gives the next line without its end, `piece` the
---  next few bytes; nil at the end
function files.open(path)
  local input = files.check(core.open_input(path))
  local text, at = "", 1 -- what has been read, and where in it that begins which was not given yet
  local function read()
    local err
    text, err = input:read(PIECE)
    files.check(not err, err)
    text, at = text or "", 1
    return text ~= ""
  end
  return {
    line = function()
      local stop = text:find("\n", at, true)
      local before
      while not stop do
        before = before or {}
        before[#before + 1] = text:sub(at)
        if not read() then
          local rest = table.concat(before)
          return rest ~= "" and rest or nil
        end
        stop = text:find("\n", 1, true)
      end
      local line = text:sub(at, stop - 1)
      at = stop + 1
      return before and table.concat(before) .. line or line
    end,
    piece = function()
      if at <= #text or read() then
        local piece = text:sub(at)
        at = #text + 1
        return piece
      end
    end,
    close = function()
      input:close()
    end,
  }
end

local function new_output(out)
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

--- Begins a file that has its name when it is published.
---@param path string
---@return { write: fun(text: string), publish: fun(), discard: fun() }
function files.begin(path)
  if core.is_direct(path) then
    error(core.error("io", path .. ": a regular file expected"), 0)
  end
  return new_output(files.check(core.begin_output(path)))
end

--- Begins a file of the run, which has its name from the start.
---@param path string
---@return { write: fun(text: string), publish: fun(), discard: fun() } `publish` ends it, and syncs nothing
function files.create(path)
  return new_output(files.check(core.create_output(path)))
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
