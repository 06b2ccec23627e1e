local bulkjob = require "bulkjob"
local helper = require "spec.helper"

local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"
local UNKNOWN = "7508d00000Kq3XbAAJ" -- a well-formed id of no job

local function json_error(code, message)
  return ('[{"errorCode":"%s","message":"%s"}]'):format(code, message)
end

local DEAD = json_error("INVALID_SESSION_ID", "Session expired or invalid")

describe("errors", function()
  local org, client, events
  helper.scene(helper.AT_ONCE, function(...)
    org, client, events = ...
  end)

  local function open_job(by)
    local job = assert((by or client):create { object = "Account", operation = "insert" })
    org:clear_requests()
    return job
  end

  -- The error of a look at a job while the fault is there for good.
  local function look(fault)
    local job = open_job()
    fault.method = fault.method or "GET"
    fault.count = -1
    org:fault(fault)
    local info, err = job:info()
    assert.is_nil(info)
    assert.is_true(bulkjob.is_error(err))
    return err, job
  end

  local function one_line(err)
    local text = tostring(err)
    assert.is_nil(text:find "[%c]")
    return text
  end

  -- Looks for `secret` in all that a table shows.
  local function shows(value, secret, seen)
    seen = seen or {}
    if type(value) ~= "table" then
      return type(value) == "string" and value:find(secret, 1, true) ~= nil
    elseif seen[value] then
      return false
    end
    seen[value] = true
    for key, item in pairs(value) do
      if shows(key, secret, seen) or shows(item, secret, seen) then
        return true
      end
    end
    return tostring(value):find(secret, 1, true) ~= nil
  end

  describe("of the service", function()
    for _, case in ipairs {
      { "a JSON array", json_error("INVALIDJOBSTATE", "no, not now"), "INVALIDJOBSTATE", "no, not now" },
      { "a JSON array with fields", '[{"errorCode":"INVALID_FIELD","message":"no such column","fields":["Foo"]}]', "INVALID_FIELD",
        "no such column" },
      { "a JSON array of two", '[{"errorCode":"FIRST","message":"one"},{"errorCode":"SECOND","message":"two"}]', "FIRST", "one" },
      { "a JSON array that is pretty", '\n[ {\n  "errorCode" : "API_ERROR",\n  "message" : "spaced"\n} ]\n', "API_ERROR", "spaced" },
      { "a bare JSON object", '{"message":"not here","errorCode":"NOT_FOUND"}', "NOT_FOUND", "not here" },
      { "OAuth's object", '{"error":"invalid_grant","error_description":"authentication failure"}', "invalid_grant",
        "authentication failure" },
      { "REST XML", '<?xml version="1.0" encoding="UTF-8"?><Errors><Error><errorCode>API_ERROR</errorCode>'
        .. "<message>spoilt</message></Error></Errors>", "API_ERROR", "spoilt" },
      { "Bulk 1.0 XML", '<?xml version="1.0" encoding="UTF-8"?><error xmlns="http://www.force.com/2009/06/asyncapi/dataload">'
        .. "<exceptionCode>InvalidJob</exceptionCode><exceptionMessage>Unable to parse Job</exceptionMessage></error>", "InvalidJob",
        "Unable to parse Job" },
    } do
      it("come as " .. case[1], function()
        local err, job = look { status = 400, body = case[2] }
        assert.are.equal("api", err.kind)
        assert.are.equal(case[3], err.code)
        assert.are.equal(case[4], err.message)
        assert.are.equal(400, err.status)
        assert.are.equal("GET", err.method)
        assert.are.equal(org.tls_url .. "/services/data/v66.0/jobs/ingest/" .. job.id, err.url)
        assert.are.equal(job.id, err.job_id)
        assert.are.equal(1, err.attempts)
        assert.is_nil(err.also)
        assert.is_nil(err.retry_after)
        assert.are.equal(1, #org:requests())
        local text = one_line(err)
        for _, piece in ipairs { "api", case[3], case[4], "GET", "400", job.id } do
          assert.truthy(text:find(piece, 1, true), text)
        end
      end)
    end

    it("come as HTML of the web server: its words, without the tags", function()
      local err = look { status = 431, body = "<h1>Bad Message 431</h1><pre>reason: Request Header Fields Too Large</pre>" }
      assert.are.equal("api", err.kind)
      assert.is_nil(err.code)
      assert.are.equal("Bad Message 431 reason: Request Header Fields Too Large", err.message)
      assert.are.equal(431, err.status)
      one_line(err)
    end)

    it("come as a long page of a proxy: bounded, without its scripts", function()
      local err = look { status = 403, body = "<html><head><title>Blocked</title><script>var secret = 1;</script>\n<style>p { x: y }</style>"
        .. "</head><body>\n<p>By the\nproxy.</p>" .. ("<p>More words.</p>\n"):rep(5000) .. "</body></html>" }
      assert.are.equal("api", err.kind)
      assert.are.equal(403, err.status)
      assert.truthy(err.message:find("^Blocked By the proxy%. More words%."))
      assert.is_nil(err.message:find("secret", 1, true))
      assert.is_true(#err.message < 1000)
      assert.is_true(#one_line(err) < 1500)
    end)

    it("come as XML with escapes", function()
      local err = look { status = 400,
        body = "<Errors><Error><errorCode>API_ERROR</errorCode><message>a &lt; b &amp; c</message></Error></Errors>" }
      assert.are.equal("a < b & c", err.message)
    end)

    it("come as plain text", function()
      local err = look { status = 403, body = "go away", headers = { ["Content-Type"] = "text/plain" } }
      assert.are.equal("go away", err.message)
      assert.is_nil(err.code)
    end)

    for name, body in pairs {
      ["nothing"] = "", ["white space"] = " \n", ["an empty array"] = "[]", ["an empty object"] = "{}", ["half a JSON text"] = '[{"errorCo',
      ["a number"] = "42", ["an array of numbers"] = "[1,2]", ["fields of other types"] = '[{"errorCode":42,"message":{"a":1}}]',
      ["nulls"] = '[{"errorCode":null,"message":null}]',
    } do
      it("come as " .. name, function()
        local err = look { status = 400, body = body }
        assert.are.equal("api", err.kind)
        assert.are.equal(400, err.status)
        assert.are.equal("string", type(err.message))
        assert.is_true(#err.message > 0)
        assert.is_true(err.code == nil or type(err.code) == "string")
        assert.truthy(one_line(err):find("400", 1, true))
      end)
    end

    it("are read with half a character in them, also where they were cut", function()
      local err = look { status = 400, body = json_error("MALFORMED_QUERY", [[unexpected token: \ud83c]]) }
      assert.are.equal("MALFORMED_QUERY", err.code)
      assert.are.equal("unexpected token: �", err.message)
      -- An error is read to 64 KiB: they end in each place of these escapes.
      for last = 1, 12 do
        local body = json_error("MALFORMED_QUERY", ("x"):rep(64 * 1024 - 42 - last) .. [[\ud83c\udf89]] .. ("y"):rep(100))
        err = look { status = 400, body = body }
        assert.are.equal("MALFORMED_QUERY", err.code)
      end
    end)

    it("print on one line, whatever is in them", function()
      local err = look { status = 400, body = [=[[{"errorCode":"A\nB","message":"line one\r\nline two\ttab \u0000 nul \u001b[31m red é"}]]=] }
      local text = one_line(err)
      assert.truthy(text:find("line one", 1, true))
      assert.truthy(text:find("line two", 1, true))
      assert.truthy(text:find("é", 1, true))
    end)

    it("have whole numbers for status and attempts", function()
      local err = look { status = 400, body = "[]" }
      assert.are.equal("400", tostring(err.status))
      assert.are.equal("1", tostring(err.attempts))
    end)

    it("can be joined to a text", function()
      local err = look { status = 400, body = json_error("API_ERROR", "no") }
      assert.are.equal("failed: " .. tostring(err) .. "!", "failed: " .. err .. "!")
    end)
  end)

  describe("by the fact sheet's table", function()
    for _, case in ipairs {
      { 400, "INVALIDJOBSTATE", "Aborting already Completed Job not allowed", "api" },
      { 400, "INVALIDJOB", "InvalidJob : Unable to parse Job", "api" },
      { 400, "INVALIDENTITY", "Entity 'Tag' is not supported by the Bulk API.", "api" },
      { 400, "INVALIDOPERATION", "not an operation", "api" },
      { 400, "INVALIDVALUE", "not a value", "api" },
      { 400, "INVALIDUSER", "the job belongs to someone else", "api" },
      { 400, "INVALID_FIELD", "No such column 'Foo' on entity 'Account'", "api" },
      { 400, "API_ERROR", "Error encountered when deleting the job because the job is not terminated", "api" },
      { 400, "LIMIT_EXCEEDED", "Max bulk v2 query jobs (10000) per 24 hrs has been reached (10021)", "api" },
      { 400, "EXCEEDEDQUOTA", "ExceededQuota : too many batches", "api" },
      { 400, "FEATURENOTENABLED", "the Bulk API is off", "api" },
      { 400, "FUNCTIONALITY_NOT_ENABLED", "Selecting compound data not supported in Bulk Query", "api" },
      { 400, "CLIENTINPUTERROR", "Found multiple contents for job: <750>", "api" },
      { 400, "MALFORMED_QUERY", "unexpected token", "api" },
      { 400, "MALFORMED_ID", "malformed id 001", "api" },
      { 400, "JSON_PARSER_ERROR", "Unexpected character", "api" },
      { 401, "INVALID_SESSION_ID", "Session expired or invalid", "auth" },
      { 401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", "auth" },
      { 400, "INVALIDSESSIONID", "Invalid session id", "auth" },
      { 403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", "api" },
      { 403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", "api" },
      { 403, "API_DISABLED_FOR_ORG", "API is not enabled for this Organization or Partner", "api" },
      { 403, "INSUFFICIENT_ACCESS", "insufficient access rights", "api" },
      { 404, "NOT_FOUND", "The requested resource does not exist", "api" },
      { 405, "METHOD_NOT_ALLOWED", "HTTP Method 'GET' not allowed. Allowed are PUT", "api" },
      { 406, "NOT_ACCEPTABLE", "no such form", "api" },
      { 409, "API_VERSION_MISMATCH", "made with another version", "api" },
      { 410, "GONE", "API version v30.0 is retired", "api" },
      { 415, "UNSUPPORTED_MEDIA_TYPE", "wrong Content-Type", "api" },
    } do
      it(("%d %s (%s…) is kind %s, not tried again"):format(case[1], case[2], case[3]:sub(1, 12), case[4]), function()
        local err, job = look { status = case[1], body = json_error(case[2], case[3]) }
        assert.are.equal(case[4], err.kind)
        assert.are.equal(case[1], err.status)
        assert.are.equal(case[2], err.code)
        assert.are.equal(case[3], err.message)
        assert.are.equal(job.id, err.job_id)
        assert.are.equal(1, err.attempts)
        assert.are.equal(1, #org:requests())
        assert.are.equal(0, helper.count(events, "retry"))
      end)
    end

    for _, case in ipairs {
      { 408, "" }, { 420, "" }, { 429, "slow down" }, { 500, json_error("UNKNOWN_EXCEPTION", "ErrorId: 1-2 (3)") }, { 502, "<h1>Bad gateway</h1>" },
      { 503, json_error("SERVER_UNAVAILABLE", "maintenance") }, { 504, "" },
    } do
      it(case[1] .. " is tried as often as is allowed, then kind api", function()
        local err = look { status = case[1], body = case[2] }
        assert.are.equal("api", err.kind)
        assert.are.equal(case[1], err.status)
        assert.are.equal(4, err.attempts)
        assert.are.equal(4, #org:requests())
        assert.are.equal(3, helper.count(events, "retry"))
      end)
    end

    it("a URI over 16,384 bytes is refused with HTML", function()
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      assert(query:wait())
      local text, err = query:results({ locator = ("x"):rep(20000) }):read()
      assert.is_nil(text)
      assert.are.equal("api", err.kind)
      assert.truthy(err.status == 414 or err.status == 431)
      assert.is_nil(err.code)
      assert.is_nil(err.message:find("[<>]"))
      one_line(err)
    end)

    it("an unknown job is NOT_FOUND for each verb", function()
      local job = client:job(UNKNOWN, "ingest")
      for _, verb in ipairs { "info", "close", "abort", "delete", "wait" } do
        local good, err = job[verb](job)
        assert.is_nil(good)
        assert.are.equal("api", err.kind)
        assert.are.equal(404, err.status)
        assert.are.equal("NOT_FOUND", err.code)
        assert.are.equal("The requested resource does not exist", err.message)
        assert.are.equal(UNKNOWN, err.job_id)
      end
    end)

    it("an id of something else is MALFORMED_ID", function()
      local info, err = client:job("0058d000003TnWrAAK", "ingest"):info()
      assert.is_nil(info)
      assert.are.equal(400, err.status)
      assert.are.equal("MALFORMED_ID", err.code)
    end)
  end)

  describe("of an answer that is not what was asked for", function()
    local function list_json()
      return '{"done":true,"nextRecordsUrl":null,"records":[]}'
    end

    for name, fault in pairs {
      ["a page for people"] = { status = 200, body = "<!DOCTYPE html><html><body>Please sign in</body></html>" },
      ["nothing"] = { status = 200, body = "" },
      ["204 and nothing"] = { status = 204 },
      ["half a JSON text"] = { status = 200, body = '{"id":"' .. UNKNOWN .. '","state":"Op' },
      ["a list"] = { status = 200, body = list_json() },
      ["another job"] = { status = 200, body = ('{"id":"%s","state":"Open","apiVersion":66.0}'):format(UNKNOWN) },
      ["no state"] = { status = 200, body = ('{"id":"%s"}'):format(UNKNOWN) },
      ["a text"] = { status = 200, body = '"hello"', headers = { ["Content-Type"] = "application/json" } },
      ["null"] = { status = 200, body = "null", headers = { ["Content-Type"] = "application/json" } },
      ["an empty array"] = { status = 200, body = "[]" },
    } do
      it("info of " .. name .. " is kind protocol", function()
        local err, job = look(fault)
        assert.are.equal("protocol", err.kind)
        assert.are.equal(fault.status, err.status)
        assert.are.equal(job.id, err.job_id)
        assert.are.equal("Open", job.state)
        one_line(err)
      end)
    end

    for name, fault in pairs {
      ["a page for people"] = { status = 200, body = "<html><body>Please sign in</body></html>" },
      ["nothing"] = { status = 200, body = "" },
      ["half a JSON text"] = { status = 200, body = '{"id":"' .. UNKNOWN .. '","state":"Op' },
      ["a list"] = { status = 200, body = list_json() },
    } do
      it("create that gives " .. name .. " is kind protocol, and leaves no job", function()
        fault.method, fault.count = "POST", -1
        org:fault(fault)
        local job, err = client:create { object = "Account", operation = "insert" }
        assert.is_nil(job)
        assert.are.equal("protocol", err.kind)
        assert.are.equal("POST", err.method)
        assert.are.equal(200, err.status)
        assert.is_nil(err.job_id)
        assert.are.same({}, helper.states(org))
      end)
    end

    it("says in its words what came", function()
      local err = look { status = 200, body = "<html><body>Please sign in</body></html>" }
      assert.truthy(err.message:find("Please sign in", 1, true))
    end)

    it("an error array in a 200 is the error it says", function()
      local err = look { status = 200, body = json_error("API_ERROR", "not quite") }
      assert.are.equal("api", err.kind)
      assert.are.equal("API_ERROR", err.code)
      assert.are.equal("not quite", err.message)
    end)

    it("a 15-character id in the answer is the same job", function()
      local job = open_job()
      org:fault { method = "GET", status = 200, body = ('{"id":"%s","state":"Open"}'):format(job.id:sub(1, 15)) }
      assert.are.equal("Open", assert(job:info()).state)
    end)

    it("an upload answered by a page for people was none", function()
      local job = open_job()
      org:fault { method = "PUT", status = 200, body = "<html><body>Please sign in</body></html>", count = -1 }
      local ok, err = job:upload(CSV)
      assert.is_nil(ok)
      assert.are.equal("protocol", err.kind)
      assert.are.equal(0, org:job(job.id).uploads)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    it("a delete answered by a page for people was none", function()
      local job = open_job()
      assert(job:abort())
      org:fault { method = "DELETE", status = 200, body = "<html><body>Please sign in</body></html>", count = -1 }
      local ok, err = job:delete()
      assert.is_nil(ok)
      assert.are.equal("protocol", err.kind)
      assert.are.equal("Aborted", org:job(job.id).state)
    end)

    it("limits answered by a page for people", function()
      org:fault { path = "/limits", status = 200, body = "<html></html>", count = -1 }
      local limits, err = client:limits()
      assert.is_nil(limits)
      assert.are.equal("protocol", err.kind)
    end)
  end)

  describe("of a redirect", function()
    for _, status in ipairs { 301, 302, 303, 307, 308 } do
      it(status .. " is not followed", function()
        org:fault { method = "POST", status = status, count = -1,
          headers = { Location = org.tls_url .. "/services/data/v66.0/jobs/ingest" } }
        local job, err = client:create { object = "Account", operation = "insert" }
        assert.is_nil(job)
        assert.are.equal("api", err.kind)
        assert.are.equal(status, err.status)
        assert.truthy(err.message:find("/services/data/v66.0/jobs/ingest", 1, true))
        assert.are.equal(1, err.attempts)
        assert.are.equal(1, #org:requests())
      end)
    end

    it("says where to, also when a page comes with it", function()
      local err = look { status = 302, body = "<html><title>Moved</title></html>", headers = { Location = "https://elsewhere.example/x" } }
      assert.are.equal("redirected to https://elsewhere.example/x, which is not followed: is the URL of the org right?", err.message)
    end)

    it("says nothing of a redirection when it is none", function()
      assert.are.equal("refused without any explanation", look({ status = 304, body = "" }).message)
    end)

    it("without Location is an error too", function()
      local err = look { status = 302 }
      assert.are.equal(302, err.status)
      assert.are.equal(1, #org:requests())
    end)
  end)

  describe("never show the token", function()
    local function clean(err)
      assert.is_false(shows(err, org.token))
      assert.is_false(shows(events, org.token))
      -- Nor most of it.
      assert.is_false(shows(err, org.token:sub(1, 40)))
      assert.is_false(shows(err, org.token:sub(-40)))
      assert.is_false(shows(events, org.token:sub(1, 40)))
    end

    for name, make in pairs {
      ["in the message of a JSON error"] = function(token)
        return { status = 400, body = json_error("API_ERROR", "bad header: Bearer " .. token) }
      end,
      ["in the code of a JSON error"] = function(token)
        return { status = 400, body = json_error(token, "bad") }
      end,
      ["in OAuth's object"] = function(token)
        return { status = 400, body = ('{"error":"invalid_grant","error_description":"%s"}'):format(token) }
      end,
      ["in XML"] = function(token)
        return { status = 400, body = "<Errors><Error><errorCode>" .. token .. "</errorCode><message>" .. token .. "</message></Error></Errors>" }
      end,
      ["in HTML"] = function(token)
        return { status = 400, body = "<html><pre>Authorization: Bearer " .. token .. "</pre></html>" }
      end,
      ["in HTML, at the place where it is cut off"] = function(token)
        return { status = 400, body = "<pre>" .. ("x"):rep(350) .. " " .. token .. "</pre>" }
      end,
      ["in HTML, twice"] = function(token)
        return { status = 400, body = token .. " " .. token }
      end,
      ["in a page that comes with 200"] = function(token)
        return { status = 200, body = "<pre>Authorization: Bearer " .. token .. "</pre>" }
      end,
      ["in a page that comes with 200, where it is cut off"] = function(token)
        return { status = 200, body = "<pre>" .. ("x"):rep(340) .. " " .. token .. "</pre>" }
      end,
      ["in an error array that comes with 200"] = function(token)
        return { status = 200, body = json_error("X", token) }
      end,
      ["in a redirect"] = function(token)
        return { status = 302, headers = { Location = "https://elsewhere.example/?sid=" .. token } }
      end,
      ["in a redirect, where it is cut off"] = function(token)
        return { status = 302, headers = { Location = "https://elsewhere.example/?" .. ("x"):rep(130) .. token } }
      end,
      ["in a redirect, escaped for a URL"] = function(token)
        return { status = 302, headers = { Location = "https://elsewhere.example/secur/frontdoor.jsp?sid=" .. token:gsub("!", "%%21") } }
      end,
      ["in the message of a JSON error, with a JSON escape"] = function(token)
        return { status = 400, body = json_error("API_ERROR", "bad: " .. token:gsub("!", "\\u0021")) }
      end,
      ["in HTML, with an entity"] = function(token)
        return { status = 400, body = "<pre>" .. token:gsub("!", "&#33;") .. "</pre>" }
      end,
      ["in a 401"] = function(token)
        return { status = 401, body = json_error("INVALID_SESSION_ID", "dead: " .. token) }
      end,
    } do
      it(name, function()
        local err = look(make(org.token))
        clean(err)
        clean(tostring(err))
      end)
    end

    it("in the Content-Type of results", function()
      local job = assert(client:create { object = "Account", operation = "insert", data = CSV })
      assert(job:wait())
      org:fault { path = "failedResults", status = 200, body = "x", headers = { ["Content-Type"] = "text/html; x=" .. org.token }, count = -1 }
      local text, err = job:failed_results():read()
      assert.is_nil(text)
      clean(err)
    end)

    it("in the errorMessage of a job that an abort met", function()
      local job = open_job()
      assert(job:upload(CSV))
      org:fault { method = "PATCH", reset = "before" }
      org:fault { method = "GET", status = 200, count = -1,
        body = ('{"id":"%s","state":"Failed","errorMessage":"%s"}'):format(job.id, org.token) }
      local info, err = job:abort()
      assert.is_nil(info)
      assert.are.equal("Failed", err.state)
      clean(err)
    end)

    it("in an error of the network", function()
      local job = open_job()
      org:fault { method = "GET", reset = "after", count = -1 }
      local _, err = job:info()
      clean(err)
    end)

    it("in what was thrown away: a retry that worked", function()
      local job = open_job()
      org:fault { method = "GET", status = 503, body = "<pre>" .. org.token .. "</pre>" }
      assert(job:info())
      assert.are.equal(1, helper.count(events, "retry"))
      assert.is_false(shows(events, org.token))
    end)

    it("in events of good requests", function()
      local job = open_job()
      assert(job:upload(CSV))
      assert(job:close())
      assert.is_true(#events > 3)
      assert.is_false(shows(events, org.token))
    end)
  end)

  describe("of a dead token", function()
    it("is kind auth, after one request", function()
      local job = open_job()
      org:kill_token()
      local info, err = job:info()
      org:new_token()
      assert.is_nil(info)
      assert.are.equal("auth", err.kind)
      assert.are.equal("INVALID_SESSION_ID", err.code)
      assert.are.equal("Session expired or invalid", err.message)
      assert.are.equal(401, err.status)
      assert.are.equal("GET", err.method)
      assert.are.equal(job.id, err.job_id)
      assert.are.equal(1, err.attempts)
      assert.are.equal(1, #org:requests())
    end)

    -- A client that asks for its token, and how often it did.
    local function renewing(more)
      local asked = { count = 0 }
      local options = { auth = function()
        asked.count = asked.count + 1
        return org.token
      end }
      for key, value in pairs(more or {}) do
        options[key] = value
      end
      local renewer = bulkjob.client {
        instance_url = org.tls_url, ca_file = org.ca_file, retry = { tries = 4, base = 0.01, cap = 0.05 }, timeout = helper.HANG_SECONDS,
        auth = options.auth, on_event = helper.recorder(events),
      }
      return renewer, asked
    end

    it("is renewed once, and the request sent again", function()
      local mine, asked = renewing()
      local job = open_job(mine)
      assert.are.equal(1, asked.count)
      org:new_token()
      assert.are.equal("Open", assert(job:info()).state)
      assert.are.equal(2, asked.count)
      assert.are.equal(2, #org:requests())
      assert(job:info())
      assert.are.equal(2, asked.count)
      mine:close()
    end)

    local big = "Name\n" .. ("0123456789abcde\n"):rep(100000)
    for name, source in pairs {
      ["text"] = function()
        return big
      end,
      ["a file"] = function()
        return { file = helper.file(big) }
      end,
      ["rows"] = function()
        local rows = {}
        for i = 1, 100000 do
          rows[i] = { Name = "0123456789abcde" }
        end
        return { rows = rows }
      end,
      ["a function"] = function()
        local at = 1
        return function()
          local piece = big:sub(at, at + 9999)
          at = at + 10000
          return piece ~= "" and piece or nil
        end
      end,
    } do
      it("is renewed in an upload from " .. name .. ", and the whole body sent again", function()
        local mine, asked = renewing()
        local job = open_job(mine)
        org:new_token()
        assert.is_true(assert(job:upload(source())))
        assert.are.equal(2, asked.count)
        assert.are.equal(2, #org:requests { method = "PUT" })
        assert.are.equal(1, org:job(job.id).uploads)
        assert.are.equal(#big, org:job(job.id).bytes)
        mine:close()
      end)
    end

    it("ends an upload from a function that has given much, which says why and leaves nothing open", function()
      local mine = renewing()
      local job = open_job(mine)
      org:fault { method = "PUT", status = 401, body = DEAD } -- behind the whole body
      local n = 0
      local ok, err = job:upload(function()
        n = n + 1
        return n <= 40 and ("0123456789abcde\n"):rep(10000) or nil
      end)
      assert.is_nil(ok)
      assert.are.equal("auth", err.kind)
      assert.are.equal(401, err.status)
      assert.truthy(tostring(err):find("cannot be read again", 1, true))
      assert.are.equal("Aborted", org:job(job.id).state)
      mine:close()
    end)

    it("is renewed in each of create, close, results and list", function()
      local mine, asked = renewing()
      org:new_token()
      local job = assert(mine:create { object = "Account", operation = "insert" })
      assert(job:upload(CSV))
      org:new_token()
      assert.are.equal("UploadComplete", assert(job:close()).state)
      assert(job:wait())
      org:new_token()
      assert.truthy(assert(job:successful_results():read()):find("A-2", 1, true))
      org:new_token()
      local rows = 0
      for _ in job:successful_results() do
        rows = rows + 1
      end
      assert.are.equal(2, rows)
      org:new_token()
      local jobs = 0
      for _ in mine:jobs() do
        jobs = jobs + 1
      end
      assert.are.equal(1, jobs)
      assert.are.equal(5, asked.count)
      mine:close()
    end)

    it("that stays dead is renewed only once", function()
      local mine, asked = renewing()
      local job = open_job(mine)
      org:fault { method = "GET", status = 401, body = DEAD, count = -1 }
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal("auth", err.kind)
      assert.are.equal("INVALID_SESSION_ID", err.code)
      assert.are.equal(2, asked.count)
      assert.are.equal(2, #org:requests())
      assert.are.equal(2, err.attempts)
      mine:close()
    end)

    it("in the spelling of Bulk 2.0, with 400, is renewed too", function()
      local mine, asked = renewing()
      local job = open_job(mine)
      org:fault { method = "GET", status = 400, body = json_error("INVALIDSESSIONID", "Invalid session id") }
      assert.are.equal("Open", assert(job:info()).state)
      assert.are.equal(2, asked.count)
      mine:close()
    end)

    for _, text in ipairs {
      "This session is not valid for use with the REST API", "Connected app is not attached to Agent",
    } do
      it("with \"" .. text .. "\" is hopeless: no new token", function()
        local mine, asked = renewing()
        local job = open_job(mine)
        org:fault { method = "GET", status = 401, body = json_error("INVALID_SESSION_ID", text), count = -1 }
        local info, err = job:info()
        assert.is_nil(info)
        assert.are.equal("auth", err.kind)
        assert.are.equal(text, err.message)
        assert.are.equal(1, asked.count)
        assert.are.equal(1, #org:requests())
        assert.are.equal(1, err.attempts)
        mine:close()
      end)
    end

    it("with INVALID_AUTH_HEADER is hopeless: the header could not be read", function()
      local asked = 0
      org:fault { method = "POST", status = 401, effect = false, body = '[{"errorCode":"INVALID_AUTH_HEADER","message":"no"}]' }
      local mine = helper.client(org, { auth = function()
        asked = asked + 1
        return org.token
      end })
      local job, err = mine:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("auth", err.kind)
      assert.are.equal("INVALID_AUTH_HEADER", err.code)
      assert.are.equal(401, err.status)
      assert.are.equal(0, asked)
      assert.are.equal(1, #org:requests())
      mine:close()
    end)

    it("and an auth that fails: kind auth, with its words, no request", function()
      local mine = helper.client(org, { auth = function()
        return nil, "the vault is shut"
      end })
      org:kill_token()
      local job, err = mine:create { object = "Account", operation = "insert" }
      org:new_token()
      assert.is_nil(job)
      assert.are.equal("auth", err.kind)
      assert.truthy(err.message:find("the vault is shut", 1, true))
      assert.are.equal(1, #org:requests())
      mine:close()
    end)

    it("beside a source that says where the org is waits for that", function()
      local mine = bulkjob.client {
        ca_file = org.ca_file, access_token = org.token, auth = function()
          return org.token, org.tls_url
        end,
      }
      assert(mine:limits())
      mine:close()
    end)

    it("may come with another instance URL", function()
      local mine = bulkjob.client {
        ca_file = org.ca_file, auth = function()
          return org.token, org.tls_url
        end,
      }
      assert.are.equal("Open", assert(mine:create { object = "Account", operation = "insert" }).state)
      assert.are.equal(1, #org:requests())
      mine:close()
    end)
  end)

  describe("of TLS", function()
    local function tls_client(options)
      options.instance_url = options.instance_url or org.tls_url
      options.access_token = org.token
      options.retry = { tries = 4, base = 0.01, cap = 0.05 }
      options.on_event = helper.recorder(events)
      return bulkjob.client(options)
    end

    it("an unknown authority: kind network, not tried again, nothing sent", function()
      local mine = tls_client {}
      local job, err = mine:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("network", err.kind)
      assert.are.equal("CURLE_PEER_FAILED_VERIFICATION", err.code)
      assert.is_nil(err.status)
      assert.are.equal("POST", err.method)
      assert.are.equal(1, err.attempts)
      assert.are.equal(0, helper.count(events, "retry"))
      assert.are.equal(0, #org:requests())
      one_line(err)
      mine:close()
    end)

    it("insecure = true takes it all the same", function()
      local mine = tls_client { insecure = true }
      assert.are.equal("Open", assert(mine:create { object = "Account", operation = "insert" }).state)
      assert.is_true(org:requests()[1].tls)
      mine:close()
    end)

    it("a verified and an unverified client do not share a connection", function()
      local loose = tls_client { insecure = true }
      assert(loose:create { object = "Account", operation = "insert" })
      local strict = tls_client {}
      local job, err = strict:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("CURLE_PEER_FAILED_VERIFICATION", err.code)
      assert.are.equal(1, #org:requests())
      loose:close()
      strict:close()
    end)

    it("a ca_file that is not there: kind network, not tried again", function()
      local mine = tls_client { ca_file = "/nowhere/ca.pem" }
      local job, err = mine:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("network", err.kind)
      assert.are.equal("CURLE_SSL_CACERT_BADFILE", err.code)
      assert.are.equal(1, err.attempts)
      mine:close()
    end)

    it("no TLS on the other side: kind network", function()
      local mine = tls_client { instance_url = (org.url:gsub("^http:", "https:")), ca_file = org.ca_file }
      local job, err = mine:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("network", err.kind)
      assert.truthy(err.code)
      mine:close()
    end)
  end)

  describe("of the network", function()
    it("nobody listens: tried as often as is allowed", function()
      local mine = helper.client(org, { instance_url = "http://127.0.0.1:1" })
      local job, err = mine:create { object = "Account", operation = "insert" }
      assert.is_nil(job)
      assert.are.equal("network", err.kind)
      assert.are.equal("CURLE_COULDNT_CONNECT", err.code)
      assert.are.equal(4, err.attempts)
      assert.is_nil(err.status)
      assert.is_nil(err.job_id)
      assert.are.equal("http://127.0.0.1:1/services/data/v66.0/jobs/ingest", err.url)
      mine:close()
    end)

    it("silence past the time-out: kind timeout", function()
      local mine = helper.client(org, { instance_url = org.url, timeout = 0.3, retry = { tries = 1 } })
      local job = open_job()
      org:fault { method = "GET", stall = helper.NEVER_SECONDS }
      local info, err = mine:job(job.id, "ingest"):info()
      assert.is_nil(info)
      assert.are.equal("timeout", err.kind)
      assert.are.equal("CURLE_OPERATION_TIMEDOUT", err.code)
      assert.are.equal(job.id, err.job_id)
      assert.are.equal(1, err.attempts)
      mine:close()
    end)

    it("a reset: kind network, with the name libcurl gives it", function()
      local err = look { reset = "after" }
      assert.are.equal("network", err.kind)
      assert.truthy(err.code:find "^CURLE_")
      assert.is_nil(err.status)
      assert.are.equal(4, err.attempts)
    end)

    it("an upload that fails names what failed while cleaning up", function()
      local job = open_job()
      org:fault { method = "PUT", status = 400, body = json_error("API_ERROR", "no"), count = -1 }
      org:fault { method = "PATCH", status = 400, body = json_error("INVALIDUSER", "not yours"), count = -1 }
      local ok, err = job:upload(CSV)
      assert.is_nil(ok)
      assert.are.equal("API_ERROR", err.code)
      assert.are.equal(1, #err.also)
      assert.is_true(bulkjob.is_error(err.also[1]))
      assert.are.equal("INVALIDUSER", err.also[1].code)
      assert.are.equal("PATCH", err.also[1].method)
    end)
  end)
end)
