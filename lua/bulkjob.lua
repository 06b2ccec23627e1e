--- Salesforce Bulk API 2.0: a bulk job is a transaction.
---
--- Misuse (a wrong type, an unknown option) raises. Everything else that can go wrong returns `nil, err`, where `err` is a
--- `bulkjob.Error`. Iterators have no place for a second value, so they raise that table; in nginx, which shows only strings, its line,
--- for which `bulkjob.caught` gives the table.
local core = require "bulkjob.core"
local auth = require "bulkjob.auth"
local client = require "bulkjob.client"
local csv = require "bulkjob.csv"
local job = require "bulkjob.job"
local loop = require "bulkjob.loop"
local raise = require "bulkjob.raise"
require "bulkjob.extract"
require "bulkjob.load"

---@class bulkjob.Error
---@field kind "api"|"auth"|"network"|"timeout"|"protocol"|"io"|"csv"|"job"|"cancelled"|"task"
---@field code string|nil as the service spelt it, or libcurl's name
---@field message string
---@field status integer|nil of the HTTP answer
---@field method string|nil
---@field url string|nil
---@field job_id string|nil
---@field state string|nil the state the job was found in, when that is what stood in the way
---@field attempts integer|nil how often the request was sent
---@field retry_after number|nil seconds the service asked to wait
---@field in_doubt boolean|nil true when a close, an abort or a create with data failed and may have taken effect all the same
---@field also bulkjob.Error[]|nil what failed while cleaning up
---@field jobs { id: string, state: string|nil }[]|nil of a load: the jobs that it has made so far
---@field parts { first: integer, last: integer, job: string|nil, what: string }[]|nil of a load whose journal holds an unfinished run of
---  something else: which records of that are "committed", "perhaps committed" or "not sent"
---@field traceback string|nil of the task that raised it
---@field raised any of a task that raised something else than a string: that
---@field strays integer|nil how many empty, open jobs a failed create may have left behind
---@field contents boolean|nil the service has data of this job already

local bulkjob = {
  _VERSION = "bulkjob 0.1.0",
  --- Clears a field: written as `#N/A`. The same value as `cjson.null` and `ngx.null`.
  null = core.null,
  client = client.new,
  auth = auth,
  csv = csv,
  loop = loop.known,
  with = job.with,
  is_error = core.is_error,
  assert = raise.assert,
  caught = raise.caught,
}

assert(bulkjob._VERSION == "bulkjob " .. core.version,
  "bulkjob.core is version " .. core.version .. ", expected the one of " .. bulkjob._VERSION)

return bulkjob
