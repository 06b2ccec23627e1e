--- PUC Lua 5.1 cannot yield through `pcall`. There the library coxpcall can, if it is installed, by putting a coroutine of its own
--- in between.
local yieldable = { pcall = pcall, running = coroutine.running }

local probe = coroutine.create(function()
  pcall(coroutine.yield)
end)
coroutine.resume(probe)
if coroutine.status(probe) == "dead" then
  local found, coxpcall = pcall(require, "coxpcall")
  if found then
    yieldable.pcall, yieldable.running = coxpcall.pcall, coxpcall.running
  end
end

return yieldable
