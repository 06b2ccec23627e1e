-- Writes Lua files as C, for a program that has them inside: lua5.4 standalone/embed.lua ARGPARSE FILE... > modules.c
-- FILE is below lua/, such as lua/bulkjob/csv.lua. ARGPARSE is the file of the module argparse, or "" to take the one that is installed.
local WIDTH = 32 -- bytes on a line

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = assert(file:read "a")
  file:close()
  assert(load(text, "@" .. path, "t"))
  return text
end

local modules = {}
local function add(name, chunk, path)
  modules[#modules + 1] = { name = name, chunk = "@" .. chunk, text = read(path) }
end

add("argparse", "argparse.lua", arg[1] ~= "" and arg[1] or assert(package.searchpath("argparse", package.path)))
for i = 2, #arg do
  local chunk = arg[i]:gsub("^lua/", "")
  add(chunk:gsub("%.lua$", ""):gsub("/", "."), chunk, arg[i])
end

print "/* Written by standalone/embed.lua. */"
print '#include "modules.h"\n'
for i, module in ipairs(modules) do
  print(("static const unsigned char text%d[] = {"):format(i))
  for from = 1, #module.text, WIDTH do
    print("    " .. table.concat({ module.text:byte(from, from + WIDTH - 1) }, ", ") .. ",")
  end
  print "};"
end
print "\nconst struct embedded embedded[] = {"
for i, module in ipairs(modules) do
  print(("    {%q, %q, text%d, sizeof text%d},"):format(module.name, module.chunk, i, i))
end
print "    {NULL, NULL, NULL, 0},\n};"
