#!/usr/bin/env bash
# What curl takes for the requests of a whole load up to its closes: a job for each of the files, all at the same time.
#
#   load.sh URL TOKEN FILE...
set -eu
jobs=$1/services/data/v66.0/jobs/ingest
auth="Authorization: Bearer $2"
shift 2

one() {
  local id
  id=$(curl -sSf -H "$auth" -H 'Content-Type: application/json' -d '{"object":"Account","operation":"insert","lineEnding":"LF","columnDelimiter":"COMMA"}' \
    "$jobs" | sed 's/.*"id": *"\([^"]*\)".*/\1/')
  curl -sSf -H "$auth" -H 'Content-Type: text/csv' -H 'Expect:' -T "$1" "$jobs/$id/batches"
  curl -sSf -H "$auth" -H 'Content-Type: application/json' -X PATCH -d '{"state":"UploadComplete"}' "$jobs/$id" >/dev/null
}

pids=()
for file in "$@"; do
  one "$file" &
  pids+=($!)
done
for pid in "${pids[@]}"; do
  wait "$pid"
done
