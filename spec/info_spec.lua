local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"
local unpack = table.unpack or unpack -- luacheck: ignore
local UNKNOWN = "7508d00000Kq3XbAAJ" -- a well-formed id of no job
local RULE = "01Q8d000000HvJkEAK"

-- The fields of job info, and when the service sends them (fact sheet 2.1).
local ALWAYS = {
  "id", "operation", "object", "createdById", "createdDate", "systemModstamp", "state", "concurrencyMode", "contentType",
  "apiVersion", "jobType", "lineEnding", "columnDelimiter", "retries", "totalProcessingTime", "apiActiveProcessingTime",
  "apexProcessingTime",
}
local COUNTERS = { "numberRecordsProcessed", "numberRecordsFailed" }

describe("job info", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function create(more)
    return assert(client:create(helper.with({ object = "Account", operation = "insert" }, more)))
  end

  local function closed(text, more)
    local job = create(more)
    assert(job:upload(text or CSV))
    assert(job:close())
    return job
  end

  -- Info once the org has the job in this state.
  local function in_state(job, state)
    while org:job(job.id).state ~= state do
      assert(job:info())
    end
    local info = assert(job:info())
    assert.are.equal(state, info.state)
    assert.are.equal(state, job.state)
    return info
  end

  local function whole(value)
    assert.are.equal("number", type(value))
    assert.is_nil(tostring(value):find("[^%d]"), tostring(value))
    if math.type then
      assert.are.equal("integer", math.type(value))
    end
  end

  -- Has `info` these fields, and no others, each with its type?
  local function has_fields(info, ...)
    local expected = {}
    for _, list in ipairs { ALWAYS, ... } do
      for _, name in ipairs(list) do
        expected[name] = true
      end
    end
    for name in pairs(expected) do
      assert.is_not_nil(info[name], name .. " is missing")
    end
    for name, value in pairs(info) do
      assert.is_true(expected[name], name .. " is too much")
      if name:find "^number" or name:find "Time$" or name == "retries" then
        whole(value)
      else
        assert.are.equal("string", type(value), name)
      end
    end
    assert.are.equal("66.0", info.apiVersion)
    assert.truthy(info.createdDate:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.000%+0000$")
    assert.truthy(info.systemModstamp:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.000%+0000$")
    assert.are.equal("Parallel", info.concurrencyMode)
    assert.are.equal("CSV", info.contentType)
    assert.are.equal("V2Ingest", info.jobType)
  end

  -- What info makes of a body with these members.
  local function typed(members)
    local job = create()
    org:fault { method = "GET", status = 200, body = ('{"id":"%s","state":"Open",%s}'):format(job.id, members) }
    return assert(job:info())
  end

  describe("in the state", function()
    it("Open", function()
      local job = create()
      org:clear_requests()
      local info = assert(job:info())
      assert.are.equal("Open", info.state)
      has_fields(info, { "contentUrl" })
      assert.are.equal(job.id, info.id)
      assert.are.equal("services/data/v66.0/jobs/ingest/" .. job.id .. "/batches", info.contentUrl)
      local requests = org:requests()
      assert.are.equal(1, #requests)
      assert.are.equal("GET", requests[1].method)
      assert.are.equal("/services/data/v66.0/jobs/ingest/" .. job.id, requests[1].path)
      assert.are.equal("application/json", requests[1].headers.accept)
      assert.is_true(requests[1].tls)
    end)

    it("UploadComplete", function()
      org:set { hold = "UploadComplete" }
      local info = in_state(closed(), "UploadComplete")
      has_fields(info, COUNTERS)
      assert.are.equal(0, info.numberRecordsProcessed)
      assert.are.equal(0, info.numberRecordsFailed)
    end)

    it("InProgress", function()
      org:set { hold = "InProgress", hold_rows = 1, slice_rows = 1 }
      local job = closed()
      repeat
        local info = in_state(job, "InProgress")
      until info.numberRecordsProcessed == 1
      has_fields(assert(job:info()), COUNTERS)
    end)

    it("JobComplete", function()
      local info = in_state(closed("Name,Ext__c\nOne,A-1\n,A-2\nThree,A-3\n"), "JobComplete")
      has_fields(info, COUNTERS)
      -- Processed counts the failed ones as well.
      assert.are.equal(3, info.numberRecordsProcessed)
      assert.are.equal(1, info.numberRecordsFailed)
      assert.are.equal(0, info.retries)
    end)

    it("JobComplete, though every row failed", function()
      local info = in_state(closed "Name\n\"\"\n\"\"\n", "JobComplete")
      assert.are.equal(2, info.numberRecordsProcessed)
      assert.are.equal(2, info.numberRecordsFailed)
    end)

    it("Failed", function()
      local info = in_state(closed "No_Such__c\nx\n", "Failed")
      has_fields(info, COUNTERS, { "errorMessage" })
      assert.are.equal("InvalidBatch : InvalidBatch : Field name not found : No_Such__c", info.errorMessage)
    end)

    it("Aborted", function()
      local job = create()
      assert(job:abort())
      has_fields(in_state(job, "Aborted"), COUNTERS)
    end)

    it("any, of an upsert and with an assignment rule", function()
      local job = create { object = "Lead", operation = "upsert", externalIdFieldName = "Ext__c", assignmentRuleId = RULE }
      local info = assert(job:info())
      has_fields(info, { "contentUrl", "externalIdFieldName", "assignmentRuleId" })
      assert.are.equal("Ext__c", info.externalIdFieldName)
      assert.are.equal(RULE, info.assignmentRuleId)
      assert.are.equal("upsert", info.operation)
      assert.are.equal("Lead", info.object)
    end)

    it("none that this version knows: it is kept as it came", function()
      local job = create()
      org:fault { method = "GET", status = 200, body = ('{"id":"%s","state":"Paused"}'):format(job.id) }
      assert.are.equal("Paused", assert(job:info()).state)
      -- The next answer sets it right.
      assert.are.equal("Open", assert(job:info()).state)
      assert.are.equal("Open", job.state)
    end)
  end)

  describe("of query jobs", function()
    it("has the fields of the fact sheet", function()
      assert(client:create { object = "Account", operation = "insert", data = CSV }:wait())
      local job = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      local info = in_state(job, "JobComplete")
      assert.are.equal("query", info.operation)
      assert.are.equal("V2Query", info.jobType)
      assert.are.equal("Account", info.object)
      assert.are.equal("66.0", info.apiVersion)
      assert.are.equal("LF", info.lineEnding)
      assert.are.equal("COMMA", info.columnDelimiter)
      whole(info.numberRecordsProcessed)
      assert.are.equal(2, info.numberRecordsProcessed)
      whole(info.retries)
      whole(info.totalProcessingTime)
      assert.are.equal("boolean", type(info.isPkChunkingSupported))
      assert.is_nil(info.numberRecordsFailed)
      assert.is_nil(info.apexProcessingTime)
      assert.is_nil(info.query)
      assert.is_nil(info.contentUrl)
    end)
  end)

  describe("has the types of the schema, whatever the wire sent:", function()
    for wire, expected in pairs {
      ["66.0"] = "66.0", ["66"] = "66.0", ["61.00"] = "61.0", ['"66.0"'] = "66.0", ["100.0"] = "100.0", ["6.6e1"] = "66.0",
    } do
      it("apiVersion " .. wire .. " is the string " .. expected, function()
        assert.are.equal(expected, typed('"apiVersion":' .. wire).apiVersion)
      end)
    end

    for _, name in ipairs {
      "numberRecordsProcessed", "numberRecordsFailed", "retries", "totalProcessingTime", "apiActiveProcessingTime", "apexProcessingTime",
    } do
      it(name .. " is an integer", function()
        for wire, expected in pairs {
          ["5"] = "5", ["5.0"] = "5", ["5e3"] = "5000", ['"5"'] = "5", ["0"] = "0", ["3000000000"] = "3000000000",
        } do
          local value = typed(('"%s":%s'):format(name, wire))[name]
          whole(value)
          assert.are.equal(expected, tostring(value))
        end
      end)
    end

    it("a counter beyond 32 bits is exact", function()
      local value = typed('"numberRecordsProcessed":9007199254740991').numberRecordsProcessed
      assert.are.equal("9007199254740991", ("%.0f"):format(value))
      if math.type then
        assert.are.equal("integer", math.type(value))
      end
    end)

    it("isPkChunkingSupported is a boolean", function()
      assert.is_false(typed('"isPkChunkingSupported":false').isPkChunkingSupported)
      assert.is_true(typed('"isPkChunkingSupported":true').isPkChunkingSupported)
      assert.is_true(typed('"isPkChunkingSupported":"true"').isPkChunkingSupported)
    end)

    it("null is absent", function()
      local info = typed('"errorMessage":null,"apexProcessingTime":null,"apiVersion":null,"nobodyKnows":null')
      assert.is_nil(info.errorMessage)
      assert.is_nil(info.nobodyKnows)
      for _, value in pairs(info) do
        assert.are_not.equal("userdata", type(value))
      end
    end)

    it("fields that nobody knows yet are kept as they came", function()
      local info = typed('"newText":"a","newFlag":true,"newList":["x","y"],"newTable":{"deep":"z"},"newNumber":1.5')
      assert.are.equal("a", info.newText)
      assert.is_true(info.newFlag)
      assert.are.same({ "x", "y" }, info.newList)
      assert.are.same({ deep = "z" }, info.newTable)
      assert.are.equal(1.5, info.newNumber)
    end)

    it("text keeps its UTF-8 and escapes", function()
      local info = typed [["errorMessage":"a\u00e9 \ud83c\udf89 \"q\" \n é"]]
      assert.are.equal('aé 🎉 "q" \n é', info.errorMessage)
    end)

    it("half a character is the replacement character, and the rest is read", function()
      local info = typed [["errorMessage":"a\ud83c, \udf89, \\ud83c \ud83c\udf89","\ud800":"\ud83c\ud83c\udf89"]]
      assert.are.equal("a�, �, \\ud83c 🎉", info.errorMessage)
      assert.are.equal("�🎉", info["�"])
    end)

    it("spaces and line breaks in the body do not matter", function()
      local job = create()
      org:fault { method = "GET", status = 200, body = ('\n{\n  "id" : "%s",\n  "state" : "Open" ,\n "apiVersion" : 66.0\n}\n'):format(job.id) }
      assert.are.equal("66.0", assert(job:info()).apiVersion)
    end)
  end)

  it("is fresh each time: what a program writes in it is its own", function()
    local job = create()
    local info = assert(job:info())
    info.state = "Nonsense"
    info.mine = true
    assert.are.equal("Open", job.state)
    local again = assert(job:info())
    assert.are.equal("Open", again.state)
    assert.is_nil(again.mine)
  end)

  it("follows what others do with the job", function()
    local job = create()
    assert(client:job(job.id):abort())
    assert.are.equal("Open", job.state)
    assert.are.equal("Aborted", assert(job:info()).state)
    assert.are.equal("Aborted", job.state)
  end)

  it("comes over plain HTTP to this machine, and not packed, too", function()
    local job = create()
    local plain = helper.client(org, { instance_url = org.url, compress = false })
    org:clear_requests()
    has_fields(assert(plain:job(job.id, "ingest"):info()), { "contentUrl" })
    local request = org:requests()[1]
    assert.is_false(request.tls)
    assert.is_nil(request.headers.accept_encoding)
    plain:close()
  end)

  it("of an unknown job is NOT_FOUND", function()
    local info, err = client:job(UNKNOWN, "ingest"):info()
    assert.is_nil(info)
    assert.are.equal("api", err.kind)
    assert.are.equal("NOT_FOUND", err.code)
    assert.are.equal(404, err.status)
    assert.are.equal(UNKNOWN, err.job_id)
  end)

  describe("through a handle made from an id", function()
    it("makes no request before the first call", function()
      local id = create().id
      org:clear_requests()
      local job = client:job(id)
      assert.are.equal(id, job.id)
      assert.is_nil(job.kind)
      assert.is_nil(job.state)
      assert.truthy(tostring(job):find(id, 1, true))
      assert.are.equal(0, #org:requests())
    end)

    it("of an ingest job takes one request, with or without the kind", function()
      local id = create().id
      for _, kind in ipairs { "ingest", false } do
        org:clear_requests()
        local job = client:job(id, kind or nil)
        assert.are.equal("Open", assert(job:info()).state)
        assert.are.equal("ingest", job.kind)
        assert.are.equal("Open", job.state)
        assert.are.equal(1, #org:requests())
      end
    end)

    it("of a query job takes two requests without the kind, and one later", function()
      local id = assert(client:create { operation = "query", query = "SELECT Id FROM Account" }).id
      org:clear_requests()
      local job = client:job(id)
      assert.are.equal("query", assert(job:info()).operation)
      assert.are.equal("query", job.kind)
      assert.are.equal(2, #org:requests())
      assert(job:info())
      assert.are.equal(3, #org:requests())
    end)

    it("finds the kind for the other verbs too", function()
      local id = create().id
      assert.are.equal("Aborted", assert(client:job(id):abort()).state)
      assert.is_true(assert(client:job(id):delete()))
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      assert.are.equal("JobComplete", assert(client:job(query.id):wait()).state)
      assert.are.equal('"Id"\n', assert(client:job(query.id):results():read()))
      assert.is_true(assert(client:job(query.id):delete()))
    end)

    it("of no job is NOT_FOUND, and the kind stays unknown", function()
      local job = client:job(UNKNOWN)
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal("NOT_FOUND", err.code)
      assert.are.equal(UNKNOWN, err.job_id)
      assert.is_nil(job.kind)
      assert.are.equal(2, #org:requests())
    end)

    it("of a query job serves several tasks at once, before anybody knows the kind", function()
      local id = assert(client:create { operation = "query", query = "SELECT Id FROM Account" }).id
      org:fault { method = "GET", path = "/jobs/ingest/", stall = 0.3, count = -1 }
      local job, answers = client:job(id), {}
      for _, name in ipairs { "info", "wait", "pages" } do
        client:spawn(function()
          answers[name] = { job[name](job) }
        end)
      end
      client:spawn(function()
        answers.results = { job:results():read() }
      end)
      assert(client:run())
      assert.are.equal(id, assert(unpack(answers.info)).id)
      assert.are.equal("JobComplete", assert(unpack(answers.wait)).state)
      assert(unpack(answers.pages))
      assert.are.equal('"Id"\n', assert(unpack(answers.results)))
      assert.are.equal("query", job.kind)
    end)

    it("says why it does not know the kind when the second look fails", function()
      local id = assert(client:create { operation = "query", query = "SELECT Id FROM Account" }).id
      org:fault { method = "GET", path = "/jobs/query/", status = 503, count = -1 }
      local job = client:job(id)
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal(503, err.status)
      assert.is_nil(job.kind)
    end)

    it("that finds the service down does not guess the kind", function()
      local id = create().id
      org:fault { method = "GET", status = 503, count = -1 }
      local job = client:job(id)
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal(503, err.status)
      assert.is_nil(job.kind)
      org:clear_faults()
      assert.are.equal("Open", assert(job:info()).state)
    end)

    it("with 15 characters is the same job", function()
      local id = create().id
      assert.are.equal(id, assert(client:job(id:sub(1, 15)):info()).id)
    end)

    it("of the wrong kind is NOT_FOUND", function()
      local info, err = client:job(create().id, "query"):info()
      assert.is_nil(info)
      assert.are.equal("NOT_FOUND", err.code)
    end)

    for name, id in pairs {
      ["nothing"] = "", ["too short"] = "7508d0000", ["16 characters"] = "7508d00000Kq3XbA", ["too long"] = "7508d00000Kq3XbAAJx",
      ["a path"] = "../../limits/xxxxx", ["a slash"] = "7508d00000Kq3Xb/AJ", ["a space"] = "7508d00000Kq3Xb AJ",
      ["a line break"] = "7508d00000Kq3XbA\r\n", ["a NUL"] = "7508d00000Kq3XbAA\0", ["a letter beyond ASCII"] = "7508d00000Kq3XbAé",
      ["a table"] = {}, ["a boolean"] = true,
    } do
      it("raises for an id that is " .. name, function()
        assert.has_error(function()
          client:job(id)
        end)
        assert.are.equal(0, #org:requests())
      end)
    end

    it("raises for no id and for an unknown kind", function()
      assert.has_error(function()
        client:job()
      end)
      assert.has_error(function()
        client:job(UNKNOWN, "Ingest")
      end)
      assert.has_error(function()
        client:job(UNKNOWN, 1)
      end)
    end)
  end)
end)
