--- Jobs that a test keeps in UploadComplete or InProgress until it lets them go.

local jobs = require "jobs"
local plain_coroutine = require "plain_coroutine"
local scheduler = require "scheduler"
local settings = require "settings"

local M = {}

--- Is the job to be held in this state? What was said of the job itself goes before what was said of all jobs.
function M.wanted(job, state)
  if jobs.is_terminal(job) then
    return false -- rows of an aborted job that go on are not held
  end
  local hold = job.hold
  if hold == nil then
    hold = settings.values.hold
  end
  if hold == true then
    hold = "UploadComplete"
  end
  return hold == state
end

--- Wait (in the job's own coroutine) while it is held.
function M.wait(job, state)
  while M.wanted(job, state) do
    job.held = true
    plain_coroutine.yield(3600) -- scheduler.poke ends it early
  end
  job.held = false
end

-- Lets the jobs that are held look again whether they still are.
local function look_again(held)
  for _, job in ipairs(held) do
    if job.held then
      scheduler.poke(job)
    end
  end
end

--- Hold one job, or all (job nil), in a state; with "InProgress" after so many rows. One that is held in another state goes on.
function M.hold(job, state, rows)
  if job then
    job.hold, job.hold_rows = state, rows
  else
    settings.values.hold, settings.values.hold_rows = state, rows or 0
  end
  look_again(job and { job } or jobs.all())
end

--- Let one job, or all, go on.
function M.release(job)
  if job then
    job.hold = false
  else
    settings.values.hold = false
    for _, other in ipairs(jobs.all()) do
      other.hold = nil
    end
  end
  look_again(job and { job } or jobs.all())
end

return M
