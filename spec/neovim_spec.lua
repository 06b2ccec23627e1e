--- In Neovim, whose Lua is LuaJIT: what waits there leaves the editor usable. Run by the plain suite of LuaJIT only: Neovim does
--- not have the runtime of a sanitizer (tools/sanitized-lua).
local helper = require "spec.helper"

if not jit or os.getenv "ASAN_OPTIONS" then
  return
end

-- Neovim knows our modules by LUA_PATH and LUA_CPATH, but not where the system has lua-cjson for LuaJIT.
local PRELUDE = [[
package.cpath = package.cpath .. ";" .. CPATH
local bulkjob = require "bulkjob"
local uv = vim.loop

local function new_client()
  return bulkjob.client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE }
end

local function beats()
  local n, timer = 0, uv.new_timer()
  timer:start(0, 5, function()
    n = n + 1
  end)
  return function()
    timer:close()
    return n
  end
end

local function finish(...)
  io.stdout:write(table.concat({ ... }, " "), "\n")
  vim.cmd "qa!"
end
]]

describe("in Neovim", function()
  local org
  helper.scene(helper.AT_ONCE, function(the_org)
    org = the_org
  end)

  local function nvim(script)
    local path = helper.file(helper.names(org) .. ("local CPATH = %q "):format(package.cpath) .. PRELUDE .. script)
    return helper.shell("exec nvim --headless -u NONE -i NONE -n -c " .. helper.quote("luafile " .. path))
  end

  local function says(expected, script)
    local out, status = nvim(script)
    assert.are.same({ expected, 0 }, { out, status })
  end

  -- Runs a script that says what is expected, and last how many beats there were.
  local function beats_of(expected, script)
    local out, status = nvim(script)
    local said, most = out:match "^(.*) (%d+)\n$"
    assert.are.same({ expected, 0 }, { said or out, status })
    return tonumber(most)
  end

  it("a coroutine does a whole job while the editor goes on", function()
    local jobs = 0
    helper.more_than(20, function(seconds)
      jobs = jobs + 1
      org:fault { method = "PUT", stall = seconds }
      return beats_of("2 2", [[
      local stop = beats()
      coroutine.wrap(function()
        local job = assert(new_client():create { object = "Account", operation = "insert" })
        assert(job:upload { rows = { { Name = "One" }, { Name = "Two" } } })
        assert(job:close())
        local info, n = assert(job:wait()), 0
        for _ in job:successful_results() do
          n = n + 1
        end
        finish(info.numberRecordsProcessed, n, stop())
      end)()
      ]])
    end)
    assert.are.same({ JobComplete = jobs }, helper.states(org))
  end)

  it("tasks are moved by a handle on the client", function()
    helper.more_than(20, function(seconds)
      org:clear_faults()
      org:fault { method = "GET", path = "/limits", stall = seconds, count = -1 }
      return beats_of("20", [[
      local client, done, stop = new_client(), 0, beats()
      for _ = 1, 20 do
        client:spawn(function()
          assert(client:limits())
          done = done + 1
        end)
      end
      local poll, timer = uv.new_poll(client:pollfd()), uv.new_timer()
      local function go_on()
        local left, seconds = client:poll(0), client:timeout()
        timer:stop()
        if seconds then
          timer:start(math.ceil(seconds * 1000), 0, go_on)
        elseif left == 0 then
          poll:close()
          timer:close()
          local most = stop()
          vim.schedule(function()
            finish(done, most)
          end)
        end
      end
      poll:start("r", go_on)
      go_on()
      ]])
    end)
  end)

  it("a coroutine may use Neovim's functions after a wait", function()
    says("1 false\n", [[
      coroutine.wrap(function()
        assert(new_client():limits())
        finish(vim.api.nvim_buf_line_count(0), tostring(vim.in_fast_event()))
      end)()
    ]])
  end)

  it("what the coroutine raises is shown", function()
    local out, status = nvim [[
      coroutine.wrap(function()
        new_client():limits()
        vim.defer_fn(function()
          vim.cmd "qa!"
        end, 50)
        error "oh dear"
      end)()
    ]]
    assert.truthy(out:find "oh dear", out)
    assert.are.equal(0, status)
  end)

  for when, rate in pairs { ["before the answer"] = false, ["in the middle of a download"] = 100000 } do
    it("it quits at once " .. when, function()
      org:fault { method = "GET", path = "failedResults", stall = not rate and helper.NEVER_SECONDS or nil, rate = rate or nil, count = -1 }
      local id = assert(helper.client(org):create { object = "Account", operation = "insert" }).id
      org:synthetic(id, "failed", 10000000)
      says("leaves\n", ([[
        coroutine.wrap(function()
          for _ in new_client():job(%q, "ingest"):failed_results() do end
        end)()
        vim.defer_fn(function()
          finish "leaves"
        end, 200)
      ]]):format(id))
    end)
  end
end)
