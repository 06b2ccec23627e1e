--- What the engine promises whatever the service, the program and libcurl do: nothing waits for ever.
local core = require "bulkjob.core"
local helper = require "spec.helper"
local nginx = require "spec.nginx"
local server = require "spec.server"

local ONCE = { tries = 1 }
local STALL = 40
local ROWS = { rows = 20000, row_bytes = 200 } -- more than all buffers on the way hold

describe("the engine", function()
  local org, client, running
  helper.scene(helper.AT_ONCE, function(o, c)
    org, client = o, c
  end)

  after_each(function()
    if running then
      running:stop()
    end
    running = nil
  end)

  -- A query job whose result is long.
  local function long_query()
    org:synthetic_query(true, ROWS)
    local job = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    assert(job:wait())
    return job.id
  end

  -- A call of that client that has reached the org, and gets no response for STALL seconds.
  local function stalled(mine)
    org:fault { method = "GET", path = "/limits", stall = STALL }
    local held = mine:spawn(mine.limits, mine)
    repeat
      mine:poll(0.05)
    until org:faults()[1].left == 0
    return held
  end

  local function first_row(set)
    local nextrow, state = set:rows()
    return nextrow(state)
  end

  -- Runs a script in a process of its own, where no connection is known yet; ORG, TOKEN and CA_FILE are set. What it prints.
  local function cold(script)
    local path = helper.file(helper.names(org) .. "local HTTP_ORG = " .. ("%q\n"):format(org.url) .. script)
    local pipe = assert(io.popen(("timeout -k 1 120 %s %s 2>&1 </dev/null"):format(os.getenv "LUA", path)))
    local out = pipe:read "*a"
    pipe:close()
    return out
  end

  describe("gives places", function()
    it("to small calls, while results that nobody reads on are open", function()
      local id = long_query()
      local mine = helper.client(org, { compress = false })
      local sets = {}
      for i = 1, 12 do
        sets[i] = assert(mine:job(id, "query"):results())
        assert(first_row(sets[i]))
      end
      assert(mine:limits())
      for i = 1, 12 do
        sets[i]:close()
      end
    end)

    it("to 12 tasks that read at the same time", function()
      local id = long_query()
      local mine = helper.client(org, { compress = false, max_connections = 2 })
      local done = 0
      for _ = 1, 12 do
        mine:spawn(function()
          for _ in mine:job(id, "query"):results { typed = true } do -- luacheck: ignore
          end -- what the columns are is asked by a small call
          done = done + 1
        end)
      end
      mine:run()
      assert.are.equal(12, done)
    end)

    for scheme, url in pairs { HTTPS = "ORG", HTTP = "HTTP_ORG" } do
      it("to 1,000 small calls beside 100 open results with max_connections = 1, over " .. scheme .. ", from a cold start", function()
        local id = long_query()
        local out = cold(([[
          local bulkjob = require "bulkjob"
          local client = bulkjob.client { instance_url = %s, access_token = TOKEN, ca_file = CA_FILE, compress = false, max_connections = 1,
            timeout = 60, retry = { tries = 1 } }
          local sets, done, wrong = {}, 0, nil
          for i = 1, 1100 do
            client:spawn(function()
              local ok, err
              if i %% 11 == 1 then
                ok, err = client:job(%q, "query"):results()
                sets[#sets + 1] = ok
                if ok then
                  local nextrow, state = ok:rows()
                  ok, err = nextrow(state)
                end
              else
                ok, err = client:limits()
              end
              done = done + (ok and 1 or 0)
              wrong = wrong or err
            end)
          end
          client:run()
          print(done, #sets, wrong)
          client:close()
        ]]):format(url, id))
        assert.are.equal("1100\t100\tnil\n", out)
      end)
    end

    it("by each client's own number", function()
      local one, eight = helper.client(org, { max_connections = 1 }), helper.client(org, { max_connections = 8 })
      assert(client:limits())
      local held = stalled(one)
      local behind = one:spawn(one.limits, one)
      one:poll(0.2)
      local began = core.now()
      assert(eight:limits())
      assert.is_true(core.now() - began < STALL / 2)
      assert.is_false(behind:done())
      held:cancel()
      one:run()
      assert(behind:result())
    end)

    it("to the next one when a silent one is given up", function()
      local mine = helper.client(org, { max_connections = 1, timeout = 1, retry = ONCE })
      local id = assert(client:create { object = "Account", operation = "insert" }).id
      assert(mine:limits())
      org:fault { method = "GET", path = "/limits", stall = 30 }
      local a = mine:spawn(mine.limits, mine)
      local b = mine:spawn(function()
        return mine:job(id, "ingest"):info()
      end)
      local began = core.now()
      repeat
        local left = mine:poll(1)
      until left == 0 or core.now() - began > 10
      assert.are.equal("timeout", select(2, a:result()).kind)
      assert.are.equal(id, assert(b:result()).id)
    end)
  end)

  -- One stalled call takes no other with it, and they all go out at once: without a connection to begin with, whatever libcurl does.
  describe("from a cold start", function()
    -- Six calls, of which the org stalls one, and what comes of each: "ok" with at most a second, or an error's kind.
    local SCRIPT = [[
      local bulkjob, core = require "bulkjob", require "bulkjob.core"
      local client = bulkjob.client { instance_url = URL, access_token = TOKEN, ca_file = CA_FILE, timeout = 5,
        retry = { tries = 1, base = 0.01, cap = 0.02 } }
      local began, seen = core.now(), {}
      for i = 1, 6 do
        client:spawn(function()
          local ok, err = client:limits()
          seen[i] = ok and (core.now() - began < 4 and "ok" or "late") or err.kind
        end)
      end
      client:run()
      table.sort(seen)
      print(table.concat(seen, " "))
      client:close()
    ]]

    -- Three calls beside an upload that takes long.
    local UPLOAD = [[
      local bulkjob, core = require "bulkjob", require "bulkjob.core"
      local client = bulkjob.client { instance_url = URL, access_token = TOKEN, ca_file = CA_FILE, retry = { tries = 1 } }
      local uploaded, why, seen = false, nil, {}
      client:spawn(function()
        uploaded, why = client:job(ID, "ingest"):upload(("Name\n" .. ("x"):rep(100) .. "\n"):rep(1000))
      end)
      client:poll(0)
      for i = 1, 3 do
        client:spawn(function()
          local ok, err = client:limits()
          seen[i] = not ok and tostring(err) or not uploaded and "before" or "after"
        end)
      end
      client:run()
      print(uploaded or tostring(why), table.concat(seen, " "))
      client:close()
    ]]

    -- An HTTP/2 server before the org.
    local function http2()
      local port = server.free_port()
      local front = nginx.start { org = org, server = ([[
        listen 127.0.0.1:%d ssl http2;
        ssl_certificate %s/server.pem;
        ssl_certificate_key %s/server.key;
        location / { proxy_pass %s; proxy_request_buffering off; proxy_http_version 1.1; }
      ]]):format(port, org.dir, org.dir, org.url) }
      return front, "https://127.0.0.1:" .. port
    end

    local function with_url(url, script)
      return cold(("local URL = %q\n"):format(url) .. script)
    end

    it("over HTTPS, a stalled call holds up no other", function()
      org:fault { method = "GET", path = "/limits", stall = 30 }
      assert.are.equal("ok ok ok ok ok timeout\n", with_url(org.tls_url, SCRIPT))
    end)

    it("over HTTP/2, a stalled call holds up no other", function()
      local front, url = http2()
      org:fault { method = "GET", path = "/limits", stall = 30 }
      local out = with_url(url, SCRIPT)
      front:stop()
      assert.are.equal("ok ok ok ok ok timeout\n", out)
    end)

    for _, version in ipairs { "HTTP/1.1", "HTTP/2" } do
      it("an upload over " .. version .. " holds up no small call", function()
        local front, url
        if version == "HTTP/2" then
          front, url = http2()
        end
        local id = assert(client:create { object = "Account", operation = "insert" }).id
        org:fault { method = "PUT", stall = 3 }
        local out = with_url(url or org.tls_url, ("local ID = %q\n"):format(id) .. UPLOAD)
        if front then
          front:stop()
        end
        assert.are.equal("true\tbefore before before\n", out)
      end)
    end

    -- Before 8.5.0 libcurl wrote the second call into the connection of the upload, between its bytes.
    it("over HTTP/2, no call goes into the connection of an upload", function()
      local front, url = http2()
      local id = assert(client:create { object = "Account", operation = "insert" }).id
      local out = with_url(url, ("local ID = %q\n"):format(id) .. [[
        local client = require "bulkjob".client { instance_url = URL, access_token = TOKEN, ca_file = CA_FILE, timeout = 30, retry = { tries = 1 } }
        local asked, piece = 0, 0
        local upload = client:spawn(function()
          return client:job(ID, "ingest"):upload(function()
            while piece == 1 and asked < 3 do
              coroutine.yield()
            end
            piece = piece + 1
            return piece < 3 and ("Name\n" .. ("x"):rep(100) .. "\n"):rep(1000) or nil
          end)
        end)
        client:spawn(function()
          for _ = 1, 3 do
            local limits, err = client:limits()
            print(limits and limits.DailyApiRequests.Max or err)
            asked = asked + 1
          end
        end)
        client:run()
        print((upload:result()))
        client:close()
      ]])
      front:stop()
      assert.are.equal(("5000000\n"):rep(3) .. "true\n", out)
      assert.are.equal(212000, org:job(id).bytes)
    end)
  end)

  describe("bounds", function()
    -- A client of a server of that kind.
    local function odd(kind, options, argument)
      local port = server.free_port()
      running = server.start(("%s spec/odd_server.lua %d %s %s"):format(os.getenv "LUA", port, kind, argument or ""), port)
      return helper.client(org, helper.with({ instance_url = "http://127.0.0.1:" .. port, retry = ONCE }, options))
    end

    local function kind_and_seconds(mine)
      local began = core.now()
      local limits, err = mine:limits()
      assert.is_nil(limits)
      return err, core.now() - began
    end

    for _, kind in ipairs { "interim", "dribble", "dribbled_error", "dribbled_headers" } do
      it("a call by total_timeout: " .. kind, function()
        local err, seconds = kind_and_seconds(odd(kind, { total_timeout = 0.8 }))
        assert.are.equal("timeout", err.kind)
        assert.are.equal("the call took longer than it may (total_timeout)", err.message)
        assert.is_true(seconds >= 0.8 and seconds < 4, tostring(seconds))
        assert.are.equal(({ dribble = 200, dribbled_headers = 200, dribbled_error = 500 })[kind], err.status)
      end)
    end

    for _, kind in ipairs { "headers", "trailers", "interim_flood" } do
      it("the headers of an answer: " .. kind, function()
        local err, seconds = kind_and_seconds(odd(kind))
        assert.are.equal("protocol", err.kind)
        assert.are.equal("the headers of the response are longer than any that are expected", err.message)
        assert.is_true(seconds < 4, tostring(seconds))
        assert.are.equal(kind ~= "interim_flood" and 200 or nil, err.status)
      end)
    end

    -- The start of the service's error in JSON, and much behind it.
    local function long_error()
      local parts = {}
      for i = 1, 12000 do
        parts[i] = ("%x"):format(i * 7919 % 1000003)
      end
      return [=[[{"errorCode":"ODD","message":"what is wrong ]=] .. table.concat(parts)
    end

    it("the body of an error, which is an answer all the same", function()
      local err, seconds = kind_and_seconds(odd("endless_error", nil, helper.file(long_error())))
      assert.are.equal(400, err.status)
      assert.are.equal("api", err.kind)
      assert.is_truthy(err.message:find("what is wrong", 1, true), err.message)
      assert.is_true(seconds < 4, tostring(seconds))
    end)

    it("the body of a packed error, which is an answer all the same", function()
      local path = helper.file(long_error())
      assert(select(2, helper.shell("gzip " .. path)) == 0)
      local err, seconds = kind_and_seconds(odd("endless_packed_error", nil, path .. ".gz"))
      os.remove(path .. ".gz")
      assert.are.equal(400, err.status)
      assert.are.equal("api", err.kind)
      assert.is_truthy(err.message:find("what is wrong", 1, true), err.message)
      assert.is_true(seconds < 4, tostring(seconds))
    end)

    it("what waits for a place", function()
      local slow, quick = helper.client(org, { max_connections = 1 }), helper.client(org, { max_connections = 1, total_timeout = 0.5, retry = ONCE })
      assert(slow:limits())
      local held = stalled(slow)
      local began = core.now()
      local limits, err = quick:limits()
      assert.is_nil(limits)
      assert.are.equal("timeout", err.kind)
      assert.is_true(core.now() - began < STALL / 2)
      held:cancel()
    end)

    it("a result that nobody reads on, when total_timeout was given", function()
      local id = long_query()
      local mine = helper.client(org, { compress = false, total_timeout = 0.5, retry = ONCE })
      local set = assert(mine:job(id, "query"):results())
      assert(first_row(set))
      helper.sleep(0.7)
      local ok, err = pcall(function()
        for _ in set:rows() do -- luacheck: ignore
        end
      end)
      assert.is_false(ok)
      assert.are.equal("timeout", err.kind)
    end)
  end)

  it("sends a short body in one piece with its headers", function()
    local port = server.free_port()
    running = server.start(("%s spec/odd_server.lua %d one_piece"):format(os.getenv "LUA", port), port)
    local mine = helper.client(org, { instance_url = "http://127.0.0.1:" .. port, retry = ONCE })
    assert(mine:job("750000000000001AAA", "ingest"):close())
  end)

  it("says of a kept connection that breaks under an upload what happened, and sends nothing a second time", function()
    local port = server.free_port()
    running = server.start(("%s spec/odd_server.lua %d broken_later"):format(os.getenv "LUA", port), port)
    local mine = helper.client(org, { instance_url = "http://127.0.0.1:" .. port, retry = ONCE })
    assert(mine:limits())
    local ok, err = mine:job("750000000000001AAA", "ingest"):upload(("Name\n" .. ("x"):rep(99) .. "\n"):rep(1000))
    assert.is_nil(ok)
    assert.are.equal("network", err.kind)
    assert.are.equal("CURLE_GOT_NOTHING", err.code)
    assert.are.equal(1, err.attempts)
  end)

  describe("does not take an upload for done that was answered before it was whole:", function()
    local PIECE, PIECES = (("x"):rep(99) .. "\n"):rep(10000), 60 -- more than all buffers on the way hold
    local sources = {}

    function sources.text()
      return "Name\n" .. PIECE:rep(PIECES)
    end

    sources["function"] = function()
      local given = 0
      return function()
        given = given + 1
        return given <= PIECES and PIECE or nil
      end
    end

    for name, source in pairs(sources) do
      it("a " .. name, function()
        local port = server.free_port()
        running = server.start(("%s spec/odd_server.lua %d early"):format(os.getenv "LUA", port), port)
        local mine = helper.client(org, { instance_url = "http://127.0.0.1:" .. port, retry = ONCE })
        local ok, err = mine:job("750000000000001AAA", "ingest"):upload(source())
        assert.is_nil(ok)
        assert.are.equal("protocol", err.kind)
        assert.are.equal(201, err.status)
        assert.truthy(err.message:find("the response came before all of the request had been sent", 1, true), err.message)
      end)
    end
  end)

  describe("measures silence at the peer:", function()
    local DATA = "Name\n" .. (("x"):rep(99) .. "\n"):rep(30000)

    for _, scheme in ipairs { "http", "https" } do
      it("an upload over " .. scheme .. " that the kernel still hands over is not silent", function()
        local port = server.free_port()
        running = server.start(("%s spec/odd_server.lua %d relay %s"):format(os.getenv "LUA", port,
          (scheme == "http" and org.url or org.tls_url):match ":(%d+)$"), port)
        local mine = helper.client(org, { instance_url = scheme .. "://127.0.0.1:" .. port, timeout = 0.8, retry = ONCE })
        local job = assert(mine:create { object = "Account", operation = "insert" })
        local began = core.now()
        assert(job:upload(DATA))
        assert.is_true(core.now() - began > 1.5) -- it was slow
        assert.are.equal(#DATA, #helper.received(org, job))
      end)
    end

    it("an upload that the peer does not take is, although there is room for it in the kernel", function()
      local port = server.free_port()
      running = server.start(("%s spec/odd_server.lua %d deaf"):format(os.getenv "LUA", port), port)
      local mine = helper.client(org, { instance_url = "http://127.0.0.1:" .. port, timeout = 0.8, retry = ONCE })
      local began = core.now()
      local ok, err = mine:job("750000000000001AAA", "ingest"):upload(DATA:rep(4))
      assert.is_nil(ok)
      assert.are.equal("timeout", err.kind)
      assert.is_true(core.now() - began < 4)
      assert.are.equal("not a byte in either direction for 0.8 seconds", err.message)
    end)
  end)
end)
