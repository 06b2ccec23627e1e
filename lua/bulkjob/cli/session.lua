--- Who signs in, and how: the client of the command.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local secrets = require "bulkjob.cli.secrets"

local session = {}

--- What an interrupt raises, once.
session.INTERRUPTED = setmetatable({}, { __tostring = function()
  return "interrupted"
end })

local told = false

--- Raises an interrupt that came while nothing was waited for, such as in a command that signs in.
function session.check_interrupt()
  if not told and core.interrupts() > 0 then
    told = true
    error(session.INTERRUPTED, 0)
  end
end

-- Waits as a script does, and raises the first interrupt there.
local function wait(waiting)
  local ok, why = waiting:sleep()
  session.check_interrupt()
  return ok or false, why
end

local function refuse(message)
  return nil, core.error("auth", message)
end

local function by_app(options, secret)
  local client_id, login_url = options.client_id, options.login_url
  if options.jwt_key then
    if not options.username then
      return refuse "--jwt-key goes with --username: the user to sign in as"
    end
    local key, why = file.read(options.jwt_key)
    if not key then
      return refuse("--jwt-key: " .. why)
    end
    local locked = key:find("ENCRYPTED", 1, true)
    return bulkjob.auth.jwt {
      client_id = client_id, username = options.username, key_file = options.jwt_key, login_url = login_url,
      passphrase = locked and secret("SF_KEY_PASSPHRASE", "passphrase of " .. options.jwt_key) or nil,
    }
  end
  local refresh_token = not options.username and secret "SF_REFRESH_TOKEN"
  if refresh_token then
    return bulkjob.auth.refresh_token {
      client_id = client_id, client_secret = secret "SF_CLIENT_SECRET", refresh_token = refresh_token, login_url = login_url,
    }
  end
  login_url = login_url or (not options.username and secret "SF_INSTANCE_URL" or nil)
  if not options.username and not login_url then
    return refuse "--client-id alone signs in as the app's run-as user: --login-url has to name the org's My Domain"
  end
  local client_secret = secret("SF_CLIENT_SECRET", "secret of the app")
  local password = options.username and secret("SF_PASSWORD", "password of " .. options.username)
  if not client_secret then
    return refuse "SF_CLIENT_SECRET is not set"
  elseif options.username and not password then
    return refuse "SF_PASSWORD is not set"
  elseif password then
    return bulkjob.auth.password {
      client_id = client_id, client_secret = client_secret, username = options.username, password = password,
      security_token = secret "SF_SECURITY_TOKEN", login_url = login_url,
    }
  end
  return bulkjob.auth.client_credentials { client_id = client_id, client_secret = client_secret, login_url = login_url }
end

local OF_AN_APP = { client_id = "--client-id", jwt_key = "--jwt-key", username = "--username", login_url = "--login-url" }

-- An option that has no place beside the others. What it asks for must not be dropped: the session in the environment may be that of
-- another org.
local function misplaced(options)
  for field, name in pairs(OF_AN_APP) do
    if options[field] and options.org then
      return name .. " has no place beside --org"
    elseif options[field] and not options.client_id then
      return name .. " goes with --client-id"
    end
  end
end

-- What the client signs in with: { instance_url =, access_token =, auth = }.
local function sign_in(options)
  local problem = misplaced(options)
  if problem then
    return refuse(problem)
  end
  local secret, err = secrets.open(options.secrets)
  if not secret then
    return nil, err
  end
  if options.org then
    return { auth = bulkjob.auth.sf_cli { org = options.org } }
  elseif options.client_id then
    local source
    source, err = by_app(options, secret)
    return source and { auth = source }, err
  end
  local url, token = secret "SF_INSTANCE_URL", secret "SF_ACCESS_TOKEN"
  if not url or not token then
    return refuse((url and "SF_ACCESS_TOKEN" or "SF_INSTANCE_URL") .. " is not set. Sign in by SF_INSTANCE_URL and SF_ACCESS_TOKEN "
      .. "in the environment, by --org, or by --client-id; bulkjob --help tells more")
  end
  if token:find("[REDACTED]", 1, true) then
    return refuse("SF_ACCESS_TOKEN is not a token, but what 'sf org display' says in place of one. 'sf org auth show-access-token' "
      .. "shows it; or sign in by --org")
  end
  return { instance_url = url, access_token = token }
end

--- The client for what the command line says.
---@return bulkjob.Client|nil client, bulkjob.Error|nil err
function session.client(options)
  core.keep_secrets()
  if (options.proxy or ""):find "@" then
    return refuse "--proxy: everybody on this machine can read a password there; set https_proxy in the environment"
  end
  core.catch_interrupts()
  local all, err = sign_in(options)
  if core.interrupts() > 0 then -- at a prompt
    error(session.INTERRUPTED, 0)
  elseif not all then
    return nil, err
  end
  if options.insecure then
    io.stderr:write "bulkjob: warning: certificates are not verified (--insecure)\n"
  end
  all.api_version, all.insecure, all.proxy, all.loop = options.api_version, options.insecure, options.proxy, wait
  all.ca_file = options.ca_file or os.getenv "SF_CA_FILE" or os.getenv "SSL_CERT_FILE"
  if options.command ~= "wait" then -- where it is the time for the job
    all.timeout = options.timeout
  end
  all.retry = options.retries and { tries = options.retries + 1 } or nil
  function all.on_event(event)
    if event.type == "limit" then
      io.stderr:write(("bulkjob: warning: %s: %d are needed, and %d are left today\n"):format(event.name, event.needed, event.remaining))
    end
  end
  return bulkjob.client(all)
end

return session
