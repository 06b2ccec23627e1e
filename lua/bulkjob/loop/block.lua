--- Waits as a plain script does: the whole program sleeps until the engine has news.
local core = require "bulkjob.core"

---@param waiting { timeout: fun(self): number|nil } what is waited for; `timeout` gives the seconds after which to look again
---  even without news, nil for no limit
return function(waiting)
  core.wait(waiting:timeout())
end
