--- Results are CSV, and the service insists on an Accept header that takes it (fact sheet 4.3, 406).

local errors = require "errors"

local M = {}

function M.check_csv()
  local value = ngx.var.http_accept
  for range in (value or ""):lower():gmatch "[^,]+" do
    local kind = range:match "^%s*([^;%s]+)"
    if (kind == "text/csv" or kind == "text/*" or kind == "*/*") and not range:find "q=0%.?0*%s*$" then
      return nil
    end
  end
  return errors.not_acceptable(value)
end

return M
