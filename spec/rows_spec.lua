local bulkjob = require "bulkjob"
local helper = require "spec.helper"

-- Rows that go up as CSV, into records, and come back by a query.
describe("rows", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function finished(job)
    local info = helper.finished(job)
    assert.are.equal("JobComplete", info.state, info.errorMessage)
    return info
  end

  local function create(more)
    return assert(client:create(helper.with({ object = "Account", operation = "insert" }, more)))
  end

  -- Loads rows; all of them have to be taken. Returns the job.
  local function load(source, more)
    local job = create(more)
    assert.is_true(assert(job:upload(source.rows and source or { rows = source })))
    assert(job:close())
    local info = finished(job)
    for row in job:failed_results() do
      error(row.sf__Error)
    end
    assert.are.equal(0, info.numberRecordsFailed)
    return job, info
  end

  -- What is stored now, in the order of Ext__c.
  local function stored(fields)
    local query = assert(client:create { operation = "query", query = "SELECT " .. fields .. " FROM Account ORDER BY Ext__c" })
    finished(query)
    local list = {}
    for row in query:results() do
      list[#list + 1] = row
    end
    return list
  end

  local function uploaded(rows, more, columns)
    local job = create(more)
    assert.is_true(assert(job:upload { rows = rows, columns = columns }))
    return helper.received(org, job)
  end

  local function refused(rows, columns)
    local job = create()
    org:clear_requests()
    local ok, err = job:upload { rows = rows, columns = columns }
    assert.is_nil(ok)
    assert.are.equal("csv", err.kind)
    assert.are.equal(0, #org:requests())
    assert.are.equal("Open", job.state)
    return err
  end

  it("come back as they went", function()
    load {
      { Ext__c = "1", Name = "plain", Number__c = 1.5, Count__c = 7, Flag__c = true, Date__c = "2026-03-04" },
      { Ext__c = "2", Name = 'a "b", c\nd', Number__c = -0.1, Flag__c = false },
      { Ext__c = "3", Name = "é € 🎉", Count__c = -3 },
    }
    assert.are.same({
      { Ext__c = "1", Name = "plain", Number__c = "1.5", Count__c = "7", Flag__c = "true", Date__c = "2026-03-04" },
      { Ext__c = "2", Name = 'a "b", c\nd', Number__c = "-0.1", Count__c = "", Flag__c = "false", Date__c = "" },
      { Ext__c = "3", Name = "é € 🎉", Number__c = "", Count__c = "-3", Flag__c = "false", Date__c = "" },
    }, stored "Ext__c, Name, Number__c, Count__c, Flag__c, Date__c")
  end)

  it("clear a field with bulkjob.null, and leave it as it is with nil or an empty text", function()
    load { { Ext__c = "1", Name = "One", Phone = "1" }, { Ext__c = "2", Name = "Two", Phone = "2" }, { Ext__c = "3", Name = "Three", Phone = "3" } }
    load({ { Ext__c = "1", Phone = bulkjob.null }, { Ext__c = "2", Phone = nil }, { Ext__c = "3", Phone = "" } },
      { operation = "upsert", externalIdFieldName = "Ext__c" })
    assert.are.same({
      { Ext__c = "1", Name = "One", Phone = "" }, { Ext__c = "2", Name = "Two", Phone = "2" }, { Ext__c = "3", Name = "Three", Phone = "3" },
    }, stored "Ext__c, Name, Phone")
  end)

  it("write null as #N/A and nil as nothing", function()
    assert.are.equal("Ext__c,Name,Phone\n1,#N/A,\n2,,#N/A\n",
      uploaded { { Ext__c = "1", Name = bulkjob.null }, { Ext__c = "2", Phone = bulkjob.null } })
  end)

  it("take cjson.null for null", function()
    assert.are.equal("Name\n#N/A\n", uploaded { { Name = require("cjson").null } })
  end)

  for _, case in ipairs {
    { true, "true" }, { false, "false" }, { 0, "0" }, { 7, "7" }, { -3, "-3" }, { 5.0, "5" }, { 1.5, "1.5" }, { 0.1, "0.1" },
    { "007", "007" }, { "null", "null" }, { 2 ^ 31, "2147483648" }, { -2 ^ 31, "-2147483648" }, { 1e14, "100000000000000" },
    { 1e15, "1000000000000000" }, { 2 ^ 53, "9007199254740992" },
  } do
    it(("write %s (a %s) as %s"):format(tostring(case[1]), type(case[1]), case[2]), function()
      assert.are.equal("Name\n" .. case[2] .. "\n", uploaded { { Name = case[1] } })
    end)
  end

  it("write integers of 64 bits, where there are any", function()
    if not math.type then
      pending "write integers of 64 bits: Lua has integers from 5.3 on"
    end
    assert.are.equal("Name\n9223372036854775807\n-9223372036854775808\n",
      uploaded { { Name = math.tointeger("9223372036854775807") or 9223372036854775807 }, { Name = -9223372036854775807 - 1 } })
  end)

  it("write a float in the shortest form that reads back the same", function()
    for _, value in ipairs { 0.1, 1 / 3, 2 / 3, 1e-7, 1.7976931348623157e308, 5e-324, 123456.789, 1e21, -1.1e-10, 4.35, 1e100 } do
      local text = uploaded({ { Name = value } }):match "^Name\n(.*)\n$"
      assert.are.equal(value, tonumber(text))
      for digits = 1, 16 do
        local shorter = ("%." .. digits .. "g"):format(value)
        if tonumber(shorter) == value then
          assert.is_true(#text <= #shorter, text .. " for " .. shorter)
          break
        end
      end
    end
  end)

  it("come back as the same number", function()
    local values = { 0.1, 1 / 3, -123456.789, 1e-7, 9007199254740991, 1e21 }
    local rows = {}
    for i, value in ipairs(values) do
      rows[i] = { Ext__c = tostring(i), Name = "x", Number__c = value }
    end
    load(rows)
    for i, row in ipairs(stored "Ext__c, Number__c") do
      assert.are.equal(values[i], tonumber(row.Number__c))
    end
  end)

  for name, value in pairs { inf = 1 / 0, ["-inf"] = -1 / 0, nan = 0 / 0 } do
    it("refuse " .. name .. ", naming row and column", function()
      local err = refused { { Name = "One", Number__c = 1 }, { Name = "Two", Number__c = value } }
      assert.truthy(err.message:find("Number__c", 1, true))
      assert.truthy(err.message:find("row 2", 1, true))
    end)
  end

  for name, value in pairs { ["a table"] = {}, ["a function"] = print, ["a coroutine"] = coroutine.create(function() end), ["a userdata"] = io.stdout } do
    it("refuse " .. name .. " as a value, naming row and column", function()
      local err = refused { { Name = value } }
      assert.truthy(err.message:find("Name", 1, true))
      assert.truthy(err.message:find("row 1", 1, true))
    end)
  end

  it("refuse a row that is no table, naming it", function()
    local err = refused { { Name = "One" }, "Two" }
    assert.truthy(err.message:find("row 2", 1, true))
  end)

  for name, row in pairs { ["without a name"] = { [""] = "x" }, ["that is a number"] = { "x" }, ["that is a boolean"] = { [true] = "x", Name = "y" } } do
    it("refuse a column " .. name, function()
      refused { row }
      local n = 0
      refused(function()
        n = n + 1
        return n == 1 and row or nil
      end)
    end)
  end

  it("have the same columns each time, in one order", function()
    local rows = { { b = 1, a = 2 }, { c = 3 }, { B = 4, a = 5 } }
    local text = uploaded(rows)
    assert.are.equal("B,a,b,c\n,2,1,\n,,,3\n4,5,,\n", text)
    for _ = 1, 5 do
      assert.are.equal(text, uploaded(rows))
    end
  end)

  it("with columns leave out the other fields", function()
    assert.are.equal("Name,Ext__c\nOne,\n,2\n", uploaded({ { Name = "One", Phone = "1" }, { Ext__c = "2" } }, nil, { "Name", "Ext__c" }))
  end)

  it("with columns from an iterator leave out the other fields too", function()
    local list, n = { { Name = "One" }, { Name = "Two", Phone = "2" } }, 0
    assert.are.equal("Name\nOne\nTwo\n", uploaded(function()
      n = n + 1
      return list[n]
    end, nil, { "Name" }))
  end)

  it("may name a parent by one of its keys", function()
    load { { Ext__c = "P", Name = "Parent" } }
    load { { Ext__c = "Q", Name = "Child", ["Parent.Ext__c"] = "P" } }
    local list = stored "Ext__c, Id, ParentId"
    assert.are.equal("P", list[1].Ext__c)
    assert.are.equal(list[1].Id, list[2].ParentId)
  end)

  for name, delimiter in pairs(helper.DELIMITERS) do
    for ending, eol in pairs { LF = "\n", CRLF = "\r\n" } do
      it("in the format " .. name .. " and " .. ending .. " keep every value", function()
        local format = { columnDelimiter = name, lineEnding = ending }
        local values = { "plain", '"', '""', 'a"b', delimiter, "a" .. delimiter .. "b", eol, "a" .. eol .. "b", " a ", "a\\b", "'a'", "#N/B", "=1+1" }
        for _, other in pairs(helper.DELIMITERS) do
          values[#values + 1] = "x" .. other .. "y"
        end
        local rows = {}
        for i, value in ipairs(values) do
          rows[i] = { Ext__c = ("%03d"):format(i), Name = "x", Text__c = value }
        end
        local job = load(rows, format)
        local n = 0
        for row in job:successful_results() do
          n = n + 1
          assert.are.equal(values[tonumber(row.Ext__c)], row.Text__c)
        end
        assert.are.equal(#values, n)
        for i, row in ipairs(stored "Ext__c, Text__c") do
          assert.are.equal(values[i], row.Text__c)
        end
      end)
    end
  end

  it("that are many come whole, from an array and from an iterator", function()
    local rows = {}
    for i = 1, 30000 do
      rows[i] = { Name = 'Company "' .. i .. '"', Ext__c = "A-" .. i }
    end
    local n = 0
    for _, source in ipairs { rows, function()
      n = n + 1
      return rows[n]
    end } do
      org:set { discard = true }
      local _, info = load({ rows = source })
      assert.are.equal(30000, info.numberRecordsProcessed)
    end
    assert.is_true(uploaded(rows) == assert(bulkjob.csv.encode(rows)))
  end)

  it("with a value of 131,072 characters come back", function()
    local value = ("é"):rep(131072)
    load { { Ext__c = "1", Name = "x", Long__c = value } }
    assert.is_true(stored("Ext__c, Long__c")[1].Long__c == value)
  end)

  it("from a result set go straight into another job", function()
    load { { Ext__c = "1", Name = "One" }, { Ext__c = "2", Name = "Two" } }
    local query = assert(client:create { operation = "query", query = "SELECT Name, Ext__c FROM Account ORDER BY Ext__c" })
    finished(query)
    local set = query:results()
    assert.are.equal("Ext__c,Name\n1,One\n2,Two\n", uploaded(function()
      return set:next()
    end))
  end)

  it("that failed can be corrected and loaded again", function()
    local job = create()
    assert(job:upload { rows = { { Ext__c = "1", Name = "One" }, { Ext__c = "2", Name = "" } } })
    assert(job:close())
    finished(job)
    local again = {}
    for row in job:failed_results() do
      again[#again + 1] = { Ext__c = row.Ext__c, Name = "Two" }
    end
    load(again)
    assert.are.same({ { Ext__c = "1", Name = "One" }, { Ext__c = "2", Name = "Two" } }, stored "Ext__c, Name")
  end)
end)
