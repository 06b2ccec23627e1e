--- The files that a load's outcome goes through. What goes wrong with one is raised, as an error table. Not by Lua's `io`, which a host
--- may have taken away.
local core = require "bulkjob.core"
local csv = require "bulkjob.csv"
local file = require "bulkjob.file"
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
---@return { line: (fun(): string|nil), close: fun() } `line` gives the next line without its end; nil at the end
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

-- A header has at most 32,000 characters (the guide, Prepare CSV Files), of at most four bytes, and quotes.
local HEADER_BYTES = 256 * 1024

--- The names in the header of a file, and the place of its last byte.
---@param path string
---@param delimiter string|nil
---@return string[] names, integer last
function files.read_header(path, delimiter)
  local check = core.csv_check { delimiter = delimiter }
  check:feed(files.check(file.read(path, 1, HEADER_BYTES)))
  local facts = check:facts()
  check:close()
  return files.check(facts.columns, core.error("protocol", path .. ": no header")), facts.header_last
end

-- What is behind the header goes to `out` as it is.
local function copy_rows(client, path, header_last, out)
  local input = files.check(core.open_input(path))
  local at = header_last
  local piece, err = input:read(PIECE, at)
  while piece do
    out.write(piece)
    at = at + #piece
    wait.yield(client)
    piece, err = input:read(PIECE, at)
  end
  input:close()
  files.check(not err, err)
end

-- The rows of a file that has the columns in another order, or in another case of the letters.
local function rewrite_rows(client, path, names, wanted, format, out)
  local there, from = {}, {}
  for _, name in ipairs(names) do
    there[name:lower()] = name
  end
  for i, name in ipairs(wanted) do
    from[i] = there[name:lower()]
    if not from[i] or #names ~= #wanted then
      error(core.error("protocol", path .. ": these results have other columns than those before them"), 0)
    end
  end
  local writer = core.csv_writer { columns = wanted, delimiter = format.columnDelimiter, line_ending = format.lineEnding }
  files.walk(client, path, format.columnDelimiter, function(row)
    local values = {}
    for i, name in ipairs(wanted) do
      values[name] = row[from[i]]
    end
    files.check(writer:row(values))
    out.write(writer:take())
  end)
end

local function has_rows(path, header_last)
  return core.stat(path).size > header_last
end

--- Puts files of results together, each of which has a header, or nothing: the rows of each, in this order, below the columns of the
--- first that has rows. Raises an error table.
---@param client bulkjob.Client
---@param paths string[] of files of our own
---@param path string
---@param format { columnDelimiter: string, lineEnding: string }
function files.merge(client, paths, path, format)
  local out = files.begin(path)
  local parts, main = {}, nil
  for _, from in ipairs(paths) do
    if files.check(core.stat(from)).size > 0 then
      files.check(core.end_last_line(from))
      local names, last = files.read_header(from, format.columnDelimiter)
      local part = { path = from, names = names, last = last, has_rows = has_rows(from, last) }
      parts[#parts + 1] = part
      if not main or part.has_rows and not main.has_rows then
        main = part
      end
    end
  end
  if main then
    out.write(files.check(file.read(main.path, 1, main.last)))
  end
  for _, part in ipairs(parts) do
    if part.has_rows and table.concat(part.names, "\0") == table.concat(main.names, "\0") then
      copy_rows(client, part.path, part.last, out)
    elseif part.has_rows then
      rewrite_rows(client, part.path, part.names, main.names, format, out)
    end
  end
  out.publish()
end

return files
