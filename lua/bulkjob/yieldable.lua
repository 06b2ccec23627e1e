--- PUC Lua 5.1 cannot yield through `pcall`; all others can. There the library coxpcall can, if it is installed, by putting a coroutine
--- of its own in between. This asks for the version and does not try: a host that resumes coroutines in its own way, as nginx does, may
--- load us where nothing can be resumed.
local core = require "bulkjob.core"
local raise = require "bulkjob.raise"

local yieldable = { running = coroutine.running }

local IS_PUC_5_1 = _VERSION == "Lua 5.1" and not core.host "jit"

local found, coxpcall
if IS_PUC_5_1 then
  found, coxpcall = pcall(require, "coxpcall")
end

--- Can those wait who are called by yieldable.pcall?
yieldable.works = not IS_PUC_5_1 or found

local protected = found and coxpcall.pcall or pcall

local CANNOT_YIELD = "^attempt to yield across metamethod/C%-call boundary$"

local function pass(good, ...)
  if good then
    return true, ...
  end
  local why = raise.caught((...))
  if IS_PUC_5_1 and not found and type(why) == "string" and why:find(CANNOT_YIELD) then
    why = "bulkjob: Lua 5.1 cannot yield inside upload, save, with and auth functions unless the library coxpcall is installed"
  end
  return false, why
end

--- As pcall, and whoever is in it may wait. What raise.error has raised comes as the table that it is.
function yieldable.pcall(...)
  return pass(protected(...))
end

if found then
  yieldable.running = coxpcall.running
end

return yieldable
