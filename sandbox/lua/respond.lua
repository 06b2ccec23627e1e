--- Sends an answer, as it is or spoilt by a fault. An answer is { status, headers, body = text } or { status, headers,
-- stream = function(write), size = bytes }.

local json = require "json"
local settings = require "settings"
local zlib = require "zlib"

local M = {}

--- What a fault drops: a name or a list of them, as a set of names in small letters.
local function dropped_names(drop)
  local set = {}
  for _, name in ipairs(type(drop) == "table" and drop or { drop }) do
    set[name:lower()] = true
  end
  return set
end

--- An answer with JSON in it.
function M.json(value, status)
  local dropped = dropped_names(ngx.ctx.fault.drop_field)
  for i = #value, 1, -1 do
    if dropped[tostring(value[i][1]):lower()] then
      table.remove(value, i)
    end
  end
  local pretty = ngx.var.http_x_prettyprint == "1"
  return {
    status = status or 200,
    headers = { ["Content-Type"] = "application/json;charset=UTF-8" },
    body = json.encode(value, pretty),
  }
end

local function asks_for_gzip()
  for coding in (ngx.var.http_accept_encoding or ""):lower():gmatch "[^,]+" do
    if coding:find "^%s*gzip%s*$" or coding:find "^%s*gzip%s*;" and not coding:find "q=0%.?0*%s*$" then
      return true
    end
  end
  return false
end

--- Without this header nginx's gzip filter leaves the answer alone.
local function no_gzip()
  ngx.req.clear_header "Accept-Encoding"
end

local function send_headers(answer, fault)
  ngx.status = answer.status
  local dropped = dropped_names(fault.drop_header)
  for name, value in pairs(answer.headers) do
    if not dropped[name:lower()] then
      ngx.header[name] = value
    end
  end
  if dropped["content-length"] then
    ngx.header["Content-Length"] = nil
  end
  if dropped["content-type"] then
    ngx.header["Content-Type"] = nil
  end
end

--- The end of the way to the client: answers false when it is gone.
local function wire(chunk)
  if chunk == "" then
    return true
  end
  return ngx.print(chunk) and ngx.flush(true) and true or false
end

--- Lets only the first so many bytes pass. state.cut tells whether there were more.
local function cutter(limit, state, write)
  local left = limit
  return function(chunk)
    if state.cut then
      return false
    elseif #chunk > left then
      state.cut = true
      write(chunk:sub(1, left))
      return false
    end
    left = left - #chunk
    return write(chunk)
  end
end

--- Passes so many bytes a second.
local function slower(rate, write)
  local piece = math.max(math.floor(rate / 20), 1)
  return function(chunk)
    for from = 1, #chunk, piece do
      local part = chunk:sub(from, from + piece - 1)
      if not write(part) then
        return false
      end
      ngx.sleep(math.max(#part / rate, 0.001))
    end
    return true
  end
end

local function produce(answer, write)
  if answer.stream then
    answer.stream(write)
  elseif answer.body ~= "" then
    write(answer.body)
  end
end

--- A gzip stream that stops in the middle, in an HTTP answer that is whole.
local function send_cut_gzip(answer, fault)
  no_gzip()
  answer.headers["Content-Encoding"] = "gzip"
  answer.headers["Content-Length"] = nil
  send_headers(answer, fault)
  local state = {}
  local write = cutter(fault.gzip_cut, state, wire)
  local compress = zlib.compressor(write)
  produce(answer, function(chunk)
    compress(chunk)
    return not state.cut
  end)
  compress(nil)
  ngx.eof()
end

--- The body in the encoding that the fault names, whatever the client asked for. Other names than these two are only claimed.
local function encode(answer, fault)
  no_gzip()
  answer.headers["Content-Encoding"] = fault.encoding
  if fault.encoding ~= "gzip" and fault.encoding ~= "deflate" then
    return
  end
  local plain = { stream = answer.stream, body = answer.body or "" }
  answer.stream, answer.size = function(write)
    local going = true
    local compress = zlib.compressor(function(chunk)
      going = going and write(chunk)
    end, fault.encoding)
    produce(plain, function(chunk)
      compress(chunk)
      return going
    end)
    compress(nil)
  end, nil
end

--- How often something comes that a fault repeats: below zero it never ends.
local function times(count, step)
  while count ~= 0 and step() do
    count = count - 1
  end
end

local TRAILER = "X-Trailer: " .. ("x"):rep(80) .. "\r\n"

--- Answers 1xx before the answer, and trailers after it: nginx has neither, so all of it is written here. The connection ends with it.
local function send_raw(answer, fault)
  local socket, err = ngx.req.socket(true)
  if not socket then
    error(err)
  end
  socket:settimeout(60000)
  local function put(text)
    return socket:send(text) and true or false
  end
  local pause = fault.seconds or 0
  times(fault.informational or 0, function()
    ngx.sleep(pause > 0 and pause or 0.001)
    return put "HTTP/1.1 103 Early Hints\r\nLink: </>; rel=preload\r\n\r\n"
  end)
  local lines = { ("HTTP/1.1 %d Sandbox"):format(answer.status), "Transfer-Encoding: chunked", "Connection: close" }
  for name, value in pairs(answer.headers) do
    if name ~= "Content-Length" then
      lines[#lines + 1] = name .. ": " .. value
    end
  end
  put(table.concat(lines, "\r\n") .. "\r\n\r\n")
  produce(answer, function(chunk)
    return chunk == "" or put(("%x\r\n%s\r\n"):format(#chunk, chunk))
  end)
  put "0\r\n"
  times(fault.trailers or 0, function()
    if pause > 0 then
      ngx.sleep(pause)
    end
    return put(TRAILER)
  end)
  put "\r\n"
  return true
end

--- Send the answer. Returns true when the connection must be broken off now.
function M.send(answer, fault)
  if fault.gzip_cut and asks_for_gzip() then
    return send_cut_gzip(answer, fault)
  end
  if fault.encoding then
    encode(answer, fault)
  end
  if (fault.informational or fault.trailers) and ngx.req.http_version() ~= 2 then
    return send_raw(answer, fault)
  end
  if not settings.values.gzip then
    no_gzip()
  end
  local size = answer.stream and (answer.size or math.huge) or #(answer.body or "") -- a stream without a size has no known end
  local framing = fault.framing or (answer.stream and "chunked" or "length")
  local length
  if fault.content_length then
    length = fault.content_length
  elseif fault.length_off then
    length = math.max(math.min(size, 1e15) + fault.length_off, 0)
  elseif framing == "length" and answer.status ~= 204 and size < math.huge then
    length = size
  end
  if length then
    answer.headers["Content-Length"] = ("%d"):format(length)
  end
  if fault.content_length or fault.length_off or fault.framing == "length" or (fault.cut and framing == "length") then
    no_gzip() -- compressed answers are always chunked
  end
  send_headers(answer, fault)
  local state, write = {}, wire
  if fault.cut then
    write = cutter(fault.cut, state, write)
  end
  if fault.rate then
    write = slower(fault.rate, write)
  end
  if answer.status == 204 or ngx.req.get_method() == "HEAD" then
    ngx.send_headers()
  else
    if size == 0 then
      ngx.send_headers()
    end
    produce(answer, write)
  end
  if state.cut or (length and length > size) then
    ngx.flush(true)
    return true
  end
  ngx.eof()
end

return M
