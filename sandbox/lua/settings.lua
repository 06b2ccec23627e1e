--- Everything about the org that a test may set, with its default.
-- Numbers that are the service's own come from section 5 of the fact sheet.

local M = {}

local DEFAULTS = {
  -- time
  queue_seconds = 0.02, -- from UploadComplete to InProgress
  processing_seconds = 0.03, -- from InProgress to the end, spread over the rows
  clock_offset = 0, -- seconds added to every date the org shows
  -- processing
  hold = false, -- true or "UploadComplete": jobs wait in the queue; "InProgress": they wait there
  hold_rows = 0, -- with hold = "InProgress": how many rows are processed before the wait
  slice_rows = 200, -- rows worked at once (the service's chunk)
  batch_rows = 10000, -- rows of one internal batch; a batch that cannot be parsed fails as a whole
  discard = false, -- true: rows are read and counted, but not stored
  empty_close = "JobComplete", -- how a job that was closed without data ends (or "Failed")
  strict_inner_line_ends = false, -- true: line breaks inside quotes must match lineEnding as well
  abort_goes_on_rows = 0, -- so many rows of an aborted job are still processed after the abort was answered
  abort_goes_on_seconds = 0, -- spread over so much time, the last at its end
  second_upload = "refused", -- or "taken": then the close is refused (fact sheet 11.9)
  reformat_numbers = false, -- true: numbers come back in result files as 9.12260031E8
  -- answers
  counters = true, -- false: job info has none (fact sheet 11.14)
  result_pages = "resultUrl", -- the shape of that answer, or "resultChunks", "resultLink", "403", "404" (fact sheet 11.1)
  result_pages_next = "nextRecordsUrl", -- or "nextRecordUrl"
  query_list_next = "query", -- or "ingest": the listing that the next page of queries is said to be in, as in the guide's example
  query_numbers = "plain", -- or "java": 23.0 and 1.6147805824397E13 in results of queries
  unknown_object = "INVALIDENTITY", -- or "INVALID_TYPE": the error of a query on one
  shuffle_results = false, -- true: the rows of a result set come in another order each time
  gzip = true, -- compress answers when the client asks for it
  list_page_size = 1000, -- jobs on one page of a listing
  query_page_records = 100000, -- rows on one result page when the client names no maxRecords
  query_rows = 0, -- more than none: every query finds so many made-up rows
  query_row_bytes = 100, -- of so many bytes each
  upload_limit = 150000000, -- bytes of an upload after base64
  multipart_limit = 100000, -- characters of CSV in a multipart create
  log_size = 100000, -- requests remembered
  -- the org and its user
  bulk_api = true, -- false: FEATURENOTENABLED
  hard_delete = true, -- the permission "Bulk API Hard Delete"
  manage_data_integrations = true, -- false: jobs of other users cannot be aborted or deleted
  -- the app that signs in
  client_id = "3MVG9.sandbox.app",
  client_secret = "the.secret.of.the.app",
  certificate = "", -- PEM, of the key that JWTs are signed with
  run_as_user = true, -- false: client credentials have no user to run as
  preauthorized = true, -- false: the user has not approved the app
  username = "integration@sandbox.example",
  password = "the.password",
  security_token = "the.security.token",
  refresh_token = "5Aep861.the.refresh.token",
  rotate_refresh_token = false, -- true: each use of it gives a new one
  my_domain = true, -- false: it answers as login.salesforce.com does
  oauth_flows = "client_credentials jwt-bearer refresh_token password", -- those that are enabled
  newest_version = 68, -- higher versions answer 404
  daily_api_requests = 5000000,
  daily_batches = 15000,
  daily_query_jobs = 10000,
}

local CHOICES = {
  hold = { [false] = true, [true] = true, UploadComplete = true, InProgress = true },
  second_upload = { refused = true, taken = true },
  result_pages = { resultUrl = true, resultChunks = true, resultLink = true, ["403"] = true, ["404"] = true },
  result_pages_next = { nextRecordsUrl = true, nextRecordUrl = true },
  query_list_next = { query = true, ingest = true },
  query_numbers = { plain = true, java = true },
  unknown_object = { INVALIDENTITY = true, INVALID_TYPE = true },
  empty_close = { JobComplete = true, Failed = true },
}

-- The least that a number may be, and whether it must be a whole one; 0 and any if not said.
local NUMBERS = {
  clock_offset = { -math.huge }, hold_rows = { 0, true }, slice_rows = { 1, true }, batch_rows = { 1, true }, abort_goes_on_rows = { 0, true },
  list_page_size = { 1, true }, query_page_records = { 1, true }, query_rows = { 0, true }, query_row_bytes = { 1, true },
  upload_limit = { 0, true }, multipart_limit = { 0, true }, log_size = { 1, true }, newest_version = { 41, true },
  daily_api_requests = { 0, true }, daily_batches = { 0, true }, daily_query_jobs = { 0, true },
}

M.values = {}

local function restore()
  for key, value in pairs(DEFAULTS) do
    M.values[key] = value
  end
end

function M.reset()
  restore()
end

local function unknown(key)
  return "unknown setting: " .. tostring(key)
end

--- A text from a command line as a value of that setting; nil and what is wrong when it cannot be one.
function M.from_text(key, text)
  local default = DEFAULTS[key]
  if default == nil then
    return nil, unknown(key)
  end
  local value = text
  if type(default) == "number" then
    value = tonumber(text)
  elseif text == "true" or text == "false" then
    value = type(default) == "boolean" and text == "true" or type(default) ~= "boolean" and text
  end
  if value == nil then
    return nil, ("setting %s must be a number, not '%s'"):format(key, text)
  end
  return value
end

--- The names of all settings, in order.
function M.names()
  local names = {}
  for name in pairs(DEFAULTS) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function choices_of(choices)
  local names = {}
  for choice in pairs(choices) do
    names[#names + 1] = tostring(choice)
  end
  table.sort(names)
  return table.concat(names, ", ")
end

--- What is wrong with the value of a setting, if anything.
local function problem(key, value)
  local default, choices = DEFAULTS[key], CHOICES[key]
  if default == nil then
    return unknown(key)
  elseif choices then
    return not choices[value] and ("setting %s must be one of %s, not '%s'"):format(key, choices_of(choices), tostring(value)) or nil
  elseif type(value) ~= type(default) then
    return ("setting %s must be a %s"):format(key, type(default))
  elseif type(default) == "number" then
    local least, whole = unpack(NUMBERS[key] or { 0, false })
    if not (value >= least and value < math.huge) or (whole and value % 1 ~= 0) then
      return ("setting %s must be a %snumber%s"):format(key, whole and "whole " or "", least > -math.huge and " from " .. least .. " on" or "")
    end
  end
end

--- Are these good settings? true; or nil and what is wrong.
function M.check(changes)
  for key, value in pairs(changes) do
    local text = problem(key, value)
    if text then
      return nil, text
    end
  end
  return true
end

--- Change some settings. Returns true, or nil and what is wrong; then nothing was changed.
function M.set(changes)
  local ok, err = M.check(changes)
  if not ok then
    return nil, err
  end
  for key, value in pairs(changes) do
    M.values[key] = value
  end
  return true
end

restore()

return M
