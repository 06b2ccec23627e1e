--- The token endpoint (fact sheet 8.1, 8.2): who may sign in, and how.

local app = require "app"
local body = require "body"
local clock = require "clock"
local ids = require "ids"
local json = require "json"
local respond = require "respond"
local session = require "session"
local settings = require "settings"
local signature = require "signature"

local M = {}

local LONGEST_LIFE = 300 -- seconds from now to `exp`; the fact sheet says "a few minutes"
local MILLISECONDS = 1e11 -- from here on `exp` counts those, as the Salesforce CLI does, which is taken (fact sheet 11.6)

--- The address of the user's identity, at the org of that address.
function M.identity_url(base)
  return ("%s/id/%s/%s"):format(base, ids.ORG .. ids.suffix(ids.ORG), ids.USER)
end

local function refuse(code, description)
  local answer = respond.json(json.object { { "error", code }, { "error_description", description } })
  answer.status = 400
  return answer
end

local function check_client(form)
  local values = settings.values
  local id, secret = form.client_id, form.client_secret
  local basic = (ngx.var.http_authorization or ""):match "^Basic%s+(%S+)$"
  if basic then
    id, secret = (ngx.decode_base64(basic) or ""):match "^([^:]*):(.*)$"
  end
  if id ~= values.client_id then
    return refuse("invalid_client_id", "client identifier invalid")
  elseif secret ~= values.client_secret then
    return refuse("invalid_client", "invalid client credentials")
  end
end

local flows = {}

function flows.client_credentials(form)
  if not settings.values.my_domain then
    return refuse("invalid_grant", "request not supported on this domain")
  end
  local refusal = check_client(form)
  if not refusal and not settings.values.run_as_user then
    refusal = refuse("invalid_grant", "no client credentials user enabled")
  end
  return refusal
end

local function from_base64url(text)
  return ngx.decode_base64((text:gsub("-", "+"):gsub("_", "/") .. ("="):rep(-#text % 4)))
end

local AUDIENCES = { ["https://login.salesforce.com"] = true, ["https://test.salesforce.com"] = true }

--- A slash at the end does no harm (fact sheet 11.6).
local function is_audience(aud)
  local url = type(aud) == "string" and aud:gsub("/$", "")
  return AUDIENCES[url] or url == app.info.url or url == app.info.tls_url
end

flows["jwt-bearer"] = function(form)
  local values = settings.values
  local head, claims, sign = (form.assertion or ""):match "^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$"
  local header = head and json.decode(from_base64url(head) or "")
  local payload = head and json.decode(from_base64url(claims) or "")
  if type(header) ~= "table" or type(payload) ~= "table" or header.alg ~= "RS256" then
    return refuse("invalid_grant", "invalid assertion")
  elseif payload.iss ~= values.client_id then
    return refuse("invalid_client_id", "client identifier invalid")
  elseif not signature.verify(values.certificate, head .. "." .. claims, from_base64url(sign) or "") then
    return refuse("invalid_grant", "invalid assertion")
  elseif not is_audience(payload.aud) then
    return refuse("invalid_grant", "Audience validation failed")
  end
  local left = type(payload.exp) == "number" and payload.exp - clock.org_now()
  if not left or left <= 0 or (left > LONGEST_LIFE and payload.exp < MILLISECONDS) then
    return refuse("invalid_grant", "expired authorization code")
  elseif payload.sub ~= values.username or not values.preauthorized then
    return refuse("invalid_grant", "user hasn't approved this consumer")
  end
end

function flows.refresh_token(form)
  local values = settings.values
  if form.client_id ~= values.client_id then
    return refuse("invalid_client_id", "client identifier invalid")
  elseif form.client_secret and form.client_secret ~= values.client_secret then
    return refuse("invalid_client", "invalid client credentials")
  elseif form.refresh_token ~= values.refresh_token then
    return refuse("invalid_grant", "expired access/refresh token")
  elseif values.rotate_refresh_token then
    values.refresh_token = values.refresh_token:gsub("%.?%d*$", "") .. "." .. ngx.time() .. math.random(1000000)
    return nil, values.refresh_token
  end
end

function flows.password(form)
  local values = settings.values
  local refusal = check_client(form)
  if not refusal and (form.username ~= values.username or form.password ~= values.password .. values.security_token) then
    refusal = refuse("invalid_grant", "authentication failure")
  end
  return refusal
end

-- The grant types by the names that the setting has for them.
local NAMES = {
  client_credentials = "client_credentials", ["urn:ietf:params:oauth:grant-type:jwt-bearer"] = "jwt-bearer", refresh_token = "refresh_token",
  password = "password",
}

-- The fields of a form, each a text that is there once; or nil.
local function read_form(text)
  local form = ngx.decode_args(text, 0)
  for _, value in pairs(form) do
    if type(value) ~= "string" then
      return nil
    end
  end
  return form
end

--- POST of a form. A session that lives is given again: what others hold stays good.
function M.token(method)
  if method ~= "POST" then
    return refuse("invalid_request", "must use HTTP POST")
  elseif body.media_type() ~= "application/x-www-form-urlencoded" then
    return refuse("invalid_request", "a form is needed")
  end
  local text, err = body.read()
  if not text then
    return nil, err
  end
  local form = read_form(text)
  if not form then
    return refuse("invalid_request", "a field stands twice, or has no value")
  end
  local name = NAMES[form.grant_type or ""]
  if not name or not (" " .. settings.values.oauth_flows .. " "):find(" " .. name .. " ", 1, true) then
    return refuse("unsupported_grant_type", "grant type not supported")
  end
  local refusal, new_refresh_token = flows[name](form)
  if refusal then
    return refusal
  end
  local base = app.base_url()
  local token = session.token or session.issue()
  return respond.json(json.object {
    { "access_token", token }, { "refresh_token", new_refresh_token }, { "scope", "api" }, { "instance_url", base },
    { "id", M.identity_url(base) }, { "token_type", "Bearer" },
    { "issued_at", ("%.0f"):format(clock.org_now() * 1000) },
  })
end

return M
