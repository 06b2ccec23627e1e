--- Token renewal: one request to the token endpoint for all that need a new token. A renewal belongs to nobody: whoever waits for it
--- can carry it on, so it does not matter who of them is cancelled, closed, killed or never resumed.
local core = require "bulkjob.core"
local loop = require "bulkjob.loop"
local raise = require "bulkjob.raise"
local task = require "bulkjob.task"
local wait = require "bulkjob.wait"
local yieldable = require "bulkjob.yieldable"

---@class bulkjob.TokenAnswer
---@field access_token string
---@field instance_url string|nil

---@class bulkjob.TokenSource what bulkjob.auth knows of one of its functions; either `begin` and `finish`, or `ask`
---@field name string
---@field begin (fun(client: bulkjob.Client): table|nil, bulkjob.Error|nil)|nil the call that asks
---@field finish (fun(answer: table|nil, err: bulkjob.Error|nil): bulkjob.TokenAnswer|nil, bulkjob.Error|nil, function|nil)|nil what
---  came of it, and what to call when everybody has it
---@field ask (fun(): bulkjob.TokenAnswer|nil, bulkjob.Error|nil)|nil
---@field package held bulkjob.TokenAnswer|nil

local token_renewal = {}

-- Seconds after which whoever waits looks for itself: the one that was to wake it may be gone.
local LOOK_AGAIN = 1

-- Seconds that a function of the user's may take before somebody else asks it, too.
local LONGEST_ASK = 30

local MAIN = {} -- the main program, where Lua 5.1 gives it no coroutine

---@type table<function, bulkjob.TokenSource>
local sources = setmetatable({}, { __mode = "k" })

-- Those under way, by their function: { client =, waiting =, call = | by =, since =, over =, answer = | err = }. Held by who waits.
local renewals = setmetatable({}, { __mode = "kv" })

--- A function for the option `auth` that stands for this source.
---@param source bulkjob.TokenSource
---@return function
function token_renewal.source(source)
  local function stands_for()
    error("bulkjob.auth." .. source.name .. ": a token source is for the option auth of a client, and not to be called", 2)
  end
  sources[stands_for] = source
  return stands_for
end

-- What waiting for a renewal shares with a call.
local waiter = { awaits_news = true }
waiter.__index = waiter

function waiter:timeout()
  local call = self.renewal.call
  return math.min(call and call:timeout() or LOOK_AGAIN, self.asking:timeout() or LOOK_AGAIN, LOOK_AGAIN)
end

function waiter:watch(channel, tag)
  self.channel = channel
  if self.renewal.call then
    self.renewal.call:watch(channel, tag)
  end
end

function waiter:cancel(err)
  self.cancelled, self.err = true, err
end

local function wake(waiting)
  if waiting.task then
    task.wake(waiting.task)
  elseif waiting.channel then
    waiting.channel:wake()
  end
end

local function finish(this, auth, answer, err)
  if renewals[auth] == this then
    renewals[auth] = nil
  end
  -- One that was cancelled is no answer for the others: the next of them begins another.
  this.over, this.answer, this.err = true, answer, err and err.kind ~= "cancelled" and err or nil
  if answer and sources[auth] then
    sources[auth].held = answer
  end
  for waiting in pairs(this.waiting) do
    wake(waiting)
  end
end

local function as_auth_error(err)
  return core.is_error(err) and err
    or core.error("auth", "the auth source gave no token" .. (err and ": " .. tostring(err) or ""))
end

-- Asks a function, which may wait by itself. Raises what it raises, but only here.
local function ask(this, auth)
  local source = sources[auth]
  local good, answer, err = yieldable.pcall(source and source.ask or auth)
  local raised
  if not good then
    raised, answer, err = answer, nil, answer
  elseif answer and not source then
    answer = { access_token = answer, instance_url = err }
  end
  err = not answer and as_auth_error(err) or nil
  finish(this, auth, answer, err)
  if not good then
    raise.error(raised)
  end
  return answer, err
end

local function is_open(client)
  return (pcall(core.org, client))
end

-- Is the one who asks a function gone, or can it not go on as long as we wait?
local function is_lost(this, way)
  return way == loop.known.block or core.now() - this.since > LONGEST_ASK or not is_open(this.client)
    or (type(this.by) == "thread" and coroutine.status(this.by) == "dead")
end

-- Takes a call as far as it goes without waiting.
local function go_on(this, auth, client)
  local good, need = pcall(this.call.step, this.call)
  if not good then -- such as one from before a fork
    finish(this, auth)
    if this.client == client then
      error(need, 0)
    end
    return
  end
  wait.report(this.client, this.call)
  if need == "done" and not this.over then
    local answer, err, afterwards = sources[auth].finish(this.call:result())
    finish(this, auth, answer, err)
    if afterwards then
      afterwards()
    end
  end
end

-- Stops waiting. Somebody else has to watch the call then; with nobody left it has no use.
local function stop_waiting(this, auth)
  local other = next(this.waiting)
  if other then
    wake(other)
  elseif this.call then
    this.call:cancel()
    finish(this, auth)
  end
end

-- Waits for news of the renewal. False when that was cancelled.
local function wait_for(this, auth, mine, way)
  mine.renewal = this
  this.waiting[mine] = true
  wait.on(mine, way)
  this.waiting[mine] = nil
  if mine.cancelled then
    stop_waiting(this, auth)
  end
  return not mine.cancelled
end

local function begin(client, auth, me)
  local source = sources[auth]
  local this = { client = client, waiting = {} }
  if source and source.begin then
    local err
    this.call, err = source.begin(client)
    if not this.call then
      return nil, err
    end
  else
    this.by, this.since = me, core.now()
  end
  renewals[auth] = this
  return this
end

-- An answer, or nil, err; nil alone when the call was cancelled or its client closed. `asking`: the call that needs the token.
local function renew(client, auth, way, asking)
  local me = yieldable.running() or MAIN
  local mine = setmetatable({ task = task.running(), asking = asking }, waiter)
  while is_open(client) do
    local held = sources[auth] and sources[auth].held
    if held and held.access_token ~= core.token(client) then
      return held
    end
    local this = renewals[auth]
    local lost = this and not this.call and this.by ~= me and is_lost(this, way)
    if not this or lost then
      local err
      this, err = begin(client, auth, me)
      if not this then
        return nil, err
      elseif not this.call then
        return ask(this, auth)
      end
    elseif this.by == me then
      error("bulkjob: the auth source uses the client that it has to sign in", 0)
    end
    if this.call then
      go_on(this, auth, client)
    end
    if not this.over and not wait_for(this, auth, mine, way) then
      return nil, mine.err
    elseif this.answer or this.err then
      -- Each has an error of its own: what is added to it is about one call.
      return this.answer, this.err and core.error(this.err.kind, this.err.message, this.err)
    elseif asking:timeout() == 0 then
      stop_waiting(this, auth)
      return nil, core.error("timeout", "the call took longer than it may (total_timeout), and the sign-in was not over",
        { code = "CURLE_OPERATION_TIMEDOUT" })
    end
  end
end

-- The org that a token is of, by its 15 characters, or else by the host of a URL.
local function org_of(token, url)
  return token:match("^(00D" .. ("%w"):rep(12) .. ")%w*!") or url and url:match "^%w+://([^/]+)"
end

--- The org that the client is of: its id, of 15 characters, where the token has it, else the host of its URL.
---@return string|nil org nil as long as nobody has signed in
function token_renewal.org(client)
  local token = core.token(client)
  return token and org_of(token, core.org(client))
end

-- Why the client cannot go on with this token: its jobs, and what a run has noted, are of the org that it has signed in to. Nil: it can.
local function check_org(client, token, url)
  local before = token_renewal.org(client)
  local now = before and type(token) == "string" and org_of(token, url or core.org(client))
  if now and now ~= before and now:find "^00D" == before:find "^00D" then
    return core.error("auth", ("the auth source has signed in to another org, %s, and this client is of %s: make a client for each org")
      :format(now, before))
  end
end

--- Gets the client a token that the call `this` was not refused with yet, or ends the call.
function token_renewal.get_token(client, this, way)
  local auth = core.client_option(client, "auth")
  local source = sources[auth]
  local answer, err = renew(client, auth, way, this)
  if answer and is_open(client) then -- it may have been closed as the token came
    -- Where the user says where the org is, a source of ours only says who asks.
    local url = not (source and core.org(client)) and answer.instance_url or nil
    local good, why
    err = check_org(client, answer.access_token, url)
    if not err then
      good, why = pcall(core.set_token, client, answer.access_token, url)
    end
    if good then
      return
    end
    err = err or core.error("auth", (tostring(why):gsub("^bulkjob%.client: ", "")))
    if source and source.held == answer then
      source.held = nil
    end
  end
  if err and this:job() then
    err.job_id = err.job_id or this:job().id
  end
  this:cancel(err)
end

--- Signs in, if nobody has: a client with `auth` knows its org only then.
---@return true|nil ok, bulkjob.Error|nil err
function token_renewal.sign_in(client)
  local problem
  if not core.token(client) then
    token_renewal.get_token(client, {
      timeout = function() end,
      job = function() end,
      cancel = function(_, err)
        problem = err or core.error("cancelled", "signing in was cancelled")
      end,
    }, wait.way(client))
  end
  return not problem or nil, problem
end

return token_renewal
