--- The event loops that we wait in, each in the same words:
---   go(fn)        starts a coroutine of the loop
---   sleep(s)      lets time pass in one
---   run(limit)    runs the loop until its coroutines have ended or `limit` seconds have passed; answers the errors that they
---                 raised. Without a limit it raises after LIMIT seconds, and drops what waits if it can
---   drop()        forgets the loop and all that wait in it; not all loops can
---   option        what a client needs as `loop`, where it does not find out by itself

-- Debian has copas for 5.1 and 5.2 only, but the same files run on all. It has to be there before socket.http.
local function require_copas()
  local path = package.path
  package.path = path .. ";" .. path:gsub("/5%.%d/", "/5.1/")
  local copas = require "copas"
  package.path = path
  return copas
end

local copas = require_copas()
local cqueues = require "cqueues"
local uv = require "luv"
local socket = require "socket"
local core = require "bulkjob.core"
local helper = require "spec.helper"
local loop = require "bulkjob.loop"
local yieldable = require "bulkjob.yieldable"

local LIMIT = helper.HANG_SECONDS
local STEP = 0.002

-- What a coroutine has raised tells why the others wait.
local function check_ended(this, done, limit, errors)
  if not done and not limit then
    if this.drop then
      this.drop()
    end
    error("the loop has not ended" .. (errors[1] and ": " .. tostring(errors[1]) or ""), 3)
  end
end

---- cqueues ----

local function new_cqueues()
  local controller = cqueues.new()
  local this = { name = "cqueues", sleep = cqueues.sleep }
  function this.go(fn)
    controller:wrap(fn)
  end
  function this.run(limit)
    local errors = {}
    for err in controller:errors(limit or LIMIT) do
      errors[#errors + 1] = err
    end
    check_ended(this, controller:empty(), limit, errors)
    return errors
  end
  function this.drop()
    controller = nil
  end
  return this
end

---- luv ----

local function resume(co)
  local ok, why = coroutine.resume(co)
  assert(ok, why) -- luv prints it, and ends the program
end

local function new_luv()
  local this = { name = "luv" }
  local errors = {}
  local function after(seconds, fn)
    -- Else the time would count from when the loop last ran, and be over at once if that is long ago.
    uv.update_time()
    local timer = uv.new_timer()
    timer:start(math.ceil(seconds * 1000), 0, function()
      timer:close()
      fn()
    end)
    return timer
  end
  -- What `fn` raises must not come to luv, which would end the program, and with it all other tests.
  function this.go(fn)
    after(0, function()
      resume(coroutine.create(function()
        local ok, why = yieldable.pcall(fn)
        if not ok then
          errors[#errors + 1] = why
        end
      end))
    end)
  end
  -- Lets it come to luv.
  function this.go_unprotected(fn)
    after(0, function()
      resume(coroutine.create(fn))
    end)
  end
  function this.sleep(seconds)
    local co = yieldable.running()
    after(seconds, function()
      resume(co)
    end)
    coroutine.yield()
  end
  function this.run(limit)
    local guard = after(limit or LIMIT, uv.stop)
    guard:unref()
    uv.run()
    local done = not uv.loop_alive()
    if not guard:is_closing() then
      guard:close()
    end
    uv.run "nowait" -- luv 1.44 crashes at the end of the program when a handle is half closed
    check_ended(this, done, limit, errors)
    local all = errors
    errors = {}
    return all
  end
  function this.drop()
    uv.walk(function(handle)
      if not handle:is_closing() then
        handle:close()
      end
    end)
    uv.run()
  end
  return this
end

---- copas ----

local function new_copas()
  local this = { name = "copas", option = loop.known.copas }
  local alive, errors = 0, {}
  -- Copas 1 cannot sleep. This is a socket where nothing ever comes, and of which LuaSocket is told that it has something in its
  -- buffer when the time has come.
  local silent = assert(socket.udp())
  assert(silent:setsockname("127.0.0.1", 0))
  function this.go(fn)
    alive = alive + 1
    copas.addthread(function()
      copas.setErrorHandler(function(err)
        alive = alive - 1
        errors[#errors + 1] = err
      end)
      fn()
      alive = alive - 1
    end)
  end
  function this.sleep(seconds)
    local till = core.now() + seconds
    local function is_over()
      return core.now() >= till
    end
    copas.receive {
      getfd = function()
        return silent:getfd()
      end,
      receive = function()
        return is_over() or nil, "timeout"
      end,
      dirty = is_over,
      close = function() end,
    }
  end
  function this.run(limit)
    local till = core.now() + (limit or LIMIT)
    while alive > 0 and core.now() < till do
      copas.step(STEP)
    end
    check_ended(this, alive == 0, limit, errors)
    local all = errors
    errors = {}
    return all
  end
  return this
end

---- a loop as anybody may write it ----

local function new_own()
  local this = { name = "a loop of one's own" }
  local waiting = {} -- what each coroutine waits for
  local errors = {}
  local function go_on(co)
    local ok, what = coroutine.resume(co)
    waiting[co] = ok and coroutine.status(co) == "suspended" and what or nil
    if not ok then
      errors[#errors + 1] = what
    end
  end
  this.option = coroutine.yield
  function this.go(fn)
    waiting[coroutine.create(fn)] = "the beginning"
  end
  function this.sleep(seconds)
    coroutine.yield { till = core.now() + seconds }
  end

  local function watch(longest)
    local ready, watched, coroutines = {}, {}, {}
    local soonest = longest
    for co, what in pairs(waiting) do
      local left
      if what == "the beginning" then
        left = 0
      elseif type(what) == "table" then
        left = what.till - core.now()
      else
        left = what:timeout()
        local fd = what:pollfd()
        local watchable = { getfd = function() return fd end }
        assert(what:events() == "r")
        watched[#watched + 1], coroutines[watchable] = watchable, co
      end
      if left and left <= 0 then
        ready[#ready + 1] = co
      end
      soonest = math.max(0, math.min(soonest, left or soonest))
    end
    for _, watchable in ipairs((socket.select(watched, nil, soonest))) do
      ready[#ready + 1] = coroutines[watchable]
    end
    return ready
  end

  function this.run(limit)
    local till = core.now() + (limit or LIMIT)
    while next(waiting) and core.now() < till do
      local gone_on = {}
      for _, co in ipairs(watch(till - core.now())) do
        if not gone_on[co] then
          gone_on[co] = true
          go_on(co)
        end
      end
    end
    check_ended(this, not next(waiting), limit, errors)
    local all = errors
    errors = {}
    return all
  end
  function this.drop()
    waiting = {}
  end
  return this
end

return { new_cqueues, new_luv, new_copas, new_own }
