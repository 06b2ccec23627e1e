--- How far a load is: a bar on a terminal, lines elsewhere, JSON lines for machines.
local core = require "bulkjob.core"
local output = require "bulkjob.cli.output"

local bar = {}

local STDERR = 2
local DEFAULT_COLUMNS = 80
local LINE_SECONDS = 5

local function columns()
  local width = core.terminal(STDERR)
  return width and (width > 0 and width or tonumber(os.getenv "COLUMNS") or DEFAULT_COLUMNS)
end

-- The way up is the one half, the processing the other.
local function share(progress)
  local sent = progress.total_bytes > 0 and progress.bytes / progress.total_bytes or 1
  local processed = progress.records > 0 and progress.processed / progress.records or 1
  return (sent + processed) / 2
end

-- What is said, the most important first.
local function words(progress)
  local busy = 0
  for name, count in pairs(progress.jobs) do
    busy = busy + (name ~= "waiting" and name ~= "done" and name ~= "failed" and count or 0)
  end
  local list = {
    ("%3.0f %%"):format(math.floor(share(progress) * 100)),
    progress.seconds_left and output.time(progress.seconds_left) .. " left" or nil,
  }
  list[#list + 1] = output.number(progress.processed) .. " of " .. output.number(progress.records) .. " rows"
  list[#list + 1] = output.bytes(progress.bytes) .. " sent"
  list[#list + 1] = busy .. (busy == 1 and " job" or " jobs")
  return list
end

-- As many of the words as fit beside a bar that is worth looking at.
local LEAST_BAR = 10

local function line(progress, width)
  local list = words(progress)
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
  local full = math.floor(share(progress) * room)
  return "[" .. ("#"):rep(full) .. ("-"):rep(room - full) .. "] " .. text
end

--- A function to give each progress to, and one that ends it.
---@param options { json: boolean|nil, quiet: boolean|nil }
function bar.new(options)
  local drawn, last = false, nil
  local function clear()
    if drawn then
      io.stderr:write("\r", (" "):rep((columns() or DEFAULT_COLUMNS) - 1), "\r")
      io.stderr:flush()
      drawn = false
    end
  end
  local function show(progress)
    local width = columns()
    if options.quiet then
      return
    elseif options.json then
      output.json { progress = progress }
    elseif width and os.getenv "TERM" ~= "dumb" then
      local text = line(progress, width)
      io.stderr:write("\r", text, (" "):rep(width - 1 - #text))
      io.stderr:flush()
      drawn = true
    elseif not last or core.now() - last >= LINE_SECONDS then
      last = core.now()
      io.stderr:write(table.concat(words(progress), ", "), "\n")
    end
  end
  return show, clear
end

return bar
