-- lua5.4 tools/rockspec.lua VERSION: prints the rockspec that the tree asks for.
local version = assert(arg[1], "usage: tools/rockspec.lua VERSION")

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
for _, name in ipairs(files ". && find bin -type f 2>/dev/null") do
  commands[#commands + 1] = ('      "%s",'):format(name)
end
local install = #commands == 0 and "" or
  "  install = {\n    bin = {\n" .. table.concat(commands, "\n") .. "\n    },\n  },\n"

local text = [[
-- Written by `make rockspec`.
rockspec_format = "3.0"
package = "bulkjob"
version = "@VERSION@-1"
source = {
  url = "git+https://example.org/bulkjob.git",
  tag = "v@VERSION@",
}
description = {
  summary = "Salesforce Bulk API 2.0, where a bulk job is a transaction",
  detailed = "Create a job, upload CSV, close it or abort it, watch it and read its results; and the same for queries. "
    .. "For plain scripts, nginx with Lua, and programs that must never be blocked.",
  license = "MIT",
  labels = { "salesforce", "csv", "http", "client" },
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
      incdirs = { "$(CURL_INCDIR)", "$(ZLIB_INCDIR)", "$(XXHASH_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)", "$(ZLIB_LIBDIR)" },
    },
  },
@INSTALL@}
test = {
  type = "busted",
}
]]
local parts = {
  VERSION = version, MODULES = table.concat(modules, "\n"), SOURCES = table.concat(sources, "\n"), INSTALL = install,
}
io.write((text:gsub("@(%u+)@", parts)))
