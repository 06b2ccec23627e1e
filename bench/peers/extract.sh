#!/usr/bin/env bash
# What curl takes for the requests of a whole extract: a query, created and looked at until it is complete, and its pages, all at the same
# time, each into a file of its own.
#
#   extract.sh URL TOKEN FILE-PREFIX
set -eu
jobs=$1/services/data/v66.0/jobs/query
auth="Authorization: Bearer $2"
state=''
id=$(curl -sSf -H "$auth" -H 'Content-Type: application/json' -d '{"operation":"query","query":"SELECT Id FROM Account"}' "$jobs" |
  sed 's/.*"id": *"\([^"]*\)".*/\1/')
until [ "$state" = JobComplete ]; do
  sleep 0.2 # as long as extract sleeps between its first look, which comes too early, and its second
  state=$(curl -sSf -H "$auth" "$jobs/$id" | sed 's/.*"state": *"\([^"]*\)".*/\1/')
done
number=0
arguments=()
while read -r link; do
  arguments+=(-o "$3.$number" "$1$link")
  number=$((number + 1))
done < <(curl -sSf -H "$auth" "$jobs/$id/resultPages" | grep -o '"result[A-Z][a-z]*": *"[^"]*"' | sed 's/.*: *"//; s/"$//; s/\\//g')
curl -sSf -Z --parallel-immediate --parallel-max 4 -H "$auth" -H 'Accept: text/csv' "${arguments[@]}"
