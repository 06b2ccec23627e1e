--- Where the pages of a query begin: the links of resultPages, which API version 58.0 brought.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local url = require "bulkjob.url"

local pages = {}

local FIRST_VERSION = 58

local function broken(job, message)
  return nil, core.error("protocol", "resultPages: " .. message, { job_id = job.id })
end

-- Only the locator is taken from a link: the rest is ours.
local function locator_of(link)
  local locator = type(link) == "string" and link:match "[?&]locator=([^&#]+)"
  return locator and url.unescape(locator)
end

--- Does the service know of pages in this version?
---@param client bulkjob.Client
---@return boolean
function pages.exist(client)
  return tonumber(core.api_version(client):match "^%d+") >= FIRST_VERSION
end

--- A function that gives the locators of the next few pages in their order, then false; or nil, err. A query that found nothing
--- may have none.
---@param job bulkjob.Job a query that is complete
---@return fun(): string[]|false|nil, bulkjob.Error|nil
function pages.links(job)
  local client = core.job_facts(job).client
  local path = "jobs/query/" .. job.id .. "/resultPages"
  local next_path, seen = path, {}
  return function()
    if not next_path then
      return false
    end
    local answer, err = call.run(client, core.read(client, next_path))
    if not answer then
      err.job_id = job.id
      return nil, err
    elseif type(answer.resultPages) ~= "table" then
      return broken(job, "no pages in the answer")
    end
    local list = {}
    for i, page in ipairs(answer.resultPages) do
      local locator = type(page) == "table" and locator_of(page.resultUrl)
      if not locator then
        return broken(job, "a page without a locator")
      elseif seen[locator] then
        return broken(job, "the locator " .. locator .. " came twice")
      end
      seen[locator] = true
      list[i] = locator
    end
    -- The guide's table spells it one way, its example the other (query_get_parallel_job_results).
    local more = locator_of(answer.nextRecordsUrl or answer.nextRecordUrl)
    if answer.done ~= true and not more then
      return broken(job, "not the last answer, and no link to the next")
    elseif #list == 0 and answer.done ~= true then
      return broken(job, "an answer without a page")
    end
    next_path = answer.done ~= true and path .. "?locator=" .. url.escape(more)
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
  if not pages.exist(core.job_facts(job).client) then
    return nil, core.error("job", "pages need API version 58.0 or later, and the client uses "
      .. core.api_version(core.job_facts(job).client), { job_id = job.id })
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
