local bulkjob = require "bulkjob"
local helper = require "spec.helper"

local check = bulkjob.csv.check

describe("csv.check", function()
  teardown(helper.clean)

  -- The same whether it comes as text, as a file, or byte by byte.
  local function each_way(text, options, look)
    look(check(text, options))
    look(check({ file = helper.file(text) }, options))
    local at = 0
    look(check(function()
      at = at + 1
      return at <= #text and text:sub(at, at) or nil
    end, options))
  end

  it("tells what the data is", function()
    each_way("Name,Ext__c\nOne,1\nTwo,2\n", nil, function(facts, err)
      assert.is_nil(err)
      assert.are.same({
        columns = { "Name", "Ext__c" }, columnDelimiter = "COMMA", lineEnding = "LF", records = 2, bytes = 24,
        header_first = 1, header_last = 12,
        parts = { { first = 13, last = 24, records = 2, digest = "925350ee0eb9e189e57f5a2028145095" } }, -- xxhsum -H2
      }, facts)
    end)
  end)

  it("finds delimiter, line end and byte order mark in the bytes", function()
    for name, delimiter in pairs(helper.DELIMITERS) do
      for ending, eol in pairs { LF = "\n", CRLF = "\r\n" } do
        for _, mark in ipairs { "", "\239\187\191" } do
          local text = mark .. "A" .. delimiter .. "B" .. eol .. '"x' .. eol .. '"' .. delimiter .. eol
          local facts = assert(check(text))
          assert.are.same({ name, ending, 1, #mark + 1 },
            { facts.columnDelimiter, facts.lineEnding, facts.records, facts.header_first })
        end
      end
    end
  end)

  it("takes a last record without a line end, and a header alone", function()
    assert.are.equal(1, assert(check "A,B\r\n1,2").records)
    assert.are.same({}, assert(check "A,B\n").parts)
    assert.are.same({ "A" }, assert(check "A").columns)
  end)

  it("cuts at records only, and never beyond the limit", function()
    local rows = {}
    for i = 1, 500 do
      rows[i] = ('"row %d\nwith, a ""break""",%s\n'):format(i, ("x"):rep(i % 37))
    end
    local header = "Name,Note__c\n"
    local text = header .. table.concat(rows)
    for _, most in ipairs { 100, 101, 333, 4096, #text - 1, #text } do
      local facts = assert(check(text, { part_bytes = most }))
      local pieces, records = {}, 0
      for i, part in ipairs(facts.parts) do
        pieces[i] = text:sub(part.first, part.last)
        records = records + part.records
        assert.is_true(#header + #pieces[i] <= most)
        assert.are.equal(part.records, assert(check(header .. pieces[i])).records)
      end
      assert.are.equal(text, header .. table.concat(pieces))
      assert.are.equal(500, records)
      assert.are.equal(most == #text and 1 or #facts.parts, #facts.parts)
    end
  end)

  it("gives a record that is longer than the limit a part of its own", function()
    local facts = assert(check("A\n1\n" .. ("x"):rep(100) .. "\n2\n", { part_bytes = 10 }))
    assert.are.same({ 1, 1, 1 }, { facts.parts[1].records, facts.parts[2].records, facts.parts[3].records })
  end)

  -- What spreadsheets, Windows and hasty programs make: the data, then what the error says.
  local FAULTS = {
    { "nothing at all", "", "no header", 1, 1 },
    { "a byte order mark and nothing else", "\239\187\191", "no header", 1, 1 },
    { "UTF-16, as Windows calls Unicode", "\255\254N\0a\0\n\0", "UTF%-16", 1, 1 },
    { "UTF-16 without a mark", "N\0a\0\n\0", "UTF%-16", 1, 1 },
    { "UTF-16 without a mark, with the line ends of Windows", "N\0a\0\r\0\n\0", "UTF%-16", 1, 1 },
    { "Latin-1", "Name,City\nJos\233,Z\252rich\n", "not UTF%-8: the byte 0xE9 in place 4", 2, 11, "Name" },
    { "Latin-1 in the header", "Name,Stra\223e\n1,2\n", "not UTF%-8: the byte 0xDF in the name of column 2", 1, 1 },
    { "gzip", "\31\139\8\0\0\"\0\0x\"x\n", "packed by gzip", 1, 1 },
    { "an .xlsx file", "PK\3\4\20\0\8,\0\n", "a zip archive, such as an .xlsx file", 1, 1 },
    { "xz", "\2537zXZ\0\0\4\n", "packed by xz", 1, 1 },
    { "zstd", "\40\181\47\253\0\n", "packed by zstd", 1, 1 },
    { "an .xls file", "\208\207\17\224\161\177\26\225\0\n", "such as an .xls file", 1, 1 },
    { "data that is no text", "SQLite format 3\0\16\n", "a zero byte: the data is no text", 1, 1 },
    { "a hint for Excel", "sep=;\nName;City\n", "sep=", 1, 1 },
    { "the line ends of old Macs", "Name,City\rOne,1\r", "carriage return", 1, 11 },
    { "line ends of two kinds", "Name,City\r\nOne,1\r\nTwo,2\nThree,3\r\n", "ends with LF, and the header with CR LF", 3, 19 },
    { "an empty line in the middle", "Name,City\nOne,1\n\nTwo,2\n", "an empty line", 3, 17 },
    { "an empty line at the end", "Name,City\nOne,1\n\n", "an empty line", 3, 17 },
    { "a value too few", "Name,City\nOne,1\nTwo\n", "1 field in this record, and 2 in the first", 3, 17 },
    { "a value too many, by a comma in a number", "Name,Amount\nOne,1,5\n", "3 fields in this record, and 2 in the first", 2, 13 },
    { "empty columns at the right", "Name,City,,\nOne,1,,\n", "no name for column 3", 1, 1 },
    { "a column twice", "Name,City,Name\nOne,1,2\n", "column %d has the same name", 1, 1 },
    { "a quote that is never closed", 'Name,City\n"One,1\nTwo,2\n', "ends inside a quoted value %(opened in line 2%)", 4, 24 },
    { "inches", 'Name,City\nScreen 24" wide,1\n', "a quote in a value", 2, 20 },
    { "a space before a quote", 'Name,City\n"One", "1"\n', "a quote in a value", 2, 18 },
    { "a space behind a quote", 'Name,City\n"One" ,1\n', "more text after a closing quote", 2, 16 },
    { "backslashes for quotes", 'Name,City\n"a \\"b\\"",1\n', "more text after a closing quote", 2, 16 },
    { "a value that is too long", "Name,City\nOne," .. ("x"):rep(131073) .. "\n", "131073 characters in column 2", 2, 11, "City" },
    { "a record that is too long", "A,B,C,D\n" .. (("x"):rep(131000) .. ","):rep(3) .. ("y"):rep(8000) .. "\n", "record of 401000 characters", 2, 9 },
    { "a header that is too long", ("N"):rep(32001) .. "\n1\n", "header of 32001 characters", 1, 1 },
    { "too many columns", (function()
      local names = {}
      for i = 1, 5001 do
        names[i] = "C" .. i
      end
      return table.concat(names, ",") .. "\n"
    end)(), "5001 columns", 1, 1 },
  }
  for _, fault in ipairs(FAULTS) do
    it("refuses " .. fault[1], function()
      each_way(fault[2], nil, function(facts, err)
        assert.is_nil(facts)
        assert.are.equal("csv", err.kind)
        assert.matches(fault[3], err.message)
        assert.are.same({ fault[4], fault[5], fault[6] }, { err.line, err.byte, err.column })
      end)
    end)
  end

  it("counts characters, not bytes", function()
    assert(check("Name\n" .. ("\195\188"):rep(131072) .. "\n"))
    assert.is_nil((check("Name\n" .. ("\195\188"):rep(131073) .. "\n")))
  end)

  it("knows what is no UTF-8", function()
    for _, bad in ipairs { "\128", "\192\128", "\195", "\195x", "\224\159\191", "\237\160\128", "\240\143\191\191", "\244\144\128\128", "\245\128\128\128", "\255" } do
      local facts, err = check("Name\n12345678" .. bad .. "\n")
      assert.is_nil(facts)
      assert.matches("in place 9 of the value of column 1", err.message)
    end
    assert(check "Name\n\195\188\226\130\172\240\159\152\128\244\143\191\191\n")
  end)

  it("takes checksums of the parts as they are uploaded, and of the whole when it is asked to", function()
    local header, rows = "Name\n", {}
    for i = 1, 500 do
      rows[i] = ("row %d\n"):format(i)
    end
    local text = "\239\187\191" .. header .. table.concat(rows)
    each_way(text, { part_bytes = 100, sha256 = true }, function(facts)
      assert.is_true(#facts.parts > 10)
      for _, part in ipairs(facts.parts) do
        local alone = assert(check(header .. text:sub(part.first, part.last)))
        assert.are.equal(alone.parts[1].digest, part.digest)
      end
      assert.are.equal((helper.shell("sha256sum " .. helper.file(text)):match "^%x+"), facts.sha256)
    end)
    assert.is_nil(assert(check(text)).sha256)
  end)

  it("raises for a size of parts that is none", function()
    for _, bad in ipairs { "x", -1, 0, 1.5, 0 / 0, 1 / 0, 1e300 } do
      local ok, why = pcall(check, "A\n", { part_bytes = bad })
      assert.is_false(ok)
      assert.matches("bulkjob.csv: part_bytes: a whole number from 1 on expected", why, 1, true)
    end
  end)

  it("says what is wrong with its source", function()
    assert.are.equal("io", select(2, check { file = "/nowhere/a.csv" }).kind)
    assert.are.equal("io", select(2, check { file = "/tmp" }).kind)
    assert.matches("oops", select(2, check(function()
      return nil, "oops"
    end)).message)
    assert.has_error(function()
      check("A\n", { part_size = 1 })
    end, "bulkjob.csv: unknown option 'part_size'")
  end)
end)
