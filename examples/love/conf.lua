function love.conf(t)
  t.window.title = "bulkjob in a game"
  t.window.width, t.window.height = 800, 600
  t.window.vsync = 1
  t.modules.audio, t.modules.sound, t.modules.physics, t.modules.joystick = false, false, false, false
end
