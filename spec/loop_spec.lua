--- In the event loops that Lua has: what waits there leaves the others running.
local loops = require "spec.loops" -- copas has to come before socket.http, which the helper needs
local cqueues = require "cqueues"
local lfs = require "lfs"
local uv = require "luv"
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"

local PUC_5_1 = _VERSION == "Lua 5.1" and not jit
local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"

local PRELUDE = [[
local loops = require "spec.loops"
local bulkjob = require "bulkjob"
local function new_client(loop)
  return bulkjob.client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE, loop = loop }
end
]]

local function slow(seconds)
  return { method = "GET", path = "/limits", stall = seconds, stall_when = "before", count = -1 }
end

local function descriptors()
  local n = 0
  for _ in lfs.dir "/proc/self/fd" do
    n = n + 1
  end
  return n
end

-- The engine closes what it has in its own time.
local function await_descriptors(most)
  helper.wait_until(function()
    collectgarbage()
    collectgarbage()
    return descriptors() <= most
  end, function()
    return descriptors() .. " descriptors, and not more than " .. most .. " expected"
  end)
end

for _, new_loop in ipairs(loops) do
  local name = new_loop().name

  describe("in " .. name .. ",", function()
    local org, client, events, loop, go, run
    helper.scene(helper.AT_ONCE, function(...)
      org, client, events = ...
      client:close()
      loop = new_loop()
      client = helper.client(org, { loop = loop.option, on_event = helper.recorder(events) })
      go = loop.go
      function run()
        local errors = loop.run()
        assert(#errors == 0, tostring(errors[1]))
      end
    end)

    -- Counts the beats that the loop has time for until `over()`.
    local function beat_until(over, seconds)
      local beats = 0
      go(function()
        while not over() do
          loop.sleep(seconds or 0.005)
          beats = beats + 1
        end
      end)
      return function()
        return beats
      end
    end

    local function loaded(source)
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload(source))
      assert(job:close())
      return job
    end

    it("a job is done from its rows to its results", function()
      local info, names = nil, {}
      go(function()
        local job = loaded { rows = { { Name = "One", Ext__c = "A-1" }, { Name = "Two", Ext__c = "A-2" } } }
        info = assert(job:wait())
        local set = job:successful_results()
        local row = set:next()
        while row do
          names[#names + 1] = row.Name
          row = set:next()
        end
      end)
      run()
      assert.are.equal(2, info.numberRecordsProcessed)
      assert.are.same({ "One", "Two" }, names)
      assert.are.same({ JobComplete = 1 }, helper.states(org))
    end)

    it("many coroutines make several calls each", function()
      local done = 0
      for _ = 1, 50 do
        go(function()
          for _ = 1, 3 do
            assert(client:limits())
          end
          done = done + 1
        end)
      end
      run()
      assert.are.equal(50, done)
      assert.are.equal(150, helper.count(events, "request"))
    end)

    it("the loop goes on while requests are not answered", function()
      helper.more_than(20, function(seconds)
        org:clear_faults()
        org:fault(slow(seconds))
        local done = 0
        for _ = 1, 3 do
          go(function()
            assert(client:limits())
            done = done + 1
          end)
        end
        local beats = beat_until(function()
          return done == 3
        end)
        run()
        return beats()
      end)
    end)

    it("the loop goes on during the pauses of retries, and of wait; they end", function()
      local runs = 0
      helper.more_than(40, function(seconds)
        org:fault { method = "GET", path = "/limits", status = 503, headers = { ["retry-after"] = tostring(math.ceil(seconds)) } }
        org:set { queue_seconds = seconds / 2 }
        local waited, tried
        go(function()
          waited = assert(loaded(CSV):wait())
        end)
        go(function()
          tried = assert(client:limits())
        end)
        local beats = beat_until(function()
          return waited and tried
        end)
        run()
        runs = runs + 1
        assert.are.equal("JobComplete", waited.state)
        assert.are.equal(runs, helper.count(events, "retry"))
        return beats()
      end)
    end)

    it("a time-out of wait comes in time", function()
      org:set { hold = true }
      helper.more_than(5, function(seconds)
        local info, err
        go(function()
          info, err = loaded(CSV):wait { timeout = seconds / 2 }
        end)
        local beats = beat_until(function()
          return err
        end)
        run()
        assert.is_nil(info)
        assert.are.equal("timeout", err.kind)
        return beats()
      end)
    end)

    if not PUC_5_1 then
      it("rows are read in `for`", function()
        local id
        go(function()
          id = loaded(CSV).id
        end)
        run()
        org:synthetic(id, "failed", 3000000)
        helper.more_than(10, function(seconds)
          org:clear_faults()
          org:fault { method = "GET", path = "failedResults", rate = 3000000 / seconds, count = -1 }
          local n, sum, done = 0, 0, 0
          for _ = 1, 2 do
            go(function()
              local last
              for row in client:job(id):failed_results() do
                n, last = n + 1, row
              end
              sum, done = sum + tonumber(last.Number), done + 1
            end)
          end
          local beats = beat_until(function()
            return done == 2
          end)
          run()
          assert.are.equal(n, sum)
          return beats()
        end)
      end)
    end

    local BUSY = {
      ["rows are read"] = function(id)
        local set = client:job(id):failed_results()
        while set:next() do end
      end,
      ["rows are made"] = function(id)
        local n = 0
        assert(client:job(id):upload { rows = function()
          n = n + 1
          return n <= 100000 and { Name = "Name " .. n, Ext__c = n } or nil
        end })
      end,
      ["a task reads rows"] = function(id)
        client:spawn(function()
          local set = client:job(id):failed_results()
          while set:next() do end
        end)
        assert(client:run())
      end,
      ["a file is checked"] = function()
        local file = helper.file("Name,Ext__c\n" .. ("A name,an id\n"):rep(3000000) .. "short\n")
        local report, err = client:load { object = "Account", operation = "insert", file = file }
        assert(not report and err.kind == "csv", err)
      end,
    }
    for what, work in pairs(BUSY) do
      it("the loop goes on while " .. what .. " and nothing has to be waited for", function()
        local id, over
        go(function()
          local job = assert(client:create { object = "Account", operation = "insert" })
          id = job.id
        end)
        run()
        org:synthetic(id, "failed", 10000000)
        go(function()
          work(id)
          over = true
        end)
        local beats = beat_until(function()
          return over
        end, 0.001)
        run()
        assert.is_true(beats() > 5, beats() .. " beats")
      end)
    end

    it("an iterator of rows may itself wait for another coroutine", function()
      local queue, fed, info = {}, false, nil
      go(function()
        info = assert(loaded({ rows = function()
          while not queue[1] and not fed do
            loop.sleep(0.001)
          end
          return table.remove(queue, 1)
        end }):wait())
      end)
      go(function()
        for i = 1, 30 do
          queue[#queue + 1] = { Name = "Name " .. i }
          loop.sleep(0.002)
        end
        fed = true
      end)
      run()
      assert.are.equal(30, info.numberRecordsProcessed)
      assert.are.equal(0, info.numberRecordsFailed)
    end)

    it("tasks run in a coroutine beside others", function()
      helper.more_than(10, function(seconds)
        org:clear_faults()
        org:fault(slow(seconds))
        local done, left = 0, nil
        for _ = 1, 5 do
          client:spawn(function()
            assert(client:limits())
            done = done + 1
          end)
        end
        go(function()
          assert(client:run())
          left = client:poll(0)
        end)
        local beats = beat_until(function()
          return left
        end)
        run()
        assert.are.same({ 5, 0 }, { done, left })
        return beats()
      end)
    end)

    if name ~= "luv" then -- which ends the program, see below
      it("what a coroutine raises comes to the loop's handler", function()
        go(function()
          assert(client:limits())
          error "oh dear"
        end)
        go(function()
          assert(client:limits())
        end)
        local errors = loop.run()
        assert.are.equal(1, #errors)
        assert.truthy(tostring(errors[1]):find "oh dear")
      end)
    end

    if new_loop().drop then
      it("a loop that is dropped while coroutines wait leaves no descriptor", function()
        go(function()
          assert(client:limits())
        end)
        run()
        org:fault(slow(helper.NEVER_SECONDS))
        local before = descriptors()
        for _ = 1, 3 do
          local start = loop.go_unprotected or go -- in Lua 5.1, coxpcall never lets go of a coroutine that was dropped in it
          for _ = 1, 10 do
            start(function()
              client:limits()
              error "this is never reached"
            end)
          end
          helper.wait_until(function()
            loop.run(0.05)
            return descriptors() > before
          end, function()
            return "no more than " .. before .. " descriptors"
          end)
          loop.drop()
          loop = new_loop()
          go = loop.go
        end
        -- Connections that are not in use may stay open, up to max_connections.
        await_descriptors(before + 8)
        org:clear_faults()
        local limits
        go(function()
          limits = assert(client:limits())
        end)
        run()
        assert.is_table(limits)
      end)
    end
  end)
end

describe("the way to wait", function()
  it("is not missed by a wakeup that comes just before, as while a host is connecting", function()
    local channel = core.channel()
    channel:wake()
    channel:set_deadline(core.now() + helper.HANG_SECONDS)
    local begun = core.now()
    channel:sleep()
    assert.is_true(core.now() - begun < helper.HANG_SECONDS / 2)
    channel:close()
    channel:wake() -- nobody waits there any more
  end)

  local org
  helper.scene(helper.AT_ONCE, function(the_org)
    org = the_org
  end)

  -- What `waiting` is waited for with, by a client that has not been told.
  local function chosen()
    return require("bulkjob.loop").choose()
  end

  it("is to block in plain code, and in a coroutine of nobody's", function()
    assert.are.equal(bulkjob.loop.block, chosen())
    assert.are.equal(bulkjob.loop.block, coroutine.wrap(chosen)())
  end)

  it("is found out in a coroutine of cqueues", function()
    local way
    local controller = cqueues.new()
    controller:wrap(function()
      way = chosen()
    end)
    assert(controller:loop())
    assert.are.equal(bulkjob.loop.cqueues, way)
  end)

  it("is found out in a coroutine that luv runs, and only there", function()
    local way, way_of_callback
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      timer:close()
      way_of_callback = chosen()
      coroutine.wrap(function()
        way = chosen()
      end)()
    end)
    uv.run()
    assert.are.equal(bulkjob.loop.luv, way)
    assert.are.equal(bulkjob.loop.block, way_of_callback)
    assert.are.equal(bulkjob.loop.block, chosen())
  end)

  it("says that those of nginx and HAProxy need them", function()
    for name, host in pairs { ngx = "nginx", haproxy = "a task, a service or an action of HAProxy" } do
      local client = helper.client(org, { loop = bulkjob.loop[name] })
      assert.has_error(function()
        client:limits()
      end, ("bulkjob: loop = bulkjob.loop.%s goes with %s only, and this is none. Without `loop` the library finds what there is"):format(name, host))
    end
  end)

  it("says that luv's needs a coroutine", function()
    local client = helper.client(org, { loop = bulkjob.loop.luv })
    local limits, err = client:limits()
    assert.is_nil(limits)
    assert.matches("^io error: the call cannot wait: .*luv goes with a coroutine", tostring(err))
    coroutine.wrap(function()
      limits = client:limits()
    end)()
    uv.run()
    assert.is_table(limits)
  end)

  it("works in a second controller after the first was dropped", function()
    local client = helper.client(org)
    org:fault(slow(helper.NEVER_SECONDS))
    local first = cqueues.new()
    first:wrap(function()
      client:limits()
    end)
    assert(first:step(0.05))
    first = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    org:clear_faults()
    local limits
    local second = cqueues.new()
    second:wrap(function()
      limits = assert(client:limits())
    end)
    assert(second:loop(helper.HANG_SECONDS))
    assert.is_table(limits)
  end)

  local function spawn_five(client)
    local done = 0
    for _ = 1, 5 do
      client:spawn(function()
        assert(client:limits())
        assert(client:limits())
        done = done + 1
      end)
    end
    return function()
      return done
    end
  end

  it("of tasks can be a coroutine of cqueues that polls the client", function()
    local client = helper.client(org)
    local done = spawn_five(client)
    local controller = cqueues.new()
    controller:wrap(function()
      while client:poll(0) > 0 do
        cqueues.poll(client)
      end
    end)
    assert(controller:loop(helper.HANG_SECONDS))
    assert.are.equal(5, done())
  end)

  it("of tasks can be a handle of luv, without a coroutine", function()
    local client = helper.client(org)
    local done = spawn_five(client)
    local poll, timer = uv.new_poll(client:pollfd()), uv.new_timer()
    local function go_on()
      if client:poll(0) == 0 then
        poll:close()
        timer:close()
        return
      end
      local seconds = client:timeout()
      timer:stop()
      if seconds then
        timer:start(math.ceil(seconds * 1000), 0, go_on)
      end
    end
    poll:start("r", go_on)
    timer:start(0, 0, go_on)
    uv.run()
    assert.are.equal(5, done())
  end)

  it("in plain code is not to look again and again", function()
    local waits = 0
    local client = helper.client(org, { compress = false, loop = function(waiting)
      waits = waits + 1
      return bulkjob.loop.block(waiting)
    end })
    local job = assert(client:create { object = "Account", operation = "insert" })
    org:synthetic(job.id, "failed", 3000000)
    org:fault { method = "GET", path = "failedResults", rate = 6000000 }
    for _ in job:failed_results() do end -- luacheck: ignore
    assert.is_true(waits < 1000, waits .. " waits for a body of about 100 pieces")
  end)

  -- Runs a script that comes after PRELUDE in a process of its own. `command` gets to run "$@".
  local function run(script, command)
    local path = helper.file(helper.names(org) .. PRELUDE .. script)
    return helper.shell(("%s %s %s"):format(command or "exec", helper.quote(os.getenv "LUA"), helper.quote(path)))
  end

  it("in luv does not hide what the coroutine raises", function()
    local out, status = run [[
      local loop, client = loops[2](), new_client()
      loop.go_unprotected(function()
        client:limits()
        local function culprit()
          error "oh dear"
        end
        culprit()
      end)
      loop.run()
      print "not reached"
    ]]
    assert.truthy(out:find("Uncaught Error: .*oh dear\n.*culprit"), out)
    assert.is_nil(out:find "not reached")
    assert.are_not.equal(0, status)
  end)

  describe("in luv does not lose without a word what a generator of coroutines yields", function()
    local GENERATOR = [[
      local loop, client = loops[2](), new_client()
      local function rows()
        return coroutine.wrap(function()
          for i = 1, 3 do
            coroutine.yield({ number = i, limits = bulkjob.assert(client:limits()) })
          end
        end)
      end
      loop.go_unprotected(function()
        for row in rows() do
          %s
        end
      end)
      loop.run()
      print "not reached"
    ]]

    it("where the value is used", function()
      local out, status = run(GENERATOR:format "print(row.number)")
      assert.truthy(out:find("this is no value: the coroutine that yielded it waits for libuv's loop", 1, true), out)
      assert.is_nil(out:find "not reached")
      assert.are_not.equal(0, status)
    end)

    it("where it is asked for the next one", function()
      local out, status = run(GENERATOR:format "local _ = row")
      assert.truthy(out:find("waits for libuv's loop, and another one has resumed it", 1, true), out)
      assert.is_nil(out:find "not reached")
      assert.are_not.equal(0, status)
    end)

    it("where it is left", function()
      local out, status = run(GENERATOR:format "break")
      assert.truthy(out:find("a coroutine yielded a value to libuv's loop", 1, true), out)
      assert.is_nil(out:find "not reached")
      assert.are_not.equal(0, status)
    end)
  end)

  if coroutine.close then -- luacheck: ignore
    it("in luv bears that the coroutine is closed meanwhile", function()
      org:fault(slow(3))
      local out, status = run [[
        local loop, client, waits = loops[2](), new_client(), nil
        loop.go(function()
          waits = coroutine.running()
          client:limits()
          print "not reached"
        end)
        loop.go(function()
          loop.sleep(0.1)
          assert(coroutine.close(waits))
        end)
        loop.go(function()
          for _ = 1, 100 do
            collectgarbage()
            loop.sleep(0.01)
          end
        end)
        loop.run()
        print "done"
      ]]
      assert.are.same({ "done\n", 0 }, { out, status })
    end)
  end

  it("in copas is refused where its select cannot watch the descriptor, and its loop goes on", function()
    local out, status = run([[
      local loop, client, files = loops[3](), new_client(bulkjob.loop.copas), {}
      for i = 1, 1030 do
        files[i] = assert(io.open "/dev/null")
      end
      loop.go(function()
        local limits, err = client:limits()
        print(limits, err.kind, err.message)
      end)
      assert(#loop.run() == 0)
      for _, file in ipairs(files) do
        file:close()
      end
      loop.go(function()
        print(client:limits() and "works again")
      end)
      assert(#loop.run() == 0)
    ]], "ulimit -n 2000; exec")
    assert.truthy(out:find("^nil\tio\tthe call cannot wait: copas cannot watch descriptor %d+, [^\n]*\nworks again\n$"), out)
    assert.are.equal(0, status)
  end)
end)
