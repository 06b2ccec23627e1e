--- Ways to sign in. Each gives a token source for the option `auth` of a client: a function, which may be shared by any number of
--- clients and tasks, asks for a token once for all of them, and keeps it until it has expired. No secret appears in an error.
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local options = require "bulkjob.options"
local sf_cli = require "bulkjob.auth.sf_cli"
local token = require "bulkjob.auth.token"
local token_renewal = require "bulkjob.token_renewal"

local auth = {}

local PRODUCTION, SANDBOX = "https://login.salesforce.com", "https://test.salesforce.com"

-- `known`: what each option takes (options.check), with "?" behind it when it may be left out.
local function check(name, given, known)
  local kinds, needed = {}, {}
  for key, kind in pairs(known) do
    kinds[key] = kind:match "%a+"
    needed[#needed + 1] = kind:sub(-1) ~= "?" and key or nil
  end
  options.check("bulkjob.auth." .. name, given, kinds, needed, 4)
end

--- Client credentials: the app itself signs in, as the run-as user of its settings.
---@param given { login_url: string, client_id: string, client_secret: string } `login_url`: the org's My Domain, such as
---  "https://acme.my.salesforce.com"; login.salesforce.com refuses this flow
---@return function source
function auth.client_credentials(given)
  check("client_credentials", given, { login_url = "text", client_id = "text", client_secret = "text" })
  return token.source("client_credentials", given.login_url, function()
    return { grant_type = "client_credentials", client_id = given.client_id, client_secret = given.client_secret },
      { given.client_secret }
  end)
end

-- As simple-salesforce's login.py has it.
local ASSERTION_SECONDS = 180

local function audience_of(login_url)
  local host = login_url:lower()
  return (host:find("test.salesforce.com", 1, true) or host:find(".sandbox.", 1, true)) and SANDBOX or PRODUCTION
end

--- JWT bearer: the private key of a certificate that the app knows signs in as a user whom the app's policies pre-authorise.
---@param given { client_id: string, username: string, key: string|nil, key_file: string|nil, passphrase: string|nil,
---  login_url: string|nil, audience: string|nil } `key`: an RSA key in PEM, or `key_file` its path; `login_url`:
---  "https://login.salesforce.com" if not said; `audience`: what fits the login_url if not said
---@return function source
function auth.jwt(given)
  check("jwt", given, {
    client_id = "text", username = "text", key = "text?", key_file = "text?", passphrase = "text?", login_url = "text?",
    audience = "text?",
  })
  if (given.key == nil) == (given.key_file == nil) then
    error("bulkjob.auth.jwt: either key or key_file expected", 2)
  end
  local login_url = given.login_url or PRODUCTION
  return token.source("jwt", login_url, function()
    local key, why = given.key, nil
    if not key then
      key, why = file.read(given.key_file)
    end
    if not key then
      return nil, core.error("auth", "key_file: " .. why)
    end
    local assertion, err = core.sign_jwt(key, given.passphrase, core.json_encode {
      iss = given.client_id, sub = given.username, aud = given.audience or audience_of(login_url),
      exp = core.time() + ASSERTION_SECONDS,
    })
    if not assertion then
      err.message = (given.key_file or "key") .. ": " .. err.message
      return nil, err
    end
    return { grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion = assertion }, { assertion }
  end)
end

--- Refresh token: what a user has once allowed. A new refresh token that comes in return takes the place of the old one.
---@param given { client_id: string, client_secret: string|nil, refresh_token: string, login_url: string|nil,
---  on_refresh_token: fun(refresh_token: string)|nil } `on_refresh_token` is called with each new one, to be stored
---@return function source
function auth.refresh_token(given)
  check("refresh_token", given, {
    client_id = "text", client_secret = "text?", refresh_token = "text", login_url = "text?", on_refresh_token = "function?",
  })
  local held = given.refresh_token
  return token.source("refresh_token", given.login_url or PRODUCTION, function()
    return { grant_type = "refresh_token", client_id = given.client_id, client_secret = given.client_secret, refresh_token = held },
      { held, given.client_secret }
  end, function(answer)
    local new = answer.refresh_token
    if type(new) == "string" and new ~= held then
      held = new
      return given.on_refresh_token and function()
        given.on_refresh_token(new)
      end
    end
  end)
end

--- User name and password. The service is withdrawing this flow: client credentials take its place.
---@param given { client_id: string, client_secret: string, username: string, password: string, security_token: string|nil,
---  login_url: string|nil }
---@return function source
function auth.password(given)
  check("password", given, {
    client_id = "text", client_secret = "text", username = "text", password = "text", security_token = "text?",
    login_url = "text?",
  })
  return token.source("password", given.login_url or PRODUCTION, function()
    return {
      grant_type = "password", client_id = given.client_id, client_secret = given.client_secret, username = given.username,
      password = given.password .. (given.security_token or ""),
    }, { given.client_secret, given.password, given.security_token }
  end)
end

--- The Salesforce CLI: an org that the command `sf` is signed in to. It blocks the host while the command runs, some seconds.
---@param given { org: string|nil, command: string|nil }|nil `org`: alias or user name, sf's default org if not said
---@return function source
function auth.sf_cli(given)
  given = given or {}
  check("sf_cli", given, { org = "text?", command = "text?" })
  return token_renewal.source {
    name = "sf_cli",
    ask = function()
      return sf_cli { org = given.org, command = given.command or "sf" }
    end,
  }
end

return auth
