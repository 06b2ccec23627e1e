local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"
local yieldable = require "bulkjob.yieldable"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"

describe("tasks", function()
  local org, client, events
  helper.scene(helper.AT_ONCE, function(...)
    org, client, events = ...
  end)

  local function whole_job()
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload(CSV))
    assert(job:close())
    return assert(job:wait())
  end

  local function poll_until(ready)
    helper.wait_until(function()
      client:poll(0)
      return ready()
    end)
  end

  local function slow(seconds)
    return { method = "GET", path = "/limits", stall = seconds, stall_when = "before" }
  end

  it("run side by side, and give back what they return", function()
    local tasks = {}
    for i = 1, 20 do
      tasks[i] = client:spawn(function(n)
        return n, whole_job().numberRecordsProcessed, nil
      end, i)
      assert.is_false(tasks[i]:done())
    end
    assert.is_true(assert(client:run()))
    for i, task in ipairs(tasks) do
      assert.is_true(task:done())
      assert.are.equal(3, select("#", task:result()))
      assert.are.same({ i, 2 }, { task:result() })
    end
    assert.are.same({ JobComplete = 20 }, helper.states(org))
  end)

  it("let others run while they wait", function()
    org:fault(slow(2))
    local order = {}
    client:spawn(function()
      assert(client:limits())
      order[#order + 1] = "slow"
    end)
    client:spawn(function()
      assert(client:limits())
      order[#order + 1] = "fast"
    end)
    assert(client:poll(0.01)) -- the first request is on its way before the second
    assert(client:run())
    assert.are.same({ "fast", "slow" }, order)
  end)

  it("do nothing before the first poll", function()
    local begun = false
    client:spawn(function()
      begun = true
    end)
    assert.is_false(begun)
    assert.are.equal(0, client:poll(0))
    assert.is_true(begun)
  end)

  it("are a thousand in one script", function()
    local done = 0
    for _ = 1, 1000 do
      client:spawn(function()
        assert(client:limits())
        done = done + 1
      end)
    end
    assert(client:run())
    assert.are.equal(1000, done)
    assert.are.equal(1000, helper.count(events, "request"))
  end)

  it("wait inside the iterators of results and of lists", function()
    local id = whole_job().id
    local rows, jobs = 0, 0
    client:spawn(function()
      local set = client:job(id):successful_results()
      local row = set:next()
      while row do -- Lua 5.1 cannot wait inside `for`
        rows = rows + 1
        row = set:next()
      end
    end)
    client:spawn(function()
      local next_job = client:jobs()
      while next_job() do
        jobs = jobs + 1
      end
    end)
    assert(client:run())
    assert.are.same({ 2, 1 }, { rows, jobs })
  end)

  it("wait inside `for`, pcall and metamethods", function()
    if helper.PUC_5_1 then
      pending "tasks wait inside `for`, pcall and metamethods: PUC Lua 5.1 cannot yield there"
    end
    local id = whole_job().id
    local rows = 0
    local lazy = setmetatable({}, { __index = function()
      return assert(client:limits())
    end })
    client:spawn(function()
      for row in client:job(id):successful_results() do
        rows = rows + (row.sf__Id and 1 or 0)
      end
      assert(pcall(client.limits, client))
      assert(lazy.limits.DailyApiRequests)
    end)
    assert(client:run())
    assert.are.equal(2, rows)
  end)

  describe("that read from one result set", function()
    local ROWS = 5000

    local function open_set()
      org:set { query_rows = ROWS, query_row_bytes = 100, query_page_records = 1200, processing_seconds = 0.01 }
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      assert(query:wait())
      return query:results()
    end

    -- Reads in three tasks until each is at its end. The rows that came, how many each task had, and what each raised.
    local function read_in_tasks(set)
      local rows, counts, errs = {}, {}, {}
      for i = 1, 3 do
        counts[i] = 0
        client:spawn(function()
          local good, err = yieldable.pcall(function()
            local row = set:next()
            while row do
              rows[row.Number] = (rows[row.Number] or 0) + 1
              counts[i] = counts[i] + 1
              if counts[i] % 100 == 0 then
                coroutine.yield()
              end
              row = set:next()
            end
          end)
          errs[i] = not good and err or nil
        end)
      end
      assert(client:run())
      return rows, counts, errs
    end

    it("share its rows: each goes to one of them", function()
      if not yieldable.works then
        return pending "needs coxpcall"
      end
      local rows, counts, errs = read_in_tasks(open_set())
      assert.are.same({}, errs)
      local number = 0
      for _, times in pairs(rows) do
        assert.are.equal(1, times)
        number = number + 1
      end
      assert.are.equal(ROWS, number)
      assert.are.equal(ROWS, counts[1] + counts[2] + counts[3])
    end)

    it("share its text, in pieces that are whole together", function()
      if not yieldable.works then
        return pending "needs coxpcall"
      end
      local set = open_set()
      local expected = assert(set:read())
      local next_piece, pieces, ended = set:chunks(), {}, 0
      for _ = 1, 3 do
        client:spawn(function()
          local piece = next_piece()
          while piece do
            pieces[#pieces + 1] = piece
            piece = next_piece()
          end
          ended = ended + 1
        end)
      end
      assert(client:run())
      assert.are.equal(3, ended)
      assert.is_true(table.concat(pieces) == expected)
    end)

    it("share its errors", function()
      if not yieldable.works then
        return pending "needs coxpcall"
      end
      local set = open_set()
      org:fault { path = "/results", cut = 5000, count = -1 }
      local _, _, errs = read_in_tasks(set)
      for i = 1, 3 do
        assert.are.equal("network", errs[i].kind)
      end
    end)

    it("are told when one of them closes it", function()
      if not yieldable.works then
        return pending "needs coxpcall"
      end
      local set = open_set()
      org:fault { path = "/results", stall = 3, count = -1 }
      client:spawn(function()
        while #org:requests { path = "/results" } == 0 do
          coroutine.yield()
        end
        set:close()
      end)
      local _, counts, errs = read_in_tasks(set)
      assert.are.same({ 0, 0, 0 }, counts)
      assert.are.equal("cancelled", errs[1].kind)
    end)

    it("are alone in it: a coroutine of somebody else's raises", function()
      local set = open_set()
      org:fault { path = "/results", stall = 0.3 }
      local reader = client:spawn(function()
        return set:next()
      end)
      client:poll(0)
      local good, err = pcall(set.next, set)
      assert.is_false(good)
      assert.matches("another coroutine is reading this result set", tostring(err))
      assert(client:run())
      assert.is_table(reader:result())
      assert.is_table(set:next())
    end)
  end)

  it("upload rows and functions, and save results", function()
    local path = helper.file ""
    local rows = {}
    for i = 1, 20000 do
      rows[i] = { Name = "Name " .. i, Ext__c = "A-" .. i }
    end
    local function load(source)
      return function()
        local job = assert(client:create { object = "Account", operation = "insert" })
        assert(job:upload(source))
        assert(job:close())
        assert(job:wait())
        assert(job:successful_results():save(path .. tostring(source):gsub("%W", "")))
        os.remove(path .. tostring(source):gsub("%W", ""))
        return job.state
      end
    end
    local i = 0
    local one = client:spawn(load { rows = rows })
    local other = client:spawn(load(function()
      i = i + 1
      return i == 1 and "Name\n" or i < 1000 and ("x"):rep(1000) .. "\n" or nil
    end))
    assert(client:run())
    assert.are.equal("JobComplete", one:result())
    assert.are.equal("JobComplete", other:result())
  end)

  -- Polls as a game does until no task is left. Answers the most that `count` grew in one poll, and its last value.
  local function largest_step(count)
    local most, before = 0, 0
    repeat
      local left, err = client:poll(0)
      assert(not err, err)
      most = math.max(most, count() - before)
      before = count()
      helper.sleep(0.001)
    until left == 0
    return most, before
  end

  it("do not keep poll(0) for all the rows they read", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    local total = org:synthetic(job.id, "failed", 3000000)
    local seen = 0
    client:spawn(function()
      local set = job:failed_results()
      while set:next() do -- Lua 5.1 cannot wait inside `for`
        seen = seen + 1
      end
    end)
    local most, all = largest_step(function()
      return seen
    end)
    assert.are.equal(total, all)
    assert.is_true(most < total / 8, most .. " of " .. total .. " rows in one poll")
  end)

  it("do not keep poll(0) for all the rows they send", function()
    local total, made = 20000, 0
    client:spawn(function()
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload { rows = function()
        made = made + 1
        return made <= total and { Name = "Name " .. made } or nil
      end })
    end)
    local most, all = largest_step(function()
      return made
    end)
    assert.are.equal(total + 1, all)
    assert.is_true(most < total / 8, most .. " of " .. total .. " rows in one poll")
    assert.are.same({ Open = 1 }, helper.states(org))
  end)

  it("go on in turns when their user yields", function()
    local order = {}
    for _, name in ipairs { "a", "b" } do
      client:spawn(function()
        for i = 1, 2 do
          order[#order + 1] = name .. i
          coroutine.yield()
        end
      end)
    end
    assert(client:run())
    assert.are.same({ "a1", "b1", "a2", "b2" }, order)
  end)

  it("of another client get their news, whoever polls", function()
    local other = helper.client(org)
    local task = other:spawn(function()
      return assert(other:limits()).DailyApiRequests.Max
    end)
    client:spawn(function()
      for _ = 1, 5 do
        assert(client:limits())
      end
      assert(other:limits())
    end)
    other:poll(0)
    local early = task:done() -- a slow machine may have had the answer within the poll
    assert(client:run())
    assert.are.equal(early, task:done())
    assert(other:run())
    assert.is_number(task:result())
  end)

  describe("when they fail", function()
    it("answer what they raised, with their own traceback", function()
      local function culprit()
        error "oops"
      end
      local task = client:spawn(function()
        assert(client:limits())
        culprit()
      end)
      local nothing, err = task:result()
      assert.is_nil(nothing)
      assert.are.equal("task", err.kind)
      assert.matches("task_spec.lua:%d+: oops$", err.message)
      assert.matches("culprit", err.traceback)
      assert.matches("task_spec.lua", err.traceback)
      assert.is_true(client:run())
    end)

    it("answer an error of ours as it is", function()
      local given
      local task = client:spawn(function()
        given = select(2, client:job("7508d00000Kq3XbAAJ"):info())
        error(given)
      end)
      local _, err = task:result()
      assert.are.equal(given, err)
      assert.are.equal("api", given.kind)
      assert.matches("traceback", given.traceback)
    end)

    it("answer any value", function()
      for _, value in ipairs { 42, {}, false } do
        local task = client:spawn(error, value, 0)
        assert.are.equal(tostring(value), select(2, task:result()).message)
      end
    end)

    it("are told once by poll or run, if nobody has asked for the result", function()
      client:spawn(error, "first", 0)
      client:spawn(error, "second", 0)
      assert.are.equal("first", select(2, client:poll(1)).message)
      assert.are.equal("second", select(2, client:poll(1)).message)
      assert.is_nil((select(2, client:poll(1))))
      client:spawn(error, "third", 0)
      local ok, err = client:run()
      assert.is_nil(ok)
      assert.are.equal("third", err.message)
      assert.is_true(client:run())
    end)

    it("roll their job back", function()
      client:spawn(function()
        return bulkjob.with(assert(client:create { object = "Account", operation = "insert" }), function(job)
          assert(job:upload(CSV))
          error "oops"
        end)
      end)
      assert.is_nil(client:run())
      assert.are.same({ Aborted = 1 }, helper.states(org))
    end)
  end)

  describe("wait for each other", function()
    it("by result()", function()
      local first = client:spawn(function()
        return assert(client:limits()).DailyApiRequests.Max
      end)
      local second = client:spawn(function()
        return first:result() + 1
      end)
      assert.are.equal(first:result() + 1, second:result())
    end)

    it("but not for themselves", function()
      local task
      task = client:spawn(function()
        return task:result()
      end)
      assert.matches("cannot wait for itself", select(2, task:result()).message)
    end)

    it("and cannot poll", function()
      for _, call in ipairs { { "poll", 0 }, { "poll" }, { "run" } } do
        local task = client:spawn(function()
          return client[call[1]](client, call[2])
        end)
        assert.matches("called in a task", select(2, task:result()).message)
      end
    end)
  end)

  describe("that are cancelled", function()
    local function is_cancelled(task)
      local nothing, err = task:result()
      assert.is_nil(nothing)
      assert.are.equal("cancelled", err.kind)
      return err
    end

    it("end the call they wait in", function()
      org:fault { method = "GET", path = "/limits", stall = helper.NEVER_SECONDS, stall_when = "before" }
      local task = client:spawn(function()
        return client:limits()
      end)
      client:poll(0.1)
      assert.is_true(task:cancel())
      assert.are.equal(0, client:poll(helper.HANG_SECONDS))
      is_cancelled(task)
      assert.is_false(task:cancel())
    end)

    it("never begin if they have not", function()
      local begun = false
      local task = client:spawn(function()
        begun = true
      end)
      assert.is_true(task:cancel())
      is_cancelled(task)
      assert.is_true(client:run())
      assert.is_false(begun)
      assert.are.equal(0, client:poll(0))
    end)

    it("leave a job that they wait for alone", function()
      org:set { queue_seconds = helper.NEVER_SECONDS }
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload(CSV))
      assert(job:close())
      local task = client:spawn(function()
        return job:wait()
      end)
      poll_until(function()
        return #org:requests { method = "GET", path = job.id } > 0
      end)
      assert.is_true(task:cancel())
      client:poll(0)
      assert.are.equal(job.id, is_cancelled(task).job_id)
      assert.are.equal("UploadComplete", org:job(job.id).state)
    end)

    it("in an upload roll the job back, after the pause between two tries as well", function()
      for _, fault in ipairs {
        { method = "PUT", stall = helper.NEVER_SECONDS, stall_when = "before" },
        { method = "PUT", status = 503, headers = { ["Retry-After"] = "300" } },
      } do
        org:reset()
        org:set(helper.AT_ONCE)
        org:fault(fault)
        local task = client:spawn(function()
          local job = assert(client:create { object = "Account", operation = "insert" })
          return job:upload(CSV)
        end)
        poll_until(function()
          return #org:requests { method = "PUT" } > 0 and (fault.stall or helper.count(events, "retry") > 0)
        end)
        assert.is_true(task:cancel())
        is_cancelled(task)
        assert.are.same({ Aborted = 1 }, helper.states(org))
      end
    end)

    it("in a close are in doubt, and roll nothing back", function()
      org:fault { method = "PATCH", stall = helper.NEVER_SECONDS, stall_when = "after" }
      local task = client:spawn(function()
        return bulkjob.with(assert(client:create { object = "Account", operation = "insert" }), function(job)
          assert(job:upload(CSV))
          return job:close()
        end)
      end)
      poll_until(function()
        return #org:requests { method = "PATCH" } > 0
      end)
      assert.is_true(task:cancel())
      local err = is_cancelled(task)
      assert.is_true(err.in_doubt)
      assert.is_nil(helper.states(org).Aborted)
    end)

    it("between two waits are so at the next one", function()
      org:fault(slow(0.3)) -- no answer is there before it is waited for
      local task
      task = client:spawn(function()
        task:cancel()
        local ok, err = client:limits()
        assert(not ok)
        assert(client:limits())
        return nil, err
      end)
      is_cancelled(task)
    end)

    it("stop waiting for another task, which goes on", function()
      org:fault(slow(1))
      local first = client:spawn(function()
        return assert(client:limits()) and "done"
      end)
      local second = client:spawn(function()
        return first:result()
      end)
      client:poll(0.05)
      client:poll(0.05)
      second:cancel()
      is_cancelled(second)
      assert.are.equal("done", first:result())
    end)

    it("with their client are done, and its files are closed", function()
      org:fault { method = "GET", path = "/limits", stall = helper.NEVER_SECONDS, stall_when = "before" }
      local task = client:spawn(client.limits, client)
      local waiting = client:spawn(task.result, task)
      client:poll(0.1)
      client:close()
      assert.is_true(task:done())
      assert.is_true(waiting:done())
      is_cancelled(task)
    end)
  end)

  it("abort what another task uploads, which ends at once", function()
    org:fault { method = "PUT", status = 503, headers = { ["Retry-After"] = "300" } }
    local job = assert(client:create { object = "Account", operation = "insert" })
    local upload = client:spawn(job.upload, job, CSV)
    poll_until(function()
      return helper.count(events, "retry") > 0
    end)
    local abort = client:spawn(job.abort, job)
    assert.are.equal("Aborted", assert(abort:result()).state)
    local began = core.now()
    assert.are.equal("cancelled", select(2, upload:result()).kind)
    assert.is_true(core.now() - began < helper.HANG_SECONDS)
  end)

  it("are misused", function()
    assert.has_error(function() client:spawn "limits" end, "bulkjob: spawn: a function expected, got string")
    assert.has_error(function() client:poll "soon" end, "bulkjob: poll: a number of seconds expected, got string")
  end)

  it("and a poll with a limit comes back in time", function()
    org:fault(slow(helper.NEVER_SECONDS))
    client:spawn(client.limits, client)
    local before = core.now()
    while client:poll(0.05) > 0 and core.now() - before < 1 do end
    assert.is_true(core.now() - before < helper.HANG_SECONDS)
  end)

  it("are collected with a client that was left with some of them waiting", function()
    local left = setmetatable({}, { __mode = "k" })
    for _ = 1, 5 do
      local one = bulkjob.client { instance_url = org.url, access_token = org.token }
      left[one] = true
      local task = one:spawn(function()
        coroutine.yield()
        one:limits()
      end)
      left[task] = true
      one:poll(0)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(left))
  end)

  it("show their state", function()
    local task = client:spawn(function() end)
    assert.matches("^bulkjob.task %d+$", tostring(task))
    client:run()
    assert.matches("done", tostring(task))
  end)
end)
