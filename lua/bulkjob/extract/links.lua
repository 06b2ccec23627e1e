--- Which page comes next: by the links that the service gives for all of them, or by what each page says of the one behind it.
local core = require "bulkjob.core"
local pages = require "bulkjob.pages"
local task = require "bulkjob.task"
local turn = require("bulkjob.page").turn

local links = {}

-- So many pages may be on the disk before the one in front of them has come.
links.MOST_AHEAD = 32

--- Lays out what is known from an earlier run, or an earlier try: the pages that are in the file.
function links.begin(extract)
  for number = extract.head, extract.taken or 0 do
    extract.fetched[number] = nil
  end
  extract.taken = extract.head - 1
  extract.locators, extract.seen, extract.condition, extract.listed = {}, {}, {}, 0
  for i, page in ipairs(extract.fetched) do
    extract.locators[i] = page.locator
    extract.seen[page.locator] = true
  end
  if extract.parallel then
    extract.next_links = pages.links(extract.job)
    return
  end
  extract.next_links = nil
  if extract.head == 1 then
    extract.locators[1] = ""
  else
    links.follow(extract)
  end
end

--- Wakes whoever waits for another page.
function links.wake(extract)
  task.signal(extract.condition or {})
end

-- Behind the last page that is known there may be another: nothing but its own answer tells.
function links.follow(extract)
  local last = #extract.locators
  local page = extract.fetched[last]
  if extract.next_links or not page then
    return true
  elseif not page.next then
    extract.complete = true
  else
    local ok, err = turn(extract, page.next, page.rows)
    if not ok then
      return nil, err
    end
    extract.locators[last + 1] = page.next
  end
  links.wake(extract)
  return true
end

local function ask_for_more(extract)
  local next_links = extract.next_links
  extract.asking = true
  local few, err = next_links()
  extract.asking = false
  if few == nil then
    return nil, err
  elseif not few then
    extract.next_links = nil
    extract.locators[1] = extract.locators[1] or ""
    return links.follow(extract)
  end
  for _, locator in ipairs(few) do
    local known = extract.locators[extract.listed + 1]
    if known and known ~= locator and not (extract.listed == 0 and (known == "" or locator == "")) then
      extract.next_links = nil -- these are not the pages of the journal, whose last one tells where the next one is
      return links.follow(extract)
    end
    extract.listed = extract.listed + 1
    extract.locators[extract.listed] = locator
    extract.seen[locator] = true
  end
  links.wake(extract)
  return true
end

--- Does the service not know the link that it has listed? Then the list is of no use, but the pages may be there all the same.
---@param page { number: integer, locator: string }|nil
---@param err bulkjob.Error|nil
---@return boolean
function links.is_refused(extract, page, err)
  local refused = err and err.kind == "api" and (err.status == 400 or err.status == 404)
  return refused and page ~= nil and page.locator ~= "" and page.number <= extract.listed
end

--- The next page to fetch. Waits until one is known. Nil when there is none, or nil, err.
---@return { number: integer, locator: string }|nil page, bulkjob.Error|nil err
function links.take(extract)
  while not extract.pool.err do
    local number = extract.taken + 1
    local locator = extract.locators[number]
    local ok, err = true, nil
    if locator and number < extract.head + links.MOST_AHEAD then
      extract.taken = number
      return { number = number, locator = locator }
    elseif extract.complete then
      return nil
    elseif extract.next_links and not extract.asking and not locator then
      ok, err = ask_for_more(extract)
    elseif not task.wait_condition(extract.condition) then
      ok, err = nil, core.error("cancelled", "the extract was cancelled")
    end
    if not ok then
      return nil, err
    end
  end
end

return links
