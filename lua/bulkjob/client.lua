--- What a client does beside reaching the service: creating, listing, limits.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local options = require "bulkjob.options"
local raise = require "bulkjob.raise"
local source = require "bulkjob.source"
local wait = require "bulkjob.wait"
require "bulkjob.job"

local methods = core.client_methods

local client = {}

-- The guide, create_job: data of a multipart request. Four bytes are the longest character.
local MULTIPART_CHARACTERS = 100000

local NEEDS_OBJECT = { insert = true, update = true, upsert = true, delete = true, hardDelete = true }

local SPEC = {
  object = "string", operation = "string", externalIdFieldName = "string", assignmentRuleId = "string", contentType = "string",
  query = "string", data = "any",
  columnDelimiter = options.DELIMITERS, lineEnding = options.LINE_ENDINGS,
}

--- A client for one org. Makes no request and starts no thread. Raises for a wrong or unknown option.
---@type fun(options: bulkjob.ClientOptions): bulkjob.Client
client.new = core.client

local function check_spec(spec)
  options.check("create", spec, SPEC, { "operation" }, 4)
  local is_query = spec.operation == "query" or spec.operation == "queryAll"
  local problem
  if is_query and not spec.query then
    problem = "query is missing: the SOQL to run"
  elseif is_query and (spec.data ~= nil or spec.object) then
    problem = "a query job takes neither data nor object"
  elseif not is_query and spec.query then
    problem = "query goes with operation = \"query\" or \"queryAll\" only"
  elseif NEEDS_OBJECT[spec.operation] and not spec.object then
    problem = "object is missing"
  elseif spec.operation == "upsert" and not spec.externalIdFieldName then
    problem = "externalIdFieldName is missing: an upsert needs the field to match on"
  end
  if problem then
    error("bulkjob: create: " .. problem, 3)
  end
  return is_query
end

local function multipart_text(self, spec)
  local text, err = source.text(spec.data, spec, 4 * MULTIPART_CHARACTERS, wait.yielder(self))
  if text then
    local _, characters = text:gsub("[^\128-\191]", "")
    if characters <= MULTIPART_CHARACTERS then
      return text
    end
    err = core.error("csv", "data of " .. characters .. " characters, and " .. MULTIPART_CHARACTERS
      .. " are the most for one request: create the job without data, then upload and close")
  end
  return nil, err
end

--- Creates a job. With `data`, a small ingest job is created, filled and closed in one request.
---@param spec table the fields of the request body, and `data`
---@return bulkjob.Job|nil job, bulkjob.Error|nil err
function methods:create(spec)
  local is_query = check_spec(spec)
  local body, text = {}, nil
  for key, value in pairs(spec) do
    body[key] = value
  end
  body.data = nil
  if spec.data ~= nil then
    local err
    text, err = multipart_text(self, spec)
    if not text then
      return nil, err
    end
  end
  return call.run(self, core.create(self, body, is_query and "query" or "ingest", text))
end

--- A handle on an existing job. Makes no request.
--- `id` has 15 or 18 characters; without a `kind` the first call finds out.
---@type fun(self: bulkjob.Client, id: string, kind: "ingest"|"query"|nil): bulkjob.Job
methods.job = core.job

--- What the org has left today.
---@return table<string, { Max: integer, Remaining: integer }>|nil limits, bulkjob.Error|nil err
function methods:limits()
  return call.run(self, core.read(self, "limits"))
end

local FILTERS = {
  kind = { "ingest", "query" }, jobType = "string", concurrencyMode = "string", isPkChunkingEnabled = "string or boolean", state = "string",
  object = "string", operation = "string", createdById = "string", apiVersion = "string",
}
local SENT_FILTERS = { jobType = true, concurrencyMode = true, isPkChunkingEnabled = true }

local function list_path(filter)
  local parts = {}
  for key in pairs(SENT_FILTERS) do
    if filter[key] ~= nil then
      local value = tostring(filter[key])
      if value:find("[^%w]") then
        error("bulkjob: jobs: " .. key .. ": letters and digits expected, got '" .. value .. "'", 3)
      end
      parts[#parts + 1] = key .. "=" .. value
    end
  end
  table.sort(parts)
  return "jobs/" .. (filter.kind or "ingest"), table.concat(parts, "&")
end

local function matches(info, filter)
  for key, value in pairs(filter) do
    if key ~= "kind" and not SENT_FILTERS[key] and info[key] ~= value then
      return false
    end
  end
  return true
end

local function broken_list(message)
  raise.error(core.error("protocol", message))
end

-- Only the locator is taken from the service's link: that of a query list points at the ingest list (the guide's own example
-- does, query_get_all_jobs).
local function next_locator(page, seen)
  if page.done == true then
    return nil
  end
  local locator = type(page.nextRecordsUrl) == "string" and page.nextRecordsUrl:match("[?&]queryLocator=([^&]+)")
  if not locator then
    broken_list("a page of the job list is not the last one, and has no link to the next")
  elseif seen[locator] then
    broken_list("the job list leads in a circle: queryLocator=" .. locator .. " came twice")
  end
  seen[locator] = true
  return locator
end

local function check_records(page)
  if type(page.records) ~= "table" then
    broken_list("a page of the job list has no records")
  end
  for _, info in ipairs(page.records) do
    if type(info) ~= "table" then
      broken_list("a record of the job list is no job info")
    end
  end
end

--- Walks over all jobs of the org, page after page, in no particular order.
---@param filter table|nil `kind` ("ingest" by default), `jobType`, `concurrencyMode`, `isPkChunkingEnabled` (by the service),
---  `state`, `object`, `operation`, `createdById`, `apiVersion` (here)
---@return fun(): table|nil next job info after job info; raises the error of a page that cannot be had
function methods:jobs(filter)
  filter = filter or {}
  options.check("jobs", filter, FILTERS)
  local path, query = list_path(filter)
  local seen, page, i = {}, nil, 0
  local function turn_page()
    local locator = page and next_locator(page, seen)
    if page and not locator then
      return false
    end
    local err
    local asked = locator and query .. (query ~= "" and "&" or "") .. "queryLocator=" .. locator or query
    page, err = call.run(self, core.read(self, asked ~= "" and path .. "?" .. asked or path))
    if not page then
      raise.error(err)
    end
    check_records(page)
    i = 0
    return true
  end
  local ended = false
  return function()
    while not ended do
      i = i + 1
      local info = page and page.records[i]
      if not info then
        ended = not turn_page()
      else
        core.type_job_info(info)
        if matches(info, filter) then
          return info
        end
      end
    end
  end
end

return client
