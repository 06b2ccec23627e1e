-- What oom_host runs, too: signing in, an extract with a journal, and typed rows in a task.
local bulkjob = require "bulkjob"
local core = require "bulkjob.core"
local file = require "bulkjob.file"
local key = assert(file.read(os.getenv "KEY_FILE"))
local path = os.getenv "EXTRACT"
arm()
assert(core.sign_jwt(key, nil, "{}"))
local client = bulkjob.client {
  auth = bulkjob.auth.client_credentials {
    login_url = os.getenv "SF_INSTANCE_URL", client_id = "3MVG9.sandbox.app", client_secret = "the.secret.of.the.app",
  },
  ca_file = os.getenv "SSL_CERT_FILE",
  retry = { tries = 2, base = 0.001 },
}
local report = assert(client:extract { query = "SELECT Id, Name FROM Account", file = path, journal = path .. ".journal" })
local query = client:job(report.job.id, "query")
client:spawn(function()
  for row in query:results({ typed = true }):rows() do
    assert(row.Name)
  end
end)
assert(client:run())
client:close()
