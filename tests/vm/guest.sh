# shellcheck shell=sh
# Runs inside the virtual machine (tests/vm/run.sh), as busybox sh: the path of a user on this kernel.
# Functions are called by check and wait_for:
# shellcheck disable=SC2317

# shellcheck source=tests/vm/guest_lib.sh
. "$(dirname "$0")/guest_lib.sh"
# shellcheck source=tests/vm/netem.sh
. "$(dirname "$0")/netem.sh"

start_daemon() {
	obsload run >>/tmp/daemon.log 2>&1 &
	daemon=$!
	if ! wait_for 30 obsload list; then
		fail "daemon answers" "$(cat /tmp/daemon.log)"
		exit 1
	fi
}

mkdir -p /tmp/www /etc/obsload
echo hello >/tmp/www/index.html
before=$(programs)

check "keygen" obspkg keygen --out /tmp/key --name vm
check "keygen of a stranger" obspkg keygen --out /tmp/stranger --name stranger
for bundle in network hello-1 hello-2; do
	cp "/obs/bundles/$bundle.tar" /tmp/
	check "sign $bundle" obspkg sign "/tmp/$bundle.tar" --key /tmp/key/signer.key --cert /tmp/key/signer.pem
done
start_daemon

# Refusals: nothing may be loaded by them.
refused "unsigned bundle is refused" signature.missing obsload install /obs/bundles/network.tar
refused "untrusted signer is refused" signature.untrusted obsload install /tmp/network.tar
check "trust add" obsload trust add /tmp/key/signer.pem
cp /obs/bundles/network.tar /tmp/stranger.tar
obspkg sign /tmp/stranger.tar --key /tmp/stranger/signer.key --cert /tmp/stranger/signer.pem >/dev/null
refused "stranger's signature is refused" signature.untrusted obsload install /tmp/stranger.tar
sed 's/"serial": 1/"serial": 9/' /tmp/hello-1.tar >/tmp/changed.tar
refused "changed manifest is refused" signature.invalid obsload install /tmp/changed.tar
head -c 4096 /tmp/network.tar >/tmp/short.tar
refused "truncated bundle is refused" archive.truncated obsload install /tmp/short.tar
if [ "$(programs)" = "$before" ]; then ok "refusals load nothing"; else fail "refusals load nothing" "$(bpftool prog list)"; fi

# The network bundle on real traffic, then over a restart of the daemon.
network() {
	check "verify" obsload verify /tmp/network.tar
	if obsload install /tmp/network.tar >/tmp/install.log 2>&1; then
		ok "install obs/network"
	else
		fail "install obs/network" "$(tail -c 3000 /tmp/install.log)"
	fi
	obsload status obs/network
	events_start
	httpd -f -p 127.0.0.1:8080 -h /tmp/www &
	dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --listen-address=127.0.0.1 --bind-interfaces \
		--port=53 --user=root --pid-file= --address=/vm.example/192.0.2.7 >/dev/null 2>&1 &
	wait_for 5 wget -q -O /dev/null http://127.0.0.1:8080/
	wget -q -O /dev/null http://127.0.0.1:8080/index.html
	nslookup www.vm.example 127.0.0.1 >/dev/null 2>&1
	wget -q -O /dev/null http://127.0.0.1:9/ 2>/dev/null
	seen "tcp.connect is seen" tcp.connect '.network.peer.port == 8080 and .process.executable.name == "wget"'
	seen "tcp.accept is seen" tcp.accept '.network.local.port == 8080'
	seen "tcp.close is seen with bytes" tcp.close '.network.peer.port == 8080 and .tcp.received_bytes > 0'
	seen "refused connection is seen" tcp.connect_failed '.network.peer.port == 9'
	seen "dns.lookup is seen" dns.lookup '.dns.question.name == "www.vm.example"'
	netem

	# Parameters work at once and programs outlive the daemon.
	check "set a parameter" obsload set obs/network port_exclude=8080
	kill "$daemon"
	wait "$daemon"
	reader=
	if [ "$(programs)" -gt "$before" ]; then
		ok "programs outlive the daemon"
	elif newer_than 5.15; then
		fail "programs outlive the daemon" "$(cat /tmp/daemon.log)"
	fi
	start_daemon
	events_start
	if wait_for 5 sh -c "obsload status --json | jq -e '.bundles[0].parameters.port_exclude == \"8080\"'"; then
		ok "parameter is kept over a restart"
	else
		fail "parameter is kept over a restart" "$(obsload status --json)"
	fi
	nslookup again.vm.example 127.0.0.1 >/dev/null 2>&1
	seen "events go on after a restart" dns.lookup '.dns.question.name == "again.vm.example"'
	check "remove network" obsload remove obs/network
}
network

# An author's bundle, which every kernel carries.
check "install hello 2" obsload install /tmp/hello-2.tar
events_start
jq --version >/dev/null
seen "author's event is seen" hello.exec '.process.executable.name == "jq"'
# Upgrade, downgrade, remove.
refused "older serial is refused" serial.downgrade obsload install /tmp/hello-1.tar
check "remove hello" obsload remove demo/hello
sleep 0.5
if [ "$(programs)" = "$before" ] && [ -z "$(find /sys/fs/bpf/obsload -type f 2>/dev/null)" ]; then
	ok "remove leaves nothing"
else
	fail "remove leaves nothing" "$(bpftool prog list; find /sys/fs/bpf/obsload)"
fi
kill "$daemon"
wait "$daemon"

# Unit tests that ask the kernel. Attach kinds: each program of the test objects fires, or, before 6.1, says why not.
if newer_than 6.1; then export OBS_TEST_ALL_KINDS=1; fi
for path in /obs/tests/*; do
	[ -f "$path" ] || continue
	test=${path##*/}
	(cd /obs && OBS_TEST_BPF=/obs/tests/bpf "$path") 2>&1 | tee /tmp/unit.log
	sed -n "s/^\[       OK \] /ok $release $test: /p" /tmp/unit.log
	# Landlock came with 5.13: what cannot be here is said, and is no check.
	lacks='^$'
	newer_than 5.13 || lacks='landlock'
	grep '^\[  SKIPPED \] [a-z0-9_]*$' /tmp/unit.log | sed 's/^\[  SKIPPED \] //' | sort -u | while read -r name; do
		if echo "$name" | grep -q "$lacks"; then echo "LACKS $release $test: $name"; else echo "SKIP $release $test: $name"; fi
	done
	if grep -q '^\[  FAILED  \]' /tmp/unit.log || ! grep -q '\[  PASSED  \]' /tmp/unit.log; then
		fail "$test" "$(tail -c 6000 /tmp/unit.log)"
	fi
done
[ "$failed" -eq 0 ] || cat /tmp/daemon.log
exit "$failed"
