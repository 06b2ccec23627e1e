--- The programs in examples/, run as a reader runs them: each does its work, and says what went wrong. Not all are run here: load.lua
--- by readme_spec, love/ by love_spec, haproxy.* by haproxy_spec, host.* by host_spec, and demo.lua by `make check` itself.
local core = require "bulkjob.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local programs = require "spec.programs"

local quote = helper.quote

local CSV = "Name,NumberOfEmployees\nOne,12\nTwo,many\n"

describe("the example", function()
  local org
  local directory = helper.directory "each"
  local dir

  helper.scene(helper.with(helper.AT_ONCE, { queue_seconds = 0.02 }), function(...)
    org = ...
  end)

  before_each(function()
    dir = directory()
    assert(core.make_directory(dir .. "/bin"))
    assert(core.make_directory(dir .. "/tmp"))
    local file = assert(io.open(dir .. "/accounts.csv", "wb"))
    file:write(CSV)
    file:close()
  end)

  local function path_of(name)
    return lfs.currentdir() .. "/examples/" .. name
  end

  -- What it printed on both, and its status.
  local function run(command, more)
    return helper.shell(("cd %s && export %s && %s"):format(quote(dir), programs.environment(org, dir, more), command))
  end

  local function works(expected, command, rows)
    local out, status = run(command)
    assert.are.same({ expected, 0 }, { out, status })
    assert.are.equal(rows, org:count "Account")
  end

  local DEAD_TOKEN = { SF_ACCESS_TOKEN = "00D000000000001!none" }

  local function fails(command)
    local out, status = run(command, DEAD_TOKEN)
    assert.matches("^auth error INVALID_SESSION_ID: [^\n]+\n$", out)
    assert.are.equal(1, status)
    assert.are.equal(0, org:count "Account")
  end

  local LOOPS = {
    ["in_luv.lua"] = "the timer went on", ["in_cqueues.lua"] = "the other coroutine went on",
    ["in_copas.lua"] = "the loop went on", ["own_loop.lua"] = "the loop went on",
  }
  for name, said in pairs(LOOPS) do
    it(name .. " loads rows while its loop goes on", function()
      works("2 rows stored, 0 failed\n" .. said .. "\n", programs.lua(path_of(name)), 2)
    end)
    it(name .. " says what went wrong", function()
      fails(programs.lua(path_of(name)))
    end)
  end

  it("in_luajit.lua loads rows that are C structs", function()
    works("1000 rows stored, 0 failed\n", programs.luajit(path_of "in_luajit.lua"), 1000)
  end)
  it("in_luajit.lua says what went wrong", function()
    fails(programs.luajit(path_of "in_luajit.lua"))
  end)

  describe("in_neovim.lua", function()
    -- Runs the command on the CSV, and prints what Neovim says then.
    local function nvim(more)
      local says = [[lua vim.wait(1e9, function() return vim.fn.execute("messages"):find "rows stored" or vim.fn.execute("messages"):find "error" end, 5) ]]
        .. [[io.stdout:write(vim.fn.execute "messages", "\n") vim.cmd "qall!"]]
      local out, status = run(programs.nvim(path_of "in_neovim.lua", ("-c %s -c LoadAccounts -c %s"):format(quote "edit accounts.csv", quote(says))),
        more)
      assert.are.equal(0, status, out)
      return out
    end

    it("loads the rows of the buffer", function()
      assert.matches("\n1 rows stored, 1 failed\n$", nvim())
      assert.are.equal(1, org:count "Account")
    end)
    it("says what went wrong", function()
      assert.matches("\nauth error INVALID_SESSION_ID: [^\n]+\n", nvim(DEAD_TOKEN))
    end)
  end)

  describe("nginx.conf", function()
    local function with_nginx(more, fn)
      local empty = dir .. "/server" -- all that it needs is made by itself
      assert(core.make_directory(empty))
      local nginx = programs.start_nginx(helper.content "examples/nginx.conf", empty, programs.environment(org, dir, more))
      finally(function()
        nginx:stop()
      end)
      fn(function(arguments)
        return (helper.shell(programs.with_port("cd " .. quote(dir) .. " && curl -sS " .. arguments, nginx.port)))
      end)
    end

    it("takes CSV, and says how its job is doing", function()
      with_nginx(nil, function(curl)
        local id = curl "--data-binary @accounts.csv http://127.0.0.1:8080/accounts"
        assert.matches("^750%w+\n$", id)
        assert.matches("^JobComplete 2 1\nTwo: INVALID_TYPE", curl("'http://127.0.0.1:8080/job?id=" .. id:gsub("\n", "") .. "'"))
      end)
      assert.are.equal(1, org:count "Account")
    end)

    it("refuses what it was asked wrongly", function()
      with_nginx(nil, function(curl)
        assert.are.equal("no CSV in the body\n400", curl "-w '%{http_code}' -X POST http://127.0.0.1:8080/accounts")
        for _, query in ipairs { "", "?id=foo" } do
          assert.matches("^an id of .*\n400$", curl("-w '%{http_code}' 'http://127.0.0.1:8080/job" .. query .. "'"))
        end
      end)
      assert.are.equal(0, #org:requests())
    end)

    it("says what went wrong", function()
      with_nginx(DEAD_TOKEN, function(curl)
        assert.are.equal("INVALID_SESSION_ID\n502", curl "-w '%{http_code}' --data-binary @accounts.csv http://127.0.0.1:8080/accounts")
        assert.matches("auth error INVALID_SESSION_ID: ", helper.content(dir .. "/server/error.log"))
      end)
    end)
  end)
end)
