#!/usr/bin/env bash
# Installs what building Cordon needs and this machine lacks. "deps.sh test" adds what the window tests need,
# "deps.sh vm" what the emulated machines need.
# It says first what it will install. With nothing missing it only looks, and takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc pkg-config libgtk-3-dev libwebkit2gtk-4.1-dev bubblewrap xdg-dbus-proxy)
if [ "${1:-}" = test ]; then
  python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
  packages+=(python3 xvfb openbox dbus dbus-x11 gnome-keyring webkit2gtk-driver at-spi2-core python3-pyatspi xdotool
    gir1.2-atspi-2.0 imagemagick fonts-dejavu-core libgl1-mesa-dri)
elif [ "${1:-}" = vm ]; then
  packages+=(qemu-system-x86 mmdebstrap e2fsprogs)
fi

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# Go and Node are the person's own choice; nothing is installed for them.
command -v go >/dev/null || fail 'Go is missing. Cordon needs Go 1.26 or newer: https://go.dev/dl/'
version=$(go env GOVERSION)
if [[ ! $version =~ ^go1\.([0-9]+) ]] || [ "${BASH_REMATCH[1]}" -lt 26 ]; then
  fail "This is $version. Cordon needs Go 1.26 or newer: https://go.dev/dl/"
fi
command -v node >/dev/null || fail 'Node is missing. Cordon needs Node 20 or newer, with npm: https://nodejs.org/'
version=$(node --version)
if [[ ! $version =~ ^v([0-9]+) ]] || [ "${BASH_REMATCH[1]}" -lt 20 ]; then
  fail "This is Node $version. Cordon needs Node 20 or newer: https://nodejs.org/"
fi
command -v npm >/dev/null || fail 'npm is missing. It comes with Node: https://nodejs.org/'

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
fi

# uv is in no distribution. The tests that install servers from PyPI use this one.
add_uv() {
  command -v uv >/dev/null && return
  echo "Fetching uv, with which servers from PyPI are installed, into /usr/local/bin."
  local dir
  dir=$(mktemp -d)
  python3 -m pip install --quiet --no-deps --root-user-action=ignore --target "$dir" uv==0.13.9 || fail 'pip could not fetch uv. What it said is above.'
  "${as_root[@]}" install -m 755 "$dir/bin/uv" /usr/local/bin/uv || fail 'Installing uv needs root. Install it as docs.astral.sh/uv says.'
  rm -rf "$dir"
}
finish() {
  [ "${1:-}" != test ] || add_uv
  exit 0
}

if ! command -v dpkg-query >/dev/null; then
  command -v pkg-config >/dev/null && pkg-config --exists gtk+-3.0 webkit2gtk-4.1 && finish "$@"
  fail 'This system has no apt, so nothing can be installed here. Install what corresponds to these Debian packages:' "  ${packages[*]}"
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | sed -n 's/ installed$//p' || true)
missing=()
for p in "${packages[@]}"; do
  grep -qxF "$p" <<<"$installed" || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || finish "$@"

echo "Cordon needs these packages, which are not installed yet:"
printf '  %s\n' "${missing[@]}"
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail 'Installing needs root, and there is no sudo. Run as root:' "  apt-get install ${missing[*]}"
  echo "Installing them with sudo; it may ask for your password."
fi
unknown=()
for p in "${missing[@]}"; do
  apt-cache show "$p" >/dev/null 2>&1 || unknown+=("$p")
done
if [ ${#unknown[@]} -gt 0 ]; then
  "${as_root[@]}" apt-get update -qq || fail 'The package lists cannot be fetched, and these packages are not in the old ones:' "  ${unknown[*]}"
  for p in "${unknown[@]}"; do
    apt-cache show "$p" >/dev/null 2>&1 || fail "This distribution has no package $p. Cordon is built on Debian 12, Ubuntu 24.04 and newer."
  done
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
  fail 'apt-get could not install them. What it said is above.'
finish "$@"
