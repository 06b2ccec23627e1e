--- gzip through LuaJIT's FFI; nginx has the library loaded already. Used where nginx's own gzip filter cannot do it: compressed
-- request bodies, and the fault that cuts a gzip stream short inside a whole HTTP answer.

local ffi = require "ffi"

ffi.cdef [[
typedef struct {
  const unsigned char *next_in; unsigned int avail_in; unsigned long total_in;
  unsigned char *next_out; unsigned int avail_out; unsigned long total_out;
  const char *msg; void *state; void *zalloc; void *zfree; void *opaque;
  int data_type; unsigned long adler; unsigned long reserved;
} sandbox_z_stream;
int deflateInit2_(sandbox_z_stream *, int, int, int, int, int, const char *, int);
int deflate(sandbox_z_stream *, int);
int deflateEnd(sandbox_z_stream *);
int inflateInit2_(sandbox_z_stream *, int, const char *, int);
int inflate(sandbox_z_stream *, int);
int inflateEnd(sandbox_z_stream *);
]]

local function load()
  if pcall(function() return ffi.C.deflateInit2_ end) then
    return ffi.C
  end
  return ffi.load "libz.so.1"
end

local C = load()
local SIZE = 65536
local NO_FLUSH, FINISH, END = 0, 4, 1

local M = {}

local function pump(stream, step, flush, input, write)
  local out = ffi.new("unsigned char[?]", SIZE)
  stream.next_in, stream.avail_in = input, #input
  repeat
    stream.next_out, stream.avail_out = out, SIZE
    local code = step(stream, flush)
    local made = SIZE - stream.avail_out
    if made > 0 then
      write(ffi.string(out, made))
    end
    if code == END then
      return true
    elseif code < 0 and code ~= -5 then -- -5: no progress possible, all input was taken
      return nil, "bad compressed data"
    end
  until stream.avail_out ~= 0
  return false
end

--- A function that takes chunks (nil at the end) and passes their gzip form, or with "deflate" their zlib form, to write.
function M.compressor(write, form)
  local stream = ffi.new "sandbox_z_stream"
  assert(C.deflateInit2_(stream, 6, 8, form == "deflate" and 15 or 31, 8, 0, "1.2.11", ffi.sizeof(stream)) == 0)
  ffi.gc(stream, C.deflateEnd)
  return function(chunk)
    pump(stream, C.deflate, chunk and NO_FLUSH or FINISH, chunk or "", write)
  end
end

--- A function that takes chunks of gzip or zlib data and passes the plain bytes to write. It answers true at the end of the data, nil and
-- a text for bad data.
function M.expander(write)
  local stream = ffi.new "sandbox_z_stream"
  assert(C.inflateInit2_(stream, 47, "1.2.11", ffi.sizeof(stream)) == 0) -- 47: gzip or zlib, told apart by the first bytes
  ffi.gc(stream, C.inflateEnd)
  return function(chunk)
    return pump(stream, C.inflate, NO_FLUSH, chunk, write)
  end
end

return M
