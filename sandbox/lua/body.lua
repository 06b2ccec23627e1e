--- Request bodies: JSON into a table, uploads into a file, both unpacked when they came with gzip or deflate (fact sheet 7).

local errors = require "errors"
local json = require "json"
local zlib = require "zlib"

local M = {}

local JSON_LIMIT = 1048576
local CHUNK = 65536

--- The media type alone, in small letters.
function M.media_type()
  local value = ngx.var.http_content_type or ""
  return (value:match "^%s*([^;%s]*)"):lower(), value
end

-- Content-Encoding, and whether the body is packed by it.
local ENCODINGS = { identity = false, gzip = true, ["x-gzip"] = true, deflate = true }

local function encoding()
  return (ngx.var.http_content_encoding or "identity"):lower()
end

local function is_packed()
  return ENCODINGS[encoding()]
end

--- What is wrong with the encoding of the body, if anything.
function M.check_encoding()
  if ENCODINGS[encoding()] == nil then
    return errors.new(415, "UNSUPPORTED_MEDIA_TYPE", ("Content-Encoding '%s' is not supported"):format(encoding()))
  end
end

local function bad_data()
  return errors.new(400, "CLIENTINPUTERROR", "The request body is not valid compressed data")
end

--- Copy a file, unpacking it.
local function unpack_file(from, to)
  local input, output = assert(io.open(from, "rb")), assert(io.open(to, "wb"))
  local size = 0
  local expand = zlib.expander(function(plain)
    size = size + #plain
    output:write(plain)
  end)
  local ended, err
  repeat
    local chunk = input:read(CHUNK)
    if chunk then
      ended, err = expand(chunk)
    end
  until not chunk or ended or err
  input:close()
  output:close()
  return ended and size
end

--- The whole body as a string, for small ones. nil and an error answer when it is too large or cannot be unpacked.
function M.read(limit)
  limit = limit or JSON_LIMIT
  local err = M.check_encoding()
  if err then
    return nil, err
  end
  if (tonumber(ngx.var.http_content_length) or 0) > limit then
    return nil, errors.job "The request body is too large"
  end
  ngx.req.read_body()
  local data = ngx.req.get_body_data()
  local path = not data and ngx.req.get_body_file()
  if path then
    local file = assert(io.open(path, "rb"))
    data = file:read(limit + 1)
    file:close()
    if data and #data > limit then
      return nil, errors.job "The request body is too large"
    end
  end
  data = data or ""
  if is_packed() then
    local plain = {}
    local ended = zlib.expander(function(chunk)
      plain[#plain + 1] = chunk
    end)(data)
    if not ended then
      return nil, bad_data()
    end
    data = table.concat(plain)
  end
  return data
end

--- Text as a JSON object. nil and an error answer when it is none.
function M.parse(text)
  local value, err = json.decode(text)
  if type(value) ~= "table" then
    return nil, errors.parser(err and "Unexpected character or end of input: " .. err or "A JSON object is needed here")
  end
  return value
end

--- The body as a JSON object.
function M.json()
  if M.media_type() ~= "application/json" then
    return nil, errors.media_type(ngx.var.http_content_type, "application/json")
  end
  local text, err = M.read()
  if not text then
    return nil, err
  end
  return M.parse(text)
end

--- Only these fields may stand in a JSON body.
function M.check_fields(value, allowed)
  for name in pairs(value) do
    if not allowed[name] then
      return errors.parser(('Unrecognized field "%s"'):format(tostring(name)))
    end
  end
end

--- Move the body to a file of its own, without reading it into memory. Returns its size; 0 and no file for an empty body.
function M.save(path)
  ngx.req.read_body()
  local temporary = ngx.req.get_body_file()
  if not temporary then
    local data = ngx.req.get_body_data()
    if not data then
      return 0
    end
    temporary = path .. ".body"
    local file = assert(io.open(temporary, "wb"))
    file:write(data)
    file:close()
  end
  if is_packed() then
    local size = unpack_file(temporary, path)
    os.remove(temporary)
    if not size then
      os.remove(path)
      return nil, bad_data()
    end
    return size
  end
  assert(os.rename(temporary, path))
  local file = assert(io.open(path, "rb"))
  local size = file:seek "end"
  file:close()
  return size
end

return M
