-- A load that kills itself. Run by spec/crash_spec.lua with the moment in the environment:
--   KILL=request:N     after the N-th request of the process was answered, or failed
--   KILL=journal:N:when   at the N-th line of the journal: "before" it, "half" of it written, "after" it
--   KILL=spool         when the rows are half on the disk
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"

local what, number, when = os.getenv("KILL"):match "^(%a+):?(%d*):?(%a*)$"
number = tonumber(number)

local function kill()
  local stat = assert(io.open "/proc/self/stat")
  os.execute(("kill -9 %d"):format(stat:read "*n"))
end

local requests, lines = 0, 0
local open_log = core.open_log
function core.open_log(path)
  local log, err = open_log(path)
  if not log then
    return nil, err
  end
  local watched = {}
  function watched.append(_, text)
    lines = lines + 1
    if what ~= "journal" or lines ~= number then
      return log:append(text)
    elseif when == "before" then
      kill()
    elseif when == "half" then
      log:append(text:sub(1, math.floor(#text / 2)))
      kill()
    end
    local ok, why = log:append(text)
    kill()
    return ok, why
  end
  function watched.cut(_, size)
    return log:cut(size)
  end
  function watched.close()
    log:close()
  end
  return watched
end

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  retry = { tries = 3, base = 0.001, cap = 0.002 },
  on_event = function(event)
    if event.type == "request" then
      requests = requests + 1
      if what == "request" and requests == number then
        kill()
      end
    end
  end,
}

local options = {
  object = "Account", operation = "insert", part_bytes = tonumber(os.getenv "PART_BYTES"), jobs = tonumber(os.getenv "JOBS"),
  journal = os.getenv "JOURNAL", results = os.getenv "RESULTS",
}
if os.getenv "ROWS" then
  local n = 0
  options.columns = { "Name", "Ext__c" }
  options.rows = function()
    n = n + 1
    if what == "spool" and n == 20 then
      kill()
    end
    return n <= tonumber(os.getenv "ROWS") and { Name = "Row " .. n, Ext__c = "E" .. n } or nil
  end
else
  options.file = os.getenv "FILE"
end
local report = assert(client:load(options))
io.write(("%d %d %d %d\n"):format(report.records, report.processed, requests, lines))
