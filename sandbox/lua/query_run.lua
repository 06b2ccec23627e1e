--- Runs the query of a job. Its rows go to a file as CSV, and the end of each row to a second file of numbers, so that a page
-- that starts anywhere is a range of bytes.

local clock = require "clock"
local csv = require "csv"
local ffi = require "ffi"
local hold = require "hold"
local jobs = require "jobs"
local plain_coroutine = require "plain_coroutine"
local records = require "records"
local scheduler = require "scheduler"
local settings = require "settings"

local M = {}

local SLICE = 500

local writers = {}

function writers.number(value)
  -- The shortest form that reads back the same.
  for digits = 15, 17 do
    local text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then
      return text
    end
  end
end

function writers.integer(value)
  return ("%d"):format(value)
end

function writers.boolean(value)
  return value ~= 0 and "true" or "false"
end

local function text_of(field, value)
  if value == nil then
    return field.type == "boolean" and "false" or ""
  end
  local writer = type(value) == "number" and writers[field.type]
  return writer and writer(value) or tostring(value)
end

local function close(job)
  if job.finish_rows then
    job.finish_rows()
    job.finish_rows = nil
  end
  if job.rows_file then
    job.rows_file:close()
    job.index_file:close()
    job.rows_file, job.index_file = nil, nil
  end
end

-- A made-up row is as bad as others are: quotes and a line break inside quotes, letters of more than one byte.
local ROW = '"%012d","A ""quoted"" word\nand a Grüße %s"\n'

-- Rows of one length need no index.
local function make_up(job, count, bytes)
  local filler = ("x"):rep(bytes - #ROW:format(0, ""))
  job.header = '"Number","Text"\n'
  job.row_bytes = #ROW:format(0, filler)
  local file = assert(io.open(jobs.path(job, "rows"), "wb"))
  local lines = {}
  for i = 1, count do
    lines[#lines + 1] = ROW:format(i, filler)
    if #lines == SLICE or i == count then
      file:write(table.concat(lines))
      lines = {}
      plain_coroutine.yield(0)
    end
  end
  file:close()
  job.processed = count
end

local function find(job)
  local plan = job.plan
  local delimiter, line_end = csv.DELIMITERS[job.column_delimiter], csv.LINE_ENDS[job.line_ending]
  local n = #plan.names
  job.header = csv.line(plan.names, n, delimiter, line_end)
  job.rows_file = assert(io.open(jobs.path(job, "rows"), "wb"))
  job.index_file = assert(io.open(jobs.path(job, "index"), "wb"))
  local offset = ffi.new "double[1]"
  local rows, finish = records.db:rows(plan.sql, plan.params)
  job.finish_rows = finish
  local cells = {}
  for row in rows do
    for i = 1, n do
      cells[i] = text_of(plan.fields[i], row[i])
    end
    local line = csv.line(cells, n, delimiter, line_end)
    job.rows_file:write(line)
    offset[0] = offset[0] + #line
    job.index_file:write(ffi.string(offset, 8))
    job.processed = job.processed + 1
    if job.processed % SLICE == 0 then
      plain_coroutine.yield(0)
    end
  end
  close(job)
end

local function work(job)
  hold.wait(job, "UploadComplete")
  jobs.transition(job, "InProgress")
  job.started = clock.now()
  if settings.values.query_rows > 0 then
    make_up(job, settings.values.query_rows, settings.values.query_row_bytes)
  else
    find(job)
  end
  hold.wait(job, "InProgress")
  plain_coroutine.yield(job.started + settings.values.processing_seconds - clock.now())
  job.finished = clock.now()
  jobs.transition(job, "JobComplete")
end

function M.enqueue(job)
  scheduler.start(job, function()
    work(job)
  end, settings.values.queue_seconds)
end

function M.stop(job)
  scheduler.cancel(job)
  close(job)
  job.held = false
  job.finished = clock.now()
end

--- Where in the rows file the row of that number (from 0) begins.
function M.row_offset(job, number)
  if number == 0 then
    return 0
  elseif job.row_bytes then
    return number * job.row_bytes
  end
  local file = assert(io.open(jobs.path(job, "index"), "rb"))
  file:seek("set", (number - 1) * 8)
  local bytes = file:read(8)
  file:close()
  local value = ffi.new "double[1]"
  ffi.copy(value, bytes, 8)
  return value[0]
end

return M
