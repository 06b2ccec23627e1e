--- The three result files of an ingest job (fact sheet 1.9, 6.2), streamed in pieces.

local csv = require "csv"
local errors = require "errors"
local jobs = require "jobs"
local settings = require "settings"

local M = {}

local CHUNK = 65536

--- failedResults have sf__Id from this version on (fact sheet 11.7).
M.ERROR_ID_SINCE = 50

-- What the control command "synthetic" asked for, by job id and kind.
local synthetic = {}

function M.reset()
  synthetic = {}
end

--- Stream bytes from..to of a file (to nil: all the rest).
local function copy(path, from, to, write)
  local file = io.open(path, "rb")
  if not file then
    return
  end
  file:seek("set", from)
  local left = to and to - from
  while not left or left > 0 do
    local chunk = file:read(left and math.min(left, CHUNK) or CHUNK)
    if not chunk or not write(chunk) then
      break
    end
    left = left and left - #chunk
  end
  file:close()
end

M.copy = copy

local function file_size(path)
  local file = io.open(path, "rb")
  if not file then
    return 0
  end
  local size = file:seek "end"
  file:close()
  return size
end

--- The header line as it was uploaded.
local function uploaded_header(job, line_end)
  local last = job.header_end or 0
  if last == 0 then
    return line_end
  end
  local parts = {}
  copy(jobs.path(job, "data"), 0, last, function(chunk)
    parts[#parts + 1] = chunk
    return true
  end)
  local text = table.concat(parts)
  return (text:gsub("[\r\n]+$", "")) .. line_end
end

local HEADS = {
  successful = function() return { "sf__Id", "sf__Created" } end,
  failed = function(job)
    return tonumber(job.api_version) >= M.ERROR_ID_SINCE and { "sf__Id", "sf__Error" } or { "sf__Error" }
  end,
}

--- The first line of a result file: the sf__ names in quotes, the others as they were uploaded.
local function header(job, kind)
  local delimiter, line_end = csv.DELIMITERS[job.column_delimiter or "COMMA"], csv.LINE_ENDS[job.line_ending or "LF"]
  local names = HEADS[kind](job)
  local line = csv.line(names, #names, delimiter, "")
  if job.header_end and job.header_end > 0 then
    return line .. delimiter .. uploaded_header(job, line_end)
  end
  return line .. line_end
end

--- Where the records of a file are, from a place in it on: { from, to, from, to, ... }; nil when it is no CSV.
local function record_places(job, path, from)
  local reader = csv.reader(path, { delimiter = job.column_delimiter, line_ending = job.line_ending, from = from })
  local places = {}
  local record, err
  repeat
    local begin = reader:offset()
    record, err = reader:next(false)
    if record then
      places[#places + 1] = begin
      places[#places + 1] = reader:offset()
    end
  until not record
  reader:close()
  return not err and places or nil
end

--- Records of a file in an order that is another each time (setting shuffle_results). nil when the file is no CSV.
local function shuffled(job, path, from)
  local places = record_places(job, path, from)
  if not places then
    return nil
  end
  local line_end = csv.LINE_ENDS[job.line_ending]
  local parts, file = {}, assert(io.open(path, "rb"))
  for i = 1, #places, 2 do
    file:seek("set", places[i])
    local text = file:read(places[i + 1] - places[i])
    -- Blank lines before a record are none, and the last record of an upload may lack its line end.
    text = text:gsub("^[\r\n]+", "")
    local at = math.random(#parts + 1)
    parts[#parts + 1] = parts[at]
    parts[at] = text:sub(-#line_end) == line_end and text or text .. line_end
  end
  file:close()
  return table.concat(parts)
end

local function text_answer(text)
  return {
    size = #text,
    stream = function(write)
      write(text)
    end,
  }
end

local function stored(job, kind)
  local first = header(job, kind)
  local path = job.result_files and job.result_files[kind] and jobs.path(job, kind)
  if path and settings.values.shuffle_results then
    return text_answer(first .. shuffled(job, path, 0))
  end
  return {
    size = #first + (path and file_size(path) or 0),
    stream = function(write)
      if write(first) and path then
        copy(path, 0, nil, write)
      end
    end,
  }
end

--- The rows that were not worked: the upload itself, from the first of them on.
local function unprocessed(job)
  local path = jobs.path(job, "data")
  local size = (job.bytes or 0) > 0 and file_size(path) or 0
  local head, from = "", job.next_offset or 0
  if from > 0 then
    head = uploaded_header(job, csv.LINE_ENDS[job.line_ending])
    local text = size > from and settings.values.shuffle_results and shuffled(job, path, from)
    if text then
      return text_answer(head .. text)
    end
  end
  return {
    size = #head + size - from,
    stream = function(write)
      if size > 0 and (head == "" or write(head)) then
        copy(path, from, nil, write)
      end
    end,
  }
end

-- Made-up results of any size, for tests of large downloads.

local ROWS_PER_CHUNK = 256
local ERROR_TEXT = "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"

--- How a made-up result is laid out: a header, rows of one length with their numbers in them, and a last row that fills it up to the byte.
local function layout(kind, bytes)
  local head, format
  if kind == "successful" then
    head, format = '"sf__Id","sf__Created",Number,Text\n', '"0018d00000%08dAAA","true","%08d","%s"\n'
  elseif kind == "failed" then
    head, format = '"sf__Id","sf__Error",Number,Text\n', '"","' .. ERROR_TEXT .. '","%08d","%s"\n'
  else
    head, format = "Number,Text\n", '"%08d","%s"\n'
  end
  local filler = ("The quick brown fox jumps over the lazy dog; "):rep(3)
  local function row(n, text)
    if kind == "successful" then
      return format:format(n, n, text)
    end
    return format:format(n, text)
  end
  local length = #row(0, filler)
  local count = math.max(math.floor((bytes - #head) / length), 1)
  local last = bytes - #head - (count - 1) * length - #row(0, "")
  return head, row, count, filler, math.max(last, 0)
end

local function synthetic_answer(kind, bytes)
  local head, row, count, filler, last = layout(kind, bytes)
  return {
    size = bytes,
    stream = function(write)
      if not write(head) then
        return
      end
      local n = 1
      while n < count do
        local lines = {}
        for i = 1, math.min(ROWS_PER_CHUNK, count - n) do
          lines[i] = row(n, filler)
          n = n + 1
        end
        if not write(table.concat(lines)) then
          return
        end
      end
      local left, text = last, row(count, "\0")
      -- The last row may be a long one: its filling goes out in pieces too.
      local before, after = text:match "^(.*)%z(.*)$"
      write(before)
      while left > 0 do
        local piece = ("x"):rep(math.min(left, CHUNK))
        write(piece)
        left = left - #piece
      end
      write(after)
    end,
  }
end

-- How many rows the synthetic result of a job holds; nil where it has none.
local function count_rows(job, kind)
  local bytes = synthetic[job.id .. kind]
  return bytes and select(3, layout(kind, bytes))
end

--- Let the counters of a job that is over tell of its synthetic rows.
function M.count_synthetic(job)
  local good, failed = count_rows(job, "successful"), count_rows(job, "failed")
  if good or failed then
    good = good or job.processed - job.failed
    job.failed = failed or job.failed
    job.processed = good + job.failed
  end
end

--- Make a result of a job be so many bytes of rows. Returns how many rows that is.
function M.synthesize(job, kind, bytes)
  synthetic[job.id .. kind] = bytes
  if jobs.is_terminal(job) then
    M.count_synthetic(job)
  end
  return count_rows(job, kind)
end

--- The answer to a GET of results; kind: "successful", "failed" or "unprocessed".
function M.answer(job, kind)
  local bytes = synthetic[job.id .. kind]
  if not bytes and not jobs.is_terminal(job) then
    return nil, errors.job_state(("Results of a job in state %s are not available"):format(job.state))
  end
  local answer
  if bytes then
    answer = synthetic_answer(kind, bytes)
  elseif kind == "unprocessed" then
    answer = unprocessed(job)
  else
    answer = stored(job, kind)
  end
  answer.status = 200
  answer.headers = { ["Content-Type"] = "text/csv;charset=UTF-8" }
  return answer
end

return M
