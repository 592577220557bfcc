#!/usr/bin/env bash
# Runs tests/vm/guest.sh on Debian's kernels in virtual machines without hardware help.
#
#	BUILD=build tests/vm/run.sh [KERNEL...]        default: 5.10 6.1 6.12 7
#
# The machine is an initramfs of busybox, the programs under test and their shared libraries; it has no disk and no network
# but its loopback. Each check is one line `ok NAME`, `FAIL NAME: reason` or `SKIP NAME: reason` on its console.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$root/$build ;; esac
timeout=${VM_TIMEOUT:-480}
kernels=("$@")
[ "${#kernels[@]}" -gt 0 ] || kernels=(5.10 6.1 6.12 7)
logs=$build/tests/logs
mkdir -p "$logs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# copy PROGRAM [PATH_IN_GUEST]: with the shared libraries it needs, where the loader looks for them.
copy() {
	local from=$1 to=$work/root/${2:-${1#/}} lib
	[ -f "$from" ] || from=$(command -v "$from") || { echo "FAIL vm: no $1 on this machine" >&2; exit 1; }
	mkdir -p "$(dirname "$to")"
	cp -L "$from" "$to"
	ldd "$from" 2>/dev/null | grep -oE '/[^ ]+' | while read -r lib; do
		[ -e "$work/root$lib" ] || { mkdir -p "$work/root$(dirname "$lib")" && cp -L "$lib" "$work/root$lib"; }
	done
}

# Debian's Python with those modules that tests/e2e/tools/tcp_play.py loads.
copy_python() {
	copy /usr/bin/python3
	/usr/bin/python3 -I -S -c 'import encodings.idna, os, socket, struct, sys, threading, time
print(os.path.dirname(os.__file__)[1:] + "/lib-dynload")
for module in list(sys.modules.values()):
    for name in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
        if name and os.path.exists(name): print(name[1:])' | tar -C / --no-recursion --hard-dereference -chf - -T - | tar -xf - -C "$work/root"
}

make_root() {
	mkdir -p "$work/root"/{bin,dev,proc,sys,tmp,etc,run,home,var/lib,obs/bundles,obs/tests}
	copy "$(command -v busybox)" bin/busybox
	for program in bin/obspkg bin/obsload libexec/obsload/monitor libexec/obsload/worker libexec/obsload/unpacker; do
		copy "$build/$program" "obs/$program"
	done
	cp "$build"/bundles/*.tar "$work/root/obs/bundles/"
	copy "$(command -v bpftool || echo /usr/sbin/bpftool)" bin/bpftool
	copy "$(command -v jq)" bin/jq
	copy "$(command -v dnsmasq || echo /usr/sbin/dnsmasq)" bin/dnsmasq
	# Beside busybox's own ip and tc, which its shell would prefer.
	for program in ip tc ss nstat; do
		copy "$program" "obs/tools/$program"
	done
	copy_python
	for test in ${VM_TESTS:-monitor_interfaces monitor_kernel monitor_load monitor_pins monitor_upgrade sandbox_roles supervisor_perf}; do
		[ -f "$build/tests/bin/$test" ] && copy "$build/tests/bin/$test" "obs/tests/$test"
	done
	[ -d "$build/tests/bpf" ] && mkdir -p "$work/root/obs/tests/bpf" && cp "$build"/tests/bpf/*.o "$work/root/obs/tests/bpf/"
	# The author's example with two serials, to upgrade and to refuse.
	for serial in 1 2; do
		cp -r "$root/docs/examples/hello" "$work/hello"
		sed -i "s/\"serial\": *[0-9]*/\"serial\": $serial/" "$work/hello/bundle.json"
		"$build/bin/obspkg" build "$work/hello" -o "$work/root/obs/bundles/hello-$serial.tar" >/dev/null || exit 1
		rm -rf "$work/hello"
	done
	# OpenSSL and the resolver read these; nothing else of the host is copied.
	echo 'root:x:0:0:root:/:/bin/sh' >"$work/root/etc/passwd"
	echo 'root:x:0:' >"$work/root/etc/group"
	echo '127.0.0.1 localhost' >"$work/root/etc/hosts"
	cp "$here/guest.sh" "$here/netem.sh" "$root/tests/e2e/tools/tcp_play.py" "$work/root/obs/"
	cat >"$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/obs/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
for module in /modules/*.ko; do
	insmod "$module" || echo "FAIL modules: $module"
done
ip link set lo up
echo "kernel $(uname -r)"
echo "perf_event_paranoid $(cat /proc/sys/kernel/perf_event_paranoid)"
sh /obs/guest.sh
echo "guest ended with $?"
poweroff -f
INIT
	chmod 755 "$work/root/init"
	(cd "$work/root" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1) >"$work/init.gz"
}

passed=0 failed=0 skipped=0
# The root of one kernel: the common one, and its modules behind it (a kernel takes several archives one after the other).
with_modules() {
	local folder=$work/modules-$1
	mkdir -p "$folder/modules"
	cp "$(dirname "$2")"/*.ko "$folder/modules/"
	(cd "$folder" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1 | cat "$work/init.gz" -) >"$work/init-$1.gz"
}

make_root
for kernel in "${kernels[@]}"; do
	start=$SECONDS
	log=$logs/vm-$kernel.log
	if ! vmlinuz=$("$here/kernel.sh" "$kernel"); then
		echo "FAIL vm $kernel: no kernel image"
		failed=$((failed + 1))
		continue
	fi
	with_modules "$kernel" "$vmlinuz"
	# 7.x without cmpxchg16b takes socket storage only from a debugging allocator (kmalloc_nolock).
	append=
	[ "$kernel" = 7 ] && append=slab_debug=F
	# Without cmpxchg16b: its emulation in QEMU 7.2 now and then corrupts EFLAGS, and kernels since 6.5 use it to allocate.
	# One thread for both CPUs: with two, a CPU may run an instruction that the other has already patched (jump labels,
	# fentry), and kernels die of that breakpoint.
	timeout "$timeout" qemu-system-x86_64 -M q35 -accel tcg,thread=single -cpu qemu64,-cx16 -m 1536 -smp 2 -nographic \
		-no-reboot -kernel "$vmlinuz" \
		-initrd "$work/init-$kernel.gz" -append "console=ttyS0 quiet panic=-1 lsm=lockdown,capability,landlock,bpf $append" \
		</dev/null 2>&1 | tr -d '\r' >"$log"
	good=$(grep -c '^ok ' "$log")
	bad=$(grep -c '^FAIL ' "$log")
	skips=$(grep -c '^SKIP ' "$log")
	grep -q '^guest ended with 0$' "$log" || [ "$bad" -gt 0 ] || { bad=1 && echo 'FAIL guest: did not end well' >>"$log"; }
	[ "${CI:-}" = true ] && bad=$((bad + skips)) # loud, and in CI a failure
	passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skips))
	if [ "$bad" -gt 0 ]; then
		printf 'FAILED  vm %-28s %4d ok %3d failed %4d s; its log:\n' "$kernel" "$good" "$bad" $((SECONDS - start))
		tail -n 150 "$log" | sed 's/^/    /'
	else
		printf 'passed  vm %-28s %4d ok %15d s\n' "$kernel $(sed -n 's/^kernel //p' "$log")" "$good" $((SECONDS - start))
	fi
	grep -E '^(SKIP|LACKS) ' "$log"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
