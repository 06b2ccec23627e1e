--- An extract of ten pages, killed at every moment that matters, and run again with the same journal: the same file each time.
local helper = require "spec.helper"
local run_program = require "spec.crash.run"
local was_over = require "spec.crash.was_over"

local ROWS, PAGES = 95, 10

local SANITIZED = os.getenv "ASAN_OPTIONS" or os.getenv "TSAN_OPTIONS"

describe("an extract that is broken off", function()
  local directory = helper.directory() ()
  local org, expected
  local cases = 0

  setup(function()
    org = helper.org(helper.with(helper.AT_ONCE, { query_page_records = 10 }))
    local client = helper.client(org)
    local rows = {}
    for i = 1, ROWS do
      rows[i] = { Name = "Row\n" .. i, Ext__c = "E" .. i }
    end
    local job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload { rows = rows })
    assert(job:close())
    helper.finished(job)
    local query = assert(client:create { operation = "query", query = "SELECT Name, Ext__c FROM Account" })
    helper.finished(query)
    expected = assert(query:results():read())
    client:close()
  end)

  teardown(function()
    org:stop()
    print(("%d crashes of an extract"):format(cases))
  end)

  local function run(kill, pages)
    return run_program("extract", org, {
      KILL = kill, PAGES = pages, FILE = directory .. "/rows.csv", JOURNAL = directory .. "/journal",
    })
  end

  local function begin_anew()
    org:clear_faults()
    os.execute("rm -rf '" .. directory .. "'/*")
  end

  local function check(text, what)
    assert(text:find("^" .. ROWS .. " " .. PAGES .. " "), what .. ": " .. text)
    assert.are.equal(expected, helper.content(directory .. "/rows.csv"), what)
    local listing = assert(io.popen("ls " .. directory))
    assert.are.equal("journal\nrows.csv\n", listing:read "*a", what)
    listing:close()
    cases = cases + 1
  end

  local function measure(pages)
    begin_anew()
    local text = run("never", pages)
    check(text, "undisturbed")
    local requests, lines = text:match "(%d+) (%d+)\n$"
    return tonumber(requests), tonumber(lines)
  end

  local function killed_then_again(kill, pages)
    local text = run(kill, pages)
    if not was_over(kill, text) then
      assert.is_nil(text:find "%d+ %d+ %d+ %d+", kill .. " was not killed: " .. text)
      assert.is_nil(helper.content(directory .. "/rows.csv.bulkjob-part") and helper.content(directory .. "/rows.csv"), kill)
      text = run("never", pages)
    end
    check(text, kill)
  end

  for _, pages in ipairs(SANITIZED and { 3 } or { 1, 3 }) do
    describe("with " .. pages .. " page(s) at a time", function()
      it("by SIGKILL at every request: before it took effect, after that, and after its answer", function()
        local requests = measure(pages)
        for n = 1, requests do
          for _, close in ipairs { "before", "after", false } do
            begin_anew()
            if close then
              org:fault { after = n - 1, close = close }
            end
            killed_then_again("request:" .. n, pages)
          end
        end
      end)

      it("by SIGKILL at every line of the journal", function()
        local _, lines = measure(pages)
        for n = 1, lines do
          for _, when in ipairs { "before", "half", "after" } do
            begin_anew()
            killed_then_again(("journal:%d:%s"):format(n, when), pages)
          end
        end
      end)
    end)
  end

  it("by SIGKILL at every change of a name of a file, without a journal, leaves nothing beside the file of the next one", function()
    if not helper.may_trace() then
      pending "strace cannot be used here"
      return
    end
    local kills = 0
    for _, call in ipairs { "rename", "unlink", "mkdir", "rmdir" } do
      local n, killed = 0, true
      while killed do
        n = n + 1
        assert(n < 200, "it is killed for ever")
        begin_anew()
        local values = { KILL = "never", PAGES = 2, FILE = directory .. "/rows.csv" }
        local what = call .. " " .. n
        local text = run_program("extract", org, helper.with(values, {
          STRACE = helper.strace("-o /dev/null -e trace=" .. call .. " -e inject=" .. call .. ":signal=KILL:when=" .. n),
        }))
        killed = not text:find("^" .. ROWS .. " ")
        if killed then
          text = run_program("extract", org, values)
          kills = kills + 1
        end
        assert(text:find("^" .. ROWS .. " "), what .. ", then: " .. text)
        assert.are.equal(expected, helper.content(directory .. "/rows.csv"), what)
        assert.are.equal("rows.csv\n", (helper.shell("ls -A " .. directory)), what)
      end
    end
    assert.is_true(kills > 5)
  end)

  it("by SIGKILL in the middle of a page", function()
    local requests = measure(1)
    for n = 1, PAGES do
      begin_anew()
      org:fault { path = "/results", after = n - 1, cut = 60 }
      killed_then_again("request:" .. requests - PAGES + n, 1)
    end
  end)
end)
