#!/usr/bin/env bash
# Runs the sandbox tests as an ordinary user on machines that this one is not: Debian's kernels 6.1 and 6.12 with systemd
# and delegated cgroups v2, and kernels that lack one thing each. The machines are emulated (no KVM is needed), have no
# network, and write to no disk that is kept. The suite of escapes is left out: it would take many minutes there. "test.sh 6.1" runs the legs whose name begins so.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(build/vm/image.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/payload"
for target in launcher:cordon-launch testdata/attempt:attempt testdata/escape:escape; do
  CGO_ENABLED=0 go build -o "$work/payload/${target#*:}" "./sandbox/${target%:*}"
done
CGO_ENABLED=0 go test -c -o "$work/payload/sandbox.test" ./sandbox
CGO_ENABLED=0 go build -o "$work/payload/cordon-cli" ./app/cli/cordon-cli
cp -r sandbox/testdata "$work/payload/testdata"

# leg NAME KERNEL CPU "KERNEL PARAMETERS" "VARIABLES" "TESTS" [what `cordon doctor` must say]
failed=0
leg() {
  local name=$1 kernel=$2 cpu=$3 parameters=$4 variables=$5 tests=$6 doctor=${7:-}
  case $name in "${only:-}"*) ;; *) return 0 ;; esac
  cat >"$work/payload/run" <<RUN
#!/bin/sh
cd /payload
export $variables SANDBOX_BINARIES=/payload TMPDIR=/var/tmp HOME
echo "user \$(id -un), kernel \$(uname -r), cgroup \$(cat /proc/self/cgroup), Landlock and others: \$(cat /sys/kernel/security/lsm 2>/dev/null)"
{ ./sandbox.test -test.v -test.timeout 380s -test.run '$tests' -test.skip '^TestEscape|^TestCycles'; echo "tests ended: \$?"; } 2>&1
./cordon-cli doctor 2>&1 | sed 's/^/doctor: /'
RUN
  chmod +x "$work/payload/run"
  tar -C "$work/payload" --owner=0 --group=0 -cf "$work/payload.tar" .
  local began=$SECONDS log=$work/$name.log
  # A kernel that panics under emulation has tested nothing (6.12 does so at times, in its scheduler): it is started again, twice.
  for attempt in 1 2 3; do
    timeout 420 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu "$cpu" -smp 2 -m 1024 -nographic -no-reboot -nic none \
      -kernel "$dir/vmlinuz-$kernel" -initrd "$dir/initrd-$kernel" \
      -append "console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.show_status=0 $parameters" \
      -drive file="$dir/root.ext4",if=virtio,format=raw,snapshot=on -drive file="$work/payload.tar",if=virtio,format=raw,readonly=on \
      </dev/null 2>&1 | tr -d '\r' >"$log" || true
    grep -q 'Kernel panic' "$log" || break
    echo "$name: the machine's own kernel panicked (attempt $attempt)"
  done
  local verdict=failed
  if grep -q '^tests ended: 0$' "$log" && grep -q '^--- PASS: ' "$log" && grep -q "^doctor: .*$doctor" "$log"; then verdict=passed; else failed=1; fi
  printf '%-22s %s, %d passed, %d skipped, %d s\n' "$name" "$verdict" "$(grep -c '^--- PASS: ' "$log" || true)" "$(grep -c '^--- SKIP: ' "$log" || true)" $((SECONDS - began))
  if [ "$verdict" = failed ]; then
    tail -n 400 "$log" # a test that hangs is told by the last lines: which one it is, and where each goroutine waits
  elif [ -n "${VERBOSE:-}" ]; then
    grep -aE '^(user |tests ended|---|FAIL|panic|    |doctor)' "$log"
  fi
}

only=${1:-}
all='lsm=landlock,lockdown,yama,apparmor,bpf'
none='lsm=lockdown,yama,apparmor,bpf'
strong='REQUIRE_SANDBOX=1 EXPECT_LIMITS="cgroup v2"'
leg 6.1 6.1 max "$all" "$strong" .
leg 6.12 6.12 qemu64,-cx16 "$all" "$strong" .
leg 6.1-no-landlock 6.1 max "$none" EXPECT_REFUSED=fs.read TestMachineRefuses 'Landlock.*none'
leg 6.1-no-namespaces 6.1 max "$all sysctl.user.max_user_namespaces=0" EXPECT_REFUSED=proc.private TestMachineRefuses 'user namespaces.*switched off'
medium='Test(MachineTier|InheritedDescriptors|NothingStaysBehind|StopEndsStubbornTree|ExitStatusPassesThrough|SignalsReachTheProgram|HostDeathEndsSandbox$|EgressListener)/medium'
leg 6.12-no-namespaces 6.12 qemu64,-cx16 "$all sysctl.user.max_user_namespaces=0" 'REQUIRE_SANDBOX=1 EXPECT_TIER=medium' "$medium" 'user namespaces.*medium tier'
leg 6.12-no-namespaces-yama-2 6.12 qemu64,-cx16 "$all sysctl.user.max_user_namespaces=0 sysctl.kernel.yama.ptrace_scope=2" EXPECT_REFUSED=proc.private TestMachineRefuses 'user namespaces.*no server can start'
leg 6.12-yama-2 6.12 qemu64,-cx16 "$all sysctl.kernel.yama.ptrace_scope=2" "$strong" .
exit $failed
