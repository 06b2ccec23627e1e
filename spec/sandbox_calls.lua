--- Asks a sandbox with plain sockets and with the curl command: what the specs of the sandbox itself share.

local assert = require "luassert"
local busted = require "busted"
local cjson = require "cjson"
local socket = require "socket"
local control = require "sandbox.control"
local helper = require "spec.helper"

local VERSION = "66.0"
local DATA = "/services/data/v" .. VERSION
local INGEST, QUERY = DATA .. "/jobs/ingest", DATA .. "/jobs/query"

local org

--- A chunked body, as far as it came. Returns the text and whether its end came.
local function read_chunks(connection)
  local parts = {}
  while true do
    local line = connection:receive "*l"
    local size = line and tonumber(line:match "^%x+", 16)
    if not size then
      return table.concat(parts), false
    elseif size == 0 then
      connection:receive "*l"
      return table.concat(parts), true
    end
    local data, _, partial = connection:receive(size)
    parts[#parts + 1] = data or partial
    if not data then
      return table.concat(parts), false
    end
    connection:receive(2)
  end
end

--- One request on a connection of its own. Returns { status, headers, body, whole } or nil and why.
local function call(method, path, options)
  options = options or {}
  local host, port = org.url:match "//([^:]+):(%d+)"
  local connection = assert(socket.connect(host, tonumber(port)))
  connection:settimeout(options.timeout or helper.HANG_SECONDS)
  local body = options.body
  local lines = { method .. " " .. path .. " HTTP/1.1", "Host: sandbox", "Connection: close" }
  if options.token ~= false then
    lines[#lines + 1] = "Authorization: " .. (options.token or "Bearer " .. org.token)
  end
  if options.accept ~= false then
    lines[#lines + 1] = "Accept: " .. (options.accept or "*/*")
  end
  if body then
    lines[#lines + 1] = "Content-Type: " .. (options.type or "application/json; charset=UTF-8")
    lines[#lines + 1] = options.chunked and "Transfer-Encoding: chunked" or "Content-Length: " .. #body
    if options.chunked then
      body = ("%x\r\n%s\r\n0\r\n\r\n"):format(#body, body)
    end
  end
  for _, line in ipairs(options.headers or {}) do
    lines[#lines + 1] = line
  end
  connection:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
  local first, err = connection:receive "*l"
  if not first then
    connection:close()
    return nil, err
  end
  local answer = { status = tonumber(first:match "^HTTP/1%.1 (%d+)"), headers = {} }
  while true do
    local line = connection:receive "*l"
    if not line or line == "" then
      break
    end
    local name, value = line:match "^([^:]+):%s*(.*)$"
    answer.headers[name:lower()] = value
  end
  local length = tonumber(answer.headers["content-length"])
  if answer.headers["transfer-encoding"] == "chunked" then
    answer.body, answer.whole = read_chunks(connection)
  elseif length then
    local data, _, partial = connection:receive(length)
    answer.body, answer.whole = data or partial, data ~= nil
    answer.extra = connection:receive "*a"
  else
    answer.body, answer.whole = connection:receive "*a" or "", true
  end
  connection:close()
  return answer
end

local function json(value)
  return cjson.encode(value)
end

--- The answer must be good; its JSON.
local function good(answer, err)
  assert(answer, err)
  assert.are.equal(200, answer.status, answer.body)
  return cjson.decode(answer.body), answer
end

--- The answer must be this error, in the service's form: an array of one object.
local function refused(status, code, answer, err)
  assert(answer, err)
  assert.are.equal(status, answer.status, answer.body)
  assert.matches("^application/json", answer.headers["content-type"])
  local list = cjson.decode(answer.body)
  assert.are.equal(1, #list)
  assert.are.equal(code, list[1].errorCode, answer.body)
  assert.is_string(list[1].message)
  return list[1].message
end

local function create(fields, base)
  fields = fields or {}
  local body = { object = fields.object or "Account", operation = fields.operation or "insert" }
  for key, value in pairs(fields) do
    body[key] = value
  end
  return good(call("POST", base or INGEST, { body = json(body) })).id
end

local function upload(id, csv, base)
  local answer = call("PUT", (base or INGEST) .. "/" .. id .. "/batches", { body = csv, type = "text/csv" })
  assert.are.equal(201, answer.status, answer.body)
  assert.are.equal("", answer.body)
end

local function patch(id, state, base)
  return call("PATCH", (base or INGEST) .. "/" .. id, { body = json { state = state } })
end

local function info(id, base)
  return good(call("GET", (base or INGEST) .. "/" .. id))
end

local FINAL = { JobComplete = true, Failed = true, Aborted = true }

local function wait(id, base, state)
  local deadline = socket.gettime() + helper.HANG_SECONDS
  while true do
    local job = info(id, base)
    if job.state == state or (not state and FINAL[job.state]) then
      return job
    end
    assert(socket.gettime() < deadline, "the job is still " .. job.state)
    socket.sleep(0.01)
  end
end

--- A whole job, from create to its end.
local function load(csv, fields, base)
  local id = create(fields, base)
  upload(id, csv, base)
  good(patch(id, "UploadComplete", base))
  return wait(id, base), id
end

local function results(id, kind, base)
  local answer = call("GET", (base or INGEST) .. "/" .. id .. "/" .. kind, { accept = "text/csv" })
  assert.are.equal(200, answer.status, answer.body)
  assert.is_true(answer.whole)
  assert.matches("^text/csv", answer.headers["content-type"])
  return answer.body
end

local function query(text, fields)
  local body = { operation = "query", query = text }
  for key, value in pairs(fields or {}) do
    body[key] = value
  end
  return call("POST", QUERY, { body = json(body) })
end

local function run_query(text, fields)
  local id = good(query(text, fields)).id
  wait(id, QUERY)
  return id, results(id, "results", QUERY)
end

--- The curl command over HTTPS. Returns its standard output and its exit code.
local function curl(arguments)
  local pipe = assert(io.popen(("curl -sS --max-time 10 --cacert '%s' -H 'Authorization: Bearer %s' %s 2>/dev/null; echo \" exit $?\"")
    :format(org.ca_file, org.token, arguments)))
  local text = pipe:read "*a"
  pipe:close()
  local output, code = text:match "^(.*) exit (%d+)\n$"
  return output, tonumber(code)
end

local function keys(value)
  local list = {}
  for key in pairs(value) do
    list[#list + 1] = key
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function sorted(text)
  local list = {}
  for word in text:gmatch "%S+" do
    list[#list + 1] = word
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function lines(text)
  local list = {}
  for line in text:gmatch "[^\n]*\n" do
    list[#list + 1] = line:sub(1, -2)
  end
  return list
end

local function rows_csv(n)
  local list = { "Name,Ext__c" }
  for i = 1, n do
    list[#list + 1] = ("Row %d,E%d"):format(i, i)
  end
  return table.concat(list, "\n") .. "\n"
end

--- Sets the scene of a describe block: an org, empty before each test. `take` gets it.
local function scene(take)
  busted.setup(function()
    org = control.start { queue_seconds = 0.01, processing_seconds = 0.02 }
    take(org)
  end)
  busted.teardown(function()
    local log = org:errors()
    org:stop()
    assert.are.equal("", log)
  end)
  busted.before_each(function()
    org:reset()
  end)
end

return {
  scene = scene, DATA = DATA, INGEST = INGEST, QUERY = QUERY, call = call, json = json, good = good, refused = refused,
  create = create, upload = upload, patch = patch, info = info, wait = wait, load = load, results = results, query = query,
  run_query = run_query, curl = curl, keys = keys, sorted = sorted, lines = lines, rows_csv = rows_csv,
}
