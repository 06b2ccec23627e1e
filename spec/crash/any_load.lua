-- A load with any options, which may kill itself. Run by spec/random_loads.lua. Prints its report as JSON.
local core = require "bulkjob.core"
local crash = require "spec.crash.crash"

local options = core.json_decode(os.getenv "OPTIONS")
if os.getenv "SPOOL" then -- the rows of a file, given one by one
  options.rows = assert(require("bulkjob.csv").rows { file = options.file })
  options.file = nil
end
if os.getenv "RAISE" then
  local left = tonumber(os.getenv "RAISE")
  function options.on_progress()
    left = left - 1
    if left < 0 then
      error("raised by on_progress", 0)
    end
  end
end
local report, err
if os.getenv "CANCEL" then
  local task = crash.client:spawn(crash.client.load, crash.client, options)
  function crash.cancel()
    task:cancel()
  end
  report, err = task:result()
else
  report, err = crash.client:load(options)
end
io.write(core.json_encode(report and { report = report } or { error = tostring(err) }), "\n")
