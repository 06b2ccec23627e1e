--- What the kernel says of this process. Needs nothing of bulkjob, whose memory may be what is measured.

--- The number behind a name in /proc/self/status; sizes are in KiB.
---@param name string such as "VmRSS"
---@param who string|nil "self" by default, or "thread-self"
---@return number|nil
return function(name, who)
  local pattern = "^" .. name .. ":%s+(%d+)"
  for line in io.lines("/proc/" .. (who or "self") .. "/status") do
    local value = line:match(pattern)
    if value then
      return tonumber(value)
    end
  end
end
