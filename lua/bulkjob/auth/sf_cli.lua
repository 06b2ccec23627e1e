--- A token from the Salesforce CLI, the command `sf`.
local core = require "bulkjob.core"
local shell = require "bulkjob.shell"

local NOT_FOUND, SHOWN = 127, 200

local function fail(message, code)
  return nil, core.error("auth", "sf: " .. message, { code = code })
end

-- The JSON in what was printed. Warnings, of updates and of plug-ins, come before it and behind it, with colours and braces of their
-- own.
local function find_answer(text)
  text = text:gsub("\27%[[%d;]*m", "")
  for from in text:gmatch "(){" do
    for _, pattern in ipairs { "^%{.*%}", "^%b{}" } do
      local answer = core.json_decode(text:match(pattern, from) or "")
      if type(answer) == "table" and answer.status then
        return answer
      end
    end
  end
end

-- Runs a subcommand. What its JSON holds as the result, or nil, err.
local function run(options, words)
  local line = { "NO_COLOR=1 FORCE_COLOR=0", shell.quote(options.command), words }
  if options.org then
    line[#line + 1] = "--target-org " .. shell.quote(options.org)
  end
  local text, status = core.run_command(table.concat(line, " ") .. " --json </dev/null 2>&1")
  if not text then
    return fail(status)
  elseif status == NOT_FOUND then
    return fail("the command '" .. options.command .. "' is not there; it is the Salesforce CLI")
  end
  local answer = find_answer(text)
  if not answer then
    return fail("no JSON came from 'sf " .. words .. "'")
  elseif answer.status ~= 0 or type(answer.result) ~= "table" then
    return fail(tostring(answer.message or "no message came"):sub(1, SHOWN), type(answer.name) == "string" and answer.name or nil)
  end
  return answer.result
end

local function is_token(text)
  return type(text) == "string" and (text:find "^00D%w+!%S+$" or text:find "^eyJ%S+$") and not text:find("[REDACTED]", 1, true)
end

--- Asks `sf` for the token and the instance URL of an org that it is signed in to. From version 2.136.8 on (May 2026) `sf org display`
--- hides the token, and a second subcommand shows it.
---@param options { org: string|nil, command: string }
---@return { access_token: string, instance_url: string }|nil answer, bulkjob.Error|nil err
return function(options)
  local display, err = run(options, "org display")
  if not display then
    return nil, err
  elseif type(display.instanceUrl) ~= "string" then
    return fail "no instance URL in the answer of 'sf org display'"
  end
  local token = display.accessToken
  if not is_token(token) then
    local shown, why = run(options, "org auth show-access-token")
    if not shown and type(token) == "string" and token:find("[REDACTED]", 1, true) then
      return fail("'sf org display' says [REDACTED] in place of the token, and 'sf org auth show-access-token' failed: " .. why.message)
    end
    token = shown and shown.accessToken
  end
  if not is_token(token) then
    return fail "no token in its answers: is the org still connected? 'sf org login web' signs in again"
  end
  return { access_token = token, instance_url = display.instanceUrl }
end
