local helper = require "spec.helper"

local HAS_CLOSE = not jit and tonumber((_VERSION:match "%d+%.%d+")) >= 5.4

-- Rows two and four are refused: they have no name.
local CSV = 'Name,Ext__c\nOne,A-1\n,A-2\n"Three ""3""\nand, more",A-3\n"",A-4\né 🎉,A-5\n'

local SETS = {
  successful_results = "successfulResults", failed_results = "failedResults", unprocessed_records = "unprocessedrecords",
}

describe("result sets", function()
  local place = helper.directory()
  local directory = place()
  local org, client, loaded
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  after_each(function()
    -- Whatever happened: nothing half-done is left behind.
    local list = io.popen("find " .. directory .. " -name '*.bulkjob-part'")
    local left = list:read "*a"
    list:close()
    os.execute("rm -rf " .. directory .. "/*")
    assert.are.equal("", left)
  end)

  local function finished(job)
    helper.finished(job)
    org:clear_requests()
    return job
  end

  local function load(text, more, by)
    local spec = helper.with({ object = "Account", operation = "insert" }, more)
    local job = assert((by or client):create(spec))
    assert(job:upload(text or CSV))
    assert(job:close())
    return finished(job)
  end

  -- A job that was aborted with all of its rows to go.
  local function never_ran(text, more)
    local spec = helper.with({ object = "Account", operation = "insert" }, more)
    local job = assert(client:create(spec))
    assert(job:upload(text))
    assert(job:abort())
    org:clear_requests()
    return job
  end

  local function rows_of(set)
    local rows = {}
    for row in set:rows() do
      rows[#rows + 1] = row
    end
    return rows
  end

  local function fails(set)
    local rows = 0
    local ok, err = pcall(function()
      for _ in set:rows() do
        rows = rows + 1
      end
    end)
    assert.is_false(ok)
    assert.are.equal("table", type(err), tostring(err))
    return err, rows
  end

  local function path(name)
    return place(name or "results.csv")
  end

  local function content(name)
    return helper.content(path(name))
  end

  -- All three ways to read a set fail, with an error that `check` looks at.
  local function each_way_fails(open, check)
    check(fails(open()))
    local text, err = open():read()
    assert.is_nil(text)
    check(err)
    local ok
    ok, err = open():save(path())
    assert.is_nil(ok)
    check(err)
    assert.is_nil(content())
  end

  describe("of a complete job", function()
    before_each(function()
      loaded = load()
    end)

    it("give the good rows, with sf__Id and sf__Created", function()
      local rows = rows_of(loaded:successful_results())
      assert.are.equal(3, #rows)
      assert.are.equal("One", rows[1].Name)
      assert.are.equal('Three "3"\nand, more', rows[2].Name)
      assert.are.equal("é 🎉", rows[3].Name)
      for _, row in ipairs(rows) do
        assert.are.equal(18, #row.sf__Id)
        assert.are.equal("001", row.sf__Id:sub(1, 3))
        assert.are.equal("true", row.sf__Created)
      end
      assert.are.equal("A-5", rows[3].Ext__c)
    end)

    it("give the bad rows, with sf__Id and sf__Error", function()
      local rows = rows_of(loaded:failed_results())
      assert.are.equal(2, #rows)
      assert.are.same({
        sf__Id = "", sf__Error = "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --", Name = "", Ext__c = "A-2",
      }, rows[1])
      assert.are.equal("A-4", rows[2].Ext__c)
    end)

    it("give no unprocessed rows", function()
      assert.are.same({}, rows_of(loaded:unprocessed_records()))
      assert.are.equal("Name,Ext__c\n", assert(loaded:unprocessed_records():read()))
    end)

    for method, tail in pairs(SETS) do
      it(method .. " is one GET of " .. tail .. ", for each way to read", function()
        for _, way in ipairs { "rows", "read", "save" } do
          org:clear_requests()
          local set = loaded[method](loaded)
          assert.are.equal(0, #org:requests())
          if way == "rows" then
            rows_of(set)
          else
            assert(set[way](set, path()))
          end
          local requests = org:requests()
          assert.are.equal(1, #requests)
          assert.are.equal("GET", requests[1].method)
          assert.are.equal("/services/data/v66.0/jobs/ingest/" .. loaded.id .. "/" .. tail, requests[1].path)
          assert.are.equal("text/csv", requests[1].headers.accept)
          assert.are.equal("gzip", requests[1].headers.accept_encoding)
          assert.is_true(requests[1].tls)
        end
      end)

      it(method .. " reads and saves the same text", function()
        local text = assert(loaded[method](loaded):read())
        assert.is_true(assert(loaded[method](loaded):save(path())))
        assert.are.equal(text, content())
        local plain = helper.client(org, { instance_url = org.url, compress = false })
        local job = plain:job(loaded.id)
        assert.are.equal(text, assert(job[method](job):read()))
        plain:close()
      end)
    end

    it("read gives the text as it came", function()
      assert.are.equal('"sf__Id","sf__Error",Name,Ext__c\n'
        .. '"","REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --","","A-2"\n'
        .. '"","REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --","","A-4"\n', assert(loaded:failed_results():read()))
    end)

    it("can be walked directly, by rows() and by next()", function()
      local names = {}
      for row in loaded:successful_results() do
        names[#names + 1] = row.Ext__c
      end
      assert.are.same({ "A-1", "A-3", "A-5" }, names)
      local set = loaded:successful_results()
      assert.are.equal("A-1", set:next().Ext__c)
      assert.are.equal("A-3", set:next().Ext__c)
      assert.are.equal("A-5", set:next().Ext__c)
      assert.is_nil(set:next())
      assert.is_nil(set:next())
    end)

    it("left early end the download, and the client goes on", function()
      org:synthetic(loaded.id, "successful", 5000000)
      for _ = 1, 3 do
        local set = loaded:successful_results()
        for _ in set:rows() do -- luacheck: ignore 512
          break
        end
        set:close()
        set:close()
        assert.is_nil(set:next())
      end
      assert.are.equal("JobComplete", assert(loaded:info()).state)
      assert.are.equal(3, #org:requests { path = "successfulResults" })
    end)

    it("left early in Lua 5.4 are closed at once", function()
      if not HAS_CLOSE then
        pending "result sets left early are closed at once: only `for` of Lua 5.4 closes what it goes through"
      end
      org:synthetic(loaded.id, "successful", 5000000)
      local set = loaded:successful_results()
      for _ in set:rows() do -- luacheck: ignore 512
        break
      end
      assert.is_nil(set:next())
    end)

    it("left early by an error pass it on", function()
      local oops = {}
      local ok, err = pcall(function()
        for _ in loaded:successful_results():rows() do
          error(oops)
        end
      end)
      assert.is_false(ok)
      assert.are.equal(oops, err)
    end)

    it("used up, closed or begun give all or an error, never less", function()
      local whole = assert(loaded:failed_results():read())
      for name, use in pairs {
        read = function(set)
          set:read()
        end,
        save = function(set)
          set:save(path())
        end,
        walk = rows_of,
        close = function(set)
          set:close()
        end,
        begin = function(set)
          set:next()
        end,
      } do
        local set = loaded:failed_results()
        use(set)
        local ok, text = pcall(set.read, set)
        assert.is_true(not ok or text == nil or text == whole, "read after " .. name)
        set = loaded:failed_results()
        use(set)
        os.remove(path "second.csv")
        ok, text = pcall(set.save, set, path "second.csv")
        assert.is_true((not ok or text == nil) and content "second.csv" == nil or content "second.csv" == whole, "save after " .. name)
      end
    end)

    it("closed before anybody asked for columns say so, without a request", function()
      local set = loaded:failed_results()
      set:close()
      org:clear_requests()
      local columns, err = set:columns()
      assert.is_nil(columns)
      assert.are.equal("cancelled", err.kind)
      assert.are.equal(0, #org:requests())
      set = loaded:failed_results()
      assert(set:columns())
      set:close()
      assert(set:columns())
    end)

    it("that have failed say so again when they are asked for columns", function()
      org:fault { path = "/failedResults", status = 400, body = '[{"errorCode":"ODD","message":"no"}]' }
      local set = loaded:failed_results()
      local ok, why = pcall(set.next, set)
      assert.is_false(ok)
      local columns, err = set:columns()
      assert.is_nil(columns)
      assert.are.equal(why, err)
    end)

    it("can be walked two at a time", function()
      local good, bad = loaded:successful_results(), loaded:failed_results()
      assert.are.equal("A-1", good:next().Ext__c)
      assert.are.equal("A-2", bad:next().Ext__c)
      assert.are.equal("A-3", good:next().Ext__c)
      assert.are.equal("A-4", bad:next().Ext__c)
      assert.is_nil(bad:next())
      assert.are.equal("A-5", good:next().Ext__c)
      assert.is_nil(good:next())
    end)

    it("say in tostring what they are of, without the token", function()
      local text = tostring(loaded:failed_results())
      assert.truthy(text:find(loaded.id, 1, true))
      assert.is_nil(text:find(org.token, 1, true))
    end)

    it("come by id alone", function()
      assert.are.equal(2, #rows_of(client:job(loaded.id):failed_results()))
      assert.truthy(assert(client:job(loaded.id):successful_results():read()):find("A-5", 1, true))
      assert.is_true(assert(client:job(loaded.id):failed_results():save(path())))
    end)

    for _, gzip in ipairs { true, false } do
      it("of 2 MB come whole, " .. (gzip and "packed" or "not packed"), function()
        org:set { gzip = gzip }
        local count = org:synthetic(loaded.id, "successful", 2000000)
        assert.are.equal(count, #rows_of(loaded:successful_results()))
        assert.are.equal(2000000, #assert(loaded:successful_results():read()))
        assert(loaded:successful_results():save(path()))
        assert.are.equal(2000000, #content())
        for _, request in ipairs(org:requests { path = "successfulResults" }) do
          assert.are.equal(gzip, request.bytes_out < 1000000)
        end
      end)
    end

    it("are not asked for packed when the client says so", function()
      local plain = helper.client(org, { compress = false })
      assert(plain:job(loaded.id, "ingest"):successful_results():read())
      assert.is_nil(org:requests()[1].headers.accept_encoding)
      plain:close()
    end)
  end)

  it("of a failed job give what was not looked at", function()
    local job = load("Name,No_Such__c\nOne,x\n")
    assert.are.same({ { Name = "One", No_Such__c = "x" } }, rows_of(job:unprocessed_records()))
    assert.are.same({}, rows_of(job:successful_results()))
    assert.are.same({}, rows_of(job:failed_results()))
  end)

  it("of unprocessed data that is no CSV: the text can be had, rows are a csv error", function()
    local text = 'Name,Ext__c\nOne,"A-1\nTwo,A-2\n'
    local job = load(text)
    assert.are.equal("Failed", assert(job:info()).state)
    assert.are.equal(text, assert(job:unprocessed_records():read()))
    local err = fails(job:unprocessed_records())
    assert.are.equal("csv", err.kind)
    assert.are.equal(job.id, err.job_id)
  end)

  it("of a record that no memory is spent on: rows are a csv error that says where it begins", function()
    local job = load('Name\nOne\n"' .. ("x"):rep(17 * 1024 * 1024))
    local err = fails(job:unprocessed_records())
    assert.are.equal("csv", err.kind)
    assert.matches("a record longer than 16777216 bytes %(it begins in line 3%)", err.message)
    assert.are.same({ 3, "number", job.id }, { err.line, type(err.byte), err.job_id })
  end)

  it("tell created rows from changed ones", function()
    load "Name,Ext__c\nOne,A-1\n"
    local rows = rows_of(load("Name,Ext__c\nUno,A-1\nDos,A-2\n", { operation = "upsert", externalIdFieldName = "Ext__c" }):successful_results())
    assert.are.equal("false", rows[1].sf__Created)
    assert.are.equal("true", rows[2].sf__Created)
  end)

  it("of failed rows may have no sf__Id in old versions", function()
    for version, has_id in pairs { ["49.0"] = false, ["50.0"] = true } do
      local old = helper.client(org, { api_version = version })
      local rows = rows_of(load("Name\n\"\"\n", nil, old):failed_results())
      assert.are.equal(1, #rows)
      assert.are.equal(has_id and "" or nil, rows[1].sf__Id)
      assert.truthy(rows[1].sf__Error:find "^REQUIRED_FIELD_MISSING:")
      old:close()
    end
  end)

  it("of no data at all are empty", function()
    local job = load ""
    for method in pairs(SETS) do
      assert.are.same({}, rows_of(job[method](job)))
      assert(job[method](job):save(path(method)))
    end
  end)

  local all_bytes = {}
  for i = 0, 255 do
    all_bytes[#all_bytes + 1] = string.char(i)
  end
  local VALUES = {
    ["quotes"] = 'a "b" ""c""', ["line breaks"] = "a\nb\n\nc\n", ["CR and LF"] = "a\r\nb\rc", ["a NUL"] = "a\0b\0", ["UTF-8"] = "é€🎉ß\204\129",
    ["delimiters"] = "`^,|;\t", ["spaces"] = "  a  ", ["what looks like null"] = "null", ["a BOM"] = "\239\187\191a",
    ["every byte"] = table.concat(all_bytes), ["200,000 letters"] = ("é"):rep(200000),
  }

  for name, value in pairs(VALUES) do
    it("keep a value with " .. name, function()
      local text = 'Text__c,Name\n"' .. value:gsub('"', '""') .. '",""\n'
      local rows = rows_of(load(text):failed_results())
      assert.are.equal(1, #rows)
      assert.is_true(rows[1].Text__c == value)
      rows = rows_of(never_ran(text):unprocessed_records())
      assert.are.equal(1, #rows)
      assert.is_true(rows[1].Text__c == value)
      assert.is_true(assert(never_ran(text):unprocessed_records():read()) == text)
    end)
  end

  for name, delimiter in pairs { BACKQUOTE = "`", CARET = "^", COMMA = ",", PIPE = "|", SEMICOLON = ";", TAB = "\t" } do
    for ending, eol in pairs { LF = "\n", CRLF = "\r\n" } do
      it("in the format " .. name .. " and " .. ending, function()
        local format = { columnDelimiter = name, lineEnding = ending }
        local text = "Name" .. delimiter .. "Ext__c" .. eol .. '"a' .. delimiter .. 'b"' .. delimiter .. "A-1" .. eol .. delimiter .. "A-2" .. eol
        local job = load(text, format)
        local rows = rows_of(job:successful_results())
        assert.are.equal(1, #rows)
        assert.are.equal("a" .. delimiter .. "b", rows[1].Name)
        assert.are.equal("A-1", rows[1].Ext__c)
        rows = rows_of(job:failed_results())
        assert.are.equal(1, #rows)
        assert.are.equal("A-2", rows[1].Ext__c)
        assert.are.same({ { Name = "a" .. delimiter .. "b", Ext__c = "A-1" }, { Name = "", Ext__c = "A-2" } },
          rows_of(never_ran(text, format):unprocessed_records()))
      end)
    end
  end

  it("of one column are read with the job's delimiter, not with one that is guessed", function()
    for name, value in pairs { SEMICOLON = "a,b", TAB = "a, b; c", COMMA = "a;b|c" } do
      local job = never_ran("Name\n" .. value .. "\n", { columnDelimiter = name })
      assert.are.same({ { Name = value } }, rows_of(job:unprocessed_records()))
      assert.are.same({ { Name = value } }, rows_of(client:job(job.id):unprocessed_records()))
    end
  end)

  it("of a header that holds other delimiters are read with the job's", function()
    -- Nobody has such a field, so the job fails; its data can be read back all the same.
    local job = load("a,b;Name\n1;2\n", { columnDelimiter = "SEMICOLON" })
    assert.are.same({ { ["a,b"] = "1", Name = "2" } }, rows_of(job:unprocessed_records()))
  end)

  describe("that are empty in another way", function()
    before_each(function()
      loaded = load "Name,Ext__c\nOne,A-1\n" -- none has failed
    end)

    for name, fault in pairs {
      ["204 No Content"] = { status = 204 }, ["200 and no body"] = { status = 200, headers = { ["Content-Type"] = "text/csv;charset=UTF-8" } },
      ["200 and no Content-Type"] = { status = 200 }, ["a header line alone"] =
        { status = 200, body = '"sf__Id","sf__Error",Name\n', headers = { ["Content-Type"] = "text/csv" } },
      ["a header without a line end"] = { status = 200, body = '"sf__Id","sf__Error",Name', headers = { ["Content-Type"] = "text/csv" } },
    } do
      it(name, function()
        fault.method, fault.count = "GET", 3
        org:fault(fault)
        assert.are.same({}, rows_of(loaded:failed_results()))
        assert.are.equal(fault.body or "", assert(loaded:failed_results():read()))
        assert.is_true(assert(loaded:failed_results():save(path())))
        assert.are.equal(fault.body or "", content())
        assert.are.equal(3, #org:requests())
      end)
    end
  end)

  describe("that are not there", function()
    for _, state in ipairs { "Open", "UploadComplete", "InProgress" } do
      it("yet: the job is " .. state, function()
        org:set { hold = state ~= "Open" and state }
        local job = assert(client:create { object = "Account", operation = "insert" })
        if state ~= "Open" then
          assert(job:upload(CSV))
          assert(job:close())
        end
        while org:job(job.id).state ~= state do
          assert(job:info())
        end
        for method in pairs(SETS) do
          each_way_fails(function()
            return job[method](job)
          end, function(err)
            assert.are.equal("api", err.kind)
            assert.are.equal("INVALIDJOBSTATE", err.code)
            assert.are.equal(400, err.status)
            assert.are.equal(job.id, err.job_id)
            assert.are.equal(1, err.attempts)
          end)
        end
      end)
    end

    it("because there is no such job", function()
      for _, kind in ipairs { "ingest", false } do
        each_way_fails(function()
          return client:job("7508d00000Kq3XbAAJ", kind or nil):failed_results()
        end, function(err)
          assert.are.equal("NOT_FOUND", err.code)
        end)
      end
    end)

    it("because the job is a query", function()
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      for method in pairs(SETS) do
        assert.has_error(function()
          query[method](query)
        end)
      end
      assert.has_error(function()
        never_ran(CSV):results()
      end)
    end)
  end)

  describe("that come spoilt", function()
    before_each(function()
      loaded = load()
      org:synthetic(loaded.id, "failed", 400000)
    end)

    local function set()
      return loaded:failed_results()
    end

    for name, fault in pairs {
      ["cut, packed"] = { cut = 100000 }, ["cut, with a length"] = { cut = 100000, framing = "length" },
      ["cut, in chunks, not packed"] = { cut = 100000, plain = true }, ["cut before the first byte"] = { cut = 0, plain = true },
      ["reset"] = { reset = "after" },
    } do
      it(name .. ": kind network after all tries, and no file", function()
        if fault.plain then
          org:set { gzip = false }
        end
        fault.plain = nil
        fault.path, fault.count = "failedResults", -1
        org:fault(fault)
        each_way_fails(set, function(err)
          assert.are.equal("network", err.kind)
          assert.truthy(err.code:find "^CURLE_")
          assert.are.equal(4, err.attempts)
          assert.are.equal("GET", err.method)
          assert.are.equal(loaded.id, err.job_id)
        end)
        assert.are.equal(12, #org:requests())
      end)

      it(name .. " once: whole all the same", function()
        fault.plain = nil
        fault.path, fault.count = "failedResults", 1
        local whole = assert(set():read())
        assert.are.equal(400000, #whole)
        org:fault(fault)
        assert.is_true(assert(set():read()) == whole)
        org:fault(fault)
        assert(set():save(path()))
        assert.is_true(content() == whole)
        local expected = #rows_of(set())
        org:fault(fault)
        assert.are.equal(expected, #rows_of(set()))
      end)
    end

    it("in the gzip body: kind protocol after all tries, and no file", function()
      org:fault { path = "failedResults", gzip_cut = 2000, count = -1 }
      each_way_fails(set, function(err)
        assert.are.equal("protocol", err.kind)
        assert.truthy(err.message:find("gzip", 1, true))
        assert.are.equal(4, err.attempts)
        assert.are.equal(loaded.id, err.job_id)
      end)
    end)

    it("in the gzip body once: whole all the same", function()
      local whole = assert(set():read())
      for _ = 1, 3 do
        org:fault { path = "failedResults", gzip_cut = 2000 }
      end
      assert.is_true(assert(set():read()) == whole)
      assert.is_true(assert(set():save(path())))
      assert.is_true(content() == whole)
    end)

    for name, fault in pairs {
      ["by a page for people with 200"] = { status = 200, body = "<html><body>Please sign in</body></html>" },
      ["by JSON with 200"] = { status = 200, body = '{"done":true}' },
      ["by XML with 200"] = { status = 200, body = "<Errors/>", headers = { ["Content-Type"] = "application/xml" } },
    } do
      it(name .. ": kind protocol, and no file", function()
        fault.path, fault.count = "failedResults", -1
        org:fault(fault)
        each_way_fails(set, function(err)
          assert.are.equal("protocol", err.kind)
          assert.are.equal(200, err.status)
          assert.are.equal(loaded.id, err.job_id)
        end)
      end)
    end

    it("by a refusal: what it says, and no file", function()
      org:fault { path = "failedResults", status = 406, body = '[{"errorCode":"NOT_ACCEPTABLE","message":"no"}]', count = -1 }
      each_way_fails(set, function(err)
        assert.are.equal("api", err.kind)
        assert.are.equal(406, err.status)
        assert.are.equal("NOT_ACCEPTABLE", err.code)
        assert.are.equal(1, err.attempts)
      end)
    end)

    it("with a Content-Length that is too large: kind network, and no file", function()
      org:fault { path = "failedResults", length_off = 1000, count = -1 }
      each_way_fails(set, function(err)
        assert.are.equal("network", err.kind)
        assert.are.equal("CURLE_PARTIAL_FILE", err.code)
        assert.are.equal(4, err.attempts)
      end)
    end)

    it("with a Content-Length that is too small: rows are an error, never fewer", function()
      org:fault { path = "failedResults", length_off = -50, count = -1 }
      local err = fails(set())
      assert.is_true(err.kind == "csv" or err.kind == "network" or err.kind == "protocol")
      -- And what was too much does not spoil the next answer.
      org:clear_faults()
      assert.are.equal("JobComplete", assert(loaded:info()).state)
      assert.are.equal(400000, #assert(set():read()))
    end)

    for name, text in pairs {
      ["a value that is cut off"] = '"sf__Id","sf__Error",Name\n"","x","On', ["a row with too few fields"] = '"sf__Id","sf__Error",Name\n"","x"\n',
      ["a row with too many fields"] = '"sf__Id","sf__Error",Name\n"","x","One","more"\n', ["a column twice"] = '"sf__Id","sf__Id",Name\n"","x","One"\n',
      ["a column without a name"] = '"sf__Id","",Name\n"","x","One"\n', ["a stray quote"] = '"sf__Id","sf__Error",Name\n"","x","On"e"\n',
    } do
      it("with " .. name .. ": rows are a csv error with the job's id", function()
        org:fault { path = "failedResults", status = 200, body = text, headers = { ["Content-Type"] = "text/csv" }, count = -1 }
        local err = fails(set())
        assert.are.equal("csv", err.kind)
        assert.are.equal(loaded.id, err.job_id)
        assert.truthy(err.line)
        assert.truthy(tostring(err):find(loaded.id, 1, true))
      end)
    end

    for name, value in pairs { ["inside a value"] = '"On"e"', ["inside a value, twice"] = '"On"e"s"', ["in a value without quotes"] = 'On"e"' } do
      it("with a wrong quote " .. name .. ": a csv error with its byte in each way to read, after one request", function()
        local before = '"sf__Id","sf__Error",Name\n"","x",'
        org:fault { path = "failedResults", status = 200, body = before .. value .. "\n", headers = { ["Content-Type"] = "text/csv" }, count = -1 }
        org:clear_requests()
        each_way_fails(set, function(err)
          assert.are.equal("csv", err.kind)
          local behind = #before + value:find "e" - err.byte
          assert.is_true(behind == 0 or behind == 1, tostring(err))
        end)
        assert.are.equal(3, #org:requests())
      end)
    end
  end)

  -- Nobody here asks for these, and few could unpack them.
  describe("that hold fewer rows than the job counts", function()
    local SHORT = {
      failed_results = { path = "failedResults", body = '"sf__Id","sf__Error",Name,Ext__c\n"","x","","A-2"\n', says = "2; .* 1$" },
      successful_results = { path = "successfulResults", body = '"sf__Id","sf__Created",Name,Ext__c\n', says = "3; .* 0$" },
    }

    before_each(function()
      loaded = load()
    end)

    for method, case in pairs(SHORT) do
      local function short(more)
        org:fault(helper.with({ path = case.path, status = 200, headers = { ["Content-Type"] = "text/csv" }, body = case.body, count = -1 }, more))
      end

      it("are an error in each way to read: " .. method, function()
        for _, by_id in ipairs { false, true } do
          short()
          each_way_fails(function()
            local job = by_id and client:job(loaded.id) or loaded
            return job[method](job)
          end, function(err)
            assert.are.same({ "protocol", loaded.id }, { err.kind, err.job_id })
            assert.matches(case.says, err.message)
          end)
          assert.has_error(function()
            for _ in loaded[method](loaded):chunks() do end
          end)
          org:clear_faults()
        end
      end)

      it("are what there is where the service has no counters: " .. method, function()
        short()
        org:set { counters = false }
        local job = client:job(loaded.id)
        assert.are.equal(case.body, assert(job[method](job):read()))
        assert(job[method](job):save(path()))
        assert.are.equal(case.body, content())
      end)
    end

    it("are held against counters that are newer than what the handle knows", function()
      local count = org:synthetic(loaded.id, "failed", 2000)
      assert.are.equal(count, #rows_of(loaded:failed_results()))
    end)

    -- Where a length is too short, a response ends early and nothing in HTTP shows that.
    for name, less in pairs { ["a value"] = -3, ["a row, behind a value"] = -7 } do
      it("for they end in the middle of " .. name, function()
        org:set { counters = false }
        local fault = {
          path = "failedResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
          body = assert(loaded:failed_results():read()):sub(1, less - 1),
        }
        org:fault(helper.with(fault, { count = -1 }))
        each_way_fails(function()
          return client:job(loaded.id):failed_results()
        end, function(err)
          assert.is_truthy(err.message:find "middle of a row" or err.message:find "inside a quoted value"
            or err.message:find "3 fields in this record, and 4 in the first", err.message)
        end)
        org:clear_faults()
        org:fault(fault)
        assert(loaded:failed_results():save(path()))
        assert.are.equal(assert(loaded:failed_results():read()), content())
      end)
    end

    it("are an error of a load that wants their files", function()
      org:fault { path = "failedResults", status = 200, headers = { ["Content-Type"] = "text/csv" }, body = SHORT.failed_results.body, count = 1 }
      local options = { object = "Account", operation = "upsert", externalIdFieldName = "Ext__c", file = helper.file(CSV), results = place "results",
        journal = place "journal" }
      local report, err = client:load(options)
      assert.is_nil(report)
      assert.matches("job counts: 2; rows in its results: 1", err.message)
      assert.is_nil(helper.content(place "results/failed.csv"))
      report = assert(client:load(options))
      assert.are.equal(2, report.failed)
    end)
  end)

  describe("in an encoding that was not asked for", function()
    before_each(function()
      loaded = load()
    end)

    local function is_refused(encoding, ok, err)
      assert.is_nil(ok)
      assert.are.equal("protocol", err.kind)
      assert.truthy(err.message:find("'" .. encoding .. "'", 1, true), err.message)
    end

    for _, encoding in ipairs { "deflate", "br", "zstd", "gzip, gzip", "gzip, br", "x-thing" } do
      it("are an error that names it: " .. encoding, function()
        org:fault {
          method = "GET", status = 200, body = '"sf__Id","sf__Error",Name\n"","x","One"\n', count = -1,
          headers = { ["Content-Type"] = "text/csv", ["Content-Encoding"] = encoding },
        }
        is_refused(encoding, loaded:failed_results():read())
        is_refused(encoding, loaded:failed_results():save(path()))
        assert.is_nil(content())
        local set = loaded:failed_results()
        local ok, err = pcall(set.next, set)
        is_refused(encoding, ok or nil, err)
        org:clear_faults()
        org:fault { method = "GET", status = 200, body = '{"id":"x"}', headers = { ["Content-Encoding"] = encoding }, count = -1 }
        is_refused(encoding, loaded:info())
      end)

      it("are a refusal without its words, when they are one: " .. encoding, function()
        org:fault {
          method = "GET", status = 400, body = '[{"errorCode":"NOT_SHOWN","message":"in words"}]', headers = { ["Content-Encoding"] = encoding },
        }
        local ok, err = loaded:info()
        assert.is_nil(ok)
        assert.are.same({ "api", 400 }, { err.kind, err.status })
        assert.is_nil(err.code)
        assert.is_nil(tostring(err):find("in words", 1, true))
      end)
    end

    it("but not in one that means none", function()
      org:fault { method = "GET", headers = { ["Content-Encoding"] = "identity" }, count = -1 }
      org:set { gzip = false }
      assert.truthy(assert(loaded:failed_results():read()):find("sf__Error", 1, true))
    end)

    it("but not packed by gzip all the same", function()
      local text = '"sf__Id","sf__Error",Name\n"","x","One"\n"","x","Two"\n'
      local pipe = assert(io.popen("gzip -c <" .. helper.file(text)))
      local packed = pipe:read "*a"
      pipe:close()
      local plain = helper.client(org, { compress = false })
      org:fault {
        path = "failedResults", status = 200, body = packed, headers = { ["Content-Type"] = "text/csv", ["Content-Encoding"] = "gzip" }, count = -1,
      }
      assert.are.equal(text, assert(plain:job(loaded.id, "ingest"):failed_results():read()))
    end)
  end)

  it("tell why they were refused, however long that takes and however it is packed", function()
    loaded = load()
    for _, size in ipairs { 1000, 60000, 65536, 70000, 200000, 300000, 1000000 } do
      for _, cut in ipairs { false, 1e9 } do
        org:fault {
          method = "GET", status = 400, gzip_cut = cut or nil,
          body = '<html><h1>Go away</h1>' .. ("<p>%d words</p>"):format(size):rep(math.ceil(size / 20)) .. "</html>",
        }
        local ok, err = loaded:info()
        assert.is_nil(ok)
        assert.are.same({ "api", 400, 1 }, { err.kind, err.status, err.attempts })
        assert.truthy(err.message:find("Go away", 1, true), err.message)
      end
    end
  end)

  describe("are saved", function()
    before_each(function()
      loaded = load()
    end)

    for name, where in pairs {
      ["a directory that is not there"] = "/nowhere/at/all.csv", ["a name that is too long"] = "/tmp/" .. ("x"):rep(300),
    } do
      it("to " .. name .. ": an io error that names it, without a request", function()
        org:clear_requests()
        local ok, err = loaded:failed_results():save(where)
        assert.is_nil(ok)
        assert.are.equal("io", err.kind)
        assert.truthy(err.message:find(where:sub(1, 15), 1, true))
        assert.are.equal(0, #org:requests())
      end)
    end

    it("to a directory: an io error, and nothing is left", function()
      assert(os.execute("mkdir " .. path "taken"))
      local ok, err = loaded:failed_results():save(path "taken")
      assert.is_nil(ok)
      assert.are.equal("io", err.kind)
      assert.is_nil(content "taken.bulkjob-part")
    end)

    it("over an older file, but only when they are whole", function()
      local file = assert(io.open(path(), "wb"))
      file:write "older"
      file:close()
      org:fault { path = "failedResults", cut = 40, count = -1 }
      assert.is_nil(loaded:failed_results():save(path()))
      assert.are.equal("older", content())
      org:clear_faults()
      assert.is_true(assert(loaded:failed_results():save(path())))
      assert.are.equal(assert(loaded:failed_results():read()), content())
    end)

    it("over what an earlier run left behind", function()
      local file = assert(io.open(path "results.csv.bulkjob-part", "wb"))
      file:write(("rubbish"):rep(10000))
      file:close()
      assert.is_true(assert(loaded:failed_results():save(path())))
      assert.are.equal(assert(loaded:failed_results():read()), content())
    end)

    it("with every byte as it came", function()
      local text = "Name\n\"" .. table.concat(all_bytes) .. "\"\n"
      assert.is_true(assert(never_ran(text):unprocessed_records():save(path())))
      assert.is_true(content() == text)
    end)

    it("not where the last row of a page cannot get its line end", function()
      local block = 512 -- of ulimit
      local full = helper.file("Name\n" .. ("x"):rep(block - 5))
      local script = helper.file(("print(require('bulkjob.core').end_last_line(%q))"):format(full))
      local out = helper.shell(("trap '' XFSZ; ulimit -f 1; exec %s %s"):format(os.getenv "LUA", script))
      assert.are.equal("nil\tio error: " .. full .. ": File too large\n", out)
    end)

    it("without a path raises", function()
      assert.has_error(function()
        loaded:failed_results():save()
      end)
      assert.has_error(function()
        loaded:failed_results():save(42)
      end)
    end)
  end)
end)
