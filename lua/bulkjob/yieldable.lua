--- PUC Lua 5.1 cannot yield through `pcall`. There the library coxpcall can, if it is installed, by putting a coroutine of its own
--- in between.
local yieldable = { pcall = pcall, running = coroutine.running, works = true }

local function explain(refused, good, ...)
  if not good and ... == refused then
    return false, "bulkjob: Lua 5.1 cannot yield inside upload, save, with and auth functions unless the library coxpcall is installed"
  end
  return good, ...
end

local probe = coroutine.create(function()
  return select(2, pcall(coroutine.yield))
end)
local _, refused = coroutine.resume(probe)
if coroutine.status(probe) == "dead" then
  local found, coxpcall = pcall(require, "coxpcall")
  if found then
    yieldable.pcall, yieldable.running = coxpcall.pcall, coxpcall.running
  else
    yieldable.works = false
    function yieldable.pcall(...)
      return explain(refused, pcall(...))
    end
  end
end

return yieldable
