#!/usr/bin/env bash
# Runs MCP's official conformance suite against Cordon's client, in all three of its sets. It needs the npm registry once; what it
# fetches lies in the cache folder of the person. Arguments, if any, go to the suite in the place of the sets: --scenario NAME.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=@modelcontextprotocol/conformance@0.2.0-alpha.12
node=node@22.23.3
cache="${XDG_CACHE_HOME:-$HOME/.cache}/cordon-conformance/${suite##*@}"
if [ ! -e "$cache/.complete" ]; then
  echo "Fetching $suite and $node into $cache."
  mkdir -p "$cache"
  npm install --prefix "$cache" --no-audit --no-fund --silent "$suite" "$node"
  touch "$cache/.complete"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/client" ./build/conformance
export PATH="$cache/node_modules/node/bin:$PATH"
run() {
  "$cache/node_modules/.bin/conformance" client --command "$work/client" --timeout 60000 -o "$work/out" "$@" >"$work/said" 2>&1 || {
    cat "$work/said"
    grep '✗' "$work/said" || true # again at the end, where it is found
    return 1
  }
  tail -n "${LINES_SHOWN:-4}" "$work/said"
}
if [ $# -gt 0 ]; then
  LINES_SHOWN=200 run "$@"
  exit
fi
for set in "--requirements 2026-07-28" "--requirements 2025-11-25" "--suite all"; do
  echo "== $set"
  # shellcheck disable=SC2086 # two words each
  run $set
done
