--- Works through the rows of an ingest job, from UploadComplete to the end (fact sheet 3, 4.4).

local clock = require "clock"
local csv = require "csv"
local ffi = require "ffi"
local hold = require "hold"
local jobs = require "jobs"
local plain_coroutine = require "plain_coroutine"
local quota = require "quota"
local records = require "records"
local results = require "results"
local scheduler = require "scheduler"
local schema = require "schema"
local settings = require "settings"
local store = require "store"

ffi.cdef "int truncate(const char *, long);"

local M = {}

local BURST_BYTES = 1048576 -- of the file read before others get their turn

local function reader(job, from)
  return assert(csv.reader(jobs.path(job, "data"), {
    from = from,
    delimiter = job.column_delimiter,
    line_ending = job.line_ending,
    strict_inner = settings.values.strict_inner_line_ends,
  }))
end

-- Result files are opened with the first row that goes in.

local function write_row(job, name, head, cells, n)
  local files = job.files
  local file = files[name]
  if not file then
    file = assert(io.open(jobs.path(job, name), "ab"))
    file:setvbuf("full", 65536)
    files[name] = file
    job.result_files = job.result_files or {}
    job.result_files[name] = true
  end
  file:write(head, csv.line(cells, n, job.delimiter, job.line_end))
end

local function close_files(job)
  for _, file in pairs(job.files or {}) do
    file:close()
  end
  job.files = nil
  if job.reader then
    job.reader:close()
    job.reader = nil
  end
end

--- A job that was aborted stays so, although rows of it are still processed.
local function move(job, state)
  if job.state ~= "Aborted" then
    jobs.transition(job, state)
  end
end

local function finish(job, state, message)
  close_files(job)
  job.error_message = message
  job.finished = clock.now()
  move(job, state)
end

--- A first look over the whole file, before anything is written. Line ends that differ from the job's fail it as a whole (fact sheet
-- 4.4). A record that cannot be parsed only ends the good rows, because earlier batches are still processed. Returns how many good rows
-- there are and how the job fails after them; or nil and why it fails at once.
local function survey(job)
  local scan = reader(job)
  local rows = -1 -- the first record is the header
  local record, err
  local pause = BURST_BYTES
  repeat
    record, err = scan:next(false)
    rows = rows + (record and 1 or 0)
    if scan:offset() > pause then
      pause = scan:offset() + BURST_BYTES
      plain_coroutine.yield(0)
    end
  until not record
  scan:close()
  if type(err) == "table" and err.kind == "line" then
    return nil, "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is " .. job.line_ending
  end
  local good = math.max(rows, 0)
  if type(err) == "table" then
    local size = settings.values.batch_rows
    good = good - good % size
    return good, "InvalidBatch : " .. err.text
  end
  return good
end

local function header_error(name)
  return "InvalidBatch : InvalidBatch : Field name not found : " .. name
end

--- What each column of the file stands for, or why the job fails.
local function read_header(job, names, n)
  local object = schema.find(job.object)
  local context = { object = object, columns = {} }
  local deletes = job.operation == "delete" or job.operation == "hardDelete"
  if deletes and (n ~= 1 or names[1]:lower() ~= "id") then
    return nil, "InvalidBatch : InvalidBatch : The 'delete' batch must contain only ids."
  end
  for i = 1, n do
    local column = records.column(object, names[i])
    if not column then
      return nil, header_error(names[i])
    end
    context.columns[i] = column
    if column.field.name == "Id" then
      context.id_column = i
    end
  end
  if job.operation == "update" and not context.id_column then
    return nil, header_error "Id"
  end
  if job.operation == "upsert" then
    context.key = object:field(job.external_id_field)
    for i, column in ipairs(context.columns) do
      if column.field == context.key and not column.key then
        context.key_column = i
      end
    end
    if not context.key_column and context.key.name ~= "Id" then -- without Ids all rows are new (fact sheet 11.8)
      return nil, header_error(job.external_id_field)
    end
  end
  return context
end

--- 912260031 comes back as 9.12260031E8 where the field is a number (fact sheet 6.2); off unless a test asks for it.
local function reformat(context, cells, n)
  for i = 1, n do
    local column = context.columns[i]
    local value = column and column.field.type == "number" and tonumber(cells[i])
    if value and value ~= 0 and (math.abs(value) >= 1e7 or math.abs(value) < 1e-3) then
      local exponent = math.floor(math.log10(math.abs(value)))
      local mantissa = ("%.15g"):format(value / 10 ^ exponent)
      cells[i] = (mantissa:find(".", 1, true) and mantissa or mantissa .. ".0") .. "E" .. exponent
    end
  end
end

local function process_row(job, context, cells, n)
  local id, created
  if n ~= job.columns then
    id, created = nil, ("INVALID_FIELD:The row has %d values, the header has %d:--"):format(n, job.columns)
  else
    id, created = records.process(job.operation, context, cells)
  end
  if settings.values.reformat_numbers then
    reformat(context, cells, n)
  end
  if id then
    write_row(job, "successful", ('"%s"%s"%s"%s'):format(id, job.delimiter, created and "true" or "false", job.delimiter), cells, n)
  else
    job.failed = job.failed + 1
    -- Where the row named a record, sf__Id is that one.
    local head = csv.quote(created) .. job.delimiter
    if tonumber(job.api_version) >= results.ERROR_ID_SINCE then
      local own = context.id_column and cells[context.id_column] or ""
      head = csv.quote(own) .. job.delimiter .. head
    end
    write_row(job, "failed", head, cells, n)
  end
  job.processed = job.processed + 1
end

--- A slice of at most count rows in one transaction. Returns how many it was; large rows make it shorter.
local function process_slice(job, context, count)
  context.seen = {} -- the external ids of this slice
  local discard = job.discard or settings.values.discard
  if discard then
    job.discard = true
  else
    records.db:begin()
  end
  local done, limit = 0, job.reader:offset() + BURST_BYTES
  while done < count and job.reader:offset() < limit do
    local cells, n = job.reader:next(not discard)
    if not cells then
      break
    end
    if discard then
      job.processed = job.processed + 1
    else
      process_row(job, context, cells, n)
    end
    done = done + 1
  end
  job.next_offset = job.reader:offset()
  job.sizes = {}
  for name, file in pairs(job.files) do
    file:flush() -- the results of an aborted job can be read while rows of it are still processed
    job.sizes[name] = file:seek()
  end
  store.save_job(job)
  if not discard then
    records.db:commit()
  end
  return done
end

local LAST_STEPS = 10

--- The rows that are processed although the job was aborted: the last of them when the time is over.
local function last_slices(job, context, done, total)
  local began, span, from = clock.now(), settings.values.abort_goes_on_seconds, done
  local step = math.max(math.ceil((total - from) / LAST_STEPS), 1)
  while done < total do
    local size = math.min(step, settings.values.slice_rows, total - done)
    plain_coroutine.yield(began + span * (done + size - from) / (total - from) - clock.now())
    done = done + process_slice(job, context, size)
  end
end

local function slices(job, context, total)
  local began, span = clock.now(), settings.values.processing_seconds
  local done = job.processed
  while true do
    local size = settings.values.slice_rows
    if job.discard or settings.values.discard then
      size = size * 20 -- rows that are only counted are quick
    end
    if hold.wanted(job, "InProgress") then
      local rest = (job.hold_rows or settings.values.hold_rows) - done
      if rest <= 0 then
        hold.wait(job, "InProgress")
        began = clock.now()
      else
        size = math.min(size, rest)
      end
    end
    if job.last_row then
      return last_slices(job, context, done, math.min(total, job.last_row))
    end
    if done >= total then
      break
    end
    size = math.min(size, total - done)
    done = done + process_slice(job, context, size)
    plain_coroutine.yield(began + span * done / total - clock.now())
  end
  if total == 0 then
    plain_coroutine.yield(span)
  end
end

--- Look through the file and read its header. Returns what the columns are; or nil, when the job has ended.
local function begin(job)
  if (job.bytes or 0) == 0 then
    hold.wait(job, "InProgress")
    return finish(job, settings.values.empty_close)
  end
  local rows, late_failure = survey(job)
  if not rows then
    return finish(job, "Failed", late_failure)
  end
  job.reader = reader(job)
  local names, n = job.reader:next(true)
  if not names then
    return finish(job, late_failure and "Failed" or settings.values.empty_close, late_failure)
  end
  job.next_offset = job.reader:offset()
  job.header_end = job.next_offset
  job.columns, job.rows, job.late_failure = n, rows, late_failure
  quota.count_rows(rows)
  local context, failure = read_header(job, names, n)
  if not context then
    job.next_offset, job.header_end = 0, 0 -- the whole file is unprocessed
    return finish(job, "Failed", failure)
  end
  return context
end

--- Go on where the org's last life ended: at the slice that was written last.
local function begin_again(job)
  for name in pairs(job.result_files or {}) do
    ffi.C.truncate(jobs.path(job, name), job.sizes and job.sizes[name] or 0)
  end
  local first = reader(job)
  local names, n = first:next(true)
  first:close()
  job.reader = reader(job, job.next_offset)
  return read_header(job, names, n)
end

local function work(job)
  hold.wait(job, "UploadComplete")
  if job.state == "UploadComplete" then
    move(job, "InProgress")
  end
  job.started = job.started or clock.now()
  job.delimiter, job.line_end = csv.DELIMITERS[job.column_delimiter], csv.LINE_ENDS[job.line_ending]
  job.files = {}
  local context
  if job.rows then
    context = begin_again(job)
  else
    context = begin(job)
  end
  if context then
    slices(job, context, job.rows)
    results.count_synthetic(job)
    finish(job, job.late_failure and "Failed" or "JobComplete", job.late_failure)
  end
end

--- The job was closed: it waits in the queue, then its rows are worked through.
function M.enqueue(job)
  scheduler.start(job, function()
    work(job)
  end, settings.values.queue_seconds)
end

--- Abort the job. Its rows end between two slices, or go on for a while (setting abort_goes_on_rows) if it had been closed.
function M.abort(job)
  local rows = settings.values.abort_goes_on_rows
  if job.state == "Open" or rows <= 0 then
    M.stop(job)
  end
  jobs.transition(job, "Aborted")
  if job.ticket then
    job.last_row = job.processed + rows
    scheduler.poke(job)
  end
end

--- A job from before the org's last start goes on.
function M.restore(job)
  if job.state == "UploadComplete" or job.state == "InProgress" then
    M.enqueue(job)
  end
end

--- Stop at once, between two slices: rows already processed stay, the rest is unprocessed.
function M.stop(job)
  scheduler.cancel(job)
  close_files(job)
  job.held = false
  job.finished = clock.now()
end

return M
