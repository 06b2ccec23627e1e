--- What is seen: the game, the job, the frames.
local view = {}

local BLUE, GREEN, AMBER, RED = { 0.35, 0.65, 1 }, { 0.35, 0.9, 0.55 }, { 1, 0.75, 0.3 }, { 1, 0.4, 0.45 }
local TEXT, DIM, LINE, PANEL = { 0.92, 0.94, 1 }, { 0.55, 0.6, 0.72 }, { 0.22, 0.26, 0.38 }, { 0.085, 0.1, 0.165 }

local STEPS = {
  { "create", "create the job" },
  { "upload", "upload the rows" },
  { "close", "close: commit" },
  { "process", "the org works" },
  { "results", "read the results" },
}

local ARENA = { x = 16, y = 68, w = 376, h = 328 }
local JOB = { x = 408, y = 68, w = 376, h = 328 }
local GRAPH = { x = 16, y = 412, w = 768, h = 172 }

local SERIES_W = GRAPH.w - 96 -- frames shown, a pixel each; the labels of the limits stand beside them

local BALLS = 28
local fonts = {}
local balls, top, cheat = {}, {}, nil
local clock = 0
local rate = { rows = 0, at = 0, shown = nil, step = nil }

local function number(n)
  local text = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

local function write(text, font, color, x, y, width, align)
  love.graphics.setFont(fonts[font])
  love.graphics.setColor(color)
  love.graphics.printf(text, x, y, width or 400, align or "left")
end

local function panel(box)
  love.graphics.setColor(PANEL)
  love.graphics.rectangle("fill", box.x, box.y, box.w, box.h, 8)
  love.graphics.setColor(LINE)
  love.graphics.rectangle("line", box.x, box.y, box.w, box.h, 8)
end

--- Answers the players that are shown, by their keys.
function view.load(players)
  love.graphics.setBackgroundColor(0.045, 0.055, 0.1)
  for name, size in pairs { big = 24, normal = 15, small = 12 } do
    fonts[name] = love.graphics.newFont(size)
  end
  for i = 1, BALLS do
    balls[i] = {
      x = love.math.random() * ARENA.w, y = love.math.random() * 170, r = 4 + i % 4 * 3,
      vx = (love.math.random() - 0.5) * 240, vy = (love.math.random() - 0.5) * 160, hue = i % 3, trail = {},
    }
  end
  -- The five best honest ones, and one who is not.
  for _, player in ipairs(players) do
    local score = player.Number__c
    if type(score) == "string" then
      cheat = cheat or player
    elseif #top < 5 or score > top[5].Number__c then
      top[#top < 5 and #top + 1 or 5] = player
      table.sort(top, function(a, b)
        return a.Number__c > b.Number__c
      end)
    end
  end
  local shown = {}
  for _, player in ipairs(top) do
    shown[player.Ext__c] = player
  end
  if cheat then
    shown[cheat.Ext__c] = cheat
  end
  return shown
end

local function bounce(at, speed, r, most)
  if at < r then
    return r, math.abs(speed)
  elseif at > most - r then
    return most - r, -math.abs(speed)
  end
  return at, speed
end

-- Rows a second, over half seconds.
local function measure(progress)
  if rate.step ~= progress.step then
    rate.step, rate.rows, rate.at, rate.shown = progress.step, progress.rows, clock, nil
  elseif clock - rate.at > 0.5 then
    rate.shown = (progress.rows - rate.rows) / (clock - rate.at)
    rate.rows, rate.at = progress.rows, clock
  end
end

function view.update(dt, progress)
  clock = clock + dt
  for _, ball in ipairs(balls) do
    table.insert(ball.trail, 1, { ball.x, ball.y })
    ball.trail[15] = nil
    ball.x, ball.vx = bounce(ball.x + ball.vx * dt, ball.vx, ball.r, ARENA.w)
    ball.y, ball.vy = bounce(ball.y + ball.vy * dt, ball.vy, ball.r, 178)
  end
  measure(progress)
end

local function draw_balls()
  love.graphics.setBlendMode "add"
  for _, ball in ipairs(balls) do
    local color = ball.hue == 0 and BLUE or ball.hue == 1 and GREEN or AMBER
    for i, place in ipairs(ball.trail) do
      love.graphics.setColor(color[1], color[2], color[3], 0.16 * (1 - i / 15))
      love.graphics.circle("fill", ARENA.x + place[1], ARENA.y + place[2], ball.r * (1 - i / 20))
    end
    love.graphics.setColor(color)
    love.graphics.circle("fill", ARENA.x + ball.x, ARENA.y + ball.y, ball.r)
  end
  love.graphics.setBlendMode "alpha"
end

local function draw_player(label, player, y)
  local x = ARENA.x + 14
  write(label, "small", DIM, x, y, 20)
  write(player.LastName, "small", TEXT, x + 22, y, 110)
  local honest = type(player.Number__c) == "number"
  write(honest and number(player.Number__c) or "tampered", "small", honest and AMBER or RED, x + 100, y, 70, "right")
  write(player.id or player.error and "refused" or "none yet", "small", player.id and GREEN or player.error and RED or DIM,
    x + 186, y, 162, "right")
end

local function draw_arena()
  panel(ARENA)
  love.graphics.setScissor(ARENA.x, ARENA.y, ARENA.w, 180)
  draw_balls()
  love.graphics.setScissor()
  local y = ARENA.y + 184
  love.graphics.setColor(LINE)
  love.graphics.line(ARENA.x, y, ARENA.x + ARENA.w, y)
  write("BEST PLAYERS", "small", DIM, ARENA.x + 14, y + 8)
  write("THEIR RECORDS", "small", DIM, ARENA.x + 200, y + 8, 162, "right")
  for i, player in ipairs(top) do
    draw_player(i .. ".", player, y + 10 + i * 18)
  end
  if cheat then
    draw_player("?", cheat, y + 10 + 6 * 18)
  end
end

local function draw_step(i, progress)
  local name, label = STEPS[i][1], STEPS[i][2]
  local x, y = JOB.x + 26, JOB.y + 62 + i * 24
  local now = progress.step == name
  local past = progress.steps[name] and not now
  love.graphics.setColor(past and GREEN or now and AMBER or LINE)
  if past then
    love.graphics.circle("fill", x, y, 6)
  elseif now then
    love.graphics.setLineWidth(2)
    love.graphics.arc("line", "open", x, y, 6, clock * 7, clock * 7 + 4.4)
    love.graphics.setLineWidth(1)
  else
    love.graphics.circle("line", x, y, 6)
  end
  write(label, "normal", (past or now) and TEXT or DIM, x + 18, y - 9)
  if now and name == "process" and progress.state then
    write(progress.state, "small", AMBER, JOB.x + 180, y - 7, 182, "right")
  end
end

local function draw_bar(progress)
  local x, y, w = JOB.x + 20, JOB.y + 212, JOB.w - 40
  local done = progress.step == "done"
  local share = done and 1 or progress.of and progress.rows / progress.of or 0
  love.graphics.setColor(LINE)
  love.graphics.rectangle("fill", x, y, w, 14, 7)
  if share > 0.04 then
    love.graphics.setColor(done and GREEN or BLUE)
    love.graphics.rectangle("fill", x, y, w * math.min(1, share), 14, 7)
  end
  if progress.of then
    write(("%s of %s rows"):format(number(progress.rows), number(progress.of)), "small", TEXT, x, y + 20)
    write(rate.shown and number(rate.shown) .. " rows/s" or "", "small", BLUE, x, y + 20, w, "right")
  end
end

local function draw_outcome(progress)
  local x, y = JOB.x + 20, JOB.y + 256
  if progress.err then
    write(tostring(progress.err), "small", RED, x, y, JOB.w - 40)
  elseif progress.saved + progress.refused > 0 then
    write(number(progress.saved), "big", GREEN, x, y, 120)
    write("saved", "small", DIM, x, y + 30)
    write(number(progress.refused), "big", RED, x + 130, y, 100)
    write("refused", "small", DIM, x + 130, y + 30)
    local why = cheat and cheat.error
    if why then
      -- CODE:text:fields
      write(why:match "^[%u_]+:(.-):?[^:]*$" or why, "small", DIM, x + 196, y + 2, JOB.w - 236)
    end
  end
end

local function draw_job(progress, count)
  panel(JOB)
  write(("%s players, one bulk job"):format(number(count)), "normal", TEXT, JOB.x + 20, JOB.y + 14)
  write(progress.id and "job " .. progress.id or "", "small", DIM, JOB.x + 20, JOB.y + 38)
  for i = 1, #STEPS do
    draw_step(i, progress)
  end
  draw_bar(progress)
  draw_outcome(progress)
end

-- One column for each of the last frames; those above `most` are cut off.
local function draw_series(list, count, most, y, h, color)
  local first = math.max(1, count - SERIES_W + 1)
  love.graphics.setColor(color)
  for i = first, count do
    local x = GRAPH.x + 20 + i - first + 0.5
    love.graphics.line(x, y + h, x, y + h - math.max(1, h * math.min(1, list[i] / most)))
  end
end

local function draw_limit(share, label, y, h)
  local x = GRAPH.x + 20
  love.graphics.setColor(1, 1, 1, 0.35)
  love.graphics.line(x, y + h - h * share, x + SERIES_W, y + h - h * share)
  write(label, "small", DIM, x + SERIES_W + 8, y + h - h * share - 8, 60)
end

local function draw_graph(frames)
  panel(GRAPH)
  local x, y = GRAPH.x + 20, GRAPH.y
  write(("frames: %d, the longest %.1f ms"):format(frames.count, frames.worst_ms), "small", TEXT, x, y + 8)
  draw_series(frames.ms, frames.count, 33.4, y + 30, 44, { 0.3, 0.42, 0.7 })
  draw_limit(0.5, "16.7 ms", y + 30, 44)
  write(("client:poll(0) in each: now %.3f ms, the longest %.2f ms, above 0.5 ms in %d frames"):format(
    frames.poll[frames.count] or 0, frames.worst_poll, frames.long_polls), "small", TEXT, x, y + 86, 600)
  draw_series(frames.poll, frames.count, 1, y + 108, 52, { 0.3, 0.75, 0.5 })
  draw_limit(0.5, "0.5 ms", y + 108, 52)
end

function view.draw(progress, frames, count)
  write("The season ends, the game goes on", "big", TEXT, 18, 12, 600)
  write("LÖVE draws while bulkjob sends the score board to Salesforce", "small", DIM, 20, 44, 600)
  write(("%d frames/s"):format(love.timer.getFPS()), "normal", GREEN, 584, 20, 200, "right")
  draw_arena()
  draw_job(progress, count)
  draw_graph(frames)
end

return view
