--- The command line: what there is, and what it means.
local argparse = require "argparse"
local bulkjob = require "bulkjob"
local MOST_WHOLE = require("bulkjob.options").MOST_WHOLE

local FACTORS = { [""] = 1, k = 1e3, M = 1e6, G = 1e9 }

local function size(text)
  local number, unit = text:match "^(%d+)([kMG]?)$"
  local bytes = number and tonumber(number) * FACTORS[unit]
  if not bytes or bytes < 1 or bytes > MOST_WHOLE then
    return nil, "'" .. text .. "' is no size, such as 500k, 100M or 100000000"
  end
  return bytes
end

-- A converter for whole numbers.
local function whole(least, most)
  return function(text)
    local n = text:find "^%d+$" and tonumber(text)
    if not n or n < least or n > most then
      return nil, ("'%s' is no whole number from %d to %d"):format(text, least, most)
    end
    return n
  end
end

local count, port, retries = whole(1, 999999999), whole(1, 65535), whole(0, 999999)

-- An empty name is a variable that nobody has set.
local function path(text)
  if text == "" then
    return nil, "an empty text is no name of a file"
  end
  return text
end

local function seconds(text)
  local n = tonumber(text)
  if not n or not (n >= 0 and n < math.huge) then -- LuaJIT knows "nan", too
    return nil, "'" .. text .. "' is no number of seconds"
  end
  return n
end

-- The guide: an id has 15 characters, and three more as a check on letter case.
local function job_id(text)
  if not text:find "^%w+$" or #text ~= 15 and #text ~= 18 then
    return nil, "'" .. text .. "' is no id of a job: 15 or 18 letters and digits"
  end
  return text
end

local STATES = {}
for _, name in ipairs { "Open", "UploadComplete", "InProgress", "JobComplete", "Failed", "Aborted" } do
  STATES[name:lower()] = name
end

-- A state in the letters of the service. Jobs of Bulk API 1.0 are in other states than ours.
local function state(text)
  return STATES[text:lower()] or text
end

local function add_retry_options(command)
  command:option("--timeout", "Seconds without a byte until a request counts as lost (default: 120)."):convert(seconds)
  command:option("--retries", "How often a request that failed is tried again (default: 4)."):convert(retries)
end

local function add_spec(command)
  command:option("--object", "API name of the object, such as Account."):count(1)
  command:option("--operation", "What to do with the rows."):choices { "insert", "update", "upsert", "delete", "hardDelete" }
    :default "insert"
  command:option("--external-id", "Field that an upsert matches on."):target "externalIdFieldName"
  command:option("--assignment-rule", "Id of an assignment rule for cases and leads."):target "assignmentRuleId"
end

local function add_csv_format(command)
  command:option("--column-delimiter", "BACKQUOTE, CARET, COMMA, PIPE, SEMICOLON or TAB."):target "columnDelimiter"
  command:option("--line-ending", "LF or CRLF."):target "lineEnding"
end

local function add_job(parser, name, summary)
  local command = parser:command(name, summary)
  command:argument("id", "Id of the job."):convert(job_id)
  return command
end

-- A text whose paragraphs are one line each, as argparse breaks each line by itself. Lines that begin with a blank stay lines.
local function paragraphs(text)
  return (text:gsub("([^\n])\n(%f[^\n][^\n ])", "%1 %2"))
end

-- argparse tells nobody of which option a value is that its converter refuses.
local function name_refused(command)
  for _, list in ipairs { command._options, command._arguments } do
    for _, element in ipairs(list) do
      local convert = element._convert
      if convert then
        local names = table.concat(element._aliases or { element._name }, ", ")
        element:convert(function(text)
          local value, why = convert(text)
          return value, why and names .. ": " .. why
        end)
      end
    end
  end
  for _, subcommand in ipairs(command._commands or {}) do
    name_refused(subcommand)
  end
end

--- The parser, whose result has `command` and the options under the names of the library.
return function()
  local parser = argparse("bulkjob", "Salesforce Bulk API 2.0: load files, run and watch bulk jobs.")
  parser:epilog(paragraphs [[
Ways to sign in:
   SF_INSTANCE_URL and SF_ACCESS_TOKEN in the environment;
   --org: as the Salesforce CLI (sf) is signed in;
   --client-id, --username and --jwt-key: by a private key, whose passphrase, if it has one, is SF_KEY_PASSPHRASE;
   --client-id and SF_REFRESH_TOKEN, and SF_CLIENT_SECRET if the app asks for it;
   --client-id and --username: by SF_CLIENT_SECRET, SF_PASSWORD and SF_SECURITY_TOKEN;
   --client-id alone: by SF_CLIENT_SECRET, as the app's run-as user of --login-url or SF_INSTANCE_URL.

Secrets come from the environment, or from lines NAME=VALUE in the file of --secrets; what is missing is asked for on the terminal.
SF_CA_FILE names a CA of your own. A proxy comes from --proxy, or from https_proxy and no_proxy.

Exit codes:
   0  all rows good
   1  some rows failed, or were not processed
   2  wrong usage
   3  refused by the service, the network or the check; output not written
   130  interrupted

Example:
   bulkjob load accounts.csv --object Account --operation upsert \
     --external-id Ext__c --results results]])
  parser:help_max_width(80)
  parser:command_target "command"
  parser:require_command(true)
  parser:flag("--version", "Print the version."):action(function()
    print(bulkjob._VERSION)
    os.exit(0)
  end)
  parser:flag("--json", "Print JSON, one object a line.")
  parser:flag("-q --quiet", "Print no progress.")
  parser:option("--org", "Alias or user name of an org that the Salesforce CLI knows.")
  parser:option("--client-id", "Consumer key of the app to sign in by.")
  parser:option("--username", "User to sign in as.")
  parser:option("--jwt-key", "File with the private key, in PEM.")
  parser:option("--login-url", "Where to sign in (default: https://login.salesforce.com); the org's My Domain for an app alone.")
  parser:option("--secrets", "File with lines such as SF_CLIENT_SECRET=...")
  parser:flag("--insecure", "Do not verify certificates.")
  parser:option("--ca-file", "File with the CA certificates to trust.")
  parser:option("--proxy", "Proxy, such as http://host:3128 or socks5://host; one with a password goes into https_proxy.")
  parser:option("--api-version", "API version, such as 66.0 (the default).")
  parser:add_complete_command "completion"

  local load = parser:command "load"
  load:summary "Load a whole CSV file, each row once."
  load:description(paragraphs [[
Checks the file, cuts it into jobs, sends them side by side, and waits for them. When it is stopped at any moment, by Ctrl-C or by a
power cut, the same command goes on where it was: rows that were committed are never sent again. When some rows of the old file are
committed and not all, another file with the same name is refused, unless --restart is given.

Ctrl-C rolls back the jobs that are still open. A second Ctrl-C ends the program at once.]])
  load:argument("file", "The CSV file; - is the standard input."):convert(path)
  add_spec(load)
  load:option("--jobs", "Jobs at the same time."):convert(count):default "4"
  load:option("--part-bytes", "Most bytes of one job, such as 50M (default: 100M)."):convert(size)
  load:option("--journal", "Directory that records what was done (default: FILE.bulkjob, removed when all is done)."):convert(path)
  load:flag("--restart", "Begin anew, whatever was done so far; rows that were committed are sent again.")
  load:option("--results", "Directory for successful.csv, failed.csv and unprocessed.csv."):convert(path)
  load:flag("--join", "Write joined.csv there, too: each row with what became of it.")
  load:option("--retry-failed", "Load rows whose error holds this text once more, such as UNABLE_TO_LOCK_ROW.")
  load:flag("--describe", "Check first whether the object has the columns.")
  load:flag("--no-wait", "End when all jobs are closed, and do not wait for their results.")
  add_retry_options(load)

  local extract = parser:command "extract"
  extract:summary "Write the rows of a query to a file, or print them."
  extract:description(paragraphs [[
Runs the query and fetches its rows. CSV that goes to a file comes in pages side by side; when it is stopped at any moment, the same
command goes on behind the last complete page. The file appears when all rows are in it.

With --format json or lua each row is one line, in Lua a table constructor.]])
  extract:argument("query", "SOQL.")
  extract:option("-o --output", "File to write; without it the rows are printed."):target("output"):convert(path)
  extract:option("--format", "csv (the default), json (the default of --json without -o) or lua."):choices { "csv", "json", "lua" }
  extract:flag("--typed", "Numbers and booleans as such, by the object's describe (json and lua).")
  extract:flag("--all-rows", "Deleted and archived rows, too.")
  extract:option("--pages", "Pages at the same time (csv to a file)."):convert(count)
  extract:option("--max-records", "Rows of each page; the pages then come one after the other."):convert(count)
  add_csv_format(extract)
  extract:option("--journal", "Directory that records what was done (default: OUTPUT.bulkjob, removed when all is done).")
    :convert(path)
  extract:flag("--restart", "Begin anew, whatever was done so far.")
  add_retry_options(extract)

  local create = parser:command("create", "Create a job, and print its id.")
  create:option("--object", "API name of the object.")
  create:option("--operation", "What to do."):choices { "insert", "update", "upsert", "delete", "hardDelete", "query", "queryAll" }
    :count(1)
  create:option("--external-id", "Field that an upsert matches on."):target "externalIdFieldName"
  create:option("--assignment-rule", "Id of an assignment rule."):target "assignmentRuleId"
  create:option("--query", "SOQL of a query job.")
  add_csv_format(create)

  add_job(parser, "upload", "Upload a job's data."):argument("file", "The CSV file.")
  add_job(parser, "close", "Commit a job: the service begins to process its rows.")
  add_job(parser, "abort", "Roll back an open job, or stop a running one.")
  add_job(parser, "info", "What the service knows about a job.")
  add_job(parser, "delete", "Delete a job.")
  add_job(parser, "wait", "Wait for the end of a job."):option("--timeout", "Seconds to wait at most (default: no limit)."):convert(seconds)

  local results = add_job(parser, "results", "Print the rows of a job as CSV.")
  results:argument("which", "Which rows of an ingest job (default: successful). A query job has one kind."):args "?"
    :choices { "successful", "failed", "unprocessed" }
  results:option("-o --output", "File to write; it appears when it is complete.")

  local jobs = parser:command("jobs", "List the jobs of the org.")
  jobs:option("--kind", "Which jobs."):choices { "ingest", "query" }:default "ingest"
  jobs:option("--state", "Only jobs in this state, such as Open or JobComplete."):convert(state)
  jobs:option("--object", "Only jobs of this object.")
  jobs:option("--operation", "Only jobs with this operation.")

  parser:command("limits", "What the org has left today.")
  local sandbox = parser:command "sandbox"
  sandbox:summary "Start a local org to try things with, until Ctrl-C."
  sandbox:description(paragraphs [[
Starts a local org on this machine: HTTP, records in SQLite, faults on request. When it is ready it prints what to export, or with --json
one line of JSON. It ends with Ctrl-C, with this process, and with the process of --owner. Needs nginx with its Lua module.

Exit codes:
   0  it ended as it was told to
   1  it could not start, or failed
   2  wrong usage]])
  sandbox:option("--port", "Port for HTTP (default: a free one)."):convert(port)
  sandbox:flag("--https", "HTTPS too, with a CA of its own. Needs openssl.")
  sandbox:option("--tls-port", "Port for HTTPS (default: a free one)."):convert(port)
  sandbox:option("--control-port", "Port of the control interface (default: a free one)."):convert(port)
  sandbox:flag("--http2", "HTTP/2 too, on one more port of HTTPS.")
  sandbox:option("--bind", "Address to listen on (default: 127.0.0.1).")
  sandbox:option("--dir", "Directory to keep everything in: an empty one, or one that was kept.")
  sandbox:flag("--keep", "Leave the directory behind; the next start with it goes on where this one was.")
  sandbox:option("--token", "The access token (default: a random one).")
  sandbox:option("--set", "NAME=VALUE: a setting, such as processing_seconds=2."):count "*"
  sandbox:option("--ready-file", "File that appears, with the line of JSON in it, when the org is ready. Nothing is printed then.")
  sandbox:option("--owner", "End with the process of this id."):convert(count)
  name_refused(parser)
  return parser
end
