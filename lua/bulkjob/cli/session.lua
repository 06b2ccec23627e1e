--- Who signs in, and how: the client of the command.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"

local session = {}

--- What an interrupt raises, once.
session.INTERRUPTED = setmetatable({}, { __tostring = function()
  return "interrupted"
end })

local told = false

-- Waits as a script does, and raises the first interrupt there.
local function wait(waiting)
  waiting:sleep()
  if not told and core.interrupts() > 0 then
    told = true
    error(session.INTERRUPTED, 0)
  end
end

local function needed(name)
  local value = os.getenv(name)
  if not value or value == "" then
    return nil, core.error("auth", name .. " is not set. Sign in by SF_INSTANCE_URL and SF_ACCESS_TOKEN in the environment")
  end
  return value
end

--- The client for what the command line says.
---@return bulkjob.Client|nil client, bulkjob.Error|nil err
function session.client(options)
  local url, token, err
  url, err = needed "SF_INSTANCE_URL"
  if url then
    token, err = needed "SF_ACCESS_TOKEN"
  end
  if not token then
    return nil, err
  end
  if options.insecure then
    io.stderr:write "bulkjob: warning: certificates are not verified (--insecure)\n"
  end
  core.catch_interrupts()
  return bulkjob.client {
    instance_url = url, access_token = token, api_version = options.api_version, insecure = options.insecure,
    ca_file = options.ca_file or os.getenv "SF_CA_FILE" or os.getenv "SSL_CERT_FILE", proxy = options.proxy, loop = wait,
    on_event = function(event)
      if event.type == "limit" then
        io.stderr:write(("bulkjob: warning: %s: %d are needed, and %d are left today\n"):format(event.name, event.needed, event.remaining))
      end
    end,
  }
end

return session
