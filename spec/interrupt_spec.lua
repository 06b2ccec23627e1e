--- Errors that come from outside, after any instruction or for want of memory: no task is lost, and nothing hangs.
local helper = require "spec.helper"
local yieldable = require "bulkjob.yieldable"

local MOST = 2000 -- instructions; all that is done for a few tasks takes fewer

-- Where a hook is called in every coroutine, and where compiled code calls none.
local JIT = rawget(_G, "jit")

describe("an error from outside", function()
  local org, client

  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  setup(function()
    if JIT then
      JIT.off()
    end
  end)
  teardown(function()
    if JIT then
      JIT.on()
    end
  end)

  -- Calls `fn` with a hook that raises after the n-th instruction, once. True if it came to that.
  local function interrupted(n, fn)
    local raised = false
    pcall(function()
      debug.sethook(function()
        debug.sethook()
        raised = true
        error("too long", 0)
      end, "", n)
      fn()
      debug.sethook()
    end)
    return raised
  end

  -- Polls until no task is left; raises when one stays for ever.
  local function finish(what)
    local left
    helper.wait_until(function()
      left = client:poll(0.1)
      return left == 0
    end, function()
      return what .. ": tasks left for ever: " .. left
    end)
  end

  -- Tasks that wait for an answer, for time to pass, for each other, and for nothing.
  local function spawn_some(tasks)
    tasks[1] = client:spawn(function()
      return assert(client:limits()) and "answer"
    end)
    tasks[2] = client:spawn(function()
      return tasks[1]:result() and "joined"
    end)
    tasks[3] = client:spawn(function()
      coroutine.yield()
      return "turn"
    end)
    tasks[4] = client:spawn(function()
      coroutine.yield()
      error("its own", 0)
    end)
  end

  local EXPECTED = { "answer", "joined", "turn" }

  local function check(tasks, what)
    for i, task in pairs(tasks) do
      assert.is_true(task:done(), what)
      local value, err = task:result()
      if value ~= nil then
        assert.are.equal(EXPECTED[i], value, what)
      elseif not JIT and i < 4 then -- no hook is called in a task
        error(what .. ": " .. tostring(err))
      elseif i == 4 then
        assert.are.equal("task", err.kind)
      end
    end
  end

  it("in run loses no task, whatever instruction it comes after", function()
    local came = 0
    for n = 1, MOST do
      local tasks, what = {}, "after instruction " .. n
      spawn_some(tasks)
      came = came + (interrupted(n, function() client:run() end) and 1 or 0)
      finish(what)
      check(tasks, what)
    end
    assert.is_true(came > 200, came)
  end)

  it("in poll(0) loses no task", function()
    local came = 0
    for n = 1, MOST, 3 do
      local tasks, what = {}, "after instruction " .. n
      spawn_some(tasks)
      came = came + (interrupted(n, function()
        while client:poll(0) > 0 do end
      end) and 1 or 0)
      helper.wait_until(function()
        return client:poll(0) == 0
      end, function()
        return what .. ": left for ever"
      end)
      check(tasks, what)
    end
    assert.is_true(came > 200, came)
  end)

  it("in spawn, cancel or result leaves none", function()
    for n = 1, 800 do
      local tasks, what = {}, "after instruction " .. n
      interrupted(n, function()
        spawn_some(tasks)
        client:poll(0)
        tasks[1]:cancel()
        tasks[3]:cancel()
        tasks[2]:result()
      end)
      finish(what)
      for _, task in pairs(tasks) do
        assert.is_true(task:done(), what)
      end
    end
  end)

  it("in a pause between two tries lets the task go on", function()
    for n = 1, 600, 3 do
      org:fault { method = "GET", path = "/limits", status = 503 }
      local task = client:spawn(client.limits, client)
      interrupted(n, function() client:run() end)
      finish("after instruction " .. n)
      assert.is_true(task:done())
      if not JIT then
        assert(task:result())
      end
      org:clear_faults()
    end
  end)

  it("in a task that reads rows leaves nobody waiting who reads from the same set", function()
    if not yieldable.works then
      return pending "needs coxpcall"
    end
    local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    assert(query:wait())
    org:synthetic_query(query.id, { rows = 4, row_bytes = 100 })
    local came = 0
    for n = 1, 900, 7 do
      local set, tasks, before = query:results(), {}, came
      local function read(interrupt)
        if interrupt then
          debug.sethook(function()
            debug.sethook()
            came = came + 1
            error("too long", 0)
          end, "", n)
        end
        while set:next() do
          coroutine.yield()
        end
        debug.sethook()
      end
      for i = 1, 3 do
        tasks[i] = client:spawn(read, i == 1)
      end
      pcall(function() -- in LuaJIT, the hook may be called here, too
        repeat
          client:poll(0.1)
        until came > before or tasks[1]:done()
      end)
      debug.sethook()
      finish("after instruction " .. n)
      for _, task in ipairs(tasks) do
        assert.is_true(task:done())
      end
      set:close()
    end
    assert.is_true(came > 50, came)
  end)

  it("in close leaves no task to a client that is closed, and a second close ends the others", function()
    for n = 1, 400, 5 do
      local other = helper.client(org)
      org:fault { method = "GET", path = "/limits", stall = helper.NEVER_SECONDS, stall_when = "before" }
      local task = other:spawn(other.limits, other)
      while #org:requests { path = "/limits" } == 0 do
        other:poll(0.01)
      end
      interrupted(n, function() other:close() end)
      if tostring(other):find "closed" then
        other:run()
      else
        other:close()
      end
      assert.is_true(task:done(), n)
      org:reset()
    end
  end)

  it("leaves a client that anybody may poll", function()
    for _, first in ipairs { function(fn) pcall(fn) end, function(fn) coroutine.resume(coroutine.create(fn)) end } do
      local fails = true
      org:fault { method = "GET", path = "/limits", stall = 0.3, stall_when = "before" }
      local other = helper.client(org, { loop = function(waiting)
        if fails then
          fails = false
          error("interrupted", 0)
        end
        waiting:sleep()
      end })
      local task = other:spawn(other.limits, other)
      first(function() other:run() end)
      assert.is_false(fails)
      local good, ok = coroutine.resume(coroutine.create(function()
        return other:run()
      end))
      assert.is_true(good, ok)
      assert.is_true(ok)
      assert.is_true(task:done())
    end
  end)

  it("in a task ends that task alone, and says so", function()
    local tasks = {}
    spawn_some(tasks)
    tasks[5] = client:spawn(function()
      assert(client:limits())
      error({ reason = "of its own kind" })
    end)
    client:run()
    local _, err = tasks[5]:result()
    assert.are.equal("of its own kind", err.raised.reason)
    check({ tasks[1], tasks[2], tasks[3] }, "")
  end)
end)
