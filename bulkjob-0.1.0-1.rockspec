-- Written by `make rockspec`.
rockspec_format = "3.0"
package = "bulkjob"
version = "0.1.0-1"
source = {
  url = "git+https://example.org/bulkjob.git",
  tag = "v0.1.0",
}
description = {
  summary = "Salesforce Bulk API 2.0, where a bulk job is a transaction",
  detailed = "Create a job, upload CSV, close it or abort it, watch it and read its results; and the same for queries. "
    .. "For plain scripts, nginx with Lua, and programs that must never be blocked.",
  license = "MIT",
  labels = { "salesforce", "csv", "http", "client" },
}
dependencies = {
  "lua >= 5.1, < 5.5",
  "lua-cjson >= 2.1.0",
  "argparse >= 0.7.0",
}
test_dependencies = {
  "busted",
}
external_dependencies = {
  -- By its library: Debian keeps the header where luarocks does not look, and the compiler does.
  CURL = { library = "curl" },
  ZLIB = { header = "zlib.h" },
}
build = {
  type = "builtin",
  modules = {
    ["bulkjob"] = "lua/bulkjob.lua",
    ["bulkjob.call"] = "lua/bulkjob/call.lua",
    ["bulkjob.cli"] = "lua/bulkjob/cli.lua",
    ["bulkjob.cli.bar"] = "lua/bulkjob/cli/bar.lua",
    ["bulkjob.cli.commands"] = "lua/bulkjob/cli/commands.lua",
    ["bulkjob.cli.extract"] = "lua/bulkjob/cli/extract.lua",
    ["bulkjob.cli.journaled"] = "lua/bulkjob/cli/journaled.lua",
    ["bulkjob.cli.load"] = "lua/bulkjob/cli/load.lua",
    ["bulkjob.cli.output"] = "lua/bulkjob/cli/output.lua",
    ["bulkjob.cli.parser"] = "lua/bulkjob/cli/parser.lua",
    ["bulkjob.cli.rows"] = "lua/bulkjob/cli/rows.lua",
    ["bulkjob.cli.session"] = "lua/bulkjob/cli/session.lua",
    ["bulkjob.cli.shell"] = "lua/bulkjob/cli/shell.lua",
    ["bulkjob.cli.status"] = "lua/bulkjob/cli/status.lua",
    ["bulkjob.client"] = "lua/bulkjob/client.lua",
    ["bulkjob.crew"] = "lua/bulkjob/crew.lua",
    ["bulkjob.csv"] = "lua/bulkjob/csv.lua",
    ["bulkjob.extract"] = "lua/bulkjob/extract.lua",
    ["bulkjob.extract.file"] = "lua/bulkjob/extract/file.lua",
    ["bulkjob.extract.links"] = "lua/bulkjob/extract/links.lua",
    ["bulkjob.extract.plan"] = "lua/bulkjob/extract/plan.lua",
    ["bulkjob.heap"] = "lua/bulkjob/heap.lua",
    ["bulkjob.job"] = "lua/bulkjob/job.lua",
    ["bulkjob.journal"] = "lua/bulkjob/journal.lua",
    ["bulkjob.load"] = "lua/bulkjob/load.lua",
    ["bulkjob.load.join"] = "lua/bulkjob/load/join.lua",
    ["bulkjob.load.outcome"] = "lua/bulkjob/load/outcome.lua",
    ["bulkjob.load.part"] = "lua/bulkjob/load/part.lua",
    ["bulkjob.load.plan"] = "lua/bulkjob/load/plan.lua",
    ["bulkjob.load.second_pass"] = "lua/bulkjob/load/second_pass.lua",
    ["bulkjob.loop"] = "lua/bulkjob/loop.lua",
    ["bulkjob.loop.block"] = "lua/bulkjob/loop/block.lua",
    ["bulkjob.loop.copas"] = "lua/bulkjob/loop/copas.lua",
    ["bulkjob.loop.cqueues"] = "lua/bulkjob/loop/cqueues.lua",
    ["bulkjob.loop.haproxy"] = "lua/bulkjob/loop/haproxy.lua",
    ["bulkjob.loop.luv"] = "lua/bulkjob/loop/luv.lua",
    ["bulkjob.loop.ngx"] = "lua/bulkjob/loop/ngx.lua",
    ["bulkjob.loop.wire"] = "lua/bulkjob/loop/wire.lua",
    ["bulkjob.pages"] = "lua/bulkjob/pages.lua",
    ["bulkjob.results"] = "lua/bulkjob/results.lua",
    ["bulkjob.source"] = "lua/bulkjob/source.lua",
    ["bulkjob.task"] = "lua/bulkjob/task.lua",
    ["bulkjob.types"] = "lua/bulkjob/types.lua",
    ["bulkjob.url"] = "lua/bulkjob/url.lua",
    ["bulkjob.yieldable"] = "lua/bulkjob/yieldable.lua",
    ["bulkjob.core"] = {
      sources = {
        "src/bell.c",
        "src/buf.c",
        "src/channel.c",
        "src/csv.c",
        "src/csv_check.c",
        "src/csv_count.c",
        "src/engine.c",
        "src/inflow.c",
        "src/job.c",
        "src/l_answer.c",
        "src/l_call.c",
        "src/l_channel.c",
        "src/l_client.c",
        "src/l_core.c",
        "src/l_csv.c",
        "src/l_csv_check.c",
        "src/l_engine.c",
        "src/l_error.c",
        "src/l_event.c",
        "src/l_file.c",
        "src/l_job.c",
        "src/l_json.c",
        "src/l_request.c",
        "src/l_schema.c",
        "src/l_stray.c",
        "src/l_terminal.c",
        "src/listener.c",
        "src/markup.c",
        "src/queue.c",
        "src/retry.c",
        "src/settings.c",
        "src/sink.c",
        "src/source.c",
        "src/transfer.c",
      },
      defines = { "_GNU_SOURCE" },
      libraries = { "curl", "z", "m", "pthread" },
      incdirs = { "$(CURL_INCDIR)", "$(ZLIB_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)", "$(ZLIB_LIBDIR)" },
    },
  },
  install = {
    bin = {
      "bin/bulkjob",
    },
  },
}
test = {
  type = "busted",
}
