-- What host.c runs: four tasks load accounts side by side. Nothing moves here yet; the host's loop has the client do that.
local accounts = require "examples.accounts"
local bulkjob = require "bulkjob"

local TASKS, ROWS = 4, 500

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
  ca_file = os.getenv "SF_CA_FILE",
}

local outcome = { processed = 0, created = 0 }

-- Each call in here lets the other tasks, and the host, go on until its answer is there.
local function load_accounts(first)
  local rows = {}
  for i = first, first + ROWS - 1 do
    rows[#rows + 1] = accounts.row(i)
  end
  local job = assert(client:create { object = "Account", operation = "upsert", externalIdFieldName = "Ext__c" })
  -- A job that is left by an error before close is aborted: nothing of it was processed.
  bulkjob.with(job, function()
    assert(job:upload { rows = rows, columns = accounts.columns })
    assert(job:close())
  end)
  local info = assert(job:wait())
  outcome.processed = outcome.processed + info.numberRecordsProcessed
  local results = job:successful_results()
  local row = results:next() -- not by `for`, in which a task cannot wait on Lua 5.1
  while row do
    outcome.created = outcome.created + (row.sf__Created == "true" and 1 or 0)
    row = results:next()
  end
end

for task = 1, TASKS do
  client:spawn(load_accounts, (task - 1) * ROWS + 1)
end

return client, outcome
