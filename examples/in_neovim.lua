-- In Neovim, `:luafile in_neovim.lua`: then `:LoadAccounts` sends the CSV in the buffer to the org. The editor stays usable.
local bulkjob = require "bulkjob"

local client = bulkjob.client {
  instance_url = os.getenv "SF_INSTANCE_URL",
  access_token = os.getenv "SF_ACCESS_TOKEN",
}

local function load_accounts(csv)
  local job, err = client:create { object = "Account", operation = "insert", data = csv } -- at most 100,000 characters
  local info
  if job then
    info, err = job:wait()
  end
  if not info then
    return vim.api.nvim_err_writeln(tostring(err))
  end
  local failed = info.numberRecordsFailed
  vim.api.nvim_echo({ { info.numberRecordsProcessed - failed .. " rows stored, " .. failed .. " failed" } }, true, {})
end

vim.api.nvim_create_user_command("LoadAccounts", function()
  local csv = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n") .. "\n"
  coroutine.wrap(load_accounts)(csv)
end, {})
