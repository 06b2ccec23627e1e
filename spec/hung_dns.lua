-- hung_dns.lua URL TOKEN: run with build/hung_dns.so in LD_PRELOAD. A game with two transfers, one to a host whose name server
-- hangs. Says how the first ended and after how many seconds, after how many the other ended well, and the longest poll(0).
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"

local url, token = arg[1], arg[2]

local function client_of(instance_url, connect_timeout)
  return bulkjob.client {
    instance_url = instance_url, access_token = token, insecure = true, retry = { tries = 1 }, connect_timeout = connect_timeout,
  }
end

local hung, other = client_of("http://hung.invalid", 0.3), client_of(url)
-- The first request starts libcurl, which has nothing to do with names.
assert(other:limits())

local began = core.now()
local function task(client)
  return client:spawn(function()
    local ok, err = client:limits()
    return ok and "ok" or err.kind, core.now() - began
  end)
end
local lost, good = task(hung), task(other)

local pause = core.channel()
local longest = 0
while not (lost:done() and good:done()) do
  for _, client in ipairs { hung, other } do
    local before = core.now()
    client:poll(0)
    longest = math.max(longest, core.now() - before)
  end
  pause:set_deadline(core.now() + 0.002)
  pause:sleep()
end
local how, after = lost:result()
local other_how, other_after = good:result()
io.write(("%s %.3f %s %.3f %.6f\n"):format(how, after, other_how, other_after, longest))
