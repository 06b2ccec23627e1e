--- A load of three parts, killed at every moment that matters, or with every network fault at every request, and run again with the
--- same journal: each row is processed once.
local helper = require "spec.helper"
local run_program = require "spec.crash.run"
local was_over = require "spec.crash.was_over"

local ROWS, PARTS = 30, 3

describe("a load that is broken off", function()
  local directory = helper.directory() ()
  local org, file, part_bytes
  local cases = 0

  setup(function()
    org = helper.org(helper.AT_ONCE)
    local lines = { "Name,Ext__c" }
    for i = 1, ROWS do
      lines[#lines + 1] = ('"Row\n%02d",E%d'):format(i, i)
    end
    local text = table.concat(lines, "\n") .. "\n"
    file = helper.file(text)
    part_bytes = math.ceil(#text / PARTS) + 20
  end)

  teardown(function()
    org:stop()
    helper.clean()
    print(("%d crashes and faults"):format(cases))
  end)

  local function journal()
    return directory .. "/journal"
  end

  local function begin_anew()
    org:reset()
    org:set(helper.AT_ONCE)
    os.execute("rm -rf '" .. directory .. "'/*")
  end

  -- Runs the load in a process of its own. Answers what it printed, nothing if it was killed.
  local function run(kill, more)
    return run_program("load", org, helper.with({
      KILL = kill, FILE = file, PART_BYTES = part_bytes, JOBS = 1, JOURNAL = journal(), RESULTS = directory .. "/results",
    }, more))
  end

  local function lines_of(path)
    local text = assert(helper.content(path), path)
    return select(2, text:gsub('"E%d+"', ""))
  end

  -- A create whose answer nobody has noted leaves an empty job, and nothing else may be left.
  local function each_row_once(what)
    local times = org:times("Account")
    for i = 1, ROWS do
      assert.are.equal(1, times["E" .. i], what .. ": row " .. i)
    end
    assert.are.equal(ROWS, org:count "Account", what)
    assert.are.equal(ROWS, lines_of(directory .. "/results/successful.csv"), what)
    for _, job in ipairs(org:jobs()) do
      assert(job.state ~= "Open" or job.bytes == 0, what .. ": a job is left")
    end
    cases = cases + 1
  end

  -- How many requests and lines of the journal an undisturbed load has.
  local function measure(more)
    begin_anew()
    local text = run("never", more)
    local records, processed, requests, lines = text:match "^(%d+) (%d+) (%d+) (%d+)\n$"
    assert(records, text)
    assert.are.same({ ROWS, ROWS }, { tonumber(records), tonumber(processed) })
    each_row_once "undisturbed"
    return tonumber(requests), tonumber(lines)
  end

  -- `may_be_over`: less is left to be done than the number of the moment says.
  local function killed_then_again(kill, more, may_be_over)
    local text = run(kill, more)
    local over = may_be_over and text:find "^%d+ %d+ %d+ %d+\n"
    if not over and not was_over(kill, text) then
      assert.is_nil(text:find "%d+ %d+ %d+ %d+", kill .. " was not killed: " .. text)
      text = run("never", more)
    end
    assert(text:find("^" .. ROWS .. " " .. ROWS .. " "), kill .. ", then: " .. text)
    each_row_once(kill)
  end

  -- Under a sanitizer a process takes long to start, and it is the same code: there one job at a time, and each fault once.
  for _, jobs in ipairs(helper.SANITIZED and { 1 } or { 1, 3 }) do
    describe("with " .. jobs .. " job(s) at a time", function()
      local more = { JOBS = jobs }

      it("by SIGKILL at every line of the journal", function()
        local _, lines = measure(more)
        for n = 1, lines do
          for _, when in ipairs { "before", "half", "after" } do
            begin_anew()
            killed_then_again(("journal:%d:%s"):format(n, when), more)
          end
        end
      end)

      it("by SIGKILL at every request: before it took effect, after that, and after its answer", function()
        local requests = measure(more)
        for n = 1, requests do
          for _, close in ipairs { "before", "after", false } do
            begin_anew()
            if close then
              org:fault { after = n - 1, close = close }
            end
            killed_then_again("request:" .. n, more)
          end
        end
      end)
    end)
  end

  -- Also in the middle of what the program takes for one step.
  it("by SIGKILL at every change of a name of a file", function()
    if not helper.may_trace() then
      pending "strace cannot be used here"
      return
    end
    local more = { JOBS = 1, PART_BYTES = 100000 }
    local kills = 0
    for _, call in ipairs { "rename", "unlink", "mkdir", "rmdir", "fsync", "fdatasync" } do
      local n, killed = 0, true
      while killed do
        n = n + 1
        assert(n < 100, "it is killed for ever")
        begin_anew()
        local what = call .. " " .. n
        local text = run("never", helper.with(more, {
          STRACE = helper.strace("-o /dev/null -e trace=" .. call .. " -e inject=" .. call .. ":signal=KILL:when=" .. n),
        }))
        killed = not text:find("^" .. ROWS .. " ")
        if killed then
          text = run("never", more)
          kills = kills + 1
        end
        assert(text:find("^" .. ROWS .. " " .. ROWS .. " "), what .. ", then: " .. text)
        each_row_once(what)
        assert.are.equal("failed.csv\nsuccessful.csv\nunprocessed.csv\n", (helper.shell("ls -A " .. directory .. "/results")), what)
      end
    end
    assert.is_true(kills > 20)
  end)

  it("by SIGKILL while it writes rows to the disk, or at any line of the journal after that", function()
    local more = { ROWS = ROWS }
    local _, lines = measure(more)
    begin_anew()
    killed_then_again("spool", more)
    for n = 1, lines do
      begin_anew()
      killed_then_again(("journal:%d:after"):format(n), more)
    end
  end)

  -- One part, so that each pair of moments can be tried.
  local SMALL = { PART_BYTES = 100000 }
  local MOMENTS = { "journal:%d:before", "journal:%d:after" }

  it("by SIGKILL twice in a row, at each pair of moments", function()
    local requests, lines = measure(SMALL)
    local moments = {}
    for n = 1, lines do
      moments[#moments + 1] = "journal:" .. n .. ":after"
    end
    for n = 1, requests do
      moments[#moments + 1] = "request:" .. n
    end
    for _, first in ipairs(moments) do
      for i = 1, helper.SANITIZED and 1 or #moments do
        begin_anew()
        run(first, SMALL)
        killed_then_again(moments[i], SMALL, true)
      end
    end
  end)

  it("by a cancel at each moment", function()
    local more = helper.with({ CANCEL = 1 }, { JOBS = 2 })
    local requests, lines = measure(more)
    local moments = {}
    for n = 1, lines do
      for _, moment in ipairs(MOMENTS) do
        moments[#moments + 1] = moment:format(n)
      end
    end
    for n = 1, requests do
      moments[#moments + 1] = "request:" .. n
    end
    for _, moment in ipairs(moments) do
      begin_anew()
      local text = run(moment, more)
      assert(text:find "cancelled" or text:find("^" .. ROWS .. " " .. ROWS .. " "), moment .. ": " .. text)
      assert.is_nil(helper.states(org).Open, moment)
      text = run("never", more)
      assert(text:find("^" .. ROWS .. " " .. ROWS .. " "), moment .. ", then: " .. text)
      each_row_once(moment)
    end
  end)

  it("in its second pass, by SIGKILL at every line of the journals and at every request", function()
    -- The second of two rows with the same unique value fails each time.
    local text = { "Name,Ext__c" }
    for i = 1, ROWS do
      text[#text + 1] = ("Row %d,E%d"):format(i, i)
    end
    text[#text + 1] = "Again,E1\nAnd again,E2\n"
    local more = { FILE = helper.file(table.concat(text, "\n")), PART_BYTES = 100000, RETRY = "DUPLICATE_VALUE" }
    local report = ROWS + 2 .. " " .. ROWS + 2 .. " "
    begin_anew()
    local requests, lines = run("never", more):match("^" .. report .. "(%d+) (%d+)\n$")
    local moments = {}
    for n = 1, lines do
      moments[#moments + 1] = ("journal:%d:after"):format(n)
    end
    for n = 1, requests do
      moments[#moments + 1] = "request:" .. n
    end
    for _, moment in ipairs(moments) do
      begin_anew()
      run(moment, more)
      local said = run("never", more)
      assert(said:find("^" .. report), moment .. ", then: " .. said)
      each_row_once(moment)
      assert.are.equal(2, lines_of(directory .. "/results/failed.csv"), moment)
    end
  end)

  describe("and followed by another:", function()
    local elsewhere

    setup(function()
      elsewhere = helper.org(helper.AT_ONCE)
    end)

    teardown(function()
      elsewhere:stop()
    end)

    -- `of`: the org of the second load; what it loads has the prefix F, and comes whole or not at all.
    local function each_line(more, of)
      local _, lines = measure()
      for n = 1, lines do
        local kill = ("journal:%d:after"):format(n)
        begin_anew()
        elsewhere:reset()
        elsewhere:set(helper.AT_ONCE)
        run(kill)
        local began = helper.content(journal() .. "/log") or ""
        local text = run_program("load", of or org, helper.with({
          KILL = "never", PART_BYTES = part_bytes, JOBS = 1, JOURNAL = journal(), RESULTS = directory .. "/results", FILE = file,
        }, more))
        local at = of or org
        if began:find '"finished"' or not began:find '"step":"closing"' then
          assert(text:find("^" .. ROWS .. " " .. ROWS .. " "), kill .. ", then: " .. text)
          if of then
            assert.are.equal(ROWS, at:count "Account", kill)
          else
            local times = at:times "Account"
            for i = 1, ROWS do
              assert.are.equal(1, times["F" .. i], kill)
            end
          end
          cases = cases + 1
        else
          assert(text:find "an unfinished run of something else" and text:find "committed", kill .. ", then: " .. text)
          assert.are.equal(began, helper.content(journal() .. "/log"), kill)
          assert.are.equal(0, at:times("Account").F1 or 0, kill)
          assert.are.equal(0, elsewhere:count "Account", kill)
          text = run("never")
          assert(text:find("^" .. ROWS .. " " .. ROWS .. " "), kill .. ", then: " .. text)
          each_row_once(kill)
        end
      end
    end

    it("of another file", function()
      each_line { FILE = helper.file((helper.content(file):gsub(",E(%d)", ",F%1"))) }
    end)

    it("of other rows", function()
      each_line { ROWS = ROWS, PREFIX = "F" }
    end)

    it("in another org", function()
      each_line({}, elsewhere)
    end)
  end)

  describe("beside another process that begins at the same time", function()
    -- Runs both, and answers what they printed.
    local function both(one, other)
      org:set { queue_seconds = 0.3 }
      local texts = {}
      local pipes = {}
      for i, more in ipairs { one, other } do
        pipes[i] = run_program.start("load", org, helper.with({
          KILL = "never", FILE = file, PART_BYTES = part_bytes, JOBS = 1, JOURNAL = journal(), RESULTS = directory .. "/results",
        }, more))
      end
      for i, pipe in ipairs(pipes) do
        texts[i] = pipe:read "*a"
        pipe:close()
      end
      return texts
    end

    local function one_is_refused(texts)
      local done, refused = 0, 0
      for _, text in ipairs(texts) do
        done = done + (text:find("^" .. ROWS .. " " .. ROWS .. " ") and 1 or 0)
        refused = refused + (text:find "is using it" and 1 or 0)
      end
      assert.are.same({ 1, 1 }, { done, refused }, table.concat(texts, "\n"))
      each_row_once "two processes"
    end

    it("on one journal", function()
      for _ = 1, 5 do
        begin_anew()
        one_is_refused(both({}, {}))
      end
    end)

    it("on one directory for results", function()
      for _ = 1, 5 do
        begin_anew()
        one_is_refused(both({}, { JOURNAL = directory .. "/other" }))
      end
    end)
  end)

  -- In this process: the client may mend a fault by itself, or the load fails and is called again.
  local FAULTS = {
    { status = 500 }, { status = 503 }, { status = 503, effect = true }, { status = 400 }, { status = 200, body = "<html>" },
    { reset = "before" }, { reset = "after" }, { close = "before" }, { close = "after" }, { cut = 10 },
    { stall = 2, stall_when = "before" }, { stall = 2, stall_when = "after" }, { drop_header = "Content-Type" },
  }

  local function load_once(timeout, requests)
    local client = helper.client(org, {
      timeout = timeout, instance_url = org.url, retry = { tries = 2, base = 0.001, cap = 0.002 },
      on_event = requests and function(event)
        if event.type == "request" then
          requests.count = (requests.count or 0) + 1
        end
      end or nil,
    })
    local report, err = client:load {
      object = "Account", operation = "insert", file = file, part_bytes = part_bytes, jobs = 2, journal = journal(),
      results = directory .. "/results",
    }
    client:close()
    return report, err
  end

  for i, fault in ipairs(FAULTS) do
    local names = {}
    for name, value in pairs(fault) do
      names[#names + 1] = name .. " = " .. tostring(value)
    end
    table.sort(names)
    it("by the fault " .. i .. " (" .. table.concat(names, ", ") .. ") at every request, once and for a while", function()
      begin_anew()
      local seen = {}
      assert(load_once(nil, seen))
      for n = 1, seen.count do
        for _, count in ipairs((fault.stall or helper.SANITIZED) and { 1 } or { 1, 4 }) do
          begin_anew()
          org:fault(helper.with(fault, { after = n - 1, count = count }))
          local report
          helper.wait_until(function()
            report = load_once(fault.stall and 0.15)
            return report
          end)
          local what = ("request %d, %d times"):format(n, count)
          assert.are.equal(ROWS, report.processed, what)
          each_row_once(what)
        end
      end
    end)
  end
end)
