--- The sandbox as a tool in somebody's test suite: how it starts, says that it is ready, ends, what it leaves and what it never touches.

local cjson = require "cjson"
local control = require "sandbox.control"
local helper = require "spec.helper"
local lfs = require "lfs"
local programs = require "spec.programs"
local server = require "spec.server"
local socket = require "socket"

local LIMIT = 30 -- seconds; it only ends what hangs

local root = lfs.currentdir()
local scratch

local function sh(command)
  local pipe = assert(io.popen(("{ %s\n} 2>&1; echo \" exit $?\""):format(command)))
  local text = pipe:read "*a"
  pipe:close()
  local said, code = text:match "^(.*) exit (%d+)\n$"
  return said, tonumber(code)
end

local write = helper.write

local function exists(path)
  return lfs.symlinkattributes(path, "mode") ~= nil
end

local function entries(path)
  local list = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function until_true(what, check)
  local deadline = socket.gettime() + LIMIT
  while not check() do
    assert(socket.gettime() < deadline, "never: " .. what)
    socket.sleep(0.02)
  end
end

local function is_alive(pid)
  local stat = helper.content("/proc/" .. pid .. "/stat")
  return stat ~= nil and stat:match "%) (%a)" ~= "Z"
end

--- Starts a command in the background: its process id and what it said when it was ready.
local started = 0
local function start(command)
  started = started + 1
  local ready = scratch .. "/ready" .. started
  local pipe = assert(io.popen(("cd %s && exec %s --ready-file %s >%s.log 2>&1 </dev/null & echo $!"):format(root, command, ready, ready)))
  local pid = tonumber(pipe:read "*l")
  pipe:close()
  until_true(command .. " is ready", function()
    return exists(ready) or not is_alive(pid)
  end)
  local text = helper.content(ready)
  assert(text, helper.content(ready .. ".log"))
  return pid, cjson.decode(text), ready
end

local function ask(url, body)
  local text = sh(("curl -sS --max-time 10 %s '%s'"):format(body and "-d '" .. body .. "'" or "", url))
  return cjson.decode(text), text
end

--- All processes of the org, and its directory if it was made for it, are gone.
local function gone(pid, org, dir_stays)
  until_true("the org is gone", function()
    return not is_alive(pid) and not is_alive(org.pid) and not is_alive(org.launcher_pid) and (dir_stays or not exists(org.dir))
  end)
end

local function bulkjob()
  return ("env LUA_PATH='%s/lua/?.lua;;' %s bin/bulkjob"):format(root, assert(os.getenv "LUA", "this is run by make test"))
end

describe("the sandbox as a tool", function()
  before_each(function()
    scratch = os.tmpname()
    os.remove(scratch)
    assert(lfs.mkdir(scratch))
  end)

  after_each(function()
    os.execute("rm -rf '" .. scratch .. "'")
  end)

  it("prints what to export, and ends with TERM, INT and HUP", function()
    for _, signal in ipairs { "TERM", "INT", "HUP" } do
      local pid, org, ready = start "sandbox/run"
      assert.is_true(exists(org.dir))
      assert.is_nil(org.tls_url)
      assert.are.equal(200, tonumber((sh(("curl -s -o /dev/null -w '%%{http_code}' '%s/services/data'"):format(org.url)))))
      if signal == "INT" then -- which a background process of a shell ignores
        os.execute(("kill -TERM %d"):format(org.pid))
      else
        os.execute(("kill -%s %d"):format(signal, pid))
      end
      gone(pid, org)
      assert.is_false(exists(ready))
    end
    local text, code = sh "timeout -s INT 1 sandbox/run --https"
    assert.matches("export SF_INSTANCE_URL=https://localhost:%d+\n", text)
    assert.matches("export SF_ACCESS_TOKEN='00D%w+!%S+'\n", text)
    for _, name in ipairs { "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "keytool" } do
      assert.is_truthy(text:find(name, 1, true))
    end
    assert.are.equal(124, code)
    assert.is_false(exists(text:match "running in (%S+)%. Ctrl%-C"))
  end)

  it("starts where LUA_CPATH is that of another Lua", function()
    local module = assert(io.open(scratch .. "/cjson.so", "w"))
    module:write "no module that nginx could load"
    module:close()
    local pid, org = start(("env LUA_CPATH='%s/?.so' sandbox/run"):format(scratch))
    os.execute("kill -TERM " .. ("%d"):format(pid))
    gone(pid, org)
  end)

  it("ends when any of its processes is killed", function()
    for _, which in ipairs { "launcher_pid", "pid" } do
      local pid, org = start "sandbox/run"
      os.execute("kill -KILL " .. ("%d"):format(org[which]))
      gone(pid, org)
    end
  end)

  it("ends with the process that it works for, and with its standard input", function()
    local pipe = assert(io.popen "sleep 1000 >/dev/null & echo $!")
    local owner = pipe:read "*l"
    pipe:close()
    local pid, org = start("sandbox/run --owner " .. owner)
    os.execute("kill -KILL " .. owner)
    gone(pid, org)
    local text, code = sh "echo | sandbox/run --until-eof --json"
    assert.are.equal(0, code)
    assert.is_false(exists(cjson.decode(text).dir))
  end)

  it("goes when the command bulkjob does, however that ends", function()
    for _, signal in ipairs { "TERM", "HUP", "KILL" } do
      local pid, org = start(bulkjob() .. " sandbox --token a.token --set username=me@acme.example")
      assert.are.equal("a.token", org.token)
      local who = sh(("curl -sS -H 'Authorization: Bearer a.token' '%s/services/oauth2/userinfo'"):format(org.url))
      assert.are.equal("me@acme.example", cjson.decode(who).preferred_username)
      os.execute(("kill -%s %d"):format(signal, pid))
      gone(pid, org)
    end
    local text, code = sh(bulkjob() .. " sandbox --set nonsense=1")
    assert.are.equal("sandbox: unknown setting: nonsense\n", text)
    assert.are.equal(2, code)
    text, code = sh("timeout -s TERM 2 " .. bulkjob() .. " sandbox --json --https --port " .. server.free_port())
    assert.are.equal(124, code)
    assert.matches("^https://localhost:", cjson.decode(text).tls_url)
  end)

  it("ends as it was told to by a signal for the command alone", function()
    for _, signal in ipairs { "TERM", "INT", "HUP" } do
      write(scratch .. "/script", ([[
        env --default-signal=INT %s sandbox --json >%s/said & pid=$!
        until [ -s %s/said ]; do sleep 0.02; done
        kill -%s $pid
        wait $pid]]):format(bulkjob(), scratch, scratch, signal))
      local text, code = sh("sh " .. scratch .. "/script")
      assert.are.same({ "", 0 }, { text, code })
      local org = cjson.decode(helper.content(scratch .. "/said"))
      assert.is_false(exists(org.dir) or is_alive(org.pid) or is_alive(org.launcher_pid))
      os.remove(scratch .. "/said")
    end
  end)

  it("says at once what is wrong", function()
    local port = server.free_port()
    local taken = assert(socket.bind("127.0.0.1", port))
    write(scratch .. "/file", "")
    for arguments, wanted in pairs {
      ["--set quue_seconds=1"] = "2 unknown setting: quue_seconds", ["--set slice_rows=0"] = "2 setting slice_rows must be a whole number",
      ["--set hold=maybe"] = "2 setting hold must be one of InProgress, UploadComplete, false, true, not 'maybe'",
      ["--set queue_seconds=soon"] = "2 setting queue_seconds must be a number, not 'soon'",
      ["--set gzip=yes"] = "2 setting gzip must be a boolean", ["--set gzip"] = "2 %-%-set needs NAME=VALUE",
      ["--port 70000"] = "2 %-%-port needs a number from 1 to 65535", ["--tls-port 0"] = "2 %-%-tls%-port needs a number from 1",
      ["--port 99999999999999999999"] = "2 %-%-port needs a number from 1", ["--port x"] = "2 %-%-port needs a number", ["--port"] = "2 %-%-port needs a value", ["--nonsense"] = "2 unknown option: %-%-nonsense",
      ["--token 'a b'"] = "2 a token has no blanks", ["--port " .. port] = "1 cannot listen on 127.0.0.1:" .. port,
      ["--dir " .. scratch .. "/file/x"] = "1 cannot make the directory", ["--dir " .. scratch] = "1 .* is not empty",
      ["--ready-file " .. scratch .. "/no/where"] = "1 cannot write",
    } do
      local text, code = sh("sandbox/run " .. arguments)
      assert.matches("^sandbox: " .. wanted:sub(3), text)
      assert.are.equal(tonumber(wanted:sub(1, 1)), code, arguments)
      assert.are.equal(1, select(2, text:gsub("\n", "")), text) -- one line, no traceback
    end
    taken:close()
    assert.has_error(function()
      control.start { nonsense = 1 }
    end)
    assert.matches("%-%-set NAME=VALUE", (sh "sandbox/run --help"))
  end)

  it("says that the disk is full, and leaves nothing", function()
    -- A file system of its own needs rights that not everybody has; a limit on the size of files acts in the same place.
    local text, code = sh(("TMPDIR=%s sh -c 'ulimit -f 1; trap \"\" XFSZ; exec sandbox/run'"):format(scratch))
    assert.are.equal(1, code)
    assert.matches("^sandbox: ", text)
    assert.are.equal("", entries(scratch))
  end)

  it("touches no directory that does not bear its mark", function()
    local dir = scratch .. "/mine"
    assert(lfs.mkdir(dir))
    for _, name in ipairs { "logs", "jobs", "tmp" } do
      assert(lfs.mkdir(dir .. "/" .. name))
      write(dir .. "/" .. name .. "/precious", "x")
    end
    write(dir .. "/ready", "x")
    local before = entries(dir)
    for _, more in ipairs { "", " --keep" } do
      local text, code = sh("sandbox/run --dir " .. dir .. more)
      assert.are.equal(1, code)
      assert.matches("is not empty", text)
    end
    assert.are.equal(before, entries(dir))
    assert.are.equal("precious", entries(dir .. "/jobs"))
    -- A start that was killed at once leaves a directory that can be used.
    local half = scratch .. "/half"
    assert(lfs.mkdir(half))
    write(half .. "/.bulkjob-sandbox", "")
    assert.is_string(cjson.decode((sh("echo | sandbox/run --until-eof --json --dir " .. half))).token)
    -- What was put beside its own files stays, and so does a directory that was there before.
    local own = scratch .. "/own"
    assert(lfs.mkdir(own))
    local pid, org = start("sandbox/run --dir " .. own)
    write(own .. "/notes", "x")
    os.execute("kill " .. pid)
    gone(pid, org, true)
    assert.are.equal("notes", entries(own))
    local empty = scratch .. "/empty"
    assert(lfs.mkdir(empty))
    for _, signal in ipairs { "TERM", "KILL" } do
      pid, org = start("sandbox/run --dir " .. empty)
      os.execute(("kill -%s %d"):format(signal, pid))
      gone(pid, org, true)
      until_true("it is empty", function()
        return entries(empty) == ""
      end)
    end
  end)

  it("runs in a directory, and from a clone, with blanks in their names", function()
    assert(lfs.mkdir(scratch .. "/a clone"))
    assert.are.equal(0, select(2, sh(("cp -r sandbox '%s/a clone/sandbox'"):format(scratch))))
    local text = sh(("echo | '%s/a clone/sandbox/run' --dir '%s/a dir' --until-eof --json --https"):format(scratch, scratch))
    assert.are.equal(scratch .. "/a dir", cjson.decode(text).dir)
    assert.is_false(exists(scratch .. "/a dir"))
    local org = control.start { dir = scratch .. "/another dir" }
    org:reset()
    assert.are.equal("", org:errors())
    org:stop()
    assert.is_false(exists(scratch .. "/another dir"))
  end)

  it("listens where it is told to", function()
    local pid, org = start "sandbox/run --bind 127.0.0.2 --https"
    assert.matches("^http://127.0.0.2:", org.url)
    local text, code = sh(("curl -sS --cacert %s '%s/services/data'"):format(org.ca_file, org.tls_url))
    assert.are.equal(0, code, text)
    os.execute("kill " .. pid)
    gone(pid, org)
    pid, org = start "sandbox/run --bind 0.0.0.0"
    local port = org.url:match "%d+$"
    local form = "grant_type=client_credentials&client_id=3MVG9.sandbox.app&client_secret=the.secret.of.the.app"
    assert.are.equal("http://localhost:" .. port, ask("http://localhost:" .. port .. "/services/oauth2/token", form).instance_url)
    os.execute("kill " .. pid)
    gone(pid, org)
  end)

  it("speaks HTTP/2 when told to, and sends connections away", function()
    local org = control.start { http2 = true, http2_requests = 3 }
    local limits = org.http2_url .. "/services/data/v66.0/limits"
    local function curl(arguments)
      return sh(("curl -sS --http2 --cacert %s -H 'Authorization: Bearer %s' -w '%%{http_version} %%{http_code}\n' -o /dev/null %s"):format(
        org.ca_file, org.token, arguments))
    end
    assert.are.equal("2 200\n", (curl(limits)))
    -- Three requests of five on the first connection, two on the next.
    curl(("-o /dev/null "):rep(4) .. (limits .. " "):rep(5))
    local log, connections = org:requests { protocol = "HTTP/2.0" }, {}
    for i = 2, 6 do
      connections[#connections + 1] = log[i].connection == log[2].connection and "first" or "next"
    end
    assert.are.equal("first first first next next", table.concat(connections, " "))
    for _, fault in ipairs { { reset = "after" }, { close = "before" }, { close = "body", body_bytes = 3 }, { cut = 10 } } do
      org:fault(fault)
      assert.are.equal(92, select(2, curl(limits))) -- curl: the stream was not closed cleanly
    end
    org:fault { informational = 5 }
    assert.are.equal("2 200\n", (curl(limits)))
    local id = cjson.decode((sh(("curl -sS --http2 --cacert %s -H 'Authorization: Bearer %s' --json '%s' %s"):format(org.ca_file, org.token,
      '{"object":"Account","operation":"insert"}', org.http2_url .. "/services/data/v66.0/jobs/ingest")))).id
    write(scratch .. "/body", "Name\n" .. ("A\n"):rep(100000))
    assert.are.equal("2 201\n", (curl(("-H 'Content-Type: text/csv' -T %s/body %s/services/data/v66.0/jobs/ingest/%s/batches"):format(scratch,
      org.http2_url, id))))
    assert.are.equal(200005, org:job(id).bytes)
    assert.are.equal("", org:errors())
    org:stop()
  end)

  it("keeps the text of settings as it is", function()
    local texts = { client_id = "a.b-c 'd' \"e\" $f `g` \\ %h", client_secret = "é&=+\n2", username = "me@acme.example" }
    local org = control.start(texts)
    local settings = org:set {}
    for name, text in pairs(texts) do
      assert.are.equal(text, settings[name])
    end
    org:reset()
    assert.are.equal(texts.client_id, org:set({}).client_id)
    org:stop()
  end)

  it("goes on where it was with a directory that was kept", function()
    local dir = scratch .. "/kept"
    local bearer, base
    local org = control.start { dir = dir, keep = true, queue_seconds = 0, processing_seconds = 0 }
    local function rest(method, path, body, kind)
      if body then
        write(scratch .. "/body", body)
      end
      local text, code = sh(("curl -sS -f -X %s -H 'Authorization: Bearer %s' -H 'Content-Type: %s' %s '%s'"):format(method, bearer,
        kind or "application/json", body and "--data-binary @" .. scratch .. "/body" or "", base .. path))
      assert.are.equal(0, code, text)
      return text
    end
    local function attend()
      bearer, base = org.token, org.url .. "/services/data/v66.0"
    end
    local function create(object)
      return cjson.decode(rest("POST", "/jobs/ingest", cjson.encode { object = object, operation = "insert" })).id
    end
    local function close(id)
      rest("PATCH", "/jobs/ingest/" .. id, '{"state":"UploadComplete"}')
    end
    local function settle(path)
      until_true("the job ends", function()
        return cjson.decode(rest("GET", path)).state == "JobComplete"
      end)
    end
    local function csv(n)
      local rows = { "Name,Ext__c" }
      for i = 1, n do
        rows[#rows + 1] = ("%s,%d"):format(i % 100 == 50 and "" or "Row " .. i, i)
      end
      return table.concat(rows, "\n") .. "\n"
    end
    attend()
    org:define("Ship__c", { { name = "Name" }, { name = "Tons__c", type = "number" } })
    local ship, open = create "Ship__c", create "Account"
    rest("PUT", "/jobs/ingest/" .. ship .. "/batches", "Name,Tons__c\nA,5\n", "text/csv")
    rest("PUT", "/jobs/ingest/" .. open .. "/batches", csv(10):gsub("(%d+)\n", "open%1\n") .. "", "text/csv")
    close(ship)
    settle("/jobs/ingest/" .. ship)
    local query = cjson.decode(rest("POST", "/jobs/query", cjson.encode { operation = "query", query = "SELECT Name FROM Ship__c" })).id
    settle("/jobs/query/" .. query)
    local running = create "Account"
    rest("PUT", "/jobs/ingest/" .. running .. "/batches", csv(1000), "text/csv")
    org:hold(running, "InProgress", 400)
    close(running)
    until_true("400 rows are processed", function()
      return org:job(running).processed == 400
    end)
    local token, old = org.token, ship
    org:stop()
    assert.is_true(exists(dir .. "/org.db"))
    assert.is_false(exists(dir .. "/ready"))
    -- Once it ends in an orderly way, once by force.
    for round = 1, 2 do
      org = control.start { dir = dir, queue_seconds = 0, processing_seconds = 0, hold = round == 1 and "InProgress" or nil,
        hold_rows = round == 1 and 600 or nil }
      attend()
      assert.are.equal(token, org.token)
      if round == 1 then
        until_true("600 rows are processed", function()
          return org:job(running).processed == 600
        end)
        os.execute(("kill -KILL %d; kill -KILL %d"):format(org.pid, org.launcher_pid))
        until_true("it is gone", function()
          return not is_alive(org.pid)
        end)
        org.pipe:close()
        org.pipe = nil
      end
    end
    settle("/jobs/ingest/" .. running)
    assert.are.equal(1000, org:job(running).processed)
    assert.are.equal(10, org:job(running).failed)
    assert.are.equal(990, org:count "Account")
    local _, lines = rest("GET", "/jobs/ingest/" .. running .. "/successfulResults"):gsub("\n", "")
    assert.are.equal(991, lines)
    _, lines = rest("GET", "/jobs/ingest/" .. running .. "/failedResults"):gsub("\n", "")
    assert.are.equal(11, lines)
    for row, times in pairs(org:times("Account", "Ext__c")) do
      assert.are.equal(1, times, row)
    end
    assert.are.equal('"Name"\n"A"\n', rest("GET", "/jobs/query/" .. query .. "/results"))
    assert.matches('"A","5"', rest("GET", "/jobs/ingest/" .. old .. "/successfulResults"))
    close(open)
    settle("/jobs/ingest/" .. open)
    assert.are.equal(1000, org:count "Account")
    local new = create "Ship__c"
    rest("PUT", "/jobs/ingest/" .. new .. "/batches", "Name,Tons__c\nB,6\n", "text/csv")
    close(new)
    settle("/jobs/ingest/" .. new)
    assert.are.equal(2, org:count "Ship__c")
    assert.are.equal("", org:errors())
    org:stop()
    assert.is_true(exists(dir .. "/org.db"))
  end)

  describe("in the examples of TESTING.md", function()
    local function example(kind, path)
      local text = helper.content(root .. "/sandbox/TESTING.md"):match("```" .. kind .. "\n(.-)```")
      write(path, text)
    end

    local function has(command)
      return select(2, sh(command .. " >/dev/null 2>&1")) == 0
    end

    local environment = ("env SANDBOX='%s/sandbox/run' TMPDIR='%s' "):format(root, "%s")

    local function passes(command)
      local text, code = sh(environment:format(scratch) .. command)
      assert.are.equal(0, code, text)
      return text
    end

    it("works from a shell", function()
      example("sh", scratch .. "/test.sh")
      assert.matches("ok 503\n.*ok lost answer\n", passes("sh " .. scratch .. "/test.sh"))
      assert.are.equal("test.sh", entries(scratch))
    end)

    it("works from busted", function()
      example("lua", scratch .. "/loader_spec.lua")
      assert.matches("2 successes / 0 failures / 0 errors", passes("$LUA $(command -v busted) -o plainTerminal " .. scratch .. "/loader_spec.lua"))
    end)

    it("works from Node", function()
      if not has "node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'" then
        return pending "Node 20 is missing"
      end
      example("js", scratch .. "/loader.test.mjs")
      assert.matches("pass 2\n", passes("node --test " .. scratch .. "/loader.test.mjs"))
      until_true("the org is gone", function()
        return entries(scratch) == "loader.test.mjs"
      end)
    end)

    it("works from pytest", function()
      -- Debian's own, where another python3 stands before it.
      local python = has "python3 -m pytest --version" and "python3" or "/usr/bin/python3"
      example("python", scratch .. "/test_loader.py")
      assert.matches("2 passed", passes(python .. " -m pytest -q -p no:cacheprovider " .. scratch .. "/test_loader.py"))
    end)
  end)

  it("is controlled with curl", function()
    local org = control.start { https = false }
    local base = org.control_url .. "/sandbox"
    assert.is_nil(org.tls_url)
    local _, text = ask(base .. "/jobs")
    assert.matches('"jobs" : %[%]', text)
    _, text = ask(base .. "/faults", "{}")
    assert.are.equal('{"faults":[]}\n', text)
    _, text = ask(base .. "/requests", "{}")
    assert.are.equal('{"requests":[]}\n', text)
    local list = ask(base)
    local names = {}
    for _, entry in ipairs(list.commands) do
      assert.is_string(entry.about)
      names[entry.name] = entry
    end
    assert.are.same({ { name = "object", type = "text", needed = true } }, names.count.arguments)
    assert.are.equal(200, list.settings.slice_rows)
    for _, case in ipairs {
      { "count", "{}", "count needs object (text)" }, { "count", '{"object":5}', "object must be a text" },
      { "count", '{"object":"Nope"}', "no such object: Nope" }, { "count", '{"object":"Account","x":1}', "count has no argument x" },
      { "count", "[", nil }, { "set", '{"slice_rows":0}', "setting slice_rows must be a whole number from 1 on" },
      { "fault", '{"status":1000}', "bad value for status: 1000" }, { "fault", '{"status":"x"}', "status must be a number" },
      { "fault", '{"chance":2}', "bad value for chance: 2" }, { "hold", '{"id":"x"}', "no such job: x" },
      { "define", '{"object":"X__c","fields":[{"name":"A","type":"numbr"}]}',
        "field A: there is no type numbr; there are text, number, integer, boolean, date, datetime and reference" },
      { "define", '{"object":"X__c","fields":[{"name":"A","lenght":5}]}', "field A: there is no key lenght" },
      { "define", '{"object":"X__c","fields":{"name":"A"}}', "fields must be a list" },
      { "define", '{"object":"Account","fields":[{"name":"Name"}]}', "field exists already: Name" },
      { "seed_jobs", '{"jobs":[{"createdDate":"now"}]}', "bad createdDate: now" }, { "remove_fault", '{"id":7}', "no such fault: 7" },
    } do
      local answer = ask(base .. "/" .. case[1], case[2])
      assert.is_string(answer.error)
      assert.is_nil(answer.error:find ".lua:")
      if case[3] then
        assert.are.equal(case[3], answer.error)
      end
    end
    local id = org:fault { status = 503 }
    org:remove_fault(id)
    assert.are.same({}, org:faults())
    assert.are.equal("", org:errors())
    org:stop()
  end)

  -- See sandbox/lua/jobs.lua: with the LuaJIT of Debian 12 such a function may break the garbage collector.
  it("and the library call no function while a module is loaded that sets locals of the module", function()
    for dir, paths in pairs {
      ["sandbox/lua"] = "env -u LUA_CPATH LUA_PATH='sandbox/lua/?.lua;;'",
      lua = "env " .. programs.luajit_environment(),
    } do
      local out, status = helper.shell(([[
        %s luajit spec/host/loading.lua $(cd %s && find . -name '*.lua' ! -name meta.lua | sed 's,^\./,,; s,\.lua$,,; s,/,.,g')
      ]]):format(paths, dir))
      assert.are.equal(0, status, out)
      assert.is_not_nil(out:find "^%d%d modules\n$", out)
    end
  end)
end)
