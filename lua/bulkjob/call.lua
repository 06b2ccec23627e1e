--- The one loop that waits. C never does: it says what it needs, and this gets it.
local block = require "bulkjob.loop.block"
local core = require "bulkjob.core"

local call = {}

local function report(client, this)
  local on_event = core.client_option(client, "on_event")
  local events = on_event and this:events()
  for i = 1, events and #events or 0 do
    on_event(events[i])
  end
end

local function get_token(client, this)
  local auth = core.client_option(client, "auth")
  local token, url
  if auth then
    token, url = auth()
  end
  if token then
    core.set_token(client, token, url)
  else
    this:cancel(core.is_error(url) and url
      or core.error("auth", "the auth source gave no token" .. (url and ": " .. tostring(url) or "")))
  end
end

--- Waits by the client's loop until `waiting` may have something new.
function call.wait(client, waiting)
  local loop = core.client_option(client, "loop") or block
  loop(waiting)
end

--- Takes the call on until the host has something to do.
---@return "done"|"data"|"restart"
function call.advance(client, this)
  while true do
    local need = this:step()
    report(client, this)
    if need == "wait" then
      call.wait(client, this)
    elseif need == "token" then
      get_token(client, this)
    else
      return need
    end
  end
end

--- Takes the call to its end and answers its result, or `nil, err`.
function call.run(client, this)
  call.advance(client, this)
  return this:result()
end

--- Lets `seconds` pass.
function call.sleep(client, seconds)
  local till = core.now() + seconds
  local pause = {}
  function pause.timeout()
    return math.max(0, till - core.now())
  end
  while pause:timeout() > 0 do
    call.wait(client, pause)
  end
end

return call
