local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"

describe("client:load", function()
  local path = helper.directory "each"
  local org, client, events
  helper.scene(helper.AT_ONCE, function(...)
    org, client, events = ...
  end)

  local function make_csv(count, delimiter, eol, mark)
    local lines = { (mark or "") .. "Name" .. delimiter .. "Ext__c" .. eol }
    for i = 1, count do
      lines[#lines + 1] = ('"Row%s%d"%sE%d%s'):format(eol, i, delimiter, i, eol)
    end
    return table.concat(lines)
  end

  local function make_file(count)
    return helper.file(make_csv(count or 100, ",", "\n"))
  end

  local function options(more)
    return helper.with({ object = "Account", operation = "insert", part_bytes = 600, jobs = 3 }, more)
  end

  local function all_once(count)
    local times = org:times "Account"
    for i = 1, count do
      assert.are.equal(1, times["E" .. i], "row " .. i)
    end
    assert.are.equal(count, org:count "Account")
  end

  local function records_of(name)
    local list = {}
    for row in assert(bulkjob.csv.rows { file = name }) do
      list[#list + 1] = row
    end
    return list
  end

  it("loads a file in as many jobs as it takes, and reports", function()
    local file = make_file(100)
    local report = assert(client:load(options { file = file }))
    assert.are.same({ 100, 100, 0, 0 }, { report.records, report.processed, report.failed, report.unprocessed })
    assert.is_true(#report.jobs > 2)
    for _, info in ipairs(report.jobs) do
      assert.are.equal("JobComplete", info.state)
      assert.is_true(org:job(info.id).bytes <= 600)
    end
    assert.are.equal(#helper.content(file) - #"Name,Ext__c\n", report.bytes)
    all_once(100)
  end)

  it("sends the bytes as they are, behind the header, whatever delimiter and line end", function()
    for name, delimiter in pairs(helper.DELIMITERS) do
      for ending, eol in pairs { LF = "\n", CRLF = "\r\n" } do
        org:reset()
        org:set(helper.AT_ONCE)
        local text = make_csv(30, delimiter, eol)
        local report = assert(client:load(options { file = helper.file("\239\187\191" .. text), part_bytes = 200 }))
        local header = text:sub(1, #("Name,Ext__c" .. eol))
        local parts = {}
        for i, info in ipairs(report.jobs) do
          assert.are.same({ name, ending }, { info.columnDelimiter, info.lineEnding })
          local got = helper.received(org, info)
          assert.are.equal(header, got:sub(1, #header))
          parts[i] = got:sub(#header + 1)
        end
        assert.are.equal(text, header .. table.concat(parts))
        all_once(30)
      end
    end
  end)

  it("never runs more jobs at a time than it may", function()
    org:set { queue_seconds = 0.05, processing_seconds = 0.05 }
    local most = 0
    assert(client:load(options { file = make_file(100), jobs = 2, on_progress = function(progress)
      local busy = 0
      for name, count in pairs(progress.jobs) do
        busy = busy + (name ~= "waiting" and name ~= "done" and count or 0)
      end
      most = math.max(most, busy)
    end }))
    assert.are.equal(2, most)
  end)

  it("loads rows from an array and an iterator, and leaves no file but the log and the lock", function()
    local rows, i = {}, 0
    for n = 1, 50 do
      rows[n] = { Name = "Row " .. n, Ext__c = "E" .. n }
    end
    for _, source in ipairs { rows, function()
      i = i + 1
      return rows[i]
    end } do
      org:reset()
      org:set(helper.AT_ONCE)
      local report = assert(client:load(options { rows = source, journal = path "journal" }))
      assert.are.equal(50, report.processed)
      assert.are.equal("lock\nlog\n", (helper.shell("ls " .. path "journal")))
      os.execute("rm -rf " .. path "journal")
      all_once(50)
    end
  end)

  it("answers the error of rows that fail, and has made no request", function()
    local report, err = client:load(options { rows = { { Name = {} } } })
    assert.is_nil(report)
    assert.are.equal("csv", err.kind)
    report, err = client:load(options { rows = function()
      return nil
    end })
    assert.is_nil(report)
    assert.matches("no rows", err.message)
    assert.are.equal(0, #org:requests())
  end)

  it("does nothing with a header alone", function()
    local report = assert(client:load(options { file = helper.file "Name,Ext__c\n", results = path "results" }))
    assert.are.same({ 0, 0, 0 }, { #report.jobs, report.records, report.bytes })
    assert.are.equal(0, #org:requests())
  end)

  it("comes back when all is closed, if it need not wait", function()
    org:set { queue_seconds = helper.NEVER_SECONDS }
    local report = assert(client:load(options { file = make_file(20), wait = false, results = path "results" }))
    assert.are.equal("UploadComplete", report.jobs[1].state)
    assert.is_nil(report.results)
  end)

  describe("saves results", function()
    it("in three files with one header each", function()
      local lines = { "Name,Ext__c" }
      for i = 1, 60 do
        lines[i + 1] = i % 10 == 0 and ",E" .. i or "Row " .. i .. ",E" .. i -- an account needs a name
      end
      local report = assert(client:load(options {
        file = helper.file(table.concat(lines, "\n") .. "\n"), part_bytes = 200, results = path "results",
      }))
      assert.are.same({ 60, 60, 6 }, { report.records, report.processed, report.failed })
      local good, bad = records_of(report.results.successful), records_of(report.results.failed)
      assert.are.same({ 54, 6, 0 }, { #good, #bad, #records_of(report.results.unprocessed) })
      for _, row in ipairs(bad) do
        assert.matches("^E%d0$", row.Ext__c)
        assert.is_true(#row.sf__Error > 0)
      end
    end)

    it("that can be loaded again as they are", function()
      local csv = "Name,Ext__c\n,E1\n,E2\nThree,E3\n"
      local report = assert(client:load(options { file = helper.file(csv), results = path "results" }))
      assert.are.equal(2, report.failed)
      local text = helper.content(report.results.failed):gsub('"",', '"mended",'):gsub(',""', ',"mended"')
      local again = assert(client:load(options { file = helper.file(text) }))
      assert.are.same({ 2, 0 }, { again.records, again.failed })
      all_once(3)
      again = assert(client:load(options { file = report.results.failed }))
      assert.are.same({ 2, 2 }, { again.records, again.failed })
    end)
  end)

  it("makes a part anew whose job holds its data twice, and can never be closed", function()
    org:fault { method = "PUT", path = "/batches", reset = "after" }
    org:fault { method = "PUT", path = "/batches", status = 201, body = "", effect = false }
    org:fault { method = "PATCH", path = "/jobs/ingest/", status = 400,
      body = '[{"errorCode":"INVALIDJOB","message":"Found multipe contents for job: <750>"}]' }
    local report = assert(client:load(options { file = make_file(2) }))
    assert.are.same({ 2, 0, 1 }, { report.processed, report.failed, #report.jobs })
    assert.are.same({ Aborted = 1, JobComplete = 1 }, helper.states(org))
    all_once(2)
  end)

  it("takes an empty line of one column for no record", function()
    local report = assert(client:load(options {
      file = helper.file("Name\n\nA\n\nB\n\n\n" .. ("C\n\n"):rep(400)), results = path "results", join = true,
    }))
    assert.are.same({ 402, 402, 0, 0 }, { report.records, report.processed, report.failed, report.unprocessed })
    assert.are.equal(402, #records_of(report.results.joined))
    assert.is_true(#report.jobs > 1)
  end)

  it("loads columns of a package whose namespace is sf", function()
    org:define("Account", { { name = "sf__Ref__c", type = "text", length = 40 } })
    local report = assert(client:load(options { file = helper.file "Name,sf__Ref__c,sf__Error\nA,R1,x\n" }))
    assert.are.equal(0, report.failed)
    assert.are.same({ R1 = 1 }, org:times("Account", "sf__Ref__c"))
  end)

  describe("tells why", function()
    local BAD = "Name,Ext__c,NumberOfEmployees\nA,E1,\nB,E1,\nC,E2,x\n,E3,1\n,E4,2\n,E5,3\nD,E1,\n"

    it("rows failed, by cause, the most frequent first, with files or without", function()
      for _, directory in ipairs { false, path "results" } do
        org:reset()
        org:set(helper.AT_ONCE)
        local report = assert(client:load(options { file = helper.file(BAD), results = directory or nil, part_bytes = 100000 }))
        local found = {}
        for i, reason in ipairs(report.errors) do
          found[i] = { reason.code, reason.count, reason.example.Ext__c, (reason.message:find("[Name]", 1, true)) }
        end
        assert.are.same({
          { "REQUIRED_FIELD_MISSING", 3, "E3", 30 }, { "DUPLICATE_VALUE", 2, "E1" }, { "INVALID_TYPE_ON_FIELD_IN_RECORD", 1, "E2" },
        }, found)
        assert.is_nil(report.blank)
      end
    end)

    it("a job failed", function()
      local report = assert(client:load(options { file = helper.file "Name,Nope\nA,B\n" }))
      assert.are.same({ "Failed", 1, {} }, { report.jobs[1].state, report.unprocessed, report.errors })
      assert.matches("Field name not found : Nope", report.jobs[1].errorMessage)
    end)

    it("and does without where that cannot be had", function()
      org:fault { path = "failedResults", status = 400, count = -1, body = '[{"errorCode":"X","message":"no"}]' }
      local report = assert(client:load(options { file = helper.file(BAD), part_bytes = 100000 }))
      assert.are.same({ 7, 6 }, { report.processed, report.failed })
      assert.is_nil(report.errors)
    end)

    it("and counts where the service does not", function()
      for _, directory in ipairs { false, path "results" } do
        org:reset()
        org:set(helper.AT_ONCE)
        org:set { counters = false }
        local report = assert(client:load(options { file = helper.file(BAD), results = directory or nil }))
        assert.are.same({ 7, 7, 6, 0, 0 }, { report.records, report.processed, report.failed, report.unprocessed, report.unknown })
        assert.is_nil(report.lower_bound)
      end
    end)

    it("and without counters is an error as long as nobody can say how many failed", function()
      org:set { counters = false }
      org:fault { path = "failedResults", status = 500, count = 4 }
      local given = options { file = helper.file(BAD), journal = path "journal" }
      local report, err = client:load(given)
      assert.is_nil(report)
      assert.are.equal(500, err.status)
      report = assert(client:load(given))
      assert.are.same({ 7, 7, 6, 0, 0 }, { report.records, report.processed, report.failed, report.unprocessed, report.unknown })
    end)

    it("and without counters, where the results are gone, nobody knows what became of the rows", function()
      org:set { counters = false }
      org:fault { path = "failedResults", gone = "before" }
      local report = assert(client:load(options { file = helper.file(BAD), part_bytes = 100000 }))
      assert.are.same({ 7, 0, 0, 0, 7 }, { report.records, report.processed, report.failed, report.unprocessed, report.unknown })
    end)

    it("a damaged file of unprocessed rows is not kept", function()
      org:hold(true, "InProgress", 0)
      local given = options { file = helper.file(BAD), journal = path "journal", results = path "results", part_bytes = 100000 }
      local task = client:spawn(client.load, client, given)
      helper.wait_until(function()
        client:poll(0.01)
        return helper.states(org).InProgress
      end)
      org:fault { path = "unprocessedrecords", status = 200, headers = { ["Content-Type"] = "text/csv" }, body = "Name,Ext__c,Numb\nA,E1" }
      assert(client:job(org:jobs()[1].id):abort())
      local report, err = task:result()
      assert.is_nil(report)
      assert.are.equal("csv", err.kind)
      assert.are.equal(7, assert(client:load(given)).unprocessed)
    end)

    it("failed rows cannot be loaded again, whose values the service did not give back", function()
      org:fault { path = "failedResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
        body = '"sf__Id","sf__Error",name,ext__c\n"","REQUIRED_FIELD_MISSING:x:--","",""\n' }
      assert.is_true(assert(client:load(options { file = helper.file "name,ext__c\n,E1\n", results = path "results" })).blank)
    end)
  end)

  describe("joins the results with the input", function()
    local function joined(text, more)
      local report = assert(client:load(options(helper.with({
        file = helper.file(text), results = path "results", join = true,
      }, more))))
      for _, kind in ipairs { "outcomes", "rows", "matched" } do
        assert.is_nil(helper.content(report.results.joined .. "." .. kind .. "1"))
      end
      return records_of(report.results.joined), report
    end

    it("in the order of the input", function()
      local lines = { "Ext__c,Name,NumberOfEmployees" }
      for i = 1, 200 do
        lines[#lines + 1] = ("E%d,%s,%d"):format(i, i % 7 == 0 and "" or ('"Row ""%d""\n"'):format(i), i * 1000000)
      end
      local rows = joined(table.concat(lines, "\n") .. "\n", { part_bytes = 1000 })
      assert.are.equal(200, #rows)
      for i, row in ipairs(rows) do
        assert.are.equal("E" .. i, row.Ext__c)
        assert.are.equal(i % 7 == 0 and "failed" or "successful", row.sf__Outcome)
        assert.are.equal(i % 7 == 0, row.sf__Id == "")
        assert.are.equal(i % 7 == 0, row.sf__Error ~= "")
      end
    end)

    it("by the external id of an upsert, which may be written otherwise elsewhere", function()
      local rows = joined("Name,Ext__c,AnnualRevenue\nOne,E1,912260031\nTwo,E2,5.0\n,E3,1\n",
        { operation = "upsert", externalIdFieldName = "Ext__c" })
      assert.are.same({ "successful", "successful", "failed" },
        { rows[1].sf__Outcome, rows[2].sf__Outcome, rows[3].sf__Outcome })
      assert.are.equal("912260031", rows[1].AnnualRevenue)
    end)

    it("of rows that are the same, each with an outcome of its own", function()
      local rows = joined("Name,Ext__c\nSame,E1\nSame,E1\nOther,E2\n")
      local outcomes = { rows[1].sf__Outcome, rows[2].sf__Outcome }
      table.sort(outcomes)
      assert.are.same({ "failed", "successful" }, outcomes) -- Ext__c is unique
      assert.are.equal("successful", rows[3].sf__Outcome)
    end)

    it("and says where that cannot be written, before any request", function()
      assert(core.make_directory(path "results"))
      helper.shell("mkfifo " .. path "results/joined.csv")
      local report, err = client:load(options { file = make_file(1000), part_bytes = 100000, results = path "results", join = true })
      assert.is_nil(report)
      assert.are.same({ "io", path "results/joined.csv" .. ": a regular file expected" }, { err.kind, err.message })
      assert.are.equal(0, #org:requests())
    end)

    it("so that the file can be loaded as it is", function()
      local _, report = joined "Name,Ext__c\nOne,E1\n,E2\n"
      assert.are.same({ 2, 2 }, { assert(client:load(options { file = report.results.joined })).records, #report.jobs + 1 })
    end)
  end)

  local CSV = { ["Content-Type"] = "text/csv" }
  for name, answer in pairs { ["a 204"] = { status = 204 }, ["an empty body"] = { status = 200, body = "", headers = CSV } } do
    it("gives each result file its header where the service says that there is no row by " .. name, function()
      local headers = {
        successful = "sf__Id,sf__Created,Name,Ext__c\n", failed = "sf__Id,sf__Error,Name,Ext__c\n", unprocessed = "Name,Ext__c\n",
      }
      org:set { counters = false }
      for _, resource in ipairs { "successfulResults", "failedResults", "unprocessedrecords" } do
        org:fault(helper.with(answer, { path = resource, count = -1 }))
      end
      local report = assert(client:load(options {
        file = helper.file "Name,Ext__c,sf__Error\nOne,E1,\n", results = path "results", join = true, retry_failed = "x",
      }))
      for kind, header in pairs(headers) do
        assert.are.equal(header, helper.content(report.results[kind]))
        assert.are.equal(0, assert(client:load(options { file = report.results[kind] })).records)
      end
      assert.are.equal("unknown", records_of(report.results.joined)[1].sf__Outcome)
    end)
  end

  describe("does not take a job or its results for gone", function()
    local HTML = "<html>no such page</html>"
    local NOT_FOUND = '[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]'

    local function good(report)
      assert.are.same({ 3, 3, 0 }, { report.records, report.processed, report.unknown })
      assert.are.equal(3, #records_of(report.results.successful))
      all_once(3)
    end

    for what, fault in pairs {
      ["when a proxy says so of the results"] = { path = "successfulResults", status = 404, body = HTML },
      ["when a proxy says so while it runs"] = { method = "GET", path = "/jobs/ingest/%w+$", status = 404, body = HTML },
      ["when the service says so once, at the close"] = { method = "PATCH", status = 404, body = NOT_FOUND, count = 1 },
    } do
      it(what, function()
        org:set { processing_seconds = 0.3 }
        local given = options { file = make_file(3), journal = path "journal", results = path "results" }
        org:fault(helper.with({ count = -1 }, fault))
        local report, err = client:load(given)
        assert.is_nil(report)
        assert.are.equal(404, err.status)
        org:clear_faults()
        good(assert(client:load(given)))
      end)
    end

    it("when it says so once, of the results or while it runs", function()
      for _, at in ipairs { "successfulResults", "unprocessedrecords", "/jobs/ingest/%w+$" } do
        for _, body in ipairs { NOT_FOUND, at:find "%%" and NOT_FOUND or HTML } do
          org:reset()
          org:set { queue_seconds = 0, processing_seconds = 0.3 }
          org:fault { method = "GET", path = at, status = 404, body = body }
          local report, err = client:load(options { file = make_file(3), results = path "results" })
          if at:find "%%" then
            assert.are.equal(404, err.status)
          else
            good(assert(report, err))
          end
        end
      end
    end)
  end)

  it("has no rows in its files whose outcome it does not know", function()
    org:fault { path = "unprocessedrecords", gone = "before" }
    local report = assert(client:load(options { file = make_file(3), results = path "results", join = true }))
    assert.are.same({ 0, 3 }, { report.processed, report.unknown })
    assert.are.equal(0, #records_of(report.results.successful))
    assert.are.equal("unknown", records_of(report.results.joined)[1].sf__Outcome)
  end)

  it("puts results together by the names of their columns", function()
    local one, two, three = { '"Ext__c","Name"', '"E1","One"' }, { '"NAME","EXT__C"', '"Two","E2"' }, { '"Name","Ext__c"', '"T""hr\nee","E3"' }
    -- That the second has other columns is known when it has come; then all are fetched anew.
    for _, answer in ipairs { one, two, one, two, three } do
      org:fault { path = "successfulResults", status = 200, headers = CSV,
        body = ('"sf__Id","sf__Created",%s\n"001000000000001AAA","true",%s\n'):format(answer[1], answer[2]) }
    end
    local report = assert(client:load(options {
      file = helper.file 'Name,Ext__c\nOne,E1\nTwo,E2\n"T""hr\nee",E3\n', results = path "results", part_bytes = 20, jobs = 1, join = true,
    }))
    local rows = records_of(report.results.successful)
    assert.are.same({ "One", "E1", "Two", "E2", 'T"hr\nee', "E3" },
      { rows[1].Name, rows[1].Ext__c, rows[2].Name, rows[2].Ext__c, rows[3].Name, rows[3].Ext__c })
    for _, row in ipairs(records_of(report.results.joined)) do
      assert.are.equal("successful", row.sf__Outcome)
    end
    assert.are.equal("failed.csv\njoined.csv\nsuccessful.csv\nunprocessed.csv\n", (helper.shell("ls -A " .. path "results")))
  end)

  it("puts no rows below the columns of others", function()
    for i = 1, 4 do
      org:fault { path = "successfulResults", status = 200, headers = CSV,
        body = i % 2 == 1 and '"sf__Id","sf__Created","Name","Ext__c"\n"001000000000001AAA","true","One","E1"\n'
          or '"sf__Id","sf__Created","Ext__c"\n"001000000000001AAA","true","E2"\n' }
    end
    local report, err = client:load(options { file = helper.file "Name,Ext__c\nOne,E1\nTwo,E2\n", results = path "results", part_bytes = 20,
      jobs = 1 })
    assert.is_nil(report)
    assert.matches("other columns", err.message)
    assert.are.equal(2, #err.jobs)
  end)

  describe("loads failed rows once more", function()
    local function retried(more)
      -- The second of two rows with the same unique value fails at first, and not once the first of them is gone.
      local report, err = client:load(options(helper.with({
        file = helper.file "Name,Ext__c\nOne,E1\n,E2\nThree,E1\nFour,E4\n", part_bytes = 100000, results = path "results",
        retry_failed = "DUPLICATE_VALUE",
      }, more)))
      return report, err
    end

    it("that failed for the reason named, and puts both passes together", function()
      for _, journal in ipairs { false, path "journal" } do
        org:reset()
        org:set(helper.AT_ONCE)
        local report = assert(retried { journal = journal or nil, join = true })
        assert.are.same({ 4, 4, 2, 1, 2 },
          { report.records, report.processed, report.failed, report.retried, #report.jobs })
        assert.are.equal(2, #records_of(report.results.successful))
        local failed = records_of(report.results.failed)
        assert.are.equal(2, #failed)
        assert.are.equal("E2", failed[1].Ext__c)
        assert.are.equal("Three", failed[2].Name)
        assert.are.equal(4, #records_of(report.results.joined))
        assert.is_nil(helper.content(path "results/second.kept.csv"))
        os.execute("rm -rf " .. path() .. "/*")
      end
    end)

    it("that do better the second time", function()
      -- The parent of the first is not there before the second.
      local report = assert(retried {
        file = helper.file "Name,Ext__c,Parent.Ext__c\nChild,E1,E2\nParent,E2,\n", retry_failed = "E2", join = true,
      })
      assert.are.same({ 2, 2, 0, 1 }, { report.records, report.processed, report.failed, report.retried })
      local rows = records_of(report.results.joined)
      assert.are.same({ "successful", "successful", "E1" }, { rows[1].sf__Outcome, rows[2].sf__Outcome, rows[1].Ext__c })
      all_once(2)
    end)

    it("behind results that lack their last line end", function()
      org:fault { path = "successfulResults", status = 200, body = '"sf__Id","sf__Created",Name,Ext__c\n"001","true","One","E1"' }
      local report = assert(retried { file = helper.file "Name,Ext__c\nOne,E1\nThree,E1\n" })
      local rows = records_of(report.results.successful)
      assert.are.same({ 1, "One" }, { #rows, rows[1].Name })
      assert.matches("\n$", helper.content(report.results.successful))
    end)

    -- A child whose parent is there when its failed results are asked for.
    local LATE_PARENT = "Name,Ext__c,Parent.Ext__c\nChild,E1,E2\nParent,E2,\n"

    it("whatever order their columns come in", function()
      org:fault { path = "successfulResults", after = 1, status = 200, headers = CSV,
        body = '"sf__Id","sf__Created","Parent.Ext__c","Ext__c","Name"\n"001000000000001AAA","true","E2","E1","Child"\n' }
      local report = assert(retried { file = helper.file(LATE_PARENT), retry_failed = "E2", join = true })
      local rows = records_of(report.results.joined)
      assert.are.same({ "successful", "successful" }, { rows[1].sf__Outcome, rows[2].sf__Outcome })
      rows = records_of(report.results.successful)
      assert.are.same({ "Parent", "E2", "Child", "E1" }, { rows[1].Name, rows[1].Ext__c, rows[2].Name, rows[2].Ext__c })
    end)

    it("but not without the values that the results may lack", function()
      for body, file in pairs {
        ['"sf__Id","sf__Error","name","Ext__c","Parent.Ext__c"\n"","INVALID_FIELD:E2","","E1","E2"\n'] = LATE_PARENT:gsub("^Name", "name"),
        ['"sf__Id","sf__Error","Ext__c","Parent.Ext__c"\n"","INVALID_FIELD:E2","E1","E2"\n'] = LATE_PARENT,
      } do
        org:reset()
        org:set(helper.AT_ONCE)
        org:fault { path = "failedResults", status = 200, headers = CSV, body = body }
        local report = assert(retried { file = helper.file(file), retry_failed = "E2" })
        assert.are.same({ 0, true, 1, 1 }, { report.retried, report.blank, report.failed, #report.jobs })
      end
    end)

    it("also where one column is empty in all of them, and the service spells it so", function()
      local report = assert(retried {
        file = helper.file "Name,Ext__c,Parent.Ext__c,Site\nChild,E1,E2,\nParent,E2,,x\n", retry_failed = "E2",
      })
      assert.are.same({ 1, nil, 0 }, { report.retried, report.blank, report.failed })
      org:fault { path = "/describe", count = -1, status = 403, body = '[{"errorCode":"INSUFFICIENT_ACCESS","message":"no"}]' }
      report = assert(retried {
        file = helper.file "Name,Ext__c,Parent.Ext__c,Site\nChild,E3,E4,\nParent,E4,,x\n", retry_failed = "E4",
      })
      assert.are.same({ 0, true, 1 }, { report.retried, report.blank, report.failed }) -- nobody can say
    end)

    it("which a later call goes on with, whatever it names", function()
      for _, reason in ipairs { "E9", false } do
        org:reset()
        org:set(helper.AT_ONCE)
        local given = { file = helper.file(LATE_PARENT), journal = path "journal", results = path "results" }
        -- The second pass is over, and its results cannot be had.
        org:fault { path = "successfulResults", after = 1, status = 400, body = '[{"errorCode":"X","message":"no"}]' }
        assert.is_nil((retried(helper.with(given, { retry_failed = "E2" }))))
        local report = assert(client:load(options(helper.with(given, { part_bytes = 100000, retry_failed = reason or nil }))))
        assert.are.same({ 2, 0, 1, 2 }, { report.processed, report.failed, report.retried, #report.jobs })
        assert.are.equal(2, #records_of(report.results.successful))
        all_once(2)
        os.execute("rm -rf " .. path "journal")
      end
    end)

    it("and names the jobs of both passes when the second cannot be brought to its end", function()
      org:fault { path = "successfulResults", after = 1, status = 400, body = '[{"errorCode":"X","message":"no"}]' }
      local report, err = retried {}
      assert.is_nil(report)
      assert.are.equal(2, #err.jobs)
      for _, info in ipairs(err.jobs) do
        assert.are.equal("JobComplete", org:job(info.id).state)
      end
    end)

    it("and does without when there are none", function()
      local report = assert(retried { retry_failed = "NO_SUCH_ERROR" })
      assert.are.same({ 0, 1, 2 }, { report.retried, #report.jobs, report.failed })
    end)
  end)

  describe("checks first", function()
    it("and names the line of bad data before any request", function()
      local report, err = client:load(options { file = helper.file "Name,Ext__c\nOne,1\nTwo\n", journal = path "journal" })
      assert.is_nil(core.stat(path "journal"))
      assert.is_nil(report)
      assert.are.same({ "csv", 3 }, { err.kind, err.line })
      report, err = client:load(options { file = "/nowhere/a.csv" })
      assert.is_nil(report)
      assert.are.same({ "io", "/nowhere/a.csv: No such file or directory" }, { err.kind, err.message })
      assert.are.equal(0, #org:requests())
    end)

    it("whether the object has the columns, if it shall", function()
      for name, good in pairs {
        Name = true, Ext__c = true, ext__c = false, ["Parent.ext__c"] = false, ["parent.Ext__c"] = false, ["Parent.Name"] = false,
        ["Parent.Parent.Ext__c"] = false, ["Account:Parent.Ext__c"] = false, ["Parent.Nope__c"] = false, ["Parent."] = false, ParentId = true, ["Parent.Ext__c"] = true, Nmae = false, ["Mother.Ext__c"] = false,
      } do
        org:reset()
        org:set(helper.AT_ONCE)
        local report, err = client:load(options { file = helper.file(name .. ",NumberOfEmployees\n"), describe = true })
        if good then
          assert.is_true(#org:requests { path = "describe" } == 1 and report ~= nil, tostring(err))
        else
          assert.are.same({ "csv", name, 1 }, { err.kind, err.column, err.line })
          assert.are.equal(1, #org:requests())
        end
      end
      for name, said in pairs {
        ["Contact:Who.Ext__c"] = false, ["Who.Ext__c"] = "'Who.Ext__c' leads to several objects: 'Contact:Who.Ext__c' or the like is needed",
        ["Account:Who.Ext__c"] = "'Who' does not lead to Account", ["contact:Who.Ext__c"] = "is spelt 'Contact:Who.Ext__c'",
      } do
        local report, err = client:load(options { object = "Task", file = helper.file(name .. ",Subject\n"), describe = true })
        assert.is_true(said and report == nil and err.message:find(said, 1, true) ~= nil or not said and report ~= nil, tostring(err))
      end
      local report, err = client:load(options { file = make_file(1), object = "Nothing__c", describe = true })
      assert.is_nil(report)
      assert.are.equal(404, err.status)
      report, err = client:load(options { file = make_file(1), object = "A/../B", describe = true })
      assert.is_nil(report)
      assert.matches("no name of an object", err.message)
    end)

    it("what the org has left today, and says so in an event", function()
      org:set { daily_batches = 2 }
      client:load(options { file = make_file(100) })
      local seen = {}
      for _, event in ipairs(events) do
        if event.type == "limit" then
          seen[event.name] = event
        end
      end
      assert.are.equal(2, seen.DailyBulkApiBatches.remaining)
      assert.is_true(seen.DailyBulkApiBatches.needed > 2)
      assert.is_nil(seen.DailyApiRequests)
    end)

    for name, bad in pairs {
      ["unknown option 'fiel'"] = { fiel = "x" },
      ["object is missing"] = { object = false },
      ["operation is missing"] = { operation = false },
      ["operation: insert, update, upsert, delete or hardDelete expected, got query"] = { operation = "query" },
      ["externalIdFieldName goes with an upsert, and an upsert needs it"] = { operation = "upsert" },
      ["either file or rows expected"] = { rows = {} },
      ["join needs results, and to wait for them"] = { join = true },
      ["retry_failed needs results, and to wait for them"] = { retry_failed = "x" },
      ["jobs: a whole number from 1 on expected, got 0"] = { jobs = 0 },
      ["part_bytes: a whole number from 1 on expected, got 1.5"] = { part_bytes = 1.5 },
      ["on_progress: function expected, got string"] = { on_progress = "x" },
    } do
      it("for " .. name, function()
        local all = options { file = "x" }
        for key, value in pairs(bad) do
          all[key] = value or nil
        end
        local ok, message = pcall(client.load, client, all)
        assert.is_false(ok)
        assert.are.equal("bulkjob: load: " .. name, (message:gsub("^[^:]+:%d+: ", "")))
      end)
    end
  end)

  it("tells how far it is", function()
    org:set { queue_seconds = 0.1, processing_seconds = 0.3 }
    local seen = {}
    local report = assert(client:load(options { file = make_file(100), on_progress = function(progress)
      seen[#seen + 1] = progress
    end }))
    assert.is_true(#seen > 2)
    local before = seen[1]
    for _, progress in ipairs(seen) do
      local jobs = 0
      for _, count in pairs(progress.jobs) do
        jobs = jobs + count
      end
      assert.are.equal(#report.jobs, jobs)
      assert.is_true(progress.bytes >= before.bytes and progress.bytes <= progress.total_bytes)
      assert.is_true(progress.processed >= before.processed)
      before = progress
    end
    assert.are.same({ report.bytes, 100, #report.jobs }, { before.bytes, before.processed, before.jobs.done })
  end)

  it("tells the bytes of a part that goes up as a whole number", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    local sent
    assert(job:upload(function()
      sent = sent or core.job_facts(job).upload:progress()
    end))
    assert.are.equal("0", tostring(sent))
  end)

  describe("that fails", function()
    local function none_open()
      for _, job in ipairs(org:jobs()) do
        assert.are_not.equal("Open", job.state)
      end
    end

    it("rolls back what is open and leaves what is closed", function()
      org:set { queue_seconds = 0.5 }
      org:fault { method = "PUT", after = 2, status = 400, body = '[{"errorCode":"INVALIDBATCH","message":"no"}]' }
      local report, err = client:load(options { file = make_file(100) })
      assert.is_nil(report)
      assert.are.equal("INVALIDBATCH", err.code)
      none_open()
      local states = helper.states(org)
      assert.is_true(states.Aborted >= 1)
    end)

    it("at the first request makes no other", function()
      local report, err = client:load(options { file = make_file(100), object = "Nothing__c", jobs = 1 })
      assert.is_nil(report)
      assert.are.equal("api", err.kind)
      assert.are.equal(2, #org:requests()) -- the limits, and this
    end)

    it("goes on from its journal, and sends only what is missing", function()
      org:fault { method = "PUT", after = 2, status = 400, body = '[{"errorCode":"INVALIDBATCH","message":"no"}]' }
      local all = options { file = make_file(100), jobs = 1, journal = path "journal" }
      assert.is_nil((client:load(all)))
      local report = assert(client:load(all))
      assert.are.equal(100, report.processed)
      all_once(100)
      local requests = #org:requests()
      assert.are.equal(100, assert(client:load(all)).processed)
      assert.are.equal(requests, #org:requests())
    end)

    it("by an interrupt rolls back and raises it", function()
      org:set { queue_seconds = 0.3 }
      local waits = 0
      local mine = helper.client(org, { loop = function(waiting)
        waits = waits + 1
        if waits == 6 then
          error("interrupted!", 0)
        end
        return bulkjob.loop.block(waiting)
      end })
      local ok, why = pcall(mine.load, mine, options { file = make_file(100), journal = path "journal" })
      assert.are.same({ false, "interrupted!" }, { ok, why })
      none_open()
      assert.are.equal(100, assert(client:load(options { file = make_file(100) })).processed)
    end)

    it("by a progress function that raises", function()
      local report, err = client:load(options { file = make_file(100), on_progress = function()
        error "oops"
      end })
      assert.is_nil(report)
      assert.matches("oops", err.message)
      none_open()
    end)

    it("in one job only says so in the report", function()
      org:set { queue_seconds = 0.3 }
      client:spawn(function()
        while #org:jobs() == 0 or org:jobs()[1].state == "Open" do
          client:limits()
        end
        assert(client:job(org:jobs()[1].id):abort())
      end)
      local report = assert(client:load(options { file = make_file(100), results = path "results" }))
      assert.is_true(report.unprocessed > 0)
      assert.are.equal(report.unprocessed, #records_of(report.results.unprocessed))
      assert.are.equal(100, report.processed + report.unprocessed)
    end)
  end)

  -- The parts are cut by what the check has seen.
  for name, rewrite in pairs {
    ["with as many bytes"] = function(text)
      return (text:gsub("Row 7", "ROW 7"))
    end,
    ["shorter"] = function()
      return "Name,Ext__c\nOther,E1\n"
    end,
    ["longer"] = function(text)
      return (text:gsub("\n", "\nA row more,E0\n", 1))
    end,
  } do
    it("is not done when the file is rewritten meanwhile, " .. name, function()
      local lines = { "Name,Ext__c\n" }
      for i = 1, 9 do
        lines[#lines + 1] = ("Row %d,E%d\n"):format(i, i)
      end
      local text = table.concat(lines)
      local file = helper.file(text)
      helper.shell(("touch -d '2 minutes ago' %s; touch -r %s %s"):format(file, file, path "was"))
      local rewritten
      client = helper.client(org, { on_event = function(event)
        if event.type == "request" and event.method == "PUT" and not rewritten then
          rewritten = true
          local out = assert(io.open(file, "r+b"))
          out:write(rewrite(text))
          out:close()
          helper.shell(("truncate -s %d %s; touch -r %s %s"):format(#rewrite(text), file, path "was", file))
        end
      end })
      local report, err = client:load(options { file = file, part_bytes = 24, jobs = 1 })
      assert.is_nil(report)
      assert.are.same({ "io", "CONTENT_CHANGED" }, { err.kind, err.code })
      assert.truthy(err.message:find(file, 1, true), err.message)
      assert.are.equal("Aborted", org:job(err.job_id).state)
      local states = helper.states(org)
      assert.are.same({ 1, nil }, { states.Aborted, states.Open })
      -- What was closed had the rows that were checked.
      for value, times in pairs(org:times "Account") do
        assert.are.equal(1, times)
        assert.is_true(tonumber(value:match "E(%d)") < 9)
      end
      for _, job in ipairs(org:jobs()) do
        if job.state == "JobComplete" then
          assert.truthy(text:find(helper.received(org, job):sub(#"Name,Ext__c\n" + 1), 1, true))
        end
      end
    end)
  end

  it("works in tasks, several at a time", function()
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = client:spawn(function()
        return assert(client:load(options { file = make_file(40), operation = "upsert", externalIdFieldName = "Ext__c" })).processed
      end)
    end
    assert(client:run())
    for i = 1, 3 do
      assert.are.equal(40, tasks[i]:result())
    end
    assert.are.equal(3, org:times("Account").E40)
    assert.is_true(helper.count(events, "request") > 0)
  end)
end)
