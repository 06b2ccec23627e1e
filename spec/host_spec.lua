--- C programs that host Lua: examples/host.c, and spec/c/states.c, which opens and closes many states.
local core = require "bulkjob.core"
local helper = require "spec.helper"

local BUILD = assert(os.getenv "BUILD", "this is run by make test")
local LUA = BUILD:match "[^/-]*$" -- build/lua5.4, build/asan-lua5.4

local ROUNDS = 100
local MOST_GROWTH = 512 -- kilobytes, over ROUNDS - 10 states

local function shell(command)
  local err = helper.file ""
  local began = core.now()
  local pipe = assert(io.popen(("{ timeout -k 1 %d %s; } 2>%s </dev/null; echo STATUS $?"):format(
    5 * helper.HANG_SECONDS, command, err)))
  local out = pipe:read "*a"
  pipe:close()
  return {
    out = out:gsub("STATUS %d+\n$", ""),
    status = tonumber(out:match "STATUS (%d+)\n$"),
    err = helper.content(err),
    seconds = core.now() - began,
  }
end

local function is_clean(result)
  assert.are.equal("", result.err)
  assert.are.equal(0, result.status)
end

describe("a C program that hosts Lua", function()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  -- What a program is told of the org.
  local function environment(more)
    local parts = { "env" }
    for name, value in pairs(helper.with({ SF_INSTANCE_URL = org.tls_url, SF_ACCESS_TOKEN = org.token, SF_CA_FILE = org.ca_file }, more)) do
      parts[#parts + 1] = name .. "=" .. helper.quote(value)
    end
    return table.concat(parts, " ")
  end

  -- By the module path that is built in.
  local function run_example(program, arguments)
    return shell(("%s env -u LUA_PATH -u LUA_CPATH %s examples/host.lua %s"):format(environment(), program, arguments or ""))
  end

  describe("(the example)", function()
    local program = BUILD .. "/example-host"

    it("steps the tasks of a client from a loop of its own", function()
      org:set { processing_seconds = 0.3 }
      local result = run_example(program)
      is_clean(result)
      assert.matches("^beat 1, 4 tasks left\nbeat 2, ", result.out)
      assert.matches("\nprocessed: 2000\ncreated: 2000\n$", result.out)
      assert.are.same({ JobComplete = 4 }, helper.states(org))
      assert.are.equal(2000, org:count "Account")
    end)

    it("closes the state in the middle of uploads: nothing was processed", function()
      org:fault { method = "PUT", stall = helper.NEVER_SECONDS, count = -1 }
      local result = run_example(program, "10")
      is_clean(result)
      assert.matches("\nbeat 10, 4 tasks left\nprocessed: 0\ncreated: 0\n$", result.out)
      assert.is_true(result.seconds < helper.HANG_SECONDS)
      assert.is_true(#org:requests { method = "PUT" } > 0)
      assert.are.same({ Open = #org:jobs() }, helper.states(org))
      assert.are.equal(0, org:count "Account")
    end)

    it("says what a task raised", function()
      org:kill_token()
      local result = run_example(program)
      org:new_token()
      assert.are.equal(1, result.status)
      assert.matches("^host: [^\n]+\n$", result.err)
      if LUA ~= "lua5.1" and LUA ~= "lua5.2" then -- where `assert` takes nothing but strings
        assert.matches("INVALID_SESSION_ID", result.err)
      end
    end)
  end)

  it("sees one name of ours", function()
    local result = shell(("nm -g --defined-only %s/libbulkjob.a"):format(BUILD))
    is_clean(result)
    assert.matches("^%s*libbulkjob.o:\n%x+ T luaopen_bulkjob_core\n$", result.out)
  end)

  if not helper.SANITIZED then
    it("is built with what is installed, which can be taken away again", function()
      local root = shell("mktemp -d").out:gsub("\n", "")
      finally(function()
        shell("rm -rf " .. root)
      end)
      local make = ("env -u MAKEFLAGS -u MAKELEVEL make -s LUA=%s PREFIX=%s "):format(LUA, root)
      is_clean(shell(make .. "install"))
      local version = LUA == "luajit" and "5.1" or LUA:match "%d.%d"
      is_clean(shell(([[sh -c 'P=%s
        cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -I$P/include $(pkg-config --cflags %s) \
          -DBULKJOB_LUA="\"$P/share/lua/%s/?.lua\"" -o $P/host examples/host.c $P/lib/lua/%s/bulkjob/libbulkjob.a \
          $(pkg-config --libs %s libcurl libcrypto zlib) -lm -pthread']]):format(root, LUA, version, version, LUA)))
      local result = run_example(root .. "/host")
      is_clean(result)
      assert.matches("processed: 2000\n", result.out)
      result = shell(("env -u LUA_PATH -u LUA_CPATH -u SF_INSTANCE_URL %s/bin/bulkjob limits"):format(root)) -- below a prefix that Lua does not search
      assert.matches("^bulkjob: auth error: SF_INSTANCE_URL is not set", result.err)
      shell(("ln -s ../bin/bulkjob %s/share/link"):format(root))
      result = shell(("env -u LUA_PATH -u LUA_CPATH -u SF_INSTANCE_URL %s/share/link limits"):format(root))
      assert.matches("^bulkjob: auth error: SF_INSTANCE_URL is not set", result.err)
      shell(("rm %s/share/link"):format(root))
      is_clean(shell(make .. "uninstall"))
      assert.are.equal("", shell(("find %s -name '*bulkjob*'"):format(root)).out)
    end)
  end

  describe("can open and close states with everything in flight,", function()
    local settings

    before_each(function()
      org:set { discard = true }
      local job = assert(client:create { object = "Account", operation = "insert" })
      local stalled = assert(client:create { object = "Account", operation = "insert" })
      org:synthetic(job.id, "failed", 3 * 1000 * 1000)
      org:fault { method = "GET", path = "/jobs/ingest/" .. stalled.id .. "$", stall = helper.NEVER_SECONDS, count = -1 }
      org:fault { method = "PUT", stall = helper.NEVER_SECONDS, count = -1 }
      -- Each thread has its own heap in glibc, which keeps it for the next one: with one heap for all, what stays is ours.
      settings = environment { JOB = job.id, STALLED = stalled.id, MALLOC_ARENA_MAX = 1 }
    end)

    local function run_states(program, rounds, threads)
      local result = shell(("%s %s/%s spec/host/flights.lua %d %d"):format(settings, BUILD, program, rounds, threads))
      is_clean(result)
      assert.are.same({ Open = 2 }, helper.states(org))
      for _, job in ipairs(org:jobs()) do
        assert.are.equal(0, job.processed)
      end
      local figures = {}
      for descriptors, running, kilobytes in result.out:gmatch "(%d+) (%d+) (%d+)\n" do
        figures[#figures + 1] = { open = { tonumber(descriptors), tonumber(running) }, memory = tonumber(kilobytes) }
      end
      return figures
    end

    for _, which in ipairs { { "states", "with the core linked in" }, { "states-shared", "which load the core, and unload it" } } do
      local program, name = which[1], which[2]
      it("a hundred in a row, " .. name, function()
        local start, warm, last = (table.unpack or unpack)(run_states(program, ROUNDS, 1))
        assert.are.same(start.open, last.open)
        if not helper.SANITIZED then -- a sanitizer keeps what was freed
          assert.is_true(last.memory - warm.memory < MOST_GROWTH,
            ("%d kB after ten states, %d kB after %d"):format(warm.memory, last.memory, ROUNDS))
        end
      end)

      it("four at once, each in its thread, " .. name, function()
        local figures = run_states(program, 10, 4)
        assert.are.same(figures[1].open, figures[#figures].open)
      end)
    end
  end)
end)
