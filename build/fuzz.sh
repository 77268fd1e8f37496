#!/usr/bin/env bash
# Fuzzes every parser that reads what others wrote. "fuzz.sh 30s" gives each that long, several at the same time; "fuzz.sh 30s wire elicit"
# only those whose folder is called so. What is found is kept under testdata/fuzz of its package, and fails there from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${1:?how long each}
shift

one() { # FILE NAME
  local said
  # Inputs that merely reach something new are not made small for long: that took most of the time.
  if said=$(go test "./$(dirname "$1")" -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1s </dev/null 2>&1); then
    said=$(tail -n 1 <<<"$said")
  elif grep -q 'context deadline exceeded' <<<"$said" && ! grep -q 'Failing input' <<<"$said"; then
    said="the time was over in the middle of an input; nothing was found"
  else
    printf 'fuzz %s %s for %s\n%s\n' "$1" "$2" "$FUZZTIME" "$said"
    return 255 # ends the others
  fi
  printf 'fuzz %s %s for %s: %s\n' "$1" "$2" "$FUZZTIME" "$said"
}
export -f one
export GOMAXPROCS=1 # each; twice as many as there are processors
git grep -nE '^func Fuzz[A-Za-z0-9]*\(' -- '*_test.go' | while IFS=: read -r file _ line; do
  [ $# -eq 0 ] || printf '%s\n' "$@" | grep -qx "$(basename "$(dirname "$file")")" || continue
  name=${line#func }
  printf '%s %s\n' "$file" "${name%%(*}"
done | xargs -P "$(($(nproc) * 2))" -L 1 bash -c 'one "$@"' one
