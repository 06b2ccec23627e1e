--- Runs the query of a job. Its rows go to a file as CSV, and the end of each row to a second file of numbers, so that a page
-- that starts anywhere is a range of bytes. Or they are synthetic.

local clock = require "clock"
local csv = require "csv"
local ffi = require "ffi"
local hold = require "hold"
local jobs = require "jobs"
local synthetic = require "synthetic"
local plain_coroutine = require "plain_coroutine"
local results = require "results"
local scheduler = require "scheduler"
local settings = require "settings"
local soql = require "soql"
local walk = require "walk"

local M = {}

local SLICE = 500

local all_synthetic -- what the control command "synthetic_query" said of all queries

local writers = {}

--- As Java writes a double: 23.0, 1.6147805824397E13.
local function java(text, value)
  local size = math.abs(value)
  if size ~= 0 and (size >= 1e7 or size < 1e-3) then
    local mantissa, exponent
    for digits = 14, 16 do
      mantissa, exponent = ("%." .. digits .. "e"):format(value):match "^(.-)0*e([+-]%d+)$"
      if tonumber(mantissa .. "e" .. exponent) == value then
        break
      end
    end
    return mantissa .. (mantissa:find "%.$" and "0" or "") .. "E" .. tonumber(exponent)
  end
  return text:find(".", 1, true) and text or text .. ".0"
end

function writers.number(value)
  -- The shortest form that reads back the same.
  for digits = 15, 17 do
    local text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then
      return settings.values.query_numbers == "java" and java(text, value) or text
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

local function format_of(job)
  return csv.DELIMITERS[job.column_delimiter], csv.LINE_ENDS[job.line_ending]
end

local function find(job)
  local plan = job.plan
  local delimiter, line_end = format_of(job)
  local n = #plan.names
  job.header = csv.line(plan.names, n, delimiter, line_end)
  job.rows_file = assert(io.open(jobs.path(job, "rows"), "wb"))
  job.index_file = assert(io.open(jobs.path(job, "index"), "wb"))
  local offset = ffi.new "double[1]"
  local rows, finish = walk.rows(plan, function()
    plain_coroutine.yield(0)
  end)
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

local function finish(job, state)
  job.finished = clock.now()
  jobs.transition(job, state)
end

local function work(job)
  hold.wait(job, "UploadComplete")
  if job.state == "UploadComplete" then
    jobs.transition(job, "InProgress")
  end
  job.started = clock.now()
  local rows = settings.values.query_rows
  local options = all_synthetic or rows > 0 and { rows = rows, row_bytes = settings.values.query_row_bytes }
  if options and not job.synthetic then
    local ok, err = pcall(M.synthesize, job, options)
    if not ok then
      job.error_message = err
      return finish(job, "Failed")
    end
  elseif not job.synthetic then
    find(job)
  end
  hold.wait(job, "InProgress")
  plain_coroutine.yield(job.started + settings.values.processing_seconds - clock.now())
  job.processed = job.synthetic and job.synthetic.rows or job.processed
  finish(job, "JobComplete")
end

--- A query as a plan, or nil and an error.
function M.compile(text, operation, version)
  return soql.compile(text, {
    all_rows = operation == "queryAll",
    sorted_names = tonumber(version) < 50, -- fact sheet 1.12
  })
end

--- A job from before the org's last start: its result is found again if it was not whole.
function M.restore(job)
  if job.synthetic_options then
    job.synthetic = synthetic.new(job.synthetic_options, format_of(job))
  end
  if job.state == "UploadComplete" or job.state == "InProgress" then
    job.plan = assert(M.compile(job.query_text, job.operation, job.api_version))
    job.processed = 0
    M.enqueue(job)
  end
end

function M.enqueue(job)
  scheduler.start(job, function()
    work(job)
  end, settings.values.queue_seconds)
end

--- The first rows of a result, or of what there is of it so far, as CSV. write answers false when it has enough.
function M.preview(job, write)
  if job.synthetic then
    job.synthetic:stream(0, math.min(job.synthetic.rows, 100), write)
  elseif job.header and write(job.header) then
    results.copy(jobs.path(job, "rows"), 0, nil, write)
  end
end

function M.stop(job)
  scheduler.cancel(job)
  close(job)
  job.held = false
  job.finished = clock.now()
end

--- Makes the result of a job; see synthetic.lua. Raises a text for options that cannot be.
function M.synthesize(job, options)
  job.synthetic, job.synthetic_options = synthetic.new(options, format_of(job)), options
  job.processed = job.synthetic.rows
end

--- Makes the results of all queries that begin from now on; nil ends that.
function M.synthesize_all(options)
  all_synthetic = options and synthetic.new(options, ",", "\n") and options
end

--- Where in the rows file the row of that number (from 0) begins.
local function row_offset(job, number)
  if number == 0 then
    return 0
  end
  local file = assert(io.open(jobs.path(job, "index"), "rb"))
  file:seek("set", (number - 1) * 8)
  local bytes = file:read(8)
  file:close()
  local value = ffi.new "double[1]"
  ffi.copy(value, bytes, 8)
  return value[0]
end

--- The page of the rows from number `from` on (from 0) up to that of number `to`, under a header: how many bytes, and a function that
-- streams it.
function M.page(job, from, to)
  local source = job.synthetic
  if source then
    return source:size(from, to), function(write)
      source:stream(from, to, write)
    end
  end
  local first, last = row_offset(job, from), row_offset(job, to)
  return #job.header + last - first, function(write)
    if write(job.header) and last > first then
      results.copy(jobs.path(job, "rows"), first, last, write)
    end
  end
end

return M
