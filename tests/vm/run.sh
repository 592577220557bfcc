#!/usr/bin/env bash
# Runs tests/vm/guest.sh on Debian's kernels, and tests/vm/systemd.sh under systemd, in virtual machines without hardware
# help.
#
#	BUILD=build tests/vm/run.sh [MACHINE...]        5.10 6.1 6.12 7 systemd; default: all
#
# A machine is an initramfs of busybox, the programs under test and their shared libraries; it has no disk and no network
# but its loopback. Each check is one line `ok NAME`, `FAIL NAME: reason` or `SKIP NAME: reason` on its console.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$root/$build ;; esac
timeout=${VM_TIMEOUT:-1200}
machines=("$@")
[ "${#machines[@]}" -gt 0 ] || machines=(5.10 6.1 6.12 7 systemd)
logs=$build/tests/logs
mkdir -p "$logs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/vm/root.sh
. "$here/root.sh"

passed=0 failed=0 skipped=0
for machine in "${machines[@]}"; do
	start=$SECONDS
	log=$logs/vm-$machine.log
	kernel=$machine files=plain append=
	case $machine in
	# 7.x without cmpxchg16b takes socket storage only from a debugging allocator (kmalloc_nolock).
	7) append=slab_debug=F ;;
	systemd) kernel=6.12 files=systemd ;;
	esac
	if ! vmlinuz=$("$here/kernel.sh" "$kernel"); then
		echo "FAIL vm $machine: no kernel image"
		failed=$((failed + 1))
		continue
	fi
	[ -f "$work/$files.gz" ] || "make_$files"
	with_modules "$files" "$machine" "$vmlinuz"
	# Without cmpxchg16b: its emulation in QEMU 7.2 now and then corrupts EFLAGS, and kernels since 6.5 use it to allocate.
	# One thread for both CPUs: with two, a CPU may run an instruction that the other has already patched (jump labels,
	# fentry), and kernels die of that breakpoint.
	timeout "$timeout" qemu-system-x86_64 -M q35 -accel tcg,thread=single -cpu qemu64,-cx16 -m 1536 -smp 2 -nographic \
		-no-reboot -kernel "$vmlinuz" \
		-initrd "$work/init-$machine.gz" -append "console=ttyS0 quiet panic=-1 lsm=lockdown,capability,landlock,bpf $append" \
		</dev/null 2>&1 | tr -d '\r' >"$log"
	good=$(grep -c '^ok ' "$log")
	bad=$(grep -c '^FAIL ' "$log")
	skips=$(grep -c '^SKIP ' "$log")
	grep -q '^guest ended with 0$' "$log" || [ "$bad" -gt 0 ] || { bad=1 && echo 'FAIL guest: did not end well' >>"$log"; }
	[ "${CI:-}" = true ] && bad=$((bad + skips)) # loud, and in CI a failure
	passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skips))
	if [ "$bad" -gt 0 ]; then
		printf 'FAILED  vm %-28s %4d ok %3d failed %4d s; its log:\n' "$machine" "$good" "$bad" $((SECONDS - start))
		tail -n 150 "$log" | sed 's/^/    /'
	else
		printf 'passed  vm %-28s %4d ok %15d s\n' "$machine $(sed -n 's/^kernel //p' "$log")" "$good" $((SECONDS - start))
	fi
	grep -E '^(SKIP|LACKS|NOTE) ' "$log"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
