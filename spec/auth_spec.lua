--- Signing in: each flow against the token endpoint, tokens that die, and one token for all.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"

local auth = bulkjob.auth
local APP = { client_id = "3MVG9.sandbox.app", client_secret = "the.secret.of.the.app" }
local USER, PASSWORD, SECURITY_TOKEN = "integration@sandbox.example", "the.password", "the.security.token"
local REFRESH_TOKEN = "5Aep861.the.refresh.token"

describe("signing in", function()
  local path = helper.directory()
  local org
  helper.scene(helper.AT_ONCE, function(o)
    org = o
    org:new_token()
  end)

  local function openssl(arguments)
    local out, status = helper.shell("cd " .. path() .. " && openssl " .. arguments)
    assert(status == 0, out)
  end

  setup(function()
    openssl "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=app -keyout key.pem -out app.crt"
    openssl "rsa -in key.pem -traditional -out pkcs1.pem"
    openssl "rsa -in key.pem -aes256 -passout pass:open.sesame -out locked.pem"
    openssl "rsa -in key.pem -pubout -out public.pem"
    openssl "genrsa -out other.pem 2048"
    openssl "ecparam -genkey -name prime256v1 -noout -out ec.pem"
  end)

  local function client_with(source, more)
    return bulkjob.client(helper.with({
      auth = source, ca_file = org.ca_file, retry = { tries = 4, base = 0.01, cap = 0.05 }, timeout = helper.HANG_SECONDS,
    }, more))
  end

  local function app(more)
    return helper.with(helper.with(APP, { login_url = org.tls_url }), more)
  end

  local function user(more)
    return app(helper.with({ username = USER, password = PASSWORD, security_token = SECURITY_TOKEN }, more))
  end

  local function jwt(more)
    org:set { certificate = helper.content(path "app.crt") }
    local options = { client_id = APP.client_id, username = USER, login_url = org.tls_url }
    if not (more and more.key) then
      options.key_file = path "key.pem"
    end
    return auth.jwt(helper.with(options, more))
  end

  local function token_requests()
    return #org:requests { path = "/services/oauth2/token" }
  end

  local function signs_in(source)
    local client = client_with(source)
    assert(client:limits())
    assert.matches(org.tls_url:gsub("%p", "%%%0"), tostring(client))
    client:close()
    assert.are.equal(1, token_requests())
  end

  local function refused(source, code, what)
    local client = client_with(source)
    local limits, err = client:limits()
    client:close()
    assert.is_nil(limits)
    assert.are.equal("auth", err.kind)
    assert.are.equal(code, err.code)
    assert.matches(what, err.message)
    for _, secret in ipairs { APP.client_secret, PASSWORD, SECURITY_TOKEN, REFRESH_TOKEN, "wrong.secret" } do
      assert.is_nil(tostring(err):find(secret, 1, true))
    end
    assert.are.equal(0, #org:requests { path = "/limits" })
    return err
  end

  describe("by client credentials", function()
    it("works, and the answer says where the org is", function()
      signs_in(auth.client_credentials(app()))
    end)

    it("says what is wrong, and what usually is behind it", function()
      refused(auth.client_credentials(app { client_id = "nobody" }), "invalid_client_id", "consumer key")
      refused(auth.client_credentials(app { client_secret = "wrong.secret" }), "invalid_client", "consumer secret")
      org:set { run_as_user = false }
      refused(auth.client_credentials(app()), "invalid_grant", "no client credentials user enabled .*run%-as user")
      org:set { my_domain = false }
      refused(auth.client_credentials(app()), "invalid_grant", "not supported on this domain .*My Domain")
      org:set { oauth_flows = "password" }
      refused(auth.client_credentials(app()), "unsupported_grant_type", "enabled in the app")
    end)
  end)

  describe("by a signed token", function()
    it("works with a key in a file, in PKCS 1 or 8, and with one as a string", function()
      signs_in(jwt())
      org:clear_requests()
      signs_in(jwt { key_file = path "pkcs1.pem" })
      org:clear_requests()
      signs_in(jwt { key = helper.content(path "key.pem") })
    end)

    it("works with a key under a passphrase", function()
      signs_in(jwt { key_file = path "locked.pem", passphrase = "open.sesame" })
    end)

    it("takes the audience that is named", function()
      signs_in(jwt { audience = org.tls_url })
    end)

    for name, case in pairs {
      ["without the passphrase"] = { { file = "locked.pem" }, "encrypted, and there is no passphrase" },
      ["with another passphrase"] = { { file = "locked.pem", passphrase = "sesame.shut" }, "passphrase does not open" },
      ["with a certificate for a key"] = { { file = "app.crt" }, "this is a certificate" },
      ["with a public key"] = { { file = "public.pem" }, "this is a public one" },
      ["with another kind of key"] = { { file = "ec.pem" }, "RSA key is needed" },
      ["with no key at all"] = { { file = "nothing.pem" }, "No such file" },
    } do
      it("says what is wrong, without a request, " .. name, function()
        local source = jwt { key_file = path(case[1].file), passphrase = case[1].passphrase }
        local err = refused(source, nil, case[2])
        assert.is_nil(err.message:find("sesame", 1, true))
        assert.are.equal(0, token_requests())
      end)
    end

    it("says that a damaged key is damaged, and shows nothing of it", function()
      local text = helper.content(path "key.pem"):gsub("\n(.)", "\n", 3)
      local err = refused(jwt { key = text }, nil, "damaged")
      assert.is_nil(err.message:find(text:sub(100, 120), 1, true))
    end)

    it("is refused where the org does not know it", function()
      refused(jwt { key_file = path "other.pem" }, "invalid_grant", "invalid assertion .*certificate in the app")
      refused(jwt { audience = "https://elsewhere.example" }, "invalid_grant", "Audience validation failed .*login.salesforce.com")
      refused(jwt { username = "nobody@example.com" }, "invalid_grant", "hasn't approved .*pre%-authorise")
      refused(jwt { client_id = "nobody" }, "invalid_client_id", "consumer key")
      for _, offset in ipairs { 600, -600 } do
        org:set { clock_offset = offset }
        refused(jwt(), "invalid_grant", "expired authorization code .*clock")
      end
    end)
  end)

  describe("by a refresh token", function()
    local function refresh(more)
      return auth.refresh_token(helper.with({
        client_id = APP.client_id, refresh_token = REFRESH_TOKEN, login_url = org.tls_url,
      }, more))
    end

    it("works with and without a secret", function()
      signs_in(refresh())
      org:clear_requests()
      signs_in(refresh { client_secret = APP.client_secret })
    end)

    it("says when it is too old", function()
      refused(refresh { refresh_token = "wrong.secret.token" }, "invalid_grant", "sign in again")
    end)

    it("takes over and hands out the new one where the org changes it", function()
      org:set { rotate_refresh_token = true }
      local given = {}
      local client = client_with(refresh { on_refresh_token = function(new)
        given[#given + 1] = new
      end })
      for i = 1, 3 do
        assert(client:limits())
        org:kill_token()
        assert.are.equal(i, #given)
      end
      assert.are_not.equal(given[1], given[2])
      client:close()
    end)
  end)

  describe("by user name and password", function()
    it("works, the security token behind the password", function()
      signs_in(auth.password(user()))
      org:clear_requests()
      signs_in(auth.password(app { username = USER, password = PASSWORD .. SECURITY_TOKEN }))
    end)

    it("is refused with another password", function()
      refused(auth.password(user { password = "wrong.secret" }), "invalid_grant", "authentication failure .*security token")
    end)
  end)

  describe("by the command sf", function()
    -- A command that prints what `sf` prints.
    local function command(cases)
      local file = assert(io.open(path "sf", "w"))
      file:write '#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\ncase "$1 $2" in\n'
      for words, text in pairs(cases) do
        file:write("'", words, "') cat <<'END'\n", text, "\nEND\n;;\n")
      end
      file:write "*) echo '{\"status\":1,\"message\":\"no such command\"}'; exit 1 ;;\nesac\n"
      file:close()
      os.execute("chmod +x " .. path "sf")
      os.remove(path "calls")
      return path "sf"
    end

    local function display(token, before)
      return (before or "") .. ('{"status":0,"result":{"id":"00D","accessToken":"%s","instanceUrl":"%s","apiVersion":"66.0"},"warnings":[]}')
        :format(token, org.tls_url)
    end

    local HIDDEN = "[REDACTED] Use 'sf org auth show-access-token' to view"

    it("takes the token that it shows, past its warnings", function()
      local source = auth.sf_cli { org = "my 'alias'", command = command {
        ["org display"] = display(org.token, " ›   Warning: @salesforce/cli update available from 2.1.0 to 2.9.0.\n") } }
      local client = client_with(source)
      assert(client:limits())
      client:close()
      assert.are.equal("org display --target-org my 'alias' --json\n", helper.content(path "calls"))
    end)

    it("finds it among warnings with braces, and in colours", function()
      local text = display(org.token)
      for _, printed in ipairs {
        "Warning: {a plug-in} is old {\n" .. text, text .. "\n(node:1) {\"hint\":1}", "\27[33m{ }\27[39m\n" .. text:gsub('"(%w+)":', '\27[94m"%1"\27[39m:'),
      } do
        local client = client_with(auth.sf_cli { command = command { ["org display"] = printed } })
        assert(client:limits())
        client:close()
      end
    end)

    it("asks for a hidden token by itself", function()
      local client = client_with(auth.sf_cli { command = command {
        ["org display"] = display(HIDDEN),
        ["org auth"] = ('{"status":0,"result":{"accessToken":"%s"},"warnings":[]}'):format(org.token),
      } })
      assert(client:limits())
      client:close()
      assert.are.equal("org display --json\norg auth show-access-token --json\n", helper.content(path "calls"))
    end)

    it("explains a hidden token that it cannot have", function()
      refused(auth.sf_cli { command = command { ["org display"] = display(HIDDEN) } }, nil,
        "%[REDACTED%].*show%-access%-token.*no such command")
    end)

    it("says what the command says, or that there is none", function()
      refused(auth.sf_cli { command = command { ["org display"] = '{"status":1,"name":"NoOrgFound","message":"No org found for alias"}' } },
        "NoOrgFound", "No org found")
      refused(auth.sf_cli { command = path "nothing" }, nil, "is not there")
      refused(auth.sf_cli { command = command { ["org display"] = "segmentation fault" } }, nil, "no JSON")
      refused(auth.sf_cli { command = command { ["org display"] = display "nonsense" } }, nil, "is the org still connected")
    end)
  end)

  describe("by a function", function()
    it("works, and says where the org is", function()
      signs_in(auth.client_credentials(app()))
      local client = client_with(function()
        return org.token, org.tls_url
      end)
      assert(client:limits())
      client:close()
    end)

    it("ends the call with what the function says, or raises what it raises", function()
      local client = client_with(function()
        return nil, "no vault today"
      end)
      local _, err = client:limits()
      assert.are.equal("auth", err.kind)
      assert.matches("no vault today", err.message)
      client:close()
      client = client_with(function()
        error("broken", 0)
      end)
      assert.are.same({ false, "broken" }, { pcall(client.limits, client) })
      assert.are.same({ false, "broken" }, { pcall(client.limits, client) })
      client:close()
    end)

    it("does not take a client from one org to another", function()
      local answers = { { org.token, org.tls_url }, { "00D000000000000!of.another.org", "https://localhost:1" } }
      local client = client_with(function()
        local answer = table.remove(answers, 1)
        return answer[1], answer[2]
      end)
      local job = assert(client:create { object = "Account", operation = "insert" })
      org:fault { method = "GET", status = 401, body = '[{"errorCode":"INVALID_SESSION_ID","message":"Session expired"}]' }
      local info, err = job:info()
      assert.is_nil(info)
      assert.are.equal("auth", err.kind)
      assert.matches("another org, 00D000000000000, and this client is of 00D", err.message)
      assert.are.equal("Open", assert(job:info()).state) -- it still is of the first
      client:close()
    end)

    it("is called once for all that wait for it, of any client", function()
      local other, clients, calls = client_with(auth.client_credentials(app())), {}, 0
      assert(other:limits())
      org:fault { path = "/limits", stall = 1 }
      local function vault()
        calls = calls + 1
        assert(other:limits()) -- others run meanwhile
        return core.token(other), org.tls_url
      end
      for i = 1, 10 do
        clients[i] = client_with(vault)
        clients[i]:spawn(function()
          assert(clients[i]:limits())
        end)
      end
      repeat
        local left = 0
        for i = 1, 10 do
          left = left + clients[i]:poll(0)
        end
      until left == 0
      assert.are.equal(1, calls)
      for i = 1, 10 do
        clients[i]:close()
      end
      other:close()
    end)

    it("is called by whoever waits when the one in it is gone, or cannot go on meanwhile", function()
      local other = client_with(auth.client_credentials(app()))
      assert(other:limits())
      for name, leave in pairs {
        ["closed"] = function(client) client:close() end,
        ["not moved"] = function() end,
      } do
        local calls, token = 0, core.token(other)
        local function vault()
          calls = calls + 1
          while calls == 1 do
            coroutine.yield()
          end
          return token, org.tls_url
        end
        local first, second = client_with(vault), client_with(vault)
        first:spawn(first.limits, first)
        first:poll(0)
        leave(first)
        local answer = second:spawn(second.limits, second)
        if name == "closed" then
          assert(second:run())
          assert(answer:result())
        else
          assert(second:limits())
        end
        assert.are.equal(2, calls)
        first:close()
        second:close()
      end
      other:close()
    end)

    it("must not ask the client itself", function()
      local client
      client = client_with(function()
        return client:limits() and "00Dxx!x"
      end)
      assert.error_matches(function()
        client:limits()
      end, "uses the client that it has to sign in")
      client:close()
    end)
  end)

  describe("an answer of the token endpoint", function()
    local function answered(fault, what)
      org:fault(helper.with({ path = "oauth2/token" }, fault))
      return refused(auth.client_credentials(app()), nil, what)
    end

    it("that is no token is an auth error, and shows nothing of itself", function()
      answered({ status = 200, body = '{"token_type":"Bearer"}' }, "holds none")
      answered({ status = 200, body = '{"access_token":12}' }, "holds none")
      local err = answered({ status = 200, body = '{"access_token":"00Dx!marked', count = -1 }, "JSON was expected")
      assert.is_nil(tostring(err):find("marked", 1, true))
      org:clear_faults()
      answered({ status = 200, body = "<html>marked</html>", count = -1 }, "JSON was expected")
      org:clear_faults()
      answered({ status = 401 }, "refused without any explanation")
      answered({ status = 302, headers = { Location = "https://evil.example/?x" } }, "redirected to https://evil.example")
    end)

    it("that names no org is not kept", function()
      local source = auth.client_credentials(app())
      org:fault { path = "oauth2/token", status = 200, body = '{"access_token":"00Dx!x","instance_url":"ftp://elsewhere.example"}' }
      refused(source, nil, "instance_url: an https:// URL expected")
      org:clear_requests()
      signs_in(source)
    end)

    it("does not say where the org is to a client that was told", function()
      local client = client_with(auth.client_credentials(app()), { instance_url = org.url })
      assert(client:limits())
      client:close()
      assert.is_false(org:requests { path = "/limits" }[1].tls)
    end)

    it("that echoes a secret is masked", function()
      org:set { client_secret = "a+secret/with=all" }
      for _, text in ipairs { "a+secret/with=all", "a%2Bsecret%2Fwith%3Dall", "a%2bsecret%2fwith%3dall" } do
        org:fault {
          path = "oauth2/token", status = 403, body = '{"error":"x_' .. text .. '","error_description":"got ' .. text .. '"}' }
        local client = client_with(auth.client_credentials(app { client_secret = "a+secret/with=all" }))
        local _, err = client:limits()
        assert.matches("got %*+ ?%(?", err.message)
        assert.is_nil((tostring(err) .. err.code):find("secret", 1, true))
        client:close()
      end
    end)

    it("that is lost is asked for again", function()
      org:fault { path = "oauth2/token", status = 503, count = 2 }
      org:fault { path = "oauth2/token", reset = "after" }
      local client = client_with(auth.client_credentials(app()))
      assert(client:limits())
      assert.are.equal(4, token_requests())
      client:close()
    end)

    it("that never comes is a network error", function()
      org:fault { path = "oauth2/token", close = "before", count = -1 }
      local client = client_with(auth.client_credentials(app()))
      local _, err = client:limits()
      assert.are.equal("network", err.kind)
      client:close()
    end)
  end)

  describe("a token", function()
    local client, source
    before_each(function()
      source = auth.client_credentials(app())
      client = client_with(source)
    end)
    after_each(function()
      client:close()
    end)

    it("is asked for once, whatever the number of clients", function()
      for _ = 1, 3 do
        local another = client_with(source)
        assert(another:limits())
        another:close()
      end
      assert.are.equal(1, token_requests())
    end)

    it("is asked for once by a hundred tasks, at the start and when it is dead", function()
      for _ = 1, 2 do
        org:clear_requests()
        local done = 0
        for _ = 1, 100 do
          client:spawn(function()
            assert(client:limits())
            done = done + 1
          end)
        end
        assert(client:run())
        assert.are.equal(100, done)
        assert.are.equal(1, token_requests())
        org:kill_token()
      end
    end)

    it("is asked for once by tasks of two clients", function()
      local another = client_with(source)
      local first = client:spawn(client.limits, client)
      local second = another:spawn(another.limits, another)
      repeat
        client:poll(0)
        another:poll(0)
      until first:done() and second:done()
      assert(first:result())
      assert(second:result())
      assert.are.equal(1, token_requests())
      another:close()
    end)

    it("that nobody can have fails all that wait for it, with one request", function()
      org:set { run_as_user = false }
      org:fault { path = "oauth2/token", stall = 1 }
      local failed, errors = 0, {}
      for _ = 1, 20 do
        client:spawn(function()
          local _, err = client:limits()
          failed = failed + (err.kind == "auth" and not errors[err] and 1 or 0)
          errors[err] = true -- what is added to one is about one call
        end)
      end
      assert(client:run())
      assert.are.same({ 20, 1 }, { failed, token_requests() })
    end)

    -- Sends a task of the client for a token, which takes a while.
    local function send_for_token()
      org:fault { path = "oauth2/token", stall = 1 }
      local sent = client:spawn(client.limits, client)
      repeat
        client:poll(0.01)
      until token_requests() == 1
      return sent
    end

    it("that comes late leaves the calls that have no time for it, and comes to the others", function()
      assert(client:limits())
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload "Name\nOne\n")
      assert(job:close())
      org:kill_token()
      org:clear_requests()
      org:fault { path = "oauth2/token", stall = 4 }
      local began, waited = core.now(), nil
      local short = client:spawn(function()
        local info, err = job:wait { timeout = 1 }
        waited = core.now() - began
        return info, err
      end)
      local long = client:spawn(client.limits, client)
      assert(client:run())
      local info, err = short:result()
      assert.is_nil(info)
      assert.are.equal("timeout", err.kind)
      assert.are.equal(job.id, err.job_id)
      assert.is_true(waited >= 1 and waited < 4)
      assert(long:result())
      assert.are.equal(1, token_requests())
    end)

    it("comes to the main program, too, while the task that went for it does not move", function()
      local first = send_for_token()
      assert(client:limits())
      assert(first:result())
      assert.are.equal(1, token_requests())
    end)

    it("comes to the tasks of a client, while the task of another that went for it does not move", function()
      local first, another = send_for_token(), client_with(source)
      local second = another:spawn(another.limits, another)
      assert(another:run())
      assert(second:result())
      assert(first:result())
      assert.are.equal(1, token_requests())
      another:close()
    end)

    it("comes to others when the client of the task that went for it is closed", function()
      local another = client_with(source)
      send_for_token()
      client:close()
      assert(another:limits())
      another:close()
    end)

    it("is not waited for any more by a client that is closed: cancelled", function()
      local another, begun, err = client_with(source), false, nil
      org:fault { path = "oauth2/token", stall = 1 }
      client:spawn(client.limits, client)
      client:spawn(function()
        begun = true
        err = select(2, another:limits())
      end)
      repeat
        client:poll(0.01)
      until begun and token_requests() == 1
      another:close()
      assert(client:run())
      assert.are.equal("cancelled", err.kind)
    end)

    it("is of no use to a client that is closed as it comes: cancelled", function()
      local another, err
      local first = client_with(source, { on_event = function(event)
        if event.type == "request" and event.url:find("oauth2/token", 1, true) then
          another:close()
        end
      end })
      another = client_with(source)
      first:spawn(first.limits, first)
      first:spawn(function()
        err = select(2, another:limits())
      end)
      assert(first:run())
      assert.are.equal("cancelled", err.kind)
      first:close()
    end)

    it("comes to the other tasks when the one that went for it is cancelled", function()
      org:fault { path = "oauth2/token", stall = 1 }
      local begun = false
      local first = client:spawn(client.limits, client)
      local second = client:spawn(function()
        begun = true
        return client:limits()
      end)
      repeat
        client:poll(0.01)
      until begun and token_requests() == 1
      first:cancel()
      assert(second:result())
      assert.are.equal("cancelled", select(2, first:result()).kind)
      assert.are.equal(1, token_requests())
    end)

    it("is asked for anew after everybody who waited was cancelled", function()
      local first = send_for_token()
      first:cancel()
      assert.are.equal("cancelled", select(2, first:result()).kind)
      assert(client:limits())
      assert.are.equal(2, token_requests())
    end)

    it("is not waited for by a task that is cancelled", function()
      org:fault { path = "oauth2/token", stall = 1 }
      local first = client:spawn(client.limits, client)
      local second = client:spawn(client.limits, client)
      repeat
        client:poll(0.01)
      until token_requests() == 1
      second:cancel()
      assert.are.equal("cancelled", select(2, second:result()).kind)
      assert(first:result())
      assert.are.equal(1, token_requests())
    end)

    it("that a 401 does not tell dead is not renewed", function()
      assert(client:limits())
      org:fault { path = "/limits", status = 401,
        body = '[{"errorCode":"INVALID_SESSION_ID","message":"This session is not valid for use with the REST API"}]' }
      local _, err = client:limits()
      assert.are.equal("auth", err.kind)
      assert.are.equal(1, token_requests())
    end)

    it("is renewed once, not for ever", function()
      org:fault { path = "/limits", status = 401, count = -1 }
      local _, err = client:limits()
      assert.are.equal("auth", err.kind)
      assert.are.equal(2, token_requests())
    end)

    describe("that dies", function()
      local ROWS = "Name\n" .. ("a row of some length\n"):rep(5000)

      local function new_job()
        return assert(client:create { object = "Account", operation = "insert" })
      end

      it("in the middle of an upload: the body is sent again", function()
        local job = new_job()
        org:fault { method = "PUT", stall = 1, stall_when = "before" }
        local uploading = client:spawn(job.upload, job, ROWS)
        repeat
          client:poll(0.01)
        until #org:requests { method = "PUT" } == 1
        org:kill_token()
        assert(uploading:result())
        assert(job:close())
        assert.are.equal(5000, assert(job:wait()).numberRecordsProcessed)
        assert.are.equal(2, token_requests())
      end)

      it("before a close, and the job is closed once", function()
        local job = new_job()
        assert(job:upload(ROWS))
        org:kill_token()
        assert.are.equal("UploadComplete", assert(job:close()).state)
        assert.are.equal(1, org:job(job.id).transitions.UploadComplete)
      end)

      it("while a job is waited for", function()
        org:set { processing_seconds = 0.6 }
        local job = new_job()
        assert(job:upload(ROWS))
        assert(job:close())
        local looks = 0
        local info = assert(job:wait { on_progress = function()
          looks = looks + 1
          if looks == 1 then
            org:kill_token()
          end
        end })
        assert.are.same({ "JobComplete", 2 }, { info.state, token_requests() })
      end)

      it("between two pages of results", function()
        org:set { query_rows = 1000, query_page_records = 100 }
        local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
        assert(query:wait())
        local count = 0
        for _ in query:results() do
          count = count + 1
          if count == 150 then
            org:kill_token()
          end
        end
        assert.are.same({ 1000, 2 }, { count, token_requests() })
      end)

      it("in a whole load", function()
        local file = helper.file(ROWS)
        local killed
        local report = assert(client:load {
          object = "Account", operation = "insert", file = file, part_bytes = 20000, jobs = 3,
          on_progress = function(progress)
            if not killed and progress.bytes > 20000 then
              killed = true
              org:kill_token()
            end
          end,
        })
        assert.are.equal(5000, report.processed)
        assert.are.equal(5000, org:count "Account")
      end)
    end)
  end)

  -- The sandbox itself, by the curl command.
  describe("at the token endpoint", function()
    local function post(...)
      local words = { "curl -s" }
      for _, field in ipairs { ... } do
        words[#words + 1] = "--data-urlencode " .. helper.quote(field)
      end
      local answer = helper.shell(table.concat(words, " ") .. " " .. org.url .. "/services/oauth2/token")
      return core.json_decode(answer)
    end

    local BEARER = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer"

    local function post_claims(more, change)
      local claims = helper.with(
        { iss = APP.client_id, sub = USER, aud = "https://login.salesforce.com", exp = os.time() + 60 }, more)
      local assertion = assert(core.sign_jwt(helper.content(path "key.pem"), nil, core.json_encode(claims)))
      return post(BEARER, "assertion=" .. (change and change(assertion) or assertion))
    end

    before_each(function()
      org:set { certificate = helper.content(path "app.crt") }
    end)

    it("good claims give a token", function()
      assert.are.equal(org.token, post_claims().access_token)
    end)

    it("claims in the manner of the Salesforce CLI give a token", function()
      assert.are.equal(org.token, post_claims({ aud = "https://login.salesforce.com/", exp = os.time() * 1000 + 180000 }).access_token)
    end)

    for name, claims in pairs {
      ["have ended"] = { exp = os.time() - 60 }, ["end too late"] = { exp = os.time() + 3600 }, ["end at a text"] = { exp = "soon" },
      ["are for others"] = { aud = "https://elsewhere.example" }, ["are of another user"] = { sub = "nobody@example.com" },
      ["are of another app"] = { iss = "nobody" },
    } do
      it("claims are refused that " .. name, function()
        assert.is_string(post_claims(claims).error)
      end)
    end

    it("claims are refused that were changed, or that nobody signed", function()
      assert.are.equal("invalid assertion", post_claims({}, function(assertion)
        return (assertion:gsub("%.([^.]*)%.", ".%1x."))
      end).error_description)
      assert.are.equal("invalid assertion", post_claims({}, function(assertion)
        return assertion:match "^(.*%.)[^.]*$" .. "AAAA"
      end).error_description)
      assert.are.equal("invalid assertion", post_claims({}, function(assertion)
        return "eyJhbGciOiJub25lIn0." .. assertion:match "%.(.*)%." .. ".AAAA" -- {"alg":"none"}
      end).error_description)
    end)

    it("no other name of a flow is taken, nor a field twice or without a value", function()
      local fields = { "client_id=" .. APP.client_id, "client_secret=" .. APP.client_secret }
      assert.is_string(post("grant_type=client_credentials", fields[1], fields[2]).access_token)
      assert.are.equal("unsupported_grant_type", post("grant_type=urn:client_credentials", fields[1], fields[2]).error)
      assert.are.equal("unsupported_grant_type", post("grant_type=jwt-bearer", "assertion=x").error)
      assert.are.equal("unsupported_grant_type", post(fields[1]).error)
      assert.are.equal("invalid_request", post(BEARER, "assertion=x", "assertion=x").error)
      local text = helper.shell("curl -s -d assertion -d " .. BEARER .. " " .. org.url .. "/services/oauth2/token")
      assert.matches("invalid_request", text)
    end)
  end)

  describe("options", function()
    for name, case in pairs {
      ["an unknown one"] = { auth.jwt, { nonsense = 1 }, "bulkjob.auth.jwt: unknown option 'nonsense'" },
      ["a missing one"] = { auth.client_credentials, { client_id = "x", client_secret = "x" }, "login_url is missing" },
      ["a wrong type"] = { auth.refresh_token, { client_id = 1, refresh_token = "x" }, "client_id: a string expected, got number" },
      ["an empty one"] = { auth.password, {
        client_id = "", client_secret = "x", username = "x", password = "x" }, "client_id: a string expected, got an empty one" },
      ["both keys"] = { auth.jwt, { client_id = "x", username = "x", key = "x", key_file = "x" }, "either key or key_file" },
      ["no key"] = { auth.jwt, { client_id = "x", username = "x" }, "either key or key_file" },
      ["no table"] = { auth.jwt, "x", "a table expected, got string" },
    } do
      it("raise for " .. name, function()
        local good, err = pcall(case[1], case[2])
        assert.is_false(good)
        assert.is_truthy(err:find(case[3], 1, true), err)
      end)
    end

    it("refuse to send secrets in the clear", function()
      local client = client_with(auth.client_credentials(app { login_url = "http://acme.my.salesforce.com" }))
      local info, err = client:limits()
      assert.is_nil(info)
      assert.are.equal("auth", err.kind)
      assert.matches("login_url: http would send", err.message)
      client:close()
    end)

    it("give what only a client can use", function()
      assert.error_matches(auth.client_credentials(app()), "bulkjob.auth.client_credentials: .* not to be called")
    end)

    it("are not shown by tostring", function()
      assert.is_nil(tostring(auth.client_credentials(app())):find(APP.client_secret, 1, true))
    end)
  end)
end)
