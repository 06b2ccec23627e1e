--- Each response goes to its own call: hundreds of calls of every kind at the same time, over few connections, some of which end at
--- odd moments. Every call has to get what is its own, and the org has to get each upload byte for byte.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"
local server = require "spec.server"

if helper.PUC_5_1 then
  return -- its tasks can wait neither in pcall nor in a for loop over results
end

local JOBS, QUERIES, UPLOADS, QUERY_ROWS = 10, 5, 6, 800

-- Faults that hit some of the requests. None of them lets a call fail for good, but uploads from functions, which are read once.
local FAULTS = {
  { reset = "before" }, { close = "before" }, { close = "idle" }, { reset = "idle", seconds = 0.005 }, { informational = 2 },
  { status = 503, body = "<html>busy</html>" },
  { method = "GET", reset = "after" }, { method = "GET", cut = 300 }, { method = "GET", framing = "chunked" },
  { method = "GET", stall = 0.3 },
  { method = "PATCH", reset = "after" }, { method = "PATCH", status = 502, effect = true, body = "x" },
  { method = "PUT", reset = "after" }, { method = "PUT", reset = "body", body_bytes = 3000 },
  { method = "PUT", status = 503, effect = false, early = true },
}
local CHANCE = 0.03

describe("each response goes to its own call", function()
  local org, proxy, random, wrong, under_way

  before_each(function()
    -- HTTP/2 connections of few requests, so that some are ended by the server in between
    org = helper.org(helper.with(helper.AT_ONCE, { http2 = true, http2_requests = 40, http2_streams = 5, query_page_records = 300 }))
    wrong, under_way = {}, 0
    local state = 7
    random = function(most) -- the same numbers in each run and each Lua
      state = (state * 16807) % 2147483647
      return state % most + 1
    end
  end)

  after_each(function()
    org:stop()
    helper.clean()
    if proxy then
      proxy:stop()
    end
    proxy = nil
  end)

  local function note(...)
    wrong[#wrong + 1] = table.concat({ ... }, " ")
  end

  -- What a call gave. Where the server spoils some, an error is allowed for what cannot be sent twice, but not one that says that
  -- something else has come.
  local function got(may_fail, value, err)
    if not value and (not may_fail or err.kind == "protocol" or err.kind == "csv" or err.kind == "job") then
      note(tostring(err))
    end
    return value
  end

  local function spawn(client, fn, ...)
    under_way = under_way + 1
    return client:spawn(function(...)
      local ok, err = pcall(fn, ...)
      under_way = under_way - 1
      if not ok then
        note(tostring(err))
      end
    end, ...)
  end

  local function pause(client)
    if random(3) == 1 then
      local limits = got(false, client:limits())
      if limits and limits.DailyApiRequests.Max ~= 5000000 then
        note "limits of something else"
      end
    else
      for _ = 1, random(3) do
        coroutine.yield()
      end
    end
  end

  local function new_text(mark)
    local rows = { "Name" }
    for i = 1, 20 + random(300) do
      rows[#rows + 1] = mark .. "-" .. i .. ("x"):rep(random(100))
    end
    return table.concat(rows, "\n") .. "\n", #rows - 1
  end

  -- A function that gives the text in pieces, with pauses.
  local function slow_source(client, text)
    local at = 1
    return function()
      if at <= #text then
        pause(client)
        local piece = text:sub(at, at + random(4000))
        at = at + #piece
        return piece
      end
    end
  end

  -- From the creation of a job to its results.
  local function whole_life(client, faulty, number)
    local mark = "job" .. number
    local text, count = new_text(mark)
    local is_function = number % 2 == 1
    local job = got(false, client:create { object = "Account", operation = "insert" })
    if not job or not got(faulty and is_function, job:upload(is_function and slow_source(client, text) or text)) then
      return
    end
    if helper.received(org, job) ~= text then
      note("another upload than that of", mark)
    end
    local info = got(false, job:close())
    info = info and got(false, job:wait())
    if info and (info.id ~= job.id or info.numberRecordsProcessed ~= count) then
      note("another job than", mark)
    end
    local n = 0
    for row in job:successful_results() do
      n = n + 1
      if row.Name:match "^%w+" ~= mark then
        note("a row of another job than", mark)
      end
      if n % 60 == 0 then
        pause(client)
      end
    end
    if n ~= count then
      note(n, "rows of", mark)
    end
  end

  -- An upload that goes on, little by little, as long as other tasks are under way.
  local function long_upload(client, faulty, id)
    local parts = {}
    local uploaded = got(faulty, client:job(id, "ingest"):upload(function()
      if #parts > 0 and under_way == 0 then
        return nil
      elseif #parts > 0 then
        pause(client)
      end
      parts[#parts + 1] = (#parts == 0 and "Name\n" .. ("y"):rep(100000) or id .. #parts) .. "\n"
      return parts[#parts]
    end))
    if uploaded and helper.received(org, { id = id }) ~= table.concat(parts) then
      note("another upload than that of", id)
    end
  end

  local function look(client, ids)
    for _ = 1, 4 do
      local id = ids[random(#ids)]
      local info = got(false, client:job(id, "ingest"):info())
      if info and info.id ~= id then
        note("info of another job than", id)
      end
    end
  end

  -- Reads the results of a query, all or only so many rows.
  local function read(client, query, most)
    local n = 0
    local set = client:job(query.id, "query"):results { max_records = random(2) == 1 and 200 or nil }
    for row in set do
      n = n + 1
      if tonumber(row.Number) ~= n or row.Text:sub(-5) ~= query.filler:rep(5) then
        note("row", row.Number, "of another query at", n)
      end
      if n == most then
        break
      elseif n % 100 == 0 then
        pause(client)
      end
    end
    set:close()
    if n ~= (most or QUERY_ROWS) then
      note(n, "rows of a query")
    end
  end

  local function abort(client)
    local job = got(false, client:create { object = "Account", operation = "insert" })
    if not job then
      return
    end
    local upload = client:spawn(function()
      return job:upload(slow_source(client, (new_text "aborted")))
    end)
    pause(client)
    local info = got(false, job:abort())
    upload:result()
    if info and (info.id ~= job.id or info.state ~= "Aborted") then
      note("another job than the aborted one")
    end
    if org:job(job.id).state ~= "Aborted" then
      note "the abort went to another job"
    end
  end

  local function cancel(client, id)
    local called = client:spawn(function()
      return client:job(id, "ingest"):info()
    end)
    for _ = 1, random(20) do
      coroutine.yield()
    end
    called:cancel()
    called:result()
  end

  local function start_tasks(client, hurried, faulty)
    local ids, queries = {}, {}
    for i = 1, JOBS do
      ids[i] = assert(client:create { object = "Account", operation = "insert" }).id
    end
    for i = 1, QUERIES do
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      assert(query:wait())
      queries[i] = { id = query.id, filler = string.char(64 + i) }
      org:synthetic_query(query.id, { rows = QUERY_ROWS, row_bytes = 200, filler = queries[i].filler })
    end
    if faulty then
      for i, fault in ipairs(FAULTS) do
        org:fault(helper.with({ chance = CHANCE, seed = i, count = -1 }, fault))
      end
    end
    for i = 1, 2 do -- these are not counted as under way
      client:spawn(long_upload, client, faulty, ids[i])
    end
    for i = 1, UPLOADS do
      spawn(client, whole_life, client, faulty, i)
    end
    for i = 1, 30 do
      spawn(client, look, client, ids)
      if i % 3 == 0 then
        spawn(client, read, client, queries[i / 3 % QUERIES + 1], i % 2 == 0 and random(QUERY_ROWS - 1) or nil)
        spawn(client, cancel, client, ids[i / 3])
      end
      if i % 6 == 0 then
        spawn(client, abort, client)
        hurried:spawn(function() -- most of these time out
          local id = ids[i / 6]
          local info = hurried:job(id, "ingest"):info()
          if info and info.id ~= id then
            note("info of another job than", id)
          end
        end)
      end
    end
  end

  -- A client for each way to the org.
  local ways = {
    ["HTTP"] = function()
      return { instance_url = org.url }
    end,
    ["HTTPS"] = function()
      return { instance_url = org.tls_url }
    end,
    ["HTTP/2"] = function()
      return { instance_url = org.http2_url }
    end,
    ["HTTP/2 and a proxy"] = function()
      local port = server.free_port()
      local config = helper.file(("Port %d\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 100\n"):format(port))
      proxy = server.start("tinyproxy -d -c " .. config, port)
      return { instance_url = org.http2_url, proxy = "http://127.0.0.1:" .. port }
    end,
  }
  for name, way in pairs(ways) do
    for _, faulty in ipairs { false, true } do
      it("over " .. name .. (faulty and ", with connections that end at odd moments" or ""), function()
        local options = helper.with({
          access_token = org.token, ca_file = org.ca_file, max_connections = 3, timeout = helper.HANG_SECONDS,
          retry = { tries = 12, base = 0.01, cap = 0.05 },
        }, way())
        local client = bulkjob.client(options)
        local hurried = bulkjob.client(helper.with(options, { timeout = 0.01, retry = { tries = 1 } }))
        start_tasks(client, hurried, faulty)
        local till = core.now() + helper.HANG_SECONDS
        repeat
          local left, err = client:poll(0.01)
          left = left + hurried:poll(0)
          if err then
            note(tostring(err))
          end
          assert(core.now() < till, "the tasks do not end")
        until left == 0
        client:close()
        hurried:close()
        assert.are.same({}, wrong)
        assert.are.equal("", faulty and "" or org:errors())
      end)
    end
  end
end)
