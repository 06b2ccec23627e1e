local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"

describe("delete", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function create(text)
    local job = assert(client:create { object = "Account", operation = "insert" })
    if text then
      assert(job:upload(text))
      assert(job:close())
    end
    return job
  end

  local function until_state(job, state)
    repeat
      local now = assert(job:info()).state
      assert(now == state or not helper.FINAL[now], now)
    until now == state
    return job
  end

  local function gone(job)
    local jobs = org:jobs()
    for _, other in ipairs(jobs) do
      assert.are_not.equal(job.id, other.id)
    end
    for _, verb in ipairs { "info", "delete", "abort" } do
      local other = client:job(job.id, "ingest")
      local good, err = other[verb](other)
      assert.is_nil(good)
      assert.are.equal("NOT_FOUND", err.code)
      assert.are.equal(404, err.status)
    end
  end

  local function refused(job, state)
    org:clear_requests()
    local ok, err = job:delete()
    assert.is_nil(ok)
    assert.are.equal("api", err.kind)
    assert.are.equal("API_ERROR", err.code)
    assert.are.equal("Error encountered when deleting the job because the job is not terminated", err.message)
    assert.are.equal(400, err.status)
    assert.are.equal("DELETE", err.method)
    assert.are.equal(job.id, err.job_id)
    assert.are.equal(1, #org:requests())
    assert.are.equal(state, org:job(job.id).state)
  end

  it("of an Open job is refused: abort it first", function()
    local job = create()
    refused(job, "Open")
    assert(job:abort())
    assert.is_true(assert(job:delete()))
  end)

  it("of a job that waits in the queue is taken", function()
    org:set { hold = "UploadComplete" }
    local job = until_state(create(CSV), "UploadComplete")
    assert.is_true(assert(job:delete()))
    gone(job)
    org:release()
    assert.are.equal(0, org:count "Account")
  end)

  it("of a job that runs is refused", function()
    org:set { hold = "InProgress" }
    refused(until_state(create(CSV), "InProgress"), "InProgress")
  end)

  it("of a complete job is one DELETE; the rows stay", function()
    local job = until_state(create(CSV), "JobComplete")
    org:clear_requests()
    assert.is_true(assert(job:delete()))
    local requests = org:requests()
    assert.are.equal(1, #requests)
    assert.are.equal("DELETE", requests[1].method)
    assert.are.equal("/services/data/v66.0/jobs/ingest/" .. job.id, requests[1].path)
    assert.are.equal(204, requests[1].status)
    assert.is_true(requests[1].tls)
    gone(job)
    assert.are.equal(2, org:count "Account")
  end)

  it("of a failed job", function()
    local job = until_state(create "No_Such__c\nx\n", "Failed")
    assert.is_true(assert(job:delete()))
    gone(job)
  end)

  it("of an aborted job", function()
    local job = create()
    assert(job:abort())
    assert.is_true(assert(job:delete()))
    gone(job)
  end)

  it("takes the results away", function()
    local job = until_state(create(CSV), "JobComplete")
    assert.truthy(assert(job:successful_results():read()))
    assert(job:delete())
    local text, err = job:successful_results():read()
    assert.is_nil(text)
    assert.are.equal("NOT_FOUND", err.code)
  end)

  it("by id alone finds out the kind first", function()
    local job = create()
    assert(job:abort())
    assert.is_true(assert(client:job(job.id):delete()))
    gone(job)
  end)

  it("works over plain HTTP to this machine", function()
    local job = create()
    assert(job:abort())
    local plain = helper.client(org, { instance_url = org.url })
    assert.is_true(assert(plain:job(job.id, "ingest"):delete()))
    plain:close()
    gone(job)
  end)

  it("of somebody else's job needs the right to manage integrations", function()
    org:set { manage_data_integrations = false }
    local id = org:seed_jobs({ { state = "Aborted", createdById = "0058d000009OtherAAA" } })[1]
    local ok, err = client:job(id, "ingest"):delete()
    assert.is_nil(ok)
    assert.are.equal("INVALIDUSER", err.code)
    assert.are.equal("Aborted", org:job(id).state)
    org:set { manage_data_integrations = true }
    assert.is_true(assert(client:job(id, "ingest"):delete()))
  end)

  describe("of a query job", function()
    local function query()
      return assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    end

    it("that waits in the queue is refused, unlike an ingest job", function()
      org:set { hold = "UploadComplete" }
      refused(until_state(query(), "UploadComplete"), "UploadComplete")
    end)

    it("that is complete or aborted is taken", function()
      local done = until_state(query(), "JobComplete")
      assert.is_true(assert(done:delete()))
      org:set { hold = true }
      local stopped = query()
      assert(stopped:abort())
      org:clear_requests()
      assert.is_true(assert(stopped:delete()))
      assert.are.equal("/services/data/v66.0/jobs/query/" .. stopped.id, org:requests()[1].path)
      local info, err = stopped:info()
      assert.is_nil(info)
      assert.are.equal("NOT_FOUND", err.code)
      assert.are.same({}, helper.states(org))
    end)
  end)
end)
