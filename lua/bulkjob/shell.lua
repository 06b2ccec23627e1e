--- Words for the shell.
local shell = {}

--- A text as one word, in quotes where it needs them.
---@param text string
---@return string
function shell.quote(text)
  return text:find "^[%w_@%%+=:,./-]+$" and text or "'" .. text:gsub("'", "'\\''") .. "'"
end

--- The command line that was given.
---@param arguments string[]
---@return string
function shell.command(arguments)
  local words = { "bulkjob" }
  for _, word in ipairs(arguments) do
    words[#words + 1] = shell.quote(word)
  end
  return table.concat(words, " ")
end

return shell
