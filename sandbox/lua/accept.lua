--- Results are CSV whatever the Accept header asks for; only a request without one is refused (fact sheet 11.2).

local errors = require "errors"

local M = {}

function M.check_csv()
  if (ngx.var.http_accept or "") == "" then
    return errors.not_acceptable()
  end
end

return M
