# shellcheck shell=bash
# Part of run.sh: file systems of virtual machines, made of this machine's programs. $here is this folder, $root the
# repository, $build the build, $work a temporary folder; $guest is the file system that is being made.
: "${here:?}" "${root:?}" "${build:?}" "${work:?}"

# copy PROGRAM [PATH_IN_GUEST]: with the shared libraries it needs, where the loader looks for them.
copy() {
	local from=$1 to=$guest/${2:-${1#/}}
	[ -f "$from" ] || from=$(command -v "$from") || from=/usr/sbin/$1
	[ -f "$from" ] || { echo "FAIL vm: no $1 on this machine" >&2; exit 1; }
	mkdir -p "$(dirname "$to")"
	cp -L "$from" "$to"
	copy_libraries "$from"
}

# copy_libraries PROGRAM...
copy_libraries() {
	local lib
	ldd "$@" 2>/dev/null | grep -oE '[[:space:]]/[^ :]+ \(' | tr -d ' \t(' | sort -u | while read -r lib; do
		[ -e "$guest$lib" ] || { mkdir -p "$guest$(dirname "$lib")" && cp -L "$lib" "$guest$lib"; }
	done
}

# Debian's Python with those modules that tests/e2e/tools/tcp_play.py loads.
copy_python() {
	copy /usr/bin/python3
	/usr/bin/python3 -I -S -c 'import encodings.idna, os, socket, struct, sys, threading, time
print(os.path.dirname(os.__file__)[1:] + "/lib-dynload")
for module in list(sys.modules.values()):
    for name in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
        if name and os.path.exists(name): print(name[1:])' | tar -C / --no-recursion --hard-dereference -chf - -T - | tar -xf - -C "$guest"
}

# What every guest has. /bin is /usr/bin and so on, as on Debian.
make_base() {
	local folder
	guest=$1
	mkdir -p "$guest"/{dev,proc,sys,tmp,etc,run,home,root,var/lib,obs,usr/bin,usr/sbin,usr/lib,usr/lib64}
	for folder in bin sbin lib lib64; do
		ln -s "usr/$folder" "$guest/$folder"
	done
	for program in busybox jq bpftool; do
		copy "$program" "bin/$program"
	done
	# OpenSSL and the resolver read these; nothing else of the host is copied.
	echo 'root:x:0:0:root:/:/bin/sh' >"$guest/etc/passwd"
	echo 'root:x:0:' >"$guest/etc/group"
	echo '127.0.0.1 localhost' >"$guest/etc/hosts"
	cp "$here/guest_lib.sh" "$guest/obs/"
	cat >"$guest/init" <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin:/obs/bin HOME=/ TERM=dumb
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev
		for module in /modules/*.ko; do
			insmod "$module" || echo "FAIL modules: $module"
		done
		ip link set lo up
		echo "kernel $(uname -r)"
		echo "perf_event_paranoid $(cat /proc/sys/kernel/perf_event_paranoid)"
		. /obs/start.sh
	INIT
	chmod 755 "$guest/init"
}

pack() { (cd "$1" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1) >"$1.gz"; }

# For guest.sh, which is all that runs.
make_plain() {
	make_base "$work/plain"
	mkdir -p "$guest"/obs/{bundles,tests}
	for program in bin/obspkg bin/obsload libexec/obsload/monitor libexec/obsload/worker libexec/obsload/unpacker; do
		copy "$build/$program" "obs/$program"
	done
	cp "$build"/bundles/*.tar "$guest/obs/bundles/"
	copy dnsmasq bin/dnsmasq
	# Beside busybox's own ip and tc, which its shell would prefer.
	for program in ip tc ss nstat; do
		copy "$program" "obs/tools/$program"
	done
	copy_python
	for test in ${VM_TESTS-monitor_interfaces monitor_kernel monitor_load monitor_pins monitor_upgrade sandbox_roles supervisor_perf}; do
		copy "$build/tests/bin/$test" "obs/tests/$test"
	done
	mkdir -p "$guest/obs/tests/bpf"
	cp "$build"/tests/bpf/*.o "$guest/obs/tests/bpf/"
	# The author's example with two serials, to upgrade and to refuse.
	for serial in 1 2; do
		cp -r "$root/docs/examples/hello" "$work/hello"
		sed -i "s/\"serial\": *[0-9]*/\"serial\": $serial/" "$work/hello/bundle.json"
		"$build/bin/obspkg" build "$work/hello" -o "$guest/obs/bundles/hello-$serial.tar" >/dev/null 2>&1 || exit 1
		rm -rf "$work/hello"
	done
	cp "$here/guest.sh" "$here/netem.sh" "$root/tests/e2e/tools/tcp_play.py" "$guest/obs/"
	cat >"$guest/obs/start.sh" <<-'START'
		mount -t tmpfs tmp /tmp
		mount -t tmpfs run /run
		mount -t bpf bpf /sys/fs/bpf
		mount -t tracefs trace /sys/kernel/tracing
		mount -t cgroup2 cgroup /sys/fs/cgroup
		sh /obs/guest.sh
		echo "guest ended with $?"
		poweroff -f
	START
	pack "$guest"
}

# For systemd.sh, which systemd starts on a host that `make install` and nothing else prepared.
make_systemd() {
	make_base "$work/systemd"
	dpkg -L systemd | grep -vE '^/usr/share|generators|^/\.$' | sed 's|^/||' |
		tar -C / --no-recursion -cf - -T - | tar -xf - -C "$guest"
	mapfile -t programs < <(dpkg -L systemd | grep -E '^/(usr/)?(bin|lib/systemd)/[^/]*$' | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
	copy_libraries "${programs[@]}"
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make --no-print-directory -C "$root" -o all install \
		BUILD="$build" DESTDIR="$guest" PREFIX=/usr >/dev/null || exit 1
	copy_libraries "$build"/bin/obs* "$build"/libexec/obsload/*
	"$build/bin/obspkg" build "$here/probes" -o "$guest/obs/probes.tar" >/dev/null 2>&1 || exit 1
	# Of what a whole Debian starts, only this; and a host that was started before, so that nothing is enabled by itself.
	rm -rf "$guest"/lib/systemd/system/multi-user.target.wants
	echo 0123456789abcdef0123456789abcdef >"$guest/etc/machine-id"
	ln -s /usr/lib/systemd/system/multi-user.target "$guest/etc/systemd/system/default.target"
	mkdir -p "$guest/etc/systemd/system/multi-user.target.wants"
	cat >"$guest/etc/systemd/system/obs-test.service" <<-'UNIT'
		[Service]
		Type=oneshot
		ExecStart=sh /obs/systemd.sh
		StandardOutput=tty
		StandardError=inherit
		TTYPath=/dev/ttyS0
		TimeoutStartSec=infinity
	UNIT
	ln -s ../obs-test.service "$guest/etc/systemd/system/multi-user.target.wants/"
	cp "$here/systemd.sh" "$guest/obs/"
	# Services have mount namespaces of their own, which the first file system of all does not allow.
	cat >"$guest/obs/start.sh" <<-'START'
		mkdir /host
		mount -t tmpfs -o mode=0755 host /host
		for folder in /*; do
			case $folder in
			/host) ;;
			/dev | /proc | /sys) mkdir "/host$folder" && mount --move "$folder" "/host$folder" ;;
			*) cp -a "$folder" /host/ ;;
			esac
		done
		exec switch_root /host /lib/systemd/systemd
	START
	pack "$guest"
}

# with_modules ROOT MACHINE VMLINUZ: that root's archive with the kernel's modules behind it, since a kernel takes several.
with_modules() {
	local folder=$work/modules-$2
	mkdir -p "$folder/modules"
	cp "$(dirname "$3")"/*.ko "$folder/modules/"
	(cd "$folder" && find . -print0 | cpio --null -o -H newc --quiet | gzip -1 | cat "$work/$1.gz" -) >"$work/init-$2.gz"
}
