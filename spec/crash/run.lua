--- Runs a program of this directory in a process of its own.
local helper = require "spec.helper"

local run = {}

--- Starts it, with these values in its environment; STRACE is what stands before its command (helper.strace). Answers the pipe from which to read what it prints: no report if it is killed.
---@param name string
---@param org table
---@param values table<string, any>
---@return file*
function run.start(name, org, values)
  local words = {}
  local strace = values.STRACE or ""
  for key, value in pairs(helper.with(values, { STRACE = "" })) do
    words[#words + 1] = key .. "='" .. tostring(value) .. "'"
  end
  return assert(io.popen(("SF_INSTANCE_URL='%s' SF_ACCESS_TOKEN='%s' %s %s timeout %d %s spec/crash/%s.lua 2>&1"):format(org.url,
    org.token, table.concat(words, " "), strace, helper.HANG_SECONDS, os.getenv "LUA", name)))
end

-- Called, it runs the program to its end, and answers what that printed.
return setmetatable(run, { __call = function(_, ...)
  local pipe = run.start(...)
  local text = pipe:read "*a"
  pipe:close()
  return text
end })
