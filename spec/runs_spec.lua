--- Runs: one owner of what a load or an extract has on the disk, and what comes of the same call, or another, made again.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"

describe("a run", function()
  local path = helper.directory "each"
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function write(name, text)
    local file = assert(io.open(path(name), "wb"))
    file:write(text)
    file:close()
    return path(name)
  end

  local function csv(first, last)
    local lines = { "Name,Ext__c" }
    for i = first, last do
      lines[#lines + 1] = ("Row %d,E%d"):format(i, i)
    end
    return table.concat(lines, "\n") .. "\n"
  end

  local function options(more)
    return helper.with({ object = "Account", operation = "insert", part_bytes = 60, jobs = 1, journal = path "journal" }, more)
  end

  local function load(more)
    return client:load(options(more))
  end

  local function records_of(name)
    local list = {}
    for row in assert(bulkjob.csv.rows { file = name }) do
      list[#list + 1] = row
    end
    return list
  end

  local function count_open()
    return helper.states(org).Open or 0
  end

  local BAD_BATCH = '[{"errorCode":"INVALIDBATCH","message":"no"}]'

  -- A load of which the first `closed` parts are committed, and no more.
  local function broken_off(closed, more)
    org:fault { method = "PUT", after = closed, count = -1, status = 400, body = BAD_BATCH }
    local report, err = load(more)
    org:clear_faults()
    assert.is_nil(report)
    return err
  end

  local function listing(name)
    return (helper.shell("ls -A " .. path(name)))
  end

  describe("called again", function()
    it("goes on when it is the same, whatever the path and the times are", function()
      broken_off(2, { file = write("a.csv", csv(1, 20)) })
      helper.shell("touch -d '2001-01-01' " .. path "a.csv")
      helper.shell("cp " .. path "a.csv" .. " " .. path "b.csv")
      org:clear_requests()
      local report = assert(load { file = path() .. "/./b.csv" })
      assert.are.same({ true, false, 20, 20 }, { report.resumed, report.repeated, report.records, report.processed })
      assert.are.equal(20, org:count "Account")
      assert.are.equal(#report.jobs - 2, #org:requests { method = "PUT" })
    end)

    it("goes on with shorter parts where nothing was committed", function()
      broken_off(2, { file = write("a.csv", csv(1, 20)) })
      org:clear_requests()
      local report = assert(load { file = path "a.csv", part_bytes = 30 })
      assert.are.same({ 20, 20, 20 }, { report.records, report.processed, org:count "Account" })
      for i, info in ipairs(report.jobs) do
        assert.is_true(i <= 2 or org:job(info.id).bytes <= 30)
      end
      assert.is_true(#report.jobs > 10)
      local parts = {}
      for i, info in ipairs(report.jobs) do
        parts[i] = helper.received(org, info):sub(#"Name,Ext__c\n" + 1)
      end
      assert.are.equal(csv(1, 20), "Name,Ext__c\n" .. table.concat(parts))
      assert.is_true(assert(load { file = path "a.csv", part_bytes = 1000 }).repeated)
    end)

    it("answers its report again when it was finished, and makes no request", function()
      local first = assert(load { file = write("a.csv", csv(1, 20)), results = path "results" })
      os.remove(path "results/failed.csv")
      org:clear_requests()
      local report = assert(load { file = path "a.csv", results = path "results" })
      assert.are.same({ true, 20, first.results }, { report.repeated, report.processed, report.results })
      assert.are.equal(0, #org:requests())
      assert.is_nil(core.stat(path "results/failed.csv")) -- the user has taken it away
    end)

    it("begins anew when another was finished", function()
      assert(load { file = write("a.csv", csv(1, 20)) })
      local report = assert(load { file = write("a.csv", csv(21, 30)) })
      assert.are.same({ false, false, 10, 10 }, { report.resumed, report.repeated, report.records, report.processed })
      assert.are.equal(30, org:count "Account")
    end)

    it("begins anew by itself when nothing of another was committed", function() -- R2, R14
      local function night(n)
        return load { columns = { "Name" }, rows = { { Name = n .. "-1" }, { Name = n .. "-2" } } }
      end
      org:fault { method = "PUT", count = 1, status = 400, body = "[]" }
      assert.is_nil(night "mon")
      assert.are.equal(2, assert(night "tue").processed)
      assert.are.equal(2, assert(night "wed").processed)
      local times = org:times("Account", "Name")
      assert.are.same({ ["tue-1"] = 1, ["tue-2"] = 1, ["wed-1"] = 1, ["wed-2"] = 1 }, times)
      assert.are.equal(0, count_open())
      assert.is_nil(load { object = "Acount", rows = { { Name = "x" } } })
      assert.are.equal(1, assert(load { rows = { { Name = "x" } } }).processed)
    end)

    it("refuses to forget what was committed of another, and says what that is", function()
      broken_off(1, { file = write("a.csv", csv(1, 20)) })
      local log = helper.content(path "journal/log")
      org:clear_requests()
      for what, more in pairs {
        ["object was Account, and is Contact"] = { file = path "a.csv", object = "Contact" },
        ["the size of the input was %d+, and is %d+"] = { file = write("b.csv", csv(1, 21)) },
        ["the content of the input"] = { file = write("c.csv", (csv(1, 20):gsub("E1,", "E2,"):gsub("Row 1\n", "Raw 1\n"):gsub("Row 9", "Raw 9"))) },
        ["operation was insert, and is upsert"] = { file = path "a.csv", operation = "upsert", externalIdFieldName = "Ext__c" },
      } do
        local report, err = load(more)
        assert.is_nil(report)
        assert.matches(what, err.message)
        assert.matches("restart = true", err.message)
        assert.are.same({ 1, "committed" }, { err.parts[1].first, err.parts[1].what })
        assert.are.same({ "not sent", 20 }, { err.parts[#err.parts].what, err.parts[#err.parts].last })
        assert.is_truthy(err.parts[1].job)
      end
      assert.are.equal(0, #org:requests())
      assert.are.equal(log, helper.content(path "journal/log"))
      assert.are.same({ "lock\nlog\n" }, { listing "journal" })
      assert.are.equal(20, assert(load { file = path "a.csv" }).processed)
    end)

    it("begins anew all the same when it shall, and says what is sent again", function()
      broken_off(1, { file = write("a.csv", csv(1, 20)) })
      local report = assert(load { file = write("b.csv", csv(1, 10)), operation = "upsert", externalIdFieldName = "Ext__c", restart = true })
      assert.are.same({ 10, false, 1 }, { report.processed, report.resumed, #report.replaced })
      assert.are.same({ 1, "committed" }, { report.replaced[1].first, report.replaced[1].what })
    end)

    it("keeps the old run when a job of it cannot be ended, and goes on to begin anew later", function()
      broken_off(1, { file = write("a.csv", csv(1, 20)) })
      local other = { file = write("b.csv", csv(21, 30)) }
      -- Leave one job open, as a kill does.
      local text = helper.content(path "journal/log")
      local open = assert(client:create { object = "Account", operation = "insert" })
      local lines = text
      for _, step in ipairs { "created", "closing" } do
        local line = ('{"part":2,"step":"%s","job":"%s"'):format(step, open.id)
        lines = ('%s%s,"sum":%.0f}\n'):format(lines, line, core.crc32(lines:match '"sum":(%d+)}\n$' .. line))
      end
      write("journal/log", lines)
      org:fault { method = "PATCH", count = -1, status = 500 }
      local report = load(helper.with(other, { restart = true }))
      assert.is_nil(report)
      assert.are.equal(text, helper.content(path "journal/log"):sub(1, #text))
      assert.are.equal("Open", org:job(open.id).state)
      org:clear_faults()
      report = assert(load(other))
      assert.are.same({ 10, 10, 2 }, { report.records, report.processed, #report.replaced })
      assert.are.equal("perhaps committed", report.replaced[2].what)
      assert.are.equal("Aborted", org:job(open.id).state)
    end)

    it("needs the input no more when all is closed", function()
      local all = { file = write("a.csv", csv(1, 20)), results = path "results" }
      assert(load(helper.with(all, { wait = false })))
      os.remove(path "a.csv")
      local report = assert(load { results = path "results" })
      assert.are.same({ 20, true }, { report.processed, report.resumed })
      assert.are.equal(20, #records_of(report.results.successful))
      broken_off(1, { file = write("a.csv", csv(21, 40)) })
      local err
      report, err = load {}
      assert.is_nil(report)
      assert.matches("not all of it is closed yet", err.message)
      report, err = load { journal = path "other" }
      assert.is_nil(report)
      assert.matches("there is no run", err.message)
      assert.is_nil(core.list_directory(path "other"))
    end)

    it("has the report of rows, and of a file with columns of the service, again, and their results later", function() -- R13
      local function of_rows(more)
        return load(helper.with({ rows = { { Name = "One", Ext__c = "E1" }, { Name = "Two", Ext__c = "E2" } } }, more))
      end
      assert.are.equal(2, assert(of_rows { wait = false }).records)
      local report = assert(of_rows { results = path "results", join = true })
      assert.are.equal(2, #records_of(report.results.joined))
      assert.is_true(assert(of_rows()).repeated)
      local file = write("failed.csv", "sf__Id,sf__Error,Name,Ext__c\n,no,Three,E3\n")
      assert.are.equal(1, assert(load { file = file }).processed)
      assert.is_true(assert(load { file = file }).repeated)
      assert.are.equal(3, org:count "Account")
    end)

    it("is bound to the org, whatever the way to sign in", function() -- R5
      local other = helper.org(helper.AT_ONCE)
      finally(function()
        other:stop()
      end)
      local function client_of(which)
        return bulkjob.client { ca_file = which.ca_file, auth = function()
          return which.token, which.tls_url
        end }
      end
      local a, b = client_of(org), client_of(other)
      local all = options { file = write("a.csv", csv(1, 20)) }
      org:fault { method = "PUT", after = 1, count = -1, status = 400, body = BAD_BATCH }
      assert.is_nil((a:load(all)))
      org:clear_faults()
      local report, err = b:load(all)
      assert.is_nil(report)
      assert.matches("the org was 00D", err.message)
      assert.are.equal(0, #other:jobs())
      assert.are.equal(20, assert(a:load(all)).processed)
      a:close()
      b:close()
    end)
  end)

  describe("keeps the rows", function()
    it("from being sent again after an abort that came too late", function() -- R3
      org:set { slice_rows = 1, queue_seconds = 0, processing_seconds = 0.4, abort_goes_on_rows = 2, abort_goes_on_seconds = 0.3 }
      local all = options { file = write("a.csv", csv(1, 20)), part_bytes = 100000 }
      org:fault { method = "PATCH", stall = 0.6 }
      local task = client:spawn(client.load, client, all)
      helper.wait_until(function()
        client:poll(0.01)
        return #org:requests { method = "PATCH" } > 0
      end)
      task:cancel()
      assert.is_nil((task:result()))
      org:fault { method = "PATCH", stall = 0.8 }
      local report = assert(client:load(all))
      assert.are.equal(20, report.processed)
      assert.are.equal(1, #org:jobs())
      for _, times in pairs(org:times "Account") do
        assert.are.equal(1, times)
      end
    end)

    it("of a file that changes while its parts go up", function() -- R7
      local file = write("a.csv", csv(1, 40))
      local changed = false
      local mine = helper.client(org, { on_event = function(event)
        if event.type == "request" and event.method == "PUT" and not changed then
          changed = true
          write("a.csv", (csv(1, 40):gsub("E3", "X3")))
        end
      end })
      local report, err = mine:load(options { file = file })
      assert.is_nil(report)
      assert.are.equal("CONTENT_CHANGED", err.code)
      assert.are.equal(0, count_open())
      for name in pairs(org:times "Account") do
        assert.is_nil(name:find "X")
      end
    end)

    it("of today's second pass apart from yesterday's", function() -- R1
      local function day(text, retry)
        return assert(load {
          file = write("acc.csv", text), operation = "upsert", externalIdFieldName = "Ext__c", results = path "results",
          retry_failed = retry, part_bytes = 100000,
        })
      end
      day("Name,Ext__c,Parent.Ext__c\nChild,C1,P1\nParent,P1,\n", "P1")
      local report = day("Name,Ext__c,Parent.Ext__c\nChild2,C2,P2\nOther,O2,\n", "P")
      assert.are.same({ 1, 1 }, { report.failed, report.retried })
      local failed = records_of(report.results.failed)
      assert.are.same({ 1, "C2" }, { #failed, failed[1].Ext__c })
      for _, row in ipairs(records_of(report.results.successful)) do
        assert.are.equal("O2", row.Ext__c)
      end
    end)
  end)

  describe("comes back when no worker is under way any more", function()
    it("when its task is cancelled in the middle of a create", function() -- R4
      org:fault { method = "POST", stall = 0.7 }
      local task = client:spawn(client.load, client, options { file = write("a.csv", csv(1, 40)), jobs = 2 })
      local till = core.now() + 0.3
      while core.now() < till do
        client:poll(0.02)
      end
      task:cancel()
      local report, err = task:result()
      assert.is_nil(report)
      assert.are.equal("cancelled", err.kind)
      assert.are.equal(0, client:poll(0))
      assert.are.equal(0, count_open())
    end)

    it("at once when a callback raises, and leaves nothing open", function() -- R11
      org:set { queue_seconds = 30 }
      local report, err = load { file = write("a.csv", csv(1, 40)), jobs = 2, on_progress = function(progress)
        if (progress.jobs.processing or 0) > 0 then
          error "oops"
        end
      end }
      assert.is_nil(report)
      assert.matches("oops", err.message)
      local seen = 0
      local mine = helper.client(org, { on_event = function(event)
        if event.type == "request" and event.method == "PUT" then
          seen = seen + 1
          error "no more"
        end
      end })
      report, err = mine:load(options { file = write("b.csv", csv(41, 80)), jobs = 2, journal = path "other" })
      assert.is_nil(report)
      assert.matches("no more", err.message)
      assert.is_true(seen > 0)
      assert.are.equal(0, count_open())
    end)

    it("from an extract, too", function() -- R11
      org:set { query_page_records = 5 }
      assert(load { file = write("a.csv", csv(1, 20)), part_bytes = 100000 })
      local pages = 0
      local mine = helper.client(org, { on_event = function(event)
        if event.type == "request" and event.url:find "/results%?" then
          pages = pages + 1
          if pages == 3 then
            error "oops"
          end
        end
      end })
      local report, err = mine:extract { query = "SELECT Ext__c FROM Account", file = path "rows.csv", pages = 4 }
      assert.is_nil(report)
      assert.matches("oops", err.message)
      assert.is_nil(core.stat(path "rows.csv"))
      assert.are.equal(0, mine:poll(0))
    end)

    it("though the disk under its log is full, and nothing is left open", function() -- R18
      local open_log, lines = core.open_log, 0
      core.open_log = function(name) -- luacheck: ignore
        local log, why = open_log(name)
        return log and setmetatable({ append = function(_, text)
          lines = lines + 1
          if lines > 2 then
            return nil, core.error("io", "No space left on device")
          end
          return log:append(text)
        end }, { __index = function(_, method)
          return function(_, ...)
            return log[method](log, ...)
          end
        end }), why
      end
      finally(function()
        core.open_log = open_log -- luacheck: ignore
      end)
      local report, err = load { file = write("a.csv", csv(1, 20)) }
      assert.is_nil(report)
      assert.matches("No space left", err.message)
      assert.are.same({ Aborted = 1 }, helper.states(org))
      core.open_log = open_log -- luacheck: ignore
      assert.are.equal(20, assert(load { file = path "a.csv" }).processed)
      assert.are.equal(20, org:count "Account")
    end)

    it("from two tasks that read one result set: each row goes to one of them", function() -- R12
      org:set { query_page_records = 2 }
      assert(load { file = write("a.csv", csv(1, 10)), part_bytes = 100000 })
      local query = assert(client:create { operation = "query", query = "SELECT Ext__c FROM Account" })
      assert(query:wait())
      local set, rows = query:results(), 0
      local tasks = {}
      for i = 1, 2 do
        tasks[i] = client:spawn(function()
          while set:next() do -- PUC Lua 5.1 cannot yield inside an iterator
            rows = rows + 1
          end
        end)
      end
      assert(client:run())
      assert.is_true(tasks[1]:done() and tasks[2]:done())
      assert.are.equal(10, rows)
    end)
  end)

  describe("makes a part anew whose job holds two bodies, and can never run", function()
    it("and names the job where that cannot be aborted", function()
      org:set { second_upload = "taken" }
      local all = options { file = write("a.csv", csv(1, 20)), part_bytes = 100000 }
      org:fault { method = "PUT", reset = "after" }
      local report = assert(client:load(all))
      assert.are.same({ 20, nil }, { report.processed, report.left_open })
      assert.are.same({ Aborted = 1, JobComplete = 1 }, helper.states(org))
      org:fault { method = "PUT", reset = "after" }
      org:fault { method = "PATCH", after = 1, status = 400, body = BAD_BATCH }
      report = assert(client:load(helper.with(all, { file = write("a.csv", csv(21, 40)) })))
      assert.are.same({ 20, 1 }, { report.processed, #report.left_open })
      assert.are.equal("Open", org:job(report.left_open[1]).state)
      assert.are.equal(40, org:count "Account")
    end)

    it("and names it, too, when it is one of the second pass", function()
      org:set { second_upload = "taken" }
      org:fault { method = "PUT", after = 1, reset = "after" }
      org:fault { method = "PATCH", after = 2, status = 400, body = BAD_BATCH }
      local report = assert(client:load(options {
        file = write("a.csv", csv(1, 20) .. "Again,E1\n"), part_bytes = 100000, results = path "results", retry_failed = "DUPLICATE_VALUE",
      }))
      assert.are.same({ 21, 1, 1, 1 }, { report.processed, report.failed, report.retried, #report.left_open })
      assert.are.equal("Open", org:job(report.left_open[1]).state)
    end)
  end)

  describe("has results of one run or none", function()
    it("and refuses beforehand where they cannot go", function() -- R8, R15
      local file = write("a.csv", csv(1, 10))
      write("plain", "x")
      for what, results in pairs {
        ["holds the input"] = path(), ["plain is a file: results go into a directory of their own"] = path "plain", ["No such file"] = path "no/where",
      } do
        local report, err = load { file = file, results = results, journal = path "journal" }
        assert.is_nil(report)
        assert.matches(what, err.message)
      end
      local lock = assert(core.lock(path()))
      assert(core.make_directory(path "results"))
      local other = assert(core.lock(path "results"))
      local report, err = load { file = file, results = path "results" }
      assert.is_nil(report)
      assert.are.equal("LOCKED", err.code)
      other:close()
      lock:close()
      assert.are.equal(0, #org:requests())
      assert.is_nil(core.list_directory(path "journal"))
    end)

    it("and never in the place of the input, or of a directory", function()
      assert(core.make_directory(path "results"))
      write("results/failed.csv", csv(1, 3))
      helper.shell("ln -s results/failed.csv " .. path "a.csv")
      helper.shell("mkdir -p " .. path "taken/joined.csv")
      for what, given in pairs {
        ["failed.csv is the input"] = { file = path "a.csv", results = path "results" },
        ["a regular file expected"] = { file = path "a.csv", results = path "taken" },
      } do
        local report, err = load(given)
        assert.is_nil(report)
        assert.matches(what, err.message)
      end
      assert.are.equal(csv(1, 3), helper.content(path "results/failed.csv"))
      assert.are.equal("joined.csv\n", listing "taken")
      assert.are.equal(0, #org:requests())
    end)

    it("and nothing beside them, without a journal, too", function()
      local report = assert(client:load {
        object = "Account", operation = "insert", rows = { { Name = "One", Ext__c = "E1" }, { Ext__c = "E2" } }, results = path "results",
        retry_failed = "REQUIRED", join = true,
      })
      assert.are.same({ 2, 1, 1 }, { report.processed, report.failed, report.retried })
      assert.are.equal("failed.csv\njoined.csv\nsuccessful.csv\nunprocessed.csv\n", listing "results")
      assert.are.equal("results\n", (helper.shell("ls -A " .. path())))
    end)

    it("also of an input without rows", function() -- R8
      assert(load { file = write("a.csv", "Name,Ext__c\n,E1\n"), results = path "results", join = true })
      org:clear_requests()
      local report = assert(load { file = write("b.csv", "Name,Ext__c\n"), results = path "results" })
      assert.are.equal(0, #org:requests())
      assert.are.equal("sf__Id,sf__Error,Name,Ext__c\n", helper.content(report.results.failed))
      assert.are.equal("failed.csv\nsuccessful.csv\nunprocessed.csv\n", listing "results")
    end)

    it("published together, whenever that is broken off", function()
      local rename = core.publish
      finally(function()
        core.publish = rename -- luacheck: ignore
      end)
      for most = 0, 3 do
        local all = {
          file = write("a.csv", csv(most * 10 + 1, most * 10 + 10)), results = path "results", join = true, journal = path("journal" .. most),
        }
        local kept = 0
        core.publish = function(from, to) -- luacheck: ignore
          if to:find "results/" and kept == most then
            return nil, core.error("io", "broken off")
          end
          kept = kept + (to:find "results/" and 1 or 0)
          return rename(from, to)
        end
        local report, err = load(all)
        core.publish = rename -- luacheck: ignore
        assert.is_nil(report)
        assert.are.equal("broken off", err.message)
        local there = core.list_directory(path "results") or {}
        assert.are.equal(most, #there)
        for _, name in ipairs(there) do
          os.remove(path("results/" .. name)) -- the user has seen it, and takes it away
        end
        org:clear_requests()
        report = assert(load(all))
        assert.are.same({ true, 0 }, { report.resumed, #org:requests() })
        assert.are.equal(4 - most, #core.list_directory(path "results"))
        os.execute("rm -rf " .. path "results")
      end
    end)

    it("of jobs that are gone, whose rows nobody knows", function()
      local all = { file = write("a.csv", csv(1, 20)) }
      local first = assert(load(helper.with(all, { wait = false })))
      helper.wait_until(function()
        return helper.FINAL[org:job(first.jobs[1].id).state]
      end)
      assert(client:job(first.jobs[1].id, "ingest"):delete())
      local report = assert(load(helper.with(all, { results = path "results", join = true })))
      assert.is_true(report.unknown > 0)
      assert.are.equal(20, report.unknown + report.processed)
      assert.are.same({ 0, true }, { report.unprocessed, report.jobs[1].gone })
      local outcomes = {}
      for _, row in ipairs(records_of(report.results.joined)) do
        outcomes[row.sf__Outcome] = (outcomes[row.sf__Outcome] or 0) + 1
      end
      assert.are.same({ unknown = report.unknown, successful = report.processed }, outcomes)
      assert.are.equal(20, org:count "Account")
    end)

    it("fetched once, though they come in another order each time", function()
      org:set { shuffle_results = true }
      local lines = { "Name,Ext__c" }
      for i = 1, 30 do
        lines[i + 1] = (i % 3 == 0 and "" or "Row " .. i) .. ",E" .. i
      end
      local all = {
        file = write("a.csv", table.concat(lines, "\n") .. "\n"), results = path "results", retry_failed = "REQUIRED", part_bytes = 300,
      }
      org:fault { method = "POST", after = 1, count = -1, status = 400, body = BAD_BATCH } -- the first job of the second pass
      assert.is_nil(load(all))
      org:clear_faults()
      local report = assert(load(all))
      assert.are.same({ 30, 10, 10 }, { report.processed, report.failed, report.retried })
      assert.are.equal(10, #records_of(report.results.failed))
      assert.are.equal(20, #records_of(report.results.successful))
    end)
  end)

  it("joins results with few files open at a time, however many rows there are", function() -- R20
    local program = write("join.lua", ([[
      local client = require "bulkjob".client { instance_url = "https://localhost", access_token = "x" }
      local at = %q
      assert(require("bulkjob.load.join").files {
        client = client, file = at .. "/a.csv", columns = { "Name", "Ext__c" }, key = "Ext__c", delimiter = "COMMA", line_ending = "LF",
        records = 1e9, path = at .. "/joined.csv",
        results = { successful = at .. "/good.csv", failed = at .. "/bad.csv", unprocessed = at .. "/none.csv" },
        result_columns = { successful = { "Name", "Ext__c" }, failed = { "Name", "Ext__c" }, unprocessed = { "Name", "Ext__c" } },
      })]]):format(path()))
    write("a.csv", csv(1, 300))
    write("good.csv", (csv(1, 300):gsub("Row", "001,true,Row"):gsub("Name", "sf__Id,sf__Created,Name", 1)))
    write("bad.csv", "sf__Id,sf__Error,Name,Ext__c\n")
    write("none.csv", "Name,Ext__c\n")
    assert.are.equal("", (helper.shell("ulimit -n 128; exec " .. os.getenv "LUA" .. " " .. program)))
    for i, row in ipairs(records_of(path "joined.csv")) do
      assert.are.same({ "successful", "E" .. i }, { row.sf__Outcome, row.Ext__c })
    end
  end)

  describe("touches nothing that was not made by it", function()
    it("and says so", function() -- R9
      write("notes", "a line without an end")
      assert(core.make_directory(path "mine"))
      write("mine/log", "a log of something else")
      assert(core.make_directory(path "yours"))
      write("yours/thing", "x")
      helper.shell(("mkdir -p %s/log %s; mkfifo %s/log"):format(path "no_file", path "pipe", path "pipe"))
      assert(core.make_directory(path "cache")) -- names that our files have, too, but no lock of ours beside them
      write("cache/0123456789abcdef.json", "x")
      assert(core.make_directory(path "theirs"))
      write("theirs/lock", "process 17")
      local file = write("a.csv", csv(1, 3))
      for name, what in pairs { notes = "this is a file", ["a.csv"] = "this is a file", mine = "not made by bulkjob", yours = "'thing' is in it",
        pipe = "not made by bulkjob", no_file = "Is a directory", cache = "'0123456789abcdef.json' is in it", theirs = "'lock' is in it" } do
        local report, err = load { file = file, journal = path(name) }
        assert.is_nil(report)
        assert.matches(what, err.message)
      end
      assert.are.equal("a line without an end", helper.content(path "notes"))
      assert.are.equal(csv(1, 3), helper.content(file))
      assert.are.same({ "log\n", "thing\n", "0123456789abcdef.json\n", "lock\n" },
        { listing "mine", listing "yours", listing "cache", listing "theirs" })
      assert.are.equal(0, #org:requests())
    end)

    it("and refuses a log that is damaged, but not one whose last line is torn", function()
      broken_off(1, { file = write("a.csv", csv(1, 20)) })
      local text = helper.content(path "journal/log")
      local lines = {}
      for line in text:gmatch "[^\n]*\n" do
        lines[#lines + 1] = line
      end
      assert.is_true(#lines > 5)
      local function refuses(new, what)
        write("journal/log", new)
        local report, err = load { file = path "a.csv" }
        assert.is_nil(report)
        assert.matches(what, err.message)
      end
      for i = 1, #lines do
        local before, behind = table.concat(lines, "", 1, i - 1), table.concat(lines, "", i + 1)
        local number = "line " .. i .. " is damaged"
        refuses(before .. lines[i]:gsub("(750%w*)(%w)", "%11%2"):gsub('records":%d', 'records":7') .. behind, number)
        if i > 1 then
          refuses(before .. "no JSON\n" .. lines[i] .. behind, number)
          refuses(before .. lines[i] .. lines[i] .. behind, "line " .. i + 1 .. " is damaged")
          refuses(before .. lines[i]:gsub(',"sum":%d+', "") .. behind, number)
          refuses(before .. lines[i]:gsub("{", [[{"\ud800":1,]], 1) .. behind, number) -- which a response may have
        end
        if i > 1 and i < #lines then
          refuses(before .. behind, number)
        end
      end
      refuses(lines[1]:sub(1, -2), "line 1 is damaged")
      refuses((text:gsub('"format":%d', '"format":1')), "not made by this version")
      write("journal/log", text .. '{"part":2,"st')
      assert.are.equal(20, assert(load { file = path "a.csv" }).processed)
    end)

    it("and leaves nothing of what was refused", function() -- R20
      for _, more in ipairs {
        { rows = {} }, { rows = { { Name = {} } } }, { rows = { { Name = "a" }, nil, { Name = "c" } } }, { rows = { Name = "a" } },
        { file = write("bad.csv", "Name,Ext__c\nOne,1\nTwo\n") }, { rows = function()
          return nil, "disk gone"
        end },
      } do
        local report, err = load(more)
        assert.is_nil(report)
        assert.is_truthy(err)
        assert.is_nil(core.list_directory(path "journal"))
      end
      local good, why = pcall(load, { rows = function()
        error "at once"
      end })
      assert.is_false(good)
      assert.matches("at once", tostring(why))
      assert.is_nil(core.list_directory(path "journal"))
    end)
  end)

  it("ends with its client, also when a coroutine inside a task closes that", function() -- R21
    local mine = helper.client(org)
    local good, why
    mine:spawn(function()
      good, why = pcall(coroutine.wrap(function()
        mine:close()
      end))
    end)
    pcall(mine.run, mine)
    assert.is_true(good, why)
  end)

  it("is taken by one process at a time", function()
    local all = options { file = write("a.csv", csv(1, 20)) }
    local lock
    assert(core.make_directory(path "journal"))
    lock = assert(core.lock(path "journal/lock"))
    local report, err = client:load(all)
    assert.is_nil(report)
    assert.are.equal("LOCKED", err.code)
    lock:close()
    assert.are.equal(20, assert(client:load(all)).processed)
  end)

  it("is begun again under the path when that was removed between the look and the lock", function()
    assert(core.make_directory(path "journal"))
    local lock = assert(core.lock(path "journal/lock"))
    os.remove(path "journal/lock")
    local again, err = core.lock(path "journal/lock") -- another file
    assert(again, err)
    again:close()
    lock:close()
  end)

  describe("of rows", function()
    it("is not cut short in silence", function() -- R19
      local function uploads(source)
        local job = assert(client:create { object = "Account", operation = "insert" })
        local ok, err = job:upload(source)
        job:abort()
        return ok, err
      end
      local a, c = { Name = "a" }, { Name = "c" }
      for what, rows in pairs {
        ["rows%[2%] is missing"] = { a, nil, c }, ["an array of rows expected"] = a,
        ["row 2: fields by their names expected, got values by their positions"] = { a, { "b" } }, ["disk gone"] = function()
          return nil, "disk gone"
        end,
      } do
        for _, result in ipairs {
          { uploads { rows = rows, columns = { "Name" } } }, { bulkjob.csv.encode(rows, { "Name" }) },
          { load { rows = rows, columns = { "Name" } } },
          { client:create { object = "Account", operation = "insert", data = { rows = rows, columns = { "Name" } } } },
        } do
          assert.is_nil(result[1])
          assert.matches(what, result[2].message)
        end
      end
    end)
  end)
end)
