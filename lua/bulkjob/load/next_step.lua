--- What to do next with a part of a load, and what is known after it was done. Pure: no request, no file, no clock. spec/explorer_spec.lua
--- tries it against a model of the service.
---
--- A part is a table with
---   step      the last note in the log: nil, "created", "closing", "void", "closed", "done", "left"
---   job       the id of its job, or nil
---   fresh     this call has created the job, and nothing has gone wrong with it yet
---   uploaded  this call has uploaded the data, which were those that were checked
---   seen      what the job was found to be: { state =, processed = }, { gone = true }, or after a close or an abort that was refused
---             { contents = true } or { refused = true }
---
--- The rules are those of "Exactly once": without the note "closing" no close was ever sent, so the job is taken back and the part made
--- anew; with it the part only goes forward. The one exception is a job that holds two bodies, and can never run.
local next_step = {}

-- States to which only a close leads.
local CLOSED = { UploadComplete = true, InProgress = true, JobComplete = true, Failed = true }

---@param part table
---@param stopping boolean the load is to end: nothing is begun, and nothing is waited for
---@return "create"|"upload"|"close"|"abort"|"read"|"wait"|"end"|string action or a note to make: "note closing", "note closed",
---  "note void", "note left", "note done"
function next_step.of(part, stopping)
  local step, seen = part.step, part.seen
  if step == "done" or (step == "closed" and stopping) then
    return "end"
  elseif step == "closed" then
    return seen and "note done" or "wait"
  elseif step == "closing" then
    -- Cancelled or not: between the note and the close nothing is looked at.
    if not seen or not (CLOSED[seen.state] or seen.state == "Aborted" or seen.gone or seen.contents) then
      return "close"
    elseif seen.contents then
      return "note void"
    end
    return CLOSED[seen.state] and "note closed" or "note done"
  elseif part.fresh and not stopping then
    return part.uploaded and "note closing" or "upload"
  elseif not part.job or step == "left" then
    return stopping and "end" or "create"
  elseif part.fresh and not seen then
    return "abort" -- what is surely open is taken back
  elseif stopping then
    return "end"
  elseif not seen then
    return "read"
  elseif seen.refused then
    return "note left"
  elseif seen.state == "Open" then
    return "abort"
  elseif seen.gone or (seen.state == "Aborted" and (seen.processed or 0) == 0) then
    return "create"
  end
  return "note closed" -- somebody else has closed it
end

--- What is known after an action.
---@param part table changed in place
---@param action string
---@param result table|nil of "create" { job = }, of "upload" {}, of "read", "close", "abort" and "wait" what the job was found to be
function next_step.after(part, action, result)
  local note = action:match "^note (%l+)$"
  if note then
    part.step, part.fresh, part.uploaded, part.seen = note, nil, nil, nil
  elseif action == "create" then
    part.step, part.job, part.fresh, part.uploaded, part.seen = "created", result.job, true, nil, nil
  elseif action == "upload" then
    part.uploaded = true
  else
    part.seen = result
  end
end

return next_step
