--- How the command signs in, and where it has its secrets from.
local command = require "spec.command"
local helper = require "spec.helper"

local SECRETS = {
  SF_CLIENT_SECRET = "the.secret.of.the.app", SF_PASSWORD = "the.password", SF_SECURITY_TOKEN = "the.security.token",
  SF_REFRESH_TOKEN = "5Aep861.the.refresh.token", SF_KEY_PASSPHRASE = "open.sesame",
}

describe("the command signs in", function()
  local path = helper.directory()
  local directory = path()
  local org
  helper.scene(helper.AT_ONCE, function(o)
    org = o
    org:new_token()
  end)

  setup(function()
    local out, status = helper.shell("cd " .. directory .. " && openssl req -x509 -newkey rsa:2048 -days 2 -subj /CN=app "
      .. "-keyout key.pem -out app.crt -passout pass:open.sesame")
    assert(status == 0, out)
  end)

  local function environment(...)
    local words = { "SF_CA_FILE=" .. org.ca_file }
    for _, name in ipairs { ... } do
      words[#words + 1] = name .. "='" .. SECRETS[name] .. "'"
    end
    return "unset SF_INSTANCE_URL SF_ACCESS_TOKEN; export " .. table.concat(words, " ") .. "; "
  end

  local function app(more)
    return "--client-id 3MVG9.sandbox.app --login-url " .. org.tls_url .. " " .. (more or "") .. " limits"
  end

  local function no_secret_in(text)
    for _, secret in pairs(SECRETS) do
      assert.is_nil(text:find(secret, 1, true), text)
    end
  end

  local function signs_in(before, arguments)
    local status, out, err = command.run(directory, before, arguments)
    assert.are.same({ 0, "" }, { status, err })
    assert.matches("DailyApiRequests", out)
    no_secret_in(out)
  end

  local function refused(before, arguments, what)
    local status, out, err = command.run(directory, before, arguments)
    assert.are.same({ 3, "" }, { status, out })
    assert.matches(what, err)
    no_secret_in(err)
  end

  local function secrets_file(text)
    local file = assert(io.open(path "secrets", "w"))
    file:write(text)
    file:close()
    return "--secrets " .. path "secrets"
  end

  it("as an app alone", function()
    signs_in(environment "SF_CLIENT_SECRET", app())
    signs_in(environment "SF_CLIENT_SECRET" .. "export SF_INSTANCE_URL=" .. org.tls_url .. "; ", "--client-id 3MVG9.sandbox.app limits")
  end)

  it("as a user with a password", function()
    signs_in(environment("SF_CLIENT_SECRET", "SF_PASSWORD", "SF_SECURITY_TOKEN"), app "--username integration@sandbox.example")
  end)

  it("by a refresh token", function()
    signs_in(environment "SF_REFRESH_TOKEN", app())
  end)

  it("by a key", function()
    org:set { certificate = helper.content(path "app.crt") }
    local arguments = app("--username integration@sandbox.example --jwt-key " .. path "key.pem")
    signs_in(environment "SF_KEY_PASSPHRASE", arguments)
    refused(environment(), arguments, "the key is encrypted, and there is no passphrase")
  end)

  it("as sf is signed in", function()
    local file = assert(io.open(path "sf", "w"))
    file:write(('#!/bin/sh\necho \'{"status":0,"result":{"accessToken":"%s","instanceUrl":"%s"}}\'\n'):format(org.token, org.tls_url))
    file:close()
    os.execute("chmod +x " .. path "sf")
    signs_in(environment() .. "PATH=" .. directory .. ":$PATH; ", "--org mine limits")
    refused(environment() .. "PATH=" .. directory .. "/nothing:/usr/bin:/bin; ", "--org mine limits", "it is the Salesforce CLI")
  end)

  it("by secrets in a file", function()
    signs_in(environment(), secrets_file("# ours\n\nSF_CLIENT_SECRET=" .. SECRETS.SF_CLIENT_SECRET .. "\n") .. " " .. app())
    signs_in(environment(), secrets_file("\239\187\191SF_CLIENT_SECRET=" .. SECRETS.SF_CLIENT_SECRET .. "\r\n") .. " " .. app())
    refused(environment(), secrets_file "nonsense of.ours\n" .. " " .. app(), "secrets: line 1: NAME=VALUE expected")
    refused(environment(), "--secrets " .. path "none" .. " " .. app(), "No such file")
  end)

  it("not without what it needs, and says what that is", function()
    refused(environment(), "limits", "SF_INSTANCE_URL is not set%. Sign in by")
    refused(environment(), app(), "SF_CLIENT_SECRET is not set")
    refused(environment "SF_CLIENT_SECRET", app "--username x", "SF_PASSWORD is not set")
    refused(environment(), app("--jwt-key " .. path "key.pem"), "goes with %-%-username")
    refused(environment(), app("--username x --jwt-key " .. path "none"), "error: %-%-jwt%-key: [^:]*/none: No such file")
    refused(environment(), "--client-id x limits", "name the org's My Domain")
    refused(environment(), "--proxy http://me:word@proxy:3128 limits", "set https_proxy")
  end)

  it("never as somebody else than was said", function()
    local session = ("export SF_INSTANCE_URL=%s SF_ACCESS_TOKEN='%s'; "):format(org.tls_url, org.token)
    for name, value in pairs { ["--jwt-key"] = path "key.pem", ["--username"] = "me", ["--login-url"] = org.tls_url } do
      refused(environment() .. session, name .. " " .. value .. " limits", name:gsub("%p", "%%%0") .. " goes with %-%-client%-id")
      refused(environment() .. session, name .. " " .. value .. " --org mine limits", "beside %-%-org")
    end
    refused(environment() .. session, "--org mine --client-id x limits", "%-%-client%-id has no place beside %-%-org")
    -- The refresh token is that of whoever it was given to.
    org:set { oauth_flows = "password" }
    signs_in(environment("SF_REFRESH_TOKEN", "SF_CLIENT_SECRET", "SF_PASSWORD", "SF_SECURITY_TOKEN"), app "--username integration@sandbox.example")
  end)

  it("not by what sf prints in place of a token, and says where the token is", function()
    refused(environment() .. "export SF_INSTANCE_URL=" .. org.tls_url
      .. " SF_ACCESS_TOKEN=\"[REDACTED] Use 'sf org auth show-access-token' to view\"; ", "limits", "not a token.*show%-access%-token' shows it")
    assert.are.same({}, org:requests())
  end)

  describe("asking on a terminal", function()
    local screen
    after_each(function()
      screen:stop()
    end)

    it("for a secret, of which nothing is shown", function()
      screen = command.start(directory, 80, environment(), app())
      screen:wait_for "bulkjob: secret of the app:"
      screen:send("-l '" .. SECRETS.SF_CLIENT_SECRET .. "'")
      screen:send "Enter"
      no_secret_in(screen:wait_for "status 0")
    end)

    it("until Ctrl-C, which leaves the terminal as it was", function()
      screen = command.start(directory, 80, environment(), app())
      screen:wait_for "secret of the app:"
      screen:send "C-c"
      screen:wait_for "status 130"
      screen:send "-l 'to be seen'"
      screen:wait_for "to be seen"
    end)

    it("for nothing more after Ctrl-C", function()
      screen = command.start(directory, 80, environment(), app "--username integration@sandbox.example")
      screen:wait_for "secret of the app:"
      screen:send "C-c"
      assert.is_nil(screen:wait_for "status 130":find "password of")
    end)
  end)

  it("and leaves no core file", function()
    org:fault { path = "/limits", stall = helper.NEVER_SECONDS }
    local pipe = assert(io.popen("ulimit -c unlimited 2>/dev/null; " .. environment "SF_CLIENT_SECRET" .. command.line(app())
      .. " >/dev/null 2>&1 & echo $!"))
    local pid = pipe:read "*l"
    pipe:close()
    helper.wait_until(function()
      return #org:requests { path = "/limits" } > 0
    end)
    local out = helper.shell(("grep 'core file' /proc/%d/limits; kill -9 %d"):format(pid, pid))
    assert.matches("Max core file size +0 +0", out)
  end)
end)
