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

---@type bulkjob
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
