local helper = require "spec.helper"

local UNKNOWN = "7508d00000Kq3XbAAJ" -- a well-formed id of no job

describe("the list of jobs", function()
  local org, client
  helper.scene({}, function(...)
    org, client = ...
  end)

  -- All infos of a listing, and by id.
  local function collect(filter)
    local list, by_id = {}, {}
    for info in client:jobs(filter) do
      assert.is_nil(by_id[info.id])
      list[#list + 1] = info
      by_id[info.id] = info
    end
    return list, by_id
  end

  local function fails(filter)
    local list = {}
    local ok, err = pcall(function()
      for info in client:jobs(filter) do
        list[#list + 1] = info
      end
    end)
    assert.is_false(ok)
    assert.are.equal("table", type(err))
    return err, list
  end

  local function same_ids(ids, by_id)
    local n = 0
    for _ in pairs(by_id) do
      n = n + 1
    end
    assert.are.equal(#ids, n)
    for _, id in ipairs(ids) do
      assert.truthy(by_id[id], id)
    end
  end

  local function page(members)
    return { method = "GET", status = 200, body = "{" .. members .. "}" }
  end

  it("of an org without jobs is empty, after one request", function()
    assert.are.equal(0, #collect())
    local requests = org:requests()
    assert.are.equal(1, #requests)
    assert.are.equal("GET", requests[1].method)
    assert.truthy(requests[1].path:find "^/services/data/v66%.0/jobs/ingest%??$")
    assert.is_true(requests[1].tls)
  end)

  it("makes no request before the first step", function()
    client:jobs()
    assert.are.equal(0, #org:requests())
  end)

  for _, case in ipairs { { 1, 3, 1 }, { 3, 3, 1 }, { 4, 3, 2 }, { 9, 3, 3 }, { 10, 3, 4 }, { 25, 1, 25 } } do
    it(("with %d jobs on pages of %d takes %d requests"):format(case[1], case[2], case[3]), function()
      org:set { list_page_size = case[2] }
      local ids = org:seed_jobs { count = case[1], job = { state = "JobComplete" } }
      local _, by_id = collect()
      same_ids(ids, by_id)
      assert.are.equal(case[3], #org:requests())
    end)
  end

  it("with 2,500 jobs on the service's pages", function()
    org:seed_jobs { count = 2500, job = { state = "JobComplete" } }
    assert.are.equal(2500, #collect())
    assert.are.equal(3, #org:requests())
  end)

  it("works over plain HTTP to this machine", function()
    org:set { list_page_size = 2 }
    local ids = org:seed_jobs { count = 5, job = {} }
    client:close()
    client = helper.client(org, { instance_url = org.url })
    local _, by_id = collect()
    same_ids(ids, by_id)
  end)

  it("gives typed job info", function()
    local job = assert(client:create { object = "Lead", operation = "upsert", externalIdFieldName = "Ext__c" })
    local info = collect()[1]
    assert.are.equal(job.id, info.id)
    assert.are.equal("66.0", info.apiVersion)
    assert.are.equal("Open", info.state)
    assert.are.equal("Lead", info.object)
    assert.are.equal("upsert", info.operation)
    assert.are.equal("Ext__c", info.externalIdFieldName)
    assert.are.equal("V2Ingest", info.jobType)
    assert.are.equal("LF", info.lineEnding)
    assert.is_nil(info.numberRecordsProcessed)
    for _, value in pairs(info) do
      assert.are_not.equal("userdata", type(value))
    end
  end)

  it("takes jobs of Bulk API 1.0 with states and types of their own", function()
    org:seed_jobs {
      { jobType = "Classic", state = "Closed", contentType = "XML", operation = "query", kind = "ingest", apiVersion = 45.0, concurrencyMode = "Serial" },
      { jobType = "Classic", state = "Not Processed", contentType = "ZIP_CSV", apiVersion = 20 },
      { jobType = "BigObjectIngest", state = "InProgress" }, { state = "Open" },
    }
    local list = collect()
    assert.are.equal(4, #list)
    local seen = {}
    for _, info in ipairs(list) do
      seen[info.state] = info
    end
    assert.are.equal("XML", seen.Closed.contentType)
    assert.are.equal("45.0", seen.Closed.apiVersion)
    assert.are.equal("Serial", seen.Closed.concurrencyMode)
    assert.is_nil(seen.Closed.lineEnding)
    assert.are.equal("20.0", seen["Not Processed"].apiVersion)
    assert.are.equal("BigObjectIngest", seen.InProgress.jobType)
  end)

  describe("of query jobs", function()
    it("is another list, though its links point at that of ingest jobs", function()
      org:set { list_page_size = 2 }
      local queries = org:seed_jobs { count = 5, job = { operation = "query", state = "JobComplete" } }
      local ingests = org:seed_jobs { count = 5, job = { operation = "insert", state = "JobComplete" } }
      local _, by_id = collect { kind = "query" }
      same_ids(queries, by_id)
      local requests = org:requests()
      assert.are.equal(3, #requests)
      for _, request in ipairs(requests) do
        assert.truthy((request.path .. "?"):find("/jobs/query?", 1, true), request.path)
        assert.are.equal(200, request.status)
      end
      _, by_id = collect { kind = "ingest" }
      same_ids(ingests, by_id)
    end)

    it("can be filtered by jobType, on each page", function()
      org:set { list_page_size = 2 }
      org:seed_jobs { count = 3, job = { operation = "query", jobType = "Classic" } }
      local wanted = org:seed_jobs { count = 5, job = { operation = "query" } }
      local _, by_id = collect { kind = "query", jobType = "V2Query" }
      same_ids(wanted, by_id)
      for _, request in ipairs(org:requests()) do
        assert.truthy(request.path:find("jobType=V2Query", 1, true))
      end
    end)

    it("can be filtered by concurrencyMode", function()
      org:seed_jobs { { operation = "query", concurrencyMode = "Serial" }, { operation = "query" } }
      local list = collect { kind = "query", concurrencyMode = "serial" }
      assert.are.equal(1, #list)
      assert.are.equal("Serial", list[1].concurrencyMode)
    end)
  end)

  describe("filtered", function()
    local ids
    before_each(function()
      org:set { list_page_size = 2 }
      ids = org:seed_jobs {
        { state = "Open", object = "Account", operation = "insert", apiVersion = 60.0 },
        { state = "Aborted", object = "Lead", operation = "update", createdById = "0058d000009OtherAAA" },
        { state = "Open", object = "Lead", operation = "insert" },
        { state = "Closed", object = "Account", operation = "delete", jobType = "Classic", isPkChunkingEnabled = true },
        { state = "JobComplete", object = "Account", operation = "upsert", jobType = "BigObjectIngest" },
      }
    end)

    for name, case in pairs {
      state = { { state = "Open" }, { 1, 3 } }, object = { { object = "Lead" }, { 2, 3 } },
      operation = { { operation = "delete" }, { 4 } }, apiVersion = { { apiVersion = "60.0" }, { 1 } },
      createdById = { { createdById = "0058d000009OtherAAA" }, { 2 } }, ["jobType, by the service"] = { { jobType = "Classic" }, { 4 } },
      ["jobType BigObjectIngest"] = { { jobType = "BigObjectIngest" }, { 5 } },
      ["isPkChunkingEnabled, by the service"] = { { isPkChunkingEnabled = true }, { 4 } },
      ["two at once"] = { { state = "Open", object = "Lead" }, { 3 } }, ["nothing fits"] = { { state = "Failed" }, {} },
    } do
      it("by " .. name, function()
        local _, by_id = collect(case[1])
        local wanted = {}
        for i, n in ipairs(case[2]) do
          wanted[i] = ids[n]
        end
        same_ids(wanted, by_id)
      end)
    end

    it("sends what the service can do, and nothing else", function()
      collect { jobType = "V2Ingest", state = "Open", object = "Lead" }
      for _, request in ipairs(org:requests()) do
        assert.truthy(request.path:find("jobType=V2Ingest", 1, true))
        assert.is_nil(request.path:find("state", 1, true))
        assert.is_nil(request.path:find("Lead", 1, true))
      end
    end)

    it("by a jobType of the other list: the service's error is raised", function()
      local err = fails { jobType = "V2Query" }
      assert.are.equal("api", err.kind)
      assert.are.equal("INVALIDVALUE", err.code)
      assert.are.equal(400, err.status)
    end)
  end)

  describe("raises here for", function()
    for name, filter in pairs {
      ["an unknown filter"] = { sate = "Open" }, ["an unknown kind"] = { kind = "Query" }, ["a jobType with signs"] = { jobType = "V2&x=y" },
      ["a locator of one's own"] = { queryLocator = "01g8d0000004QwEAAU-1000" },
    } do
      it(name, function()
        local ok, err = pcall(client.jobs, client, filter)
        assert.is_false(ok)
        assert.truthy(tostring(err):find(next(filter), 1, true))
        assert.are.equal(0, #org:requests())
      end)
    end

    it("a filter that is no table", function()
      assert.has_error(function()
        client:jobs "Open"
      end)
    end)
  end)

  it("left early asks for no more pages", function()
    org:set { list_page_size = 2 }
    org:seed_jobs { count = 6, job = {} }
    for _ in client:jobs() do -- luacheck: ignore 512
      break
    end
    assert.are.equal(1, #org:requests())
  end)

  it("stays at its end", function()
    org:seed_jobs { count = 1, job = {} }
    local next_job = client:jobs()
    assert.truthy(next_job())
    assert.is_nil(next_job())
    assert.is_nil(next_job())
    assert.are.equal(1, #org:requests())
  end)

  it("goes on over a page that was broken once", function()
    org:set { list_page_size = 2 }
    local ids = org:seed_jobs { count = 6, job = {} }
    org:fault { path = "queryLocator", status = 503 }
    org:fault { path = "queryLocator", cut = 30 }
    local _, by_id = collect()
    same_ids(ids, by_id)
  end)

  it("raises the error of a page that cannot be had", function()
    org:set { list_page_size = 2 }
    org:seed_jobs { count = 6, job = {} }
    org:fault { path = "queryLocator", status = 503, count = -1 }
    local err, list = fails()
    assert.are.equal("api", err.kind)
    assert.are.equal(503, err.status)
    assert.are.equal(4, err.attempts)
    assert.are.equal(2, #list)
  end)

  it("that leads in a circle is a protocol error", function()
    org:set { list_page_size = 2 }
    org:seed_jobs { count = 6, job = {} }
    local fault = page '"done":false,"nextRecordsUrl":"/services/data/v66.0/jobs/ingest?queryLocator=01gLOOP-2","records":[]'
    fault.path, fault.count = "queryLocator", -1
    org:fault(fault)
    local err = fails()
    assert.are.equal("protocol", err.kind)
    assert.truthy(err.message:find("01gLOOP-2", 1, true))
    assert.is_true(#org:requests() <= 4)
  end)

  it("is over when done is true, even with a link", function()
    org:fault(page '"done":true,"nextRecordsUrl":"/services/data/v66.0/jobs/ingest?queryLocator=01gMORE-2","records":[]')
    assert.are.equal(0, #collect())
    assert.are.equal(1, #org:requests())
  end)

  it("that is not done and has no link is a protocol error: jobs are missing", function()
    for _, link in ipairs { '"nextRecordsUrl":null,', "", '"nextRecordsUrl":"",', '"nextRecordsUrl":"/services/data/v66.0/jobs/ingest",' } do
      local fault = page('"done":false,' .. link .. ('"records":[{"id":"%s","state":"Open"}]'):format(UNKNOWN))
      org:fault(fault)
      local err, list = fails()
      assert.are.equal("protocol", err.kind)
      assert.are.equal(1, #list)
    end
  end)

  for name, body in pairs {
    ["no records"] = '{"done":true}', ["null for records"] = '{"done":true,"records":null}', ["a text for records"] = '{"done":true,"records":"x"}',
    ["an error array"] = '[{"errorCode":"API_ERROR","message":"no"}]', ["a page for people"] = "<html></html>", ["nothing"] = "",
    ["records that are no tables"] = '{"done":true,"records":[1,2]}',
  } do
    it("with " .. name .. " raises an error table", function()
      org:fault { method = "GET", status = 200, body = body, count = -1 }
      local err = fails()
      assert.truthy(err.kind == "protocol" or err.kind == "api")
      assert.truthy(tostring(err))
    end)
  end
end)
