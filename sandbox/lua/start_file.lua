--- What the launcher hands over byte by byte: the file "start", entries NAME=VALUE with a NUL after each. Settings have names that begin
-- with "set.".

local settings = require "settings"

local M = {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- The settings and the other entries of the file in that directory; or nil and what is wrong with them.
function M.read(dir)
  local values, others = {}, {}
  for entry in read(dir .. "/start"):gmatch "[^%z]+" do
    local name, text = entry:match "^([^=]*)=(.*)$"
    local setting = name and name:match "^set%.(.*)$"
    if setting then
      local value, err = settings.from_text(setting, text)
      if err then
        return nil, err
      end
      values[setting] = value
    elseif name then
      others[name] = text
    end
  end
  local ok, err = settings.check(values)
  if not ok then
    return nil, err
  end
  return values, others
end

--- From nginx's start: what is wrong goes to the file "problem", which the launcher shows, and nginx does not start.
function M.check(dir)
  local ok, err = M.read(dir)
  if not ok then
    local file = assert(io.open(dir .. "/problem.new", "w"))
    file:write(err, "\n")
    file:close()
    os.rename(dir .. "/problem.new", dir .. "/problem") -- it is whole when the launcher sees it
    error(err, 0)
  end
end

return M
