#!/usr/bin/env bash
# What each process may do, read from /proc while they run; and who may talk to the daemon.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"
daemon_start

monitor=$(load status --json | jq -r .daemon.pid)
worker=$(load status --json | jq -r .daemon.worker_pid)
supervisor=$(awk '$1 == "PPid:" { print $2 }' "/proc/$monitor/status")
field() { awk -v f="$2:" '$1 == f { print $2; exit }' "/proc/$1/status"; }
# mask NUMBER...: the capability set with these bits, as /proc writes it.
mask() {
	local m=0 n
	for n in "$@"; do m=$((m | 1 << n)); done
	printf '%016x' "$m"
}
none=$(mask)
setgid=6 setuid=7 setpcap=8 kill_=5 net_raw=13
dac_read_search=2 net_admin=12 sys_ptrace=19 sys_admin=21 perfmon=38 bpf=39
if [ "$(cat /proc/sys/kernel/cap_last_cap)" -ge "$bpf" ]; then
	monitor_caps=$(mask "$dac_read_search" "$net_admin" "$sys_ptrace" "$perfmon" "$bpf")
else
	monitor_caps=$(mask "$dac_read_search" "$net_admin" "$sys_ptrace" "$sys_admin")
fi

# ---- monitor: the listed capabilities and no more ----
for set in CapPrm CapEff CapBnd; do
	check_eq "monitor_$set" "$monitor_caps" "$(field "$monitor" "$set")"
done
check_eq monitor_CapInh "$none" "$(field "$monitor" CapInh)"
check_eq monitor_CapAmb "$none" "$(field "$monitor" CapAmb)"
check_eq monitor_no_new_privs 1 "$(field "$monitor" NoNewPrivs)"
check_eq monitor_seccomp_filter 2 "$(field "$monitor" Seccomp)"

# ---- worker: nothing ----
uid=$(field "$worker" Uid)
check worker_uid_is_not_root test "$uid" -ne 0
check_eq worker_all_uids_equal "$uid $uid $uid $uid" "$(awk '$1 == "Uid:" { print $2, $3, $4, $5 }' "/proc/$worker/status")"
check worker_gid_is_not_root test "$(field "$worker" Gid)" -ne 0
check_eq worker_no_groups "" "$(sed -n 's/^Groups:[[:space:]]*//p' "/proc/$worker/status" | tr -d ' ')"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
	check_eq "worker_$set" "$none" "$(field "$worker" "$set")"
done
check_eq worker_no_new_privs 1 "$(field "$worker" NoNewPrivs)"
check_eq worker_seccomp_filter 2 "$(field "$worker" Seccomp)"
# Not dumpable: its /proc belongs to root, so that no process of its uid can look into it.
check_eq worker_not_dumpable 0 "$(stat -c %u "/proc/$worker/mem")"
check_eq worker_no_core_files "0" "$(awk '/Max core file size/ { print $5 }' "/proc/$worker/limits")"
check_eq worker_no_processes "0" "$(awk '/Max processes/ { print $3 }' "/proc/$worker/limits")"

# ---- supervisor: SYS_ADMIN for perf events where this kernel asks for it, else PERFMON ----
perf=$perfmon
[ "$(cat /proc/sys/kernel/perf_event_paranoid)" -le 2 ] || perf=$sys_admin
[ "$(printf '6.6\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.6 ] || perf=$sys_admin
for set in CapPrm CapEff; do
	check_eq "supervisor_$set" "$(mask "$setuid" "$setgid" "$kill_" "$net_raw" "$setpcap" "$perf")" "$(field "$supervisor" "$set")"
done
check_eq supervisor_CapInh "$none" "$(field "$supervisor" CapInh)"
check_eq supervisor_CapAmb "$none" "$(field "$supervisor" CapAmb)"
check supervisor_is_the_daemon test "$supervisor" -eq "$E2E_DAEMON"

# ---- no descriptor of one process in another that does not need it ----
fds() { find "/proc/$1/fd" -type l -printf '%l\n' 2>/dev/null; }
# Its standard error is the daemon's log.
no_files() { ! fds "$1" | grep -vx "$E2E_TMP/daemon.log" | grep -E '^/(etc|home|root|var|tmp)|state|/lock$'; }
check worker_has_no_files no_files "$worker"
no_bpf() { ! fds "$1" | grep -E 'bpf-prog|bpf_link|bpf-link'; }
check worker_has_no_program no_bpf "$worker"

# ---- who may talk to it ----
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
stranger() { as_nobody "$client" "$@" --run-dir "$E2E_TMP/run"; }
# The build folder may be closed to others: they run a copy of the client.
client=$E2E_TMP/obsload
install -m 755 "$OBSLOAD" "$client"
check_refused stranger_may_not_list daemon.denied 4 stranger list
check_refused stranger_may_not_install daemon.denied 4 stranger remove demo/none
stranger_reads_events() { as_nobody socat -u "UNIX-CONNECT:$E2E_TMP/run/events.sock" - </dev/null; }
check_eq stranger_may_not_read_events denied "$(stranger_reads_events >/dev/null 2>&1 && echo read || echo denied)"
check_eq run_dir_sockets "600 control.sock 600 events.sock" \
	"$(cd "$E2E_TMP/run" && stat -c '%a %n' control.sock events.sock | paste -sd' ')"
check_eq state_dir_private 700 "$(stat -c %a "$E2E_TMP/state")"

# ---- a control group: its members may ask, but not downgrade ----
daemon_stop
daemon_start --control-group nogroup
nogroup=$(getent group nogroup | cut -d: -f3)
member() { setpriv --reuid 65534 --regid "$nogroup" --clear-groups "$client" "$@" --run-dir "$E2E_TMP/run"; }
late_member() { setpriv --reuid 65534 --regid 12345 --groups "$nogroup" "$client" "$@" --run-dir "$E2E_TMP/run"; }
check member_may_list member list
check member_by_supplementary_group_may_list late_member list
outsider() { setpriv --reuid 65533 --regid 12345 --clear-groups "$client" "$@" --run-dir "$E2E_TMP/run"; }
check_refused outsider_may_not_list daemon.denied 4 outsider list
: >"$E2E_TMP/empty.tar"
check_refused member_may_not_downgrade daemon.denied 4 member install --allow-downgrade "$E2E_TMP/empty.tar"
check_refused member_may_install_what_passes archive.truncated 10 member install "$E2E_TMP/empty.tar"

# ---- peers that send junk: an answer or the door, and the daemon goes on ----
junk() { head -c "$1" /dev/urandom | timeout 5 socat -t1 - "UNIX-CONNECT:$E2E_TMP/run/control.sock,type=5" >/dev/null 2>&1 || true; }
for size in 1 100 1200 5000 60000; do junk "$size"; done
check junk_does_not_hurt load list
for _ in $(seq 40); do
	timeout 4 socat -u "UNIX-CONNECT:$E2E_TMP/run/control.sock,type=5" - >/dev/null 2>&1 &
done
check silent_peers_are_dropped wait_for 6 load list
mapfile -t peers < <(jobs -p | grep -vx "$E2E_DAEMON")
wait "${peers[@]}" 2>/dev/null || true
# A file that its sender can keep it waiting at.
mkfifo "$E2E_TMP/fifo"
check_eq only_sealed_memory_is_read "request.invalid request.invalid request.invalid request.invalid archive.truncated certificate.malformed" \
	"$(timeout 30 python3 - "$E2E_TMP/run/control.sock" "$E2E_TMP/empty.tar" "$E2E_TMP/fifo" <<'END' | paste -sd' '
import fcntl, os, socket, struct, sys

INSTALL, TRUST_ADD = 1, 6
ADD_SEALS, SEAL, SHRINK, GROW, WRITE = 1033, 1, 2, 4, 8


def ask(op, fd):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    socket.send_fds(s, [struct.pack("IIII1184s", 0x6F627363, 1, op, 0, b"")], [fd])
    while True:
        reply, fds, _, _ = socket.recv_fds(s, 4096, 4)
        for got in fds:
            os.close(got)
        if struct.unpack_from("III", reply)[2] == 2:
            print(reply[28:92].split(b"\0")[0].decode())
            return


def memory(seals):
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(fd, b"x")
    fcntl.fcntl(fd, ADD_SEALS, seals)
    return fd


ask(INSTALL, os.open(sys.argv[2], os.O_RDONLY))
ask(INSTALL, os.open(sys.argv[3], os.O_RDWR))
ask(INSTALL, memory(SEAL | SHRINK | GROW))
ask(TRUST_ADD, os.open(sys.argv[2], os.O_RDONLY))
ask(INSTALL, memory(SEAL | SHRINK | GROW | WRITE))
ask(TRUST_ADD, memory(SEAL | SHRINK | GROW | WRITE))
END
)"
check monitor_lives test -d "/proc/$(load status --json | jq -r .daemon.pid)"

# ---- no_new_privs from outside, as containers set it: the monitor still starts, and starts again ----
daemon_stop
plain_load=$OBSLOAD
cat >"$E2E_TMP/nnp" <<END
#!/bin/sh
[ "\$1" = run ] && exec setpriv --no-new-privs $plain_load "\$@"
exec $plain_load "\$@"
END
chmod 755 "$E2E_TMP/nnp"
OBSLOAD=$E2E_TMP/nnp
daemon_start
monitor=$(load status --json | jq -r .daemon.pid)
check_eq no_new_privs_monitor_caps "$monitor_caps" "$(field "$monitor" CapEff)"
kill -9 "$monitor"
monitor_is_back() { [ "$(load status --json | jq -r .daemon.pid)" != "$monitor" ]; }
check no_new_privs_monitor_restarts wait_for 10 monitor_is_back
daemon_stop
OBSLOAD=$plain_load

# ---- without CAP_SYS_ADMIN: PERFMON takes its place, and the daemon serves ----
cat >"$E2E_TMP/no-admin" <<END
#!/bin/sh
[ "\$1" = run ] && exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin $plain_load "\$@"
exec $plain_load "\$@"
END
chmod 755 "$E2E_TMP/no-admin"
OBSLOAD=$E2E_TMP/no-admin
daemon_start
supervisor=$(awk '$1 == "PPid:" { print $2 }' "/proc/$(load status --json | jq -r .daemon.pid)/status")
check_eq no_admin_supervisor_caps "$(mask "$setuid" "$setgid" "$kill_" "$net_raw" "$setpcap" "$perfmon")" "$(field "$supervisor" CapEff)"
daemon_stop
OBSLOAD=$plain_load

# ---- a container without BPF: one sentence, and nothing was touched ----
without() { setpriv --bounding-set "-$1" --inh-caps "-$1" "$OBSLOAD" run --run-dir "$E2E_TMP/none" --state-dir "$E2E_TMP/none" --config-dir "$E2E_TMP/none" --bpffs "$E2E_TMP/bpf"; }
check_refused without_cap_bpf_told kernel.no_bpf 17 without bpf
check_refused without_net_admin_told kernel.no_bpf 17 without net_admin
check_eq without_cap_bpf_one_sentence 2 "$(without bpf 2>&1 | wc -l)"
check without_cap_bpf_nothing_touched test ! -e "$E2E_TMP/none"
e2e_done
