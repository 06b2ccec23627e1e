--- Waits as a plain script does: the whole program sleeps.

---@param waiting bulkjob.Waiting
return function(waiting)
  waiting:sleep()
end
