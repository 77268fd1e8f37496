#!/usr/bin/env bash
# Fuzzes every parser that reads what others wrote. "fuzz.sh 30s" gives each that long; "fuzz.sh 30s wire elicit" only those whose folder is
# called so. Inputs that only reach something new are not minimized for long: that took most of the time. What is found is kept under testdata/fuzz of its package, and fails there from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?how long each}
shift
git grep -nE '^func Fuzz[A-Za-z0-9]*\(' -- '*_test.go' | while IFS=: read -r file _ line; do
  dir=$(dirname "$file")
  [ $# -eq 0 ] || printf '%s\n' "$@" | grep -qx "$(basename "$dir")" || continue
  name=${line#func }
  name=${name%%(*}
  echo "fuzz $dir $name for $time"
  if said=$(go test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 1s </dev/null 2>&1); then
    tail -n 1 <<<"$said"
  elif grep -q 'context deadline exceeded' <<<"$said" && ! grep -q 'Failing input' <<<"$said"; then
    echo "the time was over in the middle of an input; nothing was found"
  else
    printf '%s\n' "$said"
    exit 1
  fi
done
