--- Waits in a coroutine of cqueues, whose controller goes on with its others.

---@param waiting bulkjob.Waiting
return function(waiting)
  local cqueues = require "cqueues"
  local fd = waiting:pollfd()
  cqueues.poll(waiting)
  cqueues.cancel(fd) -- the descriptor will be closed or used by another coroutine
end
