--- A name server that does not answer, for a program of its own (LD_PRELOAD; see Makefile).
local helper = require "spec.helper"

local STUB = "build/hung_dns.so"

describe("a name server that hangs", function()
  local org
  local how, after, other_how, other_after, longest

  setup(function()
    assert(io.open(STUB), STUB .. " is missing: run this by make test"):close()
    org = helper.org()
    org:fault { path = "/limits", after = 1, stall = 1, stall_when = "before" }
    -- Ended after HANG_SECONDS; the look-up takes longer.
    local out = helper.shell(("LD_PRELOAD=%s exec %s spec/hung_dns.lua %s '%s'"):format(STUB,
      assert(os.getenv "LUA", "this is run by make test"), org.url, org.token))
    how, after, other_how, other_after, longest = out:match "^(%a+) (%S+) (%a+) (%S+) (%S+)\n$"
    assert(how, out)
  end)

  teardown(function()
    org:stop()
  end)

  it("fails the request when its own time is up", function()
    assert.are.equal("timeout", how)
    assert.is_true(tonumber(after) >= 0.25 and tonumber(after) < helper.HANG_SECONDS / 2, after)
  end)

  it("holds no other request up", function()
    assert.are.equal("ok", other_how)
    assert.is_true(tonumber(other_after) >= 1 and tonumber(other_after) < helper.HANG_SECONDS / 2, other_after)
  end)

  it("blocks neither poll(0) nor the end of the program", function()
    assert.is_true(tonumber(longest) < helper.HANG_SECONDS / 2, longest)
  end)
end)
