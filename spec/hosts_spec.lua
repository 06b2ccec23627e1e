--- What a host may have done to its Lua state: strict globals, another locale, a part of the libraries only, the core loaded twice, and
--- no descriptor or thread left. Each script runs in a program of its own.
local core = require "bulkjob.core"
local helper = require "spec.helper"

describe("a host", function()
  local org

  helper.scene(helper.AT_ONCE, function(...)
    org = ...
  end)

  local CLIENT = [[
    local function client(options)
      options = options or {}
      options.instance_url, options.access_token, options.ca_file = ORG, TOKEN, CA_FILE
      options.retry = { tries = 2, base = 0.01, cap = 0.02 }
      return require "bulkjob".client(options)
    end
  ]]

  -- Runs a script with the program that runs the tests, behind `before` on its command line. What it printed.
  local function run(script, before)
    local path = helper.file(helper.names(org) .. CLIENT .. script)
    local out, status = helper.shell((before or "") .. " " .. os.getenv "LUA" .. " " .. path)
    assert.are.equal(0, status, out)
    return (out:gsub("%s+$", ""))
  end

  local WHOLE_JOB = [[
    local bulkjob = require "bulkjob"
    local c = client()
    local job = assert(c:create { object = "Account", operation = "insert" })
    assert(job:upload { rows = { { Name = "One", AnnualRevenue = 0.5 }, { Name = "Two", AnnualRevenue = 1.25 } } })
    assert(job:close())
    local info = assert(job:wait())
    local q = assert(c:create { operation = "query", query = "SELECT Name, AnnualRevenue FROM Account" })
    assert(q:wait())
    local revenue = 0
    for row in q:results { typed = true } do revenue = revenue + row.AnnualRevenue end
    local task = c:spawn(c.limits, c)
    assert(c:run())
    print(info.state, info.apiVersion, info.numberRecordsProcessed, revenue * 4)
  ]]

  describe("with strict globals", function()
    for name, strict in pairs {
      ["by Penlight"] = [[ require "pl.strict" ]],
      ["that looks at reads from C"] = [[ setmetatable(_G, { __index = function(_, name) error("variable '" .. name .. "' is not declared", 2) end }) ]],
    } do
      it(name, function()
        assert.matches("^JobComplete\t66.0\t2\t7", run(strict .. WHOLE_JOB))
      end)
    end
  end)

  describe("with a decimal comma", function()
    local place = helper.directory()
    setup(function()
      local out, status = helper.shell("localedef -i de_DE -f UTF-8 " .. place "de_DE.UTF-8")
      assert.are.equal(0, status, out)
    end)

    local GERMAN, PLAIN = [[ assert(os.setlocale("de_DE.UTF-8", "numeric")) ]], [[ os.setlocale("C", "numeric") ]]
    local HOSTS_OWN = [[ local cjson = require "cjson" local function own() return #tostring(cjson.decode "[0.5]"[1]) == 3 end ]]

    for name, before in pairs {
      ["after require"] = [[ require "bulkjob" ]] .. GERMAN,
      ["before require"] = GERMAN .. [[ require "bulkjob" ]],
      ["before require, and none after it"] = GERMAN .. [[ require "bulkjob" ]] .. PLAIN,
      ["before the host's own lua-cjson, and none after it"] = GERMAN .. [[ require "cjson" ]] .. PLAIN .. [[ require "bulkjob" ]],
      ["after the host's own lua-cjson"] = [[ require "cjson" ]] .. GERMAN .. [[ require "bulkjob" ]],
    } do
      it(name .. " reads answers, and writes rows, all the same", function()
        local out = run(before .. WHOLE_JOB, "LOCPATH=" .. place())
        assert.matches("^JobComplete\t66.0\t2\t7", out)
        assert.are.equal(2, org:count "Account")
      end)
    end

    it("keeps its locale, and its own lua-cjson keeps what it did", function()
      local out = run(HOSTS_OWN .. GERMAN .. [[
        require "cjson".new()
        assert(own())
        local c = client()
        assert(c:limits())
        print(os.setlocale(nil, "numeric"), own())
      ]], "LOCPATH=" .. place())
      assert.are.equal("de_DE.UTF-8\ttrue", out)
    end)
  end)

  describe("without a part of Lua's libraries", function()
    it("loads, runs a job, and gets its own error of a task", function()
      local out = run([[
        debug, io = nil, nil
        package.loaded.debug, package.loaded.io = nil, nil
      ]] .. WHOLE_JOB .. [[
        local _, err = c:spawn(function() error("mine", 0) end):result()
        print(err.kind, err.message)
        c:spawn(function() error("mine too", 0) end)
        print(select(2, c:run()).message)
      ]])
      assert.matches("^JobComplete\t66.0\t2\t7[^\n]*\ntask\tmine\nmine too$", out)
    end)

    local directory = helper.directory()

    local BARE = [[
      local place = "%s"
      debug, io, os = nil, nil, nil
      for _, name in ipairs { "debug", "io", "os" } do package.loaded[name] = nil end
    ]]

    it("loads and extracts whole files, with a journal and all results", function()
      local csv = { "Name,Ext__c\n" }
      for i = 1, 1000 do
        csv[i + 1] = ('"row %d, of many",%s\n'):format(i, i % 100 == 0 and "" or "E-" .. i)
      end
      helper.write(directory "in.csv", table.concat(csv))
      local out = run(BARE:format(directory "") .. [[
        local c = client()
        for i, how in ipairs { { file = place .. "in.csv" }, { rows = require "bulkjob".csv.rows { file = place .. "in.csv" } } } do
          how.object, how.operation, how.externalIdFieldName = "Account", "upsert", "Ext__c"
          how.journal, how.results, how.join, how.retry_failed = place .. "journal" .. i, place .. "results", true, "MISSING"
          local report = assert(c:load(how))
          print(report.records, report.processed - report.failed, report.failed, report.unprocessed + report.unknown)
        end
        print(assert(c:load { object = "Account", operation = "insert", rows = { { Name = "without a journal" } } }).processed)
        local query = "SELECT Name, Ext__c FROM Account"
        local report = assert(c:extract { query = query, file = place .. "out.csv", journal = place .. "journal3", max_records = 100 })
        print(report.rows)
        local job = assert(c:create { operation = "query", query = query })
        assert(job:wait())
        print((job:results():save(place .. "saved.csv")))
      ]])
      assert.are.equal(("1000\t990\t10\t0\n"):rep(2) .. "1\n991\ntrue", out)
      local joined = 0
      for line in io.lines(directory "results/joined.csv") do
        joined = joined + (line:find "^successful," and 1 or 0)
      end
      assert.are.equal(990, joined)
      for name, count in pairs { out = 992, saved = 992, ["results/failed"] = 11, ["results/unprocessed"] = 1 } do
        local _, lines = helper.content(directory(name .. ".csv")):gsub("\n", "")
        assert.are.equal(count, lines, name)
      end
    end)
  end)

  it("may load the core twice, from two places", function()
    local directory = os.tmpname()
    os.remove(directory)
    assert(core.make_directory(directory))
    assert(core.make_directory(directory .. "/bulkjob"))
    helper.shell("cp " .. os.getenv "BUILD" .. "/bulkjob/core.so " .. directory .. "/bulkjob/core.so")
    local out = run(([[
      local c = client()
      assert(c:limits())
      for name in pairs(package.loaded) do
        if name:find "^bulkjob" then package.loaded[name] = nil end
      end
      package.cpath = %q .. "/?.so;" .. package.cpath
      local other = client()
      assert(other:limits())
      assert(c:limits())
      assert(not pcall(other.limits, c)) -- it is none of the other core's
      local again = require "bulkjob.core"
      for name in pairs(package.loaded) do
        if name:find "^bulkjob" then package.loaded[name] = nil end
      end
      assert(client():limits()) -- the same file once more
      assert(other:limits())
      print "good"
    ]]):format(directory))
    helper.shell("rm -rf " .. directory)
    assert.are.equal("good", out)
  end)

  describe("without", function()
    it("a descriptor left gets an error", function()
      local out = run([[
        require "bulkjob"
        local held = {}
        repeat
          local file = io.open "/dev/null"
          held[#held + 1] = file
        until not file
        local c = client()
        local limits, err = c:limits()
        print(limits, err.kind, err.message)
        local ok, why = c:spawn(c.limits, c):result()
        print(ok, why.kind)
        print(c:pollfd())
        for i = 1, #held do held[i]:close() end
        assert(c:limits())
        print "good"
      ]], "ulimit -n 40;")
      assert.matches("^nil\tio\t[^\n]*\nnil\tio\nnil\tToo many open files\ngood$", out)
    end)

    it("a thread left gets an error", function()
      if helper.SANITIZED then
        pending "a host without a thread left: a sanitizer needs more address space than it is given here"
      end
      local out = run([[
        local c = client()
        local limits, err = c:limits()
        print(limits, err.kind, err.message)
      ]], "ulimit -s 100000000 && ulimit -v 20000000;") -- kilobytes: a thread's stack, and all there may be
      assert.are.equal("nil\tio\tthe engine could not be started: no thread could be started", out)
    end)
  end)

  it("that interrupts the command of sf_cli reads on", function()
    local directory = os.tmpname()
    os.remove(directory)
    assert(core.make_directory(directory))
    local sf = directory .. "/sf"
    local file = assert(io.open(sf, "w"))
    file:write('#!/bin/sh\nprintf \'{"status":0,\'\nkill -INT $(cut -d" " -f4 /proc/$PPID/stat)\nsleep 0.3\n'
      .. 'printf \'"result":{"accessToken":"00D000000000001!AQ0","instanceUrl":"https://x.example"}}\'\n')
    file:close()
    helper.shell("chmod +x " .. sf)
    local out = run(([[
      local core = require "bulkjob.core"
      core.catch_interrupts()
      local answer, err = require "bulkjob.auth.sf_cli" { command = %q }
      print(answer and answer.instance_url or err, core.interrupts())
    ]]):format(sf))
    helper.shell("rm -rf " .. directory)
    assert.are.equal("https://x.example\t1", out)
  end)

  it("gets what a task has raised, a table too", function()
    local client = helper.client(org)
    local mine = { reason = "mine" }
    local _, err = client:spawn(error, mine):result()
    assert.are.equal(mine, err.raised)
    assert.are.equal("task", err.kind)
  end)

  it("that shows strings only has bulkjob.assert", function()
    local bulkjob = require "bulkjob"
    local client = helper.client(org)
    local job = client:job "7508d00000Kq3XbAAJ"
    local good, text = pcall(function()
      local info = bulkjob.assert(job:info())
      return info
    end)
    assert.is_false(good)
    assert.matches("^[^\n]*hosts_spec.lua:%d+: api error NOT_FOUND", text)
    local err = bulkjob.caught(text)
    assert.is_true(bulkjob.is_error(err))
    assert.are.equal("7508d00000Kq3XbAAJ", err.job_id)
    assert.are.same({ 1, 2, 3 }, { bulkjob.assert(1, 2, 3) })
    assert.are.equal("other", bulkjob.caught "other")
    assert.are.equal(err, bulkjob.caught(err))
    assert.has_error(function() bulkjob.assert(nil, "a text") end)
    assert.has_error(function() bulkjob.assert(false) end)
  end)
end)
