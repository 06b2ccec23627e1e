-- LUA tools/parse.lua FILE...: do these parse in the Lua that runs this?
local bad = 0
for _, name in ipairs(arg) do
  local chunk, message = loadfile(name)
  if not chunk then
    print(message)
    bad = bad + 1
  end
end
os.exit(bad == 0 and 0 or 1)
