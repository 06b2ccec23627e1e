--- A name server that does not answer, for a program of its own (LD_PRELOAD; see Makefile).
local core = require "bulkjob.core"
local helper = require "spec.helper"

local STUB = "build/hung_dns.so"

describe("a name server that hangs for four seconds", function()
  local org
  local how, after, other_how, other_after, longest, seconds

  setup(function()
    assert(io.open(STUB), STUB .. " is missing: run this by make test"):close()
    org = helper.org()
    org:fault { path = "/limits", after = 1, stall = 1, stall_when = "before" }
    local began = core.now()
    local pipe = assert(io.popen(("LD_PRELOAD=%s exec %s spec/hung_dns.lua %s '%s' 2>&1"):format(STUB,
      assert(os.getenv "LUA", "this is run by make test"), org.url, org.token)))
    local out = pipe:read "*a"
    pipe:close()
    seconds = core.now() - began
    how, after, other_how, other_after, longest = out:match "^(%a+) (%S+) (%a+) (%S+) (%S+)\n$"
    assert(how, out)
  end)

  teardown(function()
    org:stop()
  end)

  it("fails the request when its own time is up", function()
    assert.are.equal("timeout", how)
    assert.is_true(tonumber(after) >= 0.25 and tonumber(after) < 2, after)
  end)

  it("holds no other request up", function()
    assert.are.equal("ok", other_how)
    assert.is_true(tonumber(other_after) >= 1 and tonumber(other_after) < 3, other_after)
  end)

  it("blocks neither poll(0) nor the end of the program", function()
    assert.is_true(tonumber(longest) < 1, longest)
    assert.is_true(seconds < 3.8, seconds)
  end)
end)
