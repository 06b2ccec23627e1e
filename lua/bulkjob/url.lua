--- Values in the query part of a URL (RFC 3986).
local url = {}

--- Everything but unreserved characters as %XX.
---@param text string
---@return string
function url.escape(text)
  return (text:gsub("[^%w%-%._~]", function(c)
    return string.format("%%%02X", c:byte())
  end))
end

--- The reverse.
---@param text string
---@return string
function url.unescape(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- A form (application/x-www-form-urlencoded), its fields in the order of their names.
---@param fields table<string, string>
---@return string
function url.form(fields)
  local parts = {}
  for name, value in pairs(fields) do
    parts[#parts + 1] = url.escape(name) .. "=" .. url.escape(value)
  end
  table.sort(parts)
  return table.concat(parts, "&")
end

return url
