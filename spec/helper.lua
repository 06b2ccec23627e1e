--- What the specs share: an org of their own, and clients for it that do not wait long.
local bulkjob = require "bulkjob"
local control = require "sandbox.control"

local helper = {}

--- Starts an org; it ends with `org:stop()`, or with this process.
function helper.org(options)
  return control.start(options or {})
end

--- A client for the org, over HTTPS, with short pauses. `options` override.
function helper.client(org, options)
  local all = {
    instance_url = org.tls_url,
    access_token = org.token,
    ca_file = org.ca_file,
    retry = { tries = 4, base = 0.01, cap = 0.05 },
    timeout = 5,
  }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return bulkjob.client(all)
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

return helper
