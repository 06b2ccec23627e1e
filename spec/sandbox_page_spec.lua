--- The page at / of the sandbox's control port, without JavaScript: what it shows, what its forms do, and that data is never markup.

local calls = require "spec.sandbox_calls"
local control = require "sandbox.control"
local socket = require "socket"

local create, upload, patch, wait, load, good, run_query = calls.create, calls.upload, calls.patch, calls.wait, calls.load, calls.good, calls.run_query

local org

local function curl(arguments, path)
  local pipe = assert(io.popen(("curl -sS --max-time 20 -H 'Accept: text/html' -w '\n%%{http_code} %%{redirect_url}' %s '%s%s'"):format(
    arguments, org.control_url, path)))
  local text = pipe:read "*a"
  pipe:close()
  local body, status, location = text:match "^(.*)\n(%d+) (%S*)$"
  return body, tonumber(status), location
end

local function get(path, wanted)
  local body, status = curl("", path)
  assert.are.equal(wanted or 200, status, body)
  assert.matches("^<!DOCTYPE html>", body)
  assert.matches("</html>\n$", body)
  return body
end

local function post(path, form)
  local body, status, location = curl("--data-raw '" .. (form or "") .. "'", path)
  return status, location:gsub("^" .. org.control_url:gsub("%p", "%%%0"), ""), body
end

local function has(body, piece)
  assert.is_truthy(body:find(piece, 1, true), piece)
end

local EVIL = "<script>alert(1)</script>"

describe("the page of the sandbox", function()
  calls.scene(function(o)
    org = o
  end)

  it("lists jobs, newest first, page after page", function()
    local ids = org:seed_jobs { count = 120, job = { state = "JobComplete", object = "Lead" } }
    local body = get "/"
    has(body, "120 jobs")
    local order = {}
    for id in body:gmatch '<a href="/jobs/(%w+)">' do
      order[#order + 1] = id
    end
    assert.are.equal(50, #order)
    assert.are.equal(ids[120], order[1])
    assert.are.equal(ids[71], order[50])
    has(body, 'href="/?page=2"')
    has(get "/?page=3", ids[1])
    has(get "/?page=99", "120 jobs")
  end)

  it("shows a job with its timeline, requests, data and results, and nothing of them as markup", function()
    local _, id = load('Name,Phone\n"' .. EVIL .. '",1\n,2\n')
    local body = get("/jobs/" .. id)
    assert.is_nil(body:find(EVIL, 1, true))
    has(body, "&lt;script&gt;alert(1)&lt;/script&gt;")
    for _, piece in ipairs { "Timeline", "UploadComplete</li>", "JobComplete</li>", "Successful results", "Failed results", "REQUIRED_FIELD_MISSING",
      "Unprocessed records", "/batches</td>" } do
      has(body, piece)
    end
    local query_id = run_query("SELECT Name FROM Account WHERE Name != '" .. EVIL:gsub("<", "x") .. "'")
    body = get("/jobs/" .. query_id)
    assert.is_nil(body:find(EVIL, 1, true))
    has(body, "&quot;&lt;script&gt;alert")
    get("/jobs/7508d00000Kq3XbAAJ", 404)
    get("/nothing", 404)
    calls.call("GET", calls.INGEST .. "/" .. id .. "?x=" .. EVIL:gsub("[<>]", function(c)
      return c
    end))
    assert.is_nil(get("/jobs/" .. id):find(EVIL, 1, true))
  end)

  it("aborts and deletes jobs", function()
    local id = create()
    upload(id, "Name\nA\n")
    local status, location = post("/jobs/" .. id .. "/abort")
    assert.are.equal(303, status)
    assert.are.equal("/jobs/" .. id, location)
    assert.are.equal("Aborted", org:job(id).state)
    local _, body
    status, _, body = post("/jobs/" .. id .. "/abort")
    assert.are.equal(400, status)
    has(body, "Aborting already Completed Job not allowed")
    status, location = post("/jobs/" .. id .. "/delete")
    assert.are.equal(303, status)
    assert.are.equal("/", location)
    assert.are.equal(0, #org:jobs())
    id = create()
    status, _, body = post("/jobs/" .. id .. "/delete")
    assert.are.equal(400, status)
    has(body, "not terminated")
    assert.are.equal(404, (post "/jobs/7508d00000Kq3XbAAJ/delete"))
    assert.are.equal(404, select(2, curl("", "/jobs/" .. id .. "/delete"))) -- no link changes anything
  end)

  it("shows records by object, filtered by SOQL", function()
    load("Name,Industry\n" .. EVIL .. ",Tech\nBeta,Food\n")
    local body = get "/records"
    has(body, "2 records of Account in all")
    assert.is_nil(body:find(EVIL, 1, true))
    body = get "/records?object=Account&where=Industry+%3D+%27Food%27"
    has(body, "Beta")
    assert.is_nil(body:find("alert(1)", 1, true))
    has(get("/records?object=Account&where=%22%3E%3Cscript%3E", 400), "unexpected token")
    has(get "/records?object=User", "Admin")
    has(get "/records?object=Nothing", "Account")
  end)

  it("finds records in all parts of a large object", function()
    local rows = { "Name,Ext__c,Industry" }
    for i = 1, 6500 do
      rows[#rows + 1] = ("N%d,E%d,%s"):format(i, i, i % 2000 == 1 and "Rare" or "Tech")
    end
    load(table.concat(rows, "\n") .. "\n")
    has(get "/records", "More than 1000 records of Account in all; here are the first 100.")
    local function names(path)
      local list = {}
      for name in get(path):gmatch ">(N%d+)</td>" do
        list[#list + 1] = name
      end
      return table.concat(list, " ")
    end
    assert.are.equal("N1 N2001 N4001 N6001", names "/records?where=Industry+%3D+%27Rare%27")
    assert.are.equal("N6001 N4001 N2001 N1", names "/records?where=Industry+%3D+%27Rare%27+ORDER+BY+Name+DESC")
    has(get "/records?where=Industry+%3D+%27Tech%27", "here are the first 100.")
    has(get "/records?where=Industry+%3D+%27None%27", "here are 0.")
    assert.are.equal("", org:errors())
  end)

  it("lists the requests about a job, that which made it too, as far as the log goes", function()
    local id = create()
    local other = create()
    upload(id, "Name\nA\n")
    calls.call("GET", calls.INGEST .. "/" .. id:sub(1, 15))
    local function listed(job)
      local list = {}
      for method in get("/jobs/" .. job):gmatch 'data%-label="Method">(%u+)<' do
        list[#list + 1] = method
      end
      return table.concat(list, " ")
    end
    assert.are.equal("GET PUT POST", listed(id))
    assert.are.equal("POST", listed(other))
    assert.are.equal("POST", listed(run_query "SELECT Id FROM Account"):match "%u+$")
    org:set { log_size = 2 }
    for _ = 1, 5 do
      calls.call("GET", calls.INGEST .. "/" .. other)
    end
    org:set { log_size = 100 }
    assert.are.equal("GET GET", listed(other))
    org:clear_requests()
    has(get("/jobs/" .. id), "None that the log remembers.")
    patch(id, "Aborted")
    assert.are.equal("PATCH", listed(id))
  end)

  it("adds and removes faults", function()
    has(get "/faults", "No fault is active.")
    local status, location = post("/faults", "method=GET&path=%2Flimits&status=503&reset=stays&effect=as+usual&seconds=&count=2")
    assert.are.equal(303, status)
    assert.are.equal("/faults", location)
    has(get "/faults", "method = GET, path = /limits, status = 503")
    assert.are.equal(503, calls.call("GET", calls.DATA .. "/limits").status)
    local fault = org:faults()[1]
    assert.are.equal(1, fault.left)
    post("/faults/" .. fault.id .. "/remove")
    assert.are.equal(0, #org:faults())
    local _, body
    status, _, body = post("/faults", "method=any&status=1000&count=1&effect=as+usual")
    assert.are.equal(400, status)
    has(body, "bad value for status: 1000")
    assert.are.equal(303, (post("/faults", "method=any&path=&status=500&effect=late&seconds=1&count=1&reset=stays")))
    assert.are.equal("late", org:faults()[1].effect)
  end)

  it("changes settings", function()
    has(get "/settings", 'for="set-slice_rows"')
    assert.are.equal(303, (post("/settings", "name=slice_rows&value=50")))
    assert.are.equal(50, org:set({}).slice_rows)
    local status, _, body = post("/settings", "name=slice_rows&value=0")
    assert.are.equal(400, status)
    has(body, "setting slice_rows must be a whole number from 1 on")
    assert.are.equal(400, (post("/settings", "name=nonsense&value=1")))
  end)

  it("lets no other site in, nor any script but its own", function()
    local _, status = curl("-H 'Origin: http://elsewhere.example' --data-raw 'name=slice_rows&value=7'", "/settings")
    assert.are.equal(403, status)
    _, status = curl("-H 'Origin: http://elsewhere.example' -d '{}'", "/sandbox/reset")
    assert.are.equal(403, status)
    assert.are.equal(200, org:set({}).slice_rows)
    _, status = curl("-H 'Origin: " .. org.control_url .. "' --data-raw 'name=slice_rows&value=7'", "/settings")
    assert.are.equal(303, status)
    local head = curl("-D -", "/")
    assert.matches("Content%-Security%-Policy: default%-src 'none'; style%-src 'sha256%-[%w+/=]+'; script%-src 'sha256%-[%w+/=]+'", head)
  end)

  it("is not slowed down by 10,000 jobs, nor by a job of a million rows", function()
    org:seed_jobs { count = 10000, job = { state = "JobComplete" } }
    org:set { discard = true, log_size = 1000 }
    local id = create()
    upload(id, "Name\n" .. ("A\n"):rep(1000000))
    good(patch(id, "UploadComplete"))
    wait(id)
    for _, path in ipairs { "/", "/?page=200", "/jobs/" .. id } do
      local began = socket.gettime()
      get(path)
      -- A page that looked through all rows would take seconds; this limit is for busy machines.
      assert(socket.gettime() - began < 2, path)
    end
  end)

  it("leaves the control interface to those who do not ask for HTML", function()
    local other = control.start { https = false }
    local pipe = assert(io.popen("curl -sS " .. other.control_url .. "/"))
    assert.matches('^{\n  "commands"', pipe:read "*a")
    pipe:close()
    other:stop()
  end)
end)
