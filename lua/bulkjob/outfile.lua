--- Files that are being written (core.begin_output): a path that is a regular file, or nothing yet, gets a finished file in one step;
--- anything else, such as a pipe, is written to as the text comes.
local call = require "bulkjob.call"
local core = require "bulkjob.core"
local wait = require "bulkjob.wait"

local outfile = {}

local PIECE = 64 * 1024

-- Seconds until a pipe that was full is tried again. As long as nobody reads from it, the pauses grow.
local FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05

--- Writes all of the text. While a pipe is full, others run.
---@param client bulkjob.Client
---@param out userdata of core.begin_output
---@param text string
---@return true|nil ok, bulkjob.Error|nil err
function outfile.write(client, out, text)
  local at, pause = 1, FIRST_PAUSE
  while at <= #text do
    local count, err = out:write(text, at)
    if not count then
      return nil, err
    end
    at = at + count
    if at <= #text then
      pause = count > 0 and FIRST_PAUSE or math.min(pause * 2, LONGEST_PAUSE)
      local ok
      ok, err = call.sleep(client, pause)
      if not ok then
        return nil, err
      end
    end
  end
  return true
end

local function copy(client, from, out)
  local input, err = core.open_input(from)
  if not input then
    return nil, err
  end
  while not err do
    local text
    text, err = input:read(PIECE)
    if not text then
      break
    end
    err = select(2, outfile.write(client, out, text))
    wait.yield(client)
  end
  input:close()
  return not err or nil, err
end

--- Gives the finished file `from` the name `path`, in one step; where that cannot be (a pipe, another file system), its bytes are
--- copied there. After that there is no `from` any more.
---@param client bulkjob.Client
---@param from string
---@param path string
---@return true|nil ok, bulkjob.Error|nil err
function outfile.publish(client, from, path)
  local ok, err = core.publish(from, path)
  if ok or err.code ~= "NOT_RENAMED" then
    return ok, err
  end
  local out
  out, err = core.begin_output(path)
  if not out then
    return nil, err
  end
  ok, err = copy(client, from, out)
  if ok then
    ok, err = out:publish()
  end
  out:discard()
  if ok then
    core.remove(from)
  end
  return ok, err
end

return outfile
