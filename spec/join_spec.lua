local bulkjob = require "bulkjob"
local helper = require "spec.helper"
local join = require "bulkjob.load.join"
local match = require "bulkjob.load.match"

describe("the join of a load", function()
  local path = helper.directory "each"
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function records_of(name)
    local list = {}
    for row in assert(bulkjob.csv.rows { file = name }) do
      list[#list + 1] = row
    end
    return list
  end

  local function outcomes_of(text, more)
    local report = assert(client:load(helper.with({
      object = "Account", operation = "upsert", externalIdFieldName = "Ext__c", file = helper.file(text), results = path "results",
      join = true,
    }, more)))
    local list = {}
    for i, row in ipairs(records_of(report.results.joined)) do
      list[i] = row.sf__Outcome
    end
    return list
  end

  local F, S = "failed", "successful"

  it("takes no text for a number", function()
    org:set { shuffle_results = true }
    assert.are.same({ F, S }, outcomes_of "Ext__c,Name\n42,\n0042,Warehouse\n")
    assert.are.same({ F, S }, outcomes_of "Ext__c,Name\n340123450000000018,\n340123450000000025,Parcel\n")
    assert.are.same({ F, S, F }, outcomes_of "Ext__c,Name\n1e2,\n100,Hundred\n1E2,\n")
  end)

  it("asks describe only where the texts do not tell", function()
    org:clear_requests()
    outcomes_of "Ext__c,Name\n42,\n0042,Warehouse\n"
    assert.are.equal(0, #org:requests { path = "/describe" })
    org:set { counters = false } -- else what is missing would be noticed
    -- One outcome is missing, so 43 could be what the service has made of 0043, if the field were a number.
    local function lose_one()
      org:fault { path = "successfulResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
        body = '"sf__Id","sf__Created",Ext__c,Name\n"001000000000001AAA","true","0043","Same"\n' }
    end
    lose_one()
    assert.are.same({ "unknown", S }, outcomes_of "Ext__c,Name\n43,Same\n0043,Same\n")
    assert.are.equal(1, #org:requests { path = "/describe" })
    lose_one()
    org:fault { path = "/describe", count = -1, status = 403, body = '[{"errorCode":"INSUFFICIENT_ACCESS","message":"no"}]' }
    assert.are.same({ "unknown", "unknown" }, outcomes_of "Ext__c,Name\n43,Same\n0043,Same\n")
  end)

  it("goes by all columns where the key is repeated or empty", function()
    org:set { shuffle_results = true }
    assert.are.same({ F, S }, outcomes_of("Ext__c,Name\nD1,\nD1,second\n", { part_bytes = 25, jobs = 1 }))
    assert.are.same({ F, S, F }, outcomes_of "Ext__c,Name,AnnualRevenue\n,One,1\nE2,Two,1\n,,2\n")
  end)

  it("finds the column where the results have it in another case", function()
    org:fault { path = "successfulResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
      body = '"sf__Id","sf__Created","EXT__C","NAME"\n"001000000000001AAA","true","E2","Two"\n"001000000000002AAA","true","E1","One"\n' }
    assert.are.same({ S, S }, outcomes_of "Ext__c,Name\nE1,One\nE2,Two\n")
  end)

  it("gives no outcome to rows that differ only in what the results do not have", function()
    local csv = { ["Content-Type"] = "text/csv" }
    org:set { counters = false }
    for _, more in ipairs { "", "E2,Two\n" } do -- with another row, too, which is told by its key
      org:fault { path = "successfulResults", status = 200, headers = csv,
        body = '"sf__Id","sf__Created","Ext__c"\n"001000000000001AAA","true","D1"\n' .. (more ~= "" and '"001000000000002AAA","true","E2"\n' or "") }
      org:fault { path = "failedResults", status = 200, headers = csv, body = '"sf__Id","sf__Error","Ext__c"\n"","REQUIRED_FIELD_MISSING:x:--","D1"\n' }
      assert.are.same({ "unknown", "unknown", more ~= "" and S or nil }, outcomes_of("Ext__c,Name\nD1,\nD1,second\n" .. more))
    end
    -- Rows that are the same in all columns may share.
    org:fault { path = "failedResults", status = 200, headers = csv, body = '"sf__Id","sf__Error","Ext__c"\n' }
    org:fault { path = "successfulResults", status = 200, headers = csv,
      body = '"sf__Id","sf__Created","Ext__c"\n"001000000000001AAA","true","D1"\n"001000000000001AAA","false","D1"\n' }
    assert.are.same({ S, S }, outcomes_of "Ext__c,Name\nD1,x\nD1,x\n")
  end)

  it("is not made of a file that was changed while it was loaded", function()
    local before = "Name\n\nE1\n\n\nE2\n\nE3\n" -- parts that have empty lines at their ends
    local file = helper.file(before)
    local function load(after)
      return client:load { object = "Account", operation = "insert", file = file, results = path "results", join = true, part_bytes = 9,
        on_progress = function(now)
          if (now.jobs.done or 0) + (now.jobs.processing or 0) == 3 then
            helper.write(file, after)
          end
        end }
    end
    assert.are.equal(3, assert(load(before)).processed)
    for _, after in ipairs { "Name\n\nE1\n\n\nE2\n\nE4\n", before .. "E4\n", "Name\n", "Name\n\nE1\n\n\n\"2\n\nE3\n" } do
      helper.write(file, before)
      org:hold(true, "InProgress", 0)
      local task = client:spawn(load, after)
      helper.wait_until(function()
        client:poll(0.01)
        return helper.content(file) == after
      end)
      org:release()
      local report, err = task:result()
      assert.is_nil(report)
      assert.are.equal("CONTENT_CHANGED", err.code)
    end
  end)

  it("knows the forms of a value", function()
    for form, values in pairs {
      [match.canonical "912260031"] = { "9.12260031E8", "0912260031.0", "+912260031", "91226003100e-2" },
      [match.canonical "0"] = { "0.0", "-0", ".0", "0E10", "000" },
      [match.canonical "-0.5"] = { "-.5", "-5E-1", "-0.50" },
      [match.canonical "999999999999999999"] = { "1.0E18", "1000000000000000000" },
      [match.canonical "2024-02-29T23:30:00Z"] = { "2024-02-29T23:30:00.000Z", "2024-03-01T00:30:00+01:00", "2024-02-29T18:00:00.5-0530" },
      [match.canonical "2024-12-31"] = { "2024-12-31T00:00:00.000Z", " 2024-12-31 " },
      [match.canonical "true"] = { "TRUE", "1" },
      [match.canonical ""] = { "#N/A", " " },
    } do
      for _, value in ipairs(values) do
        assert.are.equal(form, match.canonical(value), value)
      end
    end
    for _, pair in ipairs {
      { "1", "-1" }, { "1e", "1" }, { "1x", "1" }, { "12", "1.2" }, { "2024-01-01", "2024-01-02" }, { "0x10", "16" }, { "", "0" },
      { "2024-01-01Tx", "2024-01-01" }, { "ab", "ac" },
    } do
      assert.are_not.equal(match.canonical(pair[1]), match.canonical(pair[2]), table.concat(pair, " "))
    end
  end)

  -- Random inputs against a service that shuffles its results and writes numbers and dates its own way. Each row's outcome says which
  -- row it is of. So many inputs; each has up to 60 rows.
  local INPUTS = 400

  local seed
  local function random(n) -- 1 to n, the same in every Lua
    seed = (seed * 16807) % 2147483647
    return seed % n + 1
  end

  local function pick(list)
    return list[random(#list)]
  end

  local SMALL = { "42", "0042", "42.0", "4.2E1", "042", "7", "007", "-7", "7.0", "0", "", "", "0.5", ".5", "5E-1" }
  local LONG = { "340123450000000018", "340123450000000025", "0340123450000000018", "9007199254740993", "9007199254740992", "1e400" }
  local TEXTS = { "", "", " ", "a", "A", " a", "a ", "B", "true", "TRUE", "yes", "1", "#N/A", "5", "05", "5.0", '"', "a\nb", "\0", "é", "É" }
  local DATES = { "2024-02-29", "2024-02-28", "2024-3-1", "", "#N/A" }
  local TIMES = { "2024-02-29T23:30:00Z", "2024-03-01T00:30:00+01:00", "2024-02-29T23:30:00.000Z", "2024-02-29T22:30:00Z", "" }
  local FLAGS = { "true", "TRUE", "1", "false", "0", "" }

  local function java_number(value)
    local number = tonumber(value)
    if not value:find "%d" or not number or math.abs(number) == math.huge then
      return value
    end
    local mantissa, exponent = ("%.16e"):format(number):match "^(.-)e([+-]%d+)$"
    if random(2) == 1 then
      return ("%.17g"):format(number)
    end
    return mantissa:gsub("0+$", "0") .. "E" .. tonumber(exponent)
  end

  -- The types: what can be sent, and how the service may write it.
  local KINDS = {
    text = { values = function()
      return pick { SMALL, LONG, TEXTS }
    end },
    number = { values = function()
      return pick { SMALL, SMALL, LONG }
    end, write = java_number },
    date = { values = function()
      return DATES
    end, write = function(value)
      local year, month, day = value:match "^(%d+)-(%d+)-(%d+)$"
      return year and ("%s-%02d-%02d"):format(year, month, day) or ""
    end },
    datetime = { values = function()
      return TIMES
    end, write = function(value)
      return ({ ["2024-03-01T00:30:00+01:00"] = "2024-02-29T23:30:00.000Z", ["2024-02-29T23:30:00Z"] = "2024-02-29T23:30:00.000Z",
        ["2024-02-29T22:30:00Z"] = "2024-02-29T22:30:00.000Z" })[value] or value
    end },
    boolean = { values = function()
      return FLAGS
    end, write = function(value)
      return (value:lower():gsub("^1$", "true"):gsub("^0$", "false"))
    end },
  }
  local NAMES = { "text", "number", "date", "datetime", "boolean", "text" }

  local function write_file(name, columns, rows)
    local file = assert(io.open(path(name), "wb"))
    file:write((assert(bulkjob.csv.encode(rows, columns))))
    file:close()
    return path(name)
  end

  local function random_input()
    local input = { columns = {}, kinds = {}, rows = {}, lossless = random(3) > 1, known = random(2) == 1 }
    for i = 1, random(4) + 1 do
      input.columns[i], input.kinds[i] = "C" .. i, pick(NAMES)
    end
    input.key = random(3) > 1 and "C1" or nil
    for i = 1, random(60) do
      local row = {}
      for k, column in ipairs(input.columns) do
        row[column] = pick(KINDS[input.kinds[k]].values())
      end
      input.rows[i] = random(8) == 1 and i > 1 and helper.with(input.rows[random(i - 1)]) or row
    end
    return input
  end

  -- What the service makes of it: numbers in successful rows alone, or in all, are written its own way. Some outcomes are lost.
  local function answer(input)
    local results = { successful = {}, failed = {}, unprocessed = {} }
    local everywhere = random(2) == 1
    for i, row in ipairs(input.rows) do
      local outcome = pick { "successful", "failed", "failed" }
      if input.lossless or random(4) > 1 then
        local back = { sf__Id = tostring(i), [outcome == "failed" and "sf__Error" or "sf__Created"] = "x" }
        for k, column in ipairs(input.columns) do
          local write = KINDS[input.kinds[k]].write
          back[column] = write and (everywhere or outcome == "successful") and write(row[column]) or row[column]
        end
        table.insert(results[outcome], random(#results[outcome] + 1), back)
      end
    end
    return results
  end

  local HEADS = { successful = { "sf__Id", "sf__Created" }, failed = { "sf__Id", "sf__Error" }, unprocessed = {} }

  local function check(input)
    local options = {
      client = client, file = write_file("input.csv", input.columns, input.rows), columns = input.columns, key = input.key,
      delimiter = "COMMA", line_ending = "LF", records = #input.rows, results = {}, result_columns = {}, path = path "joined.csv",
      exact_columns = function(names)
        local exact = {}
        for i, name in ipairs(names) do
          exact[i] = input.kinds[tonumber(name:sub(2))] == "text"
        end
        return input.known and exact or nil
      end,
    }
    for outcome, rows in pairs(answer(input)) do
      local columns = {}
      for _, list in ipairs { HEADS[outcome], input.columns } do
        for _, name in ipairs(list) do
          columns[#columns + 1] = name
        end
      end
      options.result_columns[outcome], options.results[outcome] = columns, write_file(outcome .. ".csv", columns, rows)
    end
    assert(join.files(options))
    local taken, found, lost = {}, 0, 0
    for i, row in ipairs(records_of(path "joined.csv")) do
      if row.sf__Outcome == "unknown" then
        lost = lost + 1
      else
        found = found + 1
        assert.is_nil(taken[row.sf__Id], "one outcome for two rows")
        taken[row.sf__Id] = true
        local source = input.rows[tonumber(row.sf__Id)]
        for _, column in ipairs(input.columns) do
          assert.are.equal(source[column], input.rows[i][column], ("row %d has the outcome of row %s"):format(i, row.sf__Id))
        end
      end
    end
    return found, lost
  end

  it("never gives a row the outcome of one that differs from it", function()
    local first, found, lost = 20261126, 0, 0
    for n = 1, INPUTS do
      seed = first + n
      local input = random_input()
      local ok, more, less = pcall(check, input)
      assert(ok, ("input %d: %s"):format(n, tostring(more)))
      found, lost = found + more, lost + less
    end
    assert.is_true(found > lost, found .. " found, " .. lost .. " unknown") -- it is not careful by finding nothing
  end)
end)
