---@meta

-- Everything that is public, for lua-language-server, so that an editor completes and explains it. It is never loaded. The page
-- doc/reference.md is made of it (make reference), and spec/meta_spec.lua holds it against the running module. What tools/annotations.lua
-- says of its form holds.

--[[
# Reference

Every public function, option and field, with types, defaults and errors. The guides are listed in [README](../README.md#guides).

- [Module](#module)
- [Client](#client): [options](#client-options), [methods](#client-methods)
- [Signing in](#signing-in), [TLS, proxies and secrets](#tls-proxies-and-secrets)
- [Job](#job): [creating](#creating-a-job), [methods](#job-methods), [sources](#sources), [rows](#rows), [leaving a job](#leaving-a-job),
  [job info](#job-info), [listing jobs](#listing-jobs)
- [Result sets](#result-sets)
- [Errors](#errors): [fields](#fields-of-an-error), [hosts that show only strings](#hosts-that-show-only-strings), [retries](#retries),
  [doubt](#doubt), [events](#events)
- [Whole loads](#whole-loads): [options](#options-of-a-load), [runs](#runs), [progress](#the-progress-of-a-load),
  [report](#the-report-of-a-load)
- [Whole extracts](#whole-extracts)
- [Command](#command)
- [Waiting](#waiting): [tasks](#tasks), [games](#games), [nginx](#nginx), [HAProxy](#haproxy), [luv and Neovim](#luv-and-neovim),
  [another event loop](#another-event-loop)
- [C programs](#c-programs)
- [CSV](#csv)
- [Sandbox](#sandbox)
- [Requirements](#requirements)

A `?` behind a name: an option that may be left out, a field that may be nil. **In an editor**: this page is made from
`lua/bulkjob/meta.lua`, which is installed with the module. An editor with lua-language-server completes and explains all of it as soon as
the directory that holds `bulkjob.lua` and `bulkjob/` is in the setting `workspace.library`.

## Module

`local bulkjob = require "bulkjob"`
]]

---@class bulkjob
---Ways to sign in.
---@field auth bulkjob.auth
---Reads, writes and checks CSV.
---@field csv bulkjob.csv
---Ways to wait.
---@field loop bulkjob.loop
---Clears a field. It is written as `#N/A`. The same value as `cjson.null` and `ngx.null`.
---@field null lightuserdata
---`"bulkjob X.Y.Z"`
---@field _VERSION string
local bulkjob = {}

---Makes a client for one org. It makes no request and starts no thread. An unknown option, or one of the wrong type, raises an error that
---names it.
---@param options bulkjob.ClientOptions
---@return bulkjob.Client client
function bulkjob.client(options) end

---Calls `fn(job)` and aborts the job if it is still surely open afterwards: what `<close>` does in Lua 5.4. Returns what `fn` returns, and
---raises what it raises.
---@param job bulkjob.Job
---@param fn fun(job: bulkjob.Job): any
---@return any ...
function bulkjob.with(job, fn) end

---Is this an error table of this library?
---@param value any
---@return boolean is_error
function bulkjob.is_error(value) end

---Lua's `assert`, but what it raises is a string: the position of the caller, and the line of the error. Returns all that it was given.
---@generic T
---@param value T?
---@param err? any
---@param ... any
---@return T value
---@return any ...
function bulkjob.assert(value, err, ...) end

---The error table for what `pcall` has caught, in every host. What is no error of this library is returned as it is.
---@param value any
---@return bulkjob.Error|any err
function bulkjob.caught(value) end

--[[
## Client

`bulkjob.client(options)` makes a client for one org. It makes no request and starts no thread.

### Client options

An unknown option, or one of the wrong type, raises an error that names it. Times are in seconds.
]]

---@class bulkjob.ClientOptions
---`https://HOST` of the org, such as `"https://acme.my.salesforce.com"`. Required, or given by `auth`.
---@field instance_url? string
---A session id or an OAuth token. This or `auth` is required. With both, this one is used until the service refuses it.
---@field access_token? string
---A way to sign in, or a function of your own.
---@field auth? bulkjob.Auth
---Used for the whole life of a job.
---Default: `"66.0"`
---@field api_version? string
---Seconds that a request may be silent: not one byte in either direction. Bytes that have left this program and that the other side has
---not acknowledged do not count as progress.
---Default: 120
---@field timeout? number
---Seconds for connecting.
---Default: 30
---@field connect_timeout? number
---Seconds for a whole call, its retries and pauses included.
---Default: 600; none for uploads and results
---@field total_timeout? number
---How often a request is sent, and the pauses between.
---@field retry? bulkjob.Retry
---Requests under way to one host at the same time. Downloads that the program reads row by row, and uploads that it feeds, are not
---counted. Clients of one host share the number; where theirs differ, the largest is the limit of all together.
---Default: 8
---@field max_connections? integer
---`http://`, `https://`, `socks5://` or `socks5h://`, with `user:password@` if need be.
---Default: from the environment
---@field proxy? string
---Hosts that need no proxy, separated by commas.
---Default: from the environment
---@field no_proxy? string
---Certificates to trust in place of the system's: a file in PEM.
---@field ca_file? string
---The same: a directory.
---@field ca_path? string
---A client certificate, in PEM.
---@field client_cert? string
---Its key, in PEM. The key has no passphrase.
---@field client_key? string
---The header `User-Agent`.
---Default: `"bulkjob/X.Y.Z"`
---@field user_agent? string
---Do not verify certificates, and allow http to other machines.
---Default: `false`
---@field insecure? boolean
---Ask for gzip responses.
---Default: `true`
---@field compress? boolean
---Added to the nice value of the engine's thread (Linux).
---Default: 0; 10 in nginx
---@field nice? integer
---How to wait: one of `bulkjob.loop`, or a function of your own.
---Default: chosen automatically
---@field loop? bulkjob.Loop
---A function that gets a table for each event: see below.
---@field on_event? fun(event: bulkjob.Event)

---@class bulkjob.Retry
---The number of requests in all.
---Default: 5
---@field tries? integer
---The ceiling of the first pause, in seconds, with full jitter.
---Default: 1
---@field base? number
---The ceiling of the longest pause.
---Default: 30
---@field cap? number

---A function that returns a token, and if need be the instance URL; `nil, err` when it fails. It is called before the first request, and
---once more when the token has expired. Those of `bulkjob.auth` are only for this option, and not to be called.
---@alias bulkjob.Auth fun(): string?, any

--[[
### Client methods
]]

---@class bulkjob.Client
local client = {}

---Creates a job. With `data`, of at most 100,000 characters, the job is created, filled and closed in one request.
---@param spec bulkjob.JobSpec
---@return bulkjob.Job? job
---@return bulkjob.Error? err
function client:create(spec) end

---A handle on an existing job, without a request.
---@param id string of 15 or 18 characters
---@param kind? "ingest"|"query" without it the first call finds out
---@return bulkjob.Job job
function client:job(id, kind) end

---An iterator over the info of all jobs of the org, page after page, in no particular order: `for info in client:jobs() do`. It raises the
---error of a page that cannot be had.
---@param filter? bulkjob.JobFilter
---@return fun(): bulkjob.JobInfo? next_info
function client:jobs(filter) end

---Loads a whole file, or rows, however large, as many jobs as it takes.
---@param options bulkjob.LoadOptions
---@return bulkjob.LoadReport? report
---@return bulkjob.Error? err
function client:load(options) end

---Writes all rows of a query to a file.
---@param options bulkjob.ExtractOptions
---@return bulkjob.ExtractReport? report
---@return bulkjob.Error? err
function client:extract(options) end

---What the org has left today, by the names of the service: `{ NAME = { Max =, Remaining = } }`.
---@return table<string, bulkjob.Limit>? limits
---@return bulkjob.Error? err
function client:limits() end

---A task: `fn(…)` in a coroutine, from the next poll on.
---@param fn fun(...: any): any
---@param ... any
---@return bulkjob.Task task
function client:spawn(fn, ...) end

---Moves every task on that can move, and returns how many are left, and what a task raised whose result nobody has asked for. Waits until
---one can move, at most so long. `poll(0)` never waits, and returns after a fraction of a millisecond.
---@param seconds? number without it there is no limit
---@return integer left
---@return bulkjob.Error? err
function client:poll(seconds) end

---Polls until no task is left. The error is the first that a task raised whose result nobody has asked for.
---@return true? ok
---@return bulkjob.Error? err
function client:run() end

---For another event loop: a descriptor that is readable when `poll(0)` has something to do. `nil, why` when no descriptor is left.
---@return integer? fd
---@return string? why
function client:pollfd() end

---What to watch the descriptor for.
---@return "r" events
function client:events() end

---Seconds after which `poll(0)` has something to do even if the descriptor is not readable. Nil: no such moment.
---@return number? seconds
function client:timeout() end

---Ends what is under way, tasks too. Calling it twice is harmless.
function client:close() end

---@class bulkjob.Limit
---How many there are in all.
---@field Max integer
---How many are left.
---@field Remaining integer

--[[
## Signing in

```lua
local client = bulkjob.client {
  auth = bulkjob.auth.jwt { client_id = "3MVG9…", username = "integration@acme.example", key_file = "server.key" },
}
```
]]

---@class bulkjob.auth
bulkjob.auth = {}

---Client credentials: the app signs in as the run-as user of its settings.
---@param options bulkjob.ClientCredentialsOptions
---@return bulkjob.Auth auth
function bulkjob.auth.client_credentials(options) end

---JWT bearer: the private key of a certificate that the app knows signs in as a user whom the app's policies pre-authorise.
---@param options bulkjob.JwtOptions
---@return bulkjob.Auth auth
function bulkjob.auth.jwt(options) end

---Refresh token: what a user has once allowed. A new refresh token that comes in return takes the place of the old one.
---@param options bulkjob.RefreshTokenOptions
---@return bulkjob.Auth auth
function bulkjob.auth.refresh_token(options) end

---User name and password. The service is withdrawing this flow: client credentials take its place.
---@param options bulkjob.PasswordOptions
---@return bulkjob.Auth auth
function bulkjob.auth.password(options) end

---The Salesforce CLI: an org that the command `sf` is signed in to. It blocks for the seconds that `sf` takes.
---@param options? bulkjob.SfCliOptions
---@return bulkjob.Auth auth
function bulkjob.auth.sf_cli(options) end

--[[
Each returns a token source. Any number of clients and tasks may share one; in nginx, keep one in a module and make a client for each
request.

- The source asks for a token when the first request needs one, and keeps it.
- When the service says that the token has expired, one request fetches a new one, however many calls wait for it. Then what was refused is
  sent again, uploads too.
- A refused sign-in is an error of the kind `"auth"`, with the words of the service and their usual cause.
- The source says where the org is, so `instance_url` is not needed. If it is given, it is used.
- A function of your own is called once for all calls that wait for it at the same time.

The guide is [Signing in](signing-in.md).
]]

---@class bulkjob.ClientCredentialsOptions
---The org's My Domain, such as `"https://acme.my.salesforce.com"`. login.salesforce.com refuses this flow.
---@field login_url string
---The consumer key of the app.
---@field client_id string
---Its consumer secret.
---@field client_secret string

---@class bulkjob.JwtOptions
---The consumer key of the app.
---@field client_id string
---The user to sign in as.
---@field username string
---The path of an RSA key in PEM. This or `key` is required.
---@field key_file? string
---The key itself, in PEM.
---@field key? string
---Opens a key that is encrypted.
---@field passphrase? string
---Where to sign in.
---Default: `"https://login.salesforce.com"`
---@field login_url? string
---Whom the assertion is for. For Salesforce sandboxes it is `"https://test.salesforce.com"`.
---Default: what fits `login_url`: `"https://login.salesforce.com"`, or that of sandboxes
---@field audience? string

---@class bulkjob.RefreshTokenOptions
---The consumer key of the app.
---@field client_id string
---The token that the user's sign-in gave.
---@field refresh_token string
---The consumer secret, if the app asks for it.
---@field client_secret? string
---Where to sign in.
---Default: `"https://login.salesforce.com"`
---@field login_url? string
---Called with each new refresh token, to be stored, where the org changes it at each use.
---@field on_refresh_token? fun(refresh_token: string)

---@class bulkjob.PasswordOptions
---The consumer key of the app.
---@field client_id string
---Its consumer secret.
---@field client_secret string
---The user to sign in as.
---@field username string
---The user's password.
---@field password string
---The user's security token, where the org asks for it.
---@field security_token? string
---Where to sign in.
---Default: `"https://login.salesforce.com"`
---@field login_url? string

---@class bulkjob.SfCliOptions
---An alias or user name that the Salesforce CLI is signed in to.
---Default: the default org of the CLI
---@field org? string
---The command to run.
---Default: `"sf"`
---@field command? string

--[[
### TLS, proxies and secrets

**Secrets** appear in no error, event, journal or `tostring`. What the service echoes is masked. Redirects are not followed, so no other
host gets a token.

**TLS.** Certificates are verified, and TLS is 1.2 at least. http is refused except to this machine, and then it goes through no proxy,
unless `insecure = true`. `ca_file` and `ca_path` are trusted in place of the system's certificates.

**Proxies.** A proxy comes from the option `proxy` (`http://`, `https://`, `socks5://` or `socks5h://`, with `user:password@` if need be,
escaped as in any URL), or from `https_proxy` in the environment. `no_proxy`, option or environment, names the hosts that need none,
separated by commas.

**The command** takes `--org ALIAS`, or `--client-id` with what each flow needs. It reads secrets from the environment (`SF_CLIENT_SECRET`
and so on), from the file of `--secrets`, or from the terminal. It never reads them from its arguments, and it leaves no core file.

The guide is [Security](security.md).

## Job

Nothing that a job holds is processed before `close`. Until then it can be aborted without effect. After `close` the service processes the
rows one by one: some can fail while others are stored. `JobComplete` does not mean that every row was taken: `numberRecordsFailed` and
`failed_results` tell.

### Creating a job

The fields of the request body, and `data`. A query needs `operation` and `query`.
]]

---@class bulkjob.JobSpec
---What is done with the rows; or a query, `"queryAll"` with deleted and archived rows, too. The service decides about what is not named
---here.
---@field operation "insert"|"update"|"upsert"|"delete"|"hardDelete"|"query"|"queryAll"|string
---The API name of the object, such as `"Account"`. Not for a query.
---@field object? string
---The field to match on. An upsert needs it.
---@field externalIdFieldName? string
---A rule for Case or Lead.
---@field assignmentRuleId? string
---Between the values.
---Default: `"COMMA"`
---@field columnDelimiter? bulkjob.ColumnDelimiter
---At the end of each line.
---Default: `"LF"`
---@field lineEnding? bulkjob.LineEnding
---`"CSV"` is all that the service knows.
---Default: `"CSV"`
---@field contentType? string
---The SOQL of a query.
---@field query? string
---The data, of at most 100,000 characters: the job is created, filled and closed in one request.
---@field data? bulkjob.Source

---@alias bulkjob.ColumnDelimiter "BACKQUOTE"|"CARET"|"COMMA"|"PIPE"|"SEMICOLON"|"TAB"

---@alias bulkjob.LineEnding "LF"|"CRLF"

--[[
### Job methods
]]

---@class bulkjob.Job
---18 characters, or the 15 that the handle was made from.
---@field id string
---Nil as long as nobody has asked the service.
---@field kind? "ingest"|"query"
---The last one seen, known without a request.
---@field state? bulkjob.JobState
local job = {}

---Uploads the data of the job. A job takes one upload. If it fails after something was sent, a job that this client made is aborted: it was
---open, so nothing was processed.
---@param source bulkjob.Source
---@return true? ok
---@return bulkjob.Error? err
function job:upload(source) end

---Commits: job info, state `UploadComplete`, or a later state if the job has moved on. Refused locally while no upload was acknowledged,
---unless the handle was made from an id.
---@return bulkjob.JobInfo? info
---@return bulkjob.Error? err
function job:close() end

---Rolls back: job info, state `Aborted`. A job that already runs is stopped; rows that were processed stay.
---@return bulkjob.JobInfo? info
---@return bulkjob.Error? err
function job:abort() end

---Job info, fresh.
---@return bulkjob.JobInfo? info
---@return bulkjob.Error? err
function job:info() end

---Job info in a final state: `JobComplete`, `Failed` or `Aborted`. The pauses between looks grow to 20 s. A time-out leaves the job alone,
---and the error has its id. A job of Bulk API 1.0 (`jobType` `Classic`) is an error at once.
---@param options? bulkjob.WaitOptions
---@return bulkjob.JobInfo? info
---@return bulkjob.Error? err
function job:wait(options) end

---Rows that were processed, with `sf__Id` and `sf__Created`.
---@return bulkjob.ResultSet set
function job:successful_results() end

---Rows that were refused, with `sf__Id` and `sf__Error`.
---@return bulkjob.ResultSet set
function job:failed_results() end

---Rows that were not tried, because the job failed or was aborted.
---@return bulkjob.ResultSet set
function job:unprocessed_records() end

---The rows of a query, page after page.
---@param options? bulkjob.ResultOptions
---@return bulkjob.ResultSet set
function job:results(options) end

---Of a query, API 58.0 and later: an array of result sets, one for each page, in the order of the rows. Tasks can read them at the same
---time. `for set in pages do` walks over it, too. Whoever reads the last of them to its end gets an error if all together have other than
---the rows that the job has found.
---@param options? bulkjob.PageOptions
---@return bulkjob.Pages? pages
---@return bulkjob.Error? err
function job:pages(options) end

---Deletes the job and what the service keeps of it. Rows that were processed stay.
---@return true? ok
---@return bulkjob.Error? err
function job:delete() end

---@class bulkjob.WaitOptions
---Seconds; without it there is no limit. It bounds the last look at the job, too.
---@field timeout? number
---Gets the job info of each look.
---@field on_progress? fun(info: bulkjob.JobInfo)

---@class bulkjob.ResultOptions
---Rows for each page.
---Default: the service's choice
---@field max_records? integer
---Where to begin: the `Sforce-Locator` of a page.
---@field locator? string
---Values as the describe of the object says, in place of text.
---Default: `false`
---@field typed? boolean

---@class bulkjob.PageOptions
---As in `job:results`.
---Default: `false`
---@field typed? boolean

---@class bulkjob.Pages
---The pages, in the order of the rows.
---@field [integer] bulkjob.ResultSet
---@overload fun(): bulkjob.ResultSet?

--[[
`close` and `abort` are safe to repeat: see [retries](#retries) and the guide [Close and abort](close-and-abort.md).

### Sources

What `upload` takes:

| source | can be sent again when a connection breaks |
| --- | --- |
| a string of CSV | yes |
| `{ file = path [, first =, last =] [, header =] [, digest =] }` | yes |
| `{ rows = array [, columns =] }` | yes |
| `{ rows = iterator [, columns =] }` | as long as it has given at most 4 MiB; then no, and the error says so |
| a function that returns chunks until nil; `nil, err` is a failure | the same |
]]

---@alias bulkjob.Source string|bulkjob.FileSource|bulkjob.RowSource|(fun(): string?, any)

---@class bulkjob.FileSource
---The path of a CSV file.
---@field file string
---The first byte, counted from 1 as in `string.sub`.
---Default: 1
---@field first? integer
---The last byte.
---Default: the last of the file
---@field last? integer
---Text to send before the range.
---@field header? string
---The checksum of a part by `bulkjob.csv.check`. The upload is completed only if the bytes are still those that were checked. Otherwise the
---last of them are not sent, and the error has the code `"CONTENT_CHANGED"`.
---@field digest? string

---@class bulkjob.RowSource
---An array without holes, or an iterator; `nil, err` from it is a failure.
---@field rows bulkjob.Row[]|(fun(): bulkjob.Row?, any)
---Which fields, in this order.
---Default: the union of all, sorted by name; of an iterator, those of its first row
---@field columns? string[]

--[[
### Rows

- An array gets the union of all columns, sorted by name. An iterator gets the columns of its first row, and refuses a later row with
  others, unless `columns` is given.
- A hole in an array, and an iterator that ends by `nil, err`, are errors.
- A nil field becomes an empty cell, which leaves the field as it is. `bulkjob.null` becomes `#N/A`, which clears the field.

The guide is [Files and rows](files-and-rows.md).
]]

---Values by the names of the columns: strings, numbers, booleans, `bulkjob.null`.
---@alias bulkjob.Row table<string, any>

--[[
### Leaving a job

In Lua 5.4, `local job <close> = assert(client:create { … })` aborts the job when the scope is left while the job is surely open, by an
error or otherwise. After `close` the job belongs to the service, and nothing here stops it on your behalf. In other versions
`bulkjob.with(job, function(job) … end)` does the same, and returns what the function returns.

```lua
local job <close> = assert(client:create { object = "Account", operation = "insert" })
assert(job:upload { file = "accounts.csv" })
local info = assert(job:close())          -- { id = "750…", state = "UploadComplete", apiVersion = "66.0", … }
info = assert(job:wait())
print(info.numberRecordsProcessed, info.numberRecordsFailed)
for row in job:failed_results() do print(row.sf__Error, row.Name) end
```

**Fennel**: do not use `with-open`. It calls `:close()` on every way out, also when an error is raised, and `job:close()` is the commit: an
error after the upload would commit the job. The name is the service's own.
`(bulkjob.with (assert (client:create {…})) (fn [job] …))` rolls back.

### Job info

Job info is a table with the field names of the service. `apiVersion` is a string such as `"66.0"`, counters and times are integers,
whatever the JSON held, and JSON's null is absent. Fields that this version does not know are kept as they came. `close` and `abort` return
all that is known of the job, not just the ten fields of their response.
]]

---@class bulkjob.JobInfo
---The id of the job, 18 characters.
---@field id string
---Its state. A job of Bulk API 1.0 may be in others than these.
---@field state bulkjob.JobState|string
---What is done with the rows, such as `"upsert"`.
---@field operation string
---The API name of the object. Absent where the operation has none.
---@field object? string
---The user who made it.
---@field createdById string
---When, such as `"2026-03-04T09:15:27.000+0000"`.
---@field createdDate string
---When it was changed last.
---@field systemModstamp string
---`"66.0"`: the version that it was made with.
---@field apiVersion string
---`"Parallel"`, always.
---@field concurrencyMode? string
---`"CSV"`, always.
---@field contentType? string
---`"V2Ingest"`, `"V2Query"`, `"BigObjectIngest"`, or `"Classic"` for one of Bulk API 1.0.
---@field jobType? string
---Where its data goes. Only while the job is `Open`.
---@field contentUrl? string
---Between the values.
---@field columnDelimiter? bulkjob.ColumnDelimiter
---At the end of each line.
---@field lineEnding? bulkjob.LineEnding
---Of an upsert: the field to match on.
---@field externalIdFieldName? string
---If it was set.
---@field assignmentRuleId? string
---Rows processed so far, failed ones included. Of a query: the rows found.
---@field numberRecordsProcessed? integer
---Rows that were refused.
---@field numberRecordsFailed? integer
---How often the service tried again to store rows.
---@field retries? integer
---Milliseconds from the start to the end. 0 while it runs.
---@field totalProcessingTime? integer
---Milliseconds of work, those of Apex included, without waiting in queues.
---@field apiActiveProcessingTime? integer
---Milliseconds in triggers and other Apex.
---@field apexProcessingTime? integer
---Why a job failed.
---@field errorMessage? string
---Can the object of a query be cut by its keys?
---@field isPkChunkingSupported? boolean

---@alias bulkjob.JobState
---| "Open" # created, waits for data
---| "UploadComplete" # closed: the data is whole, and the job waits to be processed
---| "InProgress" # is being processed
---| "JobComplete" # over: each row was processed, or failed
---| "Failed" # over: the service gave up. Rows that were processed stay
---| "Aborted" # over: by an abort. Rows that were processed stay

--[[
### Listing jobs

The service filters by `kind`, `jobType`, `concurrencyMode` and `isPkChunkingEnabled`; the client by the others.
]]

---@class bulkjob.JobFilter
---Which list.
---Default: `"ingest"`
---@field kind? "ingest"|"query"
---`"V2Ingest"`, `"V2Query"`, `"BigObjectIngest"` or `"Classic"`.
---@field jobType? string
---`"serial"` or `"parallel"`.
---@field concurrencyMode? string
---Only jobs with PK chunking, which are jobs of Bulk API 1.0.
---@field isPkChunkingEnabled? boolean|string
---Only jobs in this state.
---@field state? bulkjob.JobState|string
---Only jobs of this object.
---@field object? string
---Only jobs of this operation.
---@field operation? string
---Only jobs of this user.
---@field createdById? string
---Only jobs of this version, such as `"66.0"`.
---@field apiVersion? string

--[[
## Result sets

A result set makes no request before its first use. `for row in set do` reads its rows.
]]

---@class bulkjob.ResultSet
---@overload fun(): bulkjob.Row?
local set = {}

---An iterator over the rows, as tables: `for row in set:rows() do`, the same as `for row in set do`. It raises the error. Several tasks can
---read from one set: each row goes to one of them. A loop that is left early ends the download, in Lua 5.4 at once, otherwise when the set
---is closed or collected.
---@return fun(): bulkjob.Row? next_row
function set:rows() end

---The next row, or nil at the end. It raises the error.
---@return bulkjob.Row? row
function set:next() end

---The names of the columns, in their order. Before the first row this begins the download.
---@return string[]? names
---@return bulkjob.Error? err
function set:columns() end

---An iterator over the CSV text, piece by piece, with one header: `for text in set:chunks() do`. It raises the error.
---@return fun(): string? next_piece
function set:chunks() end

---The whole CSV text.
---@return string? text
---@return bulkjob.Error? err
function set:read() end

---Saves the CSV text without moving it through Lua. The file appears under its name only when it is whole. A symbolic link is followed; a
---pipe, a terminal or a device is written to as the rows come, so there an error may come behind them.
---@param path string
---@return true? ok
---@return bulkjob.Error? err
function set:save(path) end

---Ends the download. Calling it twice is harmless.
function set:close() end

--[[
**Values** are text, and an empty one is `""`: nothing is lost. With `typed = true` they are what the describe of the object says: integers,
numbers, booleans, and nil for an empty one. Dates, and whole numbers that this Lua cannot hold, stay text. It costs one request for each
object that the query names.

## Errors

Misuse (a wrong type, an unknown option) raises. Everything else returns `nil, err`. Iterators have no place for a second value, so they
raise the same `err`. It prints as one line, by `tostring(err)`:

```lua
local job, err = client:create { object = "Account", operation = "insert" }
if not job then
  ngx.log(ngx.ERR, tostring(err))
  return ngx.exit(502)
end
```

### Fields of an error
]]

---@class bulkjob.Error
---What went wrong, in general.
---@field kind bulkjob.ErrorKind
---As the service wrote it, or libcurl's name.
---@field code? string
---The words of the service, or libcurl's.
---@field message string
---The HTTP status of the response.
---@field status? integer
---The method of the request.
---@field method? string
---The URL of the request.
---@field url? string
---The job that it is about.
---@field job_id? string
---How often the request was sent.
---@field attempts? integer
---Seconds that the service asked to wait.
---@field retry_after? number
---The state that the job is really in, when that stands in the way.
---@field state? bulkjob.JobState|string
---`true`: a close, an abort or a create with data failed, and may have taken effect all the same, or may still do so.
---@field in_doubt? boolean
---What failed while cleaning up after this one.
---@field also? bulkjob.Error[]
---How many empty, open jobs a `create` that failed may have left behind.
---@field strays? integer
---`true`: the service has data of this job already.
---@field contents? boolean
---Of a load: each job that it has made so far.
---@field jobs? { id: string, state: string? }[]
---Of a load whose journal holds an unfinished run of something else: what of that was committed.
---@field parts? bulkjob.RunPart[]
---Of a fault in CSV: its line, counted from 1.
---@field line? integer
---Of a fault in CSV: its byte, counted from 1.
---@field byte? integer
---Of a fault in CSV: the name of its column, where there is one.
---@field column? string
---Of a task that raised: where.
---@field traceback? string
---Of a task that raised something else than a string: that.
---@field raised? any

---@alias bulkjob.ErrorKind
---| "api" # the service refused
---| "auth" # the sign-in failed, or the service takes no token of ours
---| "network" # no connection, or it broke
---| "timeout" # silent for too long, or the whole call took too long
---| "protocol" # the response makes no sense
---| "io" # local files, memory, descriptors, threads
---| "csv" # the data is not what the service would take
---| "job" # the job's state stands in the way
---| "cancelled" # a task was cancelled, or what was used was closed
---| "task" # a task raised something that is no error of ours

---@class bulkjob.RunPart
---Its first record in the input, counted from 1.
---@field first integer
---Its last record.
---@field last integer
---The id of its job, if there is one.
---@field job? string
---What is known of it.
---@field what "committed"|"perhaps committed"|"not sent"

--[[
The guide, with each kind and what to do, is [Errors](errors.md).

### Hosts that show only strings

nginx ("unknown reason"), and the interpreters of Lua 5.1 and LuaJIT, do not show a table that `assert` raises; in Lua 5.1 and 5.2 `assert`
takes only strings. There `bulkjob.assert(client:create { … })` is like `assert`, but raises a string: the position, and the line of the
error. In nginx iterators raise the line, too. `bulkjob.caught(message)` returns the error table for what `pcall` has caught, in every host;
what is no error of ours is returned as it is.

### Retries

Network failures, 408, 420, 429, 500, 502, 503, 504 and lock failures are tried again, with exponential pauses, full jitter and
`Retry-After`. If the service asks for more than ten minutes, the call returns the error with `retry_after`. A request that may have had its
effect is checked before it is repeated:

- `close` and `abort`: when a request was sent and not clearly answered by the service, the state is read back. The state asked for is
  success. For a `close` each later state is, too, since only a close leads there. The old state means: send again. Anything but a success
  that makes sense, or a refusal in the service's own form (a 4xx other than 408, 420 and 429), counts as not answered.
- `create`: it is sent again. The first request may have left an empty job, which can process nothing. An event `stray` reports it, and
  nobody touches it (`bulkjob jobs --state Open` lists such jobs). A create with `data` is sent again only if the service refused it or
  never got it: its job may be running.
- `upload`: the body is sent again from its start. The service's error "multiple contents" is success only when all bodies that this handle
  has sent whole were the same.
- a download that breaks is begun again, and goes on where the program was, after a check that it is the same data.

A job is aborted on your behalf (an upload that failed, a scope that was left) only when your client made it and it is surely open: no
`close` was sent, or each one was refused. A handle that has sent an `abort` never sends a `close`.

### Doubt

`err.in_doubt` is `true` when a `close`, an `abort` or a `create` with data failed, and a request that was sent may have taken effect all
the same, or may still do so. A job in doubt is never aborted on your behalf. Ask `client:job(err.job_id):info()`.

### Events
]]

---`on_event` is called with one of these tables; `type` says which.
---@alias bulkjob.Event bulkjob.RequestEvent|bulkjob.RetryEvent|bulkjob.StateEvent|bulkjob.StrayEvent|bulkjob.LimitEvent

---After each request.
---@class bulkjob.RequestEvent
---Which event it is.
---@field type "request"
---The method of the request.
---@field method string
---Its URL. Secrets are masked.
---@field url string
---The HTTP status, if a response came.
---@field status? integer
---Seconds that it took.
---@field seconds number
---Bytes of the body that were sent.
---@field sent integer
---Bytes of the response.
---@field received integer
---The number of the request in its call, from 1.
---@field attempt integer
---The job that it is about.
---@field job_id? string
---What went wrong.
---@field error? bulkjob.Error

---Before a pause, after which a request is sent again.
---@class bulkjob.RetryEvent
---Which event it is.
---@field type "retry"
---Seconds of the pause.
---@field delay number
---The number of the request that follows.
---@field attempt integer
---Why.
---@field error? bulkjob.Error
---The job that it is about.
---@field job_id? string

---A job was seen in another state.
---@class bulkjob.StateEvent
---Which event it is.
---@field type "state"
---The job.
---@field job_id string
---The state before, if it was known.
---@field from? bulkjob.JobState
---The state now.
---@field to bulkjob.JobState

---Creates without a response may have left empty open jobs.
---@class bulkjob.StrayEvent
---Which event it is.
---@field type "stray"
---The object of the jobs.
---@field object? string
---Their operation.
---@field operation string
---How many there may be.
---@field count integer
---They were made after this time, by the service's clock.
---@field from string
---They were made before this time.
---@field to string

---A load may need more of a limit of the org than is left.
---@class bulkjob.LimitEvent
---Which event it is.
---@field type "limit"
---As the service calls it.
---@field name string
---So much may be needed.
---@field needed integer
---So much is left.
---@field remaining integer

--[[
## Whole loads

```lua
local report = assert(client:load {
  object = "Account", operation = "upsert", externalIdFieldName = "Ext__c",
  file = "accounts.csv", journal = "accounts.run", results = "results",
})
print(report.processed, report.failed, report.unprocessed)
```

The whole file is checked first, and a fault is reported with its line before any request. Then the file is cut at record boundaries into
jobs of at most 100 MB. They go up side by side, straight from the file, bytes unchanged, each behind the header. Delimiter, line ending and
byte order mark are read from the bytes. A checksum of each part is taken in the check and compared as the part goes up: when the file was
changed in between, the job is aborted instead of closed, and the error has the code `"CONTENT_CHANGED"`.

### Options of a load
]]

---@class bulkjob.LoadOptions
---The API name of the object.
---@field object string
---What is done with the rows.
---@field operation "insert"|"update"|"upsert"|"delete"|"hardDelete"
---The field to match on. An upsert needs it.
---@field externalIdFieldName? string
---A rule for Case or Lead.
---@field assignmentRuleId? string
---A CSV file: this or `rows`. Columns that begin with `sf__` are left out, so that the failed rows of a load can be loaded again.
---@field file? string
---Rows as for `job:upload`. They are written to the disk first: into the journal, or where temporary files go.
---@field rows? bulkjob.Row[]|(fun(): bulkjob.Row?, any)
---Of `rows`: which fields.
---@field columns? string[]
---How many jobs at the same time.
---Default: 4
---@field jobs? integer
---At most so many bytes in one job.
---Default: 100,000,000
---@field part_bytes? integer
---The directory of the run: the same call again goes on where this one was stopped.
---Default: none
---@field journal? string
---Begin anew, whatever the journal holds, and send again what that has committed.
---Default: `false`
---@field restart? boolean
---A directory for `successful.csv`, `failed.csv` and `unprocessed.csv`, each with one header, all of one run. It must not be the directory
---of the input.
---Default: none
---@field results? string
---Also write `joined.csv` there: each row of the input, in its order, with `sf__Outcome`, `sf__Id`, `sf__Created` and `sf__Error`. Needs
---`results`, and `wait`.
---Default: `false`
---@field join? boolean
---Rows whose error holds this text, such as `"UNABLE_TO_LOCK_ROW"`, are loaded once more, and both passes are put together. Not where the
---failed rows may lack values (`report.blank`). Needs `results`, and `wait`.
---Default: none
---@field retry_failed? string
---First look whether the object has the columns.
---Default: `false`
---@field describe? boolean
---Called five times a second.
---@field on_progress? fun(progress: bulkjob.LoadProgress)
---`false`: return when all jobs are closed.
---Default: `true`
---@field wait? boolean

--[[
The service returns results in any order, and may write numbers and dates in its own way. So `join` finds a row by its external id in an
upsert, or by its `Id` in an update or a delete, and by all its values where that is empty or there twice: first by the text, then, where
the texts do not tell, by numbers and dates that are the same, for which the object's describe is asked. Rows that are the same in every
column get their outcomes in turn. A row never gets the outcome of a row that differs from it: where no outcome is surely its own, it is
`unknown`.

### Runs

A load with a `journal` is a *run*: a directory in which each step is on the disk before what depends on it. Make the same call again,
whatever has stopped it.

**Each record arrives once.** Each record is handed over in at most one job that can ever be closed, whatever is lost, late, cancelled or
killed. So it is processed at most once, and at the end it is in exactly one of `successful`, `failed`, `unprocessed` and `unknown`;
`unknown` comes only from jobs or results that are gone. This holds while the directory is not copied, restored or rolled back, the disk
keeps what it said it kept, nobody else closes or fills the run's jobs, and `restart` is not used. Without a journal nothing is promised
across calls; an error then lists the jobs in `err.jobs`.

A call is the same when the org, the object, the operation, its fields and the *content* of the input are. Path, times, `jobs`,
`part_bytes`, `results` and `wait` do not matter. What the call finds in the journal:

| the journal holds | the call |
| --- | --- |
| the same, unfinished | goes on (`report.resumed`). A job that was never asked to close is aborted, and its part made anew; any other is only ever closed and waited for |
| the same, finished | returns its report again (`report.repeated`); no row is sent |
| something else, finished, or of which nothing was committed | begins anew |
| something else, of which some may have been committed | is an error that says what, record by record (`err.parts`); nothing is changed. Make the old call to finish it, or begin anew with `restart = true`: then what was committed is sent again (`report.replaced` lists it) |
| a run that another program works on | is an error with the code `LOCKED` |
| files that are not of a run | is an error; nothing is touched |

The cut of an unfinished run stays; a smaller `part_bytes` cuts what was never asked to close. Once all parts are closed the input is no
longer needed: the call without `file` goes on, too. The directory holds one run, and may be removed when that is finished.

An error or an interrupt aborts what is surely open, leaves what is closed, and is returned when no worker is under way any more. The guide
is [Runs](runs.md).

### The progress of a load
]]

---@class bulkjob.LoadProgress
---Bytes sent.
---@field bytes integer
---Bytes in all.
---@field total_bytes integer
---Records in all.
---@field records integer
---As the service counts them: with those that failed.
---@field processed integer
---Rows that were refused.
---@field failed integer
---Counts of the jobs by what they do: `waiting`, `creating`, `uploading`, `closing`, `processing`, `done`, `failed`.
---@field jobs table<string, integer>
---Bytes a second.
---@field rate number
---Seconds since the call began.
---@field seconds number
---Seconds until it is over. Nil while nobody can tell.
---@field seconds_left? number

--[[
### The report of a load
]]

---@class bulkjob.LoadReport
---The info of each job, with its `errorMessage`, in the order of the parts.
---@field jobs bulkjob.LoadedJob[]
---Records of the input.
---@field records integer
---Bytes of the input, without the header.
---@field bytes integer
---Seconds that it took.
---@field seconds number
---Rows that were processed, as the service counts: it includes `failed`.
---@field processed integer
---Rows that were refused.
---@field failed integer
---Rows that were not tried.
---@field unprocessed integer
---Rows of jobs or results that are gone.
---@field unknown integer
---`true`: a job was aborted or has no counters, so more may have been processed.
---@field lower_bound? boolean
---The paths of the files, if they were asked for.
---@field results? bulkjob.ResultFiles
---Rows that were loaded once more.
---@field retried? integer
---An earlier call had begun it.
---@field resumed boolean
---An earlier call had done it all.
---@field repeated boolean
---Creates without a response: each may have left an empty open job.
---@field strays integer
---Of a `restart`: what the run before had committed, or may have.
---@field replaced? bulkjob.RunPart[]
---Ids of jobs that could not be aborted; they hold data that nobody closes.
---@field left_open? string[]
---Why rows failed, the most frequent cause first. Nil with `wait = false`, and where the failed rows cannot be had.
---@field errors? bulkjob.Reason[]
---`true`: the service gave the failed rows back without their values, or without those of a column, as it does when the header has other
---letter cases than the fields. Such a `failed.csv` cannot be loaded again.
---@field blank? boolean

---@class bulkjob.LoadedJob: bulkjob.JobInfo
---`true`: the job is gone; all that is known is its id, and what was seen of it before.
---@field gone? boolean

---@class bulkjob.ResultFiles
---Rows that were processed, with `sf__Id` and `sf__Created`.
---@field successful string
---Rows that were refused, with `sf__Id` and `sf__Error`.
---@field failed string
---Rows that were not tried.
---@field unprocessed string
---With `join`: each row of the input with what became of it.
---@field joined? string

---A cause of failed rows: errors that differ only in ids, numbers and what is in quotes.
---@class bulkjob.Reason
---Such as `"DUPLICATE_VALUE"`.
---@field code? string
---Of one of the rows.
---@field message string
---How many rows failed by it.
---@field count integer
---That row: its values that are neither empty nor longer than 200 bytes.
---@field example table<string, string>

--[[
The guide is [Results](results.md).

## Whole extracts

```lua
local report = assert(client:extract {
  query = "SELECT Id, Name FROM Account", file = "accounts.csv", journal = "accounts.run",
})
print(report.rows, report.bytes)
```

Runs the query and puts all its rows into one file: one header, the rows in the order in which the service has them. Pages are downloaded
side by side, each waits on the disk until it is its turn, and the file gets its name when it is whole. A page that breaks is fetched again
from its locator. The rows of each page are counted against the header `Sforce-NumberOfRecords`, those of all pages against what the job has
found: a result that is short or doubled is an error. With a `journal`, the same call made again goes on behind the last whole page; a
finished extract, or another query, begins anew.
]]

---@class bulkjob.ExtractOptions
---SOQL.
---@field query string
---`"queryAll"` for deleted and archived rows, too.
---Default: `"query"`
---@field operation? "query"|"queryAll"
---Where the rows go. Until it is whole, they are in the journal, or without one in a temporary directory beside the file.
---@field file string
---How many at the same time, from API version 58.0 on. Before, one page leads to the next.
---Default: 4
---@field pages? integer
---Rows for each page; then, too, one page leads to the next.
---Default: the service's choice
---@field max_records? integer
---Between the values, as in `client:create`.
---Default: `"COMMA"`
---@field columnDelimiter? bulkjob.ColumnDelimiter
---At the end of each line, as in `client:create`.
---Default: `"LF"`
---@field lineEnding? bulkjob.LineEnding
---The directory of the run: the same call again goes on where this one was stopped.
---Default: none
---@field journal? string
---Begin anew, whatever the journal holds.
---Default: `false`
---@field restart? boolean
---Called five times a second.
---@field on_progress? fun(progress: bulkjob.ExtractProgress)

---@class bulkjob.ExtractProgress
---The state of the job.
---@field state bulkjob.JobState|string
---Rows in the file so far.
---@field rows integer
---Rows in all. Nil as long as the service does not know.
---@field total_rows? integer
---Pages in the file so far.
---@field pages integer
---Bytes on the disk so far.
---@field bytes integer
---Bytes a second.
---@field rate number
---Seconds since the call began.
---@field seconds number
---Seconds until it is over. Nil while nobody can tell.
---@field seconds_left? number

---@class bulkjob.ExtractReport
---The info of the job.
---@field job bulkjob.JobInfo
---Rows in the file.
---@field rows integer
---Pages that they came in.
---@field pages integer
---Bytes of the file.
---@field bytes integer
---Seconds that it took.
---@field seconds number
---Its path.
---@field file string
---An earlier call had begun it.
---@field resumed boolean

--[[
Without a journal an error leaves nothing: the query is aborted if it still runs, and the pages that had come are removed. The guide is
[Extracts](extracts.md).

## Command

    export SF_INSTANCE_URL=https://acme.my.salesforce.com SF_ACCESS_TOKEN=…
    bulkjob load accounts.csv --object Account --operation upsert --external-id Ext__c --results results

    [########################################]  61 %  0:42 left  1,204,000 of 4,000,000 rows

    bulkjob extract "SELECT Id, Name FROM Account" -o accounts.csv
    bulkjob extract "SELECT Id, AnnualRevenue FROM Account" --format json --typed | head

Commands: `load`, `extract`, `create`, `upload`, `close`, `abort`, `info`, `wait`, `jobs`, `results`, `delete`, `limits`, `sandbox`,
`completion`. `bulkjob --help`, `bulkjob COMMAND --help` and `man bulkjob` list the options.

- On a terminal it draws a bar, elsewhere it prints lines, with `--json` one JSON object a line.
- Output that cannot be written is an error (exit code 3). What was to be written goes to the standard error, such as the id of a new job.
- `load` and `extract -o` keep a journal, `FILE.bulkjob`, until all is done and the report is printed. `--restart` begins anew.
- Ctrl-C rolls back what is still open, keeps what is committed, and prints the command that goes on. A second Ctrl-C exits at once.

| exit code | meaning |
| --- | --- |
| 0 | all rows good |
| 1 | some rows failed, or were not processed |
| 2 | usage |
| 3 | refused by the service, the network or the check of the data; output that could not be written |
| 130 | interrupted |

From a clone it is `bin/bulkjob`, after `make`. It needs lua-argparse. `make install` brings completion for bash, zsh and fish. The guide is
[The command](command.md).

## Waiting

Every call is written the same way everywhere. How it waits depends on the host that calls it; the hosts are listed in
[README](../README.md#hosts).
]]

---@class bulkjob.loop
---Plain Lua, LuaJIT: the program sleeps. In tasks of the client, other tasks run. Chosen where no other is.
---@field block bulkjob.Loop
---nginx, OpenResty: a cosocket; the worker answers other requests. Chosen automatically.
---@field ngx bulkjob.Loop
---cqueues: `cqueues.poll`; the controller's other coroutines run. Chosen automatically.
---@field cqueues bulkjob.Loop
---luv, Neovim: a poll handle (`vim.loop` in Neovim). Chosen automatically in coroutines that libuv runs; otherwise it has to be named.
---@field luv bulkjob.Loop
---copas: its select, for descriptors below 1024. copas 1 has to be named: `loop = bulkjob.loop.copas`.
---@field copas bulkjob.Loop
---HAProxy: `core.tcp`. Chosen automatically in tasks, services and actions.
---@field haproxy bulkjob.Loop
bulkjob.loop = {}

--[[
Work that need not wait for anything, such as rows that come faster than they are read, or a file that is checked, lets the host's loop have
its turn after each millisecond.

### Tasks

A thousand tasks in one script are ordinary.

```lua
for _, name in ipairs(files) do
  client:spawn(function()
    local job <close> = assert(client:create { object = "Account", operation = "insert" })
    assert(job:upload { file = name })
    assert(job:close())
    return assert(job:wait())
  end)
end
assert(client:run())
```

`client:spawn`, `client:poll` and `client:run` are [methods of the client](#client-methods).
]]

---@class bulkjob.Task
local task = {}

---Is it over?
---@return boolean is_over
function task:done() end

---What `fn` returned. Waits for it, in another task too. If it raised or was cancelled: `nil, err`, with the task's own traceback in
---`err.traceback`. An error that is not one of ours gets the kind `"task"`; what was raised, if it is no string, is `err.raised`.
---@return any ...
function task:result() end

---The call that the task waits in returns `nil, err` with the kind `"cancelled"`; if it waits for none now, the next one does that would
---wait. What it does then, such as rolling its job back, is not cancelled. A task that has not begun never runs. `false` if the task was
---done already.
---@return boolean was_running
function task:cancel() end

--[[
An error of a task whose result nobody asks for is returned once, by `run` or as the second value of `poll`. An error that a hook of the
host raises in the middle of `poll` or `run`, as sandboxes do with programs that take too long, loses no task: the next `poll` goes on.

PUC Lua 5.1 cannot yield inside an iterator, and needs coxpcall to wait in a coroutine inside `upload`, `save` and an `auth` function of
yours. There, call `set:next()` in a `while` loop instead of `for`.

### Games

Spawn a task, and call `client:poll(0)` in each frame:

```lua
function love.update()
  client:poll(0)
end
```

Give the client `nice = 10`, so that its thread never takes the core from a frame. A task that moves rows through Lua does as many as fit
into a fraction of a millisecond, so poll more often if you want more of them; files, uploaded or saved, do not pass through Lua. Lua 5.4
collects its garbage in large steps; `collectgarbage("incremental", 200, 10, 10)` keeps them shorter than a frame notices.
`make example-love` shows a game in LÖVE. The guide is [Games](games.md).

![LÖVE draws while bulkjob uploads](../examples/love/screenshot.png)

### nginx

`require` the module in `init_by_lua`. Make the client where you like, even for each request: all clients of a worker share one thread and
its connections.

- Requests can be made in the phases rewrite, access, content, preread, ssl_certificate, ssl_session_fetch and ssl_client_hello, and in
  timers. Anywhere else the error says so.
- A worker that leaves finishes what its requests wait for, and after nginx's `worker_shutdown_timeout` ends it with an error.
- Started by `ngx.run_worker_thread`, a client blocks its thread.
- When a request is killed (`ngx.on_abort`), what it waited for is ended.
- Make tasks and poll them within one request: nginx ties coroutines to it.

The guide is [OpenResty and nginx](openresty.md).

### HAProxy

Tested with Debian's HAProxy (2.6 with Lua 5.3 on Debian 12). Calls can be made in tasks, services and actions, but not in a coroutine of
your own inside of those, which HAProxy does not know. It does not work with `chroot`, nor with `option abortonclose`. As an ordinary user
HAProxy may start no thread, so `global` has to hold `insecure-fork-wanted`.

### luv and Neovim

A coroutine that waits cannot be a generator of your own as well, since what it yields would go to whoever reads from the generator. That is
an error: read in the coroutine that uses the rows. In Neovim, coroutines go on outside of fast events (`vim.schedule`), and lua-cjson for
LuaJIT has to be in `package.cpath`.

### Another event loop

Watch one descriptor for all tasks, and poll when it is readable or the time has passed:

```lua
my_loop:on_readable(client:pollfd(), function() client:poll(0) end)   -- client:events() is "r"
my_loop:after(client:timeout(), function() client:poll(0) end)         -- ask again after each poll; nil: no need
```

Or give a function as `loop`, for a loop that has coroutines of its own. It gets what is waited for, and returns when there may be news, or
the time has passed; returning too early does no harm. A time of 0 is there to let others run:

```lua
loop = function(waiting)
  my_loop:suspend_until_readable(waiting:pollfd(), waiting:timeout())
end
```

`waiting:pollfd()` is `nil, why` when no descriptor is left: return `false, why` then, which is the error of the call. The descriptor may be
another one each time; do not close it. The guide is [Event loops](event-loops.md).
]]

---A way to wait. It returns when there may be news, or the time has passed; `false, why` when it cannot wait. `pause`: there can be no
---news, only the time can pass.
---@alias bulkjob.Loop fun(waiting: bulkjob.Waiting, pause?: boolean): any, string?

---@class bulkjob.Waiting
local waiting = {}

---A descriptor that is readable when there is news. `nil, why` when no descriptor is left.
---@param timed? boolean for a loop without timers: the descriptor becomes readable when the time has passed, too
---@return integer? fd
---@return string? why
function waiting:pollfd(timed) end

---What to watch the descriptor for.
---@return "r" events
function waiting:events() end

---Seconds after which to return even without news. Nil: no limit.
---@return number? seconds
function waiting:timeout() end

---Blocks the thread until then. `nil, why` when it cannot.
---@return true? ok
---@return string? why
function waiting:sleep() end

--[[
## C programs

    sudo make install                 # brings libbulkjob.a and bulkjob.h too
    P=/usr/local; cc -I$P/include $(pkg-config --cflags lua5.4) -o host host.c \
      $P/lib/lua/5.4/bulkjob/libbulkjob.a $(pkg-config --libs lua5.4 libcurl libcrypto zlib) -lm -pthread

```c
lua_getglobal(L, "package");
lua_getfield(L, -1, "preload");
lua_pushcfunction(L, luaopen_bulkjob_core);   /* #include <bulkjob.h> */
lua_setfield(L, -2, "bulkjob.core");
lua_pop(L, 2);
```

Then `require "bulkjob"` works as usual. The program has to

- let Lua find `bulkjob.lua` and `bulkjob/*.lua` (`package.path`, or strings of its own in `package.preload`) and lua-cjson
  (`package.cpath`; a program that links Lua itself statically needs `-rdynamic` for that, or lua-cjson in `package.preload` as well);
- call `client:poll(0)`, which never waits, when `client:pollfd()` is readable or `client:timeout()` seconds have passed (nil: no limit).
  Ask for both anew before each sleep. A game calls `client:poll(0)` once a frame, and needs neither;
- use a state from one thread at a time. Several states may live in several threads; each has an engine of its own;
- `lua_close` the state when it is done, at any moment: what is under way ends, the engine's thread is joined, and jobs that were not closed
  are never processed.

`examples/host.c` does all this beside a timer of its own; `make example-host` runs it. After a `fork`, a client made before it raises a
clear error in the child, and a new client works. The guide is [C programs](c-programs.md).

## CSV
]]

---@class bulkjob.csv
bulkjob.csv = {}

---An iterator over rows. It raises the error of bad data; `nil, err` when the file cannot be opened.
---@param source bulkjob.CsvSource
---@param options? bulkjob.CsvReadOptions
---@return (fun(): table<string, string>?)? next_row
---@return bulkjob.Error? err
function bulkjob.csv.rows(source, options) end

---CSV text of rows.
---@param rows bulkjob.Row[]|(fun(): bulkjob.Row?, any)
---@param columns? string[] as in a row source
---@param options? bulkjob.CsvWriteOptions
---@return string? text
---@return bulkjob.Error? err
function bulkjob.csv.encode(rows, columns, options) end

---Facts about CSV, or its first fault: an error with `line`, `byte` and, where there is one, `column`.
---@param source bulkjob.CsvSource
---@param options? bulkjob.CsvCheckOptions
---@param pause? fun() called now and then
---@return bulkjob.CsvFacts? facts
---@return bulkjob.Error? err
function bulkjob.csv.check(source, options, pause) end

--[[
They read and write the CSV that the service speaks: six delimiters, both line endings, quoted line breaks, any bytes. Values are always
strings. Bad CSV is an error with line and byte, never a short result.

`bulkjob.csv.check` looks through CSV before it is sent, for what the service would refuse: no header, an empty name or one twice, quotes
that are not closed or stand where none may, records with another number of values, mixed line endings, text that is no UTF-8, and what is
longer than the service takes. Values are not looked at. Nothing has to fit into memory; 500 MB take about a second.
]]

---Text, the path of a file, or a function that returns pieces until nil; `nil, err` is a failure.
---@alias bulkjob.CsvSource string|{ file: string }|(fun(): string?, any)

---@class bulkjob.CsvReadOptions
---The delimiter as a character, or by the service's name.
---Default: found in the header
---@field delimiter? bulkjob.ColumnDelimiter|string
---The longest record in bytes.
---Default: 16 MiB
---@field max_record? integer

---@class bulkjob.CsvWriteOptions
---The delimiter as a character, or by the service's name.
---Default: `"COMMA"`
---@field delimiter? bulkjob.ColumnDelimiter|string
---At the end of each line.
---Default: `"LF"`
---@field line_ending? bulkjob.LineEnding

---@class bulkjob.CsvCheckOptions
---The delimiter as a character, or by the service's name.
---Default: found in the header
---@field delimiter? bulkjob.ColumnDelimiter|string
---Cut so that no part with its header is longer.
---Default: one part
---@field part_bytes? integer
---Take the checksum of the whole, too.
---Default: `false`
---@field sha256? boolean

---@class bulkjob.CsvFacts
---The names in the header.
---@field columns string[]
---As `client:create` takes it.
---@field columnDelimiter bulkjob.ColumnDelimiter
---As `client:create` takes it.
---@field lineEnding bulkjob.LineEnding
---Records without the header.
---@field records integer
---Bytes in all.
---@field bytes integer
---The first byte of the header, counted from 1. A byte order mark comes before it.
---@field header_first integer
---The last byte of the header.
---@field header_last integer
---Where to cut it, so that no part with its header is longer than `part_bytes`.
---@field parts bulkjob.CsvPart[]
---Of all bytes, in hexadecimal digits, if it was asked for.
---@field sha256? string

---@class bulkjob.CsvPart
---Its first byte, counted from 1.
---@field first integer
---Its last byte.
---@field last integer
---Records in it.
---@field records integer
---What `job:upload` takes as the `digest` of these bytes, with the header of this data as its `header`.
---@field digest string

--[[
## Sandbox

A local org for demos and tests, also for programs in other languages: nginx with its Lua module on 127.0.0.1, HTTP and with `--https`
HTTPS, records in SQLite. It answers as the service does, strictly. It has the REST resources beside bulk that clients sign in with and look
around in. It fails on request: any status, connections reset before or after a request took effect, effects that come late, stalls, cut
bodies.

    bulkjob sandbox

See [sandbox/README.md](../sandbox/README.md), [sandbox/TESTING.md](../sandbox/TESTING.md) for your own tests, and the guide
[The local org](local-org.md).

## Requirements

At run time: libcurl (7.87 or newer), OpenSSL's libcrypto (3.0 or newer), zlib and lua-cjson. The command also needs lua-argparse, and the
sandbox nginx with its Lua module and SQLite. To build: their headers, and those of xxHash (`libxxhash-dev`), of which nothing is linked.
Lua 5.1 (not LuaJIT) needs coxpcall for loads and extracts. Lua 5.1 to 5.4 and LuaJIT pass the same suite.
]]
