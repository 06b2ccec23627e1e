--- Words for the shell.
local core = require "bulkjob.core"

local shell = {}

--- A text as one word, in quotes where it needs them.
---@param text string
---@return string
function shell.quote(text)
  return text:find "^[%w_@%%+=:,./-]+$" and text or "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The program as it can be called from here: by its name, where that leads to it.
local function name_of(program)
  -- A rock's program is called by a wrapper, which luarocks puts into the bin of the tree.
  local tree = program:match "^(.*)/lib/luarocks/rocks[^/]*/"
  program = tree and tree .. "/bin/bulkjob" or program
  for directory in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    if core.same_file(directory .. "/bulkjob", program) then
      return "bulkjob"
    end
  end
  return shell.quote(program)
end

--- The command line that was given, to be given again.
---@param arguments string[] the program at 0
---@return string
function shell.command(arguments)
  local words = { name_of(arguments[0]) }
  for _, word in ipairs(arguments) do
    words[#words + 1] = shell.quote(word)
  end
  return table.concat(words, " ")
end

return shell
