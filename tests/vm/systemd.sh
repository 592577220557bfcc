# shellcheck shell=sh
# Runs inside the virtual machine as a service of systemd (tests/vm/root.sh), as busybox sh: obsload.service on a host.
# Functions are called by check and wait_for:
# shellcheck disable=SC2317

# shellcheck source=tests/vm/guest_lib.sh
. "$(dirname "$0")/guest_lib.sh"
export PATH=/usr/sbin:/usr/bin

property() { systemctl show -P "$1" obsload; }
equal() {
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "expected '$2', got '$3'"; fi
}
field() { awk -v f="$2:" '$1 == f { print $2; exit }' "/proc/$1/status"; }
# mask NUMBER...: the capability set with these bits, as /proc writes it.
mask() {
	m=0
	for bit in "$@"; do m=$((m | 1 << bit)); done
	printf '%016x' "$m"
}
dac_read_search=2 kill_=5 setgid=6 setuid=7 setpcap=8 net_admin=12 net_raw=13 sys_ptrace=19 sys_admin=21 perfmon=38 bpf=39
ids() { bpftool prog list | sed -n 's/^\([0-9]*\): .* name \(tcp_state\|tcp_destroy\|packet_sent\|on_kprobe\|on_tc\) .*/\1 \2/p' | sort | paste -sd' '; }
traffic() { wget -q -O /dev/null http://127.0.0.1:8080/index.html; }
# observed NAME: what happens now is seen, by each kind of program.
observed() {
	events_start
	traffic
	sleep 0.1
	seen "$1: tcp.close" tcp.close '.network.peer.port == 8080 and .tcp.received_bytes > 0 and .process.executable.name == "wget"'
	for probe in kprobe clock socket tc; do
		seen "$1: $probe" vm.fired ".vm.probe == \"$probe\""
	done
}
# The daemon's processes, of a daemon that answers.
processes() {
	main=$(property MainPID)
	monitor=$(obsload status --json | jq .daemon.pid)
	worker=$(obsload status --json | jq .daemon.worker_pid)
}

# ---- what make install and the boot made of this host ----
check "verify" systemd-analyze verify --man=no obsload.service
equal "verify says nothing" "" "$(systemd-analyze verify --man=no obsload.service 2>&1)"
# Times ten. What is left is what observing a host takes, and the supervisor's capabilities.
check "exposure" systemd-analyze security --no-pager --threshold=45 obsload.service
echo "NOTE $(systemd-analyze security --no-pager obsload.service | sed -n 's/.*Overall exposure level for //p' | tr -cd ' -~')"
for user in obsload-worker obsload-unpack; do
	check "user $user" grep -q "^$user:" /etc/passwd
done
check "group obsload" grep -q '^obsload:' /etc/group
equal "folders" "755 /etc/obsload 755 /etc/obsload/trust.d 700 /var/lib/obsload 755 /run/obsload" \
	"$(stat -c '%a %n' /etc/obsload /etc/obsload/trust.d /var/lib/obsload /run/obsload | paste -sd' ')"

# ---- started: it serves when systemctl returns ----
check "enable and start" systemctl enable --now obsload
if [ "$failed" -ne 0 ]; then
	journalctl --no-pager -u obsload
	poweroff -f
fi
equal "state" "active running" "$(property ActiveState) $(property SubState)"
check "answers at once" obsload list
processes

# ---- each process under the unit's restrictions ----
equal "supervisor's capabilities" "$(mask $kill_ $setgid $setuid $setpcap $net_raw $sys_admin)" "$(field "$main" CapEff)"
equal "monitor's capabilities" "$(mask $dac_read_search $net_admin $sys_ptrace $perfmon $bpf)" "$(field "$monitor" CapEff)"
equal "worker's capabilities" "$(mask)" "$(field "$worker" CapEff)"
equal "bounding set" "$(mask $dac_read_search $kill_ $setgid $setuid $setpcap $net_admin $net_raw $sys_ptrace $sys_admin $perfmon $bpf)" \
	"$(field "$main" CapBnd)"
uid=$(awk -F: '$1 == "obsload-worker" {print $3}' /etc/passwd)
equal "users" "0 0 $uid" "$(field "$main" Uid) $(field "$monitor" Uid) $(field "$worker" Uid)"
equal "no new privileges" "0 1 1" "$(field "$main" NoNewPrivs) $(field "$monitor" NoNewPrivs) $(field "$worker" NoNewPrivs)"
equal "seccomp" "2 2 2" "$(field "$main" Seccomp) $(field "$monitor" Seccomp) $(field "$worker" Seccomp)"
# writable PROCESS FILE: whether its file system is, by the mount that holds it.
writable() { awk -v path="$2" 'index(path "/", $5 == "/" ? "/" : $5 "/") == 1 && length($5) >= length(best) { best = $5; how = $6 }
	END { print how ~ /(^|,)rw(,|$)/ ? "rw" : "ro" }' "/proc/$1/mountinfo"; }
for expected in "ro /" "ro /usr" "ro /home" "ro /sys/fs/cgroup" "rw /etc/obsload" "rw /var/lib/obsload" "rw /run/obsload" "rw /sys/fs/bpf"; do
	equal "monitor's files: ${expected#* }" "${expected% *}" "$(writable "$monitor" "${expected#* }")"
done
equal "sockets" "600 root control.sock 660 obsload events.sock" \
	"$(cd /run/obsload && stat -c '%a %G %n' control.sock events.sock | paste -sd' ')"

# ---- work under the unit ----
check "keygen" obspkg keygen --out /tmp/key --name vm
cp /usr/share/obs/bundles/network.tar /obs/probes.tar /tmp/
for bundle in network probes; do
	check "sign $bundle" obspkg sign "/tmp/$bundle.tar" --key /tmp/key/signer.key --cert /tmp/key/signer.pem
done
check "trust add" obsload trust add /tmp/key/signer.pem
for bundle in network probes; do
	check "install $bundle" obsload install "/tmp/$bundle.tar"
done
obsload status
mkdir -p /tmp/www
echo hello >/tmp/www/index.html
httpd -f -p 127.0.0.1:8080 -h /tmp/www &
wait_for 5 traffic
observed "installed"

# ---- restarted, killed, stopped ----
before=$(ids)
if [ -n "$before" ]; then ok "programs are there"; else fail "programs are there" "$(bpftool prog list)"; fi
old=$main
check "restart" systemctl restart obsload
reader=
processes
if [ "$main" != "$old" ]; then ok "restart: another process"; else fail "restart: another process" "$main"; fi
equal "restart: the same programs" "$before" "$(ids)"
observed "restarted"

kill -9 "$main"
reader=
came_back() { [ "$(property NRestarts)" = 1 ] && [ "$(property ActiveState)" = active ] && obsload list; }
check "killed: started again" wait_for 60 came_back
equal "killed: the same programs" "$before" "$(ids)"
for process in "$monitor" "$worker"; do
	if [ ! -d "/proc/$process" ]; then ok "killed: no old process"; else fail "killed: no old process" "$(cat "/proc/$process/status")"; fi
done
observed "killed"
processes

check "stop" systemctl stop obsload
reader=
equal "stopped" "inactive dead success" "$(property ActiveState) $(property SubState) $(property Result)"
equal "stopped: no process" "" "$(ls -d "/proc/$main" "/proc/$monitor" "/proc/$worker" 2>/dev/null)"
equal "stopped: the same programs" "$before" "$(ids)"
if [ -d /sys/fs/bpf/obsload/obs/network ]; then ok "stopped: pins stay"; else fail "stopped: pins stay" "$(find /sys/fs/bpf/obsload)"; fi
equal "stopped: no socket" "" "$(ls /run/obsload/*.sock 2>/dev/null)"

check "start again" systemctl start obsload
equal "started again: the same programs" "$before" "$(ids)"
observed "started again"
for bundle in obs/network test/probes; do
	check "remove $bundle" obsload remove "$bundle"
done
equal "removed: no program" "" "$(ids)"
equal "removed: no pin" "" "$(find /sys/fs/bpf/obsload -type f)"
check "disable" systemctl disable --now obsload
# What the daemon itself calls an error; that it was killed, systemd says.
equal "no error in the journal" "" "$(journalctl -q -o cat -p err -u obsload _COMM=obsload)"
[ "$failed" -eq 0 ] || journalctl --no-pager -u obsload
echo "guest ended with $failed"
poweroff -f
