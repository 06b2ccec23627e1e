--- bulkjob inside nginx: one worker, looked at from outside.
local helper = require "spec.helper"
local lfs = require "lfs"
local nginx = require "spec.nginx"
local socket = require "socket"

local LIMIT = "5000000" -- what the org answers for DailyApiRequests

-- Lua for the init phase: what other phases find out goes into a dictionary, whose entries /said shows.
local SAID = { http = "lua_shared_dict said 1m;", server = [[
  location = /said { content_by_lua_block { ngx.say(ngx.shared.said:get(ngx.var.arg_key) or "nothing") } }
]], init = [[
  function limit(more)
    return assert(client(more):limits()).DailyApiRequests.Max
  end
  function attempt(key, more)
    local _, said = pcall(limit, more)
    ngx.shared.said:set(key, tostring(said))
  end
]] }

-- Lua for the init phase: modules of the tree itself are found, too.
local SEARCH_HERE = ("package.path = %q .. package.path"):format(lfs.currentdir() .. "/?.lua;")

describe("in nginx", function()
  local org, server, asked_for

  helper.scene(helper.AT_ONCE, function(...)
    org = ...
    asked_for = nil
  end)

  -- Nothing may stand in its error log at warn or above, but lines with the pattern `asked_for`.
  after_each(function()
    if not server then
      return
    end
    local complaints = {}
    for _, line in ipairs(server:complaints()) do
      if not (asked_for and line:find(asked_for)) then
        complaints[#complaints + 1] = line
      end
    end
    server:stop()
    server = nil
    assert.are.same({}, complaints)
  end)

  -- Starts nginx with these locations, or with these pieces of configuration.
  local function serve(pieces)
    pieces = type(pieces) == "string" and { server = pieces } or pieces
    server = nginx.start(helper.with({ org = org }, {
      http = SAID.http .. (pieces.http or ""),
      server = SAID.server .. (pieces.server or ""),
      init = SAID.init .. (pieces.init or ""),
      main = pieces.main, files = pieces.files, user = pieces.user,
    }))
    return server
  end

  local function open_many(n, path)
    local connections = {}
    for i = 1, n do
      connections[i] = server:open(path)
    end
    return connections
  end

  -- Until the org has got so many requests for its limits.
  local function org_has(n)
    assert.is_true(nginx.eventually(function()
      return #org:requests { path = "/limits" } >= n
    end))
  end

  local function stall(seconds)
    org:fault { method = "GET", path = "/limits", stall = seconds, count = -1 }
  end

  local function is_answered(connection)
    return #socket.select({ connection }, nil, 0) > 0
  end

  local LIMITS = [[ location = /limits { content_by_lua_block { ngx.say(limit { max_connections = 100 }) } } ]]

  describe("a handler", function()
    local JOB = [[
      location = /job { content_by_lua_block {
        local sources = { file = { file = ngx.var.arg_file }, rows = { rows = { { Name = "One", Ext__c = "A-1" }, { Name = "Two" } } } }
        local job = assert(client():create { object = "Account", operation = "insert" })
        assert(job:upload(sources[ngx.var.arg_source]))
        assert(job:close())
        local info, names = assert(job:wait()), {}
        for row in job:successful_results() do
          names[#names + 1] = row.Name
        end
        ngx.say(info.state, " ", info.numberRecordsProcessed, " ", table.concat(names, ","))
      } }
    ]]

    it("takes a job with rows through its whole life", function()
      assert.are.equal("JobComplete 2 One,Two", (serve(JOB):get "/job?source=rows"))
      assert.are.equal(2, org:count "Account")
    end)

    it("takes a job with a file through its whole life", function()
      local file = helper.file "Name,Ext__c\nThree,A-3\nFour,A-4\nFive,A-5\n"
      assert.are.equal("JobComplete 3 Three,Four,Five", (serve(JOB):get("/job?source=file&file=" .. file)))
      for _, request in ipairs(org:requests {}) do
        assert.is_true(request.tls)
      end
    end)

    it("lets others be answered while it is busy with rows that it need not wait for", function()
      local file = helper.file("Name,Ext__c\n" .. ("A name,an id\n"):rep(2000000) .. "short\n")
      local job = assert(helper.client(org):create { object = "Account", operation = "insert" })
      org:synthetic(job.id, "failed", 20000000)
      serve [[ location = /busy { content_by_lua_block {
        local mine = client()
        local job = mine:job(ngx.var.arg_id)
        local work = {
          read = function()
            for _ in job:failed_results() do end
          end,
          make = function()
            local n = 0
            assert(job:upload { rows = function()
              n = n + 1
              return n <= 200000 and { Name = "Name " .. n, Ext__c = n } or nil
            end })
          end,
          check = function()
            local report, err = mine:load { object = "Account", operation = "insert", file = ngx.var.arg_file }
            assert(not report and err.kind == "csv")
          end,
          task = function()
            mine:spawn(function()
              for _ in job:failed_results() do end
            end)
            assert(mine:run())
          end,
        }
        work[ngx.var.arg_work]()
        ngx.say "done"
      } } ]]
      for _, work in ipairs { "read", "make", "check", "task" } do
        local connection = server:open(("/busy?work=%s&id=%s&file=%s"):format(work, job.id, file))
        local n = 0
        while not is_answered(connection) do
          assert.are.equal("plain", (server:get "/plain"))
          n = n + 1
        end
        assert.are.equal("done", (nginx.read(connection)))
        assert.is_true(n > 2, n .. " answers while it did " .. work) -- the check takes a twentieth of a second
      end
    end)

    it("runs tasks", function()
      serve [[ location = /tasks { content_by_lua_block {
        local mine, n = client(), 0
        local tasks = {}
        for i = 1, 30 do
          tasks[i] = mine:spawn(function()
            local job = assert(mine:create { object = "Account", operation = "insert" })
            assert(job:upload("Name\nTask " .. i .. "\n"))
            assert(job:close())
            local info = assert(job:wait())
            n = n + info.numberRecordsProcessed
            return i
          end)
        end
        assert(mine:run())
        ngx.say(n, " ", tasks[30]:result())
      } } ]]
      assert.are.equal("30 30", (server:get "/tasks"))
      assert.are.same({ JobComplete = 30 }, helper.states(org))
    end)

    it("signs in once for all requests that have the same source, and again once when its token is dead", function()
      finally(function()
        org:new_token()
      end)
      org:fault { path = "oauth2/token", stall = 0.3, count = -1 }
      serve {
        init = ([[
          source = require("bulkjob").auth.client_credentials {
            login_url = %q, client_id = "3MVG9.sandbox.app", client_secret = "the.secret.of.the.app" }
        ]]):format(org.tls_url),
        server = [[ location = /limits { content_by_lua_block {
          local mine = bulkjob.client { auth = source, ca_file = ORG.ca_file, max_connections = 100 }
          ngx.say(assert(mine:limits()).DailyApiRequests.Max)
        } } ]],
      }
      for i = 1, 2 do
        local connections = open_many(20, "/limits")
        for _, connection in ipairs(connections) do
          assert.are.equal(LIMIT, (nginx.read(connection, 10)))
        end
        assert.are.equal(i, #org:requests { path = "oauth2/token" })
        org:kill_token()
      end
    end)

    it("signs in the requests that wait for it, although the one that asked, or the last one, went away", function()
      serve {
        init = ([[
          source = function()
            return require("bulkjob").auth.client_credentials {
              login_url = %q, client_id = "3MVG9.sandbox.app", client_secret = "the.secret.of.the.app" }
          end
          sources = { source(), source() }
        ]]):format(org.tls_url),
        server = [[ location = /limits {
          lua_check_client_abort on;
          content_by_lua_block {
            assert(ngx.on_abort(function() ngx.exit(499) end))
            local mine = bulkjob.client { auth = sources[tonumber(ngx.var.arg_source)], ca_file = ORG.ca_file }
            ngx.say(assert(mine:limits()).DailyApiRequests.Max)
          }
        } ]],
      }
      for leaver = 1, 2 do
        org:clear_requests()
        org:fault { path = "oauth2/token", stall = 1 }
        local connections = { server:open("/limits?source=" .. leaver) }
        assert.is_true(nginx.eventually(function()
          return #org:requests { path = "oauth2/token" } == 1
        end))
        connections[2] = server:open("/limits?source=" .. leaver)
        helper.sleep(0.3)
        connections[leaver]:close()
        assert.are.equal(LIMIT, (nginx.read(connections[3 - leaver])))
      end
    end)

    it("shares warm connections with those of other requests", function()
      serve(LIMITS)
      for _ = 1, 10 do
        assert.are.equal(LIMIT, (server:get "/limits"))
      end
      for _, request in ipairs(org:requests { path = "/limits" }) do
        assert.are.equal(org:requests({ path = "/limits" })[1].connection, request.connection)
      end
    end)

    it("works where the worker is an ordinary user", function()
      serve { user = "nobody nogroup", server = [[
        location = /plain_http { content_by_lua_block { ngx.say(limit { instance_url = ORG.url }) } }
      ]] }
      assert.are.equal(LIMIT, (server:get "/plain_http"))
    end)
  end)

  -- The first answer must not be there yet when the second is.
  local function others_run_beside(connection)
    for _ = 1, 5 do
      assert.are.equal("plain", (server:get "/plain"))
    end
    assert.is_false(is_answered(connection))
  end

  describe("other requests are answered while one", function()
    it("waits for an answer", function()
      stall(3)
      serve(LIMITS)
      local slow = server:open "/limits"
      org_has(1)
      others_run_beside(slow)
      assert.are.equal(LIMIT, (nginx.read(slow)))
    end)

    it("waits for the next try", function()
      org:fault { method = "GET", path = "/limits", status = 503, headers = { ["Retry-After"] = "3" } }
      serve(LIMITS)
      local slow = server:open "/limits"
      org_has(1)
      others_run_beside(slow)
      assert.are.equal(LIMIT, (nginx.read(slow)))
      assert.are.equal(2, #org:requests { path = "/limits" })
    end)

    it("waits for a job", function()
      org:hold()
      serve [[ location = /job { content_by_lua_block {
        local job = assert(client():create { object = "Account", operation = "insert", data = "Name\nOne\n" })
        ngx.say(assert(job:wait()).state)
      } } ]]
      local slow = server:open "/job"
      assert.is_true(nginx.eventually(function()
        return #org:requests { method = "GET" } >= 2
      end))
      others_run_beside(slow)
      org:release()
      assert.are.equal("JobComplete", (nginx.read(slow)))
    end)

    it("waits for tasks", function()
      stall(3)
      serve [[ location = /tasks { content_by_lua_block {
        local mine, n = client(), 0
        for _ = 1, 5 do
          mine:spawn(function() assert(mine:limits()) n = n + 1 end)
        end
        assert(mine:run())
        ngx.say(n)
      } } ]]
      local slow = server:open "/tasks"
      org_has(5)
      others_run_beside(slow)
      assert.are.equal("5", (nginx.read(slow)))
    end)
  end)

  it("the loop that blocks can be asked for", function()
    stall(0.3)
    serve [[ location = /block { content_by_lua_block { ngx.say(limit { loop = bulkjob.loop.block }) } } ]]
    local slow = server:open "/block"
    org_has(1)
    assert.are.equal("plain", (server:get "/plain"))
    assert.is_true(is_answered(slow))
    assert.are.equal(LIMIT, (nginx.read(slow)))
  end)

  describe("the phase", function()
    local function says(key, path)
      local _, status = server:get(path)
      assert.are.equal(200, status)
      local said
      nginx.eventually(function()
        said = server:get("/said?key=" .. key)
        return said ~= "nothing"
      end)
      return said
    end

    for name, code in pairs {
      rewrite = [[ rewrite_by_lua_block { attempt "rewrite" } content_by_lua_block { ngx.say "x" } ]],
      access = [[ access_by_lua_block { attempt "access" } content_by_lua_block { ngx.say "x" } ]],
      timer = [[ content_by_lua_block { assert(ngx.timer.at(0, function() attempt "timer" end)) ngx.say "x" } ]],
    } do
      it(name .. " may wait", function()
        serve("location = /phase {" .. code .. "}")
        assert.are.equal(LIMIT, says(name, "/phase"))
      end)
    end

    it("ssl_certificate may wait", function()
      serve { http = [[ server {
        listen 127.0.0.1:@TLS_PORT@ ssl;
        ssl_certificate @ORG_DIR@/server.pem;
        ssl_certificate_key @ORG_DIR@/server.key;
        ssl_certificate_by_lua_block { attempt "ssl_certificate" }
        location / { content_by_lua_block { ngx.say(ngx.shared.said:get "ssl_certificate") } }
      } ]] }
      local pipe = assert(io.popen(("curl -sS --cacert %s https://localhost:%d/ 2>&1"):format(org.ca_file, server.tls_port)))
      local text = pipe:read "*a"
      pipe:close()
      assert.are.equal(LIMIT .. "\n", text)
    end)

    for name, pieces in pairs {
      set = { server = [[ location = /phase { set_by_lua_block $x { attempt "set" } content_by_lua_block { ngx.say "x" } } ]] },
      header_filter = { server = [[ location = /phase {
        content_by_lua_block { ngx.say "x" } header_filter_by_lua_block { attempt "header_filter" }
      } ]] },
      body_filter = { server = [[ location = /phase {
        content_by_lua_block { ngx.say "x" } body_filter_by_lua_block { attempt "body_filter" }
      } ]] },
      log = { server = [[ location = /phase { content_by_lua_block { ngx.say "x" } log_by_lua_block { attempt "log" } } ]] },
      balancer = {
        http = [[ upstream us {
          server 0.0.0.1;
          balancer_by_lua_block { attempt "balancer" assert(require("ngx.balancer").set_current_peer("127.0.0.1", @PORT@)) }
        } ]],
        server = [[ location = /phase { proxy_pass http://us/plain; } ]],
      },
      init_worker = {
        http = [[ init_worker_by_lua_block { attempt "init_worker" } ]],
        server = [[ location = /phase { content_by_lua_block { ngx.say "x" } } ]],
      },
    } do
      it(name .. " cannot wait, and the error says where that is possible", function()
        serve(pieces)
        assert.are.equal("bulkjob: nothing can be waited for in nginx's " .. name .. " phase. Requests can be made in the phases "
          .. "rewrite, access, content, preread, ssl_certificate, ssl_session_fetch and ssl_client_hello, and in a timer "
          .. "(ngx.timer.at)", says(name, "/phase"))
        assert.are.same({}, org:requests {})
      end)
    end

    it("log may block", function()
      serve [[ location = /phase { content_by_lua_block { ngx.say "x" } log_by_lua_block { attempt("log", { loop = bulkjob.loop.block }) } } ]]
      assert.are.equal(LIMIT, says("log", "/phase"))
    end)

    it("init says that it is too early, and leaves the workers unharmed", function()
      serve { init = [[ attempt("init") attempt("blocking", { loop = bulkjob.loop.block }) ]], server = LIMITS }
      for _, key in ipairs { "init", "blocking" } do
        local said = says(key, "/plain")
        assert.truthy(said:find("bulkjob: no request can be made in nginx's init phase", 1, true), said)
        assert.truthy(said:find("a timer (ngx.timer.at) that init_worker_by_lua* starts", 1, true), said)
      end
      assert.are.same({}, org:requests {})
      assert.are.equal(LIMIT, (server:get "/limits"))
    end)
  end)

  describe("a worker", function()
    describe("that is replaced", function()
      local old
      local LATER = [[ location = /later { content_by_lua_block { assert(ngx.timer.at(0, function() attempt "later" end)) ngx.say "x" } } ]]

      before_each(function()
        serve(LIMITS .. LATER)
        old = server:workers()[1]
      end)

      local function replace()
        server:signal "HUP"
        assert.is_true(nginx.eventually(function()
          return #server:workers() == 2
        end))
      end

      local function old_one_goes()
        assert.is_true(nginx.eventually(function()
          return #server:workers() == 1 and server:workers()[1] ~= old
        end))
        org:clear_faults()
        assert.are.equal(LIMIT, (server:get "/limits"))
      end

      for name, fault in pairs {
        ["waits for an answer"] = { stall = 3 },
        ["waits for the next try"] = { status = 503, headers = { ["Retry-After"] = "3" } },
      } do
        it("first answers whoever " .. name, function()
          org:fault(helper.with({ method = "GET", path = "/limits", count = 10 }, fault))
          local connections = open_many(10, "/limits")
          org_has(10)
          replace()
          for _, connection in ipairs(connections) do
            assert.are.equal(LIMIT, (nginx.read(connection)))
          end
          old_one_goes()
        end)

        it("first ends the timer that " .. name, function()
          org:fault(helper.with({ method = "GET", path = "/limits" }, fault))
          server:get "/later"
          org_has(1)
          replace()
          old_one_goes()
          assert.are.equal(LIMIT, (server:get "/said?key=later"))
        end)
      end
    end)

    it("that is ended leaves what is pending", function()
      stall(helper.NEVER_SECONDS)
      serve(LIMITS)
      local connections = open_many(50, "/limits")
      org_has(50)
      server:signal "TERM"
      assert.are.equal(0, nginx.eventually(function()
        return server:exit_code()
      end))
      assert.are.equal(1, #server:log "worker process %d+ exited with code 0")
      assert.are.same({}, server:log "exited on signal")
      for _, connection in ipairs(connections) do
        connection:close()
      end
    end)

    -- Lua never collects anything here, so it is the engine that has to notice.
    it("gets everything back when its clients go away", function()
      serve { init = [[ collectgarbage "stop" ]], server = LIMITS .. [[ location = /abort {
        lua_check_client_abort on;
        content_by_lua_block {
          assert(ngx.on_abort(function() ngx.exit(499) end))
          ngx.say(limit { max_connections = 100 })
        }
      } ]] }
      assert.are.equal(LIMIT, (server:get "/limits"))
      local worker = server:workers()[1]
      local fds, threads = nginx.count(worker, "fd"), nginx.count(worker, "task")
      stall(helper.NEVER_SECONDS)
      local connections = open_many(30, "/abort")
      org_has(31)
      assert.is_true(nginx.count(worker, "fd") >= fds + 4 * 30 - 1) -- the client, the org, and two ends of a cosocket
      for _, connection in ipairs(connections) do
        connection:close()
      end
      -- What is left may be one kept connection to the org.
      assert.is_true(nginx.eventually(function()
        return nginx.count(worker, "fd") <= fds + 1
      end))
      assert.are.equal(threads, nginx.count(worker, "task"))
      org:clear_faults()
      assert.are.equal(LIMIT, (server:get "/limits"))
    end)

    it("needs no descriptors for pauses", function()
      serve(LIMITS)
      assert.are.equal(LIMIT, (server:get "/limits"))
      local worker = server:workers()[1]
      local fds = nginx.count(worker, "fd")
      org:fault { method = "GET", path = "/limits", status = 503, headers = { ["Retry-After"] = "300" }, count = 20 }
      local connections = open_many(20, "/limits")
      org_has(1 + 20)
      local kept = #connections -- to the org: at most one for each. A pause in a cosocket would need two more.
      assert.is_true(nginx.eventually(function()
        return nginx.count(worker, "fd") <= fds + kept + #connections
      end))
      assert.are.equal(1 + 20, #org:requests { path = "/limits" }) -- all of them still wait
      for _, connection in ipairs(connections) do
        connection:close()
      end
    end)

    it("without a code cache ends the engine of each request", function()
      asked_for = "lua_code_cache is off"
      serve { http = "lua_code_cache off;", server = LIMITS }
      local worker = server:workers()[1]
      assert.are.equal(LIMIT, (server:get "/limits")) -- by now the worker has opened what it keeps
      assert.is_true(nginx.eventually(function()
        return nginx.count(worker, "task") == 1
      end))
      local fds, threads = nginx.count(worker, "fd"), nginx.count(worker, "task")
      for _ = 1, 50 do
        assert.are.equal(LIMIT, (server:get "/limits"))
      end
      assert.is_true(nginx.eventually(function()
        return nginx.count(worker, "task") <= threads and nginx.count(worker, "fd") <= fds
      end))
    end)

    describe("that runs out of descriptors", function()
      -- What a request gets that has so many left.
      local function get_with(spare)
        return (server:get("/hog?spare=" .. spare))
      end

      before_each(function()
        serve { files = 64, server = LIMITS .. [[ location = /hog { content_by_lua_block {
          local files = {}
          local file = io.open "/dev/null"
          while file do
            files[#files + 1] = file
            file = io.open "/dev/null"
          end
          for _ = 1, tonumber(ngx.var.arg_spare) do
            table.remove(files):close()
          end
          local _, why, err = pcall(function() return client():limits() end)
          for _, left in ipairs(files) do
            left:close()
          end
          ngx.say(tostring(err or why))
        } } ]] }
      end)

      it("says so, and recovers", function()
        assert.truthy(get_with(0):find("io error: the engine could not be started: Too many open files", 1, true))
        assert.are.equal(LIMIT, (server:get "/limits"))
      end)

      it("says so in the middle of its life, and loses none", function()
        asked_for = "socket%(%) failed %(24: Too many open files%)" -- nginx's own
        assert.are.equal(LIMIT, (server:get "/limits"))
        local worker = server:workers()[1]
        local fds = nginx.count(worker, "fd")
        stall(0.5) -- so that it has to wait
        for spare = 0, 1 do
          local said = get_with(spare)
          assert.truthy(said:lower():find("io error: the call cannot wait: too many open files", 1, true), said)
        end
        org:clear_faults()
        assert.are.equal(LIMIT, (server:get "/limits"))
        assert.is_true(nginx.eventually(function()
          return nginx.count(worker, "fd") <= fds
        end))
      end)
    end)
  end)

  it("can load the module in a request first, which nginx's own coroutine functions are in the way of", function()
    serve { init = [[
      bulkjob = nil
      for name in pairs(package.loaded) do
        if name:find "^bulkjob" then package.loaded[name] = nil end
      end
    ]], server = [[
      location = /first { content_by_lua_block {
        local bulkjob = require "bulkjob"
        local c = bulkjob.client { instance_url = ORG.tls_url, access_token = ORG.token, ca_file = ORG.ca_file }
        local job = assert(c:create { object = "Account", operation = "insert" })
        bulkjob.with(job, function() assert(job:upload { rows = { { Name = "x" } } }) end)
        ngx.say(job.state)
      } }
    ]] }
    for _ = 1, 3 do
      assert.are.equal("Aborted", (server:get "/first"))
    end
  end)

  it("waits by blocking in a thread of ngx.run_worker_thread", function()
    serve { main = "thread_pool bulk threads=2;", init = SEARCH_HERE, server = [[
      location = /thread { content_by_lua_block {
        local _, said = ngx.run_worker_thread("bulk", "spec.host.worker", "limit", ORG.tls_url, ORG.token, ORG.ca_file)
        ngx.say(said)
      } }
    ]] }
    for _ = 1, 3 do
      assert.are.equal(LIMIT, (server:get "/thread"))
    end
  end)

  it("shows the line of an error, which is a string there, and gives its table", function()
    asked_for = "lua entry thread aborted: runtime error: "
    org:synthetic_query(true, { rows = 9, row_bytes = 200 })
    org:fault { path = "/results", headers = { ["Sforce-Locator"] = "null" } }
    org:set { query_page_records = 5 }
    serve [[
      location = /short { content_by_lua_block {
        local job = assert(client():create { operation = "query", query = "SELECT Id FROM Account" })
        assert(job:wait())
        for _ in job:results() do end
      } }
      location = /iterate { content_by_lua_block { for _ in client():job("7508d00000Kq3XbAAJ"):failed_results() do end } }
      location = /assert { content_by_lua_block { bulkjob.assert(client():job("7508d00000Kq3XbAAJ"):info()) } }
      location = /caught { content_by_lua_block {
        local _, text = pcall(function() for _ in client():job("7508d00000Kq3XbAAJ"):failed_results() do end end)
        local err = bulkjob.caught(text)
        ngx.say(type(text), " ", err.kind, " ", err.job_id)
      } }
      location = /with { content_by_lua_block {
        local job = assert(client():create { object = "Account", operation = "insert" })
        local _, text = pcall(bulkjob.with, job, function() for _ in client():job("7508d00000Kq3XbAAJ"):failed_results() do end end)
        ngx.say(bulkjob.caught(text).code, " ", job.state)
      } }
    ]]
    assert.are.equal("string api 7508d00000Kq3XbAAJ", (server:get "/caught"))
    assert.are.equal("NOT_FOUND Aborted", (server:get "/with"))
    server:get "/iterate"
    server:get "/assert"
    server:get "/short"
    assert.are.equal(1, #server:log "runtime error: protocol error: rows that the job counts: 9; rows in its results: 5")
    assert.are.equal(1, #server:log "runtime error: api error NOT_FOUND")
    assert.are.equal(1, #server:log "runtime error: content_by_lua%(nginx.conf:%d+%):1: api error NOT_FOUND")
    assert.are.equal(0, #server:log "unknown reason")
  end)

  it("ends what an old worker waits for after worker_shutdown_timeout", function()
    stall(helper.NEVER_SECONDS)
    serve { main = "worker_shutdown_timeout 1s;", server = [[
      location = /wait { content_by_lua_block {
        ngx.timer.at(0, function()
          local limits, err = client():limits()
          ngx.log(ngx.NOTICE, "it ended: ", tostring(limits or err))
        end)
      } }
    ]] }
    server:get "/wait"
    org_has(1)
    local old = server:workers()[1]
    server:signal "HUP"
    assert.is_true(nginx.eventually(function()
      local there = false
      for _, pid in ipairs(server:workers()) do
        there = there or pid == old
      end
      return not there
    end))
    assert.are.equal(1, #server:log "it ended: io error: the call cannot wait: nginx ends")
  end)
end)
