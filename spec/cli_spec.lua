--- The command, as a process, without a terminal and in a real one (tmux).
local command = require "spec.command"
local core = require "bulkjob.core"
local helper = require "spec.helper"

local ROWS = 3000

describe("the command", function()
  local path = helper.directory "each"
  local directory = path()
  local org, client
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local function environment()
    return ("export SF_INSTANCE_URL=%s SF_ACCESS_TOKEN='%s' SF_CA_FILE=%s; "):format(org.tls_url, org.token, org.ca_file)
  end

  local function run(arguments, before)
    local status, out, err = command.run(directory, before or environment(), arguments)
    assert.is_nil(err:find(org.token, 1, true))
    return status, out, err
  end

  local function rows(count, bad)
    local lines = { "Name,Ext__c" }
    for i = 1, count or ROWS do
      lines[#lines + 1] = (bad and i % 10 == 0 and "" or "Row " .. i) .. ",E" .. i
    end
    local file = assert(io.open(path "rows.csv", "wb"))
    file:write(table.concat(lines, "\n"), "\n")
    file:close()
    return path "rows.csv"
  end

  describe("extract", function()
    local SOQL = "'SELECT Name, NumberOfEmployees, IsDeleted FROM Account ORDER BY NumberOfEmployees'"

    local function fill(count)
      local list = {}
      for i = 1, count do
        list[i] = { Name = 'A "b"\n\r\\' .. i, NumberOfEmployees = i }
      end
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload { rows = list, columns = { "Name", "NumberOfEmployees" } })
      assert(job:close())
      helper.finished(job)
    end

    local function expected()
      local query = assert(client:create { operation = "query", query = SOQL:sub(2, -2) })
      helper.finished(query)
      return assert(query:results():read())
    end

    it("saves a file, says what it is, and leaves nothing else", function()
      fill(20)
      org:set { query_page_records = 3 }
      local status, out = run("extract " .. SOQL .. " -o " .. path "rows.csv")
      assert.are.equal(0, status)
      assert.matches("^20 rows, %d+ B, %d+:%d%d: " .. path("rows.csv"):gsub("%p", "%%%0") .. "\n$", out)
      assert.are.equal(expected(), helper.content(path "rows.csv"))
      assert.are.equal("err\nout\nrows.csv\n", (helper.shell("ls " .. directory)))
    end)

    it("prints CSV", function()
      fill(20)
      org:set { query_page_records = 3 }
      local status, out = run("extract " .. SOQL)
      assert.are.same({ 0, expected() }, { status, out })
    end)

    it("prints JSON, one row a line, in the order of the columns", function()
      fill(2)
      local _, text = run("extract --format json " .. SOQL)
      local _, same = run("--json extract " .. SOQL)
      assert.are.equal(text, same)
      assert.are.equal([[{"Name":"A \"b\"\n\r\\1","NumberOfEmployees":"1","IsDeleted":"false"}]], text:match "^[^\n]*")
      local status, typed = run("extract --typed --format json " .. SOQL)
      assert.are.equal(0, status)
      assert.are.equal([[{"Name":"A \"b\"\n\r\\2","NumberOfEmployees":2,"IsDeleted":false}]], typed:match "\n([^\n]*)\n$")
    end)

    it("prints Lua tables, one row a line", function()
      fill(2)
      local status, text = run("extract --typed --format lua " .. SOQL .. " -o " .. path "rows.lua")
      assert.are.same({ 0, "" }, { status, text })
      local list = {}
      for line in helper.content(path "rows.lua"):gmatch "[^\n]+" do
        list[#list + 1] = assert((loadstring or load)("return " .. line))() -- luacheck: ignore
      end
      assert.are.same({ Name = 'A "b"\n\r\\1', NumberOfEmployees = 1, IsDeleted = false }, list[1])
      assert.are.equal(2, #list)
    end)

    it("ends quietly when nobody reads on", function()
      fill(2000)
      for _, before in ipairs { "", "trap '' PIPE; " } do -- some programs ignore the signal, and so do their children
        local out = helper.shell(environment() .. before .. command.line("extract " .. SOQL) .. " | head -n 1")
        assert.are.equal('"Name","NumberOfEmployees","IsDeleted"\n', out)
      end
    end)

    it("writes to a pipe by its name, and makes nothing beside it", function()
      fill(20)
      org:set { query_page_records = 3 }
      helper.shell("mkfifo " .. path "pipe.csv")
      local reader = assert(io.popen("timeout 60 cat " .. path "pipe.csv"))
      local status, out, err
      for _ = 1, 20 do -- until the reader is there
        status, out, err = run("extract " .. SOQL .. " -o " .. path "pipe.csv")
        if not err:find "no program has this pipe open" then
          break
        end
      end
      assert.are.same({ 0, "", "" }, { status, out, err })
      assert.are.equal(expected(), reader:read "*a")
      reader:close()
      assert.are.equal("err\nout\npipe.csv\n", (helper.shell("ls -A " .. directory)))
    end)

    it("says when the output cannot be written", function()
      fill(10)
      local out, status = helper.shell(environment() .. command.line("extract " .. SOQL) .. " 2>&1 >/dev/full")
      assert.are.equal(3, status)
      assert.matches("the standard output: No space left on device", out)
      local _, _, err = run("extract --format json " .. SOQL .. " -o /nowhere/rows.json")
      assert.are.equal("bulkjob: io error: /nowhere/rows.json: No such file or directory\n", err)
    end)

    it("leaves nothing of a file that it could not finish, and goes on with the pages that it has", function()
      fill(20)
      org:set { query_page_records = 3 }
      org:fault { path = "/results", after = 2, status = 400, count = -1 }
      local status, _, err = run("extract --pages 1 " .. SOQL .. " -o " .. path "rows.csv")
      assert.are.equal(3, status)
      assert.matches("what is on the disk is kept; to go on: bin/bulkjob extract", err)
      assert.is_nil(helper.content(path "rows.csv"))
      org:clear_faults()
      org:clear_requests()
      assert.are.equal(0, (run("extract --pages 1 " .. SOQL .. " -o " .. path "rows.csv")))
      assert.are.equal(5, #org:requests { path = "/results" })
      org:fault { path = "/results", status = 400 }
      assert.are.equal(3, (run("extract --format json " .. SOQL .. " -o " .. path "rows.json")))
      assert.is_nil(helper.content(path "rows.json"))
      assert.is_nil(helper.content(path "rows.json.bulkjob-part"))
    end)

    it("leaves no journal of a query that the service does not take", function()
      local status, _, err = run("extract 'SELECT Id FROM Nothing' -o " .. path "rows.csv")
      assert.are.equal(3, status)
      assert.matches("INVALIDENTITY.*\nbulkjob: nothing was done\n$", err)
      assert.are.equal("err\nout\n", (helper.shell("ls " .. directory)))
    end)

    for arguments, what in pairs {
      ["--typed x"] = "goes with %-%-format json or lua", ["--pages 3 x"] = "CSV and %-%-output", ["--format xml x"] = "must be one of",
      [""] = "missing argument 'query'", ["SELECT Id FROM Account"] = "too many arguments: a query, or a name .* goes into quotes\n$",
    } do
      it("refuses: extract " .. arguments, function()
        local status, _, err = run("extract " .. arguments)
        assert.are.equal(2, status)
        assert.matches(what, err)
      end)
    end
  end)

  describe("load", function()
    it("loads a file, says what came of it, and leaves no journal", function()
      local status, out = run("load " .. rows(100) .. " --object Account --part-bytes 1k")
      assert.are.equal(0, status)
      assert.matches("^100 rows in 2 jobs, %d+:%d%d: 100 good, 0 failed, 0 not processed\n$", out)
      assert.are.equal(100, org:count "Account")
      assert.is_nil(core.stat(path "rows.csv.bulkjob"))
    end)

    it("answers 1 when rows failed, and saves the results", function()
      local status, out = run("load " .. rows(100, true) .. " --object Account --join --results " .. path "results")
      assert.are.equal(1, status)
      assert.matches("90 good, 10 failed", out)
      for _, name in ipairs { "successful", "failed", "unprocessed", "joined" } do
        assert(core.stat(path("results/" .. name .. ".csv")))
        assert.matches(name .. ":%s+" .. directory:gsub("%p", "%%%0"), out)
      end
    end)

    it("tells why jobs and rows failed, in lines of 80 characters", function()
      local function load(text)
        local file = assert(io.open(path "bad.csv", "wb"))
        file:write(text)
        file:close()
        local status, out = run("load " .. path "bad.csv" .. " --object Account")
        assert.are.equal(1, status)
        for line in out:gmatch "[^\n]+" do
          assert.is_true(#line <= 80, line)
        end
        return out
      end
      assert.matches("job 750%w+ is Failed: InvalidBatch.*not%s+found : Nope", load "Name,Nope\nA,B\n")
      local long = ("\195\164"):rep(40)
      local out = load("Name,Ext__c,AccountNumber\n,E1," .. long .. "\n,E2," .. long .. "\nA,E3,\nA,E3,\nB,E4," .. long:rep(2) .. "\n")
      assert.matches("why rows failed:\n +2  REQUIRED_FIELD_MISSING: .*\n.*\n +1  DUPLICATE_VALUE: ", out)
    end)

    it("takes the standard input, and leaves nothing of it", function()
      local before = environment() .. "export TMPDIR=" .. directory .. "; printf 'Name,Ext__c\\nA,E1\\n,E2\\n' | "
      local out, status = helper.shell(before .. command.line "load -q - --object Account --timeout 60 --retries 1")
      assert.are.equal(1, status)
      assert.matches("^2 rows in 1 job, .*: 1 good, 1 failed, 0 not processed\n", out)
      assert.are.same({ E1 = 1 }, org:times "Account")
      assert.are.equal("", (helper.shell("ls -d " .. directory .. "/bulkjob-* 2>/dev/null")))
      org:fault { path = "/jobs/ingest", status = 503, count = -1 }
      org:clear_requests()
      assert.are.equal(3, select(2, helper.shell(before .. command.line "load -q - --object Account --retries 1")))
      assert.are.equal(2, #org:requests { method = "POST" })
      assert.are.equal("", (helper.shell("ls -d " .. directory .. "/bulkjob-* 2>/dev/null")))
    end)

    it("calls the standard input by no name of a file", function()
      local out, status = helper.shell(environment() .. command.line "load -q - --object Account")
      assert.are.same({ 3, "bulkjob: csv error: the standard input: line 1, byte 1: no header: the data is empty\n" }, { status, out })
    end)

    it("names the directory in which nothing can be made", function()
      local _, _, err = run("extract x -o " .. path "none/rows.csv")
      assert.matches("io error: " .. path "none":gsub("%p", "%%%0") .. ": nothing can be made there: No such file or directory\nbulkjob: nothing was done\n$", err)
    end)

    it("says what is so when nobody waits, and counts one row as one", function()
      local status, out = run("load " .. rows(1) .. " --object Account --no-wait")
      assert.are.equal(0, status)
      assert.matches("^1 row in 1 job, %d+:%d%d: all is sent and closed, and the service goes on by itself\n"
        .. "the same command without %-%-no%-wait waits for it, and fetches what came of it\n$", out)
      out = helper.shell(environment() .. "printf 'Name\nOne\n' | " .. command.line "-q load - --object Account --no-wait")
      assert.matches("goes on by itself\n$", out) -- nothing remembers that one
    end)

    it("names options as they are written, and an id that is none", function()
      local status, _, err = run("load " .. rows(1) .. " --object Account --join")
      assert.are.same({ 2, "bulkjob: --join needs --results, and to wait for them\n" }, { status, err })
      status, _, err = run "create --operation insert"
      assert.are.same({ 2, "bulkjob: --object is missing\n" }, { status, err })
      status, _, err = run "create --operation query"
      assert.are.same({ 2, "bulkjob: --query is missing: the SOQL to run\n" }, { status, err })
      status, _, err = run "info 123"
      assert.are.equal(2, status)
      assert.matches("'123' is no id of a job", err)
    end)

    it("prints JSON lines for machines", function()
      local status, out = run("--json load " .. rows(100) .. " --object Account")
      assert.are.equal(0, status)
      local last
      for line in out:gmatch "[^\n]+" do
        last = assert(core.json_decode(line), line)
      end
      assert.are.same({ 100, 100 }, { last.report.records, last.report.processed })
    end)

    it("says what the directory is for that cannot be made beside the file", function()
      local file = rows(1)
      assert(os.rename(file, path "rows.csv.bulkjob"))
      helper.shell("ln -s rows.csv.bulkjob " .. file) -- a file stands where the directory would be
      local status, _, err = run("load " .. file .. " --object Account")
      assert.are.equal(3, status)
      assert.matches("rows.csv.bulkjob: a journal is a directory.*\nbulkjob: this directory keeps what was done, .*%-%-journal names another one\n$", err)
      assert.are.equal(0, (run("load " .. file .. " --object Account --journal " .. path "elsewhere")))
    end)

    it("counts one row as one", function()
      local _, _, err = run("load " .. rows(1) .. " --object Account")
      assert.matches("^  0 %%, 0 of 1 row, 0 B sent, 1 job\n", err)
    end)

    it("prints a list without items as a list", function()
      local _, out = run("--json load " .. rows(10) .. " --object Account")
      assert.matches('"errors":%[%]', out)
      assert.matches('"jobs":%[{', out)
      _, out = run("--json load " .. rows(0) .. " --object Account")
      assert.matches('"jobs":%[%]', out)
      local status
      status, out = run("--json load " .. rows(10) .. " --object Acount")
      assert.are.equal(3, status)
      assert.matches('{"error":{.*"jobs":%[%]', out)
    end)

    it("names the line of bad data, and answers 3", function()
      local file = assert(io.open(path "bad.csv", "wb"))
      file:write "Name,Ext__c\nOne,1\nTwo\n"
      file:close()
      local status, _, err = run("load " .. path "bad.csv" .. " --object Account")
      assert.are.equal(3, status)
      assert.matches("bad.csv: line 3, byte 19: 1 field in this record, and 2 in the first", err)
      assert.are.equal(0, #org:requests())
    end)

    it("keeps its run until the report is printed, and tells what it did when it is called again", function()
      assert.are.equal(0, (run("load " .. rows(20) .. " --object Account --no-wait")))
      local status, out = run("load " .. rows(20) .. " --object Account --results " .. path "results")
      assert.are.equal(0, status)
      assert.matches("an earlier call had begun it", out)
      assert.are.equal(20, org:count "Account")
      assert.is_nil(core.list_directory(path "rows.csv.bulkjob"))
      -- Killed where it prints: the same command prints the report again, and sends nothing.
      local line = command.line("load " .. rows(30) .. " --object Account --operation upsert --external-id Ext__c")
      local program = ("local run = require 'bulkjob.run' run.remove = function() os.exit(9) end arg = { [0] = 'bin/bulkjob', %s } "
        .. "os.exit(require('bulkjob.cli')(arg), true)"):format("'-q', " .. line:match "bin/bulkjob (.*)$":gsub("%S+", "'%0',"))
      helper.shell(environment() .. os.getenv "LUA" .. " -e " .. helper.quote(program))
      assert.is_truthy(core.stat(path "rows.csv.bulkjob/log"))
      org:clear_requests()
      status, out = run("load " .. rows(30) .. " --object Account --operation upsert --external-id Ext__c")
      assert.are.equal(0, status)
      assert.matches("nothing was sent", out)
      assert.are.equal(0, #org:requests())
    end)

    it("is not locked by a typo, and begins anew by --restart", function()
      local status, _, err = run("load " .. rows(10) .. " --object Acount")
      assert.are.equal(3, status)
      assert.matches("nothing was done", err)
      assert.are.equal(0, (run("load " .. rows(10) .. " --object Account --no-wait")))
      org:fault { method = "PUT", after = 1, status = 400 }
      status, _, err = run("load " .. rows(300) .. " --object Account --part-bytes 1k --jobs 1")
      assert.are.equal(3, status)
      assert.matches("bulkjob: api error[^\n]*\nbulkjob: what was committed is kept; to go on: bin/bulkjob load", err)
      status, _, err = run("load " .. rows(10) .. " --object Account")
      assert.are.equal(3, status)
      assert.matches("records 1 to %d+: committed.*%-%-restart", err)
      assert.is_nil(err:find "to go on:")
      assert.are.equal(1, (run("load " .. rows(10) .. " --object Account --restart"))) -- their ids are there
    end)

    for name, closed in pairs { ["standard error"] = "2>&-", ["standard output"] = ">&-", ["all three"] = "<&- >&- 2>&-" } do
      it("lets nothing that is printed get into its run when it is started without " .. name, function()
        org:fault { method = "PUT", after = 1, status = 400, count = -1 }
        local line = command.line("load " .. rows(300) .. " --object Account --part-bytes 1k --jobs 1")
        os.execute("{ " .. environment() .. line .. "; } " .. closed)
        for text in helper.content(path "rows.csv.bulkjob/log"):gmatch "[^\n]+" do
          assert(core.json_decode(text), text)
        end
        org:clear_faults()
        assert.are.equal(0, (run("load " .. rows(300) .. " --object Account --part-bytes 1k --jobs 1")))
      end)
    end

    it("refuses a name that is empty", function()
      for _, arguments in ipairs { "extract x -o ''", "load x --object Account --results ''", "load '' --object Account" } do
        local status, _, err = run(arguments)
        assert.are.equal(2, status)
        assert.matches("empty text is no name", err)
      end
      assert.are.equal("err\nout\n", (helper.shell("ls -A " .. directory)))
    end)

    it("warns when certificates are not verified", function()
      local status, _, err = run("--insecure load " .. rows(10) .. " --object Account")
      assert.are.equal(0, status)
      assert.matches("warning: certificates are not verified", err)
    end)

    it("prints lines where there is no terminal, and none if it shall be quiet", function()
      local status, out, err = run("load " .. rows(100) .. " --object Account")
      assert.are.equal(0, status, out .. err)
      assert.matches("0 %%, .*of 100 rows, .* sent", err)
      assert.is_nil(err:find "\r")
      os.execute("rm -rf " .. path "rows.csv.bulkjob")
      assert.are.equal("", (select(3, run("--quiet load " .. rows(100) .. " --object Account"))))
    end)
  end)

  describe("with one job", function()
    it("goes from create to delete", function()
      local status, out = run "create --object Account --operation insert"
      assert.are.equal(0, status)
      local id = out:match "^(750%w+)\n$"
      assert.are.same({ 0, "", "" }, { run("upload " .. id .. " " .. rows(10)) })
      status, out = run("close " .. id)
      assert.are.equal(0, status)
      assert.matches("state: +UploadComplete", out)
      status, out = run("wait " .. id)
      assert.are.equal(0, status)
      assert.matches("numberRecordsProcessed: +10\n", out)
      status, out = run("--json info " .. id)
      assert.are.same({ 0, "JobComplete" }, { status, core.json_decode(out).state })
      status, out = run("results " .. id .. " successful")
      assert.are.equal(0, status)
      assert.are.equal(11, select(2, out:gsub("\n", "")))
      assert.are.equal(0, (run("results " .. id .. " failed -o " .. path "failed.csv")))
      assert.matches("sf__Error", helper.content(path "failed.csv"))
      status, out = run "jobs --state jobcomplete"
      assert.are.equal(0, status)
      assert.matches("ID +STATE +OPERATION +CREATED %(UTC%) +OBJECT\n" .. id .. " +JobComplete +insert +20%d%d%-%d%d%-%d%d %d%d:%d%d +Account\n", out)
      for line in out:gmatch "[^\n]+" do
        assert.is_true(#line <= 80, line)
      end
      assert.are.equal(0, (run("delete " .. id)))
      assert.are.equal(0, #org:jobs())
    end)

    it("runs a query, whose results end quietly in a closed pipe", function()
      run("load " .. rows(ROWS) .. " --object Account")
      local _, out = run "create --operation query --query 'SELECT Id, Name FROM Account'"
      local id = out:match "750%w+"
      assert.are.equal(0, (run("wait " .. id)))
      local pipe = io.popen(environment() .. command.line("results " .. id) .. " 2>&1 | head -n 2")
      local text = pipe:read "*a"
      pipe:close()
      assert.matches('^"Id","Name"\n"[^\n]*\n$', text)
    end)

    it("aborts", function()
      assert.are.equal(2, (run "create --object Account")) -- without an operation
      local status, out = run "create --object Account --operation insert"
      assert.are.equal(0, status)
      status, out = run("abort " .. out:match "750%w+")
      assert.are.equal(0, status)
      assert.matches("state: +Aborted", out)
    end)
  end)

  it("shows the limits", function()
    local status, out = run "limits"
    assert.are.equal(0, status)
    assert.matches("DailyBulkApiBatches: +15,000 of 15,000", out)
  end)

  it("says how it is used, and answers 2", function()
    for arguments, what in pairs {
      [""] = "a command is required", ["nope"] = "unknown command 'nope'",
      ["load x"] = "missing option '%-%-object'", ["load x --object A --jobs 0"] = "\nbulkjob: %-%-jobs: '0' is no whole number from 1",
      ["load x --object A --part-bytes 5x"] = "%-%-part%-bytes: '5x' is no size", ["load x --object A --jobs 1e300"] = "%-%-jobs: '1e300' is no whole",
      ["load x --object A --part-bytes 0"] = "%-%-part%-bytes: '0' is no size", ["wait 75"] = "bulkjob: id: '75' is no id of a job",
      ["load x --object A --part-bytes 99999999999G"] = "%-%-part%-bytes: '99999999999G' is no size",
      ["extract x --pages 0 -o x"] = "%-%-pages: '0' is no whole number", ["load '' --object A"] = "bulkjob: file: an empty text",
      ["extract x --max-records 1.5 -o x"] = "%-%-max%-records: '1.5' is no whole number", ["extract x -o ''"] = "%-o, %-%-output: an empty text",
      ["load x --object A --timeout=nan"] = "%-%-timeout: 'nan' is no number of seconds", ["sandbox --port 70000"] = "%-%-port: '70000' is no whole",
      ["sandbox --tls-port 0"] = "%-%-tls%-port: '0' is no whole number from 1 to 65535", ["sandbox --owner x"] = "%-%-owner: 'x' is no whole number",
      ["wait 750000000000001AAA --timeout=-1"] = "%-%-timeout: '%-1' is no number of seconds",
      ["load x --object A --operation upsert"] = "^bulkjob: %-%-external%-id goes with an upsert",
      ["load"] = "^Usage: bulkjob load .*missing argument 'file'", ["load x --object A --retries 1e9"] = "%-%-retries: '1e9' is no whole number from 0 to 999999",
      ["load x --object A --timeout 0"] = "^bulkjob: %-%-timeout must be from 0.001", ["--proxy '' limits"] = "^bulkjob: %-%-proxy is empty\n$",
      ["--api-version x limits"] = "^bulkjob: %-%-api%-version: a string such as",
      ["load x --object ''"] = "^bulkjob: %-%-object: a string expected, got an empty one\n$",
      ["--org '' limits"] = "^bulkjob: %-%-org: a string expected, got an empty one\n$",
      ["create --operation query --query x --line-ending CR"] = "^bulkjob: %-%-line%-ending: LF or CRLF expected, got CR\n$",
    } do
      local status, _, err = run(arguments)
      assert.are.equal(2, status, arguments .. ": " .. err)
      assert.matches(what, err)
    end
    assert.are.equal(0, #org:requests())
    local status, out = run "load --help"
    assert.are.equal(0, status)
    assert.matches("Ctrl%-C rolls back", out)
    assert.matches("^bulkjob %d", select(2, run "--version"))
  end)

  it("has help that fills lines of 80 characters", function()
    local commands = { "" }
    for name in select(2, run "--help"):match "\nCommands:\n(.-)\n\n":gmatch "\n?   (%l+) " do
      commands[#commands + 1] = name
    end
    assert.is_true(#commands > 12)
    for _, name in ipairs(commands) do
      local _, out = run(name .. " --help")
      local before = ""
      for line in out:gmatch "([^\n]*)\n" do
        assert.is_true(#line <= 80, line)
        -- Within a paragraph a line ends where the next word does not fit.
        local word = before:find "^%S" and line:match "^%S+"
        assert.is_true(not word or #before + 1 + #word > 80, before)
        before = line
      end
    end
  end)

  it("says what is wrong with what the environment holds, wherever the program is", function()
    local elsewhere = path "a directory"
    helper.shell(("mkdir %s; cp -r bin lua %s"):format(helper.quote(elsewhere), helper.quote(elsewhere)))
    for _, program in ipairs { "bin/bulkjob", elsewhere .. "/bin/bulkjob" } do
      for _, case in ipairs {
        { "SF_INSTANCE_URL=acme.my.salesforce.com", "bulkjob: SF_INSTANCE_URL: an https:// URL expected, such as https://acme.my.salesforce.com\n" },
        { "SF_ACCESS_TOKEN='a\tb'", "bulkjob: SF_ACCESS_TOKEN holds a control character (byte 2)\n" },
        { "SF_INSTANCE_URL=http://acme.my.salesforce.com", "bulkjob: SF_INSTANCE_URL: http would send the token in the clear; use https, "
          .. "or --insecure if you must\n" },
      } do
        local out, status = helper.shell(environment() .. case[1] .. " " .. os.getenv "LUA" .. " " .. helper.quote(program) .. " limits")
        assert.are.same({ 2, case[2] }, { status, out })
      end
    end
  end)

  it("can be called by a symbolic link", function()
    local clone = path "a clone of it"
    helper.shell(("mkdir -p %s/build %s; cp -r bin lua sandbox %s; ln -s %s %s/build/%s"):format(helper.quote(clone), helper.quote(path "a/b c"),
      helper.quote(clone), helper.quote((os.getenv "BUILD")), helper.quote(clone), (os.getenv "BUILD"):match "[^/]*$"))
    for _, link in ipairs {
      { clone .. "/bin/bulkjob", "a/absolute" }, { "../a clone of it/bin/bulkjob", "a/relative" }, { "../relative", "a/b c/chain" },
      { "b c/chain", "a/-it's longer" }, { clone, "a/clone" },
    } do
      helper.shell(("ln -s %s %s"):format(helper.quote(link[1]), helper.quote(path(link[2]))))
    end
    for _, name in ipairs { "absolute", "relative", "b c/chain", "-it's longer", "clone/bin/bulkjob" } do
      local line = ("cd %s; env -u LUA_PATH %s %s/%s "):format(helper.quote(path "a"), os.getenv "LUA", helper.quote(path "a"), helper.quote(name))
      local out, status = helper.shell(line .. "limits")
      assert.matches("^bulkjob: auth error: SF_INSTANCE_URL is not set", out)
      assert.are.equal(3, status)
      assert.are.same({ "sandbox: unknown setting: no\n", 2 }, { helper.shell(line .. "sandbox --set no=1") })
    end
  end)

  it("says who is not signed in, and who is refused", function()
    local status, _, err = run("limits", "unset SF_INSTANCE_URL; ")
    assert.are.equal(3, status)
    assert.matches("SF_INSTANCE_URL is not set", err)
    status, _, err = run("limits", environment() .. "export SF_ACCESS_TOKEN=" .. helper.quote(org.token:sub(1, -2)) .. "; ")
    assert.are.equal(3, status)
    assert.matches("INVALID_SESSION_ID.*\nbulkjob: SF_ACCESS_TOKEN has expired, .*: sign in again\n$", err)
  end)

  it("has completion for three shells", function()
    for _, shell in ipairs { "bash", "zsh", "fish" } do
      local status, out = run("completion " .. shell)
      assert.are.equal(0, status)
      assert.matches("part%-bytes", out)
    end
    assert.are.equal("", helper.shell(environment() .. command.line "completion bash" .. " | bash -n 2>&1"))
  end)

  describe("on a terminal", function()
    local screen

    local function start(columns, arguments)
      screen = command.start(directory, columns, environment(), arguments)
    end

    after_each(function()
      screen:stop()
    end)

    for _, columns in ipairs { 80, 40, 12 } do
      it("draws a bar that fits into " .. columns .. " columns", function()
        org:hold(true)
        start(columns, "load " .. rows() .. " --object Account")
        local text = screen:wait_for "%d+ %%"
        assert.are.equal(1, select(2, text:gsub("%%", "")))
        assert.are.equal(columns >= 40, text:find "%[[#-]+%]" ~= nil)
        org:release(true)
        text = screen:wait_for "status 0"
        assert.is_nil(text:find "%%")
      end)
    end

    it("breaks the report between words, and says how to print the failed rows", function()
      local file = assert(io.open(path "bad.csv", "wb"))
      file:write "Name,Ext__c\n,E1\n"
      file:close()
      start(40, "load " .. path "bad.csv" .. " --object Account")
      local text = screen:wait_for "status 1":gsub("%s+", " ")
      assert.matches("1 row in 1 job, [%d:]+: 0 good, 1 failed, 0 not processed why", text)
      assert.matches("1 REQUIRED_FIELD_MISSING: Required fields are missing: %[Name%]:Name such as Ext__c=E1 ", text)
      assert.matches("bulkjobresults750%w+failedstatus1", (text:gsub(" ", ""))) -- a command is one line, however narrow it is
    end)

    it("takes a Ctrl-C in the wait, keeps what was committed, and goes on by the line it prints", function()
      org:hold(true)
      start(200, "load " .. rows() .. " --object Account --part-bytes 20k --jobs 2")
      helper.wait_until(function()
        return (helper.states(org).UploadComplete or 0) == 2
      end)
      screen:send "C-c"
      local text = screen:wait_for "status 130"
      local line = text:match "to go on: bin/bulkjob ([^\n]*)"
      assert.are.same({ UploadComplete = 2 }, helper.states(org))
      org:release(true)
      local status, out = run("--json " .. line)
      assert.are.equal(0, status)
      assert.matches('"processed":3000', out)
      local times = org:times "Account"
      for i = 1, ROWS do
        assert.are.equal(1, times["E" .. i], "row " .. i)
      end
    end)

    it("takes a Ctrl-C while it reads the standard input", function()
      screen = command.start(directory, 80, environment() .. "export TMPDIR=" .. directory .. "; ", "load - --object Account")
      screen:send "Name Enter"
      screen:wait_for "Name\n"
      helper.wait_until(function() -- the signals are caught by then
        return (helper.shell("ls " .. directory .. "/bulkjob-*/stdin.csv 2>/dev/null")) ~= ""
      end)
      screen:send "C-c"
      screen:wait_for "status 130"
      assert.is_nil(screen:screen():find("error", 1, true))
      assert.are.equal(0, #org:requests())
    end)

    it("takes a Ctrl-C in the upload, and rolls that back", function()
      org:fault { method = "PUT", stall = helper.NEVER_SECONDS }
      start(200, "load " .. rows() .. " --object Account --jobs 1")
      helper.wait_until(function()
        return #org:requests { method = "PUT" } > 0
      end)
      screen:send "C-c"
      screen:wait_for "status 130"
      assert.are.same({ Aborted = 1 }, helper.states(org))
    end)

    it("leaves at once at the second Ctrl-C", function()
      org:fault { method = "PUT", stall = helper.NEVER_SECONDS }
      org:fault { method = "PATCH", stall = helper.NEVER_SECONDS, count = -1 }
      start(200, "load " .. rows() .. " --object Account --jobs 1")
      helper.wait_until(function()
        return #org:requests { method = "PUT" } > 0
      end)
      screen:send "C-c"
      helper.wait_until(function()
        return #org:requests { method = "PATCH" } > 0
      end)
      helper.sleep(0.4) -- sooner it would be the same one
      screen:send "C-c"
      screen:wait_for "status 130"
      assert.are.same({ Open = 1 }, helper.states(org))
    end)
  end)

  it("takes two signals at once for one, as timeout(1) sends its own to the program and to its group", function()
    local out = path "out"
    org:fault { method = "PUT", stall = helper.NEVER_SECONDS }
    org:fault { method = "PATCH", stall = 0.5 } -- the rollback
    os.execute(environment() .. command.line("load " .. rows(10) .. " --object Account") .. (" >%s 2>&1 & echo $! >%s.pid"):format(out, out))
    helper.wait_until(function()
      return #org:requests { method = "PUT" } > 0
    end)
    local pid = helper.content(out .. ".pid")
    os.execute(("kill -TERM %d; sleep 0.05; kill -TERM %d"):format(pid, pid))
    helper.wait_until(function()
      return helper.content(out):find "to go on: bin/bulkjob load"
    end)
    assert.are.same({ Aborted = 1 }, helper.states(org))
  end)

  for _, signal in ipairs { "TERM", "HUP" } do it("takes SIG" .. signal .. " as a Ctrl-C", function()
    org:hold(true)
    local pipe = assert(io.popen(environment() .. command.line("load " .. rows(10) .. " --object Account 2>&1") .. " & echo $!; wait"))
    local pid = pipe:read "*l"
    helper.wait_until(function()
      return helper.states(org).UploadComplete
    end)
    -- Not before it waits for the job.
    helper.wait_until(function()
      return #org:requests { method = "GET", path = "/jobs/ingest/" } > 0
    end)
    os.execute("kill -" .. signal .. " " .. pid)
    local text = pipe:read "*a"
    pipe:close()
    assert.matches("to go on: bin/bulkjob load", text)
    assert.are.same({ UploadComplete = 1 }, helper.states(org))
    assert(client:job(org:jobs()[1].id):abort())
  end) end

  describe("with an output that cannot be written", function()
    local function full(arguments)
      local err, status = helper.shell(environment() .. command.line(arguments) .. " 2>&1 >/dev/full")
      return err, status
    end

    it("says so, whatever it does, and gives what was to be written on the standard error", function()
      local job = assert(client:create { object = "Account", operation = "insert" })
      assert(job:upload "Name\nOne\n")
      assert(job:close())
      assert(job:wait())
      local file = rows(3)
      for arguments, shown in pairs {
        ["info " .. job.id] = job.id, ["--json info " .. job.id] = job.id, ["wait " .. job.id] = job.id, ["jobs"] = "ID +STATE",
        ["--json jobs"] = job.id, ["limits"] = "DailyApiRequests", ["--json limits"] = "DailyApiRequests",
        ["load " .. file .. " --object Account --operation insert"] = "3 rows in 1 job",
        ["--json load " .. file .. " --object Account --operation insert"] = "\"report\"",
        ["extract 'SELECT Name FROM Account' -o " .. path "all.csv"] = "rows?, ", ["results " .. job.id] = "",
        ["abort " .. assert(client:create { object = "Account", operation = "insert" }).id] = "Aborted",
        ["--version"] = "bulkjob 0", ["--help"] = "Usage", ["load --help"] = "Usage", ["completion bash"] = "",
      } do
        local err, status = full(arguments)
        assert.are.equal(3, status, arguments .. err)
        assert.matches("the standard output: No space left on device", err)
        assert.matches(shown, err)
      end
    end)

    it("keeps the run of a load until its report was written", function()
      local file = rows(3)
      local arguments = "load " .. file .. " --object Account --operation insert"
      assert.are.equal(3, select(2, full(arguments)))
      local status, out = run(arguments)
      assert.are.equal(0, status)
      assert.matches("3 rows in 1 job", out)
      assert.are.equal(3, org:count "Account")
    end)

    it("does not lose the id of the job that it made", function()
      for _, options in ipairs { "", "--json " } do
        local err, status = full(options .. "create --object Account --operation insert")
        assert.are.equal(3, status)
        local id = err:match "the id of the job (750%w+), which is Open, could not be written to the standard output: No space left"
        assert.are.equal("Open", org:job(id).state)
      end
      local out = helper.shell("exec 3>&1; " .. environment() .. "{ " .. command.line "create --object Account --operation insert"
        .. " 2>&3; echo status $? >&3; } | true")
      assert.are.equal("Open", org:job(out:match "the id of the job (750%w+)").state)
      assert.matches("status 3", out)
    end)

    it("is content when its reader has seen enough", function()
      org:seed_jobs { { count = 3000, job = { object = "Account", operation = "insert", state = "JobComplete" } } }
      local out, status = helper.shell(environment() .. "{ " .. command.line "jobs" .. "; echo status $? >&2; } | head -n 1")
      assert.are.equal(0, status)
      assert.matches("^ID +STATE", out)
      assert.matches("status 0", out)
      assert.is_nil(out:find("standard output", 1, true))
    end)
  end)
end)
