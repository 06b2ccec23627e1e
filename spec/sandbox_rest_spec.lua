--- The sandbox towards clients of other languages: what they send and expect beside the letter of the guide, the REST resources that they
-- sign in with, and SOQL as it is written in real extracts.

local cjson = require "cjson"
local calls = require "spec.sandbox_calls"

local DATA, INGEST, QUERY, call, json, good = calls.DATA, calls.INGEST, calls.QUERY, calls.call, calls.json, calls.good
local refused, create, info = calls.refused, calls.create, calls.info
local load, results, query, run_query = calls.load, calls.results, calls.query, calls.run_query
local rows_csv = calls.rows_csv

local org

local function escape(text)
  return (text:gsub("[^%w]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function rest_query(text, resource)
  return call("GET", DATA .. "/" .. (resource or "query") .. "?q=" .. escape(text))
end

describe("the sandbox and its clients:", function()
  calls.scene(function(o)
    org = o
  end)

  describe("a request", function()
    it("may have any text as its token, and OAuth as its scheme", function()
      refused(401, "INVALID_SESSION_ID", call("GET", INGEST, { token = "Bearer nonsense" }))
      refused(401, "INVALID_AUTH_HEADER", call("GET", INGEST, { token = "Bearer" }))
      good(call("GET", INGEST, { token = "OAuth " .. org.token }))
      good(call("GET", INGEST, { token = "bearer " .. org.token }))
    end)

    it("may begin with two slashes", function()
      good(call("GET", "/" .. INGEST))
      local id = create()
      local answer = call("PUT", "/" .. INGEST .. "/" .. id .. "/batches", { body = "Name\nA\n", type = "text/csv" })
      assert.are.equal(201, answer.status)
      refused(404, "NOT_FOUND", call("GET", "//" .. INGEST))
      good(call("GET", "//services/data"))
    end)

    it("may have parameters that nobody knows", function()
      good(call("GET", INGEST .. "?nonsense=1&_=123"))
    end)

    it("to create a job may have empty texts", function()
      local job = good(call("POST", INGEST, { body = json { object = "Account", operation = "insert", externalIdFieldName = "",
        assignmentRuleId = "", lineEnding = "" } }))
      assert.is_nil(job.externalIdFieldName)
      assert.are.equal("LF", job.lineEnding)
      refused(400, "INVALIDJOB", call("POST", INGEST, { body = json { object = "", operation = "insert" } }))
    end)

    it("to close a job may have its other fields beside the state", function()
      local id = create()
      local job = info(id)
      job.state = "Aborted"
      assert.are.equal("Aborted", good(call("PATCH", INGEST .. "/" .. id, { body = json { id = id, state = "Aborted" } })).state)
    end)

    it("changes no job of the Bulk API 1.0", function()
      local id = org:seed_jobs({ { jobType = "Classic", state = "Closed" } })[1]
      refused(400, "INVALIDJOB", call("PATCH", INGEST .. "/" .. id, { body = json { state = "Aborted" } }))
      assert.are.equal("Closed", info(id).state)
    end)

    it("is refused with an encoding that the org cannot read", function()
      local path = INGEST .. "/" .. create() .. "/batches"
      refused(415, "UNSUPPORTED_MEDIA_TYPE", call("PUT", path, { body = "xx", type = "text/csv", headers = { "Content-Encoding: br" } }))
      refused(400, "CLIENTINPUTERROR", call("PUT", path, { body = "xx", type = "text/csv", headers = { "Content-Encoding: gzip" } }))
      refused(415, "UNSUPPORTED_MEDIA_TYPE", call("POST", INGEST, { body = "{}", headers = { "Content-Encoding: zstd" } }))
      assert.are.equal(201, call("PUT", path, { body = "Name\nA\n", type = "text/csv" }).status)
    end)

    it("for results may be written in any case", function()
      local id = run_query "SELECT Id FROM Account"
      assert.are.equal(200, call("GET", QUERY .. "/" .. id .. "/RESULTS").status)
      assert.are.equal(200, call("GET", QUERY .. "/" .. id .. "/RESULTPAGES").status)
    end)
  end)

  -- Path below the version, the methods it has, the first version that has it.
  local RESOURCES = {
    { "", "GET", 31 }, { "/limits", "GET", 31 }, { "/query", "GET", 31 }, { "/queryAll", "GET", 31 }, { "/sobjects", "GET", 31 },
    { "/sobjects/Account", "GET,POST", 31 }, { "/sobjects/Account/describe", "GET", 31 },
    { "/sobjects/Account/0018d00000AAAAAAA4", "GET,PATCH,DELETE", 31 },
    { "/jobs/ingest", "GET,POST", 41 }, { "/jobs/ingest/ID", "GET,PATCH,DELETE", 41 }, { "/jobs/ingest/ID/batches", "PUT", 41 },
    { "/jobs/ingest/ID/successfulResults", "GET", 41 }, { "/jobs/ingest/ID/failedResults", "GET", 41 },
    { "/jobs/ingest/ID/unprocessedrecords", "GET", 41 },
    { "/jobs/query", "GET,POST", 47 }, { "/jobs/query/ID", "GET,PATCH,DELETE", 47 }, { "/jobs/query/ID/results", "GET", 47 },
    { "/jobs/query/ID/resultPages", "GET", 58 },
  }

  describe("every resource", function()
    local METHODS = { "GET", "POST", "PUT", "PATCH", "DELETE" }
    local ID = "7508d00000Kq3XbAAJ" -- of no job

    local function path_of(resource, version)
      return ("/services/data/v%d.0%s"):format(version, (resource[1]:gsub("ID", ID)))
    end

    --- The answer is this error, and has the headers that every answer has.
    local function refusal(status, code, method, path, options)
      local answer = assert(call(method, path, options))
      local message = refused(status, code, answer)
      assert.are.equal(#answer.body, tonumber(answer.headers["content-length"]), path)
      assert.matches("^application/json;charset=UTF%-8$", answer.headers["content-type"])
      return message, answer
    end

    for _, resource in ipairs(RESOURCES) do
      local path, methods, since = resource[1], resource[2], resource[3]

      it(("(%s) wants a token, a version and a method that there are"):format(path == "" and "/" or path), function()
        for _, method in ipairs(METHODS) do
          local here = path_of(resource, 66)
          refusal(401, "INVALID_SESSION_ID", method, here, { token = false })
          refusal(401, "INVALID_SESSION_ID", method, here, { token = "OAuth 00D8d0000008kTz!dead" })
          refusal(401, "INVALID_AUTH_HEADER", method, here, { token = "Basic YTpi" })
          refusal(410, "GONE", method, path_of(resource, 30))
          local _, answer = refusal(404, "NOT_FOUND", method, path_of(resource, 69))
          assert.matches("^api%-usage=%d+/5000000$", answer.headers["sforce-limit-info"])
          if since > 31 then
            refusal(404, "NOT_FOUND", method, path_of(resource, since - 1))
          end
          if not ("," .. methods .. ","):find("," .. method .. ",", 1, true) then
            local message
            message, answer = refusal(405, "METHOD_NOT_ALLOWED", method, here)
            assert.are.equal(("HTTP Method '%s' not allowed. Allowed are %s"):format(method, methods), message)
            assert.are.equal(methods, answer.headers.allow)
          elseif path:find "ID" then
            refusal(404, "NOT_FOUND", method, here, method ~= "GET" and { body = "{}" } or nil)
            refusal(400, "MALFORMED_ID", method, (here:gsub("/750", "/001"):gsub("XbAAJ", "XbAAJ")))
          elseif method == "GET" and not path:find "/query" and not path:find "/0018" then
            local good_answer
            _, good_answer = good(call("GET", here))
            assert.are.equal(#good_answer.body, tonumber(good_answer.headers["content-length"]))
            good(call("GET", here .. "/"))
            assert.are.equal("", call("HEAD", here).body)
          elseif method == "POST" then
            refusal(415, "UNSUPPORTED_MEDIA_TYPE", method, here, { body = "{}", type = "text/plain" })
            refusal(400, "JSON_PARSER_ERROR", method, here, { body = "{" })
          end
        end
      end)
    end
  end)

  describe("links to pages", function()
    it("come in the shapes that were seen", function()
      load(rows_csv(65))
      org:set { query_page_records = 10 }
      local id = run_query "SELECT Name FROM Account"
      local path = QUERY .. "/" .. id .. "/resultPages"
      org:set { result_pages = "resultChunks" }
      local first = good(call("GET", path))
      assert.are.equal("/jobs/query/" .. id .. "/results", first.resultChunks[1].resultLink)
      assert.are.equal("10", call("GET", DATA .. first.resultChunks[1].resultLink).headers["sforce-numberofrecords"])
      local second = good(call("GET", first.nextRecordsUrl))
      assert.are.equal("5", call("GET", DATA .. second.resultChunks[2].resultLink).headers["sforce-numberofrecords"])
      assert.are.equal(cjson.null, second.nextRecordsUrl)
      org:set { result_pages = "resultLink", result_pages_next = "nextRecordUrl" }
      first = good(call("GET", path))
      assert.are.equal("10", call("GET", first.resultPages[5].resultLink).headers["sforce-numberofrecords"])
      assert.is_nil(first.nextRecordsUrl)
      assert.is_true(good(call("GET", first.nextRecordUrl)).done)
      org:set { result_pages = "403" }
      assert.are.equal(403, call("GET", path).status)
      org:set { result_pages = "404" }
      refused(404, "NOT_FOUND", call("GET", path))
    end)
  end)

  describe("rows", function()
    it("that failed have an id in their file from v50.0", function()
      local base = "/services/data/v50.0/jobs/ingest"
      local _, id = load('Name\n""\n', nil, base)
      assert.matches('^"sf__Id","sf__Error",Name\n"","REQUIRED', results(id, "failedResults", base))
    end)

    it("are all inserted by an upsert by Id without Ids", function()
      local job = load("Name\nA\nB\n", { operation = "upsert", externalIdFieldName = "Id" })
      assert.are.equal("JobComplete", job.state)
      assert.are.equal(0, job.numberRecordsFailed)
      assert.are.equal(2, org:count "Account")
    end)

    it("with an external id twice among those worked together fail", function()
      local fields = { operation = "upsert", externalIdFieldName = "Ext__c" }
      local job, id = load("Name,Ext__c\nA,x\nB,X\nC,y\n", fields)
      assert.are.equal(1, job.numberRecordsFailed)
      assert.matches('"DUPLICATE_VALUE:Duplicate external id specified: X:Ext__c %-%-","B","X"', results(id, "failedResults"))
      org:set { slice_rows = 1 }
      assert.are.equal(0, load("Name,Ext__c\nA,z\nB,z\n", fields).numberRecordsFailed)
    end)

    it("must have days that exist", function()
      local job = load "Name,Date__c,Moment__c\nA,2024-02-29,\nB,2024-02-30,\nC,2023-02-29,\nD,,2024-02-30T00:00:00Z\n"
      assert.are.equal(3, job.numberRecordsFailed)
    end)

    it("give back the names of columns as they were sent", function()
      local _, id = load "NAME,ext__C\nA,1\n"
      assert.matches('^"sf__Id","sf__Created",NAME,ext__C\n', results(id, "successfulResults"))
    end)

    it("of queries may have numbers as Java writes them", function()
      load "Name,Number__c,Count__c\nA,16147805824397,23\nB,23,\nC,0.5,\nD,0.00012,\nE,12345678.5,\n"
      org:set { query_numbers = "java" }
      local _, csv = run_query "SELECT Number__c, Count__c FROM Account ORDER BY Name"
      assert.are.equal('"Number__c","Count__c"\n"1.6147805824397E13","23"\n"23.0",""\n"0.5",""\n"1.2E-4",""\n"1.23456785E7",""\n', csv)
    end)
  end)

  describe("REST", function()
    it("tells who the user is", function()
      local who = good(call("GET", "/services/oauth2/userinfo"))
      assert.are.equal("integration@sandbox.example", who.preferred_username)
      assert.are.equal(18, #who.organization_id)
      refused(401, "INVALID_SESSION_ID", call("GET", "/services/oauth2/userinfo", { token = false }))
      local user = good(call("GET", DATA .. "/sobjects/User/" .. who.user_id))
      assert.are.equal("integration@sandbox.example", user.Username)
      assert.are.equal("User", user.attributes.type)
      org:set { username = "me@acme.example" }
      assert.are.equal("me@acme.example", good(call("GET", DATA .. "/sobjects/User/" .. who.user_id)).Username)
      local token = good(call("POST", "/services/oauth2/token", { token = false, type = "application/x-www-form-urlencoded",
        body = "grant_type=client_credentials&client_id=3MVG9.sandbox.app&client_secret=the.secret.of.the.app" }))
      local identity = good(call("GET", (token.id:gsub("^https?://[^/]+", ""))))
      assert.are.equal("me@acme.example", identity.username)
      assert.are.equal(who.user_id, identity.user_id)
      assert.are.equal(token.id, identity.id)
    end)

    it("names its resources", function()
      local list = good(call("GET", DATA))
      for name, place in pairs(list) do
        if name ~= "jobs" and name ~= "query" and name ~= "queryAll" then
          good(call("GET", (place:gsub("^https?://[^/]+", ""))))
        end
      end
      assert.are.equal(DATA .. "/query", list.query)
      assert.is_string(list.identity)
    end)

    it("revokes a token", function()
      assert.are.equal(400, call("POST", "/services/oauth2/revoke", { token = false, type = "application/x-www-form-urlencoded",
        body = "token=nothing" }).status)
      good(call("GET", INGEST))
      local answer = call("POST", "/services/oauth2/revoke", { token = false, type = "application/x-www-form-urlencoded",
        body = "token=" .. escape(org.token) })
      assert.are.equal(200, answer.status)
      refused(401, "INVALID_SESSION_ID", call("GET", INGEST))
      org:new_token()
    end)

    it("lists and describes objects", function()
      local list = good(call("GET", DATA .. "/sobjects"))
      local names = {}
      for _, object in ipairs(list.sobjects) do
        names[object.name] = object
      end
      assert.are.equal("001", names.Account.keyPrefix)
      assert.is_false(names.Organization.createable)
      assert.are.equal("Account", good(call("GET", DATA .. "/sobjects/account")).objectDescribe.name)
      local types = {}
      for _, field in ipairs(good(call("GET", names.Account.urls.describe)).fields) do
        types[field.name] = field.type
      end
      assert.are.equal("id", types.Id)
      assert.are.equal("address", types.BillingAddress)
      assert.are.equal("double", types.AnnualRevenue)
      assert.are.equal("reference", types.ParentId)
      assert.is_string(types.Jigsaw and types.JigsawCompanyId and types.SicDesc)
      refused(404, "NOT_FOUND", call("GET", DATA .. "/sobjects/Nothing"))
    end)

    it("makes, reads, changes and deletes one record", function()
      local base = DATA .. "/sobjects/Account"
      local answer = call("POST", base, { body = json { Name = "A & <B>", NumberOfEmployees = 7, Flag__c = true, Phone = cjson.null } })
      assert.are.equal(201, answer.status, answer.body)
      local made = cjson.decode(answer.body)
      assert.is_true(made.success)
      assert.matches('"errors":%[%]', answer.body)
      local record = good(call("GET", base .. "/" .. made.id:sub(1, 15)))
      assert.are.equal("A & <B>", record.Name)
      assert.are.equal(7, record.NumberOfEmployees)
      assert.is_true(record.Flag__c)
      assert.are.equal(cjson.null, record.Phone)
      assert.matches("^%d+%-%d%d%-%d%dT.*%+0000$", record.CreatedDate)
      assert.are.equal(base .. "/" .. made.id, record.attributes.url)
      local few = good(call("GET", base .. "/" .. made.id .. "?fields=Name,Id"))
      assert.are.equal("Id Name attributes", calls.keys(few))
      assert.are.equal(204, call("PATCH", base .. "/" .. made.id, { body = json { Name = "C", NumberOfEmployees = cjson.null } }).status)
      record = good(call("GET", base .. "/" .. made.id))
      assert.are.equal("C", record.Name)
      assert.are.equal(cjson.null, record.NumberOfEmployees)
      answer = call("POST", base, { body = json { Phone = "1" } })
      assert.are.equal(400, answer.status)
      assert.are.same({ { errorCode = "REQUIRED_FIELD_MISSING", message = "Required fields are missing: [Name]", fields = { "Name" } } },
        cjson.decode(answer.body))
      refused(400, "INVALID_FIELD", call("POST", base, { body = json { Name = "A", Nope = 1 } }))
      refused(400, "INSUFFICIENT_ACCESS_OR_READONLY", call("POST", DATA .. "/sobjects/Organization", { body = "{}" }))
      refused(400, "INVALIDENTITY", call("POST", INGEST, { body = json { object = "Organization", operation = "insert" } }))
      assert.are.equal(204, call("DELETE", base .. "/" .. made.id).status)
      refused(404, "ENTITY_IS_DELETED", call("GET", base .. "/" .. made.id))
      refused(404, "NOT_FOUND", call("GET", base .. "/nonsense"))
    end)

    it("answers queries as JSON, page after page", function()
      load(rows_csv(2500))
      local page = good(rest_query "SELECT Id, Name FROM Account ORDER BY Ext__c")
      assert.are.equal(2500, page.totalSize)
      assert.are.equal(2000, #page.records)
      assert.is_false(page.done)
      assert.are.equal("Account", page.records[1].attributes.type)
      assert.are.equal("/services/data/v66.0/sobjects/Account/" .. page.records[1].Id, page.records[1].attributes.url)
      page = good(call("GET", page.nextRecordsUrl))
      assert.are.equal(500, #page.records)
      assert.is_true(page.done)
      assert.is_nil(page.nextRecordsUrl)
      refused(400, "INVALID_QUERY_LOCATOR", call("GET", DATA .. "/query/01g8d0000000001AAA-2000"))
      assert.are.equal(2500, good(rest_query "SELECT COUNT() FROM Account").totalSize)
      assert.are.equal(2, #good(rest_query "SELECT Name FROM Account LIMIT 2 OFFSET 5").records)
      assert.matches('"records":%[%]', rest_query("SELECT Id FROM Lead").body)
      refused(400, "MALFORMED_QUERY", call("GET", DATA .. "/query"))
      refused(400, "MALFORMED_QUERY", rest_query "SELECT")
      refused(400, "INVALID_TYPE", rest_query "SELECT Id FROM ScratchOrgInfo")
      local organization = good(rest_query "SELECT Name, InstanceName, NamespacePrefix, IsSandbox FROM Organization").records[1]
      assert.is_true(organization.IsSandbox)
      assert.are.equal(cjson.null, organization.NamespacePrefix)
      load("LastName,Account.Ext__c\nWith,E1\nWithout,\n", { object = "Contact" })
      local contacts = good(rest_query "SELECT LastName, Account.Name, Account.Owner.Name FROM Contact ORDER BY LastName").records
      assert.are.equal("Row 1", contacts[1].Account.Name)
      assert.are.equal("Ada Admin", contacts[1].Account.Owner.Name)
      assert.are.equal(cjson.null, contacts[2].Account)
      local columns = good(call("GET", DATA .. "/query?columns=true&q=" .. escape "SELECT Id, Owner.Name, Owner.Email, Name FROM Account"))
      local shown = {}
      for i, column in ipairs(columns.columnMetadata) do
        shown[i] = column.columnName
        for _, inner in ipairs(column.joinColumns) do
          shown[i] = shown[i] .. " " .. inner.columnName
        end
      end
      assert.are.same({ "Id", "Owner Name Email", "Name" }, shown)
      load("Name\nGone\n")
      local id = good(rest_query "SELECT Id FROM Account WHERE Name = 'Gone'").records[1].Id
      load("Id\n" .. id .. "\n", { operation = "delete" })
      assert.are.equal(0, good(rest_query "SELECT Id FROM Account WHERE Name = 'Gone'").totalSize)
      assert.are.equal(1, good(rest_query("SELECT Id FROM Account WHERE Name = 'Gone'", "queryAll")).totalSize)
    end)
  end)

  describe("SOQL", function()
    local function names(rest, from)
      local _, csv = run_query("SELECT Name FROM " .. (from or "Account") .. " " .. rest)
      local out = {}
      for name in csv:gmatch '\n"([^"]*)"' do
        out[#out + 1] = name
      end
      table.sort(out)
      return table.concat(out, " ")
    end

    it("joins conditions by AND, OR and NOT, in brackets", function()
      load "Name,Industry,AnnualRevenue\nA,Tech,10\nB,Tech,20\nC,Food,10\nD,,\n"
      assert.are.equal("A B C", names "WHERE Industry = 'Tech' OR Industry = 'Food'")
      assert.are.equal("B C", names "WHERE (Industry = 'Tech' AND AnnualRevenue = 20) OR Name = 'C'")
      assert.are.equal("A C", names "WHERE (Industry = 'Tech' OR Industry = 'Food') AND AnnualRevenue < 15")
      assert.are.equal("C D", names "WHERE NOT Industry = 'Tech'")
      assert.are.equal("B D", names "WHERE NOT (Industry = 'Food' OR AnnualRevenue = 10)")
      assert.are.equal("A B", names "WHERE NOT (NOT Industry = 'Tech')")
      assert.are.equal("A C", names "WHERE AnnualRevenue IN (10, 11)")
      assert.are.equal("B D", names "WHERE AnnualRevenue NOT IN (10)")
      assert.are.equal("A C D", names "WHERE AnnualRevenue IN (10, null)")
      assert.are.equal("A B C", names "WHERE ((((AnnualRevenue >= 10))))")
      for _, text in ipairs {
        "WHERE Name = 'A' OR Name = 'B' AND Name = 'C'", "WHERE Name = 'A' AND Name = 'B' OR Name = 'C'", "WHERE (Name = 'A'",
        "WHERE Name = 'A')", "WHERE NOT", "WHERE ()", "WHERE Name IN ()", "WHERE Name IN ('A'", "WHERE Name LIKE", "WHERE AND Name = 'A'",
      } do
        refused(400, "MALFORMED_QUERY", query("SELECT Id FROM Account " .. text))
      end
    end)

    it("has short names for objects and for their parents", function()
      load "Name,Ext__c\nA,1\n"
      load("LastName,Account.Ext__c\nX,1\nY,\n", { object = "Contact" })
      assert.are.equal("A", names("WHERE a.Ext__c = '1' ORDER BY a.Name", "Account a"))
      assert.are.equal("A", names("WHERE acc.Ext__c = '1'", "Account AS acc"))
      local _, csv = run_query "SELECT c.LastName, a.Name, a.Owner.LastName FROM Contact c, c.Account a WHERE a.Name != null"
      assert.are.equal('"LastName","Account.Name","Account.Owner.LastName"\n"X","A","Admin"\n', csv)
      _, csv = run_query "SELECT toLabel(Industry), FORMAT(AnnualRevenue) FROM Account"
      assert.are.equal('"Industry","AnnualRevenue"\n"",""\n', csv)
      load("Subject,Account:What.Ext__c\nCall,1\n", { object = "Task" })
      _, csv = run_query "SELECT What.Name FROM Task WHERE What.Name = 'A'"
      assert.are.equal('"What.Name"\n"A"\n', csv)
    end)

    it("has semi-joins on one level", function()
      load "Name,Ext__c\nA,1\nB,2\nC,3\n"
      load("LastName,Account.Ext__c\nX,1\nY,2\nZ,\n", { object = "Contact" })
      assert.are.equal("A B", names "WHERE Id IN (SELECT AccountId FROM Contact)")
      assert.are.equal("A", names "WHERE Id IN (SELECT AccountId FROM Contact WHERE LastName = 'X') AND Name != 'B'")
      assert.are.equal("C", names "WHERE Id NOT IN (SELECT AccountId FROM Contact)")
      assert.are.equal("X", names("WHERE AccountId IN (SELECT Id FROM Account WHERE Ext__c = '1')", "Contact"))
      refused(400, "MALFORMED_QUERY", query "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact) OR Name = 'A'")
      refused(400, "MALFORMED_QUERY", query "SELECT Id FROM Account WHERE Name = 'A' OR Id IN (SELECT AccountId FROM Contact)")
      refused(400, "MALFORMED_QUERY",
        query "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE AccountId IN (SELECT Id FROM Account))")
      refused(400, "MALFORMED_QUERY", query "SELECT Id FROM Account WHERE Id IN (SELECT Id, AccountId FROM Contact)")
      refused(400, "INVALID_FIELD", query "SELECT Id FROM Account WHERE Name IN (SELECT AccountId FROM Contact)")
      refused(400, "INVALID_FIELD", query "SELECT Id FROM Account WHERE Id IN (SELECT LastName FROM Contact)")
    end)

    it("finds ids in both forms", function()
      local _, id = load "Name,Ext__c\nA,1\n"
      local record = results(id, "successfulResults"):match '\n"(001%w+)"'
      assert.are.equal("A", names("WHERE Id = '" .. record:sub(1, 15) .. "'"))
      assert.are.equal("A", names("WHERE Id IN ('" .. record .. "')"))
    end)

    it("knows the date literals", function()
      -- The org's clock stands at noon of 2026-03-18, a Wednesday.
      org:set { clock_offset = 1773835200 - os.time() }
      local days = {
        "2024-12-31", "2025-01-01", "2025-12-31", "2026-01-01", "2026-02-28", "2026-03-01", "2026-03-07", "2026-03-08", "2026-03-14",
        "2026-03-15", "2026-03-17", "2026-03-18", "2026-03-19", "2026-03-21", "2026-03-22", "2026-03-31", "2026-04-01", "2026-06-30",
        "2026-07-01", "2026-12-31", "2027-01-01",
      }
      local rows = { "Name,Date__c,Moment__c" }
      for _, day in ipairs(days) do
        rows[#rows + 1] = ("%s,%s,%sT23:59:59Z"):format(day, day, day)
      end
      assert.are.equal(0, load(table.concat(rows, "\n") .. "\n").numberRecordsFailed)
      -- literal -> its first and its last day among these
      for literal, wanted in pairs {
        TODAY = "2026-03-18 2026-03-18", YESTERDAY = "2026-03-17 2026-03-17", TOMORROW = "2026-03-19 2026-03-19",
        THIS_WEEK = "2026-03-15 2026-03-21", LAST_WEEK = "2026-03-08 2026-03-14", NEXT_WEEK = "2026-03-22 2026-03-22",
        THIS_MONTH = "2026-03-01 2026-03-31", LAST_MONTH = "2026-02-28 2026-02-28", NEXT_MONTH = "2026-04-01 2026-04-01",
        THIS_QUARTER = "2026-01-01 2026-03-31", LAST_QUARTER = "2025-12-31 2025-12-31", NEXT_QUARTER = "2026-04-01 2026-06-30",
        THIS_YEAR = "2026-01-01 2026-12-31", LAST_YEAR = "2025-01-01 2025-12-31", NEXT_YEAR = "2027-01-01 2027-01-01",
        THIS_FISCAL_YEAR = "2026-01-01 2026-12-31", LAST_90_DAYS = "2025-12-31 2026-03-18", NEXT_90_DAYS = "2026-03-19 2026-04-01",
        ["LAST_N_DAYS:4"] = "2026-03-14 2026-03-18", ["NEXT_N_DAYS:3"] = "2026-03-19 2026-03-21", ["N_DAYS_AGO:4"] = "2026-03-14 2026-03-14",
        ["LAST_N_WEEKS:2"] = "2026-03-01 2026-03-14", ["NEXT_N_WEEKS:2"] = "2026-03-22 2026-04-01",
        ["LAST_N_MONTHS:3"] = "2025-12-31 2026-02-28", ["NEXT_N_MONTHS:4"] = "2026-04-01 2026-07-01",
        ["N_MONTHS_AGO:1"] = "2026-02-28 2026-02-28", ["LAST_N_QUARTERS:1"] = "2025-12-31 2025-12-31",
        ["N_QUARTERS_AGO:5"] = "2024-12-31 2024-12-31", ["LAST_N_YEARS:2"] = "2024-12-31 2025-12-31",
        ["N_YEARS_AGO:1"] = "2025-01-01 2025-12-31", ["last_n_days:1"] = "2026-03-17 2026-03-18",
      } do
        for _, field in ipairs { "Date__c", "Moment__c" } do
          local found = names("WHERE " .. field .. " = " .. literal)
          assert.are.equal(wanted, (found:match "^%S+" or "") .. " " .. (found:match "%S+$" or ""), field .. " = " .. literal)
        end
      end
      assert.are.equal("2024-12-31 2025-01-01 2025-12-31", names "WHERE Date__c < THIS_YEAR")
      assert.are.equal("2027-01-01", names "WHERE Moment__c > THIS_YEAR")
      assert.are.equal("2026-12-31 2027-01-01", names "WHERE Date__c >= 2026-12-31")
      assert.are.equal("2024-12-31", names "WHERE NOT Date__c > N_YEARS_AGO:2 AND Date__c <= LAST_N_YEARS:2")
      assert.are.equal(#days - 1, select(2, names("WHERE Date__c != TODAY"):gsub("%S+", "")))
      assert.are.equal("2025-01-01 2025-12-31", names "WHERE CALENDAR_YEAR(Moment__c) = 2025")
      assert.are.equal("2026-03-18", names "WHERE DAY_ONLY(Moment__c) = TODAY")
      for _, text in ipairs { "Date__c = LAST_N_DAYS", "Date__c = LAST_N_DAYS:x", "Date__c = TODAYS", "Date__c IN TODAY" } do
        refused(400, "MALFORMED_QUERY", query("SELECT Id FROM Account WHERE " .. text))
      end
      refused(400, "INVALID_FIELD", query "SELECT Id FROM Account WHERE Name = TODAY")
      refused(400, "INVALID_FIELD", query "SELECT Id FROM Account WHERE Date__c = 2026-01-01T00:00:00Z")
    end)

    it("says whether the object can be chunked, whatever the limit", function()
      local id = run_query "SELECT Id FROM Account ORDER BY Name LIMIT 1"
      assert.is_true(info(id, QUERY).isPkChunkingSupported)
    end)

    it("may call an unknown object what REST calls it", function()
      org:set { unknown_object = "INVALID_TYPE" }
      refused(400, "INVALID_TYPE", query "SELECT Id FROM Nothing")
      refused(400, "INVALIDENTITY", query "SELECT Id FROM AccountShare")
    end)
  end)
end)
