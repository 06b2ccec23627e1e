--- The columns of a file, and those of results, which the service puts before the rows.
local columns = {}

-- The guide, get_job_successful_results and get_job_failed_results; and what a join adds to them. Another sf__ may be the namespace of
-- a package.
local OWN = { sf__Id = true, sf__Created = true, sf__Error = true, sf__Outcome = true }

--- Is it the service's own, or of a join?
---@param name string
---@return boolean
function columns.is_own(name)
  return OWN[name] ~= nil
end

--- Without the service's own, which it takes from nobody.
---@param names string[]
---@return string[]
function columns.to_load(names)
  local list = {}
  for _, name in ipairs(names) do
    if not OWN[name] then
      list[#list + 1] = name
    end
  end
  return list
end

return columns
