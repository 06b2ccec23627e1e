local bulkjob = require "bulkjob"
local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"
local RULE = "01Q8d000000HvJkEAK"
local LIMIT = 100000 -- characters of data in a multipart create

describe("create", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  -- `spec` with `more` over it.
  local function with(more)
    return helper.with({ object = "Account", operation = "insert" }, more)
  end

  local function refused(spec, by)
    local job, err = (by or client):create(spec)
    assert.is_nil(job)
    return err
  end

  local function raises(text, spec)
    local ok, err = pcall(client.create, client, spec)
    assert.is_false(ok)
    assert.truthy(tostring(err):find(text, 1, true), tostring(err))
    assert.are.equal(0, #org:requests())
  end

  local function received(job)
    return helper.received(org, job)
  end

  local function only_request()
    local requests = org:requests()
    assert.are.equal(1, #requests)
    return requests[1]
  end

  describe("of an ingest job", function()
    it("gives a job that is Open, with one POST over HTTPS", function()
      local job = assert(client:create { object = "Account", operation = "insert" })
      local request = only_request()
      assert.are.equal("POST", request.method)
      assert.are.equal("/services/data/v66.0/jobs/ingest", request.path)
      assert.are.equal("application/json; charset=UTF-8", request.headers.content_type)
      assert.are.equal("application/json", request.headers.accept)
      assert.is_nil(request.headers.expect)
      assert.is_true(request.tls)
      assert.is_true(request.has_token)
      assert.are.equal(18, #job.id)
      assert.are.equal("750", job.id:sub(1, 3))
      assert.are.equal("ingest", job.kind)
      assert.are.equal("Open", job.state)
      local there = org:job(job.id)
      assert.are.equal("Open", there.state)
      assert.are.equal("Account", there.object)
      assert.are.equal("insert", there.operation)
      assert.are.equal("66.0", there.apiVersion)
    end)

    it("works over plain HTTP to this machine", function()
      local plain = helper.client(org, { instance_url = org.url })
      local job = assert(plain:create { object = "Account", operation = "insert" })
      assert.is_false(only_request().tls)
      assert.are.equal("Open", org:job(job.id).state)
      plain:close()
    end)

    it("shows id, kind and state in tostring, and no token", function()
      local job = assert(client:create { object = "Account", operation = "insert" })
      local text = tostring(job)
      assert.truthy(text:find(job.id, 1, true))
      assert.truthy(text:find("ingest", 1, true))
      assert.truthy(text:find("Open", 1, true))
      assert.is_nil(text:find(org.token, 1, true))
    end)

    for _, operation in ipairs { "insert", "update", "delete", "hardDelete" } do
      it("takes the operation " .. operation, function()
        local job = assert(client:create { object = "Account", operation = operation })
        assert.are.equal(operation, org:job(job.id).operation)
        assert.are.equal(operation, assert(job:info()).operation)
      end)
    end

    it("takes an upsert with its externalIdFieldName", function()
      local job = assert(client:create { object = "Account", operation = "upsert", externalIdFieldName = "Ext__c" })
      assert.are.equal("Ext__c", org:job(job.id).externalIdFieldName)
      assert.are.equal("Ext__c", assert(job:info()).externalIdFieldName)
      -- A PATCH answer has it for an upsert.
      assert.are.equal("Ext__c", assert(job:abort()).externalIdFieldName)
    end)

    it("takes an upsert by Id", function()
      local job = assert(client:create { object = "Account", operation = "upsert", externalIdFieldName = "Id" })
      assert.are.equal("Id", org:job(job.id).externalIdFieldName)
    end)

    it("takes contentType CSV", function()
      local job = assert(client:create(with { contentType = "CSV" }))
      assert.are.equal("CSV", assert(job:info()).contentType)
    end)

    it("takes an assignmentRuleId", function()
      local job = assert(client:create { object = "Lead", operation = "insert", assignmentRuleId = RULE })
      assert.are.equal(RULE, assert(job:info()).assignmentRuleId)
      assert.are.equal(RULE, assert(job:abort()).assignmentRuleId)
    end)

    it("has COMMA and LF when nothing is said", function()
      local job = assert(client:create(with {}))
      local there = org:job(job.id)
      assert.are.equal("COMMA", there.columnDelimiter)
      assert.are.equal("LF", there.lineEnding)
    end)

    for name, delimiter in pairs(helper.DELIMITERS) do
      for _, ending in ipairs { "LF", "CRLF" } do
        it("loads data with " .. name .. " and " .. ending, function()
          local eol = ending == "LF" and "\n" or "\r\n"
          local job = assert(client:create(with { columnDelimiter = name, lineEnding = ending }))
          local there = org:job(job.id)
          assert.are.equal(name, there.columnDelimiter)
          assert.are.equal(ending, there.lineEnding)
          local value = 'a "b"' .. delimiter .. eol .. "c"
          assert(job:upload(table.concat {
            "Name", delimiter, "Ext__c", eol, '"', (value:gsub('"', '""')), '"', delimiter, "A-1", eol,
          }))
          assert(job:close())
          local info = helper.finished(job)
          assert.are.equal("JobComplete", info.state)
          assert.are.equal(name, info.columnDelimiter)
          assert.are.equal(ending, info.lineEnding)
          assert.are.equal(1, info.numberRecordsProcessed)
          assert.are.equal(0, info.numberRecordsFailed)
          local rows = {}
          for row in job:successful_results() do
            rows[#rows + 1] = row
          end
          assert.are.equal(1, #rows)
          assert.are.equal(value, rows[1].Name)
          assert.are.equal("A-1", rows[1].Ext__c)
          assert.are.same({ ["A-1"] = 1 }, org:times("Account", "Ext__c"))
        end)
      end
    end

    for _, version in ipairs { "41.0", "46.0", "50.0", "66.0", "68.0" } do
      it("uses the API version " .. version .. " for the whole life of the job", function()
        local mine = helper.client(org, { api_version = version })
        local job = assert(mine:create(with {}))
        assert(job:upload(CSV))
        assert(job:close())
        assert.are.equal("JobComplete", helper.finished(job).state)
        assert.are.equal(version, org:job(job.id).apiVersion)
        local prefix = "/services/data/v" .. version .. "/jobs/ingest"
        for _, request in ipairs(org:requests()) do
          assert.are.equal(prefix, request.path:sub(1, #prefix))
        end
        mine:close()
      end)
    end
  end)

  describe("refused by the service", function()
    for _, case in ipairs {
      { "an unknown object", { object = "Nonsense__c" }, 400, "INVALIDENTITY" },
      { "an object without Bulk API", { object = "AccountShare" }, 400, "INVALIDENTITY" },
      { "an empty object", { object = "" }, 400, "INVALIDJOB" },
      { "an unknown operation", { operation = "merge" }, 400, "INVALIDOPERATION" },
      { "an operation in the wrong letter case", { operation = "Insert" }, 400, "INVALIDOPERATION" },
      { "another contentType", { contentType = "XML" }, 400, "INVALIDVALUE" },
      { "an upsert by a field that is no key", { operation = "upsert", externalIdFieldName = "Name" }, 400, "INVALIDJOB" },
      { "an upsert by an unknown field", { operation = "upsert", externalIdFieldName = "No__c" }, 400, "INVALIDJOB" },
      { "externalIdFieldName without upsert", { externalIdFieldName = "Ext__c" }, 400, "INVALIDJOB" },
      { "a rule id that is none", { assignmentRuleId = "0058d000003TnWrAAK" }, 400, "INVALIDVALUE" },
    } do
      it(case[1] .. " is " .. case[4], function()
        local err = refused(with(case[2]))
        assert.are.equal("api", err.kind)
        assert.are.equal(case[3], err.status)
        assert.are.equal(case[4], err.code)
        assert.are.equal("POST", err.method)
        assert.are.equal(org.tls_url .. "/services/data/v66.0/jobs/ingest", err.url)
        assert.are.equal(1, err.attempts)
        assert.is_nil(err.job_id)
        assert.are.equal(1, #org:requests())
        assert.are.same({}, helper.states(org))
      end)
    end

    it("names the object that is not supported", function()
      local err = refused(with { object = "Nonsense__c" })
      assert.are.equal("Entity 'Nonsense__c' is not supported by the Bulk API.", err.message)
    end)

    it("an assignmentRuleId before 49.0", function()
      local old = helper.client(org, { api_version = "48.0" })
      local err = refused({ object = "Lead", operation = "insert", assignmentRuleId = RULE }, old)
      assert.are.equal(400, err.status)
      assert.are.equal("JSON_PARSER_ERROR", err.code)
      old:close()
    end)

    it("a consentImport without object goes out: the service decides", function()
      local err = refused { operation = "consentImport" }
      assert.are.equal("api", err.kind)
      assert.are.equal(1, #org:requests { method = "POST" })
    end)

    it("hardDelete without the permission", function()
      org:set { hard_delete = false }
      local err = refused(with { operation = "hardDelete" })
      assert.are.equal("api", err.kind)
      assert.are.equal(400, err.status)
      assert.are.equal("FEATURENOTENABLED", err.code)
      assert(client:create(with { operation = "delete" }))
    end)

    it("an org without Bulk API", function()
      org:set { bulk_api = false }
      assert.are.equal("FEATURENOTENABLED", refused(with {}).code)
      assert.are.equal("FEATURENOTENABLED", refused({ operation = "query", query = "SELECT Id FROM Account" }).code)
    end)

    it("the batches of the day are used up", function()
      org:set { daily_batches = 0 }
      local err = refused(with {})
      assert.are.equal("api", err.kind)
      assert.are.equal(400, err.status)
      assert.are.equal("EXCEEDEDQUOTA", err.code)
      assert.are.equal(1, #org:requests())
    end)

    it("the query jobs of the day are used up", function()
      org:set { daily_query_jobs = 0 }
      local err = refused { operation = "query", query = "SELECT Id FROM Account" }
      assert.are.equal("api", err.kind)
      assert.are.equal(400, err.status)
      assert.are.equal("LIMIT_EXCEEDED", err.code)
      assert.are.equal("Max bulk v2 query jobs (0) per 24 hrs has been reached (1)", err.message)
      assert.are.equal(1, #org:requests())
    end)

    it("the API calls of the day are used up", function()
      org:set { daily_api_requests = 0 }
      local err = refused(with {})
      assert.are.equal("api", err.kind)
      assert.are.equal(403, err.status)
      assert.are.equal("REQUEST_LIMIT_EXCEEDED", err.code)
      assert.are.equal("TotalRequests Limit exceeded.", err.message)
      assert.are.equal(1, #org:requests())
    end)

    for _, case in ipairs { { "30.0", 410, "GONE" }, { "40.0", 404, "NOT_FOUND" }, { "69.0", 404, "NOT_FOUND" } } do
      it("version " .. case[1] .. " is " .. case[3], function()
        local other = helper.client(org, { api_version = case[1] })
        local err = refused(with {}, other)
        assert.are.equal("api", err.kind)
        assert.are.equal(case[2], err.status)
        assert.are.equal(case[3], err.code)
        other:close()
      end)
    end
  end)

  describe("raises here, without a request, for", function()
    for _, case in ipairs {
      { "no table", "table", "Account" },
      { "no operation", "operation", { object = "Account" } },
      { "no object", "object", { operation = "insert" } },
      { "an upsert without its field", "externalIdFieldName", { object = "Account", operation = "upsert" } },
      { "an unknown field", "concurrencyMode", { object = "Account", operation = "insert", concurrencyMode = "Serial" } },
      { "a field of another type", "object", { object = 42, operation = "insert" } },
      { "an unknown delimiter", "columnDelimiter", { object = "Account", operation = "insert", columnDelimiter = "," } },
      { "an unknown line ending", "lineEnding", { object = "Account", operation = "insert", lineEnding = "CR" } },
      { "a query without SOQL", "query", { operation = "query" } },
      { "SOQL in an ingest job", "query", { object = "Account", operation = "insert", query = "SELECT Id FROM Account" } },
      { "data in a query job", "data", { operation = "query", query = "SELECT Id FROM Account", data = CSV } },
      { "an object in a query job", "object", { operation = "query", query = "SELECT Id FROM Account", object = "Account" } },
      { "data that is no source", "source", { object = "Account", operation = "insert", data = 42 } },
      { "a source that is empty", "source", { object = "Account", operation = "insert", data = {} } },
      { "a source with an unknown field", "path", { object = "Account", operation = "insert", data = { file = "x", path = "x" } } },
    } do
      it(case[1], function()
        raises(case[2], case[3])
      end)
    end
  end)

  describe("with data", function()
    it("creates, fills and closes in one request", function()
      org:set { hold = true }
      local job = assert(client:create(with { data = CSV }))
      local request = only_request()
      assert.are.equal("POST", request.method)
      assert.are.equal("/services/data/v66.0/jobs/ingest", request.path)
      assert.are.equal("multipart/form-data; boundary=", request.headers.content_type:sub(1, 30))
      assert.is_true(request.tls)
      assert.are.equal("UploadComplete", job.state)
      assert.are.equal(1, org:job(job.id).uploads)
      assert.are.equal(CSV, received(job))
      assert.is_nil(assert(job:info()).contentUrl)
      org:release()
      assert.are.equal(2, helper.finished(job).numberRecordsProcessed)
      assert.are.equal(2, org:count "Account")
      assert.are.equal(0, #org:requests { method = "PATCH" })
    end)

    it("takes each field of the body", function()
      local job = assert(client:create {
        object = "Lead", operation = "upsert", externalIdFieldName = "Ext__c", contentType = "CSV", columnDelimiter = "PIPE",
        lineEnding = "CRLF", assignmentRuleId = RULE, data = "LastName|Company|Ext__c\r\nOne|Acme|A-1\r\n",
      })
      local info = helper.finished(job)
      assert.are.equal("JobComplete", info.state)
      assert.are.equal(0, info.numberRecordsFailed)
      assert.are.equal("PIPE", info.columnDelimiter)
      assert.are.equal("CRLF", info.lineEnding)
      assert.are.equal(RULE, info.assignmentRuleId)
      assert.are.equal(1, org:count "Lead")
    end)

    it("needs no close: one succeeds and changes nothing", function()
      org:set { hold = true }
      local job = assert(client:create(with { data = CSV }))
      assert.are.equal("UploadComplete", assert(job:close()).state)
      assert.are.equal(1, org:job(job.id).transitions.UploadComplete)
    end)

    it("takes no upload any more", function()
      org:set { hold = true }
      local job = assert(client:create(with { data = CSV }))
      local ok, err = job:upload "Name\nThree\n"
      assert.is_nil(ok)
      assert.truthy(err.kind == "job" or err.code == "INVALIDJOBSTATE")
      -- It was committed: the refusal must not roll it back.
      assert.are.equal("UploadComplete", org:job(job.id).state)
      assert.are.equal(CSV, received(job))
    end)

    it("from a file", function()
      local job = assert(client:create(with { data = { file = helper.file(CSV) } }))
      assert.are.equal(CSV, received(job))
    end)

    it("from a part of a file", function()
      local path = helper.file("xxxx" .. CSV .. "yyyy")
      local job = assert(client:create(with { data = { file = path, first = 5, last = 4 + #CSV } }))
      assert.are.equal(CSV, received(job))
    end)

    it("from a file that is not there: an io error, no request", function()
      local err = refused(with { data = { file = "/nowhere/accounts.csv" } })
      assert.are.equal("io", err.kind)
      assert.truthy(err.message:find("/nowhere/accounts.csv", 1, true))
      assert.are.equal(0, #org:requests())
    end)

    it("from more of a file than there is: an io error, as an upload gives", function()
      local err = refused(with { data = { file = helper.file(CSV), first = 1, last = #CSV + 1 } })
      assert.are.equal("io", err.kind)
      assert.are.equal(0, #org:requests())
    end)

    it("from a directory: an io error", function()
      local err = refused(with { data = { file = "/tmp" } })
      assert.are.equal("io", err.kind)
      assert.are.equal(0, #org:requests())
    end)

    it("from rows, in the job's format", function()
      local job = assert(client:create(with {
        columnDelimiter = "SEMICOLON", lineEnding = "CRLF", data = { rows = { { Name = "One; two", Ext__c = "A-1" }, { Name = "Three" } } },
      }))
      assert.are.equal("Ext__c;Name\r\nA-1;\"One; two\"\r\n;Three\r\n", received(job))
    end)

    it("from an iterator of rows", function()
      local n = 0
      local job = assert(client:create(with { data = { rows = function()
        n = n + 1
        return n <= 2 and { Name = "Row " .. n } or nil
      end, columns = { "Name" } } }))
      assert.are.equal("Name\nRow 1\nRow 2\n", received(job))
    end)

    it("from a function", function()
      local chunks = { "Name,Ext__c\n", "", "One,A-1\nTwo", ",A-2\n" }
      local n = 0
      local job = assert(client:create(with { data = function()
        n = n + 1
        return chunks[n]
      end }))
      assert.are.equal(CSV, received(job))
    end)

    it("from a function that fails: its error, no request", function()
      local err = refused(with { data = function()
        return nil, "the tape is torn"
      end })
      assert.are.equal("io", err.kind)
      assert.truthy(err.message:find("the tape is torn", 1, true))
      assert.are.equal(0, #org:requests())
    end)

    it("from a function that raises: the same, no request", function()
      local oops = {}
      local ok, err = pcall(client.create, client, with { data = function()
        error(oops)
      end })
      assert.is_false(ok)
      assert.are.equal(oops, err)
      assert.are.equal(0, #org:requests())
    end)

    it("from rows that cannot be CSV: a csv error, no request", function()
      local err = refused(with { data = { rows = { { Name = 1 / 0 } } } })
      assert.are.equal("csv", err.kind)
      assert.are.equal(0, #org:requests())
    end)

    it("empty makes a job without rows", function()
      local job = assert(client:create(with { data = "" }))
      assert.are.equal(1, org:job(job.id).uploads)
      assert.are.equal(0, org:job(job.id).bytes)
      assert.are.equal(0, helper.finished(job).numberRecordsProcessed)
    end)

    for name, text in pairs {
      ["line ends at both ends"] = "\n\nName\nOne\n\n",
      ["no last line end"] = "Name\nOne",
      ["a CRLF at the end"] = "Name\r\nOne\r\n",
      ["every byte there is"] = (function()
        local all = {}
        for i = 0, 255 do
          all[#all + 1] = string.char(i)
        end
        return table.concat(all)
      end)(),
    } do
      it("keeps every byte: " .. name, function()
        local job = assert(client:create(with { data = text }))
        assert.is_true(received(job) == text)
      end)
    end

    it("may hold the boundary of the request itself", function()
      local first = assert(client:create(with { data = CSV }))
      assert.are.equal(CSV, received(first))
      local boundary = only_request().headers.content_type:match 'boundary="?([^";]+)'
      local text = table.concat({ "Name", "--" .. boundary, "--" .. boundary .. "--", boundary, "x", "" }, "\r\n")
      local job = assert(client:create(with { lineEnding = "CRLF", data = text }))
      assert.are.equal(text, received(job))
      -- And that of the next one, and of all that follow.
      local lines = { "Name" }
      for i = 0, 30 do
        lines[#lines + 1] = "--" .. boundary:gsub("%d+$", "") .. i
      end
      text = table.concat(lines, "\n") .. "\n"
      job = assert(client:create(with { data = text }))
      assert.are.equal(text, received(job))
    end)

    -- A file with a header that is so many characters long, of which each takes `bytes` bytes.
    local function text_of(characters, letter)
      return "Name\n" .. letter:rep(characters - 6) .. "\n"
    end

    for letter, name in pairs { x = "of one byte", ["é"] = "of two bytes", ["€"] = "of three bytes", ["🎉"] = "of four bytes" } do
      it("may have exactly 100,000 characters " .. name, function()
        local text = text_of(LIMIT, letter)
        local job = assert(client:create(with { data = text }))
        assert.is_true(received(job) == text)
      end)

      it("may not have 100,001 characters " .. name, function()
        local text = text_of(LIMIT + 1, letter)
        for _, data in ipairs { text, { file = helper.file(text) } } do
          local err = refused(with { data = data })
          assert.are.equal("csv", err.kind)
          assert.truthy(err.message:find("100000", 1, true))
          assert.are.equal(0, #org:requests())
        end
      end)
    end

    it("is not rolled back, whatever state the answer shows", function()
      org:set { hold = true }
      local info = '{"id":"7508d00000Kq3XbAAJ","state":"Open","object":"Account","operation":"insert"}'
      org:fault { method = "POST", path = "/jobs/ingest", status = 200, body = info, effect = true }
      bulkjob.with(assert(client:create(with { data = CSV })), function() end)
      assert.are.equal(1, #org:requests())
    end)

    it("far too long does not read the source to its end", function()
      local taken = 0
      local err = refused(with { data = function()
        taken = taken + 1
        return taken <= 1000 and ("x"):rep(10000) or nil
      end })
      assert.are.equal("csv", err.kind)
      assert.is_true(taken < 100)
      assert.are.equal(0, #org:requests())
    end)

    for _, case in ipairs {
      { "an unknown object", { object = "Nonsense__c" }, "INVALIDENTITY" },
      { "an unknown operation", { operation = "merge" }, "INVALIDOPERATION" },
      { "another contentType", { contentType = "XML" }, "INVALIDVALUE" },
    } do
      it(case[1] .. " is refused by the service: " .. case[3], function()
        case[2].data = CSV
        local err = refused(with(case[2]))
        assert.are.equal("api", err.kind)
        assert.are.equal(400, err.status)
        assert.are.equal(case[3], err.code)
        assert.are.equal(1, #org:requests())
        assert.are.same({}, helper.states(org))
      end)
    end
  end)
end)
