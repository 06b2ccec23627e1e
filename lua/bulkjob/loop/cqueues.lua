--- Waits in a coroutine of cqueues, whose controller goes on with its others.

---@param waiting bulkjob.Waiting
---@return false|nil failed
---@return string|nil why
return function(waiting)
  local cqueues = require "cqueues"
  local fd, why = waiting:pollfd()
  if not fd then
    return false, why
  end
  cqueues.poll(waiting)
  cqueues.cancel(fd) -- the descriptor will be closed or used by another coroutine
end
