--- Waits as a plain script does: the whole program sleeps.

---@param waiting bulkjob.Waiting
---@return boolean slept
---@return string|nil why
return function(waiting)
  local ok, why = waiting:sleep()
  return ok or false, why
end
