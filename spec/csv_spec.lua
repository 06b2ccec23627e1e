local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"

local csv = bulkjob.csv

local function collect(source, options)
  local rows = {}
  for row in csv.rows(source, options) do
    rows[#rows + 1] = row
  end
  return rows
end

local function fails(source, options)
  local rows = 0
  local ok, err = pcall(function()
    for _ in csv.rows(source, options) do
      rows = rows + 1
    end
  end)
  assert.is_false(ok)
  assert.are.equal("csv", err.kind)
  return err, rows
end

describe("reading CSV", function()
  teardown(helper.clean)

  it("gives tables of strings by the names of the header", function()
    assert.are.same({ { Name = "One", Id = "1" }, { Name = "", Id = "2.50" } }, collect "Name,Id\nOne,1\n,2.50\n")
  end)

  it("takes names of any bytes, and any number of columns", function()
    local names = { "end", "nil", "a b", "\\", "]]", "x\"y", "\0", "\r", "\n", "\0001", "%s", "ä", "\255" }
    for _, columns in ipairs { 1, #names, 99, 100, 101, 255, 300 } do
      local order, header, cells, expected = {}, {}, {}, {}
      for i = 1, columns do
        local name = names[i] or "n" .. i
        order[i] = name
        header[i], cells[i] = '"' .. name:gsub('"', '""') .. '"', "v" .. i
        expected[name] = cells[i]
      end
      local text = table.concat(header, ",") .. "\n" .. table.concat(cells, ",") .. "\n"
      assert.are.same({ expected }, collect(text, { delimiter = "," }))
      assert.are.same({ expected }, collect(csv.encode({ expected }, order), { delimiter = "," }))
    end
  end)

  it("reads text, a file, and pieces, cut anywhere", function()
    local text = '\239\187\191"Name";Ext\r\n"a\r\nb ""c""";é\r\n\0;🎉'
    local expected = { { Name = 'a\r\nb "c"', Ext = "é" }, { Name = "\0", Ext = "🎉" } }
    assert.are.same(expected, collect(text))
    assert.are.same(expected, collect { file = helper.file(text) })
    for size = 1, #text do
      local at = 1
      assert.are.same(expected, collect(function()
        local piece = text:sub(at, at + size - 1)
        at = at + size
        return piece ~= "" and piece or nil
      end))
    end
  end)

  it("knows an empty set: a header alone, or nothing", function()
    assert.are.same({}, collect "Name,Id\n")
    assert.are.same({}, collect "")
  end)

  it("reads a value of 131,072 characters, and one of 1,000,000", function()
    for _, n in ipairs { 131072, 1000000 } do
      local value = ("é"):rep(n)
      local rows = collect('Name,Text\nx,"' .. value .. '"\n')
      assert.is_true(rows[1].Text == value)
    end
  end)

  it("reads from a file what it reads from text, whatever the pieces cut", function()
    local lines = { "A,B,C\n" }
    for i = 1, 4000 do
      local long = i % 700 == 0 and 90000 or i % 97
      lines[#lines + 1] = ('%d,"say ""%s""\n",%s\n'):format(i, ("x"):rep(i % 13), ("y"):rep(long))
    end
    local text = table.concat(lines)
    local from_text, from_file = collect(text), collect { file = helper.file(text) }
    assert.are.equal(4000, #from_file)
    for i, row in ipairs(from_file) do
      assert.are.same({ A = tostring(i), B = 'say "' .. ("x"):rep(i % 13) .. '"\n', C = ("y"):rep(i % 700 == 0 and 90000 or i % 97) }, row)
      assert.are.same(from_text[i], row)
    end
  end)

  it("gives the rows that came before a file that is closed, and then ends", function()
    local next_row, _, _, closer = csv.rows { file = helper.file("A\n1\n2\n") }
    assert.are.same({ A = "1" }, next_row())
    getmetatable(closer).__close(closer)
    assert.are.same({ A = "2" }, next_row())
    assert.is_nil(next_row())
  end)

  it("names the column that has no name", function()
    assert.truthy(tostring(fails "Name,,Id\n1,2,3\n"):find("column 2", 1, true))
  end)

  it("names a column that is there twice, and both places", function()
    local err = fails "Name,Id,Name\n1,2,3\n"
    assert.truthy(tostring(err):find("'Name' twice, in columns 1 and 3", 1, true))
  end)

  it("refuses a cut-off file after the rows before it", function()
    local err, rows = fails 'Name\none\n"tw'
    assert.are.equal(1, rows)
    assert.are.equal(3, err.line)
    assert.truthy(tostring(err):find("ends inside a quoted value", 1, true))
  end)

  it("refuses what the service would refuse, with line and byte", function()
    for text, place in pairs {
      ["a,b\n1\n"] = { 2, 5 },
      ["a,b\n1, \"2\"\n"] = { 2, 8 },
      ["a\nx\n\"1\"x\n"] = { 3, 8 },
      ["a\n1\r2\n"] = { 2, 5 },
    } do
      local err = fails(text)
      assert.are.same(place, { err.line, err.byte })
    end
  end)

  it("takes the delimiter by character or by the service's name", function()
    assert.are.same({ { ["a,b"] = "1", c = "2" } }, collect("a,b;c\n1;2\n", { delimiter = ";" }))
    assert.are.same({ { ["a,b"] = "1", c = "2" } }, collect("a,b^c\n1^2\n", { delimiter = "CARET" }))
    assert.has_error(function()
      csv.rows("a", { delimiter = "DOT" })
    end)
  end)

  it("has a limit for a record", function()
    local err = fails("a\n" .. ("x"):rep(300000), { max_record = 1000 })
    assert.truthy(tostring(err):find("longer than 1000 bytes", 1, true))
  end)

  it("says which file cannot be opened", function()
    local rows, err = csv.rows { file = "/nowhere/a.csv" }
    assert.is_nil(rows)
    assert.are.equal("io", err.kind)
    assert.truthy(tostring(err):find("/nowhere/a.csv", 1, true))
  end)

  it("never takes a source that fails for one that ends", function()
    for _, failure in ipairs { core.error("io", "disk gone"), "disk gone" } do
      local pieces = { "a\n1\n2\n" }
      local rows = 0
      local ok, err = pcall(function()
        for _ in csv.rows(function()
          local piece = table.remove(pieces, 1)
          if piece then
            return piece
          end
          return nil, failure
        end) do
          rows = rows + 1
        end
      end)
      assert.is_false(ok)
      assert.are.equal(2, rows)
      assert.are.equal("io", err.kind)
      assert.truthy(tostring(err):find("disk gone", 1, true))
    end
  end)

  it("says that a directory is no file to read", function()
    local rows, err = csv.rows { file = "/tmp" }
    assert.is_nil(rows)
    assert.are.equal("io", err.kind)
    assert.truthy(tostring(err):find("/tmp", 1, true))
  end)

  it("reads a file of any size in the same memory", function()
    local piece = ('"one","two ""2""","three"\n'):rep(2500)
    local left = 800
    local peak, rows = 0, 0
    collectgarbage()
    local before = collectgarbage "count"
    for _ in csv.rows(function()
      left = left - 1
      return left >= 0 and (left == 799 and "a,b,c\n" or piece) or nil
    end) do
      rows = rows + 1
      if rows % 50000 == 0 then
        collectgarbage()
        peak = math.max(peak, collectgarbage "count" - before)
      end
    end
    assert.are.equal(799 * 2500, rows)
    assert.is_true(peak < 512)
  end)

  it("raises for options that it does not know", function()
    for _, options in ipairs { { delimeter = ";" }, { line_ending = "LF" }, ";" } do
      assert.has_error(function()
        csv.rows("a", options)
      end)
    end
    assert.has_error(function()
      csv.encode({ { a = 1 } }, nil, { max_record = 5 })
    end)
    for _, max in ipairs { -1, 0, 0 / 0, 2 ^ 70, "much" } do
      assert.has_error(function()
        csv.rows("a", { max_record = max })
      end)
    end
  end)

  it("gives no rows after a header that was refused", function()
    local reader = core.csv_reader {}
    assert(reader:feed "a,a\nx,y\n1,2\n")
    reader:finish()
    local _, first = reader:next()
    local row, again = reader:next()
    assert.are.equal("csv", first.kind)
    assert.is_nil(row)
    assert.are.equal(first, again)
  end)

  it("raises for a source that is none", function()
    assert.has_error(function()
      csv.rows(5)
    end)
  end)

  it("refuses to go on with a closed reader", function()
    local reader = core.csv_reader {}
    reader:close()
    reader:close()
    assert.has_error(function()
      reader:next()
    end, "bulkjob.csv: this reader is closed")
  end)
end)

describe("writing CSV", function()
  it("writes each type of value as the service reads it", function()
    local text = assert(csv.encode({
      { a = "text", b = true, c = 5, d = bulkjob.null, e = "" },
      { a = 'say "hi"', b = false, c = 0.1, d = " x", e = "1,2\n3" },
    }, { "a", "b", "c", "d", "e", "f" }))
    assert.are.equal('a,b,c,d,e,f\ntext,true,5,#N/A,,\n"say ""hi""",false,0.1," x","1,2\n3",\n', text)
  end)

  it("writes numbers in the shortest form that reads back the same", function()
    for number, text in pairs {
      [0] = "0", [-1] = "-1", [912260031] = "912260031", [2 ^ 53] = "9007199254740992", [1 / 3] = "0.3333333333333333",
      [0.1 + 0.2] = "0.30000000000000004", [1e300] = "1e+300", [5.0] = "5", [-2.5] = "-2.5",
    } do
      assert.are.equal("n\n" .. text .. "\n", csv.encode { { n = number } })
      assert.are.equal(number, tonumber(text))
    end
    local largest = rawget(math, "maxinteger")
    if largest then
      assert.are.equal("n\n9223372036854775807\n", csv.encode { { n = largest } })
    end
  end)

  it("refuses infinity, not-a-number, and what is no value, naming row and column", function()
    for _, value in ipairs { 1 / 0, -1 / 0, 0 / 0, {}, print, io.stdout } do
      local text, err = csv.encode { { n = 1 }, { n = value } }
      assert.is_nil(text)
      assert.are.equal("csv", err.kind)
      assert.truthy(tostring(err):find("row 2, column 'n'", 1, true))
    end
  end)

  it("gives an array the union of its columns, sorted", function()
    assert.are.equal("A,B,C\n1,,\n,2,3\n", csv.encode { { A = 1 }, { C = 3, B = 2 } })
  end)

  it("takes the columns given, in their order, and no others", function()
    assert.are.equal("C,A\n3,1\n", csv.encode({ { A = 1, B = 2, C = 3 } }, { "C", "A" }))
  end)

  it("takes the columns of an iterator from its first row, and refuses a later row with others", function()
    local function each(rows)
      local i = 0
      return function()
        i = i + 1
        return rows[i]
      end
    end
    assert.are.equal("A,B\n1,2\n,3\n", csv.encode(each { { B = 2, A = 1 }, { B = 3 } }))
    local text, err = csv.encode(each { { A = 1 }, { A = 1, Lost = 2 } })
    assert.is_nil(text)
    assert.truthy(tostring(err):find("row 2 has a field 'Lost'", 1, true))
    assert.are.equal("A\n1\n1\n", csv.encode(each { { A = 1 }, { A = 1, Lost = 2 } }, { "A" }))
  end)

  it("refuses rows that are no tables, and fields without a name", function()
    for _, rows in ipairs { { { A = 1 }, 5 }, { { A = 1 }, { [2] = 1 } } } do
      local text, err = csv.encode(rows)
      assert.is_nil(text)
      assert.are.equal("csv", err.kind)
      assert.truthy(tostring(err):find("row 2", 1, true))
    end
  end)

  it("refuses an array with a hole, and what is none, however long", function()
    local long, holed = {}, {}
    for i = 1, 2500 do
      long[i] = { A = i }
      holed[i] = i ~= 1700 and long[i] or nil
    end
    for message, rows in pairs {
      ["rows[1] is missing, and there is a rows[2]"] = { [2] = { A = 1 } },
      ["rows[3] is missing, and there is a rows[1000000]"] = { { A = 1 }, { A = 2 }, [1000000] = { A = 3 } },
      ["rows[1700] is missing, and there is a rows[2500]"] = holed,
      ["rows[0]: an array begins with rows[1]"] = { [0] = { A = 1 }, { A = 1 } },
      ["rows[-1]: an array begins with rows[1]"] = { [-1] = { A = 1 } },
      ["rows[1.5]: an array begins with rows[1]"] = { { A = 1 }, [1.5] = { A = 1 } },
      ["rows[inf]: an array begins with rows[1]"] = { { A = 1 }, [1 / 0] = { A = 1 } },
      ["rows: an array of rows expected, got a table with 'A': a single row goes into { }"] = { A = 1 },
      ["rows: an array of rows expected, got a table with 'false': a single row goes into { }"] = { [false] = 1 },
    } do
      local text, err = csv.encode(rows, { "A" })
      assert.is_nil(text)
      assert.are.equal("csv", err.kind)
      assert.are.equal(message, err.message)
    end
    long.n = 2500 -- as table.pack has it
    local text = assert(csv.encode(long))
    assert.are.equal(2501, select(2, text:gsub("\n", "\n")))
  end)

  it("gives a text of any length at once", function()
    local rows = {}
    for i = 1, 30 do
      rows[i] = { A = ("x"):rep(i * 10000), B = i }
    end
    local parts = { "A,B\n" }
    for _, row in ipairs(rows) do
      parts[#parts + 1] = row.A .. "," .. row.B .. "\n"
    end
    assert.is_true(table.concat(parts) == csv.encode(rows))
  end)

  it("sorts the names by bytes, and needs no global for it", function()
    local sort = table.sort
    table.sort = nil -- luacheck: ignore 122
    local ok, text = pcall(csv.encode, { { b = 1, B = 1, ["a\0b"] = 1 }, { a = 1, ["é"] = 1, ab = 1 } })
    table.sort = sort -- luacheck: ignore 122
    assert.is_true(ok)
    assert.are.equal("B,a,a\0b,ab,b,é", text:match "^[^\n]*")
  end)

  it("refuses a column that is there twice, or has no name", function()
    for columns, place in pairs { [{ "A", "B", "A" }] = "columns[3]", [{ "A", "" }] = "columns[2]" } do
      local ok, err = pcall(csv.encode, { { A = 1 } }, columns)
      assert.is_false(ok)
      assert.truthy(tostring(err):find(place, 1, true))
    end
  end)

  it("leaves nothing of a row that was not completed", function()
    local writer = core.csv_writer { columns = { "A", "B" } }
    writer:header()
    assert(writer:row { A = 1, B = 2 })
    local size = writer:size()
    local computed = setmetatable({ A = "half" }, {
      __index = function()
        error "no field"
      end,
    })
    assert.is_false(pcall(writer.row, writer, computed))
    assert.are.equal(size, writer:size())
    assert.is_nil((writer:row { A = "half", B = print }))
    assert.are.equal(size, writer:size())
    assert(writer:row { A = 3, B = 4 })
    assert.are.equal("A,B\n1,2\n3,4\n", writer:take())
  end)

  it("raises when a computed field uses the writer that asks for it", function()
    for _, use in ipairs { "take", "close", "header" } do
      local writer = core.csv_writer { columns = { "A", "B" } }
      assert(writer:row { A = "before", B = 2 })
      local computed = setmetatable({ A = "half" }, {
        __index = function()
          writer[use](writer)
          return 1
        end,
      })
      assert.is_false(pcall(writer.row, writer, computed))
      if use ~= "close" then
        assert.are.equal(use == "take" and "" or "before,2\nA,B\n", writer:take())
      end
    end
  end)

  it("writes fields that a row computes", function()
    local row = setmetatable({}, {
      __index = function(_, name)
        return name:lower()
      end,
    })
    assert.are.equal("A,B\na,b\n", csv.encode({ row }, { "A", "B" }))
  end)

  it("has no header to write without rows and columns", function()
    assert.is_nil((csv.encode {}))
    assert.are.equal("A\n", csv.encode({}, { "A" }))
  end)

  it("says how a field of a parent is written", function()
    local text, err = bulkjob.csv.encode { { Account = { Ext__c = "x" } } }
    assert.is_nil(text)
    assert.matches("column 'Account': a table cannot be written; a field of the parent is a column of its own, 'Account.Ext__c'", err.message)
    err = select(2, bulkjob.csv.encode { { Account = { 1 } } })
    assert.matches("column 'Account': a table cannot be written$", err.message)
  end)

  it("writes a single empty value so that it is a record", function()
    local text = assert(csv.encode({ { A = "x" }, {}, { A = "" } }, { "A" }))
    assert.are.equal('A\nx\n""\n""\n', text)
    assert.are.same({ { A = "x" }, { A = "" }, { A = "" } }, collect(text))
  end)

  it("reads back what it wrote, with every delimiter and both line endings", function()
    local pieces = { "a", "é", "🎉", '"', ",", ";", "\t", "|", "^", "`", "\r", "\n", "\r\n", " ", "\0", "#N/A", "" }
    math.randomseed(42)
    for _, delimiter in ipairs { "COMMA", "SEMICOLON", "TAB", "PIPE", "CARET", "BACKQUOTE" } do
      for _, line_ending in ipairs { "LF", "CRLF" } do
        local rows = {}
        for i = 1, 200 do
          local row = {}
          for _, name in ipairs { "One", "Two", "Three" } do
            local value = {}
            for k = 1, math.random(0, 6) do
              value[k] = pieces[math.random(#pieces)]
            end
            row[name] = table.concat(value)
          end
          rows[i] = row
        end
        local text = assert(csv.encode(rows, { "One", "Two", "Three" }, { delimiter = delimiter, line_ending = line_ending }))
        assert.are.same(rows, collect(text))
      end
    end
  end)
end)
