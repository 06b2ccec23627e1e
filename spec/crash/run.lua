--- Runs a program of this directory in a process of its own, with these values in its environment. Answers what it printed: no
--- report if it was killed.
local helper = require "spec.helper"

---@param name string
---@param org table
---@param values table<string, any>
---@return string
return function(name, org, values)
  local words = {}
  for key, value in pairs(values) do
    words[#words + 1] = key .. "='" .. tostring(value) .. "'"
  end
  local pipe = assert(io.popen(("SF_INSTANCE_URL='%s' SF_ACCESS_TOKEN='%s' %s timeout %d %s spec/crash/%s.lua 2>&1"):format(org.url,
    org.token, table.concat(words, " "), helper.HANG_SECONDS, os.getenv "LUA", name)))
  local text = pipe:read "*a"
  pipe:close()
  return text
end
