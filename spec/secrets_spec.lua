--- Every way to fail, with secrets that are easy to find again: they are in nothing that comes out.
local bulkjob = require "bulkjob"
local command = require "spec.command"
local core = require "bulkjob.core"
local helper = require "spec.helper"

local SECRETS = {
  client_secret = "marked+client/secret=1", password = "marked&password 2", security_token = "marked.token.3",
  refresh_token = "marked.refresh=token/4", passphrase = "marked.passphrase.5", proxy_password = "marked.proxy.6",
}

local function escape(text, format, which)
  return (text:gsub(which or "[^%w%-._~]", function(c)
    return format:format(c:byte())
  end))
end

-- As it is, and as it stands in URLs: all that has to be escaped, what JavaScript escapes, everything; and in forms.
local function forms(secret)
  local list, seen = {}, {}
  for _, form in ipairs {
    secret, escape(secret, "%%%02X"), escape(secret, "%%%02x"), escape(secret, "%%%02X", "[^%w%-._~!'()*]"), escape(secret, "%%%02x", "."),
    (escape(secret, "%%%02X", "[^%w*%-._ ]"):gsub(" ", "+")),
  } do
    list[#list + 1] = not seen[form] and form or nil
    seen[form] = true
  end
  return list
end

-- All strings in a value, keys too, at any depth.
local function strings(value, seen, out)
  seen, out = seen or {}, out or {}
  if type(value) == "string" then
    out[#out + 1] = value
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    for key, inner in pairs(value) do
      strings(key, seen, out)
      strings(inner, seen, out)
    end
  end
  out[#out + 1] = tostring(value)
  return out
end

describe("secrets", function()
  local directory = helper.directory "each" ()
  local org, client, events
  helper.scene(helper.AT_ONCE, function(o)
    org = o
    org:new_token()
    org:set {
      client_secret = SECRETS.client_secret, password = SECRETS.password, security_token = SECRETS.security_token,
      refresh_token = SECRETS.refresh_token,
    }
    events = {}
    client = helper.client(org, { timeout = 2, retry = { tries = 2, base = 0.001, cap = 0.002 }, on_event = helper.recorder(events) })
  end)

  local looked_at = 0

  local function clean(what, ...)
    local all = forms(org.token)
    for _, secret in pairs(SECRETS) do
      for _, form in ipairs(forms(secret)) do
        all[#all + 1] = form
      end
    end
    for i = 1, select("#", ...) do
      for _, text in ipairs(strings((select(i, ...)))) do
        looked_at = looked_at + 1
        for _, form in ipairs(all) do
          if text:find(form, 1, true) then
            error(what .. " shows '" .. form .. "': " .. text)
          end
        end
      end
    end
  end

  -- What the service may say that echoes a secret.
  local function echoes(secret)
    local list = {}
    for _, form in ipairs(forms(secret)) do
      local json = core.json_encode("so " .. form .. " it is")
      for _, status in ipairs { 200, 400, 401, 403, 404, 409, 500, 503 } do
        list[#list + 1] = { status = status, body = ('[{"errorCode":%s,"message":%s}]'):format(core.json_encode("X_" .. form), json) }
        list[#list + 1] = { status = status, body = "<html><title>" .. form .. "</title><p>" .. form .. "</p></html>" }
        list[#list + 1] = { status = status, body = form, headers = { ["Content-Type"] = "text/plain" } }
      end
      list[#list + 1] = { status = 400, body = ('{"error":%s,"error_description":%s}'):format(json, json) }
      list[#list + 1] = { status = 200, body = '{"access_token":"' .. form }
      list[#list + 1] = { status = 200, body = "{}", headers = { ["Content-Type"] = "text/" .. form } }
      list[#list + 1] = { status = 302, headers = { Location = "https://evil.example/" .. form .. "?x=" .. form } }
      list[#list + 1] = { status = 307, headers = { Location = "/" .. form } }
      list[#list + 1] = { status = 503, headers = { ["Retry-After"] = form } }
    end
    return list
  end

  local BREAKS = {
    { reset = "before" }, { reset = "after" }, { close = "after" }, { cut = 5 }, { gzip_cut = 5 }, { stall = 3 },
    { drop_header = "Content-Type" },
  }

  local function each_fault(secret, use, path)
    for _, list in ipairs { echoes(secret), BREAKS } do
      for _, fault in ipairs(list) do
        org:clear_faults()
        org:fault(helper.with(fault, { count = -1, path = path }))
        use()
      end
    end
    org:clear_faults()
  end

  it("do not come back from an org that echoes the token at every kind of call", function()
    local job = assert(client:create { object = "Account", operation = "insert" })
    local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    helper.finished(query)
    local calls = {
      limits = function()
        return client:limits()
      end,
      create = function()
        return client:create { object = "Account", operation = "insert" }
      end,
      upload = function()
        local fresh = client:job(job.id, "ingest")
        return fresh:upload "Name\nx\n"
      end,
      close = function()
        return client:job(job.id, "ingest"):close()
      end,
      info = function()
        return client:job(job.id):info()
      end,
      read = function()
        return query:results():read()
      end,
      walk = function()
        return pcall(query:results().next, query:results())
      end,
      save = function()
        return query:results():save(directory .. "/rows.csv")
      end,
      pages = function()
        return query:pages()
      end,
      list = function()
        return pcall(client:jobs())
      end,
    }
    for name, call in pairs(calls) do
      local stalls = 0
      each_fault(org.token, function()
        stalls = stalls + 1
        if name ~= "limits" and stalls > #echoes(org.token) and BREAKS[stalls - #echoes(org.token)].stall then
          return
        end
        local _, err = call()
        clean(name, err, events)
        for i = #events, 1, -1 do
          events[i] = nil
        end
      end)
    end
    clean("tostring", tostring(client), tostring(job), tostring(query), tostring(query:results()))
    assert(looked_at > 5000, "only " .. looked_at .. " texts")
  end)

  it("do not come back from a token endpoint that echoes them", function()
    local app = { client_id = "3MVG9.sandbox.app", client_secret = SECRETS.client_secret, login_url = org.tls_url }
    local sources = {
      client_secret = { "client_credentials", app },
      refresh_token = { "refresh_token", helper.with(app, { refresh_token = SECRETS.refresh_token }) },
      password = { "password", helper.with(app, { username = "x", password = SECRETS.password, security_token = SECRETS.security_token }) },
    }
    for name, made_by in pairs(sources) do
      for _, secret in ipairs { SECRETS[name], SECRETS.client_secret } do
        each_fault(secret, function()
          local mine = {}
          local source = bulkjob.auth[made_by[1]](made_by[2])
          local one = helper.client(org, {
            auth = source, timeout = 0.3, retry = { tries = 2, base = 0.001, cap = 0.002 }, on_event = helper.recorder(mine),
          })
          core.set_token(one, "00Dxx!dead")
          org:kill_token()
          local _, err = one:limits()
          clean(name, err, mine, tostring(one), tostring(source))
          one:close()
        end, "oauth2/token")
      end
    end
  end)

  it("do not come out of a key that cannot be used", function()
    local out, status = helper.shell(("openssl genrsa -aes256 -passout 'pass:%s' -out %s/key.pem 2048"):format("another", directory))
    assert(status == 0, out)
    local key = helper.content(directory .. "/key.pem")
    for _, text in ipairs { key, (key:gsub("M", "N")), key:sub(1, 500), "nonsense" } do
      local token, err = core.sign_jwt(text, SECRETS.passphrase, "{}")
      assert.is_nil(token)
      clean("key", err)
      assert.is_nil(tostring(err):find(key:sub(200, 240), 1, true))
    end
  end)

  it("do not come out of a proxy that cannot be used", function()
    for _, url in ipairs { "http://me:%s@127.0.0.1:1", "socks5h://me:%s@127.0.0.1:1", "http://me:%s@nowhere.invalid", "ftp://me:%s@127.0.0.1:1",
      "http://me:%s@127.0.0.1:99999", "http://me:%s@[::1", "me:%s@127.0.0.1:99999", "http://me:a '%s@127.0.0.1:99999",
      "http://me:%s" .. ("x"):rep(300) .. "@127.0.0.1:99999" } do
      local one = helper.client(org, { proxy = url:format(SECRETS.proxy_password), retry = { tries = 1 }, on_event = helper.recorder(events) })
      local limits, err = one:limits()
      assert.is_nil(limits)
      clean("proxy", err, events, tostring(one))
    end
  end)

  it("do not come out of a proxy that echoes its own, in base64", function()
    for _, form in ipairs { "Proxy-Authorization: Basic %s", '{"headers":[{"proxy-authorization":"Basic %s"}]}' } do
      local credentials = "bWU6bWFya2VkLnByb3h5LjY=" -- me:marked.proxy.6
      org:fault { path = "/limits", status = 403, body = "<html>got " .. form:format(credentials) .. "</html>" }
      org:fault { path = "/limits", status = 200, body = "got " .. form:format(credentials) }
      for _ = 1, 2 do
        local limits, err = helper.client(org, { retry = { tries = 1 } }):limits()
        assert.is_nil(limits)
        assert.is_nil(tostring(err):find(credentials, 1, true), tostring(err))
      end
    end
  end)

  it("stay away from another host to which the org redirects", function()
    local other = helper.org()
    local job = assert(client:create { object = "Account", operation = "insert" })
    local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    helper.finished(query)
    local app = { client_id = "3MVG9.sandbox.app", client_secret = SECRETS.client_secret, login_url = org.tls_url }
    local signing_in = helper.client(org, { auth = bulkjob.auth.client_credentials(app) })
    core.set_token(signing_in, "00Dxx!dead")
    local ways = {
      GET = function()
        return job:info()
      end,
      ["GET of rows"] = function()
        return query:results():read()
      end,
      ["GET of rows into a file"] = function()
        return query:results():save(directory .. "/rows.csv")
      end,
      POST = function()
        return client:create { object = "Account", operation = "insert" }
      end,
      ["POST with data"] = function()
        return client:create { object = "Account", operation = "insert", data = "Name\nx\n" }
      end,
      PUT = function()
        return client:job(job.id, "ingest"):upload "Name\nx\n"
      end,
      PATCH = function()
        return client:job(job.id, "ingest"):abort()
      end,
      DELETE = function()
        return client:job(job.id, "ingest"):delete()
      end,
      ["POST of a sign-in"] = function()
        return signing_in:limits()
      end,
    }
    for name, go in pairs(ways) do
      for _, status in ipairs { 301, 302, 303, 307, 308 } do
        org:clear_faults()
        org:fault { status = status, headers = { Location = other.tls_url .. "/services/data/v66.0/limits" }, count = -1 }
        local answer, err = go()
        assert.is_nil(answer, name)
        assert.are.equal(status, err.status, name)
        assert.matches("redirected to https://localhost", err.message)
      end
    end
    assert.are.equal(0, #other:requests())
    other:stop()
  end)

  for _, renewals in ipairs { 1, 3 } do
    it("do not come back from an answer that is late: the token of before, renewed " .. renewals .. " times", function()
      local one = helper.client(org, { access_token = org:new_token(), on_event = helper.recorder(events) })
      local before = org.token
      org:fault { path = "/limits", stall = 0.3, status = 403, body = core.json_encode { { errorCode = "X", message = before } } }
      local late = one:spawn(function()
        return one:limits()
      end)
      one:poll(0.1)
      for _ = 1, renewals do
        core.set_token(one, org:new_token())
      end
      assert(one:run())
      local limits, err = late:result()
      assert.is_nil(limits)
      assert.are.equal(403, err.status)
      clean("late", err, events)
      for _, text in ipairs(strings { err, events }) do
        assert.is_nil(text:find(before, 1, true), text)
      end
    end)
  end

  it("are refused where they would break a header, and not shown", function()
    for _, bad in ipairs { "\r\nX: y", "\n", "\0", "\127" } do
      local token = "00Dxx!" .. SECRETS.password .. bad
      local good, err = pcall(bulkjob.client, { instance_url = org.tls_url, access_token = token })
      assert.is_false(good)
      clean("access_token", err)
      local one = helper.client(org, { auth = function()
        return token
      end, access_token = false and "" or nil })
      core.set_token(one, "00Dxx!dead")
      local limits
      limits, err = one:limits()
      assert.is_nil(limits)
      assert.are.equal("auth", err.kind)
      clean("auth", err)
      good, err = pcall(bulkjob.client, { instance_url = org.tls_url, access_token = "x", user_agent = SECRETS.password .. bad })
      assert.is_false(good)
      clean("user_agent", err)
    end
  end)

  describe("that come back as the name of a place", function()
    -- As it is, and as a careful service would write it into a link or a header.
    local function each_form(use)
      for _, form in ipairs { org.token, escape(org.token, "%%%02X") } do
        org:clear_faults()
        use(form)
        clean("place", events)
      end
    end

    it("are not in the error of a job list that leads in a circle, nor in its events", function()
      each_form(function(form)
        org:fault { method = "GET", path = "/jobs/ingest", status = 200, count = -1,
          body = core.json_encode { done = false, records = {}, nextRecordsUrl = "/services/data/v66.0/jobs/ingest?queryLocator=" .. form } }
        local good, err = pcall(function()
          for _ in client:jobs() do
            error "there is none"
          end
        end)
        assert.is_false(good)
        assert.are.equal("protocol", err.kind)
        assert.truthy(err.message:find("leads in a circle", 1, true))
        clean("list", err)
      end)
    end)

    it("are not in the error of a job list whose next page is refused", function()
      each_form(function(form)
        org:fault { method = "GET", path = "queryLocator", status = 400, count = -1 }
        org:fault { method = "GET", path = "/jobs/ingest", status = 200, count = -1,
          body = core.json_encode { done = false, records = {}, nextRecordsUrl = "/services/data/v66.0/jobs/ingest?queryLocator=" .. form } }
        local good, err = pcall(function()
          for _ in client:jobs() do
            error "there is none"
          end
        end)
        assert.is_false(good)
        assert.are.equal(400, err.status)
        assert.truthy(err.url:find("queryLocator=***", 1, true), err.url)
        clean("list", err, err.url)
      end)
    end)

    it("are not in the error of results that lead in a circle, nor in that of a page that is refused", function()
      org:set { query_rows = 4, query_page_records = 2 }
      local query = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
      helper.finished(query)
      each_form(function(form)
        org:fault { method = "GET", path = "/results", headers = { ["Sforce-Locator"] = form } }
        org:fault { method = "GET", path = "/results", headers = { ["Sforce-Locator"] = form }, status = 200, count = -1,
          body = '"Id"\n"1"\n"2"\n', effect = false }
        for _, read in ipairs {
          function()
            return query:results():read()
          end,
          function()
            return query:results():save(directory .. "/rows.csv")
          end,
        } do
          local text, err = read()
          assert.is_nil(text)
          clean("results", err, err.url)
        end
        org:clear_faults()
        org:fault { method = "GET", path = "/results", headers = { ["Sforce-Locator"] = form } }
        org:fault { method = "GET", path = "/results", status = 400, count = -1 }
        local text, err = query:results():read()
        assert.is_nil(text)
        assert.are.equal(400, err.status)
        assert.truthy(err.url:find("***", 1, true), err.url)
        clean("page", err, err.url)
      end)
    end)

    it("are not in what the program says for itself with core.error", function()
      clean("core.error", core.error("io", "the token is " .. org.token), core.error("job", escape(org.token, "%%%02x", ".") .. " it is"))
      local file, err = client:create({ object = "Account", operation = "insert" }):upload { file = directory .. "/" .. org.token }
      assert.is_nil(file)
      clean("upload", err)
    end)
  end)

  it("of more than 64 KB are refused at once, and not shown", function()
    local token = SECRETS.password .. ("x"):rep(65536)
    local good, err = pcall(bulkjob.client, { instance_url = org.tls_url, access_token = token })
    assert.is_false(good)
    assert.truthy(err:find("bytes", 1, true), err)
    assert.is_nil(err:find("memory", 1, true), err)
    clean("access_token", err)
    local one = helper.client(org, { access_token = false and "" or nil, auth = function()
      return token
    end, on_event = helper.recorder(events) })
    core.set_token(one, "00Dxx!dead")
    local limits
    limits, err = one:limits()
    assert.is_nil(limits)
    assert.are.equal("auth", err.kind)
    assert.truthy(tostring(err):find("bytes", 1, true), tostring(err))
    clean("auth", err, events)
  end)

  it("are not in journals, nor in what lies beside them", function()
    local rows = helper.file("Name\n" .. ("a row\n"):rep(100))
    org:fault { method = "PUT", after = 1, status = 400, count = -1 }
    assert.is_nil(client:load { object = "Account", operation = "insert", file = rows, part_bytes = 300, journal = directory .. "/load" })
    org:clear_faults()
    org:set { query_rows = 100, query_page_records = 10 }
    org:fault { path = "/results", after = 2, status = 400, count = -1 }
    assert.is_nil(client:extract { query = "SELECT Id FROM Account", file = directory .. "/rows.csv", journal = directory .. "/extract" })
    assert(core.stat(directory .. "/load/log") and core.stat(directory .. "/extract/log"))
    clean("the runs", (helper.shell("cat " .. directory .. "/load/* " .. directory .. "/extract/*")))
  end)

  describe("of the command", function()
    local function environment()
      return ("export SF_INSTANCE_URL=%s SF_ACCESS_TOKEN='%s' SF_CA_FILE=%s; "):format(org.tls_url, org.token, org.ca_file)
    end

    it("are in nothing that it prints", function()
      for _, body in ipairs { '[{"errorCode":"X","message":"so %s"}]', "<html>%s</html>" } do
        for _, form in ipairs(forms(org.token)) do
          for _, arguments in ipairs { "limits", "--json limits", "extract 'SELECT Id FROM Account'", "jobs",
            "create --object Account --operation insert" } do
            org:fault { status = 403, body = body:gsub("%%s", (form:gsub("%%", "%%%%"))) }
            local status, out, err = command.run(directory, environment(), arguments)
            assert.are.equal(3, status)
            clean(arguments, out, err)
          end
        end
      end
    end)

    it("are in none of its writes but to the org, and no argument of a process", function()
      if not helper.may_trace() then
        return pending "strace may not trace here"
      end
      local trace = directory .. "/trace"
      local rows = directory .. "/rows.csv"
      local file = assert(io.open(rows, "w"))
      file:write("Name\n" .. ("a row\n"):rep(50))
      file:close()
      local app = "--client-id 3MVG9.sandbox.app --login-url " .. org.tls_url
      local password = ("export SF_CA_FILE=%s SF_CLIENT_SECRET='%s' SF_PASSWORD='%s' SF_SECURITY_TOKEN='%s'; unset SF_ACCESS_TOKEN; "):format(
        org.ca_file, SECRETS.client_secret, SECRETS.password, SECRETS.security_token)
      for _, case in ipairs {
        { environment(), "load " .. rows .. " --object Account --results " .. directory .. "/results" },
        { environment(), "extract 'SELECT Name FROM Account' -o " .. directory .. "/out.csv" },
        { password, app .. " --username integration@sandbox.example --json limits" },
      } do
        local out, code = helper.shell(case[1] .. helper.strace("-s 1000000 -e trace=execve,write,writev,pwrite64,sendto,sendmsg -o " .. trace)
          .. command.line(case[2]))
        assert.are.equal(0, code, out)
        local text = assert(helper.content(trace))
        assert.is_truthy(text:find "execve" and text:find "write%(")
        clean(case[2], text, out)
      end
    end)
  end)
end)
