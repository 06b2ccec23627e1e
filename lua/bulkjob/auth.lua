--- Ways to sign in. Each gives a token source for the option `auth` of a client: a function, which may be shared by any number of
--- clients and tasks, asks for a token once for all of them, and keeps it until it is dead. No secret appears in an error.
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local sf_cli = require "bulkjob.auth.sf_cli"
local token = require "bulkjob.auth.token"
local trip = require "bulkjob.trip"

local auth = {}

local PRODUCTION, SANDBOX = "https://login.salesforce.com", "https://test.salesforce.com"

-- `known`: option name -> type, with "?" behind it when it may be left out.
local function check(name, options, known)
  local function misuse(text)
    error("bulkjob.auth." .. name .. ": " .. text, 4)
  end
  if type(options) ~= "table" then
    misuse("a table expected, got " .. type(options))
  end
  for key in pairs(options) do
    if not known[key] then
      misuse("unknown option '" .. tostring(key) .. "'")
    end
  end
  for key, expected in pairs(known) do
    local value, kind = options[key], expected:match "%a+"
    if value == nil and not expected:find("?", 1, true) then
      misuse(key .. " is missing")
    elseif value ~= nil and (type(value) ~= kind or value == "") then
      misuse(key .. ": a " .. kind .. " expected, got " .. (value == "" and "an empty one" or type(value)))
    end
  end
end

--- Client credentials: the app itself signs in, as the run-as user of its settings.
---@param options { login_url: string, client_id: string, client_secret: string } `login_url`: the org's My Domain, such as
---  "https://acme.my.salesforce.com"; login.salesforce.com refuses this flow
---@return function source
function auth.client_credentials(options)
  check("client_credentials", options, { login_url = "string", client_id = "string", client_secret = "string" })
  return token.source("client_credentials", options.login_url, function()
    return { grant_type = "client_credentials", client_id = options.client_id, client_secret = options.client_secret },
      { options.client_secret }
  end)
end

-- As simple-salesforce's login.py has it.
local ASSERTION_SECONDS = 180

local function audience_of(login_url)
  local host = login_url:lower()
  return (host:find("test.salesforce.com", 1, true) or host:find(".sandbox.", 1, true)) and SANDBOX or PRODUCTION
end

--- JWT bearer: the private key of a certificate that the app knows signs in as a user whom the app's policies pre-authorise.
---@param options { client_id: string, username: string, key: string|nil, key_file: string|nil, passphrase: string|nil,
---  login_url: string|nil, audience: string|nil } `key`: an RSA key in PEM, or `key_file` its path; `login_url`:
---  "https://login.salesforce.com" if not said; `audience`: what fits the login_url if not said
---@return function source
function auth.jwt(options)
  check("jwt", options, {
    client_id = "string", username = "string", key = "string?", key_file = "string?", passphrase = "string?", login_url = "string?",
    audience = "string?",
  })
  if (options.key == nil) == (options.key_file == nil) then
    error("bulkjob.auth.jwt: either key or key_file expected", 2)
  end
  local login_url = options.login_url or PRODUCTION
  return token.source("jwt", login_url, function()
    local key, why = options.key, nil
    if not key then
      key, why = file.read(options.key_file)
    end
    if not key then
      return nil, core.error("auth", "key_file: " .. why)
    end
    local assertion, err = core.sign_jwt(key, options.passphrase, core.json_encode {
      iss = options.client_id, sub = options.username, aud = options.audience or audience_of(login_url),
      exp = os.time() + ASSERTION_SECONDS,
    })
    if not assertion then
      err.message = (options.key_file or "key") .. ": " .. err.message
      return nil, err
    end
    return { grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion = assertion }, { assertion }
  end)
end

--- Refresh token: what a user has once allowed. A new refresh token that comes in return takes the place of the old one.
---@param options { client_id: string, client_secret: string|nil, refresh_token: string, login_url: string|nil,
---  on_refresh_token: fun(refresh_token: string)|nil } `on_refresh_token` is called with each new one, to be stored
---@return function source
function auth.refresh_token(options)
  check("refresh_token", options, {
    client_id = "string", client_secret = "string?", refresh_token = "string", login_url = "string?", on_refresh_token = "function?",
  })
  local held = options.refresh_token
  return token.source("refresh_token", options.login_url or PRODUCTION, function()
    return { grant_type = "refresh_token", client_id = options.client_id, client_secret = options.client_secret, refresh_token = held },
      { held, options.client_secret }
  end, function(answer)
    local new = answer.refresh_token
    if type(new) == "string" and new ~= held then
      held = new
      return options.on_refresh_token and function()
        options.on_refresh_token(new)
      end
    end
  end)
end

--- User name and password. The service is withdrawing this flow: client credentials take its place.
---@param options { client_id: string, client_secret: string, username: string, password: string, security_token: string|nil,
---  login_url: string|nil }
---@return function source
function auth.password(options)
  check("password", options, {
    client_id = "string", client_secret = "string", username = "string", password = "string", security_token = "string?",
    login_url = "string?",
  })
  return token.source("password", options.login_url or PRODUCTION, function()
    return {
      grant_type = "password", client_id = options.client_id, client_secret = options.client_secret, username = options.username,
      password = options.password .. (options.security_token or ""),
    }, { options.client_secret, options.password, options.security_token }
  end)
end

--- The Salesforce CLI: an org that the command `sf` is signed in to. It blocks the host while the command runs, some seconds.
---@param options { org: string|nil, command: string|nil }|nil `org`: alias or user name, sf's default org if not said
---@return function source
function auth.sf_cli(options)
  options = options or {}
  check("sf_cli", options, { org = "string?", command = "string?" })
  return trip.source {
    name = "sf_cli",
    ask = function()
      return sf_cli { org = options.org, command = options.command or "sf" }
    end,
  }
end

return auth
