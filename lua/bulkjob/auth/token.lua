--- Token sources that ask the token endpoint.
local core = require "bulkjob.core"
local hint = require "bulkjob.auth.hints"
local token_renewal = require "bulkjob.token_renewal"
local url = require "bulkjob.url"

local token = {}

local function explain(err)
  if err.kind == "api" or err.kind == "auth" then
    local why = hint(err.code, err.message)
    err.kind = "auth"
    err.message = "sign-in refused: " .. err.message .. (why and " (" .. why .. ")" or "")
  elseif err.kind == "protocol" then
    err.kind = "auth"
  end
  return nil, err
end

--- A source that posts a form.
---@param name string the function of bulkjob.auth
---@param login_url string
---@param form fun(): table<string, string>|nil, string[]|bulkjob.Error the fields, and what of them must not be shown; or nil, err
---@param take (fun(answer: table): function|nil)|nil gets the whole answer, and says what to call when everybody has the token
---@return function
function token.source(name, login_url, form, take)
  return token_renewal.source {
    name = name,
    begin = function(client)
      local fields, secrets = form()
      if not fields then
        return nil, secrets
      end
      -- Whether a login_url will do depends on the client, which is not known before.
      local good, this, err = pcall(core.ask_token, client, login_url, url.form(fields), secrets)
      local problem = not good and tostring(this):match "^bulkjob%.client: (.*)$"
      if not good and not problem then
        error(this, 0)
      end
      return good and this or nil, problem and core.error("auth", problem) or err
    end,
    finish = function(answer, err)
      if not answer then
        return explain(err)
      elseif type(answer.access_token) ~= "string" or answer.access_token == ""
        or (answer.instance_url and type(answer.instance_url) ~= "string") then
        return nil, core.error("auth", login_url .. ": a token was expected, and the answer holds none")
      end
      return { access_token = answer.access_token, instance_url = answer.instance_url }, nil, take and take(answer)
    end,
  }
end

return token
