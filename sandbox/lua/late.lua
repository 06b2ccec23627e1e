--- Requests that take effect after their answer was lost: the org sends them to itself when their time has come.

local M = { url = nil } -- of the org

local waiting, last = {}, 0

-- The body of the request that is being handled. Uploads that wait are held in memory.
local function body_of_request()
  local data, path = ngx.req.get_body_data(), ngx.req.get_body_file()
  if not data and path then
    local file = assert(io.open(path, "rb"))
    data = file:read "*a"
    file:close()
  end
  return data or ""
end

local HEADERS = { "authorization", "content_type", "content_encoding", "accept" }

local function deliver(premature, key, host, port, text)
  local socket = not premature and waiting[key] and ngx.socket.tcp()
  if not socket then
    return
  end
  socket:settimeout(60000)
  local ok, err = socket:connect(host, port)
  if ok then
    ok, err = socket:send(text)
  end
  if ok then
    ok, err = socket:receive "*l"
  end
  socket:close()
  if not ok then
    ngx.log(ngx.ERR, "a late request got lost: ", err)
  end
end

--- Send the request that is being handled again in so many seconds. entry: its entry in the request log.
function M.send(method, uri, entry, seconds)
  local host, port = M.url:match "//([^:]+):(%d+)"
  local body = body_of_request()
  last = last + 1
  local key = ("%d-%s"):format(last, ngx.md5(M.url .. math.random() .. ngx.now()))
  local lines = {
    method .. " " .. uri .. " HTTP/1.1", "Host: sandbox", "Connection: close", "X-Sandbox-Late: " .. key, "Content-Length: " .. #body,
  }
  for _, name in ipairs(HEADERS) do
    local value = ngx.var["http_" .. name]
    if value then
      lines[#lines + 1] = name:gsub("_", "-") .. ": " .. value
    end
  end
  waiting[key] = entry
  entry.late = "waiting"
  assert(ngx.timer.at(seconds, deliver, key, host, tonumber(port), table.concat(lines, "\r\n") .. "\r\n\r\n" .. body))
end

--- The log entry of the request that now comes late, by the key in its header; nil for any other request.
function M.take(key)
  local entry = key and waiting[key]
  if entry then
    waiting[key] = nil
  end
  return entry
end

--- Requests that still wait never come.
function M.reset()
  waiting = {}
end

return M
