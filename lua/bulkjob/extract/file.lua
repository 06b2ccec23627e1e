--- The file of an extract: pages that come in any order, put one behind the other.
local core = require "bulkjob.core"
local links = require "bulkjob.extract.links"
local results = require "bulkjob.results"
local check_so_far = require("bulkjob.page").check_so_far
local wait = require "bulkjob.wait"

local file = {}

-- A page that came before its turn waits in a file of its own.
local function path_of(extract, number)
  return extract.run:file("page." .. number)
end

local function size_of(path)
  local stat = core.stat(path)
  return stat and stat.size or 0
end

--- Makes the file as long as the pages that count.
---@return true|nil ok, bulkjob.Error|nil err
function file.open(extract)
  for number = extract.head, extract.head + links.MOST_AHEAD do
    core.remove(path_of(extract, number))
  end
  extract.busy = false
  local part, err = core.open_log(extract.part)
  local ok = part
  if ok then
    ok, err = part:cut(extract.bytes)
    part:close()
  end
  if ok and extract.bytes > 0 then
    extract.header, err = results.header_of(extract.part)
    ok = extract.header and true
  end
  return ok, err
end

--- Bytes on the disk, those of pages under way too.
function file.bytes(extract)
  local bytes = size_of(extract.part)
  for number = extract.head, extract.taken or 0 do
    bytes = bytes + size_of(path_of(extract, number))
  end
  return bytes
end

local function append(extract, path)
  local ok, why = core.end_last_line(extract.part)
  if not ok then
    return nil, why
  end
  local at, place = 0, size_of(extract.part)
  while true do
    local count, err = core.copy_bytes(path, at, extract.part, place + at)
    if not count then
      return nil, err
    elseif count == 0 then
      core.remove(path)
      return true
    end
    at = at + count
    wait.yield(extract.client)
  end
end

-- Puts the pages at the front of those that have come into the file. One at a time does: while a long one is copied, others go on.
local function put_together(extract)
  if extract.busy then
    return true
  end
  extract.busy = true
  local page = extract.fetched[extract.head]
  local ok, err = true, nil
  while ok and page do
    extract.header = extract.header or page.header
    if page.header ~= extract.header then -- it came before the first one, whose header is known now
      core.remove(page.path)
      extract.fetched[extract.head], extract.busy = nil, false
      return file.fetch(extract, { number = extract.head, locator = page.locator })
    elseif page.path then
      ok, err = append(extract, page.path)
    end
    if ok and not extract.run.temporary then -- the log may not promise what a power cut takes away
      ok, err = core.sync(extract.part)
    end
    if ok then
      extract.bytes = size_of(extract.part)
      ok, err = extract.run:note {
        page = extract.head, locator = page.locator, next = page.next, rows = page.rows, bytes = extract.bytes,
      }
    end
    if ok then
      extract.rows = extract.rows + page.rows
      extract.head = extract.head + 1
      page.header, page.path = nil, nil
      if page.next then
        ok, err = check_so_far(extract.job, "/results", extract.rows)
      end
      page = extract.fetched[extract.head]
    end
  end
  extract.busy = false
  links.wake(extract) -- for whoever was too far ahead
  return ok, err
end

--- Fetches a page, and puts into the file what can be put there now.
---@return true|nil ok, bulkjob.Error|nil err
function file.fetch(extract, page)
  local set = extract.job:results {
    locator = page.locator ~= "" and page.locator or nil, max_records = extract.options.max_records,
  }
  set.header = extract.header
  -- The page whose turn it is needs no copy.
  local path = page.number > extract.head and path_of(extract, page.number) or nil
  local facts, err = results.save_page(set, path or extract.part, page.number > 1)
  if not facts then
    set:close()
    return nil, err
  end
  extract.fetched[page.number] = {
    path = path, locator = page.locator, next = facts.next, rows = facts.rows, header = facts.header,
  }
  local ok
  ok, err = links.follow(extract)
  if ok then
    ok, err = put_together(extract)
  end
  return ok, err
end

return file
