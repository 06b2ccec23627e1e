--- What usually stands behind a refusal of the token endpoint. The service's words are in Help, OAuth Authorization Flow Errors
--- (remoteaccess_oauth_flow_errors), and in the pages of the flows.

local HINTS = {
  { "not supported on this domain", "give the org's My Domain as login_url, such as https://acme.my.salesforce.com" },
  { "no client credentials user", "the app needs a run-as user, in its settings of the client credentials flow" },
  { "audience", "audience has to be https://login.salesforce.com, https://test.salesforce.com for a sandbox, or the URL of the site" },
  { "hasn't approved this consumer", "the app's policies have to pre-authorise the user, by a profile or a permission set" },
  { "expired access/refresh token", "the refresh token was revoked, or is older than the app's policy allows: sign in again" },
  { "expired authorization code", "this machine's clock has to be right, as a signed token is good for minutes only" },
  { "assertion", "the certificate in the app's settings has to be that of the key, and this machine's clock has to be right" },
  { "authentication failure", "user name, password, the security token, the user's login IP ranges and hours, or the org's setting "
    .. "that allows this flow" },
  { "invalid_client_id", "client_id has to be the consumer key of an app in this org" },
  { "invalid_client", "client_secret has to be the consumer secret of the app that client_id names" },
  { "unsupported_grant_type", "this flow has to be enabled in the app's OAuth settings, and in those of the org" },
  { "inactive_user", "the user has to be active, and allowed to use the API" },
  { "rate_limit", "too many sign-ins: let tasks and clients share one source, which keeps its token" },
}

--- A hint for an error code and what the service said beside it.
---@param code string|nil
---@param message string|nil
---@return string|nil
return function(code, message)
  local text = ((code or "") .. " " .. (message or "")):lower()
  for _, hint in ipairs(HINTS) do
    if text:find(hint[1], 1, true) then
      return hint[2]
    end
  end
end
