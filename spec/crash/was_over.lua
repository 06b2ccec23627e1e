--- Was the program through before the request at which it was to be killed? It looks at a job as often as the job takes, and that
--- is not always the same.
---@param kill string
---@param text string what it printed
---@return boolean
return function(kill, text)
  local number = tonumber(kill:match "^request:(%d+)$")
  local requests = tonumber(text:match "^%d+ %d+ (%d+) %d+")
  return number ~= nil and requests ~= nil and requests < number
end
