--- In HAProxy, as an ordinary user: a service waits for the org, and HAProxy goes on. Run by the suite of the Lua that HAProxy has:
--- 5.3 on Debian 12, 5.4 on Debian 13.
local lfs = require "lfs"
local helper = require "spec.helper"

local has = helper.shell "haproxy -vv":match "Built with Lua version : (Lua %d%.%d)"
if _VERSION ~= has or rawget(_G, "jit") or helper.SANITIZED then
  return
end

-- As root, HAProxy becomes this user, who owns nothing.
local NOBODY = 65534
local USER = helper.shell "id -u" == "0\n" and ("uid %d\n  gid %d"):format(NOBODY, NOBODY) or ""

-- One thread, so that nothing else can run where something blocks. LUA_PATH and LUA_CPATH are those of this suite.
local CONFIG = [[
global
  nbthread 1
  %s
  lua-load %s
defaults
  mode http
  timeout client 60s
  timeout connect 60s
  timeout server 60s
frontend org
  bind unix@%s
  http-request use-service lua.ping if { path /ping }
  http-request lua.ask if { path /action }
  http-request return status 200 content-type text/plain lf-string "%%[var(txn.remaining)]" if { path /action }
  http-request use-service lua.limits if { path /limits }
  http-request use-service lua.job if { path /job }
  http-request use-service lua.background
]]

local SCRIPT = [[
local bulkjob = require "bulkjob"
local client = bulkjob.client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE }

local function serve(name, fn)
  core.register_service(name, "http", function(applet)
    local ok, answer = pcall(fn)
    applet:set_status(ok and 200 or 500)
    applet:start_response()
    applet:send(tostring(answer))
  end)
end

serve("ping", function()
  return "pong"
end)

serve("limits", function()
  return assert(client:limits()).DailyApiRequests.Max
end)

serve("job", function()
  local job = assert(client:create { object = "Account", operation = "insert" })
  assert(job:upload { rows = { { Name = "One" }, { Name = "Two" } } })
  assert(job:close())
  local n = assert(job:wait()).numberRecordsProcessed
  for _ in job:successful_results() do
    n = n + 1
  end
  return n
end)

core.register_action("ask", { "http-req" }, function(txn)
  txn:set_var("txn.remaining", tostring(assert(client:limits()).DailyApiRequests.Max))
end)

-- Begun with HAProxy, in no one's request.
local found
core.register_task(function()
  found = assert(client:limits()).DailyApiRequests.Max
end)

serve("background", function()
  while not found do
    core.msleep(1)
  end
  return found
end)
]]

describe("in HAProxy", function()
  local org, socket_path, pid, log
  helper.scene(helper.AT_ONCE, function(the_org)
    org = the_org
  end)

  local function curl(path, more)
    return ("curl -sS %s --unix-socket %s http://localhost%s"):format(more or "-m " .. helper.HANG_SECONDS, helper.quote(socket_path), path)
  end

  local function get(path)
    return (helper.shell(curl(path)))
  end

  -- Starts it with this configuration, and waits until `is_ready` says so. `environment`: what stands before the command.
  local function launch(config, is_ready, environment)
    log = helper.file ""
    -- HAProxy ends with `timeout`, and that by its own number, or when nobody is left to do so.
    pid = helper.shell(("%s timeout -k 1 %d haproxy -db -f %s >%s 2>&1 & echo $!"):format(environment or "", helper.NEVER_SECONDS,
      helper.quote(helper.file(config)), helper.quote(log)))
    helper.wait_until(is_ready, function()
      return helper.content(log)
    end)
  end

  local function start(global)
    socket_path = helper.file ""
    local ca = helper.file(helper.content(org.ca_file)) -- the org's directory is for its own user only
    helper.shell("chmod 644 " .. ca)
    local script = helper.file(helper.names(org) .. ("CA_FILE = %q "):format(ca) .. SCRIPT)
    launch(CONFIG:format(USER .. "\n  " .. global, script, socket_path), function()
      return get "/ping" == "pong"
    end)
  end

  local function stop()
    helper.shell("kill " .. pid)
    helper.wait_until(function()
      return helper.shell("kill -0 " .. pid):find "No such"
    end, function()
      return "HAProxy has not ended: " .. helper.content(log)
    end)
  end

  before_each(function()
    start "insecure-fork-wanted"
  end)
  after_each(stop)

  local function descriptors()
    local children = helper.content(("/proc/%d/task/%d/children"):format(pid, pid))
    local n = 0
    for _ in lfs.dir(("/proc/%d/fd"):format(children:match "%d+")) do
      n = n + 1
    end
    return n
  end

  it("a service does a whole job", function()
    assert.are.equal("4", get "/job")
    assert.are.same({ JobComplete = 1 }, helper.states(org))
  end)

  it("without insecure-fork-wanted no thread can be started, and the error says so", function()
    stop()
    start ""
    assert.matches("no thread could be started.*insecure%-fork%-wanted", get "/limits")
  end)

  it("an action and a task can wait", function()
    assert.are.equal("5000000", get "/action")
    assert.are.equal("5000000", get "/background")
  end)

  it("others are served while many wait", function()
    org:fault { method = "GET", path = "/limits", stall = 3, count = -1 }
    local answers = {}
    for i = 1, 30 do
      answers[i] = io.popen(curl "/limits")
    end
    for _ = 1, 10 do
      assert.are.equal("pong", get "/ping")
    end
    assert.is_true(#org:requests { finished = true, path = "/limits" } < 30, "all that waited were done before")
    for _, pipe in ipairs(answers) do
      assert.are.equal("5000000", pipe:read "*a")
      pipe:close()
    end
  end)

  -- Without "option abortonclose": with it, HAProxy 2.6 ends itself when the client of any service in Lua that waits has gone.
  it("clients that go away leave nothing behind, and nobody stuck", function()
    get "/limits"
    local before = descriptors()
    org:fault { method = "GET", path = "/limits", stall = 0.5, count = -1 }
    local gone = {}
    for i = 1, 30 do
      gone[i] = io.popen(curl("/limits", "-m 0.3 2>/dev/null"))
    end
    for _, pipe in ipairs(gone) do
      pipe:close()
    end
    org:clear_faults()
    assert.are.equal("5000000", get "/limits")
    helper.wait_until(function()
      return descriptors() <= before + 8 -- connections that may be used again
    end, function()
      return descriptors() .. " descriptors, and " .. before .. " before"
    end)
  end)

  describe("examples/haproxy.cfg", function()
    -- In the place of the one of this spec, with its socket, and the paths of this tree.
    local function start_example(token)
      stop()
      socket_path = helper.file ""
      local config = helper.content "examples/haproxy.cfg":gsub("bind [%d.:]+", "bind unix@" .. socket_path)
        :gsub("lua%-load ", USER .. "\n  lua-load " .. lfs.currentdir() .. "/examples/")
      launch(config, function()
        return helper.shell(curl("/", "-w '%{http_code}'")) == "405"
      end, ("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN=%s"):format(org.url, helper.quote(token)))
    end

    it("takes CSV", function()
      start_example(org.token)
      assert.are.equal("1 rows stored, 1 failed\n", (helper.shell(curl("/", "--data-binary 'Name\nOne\n\"\"\n'"))))
      assert.are.equal(1, org:count "Account")
    end)

    it("says what went wrong", function()
      start_example "00D000000000001!none"
      assert.are.equal("INVALID_SESSION_ID\n502", (helper.shell(curl("/", "--data-binary Name -w '%{http_code}'"))))
      assert.matches("auth error INVALID_SESSION_ID: ", helper.content(log))
    end)
  end)
end)
