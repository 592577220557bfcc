#!/usr/bin/env bash
# The daemon under valgrind, each of its processes, from the first start to the last stop: installs, events of real
# traffic, sampled maps, parameters, refusals, a restart that adopts, and removal. `make check-valgrind` builds what this
# needs (loader/sandbox/instrumented.h, tests/valgrind_syscall.c).
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

# A process without privileges starts under valgrind as itself, and may not be let into the folder of whoever built it.
copied_daemon
cp "$E2E_ROOT/tests/valgrind.sh" "$E2E_ROOT/tests/valgrind.supp" "$E2E_TMP/daemon/"

# As in lib.sh, but the log is a pipe's other end: no file that a process without privileges may not let grow.
mkfifo "$E2E_TMP/pipe"
daemon_start() {
	cat <"$E2E_TMP/pipe" >>"$E2E_TMP/daemon.log" &
	VALGRIND_LOG=$!
	"$E2E_TMP/daemon/valgrind.sh" "$OBSLOAD" run --config-dir "$E2E_TMP/etc" --state-dir "$E2E_TMP/state" \
		--run-dir "$E2E_TMP/run" --bpffs "$E2E_TMP/bpf" >"$E2E_TMP/pipe" 2>&1 &
	E2E_DAEMON=$!
	if ! wait_for 120 load list; then
		fail daemon "does not answer; its log:"
		cat "$E2E_TMP/daemon.log"
		exit 1
	fi
}

daemon_ends() {
	local status=0
	kill "$E2E_DAEMON"
	wait "$E2E_DAEMON" || status=$?
	E2E_DAEMON=
	wait "$VALGRIND_LOG"
	check_eq "$1" 0 "$status"
}

# The numbers of the processes whose program ends in $1, as valgrind names them.
processes() { sed -n "s/^==\([0-9]*\)== Command: [^ ]*\/$1\( .*\)\?$/\1/p" "$E2E_TMP/daemon.log" | sort -u; }
said() { grep "^..$1.. " "$E2E_TMP/daemon.log"; }

# Each of them came to its end and valgrind has nothing to say. An unpacker that refuses a file is killed after its answer:
# nothing is said about its leaks then.
all_clean() {
	local pid count=0
	for pid in $(processes "$1"); do
		if [ "$1" = unpacker ] && grep -q "unpacker (pid $pid) killed" "$E2E_TMP/daemon.log" &&
			! said "$pid" | grep -q ' at 0x'; then
			continue
		fi
		count=$((count + 1))
		said "$pid" | grep -q "ERROR SUMMARY: 0 errors" || { said "$pid" && return 1; }
	done
	echo "$count of them ended, at least $2 are due"
	[ "$count" -ge "$2" ]
}

make_signer signer
make_signer stranger
sign() { "$OBSPKG" sign "$E2E_TMP/$2" --key "$E2E_TMP/$1/signer.key" --cert "$E2E_TMP/$1/signer.pem" >/dev/null; }
cp "$BUILD/bundles/network.tar" "$E2E_TMP/network.tar"
cp "$BUILD/bundles/network.tar" "$E2E_TMP/stranger.tar"
sign signer network.tar
sign stranger stranger.tar
head -c 3000 "$E2E_TMP/network.tar" >"$E2E_TMP/cut.tar"
head -c 100000 /dev/urandom >"$E2E_TMP/noise.tar"

daemon_start
check trust_add load trust add "$E2E_TMP/signer/signer.pem" --names 'obs/*'
check_refused untrusted_signer_refused signature.untrusted 11 load install "$E2E_TMP/stranger.tar"
check_refused truncated_file_refused archive.truncated 10 load install "$E2E_TMP/cut.tar"
check noise_refused test "$(load install "$E2E_TMP/noise.tar" 2>&1 | grep -c '\[archive\.')" -eq 1
check verify load verify "$E2E_TMP/network.tar"
check install load install "$E2E_TMP/network.tar"

# ---- traffic ----
events_start "$E2E_TMP/events"
seen() { grep -q "\"event\":\"$1\"" "$E2E_TMP/events"; }
mkdir "$E2E_TMP/www"
head -c 300000 /dev/urandom >"$E2E_TMP/www/file"
python3 -m http.server --bind 127.0.0.1 --directory "$E2E_TMP/www" 18099 >/dev/null 2>&1 &
at_exit "kill $! 2>/dev/null"
wait_for 10 curl -sf -o /dev/null http://127.0.0.1:18099/file
for _ in 1 2 3; do curl -sf -o /dev/null http://127.0.0.1:18099/file; done
curl -s -o /dev/null http://127.0.0.1:1/ || true
dig +tries=1 +time=1 @127.0.0.1 -p 5399 valgrind.example >/dev/null 2>&1 || true
for event in tcp.connect tcp.accept tcp.close tcp.connect_failed; do
	check "traffic_$event" wait_for 30 seen "$event"
done
printf 'not json\n' | timeout 10 socat -t 2 - "UNIX-CONNECT:$E2E_TMP/run/events.sock" >"$E2E_TMP/answer" || true
check wrong_line_answered grep -q request.invalid "$E2E_TMP/answer"
param=$(load params obs/network --json | jq -r '[.bundles[0].parameters[] | select(.type | test("^u"))][0].name')
check set_parameter load set obs/network "$param=$(load params obs/network --json |
	jq -r --arg p "$param" '.bundles[0].parameters[] | select(.name == $p) | .default')"
check status load status
check audit load audit
events_stop

# ---- a stop, and a start that adopts ----
state=$(load list --json | jq -r '.bundles[0].state')
[ "$state" = running ] || load status
daemon_ends first_stop
daemon_start
check_eq start_adopts "$state" "$(load list --json | jq -r '.bundles[0].state')"
curl -sf -o /dev/null http://127.0.0.1:18099/file
check remove load remove obs/network
check trust_remove load trust remove "$(load trust list --json | jq -r '.signers[0].signer' | head -c 16)"
daemon_ends second_stop

check supervisor_is_clean all_clean obsload 2
check monitor_is_clean all_clean monitor 2
check worker_is_clean all_clean worker 2
check unpacker_is_clean all_clean unpacker 4
check nothing_unknown_to_valgrind test "$(grep -c 'unhandled eBPF command' "$E2E_TMP/daemon.log")" -eq 0
[ -z "${KEEP_LOG:-}" ] || cp "$E2E_TMP/daemon.log" "$KEEP_LOG"
e2e_done
