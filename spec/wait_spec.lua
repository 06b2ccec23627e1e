local core = require "bulkjob.core"
local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\n,A-2\nThree,A-3\n"

describe("wait", function()
  local org, client, events
  helper.scene(helper.AT_ONCE, function(...)
    org, client, events = ...
  end)

  local function closed(text)
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload(text or CSV))
    assert(job:close())
    org:clear_requests()
    return job
  end

  it("returns the info of a complete job", function()
    local job = closed()
    local info = assert(job:wait())
    assert.are.equal("JobComplete", info.state)
    assert.are.equal("JobComplete", job.state)
    assert.are.equal(3, info.numberRecordsProcessed)
    assert.are.equal(1, info.numberRecordsFailed)
    for _, request in ipairs(org:requests()) do
      assert.are.equal("GET", request.method)
      assert.are.equal("/services/data/v66.0/jobs/ingest/" .. job.id, request.path)
      assert.is_true(request.tls)
    end
  end)

  it("is an error at once for a job of Bulk API 1.0, which never changes its state here", function()
    for _, state in ipairs { "Open", "Closed" } do
      org:fault { method = "GET", path = "/jobs/ingest/", status = 200,
        body = ('{"id":"7508d00000Kq3XbAAJ","operation":"insert","object":"Account","state":"%s","jobType":"Classic","apiVersion":66.0}'):format(state) }
      local info, err = client:job("7508d00000Kq3XbAAJ", "ingest"):wait { timeout = helper.HANG_SECONDS }
      assert.is_nil(info)
      assert.are.equal("job", err.kind)
      assert.matches("Bulk API 1.0 %(jobType Classic%), and " .. state, err.message)
      assert.are.equal("7508d00000Kq3XbAAJ", err.job_id)
    end
    assert.are.equal(2, #org:requests())
  end)

  it("ends at its own time-out, whatever the client's other limits", function()
    local job = closed()
    org:fault { method = "GET", stall = 30, count = -1 }
    local began = core.now()
    local info, err = job:wait { timeout = 1 }
    local took = core.now() - began
    assert.is_nil(info)
    assert.are.equal("timeout", err.kind)
    assert.are.equal(job.id, err.job_id)
    assert.truthy(tostring(err):find("could not be read within 1 seconds", 1, true))
    assert.is_true(took >= 1)
    assert.is_true(took < 20) -- the client's own time-out is 120 s
  end)

  it("ends at its own time-out, too, when the kind of the job is not known yet", function()
    local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    for _, kind in ipairs { "ingest", "query" } do
      org:fault { method = "GET", path = "/jobs/" .. kind, stall = 30, count = -1 }
      local began = core.now()
      local info, err = client:job(query.id):wait { timeout = 1 }
      assert.is_nil(info)
      assert.are.equal("timeout", err.kind)
      assert.are.equal(query.id, err.job_id)
      assert.is_true(core.now() - began < 20)
      org:clear_faults()
    end
  end)

  it("gives the reason at once when no time is left for another try", function()
    local job = closed()
    local slow = helper.client(org, { retry = { tries = 5, base = 60, cap = 60 } })
    org:fault { method = "GET", status = 503, headers = { ["Retry-After"] = "50" }, count = -1 }
    local began = core.now()
    local info, err = slow:job(job.id, "ingest"):wait { timeout = 40 }
    assert.is_nil(info)
    assert.are.equal(503, err.status)
    assert.is_true(core.now() - began < 30)
    slow:close()
  end)

  it("takes one look at a job that is over", function()
    local job = closed()
    assert(job:wait())
    org:clear_requests()
    assert(job:wait())
    assert.are.equal(1, #org:requests())
  end)

  it("returns the info of a failed job: that is no error of wait", function()
    local info = assert(closed("No_Such__c\nx\n"):wait())
    assert.are.equal("Failed", info.state)
    assert.truthy(info.errorMessage:find("No_Such__c", 1, true))
  end)

  it("returns the info of an aborted job", function()
    org:set { hold = true }
    local job = closed()
    assert(client:job(job.id):abort())
    assert.are.equal("Aborted", assert(job:wait()).state)
  end)

  it("works for any job, by its id alone", function()
    local id = closed().id
    assert.are.equal("JobComplete", assert(client:job(id):wait()).state)
    assert.are.equal("JobComplete", assert(client:job(id, "ingest"):wait { timeout = helper.HANG_SECONDS }).state)
  end)

  it("works over plain HTTP to this machine", function()
    local plain = helper.client(org, { instance_url = org.url })
    assert.are.equal("JobComplete", assert(plain:job(closed().id, "ingest"):wait()).state)
    plain:close()
  end)

  it("shows each look to on_progress, through the states", function()
    org:set { hold = "UploadComplete", processing_seconds = 600, slice_rows = 1 }
    local job = closed()
    local seen = {}
    local info = assert(job:wait { timeout = helper.HANG_SECONDS, on_progress = function(look)
      assert.are.equal(job.id, look.id)
      assert.are.equal("66.0", look.apiVersion)
      if seen[#seen] ~= look.state then
        seen[#seen + 1] = look.state
        if look.state == "UploadComplete" then
          org:release(job.id)
          repeat until org:job(job.id).state == "InProgress"
        elseif look.state == "InProgress" then
          assert(client:job(job.id):abort())
        end
      end
    end })
    assert.are.equal("Aborted", info.state)
    assert.are.same({ "UploadComplete", "InProgress", "Aborted" }, seen)
  end)

  it("tells the changes of state as events", function()
    local job = closed()
    assert(job:wait())
    local last
    for _, event in ipairs(events) do
      if event.type == "state" and event.job_id == job.id then
        assert.are_not.equal(event.from, event.to)
        last = event.to
      end
    end
    assert.are.equal("JobComplete", last)
  end)

  it("passes on what on_progress raises, and leaves the job alone", function()
    local oops = {}
    local job = closed()
    local ok, err = pcall(job.wait, job, { on_progress = function()
      error(oops)
    end })
    assert.is_false(ok)
    assert.are.equal(oops, err)
    assert.is_nil(org:job(job.id).transitions.Aborted)
  end)

  describe("with a time-out", function()
    for _, state in ipairs { "UploadComplete", "InProgress" } do
      it("leaves a job in " .. state .. " alone, and the error has its id", function()
        org:set { hold = state }
        local job = closed()
        while org:job(job.id).state ~= state do
          assert(job:info())
        end
        org:clear_requests()
        local info, err = job:wait { timeout = 0.05 }
        assert.is_nil(info)
        assert.are.equal("timeout", err.kind)
        assert.are.equal(job.id, err.job_id)
        assert.are.equal(state, err.state)
        assert.truthy(tostring(err):find(job.id, 1, true))
        assert.truthy(tostring(err):find(state, 1, true))
        assert.are.equal(state, org:job(job.id).state)
        for _, request in ipairs(org:requests()) do
          assert.are.equal("GET", request.method)
        end
        -- It can be waited for again, by another handle as well.
        org:set { hold = false }
        org:release()
        assert.are.equal("JobComplete", assert(client:job(err.job_id):wait()).state)
      end)
    end

    it("of 0 takes one look", function()
      org:set { hold = true }
      local job = closed()
      local info, err = job:wait { timeout = 0 }
      assert.is_nil(info)
      assert.are.equal("timeout", err.kind)
      assert.are.equal(1, #org:requests())
    end)

    it("of 0 returns a job that is over", function()
      local job = closed()
      assert(job:wait())
      assert.are.equal("JobComplete", assert(job:wait { timeout = 0 }).state)
    end)
  end)

  it("looks less and less often", function()
    org:set { hold = true }
    local job = closed()
    assert.is_nil(job:wait { timeout = 1.5 })
    -- Each fifth of a second, as the first pause is, would be 8 or more.
    local looks = #org:requests()
    assert.is_true(looks >= 2 and looks <= 7, tostring(looks))
  end)

  describe("for a job that is Open", function()
    it("of ours is an error: it would wait for ever", function()
      local job = assert(client:create { object = "Account", operation = "insert" })
      for _ = 1, 2 do
        org:clear_requests()
        local info, err = job:wait()
        assert.is_nil(info)
        assert.are.equal("job", err.kind)
        assert.are.equal("Open", err.state)
        assert.are.equal(job.id, err.job_id)
        assert.is_true(#org:requests() <= 1)
        assert.are.equal("Open", org:job(job.id).state)
        assert(job:upload(CSV) or true)
      end
    end)

    it("of somebody else waits until it is closed", function()
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload(CSV))
      local looks = 0
      local info = assert(client:job(job.id):wait { on_progress = function(look)
        looks = looks + 1
        if look.state == "Open" then
          assert(job:close())
        end
      end })
      assert.are.equal("JobComplete", info.state)
      assert.is_true(looks >= 2)
    end)
  end)

  it("goes on over looks that fail once", function()
    local job = closed()
    org:fault { method = "GET", status = 503 }
    org:fault { method = "GET", reset = "before" }
    assert.are.equal("JobComplete", assert(job:wait()).state)
  end)

  it("ends when the looks fail for good, and leaves the job alone", function()
    org:set { hold = true }
    local job = closed()
    org:fault { method = "GET", status = 503, count = -1 }
    local info, err = job:wait()
    assert.is_nil(info)
    assert.are.equal("api", err.kind)
    assert.are.equal(503, err.status)
    assert.are.equal(4, err.attempts)
    assert.are.equal(job.id, err.job_id)
    assert.are.equal("UploadComplete", org:job(job.id).state)
    org:clear_faults()
    org:set { hold = false }
    org:release()
    assert.are.equal("JobComplete", assert(job:wait()).state)
  end)

  it("of a job that goes away is NOT_FOUND", function()
    org:set { hold = true }
    local job = closed()
    local info, err = job:wait { on_progress = function()
      assert(client:job(job.id, "ingest"):delete())
    end }
    assert.is_nil(info)
    assert.are.equal("NOT_FOUND", err.code)
    assert.are.equal(job.id, err.job_id)
  end)

  it("of a query job", function()
    org:set { hold = true }
    local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    local _, err = query:wait { timeout = 0 }
    assert.are.equal("timeout", err.kind)
    assert.are.equal("UploadComplete", err.state)
    org:set { hold = false }
    org:release()
    assert.are.equal("JobComplete", assert(query:wait()).state)
  end)

  it("of a state that nobody knows goes on waiting", function()
    local job = closed()
    assert(job:wait())
    org:fault { method = "GET", status = 200, body = ('{"id":"%s","state":"Paused"}'):format(job.id) }
    assert.are.equal("JobComplete", assert(job:wait()).state)
  end)

  describe("raises for", function()
    for name, options in pairs {
      ["an unknown option"] = { time_out = 5 }, ["a time-out that is no number"] = { timeout = "x" }, ["a time-out that is no time"] = { timeout = 0 / 0 },
      ["a progress that is no function"] = { on_progress = "x" },
    } do
      it(name, function()
        local job = closed()
        local ok, err = pcall(job.wait, job, options)
        assert.is_false(ok)
        assert.truthy(tostring(err):find(next(options), 1, true), tostring(err))
        assert.are.equal(0, #org:requests())
      end)
    end

    it("options that are no table", function()
      local job = closed()
      assert.has_error(function()
        job:wait(5)
      end)
    end)
  end)
end)
