--- A server that answers as none should, one connection after the other; or a relay with a narrow way in. Started by engine_spec.
--
--   lua odd_server.lua PORT KIND [ARGUMENT]
local socket = require "socket"

local port, kind, argument = tonumber(arg[1]), arg[2], arg[3]
local listener = assert(socket.bind("127.0.0.1", port))

local HEAD = "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%s\r\n"

--- Sends `piece` again and again, with so many seconds between, until the other end has gone.
local function repeat_for_ever(connection, piece, pause)
  while connection:send(piece) do
    if pause then
      socket.sleep(pause)
    end
  end
end

local kinds = {}

function kinds.interim(connection)
  repeat_for_ever(connection, "HTTP/1.1 102 Processing\r\n\r\n", 0.05)
end

function kinds.interim_flood(connection)
  repeat_for_ever(connection, ("HTTP/1.1 103 Early Hints\r\nLink: <" .. ("x"):rep(500) .. ">\r\n\r\n"):rep(20))
end

function kinds.headers(connection)
  connection:send "HTTP/1.1 200 OK\r\n"
  repeat_for_ever(connection, "X-Long: " .. ("x"):rep(8000) .. "\r\n")
end

function kinds.trailers(connection)
  connection:send(HEAD:format("200 OK", "Transfer-Encoding: chunked\r\n") .. "2\r\n{}\r\n0\r\n")
  repeat_for_ever(connection, "X-Trailer: " .. ("x"):rep(1000) .. "\r\n")
end

--- Closes a job, if the body of the request came with its headers.
function kinds.one_piece(connection)
  connection:settimeout(0)
  local body = connection:receive(#'{"state":"UploadComplete"}')
  connection:settimeout(5)
  local text = body and '{"id":"750000000000001AAA","state":"UploadComplete"}'
    or '[{"errorCode":"LATE","message":"the body came behind the headers"}]'
  connection:send(HEAD:format(body and "200 OK" or "400 Bad Request", "Content-Length: " .. #text .. "\r\n") .. text)
end

function kinds.dribble(connection)
  connection:send(HEAD:format("200 OK", "Content-Length: 1000000\r\n"))
  repeat_for_ever(connection, " ", 0.05)
end

function kinds.dribbled_error(connection)
  connection:send(HEAD:format("500 Internal Server Error", ""))
  repeat_for_ever(connection, " ", 0.05)
end

function kinds.dribbled_headers(connection)
  connection:send "HTTP/1.1 200 OK\r\nX-Long: "
  repeat_for_ever(connection, "x", 0.05)
end

--- An error whose body goes on for ever, after the one in the file.
function kinds.endless_error(connection)
  local file = assert(io.open(argument, "rb"))
  connection:send(HEAD:format("400 Bad Request", "") .. file:read "*a")
  file:close()
  repeat_for_ever(connection, ("x"):rep(10000))
end

--- The same, packed: the file is one member of gzip, and comes again and again.
function kinds.endless_packed_error(connection)
  local file = assert(io.open(argument, "rb"))
  local member = file:read "*a"
  file:close()
  connection:send(HEAD:format("400 Bad Request", "Content-Encoding: gzip\r\n"))
  repeat_for_ever(connection, member)
end

--- Takes no byte of a body that is sent.
function kinds.deaf()
  socket.sleep(60)
end

--- Says that all is well before it has taken any of the body, and that it will take no more.
function kinds.early(connection)
  connection:send "HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
  socket.sleep(60)
end

--- Answers the first request of a connection, and breaks it in the body of the second.
function kinds.broken_later(connection)
  connection:send(HEAD:format("200 OK", "Content-Length: 2\r\n") .. "{}")
  local line
  repeat
    line = connection:receive "*l"
  until not line or line == ""
  connection:receive(1000)
  connection:setoption("linger", { on = true, timeout = 0 })
end

local function answer(connection)
  repeat
    local line, why = connection:receive "*l"
    if why then
      return
    end
  until line == ""
  kinds[kind](connection)
end

--- Hands over to the port in `argument` and back; what comes in only in pieces of 32 KB, 40 a second.
local function relay()
  local PIECE, PAUSE = 32 * 1024, 0.025
  local other, narrow, sockets = {}, {}, {}
  local due = 0
  listener:settimeout(0)
  local function close(one)
    for _, half in ipairs { one, other[one] } do
      for i, s in ipairs(sockets) do
        if s == half then
          table.remove(sockets, i)
          break
        end
      end
      half:close()
    end
  end
  while true do
    local watched = { listener }
    local open = socket.gettime() >= due
    for _, s in ipairs(sockets) do
      if open or not narrow[s] then
        watched[#watched + 1] = s
      end
    end
    for _, s in ipairs((socket.select(watched, nil, math.max(0.001, due - socket.gettime())))) do
      if s == listener then
        local client = listener:accept()
        local server = socket.connect("127.0.0.1", tonumber(argument))
        if client and server then
          other[client], other[server], narrow[client] = server, client, true
          for _, half in ipairs { client, server } do
            sockets[#sockets + 1] = half
          end
          client:settimeout(0)
          server:settimeout(0)
        end
      else
        local data, why, part = s:receive(PIECE)
        data = data or part
        if #data > 0 then
          if narrow[s] then
            due = socket.gettime() + PAUSE
          end
          other[s]:settimeout(5)
          other[s]:send(data)
          other[s]:settimeout(0)
        elseif why == "closed" then
          close(s)
          break
        end
      end
    end
  end
end

if kind == "relay" then
  relay()
end
while true do
  local connection = listener:accept()
  if connection then
    connection:settimeout(5)
    answer(connection)
    connection:close()
  end
end
