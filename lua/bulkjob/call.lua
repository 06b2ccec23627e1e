--- The one loop that waits. C never does: it says what it needs, and this gets it.
local core = require "bulkjob.core"
local loop = require "bulkjob.loop"
local task = require "bulkjob.task"

local call = {}

-- Channels that nobody waits on now: each may have a descriptor open.
local idle = {}
local MOST_IDLE = 4

local function take_channel()
  local channel = table.remove(idle)
  if not channel or channel:is_foreign() then
    return core.channel()
  end
  return channel
end

local function give_back(channel)
  for _ in channel:news() do end -- drops them
  if #idle < MOST_IDLE then
    idle[#idle + 1] = channel
  else
    channel:close()
  end
end

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

-- The way to wait for who calls now, nil for a task. Raises where nobody may wait, before anything was sent.
local function way_to_wait(client)
  return not task.running() and loop.choose(core.client_option(client, "loop")) or nil
end

-- Waits until the call may have something new.
local function wait(this, way)
  if not way then
    return task.wait(this)
  end
  local channel = take_channel()
  local seconds = this:timeout()
  channel:till(seconds and core.now() + seconds)
  this:watch(channel, 0)
  local problem = loop.problem(way(channel, seconds ~= nil))
  if problem then
    channel:close() -- its descriptor may be what is wrong
    this:cancel(problem)
  else
    give_back(channel)
  end
end

--- Takes the call on until the host has something to do.
---@return "done"|"data"|"restart"
function call.advance(client, this)
  local way = way_to_wait(client)
  while true do
    local need = this:step()
    report(client, this)
    if need == "wait" then
      wait(this, way)
    elseif need == "token" then
      get_token(client, this)
    else
      if not way then
        task.breathe()
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
  local way = way_to_wait(client)
  while this:timeout() > 0 do
    wait(this, way)
  end
  if this.err then
    return nil, this.err
  end
  return true
end

return call
