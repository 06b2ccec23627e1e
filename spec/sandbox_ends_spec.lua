--- The sandbox ends in every way at any moment of its start and later: nothing runs on, nothing is left behind, and nothing goes that is
--- not its own. SANDBOX_ENDS is the number of rounds.

local cjson = require "cjson"
local helper = require "spec.helper"
local lfs = require "lfs"
local server = require "spec.server"
local socket = require "socket"

local LIMIT = 60 -- seconds; it only ends what hangs
local ROUNDS = tonumber(os.getenv "SANDBOX_ENDS" or 26)
local LATEST = 0.6 -- seconds after which a round ends at the latest: a start takes some 0.15 s

local root = lfs.currentdir()
local scratch, temporary

local write = helper.write

local function entries(path)
  local list = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

--- Process ids of all that was started with the round's own directory for temporary files and still runs.
local function running()
  local list = {}
  for name in lfs.dir "/proc" do
    if name:find "^%d+$" then
      local said = (helper.content("/proc/" .. name .. "/environ") or "") .. (helper.content("/proc/" .. name .. "/cmdline") or "")
      local stat = helper.content("/proc/" .. name .. "/stat")
      if said:find(temporary, 1, true) and stat and stat:match "%) (%a)" ~= "Z" then
        list[#list + 1] = name .. " " .. said:gsub("%z", " "):sub(-200)
      end
    end
  end
  return list
end

local function until_true(what, check)
  local deadline = socket.gettime() + LIMIT
  while true do
    local ok, why = check()
    if ok then
      return
    end
    assert(socket.gettime() < deadline, "never: " .. what .. " " .. tostring(why))
    socket.sleep(0.02)
  end
end

--- Starts a command in a group of its own, with INT as in a terminal. Answers its process id.
local function start(command, before)
  local pipe = assert(io.popen(("cd %s; %s export TMPDIR=%s; exec setsid env --default-signal=INT,QUIT %s --ready-file %s/ready "
    .. ">%s/said 2>&1 </dev/null & echo $!"):format(root, before or "", temporary, command, scratch, scratch)))
  local pid = pipe:read "*l"
  pipe:close()
  return pid
end

local function ready()
  local text = helper.content(scratch .. "/ready")
  return text and text:find "\n$" and cjson.decode(text)
end

local function signal(name, pid)
  os.execute(("env kill -s %s -- %s 2>/dev/null"):format(name, pid)) -- dash's own knows no groups
end

local RUN = "sandbox/run"

--- Starts one whose standard input ends at once. Answers what it said.
local function start_and_end()
  return (helper.shell(("cd %s; echo | TMPDIR=%s %s --until-eof --json"):format(root, temporary, RUN)))
end

local function bulkjob()
  return ("env LUA_PATH='%s/lua/?.lua;;' %s bin/bulkjob sandbox"):format(root, assert(os.getenv "LUA", "this is run by make test"))
end

-- How a round ends: what is started, and what is done to it when its time has come.
local function by_signal(name, whom)
  return function(wait)
    local pid = start(RUN)
    wait()
    local org = whom == "nginx" and ready()
    signal(name, org and ("%d"):format(org.pid) or whom == "group" and "-" .. pid or pid)
    if whom == "nginx" and not org then
      signal("TERM", pid) -- it was not up yet
    end
  end
end

local ways = {}
for _, name in ipairs { "TERM", "INT", "HUP", "KILL" } do
  ways[#ways + 1] = { name, by_signal(name) }
  ways[#ways + 1] = { name .. " to all of its group", by_signal(name, "group") }
  if name ~= "HUP" then -- which makes nginx read its configuration anew
    ways[#ways + 1] = { name .. " to nginx", by_signal(name, "nginx") }
  end
  ways[#ways + 1] = { name .. " to bulkjob", function(wait)
    local pid = start(bulkjob())
    wait()
    signal(name, pid)
  end }
end
ways[#ways + 1] = { "its owner is killed", function(wait)
  local pipe = assert(io.popen "sleep 1000 >/dev/null & echo $!")
  local owner = pipe:read "*l"
  pipe:close()
  start(RUN .. " --owner " .. owner)
  wait()
  signal("KILL", owner)
end }
ways[#ways + 1] = { "its standard input ends", function(wait)
  local pipe = assert(io.popen(("cd %s; TMPDIR=%s exec %s --until-eof --ready-file %s/ready >%s/said 2>&1"):format(root, temporary, RUN, scratch, scratch), "w"))
  wait()
  pipe:close()
end }
ways[#ways + 1] = { "who started it and holds its standard input is killed", function(wait)
  local pid = io.popen(("cd %s; export TMPDIR=%s; setsid sh -c 'sleep 1000 | %s --until-eof --owner $$' >%s/said 2>&1 </dev/null & echo $!"):format(root,
    temporary, RUN, scratch)):read "*l"
  wait()
  signal("KILL", pid)
  -- The other end of the pipe is held by the sleep, which is ours to end.
  os.execute(("for p in $(pgrep -g %s sleep); do kill $p; done"):format(pid))
end }
ways[#ways + 1] = { "a port is taken", function()
  local port = server.free_port()
  local taken = assert(socket.bind("127.0.0.1", port))
  local pid = start(RUN .. " --port " .. port)
  until_true("it has given up", function()
    return not lfs.attributes("/proc/" .. pid)
  end)
  taken:close()
  assert.matches("^sandbox: cannot listen on 127.0.0.1:" .. port, helper.content(scratch .. "/said"))
end }
ways[#ways + 1] = { "a file can grow no further", function()
  local text, code = helper.shell(("cd %s; TMPDIR=%s sh -c 'ulimit -f %d; trap \"\" XFSZ; exec %s --ready-file %s/ready'"):format(root, temporary, math.random(0, 3), RUN, scratch))
  assert.are.equal(1, code)
  assert.matches("^sandbox: ", text)
end }
ways[#ways + 1] = { "the command stop", function(wait)
  local pid = start(RUN)
  wait()
  until_true("it is ready", ready)
  local org = ready()
  helper.shell(("curl -sS -d '{}' %s/sandbox/stop"):format(org.control_url))
  until_true("it has ended", function()
    return not lfs.attributes("/proc/" .. pid)
  end)
end }

describe("a sandbox", function()
  local neighbour, neighbour_pid
  local before

  setup(function()
    scratch = os.tmpname()
    os.remove(scratch)
    temporary = scratch .. "/tmp"
    assert(lfs.mkdir(scratch))
    assert(lfs.mkdir(temporary))
    -- What is not its own: directories of others with names like those of its own, and an org that goes on.
    for _, name in ipairs { "sandbox-mine", "sandbox.AbCdEf", "sandbox-1-2-3.AbCdEf" } do
      local dir = temporary .. "/" .. name
      assert(lfs.mkdir(dir))
      assert(lfs.mkdir(dir .. "/jobs"))
      write(dir .. "/jobs/precious", "x")
      write(dir .. "/ready", "x")
    end
    local pipe = assert(io.popen(("cd %s; TMPDIR=%s exec %s --ready-file %s/neighbour >%s/neighbour.log 2>&1 </dev/null & echo $!"):format(root, temporary,
      RUN, scratch, scratch)))
    neighbour_pid = pipe:read "*l"
    pipe:close()
    until_true("the neighbour is ready", function()
      return lfs.attributes(scratch .. "/neighbour")
    end)
    neighbour = cjson.decode(helper.content(scratch .. "/neighbour"))
    before = { names = entries(temporary), processes = #running() }
    write(scratch .. "/said", "")
  end)

  teardown(function()
    signal("TERM", neighbour_pid)
    until_true("the neighbour has ended", function()
      return not lfs.attributes(neighbour.dir)
    end)
    assert.are.equal(3, #entries(temporary))
    for _, name in ipairs(entries(temporary)) do
      assert.are.equal("precious", table.concat(entries(temporary .. "/" .. name .. "/jobs"), " "))
      assert.is_truthy(lfs.attributes(temporary .. "/" .. name .. "/ready"))
    end
    os.execute("rm -rf '" .. scratch .. "'")
  end)

  --- The directories for temporary files that were not there before the first round.
  local function left()
    local known, more = {}, {}
    for _, name in ipairs(before.names) do
      known[name] = true
    end
    for _, name in ipairs(entries(temporary)) do
      more[#more + 1] = not known[name] and name or nil
    end
    return more
  end

  local seed = os.time()
  for round = 1, ROUNDS do
    local way = ways[(round - 1) % #ways + 1]
    it(("leaves nothing: %d, %s"):format(round, way[1]), function()
      math.randomseed(seed + round)
      local pause = math.random() * LATEST
      way[2](function()
        socket.sleep(pause)
      end)
      local what = ("after %.3f s of %s"):format(pause, way[1])
      until_true("all processes have ended " .. what, function()
        local list = running()
        return #list == before.processes, table.concat(list, "\n")
      end)
      -- A launcher that was killed before nginx ran can remove nothing. The next start does it.
      if #left() > 0 then
        assert.matches("KILL", what)
        start_and_end()
      end
      assert.are.same({}, left(), what)
      assert.is_nil(lfs.attributes(scratch .. "/ready"), what)
    end)
  end

  it("has left its neighbour alone", function()
    local text = helper.shell(("curl -sS -H 'Authorization: Bearer %s' %s/services/data/v66.0/limits"):format(neighbour.token, neighbour.url))
    assert.is_truthy(cjson.decode(text).DailyApiRequests)
    assert.are.equal("", helper.content(neighbour.dir .. "/logs/error.log"))
  end)

  it("removes what a launcher left, if that is surely dead and its own", function()
    local function run()
      return cjson.decode(start_and_end())
    end
    -- The name of a directory of this machine, with a process that is no more, or that is another.
    local place = run().dir:match "/sandbox%-(%d+)%-"
    local function leave(owner, files)
      local dir = ("%s/sandbox-%s-%s.AbCdEf"):format(temporary, place, owner)
      assert(lfs.mkdir(dir))
      for name, text in pairs(files) do
        write(dir .. "/" .. name, text)
      end
      return dir
    end
    local mark = "A sandbox of bulkjob owns this directory.\n"
    local self = helper.content("/proc/self/stat")
    local pid, since = self:match "^(%d+)", self:match("%) (.*)"):gsub("^" .. ("%S+ "):rep(19), ""):match "^%d+"
    local gone = { leave("4194305-1", {}), leave("4194305-2", { [".bulkjob-sandbox"] = mark .. "made\n", ["nginx.conf"] = "x" }), leave("1-1", {}) }
    local stay = {
      leave("4194305-3", { notes = "x" }), leave("4194305-4", { [".bulkjob-sandbox"] = mark .. "keep\n", ["org.db"] = "x" }),
      leave(pid .. "-" .. since, { [".bulkjob-sandbox"] = mark }), leave("4194305-5x", { [".bulkjob-sandbox"] = mark }),
      leave("4194305-6", { [".bulkjob-sandbox"] = mark, ["nginx.pid"] = pid }),
    }
    run()
    for _, dir in ipairs(gone) do
      assert.is_nil(lfs.attributes(dir), dir)
    end
    for _, dir in ipairs(stay) do
      assert.is_truthy(lfs.attributes(dir), dir)
      os.execute("rm -r '" .. dir .. "'")
    end
  end)

  it("removes no ready file that is not its own", function()
    local path = scratch .. "/notes"
    write(path, "mine")
    local port = server.free_port()
    local taken = assert(socket.bind("127.0.0.1", port))
    local _, code = helper.shell(("cd %s; %s --ready-file %s --port %d"):format(root, RUN, path, port))
    taken:close()
    assert.are.equal(1, code)
    assert.are.equal("mine", helper.content(path))
    -- Another org has written its own meanwhile.
    for _, name in ipairs { "TERM", "KILL" } do
      local pid = start(RUN)
      until_true("it is ready", ready)
      write(scratch .. "/ready", "of another")
      signal(name, pid)
      until_true("all has ended", function()
        return #running() == before.processes and #left() == 0
      end)
      assert.are.equal("of another", helper.content(scratch .. "/ready"))
      os.remove(scratch .. "/ready")
    end
  end)

  it("removes the ready file of one whose processes were all killed, with the next start", function()
    local pid = start(RUN)
    until_true("it is ready", ready)
    signal("KILL", "-" .. pid)
    until_true("all has ended", function()
      return #running() == before.processes
    end)
    assert.is_truthy(ready())
    start_and_end()
    assert.is_nil(ready())
    assert.are.same({}, left())
  end)

  it("ends in an orderly way when the disk is full, at any moment of its start and later", function()
    if helper.shell("unshare -m mount -t tmpfs -o size=64k none " .. temporary) ~= "" then
      return pending "mounting a small file system is not permitted"
    end
    write(scratch .. "/full.sh", [[
      # In a namespace of its own: SIZE. Says how the org ended, and then what is left on the disk.
      mount -t tmpfs -o size=$1k none "$TMPDIR" || exit 99
      sandbox/run --https --ready-file "$TMPDIR/../ready" >"$TMPDIR/../said" 2>&1 </dev/null &
      run=$!
      until [ -e "$TMPDIR/../ready" ] || ! kill -0 $run 2>/dev/null; do sleep 0.02; done
      if [ -e "$TMPDIR/../ready" ]; then
        value() { sed -n 's/.*"'$1'":"\([^"]*\)".*/\1/p' "$TMPDIR/../ready"; }
        jobs=$(value url)/services/data/v66.0/jobs/ingest
        auth="Authorization: Bearer $(value token)"
        id=$(curl -sS -H "$auth" -H 'Content-Type: application/json' -d '{"object":"Account","operation":"insert"}' "$jobs" | sed 's/.*"id" *: *"\([^"]*\).*/\1/')
        { head -c 3000000 /dev/zero | tr '\0' x >"$TMPDIR/filler"; } 2>/dev/null # the rest of the disk
        curl -sS -o "$TMPDIR/../answer" -w 'upload %{http_code}\n' -X PUT -H "$auth" -H 'Content-Type: text/csv' --data-binary "@$TMPDIR/filler" "$jobs/$id/batches"
        rm "$TMPDIR/filler"
        curl -sS -o "$TMPDIR/../answer" -w 'again %{http_code}\n' -H "$auth" "$jobs"
        kill $run
      fi
      wait $run
      echo "exit $?"
      ls -A "$TMPDIR"
    ]])
    local failed, started = 0, 0
    for _, size in ipairs { 4, 8, 12, 16, 24, 32, 40, 64, 100, 140, 180, 220, 300, 1024 } do
      local text, code = helper.shell(("cd %s; TMPDIR=%s unshare -m sh %s/full.sh %d"):format(root, temporary, scratch, size))
      local said = helper.content(scratch .. "/said")
      assert.are.equal(0, code, text)
      if text:find "^exit" then
        failed = failed + 1
        assert.are.equal("exit 1\n", text, size .. "k: " .. said)
        assert.matches("sandbox: [^\n]+\n$", said)
      else
        started = started + 1
        assert.matches("^upload 50%d\nagain 200\nexit 0\n$", text, 1, size .. "k")
      end
      assert.is_nil(lfs.attributes(scratch .. "/ready"))
    end
    assert.is_true(failed > 0 and started > 0, failed .. " starts failed, " .. started .. " worked")
  end)
end)
