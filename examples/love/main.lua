-- A game that sends its score board to an org and goes on playing. `make example-love` runs it against a sandbox; with an org of your
-- own, SF_INSTANCE_URL and SF_ACCESS_TOKEN (and for a CA of your own SSL_CERT_FILE) say where it is:
--
--   love examples/love [--rows N] [--screenshot PATH]
--
-- With --screenshot it ends by itself when the upload is done, with a picture of its last frame.

local bulkjob = require "bulkjob"
local upload = require "upload"
local view = require "view"

local FRAME = 1 / 60
local LAST_LOOK = 0.7 -- seconds between the end of the upload and the picture

local options = { rows = 50000 }
local client, task
local players = {}
local progress = { step = "create", steps = {}, rows = 0, saved = 0, refused = 0 }
local frames = { ms = {}, poll = {}, worst_ms = 0, worst_poll = 0, long_polls = 0, count = 0 }
local next_frame, ended, taken

local SYLLABLES = { "ka", "zu", "mi", "ro", "ven", "tor", "li", "sha", "dex", "no", "qui", "bra" }

local function player(i)
  local function syllable(n)
    return SYLLABLES[n % #SYLLABLES + 1]
  end
  return {
    Ext__c = ("P-%06d"):format(i),
    LastName = (syllable(i) .. syllable(i * 7 + 3) .. syllable(math.floor(i / 5))):gsub("^%l", string.upper),
    Count__c = i * 37 % 99 + 1,
    -- Every thousandth has tampered with the score. The org will not take it.
    Number__c = i % 1000 == 500 and "over nine thousand" or i * 7919 % 999983,
  }
end

local function read_arguments(arguments)
  for i = 1, #arguments, 2 do
    local name, value = arguments[i]:match "^%-%-(%a+)$", arguments[i + 1]
    if name == "rows" then
      options.rows = assert(tonumber(value), "--rows: a number expected")
    elseif name == "screenshot" then
      options.screenshot = assert(value, "--screenshot: a path expected")
    else
      error("unknown argument: " .. arguments[i], 0)
    end
  end
end

function love.load(arguments)
  read_arguments(arguments)
  for i = 1, options.rows do
    players[i] = player(i)
  end
  client = bulkjob.client {
    instance_url = assert(os.getenv "SF_INSTANCE_URL", "SF_INSTANCE_URL is not set"),
    access_token = assert(os.getenv "SF_ACCESS_TOKEN", "SF_ACCESS_TOKEN is not set"),
    ca_file = os.getenv "SSL_CERT_FILE",
    nice = 10, -- the engine's thread leaves the processor to the game
  }
  local shown = view.load(players)
  collectgarbage()
  next_frame = love.timer.getTime()
  task = client:spawn(upload, client, players, shown, progress)
end

-- Where no display gives the pace.
local function keep_pace()
  local now = love.timer.getTime()
  next_frame = math.max(next_frame + FRAME, now)
  love.timer.sleep(next_frame - now)
end

local function finish()
  ended = love.timer.getTime()
  local state, err = task:result()
  progress.state, progress.err = state or "failed", err
  print(("%s: %d rows saved, %d refused, %d frames, worst frame %.1f ms, worst poll %.3f ms, %d above 0.5 ms"):format(
    tostring(err or state), progress.saved, progress.refused, frames.count, frames.worst_ms, frames.worst_poll, frames.long_polls))
end

function love.update(dt)
  keep_pace()
  local before = love.timer.getTime()
  client:poll(0) -- all that the upload costs a frame
  local poll = (love.timer.getTime() - before) * 1000
  frames.count = frames.count + 1
  -- The frames before the first ones were spent loading.
  local ms = frames.count > 3 and dt * 1000 or FRAME * 1000
  frames.ms[frames.count], frames.poll[frames.count] = ms, poll
  frames.worst_ms, frames.worst_poll = math.max(frames.worst_ms, ms), math.max(frames.worst_poll, poll)
  if poll > 0.5 then
    frames.long_polls = frames.long_polls + 1
  end
  if not ended and task:done() then
    finish()
  end
  view.update(dt, progress)
end

local function save(image)
  local file = assert(io.open(options.screenshot, "wb"))
  file:write(image:encode("png"):getString())
  file:close()
  love.event.quit(progress.err and 1 or 0)
end

function love.draw()
  view.draw(progress, frames, options.rows)
  if options.screenshot and not taken and ended and love.timer.getTime() - ended > LAST_LOOK then
    taken = true
    love.graphics.captureScreenshot(save)
  end
end

function love.keypressed(key)
  if key == "escape" then
    love.event.quit()
  end
end

-- Leaving in the middle rolls back what is not closed.
function love.quit()
  if not task:done() then
    task:cancel()
    task:result()
  end
end
