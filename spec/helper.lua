--- What the specs share: an org of their own, and clients for it that do not wait long.
local bulkjob = require "bulkjob"
local control = require "sandbox.control"
local core = require "bulkjob.core"

local helper = {}

--- Is the core that is tested built with a sanitizer? Then all takes several times as long.
helper.SANITIZED = (os.getenv "BUILD" or ""):find "%-[^/]*$" ~= nil -- build/asan-lua5.4

--- Seconds after which whatever a test waits for will not come: far more than a busy machine takes, so that it only ends what hangs.
helper.HANG_SECONDS = helper.SANITIZED and 240 or 60

--- Seconds for what must not end by itself while a test waits for something else: the stall of a request, the time-out of a client.
helper.NEVER_SECONDS = 10 * helper.HANG_SECONDS

local clients = {}

--- Starts an org; it ends with `org:stop()`, or with this process.
function helper.org(options)
  return control.start(options or {})
end

--- A client for the org, over HTTPS, with short pauses between tries. `options` override.
function helper.client(org, options)
  local client = bulkjob.client(helper.with({
    instance_url = org.tls_url,
    access_token = org.token,
    ca_file = org.ca_file,
    retry = { tries = 4, base = 0.01, cap = 0.05 },
    timeout = helper.HANG_SECONDS,
  }, options))
  clients[#clients + 1] = client
  return client
end

--- A list to which the events of a client go: `{ on_event = helper.recorder(list) }`.
function helper.recorder(list)
  return function(event)
    list[#list + 1] = event
  end
end

--- How many events of this type are in the list.
function helper.count(list, type_)
  local n = 0
  for _, event in ipairs(list) do
    n = n + (event.type == type_ and 1 or 0)
  end
  return n
end

--- The states of the org's jobs, counted: { Open = 1, Aborted = 2 }.
function helper.states(org)
  local states = {}
  for _, job in ipairs(org:jobs()) do
    states[job.state] = (states[job.state] or 0) + 1
  end
  return states
end

--- A file with this content that is removed by `helper.clean()`.
local files = {}
function helper.file(content)
  local path = os.tmpname()
  files[#files + 1] = path
  local file = assert(io.open(path, "wb"))
  file:write(content)
  file:close()
  return path
end

function helper.clean()
  for _, path in ipairs(files) do
    os.remove(path)
  end
  files = {}
end

--- A directory that is there for the tests of a describe block; with "each", an empty one for each test. Answers a function that
--- gives the path of a name in it, and without a name its own.
function helper.directory(each)
  local busted = require "busted"
  local directory = os.tmpname()
  os.remove(directory)
  busted[each and "before_each" or "setup"](function()
    assert(core.make_directory(directory))
  end)
  busted[each and "after_each" or "teardown"](function()
    os.execute("rm -rf " .. helper.quote(directory))
  end)
  return function(name)
    return name and directory .. "/" .. name or directory
  end
end

--- Sets the scene of a describe block: an org, emptied and given `settings` before each test, and a client for it. `take` gets
--- both then, and the list to which the client's events go. After each test every client is closed, and the org's error log has
--- to be empty.
function helper.scene(settings, take)
  local busted = require "busted"
  local org
  busted.setup(function()
    org = helper.org()
  end)
  busted.teardown(function()
    org:stop()
    helper.clean()
  end)
  busted.before_each(function()
    org:reset()
    org:set(settings)
    local events = {}
    take(org, helper.client(org, { on_event = helper.recorder(events) }), events)
  end)
  busted.after_each(function()
    for _, client in ipairs(clients) do
      client:close()
    end
    clients = {}
    org:release()
    assert(org:errors() == "", org:errors())
  end)
end

--- Is this PUC Lua 5.1, which cannot yield through pcall, iterators and metamethods?
helper.PUC_5_1 = _VERSION == "Lua 5.1" and not jit

--- For `helper.scene`: jobs are done as soon as they are closed.
helper.AT_ONCE = { queue_seconds = 0, processing_seconds = 0 }

helper.FINAL = { JobComplete = true, Failed = true, Aborted = true }

helper.DELIMITERS = { BACKQUOTE = "`", CARET = "^", COMMA = ",", PIPE = "|", SEMICOLON = ";", TAB = "\t" }

--- Looks at a job until it is in a final state, without pauses. Returns its info.
function helper.finished(job)
  while true do
    local info = assert(job:info())
    if helper.FINAL[info.state] then
      return info
    end
  end
end

--- Looks again and again, every 10 ms, whether `ready()` answers something true, and answers that. Raises what `why()` gives when
--- that has not come after HANG_SECONDS.
---@param ready fun(): any
---@param why nil|fun(): string
function helper.wait_until(ready, why)
  local till = core.now() + helper.HANG_SECONDS
  local value = ready()
  while not value do
    if core.now() > till then
      error(why and why() or "it did not come", 2)
    end
    helper.sleep(0.01)
    value = ready()
  end
  return value
end

--- The shortest of three times is long enough on an idle machine, and the longest on a busy one: calls `attempt` with each until
--- it answers more than `least`. For what is counted while something else takes so long, such as the turns of a loop beside a
--- request that is not answered: where nothing goes on beside it, the longest time brings no more than the shortest.
---@param least integer
---@param attempt fun(seconds: number): integer
function helper.more_than(least, attempt)
  local counts = {}
  for i, seconds in ipairs { 0.5, 3, 20 } do
    counts[i] = attempt(seconds)
    if counts[i] > least then
      return
    end
  end
  error(("%s in 0.5, 3 and 20 seconds, not more than %d"):format(table.concat(counts, ", "), least), 2)
end

--- Blocks this program for so many seconds.
function helper.sleep(seconds)
  local pause = core.channel()
  pause:set_deadline(core.now() + seconds)
  pause:sleep()
  pause:close()
end

--- What is in the file, or nil if there is none.
function helper.content(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

--- Writes the file anew.
function helper.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- As one word of a shell command.
function helper.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

--- Runs a shell command that ends by itself, or is ended after HANG_SECONDS. What it printed, and its status.
function helper.shell(command)
  local pipe = assert(io.popen(("timeout -k 1 %d sh -c %s 2>&1 </dev/null; echo STATUS $?"):format(helper.HANG_SECONDS, helper.quote(command))))
  local out, status = pipe:read("*a"):match "^(.*)STATUS (%d+)\n$"
  pipe:close()
  return out, tonumber(status)
end

--- Can strace be used here?
function helper.may_trace()
  return select(2, helper.shell "strace -o /dev/null true") == 0
end

--- What stands before a shell command to run it under strace with these options. LeakSanitizer does not work there.
function helper.strace(options)
  return "ASAN_OPTIONS=detect_leaks=0 strace -f -qq " .. options .. " "
end

--- A line of Lua that sets ORG, TOKEN and CA_FILE, for a script that runs elsewhere.
function helper.names(org)
  return ("local ORG, TOKEN, CA_FILE = %q, %q, %q "):format(org.tls_url, org.token, org.ca_file)
end

--- What the org has got as the data of a job.
function helper.received(org, job)
  return assert(helper.content(org.dir .. "/jobs/" .. job.id .. ".data"))
end

--- `base` with `more` over it, as a new table.
function helper.with(base, more)
  local all = {}
  for _, part in ipairs { base, more or {} } do
    for key, value in pairs(part) do
      all[key] = value
    end
  end
  return all
end

return helper
