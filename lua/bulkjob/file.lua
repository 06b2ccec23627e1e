--- Whole files.
local file = {}

--- What is in a file.
---@param path string
---@return string|nil text, string|nil why
function file.read(path)
  local opened, why = io.open(path, "rb")
  local text
  if opened then
    text, why = opened:read "*a"
    opened:close()
  end
  return text, not text and tostring(why) or nil
end

return file
