--- How to wait: the ways we know, and which of them the program is in.
local core = require "bulkjob.core"
local block = require "bulkjob.loop.block"
local copas_wait = require "bulkjob.loop.copas"
local cqueues_wait = require "bulkjob.loop.cqueues"
local haproxy = require "bulkjob.loop.haproxy"
local luv = require "bulkjob.loop.luv"
local ngx_wait = require "bulkjob.loop.ngx"
local yieldable = require "bulkjob.yieldable"

local loop = {}

--- The loops, by name.
---@type table<string, bulkjob.Loop>
loop.known = {
  block = block, copas = copas_wait, cqueues = cqueues_wait, haproxy = haproxy.wait, luv = luv.wait, ngx = ngx_wait,
}

-- Seconds of work after which the host's loop has its turn: the requests of a server, the timers of a program.
local TIME_SLICE = 0.001

local slice_ends = 0

local MAY_WAIT = {
  rewrite = true, server_rewrite = true, access = true, content = true, preread = true, timer = true,
  ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}

local function check_phase(phase, wanted)
  if phase == "init" then
    error("bulkjob: no request can be made in nginx's init phase: what is started there is lost when the workers fork. "
      .. "Make it in a timer (ngx.timer.at) that init_worker_by_lua* starts, or later", 0)
  elseif not MAY_WAIT[phase] and wanted ~= block then
    error("bulkjob: nothing can be waited for in nginx's " .. phase .. " phase. Requests can be made in the phases rewrite, "
      .. "access, content, preread, ssl_certificate, ssl_session_fetch and ssl_client_hello, and in a timer (ngx.timer.at)", 0)
  end
end

-- What ngx.run_worker_thread runs has a state and a thread of its own, and no sockets: nothing there can be waited for but by blocking.
local function in_worker_thread(ngx)
  return ngx.socket == nil
end

local function in_cqueues()
  local cqueues = package.loaded.cqueues
  if not cqueues then
    return false
  end
  local controller, directly = cqueues.running()
  return controller and (directly or yieldable.running() ~= coroutine.running())
end

local function in_copas()
  local copas = package.loaded.copas
  local this, is_main = yieldable.running()
  return copas and copas.running and this and not is_main -- copas 1 does not tell, and has to be named
end

-- These two wait with what only their host has.
local function check_host(wanted, ngx)
  local name = wanted == ngx_wait and not ngx and "ngx" or wanted == haproxy.wait and not haproxy.is_running() and "haproxy"
  if name then
    error(("bulkjob: loop = bulkjob.loop.%s goes with %s only, and this is none. Without `loop` the library finds what there is")
      :format(name, name == "ngx" and "nginx" or "a task, a service or an action of HAProxy"), 0)
  end
end

--- The way to wait for who calls now. `wanted` is the one the user has named. Raises where nobody may wait.
---@param wanted fun(waiting: bulkjob.Waiting)|nil
---@return fun(waiting: bulkjob.Waiting)
function loop.choose(wanted)
  local ngx = core.host "ngx"
  check_host(wanted, ngx)
  if ngx and ngx.get_phase and not in_worker_thread(ngx) then
    check_phase(ngx.get_phase(), wanted)
    return wanted or ngx_wait
  end
  return wanted or in_cqueues() and cqueues_wait or in_copas() and copas_wait or luv.is_running() and luv.wait
    or haproxy.is_running() and haproxy.wait or block
end

--- Has the program worked for so long that the host's loop should have its turn?
---@return boolean
function loop.is_due()
  return core.now() >= slice_ends
end

--- Waits. An error if the way says, by `false, why`, that it could not.
---@param way fun(waiting: bulkjob.Waiting, pause: boolean|nil)
---@param waiting bulkjob.Waiting
---@param pause boolean|nil
---@return bulkjob.Error|nil
function loop.wait(way, waiting, pause)
  local ok, why = way(waiting, pause)
  slice_ends = core.now() + TIME_SLICE
  if ok == false and type(why) == "string" then
    return core.error("io", "the call cannot wait: " .. why)
  end
end

return loop
