--- Who is refused at the other end of a connection, and what the error says.
local bulkjob = require "bulkjob"
local helper = require "spec.helper"
local server = require "spec.server"

describe("TLS", function()
  local path = helper.directory()
  local running

  local function openssl(arguments)
    local out, status = helper.shell("cd " .. path() .. " && openssl " .. arguments)
    assert(status == 0, out)
  end

  -- A key, and a certificate of the CA for these names that is good from one time to another, in UTC. By `openssl ca`, as `openssl x509`
  -- takes a time in the past in other ways from version to version.
  local function certify(name, alternative, from, to)
    openssl(("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%s -keyout %s.key -out %s.csr"):format(name, name, name))
    local file = assert(io.open(path "ca.conf", "w"))
    file:write("[ca]\ndefault_ca=ours\n[ours]\ndatabase=issued\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n",
      "x509_extensions=names\n[any]\ncommonName=supplied\n[names]\nsubjectAltName=", alternative, "\n")
    file:close()
    assert(io.open(path "issued", "w")):close()
    local time = "!%Y%m%d%H%M%SZ"
    openssl(("ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -startdate %s -enddate %s -in %s.csr -out %s.crt"):format(
      os.date(time, from), os.date(time, to), name, name))
  end

  setup(function()
    for _, ca in ipairs { "ca", "other-ca" } do
      openssl(("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=%s -keyout %s.key -out %s.pem"):format(ca, ca,
        ca))
    end
    local day, now = 86400, os.time()
    certify("good", "DNS:localhost", now - day, now + day)
    certify("expired", "DNS:localhost", now - 2 * day, now - day)
    certify("elsewhere", "DNS:acme.my.salesforce.com", now - day, now + day)
    certify("user", "email:user@example.com", now - day, now + day)
    openssl "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout self.key -out self.crt"
  end)

  teardown(function()
    helper.clean()
  end)

  after_each(function()
    running:stop()
  end)

  local function serve(name, more)
    local port = server.free_port()
    running = server.start(("openssl s_server -accept 127.0.0.1:%d -cert %s -key %s -www %s"):format(port, path(name .. ".crt"),
      path(name .. ".key"), more or ""), port)
  end

  -- What a request comes to: the error, whose text is one line.
  local function ask(options)
    local client = bulkjob.client(helper.with({
      instance_url = "https://localhost:" .. running.port, access_token = "00Dxx!marked", ca_file = path "ca.pem",
      retry = { tries = 3, base = 0.01, cap = 0.01 }, timeout = helper.HANG_SECONDS,
    }, options))
    local limits, err = client:limits()
    client:close()
    assert.is_nil(limits)
    assert.is_nil(tostring(err):find("marked", 1, true))
    assert.is_nil(tostring(err):find("\n", 1, true))
    return err
  end

  local function refused(code, what, options)
    local err = ask(options)
    assert.are.equal("network", err.kind)
    assert.are.equal(code, err.code, err.message)
    assert.matches(what, err.message)
    assert.are.equal(1, err.attempts)
    assert.is_nil(running:said():find "GET ")
  end

  -- The server has got the request: it answers with a page of its own.
  local function let_in(options)
    local err = ask(options)
    assert.are.equal("protocol", err.kind, tostring(err))
  end

  it("lets in whoever the CA vouches for", function()
    serve "good"
    let_in()
  end)

  it("refuses a certificate of another name", function()
    serve "elsewhere"
    refused("CURLE_PEER_FAILED_VERIFICATION", "no alternative certificate subject name matches target host ?name 'localhost'")
  end)

  it("refuses one that has expired", function()
    serve "expired"
    refused("CURLE_PEER_FAILED_VERIFICATION", "certificate has expired")
  end)

  it("refuses one of a CA that is not ours, and of the system's by default", function()
    serve "good"
    refused("CURLE_PEER_FAILED_VERIFICATION", "unable to get local issuer certificate; its CA is not trusted here", { ca_file = path "other-ca.pem" })
    refused("CURLE_PEER_FAILED_VERIFICATION", "unable to get local issuer certificate", { ca_file = "/etc/ssl/certs/ca-certificates.crt" })
  end)

  it("refuses one that vouches for itself", function()
    serve "self"
    refused("CURLE_PEER_FAILED_VERIFICATION", "self%-signed certificate")
  end)

  it("refuses TLS 1.1", function()
    serve("good", "-tls1_1 -cipher ALL:@SECLEVEL=0")
    refused("CURLE_SSL_CONNECT_ERROR", "TLS 1.2 or later is needed")
  end)

  it("refuses TLS 1.1 also where OpenSSL would take it", function()
    serve("good", "-tls1_1 -cipher ALL:@SECLEVEL=0")
    local anything = helper.file("openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\nMinProtocol=TLSv1\nCipherString=ALL:@SECLEVEL=0\n")
    local permissive = "OPENSSL_CONF=" .. anything .. " "
    local url = "https://localhost:" .. running.port
    local out, status = helper.shell(permissive .. "curl -sS -o /dev/null --tlsv1.0 --cacert " .. path "ca.pem " .. url)
    assert.are.equal(0, status, out)
    out = helper.shell(permissive .. os.getenv "LUA" .. " " .. helper.file(([[
      local client = require("bulkjob").client { instance_url = %q, access_token = "x", ca_file = %q, retry = { tries = 1 } }
      print(select(2, client:limits()))
    ]]):format(url, path "ca.pem")))
    assert.matches("TLS 1.2 or later is needed", out)
  end)

  it("asks no authority of the system's when there is one of ours", function()
    if not helper.may_trace() then
      return pending "strace may not trace here"
    end
    serve "good"
    assert.are.equal(0, select(2, helper.shell("mkdir -p " .. path "ca-directory")))
    for option, file in pairs { ca_file = path "other-ca.pem", ca_path = path "ca-directory" } do
      local out = helper.shell(helper.strace "-e trace=file" .. os.getenv "LUA" .. " " .. helper.file(([[
        local client = require("bulkjob").client { instance_url = "https://localhost:%d", access_token = "x", %s = %q, retry = { tries = 1 } }
        print(select(2, client:limits()))
      ]]):format(running.port, option, file)))
      assert.matches("its CA is not trusted here", out)
      assert.is_nil(out:find("/etc/ssl/certs", 1, true), out:match "[^\n]*/etc/ssl/certs[^\n]*")
    end
  end)

  it("says when the other end speaks no TLS", function()
    local org = helper.org()
    running = { port = org.url:match "%d+$", said = function()
      return ""
    end, stop = function()
      org:stop()
    end }
    refused("CURLE_SSL_CONNECT_ERROR", "this port does not use TLS")
  end)

  it("says when the CA cannot be read", function()
    serve "good"
    refused("CURLE_SSL_CACERT_BADFILE", "nothing.pem", { ca_file = path "nothing.pem" })
  end)

  it("checks nothing with insecure = true", function()
    for _, name in ipairs { "elsewhere", "expired", "self" } do
      serve(name)
      let_in { insecure = true }
      running:stop()
    end
    serve "good"
  end)

  describe("with a certificate of the client", function()
    before_each(function()
      serve("good", "-Verify 1 -CAfile " .. path "ca.pem" .. " -verify_return_error")
    end)

    it("lets in who has one", function()
      let_in { client_cert = path "user.crt", client_key = path "user.key" }
    end)

    it("says that one is asked for", function()
      local err = ask()
      assert.are.equal("network", err.kind)
      assert.matches("certificate required", err.message)
      assert.matches("client_cert", err.message)
      assert.are.equal(1, err.attempts)
    end)

    it("says what is wrong with it", function()
      refused("CURLE_SSL_CERTPROBLEM", "nothing.crt", { client_cert = path "nothing.crt", client_key = path "user.key" })
      refused("CURLE_SSL_CERTPROBLEM", "private key", { client_cert = path "user.crt", client_key = path "good.key" })
      refused("CURLE_SSL_CERTPROBLEM", "private key", { client_cert = path "user.crt", client_key = path "nothing.key" })
    end)

    it("refuses a key with a passphrase, and does not ask for it on the terminal", function()
      openssl "ec -in user.key -aes256 -passout pass:marked -out locked.key"
      local out, status = helper.shell(("TERM=dumb script -qec %s /dev/null"):format(helper.quote(os.getenv "LUA" .. " " .. helper.file(([[
        local client = require("bulkjob").client {
          instance_url = "https://localhost:%d", access_token = "x", ca_file = %q, client_cert = %q, client_key = %q, retry = { tries = 1 },
        }
        print(select(2, client:limits()))
      ]]):format(running.port, path "ca.pem", path "user.crt", path "locked.key")))))
      assert.are.equal(0, status, out)
      assert.is_nil(out:lower():find("pass phrase:", 1, true), out)
      assert.matches("CURLE_SSL_CERTPROBLEM.*without a passphrase", out)
    end)
  end)
end)
