-- Where data comes from and goes to, when that is no ordinary file.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"

describe("files", function()
  local path = helper.directory "each"
  local org, client, job, text
  helper.scene(helper.AT_ONCE, function(...)
    org, client = ...
  end)

  local CSV = "Name,Nope__c\nOne,1\nTwo,2\n" -- a column that is not there: the job fails, and no row is processed

  before_each(function()
    job = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload(CSV))
    assert(job:close())
    helper.finished(job)
    text = assert(job:unprocessed_records():read())
    assert.are.equal(CSV, text)
  end)

  local function write(name, content)
    local file = assert(io.open(path(name), "wb"))
    file:write(content)
    file:close()
    return path(name)
  end

  local function content(name)
    return helper.content(path(name))
  end

  -- Runs a command with the name of the directory as $D. What it printed.
  local function sh(command)
    local out, status = helper.shell("D=" .. helper.quote(path()) .. "; " .. command)
    assert.are.equal(0, status, out)
    return (out:gsub("\n$", ""))
  end

  local function kind(name)
    return sh("stat -c %F $D/" .. name)
  end

  local function save(name)
    return job:unprocessed_records():save(path(name))
  end

  local function fails(name, why, ...)
    local ok, err = ...
    assert.is_nil(ok)
    assert.are.equal("io", err.kind)
    assert.are.equal(path(name) .. ": " .. why, err.message)
  end

  local NOT_REGULAR = "a regular file expected"
  local NO_INPUT = NOT_REGULAR .. "; for a pipe, give a function that reads from it"
  local NO_READER = "no program has this pipe open for reading"

  -- Tries until the shell has opened the pipe for reading. A time-out for when it never does.
  local function once_read(try)
    local ends = core.now() + 30
    while true do
      local ok, err = try()
      if ok or err.message:sub(-#NO_READER) ~= NO_READER or core.now() > ends then
        return ok, err
      end
    end
  end

  -- What lies in the directory. Hidden files, too.
  local function listing()
    return sh "ls -A $D"
  end

  describe("are saved", function()
    it("through a symbolic link, which stays one", function()
      sh "mkdir $D/there; echo old > $D/there/old.csv; ln -s there/old.csv $D/link.csv; ln -s link.csv $D/far.csv"
      assert.is_true(save "far.csv")
      assert.are.equal(text, content "there/old.csv")
      assert.are.same({ "symbolic link", "symbolic link", "regular file" }, { kind "far.csv", kind "link.csv", kind "there/old.csv" })
      assert.are.equal("old.csv", sh "ls -A $D/there")
      assert.are.equal("far.csv\nlink.csv\nthere", listing())
    end)

    it("through a symbolic link that leads nowhere yet", function()
      sh "mkdir $D/there; ln -s $D/there/new.csv $D/link.csv"
      assert.is_true(save "link.csv")
      assert.are.equal(text, content "there/new.csv")
      assert.are.equal("symbolic link", kind "link.csv")
    end)

    it("not through one that leads to itself", function()
      sh "ln -s a.csv $D/b.csv; ln -s b.csv $D/a.csv"
      fails("a.csv", "Too many levels of symbolic links", save "a.csv")
    end)

    it("into a pipe, which stays one, without holding up others", function()
      sh "mkfifo $D/pipe.csv"
      org:synthetic(job.id, "unprocessed", 3000000)
      local expected = assert(job:unprocessed_records():read())
      -- Slow at first: what is written has to wait.
      local reader = assert(io.popen("timeout 60 sh -c '{ head -c 1000; sleep 1; cat; } <" .. path "pipe.csv" .. " >" .. path "got.csv" .. "'"))
      local saved, calls = nil, 0
      client:spawn(function()
        local ok, err = once_read(function()
          return save "pipe.csv"
        end)
        saved = assert(ok, tostring(err))
      end)
      client:spawn(function()
        while not saved do
          assert(client:limits())
          calls = calls + 1
        end
      end)
      assert(client:run())
      reader:close()
      assert.is_true(content "got.csv" == expected)
      assert.is_true(calls > 10, calls .. " calls")
      assert.are.equal("fifo", kind "pipe.csv")
      assert.are.equal("got.csv\npipe.csv", listing())
    end)

    it("one header for several sets, into a pipe too", function()
      sh "mkfifo $D/pipe.csv"
      local reader = assert(io.popen("timeout 60 cat " .. path "pipe.csv"))
      local sets = { job:unprocessed_records(), job:unprocessed_records() }
      local save_all = require("bulkjob.results").save_all
      assert.is_true(once_read(function()
        return save_all(sets, path "pipe.csv")
      end))
      assert.are.equal(CSV .. "One,1\nTwo,2\n", reader:read "*a")
      reader:close()
    end)

    it("not into a pipe that nobody reads", function()
      sh "mkfifo $D/pipe.csv"
      fails("pipe.csv", NO_READER, save "pipe.csv")
      assert.are.equal("fifo", kind "pipe.csv")
      assert.are.equal("pipe.csv", listing())
    end)

    it("into a pipe until its reader has gone, which ends nobody", function()
      sh "mkfifo $D/pipe.csv"
      org:synthetic(job.id, "unprocessed", 3000000)
      local reader = assert(io.popen("timeout 60 head -c 10 <" .. path "pipe.csv"))
      local ok, err = once_read(function()
        return save "pipe.csv"
      end)
      reader:close()
      assert.is_nil(ok)
      assert.are.equal(path "pipe.csv" .. ": Broken pipe", err.message)
    end)

    it("to an open descriptor by its name, and not over the file behind it", function()
      local script = helper.file(helper.names(org) .. ([[
        local client = require("bulkjob").client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE }
        assert(client:job(%q, "ingest"):unprocessed_records():save(%q))
      ]]):format(job.id, path "link.csv"))
      sh("ln -s /proc/self/fd/1 $D/link.csv; echo first > $D/out.csv")
      sh(("%s %s >>$D/out.csv; echo last >>$D/out.csv"):format(os.getenv "LUA", script))
      assert.are.equal("first\n" .. CSV .. "last\n", content "out.csv")
      assert.are.equal("link.csv\nout.csv", listing())
      assert.are.equal("symbolic link", kind "link.csv")
      assert.are.equal(CSV .. "last", sh(("%s %s | cat; echo last"):format(os.getenv "LUA", script)))
    end)

    it("to a device, which stays one", function()
      if select(2, helper.shell("mknod " .. path "null" .. " c 1 3")) ~= 0 then
        return pending "only root makes devices"
      end
      local ok, err = save "null"
      assert.are.equal("character special file", kind "null")
      assert.is_true(ok or err.message == path "null" .. ": Permission denied") -- of a directory without devices
      assert.are.equal("null", listing())
    end)

    for name, plant in pairs {
      ["a symbolic link"] = "ln -s $D/victim $D/out.csv.bulkjob-part", ["a symbolic link that leads nowhere"] = "ln -s $D/no $D/out.csv.bulkjob-part",
      ["another name of a file"] = "ln $D/victim $D/out.csv.bulkjob-part", ["a pipe"] = "mkfifo $D/out.csv.bulkjob-part",
      ["a directory"] = "mkdir $D/out.csv.bulkjob-part",
    } do
      it("not through " .. name .. " where the unfinished file goes", function()
        write("victim", "precious")
        sh(plant)
        local before = sh "ls -Al $D | grep -v total"
        assert.is_true(save "out.csv")
        assert.are.equal("precious", content "victim")
        assert.are.equal(text, content "out.csv")
        assert.are.equal(before, sh "rm $D/out.csv; ls -Al $D | grep -v total")
      end)
    end

    it("over what a crash has left, of which nothing stays", function()
      write("out.csv.bulkjob-part", ("x"):rep(100000))
      assert.is_true(save "out.csv")
      assert.are.equal(text, content "out.csv")
      assert.are.equal("out.csv", listing())
    end)

    it("beside another save of the same file", function()
      local other = assert(core.begin_output(path "out.csv"))
      assert.are.equal(5, other:write "other")
      assert.is_true(save "out.csv")
      assert.are.equal(text, content "out.csv")
      assert.is_true(other:publish())
      assert.are.equal("other", content "out.csv")
      assert.are.equal("out.csv", listing())
    end)

    it("with the permissions that any new file gets, or of the file before", function()
      local script = helper.file(helper.names(org) .. ([[
        local client = require("bulkjob").client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE }
        for _, name in ipairs { %q, %q } do
          assert(client:job(%q, "ingest"):unprocessed_records():save(name))
        end
      ]]):format(path "new.csv", path "old.csv", job.id))
      sh(("echo x > $D/old.csv; chmod 604 $D/old.csv; umask 027; %s %s"):format(os.getenv "LUA", script))
      assert.are.equal("640", sh "stat -c %a $D/new.csv")
      assert.are.equal("604", sh "stat -c %a $D/old.csv")
      assert.are.equal(text, content "old.csv")
    end)

    it("or the error names the file, when there is no room", function()
      org:synthetic(job.id, "unprocessed", 300000)
      local script = helper.file(helper.names(org) .. ([[
        local client = require("bulkjob").client { instance_url = ORG, access_token = TOKEN, ca_file = CA_FILE }
        local ok, err = client:job(%q, "ingest"):unprocessed_records():save(%q)
        print(ok, err.kind, err.message)
      ]]):format(job.id, path "full.csv"))
      assert.are.equal("nil\tio\t" .. path "full.csv" .. ": File too large",
        sh(("trap '' XFSZ; ulimit -f 100; exec %s %s"):format(os.getenv "LUA", script)))
      assert.are.equal("", listing())
    end)

    it("and not to a directory", function()
      sh "mkdir $D/out.csv"
      fails("out.csv", "Is a directory", save "out.csv")
      assert.are.equal("out.csv", listing())
    end)
  end)

  describe("of an extract", function()
    local function extract(name)
      return client:extract { query = "SELECT Name FROM Account", file = path(name) }
    end

    before_each(function()
      assert(client:load { object = "Account", operation = "insert", file = write("in.csv", "Name\nOne\nTwo\n") })
      os.remove(path "in.csv")
    end)

    it("go through a symbolic link", function()
      sh "mkdir $D/there; echo old > $D/there/old.csv; chmod 640 $D/there/old.csv; ln -s there/old.csv $D/link.csv"
      assert.are.equal(2, assert(extract "link.csv").rows)
      assert.are.equal('"Name"\n"One"\n"Two"\n', content "there/old.csv")
      assert.are.equal("640", sh "stat -c %a $D/there/old.csv")
      assert.are.equal("link.csv\nthere", listing())
    end)

    it("have the permissions of any new file", function()
      assert(extract "new.csv")
      write("other.csv", "")
      assert.are.equal(sh "stat -c %a $D/other.csv", sh "stat -c %a $D/new.csv")
    end)

    it("go into a pipe", function()
      sh "mkfifo $D/pipe.csv"
      local reader = assert(io.popen("timeout 60 cat " .. path "pipe.csv"))
      local report = assert(once_read(function()
        return extract "pipe.csv"
      end))
      assert.are.equal(2, report.rows)
      assert.are.equal('"Name"\n"One"\n"Two"\n', reader:read "*a")
      reader:close()
      assert.are.equal("fifo", kind "pipe.csv")
      fails("pipe.csv", NO_READER, extract "pipe.csv")
      assert.are.equal("pipe.csv", listing())
    end)

    it("have nothing to do with what lies beside the file", function()
      write("victim", "precious")
      for _, command in ipairs { "mkfifo $D/out.csv.bulkjob-part", "ln -s victim $D/out.csv.bulkjob-part" } do
        sh("rm -f $D/out.csv*; " .. command)
        local planted = kind "out.csv.bulkjob-part"
        assert(extract "out.csv")
        assert.are.equal(planted, kind "out.csv.bulkjob-part")
        assert.are.equal("precious", content "victim")
      end
    end)
  end)

  it("are published on another file system by a copy", function()
    if not helper.may_trace() then
      return pending "strace is of no use here"
    end
    write("from", ("row\n"):rep(100000))
    local script = helper.file(([[
      local client = require("bulkjob").client { instance_url = "https://nowhere.example", access_token = "x" }
      assert(require("bulkjob.outfile").publish(client, %q, %q))
    ]]):format(path "from", path "far.csv"))
    sh(helper.strace("-o /dev/null -e trace=rename -e inject=rename:error=EXDEV:when=1") .. os.getenv "LUA" .. " " .. script)
    assert.is_true(content "far.csv" == ("row\n"):rep(100000))
    assert.are.equal("far.csv", listing())
  end)

  describe("that are pipes do not hold up who reads them:", function()
    before_each(function()
      sh "mkfifo $D/pipe"
      org:clear_requests()
    end)

    after_each(function()
      assert.are.equal(0, #org:requests { method = "PUT" })
    end)

    it("an upload", function()
      local open = assert(client:create { object = "Account", operation = "insert" })
      fails("pipe", NO_INPUT, open:upload { file = path "pipe" })
      assert.are.equal("Open", org:job(open.id).state)
    end)

    it("a create with data", function()
      fails("pipe", NO_INPUT, client:create { object = "Account", operation = "insert", data = { file = path "pipe" } })
    end)

    it("CSV", function()
      fails("pipe", NO_INPUT, bulkjob.csv.rows { file = path "pipe" })
      fails("pipe", NO_INPUT, bulkjob.csv.check { file = path "pipe" })
    end)

    it("a load, its input and its journal", function()
      fails("pipe", NO_INPUT, client:load { object = "Account", operation = "insert", file = path "pipe" })
      local good = helper.file "Name\nOne\n"
      local _, err = client:load { object = "Account", operation = "insert", file = good, journal = path "pipe" }
      assert.are.equal("io", err.kind)
      assert.truthy(err.message:find("a journal is a directory, and this is a file", 1, true))
      assert.are.equal("fifo", kind "pipe")
    end)

    it("a key", function()
      local source = bulkjob.auth.jwt { client_id = "x", username = "x", key_file = path "pipe", login_url = org.tls_url }
      local ok, err = bulkjob.client({ auth = source, ca_file = org.ca_file }):limits()
      assert.is_nil(ok)
      assert.truthy(tostring(err):find(NOT_REGULAR, 1, true), tostring(err))
    end)
  end)

  describe("of a log", function()
    it("take back what could not be written", function()
      local script = helper.file(([[
        local core = require "bulkjob.core"
        local log = assert(core.open_log(%q))
        print(log:append(("a"):rep(400) .. "\n"))
        local ok, err = log:append(("b"):rep(400) .. "\n")
        print(ok, err.message)
        print(log:append(("c"):rep(50) .. "\n"))
      ]]):format(path "log"))
      assert.are.equal("true\nnil\tFile too large\ntrue", sh(("trap '' XFSZ; ulimit -f 1; exec %s %s"):format(os.getenv "LUA", script)))
      assert.are.equal(("a"):rep(400) .. "\n" .. ("c"):rep(50) .. "\n", content "log")
    end)

    it("are no symbolic links", function()
      write("victim", "precious\n")
      sh "ln -s victim $D/log"
      fails("log", "Too many levels of symbolic links", core.open_log(path "log"))
    end)

    it("take nothing more when nobody knows what is on the disk", function()
      if not helper.may_trace() then
        return pending "strace is of no use here"
      end
      local script = helper.file(([[
        local core = require "bulkjob.core"
        local log = assert(core.open_log(%q))
        for _, letter in ipairs { "a", "b", "c", "d" } do
          local ok, err = log:append(letter .. "\n")
          print(ok, ok and "" or err.message)
        end
      ]]):format(path "log"))
      local function run(inject)
        os.remove(path "log")
        return sh(helper.strace("-o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO:when=" .. inject)
          .. os.getenv "LUA" .. " " .. script)
      end
      assert.are.equal("true\t\nnil\tInput/output error\ntrue\t\ntrue\t", run "2")
      assert.are.equal("a\nc\nd\n", content "log")
      local broken = "nil\tan earlier write to it failed, and nobody knows what of it is on the disk"
      assert.are.equal("true\t\nnil\tInput/output error\n" .. broken .. "\n" .. broken, run "2..3")
      assert.are.equal("a\n", content "log")
    end)

    it("are named on the disk before anything counts that is in them", function()
      if not helper.may_trace() then
        return pending "strace is of no use here"
      end
      local script = helper.file(("assert(require('bulkjob.core').open_log(%q))"):format(path "log"))
      local out = sh(helper.strace("-o /dev/stderr -y -e trace=fsync") .. os.getenv "LUA" .. " " .. script)
      assert.truthy(out:find("<" .. path() .. ">", 1, true), out)
    end)
  end)
end)
