--- The body of a multipart create: a part "job" with JSON, then a part "content" with CSV (fact sheet 1.3).

local M = {}

local function boundary_of(content_type)
  local quoted = content_type:match '[Bb][Oo][Uu][Nn][Dd][Aa][Rr][Yy]="([^"]+)"'
  return quoted or content_type:match "[Bb][Oo][Uu][Nn][Dd][Aa][Rr][Yy]=([^;%s]+)"
end

--- Headers of a part by their small names, and its body.
local function parse_part(text)
  local head, body = text:match "^(.-)\r\n\r\n(.*)$"
  if not head then
    -- Some clients write their own separators with bare line feeds.
    head, body = text:match "^(.-)\n\n(.*)$"
  end
  if not head then
    return nil
  end
  local headers = {}
  for line in (head .. "\n"):gmatch "(.-)\r?\n" do
    local name, value = line:match "^([^:]+):%s*(.-)%s*$"
    if name then
      headers[name:lower()] = value
    end
  end
  return { headers = headers, body = body }
end

--- The parts of a body in their order, or nil and what is wrong.
function M.parts(content_type, body)
  local boundary = boundary_of(content_type)
  if not boundary then
    return nil, "The multipart boundary is missing"
  end
  local mark = "--" .. boundary
  local position = body:find(mark, 1, true)
  if not position then
    return nil, "The multipart boundary does not occur in the body"
  end
  local parts = {}
  position = position + #mark
  while body:sub(position, position + 1) ~= "--" do
    local first = body:match("^[ \t]*\r?\n()", position)
    local stop, last = body:find("\n" .. mark, first, true)
    if not first or not stop then
      return nil, "The multipart body has no end"
    end
    local text_end = stop - 1
    if body:sub(text_end, text_end) == "\r" then
      text_end = text_end - 1
    end
    local part = parse_part(body:sub(first, text_end))
    if not part then
      return nil, "A part of the multipart body has no header"
    end
    local disposition = part.headers["content-disposition"] or ""
    part.name = disposition:match '[; ]name="([^"]*)"' or disposition:match "[; ]name=([^;%s]+)"
    part.media_type = (part.headers["content-type"] or ""):match("^([^;%s]*)"):lower()
    parts[#parts + 1] = part
    position = last + 1
  end
  return parts
end

return M
