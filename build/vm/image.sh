#!/usr/bin/env bash
# Makes the disk of the test machines: Debian 12 with its own kernel (6.1) and the one from backports (6.12), systemd, a
# user who is logged in on the serial console, and nothing else. Prints the folder with root.ext4, vmlinuz-* and
# initrd-*. What was made once is kept outside the checkout, under a name that changes with this file. Needs root.
set -euo pipefail
exec 3>&1 1>&2 # standard output is for the answer alone
cache=${CORDON_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cordon-vm}
dir=$cache/$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-16)
if [ -e "$dir/done" ]; then
  echo "$dir" >&3
  exit
fi
mkdir -p "$cache"
rm -rf "$cache"/*.part
work=$(mktemp -d "$cache/image.XXXXXX.part")
trap 'rm -rf "$work"' EXIT

# The mirrors are those that apt uses here.
mirror() { apt-get indextargets --format '$(REPO_URI) $(SUITE)' 'Identifier: Packages' | awk -v want="$1" '$2 ~ want {print $1; exit}'; }
main=$(mirror '^(bookworm|oldstable|stable)$')
security=$(mirror '^(bookworm|oldstable|stable)-security$')
[ -n "$main" ] || { echo "apt knows no mirror of Debian 12 here; run apt-get update first." >&2; exit 1; }
{
  echo "deb $main bookworm main"
  echo "deb $main bookworm-backports main"
  [ -z "$security" ] || echo "deb $security bookworm-security main"
} >"$work/sources.list"

mmdebstrap --quiet --mode=root --variant=minbase --aptopt='APT::Install-Recommends "false"' \
  --include=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,linux-image-cloud-amd64,util-linux,procps,kmod,udev,initramfs-tools,zstd \
  --customize-hook='chroot "$1" apt-get install -y -qq -t bookworm-backports linux-image-cloud-amd64' \
  --customize-hook='chroot "$1" useradd --create-home --uid 1000 --shell /bin/bash tester' \
  --customize-hook='chroot "$1" apt-get clean' \
  bookworm "$work/root" "$work/sources.list"

root=$work/root
rm -rf "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}
echo machine >"$root/etc/hostname"
printf '/dev/vda / ext4 rw 0 0\n' >"$root/etc/fstab"
# Payload: an archive on the second disk, unpacked before anybody is logged in.
cat >"$root/etc/systemd/system/payload.service" <<'UNIT'
[Unit]
Description=Unpack what is to be tested
Before=serial-getty@ttyS0.service systemd-user-sessions.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mkdir -p /payload
ExecStart=/bin/tar --extract --no-same-owner --file /dev/vdb --directory /payload
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
cat >"$root/etc/systemd/system/serial-getty@ttyS0.service.d/tester.conf" <<'UNIT'
[Unit]
Requires=payload.service
After=payload.service
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin tester --noclear --keep-baud 115200 %I dumb
ExecStopPost=+/bin/systemctl poweroff --force --no-block
Restart=no
UNIT
printf '/payload/run; exit\n' >"$root/home/tester/.bash_profile"
chroot "$root" systemctl --quiet enable payload.service serial-getty@ttyS0.service
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer systemd-timesyncd.service
for kernel in "$root"/boot/vmlinuz-*; do
  version=${kernel##*/vmlinuz-}
  series=$(cut -d. -f1,2 <<<"$version")
  cp "$kernel" "$work/vmlinuz-$series"
  cp "$root/boot/initrd.img-$version" "$work/initrd-$series"
done
ls "$work/vmlinuz-6.1" "$work/vmlinuz-6.12"
mke2fs -q -t ext4 -d "$root" "$work/root.ext4" 1500M
rm -rf "$root" "$work/sources.list"
touch "$work/done"
mv "$work" "$dir"
chmod 755 "$dir"
echo "$dir" >&3
