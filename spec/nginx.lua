--- Starts an nginx of one's own in which this tree's bulkjob works, with the core for LuaJIT, and looks at it from outside.
--
--   local server = nginx.start { org = org, server = [[ location = / { content_by_lua_block { ngx.say(client():limits() ~= nil) } } ]] }
--   server:get "/"
--   server:stop()
--
-- The code in it finds `bulkjob`, the table ORG and the function client(options). It ends with the process that started it.
local helper = require "spec.helper"
local lfs = require "lfs"
local socket = require "socket"

local nginx = {}

local Server = {}
Server.__index = Server

local FIRST_PORT, PORTS = 10240, 22000 -- below the range that outgoing connections take

local TEMPLATE = [[
@MODULES@
@USER@
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log @DIR@/error.log notice;
worker_rlimit_nofile @FILES@;
@MAIN@
events {
  worker_connections @CONNECTIONS@;
}
http {
  access_log off;
  client_body_temp_path @DIR@/body;
  proxy_temp_path @DIR@/proxy;
  fastcgi_temp_path @DIR@/fastcgi;
  uwsgi_temp_path @DIR@/uwsgi;
  scgi_temp_path @DIR@/scgi;
  keepalive_requests 1000000;
  lua_package_path "@ROOT@/lua/?.lua;;";
  lua_package_cpath "@ROOT@/build/luajit/?.so;;";
  init_by_lua_block {
    bulkjob = require "bulkjob"
    ORG = { url = "@ORG_URL@", tls_url = "@ORG_TLS_URL@", token = "@ORG_TOKEN@", ca_file = "@ORG_CA_FILE@" }
    function client(more)
      local options = { instance_url = ORG.tls_url, access_token = ORG.token, ca_file = ORG.ca_file,
        retry = { tries = 4, base = 0.01, cap = 0.05 }, timeout = @NEVER_SECONDS@ }
      for name, value in pairs(more or {}) do
        options[name] = value
      end
      return bulkjob.client(options)
    end
    @INIT@
  }
  @HTTP@
  server {
    listen 127.0.0.1:@PORT@ backlog=2048;
    location = /plain { content_by_lua_block { ngx.say "plain" } }
    @SERVER@
  }
}
]]

-- Our input is a pipe from the test. When it ends, nginx is ended; when nginx has ended, its exit code is left in a file.
local RUN = [[
exec 3<&0
"$1" -p . -e error.log -c nginx.conf 3<&- </dev/null >start.log 2>&1 &
server=$!
{ while read -r _ <&3; do :; done; kill -TERM $server; } </dev/null >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null
wait $server
echo $? >exit.new
mv exit.new exit
kill $watcher 2>/dev/null
]]

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("%s+$", ""))
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Where nginx is, and the directives that load its Lua module if that is not built in.
local function find_nginx()
  local path = output "PATH=$PATH:/usr/sbin:/usr/local/sbin:/usr/local/openresty/nginx/sbin command -v nginx"
  local built_for = output(quote(path) .. " -V 2>&1"):match "%-%-modules%-path=(%S+)"
  for _, place in ipairs { built_for or "", "/usr/share/nginx/modules", "/usr/lib/nginx/modules" } do
    if lfs.attributes(place .. "/ngx_http_lua_module.so") then
      return path, ("load_module %s/ndk_http_module.so; load_module %s/ngx_http_lua_module.so;"):format(place, place)
    end
  end
  return path, ""
end

local function is_root()
  return output "id -u" == "0"
end

local function free_port()
  local random = assert(io.open("/dev/urandom", "rb"))
  local listener, port
  repeat
    local high, low = random:read(2):byte(1, 2)
    port = FIRST_PORT + (high * 256 + low) % PORTS
    listener = socket.bind("127.0.0.1", port)
  until listener
  listener:close()
  random:close()
  return port
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- `{ DIR = "/x" }` for each @DIR@; the pieces may hold such words too.
local function fill(template, values)
  local function value(name)
    return values[name]
  end
  return (template:gsub("@([A-Z_]+)@", value):gsub("@([A-Z_]+)@", value))
end

--- @param options { org: table, main: string?, http: string?, init: string?, server: string?, connections: integer?, files: integer?,
---   user: string? } pieces of configuration for the places of these names; `init` is Lua. `user`: whom the worker becomes when this
---   is root, else root
function nginx.start(options)
  local org = options.org or {}
  local path, modules = find_nginx()
  local dir = os.tmpname()
  os.remove(dir)
  assert(lfs.mkdir(dir))
  local self = setmetatable({ dir = dir, port = free_port(), tls_port = free_port() }, Server)
  write(dir .. "/nginx.conf", fill(TEMPLATE, {
    MODULES = modules, USER = is_root() and "user " .. (options.user or "root") .. ";" or "", DIR = dir,
    MAIN = options.main or "", HTTP = options.http or "", INIT = options.init or "", SERVER = options.server or "",
    FILES = options.files or 8192, CONNECTIONS = options.connections or 4096,
    ROOT = lfs.currentdir(), PORT = self.port, TLS_PORT = self.tls_port,
    ORG_URL = org.url or "", ORG_TLS_URL = org.tls_url or "", ORG_TOKEN = org.token or "", ORG_CA_FILE = org.ca_file or "",
    ORG_DIR = org.dir or "", NEVER_SECONDS = tostring(helper.NEVER_SECONDS),
  }))
  write(dir .. "/run", RUN)
  self.pipe = assert(io.popen("cd " .. quote(dir) .. " && exec sh run " .. quote(path), "w"))
  local ready = nginx.eventually(function()
    return self:exit_code() or #self:log "start worker process %d+" > 0
  end)
  if not ready or self:exit_code() then
    local said = (helper.content(dir .. "/start.log") or "") .. (helper.content(dir .. "/error.log") or "")
    self:stop()
    error("nginx did not start: " .. said, 2)
  end
  self.pid = tonumber(helper.content(dir .. "/nginx.pid"))
  return self
end

--- Ends it, if it has not ended, and waits for that.
function Server:stop()
  if self.pipe then
    self.pipe:close() -- waits for the shell, and that for nginx
    self.pipe = nil
    os.execute("rm -rf " .. quote(self.dir))
  end
end

--- The exit code of the master, nil as long as it runs.
function Server:exit_code()
  return tonumber(helper.content(self.dir .. "/exit") or "")
end

--- Sends the master a signal: "HUP", "TERM".
function Server:signal(name)
  os.execute(("kill -%s %d"):format(name, self.pid))
end

--- The process ids of the workers; old ones that are shutting down come too.
function Server:workers()
  local pids = {}
  for pid in (helper.content(("/proc/%d/task/%d/children"):format(self.pid, self.pid)) or ""):gmatch "%d+" do
    pids[#pids + 1] = tonumber(pid)
  end
  return pids
end

--- How many descriptors ("fd") or threads ("task") a worker has.
function nginx.count(pid, what)
  local n = 0
  for name in lfs.dir(("/proc/%d/%s"):format(pid, what)) do
    n = n + (name:find "^%d+$" and 1 or 0)
  end
  return n
end

--- The lines of the error log in which this pattern is found.
function Server:log(pattern)
  local lines = {}
  for line in (helper.content(self.dir .. "/error.log") or ""):gmatch "[^\n]+" do
    lines[#lines + 1] = line:find(pattern) and line or nil
  end
  return lines
end

--- The lines at warn or above.
function Server:complaints()
  local lines = {}
  for _, level in ipairs { "warn", "error", "crit", "alert", "emerg" } do
    for _, line in ipairs(self:log("%[" .. level .. "%]")) do
      lines[#lines + 1] = line
    end
  end
  return lines
end

--- Sends a request; its answer is for `nginx.read`.
function Server:open(path, port)
  local connection = assert(socket.connect("127.0.0.1", port or self.port))
  assert(connection:send("GET " .. path .. " HTTP/1.0\r\n\r\n"))
  return connection
end

--- The body of the answer, without a line break at its end, and the status; nil, why if there is no whole one.
function nginx.read(connection)
  connection:settimeout(helper.HANG_SECONDS)
  local text, why = connection:receive "*a"
  connection:close()
  local status, body = (text or ""):match "^HTTP/1.1 (%d+).-\r\n\r\n(.-)\n?$"
  return body, status and tonumber(status) or why
end

--- Both in one.
function Server:get(path)
  return nginx.read(self:open(path))
end

--- Looks again and again until `fn` answers something true, but not longer than HANG_SECONDS. Answers what it answered last.
function nginx.eventually(fn)
  local till = socket.gettime() + helper.HANG_SECONDS
  local answer = fn()
  while not answer and socket.gettime() < till do
    socket.sleep(0.01)
    answer = fn()
  end
  return answer
end

return nginx
