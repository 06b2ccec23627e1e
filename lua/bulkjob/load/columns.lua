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

return columns
