--- lua/bulkjob/meta.lua, which editors read and doc/reference.md is made from, says what the running module has, and nothing else.
local annotations = require "tools.annotations"
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local helper = require "spec.helper"
local options = require "bulkjob.options"
local source = require "bulkjob.source"

local file = annotations.read "lua/bulkjob/meta.lua"

local JOB = "7508d00000Kq3XbAAJ"
local ORG = { instance_url = "https://acme.my.salesforce.com", access_token = "none" }

local function keys(list)
  local names = {}
  for name in pairs(list) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function class_of(name)
  local class = file.known[name]
  return class and class.kind == "class" and class or nil
end

-- Calls `fn` with each field of a class, those of its parent too.
local function each_field(class, fn)
  for _, field in ipairs(class.fields) do
    fn(field)
  end
  if class.parent then
    each_field(file.known[class.parent], fn)
  end
end

local function fields_of(name)
  local fields = {}
  each_field(assert(class_of(name), name), function(field)
    fields[field.name] = field
  end)
  return fields
end

local function functions_of(name)
  local functions = {}
  for _, this in ipairs(assert(class_of(name), name).functions) do
    functions[this.name] = this
  end
  return functions
end

---- Types ----

-- The types that a type consists of, the names of types put in.
local function parts_of(type, list)
  list = list or {}
  local alias = type.kind == "name" and file.known[type.name]
  if type.kind == "union" then
    for _, one in ipairs(type.list) do
      parts_of(one, list)
    end
  elseif alias and alias.kind == "alias" and alias.type then
    parts_of(alias.type, list)
  elseif alias and alias.kind == "alias" then
    for _, value in ipairs(alias.values) do
      list[#list + 1] = { kind = "literal", value = value.value }
    end
  else
    list[#list + 1] = type
  end
  return list
end

local is_kind

local function is_class(value, name, take)
  local fields = fields_of(name)
  if type(value) ~= "table" then
    return false, name .. " expected, got " .. type(value)
  end
  for key, item in pairs(value) do
    local field = fields[key]
    if not field then
      return false, ("%s has no %s (%s)"):format(name, tostring(key), tostring(item))
    end
    local ok, why = is_kind(item, field.type, take)
    if not ok then
      return false, ("%s.%s: %s"):format(name, key, why or field.type.text .. " expected, got " .. tostring(item))
    end
    take(name, key)
  end
  for key, field in pairs(fields) do
    if not field.optional and value[key] == nil and not (name == "bulkjob.LoadedJob" and value.gone) then
      return false, ("%s: %s is missing"):format(name, key)
    end
  end
  return true
end

local KINDS = {
  integer = function(value)
    return type(value) == "number" and (math.type and math.type(value) == "integer" or not math.type and value % 1 == 0)
  end,
  any = function()
    return true
  end,
}

local checks = {}

function checks.literal(value, this)
  return value == this.value
end

function checks.array(value, this, take)
  for i, item in ipairs(type(value) == "table" and value or {}) do
    local ok, why = is_kind(item, this.of, take)
    if not ok then
      return false, ("[%d]: %s"):format(i, why or this.of.text .. " expected, got " .. tostring(item))
    end
  end
  return type(value) == "table" and (next(value) == nil or #value > 0)
end

function checks.table(value, this, take)
  for key, item in pairs(type(value) == "table" and value or {}) do
    if not is_kind(key, this.key, take) or not is_kind(item, this.value, take) then
      return false, ("[%s]: %s expected, got %s"):format(tostring(key), this.value.text, tostring(item))
    end
  end
  return type(value) == "table"
end

function checks.record(value, this)
  local known = {}
  for _, field in ipairs(this.fields) do
    known[field.name] = true
    if not is_kind((type(value) == "table" and value or {})[field.name], field.type) then
      return false
    end
  end
  for key in pairs(type(value) == "table" and value or {}) do
    if not known[key] then
      return false, "unknown field " .. key
    end
  end
  return type(value) == "table"
end

checks["function"] = function(value)
  return type(value) == "function"
end

function checks.name(value, this, take)
  if class_of(this.name) then
    return is_class(value, this.name, take)
  end
  return (KINDS[this.name] or function()
    return type(value) == this.name
  end)(value)
end

-- Is the value one of this type? Or false, why. `take(class, field)` hears of each field that is there.
function is_kind(value, expected, take)
  local why
  for _, one in ipairs(parts_of(expected)) do
    local ok
    ok, why = checks[one.kind](value, one, take or function() end)
    if ok then
      return true
    end
  end
  return false, why
end

-- A function that holds tables against classes, and one that demands that all fields of a class were there.
local function new_check()
  local seen = {}
  local function take(class, field)
    seen[class] = seen[class] or {}
    seen[class][field] = true
  end
  return function(value, class)
    local ok, why = is_kind(value, { kind = "name", name = class, text = class }, take)
    assert(ok, why)
    return value
  end, function(class)
    local missing = {}
    for name in pairs(fields_of(class)) do
      if not (seen[class] or {})[name] then
        missing[#missing + 1] = name
      end
    end
    table.sort(missing)
    assert.are.same({}, missing, class)
  end
end

describe("the annotations for editors", function()
  it("are never loaded", function()
    assert.is_nil(package.loaded["bulkjob.meta"])
  end)

  describe("name each function, and no other, of", function()
    local client = bulkjob.client(ORG)
    local query = client:job(JOB, "query")
    for class, holder in pairs {
      ["bulkjob"] = bulkjob, ["bulkjob.auth"] = bulkjob.auth, ["bulkjob.csv"] = bulkjob.csv, ["bulkjob.loop"] = bulkjob.loop,
      ["bulkjob.Client"] = core.client_methods, ["bulkjob.Job"] = core.job_methods,
      ["bulkjob.ResultSet"] = getmetatable(query:results()).__index, ["bulkjob.Task"] = getmetatable(client:spawn(error)).__index,
    } do
      it(class, function()
        local said = functions_of(class)
        if class ~= "bulkjob.Job" then -- its fields are no entries of a table
          for name, field in pairs(fields_of(class)) do
            said[name] = field
          end
        end
        assert.are.same(keys(holder), keys(said))
        for name in pairs(functions_of(class)) do
          assert.are.equal("function", type(holder[name]))
        end
      end)
    end
    client:close()

    it("what a loop waits for, which has methods of our own beside them", function()
      local channel = core.channel()
      for name in pairs(functions_of "bulkjob.Waiting") do
        assert.are.equal("function", type(channel[name]), name)
      end
    end)
  end)

  it("name each field of a job that is known without a request", function()
    local known = {}
    for name in helper.content("src/l_job.c"):gmatch 'strcmp%(key, "(%w+)"%)' do
      known[name] = true
    end
    assert.are.same(keys(known), keys(fields_of "bulkjob.Job"))
  end)

  it("name each kind of error", function()
    local known, said = {}, {}
    for kind in helper.content("src/l_error.h"):gmatch '#define BJ_ERR_%u+ "(%l+)"' do
      known[kind] = true
    end
    for path in helper.shell("find lua -name '*.lua'"):gmatch "%S+" do
      for kind in helper.content(path):gmatch 'core%.error%("(%l+)"' do
        known[kind] = true
      end
    end
    for _, value in ipairs(file.known["bulkjob.ErrorKind"].values) do
      said[value.value] = true
    end
    assert.are.same(keys(known), keys(said))
  end)
end)

describe("a file of annotations is refused for", function()
  local CLASS = "---@class a\nlocal a = {}\n\n"
  for what, text in pairs {
    ["unknown tag @clas"] = "---@clas a\n",
    ["unknown type strng"] = "---@class a\n---Text.\n---@field b strng\n",
    ["b has no text"] = "---@class a\n---@field b string\n",
    ["b is there twice"] = "---@class a\n---Text.\n---@field b string\n---Text.\n---@field b string\n",
    ["the text of a field stands above it"] = "---@class a\n---Text.\n---@field b string text\n",
    ["a field without a class"] = "---Text.\n---@field b string\n",
    ["the parameters are (b), and what is said of them is about (c)"] = CLASS .. "---Text.\n---@param c string\nfunction a.d(b) end\n",
    ["d has no text"] = CLASS .. "function a.d() end\n",
    ["x stands for no class"] = CLASS .. "---Text.\nfunction x.d() end\n",
    ["what a function returns is told in its text"] = CLASS .. "---Text.\n---@return string b more\nfunction a.d() end\n",
    ["this is neither the table of a class nor an empty function"] = "print(1)\n",
    ["a text, or parameters, that belong to nothing"] = "---Text.\n\n" .. CLASS,
    ["an empty line before it expected"] = "---@class a\n--[[\nText\n]]\n",
    ["a remark within a block"] = "---@class a\n-- Remark\n",
    ["a type expected at '|'"] = "---@alias a |\n",
    ["'>' expected"] = "---@alias a table<string, string\n",
  } do
    it(what, function()
      local good, why = pcall(annotations.read, helper.file(text))
      assert.is_false(good)
      assert.matches(what, why, 1, true)
      assert.matches("^[^\n]+:%d+: ", why)
    end)
  end

  teardown(helper.clean)
end)

---- Options ----

-- Values of a type, one for each of its parts. Nil when anything will do.
local function samples(type)
  local list = {}
  for _, part in ipairs(parts_of(type)) do
    local value
    if part.kind == "literal" then
      value = part.value
    elseif part.kind == "function" then
      value = function() end
    elseif part.kind == "name" and part.name == "string" then
      value = "text"
    elseif part.kind == "name" and (part.name == "integer" or part.name == "number") then
      value = 1
    elseif part.kind == "name" and part.name == "boolean" then
      value = true
    else
      value = {}
    end
    list[#list + 1] = value
  end
  return list
end

-- Holds what a check takes against a type: `try(value)` raises what is wrong.
local function check_option(field, try)
  local good = samples(field.type)
  local is_good = {}
  for _, value in ipairs(good) do
    is_good[type(value)] = true
    try(value)
  end
  for _, bad in ipairs { "no such word", 1, true, {}, print } do
    local words_alone = type(bad) == "string" and is_good.string
    for _, part in ipairs(parts_of(field.type)) do
      words_alone = words_alone and not (part.kind == "name" and part.name == "string")
    end
    if not is_good[type(bad)] or words_alone then
      assert(not pcall(try, bad), ("%s: a %s is taken, and the type is %s"):format(field.name, type(bad), field.type.text))
    end
  end
end

describe("the annotations of options:", function()
  local client = bulkjob.client(ORG)
  local job, query = client:job(JOB, "ingest"), client:job(JOB, "query")

  -- For each class of options the call that takes them.
  local calls = {
    ["bulkjob.JobSpec"] = function(given)
      client:create(given)
    end,
    ["bulkjob.JobFilter"] = function(given)
      client:jobs(given)
    end,
    ["bulkjob.LoadOptions"] = function(given)
      client:load(given)
    end,
    ["bulkjob.ExtractOptions"] = function(given)
      client:extract(given)
    end,
    ["bulkjob.WaitOptions"] = function(given)
      job:wait(given)
    end,
    ["bulkjob.ResultOptions"] = function(given)
      query:results(given)
    end,
    ["bulkjob.PageOptions"] = function(given)
      query:pages(given)
    end,
    ["bulkjob.FileSource"] = function(given)
      given.file = given.file or "a.csv"
      source.kind(given)
    end,
    ["bulkjob.RowSource"] = function(given)
      given.rows = given.rows or {}
      source.kind(given)
    end,
    ["bulkjob.ClientCredentialsOptions"] = bulkjob.auth.client_credentials,
    ["bulkjob.JwtOptions"] = bulkjob.auth.jwt,
    ["bulkjob.RefreshTokenOptions"] = bulkjob.auth.refresh_token,
    ["bulkjob.PasswordOptions"] = bulkjob.auth.password,
    ["bulkjob.SfCliOptions"] = bulkjob.auth.sf_cli,
    ["bulkjob.CsvReadOptions"] = function(given)
      bulkjob.csv.rows("", given)
    end,
    ["bulkjob.CsvWriteOptions"] = function(given)
      bulkjob.csv.encode({}, {}, given)
    end,
    ["bulkjob.CsvCheckOptions"] = function(given)
      bulkjob.csv.check("", given)
    end,
  }

  -- What the one check of options is asked by a call: the options that are known, and those that are needed.
  local function known_by(call)
    local check = options.check
    local known, needed
    options.check = function(_, _, ...)
      known, needed = ...
      error("this was all", 0)
    end
    local _, why = pcall(call, {})
    options.check = check
    assert.are.equal("this was all", why)
    return known, needed or {}
  end

  for class, call in pairs(calls) do
    it(class .. " is what the call takes", function()
      local known, needed = known_by(call)
      local fields, required = fields_of(class), {}
      assert.are.same(keys(known), keys(fields))
      for name, field in pairs(fields) do
        required[name] = not field.optional or nil
        if known[name] ~= "any" then -- what that takes is looked at elsewhere
          check_option(field, function(value)
            options.check(class, { [name] = value }, known, nil, 0)
          end)
        end
      end
      table.sort(needed)
      assert.are.same(needed, keys(required))
      local good, why = pcall(call, { no_such_option = true })
      assert.is_false(good)
      assert.matches("unknown option 'no_such_option'", why, 1, true)
    end)
  end

  it("bulkjob.ClientOptions is what a client takes", function()
    local known, fields = {}, fields_of "bulkjob.ClientOptions"
    for name in helper.content("src/l_client.c"):gmatch '\n    {"([%w_]+)", OPTION_' do
      known[name] = true
    end
    assert.are.same(keys(known), keys(fields))
    local special = { instance_url = "https://other.my.salesforce.com", api_version = "60.0" }
    for name, field in pairs(fields) do
      check_option(field, function(value)
        bulkjob.client(helper.with(ORG, { [name] = value == "text" and special[name] or value })):close()
      end)
    end
    assert.has_error(function()
      bulkjob.client(helper.with(ORG, { no_such_option = true }))
    end)
  end)

  it("bulkjob.Retry is what its option retry takes", function()
    local _, why = pcall(bulkjob.client, helper.with(ORG, { retry = { no_such_option = true } }))
    local known, fields = {}, fields_of "bulkjob.Retry"
    for name in why:match("%((.*) are known%)"):gsub(" and ", ", "):gmatch "%l+" do
      known[name] = true
    end
    assert.are.same(keys(known), keys(fields))
    for name, field in pairs(fields) do
      check_option(field, function(value)
        bulkjob.client(helper.with(ORG, { retry = { [name] = value } })):close()
      end)
    end
  end)

  it("each table that a function takes is one of these", function()
    local taken = {}
    local function add(type)
      for _, part in ipairs(parts_of(type)) do
        if part.kind == "name" and class_of(part.name) and not next(functions_of(part.name)) and part.name ~= "bulkjob.Error" then
          taken[part.name] = true
        end
      end
    end
    for _, block in ipairs(file.blocks) do
      for _, param in ipairs(block.kind == "function" and block.params or {}) do
        add(param.type)
      end
    end
    for name in pairs(taken) do
      assert(calls[name] or name == "bulkjob.ClientOptions", name .. " is not held against the check of options")
    end
    assert.is_true(#keys(taken) > 15)
  end)
end)

---- Tables that come out ----

describe("the annotations of", function()
  local path = helper.directory "each"
  local org, client, events
  helper.scene(helper.AT_ONCE, function(...)
    org, client, events = ...
  end)

  local CSV = "Name,Ext__c\nOne,A-1\nTwo,A-2\n"
  local BAD_BATCH = '[{"errorCode":"INVALIDBATCH","message":"no"}]'

  local function csv(first, last)
    local lines = { "Name,Ext__c" }
    for i = first, last do
      lines[#lines + 1] = ("Row %d,E%d"):format(i, i)
    end
    return table.concat(lines, "\n") .. "\n"
  end

  local function load(more)
    return client:load(helper.with({ object = "Account", operation = "insert", part_bytes = 60, jobs = 1 }, more))
  end

  local function create()
    return assert(client:create { object = "Account", operation = "insert" })
  end

  local function anew()
    org:reset()
    org:set(helper.AT_ONCE)
  end

  it("job info and limits hold", function()
    local check, all_of = new_check()
    for operation, more in pairs { insert = {}, upsert = { externalIdFieldName = "Ext__c", assignmentRuleId = "01Q8d000000HvJkEAK" } } do
      local job = assert(client:create(helper.with({ object = "Account", operation = operation }, more)))
      check(assert(job:info()), "bulkjob.JobInfo")
      assert(job:upload "Name,Ext__c\nOne,A-1\n,A-2\n")
      check(assert(job:close()), "bulkjob.JobInfo")
      check(assert(job:wait { on_progress = function(info)
        check(info, "bulkjob.JobInfo")
      end }), "bulkjob.JobInfo")
      check({ id = job.id, kind = job.kind, state = job.state }, "bulkjob.Job")
    end
    local job = create()
    assert(job:upload "NoSuchField\nx\n")
    assert(job:close())
    check(assert(job:wait()), "bulkjob.JobInfo")
    job = assert(client:create { operation = "query", query = "SELECT Id FROM Account" })
    check(assert(job:wait()), "bulkjob.JobInfo")
    for info in client:jobs() do
      check(info, "bulkjob.JobInfo")
    end
    for name, limit in pairs(assert(client:limits())) do
      assert.are.equal("string", type(name))
      check(limit, "bulkjob.Limit")
    end
    all_of "bulkjob.JobInfo"
    all_of "bulkjob.Job"
    all_of "bulkjob.Limit"
  end)

  it("job info name each field that is given a type, and its type", function()
    local lists = helper.content("src/l_schema.c")
    local fields = fields_of "bulkjob.JobInfo"
    local known = { apiVersion = true, isPkChunkingSupported = true }
    for list in lists:gmatch "%[%] = (%b{})" do
      for name in list:gmatch '"(%w+)"' do
        known[name] = true
      end
    end
    assert.are.same(keys(known), keys(fields))
    for name, field in pairs(fields) do
      local kind = parts_of(field.type)[1]
      local info = { [name] = ({ integer = "5", boolean = "true" })[kind.name] or 5 }
      core.type_job_info(info)
      if kind.kind == "literal" then -- its words are those of the service
        assert.are.equal("5", info[name])
      else
        assert.is_true(is_kind(info[name], field.type), name)
      end
    end
  end)

  it("errors hold", function()
    local check, all_of = new_check()
    local function failed(value, err)
      assert.is_nil(value)
      assert.is_true(bulkjob.is_error(err))
      return check(err, "bulkjob.Error")
    end
    -- status, method, url, attempts, job_id, retry_after
    local job = create()
    org:fault { method = "GET", status = 503, headers = { ["Retry-After"] = "7200" } }
    failed(job:info())
    -- state, code
    assert(client:job(job.id):abort())
    failed(job:close())
    -- contents
    job = create()
    assert(job:upload(CSV))
    failed(client:job(job.id):upload(CSV))
    -- in_doubt
    org:fault { method = "PATCH", status = 500, count = 4 }
    failed(job:close())
    -- also
    job = create()
    org:fault { method = "PUT", status = 503, effect = false, count = 9 }
    org:fault { method = "PATCH", status = 503, effect = false, count = 9 }
    failed(job:upload(CSV))
    org:clear_faults()
    -- strays
    org:fault { method = "POST", reset = "after", count = 9 }
    failed(client:create { object = "Account", operation = "insert" })
    org:clear_faults()
    -- line, byte, column
    failed(bulkjob.csv.check("Name\nbad \255 byte\n"))
    -- jobs, parts
    org:fault { method = "PUT", after = 1, count = -1, status = 400, body = BAD_BATCH }
    failed(load { file = helper.file(csv(1, 20)), journal = path "journal" })
    org:clear_faults()
    failed(load { file = helper.file(csv(1, 21)), journal = path "journal" })
    -- traceback, raised
    failed(client:spawn(error, {}):result())
    all_of "bulkjob.Error"
    all_of "bulkjob.RunPart"
  end)

  it("events hold", function()
    local check, all_of = new_check()
    org:fault { method = "POST", reset = "after" }
    local job = create()
    org:fault { method = "PUT", status = 503, effect = false }
    assert(job:upload(CSV))
    assert(job:close())
    assert(job:wait())
    org:set { daily_batches = 0 }
    load { file = helper.file(csv(1, 20)) }
    local classes = {}
    for _, part in ipairs(parts_of { kind = "name", name = "bulkjob.Event" }) do
      classes[fields_of(part.name).type.type.value] = part.name
    end
    for _, event in ipairs(events) do
      check(event, assert(classes[event.type], event.type))
    end
    for _, class in pairs(classes) do
      all_of(class)
    end
  end)

  it("a load hold", function()
    local check, all_of = new_check()
    local function report_of(more)
      return check(assert(load(helper.with({ on_progress = function(progress)
        check(progress, "bulkjob.LoadProgress")
      end }, more))), "bulkjob.LoadReport")
    end
    -- results, joined, retried, errors
    report_of { file = helper.file "Name,Ext__c\nOne,E1\n,E2\nThree,E1\nFour,E4\n", part_bytes = 100000, results = path "results", join = true,
      retry_failed = "DUPLICATE_VALUE" }
    -- blank
    anew()
    org:fault { path = "failedResults", status = 200, headers = { ["Content-Type"] = "text/csv" },
      body = '"sf__Id","sf__Error",name,ext__c\n"","REQUIRED_FIELD_MISSING:x:--","",""\n' }
    report_of { file = helper.file "name,ext__c\n,E1\n", results = path "results" }
    -- replaced
    anew()
    org:fault { method = "PUT", after = 1, count = -1, status = 400, body = BAD_BATCH }
    assert.is_nil(load { file = helper.file(csv(1, 20)), journal = path "journal" })
    org:clear_faults()
    report_of { file = helper.file(csv(1, 10)), journal = path "journal", restart = true }
    assert.is_true(report_of({ file = helper.file(csv(1, 10)), journal = path "journal" }).repeated)
    -- left_open
    anew()
    org:set { second_upload = "taken" }
    org:fault { method = "PUT", reset = "after" }
    org:fault { method = "PATCH", after = 1, status = 400, body = BAD_BATCH }
    report_of { file = helper.file(csv(1, 20)), part_bytes = 100000 }
    -- gone
    anew()
    local again = { file = helper.file(csv(1, 20)), journal = path "gone", wait = false }
    local first = report_of(again)
    helper.finished(client:job(first.jobs[1].id, "ingest"))
    assert(client:job(first.jobs[1].id, "ingest"):delete())
    again.wait = nil
    assert.is_true(report_of(again).jobs[1].gone)
    -- lower_bound
    anew()
    org:set { hold = true }
    client:spawn(function()
      while #org:jobs() == 0 or org:jobs()[1].state == "Open" do
        client:limits()
      end
      assert(client:job(org:jobs()[1].id):abort())
    end)
    report_of { file = helper.file(csv(1, 20)), part_bytes = 100000 }
    org:release()
    for _, class in ipairs { "LoadReport", "LoadProgress", "ResultFiles", "RunPart", "Reason" } do
      all_of("bulkjob." .. class)
    end
  end)

  it("an extract hold", function()
    local check, all_of = new_check()
    assert(load { file = helper.file(csv(1, 20)), part_bytes = 100000 })
    local report = assert(client:extract { query = "SELECT Name FROM Account", file = path "all.csv", on_progress = function(progress)
      check(progress, "bulkjob.ExtractProgress")
    end })
    check(report, "bulkjob.ExtractReport")
    all_of "bulkjob.ExtractReport"
    all_of "bulkjob.ExtractProgress"
  end)

  it("the facts of CSV hold", function()
    local check, all_of = new_check()
    check(assert(bulkjob.csv.check(CSV, { sha256 = true })), "bulkjob.CsvFacts")
    all_of "bulkjob.CsvFacts"
    all_of "bulkjob.CsvPart"
  end)
end)
