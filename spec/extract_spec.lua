--- Whole extracts, pages in parallel, and the guards against short or doubled results.
local core = require "bulkjob.core"
local helper = require "spec.helper"

local ROWS, PAGE = 43, 5
local PAGES = math.ceil(ROWS / PAGE)
local SOQL = "SELECT Name, Ext__c, NumberOfEmployees FROM Account ORDER BY NumberOfEmployees"

describe("a query of many pages", function()
  local org, client
  helper.scene(helper.with(helper.AT_ONCE, { query_page_records = PAGE }), function(o, c)
    org, client = o, c
  end)

  local function fill(count)
    local rows = {}
    for i = 1, count or ROWS do
      rows[i] = { Name = 'Row "' .. i .. '"\nof ' .. ROWS, Ext__c = "E" .. i, NumberOfEmployees = i }
    end
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload { rows = rows, columns = { "Name", "Ext__c", "NumberOfEmployees" } })
    assert(job:close())
    helper.finished(job)
  end

  local function query(soql, more)
    local q = assert(client:create(helper.with({ operation = "query", query = soql or SOQL }, more)))
    assert(q:wait())
    return q
  end

  -- The numbers of the rows in a set.
  local function numbers(set)
    local list = {}
    local row = set:next()
    while row do
      list[#list + 1] = tonumber(row.Ext__c:sub(2))
      row = set:next()
    end
    return list
  end

  local function to(n)
    local list = {}
    for i = 1, n do
      list[i] = i
    end
    return list
  end

  local function target()
    local path = os.tmpname()
    os.remove(path)
    finally(function()
      os.execute("rm -rf '" .. path .. "'*")
    end)
    return path
  end

  local function left_beside(path)
    local pipe = assert(io.popen("ls '" .. path .. "'*  2>/dev/null"))
    local text = pipe:read "*a"
    pipe:close()
    return text
  end

  describe("job:pages", function()
    it("gives a set for each page, in the order of the rows", function()
      fill()
      local pages = assert(query():pages())
      assert.are.equal(PAGES, #pages)
      local all = {}
      for _, set in ipairs(pages) do
        for _, n in ipairs(numbers(set)) do
          all[#all + 1] = n
        end
      end
      assert.are.same(to(ROWS), all)
    end)

    it("can be walked over more than once", function()
      fill()
      local pages = assert(query():pages())
      for _ = 1, 2 do
        local count = 0
        for set in pages do
          count = count + 1
          assert.are.equal(count < PAGES and PAGE or ROWS % PAGE, select(2, assert(set:read()):gsub('"E%d+"', "")))
        end
        assert.are.equal(PAGES, count)
      end
    end)

    it("lets tasks read at the same time", function()
      fill()
      local q = query()
      local found = {}
      for i, set in ipairs(assert(q:pages())) do
        client:spawn(function()
          found[i] = numbers(set)
        end)
      end
      assert(client:run())
      assert.are.equal(PAGES, #found)
      assert.are.same({ 6, 7, 8, 9, 10 }, found[2])
    end)

    it("works on a handle made from an id", function()
      fill()
      assert.are.equal(PAGES, #assert(client:job(query().id):pages()))
    end)

    it("gives one page of a query that found nothing", function()
      local pages = assert(query():pages())
      assert.are.equal(1, #pages)
      assert.are.same({}, numbers(pages[1]))
    end)

    it("gives one page when the service has no link at all", function()
      local q = query()
      org:fault { path = "/resultPages", status = 200, body = '{"resultPages":[],"done":true}' }
      local pages = assert(q:pages())
      assert.are.equal(1, #pages)
      assert.are.same({}, numbers(pages[1]))
    end)

    it("follows the last page where its answer leads", function()
      fill()
      local q = query()
      local locator = assert(q:pages())[1].locator
      org:fault {
        path = "/resultPages", status = 200,
        body = ('{"resultPages":[{"resultUrl":"/x/results?locator=%s"}],"done":true}'):format(locator),
      }
      assert.are.equal(ROWS, #numbers(assert(q:pages())[1]))
    end)

    -- The number that the service gives with a page is no help where the page itself is short.
    for name, short in pairs {
      ["a page"] = { path = "/results", after = 1, status = 200, body = '"Name","Ext__c","NumberOfEmployees"\n"a","E6","6"\n', headers = {
        ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } },
      ["the list"] = { path = "/resultPages", status = 200, body = '{"resultPages":[{"resultUrl":"/x/results?locator=%s"}],"done":true}' },
    } do
      it("fails at the end of the last one that is read when rows are missing in " .. name, function()
        fill()
        local q = query()
        local second = assert(q:pages())[2].locator
        local fault = helper.with(short, { body = (short.body:gsub("%%s", second)) })
        for way, read in pairs {
          next = function(set)
            local ok, err = pcall(numbers, set)
            return ok or nil, err
          end,
          read = function(set)
            return set:read()
          end,
          save = function(set)
            return set:save "/dev/null"
          end,
        } do
          org:fault(fault)
          local pages = assert(q:pages())
          for i = #pages, 2, -1 do
            assert(read(pages[i]))
            assert(read(pages[i]))
          end
          local ok, err = read(pages[1])
          assert.is_nil(ok, way)
          assert.matches("rows that the job counts: 43; rows in its results: %d+", tostring(err))
        end
      end)
    end

    it("says from which version on", function()
      local old = helper.client(org, { api_version = "57.0" })
      local q = assert(old:create { operation = "query", query = SOQL })
      local pages, err = q:pages()
      assert.is_nil(pages)
      assert.are.equal("job", err.kind)
      assert.matches("58.0 or later.*57.0", err.message)
    end)

    it("takes either spelling of the link to the next answer", function()
      fill()
      local q = query()
      local locators = {}
      for i, set in ipairs(assert(q:pages())) do
        locators[i] = set.locator
      end
      org:fault {
        path = "/resultPages", status = 200,
        body = ('{"resultPages":[{"resultUrl":"/a?locator=%s"}],"nextRecordUrl":"/b?locator=%s","done":false}'):format(locators[1],
          locators[2]),
      }
      assert.are.equal(PAGES, #assert(q:pages()))
    end)
  end)

  describe("typed values", function()
    it("are what describe says, and nil where there is nothing", function()
      fill(1)
      local q = query "SELECT Name, NumberOfEmployees, AnnualRevenue, IsDeleted, Owner.IsActive, CreatedDate FROM Account"
      local row = q:results({ typed = true }):next()
      assert.are.same({ 1, "number" }, { row.NumberOfEmployees, type(row.NumberOfEmployees) })
      assert.are.equal("1", tostring(row.NumberOfEmployees))
      assert.is_nil(row.AnnualRevenue)
      assert.is_false(row.IsDeleted)
      assert.is_true(row["Owner.IsActive"])
      assert.are.equal("string", type(row.CreatedDate))
    end)

    it("are text without that", function()
      fill(1)
      local row = query("SELECT NumberOfEmployees, AnnualRevenue FROM Account"):results():next()
      assert.are.same({ NumberOfEmployees = "1", AnnualRevenue = "" }, row)
    end)

    it("are asked for once, whatever the number of pages", function()
      fill()
      assert.are.equal(ROWS, #numbers(query():results { typed = true }))
      assert.are.equal(1, #org:requests { path = "/describe" })
    end)

    it("fail with the describe", function()
      fill(1)
      org:fault { path = "/describe", status = 403, body = '[{"errorCode":"INSUFFICIENT_ACCESS","message":"no"}]' }
      local ok, err = pcall(function()
        return query():results({ typed = true }):next()
      end)
      assert.is_false(ok)
      assert.are.equal("INSUFFICIENT_ACCESS", err.code)
    end)
  end)

  it("gives its columns in the order of the query", function()
    fill(1)
    local set = query("SELECT NumberOfEmployees, Name, Id FROM Account"):results()
    assert.are.same({ "NumberOfEmployees", "Name", "Id" }, assert(set:columns()))
    assert.are.equal("1", set:next().NumberOfEmployees)
  end)

  it("comes as text piece by piece, the same as when it is read whole", function()
    fill()
    local q = query()
    local parts = {}
    for piece in q:results():chunks() do
      parts[#parts + 1] = piece
    end
    local text = table.concat(parts)
    assert.are.equal(assert(q:results():read()), text)
    assert.are.equal(1, select(2, text:gsub("Ext__c", "")))
    assert.are.equal(ROWS, select(2, text:gsub('"E%d+"', "")))
  end)

  describe("client:extract", function()
    local function extract(more)
      local path = more and more.file or target()
      local report, err = client:extract(helper.with({ query = SOQL, file = path }, more))
      return report, err, path
    end

    -- What the org holds.
    local function expected(more)
      return assert(query(nil, more):results({ max_records = 1000 }):read())
    end

    for name, options in pairs {
      ["pages at the same time"] = {}, ["one page after the other"] = { pages = 1 }, ["pages of our size"] = { max_records = 4 },
      ["more at the same time than there are"] = { pages = 30 }, ["other line ends"] = { lineEnding = "CRLF", columnDelimiter = "PIPE" },
    } do
      it("saves all rows with " .. name, function()
        fill()
        local report, err, path = extract(options)
        assert(report, err)
        assert.are.equal(expected { lineEnding = options.lineEnding, columnDelimiter = options.columnDelimiter }, helper.content(path))
        assert.are.equal(ROWS, report.rows)
        assert.are.equal(options.max_records and 11 or PAGES, report.pages)
        assert.are.equal(#helper.content(path), report.bytes)
        assert.are.equal("JobComplete", report.job.state)
        assert.are.equal(path .. "\n", left_beside(path))
      end)
    end

    it("asks for pages by locators below 58.0", function()
      client = helper.client(org, { api_version = "57.0" })
      fill()
      local report, err, path = extract()
      assert(report, err)
      assert.are.equal(expected(), helper.content(path))
      assert.are.equal(0, #org:requests { path = "/resultPages" })
    end)

    it("saves the header of a query that found nothing", function()
      local report, err, path = extract()
      assert(report, err)
      assert.are.equal(0, report.rows)
      assert.are.equal('"Name","Ext__c","NumberOfEmployees"\n', helper.content(path))
    end)

    -- Two pages that hold what is hard to hold.
    local LONG = ("Grüße, \"quoted\"\r\n"):rep(7282) .. "\0\1\127"

    local function odd_pages(last_line_end)
      local function row(value)
        return '"' .. value:gsub('"', '""') .. '","x"'
      end
      local bodies = { row(LONG) .. "\n" .. row "\0" .. last_line_end, row "" .. "\n" .. row "," .. "\n" .. row(LONG) .. last_line_end }
      for i, locator in ipairs { "second", "null" } do
        org:fault {
          path = "/results", status = 200, body = '"Name","Ext__c"\n' .. bodies[i], headers = {
            ["Content-Type"] = "text/csv", ["Sforce-Locator"] = locator, ["Sforce-NumberOfRecords"] = tostring(i + 1) },
        }
      end
      return '"Name","Ext__c"\n' .. bodies[1] .. (last_line_end == "" and "\n" or "") .. bodies[2]
    end

    for name, last_line_end in pairs { ["with line ends"] = "\n", ["without a line end behind the last row of a page"] = "" } do
      it("keeps every byte of odd values, " .. name, function()
        fill(5) -- the job counts as many
        local q = query()
        local whole = odd_pages(last_line_end)
        assert.are.equal(whole, assert(q:results():read()))
        odd_pages(last_line_end)
        local path = target()
        assert(q:results():save(path))
        assert.are.equal(whole, helper.content(path))
        odd_pages(last_line_end)
        local rows = {}
        for row in q:results() do
          rows[#rows + 1] = row.Name
        end
        assert.are.same({ LONG, "\0", "", ",", LONG }, rows)
        odd_pages(last_line_end)
        local report, err, file = extract { pages = 1 }
        assert(report, err)
        assert.are.same({ 5, whole }, { report.rows, helper.content(file) })
      end)
    end

    it("saves one page of 200 MB", function()
      org:set { query_rows = 2000000, query_row_bytes = 100, query_page_records = 2000000 }
      local report, err, path = extract()
      assert(report, err)
      assert.are.same({ 2000000, 1 }, { report.rows, report.pages })
      assert.are.equal(org:digest(report.job.id).sha256, helper.shell("sha256sum " .. path):match "^%x+")
    end)

    it("works in a task, beside others", function()
      fill()
      local path, other = target(), target()
      local first = client:spawn(client.extract, client, { query = SOQL, file = path })
      local second = client:spawn(client.extract, client, { query = SOQL, file = other })
      assert(client:run())
      assert.are.equal(ROWS, assert(first:result()).rows)
      assert.are.equal(ROWS, assert(second:result()).rows)
      assert.are.equal(helper.content(path), helper.content(other))
    end)

    it("finds deleted rows, too, with queryAll", function()
      fill(2)
      local id = query("SELECT Id FROM Account LIMIT 1"):results():next().Id
      local gone = assert(client:create { object = "Account", operation = "delete" })
      assert(gone:upload { rows = { { Id = id } } })
      assert(gone:close())
      helper.finished(gone)
      assert.are.equal(1, assert(extract()).rows)
      assert.are.equal(2, assert(extract { operation = "queryAll" }).rows)
    end)

    it("tells how far it is", function()
      fill()
      local last
      assert(extract { on_progress = function(progress)
        last = progress
      end })
      assert.are.same({ ROWS, ROWS, PAGES, "JobComplete" }, { last.rows, last.total_rows, last.pages, last.state })
    end)

    for name, fault in pairs {
      ["a cut body"] = { cut = 40 }, ["a reset"] = { reset = "after" },
      ["a 503"] = { status = 503 }, ["a cut gzip stream"] = { gzip_cut = 40 },
      ["too many rows announced"] = { headers = { ["Sforce-NumberOfRecords"] = "6" } },
      ["a missing locator"] = { drop_header = "Sforce-Locator" }, ["a 404"] = { status = 404 }, ["a 204"] = { status = 204 },
      ["an empty body"] = { status = 200, body = "", headers = { ["Content-Type"] = "text/csv" } },
      ["other columns"] = { status = 200, body = '"Other"\n"1"\n', headers = {
        ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } },
      ["a body without its header"] = { status = 200, body = '"Row 1","E1","1"\n', headers = {
        ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } },
    } do
      for how, read in pairs {
        rows = function(q)
          local count = 0
          for _ in q:results { max_records = PAGE } do
            count = count + 1
          end
          return count == ROWS
        end,
        save = function(q, whole)
          local path = target()
          assert(q:results { max_records = PAGE }:save(path))
          return helper.content(path) == whole
        end,
        read = function(q, whole)
          return assert(q:results { max_records = PAGE }:read()) == whole
        end,
      } do
        -- Rows that a program has got cannot be taken back: how many there have to be shows only behind them.
        if not (how == "rows" and name == "too many rows announced") then
          it(("reads a page again after %s: %s"):format(name, how), function()
            fill()
            local q, whole = query(), expected()
            org:clear_requests()
            org:fault(helper.with(fault, { path = "/results", after = 3 }))
            assert.is_true(read(q, whole))
            assert.are.equal(PAGES + 1, #org:requests { path = "/results%?" })
          end)
        end
      end

      it("fetches a page again after " .. name, function()
        fill()
        org:fault(helper.with(fault, { path = "/results", after = 3 }))
        local report, err, path = extract()
        assert(report, err)
        assert.are.equal(PAGES + 1, #org:requests { path = "/results%?" })
        assert.are.equal(expected(), helper.content(path))
      end)
    end

    for name, case in pairs {
      ["a missing locator each time"] = { { drop_header = "Sforce-Locator", count = -1 }, "protocol", "without the Sforce%-Locator" },
      ["a wrong number of rows each time"] = {
        { headers = { ["Sforce-NumberOfRecords"] = "6" }, count = -1 }, "protocol", "holds 5 rows, and Sforce%-NumberOfRecords says 6" },
      ["a wrong quote"] = {
        { status = 200, body = '"Name","Ext__c","NumberOfEmployees"\n"a","E1","5"\n"b"x","E2","5"\n', headers = {
          ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "2" } },
        "csv", "row 2, byte 53: " },
      ["a body that always ends inside a row"] = {
        { status = 200, count = -1, body = '"Name","Ext__c","NumberOfEmployees"\n"Row 1","E1",', headers = {
          ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } },
        "protocol", "ends in the middle of a row" },
      ["a row that ends inside quotes"] = {
        { status = 200, count = -1, body = '"Name","Ext__c","NumberOfEmployees"\n"Row 1","E1","5', headers = {
          ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } },
        "protocol", "ends in the middle of a row" },
      ["HTML with a 200"] = { { status = 200, body = "<html>login</html>", count = -1 }, "protocol", "CSV was expected" },
      ["other columns each time"] = {
        { status = 200, count = -1, body = '"Other"\n"1"\n', headers = {
          ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "1" } },
        "protocol", "other columns" },
      ["another version"] = {
        { status = 409, body = '[{"errorCode":"API_VERSION_MISMATCH","message":"no"}]' }, "api", "api_version that it was made with, 66.0" },
    } do
      it("fails, with nothing left, for " .. name, function()
        fill()
        org:fault(helper.with({ path = "/results", after = 2 }, case[1]))
        local report, err, path = extract { pages = 1 }
        assert.is_nil(report)
        assert.are.equal(case[2], err.kind)
        assert.matches(case[3], err.message)
        assert.are.equal("", left_beside(path))
      end)
    end

    it("fails, whatever way it is read, when there are fewer rows than the job has found", function()
      fill(2)
      local q = query()
      org:fault { path = "/results", count = -1, status = 200, body = '"Name","Ext__c","NumberOfEmployees"\n', headers = {
        ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "null", ["Sforce-NumberOfRecords"] = "0" } }
      local path = target()
      for _, job in ipairs { q, client:job(q.id, "query") } do
        for name, read in pairs {
          save = function()
            return job:results():save(path)
          end,
          read = function()
            return job:results():read()
          end,
          next = function()
            local _, err = pcall(job:results().next, job:results())
            return nil, err
          end,
          chunks = function()
            local next_chunk = job:results():chunks()
            local _, err = pcall(function()
              while next_chunk() do end
            end)
            return nil, err
          end,
          pipe = function()
            return job:results():save "/dev/null"
          end,
        } do
          local ok, err = read()
          assert.is_nil(ok, name)
          assert.matches("rows that the job counts: 2; rows in its results: 0", tostring(err))
        end
      end
      assert.is_nil(helper.content(path))
    end)

    it("goes on with other pages than those that an earlier call has listed", function()
      fill()
      local directory = assert(core.temporary_directory(nil, "bulkjob-spec-"))
      local given = { query = SOQL, file = directory .. "/rows.csv", journal = directory .. "/journal" }
      org:fault { path = "/results", after = 3, count = -1, reset = "before" }
      assert.is_nil((client:extract(given)))
      org:clear_faults()
      assert.are.equal(ROWS, assert(client:extract(helper.with(given, { max_records = 2 }))).rows)
      helper.shell("rm -r " .. directory)
    end)

    it("does not go on behind pages that were wrong", function()
      fill()
      local directory = assert(core.temporary_directory(nil, "bulkjob-spec-"))
      for _, after in ipairs { 0, 1 } do -- the first page has no locator of its own to compare
        local given = { query = SOQL, file = directory .. "/rows.csv", journal = directory .. "/journal" .. after, pages = 1 }
        org:fault { path = "/results", after = after, repeats = true }
        local report, err = client:extract(given)
        assert.is_nil(report)
        assert.are.equal("protocol", err.kind)
        org:clear_requests()
        assert.are.equal(ROWS, assert(client:extract(given)).rows)
        assert.are.equal(0, #org:requests { method = "POST" }) -- the job is good
      end
      helper.shell("rm -r " .. directory)
    end)

    it("never puts its file among those of its journal", function()
      fill()
      local directory = assert(core.temporary_directory(nil, "bulkjob-spec-"))
      local journal = directory .. "/journal"
      assert(client:extract { query = SOQL, file = directory .. "/rows.csv", journal = journal })
      local log = helper.content(journal .. "/log")
      local report, err = client:extract { query = SOQL, file = journal .. "/log", journal = journal .. "/." }
      assert.is_nil(report)
      assert.matches("in the directory of the journal", err.message)
      assert.are.equal(log, helper.content(journal .. "/log"))
      helper.shell("rm -r " .. directory)
    end)

    it("fails when a locator comes twice", function()
      fill()
      org:fault {
        path = "/results", after = 1, count = -1, status = 200, body = '"Name","Ext__c","NumberOfEmployees"\n',
        headers = { ["Content-Type"] = "text/csv", ["Sforce-Locator"] = "again", ["Sforce-NumberOfRecords"] = "0" },
      }
      local report, err, path = extract { pages = 1 }
      assert.is_nil(report)
      assert.matches("the locator again came twice", err.message)
      assert.are.equal("", left_beside(path))
    end)

    it("fails when the pages hold fewer rows than the job has found", function()
      fill()
      org:fault { path = "/results", after = 2, headers = { ["Sforce-Locator"] = "null" } }
      local report, err, path = extract { pages = 1 }
      assert.is_nil(report)
      assert.matches("rows that the job counts: 43; rows in its results: 15", err.message)
      assert.are.equal("", left_beside(path))
    end)

    for name, body in pairs {
      ["no pages"] = '{"done":true}',
      ["not the last answer, and no link"] = '{"resultPages":[{"resultUrl":"/a?locator=%s"}],"done":false}',
      ["a page without a locator"] = '{"resultPages":[{"resultUrl":"/a"}],"done":true}',
      ["a page that is none"] = '{"resultPages":[7],"done":true}',
      ["a locator twice"] = '{"resultPages":[{"resultUrl":"/a?locator=%s"},{"resultUrl":"/a?locator=%s"}],"done":true}',
      ["a list"] = "[]",
      ["other JSON"] = '{"resultPages":"none"}',
    } do
      it("reads one page after the other where the answer has " .. name, function()
        fill()
        local q = query()
        local locator = assert(q:pages())[1].locator
        org:fault { path = "/resultPages", status = 200, count = -1, body = (body:gsub("%%s", locator)) }
        local rows = 0
        for _, set in ipairs(assert(q:pages())) do
          rows = rows + #numbers(set)
        end
        assert.are.equal(ROWS, rows)
        if not body:find "%%s" then -- a locator is of one job
          local report, err, path = extract()
          assert(report, err)
          assert.are.equal(expected(), helper.content(path))
        end
      end)
    end

    for _, shape in ipairs { "resultUrl", "resultChunks", "resultLink", "403", "404" } do
      it("is there where the service answers with " .. shape, function()
        fill()
        org:set { result_pages = shape, result_pages_next = shape == "resultLink" and "nextRecordUrl" or "nextRecordsUrl" }
        local report, err, path = extract()
        assert(report, err)
        assert.are.same({ ROWS, PAGES }, { report.rows, report.pages })
        assert.are.equal(expected(), helper.content(path))
      end)
    end

    local REFUSAL = '[{"errorCode":"INVALID_QUERY_LOCATOR","message":"invalid query locator"}]'
    for name, fault in pairs {
      ["none leads anywhere"] = { path = "/resultPages", status = 200, body =
        '{"resultChunks":[{"resultLink":"/x/results?locator=no"},{"resultLink":"/x/results?locator=none"}],"done":true}' },
      ["only the first leads anywhere"] = { path = "/resultPages", status = 200, body =
        '{"resultPages":[{"resultUrl":"/x/results"},{"resultUrl":"/x/results?locator=no"},{"resultUrl":"/x/results?locator=none"}],"done":true}' },
      ["one is refused"] = { path = "/results", after = 4, count = 1, status = 400, body = REFUSAL },
      ["one is not known"] = { path = "/results", after = 4, count = 3, status = 404, body = REFUSAL }, -- three tries of one page
    } do
      for way, more in pairs { ["with"] = { journal = true }, ["without"] = {} } do
        it("reads one page after the other where the links are listed, and " .. name .. ", " .. way .. " a journal", function()
          fill()
          local path = target()
          org:fault(fault)
          local report, err = extract { file = path, journal = more.journal and path .. ".journal" or nil, pages = 3 }
          assert(report, err)
          assert.are.same({ ROWS, PAGES }, { report.rows, report.pages })
          assert.are.equal(1, #org:requests { method = "POST", path = "/jobs/query" })
          assert.are.equal(expected(), helper.content(path))
          if not more.journal then
            assert.are.equal(path .. "\n", left_beside(path))
          end
        end)
      end
    end

    it("fails where a page is refused, links or not", function()
      fill()
      org:fault { path = "/results", after = 2, count = -1, status = 400, body = REFUSAL }
      local report, err, path = extract()
      assert.is_nil(report)
      assert.are.equal("INVALID_QUERY_LOCATOR", err.code)
      assert.is_nil(err.also)
      assert.are.equal("", left_beside(path))
    end)

    it("says why the service could not run the query", function()
      local report, err, path = extract { query = "SELECT Nonsense FROM Account" }
      assert.is_nil(report)
      assert.are.equal("api", err.kind)
      assert.are.equal("", left_beside(path))
    end)

    it("fails when somebody aborts the job", function()
      org:set { queue_seconds = helper.NEVER_SECONDS }
      local path = target()
      local running = client:spawn(client.extract, client, { query = SOQL, file = path })
      repeat
        client:poll(0.01)
      until #org:jobs() == 1
      assert(client:job(org:jobs()[1].id, "query"):abort())
      local report, err = running:result()
      assert.is_nil(report)
      assert.are.same({ "job", "Aborted" }, { err.kind, err.state })
      assert.are.equal("", left_beside(path))
    end)

    it("aborts its query when it is cancelled, and leaves nothing", function()
      org:set { queue_seconds = helper.NEVER_SECONDS }
      local path = target()
      local running = client:spawn(client.extract, client, { query = SOQL, file = path })
      repeat
        client:poll(0.01)
      until #org:jobs() == 1 and #org:requests { method = "GET" } > 0
      running:cancel()
      local report, err = running:result()
      assert.is_nil(report)
      assert.are.equal("cancelled", err.kind)
      assert.are.same({ Aborted = 1 }, helper.states(org))
      assert.are.equal("", left_beside(path))
    end)

    it("ends its downloads when it is cancelled among them", function()
      fill()
      org:fault { path = "/results", rate = 50, count = -1 }
      local path = target()
      local running = client:spawn(client.extract, client, { query = SOQL, file = path })
      repeat
        client:poll(0.01)
      until #org:requests { path = "/results%?" } > 1
      running:cancel()
      local report, err = running:result()
      assert.is_nil(report)
      assert.are.equal("cancelled", err.kind)
      assert.are.equal("", left_beside(path))
    end)

    it("refuses a file that another extract writes", function()
      org:set { queue_seconds = 1 }
      local path = target()
      local first = client:spawn(client.extract, client, { query = SOQL, file = path })
      org:fault { path = "/results", stall = 1 }
      repeat
        client:poll(0.01)
      until left_beside(path) ~= ""
      local report, err = client:extract { query = SOQL, file = path }
      assert.is_nil(report)
      assert.are.equal("LOCKED", err.code)
      assert(client:run())
      assert(first:result())
    end)

    describe("with a journal", function()
      -- The file of the run that holds the pages.
      local function part_of(path)
        return (helper.shell("ls " .. path .. ".journal/*.rows.csv"):match "[^\n]+")
      end

      local function broken_off(path, more)
        org:fault(helper.with({ path = "/results", after = 4, status = 400, count = -1 }, more))
        local all = { query = SOQL, file = path, journal = path .. ".journal", pages = 1 }
        local report = client:extract(all)
        assert.is_nil(report)
        org:clear_faults()
        org:clear_requests()
        return all
      end

      it("goes on behind the last whole page", function()
        fill()
        local path = target()
        local all = broken_off(path)
        assert.are.equal(4 * PAGE, select(2, helper.content(part_of(path)):gsub('"E%d+"', "")))
        local report = assert(client:extract(all))
        assert.are.equal(ROWS, report.rows)
        assert.are.equal(PAGES - 4, #org:requests { path = "/results" })
        assert.are.equal(0, #org:requests { method = "POST" })
        assert.are.equal(expected(), helper.content(path))
      end)

      it("begins anew when its job is gone", function()
        fill()
        local path = target()
        local all = broken_off(path)
        for _, info in ipairs(org:jobs()) do
          assert(client:job(info.id):delete())
        end
        assert.are.equal(ROWS, assert(client:extract(all)).rows)
        assert.are.equal(expected(), helper.content(path))
      end)

      it("fetches all pages again when the part file is gone", function()
        fill()
        local path = target()
        local all = broken_off(path)
        os.remove(part_of(path))
        assert.are.equal(ROWS, assert(client:extract(all)).rows)
        assert.are.equal(0, #org:requests { method = "POST" })
        assert.are.equal(expected(), helper.content(path))
      end)

      it("begins anew when it was finished: the rows of yesterday are not those of today", function()
        fill(3)
        local path = target()
        local all = { query = SOQL, file = path, journal = path .. ".journal" }
        assert.are.equal(3, assert(client:extract(all)).rows)
        assert(client:load { object = "Account", operation = "insert", rows = { { Name = "Tomorrow", Ext__c = "E9" } } })
        assert.are.equal(4, assert(client:extract(all)).rows)
        assert.are.equal(expected(), helper.content(path))
      end)

      it("begins anew when the finished file was taken away", function()
        fill()
        local path = target()
        local all = { query = SOQL, file = path, journal = path .. ".journal" }
        assert(client:extract(all))
        os.remove(path)
        assert.are.equal(ROWS, assert(client:extract(all)).rows)
        assert.are.equal(expected(), helper.content(path))
      end)

      it("begins anew for another query, of which nothing can have been committed", function()
        fill()
        local path = target()
        local report = assert(client:extract(helper.with(broken_off(path), { query = "SELECT Name FROM Account" })))
        assert.are.same({ ROWS, false }, { report.rows, report.resumed })
        assert.are.equal('"Name"', helper.content(path):match "^[^\n]+")
      end)

      it("refuses a file that cannot be made, before any request", function()
        local journal = target()
        for _, bad in ipairs { "/nowhere/rows.csv", "/tmp" } do
          local report, err = client:extract { query = SOQL, file = bad, journal = journal .. ".journal" }
          assert.is_nil(report)
          assert.are.equal("io", err.kind)
        end
        assert.are.equal(0, #org:requests())
        assert.are.equal("", left_beside(journal))
      end)
    end)

    for name, case in pairs {
      ["an unknown option"] = { { nonsense = 1 }, "unknown option 'nonsense'" },
      ["no file"] = { { query = SOQL }, "file is missing" },
      ["no query"] = { { file = "x" }, "query is missing" },
      ["pages of more rows than can be counted"] = { { query = SOQL, file = "x", max_records = 1e300 }, "max_records: a whole number" },
      ["half a page"] = { { query = SOQL, file = "x", pages = 0.5 }, "pages: a whole number" },
      ["another operation"] = { { query = SOQL, file = "x", operation = "insert" }, "query or queryAll expected" },
      ["another delimiter"] = { { query = SOQL, file = "x", columnDelimiter = "," }, "extract: columnDelimiter: BACKQUOTE" },
      ["other line ends"] = { { query = SOQL, file = "x", lineEnding = "\n" }, "extract: lineEnding: LF or CRLF expected" },
    } do
      it("raises for " .. name, function()
        assert.error_matches(function()
          client:extract(case[1])
        end, case[2])
      end)
    end
  end)

  describe("an abort in the middle of a download", function()
    it("ends the transfer, and the job is Aborted", function()
      org:hold(true, "InProgress")
      local ingest = assert(client:create { object = "Account", operation = "insert" })
      assert(ingest:upload "Name\na\n")
      assert(ingest:close())
      org:synthetic(ingest.id, "successful", 50000000)
      org:fault { path = "/successfulResults", rate = 1000000 }
      local reading = client:spawn(function()
        return ingest:successful_results():read()
      end)
      repeat
        client:poll(0.01)
      until #org:requests { path = "/successfulResults" } > 0
      local info = assert(ingest:abort())
      assert.are.equal("Aborted", info.state)
      local text, err = reading:result()
      assert.is_nil(text)
      assert.are.equal("cancelled", err.kind)
      assert.are.same({ Aborted = 1 }, helper.states(org))
    end)

    it("of a query that is complete ends it, too, and says what the job is", function()
      fill()
      local q = query()
      org:fault { path = "/results", rate = 100 }
      local reading = client:spawn(function()
        return q:results():read()
      end)
      repeat
        client:poll(0.01)
      until #org:requests { path = "/results" } > 0
      local info, err = client:job(q.id, "query"):abort()
      assert.is_nil(info)
      assert.are.same({ "INVALIDJOBSTATE", "JobComplete" }, { err.code, err.state })
      local _, why = reading:result()
      assert.are.equal("cancelled", why.kind)
    end)
  end)
end)
