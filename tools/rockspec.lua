-- lua5.4 tools/rockspec.lua VERSION [scm]: prints the rockspec that the tree asks for: of the release VERSION, which has a tag in git,
-- or of the newest sources, which say that they are VERSION.
local version = assert(arg[1], "usage: tools/rockspec.lua VERSION [scm]")
local newest = arg[2] == "scm"

local function files(pattern)
  local pipe = assert(io.popen("cd " .. pattern .. " | LC_ALL=C sort"))
  local list = {}
  for name in pipe:lines() do
    list[#list + 1] = name:gsub("^%./", "")
  end
  pipe:close()
  return list
end

local modules = {}
for _, name in ipairs(files "lua && find . -name '*.lua'") do
  local module = name:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  modules[#modules + 1] = ('    ["%s"] = "lua/%s",'):format(module, name)
end
local sources = {}
for _, name in ipairs(files "src && find . -name '*.c'") do
  sources[#sources + 1] = ('        "src/%s",'):format(name)
end
local commands = {}
for _, name in ipairs(files ". && find bin -type f") do
  commands[#commands + 1] = ('      "%s",'):format(name)
end

local text = [==[
-- Written by `make rockspec`.
rockspec_format = "3.0"
package = "bulkjob"
version = "@ROCK@-1"
source = {
  url = "git+https://github.com/bulkjob/bulkjob.git",
  @SOURCE@,
}
description = {
  summary = "Salesforce Bulk API 2.0: load CSV files of any size, each row once, and extract the rows of queries",
  detailed = [[
A module with a C core over libcurl, and the command bulkjob for the shell. Creates bulk jobs, uploads CSV, closes or aborts them,
waits for them and reads their results, and the same for queries. Whole loads and extracts go on where they were after a crash.
For plain scripts, nginx and OpenResty, HAProxy, Neovim, event loops, games and C programs: a call never blocks its host.
Brings a local org to test against (bulkjob sandbox; needs nginx with its Lua module).]],
  homepage = "https://github.com/bulkjob/bulkjob",
  issues_url = "https://github.com/bulkjob/bulkjob/issues",
  maintainer = "the bulkjob contributors",
  license = "MIT",
  labels = { "salesforce", "bulk", "csv", "http", "client", "commandline" },
}
dependencies = {
  "lua >= 5.1, < 5.5",
  "lua-cjson >= 2.1.0",
  "argparse >= 0.7.0",
}
test_dependencies = {
  "busted",
}
external_dependencies = {
  -- By its library: Debian keeps the header where luarocks does not look, and the compiler does.
  CURL = { library = "curl" },
  OPENSSL = { header = "openssl/evp.h" },
  ZLIB = { header = "zlib.h" },
  XXHASH = { header = "xxhash.h" },
}
build = {
  type = "builtin",
  modules = {
@MODULES@
    ["bulkjob.core"] = {
      sources = {
@SOURCES@
      },
      defines = { "BULKJOB_VERSION=@VERSION@", "_GNU_SOURCE", "_FILE_OFFSET_BITS=64" },
      libraries = { "curl", "crypto", "z", "m", "pthread" },
      incdirs = { "$(CURL_INCDIR)", "$(OPENSSL_INCDIR)", "$(ZLIB_INCDIR)", "$(XXHASH_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)", "$(OPENSSL_LIBDIR)", "$(ZLIB_LIBDIR)" },
    },
  },
  install = {
    bin = {
@COMMANDS@
    },
  },
  -- The command finds the sandbox beside itself.
  copy_directories = { "doc", "sandbox" },
}
test = {
  type = "busted",
}
]==]
local parts = {
  VERSION = version, ROCK = newest and "scm" or version, SOURCE = newest and 'branch = "main"' or ('tag = "v%s"'):format(version),
  MODULES = table.concat(modules, "\n"), SOURCES = table.concat(sources, "\n"), COMMANDS = table.concat(commands, "\n"),
}
io.write((text:gsub("@(%u+)@", parts)))
