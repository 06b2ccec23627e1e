-- Runs the C program host.c against a local org: `make example-host`. Its arguments are the program's command line.
package.path = "./?.lua;" .. package.path
local sandbox = require "sandbox.control"

-- Slow enough for a few heartbeats.
local org = sandbox.start { processing_seconds = 0.5 }
local environment = ("SF_INSTANCE_URL='%s' SF_ACCESS_TOKEN='%s' SF_CA_FILE='%s' "):format(org.tls_url, org.token, org.ca_file)
local ok = os.execute(environment .. table.concat(arg, " "))
org:stop()
os.exit((ok == true or ok == 0) and 0 or 1)
