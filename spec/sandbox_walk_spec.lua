--- Queries in the sandbox that look through more records than it looks through at once.

local calls = require "spec.sandbox_calls"
local cjson = require "cjson"
local socket = require "socket"

local DATA, call, good, load, run_query = calls.DATA, calls.call, calls.good, calls.load, calls.run_query

local ROWS = 23000

describe("the sandbox with many records", function()
  local org, rows
  calls.scene(function(o)
    org = o
  end)

  -- In the order of their ids. Names differ in their letters' case only, or not at all; every seventh has no count.
  before_each(function()
    local csv = { "Name,Ext__c,Count__c" }
    rows = {}
    for i = 1, ROWS do
      local name = (i % 3 == 0 and "Name %d" or i % 3 == 1 and "name %d" or "NAME %d"):format(i * 7919 % 9973)
      rows[i] = { Name = name, Ext__c = "E" .. i, Count__c = i % 7 ~= 0 and i * 37 % 1009 or nil }
      csv[i + 1] = ("%s,%s,%s"):format(name, rows[i].Ext__c, rows[i].Count__c or "")
    end
    assert.are.equal(0, load(table.concat(csv, "\n") .. "\n").numberRecordsFailed)
  end)

  local function path_of(soql)
    return DATA .. "/query?q=" .. soql:gsub("[^%w]", function(c)
      return ("%%%02X"):format(c:byte())
    end)
  end

  -- The external ids that a query of REST gives, on all of its pages, and how many it says that they are.
  local function by_rest(soql)
    local page = good(call("GET", path_of(soql)))
    local total, found = page.totalSize, {}
    while true do
      for _, record in ipairs(page.records) do
        found[#found + 1] = record.Ext__c
      end
      if page.done then
        return found, total
      end
      page = good(call("GET", page.nextRecordsUrl))
    end
  end

  local function by_bulk(soql)
    local _, text = run_query(soql)
    local found = {}
    for id in text:gmatch '"(E%d+)"\n' do
      found[#found + 1] = id
    end
    return found
  end

  -- What has to be found: `keys` are functions of a row, each with a word on whether it descends and whether nil comes last.
  local function expected(filter, keys, limit, offset)
    local list = {}
    for i, row in ipairs(rows) do
      if filter(row) then
        list[#list + 1] = { row = row, number = i }
      end
    end
    table.sort(list, function(a, b)
      for _, key in ipairs(keys) do
        local x, y = key[1](a.row), key[1](b.row)
        if (x == nil) ~= (y == nil) then
          return (x == nil) ~= (key.nulls_last == true)
        elseif x ~= y then
          return (x < y) ~= (key.descends == true)
        end
      end
      return a.number < b.number
    end)
    local ids = {}
    for i = (offset or 0) + 1, math.min(#list, (offset or 0) + (limit or #list)) do
      ids[#ids + 1] = list[i].row.Ext__c
    end
    return ids
  end

  local function all()
    return true
  end

  local function name(row)
    return row.Name:lower()
  end

  local function count(row)
    return row.Count__c
  end

  it("finds, sorts and counts all of them", function()
    for _, case in ipairs {
      { "", all, {} }, { "LIMIT 7000", all, {}, 7000 }, { "LIMIT 5500 OFFSET 7000", all, {}, 5500, 7000 }, { "OFFSET 22990", all, {}, nil, 22990 },
      { "OFFSET 23001", all, {}, nil, 23001 }, { "LIMIT 0", all, {}, 0 },
      { "WHERE Name LIKE '%77'", function(row) return row.Name:find "77$" ~= nil end, {} },
      { "WHERE Count__c = 1008 ORDER BY Name DESC", function(row) return row.Count__c == 1008 end, { { name, descends = true } } },
      { "WHERE Name = 'nobody' ORDER BY Name", function() return false end, {} },
      { "WHERE Ext__c IN ('E5', 'E20000') ORDER BY Ext__c DESC", function(row) return row.Ext__c == "E5" or row.Ext__c == "E20000" end,
        { { function(row) return row.Ext__c end, descends = true } } },
      { "ORDER BY Name", all, { { name } } }, { "ORDER BY Count__c", all, { { count } } },
      { "ORDER BY Count__c DESC NULLS LAST, Name", all, { { count, descends = true, nulls_last = true }, { name } } },
      { "ORDER BY Name DESC, Count__c LIMIT 30", all, { { name, descends = true }, { count } }, 30 },
      { "ORDER BY Count__c NULLS LAST LIMIT 10 OFFSET 5000", all, { { count, nulls_last = true } }, 10, 5000 },
    } do
      local soql = "SELECT Name, Ext__c FROM Account " .. case[1]
      local wanted = expected(case[2], case[3], case[4], case[5])
      local found, total = by_rest(soql)
      assert.are.same(wanted, found, soql)
      assert.are.equal(#wanted, total, soql)
      if not case[5] then
        assert.are.same(wanted, by_bulk(soql), soql)
      end
    end
    for where, wanted in pairs { [""] = ROWS, ["WHERE Name LIKE 'name 1%'"] = #expected(function(row)
      return row.Name:lower():find "^name 1" ~= nil
    end, {}), ["WHERE Name = 'nobody'"] = 0, ["WHERE Id IN (SELECT Id FROM Account WHERE Count__c = null)"] = math.floor(ROWS / 7) } do
      assert.are.equal(wanted, good(call("GET", path_of("SELECT COUNT() FROM Account " .. where))).totalSize, where)
    end
    assert.are.equal(ROWS, org:count "Account")
  end)

  it("sorts by the text of a parent without regard to case", function()
    local csv = { "LastName,Account.Ext__c" }
    for i = 1, 5 do
      csv[i + 1] = ("Contact %d,E%d"):format(i, i)
    end
    assert.are.equal(0, load(table.concat(csv, "\n") .. "\n", { object = "Contact" }).numberRecordsFailed)
    local names = {}
    for i, record in ipairs(good(call("GET", path_of "SELECT Account.Name FROM Contact ORDER BY Account.Name")).records) do
      names[i] = record.Account.Name:lower()
    end
    local found = table.concat(names, " ")
    table.sort(names)
    assert.are.equal(table.concat(names, " "), found)
  end)

  it("gives the pages of a query in any order, also while objects change", function()
    local soql = "SELECT Ext__c FROM Account ORDER BY Name"
    local wanted = by_rest(soql)
    local first = good(call("GET", path_of(soql)))
    local second = good(call("GET", first.nextRecordsUrl))
    org:define("Account", { { name = "More__c" }, { name = "Unique__c", unique = true } })
    for _, from in ipairs { 4000, 16000, 2000 } do
      for _ = 1, 2 do
        local page = good(call("GET", (first.nextRecordsUrl:gsub("%d+$", tostring(from)))))
        assert.are.equal(ROWS, page.totalSize)
        assert.are.equal(2000, #page.records)
        for i, record in ipairs(page.records) do
          assert.are.equal(wanted[from + i], record.Ext__c)
        end
      end
    end
    org:reset() -- the page behind the last one, at 4,000, would come next
    assert.are.equal(0, org:count "Account")
    assert.are.same({}, good(call("GET", second.nextRecordsUrl)).records)
  end)

  -- How many requests are answered while one that was sent before waits for its answer.
  local function answered_beside(url, path)
    local host, port = url:match "//([^:]+):(%d+)"
    local connection = assert(socket.connect(host, tonumber(port)))
    connection:send(("GET %s HTTP/1.1\r\nHost: sandbox\r\nAccept: text/html\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n"):format(path,
      org.token))
    local answered = 0
    while #socket.select({ connection }, nil, 0) == 0 do
      good(call("GET", DATA .. "/limits"))
      answered = answered + 1
    end
    assert.matches(" 200 ", connection:receive "*l")
    connection:close()
    return answered
  end

  it("answers others meanwhile", function()
    for _, soql in ipairs {
      "SELECT COUNT() FROM Account", "SELECT COUNT() FROM Account WHERE Name LIKE '%x%'", "SELECT Id FROM Account WHERE Name LIKE '%x%'",
      "SELECT Id FROM Account ORDER BY Name LIMIT 5",
    } do
      assert.is_true(answered_beside(org.url, path_of(soql)) >= 2, soql)
    end
    assert.is_true(answered_beside(org.control_url, "/records?where=Name+!%3D+null+ORDER+BY+Name") >= 2)
    -- A query job sorts in several turns, too: it is seen at work.
    local job = good(calls.query "SELECT Id, Name FROM Account ORDER BY Name")
    local seen = {}
    repeat
      local state = calls.info(job.id, calls.QUERY).state
      seen[state] = (seen[state] or 0) + 1
    until state == "JobComplete"
    assert.is_true((seen.InProgress or 0) >= 2, cjson.encode(seen))
  end)
end)
