--- What the game does with the org: it is written as if it waited, and runs as a task between the frames.
local bulkjob = require "bulkjob"

local COLUMNS = { "Ext__c", "LastName", "Count__c", "Number__c" }

-- The players are rows already. An array can be sent again when a connection breaks, and one that is read through __index can tell
-- how far the upload is.
local function rows_of(players, progress)
  return setmetatable({}, { __index = function(_, i)
    progress.rows = math.min(i, #players)
    return players[i]
  end })
end

-- The next thing that is done, `rows` of `of` so far.
local function step(progress, name, of)
  progress.step, progress.rows, progress.of = name, 0, of
  progress.steps[name] = true
end

-- What became of each, row by row. Only those on the screen are told: to keep 50,000 ids would cost frames, not for the reading
-- but for Lua's collector.
local function read_back(job, shown, progress)
  local function count(row, name)
    progress.rows, progress[name] = progress.rows + 1, progress[name] + 1
    return shown[row.Ext__c] or {}
  end
  for row in job:failed_results() do
    count(row, "refused").error = row.sf__Error
  end
  for row in job:successful_results() do
    count(row, "saved").id = row.sf__Id
  end
end

--- Upserts all players, and reads back what the org says of each; those that are `shown`, by their keys, learn it. Raises what goes
--- wrong; the job is rolled back then, if it has not been closed.
return function(client, players, shown, progress)
  step(progress, "create")
  local spec = { object = "Contact", operation = "upsert", externalIdFieldName = "Ext__c" }
  return bulkjob.with(assert(client:create(spec)), function(job)
    progress.id = job.id
    step(progress, "upload", #players)
    assert(job:upload { rows = rows_of(players, progress), columns = COLUMNS })
    step(progress, "close")
    assert(job:close())
    step(progress, "process", #players)
    local info = assert(job:wait {
      on_progress = function(now)
        progress.state, progress.rows = now.state, now.numberRecordsProcessed or 0
      end,
    })
    step(progress, "results", #players)
    read_back(job, shown, progress)
    step(progress, "done")
    return info.state
  end)
end
