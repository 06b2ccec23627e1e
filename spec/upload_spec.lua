local bulkjob = require "bulkjob"
local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"

describe("upload", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function open(more)
    local spec = helper.with({ object = "Account", operation = "insert" }, more)
    local job = assert(client:create(spec))
    org:clear_requests()
    return job
  end

  local function received(job)
    return helper.received(org, job)
  end

  local function sent(job, source)
    assert.is_true(assert(job:upload(source)))
    assert.are.equal(1, org:job(job.id).uploads)
    return received(job)
  end

  -- It failed before anything was sent: the job is as good as new.
  local function untouched(job)
    assert.are.equal(0, #org:requests())
    assert.are.equal("Open", job.state)
    assert.are.equal("Open", org:job(job.id).state)
    assert.are.equal(CSV, sent(job, CSV))
  end

  local function chunks(list)
    local n = 0
    return function()
      n = n + 1
      return list[n]
    end
  end

  -- Chunks of 1 MB until far more was sent than any queue holds, then what `last` does.
  local function long_then(last)
    local n = 0
    return function()
      n = n + 1
      if n > 4 then
        return last()
      end
      return (n == 1 and "Name\n" or "") .. (("x"):rep(99) .. "\n"):rep(10000)
    end
  end

  describe("of text", function()
    it("is one PUT of the bytes as they are", function()
      local job = open()
      assert.are.equal(CSV, sent(job, CSV))
      local requests = org:requests()
      assert.are.equal(1, #requests)
      local request = requests[1]
      assert.are.equal("PUT", request.method)
      assert.are.equal("/services/data/v66.0/jobs/ingest/" .. job.id .. "/batches", request.path)
      assert.are.equal("text/csv; charset=UTF-8", request.headers.content_type)
      assert.are.equal(tostring(#CSV), request.headers.content_length)
      assert.is_nil(request.headers.expect)
      assert.is_nil(request.headers.content_encoding)
      assert.is_true(request.tls)
      assert.are.equal(201, request.status)
      assert.are.equal("Open", job.state)
      assert.are.equal("Open", org:job(job.id).state)
    end)

    it("works over plain HTTP to this machine", function()
      local plain = helper.client(org, { instance_url = org.url })
      local job = assert(plain:create { object = "Account", operation = "insert" })
      assert.is_true(assert(job:upload(CSV)))
      assert.are.equal(CSV, received(job))
      plain:close()
    end)

    it("may be empty", function()
      local job = open()
      assert.is_true(assert(job:upload ""))
      assert.are.equal(1, org:job(job.id).uploads)
      assert.are.equal(0, org:job(job.id).bytes)
      assert.are.equal("0", org:requests()[1].headers.content_length)
      assert(job:close())
      assert.are.equal(0, helper.finished(job).numberRecordsProcessed)
    end)

    it("keeps every byte there is", function()
      local all = {}
      for i = 0, 255 do
        all[#all + 1] = string.char(i)
      end
      local text = table.concat(all):rep(1000)
      assert.is_true(sent(open(), text) == text)
    end)

    it("of 5 MB arrives whole", function()
      local text = "Name\n" .. ("0123456789abcde\n"):rep(327680)
      assert.is_true(sent(open(), text) == text)
    end)

    it("is not checked here: bad CSV makes the job fail later, and says why", function()
      local job = open()
      assert.is_true(assert(job:upload "No_Such__c\nx\n"))
      assert(job:close())
      local info = helper.finished(job)
      assert.are.equal("Failed", info.state)
      assert.truthy(info.errorMessage:find("No_Such__c", 1, true))
    end)

    it("with the wrong line ends makes the job fail, and nothing is written", function()
      local job = open { lineEnding = "LF" }
      assert.is_true(assert(job:upload "Name\r\nOne\r\n"))
      assert(job:close())
      local info = helper.finished(job)
      assert.are.equal("Failed", info.state)
      assert.are.equal("ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF", info.errorMessage)
      assert.are.equal(0, org:count "Account")
    end)
  end)

  describe("of a file", function()
    local TEXT = "0123456789"

    it("sends all of it", function()
      local text = "Name\n" .. ("0123456789abcde\n"):rep(70000)
      local job = open()
      assert.is_true(sent(job, { file = helper.file(text) }) == text)
      assert.are.equal(tostring(#text), org:requests()[1].headers.content_length)
    end)

    it("may be empty", function()
      local job = open()
      assert.is_true(assert(job:upload { file = helper.file "" }))
      assert.are.equal(1, org:job(job.id).uploads)
      assert.are.equal(0, org:job(job.id).bytes)
    end)

    for _, case in ipairs {
      { "from a byte to another", 3, 7, "23456" }, { "from a byte on", 3, nil, "23456789" }, { "to a byte", nil, 4, "0123" },
      { "of one byte", 10, 10, "9" }, { "of all by numbers", 1, 10, TEXT },
    } do
      it("sends a range " .. case[1], function()
        assert.are.equal(case[4], sent(open(), { file = helper.file(TEXT), first = case[2], last = case[3] }))
      end)
    end

    for _, case in ipairs {
      { "beginning before the first byte", 0, 5 }, { "beginning behind the end", 12, nil }, { "ending behind the end", 1, 11 },
      { "that ends before it begins", 7, 3 }, { "counted from the end", -3, nil },
    } do
      it("refuses a range " .. case[1] .. ", without a request", function()
        local job = open()
        local ok, err = job:upload { file = helper.file(TEXT), first = case[2], last = case[3] }
        assert.is_nil(ok)
        assert.are.equal("io", err.kind)
        untouched(job)
      end)
    end

    -- The digest is that of the header and the bytes, so that each part of a load has its own.
    local function checked()
      local file = helper.file("Name\n" .. ("One\n"):rep(100000))
      local part = assert(bulkjob.csv.check { file = file }).parts[1]
      return { file = file, first = part.first, last = part.last, header = "Name\n", digest = part.digest }
    end

    it("sends it when its bytes are those that were checked", function()
      local source = checked()
      assert.are.equal("Name\n" .. ("One\n"):rep(100000), sent(open(), source))
    end)

    for name, change in pairs {
      ["a byte in the middle, at the same time"] = function(path)
        helper.shell(("touch -r %s %s.was"):format(path, path))
        local file = assert(io.open(path, "r+b"))
        file:seek("set", 200001)
        file:write "X"
        file:close()
        helper.shell(("touch -r %s.was %s; rm %s.was"):format(path, path, path))
      end,
      ["the last byte"] = function(path)
        local file = assert(io.open(path, "r+b"))
        file:seek("end", -2)
        file:write "X"
        file:close()
      end,
      ["its length"] = function(path)
        local file = assert(io.open(path, "wb"))
        file:write "Name\nOne\n"
        file:close()
      end,
    } do
      it("never sends it to its end when somebody has changed " .. name, function()
        local source, job = checked(), open()
        change(source.file)
        local ok, err = job:upload(source)
        assert.is_nil(ok)
        assert.are.same({ "io", "CONTENT_CHANGED" }, { err.kind, err.code })
        assert.truthy(err.message:find(source.file, 1, true), err.message)
        assert.are.equal(0, org:job(job.id).uploads)
        for _, request in ipairs(org:requests { method = "PUT" }) do
          assert.are_not.equal(201, request.status)
        end
        assert.is_nil(err.in_doubt)
      end)
    end

    it("aborts the job then, once something was sent", function()
      local source, job = checked(), open()
      source.digest = ("0"):rep(32)
      local _, err = job:upload(source)
      assert.are.equal("CONTENT_CHANGED", err.code)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    it("compares again at each try", function()
      local source, job = checked(), open()
      org:fault { method = "PUT", reset = "body", body_bytes = 100000 }
      assert.is_true(assert(job:upload(source)))
      source, job = checked(), open()
      org:fault { method = "PUT", status = 503 }
      client = helper.client(org, { on_event = function(event)
        if event.type == "retry" then
          local file = assert(io.open(source.file, "r+b"))
          file:seek("set", 100000)
          file:write "Y"
          file:close()
        end
      end })
      local _, err = client:job(job.id, "ingest"):upload(source)
      assert.are.equal("CONTENT_CHANGED", err.code)
      assert.are.equal(0, org:job(job.id).uploads)
    end)

    it("says in whole numbers which bytes are not there", function()
      local _, err = open():upload { file = helper.file(TEXT), first = 1, last = 99 }
      assert.truthy(err.message:find("bytes 1 to 99 ", 1, true), err.message)
    end)

    for name, path in pairs { ["that is not there"] = "/nowhere/accounts.csv", ["that is a directory"] = "/tmp" } do
      it(name .. " is an io error that names it, without a request", function()
        local job = open()
        local ok, err = job:upload { file = path }
        assert.is_nil(ok)
        assert.are.equal("io", err.kind)
        assert.truthy(err.message:find(path, 1, true))
        untouched(job)
      end)
    end
  end)

  describe("of rows", function()
    it("writes an array with the union of all columns, sorted", function()
      local job = open()
      assert.are.equal("Ext__c,Name,Phone\nA-1,One,\n,Two,7\n", sent(job, {
        rows = { { Name = "One", Ext__c = "A-1" }, { Name = "Two", Phone = 7 } },
      }))
      assert.are.equal("chunked", org:requests()[1].headers.transfer_encoding)
    end)

    it("writes the columns that are asked for, in their order", function()
      assert.are.equal("Phone,Name\n,One\n7,Two\n", sent(open(), {
        rows = { { Name = "One", Ext__c = "A-1" }, { Name = "Two", Phone = 7 } }, columns = { "Phone", "Name" },
      }))
    end)

    it("takes an iterator, with the columns of its first row", function()
      assert.are.equal("Ext__c,Name\nA-1,One\n,Two\n", sent(open(), {
        rows = chunks { { Name = "One", Ext__c = "A-1" }, { Name = "Two" } },
      }))
    end)

    it("refuses a later row of an iterator with another column", function()
      local job = open()
      local ok, err = job:upload { rows = chunks { { Name = "One" }, { Name = "Two", Phone = 7 } } }
      assert.is_nil(ok)
      assert.are.equal("csv", err.kind)
      assert.truthy(err.message:find("Phone", 1, true))
      untouched(job)
    end)

    it("rolls back when that happens after something was sent", function()
      local job = open()
      local n = 0
      local ok, err = job:upload { rows = function()
        n = n + 1
        return n <= 30000 and { Name = ("x"):rep(200) } or { Name = "y", Phone = 7 }
      end }
      assert.is_nil(ok)
      assert.are.equal("csv", err.kind)
      assert.is_nil(err.also)
      assert.are.equal("Aborted", job.state)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    for name, source in pairs {
      ["an empty array"] = { rows = {} },
      ["an empty iterator"] = { rows = function() end },
    } do
      it("refuses " .. name .. " without columns", function()
        local job = open()
        local ok, err = job:upload(source)
        assert.is_nil(ok)
        assert.are.equal("csv", err.kind)
        untouched(job)
      end)
    end

    it("writes a header alone for an empty array with columns", function()
      assert.are.equal("Name\n", sent(open(), { rows = {}, columns = { "Name" } }))
    end)

    it("writes in the format of the job, also when the handle was made from an id", function()
      local id = open({ columnDelimiter = "CARET", lineEnding = "CRLF" }).id
      local job = client:job(id, "ingest")
      assert.are.equal("Ext__c^Name\r\nA-1^\"O^ne\"\r\n", sent(job, { rows = { { Name = "O^ne", Ext__c = "A-1" } } }))
      job = client:job(open({ columnDelimiter = "TAB" }).id)
      assert.are.equal("Ext__c\tName\nA-1\tOne\n", sent(job, { rows = { { Name = "One", Ext__c = "A-1" } } }))
    end)

    it("passes on what an iterator raises, and leaves the job as it was", function()
      local job = open()
      local oops = {}
      local ok, err = pcall(job.upload, job, { rows = function()
        error(oops)
      end })
      assert.is_false(ok)
      assert.are.equal(oops, err)
      untouched(job)
    end)
  end)

  describe("of a function", function()
    it("sends its chunks until nil", function()
      local job = open()
      assert.are.equal(CSV, sent(job, chunks { "Name,", "Ext__c\nOne,A-1", "\n", "Two,A-2\n" }))
      assert.are.equal("chunked", org:requests()[1].headers.transfer_encoding)
    end)

    it("steps over empty chunks", function()
      assert.are.equal(CSV, sent(open(), chunks { "", "Name,Ext__c\n", "", "", "One,A-1\nTwo,A-2\n", "" }))
    end)

    it("may give nothing at all", function()
      local job = open()
      assert.is_true(assert(job:upload(function() end)))
      assert.are.equal(1, org:job(job.id).uploads)
      assert.are.equal(0, org:job(job.id).bytes)
    end)

    it("may give one chunk of 3 MB", function()
      local text = "Name\n" .. ("0123456789abcde\n"):rep(196608)
      assert.is_true(sent(open(), chunks { text }) == text)
    end)

    it("may give 20,000 small chunks", function()
      local list = { "Name\n" }
      for i = 2, 20000 do
        list[i] = i .. "\n"
      end
      assert.is_true(sent(open(), chunks(list)) == table.concat(list))
    end)

    it("is called no more after its nil", function()
      local calls = 0
      sent(open(), function()
        calls = calls + 1
        return calls == 1 and CSV or nil
      end)
      assert.are.equal(2, calls)
    end)

    it("that fails at once: an io error with its words, no request", function()
      local job = open()
      local ok, err = job:upload(function()
        return nil, "the tape is torn"
      end)
      assert.is_nil(ok)
      assert.are.equal("io", err.kind)
      assert.truthy(err.message:find("the tape is torn", 1, true))
      untouched(job)
    end)

    it("that fails later: the same, and the job is rolled back", function()
      local job = open()
      local ok, err = job:upload(long_then(function()
        return nil, "the tape is torn"
      end))
      assert.is_nil(ok)
      assert.are.equal("io", err.kind)
      assert.truthy(err.message:find("the tape is torn", 1, true))
      assert.is_nil(err.also)
      assert.are.equal("Aborted", job.state)
      assert.are.equal("Aborted", org:job(job.id).state)
      assert.are.equal(0, org:job(job.id).uploads)
    end)

    it("that fails with an error of ours gives that error", function()
      local _, first = client:job("7508d00000Kq3XbAAJ", "ingest"):info()
      assert.is_true(bulkjob.is_error(first))
      local ok, err = open():upload(function()
        return nil, first
      end)
      assert.is_nil(ok)
      assert.are.equal(first, err)
    end)

    it("that raises at once: the same is raised, no request", function()
      local job = open()
      local oops = {}
      local ok, err = pcall(job.upload, job, function()
        error(oops)
      end)
      assert.is_false(ok)
      assert.are.equal(oops, err)
      untouched(job)
    end)

    it("that raises later: the same is raised, and the job is rolled back", function()
      local job = open()
      local oops = {}
      local ok, err = pcall(job.upload, job, long_then(function()
        error(oops)
      end))
      assert.is_false(ok)
      assert.are.equal(oops, err)
      assert.are.equal("Aborted", job.state)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    for _, bad in ipairs { 42, true, {} } do
      it("that gives a " .. type(bad) .. " raises", function()
        local job = open()
        local ok, err = pcall(job.upload, job, function()
          return bad
        end)
        assert.is_false(ok)
        assert.truthy(tostring(err):find(type(bad), 1, true))
        untouched(job)
      end)
    end
  end)

  describe("a second time", function()
    it("is refused here, without a request", function()
      local job = open()
      sent(job, CSV)
      org:clear_requests()
      local ok, err = job:upload "Name\nThree\n"
      assert.is_nil(ok)
      assert.are.equal("job", err.kind)
      assert.are.equal(job.id, err.job_id)
      assert.are.equal("Open", err.state)
      assert.are.equal(0, #org:requests())
      -- The data of the first one is what is loaded.
      assert(job:close())
      assert.are.equal(2, helper.finished(job).numberRecordsProcessed)
    end)

    for _, kind in ipairs { "text", "rows" } do
      it("is refused here while the first one is under way, which goes on: " .. kind, function()
        local job = open()
        local begun, refused = false, false
        local first = client:spawn(function()
          return job:upload(function()
            while begun and not refused do
              coroutine.yield()
            end
            local chunk = not begun and CSV or nil
            begun = true
            return chunk
          end)
        end)
        local second = client:spawn(function()
          while not begun do
            coroutine.yield()
          end
          local ok, err = job:upload(kind == "text" and "Name\nThree\n" or { rows = { { Name = "Three" } } })
          refused = true
          return ok, err
        end)
        assert(client:run())
        assert.is_true(first:result())
        local ok, err = second:result()
        assert.is_nil(ok)
        assert.are.equal("job", err.kind)
        assert.are.equal("Open", org:job(job.id).state)
        assert.are.equal(CSV, received(job))
        assert.are.equal(1, #org:requests { method = "PUT" })
      end)
    end

    it("through another handle is refused by the service", function()
      local job = open()
      sent(job, CSV)
      local ok, err = client:job(job.id, "ingest"):upload "Name\nThree\n"
      assert.is_nil(ok)
      assert.are.equal("api", err.kind)
      assert.are.equal("INVALIDJOBSTATE", err.code)
      assert.are.equal(400, err.status)
      assert.truthy(err.message:find("Found multiple contents for job", 1, true))
      assert.are.equal(1, err.attempts)
      assert.are.equal(CSV, received(job))
      -- That data is somebody's, and good.
      assert.are.equal("Open", org:job(job.id).state)
    end)
  end)

  describe("in the wrong state", function()
    it("Aborted: INVALIDJOBSTATE", function()
      local job = open()
      assert(job:abort())
      for _, source in ipairs { CSV, { file = helper.file(CSV) }, { rows = { { Name = "One" } } } } do
        local ok, err = job:upload(source)
        assert.is_nil(ok)
        assert.are.equal("api", err.kind)
        assert.are.equal("INVALIDJOBSTATE", err.code)
        assert.are.equal(job.id, err.job_id)
        assert.are.equal("PUT", err.method)
        assert.is_nil(err.also)
      end
    end)

    for _, state in ipairs { "UploadComplete", "InProgress" } do
      it(state .. ": INVALIDJOBSTATE, and the job that was committed goes on", function()
        org:set { hold = state }
        local job = open()
        sent(job, CSV)
        assert(job:close())
        while org:job(job.id).state ~= state do
          assert(job:info())
        end
        local ok, err = client:job(job.id, "ingest"):upload "Name\nThree\n"
        assert.is_nil(ok)
        assert.are.equal("INVALIDJOBSTATE", err.code)
        assert.are.equal(state, org:job(job.id).state)
        org:release()
        assert.are.equal("JobComplete", helper.finished(job).state)
        assert.are.equal(2, org:count "Account")
      end)
    end

    it("JobComplete: INVALIDJOBSTATE, and nothing beside it", function()
      local job = open()
      sent(job, CSV)
      assert(job:close())
      helper.finished(job)
      local ok, err = client:job(job.id, "ingest"):upload(CSV)
      assert.is_nil(ok)
      assert.are.equal("INVALIDJOBSTATE", err.code)
      assert.is_nil(err.also)
      assert.are.equal("JobComplete", org:job(job.id).state)
    end)

    it("deleted: NOT_FOUND", function()
      local job = open()
      assert(job:abort())
      assert(job:delete())
      local ok, err = job:upload(CSV)
      assert.is_nil(ok)
      assert.are.equal("NOT_FOUND", err.code)
      assert.are.equal(404, err.status)
    end)
  end)

  it("of more than the service takes is refused, and the job rolled back", function()
    org:set { upload_limit = 4000 }
    for _, source in ipairs { ("x"):rep(3001), { file = helper.file(("x"):rep(3001)) }, chunks { ("x"):rep(3001) } } do
      local job = open()
      local ok, err = job:upload(source)
      assert.is_nil(ok)
      assert.are.equal("api", err.kind)
      assert.are.equal("CLIENTINPUTERROR", err.code)
      assert.are.equal(400, err.status)
      assert.are.equal("Aborted", org:job(job.id).state)
    end
    assert.are.equal(3000, #sent(open(), ("x"):rep(3000)))
  end)

  it("by id alone finds out the kind first", function()
    local job = client:job(open().id)
    assert.are.equal(CSV, sent(job, CSV))
    assert.are.equal("ingest", job.kind)
    assert.are.equal(2, #org:requests())
  end)

  describe("raises", function()
    local function raises(text, job, source)
      org:clear_requests()
      local ok, err = pcall(job.upload, job, source)
      assert.is_false(ok)
      assert.truthy(tostring(err):find(text, 1, true), tostring(err))
      assert.are.equal(0, #org:requests { method = "PUT" })
    end

    it("for a query job", function()
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      raises("upload", query, CSV)
      raises("upload", client:job(query.id, "query"), CSV)
      raises("upload", client:job(query.id), CSV)
    end)

    for name, case in pairs {
      ["no source"] = { "source", nil }, ["a number"] = { "source", 42 }, ["an empty table"] = { "source", {} },
      ["an unknown field"] = { "path", { file = "x", path = "x" } }, ["a file that is no path"] = { "file", { file = 42 } },
      ["rows that are none"] = { "rows", { rows = "x" } }, ["a range that is no number"] = { "first", { file = "/dev/null", first = "x" } },
      ["a range from no number at all"] = { "first", { file = "/dev/null", first = 0 / 0 } },
      ["a range without end"] = { "last", { file = "/dev/null", last = 1 / 0 } },
      ["a range from before all"] = { "first", { file = "/dev/null", first = -1 / 0 } },
      ["a range from half a byte"] = { "first", { file = "/dev/null", first = 1.5 } },
      ["a digest that is no text"] = { "digest", { file = "/dev/null", digest = 42 } },
      ["a digest that is too short"] = { "digest", { file = "/dev/null", digest = "abc" } },
      ["a digest of other digits"] = { "digest", { file = "/dev/null", digest = ("g"):rep(32) } },
      ["columns that are none"] = { "columns", { rows = { { Name = "One" } }, columns = "Name" } },
      ["a column without a name"] = { "columns", { rows = { { Name = "One" } }, columns = { 42 } } },
      ["file and rows at once"] = { "rows", { file = "x", rows = {} } },
    } do
      it("for " .. name, function()
        local job = open()
        raises(case[1], job, case[2])
        assert.are.equal("Open", org:job(job.id).state)
      end)
    end
  end)
end)
