local bulkjob = require "bulkjob"
local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"
local HTTPS = "https://acme.my.salesforce.com"

-- Options that are good, with `more` over them; `false` takes one away.
local function options(more)
  local all = { instance_url = HTTPS, access_token = "00Dxx!secret" }
  for key, value in pairs(more) do
    all[key] = value
  end
  for key, value in pairs(more) do
    if value == "none" then
      all[key] = nil
    end
  end
  return all
end

local function raises(text, given)
  local ok, err = pcall(bulkjob.client, given)
  assert.is_false(ok)
  assert.truthy(tostring(err):find(text, 1, true), tostring(err))
  assert.is_nil(tostring(err):find("secret", 1, true))
end

describe("client options", function()
  describe("raise for", function()
    it("no table", function()
      assert.has_error(function()
        bulkjob.client()
      end)
      assert.has_error(function()
        bulkjob.client(HTTPS)
      end)
    end)

    for _, name in ipairs { "instanceUrl", "token", "apiVersion", "retries", "Timeout", "" } do
      it("the unknown option '" .. name .. "'", function()
        raises("'" .. name .. "'", options { [name] = "x" })
      end)
    end

    it("options without a name", function()
      raises("unknown option", options { "x" })
    end)

    for name, wrong in pairs {
      instance_url = { 42, true, {} }, access_token = { 42, "", "a\r\nX-Evil: 1", "a\0b" }, auth = { "x", {} }, api_version = { 66.0, "66", "v66.0", "", "66.0/..", "6 6.0", "66.00" },
      timeout = { "5", 0, -1, 0 / 0, 1 / 0 }, total_timeout = { "5", 0, -1, 0 / 0 }, connect_timeout = { "5", 0, -1 }, max_connections = { "8", 0, -1 }, retry = { 3, "x" },
      proxy = { 42, "" }, ca_file = { 42, "" }, ca_path = { 42 }, client_cert = { 42 }, client_key = { 42 }, insecure = { 1, "true" }, compress = { 0, "gzip" },
      user_agent = { 42, "", "a\nb" }, loop = { "block", {} }, nice = { "x", -1 }, on_event = { "x", {} },
    } do
      it(name .. " of another kind", function()
        for _, value in ipairs(wrong) do
          raises(name, options { [name] = value })
        end
      end)
    end

    for name, retry in pairs {
      ["retry.tries"] = { tries = 0 }, ["retry.base"] = { base = -1 }, ["retry.cap"] = { cap = "x" }, ["retry.times"] = { times = 3 },
    } do
      it(name, function()
        raises(name, options { retry = retry })
      end)
    end

    it("numbers that have to be whole", function()
      raises("max_connections", options { max_connections = 1.5 })
      raises("retry.tries", options { retry = { tries = 2.5 } })
    end)

    it("a number out of range, which is written as it was given", function()
      raises("option 'retry.tries' must be from 1 to 1000000, not 0", options { retry = { tries = 0 } })
      raises("option 'max_connections' must be a whole number, not 1.5", options { max_connections = 1.5 })
    end)

    it("no instance_url", function()
      raises("instance_url", options { instance_url = "none" })
    end)

    it("neither access_token nor auth", function()
      raises("access_token", options { access_token = "none" })
    end)

    for name, url in pairs {
      ["no URL"] = "acme.my.salesforce.com", ["another scheme"] = "ftp://acme.my.salesforce.com", ["a file"] = "file:///etc/passwd", ["no host"] = "https://",
      ["slashes alone"] = "https:///", ["a path"] = HTTPS .. "/services/data", ["a question"] = HTTPS .. "?x=1", ["a fragment"] = HTTPS .. "#x",
      ["a user"] = "https://me:secret@acme.my.salesforce.com", ["a space"] = "https://acme my.salesforce.com", ["a backslash"] = "https://acme\\evil.com",
      ["a line break"] = HTTPS .. "\r\nX: 1", ["nothing"] = "", ["no port"] = HTTPS .. ":x",
    } do
      it("an instance_url with " .. name, function()
        raises("instance_url", options { instance_url = url })
      end)
    end

    for _, url in ipairs {
      "http://acme.my.salesforce.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "http://128.0.0.1", "http://10.0.0.1:8080",
      "HTTP://acme.my.salesforce.com", "http://[::2]", "http://[::1].example.com", "http://[::1]example.com:80",
    } do
      it("the token in the clear to " .. url, function()
        raises("http", options { instance_url = url })
      end)
    end
  end)

  describe("take", function()
    for _, url in ipairs {
      HTTPS, HTTPS .. "/", HTTPS .. ":8443", "HTTPS://ACME.my.salesforce.com", "http://127.0.0.1:8080", "http://localhost", "http://localhost:80/",
      "http://127.1.2.3", "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://[::1]:8080", "https://[2001:db8::1]:8443",
    } do
      it(url, function()
        bulkjob.client(options { instance_url = url }):close()
      end)
    end

    it("http to other machines when insecure is said", function()
      bulkjob.client(options { instance_url = "http://acme.my.salesforce.com", insecure = true }):close()
    end)

    it("each option at once", function()
      bulkjob.client({
        instance_url = HTTPS, access_token = "x", auth = function() end, api_version = "60.0", timeout = 0.5, total_timeout = 3, connect_timeout = 1,
        retry = { tries = 1, base = 0, cap = 0 }, proxy = "http://proxy:3128", no_proxy = "x", ca_file = "/x", ca_path = "/x", client_cert = "/x", client_key = "/x",
        insecure = false, max_connections = 1, user_agent = "me", compress = false, loop = bulkjob.loop.block, nice = 5, on_event = function() end,
      }):close()
    end)

    it("a URL that the auth source gives, as long as it is one", function()
      for _, case in ipairs { { "ftp://x", "instance" }, { "http://acme.my.salesforce.com", "http" }, { nil, "instance_url" } } do
        local client = bulkjob.client { auth = function()
          return "00Dxx!secret", case[1]
        end }
        local limits, err = client:limits()
        assert.is_nil(limits)
        assert.are.equal("auth", err.kind)
        assert.truthy(tostring(err):find(case[2], 1, true), tostring(err))
        assert.is_nil(tostring(err):find("secret", 1, true))
        client:close()
      end
    end)
  end)

  it("do not show the token in tostring", function()
    local client = bulkjob.client(options {})
    assert.truthy(tostring(client):find(HTTPS, 1, true))
    assert.truthy(tostring(client):find("66.0", 1, true))
    assert.is_nil(tostring(client):find("secret", 1, true))
    client:close()
    assert.is_nil(tostring(client):find("secret", 1, true))
    assert.truthy(tostring(client):find("closed", 1, true))
  end)
end)

describe("a client", function()
  local org, client, events
  helper.scene(helper.AT_ONCE, function(...)
    org, client, events = ...
  end)

  it("makes no request before it is used", function()
    assert.are.equal(0, #org:requests())
  end)

  it("takes a trailing slash after the host without doubling it", function()
    local mine = helper.client(org, { instance_url = org.tls_url .. "/" })
    assert(mine:limits())
    assert.are.equal("/services/data/v66.0/limits", org:requests()[1].path)
    mine:close()
  end)

  it("says who it is", function()
    assert(client:limits())
    assert.truthy(org:requests()[1].headers.user_agent:find "^bulkjob/%d+%.%d+%.%d+$")
    local mine = helper.client(org, { user_agent = "loader/7" })
    assert(mine:limits())
    assert.are.equal("loader/7", org:requests()[2].headers.user_agent)
    mine:close()
  end)

  it("asks for gzip, or not", function()
    local mine = helper.client(org, { compress = false })
    assert.are.same(assert(client:limits()).DailyBulkApiBatches, assert(mine:limits()).DailyBulkApiBatches)
    assert.are.equal("gzip", org:requests()[1].headers.accept_encoding)
    assert.is_nil(org:requests()[2].headers.accept_encoding)
    mine:close()
  end)

  it("keeps its connection", function()
    for _ = 1, 5 do
      assert(client:limits())
    end
    local requests = org:requests()
    for i = 2, 5 do
      assert.are.equal(requests[1].connection, requests[i].connection)
    end
  end)

  it("never asks before it sends a body", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload(("x"):rep(2000000)))
    for _, request in ipairs(org:requests()) do
      assert.is_nil(request.headers.expect)
    end
  end)

  describe("limits", function()
    local function whole(value)
      assert.are.equal("number", type(value))
      assert.is_nil(tostring(value):find "[^%d]")
      if math.type then
        assert.are.equal("integer", math.type(value))
      end
    end

    it("are what the org has left, as integers", function()
      local before = assert(client:limits())
      for _, name in ipairs { "DailyApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DailyBulkV2QueryFileStorageMB" } do
        whole(before[name].Max)
        whole(before[name].Remaining)
      end
      assert.are.equal(15000, before.DailyBulkApiBatches.Max)
      assert.are.equal(15000, before.DailyBulkApiBatches.Remaining)
      assert(assert(client:create { operation = "query", query = "SELECT Id FROM Account" }):wait())
      assert(assert(client:create { object = "Account", operation = "insert", data = CSV }):wait())
      local after = assert(client:limits())
      assert.are.equal(before.DailyBulkV2QueryJobs.Remaining - 1, after.DailyBulkV2QueryJobs.Remaining)
      assert.are.equal(14999, after.DailyBulkApiBatches.Remaining)
      assert.is_true(after.DailyApiRequests.Remaining < before.DailyApiRequests.Remaining)
    end)

    it("are one GET", function()
      assert(client:limits())
      local requests = org:requests()
      assert.are.equal(1, #requests)
      assert.are.equal("GET", requests[1].method)
      assert.are.equal("/services/data/v66.0/limits", requests[1].path)
      assert.are.equal("application/json", requests[1].headers.accept)
      assert.is_true(requests[1].tls)
    end)

    it("keep what nobody knows yet, to any depth", function()
      org:fault { path = "/limits", status = 200, body = '{"New":{"Max":5.0,"Remaining":4,"By":{"App":{"Max":1}}},"Share":0.5,"Gone":null}' }
      local limits = assert(client:limits())
      whole(limits.New.Max)
      whole(limits.New.By.App.Max)
      assert.are.equal(0.5, limits.Share)
      assert.is_nil(limits.Gone)
    end)

    it("that cannot be had are nil and an error", function()
      org:fault { path = "/limits", status = 403, body = '[{"errorCode":"API_DISABLED_FOR_ORG","message":"no"}]' }
      local limits, err = client:limits()
      assert.is_nil(limits)
      assert.are.equal("API_DISABLED_FOR_ORG", err.code)
      assert.is_nil(err.job_id)
    end)
  end)

  it("tells each request: method, url, status, seconds, sizes, attempt, job", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload(CSV))
    local requests = {}
    for _, event in ipairs(events) do
      if event.type == "request" then
        requests[#requests + 1] = event
      end
    end
    assert.are.equal(2, #requests)
    assert.are.equal("POST", requests[1].method)
    assert.are.equal(200, requests[1].status)
    assert.is_nil(requests[1].error)
    local put = requests[2]
    assert.are.equal("PUT", put.method)
    assert.are.equal(org.tls_url .. "/services/data/v66.0/jobs/ingest/" .. job.id .. "/batches", put.url)
    assert.are.equal(201, put.status)
    assert.are.equal(#CSV, put.sent)
    assert.are.equal(0, put.received)
    assert.are.equal(1, put.attempt)
    assert.are.equal(job.id, put.job_id)
    assert.is_true(put.seconds >= 0 and put.seconds < helper.HANG_SECONDS)
  end)

  it("tells each change of state", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload(CSV))
    assert(job:abort())
    local states = {}
    for _, event in ipairs(events) do
      if event.type == "state" then
        states[#states + 1] = tostring(event.from) .. " to " .. event.to
        assert.are.equal(job.id, event.job_id)
      end
    end
    assert.are.equal("Open to Aborted", states[#states])
    assert.is_true(#states <= 2)
  end)

  it("passes on what on_event raises", function()
    local oops = {}
    local mine = helper.client(org, { on_event = function()
      error(oops)
    end })
    local ok, err = pcall(mine.limits, mine)
    assert.is_false(ok)
    assert.are.equal(oops, err)
    mine:close()
  end)

  it("waits by the loop it was given", function()
    org:fault { method = "GET", path = "/limits", stall = 0.1 } -- or the answer may be there before anybody waits
    local waits = 0
    local mine = helper.client(org, { loop = function(waiting)
      waits = waits + 1
      return bulkjob.loop.block(waiting)
    end })
    assert(mine:limits())
    assert.is_true(waits > 0)
    mine:close()
  end)

  it("that is closed raises for each use, twice closed is fine", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    client:close()
    client:close()
    for _, use in ipairs {
      function()
        client:limits()
      end, function()
        client:create { object = "Account", operation = "insert" }
      end, function()
        client:job(job.id)
      end, function()
        client:jobs()()
      end, function()
        job:info()
      end, function()
        job:upload(CSV)
      end,
    } do
      local ok, err = pcall(use)
      assert.is_false(ok)
      assert.truthy(tostring(err):find("closed", 1, true), tostring(err))
    end
    assert.are.equal("Open", org:job(job.id).state)
    client = helper.client(org)
  end)

  it("two of them do not mix their tokens", function()
    local mine = helper.client(org, { access_token = "00Dxx!dead" })
    assert(client:limits())
    local limits, err = mine:limits()
    assert.is_nil(limits)
    assert.are.equal("auth", err.kind)
    assert(client:limits())
    mine:close()
  end)
end)
