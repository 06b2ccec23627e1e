-- What all of Lua 5.1 to 5.4 and LuaJIT have; the grammar itself is checked with the real interpreters, by tools/lint.
std = "min"
max_line_length = 140
self = false
exclude_files = { "build" }
-- What only some have, and code asks for before it uses it.
read_globals = { "jit", "unpack", math = { fields = { "tointeger", "type" } }, table = { fields = { "pack", "unpack" } } }

-- Runs in nginx only, where the Lua module keeps the plain coroutine functions under names of its own.
files["sandbox/lua"] = {
  std = "ngx_lua",
  max_line_length = false,
  read_globals = { coroutine = { fields = { "_create", "_resume", "_status", "_yield" } } },
}
-- The programs that we look whether we are in.
files["lua/bulkjob/loop"] = { read_globals = { "core", "ngx" } }
-- Functions without a body, for editors.
files["lua/bulkjob/meta.lua"] = { ignore = { "212", "241" }, max_comment_line_length = false }
files["spec"] = { std = "+busted", max_line_length = false }
-- Run by lua5.4, and by nothing else.
files["examples/demo.lua"] = { std = "lua54" }
files["examples/love"] = { globals = { "love" } }
files["examples/haproxy.lua"] = { read_globals = { "core" } }
files["examples/in_neovim.lua"] = { read_globals = { "vim" } }
files["tools"] = { std = "lua54" }
files["standalone"] = { std = "lua54" }
files["spec/oom"] = { globals = { "arm", "disarm" } }
files["spec/host/loading.lua"] = { globals = { "coroutine", "ngx" } }
