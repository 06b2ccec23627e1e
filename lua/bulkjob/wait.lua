--- How a call waits, whoever makes it.
local core = require "bulkjob.core"
local loop = require "bulkjob.loop"
local task = require "bulkjob.task"

local wait = {}

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

--- Tells on_event what has happened to a call.
function wait.report(client, this)
  local events = this:events()
  if not events then
    return
  end
  local on_event = core.client_option(client, "on_event")
  local me = task.running()
  for i = 1, #events do
    if not (me and me.on_callback_error) then
      on_event(events[i])
    else
      local good, why = pcall(on_event, events[i])
      if not good then
        me.on_callback_error(why)
      end
    end
  end
end

--- The way to wait for who calls now, nil for a task. Raises where nobody may wait, before anything was sent.
function wait.way(client)
  return not task.running() and loop.choose(core.client_option(client, "loop")) or nil
end

--- Waits until `this`, a call or what has as much of one, may have something new.
---@param this { timeout: function, watch: function, cancel: function, awaits_news: boolean|nil } `awaits_news`: although it has a
---  time-out
function wait.on(this, way)
  if not way then
    return task.wait(this)
  end
  local channel = take_channel()
  local seconds = this:timeout()
  channel:set_deadline(seconds and core.now() + seconds)
  this:watch(channel, 0)
  local problem = loop.wait(way, channel, seconds ~= nil and not this.awaits_news)
  if problem then
    channel:close() -- its descriptor may be what is wrong
    this:cancel(problem)
  else
    give_back(channel)
  end
end

-- A wait that is over at once, and still lets others run. In nginx a time-out alone takes a millisecond at least.
local instant = { awaits_news = true }

function instant.timeout()
  return 0
end

function instant.watch() end
function instant.cancel() end

--- Lets others run if the caller has used up its time slice: the other tasks, or what else the host's loop has to do.
function wait.yield(client)
  if task.running() then
    task.yield()
  elseif loop.is_due() then
    wait.on(instant, wait.way(client))
  end
end

--- A function that does.
---@return fun()
function wait.yielder(client)
  return function()
    wait.yield(client)
  end
end

return wait
