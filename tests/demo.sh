#!/usr/bin/env bash
# The whole path on this machine, in folders and namespaces of its own, leaving nothing behind: a key, a signed bundle, the
# daemon, real traffic, live events. See README.md. Needs root and a kernel with BPF; `make demo` builds what it runs.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$root/$build ;; esac
PATH=$build/bin:$PATH

if [ "$(id -u)" -ne 0 ]; then
	echo "demo: loading BPF programs needs root: sudo make demo" >&2
	exit 1
fi
# Mounts and the network are private, so that they vanish with the demo and no port of this machine is in the way.
if [ -z "${OBS_DEMO_INSIDE:-}" ]; then
	unshare --mount --net true 2>/dev/null || {
		echo "demo: this container may not make namespaces, nor load BPF programs (CAP_SYS_ADMIN): use a host or a virtual machine" >&2
		exit 1
	}
	OBS_DEMO_INSIDE=1 exec unshare --mount --net --propagation private -- bash "$0" "$@"
fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/obs-demo.XXXXXX")
chmod 755 "$tmp"
daemon='' events='' servers=()

finish() {
	local status=$?
	set +e
	trap - EXIT
	[ -n "$events" ] && kill "$events" 2>/dev/null
	[ "${#servers[@]}" -gt 0 ] && kill "${servers[@]}" 2>/dev/null
	if [ -n "$daemon" ]; then
		load remove obs/network >/dev/null 2>&1
		kill "$daemon" 2>/dev/null
		wait "$daemon" 2>/dev/null
	fi
	umount "$tmp/bpf" 2>/dev/null
	rm -rf "$tmp"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
show() {
	printf '  $ %s\n' "$*"
	"$@"
}
load() {
	local command=$1
	shift
	obsload "$command" --run-dir "$tmp/run" "$@"
}

ip link set lo up
mkdir "$tmp/bpf"
mount -t bpf bpf "$tmp/bpf" 2>/dev/null || {
	echo "demo: this kernel or container has no BPF file system, so no BPF program can be kept: use a host or a virtual machine" >&2
	exit 1
}

say "1. A key to sign with, and a signed bundle"
show obspkg keygen --out "$tmp/key" --name "obs demo"
cp "$build/bundles/network.tar" "$tmp/network.tar"
show obspkg sign "$tmp/network.tar" --key "$tmp/key/signer.key" --cert "$tmp/key/signer.pem"
show obspkg verify --cert "$tmp/key/signer.pem" "$tmp/network.tar"

say "2. The daemon; it trusts nobody yet"
obsload run --config-dir "$tmp/etc" --state-dir "$tmp/state" --run-dir "$tmp/run" --bpffs "$tmp/bpf" >"$tmp/log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
	load list >/dev/null 2>&1 && break
	if ! kill -0 "$daemon" 2>/dev/null; then
		cat "$tmp/log" >&2
		exit 1
	fi
	sleep 0.1
done
if load install "$tmp/network.tar"; then
	echo "demo: a bundle of an unknown signer was accepted: that is a defect" >&2
	exit 1
fi

say "3. Trust the signer, install the bundle"
load trust add "$tmp/key/signer.pem" --names 'obs/*'
load install "$tmp/network.tar"

say "4. Real traffic: a web server and curl, a resolver and dig, a refused connection"
obsload events --run-dir "$tmp/run" >"$tmp/events" &
events=$!
sleep 0.3
mkdir "$tmp/www"
echo "hello from the demo" >"$tmp/www/index.html"
busybox httpd -f -p 127.0.0.1:8080 -h "$tmp/www" &
servers+=($!)
dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --listen-address=127.0.0.1 --bind-interfaces \
	--port=53 --user=root --pid-file= --address=/demo.example/192.0.2.7 >/dev/null 2>&1 &
servers+=($!)
for _ in $(seq 50); do
	curl -s -o /dev/null http://127.0.0.1:8080/ && break
	sleep 0.1
done
curl -s http://127.0.0.1:8080/ http://127.0.0.1:8080/index.html
dig +short @127.0.0.1 www.demo.example A
dig +short +tcp @127.0.0.1 over-tcp.demo.example A
curl -s http://127.0.0.1:9/ || echo "curl: refused, as it should be"
sleep 1

say "5. What was seen: obsload events"
cat "$tmp/events"

say "6. obsload status"
load status
for event in tcp.connect tcp.accept tcp.close tcp.connect_failed dns.lookup; do
	if ! grep -q " $event " "$tmp/events"; then
		echo "demo: no $event event was seen: that is a defect" >&2
		exit 1
	fi
done

say "7. Remove it: nothing is left behind"
load remove obs/network
say "Done."
