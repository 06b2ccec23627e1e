--- What the org has left today (fact sheet 5). Days do not end here: the counters run until the org is reset.

local errors = require "errors"
local json = require "json"
local settings = require "settings"

local M = { used = { api = 0, batches = 0, query_jobs = 0 } }

function M.reset()
  M.used = { api = 0, batches = 0, query_jobs = 0 }
end

--- Every call counts, polls as well.
function M.count_call()
  local used, limit = M.used, settings.values.daily_api_requests
  if used.api >= limit then
    return errors.new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
  end
  used.api = used.api + 1
end

function M.limit_info()
  return ("api-usage=%d/%d"):format(M.used.api, settings.values.daily_api_requests)
end

local function check_enabled()
  if not settings.values.bulk_api then
    return errors.new(400, "FEATURENOTENABLED", "The Bulk API is not enabled for this org or user")
  end
end

function M.check_ingest()
  local err = check_enabled()
  if err then
    return err
  elseif M.used.batches >= settings.values.daily_batches then
    return errors.new(400, "EXCEEDEDQUOTA", "ExceededQuota : The daily limit of batches is used up")
  end
end

function M.count_rows(rows)
  M.used.batches = M.used.batches + math.ceil(rows / 10000)
end

function M.take_query()
  local err = check_enabled()
  local used, limit = M.used, settings.values.daily_query_jobs
  if err then
    return err
  elseif used.query_jobs >= limit then
    return errors.new(400, "LIMIT_EXCEEDED",
      ("Max bulk v2 query jobs (%d) per 24 hrs has been reached (%d)"):format(limit, used.query_jobs + 1))
  end
  used.query_jobs = used.query_jobs + 1
end

--- GET /limits (fact sheet 1.15).
function M.view()
  local function entry(max, used)
    return json.object { { "Max", max }, { "Remaining", math.max(max - used, 0) } }
  end
  local values, used = settings.values, M.used
  return json.object {
    { "DailyApiRequests", entry(values.daily_api_requests, used.api) },
    { "DailyBulkApiBatches", entry(values.daily_batches, used.batches) },
    { "DailyBulkV2QueryFileStorageMB", entry(976562, 0) },
    { "DailyBulkV2QueryJobs", entry(values.daily_query_jobs, used.query_jobs) },
  }
end

return M
