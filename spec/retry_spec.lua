local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"

describe("retries", function()
  local org, client, events
  helper.scene({}, function(...)
    org, client, events = ...
  end)

  local function create(spec)
    spec = spec or { object = "Account", operation = "insert" }
    return client:create(spec)
  end

  local function retries()
    local list = {}
    for _, event in ipairs(events) do
      if event.type == "retry" then
        list[#list + 1] = event
      end
    end
    return list
  end

  describe("of a read", function()
    for _, case in ipairs {
      { "408", { status = 408 } }, { "420", { status = 420 } }, { "429", { status = 429 } }, { "500", { status = 500 } },
      { "502", { status = 502 } }, { "503", { status = 503 } }, { "504", { status = 504 } },
      { "a lock failure", { status = 400, body = '[{"errorCode":"UNABLE_TO_LOCK_ROW","message":"busy"}]' } },
      { "a reset", { reset = "before" } }, { "no answer", { close = "before" } }, { "a cut body", { cut = 10 } },
      { "a page for people", { status = 200, body = "<html>Sign in</html>" } },
    } do
      it("follows " .. case[1], function()
        local job = assert(create())
        case[2].method = "GET"
        case[2].count = 2
        org:fault(case[2])
        assert.are.equal("Open", assert(job:info()).state)
        assert.are.equal(3, #org:requests { method = "GET" })
        assert.are.equal(2, #retries())
      end)
    end

    for _, status in ipairs { 400, 403, 404, 405, 409, 410, 501 } do
      it("does not follow " .. status, function()
        local job = assert(create())
        org:fault { method = "GET", status = status, count = 5 }
        local info, err = job:info()
        assert.is_nil(info)
        assert.are.equal(status, err.status)
        assert.are.equal(1, #org:requests { method = "GET" })
      end)
    end

    it("ends after as many tries as were allowed", function()
      local job = assert(create())
      org:fault { method = "GET", status = 503, count = 9 }
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal(4, err.attempts)
      assert.are.equal(4, #org:requests { method = "GET" })
    end)
  end)

  describe("with Retry-After", function()
    it("waits the seconds that were asked for", function()
      local job = assert(create())
      org:fault { method = "GET", status = 503, headers = { ["Retry-After"] = "1" } }
      assert(job:info())
      assert.are.equal(1, #retries())
      assert.are.equal(1, retries()[1].delay)
      assert.are.equal(1, retries()[1].error.retry_after)
    end)

    it("understands a date", function()
      local job = assert(create())
      local at = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 4)
      org:fault { method = "GET", status = 429, headers = { ["Retry-After"] = at } }
      assert(job:info())
      assert.is_true(retries()[1].delay > 0 and retries()[1].delay <= 4)
    end)

    for name, ahead in pairs { ["goes three hours fast"] = 10800, ["goes three hours slow"] = -10800 } do
      it("understands a date of a service whose clock " .. name, function()
        local function date(seconds)
          return os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + ahead + seconds)
        end
        local job = assert(create())
        org:fault { method = "GET", status = 503, headers = { ["Retry-After"] = date(2), Date = date(0) } }
        assert(job:info())
        assert.are.equal(2, retries()[1].error.retry_after)
      end)
    end

    it("does not wait for hours: the error says for how long", function()
      local job = assert(create())
      org:fault { method = "GET", status = 503, headers = { ["Retry-After"] = "7200" } }
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal(7200, err.retry_after)
      assert.are.equal(1, err.attempts)
    end)
  end)

  describe("of an upload", function()
    local function rows_loaded(job)
      assert(job:close())
      local info = assert(job:wait())
      assert.are.equal("JobComplete", info.state)
      return org:count "Account"
    end

    local big = { "Name\n" }
    for i = 2, 60000 do
      big[i] = "Company number " .. i .. "\n"
    end
    big = table.concat(big)

    local sources = {
      text = function()
        return big
      end,
      file = function()
        return { file = helper.file(big) }
      end,
      rows = function()
        local rows = {}
        for i = 2, 60000 do
          rows[i - 1] = { Name = "Company number " .. i }
        end
        return { rows = rows }
      end,
      ["a function"] = function()
        local at = 1
        return function()
          local piece = big:sub(at, at + 9999)
          at = at + 10000
          assert(at < #big + 20001, "called again after its end")
          return piece ~= "" and piece or nil
        end
      end,
      ["an iterator of rows"] = function()
        local i = 1
        return { rows = function()
          i = i + 1
          assert(i <= 60001, "called again after its end")
          return i <= 60000 and { Name = "Company number " .. i } or nil
        end }
      end,
    }

    for name, source in pairs(sources) do
      for _, case in ipairs {
        { "a reset in the middle", { reset = "body", body_bytes = 300000 } },
        { "a 503", { status = 503, effect = false } },
        { "an early 503", { status = 503, early = true } },
        { "a reset after it", { reset = "after" } },
        { "a 500 after it", { status = 500, effect = true } },
      } do
        it("from " .. name .. " follows " .. case[1] .. ", from the start of the data", function()
          org:set { discard = true }
          local job = assert(create())
          case[2].method = "PUT"
          org:fault(case[2])
          assert.is_true(assert(job:upload(source())))
          assert.are.equal(2, #org:requests { method = "PUT" })
          assert.are.equal(#big, org:job(job.id).bytes)
          assert.are.equal(1, org:job(job.id).uploads)
          assert(job:close())
          assert.are.equal(59999, assert(job:wait()).numberRecordsProcessed)
        end)
      end
    end

    it("from a function that has given much cannot follow, says so, and rolls the job back", function()
      local job = assert(create())
      org:fault { method = "PUT", reset = "body", body_bytes = 5000000 }
      local sent = 0
      local ok, err = job:upload(function()
        sent = sent + 1
        return sent <= 1000 and ("x"):rep(10000) or nil
      end)
      assert.is_nil(ok)
      assert.are.equal("network", err.kind)
      assert.truthy(tostring(err):find("cannot be read again", 1, true))
      assert.are.equal("Aborted", job.state)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    it("that fails for good leaves no open job behind", function()
      local job = assert(create())
      org:fault { method = "PUT", status = 503, effect = false, count = 9 }
      local ok, err = job:upload(CSV)
      assert.is_nil(ok)
      assert.are.equal(503, err.status)
      assert.are.equal(4, err.attempts)
      assert.is_nil(err.also)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    it("that fails, and whose rollback fails, says both", function()
      local job = assert(create())
      org:fault { method = "PUT", status = 503, effect = false, count = 9 }
      org:fault { method = "PATCH", status = 503, effect = false, count = 9 }
      local ok, err = job:upload(CSV)
      assert.is_nil(ok)
      assert.are.equal("PUT", err.method)
      assert.are.equal("PATCH", err.also[1].method)
      assert.are.equal("Open", org:job(job.id).state)
    end)

    it("that is refused never stops a job that runs", function()
      org:set { hold = true }
      local job = assert(create())
      assert(job:upload(CSV))
      assert(job:close())
      for _, other in ipairs { client:job(job.id), client:job(job.id, "ingest") } do
        local ok, err = other:upload(CSV)
        assert.is_nil(ok)
        assert.are.equal("INVALIDJOBSTATE", err.code)
      end
      assert.are.equal("UploadComplete", org:job(job.id).state)
      org:release()
    end)

    it("that is refused leaves alone what somebody else has uploaded", function()
      local job = assert(create())
      assert(job:upload(CSV))
      local ok, err = client:job(job.id):upload(CSV)
      assert.is_nil(ok)
      assert.are.equal(400, err.status)
      assert.are.equal("Open", org:job(job.id).state)
    end)

    it("takes \"multiple contents\" for success only after a whole body went out", function()
      local job = assert(create())
      org:fault { method = "PUT", reset = "after" }
      assert.is_true(assert(job:upload(CSV)))
      assert.are.equal(2, rows_loaded(job))
    end)

    it("is not begun with a file that is not there", function()
      local job = assert(create())
      local ok, err = job:upload { file = "/nowhere/accounts.csv" }
      assert.is_nil(ok)
      assert.are.equal("io", err.kind)
      assert.truthy(tostring(err):find("/nowhere/accounts.csv", 1, true))
      assert.are.equal("Open", org:job(job.id).state)
      -- Nothing was sent, so the job is as good as new.
      assert.is_true(assert(job:upload(CSV)))
    end)
  end)

  describe("of a create", function()
    for _, case in ipairs {
      { "429", { status = 429, effect = false } },
      { "420", { status = 420, effect = false } },
    } do
      it("follows " .. case[1] .. " at once: nothing was made", function()
        case[2].method = "POST"
        org:fault(case[2])
        local job = assert(create())
        assert.are.equal("Open", job.state)
        assert.are.same({ Open = 1 }, helper.states(org))
        assert.are.equal(0, #org:requests { method = "GET" })
      end)
    end

    for _, case in ipairs {
      { "a reset before", { reset = "before" } },
      { "a 503 before", { status = 503, effect = false } },
      { "an unreadable 200 before", { status = 200, effect = false, body = "<html></html>" } },
    } do
      it("is sent again after " .. case[1], function()
        case[2].method = "POST"
        org:fault(case[2])
        local job = assert(create())
        assert.are.same({ Open = 1 }, helper.states(org))
        assert.are.equal("Open", org:job(job.id).state)
        assert.are.equal(0, #org:requests { method = "GET" })
      end)
    end

    for _, case in ipairs {
      { "a reset after", { reset = "after" } },
      { "a 503 after", { status = 503, effect = true } },
      { "a 500 after", { status = 500, effect = true } },
      { "an unreadable 200 after", { status = 200, effect = true, body = "<html></html>" } },
      { "a cut 200 after", { effect = true, cut = 30 } },
      { "a list in place of the job", { effect = true, status = 200, body = '{"done":true,"records":[]}' } },
    } do
      it("is sent again after " .. case[1] .. ", and tells of the job that it may have left", function()
        case[2].method = "POST"
        case[2].count = 1
        org:fault(case[2])
        local began = os.date("!%Y-%m-%dT%H:%M:%S", os.time() - 4)
        local job = assert(create())
        assert.are.equal("Open", org:job(job.id).state)
        assert.are.same({ Open = 2 }, helper.states(org))
        assert.are.equal(0, #org:requests { method = "PATCH" })
        assert.are.equal(0, #org:requests { method = "GET" })
        local strays = {}
        for _, event in ipairs(events) do
          if event.type == "stray" then
            strays[#strays + 1] = event
          end
        end
        assert.are.equal(1, #strays)
        assert.are.equal(1, strays[1].count)
        assert.are.equal("Account", strays[1].object)
        assert.are.equal("insert", strays[1].operation)
        -- By the service's clock, so that they can be held against createdDate.
        for _, other in ipairs(org:jobs()) do
          if other.id ~= job.id then
            assert.is_true(strays[1].from <= other.createdDate)
            assert.is_true(strays[1].to >= other.createdDate:sub(1, 19))
          end
        end
        assert.is_true(strays[1].from >= began)
      end)
    end

    it("touches no other job, whoever has made it", function()
      local now = os.date("!%Y-%m-%dT%H:%M:%S.000+0000", os.time() + 1)
      local ids = org:seed_jobs {
        { state = "Open", object = "Account", operation = "insert", createdDate = now, createdById = "0058d00000OtherAAA" },
        { state = "Open", object = "Account", operation = "insert", createdDate = now, createdById = "0058d000003TnWrAAK" },
        { state = "UploadComplete", object = "Account", operation = "insert", createdDate = now },
      }
      org:fault { method = "POST", reset = "after" }
      assert(create())
      for i, state in ipairs { "Open", "Open", "UploadComplete" } do
        assert.are.equal(state, org:job(ids[i]).state)
      end
    end)

    it("never aborts the job of another client whose create had its answer", function()
      local other = helper.client(org)
      org:fault { method = "POST", path = "/jobs/ingest", after = 1, reset = "before" }
      local theirs = assert(other:create { object = "Account", operation = "insert" })
      assert(create())
      assert.are.equal("Open", org:job(theirs.id).state)
      assert.is_true(assert(theirs:upload "Name\nx\n"))
    end)

    it("gets a new token and succeeds after a lost answer", function()
      org:fault { method = "POST", path = "/jobs/ingest", reset = "after" }
      local renewing = helper.client(org, { access_token = "00Ddead!token", auth = function()
        return org.token, org.url
      end })
      assert(renewing:create { object = "Account", operation = "insert" })
    end)

    it("that fails for good says how many it may have left", function()
      org:fault { method = "POST", reset = "after", count = 9 }
      local job, err = create()
      assert.is_nil(job)
      assert.are.equal("network", err.kind)
      assert.are.equal(4, err.attempts)
      assert.are.equal(4, err.strays)
      assert.is_nil(err.in_doubt)
      assert.are.same({ Open = 4 }, helper.states(org))
      assert.are.equal(1, helper.count(events, "stray"))
    end)

    it("that was refused leaves none", function()
      org:fault { method = "POST", status = 400, effect = false, body = '[{"errorCode":"INVALIDENTITY","message":"no"}]' }
      local job, err = create()
      assert.is_nil(job)
      assert.is_nil(err.strays)
      assert.are.equal(0, helper.count(events, "stray"))
    end)

    it("with its data in it is never repeated", function()
      org:set { hold = true }
      org:fault { method = "POST", reset = "after" }
      local job, err = create { object = "Account", operation = "insert", data = CSV }
      assert.is_nil(job)
      assert.are.equal("network", err.kind)
      assert.is_true(err.in_doubt)
      assert.truthy(tostring(err):find("whether it took effect cannot be known", 1, true))
      assert.are.equal(1, #org:requests { method = "POST" })
      assert.are.same({ UploadComplete = 1 }, helper.states(org))
      org:release()
    end)

    it("of a query is simply sent again: it changes nothing", function()
      org:fault { method = "POST", reset = "after" }
      assert(create { operation = "query", query = "SELECT Id FROM Account" })
      assert.are.equal(2, #org:requests { method = "POST" })
    end)
  end)

  describe("of a delete", function()
    it("takes NOT_FOUND after a lost answer for success", function()
      local job = assert(create())
      assert(job:abort())
      org:fault { method = "DELETE", reset = "after" }
      assert.is_true(assert(job:delete()))
      assert.are.equal(2, #org:requests { method = "DELETE" })
    end)

    it("takes NOT_FOUND at the first try for what it is", function()
      local job = assert(create())
      assert(job:abort())
      assert.is_true(assert(job:delete()))
      local ok, err = job:delete()
      assert.is_nil(ok)
      assert.are.equal("NOT_FOUND", err.code)
    end)
  end)

  describe("of a download", function()
    local text = { "Name,Ext__c\n" }
    for i = 1, 20000 do
      text[#text + 1] = '"Company ""' .. i .. '""",A-' .. i .. "\n"
    end
    text = table.concat(text)

    local function finished_job()
      local job = assert(create())
      assert(job:upload(text))
      assert(job:close())
      assert(job:wait())
      return job
    end

    for _, case in ipairs {
      { "a cut body", { cut = 400000 } },
      { "a cut chunked body", { cut = 400000, framing = "chunked" } },
      { "a damaged gzip body", { gzip_cut = 5000 } },
    } do
      for _, compress in ipairs { true, false } do
        if compress or not case[2].gzip_cut then
          it("goes on where the program was, after " .. case[1] .. (compress and " (gzip)" or ""), function()
            client:close()
            client = helper.client(org, { compress = compress, on_event = helper.recorder(events) })
            local job = finished_job()
            local fault = { method = "GET", path = "successfulResults", count = 2 }
            for key, value in pairs(case[2]) do
              fault[key] = value
            end
            if compress and fault.cut then
              fault.cut = 20000
            end
            org:fault(fault)
            local seen, rows = {}, 0
            for row in job:successful_results():rows() do
              assert.is_nil(seen[row.Ext__c])
              seen[row.Ext__c] = true
              rows = rows + 1
            end
            assert.are.equal(20000, rows)
            assert.are.equal(3, #org:requests { path = "successfulResults" })
          end)
        end
      end
    end

    it("is an error when the second one is not the same as the first", function()
      client:close()
      client = helper.client(org, { compress = false })
      local job = finished_job()
      org:fault { method = "GET", path = "successfulResults", cut = 700000 }
      org:fault { method = "GET", path = "successfulResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
        body = '"sf__Id","sf__Created",Name,Ext__c\n' .. ("x,true,y,z\n"):rep(100000) }
      local ok, err = pcall(function()
        for _ in job:successful_results():rows() do end -- luacheck: ignore
      end)
      assert.is_false(ok)
      assert.are.equal("protocol", err.kind)
    end)

    it("is an error when the second one is shorter than what the program has", function()
      client:close()
      client = helper.client(org, { compress = false })
      local job = finished_job()
      org:fault { method = "GET", path = "successfulResults", cut = 700000 }
      org:fault { method = "GET", path = "successfulResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
        body = '"sf__Id","sf__Created",Name,Ext__c\n' }
      local ok, err = pcall(function()
        for _ in job:successful_results():rows() do end -- luacheck: ignore
      end)
      assert.is_false(ok)
      assert.are.equal("protocol", err.kind)
      assert.are.equal(job.id, err.job_id)
    end)

    it("that breaks at every try is an error, not a short result", function()
      local job = finished_job()
      org:fault { method = "GET", path = "successfulResults", cut = 20000, count = 9 }
      local rows = 0
      local ok, err = pcall(function()
        for _ in job:successful_results():rows() do
          rows = rows + 1
        end
      end)
      assert.is_false(ok)
      assert.are.equal("network", err.kind)
      assert.are.equal(4, err.attempts)
      assert.is_true(rows < 20000)
    end)
  end)

  describe("events", function()
    it("tell of each request and each change of state", function()
      local job = assert(create())
      assert(job:upload(CSV))
      assert(job:close())
      local requests, states = {}, {}
      for _, event in ipairs(events) do
        if event.type == "request" then
          requests[#requests + 1] = event
        elseif event.type == "state" then
          states[#states + 1] = (event.from or "") .. ">" .. event.to
        end
      end
      assert.are.same({ ">Open", "Open>UploadComplete" }, states)
      assert.are.equal(3, #requests)
      local put = requests[2]
      assert.are.equal("PUT", put.method)
      assert.are.equal(201, put.status)
      assert.are.equal(#CSV, put.sent)
      assert.are.equal(job.id, put.job_id)
      assert.are.equal(1, put.attempt)
      assert.is_true(put.seconds >= 0)
      assert.is_nil(put.error)
    end)

    it("carry the error of a failed request", function()
      local job = assert(create())
      events = {}
      client:close()
      client = helper.client(org, { on_event = helper.recorder(events) })
      org:fault { method = "GET", status = 503 }
      assert(client:job(job.id, "ingest"):info())
      assert.are.equal("request", events[1].type)
      assert.are.equal(503, events[1].error.status)
      assert.are.equal("retry", events[2].type)
      assert.are.equal(2, events[2].attempt)
      assert.are.equal(2, events[3].attempt)
    end)

    it("hold no secrets", function()
      assert(create())
      local function look(value)
        if type(value) == "table" then
          for k, v in pairs(value) do
            look(k)
            look(v)
          end
        else
          assert.is_nil(tostring(value):find(org.token, 1, true))
        end
      end
      look(events)
    end)
  end)
end)
