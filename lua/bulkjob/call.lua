--- The one loop that waits. C never does: it says what it needs, and this gets it.
local core = require "bulkjob.core"
local loop = require "bulkjob.loop"
local task = require "bulkjob.task"
local yieldable = require "bulkjob.yieldable"

local call = {}

local MAIN = {} -- the main program, where Lua 5.1 gives it no coroutine

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

-- Waiting for somebody else's way to a token has this of a call.
local turn = {}
turn.__index = turn

function turn.timeout() end

function turn:watch(channel)
  self.channel = channel
end

function turn:cancel(err)
  self.err = err or core.error("cancelled", "the call was cancelled")
end

-- Who is on the way to a token, by the auth source: { waiters =, done = }.
local trips = setmetatable({}, { __mode = "k" })

-- Waits until that one is back. False when that ends this call, too.
local function wait_for_trip(trip, this, way)
  local mine = setmetatable({}, turn)
  trip.waiters[mine] = true
  while not trip.done and not mine.err do
    wait(mine, way)
  end
  trip.waiters[mine] = nil
  local err = mine.err or trip.err
  if err then
    this:cancel(err)
  end
  return not err
end

local function come_back(trip, auth)
  trips[auth] = nil
  trip.done = true
  for waiter in pairs(trip.waiters) do
    task.wake_waiter(waiter)
    if waiter.channel then
      waiter.channel:ring()
    end
  end
end

local function as_auth_error(err)
  return core.is_error(err) and err
    or core.error("auth", "the auth source gave no token" .. (err and ": " .. tostring(err) or ""))
end

-- Asks the source for a token. The error, if there is none.
local function ask_source(client, auth)
  local token, url = auth(client)
  if not token then
    return as_auth_error(url)
  end
  local good, err = pcall(core.set_token, client, token, url)
  return not good and core.error("auth", (tostring(err):gsub("^bulkjob%.client: ", ""))) or nil
end

local function make_trip(client, auth, me)
  local trip = { by = me, waiters = {} }
  trips[auth] = trip
  local good, err = yieldable.pcall(ask_source, client, auth)
  -- One that was cancelled on the way brings nothing for others: the next of them goes.
  if not good or (err and err.kind ~= "cancelled") then
    trip.err = as_auth_error(err)
  end
  come_back(trip, auth)
  if not good then
    error(err, 0)
  end
  return err
end

-- Gets the call a token, by one trip for all that need it.
local function get_token(client, this, way)
  local auth = core.client_option(client, "auth")
  local me = yieldable.running() or MAIN
  local before = core.token(client)
  local err
  if not auth then
    err = as_auth_error()
  end
  while auth and trips[auth] do
    if trips[auth].by == me then
      error("bulkjob: the auth source uses the client that it is to sign in", 0)
    elseif not wait_for_trip(trips[auth], this, way) or core.token(client) ~= before then
      return
    end
  end
  err = err or make_trip(client, auth, me)
  if err then
    this:cancel(err)
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
      get_token(client, this, way)
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
