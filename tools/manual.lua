-- Prints the manual page of the command, made from its parser: lua5.4 tools/manual.lua VERSION > doc/bulkjob.1
package.path = "lua/?.lua;" .. package.path
-- The parser asks the library for nothing but its version.
package.preload["bulkjob"] = function()
  return { _VERSION = "bulkjob " .. arg[1] }
end
local parser = require("bulkjob.cli.parser")()

local function escape_characters(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"))
end

-- A line that begins with blanks stays a line.
local function escape(text)
  return (escape_characters(text):gsub("\n *\n", "\n.PP\n"):gsub("\n +", "\n.br\n"))
end

local function print_element(element, name)
  print ".TP"
  print(escape(name))
  local text = element._description or ""
  if element._default then
    text = text .. " (default: " .. element._default .. ")"
  end
  print(escape(text))
end

local function print_elements(command)
  for _, argument in ipairs(command._arguments) do
    print_element(argument, argument._name)
  end
  for _, option in ipairs(command._options) do
    local names = table.concat(option._aliases, ", ")
    local value = option._choices and table.concat(option._choices, "|")
      or option._maxargs ~= 0 and option._name:gsub("^%-+", ""):gsub("%-", "_"):upper()
    print_element(option, value and names .. " " .. value or names)
  end
end

print(('.TH BULKJOB 1 "" "bulkjob %s"'):format(arg[1]))
print ".SH NAME"
print "bulkjob \\- load Salesforce records in bulk"
print ".SH SYNOPSIS"
print "bulkjob [\\fIoptions\\fR] \\fIcommand\\fR ..."
print ".SH DESCRIPTION"
print(escape(parser._description))
print ".PP"
print(escape(parser._epilog:match "^(.-)\n\nExample:"))
print ".SH OPTIONS"
print_elements(parser)
print ".SH COMMANDS"
for _, command in ipairs(parser._commands) do
  if not command._hidden then
    print(".SS " .. command._name)
    print(escape(command._description or command._summary or ""))
    print_elements(command)
  end
end
print ".SH EXAMPLE"
print ".nf"
print(escape_characters(parser._epilog:match "Example:\n%s*(.*)"))
print ".fi"
