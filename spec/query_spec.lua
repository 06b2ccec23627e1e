local helper = require "spec.helper"

local SOQL = "SELECT Id, Name, Ext__c FROM Account ORDER BY Ext__c"
local ROWS = 10

describe("query jobs", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function finished(job)
    helper.finished(job)
    return job
  end

  -- ROWS accounts: "Name 01" with Ext__c "A-01", and so on.
  local function fill()
    local lines = { "Name,Ext__c\n" }
    for i = 1, ROWS do
      lines[i + 1] = ("Name %02d,A-%02d\n"):format(i, i)
    end
    finished(assert(client:create { object = "Account", operation = "insert", data = table.concat(lines) }))
    assert.are.equal(ROWS, org:count "Account")
  end

  local function query(soql, more, by)
    return assert((by or client):create(helper.with({ operation = "query", query = soql or SOQL }, more)))
  end

  local function done(...)
    local job = finished(query(...))
    assert.are.equal("JobComplete", job.state)
    org:clear_requests()
    return job
  end

  local function keys(set)
    local list = {}
    for row in set:rows() do
      list[#list + 1] = row.Ext__c
    end
    return list
  end

  local function expected(from, to)
    local list = {}
    for i = from or 1, to or ROWS do
      list[#list + 1] = ("A-%02d"):format(i)
    end
    return list
  end

  local function fails(set)
    local rows = {}
    local ok, err = pcall(function()
      for row in set:rows() do
        rows[#rows + 1] = row
      end
    end)
    assert.is_false(ok)
    assert.are.equal("table", type(err), tostring(err))
    return err, rows
  end

  local function path()
    local name = os.tmpname()
    os.remove(name)
    return name
  end

  local function each_way_fails(open, check)
    check(fails(open()))
    local text, err = open():read()
    assert.is_nil(text)
    check(err)
    local name = path()
    text, err = open():save(name)
    assert.is_nil(text)
    check(err)
    assert.is_nil(helper.content(name))
    assert.is_nil(helper.content(name .. ".bulkjob-part"))
  end

  describe("have pages that never end", function()
    local page = require "bulkjob.page"
    local most = page.MOST_EMPTY

    after_each(function()
      page.MOST_EMPTY = most
    end)

    -- So many pages for each of three ways to read, and for an extract.
    local function endless(count, body, rows)
      for i = 1, 4 * count do
        org:fault { path = "/results", status = 200, body = body, headers = { ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "L" .. i,
          ["Sforce-NumberOfRecords"] = rows } }
      end
    end

    local function all_fail(job, what)
      local function check(err)
        assert.are.equal("protocol", err.kind)
        assert.matches(what, err.message)
      end
      each_way_fails(function()
        return job:results()
      end, check)
      local name = path()
      local report, err = client:extract { query = "SELECT Name FROM Account LIMIT 2", file = name, pages = 1 }
      assert.is_nil(report)
      check(err)
      assert.is_nil(helper.content(name))
      for _, fault in ipairs(org:faults()) do
        assert.are.equal(0, fault.left)
      end
    end

    it("each with rows, more than the job has", function()
      fill()
      local job = done "SELECT Name FROM Account LIMIT 2"
      org:clear_requests()
      endless(3, '"Name"\n"One"\n', "1")
      all_fail(job, "rows that the job counts: 2; rows in its results: 3")
    end)

    it("or without", function()
      fill()
      local job = done()
      page.MOST_EMPTY = 5
      endless(6, '"Name"\n', "0")
      all_fail(job, "more than 5 pages without a row")
    end)
  end)

  it("are told when the number of rows is no number that there can be", function()
    fill()
    local job = done()
    org:fault { path = "/results", count = -1, headers = { ["Sforce-NumberOfRecords"] = "18446744073709551617" } }
    each_way_fails(function()
      return job:results()
    end, function(err)
      assert.matches("Sforce%-NumberOfRecords says 18446744073709551617", err.message)
    end)
  end)

  describe("are created", function()
    it("with one POST over HTTPS, in UploadComplete", function()
      org:set { hold = true }
      local job = query()
      local requests = org:requests()
      assert.are.equal(1, #requests)
      assert.are.equal("POST", requests[1].method)
      assert.are.equal("/services/data/v66.0/jobs/query", requests[1].path)
      assert.are.equal("application/json; charset=UTF-8", requests[1].headers.content_type)
      assert.is_true(requests[1].tls)
      assert.are.equal("query", job.kind)
      assert.are.equal("UploadComplete", job.state)
      local there = org:job(job.id)
      assert.are.equal("query", there.operation)
      assert.are.equal("Account", there.object)
      assert.are.equal("V2Query", there.jobType)
    end)

    it("over plain HTTP to this machine too", function()
      fill()
      local plain = helper.client(org, { instance_url = org.url })
      local job = done(nil, nil, plain)
      assert.are.same(expected(), keys(job:results()))
      plain:close()
    end)

    for name, delimiter in pairs(helper.DELIMITERS) do
      for ending, eol in pairs { LF = "\n", CRLF = "\r\n" } do
        it("with " .. name .. " and " .. ending, function()
          fill()
          local job = done("SELECT Name, Ext__c FROM Account ORDER BY Ext__c LIMIT 2",
            { columnDelimiter = name, lineEnding = ending, contentType = "CSV" })
          local info = assert(job:info())
          assert.are.equal(name, info.columnDelimiter)
          assert.are.equal(ending, info.lineEnding)
          local text = ""
          for _, line in ipairs { { "Name", "Ext__c" }, { "Name 01", "A-01" }, { "Name 02", "A-02" } } do
            text = text .. '"' .. line[1] .. '"' .. delimiter .. '"' .. line[2] .. '"' .. eol
          end
          assert.are.equal(text, assert(job:results():read()))
          local rows = {}
          for row in job:results() do
            rows[#rows + 1] = row
          end
          assert.are.same({ { Name = "Name 01", Ext__c = "A-01" }, { Name = "Name 02", Ext__c = "A-02" } }, rows)
        end)
      end
    end

    it("with queryAll see deleted rows", function()
      fill()
      local ids = { "Id\n" }
      for row in done("SELECT Id FROM Account LIMIT 3"):results() do
        ids[#ids + 1] = row.Id .. "\n"
      end
      finished(assert(client:create { object = "Account", operation = "delete", data = table.concat(ids) }))
      assert.are.equal(ROWS - 3, #keys(done():results()))
      local all = done(nil, { operation = "queryAll" })
      assert.are.equal("queryAll", org:job(all.id).operation)
      assert.are.equal(ROWS, #keys(all:results()))
    end)

    for name, case in pairs {
      ["SOQL that is none"] = { "SELECT FROM", "MALFORMED_QUERY" }, ["empty SOQL"] = { "", "INVALIDJOB" },
      ["an unknown object"] = { "SELECT Id FROM Nonsense__c", "INVALIDENTITY" },
      ["a compound field"] = { "SELECT BillingAddress FROM Account", "API_ERROR" },
    } do
      it("not from " .. name .. ": " .. case[2], function()
        local job, err = client:create { operation = "query", query = case[1] }
        assert.is_nil(job)
        assert.are.equal("api", err.kind)
        assert.are.equal(400, err.status)
        assert.are.equal(case[2], err.code)
        assert.are.equal("POST", err.method)
        assert.are.equal(1, err.attempts)
        assert.are.same({}, helper.states(org))
      end)
    end

    it("not from an unknown field: INVALID_FIELD in one spelling or the other", function()
      local job, err = client:create { operation = "query", query = "SELECT No_Such__c FROM Account" }
      assert.is_nil(job)
      assert.are.equal("INVALIDFIELD", (err.code:gsub("_", "")))
    end)

    it("not with another contentType", function()
      local job, err = client:create { operation = "query", query = SOQL, contentType = "JSON" }
      assert.is_nil(job)
      assert.are.equal("INVALIDVALUE", err.code)
    end)

    it("not before 47.0", function()
      local old = helper.client(org, { api_version = "46.0" })
      local job, err = old:create { operation = "query", query = SOQL }
      assert.is_nil(job)
      assert.are.equal("NOT_FOUND", err.code)
      old:close()
    end)
  end)

  describe("are awaited and read", function()
    before_each(fill)

    it("create, wait, results", function()
      local job = query()
      local info = assert(job:wait())
      assert.are.equal("JobComplete", info.state)
      assert.are.equal(ROWS, info.numberRecordsProcessed)
      local n = 0
      for row in job:results() do
        n = n + 1
        assert.are.equal(("Name %02d"):format(n), row.Name)
        assert.are.equal(18, #row.Id)
      end
      assert.are.equal(ROWS, n)
    end)

    it("with one GET that asks for CSV", function()
      local job = done()
      keys(job:results())
      local requests = org:requests()
      assert.are.equal(1, #requests)
      assert.are.equal("/services/data/v66.0/jobs/query/" .. job.id .. "/results", requests[1].path)
      assert.are.equal("text/csv", requests[1].headers.accept)
      assert.are.equal("gzip", requests[1].headers.accept_encoding)
      assert.is_true(requests[1].tls)
    end)

    it("with the columns in the order of SELECT", function()
      local text = assert(done("SELECT Name, Ext__c, Phone FROM Account LIMIT 1"):results():read())
      assert.are.equal('"Name","Ext__c","Phone"\n', text:match "^[^\n]*\n")
    end)

    it("without rows", function()
      local job = done "SELECT Id, Ext__c FROM Account WHERE Ext__c = 'none'"
      assert.are.same({}, keys(job:results()))
      assert.are.equal('"Id","Ext__c"\n', assert(job:results():read()))
      local name = path()
      assert.is_true(assert(job:results():save(name)))
      assert.are.equal('"Id","Ext__c"\n', helper.content(name))
      os.remove(name)
    end)

    for _, case in ipairs { { 1, 10 }, { 3, 4 }, { 5, 2 }, { 9, 2 }, { 10, 1 }, { 11, 1 } } do
      it(("on pages of %d rows: %d requests, every row once, the header once"):format(case[1], case[2]), function()
        local job = done()
        local whole = assert(job:results():read())
        org:clear_requests()
        local pages = { max_records = case[1] }
        assert.are.same(expected(), keys(job:results(pages)))
        local requests = org:requests()
        assert.are.equal(case[2], #requests)
        for i, request in ipairs(requests) do
          assert.truthy(request.path:find("maxRecords=" .. case[1], 1, true))
          assert.are.equal(i > 1, request.path:find("locator=", 1, true) ~= nil)
        end
        assert.are.equal(whole, assert(job:results(pages):read()))
        local name = path()
        assert.is_true(assert(job:results(pages):save(name)))
        assert.are.equal(whole, helper.content(name))
        os.remove(name)
      end)
    end

    it("on the pages of the service's own size", function()
      org:set { query_page_records = 4 }
      local job = done()
      assert.are.same(expected(), keys(job:results()))
      assert.are.equal(3, #org:requests())
    end)

    it("on pages in each format", function()
      for _, format in ipairs { { columnDelimiter = "TAB", lineEnding = "CRLF" }, { columnDelimiter = "PIPE" } } do
        local job = done(nil, format)
        local whole = assert(job:results():read())
        assert.are.equal(whole, assert(job:results({ max_records = 3 }):read()))
        assert.are.same(expected(), keys(job:results { max_records = 3 }))
      end
    end)

    it("from a locator on", function()
      local job = done()
      keys(job:results { max_records = 4 })
      local locator = org:requests()[2].path:match "locator=([^&]+)"
      locator = locator:gsub("%%(%x%x)", function(hex)
        return string.char(tonumber(hex, 16))
      end)
      assert.are.same(expected(5), keys(job:results { locator = locator }))
      assert.are.same(expected(5), keys(job:results { locator = locator, max_records = 2 }))
      -- And again: it stays valid as long as the job exists.
      assert.are.same(expected(5), keys(job:results { locator = locator }))
    end)

    it("by id alone", function()
      local id = done().id
      assert.are.same(expected(), keys(client:job(id):results { max_records = 4 }))
      assert.are.same(expected(), keys(client:job(id, "query"):results()))
    end)

    it("with a locator sent escaped", function()
      local job = done()
      local text, err = job:results({ locator = "a+b/c=&maxRecords=1" }):read()
      assert.is_nil(text)
      assert.are.equal("INVALID_QUERY_LOCATOR", err.code)
      assert.truthy(org:requests()[1].path:find("locator=a%2Bb%2Fc%3D%26maxRecords%3D1", 1, true))
    end)

    it("with values of any kind", function()
      local value = 'a "b", ;|^`\t\nc é 🎉'
      finished(assert(client:create { object = "Account", operation = "insert",
        data = { rows = { { Name = value, Ext__c = "Z", Number__c = 1.5, Flag__c = true, Count__c = 7 } } } }))
      local job = done "SELECT Name, Number__c, Flag__c, Count__c, Phone FROM Account WHERE Ext__c = 'Z'"
      for row in job:results() do
        assert.are.same({ Name = value, Number__c = "1.5", Flag__c = "true", Count__c = "7", Phone = "" }, row)
      end
    end)

    it("left early ask for no more pages", function()
      local job = done()
      local set = job:results { max_records = 2 }
      assert.are.equal("A-01", set:next().Ext__c)
      set:close()
      assert.is_nil(set:next())
      assert.is_true(#org:requests() <= 1)
    end)

    it("after a page that was broken once", function()
      local job = done()
      for _, fault in ipairs { { cut = 20 }, { status = 503 }, { reset = "after" } } do
        fault.path = "locator="
        org:fault(fault)
        assert.are.same(expected(), keys(job:results { max_records = 4 }))
        org:fault(fault)
        local whole = assert(job:results({ max_records = 4 }):read())
        org:fault(fault)
        local name = path()
        assert(job:results({ max_records = 4 }):save(name))
        assert.are.equal(whole, helper.content(name))
        os.remove(name)
      end
    end)
  end)

  describe("are an error, never the end, with", function()
    local job
    before_each(function()
      fill()
      job = done()
    end)

    local function set()
      return job:results { max_records = 4 }
    end

    local function protocol(err)
      assert.are.equal("protocol", err.kind)
      assert.are.equal(job.id, err.job_id)
    end

    it("a page without Sforce-Locator", function()
      org:fault { path = "results", drop_header = "Sforce-Locator", count = -1 }
      each_way_fails(set, protocol)
    end)

    it("a last page without Sforce-Locator", function()
      org:fault { path = "results", drop_header = "Sforce-Locator", after = 2, count = -1 }
      local err, rows = fails(set())
      protocol(err)
      assert.are.equal(ROWS, #rows)
      org:clear_faults()
      org:fault { path = "results", drop_header = "Sforce-Locator", after = 2, count = -1 }
      local text
      text, err = set():read()
      assert.is_nil(text)
      protocol(err)
    end)

    it("an empty Sforce-Locator", function()
      org:fault { path = "results", headers = { ["Sforce-Locator"] = "" }, count = -1 }
      each_way_fails(set, protocol)
    end)

    it("a locator that comes twice", function()
      keys(set())
      local second = org:requests()[2].path:match "locator=([^&]+)"
      org:clear_requests()
      org:fault { path = "results", headers = { ["Sforce-Locator"] = second }, count = -1 }
      each_way_fails(set, protocol)
      assert.is_true(#org:requests() <= 9)
    end)

    it("a locator that was the first one given", function()
      keys(set())
      local second = org:requests()[2].path:match "locator=([^&]+)"
      org:clear_requests()
      org:fault { path = "results", headers = { ["Sforce-Locator"] = second }, count = -1 }
      protocol(fails(job:results { locator = second, max_records = 4 }))
      assert.are.equal(1, #org:requests())
    end)

    for _, count in ipairs { 3, 5, 0 } do
      it("Sforce-NumberOfRecords " .. count .. " on a page of 4 rows", function()
        org:fault { path = "results", headers = { ["Sforce-NumberOfRecords"] = count }, count = -1 }
        local err = fails(set())
        protocol(err)
        assert.truthy(err.message:find("4", 1, true))
      end)
    end

    it("no Sforce-NumberOfRecords: that one may be missing", function()
      org:fault { path = "results", drop_header = "Sforce-NumberOfRecords", count = -1 }
      assert.are.same(expected(), keys(set()))
    end)

    it("a page for people in the middle", function()
      org:fault { path = "locator=", status = 200, body = "<html>Sign in</html>", count = -1 }
      each_way_fails(set, protocol)
    end)

    for name, read in pairs {
      rows = function()
        return nil, (fails(set()))
      end,
      text = function()
        return set():read()
      end,
      file = function()
        return set():save(path())
      end,
      pipe = function()
        return set():save "/dev/null"
      end,
    } do
      it("a page with other columns, asked for a few times: " .. name, function()
        org:fault { path = "locator=", status = 200, count = 9, body = '"Other"\n"1"\n', headers = {
          ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } }
        local ok, err = read()
        assert.is_nil(ok)
        protocol(err)
        assert.truthy(err.message:find("other columns", 1, true), err.message)
        assert.is_true(#org:requests { path = "/results" } <= 1 + 4)
      end)
    end

    it("a page that is cut each time", function()
      org:fault { path = "locator=", cut = 20, count = -1 }
      each_way_fails(set, function(err)
        assert.are.equal("network", err.kind)
        assert.are.equal(4, err.attempts)
      end)
    end)

    it("the results of another API version: 409", function()
      local other = helper.client(org, { api_version = "65.0" })
      each_way_fails(function()
        return other:job(job.id, "query"):results()
      end, function(err)
        assert.are.equal("api", err.kind)
        assert.are.equal(409, err.status)
        assert.are.equal(1, err.attempts)
        assert.are.equal(job.id, err.job_id)
      end)
      other:close()
    end)

    it("a maxRecords of 0", function()
      local ok, err = pcall(function()
        local text, why = job:results({ max_records = 0 }):read()
        assert.is_nil(text)
        error(why, 0)
      end)
      assert.is_false(ok)
      assert.truthy(type(err) == "string" or err.code == "INVALIDVALUE")
    end)
  end)

  describe("raise for", function()
    for name, options in pairs {
      ["an unknown option"] = { maxRecords = 4 }, ["max_records that is no number"] = { max_records = "x" },
      ["max_records that is no whole number"] = { max_records = 1.5 }, ["a locator that is no text"] = { locator = {} },
    } do
      it(name, function()
        local job = query()
        org:clear_requests()
        local ok, err = pcall(function()
          job:results(options):read()
        end)
        assert.is_false(ok)
        assert.truthy(tostring(err):find(next(options), 1, true), tostring(err))
        assert.are.equal(0, #org:requests())
      end)
    end
  end)

  it("have no results before they are complete", function()
    org:set { hold = true }
    local job = query()
    each_way_fails(function()
      return job:results()
    end, function(err)
      assert.are.equal("api", err.kind)
      assert.are.equal("INVALIDJOBSTATE", err.code)
      assert.are.equal(400, err.status)
    end)
  end)

  describe("are aborted", function()
    for _, state in ipairs { "UploadComplete", "InProgress" } do
      it("in " .. state, function()
        org:set { hold = state }
        local job = query()
        while org:job(job.id).state ~= state do
          assert(job:info())
        end
        org:clear_requests()
        local info = assert(job:abort())
        assert.are.equal("Aborted", info.state)
        -- Not in a PATCH answer; create told it.
        assert.are.equal("LF", info.lineEnding)
        assert.are.equal("Aborted", org:job(job.id).state)
        assert.are.equal(1, #org:requests())
        assert.are.equal("PATCH", org:requests()[1].method)
        assert.are.equal("/services/data/v66.0/jobs/query/" .. job.id, org:requests()[1].path)
        assert.are.equal("Aborted", assert(job:wait()).state)
      end)
    end

    it("not when they are complete: INVALIDJOBSTATE with the state", function()
      local job = done()
      local info, err = job:abort()
      assert.is_nil(info)
      assert.are.equal("INVALIDJOBSTATE", err.code)
      assert.are.equal("JobComplete", err.state)
      assert.truthy(err.message:find("Aborting already Completed Job not allowed", 1, true))
    end)

    it("by id alone, and survive a lost answer", function()
      org:set { hold = true }
      local id = query().id
      org:fault { method = "PATCH", reset = "after" }
      assert.are.equal("Aborted", assert(client:job(id):abort()).state)
      assert.are.equal(1, org:job(id).transitions.Aborted)
    end)
  end)

  it("that fail carry no reason, or the service's", function()
    local job = query()
    local body = '{"id":"%s","operation":"query","state":"Failed","apiVersion":66.0%s}'
    org:fault { method = "GET", status = 200, body = body:format(job.id, "") }
    local info = assert(job:wait())
    assert.are.equal("Failed", info.state)
    assert.is_nil(info.errorMessage)
    org:fault { method = "GET", status = 200, body = body:format(job.id, ',"errorMessage":"retried more than 15 times"') }
    assert.are.equal("retried more than 15 times", assert(job:wait()).errorMessage)
  end)
end)
