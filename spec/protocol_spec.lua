--- What the protocol promises beside close and abort: creates, uploads and deletes whose answer says nothing, and what other programs
--- do to the same jobs.
local core = require "bulkjob.core"
local helper = require "spec.helper"

local CSV = "Name\nOne\nTwo\n"

describe("the protocol", function()
  local org, client, events
  helper.scene({ hold = true }, function(...)
    org, client, events = ...
  end)

  local function create(with)
    return assert((with or client):create { object = "Account", operation = "insert" })
  end

  describe("of a create whose answer was lost", function()
    it("leaves the jobs of other programs alone", function()
      local other = helper.client(org)
      org:fault { method = "POST", path = "/jobs/ingest", after = 1, reset = "before" }
      local theirs = create(other)
      assert.are_not.equal(theirs.id, create().id)
      assert.are.equal("Open", org:job(theirs.id).state)
      assert.is_true(assert(theirs:upload(CSV)))
      assert.are.equal("UploadComplete", assert(theirs:close()).state)
    end)

    it("leaves its own first job alone, too, and asks for nothing but another", function()
      org:fault { method = "POST", path = "/jobs/ingest", reset = "after" }
      -- Whatever would be asked besides would fail, or never end.
      org:fault { method = "GET", path = "/jobs/ingest", status = 200, count = -1,
        body = '{"done":false,"records":[],"nextRecordsUrl":"/services/data/v66.0/jobs/ingest?queryLocator=same"}' }
      org:fault { method = "PATCH", status = 401, count = -1, body = '[{"errorCode":"INVALID_SESSION_ID","message":"dead"}]' }
      org:clear_requests()
      local job = create()
      assert.are.equal("Open", job.state)
      assert.are.equal(2, #org:requests { method = "POST" })
      assert.are.equal(2, #org:requests())
      assert.are.same({ Open = 2 }, helper.states(org))
      assert.are.equal(1, helper.count(events, "stray"))
    end)

    it("asks for nothing when it was refused", function()
      local theirs = create(helper.client(org))
      org:fault { method = "POST", status = 400, body = '[{"errorCode":"INVALIDENTITY","message":"no such object"}]' }
      org:clear_requests()
      local job, err = client:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("INVALIDENTITY", err.code)
      assert.are.equal(1, #org:requests())
      assert.are.equal("Open", org:job(theirs.id).state)
    end)

    for name, fault in pairs {
      ["reset after it took effect"] = { reset = "after" }, ["500 after it took effect"] = { status = 500, effect = true },
      ["a 409 of a proxy"] = { status = 409, effect = true, body = "<html>conflict</html>" },
      ["a 524"] = { status = 524, effect = true, body = "" }, ["an empty 200"] = { status = 200, effect = true, body = "" },
      ["a 401 of a proxy"] = { status = 401, effect = true, body = "<html>sign in</html>" },
    } do
      it("with data never sends a second one: " .. name, function()
        org:fault(helper.with({ method = "POST", path = "/jobs/ingest" }, fault))
        local job, err = client:create { object = "Account", operation = "insert", data = CSV }
        assert.is_nil(job)
        assert.is_true(err.in_doubt)
        assert.truthy(err.message:find("sent once only", 1, true), err.message)
        assert.are.equal(1, #org:requests { method = "POST" })
        assert.are.equal(1, #org:jobs())
      end)
    end
  end)

  -- A 2xx that is no answer of the service: the request is lost, and is sent again.
  local NO_ANSWERS = {
    ["an error in a 200"] = { status = 200, body = '[{"errorCode":"SOME_CODE","message":"no"}]' },
    ["a page of a proxy"] = { status = 200, body = "<html><title>Sign in</title></html>" },
    ["JSON of a proxy"] = { status = 200, body = '{"error":"denied"}' },
    ["a 206"] = { status = 206, body = "" },
    ["a 202 that says so"] = { status = 202, body = "Accepted, perhaps" },
  }

  for name, fault in pairs(NO_ANSWERS) do
    -- An error in a 200 is no refusal that another try could mend, but nothing says that the data are there.
    local is_error = name == "an error in a 200"

    it("takes no upload for done that was answered with " .. name, function()
      local job = create()
      org:fault(helper.with({ method = "PUT", effect = false }, fault))
      local ok, err = job:upload(CSV)
      if is_error then
        assert.is_nil(ok)
        assert.are.equal("SOME_CODE", err.code)
        assert.are.equal(0, org:job(job.id).uploads)
      else
        assert.is_true(ok)
        assert.are.equal(2, #org:requests { method = "PUT" })
        assert.are.equal(1, org:job(job.id).uploads)
        assert.are.equal(CSV, helper.received(org, job))
      end
    end)

    it("takes no delete for done that was answered with " .. name, function()
      local job = create()
      assert(job:abort())
      org:fault(helper.with({ method = "DELETE", effect = false }, fault))
      local ok = job:delete()
      assert.are.equal(not is_error or nil, ok)
      local info, err = client:job(job.id, "ingest"):info()
      if is_error then
        assert.are.equal("Aborted", info.state)
      else
        assert.is_nil(info)
        assert.are.equal(404, err.status)
      end
    end)
  end

  describe("of \"multiple contents\"", function()
    local function retrying(id, at_retry)
      local mine = helper.client(org, { on_event = function(event)
        if event.type == "retry" then
          at_retry()
        end
      end })
      return mine:job(id, "ingest")
    end

    it("is an error when somebody else's handle had uploaded", function()
      local job = create()
      assert(client:job(job.id, "ingest"):upload(CSV))
      local ok, err = client:job(job.id, "ingest"):upload(CSV)
      assert.is_nil(ok)
      assert.truthy(err.message:find("Found multiple contents", 1, true))
      assert.are.equal("Open", org:job(job.id).state)
    end)

    it("is an error when somebody else uploaded between two tries of a handle made from an id", function()
      local job = create()
      local other = client:job(job.id, "ingest")
      local same = retrying(job.id, function()
        assert(other:upload "Name\nSomething else\n")
      end)
      org:fault { method = "PUT", status = 503, effect = false } -- after the whole body was read
      local ok, err = same:upload(CSV)
      assert.is_nil(ok)
      assert.truthy(err.message:find("Found multiple contents", 1, true))
      assert.are.equal("Name\nSomething else\n", helper.received(org, job))
    end)

    it("is success when the job is ours and our own whole body was lost on the way back", function()
      local job = create()
      org:fault { method = "PUT", reset = "after" }
      assert.is_true(assert(job:upload(CSV)))
      assert.are.equal(2, #org:requests { method = "PUT" })
      assert.are.equal(1, org:job(job.id).uploads)
      assert.are.equal(CSV, helper.received(org, job))
      assert.are.equal("UploadComplete", assert(job:close()).state)
    end)

    it("never stands for a file that was changed between the two", function()
      local path = helper.file(CSV)
      local changing = helper.client(org, { on_event = function(event)
        if event.type == "retry" then
          local file = assert(io.open(path, "r+b"))
          file:write "Nick"
          file:close()
        end
      end })
      local job = create(changing)
      org:fault { method = "PUT", reset = "after" }
      local ok, err = job:upload { file = path }
      if ok then -- the second one was refused before it had gone out whole, and the first one is there
        assert.are.equal(CSV, helper.received(org, job))
      else
        assert.truthy(err.message:find("Found multiple contents", 1, true), err.message)
        assert.are.equal("Aborted", org:job(job.id).state)
      end
    end)
  end)

  describe("keeps no text of an upload", function()
    local SIZE = 8000000

    -- LuaJIT halves the buffer in which texts were put together with each collection.
    local function kilobytes()
      for _ = 1, 10 do
        collectgarbage()
      end
      return collectgarbage "count"
    end

    -- What stays of the memory that `use` needs for a text of SIZE bytes, in kilobytes.
    local function kept(use)
      local before = kilobytes()
      local held = use(("x"):rep(99) .. "\n")
      local after = kilobytes()
      assert.is_truthy(held)
      return after - before
    end

    local function text_of(line)
      return "Name\n" .. line:rep(SIZE / 100)
    end

    it("that is done", function()
      assert.is_true(kept(function(line)
        local job = create()
        assert(job:upload(text_of(line)))
        return job
      end) < SIZE / 1024 / 4)
    end)

    it("that failed", function()
      org:fault { method = "PUT", status = 400, body = '[{"errorCode":"SOME_CODE","message":"no"}]', count = -1 }
      assert.is_true(kept(function(line)
        local job = create()
        assert.is_nil((job:upload(text_of(line))))
        return job
      end) < SIZE / 1024 / 4)
    end)

    it("that was cut off by the end of its client", function()
      org:fault { method = "PUT", stall = 1, stall_when = "before" }
      assert.is_true(kept(function(line)
        local mine = helper.client(org)
        local job = create(mine)
        mine:spawn(function(text)
          return job:upload(text)
        end, text_of(line))
        mine:poll(0.1)
        mine:close()
        return job
      end) < SIZE / 1024 / 4)
    end)
  end)

  it("tells of a handle what a scope needs to know", function()
    local job = create()
    local facts = core.job_facts(job)
    assert.are.same({ true, false, true, false }, { facts.ours, facts.uploaded, facts.surely_open, facts.aborting })
    assert(job:upload(CSV))
    assert(job:close())
    facts = core.job_facts(job)
    assert.are.same({ true, true, false, false }, { facts.ours, facts.uploaded, facts.surely_open, facts.aborting })
    local same = client:job(job.id, "ingest")
    assert(same:abort())
    facts = core.job_facts(same)
    assert.are.same({ false, false, false, true }, { facts.ours, facts.uploaded, facts.surely_open, facts.aborting })
  end)
end)
