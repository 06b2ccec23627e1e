--- The one loop that waits. C never does: it says what it needs, and this gets it.
local core = require "bulkjob.core"
local token_renewal = require "bulkjob.token_renewal"
local wait = require "bulkjob.wait"

local call = {}

--- Takes the call on until the host has something to do.
---@return "done"|"data"|"restart"
function call.advance(client, this)
  local way = wait.way(client)
  while true do
    local need = this:step()
    wait.report(client, this)
    if need == "wait" then
      wait.on(this, way)
    elseif need == "token" then
      token_renewal.get_token(client, this, way)
    else
      if need ~= "done" then
        wait.yield(client)
      end
      return need
    end
  end
end

--- Takes the call to its end and answers its result, or `nil, err`.
function call.run(client, this)
  call.advance(client, this)
  return this:result()
end

-- What a pause shares with a call, as far as waiting for it goes.
local pause = {}
pause.__index = pause

function pause:timeout()
  return math.max(0, self.till - core.now())
end

function pause.watch() end

function pause:cancel(err)
  self.till = 0
  self.err = err or core.error("cancelled", "the wait was cancelled")
end

--- Lets `seconds` pass. True, or `nil, err` when the task that waits is cancelled or nothing can be waited on.
function call.sleep(client, seconds)
  local this = setmetatable({ till = core.now() + seconds }, pause)
  local way = wait.way(client)
  while this:timeout() > 0 do
    wait.on(this, way)
  end
  if this.err then
    return nil, this.err
  end
  return true
end

return call
