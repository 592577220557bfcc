# shellcheck shell=bash
# What every end-to-end test starts with:
#
#	. "$(dirname "$0")/lib.sh"
#	e2e_init "$@"          # root, a mount namespace and a temporary folder of its own, cleaned up at exit (without root:
#	                       # e2e_folder)
#	daemon_start           # obsload run with every folder below $E2E_TMP
#	check "list is empty" test "$(load list --json)" = '{"bundles": []}'
#	e2e_done
#
# One line a check: `ok NAME`, `FAIL NAME: reason`, `SKIP NAME: reason`. Programs are those of $BUILD (default build/).

set -euo pipefail

E2E_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$E2E_ROOT/$BUILD ;; esac
OBSPKG=${OBSPKG:-$BUILD/bin/obspkg}
OBSLOAD=${OBSLOAD:-$BUILD/bin/obsload}
export BUILD OBSPKG OBSLOAD

E2E_FAILED=0
E2E_DAEMON=
E2E_CLEANUP=()

ok() { printf 'ok %s\n' "$1"; }

fail() {
	printf 'FAIL %s: %s\n' "$1" "${2:-}"
	E2E_FAILED=$((E2E_FAILED + 1))
}

# A skipped check is loud; with CI=true it is a failure.
skip() {
	if [ "${CI:-}" = true ]; then
		fail "$1" "skipped, which CI does not allow: $2"
	else
		printf 'SKIP %s: %s\n' "$1" "$2"
	fi
}

# check NAME COMMAND...: ok if the command succeeds; else its output is the reason.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		ok "$name"
	else
		fail "$name" "'$*' ended with $?: $out"
	fi
}

# check_eq NAME EXPECTED ACTUAL
check_eq() {
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "expected '$2', got '$3'"; fi
}

# check_refused NAME CODE STATUS COMMAND...: the command must end with the exit status and name the error code.
check_refused() {
	local name=$1 code=$2 want=$3 out status=0
	shift 3
	out=$("$@" 2>&1) || status=$?
	if [ "$status" -eq "$want" ] && grep -qF "[$code]" <<<"$out"; then
		ok "$name"
	else
		fail "$name" "expected [$code] and status $want, got status $status: $out"
	fi
}

# reported COMMAND...: one that writes `ok` and `FAIL` lines itself.
reported() {
	"$@" | tee "$E2E_TMP/out" || E2E_FAILED=1
	! grep -q '^FAIL ' "$E2E_TMP/out" || E2E_FAILED=1
}

# wait_for SECONDS COMMAND...: until it succeeds, or fails after that time.
wait_for() {
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$until" ] || return 1
		sleep 0.1
	done
}

# timeout(1) by itself sends SIGCONT after its signal, which can take away the SIGSTOP that LeakSanitizer's tracer waits for in a
# program on its way out: that never ended. With --foreground it sends its signal alone, to the command alone.
timeout() { command timeout --foreground -k 10 "$@"; }

at_exit() { E2E_CLEANUP+=("$1"); }

e2e_exit() {
	local status=$? i
	set +e
	daemon_stop
	if ! daemon_found_nothing; then
		fail sanitizer "found something in the daemon: $(cat "$E2E_TMP/daemon.log")"
		status=1
	fi
	for ((i = ${#E2E_CLEANUP[@]} - 1; i >= 0; i--)); do
		eval "${E2E_CLEANUP[$i]}"
	done
	umount "$E2E_TMP/bpf" 2>/dev/null
	rm -rf "$E2E_TMP"
	exit "$status"
}

# A temporary folder, cleaned up at exit: all that a test needs which neither is root nor starts a daemon.
e2e_folder() {
	E2E_TMP=$(mktemp -d "${TMPDIR:-/tmp}/obs-e2e.XXXXXX")
	chmod 755 "$E2E_TMP"
	trap e2e_exit EXIT
	trap 'exit 130' INT TERM
	export E2E_TMP
}

e2e_init() {
	if [ "$(id -u)" -ne 0 ]; then
		echo "FAIL setup: end-to-end tests load BPF programs and need root" >&2
		exit 1
	fi
	if [ -z "${E2E_INSIDE:-}" ]; then
		E2E_INSIDE=1 exec unshare -m --propagation private -- bash "$0" "$@"
	fi
	unset E2E_INSIDE
	e2e_folder
	mkdir "$E2E_TMP/bpf"
	mount -t bpf bpf "$E2E_TMP/bpf"
	[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true
}

e2e_done() {
	[ "$E2E_FAILED" -eq 0 ]
	exit
}

# An installation below $E2E_TMP/daemon, which OBSLOAD is of from here on.
copied_daemon() {
	mkdir -p "$E2E_TMP/daemon/bin" "$E2E_TMP/daemon/libexec/obsload"
	cp "$BUILD/bin/obsload" "$E2E_TMP/daemon/bin/"
	cp "$BUILD"/libexec/obsload/* "$E2E_TMP/daemon/libexec/obsload/"
	export OBSLOAD=$E2E_TMP/daemon/bin/obsload
}

# daemon_start [OPTION...]: options of `obsload run`.
daemon_start() {
	"$OBSLOAD" run --config-dir "$E2E_TMP/etc" --state-dir "$E2E_TMP/state" --run-dir "$E2E_TMP/run" \
		--bpffs "$E2E_TMP/bpf" "$@" >>"$E2E_TMP/daemon.log" 2>&1 &
	E2E_DAEMON=$!
	if ! wait_for 20 load list; then
		echo "FAIL daemon: does not answer; its log:" >&2
		cat "$E2E_TMP/daemon.log" >&2
		exit 1
	fi
}

daemon_stop() {
	[ -n "$E2E_DAEMON" ] || return 0
	kill "$E2E_DAEMON" 2>/dev/null || true
	wait "$E2E_DAEMON" 2>/dev/null || true
	E2E_DAEMON=
}

# What a sanitizer finds in a process of the daemon is in its log, and fails the test, whatever else went well.
daemon_found_nothing() {
	[ ! -e "$E2E_TMP/daemon.log" ] || ! grep -aqE '(Address|Leak)Sanitizer|: runtime error: ' "$E2E_TMP/daemon.log"
}

# obsload against this test's daemon.
load() {
	local command=$1
	shift
	"$OBSLOAD" "$command" --run-dir "$E2E_TMP/run" "$@"
}

# A throwaway signer in $E2E_TMP/NAME/{signer.key,signer.pem}, trusted if the daemon runs.
make_signer() {
	"$OBSPKG" keygen --out "$E2E_TMP/$1" --name "$1" >/dev/null
}

# events_start FILE [ARG...]: collects events as JSON lines until events_stop.
events_start() {
	local file=$1
	shift
	"$OBSLOAD" events --run-dir "$E2E_TMP/run" --json "$@" >"$file" 2>"$file.err" &
	E2E_EVENTS=$!
	sleep 0.3
}

events_stop() {
	sleep 0.3
	kill "$E2E_EVENTS" 2>/dev/null || true
	wait "$E2E_EVENTS" 2>/dev/null || true
}
