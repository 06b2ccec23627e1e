--- All that can happen to a part of a load: spec/explorer.lua.
local explorer = require "spec.explorer"
local helper = require "spec.helper"
local next_step = require "bulkjob.load.next_step"

describe("what a load does next with a part", function()
  local states = 0

  teardown(function()
    print(("%d states explored"):format(states))
  end)

  local UNKIND = { takes_second = true, counters = false, goes_on = true, acts = {} }
  local ONCE = { kills = 1, lost = 1, cancels = 1, calls = 1 }

  for name, case in pairs {
    ["a service that counts"] = { { counters = true, goes_on = true, acts = {} }, ONCE },
    ["one that takes a second body, has no counters, and goes on after an abort"] = { UNKIND, ONCE },
    ["two kills and two lost answers"] = { UNKIND, { kills = 2, lost = 2 } },
    ["two lost answers, a cancel and another call"] = {
      { counters = false, goes_on = true, acts = {} }, { lost = 2, cancels = 1, calls = 1 } },
    ["somebody else who aborts or deletes"] = {
      { takes_second = true, counters = true, goes_on = true, acts = { abort = true, delete = true } },
      { kills = 1, lost = 1, acts = 1, calls = 1 } },
    -- That a job that others close ends with the counts that it has is all that can be asked for.
    ["somebody else who closes"] = { { counters = true, acts = { close = true } }, { kills = 1, lost = 1, cancels = 1, acts = 1, calls = 1 } },
  } do
    it("hands no row over twice and loses none: " .. name, function()
      local count, wrong, way = explorer.run(next_step, case[1], helper.SANITIZED and { kills = 1, lost = 1, acts = 1 } or case[2])
      states = states + count
      assert.is_nil(wrong, wrong and wrong .. "\n" .. table.concat(way, "\n"))
      assert.is_true(count > 1000)
    end)
  end

  -- Each rule left out: `replace(part, action)` gives what is done in place of it.
  for name, case in pairs {
    ["the note closing comes before the close"] = { "twice", function(_, action)
      return action == "note closing" and "close"
    end },
    ["a part that was to be closed is never taken back"] = { "twice", function(part, action)
      local old = part.step == "closing" and part.found == part.job
      return old and action == "close" and "abort" or old and part.seen and part.seen.state == "Aborted" and "create"
    end },
    ["a part that was closed is never made anew, whatever became of its job"] = { "twice", function(part)
      return part.step == "closing" and part.seen and part.seen.state == "Aborted" and "create"
    end, { "abort" } },
    ["a job that is gone is not made anew behind its close"] = { "twice", function(part)
      return (part.step == "closing" or part.step == "closed") and part.seen and part.seen.gone and "create"
    end, { "delete" } },
    ["the job of an earlier call is taken back before the part is made anew"] = { "Open", function(_, action)
      return action == "read" and "create"
    end },
    ["a job that was sent an abort is never sent a close"] = { "close is sent", function(part, action)
      return action == "create" and part.seen and part.seen.state == "Aborted" and "close"
    end },
  } do
    it("would, if this were not so: " .. name, function()
      local rules = { takes_second = true, counters = false, goes_on = true, acts = {} }
      for _, act in ipairs(case[3] or {}) do
        rules.acts[act] = true
      end
      local budget = { kills = 1, lost = 1, cancels = 1, calls = 1, acts = case[3] and 1 or 0 }
      local _, wrong = explorer.run({
        of = function(part, stopping)
          local action = next_step.of(part, stopping)
          return case[2](part, action) or action
        end,
        after = next_step.after,
      }, rules, budget)
      assert.matches(case[1], tostring(wrong))
    end)
  end
end)
