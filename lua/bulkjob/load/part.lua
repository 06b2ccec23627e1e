--- One part of a load, from create to the end of its job. Each step is in the journal before what depends on it.
local core = require "bulkjob.core"
local job = require "bulkjob.job"

local part_of_load = {}

-- Notes a step of a part before what depends on it.
local function note(load, part, step, more)
  part.step = step
  if not load.journal then
    return true
  end
  local line = more or {}
  line.part, line.step = part.number, step
  return load.journal:add(line)
end

-- What became of the job that an earlier run had for this part. True: it was closed, and is never sent again. False: nothing of it
-- can have been processed, and it is gone. nil, err: nobody can say.
local function settle(load, part)
  if not part.job_id then
    return false
  end
  local handle = load.client:job(part.job_id, "ingest")
  local info, err = handle:info()
  local was_open = part.step == "created" or part.step == "uploaded" or part.step == "aborting"
  if not info then
    if err.status == 404 and was_open then
      return false
    end
    return nil, err
  elseif info.state == "Open" then
    local ok
    ok, err = note(load, part, "aborting")
    if ok then
      ok, err = handle:abort()
    end
    if not ok then
      return nil, err
    end
    return false
  elseif info.state == "Aborted" and was_open then
    return false
  end
  part.job = handle
  return true
end

local function stopped()
  return nil, core.error("cancelled", "the load was stopped")
end

-- Rolls back the job of a part that failed, if it is surely Open.
local function roll_back(load, part, err)
  if not part.job or not core.job_facts(part.job).surely_open then
    return nil, err
  end
  local ok, why = note(load, part, "aborting")
  if ok then
    ok, why = part.job:abort()
  end
  if not ok then
    job.add_also(err, why)
  end
  return nil, err
end

local function create(load, part)
  local spec = load.plan
  local ok, err = note(load, part, "creating")
  if not ok then
    return nil, err
  end
  part.doing = "creating"
  part.job, err = load.client:create {
    object = spec.object, operation = spec.operation, externalIdFieldName = spec.externalIdFieldName,
    assignmentRuleId = spec.assignmentRuleId, columnDelimiter = spec.columnDelimiter, lineEnding = spec.lineEnding,
  }
  if not part.job then
    local count = err.strays or 0
    load.strays = load.strays + count
    local noted, why = note(load, part, "lost", { count = count })
    if not noted then
      job.add_also(err, why)
    end
    return nil, err
  end
  local lost = core.job_facts(part.job).lost
  load.strays = load.strays + lost
  return note(load, part, "created", { job = part.job.id, lost = lost })
end

local function upload(load, part)
  part.doing = "uploading"
  local ok, err = part.job:upload {
    file = load.file, first = part.first, last = part.last, header = load.header, digest = part.digest,
  }
  if not ok then
    return nil, err
  end
  part.sent = part.bytes
  return note(load, part, "uploaded")
end

local function close(load, part)
  part.doing = "closing"
  local ok, err = note(load, part, "closing")
  if ok then
    ok, err = part.job:close()
  end
  if not ok then
    return nil, err
  end
  return note(load, part, "closed")
end

local function send(load, part)
  for _, step in ipairs { create, upload, close } do
    local ok, err
    if load.crew.err then
      ok, err = stopped()
    else
      ok, err = step(load, part)
    end
    if not ok then
      return roll_back(load, part, err)
    end
  end
  return true
end

local function wait(load, part)
  part.doing = "processing"
  local info, err = part.job:wait { on_progress = function(seen)
    part.info = seen
  end }
  if not info then
    return nil, err
  end
  part.info = info
  return note(load, part, "done", { info = info })
end

--- Brings one part to its end: what an earlier run has left, then create, upload, close, wait.
---@return true|nil ok, bulkjob.Error|nil err
function part_of_load.run(load, part)
  local ok, err = part.step == "done", nil
  if ok then
    part.job = load.client:job(part.job_id, "ingest")
  else
    local closed
    closed, err = settle(load, part)
    if closed == false then
      closed, err = send(load, part)
    end
    ok = closed
    part.info = part.job and core.job_facts(part.job).info
    if ok and load.options.wait ~= false then
      ok, err = wait(load, part)
    end
  end
  part.sent = part.bytes
  part.doing = ok and "done" or "failed"
  return ok, err
end

return part_of_load
