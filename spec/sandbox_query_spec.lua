--- Queries in the sandbox, with their results, real and made up, and the faults that bend these.

local calls = require "spec.sandbox_calls"

local QUERY, call, json, good, refused, patch = calls.QUERY, calls.call, calls.json, calls.good, calls.refused, calls.patch
local info, wait, load, results, query, run_query = calls.info, calls.wait, calls.load, calls.results, calls.query, calls.run_query
local curl, keys, sorted, lines, rows_csv = calls.curl, calls.keys, calls.sorted, calls.lines, calls.rows_csv

describe("queries in the sandbox", function()
  local org
  calls.scene(function(o)
    org = o
  end)

  it("are created, shown, aborted and deleted", function()
    local common = "id operation object createdById createdDate systemModstamp state concurrencyMode contentType apiVersion "
    org:hold(true)
    local job = good(query("SELECT Id FROM account", { lineEnding = "CRLF" }))
    assert.are.equal(sorted(common .. "lineEnding columnDelimiter"), keys(job))
    assert.are.equal("UploadComplete", job.state)
    assert.are.equal("Account", job.object)
    assert.are.equal(sorted(common .. "lineEnding columnDelimiter jobType numberRecordsProcessed retries totalProcessingTime "
      .. "isPkChunkingSupported"), keys(info(job.id, QUERY)))
    refused(400, "INVALIDJOBSTATE", call("GET", QUERY .. "/" .. job.id .. "/results"))
    refused(400, "API_ERROR", call("DELETE", QUERY .. "/" .. job.id))
    refused(400, "INVALIDJOBSTATE", patch(job.id, "UploadComplete", QUERY))
    local aborted = good(patch(job.id, "Aborted", QUERY))
    assert.are.equal(sorted(common), keys(aborted))
    assert.are.equal("Aborted", aborted.state)
    assert.are.equal("Aborting already Completed Job not allowed", refused(400, "INVALIDJOBSTATE", patch(job.id, "Aborted", QUERY)))
    assert.are.equal(204, call("DELETE", QUERY .. "/" .. job.id).status)
    refused(404, "NOT_FOUND", call("GET", QUERY .. "/" .. job.id))
  end)

  it("are refused with the service's codes", function()
    local select = "SELECT Id FROM Account "
    refused(400, "INVALIDJOB", call("POST", QUERY, { body = json { operation = "query" } }))
    refused(400, "INVALIDJOB", call("POST", QUERY, { body = json { query = select } }))
    refused(400, "INVALIDOPERATION", query(select, { operation = "insert" }))
    refused(400, "INVALIDVALUE", query(select, { columnDelimiter = "," }))
    refused(400, "JSON_PARSER_ERROR", query(select, { object = "Account" }))
    for _, text in ipairs {
      "SELECT", "SELECT Id", "Id FROM Account", "SELECT Id, FROM Account", "SELECT Id, Id FROM Account", select .. "WHERE",
      select .. "WHERE Name", select .. "WHERE Name = 'x", select .. "LIMIT x", select .. "nonsense here",
      select .. "WHERE Name = 'x' 'y'", select .. "WHERE Name = 'x' OR Name = 'y' AND Name = 'z'",
    } do
      refused(400, "MALFORMED_QUERY", query(text))
    end
    refused(400, "INVALID_FIELD", query(select .. "WHERE Name = 5"))
    assert.matches("No such column 'Nope' on entity 'Account'", refused(400, "INVALID_FIELD", query "SELECT Nope FROM Account"))
    refused(400, "INVALID_FIELD", query(select .. "WHERE Nope = 'x'"))
    refused(400, "INVALID_FIELD", query "SELECT Owners.Name FROM Account")
    refused(400, "INVALIDENTITY", query "SELECT Id FROM Nothing")
    assert.are.equal("Selecting compound data not supported in Bulk Query",
      refused(400, "API_ERROR", query "SELECT BillingAddress FROM Account"))
    for _, text in ipairs {
      "SELECT COUNT() FROM Account", "SELECT MAX(Name) FROM Account", select .. "GROUP BY Name",
      "SELECT Name, (SELECT Id FROM Contacts) FROM Account",
    } do
      assert.are.equal("Aggregate Relationships not supported in Bulk Query", refused(400, "API_ERROR", query(text)))
    end
    refused(400, "API_ERROR", query(select .. "LIMIT 5 OFFSET 5"))
    refused(400, "API_ERROR", query "SELECT TYPEOF What WHEN Account THEN Id END FROM Task")
    org:set { daily_query_jobs = 0 }
    assert.are.equal("Max bulk v2 query jobs (0) per 24 hrs has been reached (1)", refused(400, "LIMIT_EXCEEDED", query(select)))
  end)

  it("compare, order and limit", function()
    load("Name,Ext__c,AnnualRevenue,Flag__c,Date__c\nAda,1,10,true,2026-01-01\nBob's,2,20.5,false,2026-02-01\n"
      .. "carl%,3,,true,\nDora,4,40,false,2026-04-01\n")
    local function names(rest)
      local _, csv = run_query("SELECT Name FROM Account " .. rest)
      local out = {}
      for name in csv:gmatch '\n"([^"]*)"' do
        out[#out + 1] = name
      end
      return table.concat(out, " ")
    end
    assert.are.equal("Ada Bob's carl% Dora", names "ORDER BY Name")
    assert.are.equal("Dora carl%", names "ORDER BY Name DESC LIMIT 2")
    assert.are.equal("Bob's", names "WHERE Name = 'bob\\'s'")
    assert.are.equal("Ada", names "WHERE AnnualRevenue <= 10")
    assert.are.equal("Bob's Dora", names "WHERE AnnualRevenue > 10 AND Flag__c = false ORDER BY Name")
    assert.are.equal("carl%", names "WHERE AnnualRevenue = null")
    assert.are.equal("Ada carl% Dora", names "WHERE AnnualRevenue != 20.5 ORDER BY Name")
    assert.are.equal("carl%", names "WHERE Name LIKE 'c_rl\\%'")
    assert.are.equal("Ada Dora", names("WHERE Name LIKE '%d%' AND Flag__c != null AND Name != 'x' AND Date__c < 2026-05-01 "
      .. "AND Name NOT IN ('Bob\\'s') ORDER BY Name"))
    assert.are.equal("Ada Dora", names "WHERE Ext__c IN ('1', '4') ORDER BY Ext__c")
    assert.are.equal("Ada Bob's carl% Dora", names "WHERE CreatedDate > 2020-01-01T00:00:00Z ORDER BY Name NULLS LAST")
    assert.are.equal("carl% Ada", names "ORDER BY AnnualRevenue LIMIT 2")
  end)

  it("give pages by locator", function()
    load(rows_csv(25))
    local id = run_query "SELECT Ext__c, Name FROM Account"
    local path = QUERY .. "/" .. id .. "/results?maxRecords=10"
    local locator, total, rows = nil, 0, {}
    repeat
      local answer = call("GET", path .. (locator and "&locator=" .. locator or ""))
      assert.are.equal(200, answer.status)
      local page = lines(answer.body)
      assert.are.equal('"Ext__c","Name"', page[1])
      assert.are.equal(#page - 1, tonumber(answer.headers["sforce-numberofrecords"]))
      total = total + #page - 1
      for i = 2, #page do
        rows[page[i]] = true
      end
      locator = answer.headers["sforce-locator"]
    until locator == "null"
    assert.are.equal(25, total)
    assert.is_true(rows['"E25","Row 25"'])
    refused(400, "INVALID_QUERY_LOCATOR", call("GET", path .. "&locator=MTA"))
    refused(400, "INVALID_QUERY_LOCATOR", call("GET", path .. "&locator=null"))
    refused(400, "INVALIDVALUE", call("GET", QUERY .. "/" .. id .. "/results?maxRecords=0"))
    assert.are.equal(406, call("GET", path, { accept = false }).status)
    refused(409, "API_VERSION_MISMATCH", call("GET", (path:gsub("66%.0", "65.0"))))
  end)

  it("finds made-up rows when told to, each of the same length", function()
    org:set { query_rows = 25, query_row_bytes = 90, query_page_records = 10 }
    local id = run_query "SELECT Name FROM Account"
    local whole = call("GET", QUERY .. "/" .. id .. "/results?maxRecords=100").body
    local header = '"Number","Text"\n'
    assert.are.equal(#header + 25 * 90, #whole)
    local page = call("GET", QUERY .. "/" .. id .. "/results?maxRecords=10")
    assert.are.equal("10", page.headers["sforce-numberofrecords"])
    assert.are.equal(whole:sub(1, #header + 10 * 90), page.body)
  end)

  it("give links to pages, five at a time", function()
    load(rows_csv(65))
    org:set { query_page_records = 10 }
    local id = run_query "SELECT Name FROM Account"
    local first = good(call("GET", QUERY .. "/" .. id .. "/resultPages"))
    assert.are.equal(5, #first.resultPages)
    assert.is_false(first.done)
    local second = good(call("GET", first.nextRecordsUrl))
    assert.are.equal(2, #second.resultPages)
    assert.is_true(second.done)
    assert.is_nil(second.nextRecordsUrl)
    local seen = 0
    for _, set in ipairs { first, second } do
      for _, page in ipairs(set.resultPages) do
        local answer = call("GET", page.resultUrl)
        seen = seen + tonumber(answer.headers["sforce-numberofrecords"])
      end
    end
    assert.are.equal(65, seen)
    good(call("GET", QUERY .. "/" .. id .. "/resultpages"))
    refused(409, "API_VERSION_MISMATCH", call("GET", "/services/data/v65.0/jobs/query/" .. id .. "/resultPages"))
  end)

  it("without rows give a header and the end", function()
    local id, csv = run_query "SELECT Id, Name FROM Lead"
    assert.are.equal('"Id","Name"\n', csv)
    local answer = call("GET", QUERY .. "/" .. id .. "/results")
    assert.are.equal("null", answer.headers["sforce-locator"])
    assert.are.equal("0", answer.headers["sforce-numberofrecords"])
  end)

  it("sort their columns before v50.0", function()
    local base = "/services/data/v49.0/jobs/query"
    local id = good(call("POST", base, { body = json { operation = "query", query = "SELECT Name, Id FROM Account" } })).id
    wait(id, base)
    assert.are.equal('"Id","Name"\n', results(id, "results", base))
  end)

  local PAGES = "/resultPages"

  local function path_of(id, rest)
    return QUERY .. "/" .. id .. rest
  end

  --- The rows from number `from` to `to` of a made-up result, as the README of the sandbox describes them.
  local function made_up(from, to, filler, last_line_end)
    local rows = {}
    for n = from, to do
      rows[#rows + 1] = ('"%012d","A ""quoted"" word\nand a Grüße '):format(n) .. filler .. '"\n'
    end
    local text = '"Number","Text"\n' .. table.concat(rows)
    return last_line_end == false and text:sub(1, -2) or text
  end

  local function sha256(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local pipe = assert(io.popen("sha256sum " .. path))
    local digest = pipe:read("*a"):match "^%x+"
    pipe:close()
    os.remove(path)
    return digest
  end

  describe("with made-up results", function()
    local SELECT = "SELECT Name FROM Account"

    it("find millions of rows at once, and give a page from anywhere in them", function()
      local id = run_query(SELECT .. " LIMIT 1")
      org:synthetic_query(id, { rows = 10000000, bytes = 2000000000 })
      assert.are.equal(10000000, info(id, QUERY).numberRecordsProcessed)
      org:set { query_page_records = 3000000 }
      local set = good(call("GET", path_of(id, PAGES)))
      assert.are.equal(4, #set.resultPages)
      local page = call("GET", set.resultPages[4].resultUrl .. "&maxRecords=3")
      -- 2,000,000,000 bytes and a header of 16 leave 199.9999984 bytes for each: the last 16 rows have one less.
      local longest = made_up(1, 1, ""):len() - 16
      assert.are.equal(made_up(9000001, 9000003, ("x"):rep(200 - longest)), page.body)
      assert.are.equal("3", page.headers["sforce-numberofrecords"])
      org:set { query_page_records = 9999990 }
      set = good(call("GET", path_of(id, PAGES)))
      page = call("GET", set.resultPages[2].resultUrl)
      assert.are.equal(made_up(9999991, 10000000, ("x"):rep(199 - longest)), page.body)
      assert.are.equal("null", page.headers["sforce-locator"])
    end)

    it("have the digest of the whole, of real rows too", function()
      local id, csv = run_query(SELECT)
      assert.are.same({ sha256 = sha256(csv), bytes = #csv, rows = 0 }, org:digest(id))
      load(rows_csv(700))
      id, csv = run_query(SELECT)
      assert.are.same({ sha256 = sha256(csv), bytes = #csv, rows = 700 }, org:digest(id))
      for _, bytes in ipairs { 700000, 700001, 700699 } do
        org:synthetic_query(id, { rows = 700, bytes = bytes })
        csv = results(id, "results", QUERY)
        assert.are.same({ sha256 = sha256(csv), bytes = bytes, rows = 700 }, org:digest(id))
        assert.are.equal(bytes, #csv)
      end
      org:hold(true)
      local waiting = good(query(SELECT)).id
      assert.has_error(function()
        org:digest(waiting)
      end)
    end)

    it("come for all queries until that is ended", function()
      org:synthetic_query(true, { rows = 3 })
      local id, csv = run_query(SELECT)
      assert.are.equal(made_up(1, 3, ""), csv)
      org:synthetic_query(true)
      assert.are.equal('"Name"\n', select(2, run_query(SELECT)))
      assert.are.equal(made_up(1, 3, ""), results(id, "results", QUERY))
      org:hold(true)
      id = good(query(SELECT)).id
      org:synthetic_query(id, { rows = 2 })
      org:release()
      assert.are.equal(2, wait(id, QUERY).numberRecordsProcessed)
      assert.are.equal(made_up(1, 2, ""), results(id, "results", QUERY))
    end)

    it("hold long values, NUL bytes, no row, and pages without a last line end", function()
      local id = run_query(SELECT)
      local function holds(options, text)
        org:synthetic_query(id, options)
        assert.are.equal(text, results(id, "results", QUERY))
        assert.are.equal(sha256(text), org:digest(id).sha256)
      end
      holds({ rows = 0 }, '"Number","Text"\n')
      holds({ rows = 0, last_line_end = false }, '"Number","Text"\n')
      holds({ rows = 1 }, made_up(1, 1, ""))
      holds({ rows = 5, characters = 131072 }, made_up(1, 5, ("x"):rep(131072 - 28)))
      holds({ rows = 2, characters = 50, filler = "\0" }, made_up(1, 2, ("\0"):rep(22)))
      holds({ rows = 3, characters = 30, last_line_end = false }, made_up(1, 3, "xx", false))
      org:synthetic_query(id, { rows = 3, bytes = 200, last_line_end = false })
      assert.are.equal(200, #results(id, "results", QUERY))
      assert.are.equal(200, org:digest(id).bytes)
      org:synthetic_query(id, { rows = 5000, characters = 30, last_line_end = false })
      for _, from in ipairs { 0, 2000, 4000 } do
        org:set { query_page_records = 2000 }
        local set = good(call("GET", path_of(id, PAGES)))
        local page = call("GET", set.resultPages[from / 2000 + 1].resultUrl)
        assert.are.equal(made_up(from + 1, math.min(from + 2000, 5000), "xx", false), page.body)
      end
      assert.are.equal(#made_up(1, 5000, "xx", false), org:digest(id).bytes)
    end)

    it("follow the job's delimiter and line end", function()
      org:synthetic_query(true, { rows = 2 })
      local _, csv = run_query(SELECT, { columnDelimiter = "PIPE", lineEnding = "CRLF" })
      assert.are.equal((made_up(1, 2, ""):gsub('"\n', '"\r\n'):gsub('","', '"|"')), csv)
    end)

    it("refuse what cannot be", function()
      local id = run_query(SELECT)
      for _, result in ipairs {
        {}, { rows = -1 }, { rows = 1.5 }, { rows = 1e12 }, { rows = 2, bytes = 20 }, { rows = 0, bytes = 20 }, { rows = 1, row_bytes = 5 },
        { rows = 1, characters = 2 }, { rows = 1, bytes = 500, characters = 50 }, { rows = 1, filler = '"' }, { rows = 1, filler = "ü" },
        { rows = 1, size = 5 }, { rows = "1" },
      } do
        assert.has_error(function()
          org:synthetic_query(id, result)
        end)
      end
      local _, ingest = load "Name\nA\n"
      assert.has_error(function()
        org:synthetic_query(ingest, { rows = 1 })
      end)
      assert.are.equal('"Name"\n', results(id, "results", QUERY))
      org:set { query_rows = 5, query_row_bytes = 20 }
      local job = wait(good(query(SELECT)).id, QUERY)
      assert.are.equal("Failed", job.state)
      assert.matches("^no such rows", job.errorMessage)
    end)
  end)

  describe("on their pages", function()
    local id
    before_each(function()
      id = run_query "SELECT Name FROM Account"
      org:synthetic_query(id, { rows = 60, characters = 1000 })
      org:set { query_page_records = 10 }
    end)

    it("are compressed when asked", function()
      local whole = call("GET", path_of(id, "/results?maxRecords=60"))
      assert.is_nil(whole.headers["content-encoding"])
      local packed = call("GET", path_of(id, "/results?maxRecords=60"), { headers = { "Accept-Encoding: gzip" } })
      assert.are.equal("gzip", packed.headers["content-encoding"])
      assert.is_true(#packed.body < #whole.body / 4)
      local text, code = curl(("--compressed '%s'"):format(org.url .. path_of(id, "/results?maxRecords=60")))
      assert.are.same({ whole.body, 0 }, { text, code })
    end)

    it("are the same by links as by locators, and respect maxRecords", function()
      local links, locators = {}, {}
      local path = path_of(id, PAGES)
      while path do
        local set = good(call("GET", path .. (path:find "?" and "&" or "?") .. "maxRecords=3")) -- which says nothing here
        for _, page in ipairs(set.resultPages) do
          links[#links + 1] = call("GET", page.resultUrl).body
        end
        path = set.nextRecordsUrl
      end
      local locator
      repeat
        local page = call("GET", path_of(id, "/results") .. (locator and "?locator=" .. locator or ""))
        locators[#locators + 1] = page.body
        locator = page.headers["sforce-locator"]
      until locator == "null"
      assert.are.equal(6, #links)
      assert.are.same(links, locators)
      local second = good(call("GET", path_of(id, PAGES))).resultPages[2].resultUrl
      local page = call("GET", second .. "&maxRecords=4")
      assert.are.equal(made_up(11, 14, ("x"):rep(972)), page.body)
      page = call("GET", path_of(id, "/results?maxRecords=2&locator=" .. page.headers["sforce-locator"]))
      assert.are.equal(made_up(15, 16, ("x"):rep(972)), page.body)
    end)

    it("have no links below 58.0", function()
      refused(404, "NOT_FOUND", call("GET", "/services/data/v57.0/jobs/query/" .. id .. PAGES))
    end)

    it("lead back to themselves when told to", function()
      local first = call("GET", path_of(id, "/results"))
      org:fault { path = "/results", repeats = true, count = 2 }
      local second = path_of(id, "/results?locator=" .. first.headers["sforce-locator"])
      for _ = 1, 2 do
        local page = call("GET", second)
        assert.are.equal(made_up(11, 20, ("x"):rep(972)), page.body)
        assert.are.equal(first.headers["sforce-locator"], page.headers["sforce-locator"])
      end
      assert.are_not.equal(first.headers["sforce-locator"], call("GET", second).headers["sforce-locator"])
      local following = good(call("GET", path_of(id, PAGES))).nextRecordsUrl
      org:fault { path = PAGES, repeats = true }
      local set = good(call("GET", following))
      assert.are.same({ following, false, 1 }, { set.nextRecordsUrl, set.done, #set.resultPages })
    end)

    it("lack fields and headers, or have others, when told to", function()
      org:fault { path = PAGES, drop_field = "done" }
      org:fault { path = PAGES, drop_field = { "resultPages", "nextRecordsUrl" } }
      local fields = {}
      for i = 1, 3 do
        fields[i] = keys(good(call("GET", path_of(id, PAGES))))
      end
      assert.are.same({ "nextRecordsUrl resultPages", "done", "done nextRecordsUrl resultPages" }, fields)
      for _, name in ipairs { "Sforce-Locator", "Sforce-NumberOfRecords" } do
        org:fault { path = "/results", drop_header = name }
        assert.is_nil(call("GET", path_of(id, "/results")).headers[name:lower()])
        org:fault { path = "/results", headers = { [name] = "77" } }
        local page = call("GET", path_of(id, "/results"))
        assert.are.equal("77", page.headers[name:lower()])
        assert.are.equal(made_up(1, 10, ("x"):rep(972)), page.body)
      end
    end)

    it("are hit by every kind of fault, by chance too", function()
      local packed = { headers = { "Accept-Encoding: gzip" } }
      for _, rest in ipairs { "/results", PAGES } do
        local path = path_of(id, rest)
        local function hit(fault)
          fault.path, fault.chance, fault.seed = rest, 0.999999, 7
          org:fault(fault)
          return call("GET", path, packed)
        end
        assert.are.equal(503, hit({ status = 503 }).status)
        assert.is_nil(hit { reset = "before" })
        assert.is_nil(hit { reset = "after" })
        assert.is_nil(hit { close = "after" })
        local answer = hit { body = "<html>login</html>" }
        assert.are.same({ 200, "<html>login</html>" }, { answer.status, answer.body })
        assert.matches("^text/html", answer.headers["content-type"])
        org:fault { path = rest, stall = 0.4 }
        assert.are.equal("timeout", select(2, call("GET", path, { timeout = 0.1 })))
        assert.are.equal(200, hit({ stall = 0.01, stall_when = "after" }).status)
        assert.is_nil(hit({ drop_header = "Content-Type" }).headers["content-type"])
        -- A gzip stream that ends too early: in a whole HTTP answer, and with the connection.
        answer = hit { gzip_cut = 40 }
        assert.are.same({ "gzip", 40, true }, { answer.headers["content-encoding"], #answer.body, answer.whole })
        assert.is_nil(answer.headers["content-length"])
        answer = hit { cut = 90 }
        assert.is_false(answer.whole)
      end
      org:fault { path = "/results", cut = 5000 }
      local answer = call("GET", path_of(id, "/results"), packed)
      assert.are.equal("gzip", answer.headers["content-encoding"])
      assert.is_false(answer.whole)
      assert.are.equal("\31\139", answer.body:sub(1, 2))
      org:fault { path = "/results", cut = 5000 }
      local text, code = curl(("--compressed '%s'"):format(org.url .. path_of(id, "/results")))
      assert.are.equal(made_up(1, 10, ("x"):rep(972)):sub(1, 5000), text)
      assert.are.equal(18, code) -- a part only
    end)
  end)
end)
