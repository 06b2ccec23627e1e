--- Programs that pages and examples show, run as a reader runs them: with the modules of this tree, against an org.
local helper = require "spec.helper"
local lfs = require "lfs"
local server = require "spec.server"

local programs = {}

local ROOT = lfs.currentdir()
local LUA = assert(os.getenv "LUA", "this is run by make test")
local quote = helper.quote

-- What a server that is shown listens on.
local ADDRESS = "127.0.0.1:8080"

local function assignments(values)
  local words = {}
  for name, value in pairs(values) do
    words[#words + 1] = name .. "=" .. quote(value)
  end
  return table.concat(words, " ")
end

--- The environment of a program, as assignments of the shell: where the org is, how to sign in, and where the modules are.
---@param org table
---@param dir string which has bin/, before all in PATH, and tmp/
---@param more table<string, string>|nil in place of what it would be
---@return string
function programs.environment(org, dir, more)
  -- Debian has some modules for Lua 5.1 only, which run on all.
  local search = package.path .. ";" .. package.path:gsub("/5%.%d/", "/5.1/")
  return ("PATH=%s:$PATH:/usr/sbin "):format(quote(dir .. "/bin")) .. assignments(helper.with({
    SF_INSTANCE_URL = org.url, SF_ACCESS_TOKEN = org.token, SF_LOGIN_URL = org.url, SF_CLIENT_ID = "3MVG9.sandbox.app",
    SF_CLIENT_SECRET = "the.secret.of.the.app", SF_USERNAME = "integration@sandbox.example",
    SF_REFRESH_TOKEN = "5Aep861.the.refresh.token", LUA_PATH = search, LUA_CPATH = package.cpath, TMPDIR = dir .. "/tmp",
  }, more))
end

local luajit_paths

--- The same modules for LuaJIT, and for programs that have it inside, as assignments of the shell.
---@return string
function programs.luajit_environment()
  if not luajit_paths then
    local out = helper.shell "env -u LUA_PATH -u LUA_CPATH luajit -e 'io.write(package.path, \"\\n\", package.cpath)'"
    local path, cpath = out:match "^([^\n]*)\n([^\n]*)$"
    luajit_paths = assignments { LUA_PATH = ROOT .. "/lua/?.lua;" .. path, LUA_CPATH = ROOT .. "/build/luajit/?.so;" .. cpath }
  end
  return luajit_paths
end

--- The commands that run a program, for the shell.
function programs.lua(path)
  return LUA .. " " .. quote(path)
end

function programs.luajit(path)
  return ("env %s luajit %s"):format(programs.luajit_environment(), quote(path))
end

---@param more string|nil further arguments
function programs.nvim(path, more)
  return ("env %s nvim --headless -u NONE -i NONE -n -c %s %s"):format(programs.luajit_environment(), quote("luafile " .. path), more or "")
end

--- `game`: its directory
function programs.love(game)
  return ("env %s love %s"):format(programs.luajit_environment(), quote(game))
end

--- The text with a port of its own in the place of the one that all may try.
---@param text string
---@param port integer|nil
function programs.with_port(text, port)
  return (text:gsub((ADDRESS:gsub("%p", "%%%0")), "127.0.0.1:" .. (port or "")))
end

--- Does it ask such a server?
function programs.asks_server(text)
  return text:find(ADDRESS, 1, true) ~= nil
end

--- Starts nginx with the modules of this tree, on a free port. One that has its Lua built in loads no module.
---@param text string its whole configuration
---@param dir string
---@param environment string
---@return table server with its `port`
function programs.start_nginx(text, dir, environment)
  local port = server.free_port()
  text = programs.with_port(text, port):gsub("load_module (%S+);\n", function(path)
    return not lfs.attributes(path) and "" or nil
  end)
  -- The workers of a root would be another user, who may not read here.
  local _, status = helper.shell "test $(id -u) = 0"
  local file = assert(io.open(dir .. "/nginx.conf", "wb"))
  assert(file:write(status == 0 and "user root;\n" or "", text))
  file:close()
  local command = ("env %s %s nginx -p %s -c nginx.conf -g 'daemon off;'"):format(environment,
    programs.luajit_environment(), quote(dir .. "/"))
  return server.start(command, port)
end

return programs
