--- The page at / of the control port, in the manner of the org's "Bulk Data Load Jobs": jobs, records, faults, settings. Rendered here; a few
-- lines of JavaScript keep lists up to date, and nothing else needs it. Whatever comes from data goes through `text`.

local faults = require "faults"
local ingest = require "ingest"
local jobs = require "jobs"
local query = require "query"
local query_run = require "query_run"
local records = require "records"
local request_log = require "request_log"
local results = require "results"
local schema = require "schema"
local settings = require "settings"
local signature = require "signature"
local soql = require "soql"
local walk = require "walk"

local M = {}

local MOST_COUNTED = 1000 -- of the records of an object
local JOBS_PER_PAGE, RECORDS, PREVIEW_LINES, PREVIEW_BYTES, LOG_LINES = 50, 100, 20, 20000, 100

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Any value as text of a page, never as markup.
local function text(value)
  return (tostring(value == nil and "" or value):gsub("[%z\1-\8\11\12\14-\31]", "\239\191\189"):gsub("[&<>\"']", ENTITIES))
end

local STYLE = [[
:root{color-scheme:light dark;--line:#8884;--accent:#0b5cab;--bad:#b3261e;--good:#2e7d32}
@media (prefers-color-scheme:dark){:root{--accent:#7ab8ff;--bad:#ff8a80;--good:#81c784}}
html{background:Canvas;color:CanvasText}
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:75rem;padding:0 1rem 3rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}a{color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:1rem 0;border-bottom:1px solid var(--line)}
nav a[aria-current]{font-weight:bold;text-decoration:none}main:focus{outline:none}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem 1.25rem .35rem 0;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:baseline}
td.n,th.n{text-align:right}td.long{white-space:normal;overflow-wrap:anywhere;min-width:12rem}
pre{overflow-x:auto;border:1px solid var(--line);border-radius:4px;padding:.75rem;margin:.5rem 0}
progress{width:6rem}.Failed,.Aborted,.bad{color:var(--bad)}.JobComplete{color:var(--good)}
form{display:flex;flex-wrap:wrap;gap:.75rem;align-items:end;margin:1rem 0}
form label{display:flex;flex-direction:column;font-size:.85rem;max-width:100%}
input,select,button{font:inherit;height:2.25rem;padding:0 .6rem;max-width:100%;box-sizing:border-box}
td form{margin:0;flex-wrap:nowrap}td input{min-width:0;width:22rem}.actions,.pages{display:flex;gap:.75rem}.pages{padding:.75rem 0}
.skip{position:absolute;left:-99rem}.skip:focus{position:static}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.5rem}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:40rem){
.wide{border-top:1px solid var(--line)}table,tbody,td{display:block}thead{position:absolute;left:-99rem}
tr{display:grid;grid-template-columns:3fr 2fr;gap:.1rem .75rem;padding:.6rem 0;border-bottom:1px solid var(--line)}
td,td.n{border:0;padding:0;font-size:.93rem;text-align:left;white-space:normal;overflow-wrap:anywhere}td.long{grid-column:1/-1}td:empty{display:none}
td[data-label]:before{content:attr(data-label) ": ";font-size:.85rem;opacity:.75}}]]

-- Replaces what changes with what the server says now, unless somebody selects in it or presses a button of it. What had the focus has
-- it again, and what was scrolled stays so.
local SCRIPT = [[
const key=e=>e.id||e.getAttribute('href')||e.getAttribute('aria-label')||e.form?.action;
setInterval(async()=>{if(document.hidden||!document.getElementById('live'))return;
const lost=document.getElementById('lost');
try{const page=new DOMParser().parseFromString(await(await fetch(location.href,{headers:{accept:'text/html'}})).text(),'text/html').getElementById('live');
lost.hidden=true;
if(!page)return location.reload();
const live=document.getElementById('live');
if(page.innerHTML===live.innerHTML||live.querySelector(':active')||getSelection().toString())return;
const all=(root,what)=>[...root.querySelectorAll(what)],focus=document.activeElement,held=live.contains(focus)&&key(focus);
const scrolled=all(live,'.wide,pre').map(e=>[key(e),e.scrollLeft]);
live.replaceWith(page);
for(const e of all(page,'.wide,pre'))e.scrollLeft=(scrolled.find(s=>s[0]===key(e))||[0,0])[1];
if(held)(all(page,'a,button,[tabindex]').find(e=>key(e)===held)||document.getElementById('main')).focus({preventScroll:true});
}catch{lost.hidden=false}},2000)]]

--- How a Content-Security-Policy names a piece of the page that may be used.
local function hash_of(piece)
  local digest = signature.sha256()
  digest(piece)
  return ngx.encode_base64((digest():gsub("%x%x", function(hex)
    return string.char(tonumber(hex, 16))
  end)))
end

local POLICY = ("default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
  .. "frame-ancestors 'none'"):format(hash_of(STYLE), hash_of(SCRIPT))

local PLACES = { { "/", "Jobs" }, { "/records", "Records" }, { "/faults", "Faults" }, { "/settings", "Settings" } }

local function send(title, place, parts, status)
  local links = {}
  for i, item in ipairs(PLACES) do
    links[i] = ('<a href="%s"%s>%s</a>'):format(item[1], item[1] == place and ' aria-current="page"' or "", item[2])
  end
  ngx.status = status or 200
  ngx.header["Content-Type"] = "text/html; charset=utf-8"
  -- Should data ever get in as markup in spite of all: it cannot run, nor load anything.
  ngx.header["Content-Security-Policy"] = POLICY
  ngx.header["Cache-Control"] = "no-store"
  ngx.print('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
    "<title>", text(title), " - sandbox</title><style>", STYLE, '</style></head><body><a class="skip" href="#main">To the content</a>',
    '<header><nav aria-label="Main">', table.concat(links), '</nav></header><main id="main" tabindex="-1"><h1>', text(title), "</h1>",
    '<p id="lost" class="bad" role="status" hidden>The sandbox does not answer. This is what it said last.</p>', table.concat(parts), "</main><script>", SCRIPT, "</script></body></html>\n")
end

local function redirect(to)
  ngx.status = 303
  ngx.header["Location"] = to
  ngx.send_headers()
end

local function not_found()
  return send("There is no such page", nil, { '<p><a href="/">To the jobs</a></p>' }, 404)
end

--- A table. head: { { title, class, bare }, ... }; rows: lists of cells, which are markup already. On a narrow screen each row is a block
-- in which cells name their column, except those of a bare one; the roles keep it a table for a screen reader.
local function grid(caption, head, rows)
  local out = { '<div class="wide" tabindex="0" role="region" aria-label="', text(caption), '"><table role="table" aria-label="', text(caption),
    '"><thead role="rowgroup"><tr role="row">' }
  local starts = {}
  for i, column in ipairs(head) do
    local class = column[2] and ' class="' .. column[2] .. '"' or ""
    out[#out + 1] = ('<th role="columnheader" scope="col"%s>%s</th>'):format(class, text(column[1]))
    starts[i] = ('<td role="cell"%s%s>'):format(class, column[3] and "" or ' data-label="' .. text(column[1]) .. '"')
  end
  out[#out + 1] = '</tr></thead><tbody role="rowgroup">'
  for _, row in ipairs(rows) do
    out[#out + 1] = '<tr role="row">'
    for i, cell in ipairs(row) do
      out[#out + 1] = starts[i] .. cell .. "</td>"
    end
    out[#out + 1] = "</tr>"
  end
  out[#out + 1] = "</tbody></table></div>"
  return table.concat(out)
end

local function moment(seconds)
  return os.date("!%Y-%m-%d %H:%M:%S", math.floor(seconds))
end

--- With milliseconds: most of what happens to a job here happens within a second.
local function exact_moment(seconds)
  return ("%s.%03d"):format(moment(seconds), seconds % 1 * 1000)
end

--- what: of several buttons with one label, what this one is for.
local function button(action, label, what)
  return ('<form method="post" action="%s"><button%s>%s</button></form>'):format(text(action),
    what and (' aria-label="%s %s"'):format(text(label), text(what)) or "", text(label))
end

local function progress(job)
  if job.state ~= "InProgress" or not job.rows then
    return ""
  end
  return ('<progress max="%d" value="%d" aria-label="rows processed"></progress>'):format(math.max(job.rows, 1), job.processed)
end

local function state_of(job)
  return ('<span class="%s">%s</span>%s %s'):format(text(job.state), text(job.state), job.held and " (held)" or "", progress(job))
end

local function failed_of(job)
  return ("<span%s>%s</span>"):format(job.failed > 0 and ' class="bad"' or "", text(job.failed))
end

-- Jobs

local function job_list(args)
  local all, rows = jobs.all(), {}
  local number = math.max(tonumber(args.page) or 1, 1)
  number = number - number % 1
  local newest = #all - (number - 1) * JOBS_PER_PAGE
  for i = newest, math.max(newest - JOBS_PER_PAGE + 1, 1), -1 do
    local job = all[i]
    rows[#rows + 1] = {
      ('<a href="/jobs/%s">%s</a>'):format(text(job.id), text(job.id)), state_of(job), text(job.object), text(job.operation),
      text(job.processed), failed_of(job), text(moment(job.created)),
    }
  end
  local parts = { '<div id="live">', ("<p>%d jobs, newest first. Times are UTC.</p>"):format(#all) }
  parts[#parts + 1] = grid("Jobs", { { "Job", nil, true }, { "State", nil, true }, { "Object" }, { "Operation" }, { "Processed", "n" }, { "Failed", "n" }, { "Created", nil, true } },
    rows)
  parts[#parts + 1] = '<p class="pages">'
  if number > 1 then
    parts[#parts + 1] = ('<a href="/?page=%d">Newer</a>'):format(number - 1)
  end
  if newest > JOBS_PER_PAGE then
    parts[#parts + 1] = ('<a href="/?page=%d">Older</a>'):format(number + 1)
  end
  parts[#parts + 1] = "</p></div>"
  return send("Bulk data load jobs", "/", parts)
end

--- The first lines that `stream` writes.
local function preview(stream)
  local pieces, size = {}, 0
  stream(function(piece)
    pieces[#pieces + 1] = piece
    size = size + #piece
    return size < PREVIEW_BYTES
  end)
  local all = table.concat(pieces):sub(1, PREVIEW_BYTES)
  local shown, position = {}, 1
  while #shown < PREVIEW_LINES and position <= #all do
    local stop = all:find("\n", position, true) or #all
    shown[#shown + 1] = all:sub(position, stop)
    position = stop + 1
  end
  return table.concat(shown), position <= #all
end

local function preview_part(title, stream)
  local shown, more = preview(stream)
  return ('<h2>%s</h2><pre tabindex="0" role="group" aria-label="%s">%s</pre>%s'):format(text(title), text(title), text(shown),
    more and "<p>... and more.</p>" or "")
end

local FACTS = {
  { "state", "State" }, { "object", "Object" }, { "operation", "Operation" }, { "external_id_field", "External id" },
  { "query_text", "Query" }, { "api_version", "API version" }, { "line_ending", "Line ending" }, { "column_delimiter", "Column delimiter" },
  { "bytes", "Bytes" }, { "rows", "Rows" }, { "processed", "Processed" }, { "failed", "Failed" }, { "error_message", "Error" },
}

local SPECIAL = { state = state_of, failed = failed_of }

local SETS = { { "successful", "Successful results" }, { "failed", "Failed results" }, { "unprocessed", "Unprocessed records" } }

local function job_page(id, problem)
  local job = jobs.find(id)
  if not job then
    return not_found()
  end
  local parts = { problem and '<p class="bad" role="alert">' .. text(problem) .. "</p>" or "", '<div id="live">' }
  local function put(piece)
    parts[#parts + 1] = piece
  end
  put "<dl>"
  for _, fact in ipairs(FACTS) do
    if job[fact[1]] ~= nil then
      local special = SPECIAL[fact[1]]
      put(("<dt>%s</dt><dd>%s</dd>"):format(fact[2], special and special(job) or text(job[fact[1]])))
    end
  end
  put "</dl>"
  put "<h2>Timeline</h2><ol>"
  for _, step in ipairs(job.history or {}) do
    put(("<li>%s %s</li>"):format(text(exact_moment(step.at)), text(step.state)))
  end
  put "</ol>"
  local action = jobs.is_terminal(job) and "Delete" or "Abort" -- what the service allows now
  put('<div class="actions">' .. button("/jobs/" .. job.id .. "/" .. action:lower(), action) .. "</div>")
  if job.kind == "query" then
    put(preview_part("Result", function(write)
      query_run.preview(job, write)
    end))
  else
    put(preview_part("Data", function(write)
      results.copy(jobs.path(job, "data"), 0, nil, write)
    end))
    for _, set in ipairs(SETS) do
      local answer = results.answer(job, set[1])
      if answer then
        put(preview_part(set[2], answer.stream))
      end
    end
  end
  local rows = {}
  for i, entry in ipairs(request_log.of_job(job.id, LOG_LINES)) do
    rows[i] = {
      text(exact_moment(entry.started)), text(entry.method), text(entry.path), text(entry.status or "none"), text(entry.fault),
    }
  end
  put "<h2>Requests</h2>"
  put(#rows == 0 and "<p>None that the log remembers.</p>"
    or grid("Requests", { { "Time", nil, true }, { "Method" }, { "Path", "long" }, { "Status", "n" }, { "Fault", "n" } }, rows))
  put "</div>"
  return send("Job " .. job.id, "/", parts, problem and 400)
end

local function change_job(id, what)
  local job = jobs.find(id)
  if not job then
    return not_found()
  end
  local resource = job.kind == "query" and query or ingest
  local err = (what == "abort" and resource.abort_job or resource.delete_job)(job)
  if err then
    return job_page(id, err.message)
  end
  return redirect(what == "delete" and "/" or "/jobs/" .. id)
end

-- Records

local function options(list, chosen)
  local out = {}
  for i, name in ipairs(list) do
    out[i] = ("<option%s>%s</option>"):format(name == chosen and " selected" or "", text(name))
  end
  return table.concat(out)
end

local SYSTEM = {
  IsDeleted = true, CreatedDate = true, CreatedById = true, LastModifiedDate = true, LastModifiedById = true, SystemModstamp = true, OwnerId = true,
}

local function record_list(args)
  local names, fields = {}, {}
  for _, object in pairs(schema.objects) do
    names[#names + 1] = object.name
  end
  table.sort(names)
  local object = schema.find(args.object or "Account") or schema.find "Account"
  -- The system's own, which are the same in most rows, stand after the others.
  for _, last in ipairs { false, true } do
    for _, field in ipairs(object.fields) do
      if field.type ~= "compound" and (SYSTEM[field.name] == true) == last then
        fields[#fields + 1] = field.name
      end
    end
  end
  local where = args.where or ""
  local parts = {
    '<form method="get" action="/records"><label>Object <select name="object">', options(names, object.name), "</select></label>",
    '<label>Only where (SOQL) <input name="where" size="40" placeholder="Name LIKE &#39;A%&#39;" value="', text(where), '"></label>',
    "<button>Show</button></form>",
  }
  local plan, err = soql.compile(("SELECT %s FROM %s%s LIMIT %d"):format(table.concat(fields, ","), object.name,
    where ~= "" and " WHERE " .. where or "", RECORDS), { rest = true })
  if not plan then
    parts[#parts + 1] = '<p class="bad" role="alert">' .. text(err.message) .. "</p>"
    return send("Records", "/records", parts, 400)
  end
  local rows, used = {}, {}
  for row in walk.rows(plan, walk.sleep) do
    rows[#rows + 1] = row
    for i, field in ipairs(plan.fields) do
      if row[i] ~= nil and field.type == "boolean" then
        row[i] = row[i] ~= 0
      end
      used[i] = used[i] or row[i] ~= nil and row[i] ~= false
    end
  end
  -- Only columns that some record has something in.
  local head, cells = {}, {}
  for i, name in ipairs(plan.names) do
    head[#head + 1] = used[i] and { name, nil, name == "Id" } or nil
  end
  for r, row in ipairs(rows) do
    cells[r] = {}
    for i = 1, #plan.names do
      cells[r][#cells[r] + 1] = used[i] and text(row[i] ~= nil and tostring(row[i]):sub(1, 200) or "") or nil
    end
  end
  local all = records.count(object.name, MOST_COUNTED + 1)
  parts[#parts + 1] = ("<p>%s%d records of %s in all; here are %s%d.</p>"):format(all > MOST_COUNTED and "More than " or "",
    math.min(all, MOST_COUNTED), text(object.name), #rows == RECORDS and "the first " or "", #rows)
  parts[#parts + 1] = #rows > 0 and grid("Records", head, cells) or ""
  return send("Records", "/records", parts)
end

-- Faults and settings

local function fault_text(fault)
  local parts = {}
  for key, value in pairs(fault) do
    if faults.KEYS[key] and type(value) ~= "table" then
      parts[#parts + 1] = key .. " = " .. tostring(value):sub(1, 60)
    end
  end
  table.sort(parts)
  return table.concat(parts, ", ")
end

--- form: what was filled in, when it could not be taken.
local function fault_list(problem, form)
  local rows = {}
  for i, fault in ipairs(faults.all()) do
    rows[i] = {
      text(fault.id), text(fault_text(fault)), text(fault.left < 0 and "for ever" or fault.left),
      button("/faults/" .. fault.id .. "/remove", "Remove", "fault " .. fault.id),
    }
  end
  form = form or { count = "1" }
  local function choice(label, name, list)
    return ('<label>%s <select name="%s">%s</select></label>'):format(label, name, options(list, form[name]))
  end
  local function line(label, name, more)
    return ('<label>%s <input name="%s" value="%s" %s></label>'):format(label, name, text(form[name]), more)
  end
  return send("Faults", "/faults", {
    problem and '<p class="bad" role="alert">' .. text(problem) .. "</p>" or "", '<div id="live">',
    #rows == 0 and "<p>No fault is active.</p>"
      or grid("Faults", { { "No.", "n" }, { "Fault", "long" }, { "Left", "n" }, { "Action", nil, true } }, rows),
    '</div><h2>Add a fault</h2><form method="post" action="/faults">', choice("Method", "method", { "any", "GET", "POST", "PUT", "PATCH", "DELETE" }),
    line("Path holds", "path", 'placeholder="/batches"'), line("Answer", "status", 'inputmode="numeric" size="5" placeholder="503"'),
    choice("Connection", "reset", { "stays", "before", "after", "body" }), choice("Takes effect", "effect", { "as usual", "true", "false", "late" }),
    line("Seconds", "seconds", 'inputmode="decimal" size="5"'), line("Times", "count", 'inputmode="numeric" size="5"'),
    "<button>Add</button></form>",
  }, problem and 400)
end

local function given(value, none)
  return value and value ~= "" and value ~= none and value or nil
end

local function add_fault(form)
  local effect = given(form.effect, "as usual")
  local fault = {
    method = given(form.method, "any"), path = given(form.path), reset = given(form.reset, "stays"), effect = effect,
  }
  if effect == "true" or effect == "false" then
    fault.effect = effect == "true"
  end
  for _, name in ipairs { "status", "seconds", "count" } do
    if given(form[name]) then
      fault[name] = tonumber(form[name]) or form[name]
    end
  end
  local ok, err = faults.check(fault)
  if not ok then
    return fault_list(err, form)
  end
  faults.add(fault)
  return redirect "/faults"
end

--- form: what was filled in, when it could not be taken.
local function setting_list(problem, form)
  local rows = {}
  for i, name in ipairs(settings.names()) do
    local wrong = form and form.name == name
    rows[i] = {
      ('<label for="set-%s">%s</label>'):format(name, name),
      ('<form method="post" action="/settings"><input type="hidden" name="name" value="%s"><input id="set-%s" name="value" value="%s"%s>'
        .. '<button aria-label="Set %s">Set</button></form>'):format(name, name, text(wrong and form.value or settings.values[name]),
        wrong and ' aria-invalid="true"' or "", name),
    }
  end
  return send("Settings", "/settings", {
    problem and '<p class="bad" role="alert">' .. text(problem) .. "</p>" or "",
    grid("Settings", { { "Setting", "long", true }, { "Value", "long", true } }, rows),
  }, problem and 400)
end

local function change_setting(form)
  local value, err = settings.from_text(form.name or "", form.value or "")
  local ok
  if not err then
    ok, err = settings.set { [form.name] = value }
  end
  if not ok then
    return setting_list(err, form)
  end
  if form.name == "username" then
    records.rename_user(value)
  end
  return redirect("/settings#set-" .. form.name) -- where it stands on the page
end

local function remove_fault(id)
  faults.remove(tonumber(id))
  return redirect "/faults"
end

-- Pattern of the path, what GET and what POST do: with what the pattern caught, then with the arguments of the query or the form.
local ROUTES = {
  { "^$", function(_, args) return job_list(args) end },
  { "^/jobs/(%w+)$", function(id) return job_page(id) end },
  { "^/jobs/(%w+)/abort$", nil, function(id) return change_job(id, "abort") end },
  { "^/jobs/(%w+)/delete$", nil, function(id) return change_job(id, "delete") end },
  { "^/records$", function(_, args) return record_list(args) end },
  { "^/faults$", function() return fault_list() end, function(_, form) return add_fault(form) end },
  { "^/faults/(%d+)/remove$", nil, remove_fault },
  { "^/settings$", function() return setting_list() end, function(_, form) return change_setting(form) end },
}

local function texts(args)
  for name, value in pairs(args) do
    args[name] = type(value) == "table" and value[1] or (value ~= true and value or "")
  end
  return args
end

--- One request. path: without a slash at its end.
function M.handle(path)
  for _, route in ipairs(ROUTES) do
    local caught = path:match(route[1])
    if caught then
      if ngx.req.get_method() == "POST" and route[3] then
        ngx.req.read_body()
        return route[3](caught, texts(ngx.req.get_post_args()))
      elseif ngx.req.get_method() ~= "POST" and route[2] then
        return route[2](caught, texts(ngx.req.get_uri_args()))
      end
    end
  end
  return not_found()
end

return M
