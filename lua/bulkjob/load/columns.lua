--- The columns of a file, and those of results, which the service puts before the rows.
local columns = {}

--- Without the service's own, which it takes from nobody.
---@param names string[]
---@return string[]
function columns.to_load(names)
  local list = {}
  for _, name in ipairs(names) do
    if not name:find "^sf__" then
      list[#list + 1] = name
    end
  end
  return list
end

--- What a row of the file is found by in its results, which have the columns `there`: by the one that tells it from all others, if
--- both have it, else by all that both have.
---@param names string[]
---@param there string[]
---@param unique string|nil
---@return string[]
function columns.key(names, there, unique)
  local known, list = {}, {}
  for _, name in ipairs(there) do
    known[name] = true
  end
  for _, name in ipairs(names) do
    if known[name] and name == unique then
      return { name }
    elseif known[name] then
      list[#list + 1] = name
    end
  end
  return list
end

return columns
