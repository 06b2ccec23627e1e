--- Some rounds of spec/random_loads.lua, the same each time; that program alone tries as many as one likes.
local core = require "bulkjob.core"
local helper = require "spec.helper"
local random_loads = require "spec.random_loads"

local ROUNDS = helper.SANITIZED and 4 or 12

describe("random loads under random trouble", function()
  local path = helper.directory "each"
  local org

  setup(function()
    org = helper.org()
  end)

  teardown(function()
    org:stop()
    helper.clean()
  end)

  for seed = 1, ROUNDS do
    it("process each row once, and say so: seed " .. seed, function()
      local directory, lines = path "round", {}
      assert(core.make_directory(directory))
      local good, why = pcall(random_loads.round, org, seed, directory, function(line)
        lines[#lines + 1] = line
      end)
      assert.is_true(good, tostring(why) .. "\n" .. table.concat(lines, "\n"))
    end)
  end
end)
