--- Lua's own coroutines. ngx_lua replaces the functions of the coroutine library by some that bind a coroutine to the request (or
-- timer) it was made in, and it crashes when such a one is resumed from another. Jobs outlive requests, so they need the originals,
-- which ngx_lua keeps under these names. Code inside must not call anything of ngx that waits.

local M = {}

for _, name in ipairs { "create", "resume", "yield", "status" } do
  M[name] = assert(rawget(coroutine, "_" .. name), "this ngx_lua hides Lua's own coroutines")
end

return M
