--- How far it is: a bar on a terminal, lines elsewhere, JSON lines for machines.
local core = require "bulkjob.core"
local output = require "bulkjob.cli.output"

local bar = {}

local STDERR = 2
local LINE_SECONDS = 5

-- What is said, the most important first.
local function words(progress, share, more)
  local list = { ("%3.0f %%"):format(math.floor(share * 100)) }
  if progress.seconds_left then
    list[2] = output.time(progress.seconds_left) .. " left"
  end
  for _, word in ipairs(more) do
    list[#list + 1] = word
  end
  return list
end

-- As many of the words as fit beside a bar that is worth looking at.
local LEAST_BAR = 10

local function line(list, share, width)
  local text = list[1]
  for i = 2, #list do
    local longer = text .. "  " .. list[i]
    if #longer + LEAST_BAR + 3 > width - 1 then
      break
    end
    text = longer
  end
  local room = math.min(width - 1 - #text - 3, 40)
  if room < LEAST_BAR then
    return text:sub(1, width - 1)
  end
  local full = math.floor(share * room)
  return "[" .. ("#"):rep(full) .. ("-"):rep(room - full) .. "] " .. text
end

--- A function to give each progress to, and one that ends it.
---@param options { json: boolean|nil, quiet: boolean|nil }
---@param describe fun(progress: table): number, string[] how much is done, from 0 to 1, and what to say of it
function bar.new(options, describe)
  local drawn, last = false, nil
  local function clear()
    local width = drawn and output.columns(STDERR)
    if width then
      io.stderr:write("\r", (" "):rep(width - 1), "\r")
      io.stderr:flush()
    end
    drawn = false
  end
  local function show(progress)
    if options.quiet then
      return
    elseif options.json then
      output.json_progress { progress = progress }
      return
    end
    local width = output.columns(STDERR)
    local share, more = describe(progress)
    local list = words(progress, share, more)
    if width and os.getenv "TERM" ~= "dumb" then
      local text = line(list, share, width)
      io.stderr:write("\r", text, (" "):rep(width - 1 - #text))
      io.stderr:flush()
      drawn = true
    elseif not last or core.now() - last >= LINE_SECONDS then
      last = core.now()
      io.stderr:write(table.concat(list, ", "), "\n")
    end
  end
  return show, clear
end

return bar
