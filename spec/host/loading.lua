-- For LuaJIT: loads each module that is named, and prints the functions of ours that were called meanwhile and set locals outside of
-- them. See sandbox/lua/jobs.lua for why there must be none.

local util = require "jit.util"
local vmdef = require "jit.vmdef"

-- What the modules of the sandbox take from nginx while they are loaded.
ngx = setmetatable({}, { __index = function()
  return function()
    return ""
  end
end })
package.loaded["ngx.semaphore"] = { new = ngx.new }
for _, name in ipairs { "create", "resume", "yield", "status" } do
  coroutine["_" .. name] = coroutine[name]
end

local SETS = { USETV = true, USETS = true } -- to a number or to nil it may: the garbage collector has no part in that

local function sets_outer_locals(f)
  local pc, instruction = 1, util.funcbc(f, 1)
  while instruction do
    local opcode = instruction % 256
    if SETS[vmdef.bcnames:sub(opcode * 6 + 1, opcode * 6 + 6):match "%S+"] then
      return true
    end
    pc = pc + 1
    instruction = util.funcbc(f, pc)
  end
  return false
end

local seen, loaded = {}, 0
debug.sethook(function()
  local info = debug.getinfo(2, "fS")
  if info.what == "Lua" then
    seen[info.func] = info
  end
end, "c")
for _, name in ipairs(arg) do
  require(name)
  loaded = loaded + 1
end
debug.sethook()
for f, info in pairs(seen) do
  if sets_outer_locals(f) then
    print(("%s:%d"):format(info.short_src, info.linedefined))
  end
end
print(loaded .. " modules")
