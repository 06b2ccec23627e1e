--- The example in LÖVE, as its users run it, without a display.
local helper = require "spec.helper"

local ROWS, REFUSED = 3000, 3
-- The data of a picture of this size in one colour take some 3,000 bytes.
local LEAST_BYTES = 30000

local function be32(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Width, height, and the bytes of compressed pixels of a PNG.
local function read_png(text)
  assert.are.equal("\137PNG\r\n\26\n", text:sub(1, 8))
  local at, bytes, kind = 9, 0, nil
  while kind ~= "IEND" do
    local size = be32(text, at)
    kind = text:sub(at + 4, at + 7)
    bytes = bytes + (kind == "IDAT" and size or 0)
    at = at + 12 + size
  end
  assert.are.equal(#text + 1, at)
  return be32(text, 17), be32(text, 21), bytes
end

describe("the game in LÖVE", function()
  local org

  before_each(function()
    org = helper.org { queue_seconds = 0.1, processing_seconds = 0.3 }
  end)

  after_each(function()
    org:stop()
    helper.clean()
  end)

  -- Answers what it prints, with its exit status behind.
  local function play(arguments)
    local command = ("SF_INSTANCE_URL=%s SF_ACCESS_TOKEN='%s' SSL_CERT_FILE='%s' DISPLAY= WAYLAND_DISPLAY= "
      .. "timeout -k 1 %d examples/love/run %s 2>&1; echo \"status $?\""):format(org.tls_url, org.token, org.ca_file,
      2 * helper.HANG_SECONDS, arguments)
    local pipe = assert(io.popen(command))
    local out = pipe:read "*a"
    pipe:close()
    return out
  end

  it("brings its players into the org, and takes a picture of it", function()
    local path = helper.file ""
    local out = play(("--rows %d --screenshot '%s'"):format(ROWS, path))
    assert.matches("status 0\n$", out)
    assert.truthy(out:find(("JobComplete: %d rows saved, %d refused"):format(ROWS - REFUSED, REFUSED), 1, true), out)
    assert.are.same({ JobComplete = 1 }, helper.states(org))
    assert.are.equal(ROWS - REFUSED, org:count "Contact")
    local width, height, bytes = read_png(helper.content(path))
    assert.are.same({ 800, 600 }, { width, height })
    assert.is_true(bytes > LEAST_BYTES, bytes .. " bytes of pixels")
  end)

  it("says what went wrong, and leaves no open job", function()
    org:fault { method = "PUT", status = 400, body = '[{"errorCode":"CLIENTINPUTERROR","message":"not today"}]' }
    local path = helper.file ""
    local out = play(("--rows 100 --screenshot '%s'"):format(path))
    assert.matches("not today", out)
    assert.matches("status 1\n$", out)
    assert.are.same({ Aborted = 1 }, helper.states(org))
  end)
end)
