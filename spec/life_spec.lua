--- What the library does to the process it lives in: when its thread comes and goes, how a program ends, signals, fork.
--- Each fact is looked at in a Lua process of its own.
local core = require "bulkjob.core"
local helper = require "spec.helper"

-- What is in flight does not end by itself, so a program that waits for any of it takes NEVER_SECONDS. At once is less than this,
-- also on a busy machine.
local SECONDS_TO_END = helper.HANG_SECONDS / 6
local SYNTHETIC_BYTES = 30 * 1000 * 1000

local quote = helper.quote

-- What every script begins with, behind a line that sets ORG, TOKEN, CA_FILE, JOB, FORK, SAVE_PATH, HANG_SECONDS and NEVER_SECONDS.
local PRELUDE = [[
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"

local function options(more)
  local all = { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE, retry = { tries = 4, base = 0.01, cap = 0.05 },
    timeout = NEVER_SECONDS, connect_timeout = NEVER_SECONDS }
  for name, value in pairs(more or {}) do
    all[name] = value
  end
  return all
end

-- A client whose verbs, called by begin(), stay where they have to wait.
local function yielding(more)
  local all = options(more)
  function all.loop()
    coroutine.yield()
  end
  return bulkjob.client(all)
end

local function sleep(seconds)
  local pause = core.channel()
  pause:set_deadline(core.now() + seconds)
  pause:sleep()
  pause:close()
end

local begun = {}
local function begin(fn)
  local task = coroutine.create(fn)
  begun[#begun + 1] = task
  assert(coroutine.resume(task))
  return task
end

local function resume_all()
  sleep(0.01)
  for _, task in ipairs(begun) do
    if coroutine.status(task) == "suspended" then
      assert(coroutine.resume(task))
    end
  end
end

local function take_on(seconds)
  local till = core.now() + seconds
  while core.now() < till do
    resume_all()
  end
end

-- Raises what `why()` answers when that has not come after HANG_SECONDS.
local function take_on_until(ready, why)
  local till = core.now() + HANG_SECONDS
  while not ready() do
    assert(core.now() < till, why and why() or "it did not come")
    resume_all()
  end
end

local function list(dir)
  local names = {}
  for name in require("lfs").dir(dir) do
    names[#names + 1] = name:match "^%d+$"
  end
  return names
end

local function fds() return #list "/proc/self/fd" end
local function threads() return #list "/proc/self/task" end

-- The last thing a script says: the time from here to its end is measured.
local function leave()
  io.stdout:write("LEAVES ", ("%.6f"):format(core.now()), "\n")
  io.stdout:flush()
end
]]

-- What can be under way when a program ends. `code` begins it.
local FLIGHTS = {
  {
    name = "calls that are not answered",
    fault = { method = "GET", path = "/jobs/ingest/[^/]+$", stall = helper.NEVER_SECONDS, count = -1 },
    code = [[
      local quiet = yielding()
      for _ = 1, 40 do
        begin(function() quiet:job(JOB, "ingest"):info() end)
      end
    ]],
  },
  {
    name = "uploads that the server does not take",
    fault = { method = "PUT", stall = helper.NEVER_SECONDS, count = -1 },
    code = [[
      local text = "Name\n" .. ("x"):rep(8 * 1024 * 1024) .. "\n"
      local uploader = yielding()
      begin(function() uploader:job(JOB, "ingest"):upload(text) end)
      begin(function() uploader:job(JOB, "ingest"):upload(function() return text end) end)
    ]],
  },
  {
    name = "an upload whose source has no more for now",
    code = [[
      local feeder, fed = yielding(), false
      begin(function()
        feeder:job(JOB, "ingest"):upload { columns = { "Name" }, rows = function()
          while fed do
            coroutine.yield()
          end
          fed = true
          return { Name = ("x"):rep(100000) }
        end }
      end)
    ]],
  },
  {
    name = "downloads that were left and that are read",
    code = [[
      local reader = bulkjob.client(options())
      local set = reader:job(JOB, "ingest"):failed_results()
      for _ = 1, 1000 do
        assert(set())
      end
      local slow = yielding()
      begin(function()
        local set, n = slow:job(JOB, "ingest"):failed_results(), 0
        while set:next() do -- not by `for`, in which Lua 5.1 cannot yield
          n = n + 1
          if n >= 1000 then
            coroutine.yield()
          end
        end
      end)
      begin(function() slow:job(JOB, "ingest"):failed_results():save(SAVE_PATH) end)
    ]],
  },
  {
    name = "connections that nobody accepts",
    code = [[
      local listener = assert(require("socket").bind("127.0.0.1", 0))
      local _, port = listener:getsockname()
      local nobody = yielding { instance_url = "https://127.0.0.1:" .. port }
      for _ = 1, 20 do
        begin(function() nobody:limits() end)
      end
    ]],
  },
  {
    name = "a retry that is waited for",
    fault = { method = "GET", path = "/limits", status = 503, headers = { ["Retry-After"] = "60" }, count = -1 },
    code = [[
      local patient = yielding()
      begin(function() patient:limits() end)
    ]],
  },
}

-- How a program ends; `clients` is a list of all of them.
local ENDINGS = {
  { name = "by its last line", code = "leave()" },
  { name = "by os.exit(0)", code = "leave() os.exit(0)" },
  { name = "by os.exit(0, true)", code = "leave() os.exit(0, true)" },
  { name = "by an error", code = "leave() error('ours', 0)", status = 1, out = "ours" },
  { name = "after client:close()", code = "leave() close_all()" },
  { name = "by os.exit(0) after client:close()", code = "leave() close_all() os.exit(0)" },
  { name = "by os.exit(0, true) after client:close()", code = "leave() close_all() os.exit(0, true)" },
  { name = "with everything collected first", code = "leave() forget_all() collectgarbage() collectgarbage()" },
}

describe("in a process of its own", function()
  local org, settings, fork, save_path

  local function build_fork_module()
    local path = os.tmpname()
    local version = jit and "luajit" or "lua" .. _VERSION:match "%d+%.%d+"
    local command = ("%s -D_GNU_SOURCE -shared -fPIC $(pkg-config --cflags %s) -o %s spec/c/fork_module.c 2>&1"):format(os.getenv "CC" or "cc",
      version, quote(path))
    local pipe = assert(io.popen(command))
    local out = pipe:read "*a"
    pipe:close()
    assert(out == "", out)
    return path
  end

  setup(function()
    org = helper.org { discard = true }
    fork = build_fork_module()
    local client = helper.client(org)
    local job = assert(client:create { object = "Account", operation = "insert" })
    org:synthetic(job.id, "failed", SYNTHETIC_BYTES)
    client:close()
    save_path = fork .. ".csv"
    settings = ("ORG, TOKEN, CA_FILE, JOB, FORK, SAVE_PATH = %q, %q, %q, %q, %q, %q\nHANG_SECONDS, NEVER_SECONDS = %d, %d\n"):format(
      org.tls_url, org.token, org.ca_file, job.id, fork, save_path, helper.HANG_SECONDS, helper.NEVER_SECONDS)
  end)

  teardown(function()
    org:stop()
    os.remove(fork)
  end)

  after_each(function()
    org:clear_faults()
    helper.clean()
    os.remove(save_path .. ".bulkjob-part") -- of a process that ended in mid-download
  end)

  -- Runs a script by a shell command that has its words in $1, $2. Answers { out =, status =, seconds = after leave() }.
  local function run(script, command)
    local path = helper.file(settings .. PRELUDE .. script)
    -- A program that does not end must not stop the suite.
    local pipe = assert(io.popen(("timeout -k 1 %d sh -c %s sh %s %s 2>&1 </dev/null; echo STATUS $?"):format(
      2 * helper.HANG_SECONDS, quote(command or 'exec "$1" "$2"'), quote(assert(os.getenv "LUA", "this is run by make test")), quote(path))))
    local out = pipe:read "*a"
    local now = core.now()
    pipe:close()
    local left = tonumber(out:match "LEAVES ([%d.]+)")
    local status = tonumber(out:match "STATUS (%d+)\n$")
    out = out:gsub("LEAVES [^\n]*\n", ""):gsub("STATUS %d+\n$", "")
    return { out = out, status = status, seconds = left and now - left }
  end

  local function says(expected, script)
    local result = run(script)
    assert.are.equal(expected, result.out)
    assert.are.equal(0, result.status)
  end

  describe("nothing is started", function()
    it("by require", function()
      local path = helper.file [[
        local lfs = require "lfs"
        local function names(dir)
          local all = {}
          for name in lfs.dir(dir) do
            all[#all + 1] = name
          end
          table.sort(all)
          return table.concat(all, " ")
        end
        local fds, tasks = names "/proc/self/fd", names "/proc/self/task"
        require "bulkjob"
        assert(fds == names "/proc/self/fd", names "/proc/self/fd")
        assert(tasks == names "/proc/self/task", names "/proc/self/task")
      ]]
      local pipe = assert(io.popen(quote(os.getenv "LUA") .. " " .. quote(path) .. " 2>&1; echo $?"))
      local out = pipe:read "*a"
      pipe:close()
      assert.are.equal("0\n", out)
    end)

    it("by making a client, a handle and a result set", function()
      says("", [[
        local fds_before, threads_before = fds(), threads()
        local client = bulkjob.client(options())
        local set = client:job(JOB, "ingest"):failed_results()
        assert(fds() == fds_before and threads() == threads_before)
        set:close()
        client:close()
      ]])
    end)

    it("but one thread by the first request; more clients share it and its connections", function()
      says("", [[
        local threads_before = threads()
        assert(bulkjob.client(options()):limits())
        assert(threads() == threads_before + 1)
        local fds_before = fds()
        for _ = 1, 20 do
          assert(bulkjob.client(options()):limits())
        end
        assert(threads() == threads_before + 1)
        assert(fds() == fds_before)
      ]])
    end)
  end)

  describe("a program ends at once, without a crash,", function()
    local CLEANUP = [[
      local function close_all() for _, client in ipairs(clients) do client:close() end end
      local function forget_all() clients, begun = nil, nil end
    ]]

    -- Every client that is made stands in `clients`.
    local REGISTER = [[
      local threads_before = threads()
      local clients, make = {}, core.client
      core.client = function(...)
        local client = make(...)
        clients[#clients + 1] = client
        return client
      end
    ]]

    local function check(flights, ending)
      local parts = { REGISTER }
      for _, flight in ipairs(flights) do
        if flight.fault then
          org:fault(flight.fault)
        end
        parts[#parts + 1] = "do " .. flight.code .. " end"
      end
      parts[#parts + 1] = CLEANUP .. [[
        take_on(0.1)
        -- That of the engine; libcurl has another for as long as it looks a name up.
        take_on_until(function() return threads() == threads_before + 1 end, function() return threads() .. " threads" end)
      ]] .. ending.code
      local result = run(table.concat(parts, "\n"))
      if ending.out then
        assert.truthy(result.out:find(ending.out, 1, true), result.out)
      else
        assert.are.equal("", result.out)
      end
      assert.are.equal(ending.status or 0, result.status)
      assert.is_true(result.seconds < SECONDS_TO_END, "it took " .. result.seconds .. " s to end")
    end

    for _, ending in ipairs(ENDINGS) do
      it("with everything in flight, " .. ending.name, function()
        check(FLIGHTS, ending)
      end)
    end

    for _, flight in ipairs(FLIGHTS) do
      it("with " .. flight.name .. ", by its last line", function()
        check({ flight }, ENDINGS[1])
      end)
    end

    it("in the middle of an upload, by os.exit in the source", function()
      local result = run [[
        local n = 0
        bulkjob.client(options()):job(JOB, "ingest"):upload(function()
          n = n + 1
          if n == 100 then
            leave()
            os.exit(0, true)
          end
          return ("x"):rep(60000) .. "\n"
        end)
      ]]
      assert.are.equal("", result.out)
      assert.are.equal(0, result.status)
      assert.is_true(result.seconds < SECONDS_TO_END)
    end)

    it("in the middle of a download, by os.exit in the loop", function()
      local result = run [[
        local n = 0
        for _ in bulkjob.client(options()):job(JOB, "ingest"):failed_results():rows() do
          n = n + 1
          if n == 1000 then
            leave()
            os.exit(0)
          end
        end
      ]]
      assert.are.equal("", result.out)
      assert.are.equal(0, result.status)
      assert.is_true(result.seconds < SECONDS_TO_END)
    end)

    local FINALIZER = [[
      local function at_the_end(fn)
        if newproxy then
          KEPT = newproxy(true)
          getmetatable(KEPT).__gc = fn
        else
          KEPT = setmetatable({}, { __gc = fn })
        end
      end
    ]]

    it("also when a finalizer makes the last request", function()
      says("done\n", FINALIZER .. [[
        local client = bulkjob.client(options())
        assert(client:limits())
        at_the_end(function()
          assert(client:limits())
          print "done"
        end)
      ]])
    end)

    it("also when a finalizer makes a request after the engine has gone", function()
      says("done\n", FINALIZER .. [[
        local client = bulkjob.client(options())
        at_the_end(function()
          pcall(client.limits, client)
          print "done"
        end)
        assert(client:limits())
      ]])
    end)
  end)

  describe("collected or closed in mid-flight", function()
    it("leaves no descriptor behind", function()
      org:fault(FLIGHTS[1].fault)
      says("", [[
        local warm = bulkjob.client(options())
        assert(warm:limits())
        local before = fds()
        for round = 1, 5 do
          local client = yielding()
          for _ = 1, 5 do
            begin(function() client:job(JOB, "ingest"):info() end)
          end
          begin(function()
            local set = client:job(JOB, "ingest"):failed_results()
            while set:next() do coroutine.yield() end
          end)
          take_on(0.05)
          take_on_until(function() return fds() > before end, function() return "no more than " .. before .. " descriptors" end)
          if round % 2 == 0 then
            client:close()
          end
          client, begun = nil, {}
          collectgarbage()
          collectgarbage()
        end
        take_on_until(function() return fds() <= before end, function()
          return fds() .. " descriptors, and " .. before .. " before"
        end)
        assert(warm:limits())
      ]])
    end)

    it("a call of a closed client is cancelled; close twice is harmless; use after it raises", function()
      org:fault(FLIGHTS[1].fault)
      says("", [[
        local client = yielding()
        local job, info, err = client:job(JOB, "ingest"), nil, nil
        local set = job:successful_results()
        local task = begin(function() info, err = job:info() end)
        take_on(0.05)
        client:close()
        client:close()
        assert(coroutine.resume(task))
        assert(coroutine.status(task) == "dead")
        assert(info == nil and err.kind == "cancelled", tostring(err))
        local function refused(fn, ...)
          local ok, why = pcall(fn, ...)
          assert(not ok and tostring(why):find("this client is closed", 1, true), tostring(why))
        end
        refused(client.limits, client)
        refused(client.create, client, { object = "Account", operation = "insert" })
        refused(client.job, client, JOB)
        refused(job.info, job)
        refused(job.abort, job)
        refused(set.next, set)
        assert(tostring(client):find "closed")
        assert(bulkjob.client(options()):limits())
      ]])
    end)

    it("a result set, a job and a call keep what they need", function()
      says("", [[
        local set = bulkjob.client(options()):job(JOB, "ingest"):failed_results()
        for _ = 1, 2000 do
          assert(set())
        end
        collectgarbage()
        collectgarbage()
        for _ = 1, 20000 do
          assert(set())
        end
        set:close()
        set:close()
        assert(set() == nil)
      ]])
    end)
  end)

  describe("the programs it starts", function()
    it("get none of its sockets", function()
      says("", [[
        local client = bulkjob.client(options())
        assert(client:limits())
        local pipe = io.popen "ls -l /proc/self/fd"
        local text = pipe:read "*a"
        pipe:close()
        assert(not text:find("socket:", 1, true), text)
      ]])
    end)
  end)

  describe("signals", function()
    local INTERRUPT = 'ready=$2.ready; "$1" "$2" & pid=$!; until [ -e "$ready" ]; do sleep 0.02; done; sleep 0.1; '
      .. 'rm "$ready"; kill -INT $pid; wait $pid'

    local WAITS = {
      {
        name = "a request",
        fault = { method = "GET", path = "/limits", stall = helper.NEVER_SECONDS },
        code = "client:limits()",
      },
      { name = "wait()", code = "client:job(JOB, 'ingest'):wait()" },
      {
        name = "an upload",
        fault = { method = "PUT", stall = helper.NEVER_SECONDS },
        code = "client:job(JOB, 'ingest'):upload('Name\\n' .. ('x'):rep(8e6))",
      },
      {
        name = "a loop over rows",
        fault = { method = "GET", path = "failedResults", stall = helper.NEVER_SECONDS },
        code = "for _ in client:job(JOB, 'ingest'):failed_results():rows() do end",
      },
    }

    for _, case in ipairs(WAITS) do
      it("Ctrl-C ends " .. case.name, function()
        if case.fault then
          org:fault(case.fault)
        end
        local begun = core.now()
        local result = run([[
          local client = bulkjob.client(options())
          io.open(arg[0] .. ".ready", "w"):close()
        ]] .. case.code, INTERRUPT)
        assert.truthy(result.out:find("interrupted!", 1, true), result.out)
        assert.are.equal(1, result.status)
        assert.is_true(core.now() - begun < SECONDS_TO_END)
      end)
    end

    it("a connection that breaks while it is written to ends the upload, not the process", function()
      for _, url in ipairs { org.url, org.tls_url } do
        org:fault { method = "PUT", reset = "body", body_bytes = 100000, count = 4 }
        org:fault { method = "PUT", close = "body", body_bytes = 100000, count = 4 }
        says("network\nnetwork\n", ("ORG = %q\n"):format(url) .. [[
          local client = bulkjob.client(options())
          for _ = 1, 2 do
            local job = assert(client:create { object = "Account", operation = "insert" })
            local n = 0
            local ok, err = job:upload("Name\n" .. (("x"):rep(99) .. "\n"):rep(200000))
            assert(not ok)
            print(err.kind)
          end
        ]])
        org:clear_faults()
      end
    end)
  end)

  describe("after a fork", function()
    local FORKS = [[
      local fork = assert(package.loadlib(FORK, "luaopen_fork_module"))()
      local function in_child(fn)
        local status
        for try = 1, fork.tries do
          io.stdout:flush()
          local pid = fork.fork()
          if pid == 0 then
            local ok, err = pcall(fn)
            if not ok then
              io.stderr:write("child: ", tostring(err), "\n")
            end
            os.exit(ok and 0 or 1, true)
          end
          status = fork.wait(pid, try < fork.tries and HANG_SECONDS / 8 or HANG_SECONDS)
          if status then
            break
          end
        end
        assert(status == 0, "the child ended with " .. tostring(status or "no end: it was killed"))
      end
      local function refused(fn, ...)
        local ok, why = pcall(fn, ...)
        assert(not ok and tostring(why):find("fork", 1, true), tostring(why))
      end
    ]]

    it("a client from before raises in the child, a new one works, and the parent's goes on", function()
      says("", FORKS .. [[
        local client = bulkjob.client(options())
        local job = assert(client:create { object = "Account", operation = "insert" })
        in_child(function()
          refused(client.limits, client)
          refused(job.info, job)
          refused(job.upload, job, "Name\nx\n")
          refused(job.wait, job)
          client:close()
          local threads_before = threads()
          assert(bulkjob.client(options()):limits())
          assert(threads() == threads_before + 1)
        end)
        in_child(function()
          assert(bulkjob.client(options()):job(job.id):info())
          client, job = nil, nil
          collectgarbage()
          collectgarbage()
        end)
        in_child(function() end)
        assert(client:limits())
      ]])
    end)

    it("a client that was not used before works in both", function()
      says("", FORKS .. [[
        local client = bulkjob.client(options())
        in_child(function() assert(client:limits()) end)
        assert(client:limits())
      ]])
    end)

    it("a source that was on the way to a token goes again in the child, and arrives in the parent", function()
      org:fault { path = "oauth2/token", stall = 2 }
      says("", FORKS .. [[
        local source = bulkjob.auth.client_credentials {
          login_url = ORG, client_id = "3MVG9.sandbox.app", client_secret = "the.secret.of.the.app" }
        local client = bulkjob.client { auth = source, ca_file = CA_FILE }
        local task = client:spawn(client.limits, client)
        client:poll(0.1)
        assert(not task:done())
        in_child(function() assert(bulkjob.client({ auth = source, ca_file = CA_FILE }):limits()) end)
        assert(task:result())
      ]])
    end)

    it("in the middle of TLS handshakes, the child's new client does not hang", function()
      says("", FORKS .. [[
        for round = 1, 40 do
          local client = yielding { max_connections = 20 }
          begun = {}
          for _ = 1, 20 do
            begin(function() client:limits() end)
          end
          sleep(round % 20 * 0.0005)
          in_child(function() assert(bulkjob.client(options()):limits()) end)
          client:close()
        end
      ]])
    end)

    it("in mid-download the child is told, and the parent gets every row", function()
      says("", FORKS .. [[
        local set = bulkjob.client(options()):job(JOB, "ingest"):failed_results()
        local n, last = 0, nil
        for row in set:rows() do
          n, last = n + 1, row
          if n == 1000 then
            in_child(function()
              refused(function() for _ in set:rows() do end end)
              set:close()
            end)
          end
        end
        assert(tonumber(last.Number) == n)
      ]])
    end)

    it("in mid-upload the child can leave, and the parent's upload completes", function()
      says("", FORKS .. [[
        local client = bulkjob.client(options())
        local job = assert(client:create { object = "Account", operation = "insert" })
        local n = 0
        assert(job:upload(function()
          n = n + 1
          if n == 50 then
            in_child(function() assert(bulkjob.client(options()):limits()) end)
          end
          return n == 1 and "Name\n" or n < 100 and ("x"):rep(60000) .. "\n" or nil
        end))
        assert(job:abort())
      ]])
    end)

    it("with everything in flight the child ends at once", function()
      local parts = {}
      for _, flight in ipairs(FLIGHTS) do
        if flight.fault then
          org:fault(flight.fault)
        end
        parts[#parts + 1] = "do " .. flight.code .. " end"
      end
      says("", FORKS .. table.concat(parts, "\n") .. [[
        take_on(0.1)
        in_child(function() end)
        in_child(function()
          begun = {}
          collectgarbage()
          collectgarbage()
        end)
        begun = {}
        collectgarbage()
        collectgarbage()
      ]])
    end)
  end)
end)
