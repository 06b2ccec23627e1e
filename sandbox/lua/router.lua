--- From a request to its resource: authorization, version, path, method (fact sheet 1.1), with the faults on the way.

local app = require "app"
local describe = require "describe"
local errors = require "errors"
local faults = require "faults"
local ids = require "ids"
local ingest = require "ingest"
local jobs = require "jobs"
local json = require "json"
local late = require "late"
local oauth = require "oauth"
local loader = require "loader"
local query = require "query"
local query_run = require "query_run"
local quota = require "quota"
local request_log = require "request_log"
local respond = require "respond"
local rest = require "rest"
local session = require "session"
local settings = require "settings"

local M = {}

local OLDEST = 31 -- older versions are retired (fact sheet 9)
local BULK2_SINCE, QUERY_SINCE, PAGES_SINCE = 41, 47, 58

local SEASONS = { [0] = "Winter", "Spring", "Summer" }

local function version_name(number)
  local since = number - BULK2_SINCE -- which was Winter '18
  return ("%s '%02d"):format(SEASONS[since % 3], 18 + math.floor(since / 3))
end

local function versions()
  local list = {}
  for number = OLDEST, settings.values.newest_version do
    local version = ("%.1f"):format(number)
    list[#list + 1] = json.object { { "label", version_name(number) }, { "url", "/services/data/v" .. version }, { "version", version } }
  end
  return respond.json(json.array(list))
end

local function limits()
  return respond.json(quota.view())
end

local function resources(request)
  local base = "/services/data/v" .. request.version
  local list = { { "identity", oauth.identity_url(app.base_url()) } }
  for _, name in ipairs { "jobs", "limits", "query", "queryAll", "sobjects" } do
    list[#list + 1] = { name, base .. "/" .. name }
  end
  return respond.json(json.object(list))
end

-- Paths below /services/data/vXX.X. The last word of a result path may be written in any case (fact sheet 1).
local ROUTES = {
  { "^$", OLDEST, { GET = resources } },
  { "^/limits$", OLDEST, { GET = limits } },
  { "^/query$", OLDEST, { GET = rest.query } },
  { "^/queryall$", OLDEST, { GET = rest.query_all }, true },
  { "^/query/([^/]+)$", OLDEST, { GET = rest.query_more } },
  { "^/sobjects$", OLDEST, { GET = rest.objects } },
  { "^/sobjects/([%w_]+)$", OLDEST, { GET = rest.object, POST = rest.create } },
  { "^/sobjects/([%w_]+)/describe$", OLDEST, { GET = describe.object } },
  { "^/sobjects/([%w_]+)/(%w+)$", OLDEST, { GET = rest.record, PATCH = rest.update, DELETE = rest.delete } },
  { "^/jobs/ingest$", BULK2_SINCE, { GET = ingest.list, POST = ingest.create } },
  { "^/jobs/ingest/([^/]+)$", BULK2_SINCE, { GET = ingest.info, PATCH = ingest.patch, DELETE = ingest.delete } },
  { "^/jobs/ingest/([^/]+)/batches$", BULK2_SINCE, { PUT = ingest.upload } },
  { "^/jobs/ingest/([^/]+)/successfulresults$", BULK2_SINCE, { GET = ingest.successful }, true },
  { "^/jobs/ingest/([^/]+)/failedresults$", BULK2_SINCE, { GET = ingest.failed }, true },
  { "^/jobs/ingest/([^/]+)/unprocessedrecords$", BULK2_SINCE, { GET = ingest.unprocessed }, true },
  { "^/jobs/query$", QUERY_SINCE, { GET = query.list, POST = query.create } },
  { "^/jobs/query/([^/]+)$", QUERY_SINCE, { GET = query.info, PATCH = query.patch, DELETE = query.delete } },
  { "^/jobs/query/([^/]+)/results$", QUERY_SINCE, { GET = query.results }, true },
  { "^/jobs/query/([^/]+)/resultpages$", PAGES_SINCE, { GET = query.pages }, true },
}

-- Paths that are not below a version.
local BESIDE = { ["/services/oauth2/userinfo"] = rest.userinfo }

local METHODS = { "GET", "PATCH", "POST", "PUT", "DELETE" }

local function allowed(handlers)
  local names = {}
  for _, method in ipairs(METHODS) do
    if handlers[method] then
      names[#names + 1] = method
    end
  end
  return table.concat(names, ",")
end

--- The path with its last word in small letters.
local function lower_last(path)
  return (path:gsub("[^/]+$", string.lower))
end

local function find_route(path, version)
  for _, route in ipairs(ROUTES) do
    local pattern, since, handlers, any_case = unpack(route, 1, 4)
    local found, second = (any_case and lower_last(path) or path):match(pattern)
    if found and version >= since then
      return handlers, found:sub(1, 1) ~= "/" and found ~= "" and found or nil, second
    end
  end
end

--- An id that is one, but of something else, is told apart from an unknown one (fact sheet 4.3, MALFORMED_ID).
local function check_id(id)
  if id:sub(1, 3) ~= "750" and ids.full(id) then
    return errors.new(400, "MALFORMED_ID", "malformed id " .. id)
  end
end

--- The answer to a request, or nil and an error.
local function dispatch(method, uri)
  local path, arguments = uri:match "^([^?]*)%??(.*)$"
  -- The Salesforce CLI keeps its instance URL with a slash at the end, so its paths begin with two (fact sheet 11.5).
  path = path:gsub("/$", "", 1):gsub("^//", "/", 1)
  if path == "/services/data" then
    if method ~= "GET" and method ~= "HEAD" then
      return nil, errors.method(method, "GET")
    end
    return versions()
  end
  if path == "/services/oauth2/token" then
    return oauth.token(method)
  end
  local args = {}
  for name, value in pairs(ngx.decode_args(arguments)) do
    args[name] = type(value) == "table" and value[1] or (value == true and "" or value)
  end
  if path == "/services/oauth2/revoke" then
    return rest.revoke(args)
  end
  local version, below = path:match "^/services/data/v(%d+%.%d)(.*)$"
  local number = tonumber(version)
  if number and number < OLDEST then
    return nil, errors.gone(version)
  end
  local err = session.check(ngx.var.http_authorization) or quota.count_call()
  if err then
    return nil, err
  end
  ngx.ctx.counted = true
  local beside = BESIDE[path] or path == oauth.identity_url "" and rest.identity
  if beside then
    if method ~= "GET" and method ~= "HEAD" and method ~= "POST" then
      return nil, errors.method(method, "GET,POST")
    end
    return beside()
  end
  if not number or number % 1 ~= 0 or number > settings.values.newest_version then
    return nil, errors.not_found()
  end
  local handlers, id, second = find_route(below, number)
  if not handlers then
    return nil, errors.not_found()
  end
  err = id and below:find "^/jobs/" and check_id(id)
  if err then
    return nil, err
  end
  local handler = handlers[method == "HEAD" and "GET" or method]
  if not handler then
    return nil, errors.method(method, allowed(handlers))
  end
  return handler { version = version, id = id, second = second, args = args }
end

--- Break the connection off: with a reset (RST), or by closing it (FIN). conf says reset_timedout_connection on.
local function hang_up(how)
  if how == "reset" then
    return ngx.exit(444)
  end
  return ngx.exit(ngx.ERROR)
end

--- Read only a part of the request body. The raw socket knows chunked bodies as well.
local function read_some(bytes)
  bytes = math.min(bytes, tonumber(ngx.var.http_content_length) or bytes)
  if ngx.req.http_version() == 2 then
    ngx.req.read_body() -- there is no raw socket: all of it
    return bytes
  end
  local socket = ngx.req.socket(true)
  if socket and bytes > 0 then
    socket:settimeout(60000)
    local left = bytes
    while left > 0 do
      local data, _, partial = socket:receive(math.min(left, 65536))
      if not data then
        return bytes - left + #(partial or "")
      end
      left = left - #data
    end
  end
  return bytes
end

local HEADER_LINE = 4000 -- bytes of each header that header_bytes adds

--- The answer of a fault instead of the org's own.
local function replace(answer, fault)
  if fault.status then
    answer = { status = fault.status, headers = {}, body = "" }
  end
  if fault.body then
    answer.body, answer.stream, answer.size = fault.body, nil, nil
    if fault.body_times then
      answer.body, answer.size = nil, fault.body_times >= 0 and #fault.body * fault.body_times or nil
      answer.stream = function(write)
        local left = fault.body_times -- below zero it never ends
        while left ~= 0 and write(fault.body) do
          left = left - 1
        end
      end
    end
  end
  if fault.status or fault.body then
    local kind = (fault.body or ""):find "^%s*[%[{]" and "application/json" or "text/html"
    answer.headers["Content-Type"] = fault.body and kind .. ";charset=UTF-8" or nil
  end
  for name, value in pairs(fault.headers or {}) do
    for old in pairs(answer.headers) do
      if old:lower() == name:lower() then
        answer.headers[old] = nil
      end
    end
    answer.headers[name] = tostring(value)
  end
  local padding = fault.header_bytes or 0
  for i = 1, math.ceil(padding / HEADER_LINE) do
    answer.headers[("X-Padding-%04d"):format(i)] = ("x"):rep(math.min(padding, HEADER_LINE) - #"X-Padding-0000: \r\n")
    padding = padding - HEADER_LINE
  end
  return answer
end

--- Does the org do what was asked, although the fault spoils the answer?
local function takes_effect(fault)
  if fault.effect ~= nil then
    return fault.effect == true
  end
  return not (fault.status or fault.body)
end

local function real_answer(method, uri)
  local ok, answer, err = xpcall(function()
    return dispatch(method, uri)
  end, function(message)
    return tostring(message) .. "\n" .. debug.traceback()
  end)
  if not ok then
    ngx.log(ngx.ERR, answer)
    err = errors.new(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. ErrorId: sandbox, see error.log")
    answer = nil
  end
  if not answer then
    answer = errors.response(err, ngx.var.http_accept, ngx.var.http_x_prettyprint == "1")
  end
  if ngx.ctx.counted then -- every call but the versions list (fact sheet 7)
    answer.headers["Sforce-Limit-Info"] = quota.limit_info()
  end
  return answer
end

local NO_FAULT = {}

--- Delete the job that the path names, as the service does with old ones and as its other users may.
local function lose_job(uri)
  local job = jobs.find(uri:match "/jobs/%w+/(%w+)" or "")
  if job then
    local work = job.kind == "query" and query_run or loader
    work.stop(job)
    jobs.remove(job)
  end
end

--- The request of a fault with effect = "late", when its time has come: nobody waits for its answer.
local function handle_late(method, uri, entry)
  ngx.ctx.fault = NO_FAULT
  local answer = real_answer(method, uri)
  entry.real_status, entry.effect, entry.late = answer.status, answer.status < 300, "done"
  ngx.header["Content-Length"] = 0
  ngx.send_headers()
end

--- One request, from nginx's content phase.
function M.handle()
  local method, uri = ngx.req.get_method(), ngx.var.request_uri
  local waiting = late.take(ngx.var.http_x_sandbox_late)
  if waiting then
    return handle_late(method, uri, waiting)
  end
  local entry = request_log.begin(method, uri)
  ngx.ctx.entry = entry
  local fault = faults.take(method, uri) or NO_FAULT
  entry.fault = fault.id
  ngx.ctx.fault = fault
  local at = fault.reset or fault.close
  local how = fault.reset and "reset" or "close"
  if fault.stall and fault.stall_when ~= "after" then
    ngx.sleep(fault.stall)
  end
  if at == "before" then
    return hang_up(how)
  elseif at == "body" then
    entry.body_read = read_some(fault.body_bytes or 0)
    return hang_up(how)
  end
  if fault.gone == "before" then
    lose_job(uri)
  end
  local answer
  if takes_effect(fault) then
    answer = real_answer(method, uri)
    entry.real_status = answer.status
    entry.effect = answer.status < 300
  else
    if not fault.early then
      ngx.req.read_body()
    end
    if fault.effect == "late" then
      late.send(method, uri, entry, fault.seconds or 1)
    end
    answer = { status = 200, headers = {}, body = "" }
  end
  if fault.gone == "after" then
    lose_job(uri)
  end
  answer = replace(answer, fault)
  entry.status = answer.status
  if fault.stall and fault.stall_when == "after" then
    ngx.sleep(fault.stall)
  end
  if at == "after" then
    return hang_up(how)
  end
  if respond.send(answer, fault) then
    return hang_up "close"
  elseif at == "idle" then
    ngx.flush(true)
    if (fault.seconds or 0) > 0 then -- ngx.sleep(0) writes a warning to the log
      ngx.sleep(fault.seconds)
    end
    return hang_up(how)
  end
end

--- From nginx's log phase.
function M.finish()
  local entry = ngx.ctx.entry
  if entry then
    request_log.finish(entry)
  end
end

return M
