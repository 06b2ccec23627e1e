-- A program that kills itself. The moment is in the environment:
--   KILL=request:N     after the N-th request of the process was answered, or failed
--   KILL=journal:N:when   at the N-th line of the journal: "before" it, "half" of it written, "after" it
--   KILL=WORD          where the program itself asks for it
-- TIMEOUT: of its client, in seconds.
-- With CANCEL=1 in the environment it cancels what it does in place of that.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"

local crash = { requests = 0, lines = 0 }

local what, number, when = os.getenv("KILL"):match "^(%a+):?(%d*):?(%a*)$"
number = tonumber(number)

--- Kills this process, if it is to die at that `word`.
function crash.at(word)
  if what == word then
    crash.now()
  end
end

function crash.now()
  if crash.cancel then
    crash.cancel()
    return
  end
  local stat = assert(io.open "/proc/self/stat")
  os.execute(("kill -9 %d"):format(stat:read "*n"))
end

local open_log = core.open_log
function core.open_log(path)
  local log, err = open_log(path)
  if not log then
    return nil, err
  end
  local watched = {}
  function watched.append(_, text)
    crash.lines = crash.lines + 1
    if what ~= "journal" or crash.lines ~= number then
      return log:append(text)
    elseif when == "before" then
      crash.now()
    elseif when == "half" then
      log:append(text:sub(1, math.floor(#text / 2)))
      crash.now()
    end
    local ok, why = log:append(text)
    crash.now()
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

crash.client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  retry = { tries = 3, base = 0.001, cap = 0.002 },
  timeout = tonumber(os.getenv "TIMEOUT"),
  on_event = function(event)
    if event.type == "request" then
      crash.requests = crash.requests + 1
      if what == "request" and crash.requests == number then
        crash.now()
      end
    end
  end,
}

return crash
