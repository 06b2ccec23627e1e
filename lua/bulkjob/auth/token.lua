--- Token sources: functions for the option `auth`. A source keeps the token it got, so that many clients may share it.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local hint = require "bulkjob.auth.hints"
local url = require "bulkjob.url"

local token = {}

--- A source that asks by `ask(client)`: a table with access_token and instance_url, or nil, err. It is asked when there is no token
--- yet, or when the client says that it was refused with the one it has.
---@param ask fun(client: bulkjob.Client): table|nil, bulkjob.Error|nil
---@return fun(client: bulkjob.Client): string|nil, string|bulkjob.Error|nil
function token.source(ask)
  local held
  return function(client)
    if held and held.access_token ~= core.token(client) then
      return held.access_token, held.instance_url
    end
    local answer, err = ask(client)
    if not answer then
      return nil, err
    end
    held = { access_token = answer.access_token, instance_url = answer.instance_url }
    return held.access_token, held.instance_url
  end
end

local function explain(err)
  local why = hint(err.code, err.message)
  err.kind = "auth"
  err.message = "sign-in refused: " .. err.message .. (why and " (" .. why .. ")" or "")
  return nil, err
end

--- Asks the token endpoint.
---@param client bulkjob.Client
---@param login_url string
---@param form table<string, string>
---@param secrets string[] what must not be shown
---@return table|nil answer access_token, instance_url, and what else the service tells
---@return bulkjob.Error|nil err
function token.request(client, login_url, form, secrets)
  local answer, err = call.run(client, core.ask_token(client, login_url, url.form(form), secrets))
  if not answer then
    if err.kind == "api" or err.kind == "auth" then
      return explain(err)
    elseif err.kind == "protocol" then
      err.kind = "auth"
    end
    return nil, err
  elseif type(answer.access_token) ~= "string" or answer.access_token == ""
    or (answer.instance_url and type(answer.instance_url) ~= "string") then
    return nil, core.error("auth", login_url .. ": a token was expected, and the answer holds none")
  end
  return answer
end

return token
