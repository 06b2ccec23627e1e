--- README.md: its program and its commands do what it says. And whatever the pages for people point at is there.
local helper = require "spec.helper"
local lfs = require "lfs"

local ROOT = lfs.currentdir()
local LUA = assert(os.getenv "LUA", "this is run by make test")

local MOST_LINES = 150

local README = assert(helper.content "README.md")

-- The text of the block that begins with this fence.
local function block(fence)
  local from = assert(select(2, README:find("\n```" .. fence .. "\n", 1, true)), "README has no block " .. fence)
  return README:sub(from + 1, README:find("\n```\n", from, true))
end

local write = helper.write

-- What a heading is called in a link: as GitHub and others do it.
local function anchors(text)
  local known = {}
  for heading in ("\n" .. text):gsub("\n```.-\n```", ""):gmatch "\n#+ ([^\n]+)" do
    known[heading:gsub("[^%w%s_-]", ""):gsub("%s", "-"):lower()] = true
  end
  return known
end

-- The links of a page: calls `fn(target, anchor)` for those to files, with their path from the root of the tree.
local function each_link(page, fn)
  local folder = page:match "^.*/" or ""
  for link in helper.content(page):gmatch "%]%(([^)%s]+)%)" do
    if not link:find "^%a+://" then
      local path, anchor = link:match "^([^#]*)#?(.*)$"
      path = path == "" and page or folder .. path
      repeat
        local n
        path, n = path:gsub("[^/]+/%.%./", "", 1)
      until n == 0
      fn(path, anchor)
    end
  end
end

-- All pages for people, by their paths.
local function pages()
  local list = {}
  for _, folder in ipairs { "", "doc/", "sandbox/" } do
    for name in lfs.dir(ROOT .. "/" .. folder) do
      if name:find "%.md$" then
        list[#list + 1] = folder .. name
      end
    end
  end
  table.sort(list)
  return list
end

describe("README", function()
  local org
  helper.scene(helper.AT_ONCE, function(...)
    org = ...
  end)
  local path = helper.directory "each"

  -- Runs a command in the directory, as somebody does who has installed the library. Answers what it printed, its status, and what it
  -- said on the standard error.
  local function run(command, csv)
    write(path "accounts.csv", csv or block "csv accounts.csv")
    write(path "load.lua", block "lua run examples/load.lua")
    lfs.mkdir(path "bin")
    write(path "bin/bulkjob", ("#!/bin/sh\nexec %s %s \"$@\"\n"):format(LUA, helper.quote(ROOT .. "/bin/bulkjob")))
    assert(os.execute("chmod +x " .. path "bin/bulkjob"))
    write(path "script", command)
    local out, status = helper.shell(("cd %s && PATH=%s:$PATH SF_INSTANCE_URL=%s SF_ACCESS_TOKEN=%s sh -e script 2>err"):format(path(), path "bin",
      org.url, org.token))
    return out, status, helper.content(path "err")
  end

  local function run_program(csv)
    return run(LUA .. " load.lua", csv)
  end

  it("is one page", function()
    local _, lines = README:gsub("\n", "")
    assert.is_true(lines <= MOST_LINES, lines .. " lines")
  end)

  it("has a program that is examples/load.lua", function()
    assert.are.equal(helper.content "examples/load.lua", block "lua run examples/load.lua")
  end)

  it("has a program that loads a file, and repeats nothing when it is run again", function()
    for _ = 1, 2 do
      local out, status, err = run_program()
      assert.are.equal("", err)
      assert.are.equal("2 rows: 2 stored, 0 failed, 0 not processed\n", out)
      assert.are.equal(0, status)
    end
    assert.are.equal(2, org:count "Account")
    assert.are.equal(1, #org:jobs())
    assert.matches("A%-2", helper.content(path "results/successful.csv"))
  end)

  it("has a program that says why rows failed", function()
    local out, status, err = run_program "Ext__c,Name\nA-1,One\nA-2,\n"
    assert.are.equal("", err)
    assert.matches("^2 rows: 1 stored, 1 failed, 0 not processed\n1 times REQUIRED_FIELD_MISSING: ", out)
    assert.are.equal(1, status)
  end)

  it("has a program that says what went wrong, and what was sent before", function()
    local out, status, err = run_program "Ext__c,Name\nA-1,\"One\n"
    assert.are.equal("", out)
    assert.matches("^[^\n]*line 2[^\n]*\n$", err)
    assert.are.equal(3, status)

    org:fault { method = "PATCH", status = 400, effect = false, body = '[{"errorCode":"LIMIT_EXCEEDED","message":"no more"}]' }
    out, status, err = run_program()
    assert.are.equal("", out)
    assert.matches("LIMIT_EXCEEDED[^\n]*\njob %w+: %a[%a ]*\n$", err)
    assert.are.equal(3, status)
  end)

  it("has commands that load a file and bring the rows back", function()
    local _, status, err = run(block "sh run")
    assert.are.equal(0, status, err)
    local rows = helper.content(path "from-salesforce.csv")
    assert.matches("Example Inc", rows)
    assert.matches("Müller, Söhne", rows)
    assert.is_not_nil(helper.content(path "results/failed.csv"))
  end)
end)

describe("what is pointed at is there:", function()
  for _, page in ipairs(pages()) do
    it(page, function()
      local missing = {}
      each_link(page, function(target, anchor)
        local text = helper.content(target)
        if not text then
          missing[#missing + 1] = target
        elseif anchor ~= "" and not anchors(text)[anchor] then
          missing[#missing + 1] = target .. "#" .. anchor
        end
      end)
      for name in helper.content(page):gmatch "`([%w_./]+)`" do
        if name:find "^%a+/[%w_./]+%.%a+$" and lfs.attributes(name:match "^%a+", "mode") == "directory" and not lfs.attributes(name)
            and not lfs.attributes((page:match "^.*/" or "") .. name) then
          missing[#missing + 1] = name
        end
      end
      assert.are.same({}, missing)
    end)
  end
end)
