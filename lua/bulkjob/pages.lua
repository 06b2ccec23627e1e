--- Where the pages of a query begin: the links of resultPages, which API version 58.0 brought.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local url = require "bulkjob.url"

local pages = {}

local FIRST_VERSION = 58

-- The locator in a link, or nil. The rest of a link is ours to know.
local function locator_of(link)
  local locator = type(link) == "string" and link:match "[?&]locator=([^&#]+)"
  return locator and url.unescape(locator) or nil
end

-- The links of an answer, in any of the shapes that were seen (node-sf-bulk2, pull request 35; the guide,
-- query_get_parallel_job_results): their locators, "" for the first page, which may have none. Nil where there is something else.
local function locators_of(answer, seen)
  local links = answer.resultPages or answer.resultChunks
  if type(links) ~= "table" then
    return nil
  end
  local list = {}
  for i, page in ipairs(links) do
    local link = type(page) == "table" and (page.resultUrl or page.resultLink)
    local locator = locator_of(link) or (type(link) == "string" and not next(seen) and link:find "/results$" and "")
    if not locator or seen[locator] then
      return nil
    end
    seen[locator] = true
    list[i] = locator
  end
  return list
end

--- Does the service know of pages in this version?
---@param client bulkjob.Client
---@return boolean
function pages.exist(client)
  return tonumber(core.api_version(client):match "^%d+") >= FIRST_VERSION
end

--- A function that gives the locators of the next few pages in their order, then false; or nil, err. Not every org has this
--- resource, and it was seen in several shapes, so any answer of the service that is no list of pages is the end, too: the last page
--- that is known tells where the next one is.
---@param job bulkjob.Job a query that is complete
---@return fun(): string[]|false|nil, bulkjob.Error|nil
function pages.links(job)
  local client = core.job_client(job)
  local path = "jobs/query/" .. job.id .. "/resultPages"
  local next_path, seen = path, {}
  return function()
    if not next_path then
      return false
    end
    local answer, err = call.run(client, core.read(client, next_path))
    if not answer and err.status then
      return false
    elseif not answer then
      err.job_id = job.id
      return nil, err
    end
    local list = locators_of(answer, seen)
    if not list or #list == 0 then
      return false
    end
    -- The guide's table spells it one way, its example the other (query_get_parallel_job_results).
    local more = answer.done ~= true and (locator_of(answer.nextRecordsUrl) or locator_of(answer.nextRecordUrl))
    next_path = more and path .. "?locator=" .. url.escape(more)
    return list
  end
end

-- `for page in list do` walks over it.
local list_meta = {}

function list_meta:__call()
  local at = (self.at or 0) + 1
  self.at = self[at] and at
  return self[at]
end

--- The locators of all pages.
---@return string[]|nil locators, bulkjob.Error|nil err
function pages.all(job)
  if not pages.exist(core.job_client(job)) then
    return nil, core.error("job", "pages need API version 58.0 or later, and the client uses "
      .. core.api_version(core.job_client(job)), { job_id = job.id })
  end
  local list = setmetatable({}, list_meta)
  local next_links = pages.links(job)
  while true do
    local few, err = next_links()
    if few == nil then
      return nil, err
    elseif not few then
      return list
    end
    for _, locator in ipairs(few) do
      list[#list + 1] = locator
    end
  end
end

return pages
