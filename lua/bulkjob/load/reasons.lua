--- Why rows failed: their errors, grouped by cause.
local columns = require "bulkjob.load.columns"

local reasons = {}

-- So many causes are told apart; after them, only by their codes.
local MOST = 1000

-- Of an example: values that are longer say little about a cause.
local MOST_BYTES = 200

-- What stands for an id, a number or a text in quotes when two messages are compared: those differ from row to row.
local function cause_of(text)
  return (text:gsub("%f[%w]%w+%f[%W]", function(word)
    return (#word == 15 or #word == 18) and word:find "%d" and "#" or nil
  end):gsub("'[^']*'", "'#'"):gsub('"[^"]*"', '"#"'):gsub("%d+", "#"))
end

-- "CODE:message:fields --" (the guide, get_job_failed_results): the code, and the rest without what is empty at its end.
local function split(text)
  local code, message = text:match "^([%u%d_]+):(.*)$"
  return code, (message or text):match "^%s*(.-)[%s:-]*$"
end

local function example_of(row)
  local example = {}
  for name, value in pairs(row) do
    if not columns.is_own(name) and value ~= "" and #value <= MOST_BYTES then
      example[name] = value
    end
  end
  return example
end

--- A tally: `add(row)` takes a failed row, `list()` gives the causes, and `count` and `is_blank` are about all rows so far.
---@return { add: fun(row: table<string, string>), list: fun(): bulkjob.Reason[], count: integer, is_blank: boolean } tally `is_blank`:
---  no row had a value of its own
function reasons.new()
  local groups, list = {}, {}
  local tally = { count = 0, is_blank = false }
  local has_values = false
  function tally.add(row)
    local text = row.sf__Error or ""
    local code, message = split(text)
    local cause = cause_of(text)
    if #list >= MOST and not groups[cause] then
      cause = code or ""
    end
    local group = groups[cause]
    if not group then
      group = { code = code, message = message, count = 0, example = example_of(row), place = #list + 1 }
      groups[cause], list[#list + 1] = group, group
    end
    group.count = group.count + 1
    tally.count = tally.count + 1
    if not has_values then
      for name, value in pairs(row) do
        has_values = has_values or (value ~= "" and not columns.is_own(name))
      end
    end
    tally.is_blank = not has_values
  end
  function tally.list()
    local causes = {}
    table.sort(list, function(a, b)
      if a.count ~= b.count then
        return a.count > b.count
      end
      return a.place < b.place
    end)
    for i, group in ipairs(list) do
      causes[i] = { code = group.code, message = group.message, count = group.count, example = group.example }
    end
    return causes
  end
  return tally
end

return reasons
