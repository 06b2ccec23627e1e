--- PUC Lua 5.1 where the library coxpcall is not installed: each script runs in a process of its own that cannot find it.
local helper = require "spec.helper"

local PRELUDE = [[
package.preload.coxpcall = function() error("it is not there", 0) end
local bulkjob = require "bulkjob"
local CSV = "Name\nOne\nTwo\n"

local function client(loop)
  return bulkjob.client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE, loop = loop }
end

local function new_job(client)
  return assert(client:create { object = "Account", operation = "insert" })
end

local function chunks()
  local at = 0
  return function()
    at = at + 10
    return at - 9 <= #CSV and CSV:sub(at - 9, at) or nil
  end
end
]]

describe("without coxpcall", function()
  local org
  helper.scene(helper.AT_ONCE, function(...)
    org = ...
  end)

  local function says(expected, script)
    if not helper.PUC_5_1 then
      pending "without coxpcall: only PUC Lua 5.1 needs it to yield through pcall"
    end
    local path = helper.file(helper.names(org) .. PRELUDE .. script)
    local out, status = helper.shell(("%s %s"):format(os.getenv "LUA", helper.quote(path)))
    assert.are.equal(expected, out)
    assert.are.equal(0, status)
  end

  it("a whole job can be done by blocking, in a coroutine too", function()
    local path = helper.file ""
    says("done\ndone\n", ("local PATH = %q\n"):format(path) .. [[
      local function work()
        local client = client()
        for _, source in ipairs { CSV, { rows = { { Name = "One" }, { Name = "Two" } } }, chunks() } do
          local job = new_job(client)
          assert(job:upload(source))
          assert(job:close())
          assert(assert(job:wait()).numberRecordsProcessed == 2)
          assert(job:successful_results():save(PATH))
          local rows = 0
          for _ in job:successful_results() do
            rows = rows + 1
          end
          assert(rows == 2)
        end
        local kept
        assert(not pcall(bulkjob.with, new_job(client), function(job)
          kept = job
          error "oops"
        end))
        assert(kept.state == "Aborted")
        print "done"
      end
      work()
      assert(coroutine.resume(coroutine.create(work)))
    ]])
  end)

  it("tasks wait where no pcall of ours is in between", function()
    says("done\n", [[
      local client = client()
      local task = client:spawn(function()
        local job = new_job(client)
        assert(job:abort())
        return assert(client:limits())
      end)
      assert(client:run())
      assert(task:result())
      print "done"
    ]])
  end)

  -- So that no answer is there before it is waited for.
  local function slow()
    org:fault { stall = 0.3, path = "/limits", count = -1 }
    org:fault { stall = 0.3, path = "/batches", count = -1 }
    org:fault { stall = 0.3, path = "/successfulResults", count = -1 }
  end

  it("a wait elsewhere says what is missing", function()
    slow()
    says("", [[
      local WHAT = "bulkjob: Lua 5.1 cannot yield inside upload, save, with and auth functions unless the library coxpcall is installed"
      local client = client()
      for _, source in ipairs { CSV, chunks() } do
        local job = new_job(client)
        local _, err = client:spawn(job.upload, job, source):result()
        assert(err.message == WHAT, err.message)
      end

      local job = new_job(client)
      local _, err = client:spawn(bulkjob.with, job, function()
        client:limits()
      end):result()
      assert(err.message == WHAT, err.message)
      assert(job.state == "Aborted")

      job = new_job(client)
      assert(job:upload(CSV))
      assert(job:close())
      assert(job:wait())
      local path = os.tmpname()
      os.remove(path)
      _, err = client:spawn(function() return job:successful_results():save(path) end):result()
      assert(err.message == WHAT, err.message)
      assert(not io.open(path) and not io.open(path .. ".bulkjob-part"))
    ]])
  end)

  it("a loop of one's own is told the same", function()
    slow()
    says("", [[
      local client = client(function() coroutine.yield() end)
      local ok, why
      local thread = coroutine.create(function()
        new_job(client):upload(CSV)
      end)
      repeat
        ok, why = coroutine.resume(thread)
      until coroutine.status(thread) == "dead"
      assert(not ok and why:find("coxpcall is installed", 1, true), why)
    ]])
  end)
end)
