--- The one user's access token.

local errors = require "errors"
local ids = require "ids"
local store = require "store"

local M = { token = nil }

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"

--- A new token, or the given one. The old one is dead. Without one it has the service's form: the org's id, "!", and random text.
function M.issue(token)
  if token then
    M.token = token
    store.put("token", token)
    return token
  end
  local file = assert(io.open("/dev/urandom", "rb"))
  local bytes = file:read(80)
  file:close()
  return M.issue(ids.ORG .. "!" .. bytes:gsub(".", function(c)
    local i = c:byte() % #ALPHABET + 1
    return ALPHABET:sub(i, i)
  end))
end

--- From now on every call is refused, until a new token is issued.
function M.kill()
  M.token = nil
end

--- What is wrong with the request's authorization, if anything (fact sheet 4.3, 11.4).
function M.check(header)
  if not header then
    return errors.session()
  end
  local scheme, token = header:match "^(%a+)%s+(%S+)%s*$"
  scheme = scheme and scheme:lower()
  if scheme ~= "bearer" and scheme ~= "oauth" then
    return errors.auth_header() -- another scheme, or more than a token
  elseif token ~= M.token then
    return errors.session()
  end
end

return M
