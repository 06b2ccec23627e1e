--- One part of a load, from create to the end of its job. What to do is decided in next_step; here it is done.
local core = require "bulkjob.core"
local job = require "bulkjob.job"
local next_step = require "bulkjob.load.next_step"

local part_of_load = {}

local function handle_of(load, part)
  if not part.handle or part.handle.id ~= part.job then
    part.handle = load.client:job(part.job, "ingest")
  end
  return part.handle
end

-- What a job is found to be by a request that failed: what next_step.after takes, or nil where nobody can say.
local function found_by(load, part, err)
  if job.is_gone(handle_of(load, part), err) then
    return { gone = true }
  elseif err.state then
    return { state = err.state }
  end
end

local actions = {}

function actions.create(load, part)
  local spec = load.plan
  local handle, err = load.client:create {
    object = load.options.object, operation = load.options.operation, externalIdFieldName = load.options.externalIdFieldName,
    assignmentRuleId = load.options.assignmentRuleId, columnDelimiter = spec.columnDelimiter, lineEnding = spec.lineEnding,
  }
  if not handle then
    if (err.strays or 0) > 0 then
      load.run:note { lost = err.strays }
    end
    return nil, err
  end
  part.handle = handle
  next_step.after(part, "create", { job = handle.id })
  return load.run:note { part = part.number, step = "created", job = handle.id, lost = core.job_facts(handle).lost }
end

function actions.upload(load, part)
  local ok, err = part.handle:upload {
    file = load.file, first = part.first, last = part.last, header = load.header, digest = part.digest,
  }
  part.sent = ok and part.bytes or part.sent
  return ok, err
end

function actions.close(load, part)
  local info, err = handle_of(load, part):close()
  if info then
    return { state = info.state }
  elseif err.contents then
    return { contents = true }
  end
  local found = found_by(load, part, err)
  return found and found.state ~= "Open" and found or nil, err
end

function actions.read(load, part)
  local info, err = handle_of(load, part):info()
  if not info then
    return found_by(load, part, err), err
  end
  return { state = info.state, processed = info.numberRecordsProcessed }
end

function actions.abort(load, part)
  local handle = handle_of(load, part)
  if handle.state == "Aborted" then -- the upload that failed has seen to it
    return { state = "Aborted" }
  end
  local info, err = handle:abort()
  if info and not part.fresh then
    return actions.read(load, part)
  elseif info then
    return { state = info.state }
  end
  local found = found_by(load, part, err)
  if not found and err.kind == "api" and not err.in_doubt and not err.not_found and (err.status or 500) < 500 then
    return { refused = true }
  end
  return found, err
end

function actions.wait(load, part)
  local info, err = handle_of(load, part):wait { on_progress = function(seen)
    part.info = seen
  end }
  if not info then
    return job.is_gone(handle_of(load, part), err) and { gone = true } or nil, err
  end
  return { state = info.state }
end

-- What is known of a job that has come to its end.
local function final_info(load, part)
  local info = {}
  for name, value in pairs(core.job_facts(handle_of(load, part)).info) do
    info[name] = value
  end
  info.id = part.job -- of a job that is gone, this is all that is known
  info.state = part.seen.state or info.state
  info.gone = part.seen.gone
  return info
end

local function note(load, part, step)
  part.info = step == "done" and final_info(load, part) or part.info
  return load.run:note { part = part.number, step = step, job = part.job, info = step == "done" and part.info or nil }
end

-- What the progress calls what is done.
local DOING = {
  create = "creating", read = "creating", abort = "creating", upload = "uploading", close = "closing", ["note closing"] = "closing",
  wait = "processing",
}

--- Does what is next. True, or nil, err.
function part_of_load.go_on(load, part, action)
  part.doing = DOING[action] or part.doing
  local step = action:match "^note (%l+)$"
  local result, err
  if step then
    result, err = note(load, part, step)
  else
    result, err = actions[action](load, part)
  end
  if result and action ~= "create" then
    next_step.after(part, action, result)
  end
  return result and true, err
end

--- Brings one part to its end, or as far as that can be had. The first error stops the whole load.
function part_of_load.run(load, part)
  local failed
  while true do
    local stopping = load.pool.err ~= nil
    local action = next_step.of(part, stopping or (part.step == "closed" and load.options.wait == false))
    if action == "end" or (failed and action ~= "abort") then
      break
    end
    local ok, err = part_of_load.go_on(load, part, action)
    if not ok then
      load.pool:stop(err)
      if failed or action == "abort" then
        break
      end
      failed = true
    end
  end
  local closed = part.step == "done" or part.step == "closed"
  part.sent = closed and part.bytes or part.sent
  part.info = part.info or (closed and core.job_facts(handle_of(load, part)).info) or nil
  part.doing = closed and (not load.pool.err or part.step == "done") and "done" or "failed"
end

return part_of_load
