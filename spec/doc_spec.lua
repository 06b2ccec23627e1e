--- The guides in doc/: what they show is run, as a reader would, against an org of its own.
---
--- A fenced block says behind its language what it is:
---
---   ```lua run            a complete program. Languages: lua, sh, c, nginx (a whole nginx.conf)
---   ```lua run love       a program for another host: love, nvim
---   ```csv accounts.csv   a file of that name. Together: ```lua run first.lua
---   ```lua examples/luv.lua  the text of that file of this project. spec/examples_spec.lua runs it, too
---   ```text output        what the program before it prints: these lines, in this order; "…" stands for anything
---
--- All others are only shown. The blocks of a guide run one after the other, in one directory, with SF_INSTANCE_URL and
--- SF_ACCESS_TOKEN in the environment and `bulkjob` in PATH. A program is good when its exit code is 0. The nginx of a guide
--- runs until its last block is done.
local annotations = require "tools.annotations"
local control = require "sandbox.control"
local core = require "bulkjob.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local programs = require "spec.programs"

local ROOT = lfs.currentdir()
local LUA = assert(os.getenv "LUA", "this is run by make test")
local BUILD = assert(os.getenv "BUILD")
local quote = helper.quote

---- Guides and their blocks ----

-- { { language =, words = { run = true, … }, file =, line =, text = }, … }
local function blocks_of(path)
  local blocks, block, number = {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    local info = line:match "^```(.*)$"
    if block and info then
      blocks[#blocks + 1] = { language = block.language, words = block.words, file = block.file, line = block.line,
        text = table.concat(block.lines, "\n") .. "\n" }
      block = nil
    elseif block then
      block.lines[#block.lines + 1] = line
    elseif info then
      block = { words = {}, line = number, lines = {} }
      for word in info:gmatch "%S+" do
        if not block.language then
          block.language = word
        elseif word:find(".", 1, true) then
          block.file = word
        else
          block.words[word] = true
        end
      end
    end
  end
  assert(not block, path .. ": a block does not end")
  return blocks
end

local function guides()
  local names = {}
  for name in lfs.dir "doc" do
    if name:find "%.md$" and name ~= "reference.md" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

---- A guide that is run ----

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

-- Can this block be run here? A sanitizer's core needs its runtime in the program; what asks a server needs it; and `<close>` needs
-- Lua 5.4.
local function is_for_us(guide, block)
  if block.language == "c" then
    return not helper.SANITIZED
  elseif block.language == "sh" then
    return guide.nginx or not programs.asks_server(block.text)
  end
  return not block.text:find "<close>" or _VERSION == "Lua 5.4"
end

local RUN = {}

function RUN.lua(_, block, path)
  if block.words.nvim then
    return programs.nvim(path)
  elseif block.words.love then
    local game = path:gsub("[^/]*$", "game")
    assert(lfs.mkdir(game))
    write(game .. "/main.lua", block.text)
    write(game .. "/conf.lua", "function love.conf(t)\n  t.modules.window, t.modules.graphics, t.modules.audio = false, false, false\nend\n")
    return programs.love(game)
  end
  return programs.lua(path)
end

function RUN.sh(guide, _, path)
  write(path, programs.with_port(helper.content(path), guide.nginx and guide.nginx.port))
  return "sh -e " .. quote(path)
end

-- As the guide says it is built, with the files of this tree in the place of those that `make install` puts there.
function RUN.c(_, _, path)
  local version = LUA:match "luajit" and "luajit" or LUA:match "lua5%.%d"
  local package = version == "lua5.4" and "lua5.4" or version
  return ("cc -std=c11 -I%s/src $(pkg-config --cflags %s) -o host %s %s/libbulkjob.a $(pkg-config --libs %s libcurl libcrypto zlib)"
    .. " -lm -pthread -rdynamic && ./host"):format(quote(ROOT), package, quote(path), quote(BUILD), package)
end

-- Runs a block; raises what it said when it fails. Answers what it printed.
local function run(guide, number, block)
  if block.language == "nginx" then
    guide.nginx = programs.start_nginx(block.text, guide.dir, guide.environment)
    return ""
  end
  local path = guide.dir .. "/" .. (block.file and block.file:match "[^/]*$" or ("block%d.%s"):format(number, block.language))
  write(path, block.text)
  local command = assert(RUN[block.language], "no way to run " .. block.language)(guide, block, path)
  local out, status = helper.shell(("cd %s && %s && %s"):format(quote(guide.dir), "export " .. guide.environment, command))
  if status ~= 0 then
    error(("doc/%s, line %d: exit code %s\n%s"):format(guide.name, block.line, tostring(status), out), 0)
  end
  return out
end

-- Each line has to be in what was printed, behind the one before.
local function check_output(guide, block, out)
  local at = 1
  for line in block.text:gmatch "[^\n]+" do
    local pattern = line:gsub("%p", "%%%0"):gsub("…", "[^\n]*")
    local _, last = out:find(pattern, at)
    if not last then
      error(("doc/%s, line %d: not printed: %s\nIt printed:\n%s"):format(guide.name, block.line, line, out), 0)
    end
    at = last + 1
  end
end

-- What a guide has its reader do in Setup: the app gets the certificate that belongs to the key.
local function take_certificate(guide, org)
  local certificate = helper.content(guide.dir .. "/server.crt")
  if certificate then
    org:set { certificate = certificate }
  end
end

-- Is it the text of an example?
local function is_example(block)
  return block.file ~= nil and block.file:find "^examples/" ~= nil
end

local function check_example(guide, block)
  if is_example(block) and helper.content(block.file) ~= block.text then
    error(("doc/%s, line %d: it differs from %s"):format(guide.name, block.line, block.file), 0)
  end
end

describe("the guides:", function()
  local org
  local directory = helper.directory "each"
  local guide

  setup(function()
    org = control.start(helper.with(helper.AT_ONCE, { https = false }))
  end)
  teardown(function()
    org:stop()
    helper.clean()
  end)
  before_each(function()
    org:reset()
    guide = { dir = directory() }
    assert(core.make_directory(guide.dir .. "/bin"))
    assert(core.make_directory(guide.dir .. "/tmp"))
    write(guide.dir .. "/bin/bulkjob", ("#!/bin/sh\nexec %s %s \"$@\"\n"):format(LUA, quote(ROOT .. "/bin/bulkjob")))
    os.execute("chmod +x " .. quote(guide.dir .. "/bin/bulkjob"))
    guide.environment = programs.environment(org, guide.dir)
  end)
  after_each(function()
    if guide.nginx then
      guide.nginx:stop()
    end
  end)

  for _, name in ipairs(guides()) do
    it("doc/" .. name .. " holds what it shows", function()
      guide.name = name
      local blocks, count, out = blocks_of("doc/" .. name), 0, nil
      for number, block in ipairs(blocks) do
        check_example(guide, block)
        if block.words.run or is_example(block) then
          count = count + 1
          out = nil
        end
        if block.words.run then
          if is_for_us(guide, block) then
            out = run(guide, number, block)
            take_certificate(guide, org)
          end
        elseif block.words.output then
          assert(count > 0, ("doc/%s, line %d: no program before it"):format(name, block.line))
          if out then
            check_output(guide, block, out)
          end
        elseif block.file and not is_example(block) then
          write(guide.dir .. "/" .. block.file, block.text)
        end
      end
      assert(count > 0, "doc/" .. name .. " has no program that is run")
    end)
  end

  it("that of the command names each option and each command", function()
    local text = helper.content "doc/command.md"
    local manual = helper.content("doc/bulkjob.1"):gsub("\\%-", "-")
    local options, commands = 0, 0
    for option in manual:gmatch "\n%.TP\n%S*[ ,]*(%-%-[%w-]+)" do
      options = options + 1
      assert(text:find("`" .. option:gsub("%-", "%%-") .. "[ `]"), option .. " is not in doc/command.md")
    end
    for command in manual:gmatch "\n%.SS (%l+)\n" do
      commands = commands + 1
      assert(text:find("| `" .. command .. "[ `]") or text:find("\n## " .. command .. "\n"), command .. " is not in doc/command.md")
    end
    assert(options > 60 and commands > 12, ("%d options of %d commands in the manual"):format(options, commands))
  end)

  it("that of errors names each kind, and each code of our own", function()
    local text = helper.content "doc/errors.md"
    for _, kind in ipairs(annotations.read("lua/bulkjob/meta.lua").known["bulkjob.ErrorKind"].values) do
      assert(text:find("\n| `" .. kind.value .. "` |"), "the kind " .. kind.value .. " is not in doc/errors.md")
    end
    for _, code in ipairs { "LOCKED", "CONTENT_CHANGED", "NOT_RENAMED" } do
      assert(text:find("`" .. code .. "`", 1, true))
    end
  end)
end)
