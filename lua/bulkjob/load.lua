--- Whole loads: a file of any size as many jobs, each record once.
local core = require "bulkjob.core"
local worker_pool = require "bulkjob.worker_pool"
local file = require "bulkjob.file"
local files = require "bulkjob.load.files"
local input = require "bulkjob.load.input"
local next_step = require "bulkjob.load.next_step"
local options = require "bulkjob.options"
local outcome = require "bulkjob.load.outcome"
local part_of_load = require "bulkjob.load.part"
local run = require "bulkjob.run"
local token_renewal = require "bulkjob.token_renewal"

local client_methods = core.client_methods

-- The guide, Limits: 150 MB after base64, which is 100 MB raw.
local PART_BYTES = 100000000
local JOBS = 4

local OPTIONS = {
  object = "text", operation = { "insert", "update", "upsert", "delete", "hardDelete" }, externalIdFieldName = "text",
  assignmentRuleId = "text", file = "text", rows = "table or function", columns = "table", jobs = "count", part_bytes = "count",
  journal = "text", restart = "boolean", results = "text", describe = "boolean", on_progress = "function", wait = "boolean",
  join = "boolean", retry_failed = "text",
}

local function check_options(given)
  options.check("load", given, OPTIONS, { "object", "operation" }, 4)
  local problem
  if (given.operation == "upsert") ~= (given.externalIdFieldName ~= nil) then
    problem = "externalIdFieldName goes with an upsert, and an upsert needs it"
  elseif given.file and given.rows or not (given.file or given.rows or given.journal) then
    problem = "either file or rows expected"
  elseif given.join and not (given.file or given.rows) then
    problem = "join needs file or rows"
  end
  for _, name in ipairs { "join", "retry_failed" } do
    if given[name] and (not given.results or given.wait == false) then
      problem = name .. " needs results, and to wait for them"
    end
  end
  if problem then
    error("bulkjob: load: " .. problem, 3)
  end
end

-- Where ending a worker leaves no doubt: an upload is rolled back, a job that runs goes on without us. A create or a close under way
-- comes to its end.
local INTERRUPTIBLE = { uploading = true, processing = true }

local function may_cancel(worker)
  return worker.part and INTERRUPTIBLE[worker.part.doing]
end

local function work(load, worker)
  while not load.pool.err do
    local part = load.parts[load.next_part]
    load.next_part = load.next_part + 1
    if not part then
      return
    end
    worker.part = part
    part_of_load.run(load, part)
  end
end

local function progress(load)
  local seconds = core.now() - load.began
  local now = {
    bytes = 0, total_bytes = 0, records = load.plan.records, processed = 0, failed = 0, jobs = {}, seconds = seconds,
  }
  for _, part in ipairs(load.parts) do
    local uploading = part.doing == "uploading" and core.job_facts(part.handle).upload
    now.bytes = now.bytes + (uploading and math.min(uploading:progress(), part.bytes) or part.sent)
    now.total_bytes = now.total_bytes + part.bytes
    now.processed = now.processed + (part.info and part.info.numberRecordsProcessed or 0)
    now.failed = now.failed + (part.info and part.info.numberRecordsFailed or 0)
    now.jobs[part.doing] = (now.jobs[part.doing] or 0) + 1
  end
  now.rate = seconds > 0 and now.bytes / seconds or 0
  -- Processing takes the longer part of most loads, so what was processed tells more than what was sent.
  local done = load.options.wait == false and now.bytes / math.max(now.total_bytes, 1) or now.processed / math.max(now.records, 1)
  now.seconds_left = done > 0 and seconds * (1 - done) / done or nil
  return now
end

-- The parts as the plan and the notes have them.
local function set_parts(load)
  load.plan, load.parts = load.run.head.plan, {}
  for i, cut in ipairs(load.run:cuts()) do
    local noted = load.run.parts[cut.number] or {}
    load.parts[i] = {
      number = cut.number, first = cut.first, last = cut.last, bytes = cut.last - cut.first + 1, records = cut.records, digest = cut.digest,
      sent = 0, doing = "waiting", step = noted.step, job = noted.job, info = noted.info,
    }
  end
end

-- Cuts parts that are longer than the parts of this call may be, if they were never asked to close: their jobs are taken back first.
local function cut_again(load)
  for _, part in ipairs(load.parts) do
    local action = part.bytes + #load.header > load.part_bytes and next_step.of(part, false)
    while action == "read" or action == "abort" or action == "note left" do
      files.check(part_of_load.go_on(load, part, action))
      action = next_step.of(part, false)
    end
    local into = action == "create" and input.cut(load, part)
    if into and #into > 1 then
      files.check(load.run:note { cut = part.number, into = into })
    end
  end
  set_parts(load)
end

-- All that can be refused is refused before something changes at the service.
local function begin(load)
  local given = load.options
  outcome.open(load)
  load.run = files.check(run.open {
    client = load.client, path = given.journal, near = given.results, restart = given.restart,
  })
  files.check(token_renewal.sign_in(load.client))
  local identity = input.open(load)
  local situation = files.check(load.run:begin(identity, function()
    return input.plan(load)
  end, load.asked, not load.file))
  load.resumed = situation == "resumed"
  load.file = load.is_spooled and load.run:file "rows.csv" or load.file
  set_parts(load)
  if load.file then
    load.header = files.check(file.read(load.file, load.plan.header_first, load.plan.header_last))
  end
  if load.resumed and load.file then
    cut_again(load)
  end
  return situation
end

local function go(load)
  if begin(load) == "finished" then
    local report = load.run.said.finished.report
    report.repeated = true
    return report
  end
  load.pool:run(math.min(load.options.jobs or JOBS, #load.parts), function(worker)
    work(load, worker)
  end)
  if load.pool.err then
    return nil, load.pool.err
  end
  return outcome.report(load)
end

-- What an error leaves, part by part: without a journal nobody else knows it. One of the second pass has listed the jobs of that.
local function list_jobs(load, err)
  local list = {}
  for _, part in ipairs(load.parts) do
    if part.job then
      list[#list + 1] = { id = part.job, state = part.handle and part.handle.state or nil }
    end
  end
  for _, entry in ipairs(err.jobs or {}) do
    list[#list + 1] = entry
  end
  err.jobs = list
end

local function clean_up(load, err)
  for _, part in ipairs(load.parts) do -- such as those of a worker that had no memory
    if next_step.of(part, true) == "abort" then
      part_of_load.go_on(load, part, "abort")
    end
  end
  if core.is_error(err) then
    list_jobs(load, err)
  end
  if load.run then
    load.run:close()
  end
  if load.results_lock then
    if err and load.made_results then
      core.remove(load.options.results) -- if it is empty
    end
    load.results_lock:close()
  end
end

--- Loads a whole file, or rows, as many jobs as it takes. Each record is handed over in at most one job that can ever be closed: with
--- a `journal`, also when the program or the machine is stopped at any moment, and the same call is made again.
---@param given bulkjob.LoadOptions
---@return bulkjob.LoadReport|nil report
---@return bulkjob.Error|nil err err.jobs: { id =, state = } of each job that the call knows; err.parts, when the journal is of something
---  else: what of that is committed
function client_methods:load(given)
  check_options(given)
  local load = {
    client = self, options = given, part_bytes = given.part_bytes or PART_BYTES, began = core.now(), parts = {}, next_part = 1,
    asked = { wait = given.wait ~= false or nil, results = given.results and given.wait ~= false or nil },
    plan = { records = 0 },
  }
  load.pool = worker_pool.new {
    client = self, on_progress = given.on_progress, may_cancel = may_cancel,
    progress = function()
      return progress(load)
    end,
  }
  return load.pool:run_whole(go, load, clean_up)
end
