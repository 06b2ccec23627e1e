--- What was asked of the org. Tokens are left out.

local clock = require "clock"
local settings = require "settings"

local M = {}

local entries, first, last = {}, 1, 0

-- Which job an entry is about and the number of the entry about it before that, by number; and the last number of each job, by the first
-- 15 characters of its id. So a page of one job need not look through the log of all.
local links, newest = {}, {}

local HEADERS = {
  "content_type", "content_length", "content_encoding", "transfer_encoding", "accept", "accept_encoding", "user_agent", "expect",
  "sforce_call_options", "x_prettyprint", "connection",
}

--- The request is about that job. entry: nil when the log has none.
function M.about(entry, id)
  if entry and entries[entry.number] and not links[entry.number] then
    id = id:sub(1, 15)
    links[entry.number] = { id = id, before = newest[id] }
    newest[id] = entry.number
  end
end

local function drop_first()
  local link = links[first]
  if link and newest[link.id] == first then
    newest[link.id] = nil
  end
  entries[first], links[first] = nil, nil
  first = first + 1
end

--- The entries about a job, newest first, at most so many.
function M.of_job(id, most)
  local out, number = {}, newest[id:sub(1, 15)]
  while entries[number] and #out < most do
    out[#out + 1] = entries[number]
    number = links[number].before
  end
  return out
end

--- A new entry; the router and the answer fill it in.
function M.begin(method, uri)
  local headers = {}
  for _, name in ipairs(HEADERS) do
    headers[name] = ngx.var["http_" .. name]
  end
  last = last + 1
  local entry = {
    number = last, method = method, path = uri, headers = headers, has_token = ngx.var.http_authorization ~= nil,
    tls = ngx.var.https == "on", protocol = ngx.var.server_protocol, connection = tonumber(ngx.var.connection),
    started = clock.now(), effect = false, finished = false,
  }
  entries[last] = entry
  local id = uri:match "/(750%w+)" -- the prefix of all jobs
  if id then
    M.about(entry, id)
  end
  while last - first >= settings.values.log_size do
    drop_first()
  end
  return entry
end

--- The request is over: nginx knows the sizes now.
function M.finish(entry)
  entry.finished = true
  entry.seconds = clock.now() - entry.started
  entry.bytes_in = tonumber(ngx.var.request_length)
  entry.bytes_out = tonumber(ngx.var.bytes_sent)
  entry.sent_status = tonumber(ngx.var.status)
end

local function fits(entry, filter)
  for key, value in pairs(filter) do
    if key == "path" then
      local ok, found = pcall(string.find, entry.path, value)
      if not entry.path:find(value, 1, true) and not (ok and found) then
        return false
      end
    elseif key == "since" then
      if entry.number <= value then
        return false
      end
    elseif entry[key] ~= value then
      return false
    end
  end
  return true
end

--- All entries that fit a filter: path as a pattern or a piece of text, since a number, other keys by equality.
function M.select(filter)
  local out = {}
  for i = first, last do
    if fits(entries[i], filter) then
      out[#out + 1] = entries[i]
    end
  end
  return out
end

function M.clear()
  entries, first, last = {}, last + 1, last
  links, newest = {}, {}
end

return M
