--- Through proxies: HTTP CONNECT (tinyproxy) and SOCKS5 (microsocks), with and without a password, named by option and by environment.
local helper = require "spec.helper"
local server = require "spec.server"

-- What would break a URL is written as %XX. The configuration of tinyproxy takes only plain characters.
local USER = "me"
local PASSWORDS = { http = "pass.word-1", socks5h = "pa:ss@/word?#" }
local IN_URL = { http = USER .. ":pass.word-1@", socks5h = USER .. ":pa%3Ass%40%2Fword%3F%23@" }

local SCRIPT = [[
local client = require("bulkjob").client {
  instance_url = os.getenv "SF_INSTANCE_URL", access_token = os.getenv "SF_ACCESS_TOKEN", ca_file = os.getenv "SF_CA_FILE",
  retry = { tries = 1 }, proxy = os.getenv "PROXY", no_proxy = os.getenv "NO_PROXY_OPTION",
}
local limits, err = client:limits()
print(limits and "good" or tostring(err))
]]

describe("a proxy", function()
  local org, running
  helper.scene(helper.AT_ONCE, function(o)
    org = o
  end)

  after_each(function()
    if running then
      running:stop()
    end
    running = nil
  end)

  -- A proxy of this kind, and how many connections to the org it has made.
  local kinds = {}

  function kinds.http(password)
    local port = server.free_port()
    local config = helper.file(("Port %d\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 20\nLogLevel Connect\n%s"):format(port,
      password and ("BasicAuth %s %s\n"):format(USER, PASSWORDS.http) or ""))
    running = server.start("tinyproxy -d -c " .. config, port)
    return "http://", function()
      return select(2, running:said():gsub('Established connection to host', ""))
    end
  end

  function kinds.socks5h(password)
    local port = server.free_port()
    running = server.start(("microsocks -i 127.0.0.1 -p %d %s"):format(port,
      password and ("-u %s -P %s"):format(USER, helper.quote(PASSWORDS.socks5h)) or ""), port)
    return "socks5h://", function()
      return select(2, running:said():gsub("connected to", ""))
    end
  end

  -- Runs a script with this environment, and the org behind its name. What it says.
  local function run(environment)
    local words = {}
    for name, value in pairs(helper.with({
      SF_INSTANCE_URL = org.tls_url, SF_ACCESS_TOKEN = org.token, SF_CA_FILE = org.ca_file,
    }, environment)) do
      words[#words + 1] = name .. "=" .. helper.quote(value)
    end
    local out = helper.shell("env -u no_proxy -u NO_PROXY -u https_proxy -u HTTPS_PROXY -u http_proxy -u all_proxy "
      .. table.concat(words, " ") .. " " .. os.getenv "LUA" .. " " .. helper.file(SCRIPT))
    assert.is_nil(out:find("word", 1, true), out)
    assert.is_nil(out:find(org.token, 1, true), out)
    return out
  end

  local function host()
    return "127.0.0.1:" .. running.port
  end

  for _, kind in ipairs { "http", "socks5h" } do
    describe("of the kind " .. kind, function()
      it("is gone through, by option and by environment", function()
        local scheme, count = kinds[kind]()
        assert.are.equal("good\n", run { PROXY = scheme .. host() })
        assert.are.equal(1, count())
        assert.are.equal("good\n", run { https_proxy = scheme .. host() })
        assert.are.equal(2, count())
      end)

      it("is left out for hosts that no_proxy names, by option and by environment", function()
        local scheme, count = kinds[kind]()
        local name = org.tls_url:match "//([^:/]+)"
        assert.are.equal("good\n", run { PROXY = scheme .. host(), NO_PROXY_OPTION = "example.com," .. name })
        assert.are.equal("good\n", run { https_proxy = scheme .. host(), no_proxy = name })
        assert.are.equal("good\n", run { PROXY = scheme .. host(), no_proxy = name })
        assert.are.equal(0, count())
        assert.are.equal("good\n", run { PROXY = scheme .. host(), NO_PROXY_OPTION = "example.com" })
        assert.are.equal(1, count())
      end)

      it("gets its password, and shows it to nobody", function()
        local scheme, count = kinds[kind](true)
        assert.are.equal("good\n", run { PROXY = scheme .. IN_URL[kind] .. host() })
        assert.are.equal("good\n", run { https_proxy = scheme .. IN_URL[kind] .. host() })
        assert.are.equal(2, count())
        local none, wrong = run { PROXY = scheme .. host() }, run { PROXY = scheme .. USER .. ":wrong-word@" .. host() }
        assert.matches(kind == "http" and "CONNECT tunnel failed, response 40[17]" or "No authentication method was acceptable", none)
        assert.matches(kind == "http" and "CONNECT tunnel failed, response 40[17]" or "User was rejected by the SOCKS5 server", wrong)
        assert.are.equal(2, count())
      end)

      it("that refuses is asked once, and nothing is in doubt: the org has heard nothing", function()
        local scheme = kinds[kind](true)
        for _, user in ipairs { "", USER .. ":wrong-word@" } do
          local client = helper.client(org, { proxy = scheme .. user .. host() })
          local job, err = client:create { object = "Account", operation = "insert", data = "Name\nx\n" }
          assert.is_nil(job)
          assert.are.equal("network", err.kind)
          assert.are.equal(1, err.attempts)
          assert.is_nil(err.in_doubt)
          assert.is_nil(err.also)
        end
        assert.are.equal(0, #org:requests())
      end)

      it("never gets what is for this machine alone: http without insecure", function()
        local scheme, count = kinds[kind]()
        for _, name in ipairs { "PROXY", "http_proxy", "all_proxy" } do
          assert.are.equal("good\n", run { SF_INSTANCE_URL = org.url, [name] = scheme .. host() })
        end
        assert.are.equal("good\n", run { SF_INSTANCE_URL = org.url, PROXY = scheme .. host(), NO_PROXY_OPTION = "example.com" })
        assert.are.equal(0, count())
        assert(helper.client(org, { instance_url = org.url, insecure = true, proxy = scheme .. host() }):limits())
        assert.are.equal(1, count())
      end)

      it("that is not there is a clear error", function()
        local scheme = kinds[kind]()
        local where = host()
        running:stop()
        assert.matches("Failed to connect to 127.0.0.1 port " .. running.port, run { PROXY = scheme .. IN_URL[kind] .. where })
      end)
    end)
  end

  describe("that speaks TLS", function()
    local tls

    -- HAProxy takes the TLS off what is for the plain proxy.
    local function take_off_tls(port, more)
      local listen = server.free_port()
      local both = helper.file(helper.content(org.dir .. "/server.pem") .. helper.content(org.dir .. "/server.key"))
      local config = helper.file(([[
global
  tune.ssl.default-dh-param 2048
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen tls
  bind 127.0.0.1:%d ssl crt %s %s
  server plain 127.0.0.1:%d
]]):format(listen, both, more or "", port))
      tls = server.start("haproxy -db -f " .. config, listen)
      return "https://localhost:" .. listen
    end

    after_each(function()
      tls:stop()
    end)

    it("is verified as the org is", function()
      local _, count = kinds.http()
      local url = take_off_tls(running.port)
      local function ask(more)
        local client = helper.client(org, helper.with({ proxy = url, no_proxy = "example.com" }, more))
        local limits, err = client:limits()
        return limits and "good" or err
      end
      assert.are.equal("good", ask())
      assert.are.equal(1, count())
      local err = ask { ca_file = "/etc/ssl/certs/ca-certificates.crt" }
      assert.are.equal("CURLE_PEER_FAILED_VERIFICATION", err.code)
      assert.are.equal(1, count())
      assert.are.equal("good", ask { ca_file = "/etc/ssl/certs/ca-certificates.crt", insecure = true })
    end)
  end)

  it("whose name nobody knows is a clear error", function()
    assert.matches("Could not resolve proxy: nowhere.invalid", run { PROXY = "http://" .. IN_URL.http .. "nowhere.invalid:3128" })
  end)
end)
