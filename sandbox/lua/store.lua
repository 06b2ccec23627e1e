--- What an org whose directory is kept remembers beside its records: its token, its jobs, the objects that were defined. They are in the
-- same database, so a slice of rows and what the job says of it are written together. An org that is not kept remembers nothing.

local json = require "json"

local M = {}

local db -- nil: nothing is kept

-- The fields of a job that are more than its moment: numbers, texts, booleans, and small tables of them.
local JOB_FIELDS = {
  "id", "kind", "job_type", "operation", "object", "external_id_field", "assignment_rule_id", "content_type", "column_delimiter",
  "line_ending", "api_version", "concurrency_mode", "pk_chunking", "pk_chunking_supported", "created", "modified", "created_by", "state",
  "processed", "failed", "seeded", "uploads", "bytes", "rows", "good_rows", "late_failure", "columns", "header_end", "next_offset",
  "started", "finished", "error_message", "result_files", "sizes", "transitions", "query_text", "header", "synthetic_options", "last_row", "history",
  "discard", "number",
}

--- Remember from now on in this database. keep = false: nothing is.
function M.open(database, keep)
  db = keep and database or nil
  if not db then
    return
  end
  db:run "CREATE TABLE IF NOT EXISTS SandboxValue(Name TEXT PRIMARY KEY, Value TEXT) WITHOUT ROWID"
  db:run "CREATE TABLE IF NOT EXISTS SandboxJob(Id TEXT PRIMARY KEY, Number INTEGER, Fields TEXT) WITHOUT ROWID"
  db:run "CREATE TABLE IF NOT EXISTS SandboxObject(Number INTEGER PRIMARY KEY, Name TEXT, Prefix TEXT, Fields TEXT)"
end

function M.get(name)
  return db and db:first("SELECT Value FROM SandboxValue WHERE Name = ?", { name })
end

function M.put(name, value)
  if db then
    db:run("INSERT OR REPLACE INTO SandboxValue(Name, Value) VALUES(?, ?)", { name, tostring(value) })
  end
end

function M.save_job(job)
  if db and not job.deleted then
    local fields = {}
    for _, name in ipairs(JOB_FIELDS) do
      fields[name] = job[name]
    end
    db:run("INSERT OR REPLACE INTO SandboxJob(Id, Number, Fields) VALUES(?, ?, ?)", { job.id, job.number, json.encode_plain(fields) })
  end
end

function M.remove_job(job)
  if db then
    db:run("DELETE FROM SandboxJob WHERE Id = ?", { job.id })
  end
end

--- All jobs that are remembered, in their order.
function M.jobs()
  local list = {}
  if db then
    for row in db:rows "SELECT Fields FROM SandboxJob ORDER BY Number" do
      list[#list + 1] = assert(json.decode(row[1]))
    end
  end
  return list
end

--- An object was defined, or got more fields.
function M.save_object(name, prefix, fields)
  if db then
    db:run("INSERT INTO SandboxObject(Name, Prefix, Fields) VALUES(?, ?, ?)", { name, prefix, json.encode_plain(fields) })
  end
end

function M.objects()
  local list = {}
  if db then
    for row in db:rows "SELECT Name, Prefix, Fields FROM SandboxObject ORDER BY Number" do
      list[#list + 1] = { name = row[1], prefix = row[2], fields = assert(json.decode(row[3])) }
    end
  end
  return list
end

--- Forget the jobs and the objects, not the token.
function M.clear()
  if db then
    db:run "DELETE FROM SandboxJob"
    db:run "DELETE FROM SandboxObject"
  end
end

return M
