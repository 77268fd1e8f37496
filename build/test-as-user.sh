#!/usr/bin/env bash
# Runs the sandbox tests as an ordinary user too. Root makes a user for that and removes it again; an ordinary user has
# run them already, as part of all tests.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
  echo "sandbox tests as an ordinary user: that is who ran them"
  exit 0
fi
user=cordon-test-$$
dir=$(mktemp -d /var/tmp/cordon-test-XXXXXX)
cleanup() {
  userdel "$user" 2>/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
useradd --system --no-create-home --home-dir "$dir/home" --shell /usr/sbin/nologin "$user"
CGO_ENABLED=0 go build -o "$dir/cordon-launch" ./sandbox/launcher
CGO_ENABLED=0 go build -o "$dir/attempt" ./sandbox/testdata/attempt
CGO_ENABLED=0 go build -o "$dir/escape" ./sandbox/testdata/escape
go test -race -c -o "$dir/sandbox.test" ./sandbox
mkdir "$dir/home"
chown "$user" "$dir/home"
chmod 755 "$dir"
cd sandbox
echo "sandbox tests as $user"
setpriv --reuid "$user" --regid "$user" --clear-groups env -i PATH="$PATH" HOME="$dir/home" TMPDIR=/var/tmp \
  REQUIRE_SANDBOX="${REQUIRE_SANDBOX:-}" SANDBOX_BINARIES="$dir" "$dir/sandbox.test" -test.v | grep -E '^(---|===|PASS|FAIL|ok|panic| {4}.*\.go:)' | grep -v '^=== '
