--- A run: a load or an extract that can be resumed after whatever has stopped it. This module alone makes, reads and removes the
--- files of one.
---
--- A run lives in a directory of its own, the `journal` of the options:
---
---   lock        held (flock) while somebody works on the run; never replaced
---   log         JSON lines, each on the disk before what depends on it. The first has a mark, the run's id, what it is about (its
---               identity) and how it is cut; a new run replaces the log by a rename. Each ends with a checksum, `sum`, of itself and
---               of the sum of the line before, so that one that was changed, lost or doubled shows
---   ID.NAME     any other file, such as rows, pages and results; ID is that of the run
---
--- Without a journal there is no log, and the files are in a temporary directory that goes at the end.
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local job = require "bulkjob.job"

---@class bulkjob.Run
---@field id string
---@field head { run: string, identity: table, plan: table, replaced: table[]|nil, left_open: string[]|nil } the first line of the log
---@field parts table<integer, table> by number: { step =, job =, info = }, as the last notes about them say
---@field said table<string, any> what else was noted: by name, the last that was said
---@field pages table[] those that an extract has noted, in their order
---@field strays integer how many creates had no answer
---@field left_open string[] jobs that the service would not let us abort
local methods = {}
local run_meta = { __index = methods }

local run = {}

local FORMAT = 2
local MARK = '{"bulkjob":"run",'

-- The service changes nothing more in these states.
local FINAL = { JobComplete = true, Failed = true, Aborted = true }

--- What the last note of a part says about its rows: a part of which the note "closing" was made may have been committed.
run.COMMITTED = { closing = "perhaps committed", closed = "committed", done = "committed" }

local function io_error(path, message, fields)
  return nil, core.error("io", path .. ": " .. message, fields)
end

-- Files of runs in a directory, and nothing else.
local function is_ours(name)
  return name == "lock" or name == "log" or name == "log.new" or name:find("^" .. ("%x"):rep(16) .. "%.") ~= nil
end

local function remove_tree(path)
  if not core.remove(path) then
    for _, name in ipairs(core.list_directory(path) or {}) do
      remove_tree(path .. "/" .. name)
    end
    core.remove(path)
  end
end

-- Removes the files of all runs but `id`.
local function sweep(directory, id)
  for _, name in ipairs(core.list_directory(directory) or {}) do
    if is_ours(name) and name:find("^" .. ("%x"):rep(16) .. "%.") and name:sub(1, 16) ~= id then
      remove_tree(directory .. "/" .. name)
    end
  end
end

-- The text of the log in a directory, or its beginning; false where there is none. A log that cannot be read is there all the same:
-- nil, err.
local function read_text(directory, last)
  local text, why = file.read(directory .. "/log", 1, last)
  if text then
    return text
  end
  local names, err = core.list_directory(directory)
  for _, name in ipairs(names or {}) do
    err = name == "log" and core.error("io", why) or err
  end
  if err then
    return nil, err
  end
  return false
end

-- Refuses a directory that was not made here, before anything in it is touched. Names alone say little where there is no log: other
-- programs have files of such names. But whatever a crash of ours has left without a log, its lock is beside it, and that is empty.
local function check_directory(path)
  local names, err = core.list_directory(path)
  if not names then
    return nil, err
  end
  local lock = core.stat(path .. "/lock")
  local locked = lock and lock.size == 0
  local other
  for _, name in ipairs(names) do
    other = other or not (locked and is_ours(name)) and name
  end
  local mark = "" -- of what is no file, such as a pipe, nothing is read
  if not core.is_direct(path .. "/log") then
    mark, err = read_text(path, #MARK)
  end
  if mark == nil then
    return nil, err
  elseif mark and mark ~= MARK or other and not mark then
    local why = mark and "the log in it was not made by bulkjob" or "'" .. other .. "' is in it"
    return io_error(path, "this is not the journal of a load or extract: " .. why .. ". Nothing in it was touched")
  end
  return true
end

-- How often the directory is made again when it goes between two steps: whoever works on the run may just have ended it.
local TRIES = 100

local function take_directory(self)
  local path = self.directory
  local ok, err
  self.existed = core.list_directory(path) ~= nil
  for _ = 1, TRIES do
    ok, err = file.make_directory(path, path .. ": a journal is a directory, and this is a file. Nothing was done to it")
    if not ok then
      return nil, err
    end
    ok, err = check_directory(path)
    if ok then
      self.lock, err = core.lock(path .. "/lock")
      if self.lock or err.code ~= "GONE" then
        return self.lock, err
      end
    elseif core.list_directory(path) then
      return nil, err
    end
  end
  return nil, err
end

-- The checksum of a line, whose text goes as far as its own sum, behind a line with the sum `before`.
local function sum_of(text, before)
  return ("%.0f"):format(core.crc32(before .. text))
end

-- A line of the log, and its sum.
local function seal(json, before)
  local text = json:sub(1, -2)
  local sum = sum_of(text, before)
  return text .. ',"sum":' .. sum .. "}\n", sum
end

local function take_in(self, line)
  self.strays = self.strays + (line.lost or 0)
  if line.part then
    local part = self.parts[line.part] or {}
    self.parts[line.part] = part
    if line.step == "created" then
      part.info = nil
      self.pages, self.said.whole = {}, nil
    elseif line.step == "left" then
      self.left_open[#self.left_open + 1] = line.job
    end
    for key, value in pairs(line) do
      part[key] = value
    end
  elseif line.cut then
    local parts = self.head.plan.parts
    parts[line.cut].cut = true
    for _, part in ipairs(line.into) do
      parts[#parts + 1] = part
    end
  elseif line.page then
    self.pages[#self.pages + 1] = line
  else
    for key, value in pairs(line) do
      self.said[key] = value
    end
  end
end

local function forget(self)
  self.parts, self.said, self.pages, self.strays, self.left_open = {}, {}, {}, 0, {}
end

-- Takes in the lines of the log. A last line without its end was cut off by a crash: it never counted. Answers how many bytes count.
local function read_lines(self, path, text)
  local size, count = 0, 0
  self.sum = ""
  for line in text:gmatch "([^\n]*)\n" do
    local value = core.json_decode(line)
    local sealed, sum = line:match '^(.*),"sum":(%d+)}$'
    count, size = count + 1, size + #line + 1
    if type(value) == "table" and count == 1 and value.format ~= FORMAT then
      return io_error(path, "it was not made by this version of bulkjob")
    elseif type(value) ~= "table" or not sealed or sum ~= sum_of(sealed, self.sum) then
      return io_error(path, "line " .. count .. " is damaged")
    elseif count == 1 then
      self.head, self.left_open = value, value.left_open or {}
    else
      take_in(self, value)
    end
    self.sum = sum
  end
  if count == 0 and text ~= "" then -- the first line was whole before it got its name
    return io_error(path, "line 1 is damaged")
  end
  return size
end

local function read_log(self)
  local path = self.directory .. "/log"
  local text, err = read_text(self.directory)
  if not text then
    return text == false or nil, err
  end
  local ok, size
  size, err = read_lines(self, path, text)
  if size then
    self.log, err = core.open_log(path)
    ok = self.log ~= nil
  end
  if ok and size < #text then
    ok, err = self.log:cut(size)
  end
  return ok, err
end

--- Takes a run for this call alone, as far as it is there: `begin` says what becomes of it.
---@param options { client: bulkjob.Client, path: string|nil, near: string|nil, temporary: boolean|nil, restart: boolean|nil }
---  `path`: the directory; without one a temporary directory in `near`, or where temporary files go, when it is needed. `temporary`:
---  it begins anew, and goes at the end
---@return bulkjob.Run|nil run
---@return bulkjob.Error|nil err with the code "LOCKED" while somebody else works on it
function run.open(options)
  local self = setmetatable({
    client = options.client, directory = options.path, near = options.near, temporary = options.temporary or not options.path,
    restart = options.restart, id = core.random_id(),
  }, run_meta)
  forget(self)
  local ok, err = true, nil
  if self.directory then
    ok, err = take_directory(self)
    if ok and not self.temporary then
      ok, err = read_log(self)
    end
  end
  if not ok then
    if self.lock then
      self.lock:close()
    end
    return nil, err
  end
  return self
end

--- The path of a file of this run. Raises the error of a directory that cannot be made.
---@param name string
---@return string path
function methods:file(name)
  if not self.directory then
    local path, err = core.temporary_directory(self.near, ".bulkjob-")
    self.directory = path or error(err, 0)
  end
  return self.directory .. "/" .. self.id .. "." .. name
end

local LABELS = {
  { "kind", "the kind of work" }, { "org", "the org" }, { "object", "object" }, { "operation", "operation" },
  { "externalIdFieldName", "externalIdFieldName" }, { "assignmentRuleId", "assignmentRuleId" }, { "query", "query" },
  { "columnDelimiter", "columnDelimiter" }, { "lineEnding", "lineEnding" }, { "api_version", "the API version" },
  { "size", "the size of the input" }, { "content" },
}
local OF_THE_INPUT = { columnDelimiter = true, lineEnding = true, size = true, content = true }

-- In words, what tells two identities apart; nil when nothing does.
local function difference(old, new, no_input)
  for _, label in ipairs(LABELS) do
    local name = label[1]
    if old[name] ~= new[name] and not (no_input and OF_THE_INPUT[name]) then
      return name == "content" and "the content of the input is another, of as many bytes"
        or ("%s was %s, and is %s"):format(label[2], tostring(old[name]), tostring(new[name]))
    end
  end
end

--- The parts of a load in the order of the input, without those that were cut once more: { number =, first =, last =, records =,
--- digest = }.
---@return table[]
function methods:cuts()
  local list = {}
  for i, cut in ipairs(self.head.plan.parts or {}) do
    cut.number = i
    list[#list + 1] = not cut.cut and cut or nil
  end
  table.sort(list, function(a, b)
    return a.first < b.first
  end)
  return list
end

-- Each part of the run, for people and for programs: which records of the input they are, its job, and what is known of them.
local function list_parts(self)
  local list, before = {}, 0
  for i, cut in ipairs(self:cuts()) do
    local part = self.parts[cut.number] or {}
    list[i] = {
      first = before + 1, last = before + cut.records, job = part.job, what = run.COMMITTED[part.step] or "not sent",
    }
    before = before + cut.records
  end
  return list
end

local function refuse(self, why)
  local parts, words = list_parts(self), {}
  for i, part in ipairs(parts) do
    words[i] = ("records %d to %d: %s%s"):format(part.first, part.last, part.what, part.job and " (job " .. part.job .. ")" or "")
  end
  return io_error(self.directory, "an unfinished run of something else is there: " .. why .. ". Of it: " .. table.concat(words, ", ")
    .. ". To finish it, make the call that it was made by; to begin anew all the same, restart = true (--restart). Nothing was changed",
    { parts = parts })
end

-- Did the service itself say no, for good?
local function is_refused(err)
  return err.kind == "api" and (err.status or 500) < 500 and not err.in_doubt
end

-- Ends a job of the run that is given up. One that somebody else has closed runs on, unless the user wants all to begin anew. True also
-- when that was refused for good, and the job is to be named; nil, err when nobody can say.
local function end_job(self, part, left_open)
  local handle = self.client:job(part.job, self.head.identity.kind == "extract" and "query" or "ingest")
  local info, err = handle:info()
  local aborting = info and (info.state == "Open" or not FINAL[info.state] and (self.said.restart or handle.kind == "query"))
  if aborting then
    info, err = handle:abort()
  end
  if info or job.is_gone(handle, err) or FINAL[err.state] then
    return true
  elseif aborting and is_refused(err) then
    left_open[#left_open + 1] = part.job
    return true
  end
  return nil, err
end

local function end_jobs(self, identity)
  local left_open = {}
  for _, part in pairs(self.parts) do
    if part.job and (part.step == "created" or part.step == "closing" or part.step == "void") then
      local ok, err = true, nil
      if self.head.identity.org ~= identity.org then -- nobody to ask about it
        left_open[#left_open + 1] = part.job
      else
        ok, err = end_job(self, part, left_open)
      end
      if not ok then
        return nil, err
      end
    end
  end
  return left_open
end

-- A new log takes the place of the old one when it is on the disk.
local function start(self, identity, plan, more)
  self.head = { format = FORMAT, run = self.id, identity = identity, plan = plan }
  for key, value in pairs(more) do
    self.head[key] = #value > 0 and value or nil
  end
  forget(self)
  self.left_open = more.left_open
  if self.temporary then
    return true
  end
  local path = self.directory .. "/log"
  local log, err = core.open_log(path .. ".new")
  if not log then
    return nil, err
  end
  local ok, line
  ok, err = log:cut(0)
  if ok then
    line, self.sum = seal(MARK .. core.json_encode(self.head):sub(2), "")
    ok, err = log:append(line)
  end
  if not ok then
    return io_error(path .. ".new", err.message)
  end
  ok, err = core.rename(path .. ".new", path)
  if not ok then
    return nil, err
  end
  core.sync_name(path)
  core.sync_name((self.directory:gsub("/+$", "")))
  if self.log then
    self.log:close()
  end
  self.log = log
  sweep(self.directory, self.id)
  return true
end

local function committed(self)
  local list = {}
  for _, part in ipairs(list_parts(self)) do
    list[#list + 1] = part.what ~= "not sent" and part or nil
  end
  return list
end

-- A new run in the place of an old one, if there is any. Its jobs are ended before it is forgotten.
local function replace(self, identity, make_plan, replaced)
  local plan, err = make_plan()
  local left_open = {}
  if plan and self.head and not self.said.finished then
    left_open, err = end_jobs(self, identity)
  end
  if not plan or not left_open then
    return nil, err
  end
  return start(self, identity, plan, { replaced = replaced or {}, left_open = left_open })
end

-- What was written for this call is what the run has already.
local function resume(self)
  for _, name in ipairs(core.list_directory(self.directory)) do
    if name:sub(1, 17) == self.id .. "." then
      core.rename(self.directory .. "/" .. name, self.directory .. "/" .. self.head.run .. name:sub(17))
    end
  end
  self.id = self.head.run
  sweep(self.directory, self.id)
  return true
end

-- Was all done that is asked for now?
local function covers(finished, asked)
  for name in pairs(asked) do
    if not finished.asked[name] then
      return false
    end
  end
  return true
end

--- Says what becomes of the run, and begins a new one where that is due: see the design, "Called again".
---@param identity table what the work is about; two runs with the same identity are the same
---@param make_plan fun(): table|nil, bulkjob.Error|nil called before a new run begins: how it is cut. `parts` has the `records` of
---  each
---@param asked table<string, true> what is to be done in the end, beside the work itself
---@param no_input boolean|nil the input is not given: then the run must be there, and no longer need it
---@return "new"|"resumed"|"finished"|nil situation, bulkjob.Error|nil err
function methods:begin(identity, make_plan, asked, no_input)
  local finished = self.said.finished
  if not self.head then
    local ok, err
    if no_input then
      return io_error(self.directory, "there is no run, so either file or rows expected")
    end
    ok, err = replace(self, identity, make_plan)
    return ok and "new" or nil, err
  end
  local why = difference(self.head.identity, identity, no_input)
  local parts = committed(self)
  local situation, ok, err
  if (self.restart or self.said.restart) and not no_input then
    situation = "new"
    ok, err = self:note { restart = true }
    if ok then
      ok, err = replace(self, identity, make_plan, parts)
    end
  elseif why and no_input then
    return refuse(self, why)
  elseif finished and (why or identity.kind == "extract") then
    situation = "new"
    ok, err = replace(self, identity, make_plan)
  elseif finished and covers(finished, asked) then
    situation = "finished"
    ok = resume(self)
  elseif not why then
    if no_input and not self:is_closed() then
      return io_error(self.directory, "not all of it is closed yet, so the input is needed: either file or rows expected")
    end
    situation = "resumed"
    ok = resume(self)
  elseif #parts > 0 then
    return refuse(self, why)
  else
    situation = "new"
    ok, err = replace(self, identity, make_plan)
  end
  return ok and situation or nil, err
end

--- Is each part closed?
---@return boolean
function methods:is_closed()
  for _, cut in ipairs(self:cuts()) do
    local step = self.parts[cut.number] and self.parts[cut.number].step
    if step ~= "closed" and step ~= "done" then
      return false
    end
  end
  return true
end

--- Adds a line to the log. When this answers true it is on the disk. After one that failed there is no other: what is in the log
--- must not be later than what is missing there.
---@param line table
---@return true|nil ok, bulkjob.Error|nil err
function methods:note(line)
  if self.log and self.broken then
    return io_error(self.directory, "nothing is noted any more: " .. self.broken)
  elseif self.log then
    local text, sum = seal(core.json_encode(line), self.sum)
    local ok, err = self.log:append(text)
    self.sum = sum
    if not ok then
      self.broken = err.message
      return io_error(self.directory .. "/log", err.message)
    end
  end
  take_in(self, line)
  return true
end

--- The last note: all is done, and this is the report that the same call gets from now on. Of the run's files the log stays.
---@param report table
---@param asked table<string, true>
function methods:finish(report, asked)
  local ok, err = self:note { finished = { report = report, asked = asked } }
  if ok and self.directory then
    sweep(self.directory)
  end
  return ok, err
end

local function empty(t)
  return next(t) == nil
end

local function remove_directory(self)
  if self.directory then
    sweep(self.directory)
    for _, name in ipairs { "log.new", "log", "lock" } do
      core.remove(self.directory .. "/" .. name)
    end
    if self.temporary or not self.existed then -- one that was there may be somebody else's
      core.remove(self.directory)
    end
  end
end

--- Lets go of the run. It stays for a later call, unless it is temporary or nothing was noted in it.
function methods:close()
  if self.directory and self.head and self.head.run ~= self.id then
    sweep(self.directory, self.head.run) -- what was written for a call that came to nothing
  end
  if self.temporary or empty(self.parts) and empty(self.said) then
    remove_directory(self)
  end
  if self.log then
    self.log:close()
  end
  if self.lock then
    self.lock:close()
  end
end

--- Removes a run that is no longer needed.
---@param client bulkjob.Client
---@param path string
function run.remove(client, path)
  local self = run.open { client = client, path = path }
  if self then
    self.existed = nil
    self.temporary = true
    self:close()
  end
end

--- May something of the run at this path have been committed? Nil when there is none.
---@return boolean|nil
---@return bulkjob.Error|nil err of a log that is damaged: nobody can say
function run.is_committed(path)
  local self = setmetatable({ directory = path }, run_meta)
  forget(self)
  local text, err = false, nil
  if core.list_directory(path) then
    text, err = read_text(path)
  end
  if text then
    err = select(2, read_lines(self, path .. "/log", text))
  end
  if err then
    return nil, err
  end
  return self.head and #committed(self) > 0
end

return run
