--- Error answers, in the shapes of section 4 of the fact sheet.

local json = require "json"

local M = {}

--- The array of one error that every call under /services/data answers with (fact sheet 4.1).
function M.new(status, code, message)
  return { status = status, error_code = code, message = message, is_error = true }
end

--- An error as a response. Some clients ask for XML and get the REST form of it.
function M.response(err, accept, pretty)
  if accept and accept:find("application/xml", 1, true) and not accept:find("json", 1, true) then
    local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }
    return {
      status = err.status,
      headers = { ["Content-Type"] = "application/xml" },
      body = ('<?xml version="1.0" encoding="UTF-8"?><Errors><Error><errorCode>%s</errorCode><message>%s</message></Error></Errors>')
        :format(err.error_code, (err.message:gsub("[&<>]", escapes))),
    }
  end
  local body = json.array { json.object { { "errorCode", err.error_code }, { "message", err.message } } }
  return {
    status = err.status,
    headers = { ["Content-Type"] = "application/json;charset=UTF-8", Allow = err.allow },
    body = json.encode(body, pretty),
  }
end

function M.session()
  return M.new(401, "INVALID_SESSION_ID", "Session expired or invalid")
end

function M.auth_header()
  return M.new(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
end

function M.not_found()
  return M.new(404, "NOT_FOUND", "The requested resource does not exist")
end

function M.method(method, allowed)
  local err = M.new(405, "METHOD_NOT_ALLOWED", ("HTTP Method '%s' not allowed. Allowed are %s"):format(method, allowed))
  err.allow = allowed
  return err
end

function M.gone(version)
  return M.new(410, "GONE", ("API version v%s is retired. Supported are v31.0 and later"):format(version))
end

function M.not_acceptable()
  return M.new(406, "NOT_ACCEPTABLE", "Results are text/csv; the request accepts nothing")
end

function M.media_type(content_type, wanted)
  return M.new(415, "UNSUPPORTED_MEDIA_TYPE", ("Content-Type '%s' is not supported here, use %s"):format(content_type or "", wanted))
end

function M.parser(message)
  return M.new(400, "JSON_PARSER_ERROR", message)
end

function M.value(message)
  return M.new(400, "INVALIDVALUE", message)
end

function M.job(message)
  return M.new(400, "INVALIDJOB", message)
end

function M.job_state(message)
  return M.new(400, "INVALIDJOBSTATE", message)
end

function M.entity(name)
  return M.new(400, "INVALIDENTITY", ("Entity '%s' is not supported by the Bulk API."):format(name))
end

function M.not_terminated()
  return M.new(400, "API_ERROR", "Error encountered when deleting the job because the job is not terminated")
end

function M.locator()
  return M.new(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
end

return M
