--- Tries what a load does with a part (bulkjob.load.next_step) against a model of the service, of crashes and of the network: every
--- order of all that can happen, each state once.
---
--- The service of the model is unkind in ways in which the real one may be: an answer is lost, with the effect of the request, without
--- it, or with an effect that comes at any later time; rows of an aborted job go on; counters are absent; a second body is taken, and
--- the close refused then; jobs are aborted, closed or deleted by somebody else. A process is killed between any two of its steps, is
--- cancelled, and called again.
local explorer = {}

-- What an effect, an answer, or the lack of one costs of the budget of a run.
local BUDGETS = { "kills", "lost", "cancels", "acts", "calls" }

-- Tries of one request before a verb is given up.
local TRIES = 2

-- No way to the end makes more jobs of one part.
local MOST_JOBS = 8

local FINAL = { JobComplete = true, Failed = true, Aborted = true }

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local new = {}
  for key, item in pairs(value) do
    new[key] = copy(item)
  end
  return new
end

local function key_of(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  for name, item in pairs(value) do
    parts[#parts + 1] = tostring(name) .. "=" .. key_of(item)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

-- ---- the service ----

-- Does a request at a job. What the service answers: a state, "gone", or a refusal.
local effects = {}

function effects.put(s, job)
  if job.state ~= "Open" then
    return "refused"
  elseif job.bodies > 0 and not s.rules.takes_second then
    return "contents" -- at the PUT this is success: the body is there
  end
  job.bodies = job.bodies + 1
  return "ok"
end

function effects.close(_, job)
  if job.state ~= "Open" then
    return "wrong state"
  elseif job.bodies > 1 then
    return "contents"
  end
  job.state, job.closed = "UploadComplete", true
  return "ok"
end

function effects.abort(_, job)
  if job.state == "JobComplete" or job.state == "Failed" then
    return "wrong state"
  end
  job.state = "Aborted"
  return "ok"
end

function effects.info()
  return "ok"
end

local function apply(s, name, id)
  local job = s.jobs[id]
  if job.gone then
    return "gone"
  end
  return effects[name](s, job)
end

-- ---- the process ----

local function log_of(s)
  local part = {}
  for _, line in ipairs(s.log) do
    part.step, part.job = line.step, line.job
  end
  return part
end

local function found(s, id)
  local job = s.jobs[id]
  if job.gone then
    return { gone = true }
  end
  return { state = job.state, processed = s.rules.counters and job.rows or nil }
end

-- The verb of the process is over: as part_of_load.run goes on then.
local function verb_done(s, next_step, result)
  local p = s.process
  next_step.after(p.part, p.action, result)
  if p.action == "create" then
    p.action = "note created"
  else
    p.action = nil
  end
  p.tries, p.reading = 0, nil
end

local function verb_failed(s)
  local p = s.process
  local give_up = p.failed or p.action == "abort"
  p.stopping, p.failed, p.action, p.tries, p.reading = true, true, nil, 0, nil
  if give_up then
    p.over = true
  end
end

-- One request of the process's verb: all ways in which it can go. `after(t, answer)` goes on in the new state with the answer, nil
-- for a lost one.
local function request(s, name, id, add, after)
  local t = copy(s)
  after(t, apply(t, name, id))
  add(t)
  if s.left.lost == 0 then
    return
  end
  t = copy(s) -- never came
  t.left.lost = t.left.lost - 1
  after(t, nil)
  add(t)
  if name ~= "info" then
    t = copy(s) -- its answer got lost
    t.left.lost = t.left.lost - 1
    apply(t, name, id)
    after(t, nil)
    add(t)
    t = copy(s) -- it comes later
    t.left.lost = t.left.lost - 1
    table.insert(t.late, { name = name, id = id })
    after(t, nil)
    add(t)
  end
end

local verbs = {}

function verbs.create(s, next_step, add)
  local function made(t)
    table.insert(t.jobs, { state = "Open", bodies = 0, rows = 0 })
    return #t.jobs
  end
  local t = copy(s)
  verb_done(t, next_step, { job = made(t) })
  add(t)
  for effect = 0, s.left.lost > 0 and 1 or -1 do
    t = copy(s)
    t.left.lost = t.left.lost - 1
    if effect == 1 then
      made(t)
    end
    t.process.tries = t.process.tries + 1
    if t.process.tries == TRIES then
      verb_failed(t)
    end
    add(t)
  end
end

function verbs.upload(s, next_step, add)
  request(s, "put", s.process.part.job, add, function(t, answer)
    local p = t.process
    if answer == "ok" or (answer == "contents" and p.tries > 0) then
      verb_done(t, next_step, {})
    elseif answer or p.tries + 1 == TRIES then
      verb_failed(t)
    else
      p.tries = p.tries + 1
    end
  end)
end

local CLOSED = { UploadComplete = true, InProgress = true, JobComplete = true, Failed = true }

-- A close or an abort: sent, and where the answer is lost or the state was wrong, read back.
local function change(name, is_wanted)
  return function(s, next_step, add)
    local id = s.process.part.job
    if not s.process.reading then
      if name == "close" and s.aborted_by_us[id] then
        s.wrong = "a close is sent to a job that was sent an abort"
      elseif name == "abort" then
        s.aborted_by_us[id] = true
      end
    end
    request(s, s.process.reading and "info" or name, id, add, function(t, answer)
      local p = t.process
      local seen = found(t, id)
      if answer == "gone" then
        verb_done(t, next_step, { gone = true })
      elseif not p.reading and answer == "ok" then
        -- The load reads an abort back.
        if name == "abort" and not p.part.fresh then
          p.reading = true
        else
          verb_done(t, next_step, seen)
        end
      elseif not p.reading and answer == "contents" then
        verb_done(t, next_step, { contents = true })
      elseif not p.reading then -- lost, or the wrong state
        p.reading, p.tries = true, p.tries + 1
      elseif not answer then
        verb_failed(t)
      elseif is_wanted(seen.state) or seen.state ~= "Open" and FINAL[seen.state] then
        verb_done(t, next_step, seen)
      elseif p.tries >= TRIES then
        verb_failed(t)
      else
        p.reading = nil
      end
    end)
  end
end

verbs.close = change("close", function(state)
  return CLOSED[state]
end)
verbs.abort = change("abort", function(state)
  return state == "Aborted"
end)

function verbs.read(s, next_step, add)
  request(s, "info", s.process.part.job, add, function(t, answer)
    if answer then
      verb_done(t, next_step, found(t, t.process.part.job))
    else
      verb_failed(t)
    end
  end)
end

-- A look that finds no final state changes nothing: the wait goes on.
function verbs.wait(s, next_step, add)
  request(s, "info", s.process.part.job, add, function(t, answer)
    local seen = found(t, t.process.part.job)
    if not answer then
      verb_failed(t)
    elseif seen.gone or FINAL[seen.state] then
      verb_done(t, next_step, seen)
    end
  end)
end

local function note(s, step)
  table.insert(s.log, { step = step, job = s.process.part.job })
end

local function process_steps(s, next_step, add)
  local p = s.process
  if not p.action then
    local t = copy(s)
    local q = t.process
    local action = next_step.of(q.part, q.stopping)
    if action == "end" or (q.failed and action ~= "abort") then
      q.over = true
    else
      q.action = action
    end
    add(t)
    return
  end
  local step = p.action:match "^note (%l+)$"
  if not step then
    verbs[p.action](s, next_step, add)
    return
  end
  local t = copy(s)
  if step == "done" then
    t.result = t.process.part.seen.state or "gone"
  end
  note(t, step)
  if step ~= "created" then
    next_step.after(t.process.part, p.action)
  end
  t.process.action = nil
  add(t)
end

-- ---- everything else that can happen ----

local function service_steps(s, add)
  for i, job in ipairs(s.jobs) do
    local function with(change_job)
      local t = copy(s)
      change_job(t.jobs[i])
      add(t)
    end
    if not job.gone and job.state == "UploadComplete" then
      with(function(it)
        it.state = "InProgress"
      end)
    elseif not job.gone and job.state == "InProgress" then
      if job.rows == 0 then
        with(function(it)
          it.rows = 1
        end)
      end
      with(function(it)
        it.state = it.rows == 1 and "JobComplete" or "Failed"
      end)
    elseif job.state == "Aborted" and job.closed and job.rows == 0 and s.rules.goes_on then
      with(function(it)
        it.rows = 1
      end)
    end
  end
  for i, late in ipairs(s.late) do
    local t = copy(s)
    table.remove(t.late, i)
    apply(t, late.name, late.id)
    add(t)
  end
end

-- Somebody else aborts, closes or deletes a job of ours.
local function other_steps(s, add)
  for i, job in ipairs(s.left.acts > 0 and s.jobs or {}) do
    for act in pairs(s.rules.acts) do
      if (act ~= "close" or job.bodies == 1) and (act ~= "delete" or job.state ~= "Open" and job.state ~= "InProgress") and not job.gone then
        local t = copy(s)
        t.left.acts = t.left.acts - 1
        if act == "delete" then
          t.jobs[i].gone = true
        else
          apply(t, act, i)
        end
        t.other = true
        add(t)
      end
    end
  end
end

local function fate_steps(s, add)
  local function with(budget, change_state)
    if s.left[budget] > 0 then
      local t = copy(s)
      t.left[budget] = t.left[budget] - 1
      change_state(t)
      add(t)
    end
  end
  local p = s.process
  if p and not p.over then
    with("kills", function(t)
      t.process = nil
    end)
    if not p.stopping then
      with("cancels", function(t)
        t.process.stopping = true
      end)
    end
  elseif p and log_of(s).step ~= "done" then -- the same call again
    with("calls", function(t)
      t.process = nil
    end)
  end
  if not p then
    local t = copy(s)
    t.process = { part = log_of(t), tries = 0, stopping = false }
    t.process.part.found = t.process.part.job -- for rules that are left out: the job that this process has found in the log
    add(t)
  end
end

-- ---- what must never be ----

local function check(s)
  local rows, known, left = 0, {}, {}
  for _, line in ipairs(s.log) do
    known[line.job] = true
    left[line.job] = left[line.job] or line.step == "left"
  end
  for i, job in ipairs(s.jobs) do
    rows = rows + job.rows
    local in_hand = s.process and s.process.part.job == i
    if job.state == "Open" and not job.gone and job.bodies > 0 and not known[i] and not in_hand then
      return "a job with data is Open, and the log does not know it"
    elseif s.result and job.state == "Open" and not job.gone and job.bodies > 0 and not left[i] then
      return "all is done, and a job with data is Open"
    end
  end
  if #s.jobs > MOST_JOBS then
    return "the part is made anew for ever"
  elseif rows > 1 then
    return "a row is processed twice"
  elseif s.result == "JobComplete" and rows ~= 1 then
    return "success is reported, and the row was processed " .. rows .. " times"
  elseif s.process and s.process.over and not s.process.failed and not s.process.stopping and log_of(s).step ~= "done" then
    return "the load ends without an error, and its part is not done"
  end
  return s.wrong
end

--- Explores all states of one part.
---@param next_step { of: function, after: function }
---@param rules { takes_second: boolean, counters: boolean, goes_on: boolean, acts: table<string, true> } how the service is
---@param budget table<string, integer> how often: kills, lost, cancels, acts, calls
---@return integer states
---@return string|nil wrong the first thing that must not be
---@return string[]|nil way how it came to be
function explorer.run(next_step, rules, budget)
  local first = { jobs = {}, log = {}, late = {}, aborted_by_us = {}, left = {}, rules = rules }
  for _, name in ipairs(BUDGETS) do
    first.left[name] = budget[name] or 0
  end
  -- Rules are the same in all states: they are left out of what tells one from another.
  local function name_of(s)
    s.rules = nil
    local key = key_of(s)
    s.rules = rules
    return key
  end
  local seen, stack, count = { [name_of(first)] = true }, { { state = first } }, 1
  local wrong, way
  while stack[1] and not wrong do
    local node = table.remove(stack)
    local function add(t)
      local key = name_of(t)
      if seen[key] then
        return
      end
      seen[key] = true
      count = count + 1
      local problem = check(t)
      if problem and not wrong then
        wrong, way = problem, { key }
        local at = node
        while at do
          table.insert(way, 1, name_of(at.state))
          at = at.before
        end
      end
      stack[#stack + 1] = { state = t, before = node }
    end
    local s = node.state
    if s.process and not s.process.over then
      process_steps(s, next_step, add)
    end
    service_steps(s, add)
    other_steps(s, add)
    fate_steps(s, add)
  end
  return count, wrong, way
end

return explorer
