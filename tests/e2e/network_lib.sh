# shellcheck shell=bash disable=SC2034,SC2119
# What the tests of the network bundle share: the bundle installed, two network namespaces, traffic with known numbers.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOOLS=$E2E_ROOT/tests/e2e/tools
EVENTS=
NET_A=obs-a-$$ NET_B=obs-b-$$

# Commands, not functions: in the background, $! is then the process itself.
IN_A=(nsenter --net=/run/netns/"$NET_A") IN_B=(nsenter --net=/run/netns/"$NET_B")

# Whether the kernel has an enum.
kernel_has_enum() {
	local found
	found=$(bpftool btf dump file /sys/kernel/btf/vmlinux format raw 2>/dev/null | grep -c "ENUM '$1'" || true)
	[ "$found" -gt 0 ]
}

# Namespaces A (10.77.0.1, fd77::1) and B (10.77.0.2, fd77::2), a veth pair between them.
namespaces_make() {
	ip netns add "$NET_A"
	at_exit "ip netns del $NET_A"
	ip netns add "$NET_B"
	at_exit "ip netns del $NET_B"
	ip -n "$NET_A" link set lo up
	ip -n "$NET_B" link set lo up
	ip -n "$NET_A" link add veth0 type veth peer name veth0 netns "$NET_B"
	ip -n "$NET_A" addr add 10.77.0.1/24 dev veth0
	ip -n "$NET_B" addr add 10.77.0.2/24 dev veth0
	ip -n "$NET_A" addr add fd77::1/64 dev veth0 nodad
	ip -n "$NET_B" addr add fd77::2/64 dev veth0 nodad
	ip -n "$NET_A" link set veth0 up
	ip -n "$NET_B" link set veth0 up
}

# What B sends to A goes astray, until it arrives again.
answers_go_to() { ip -n "$NET_B" neigh replace 10.77.0.1 lladdr "$1" nud permanent dev veth0; }
astray() { answers_go_to 02:00:00:00:00:01; }
arriving() { answers_go_to "$(ip -n "$NET_A" -j link show veth0 | jq -r '.[0].address')"; }

# attempt ADDRESS PORT [SECONDS]: a connection that fails; $ATTEMPT is its process.
attempt() {
	"${IN_A[@]}" python3 -c 'import socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))
except OSError: pass' "$1" "$2" "${3:-10}" &
	ATTEMPT=$!
	wait "$ATTEMPT" || true
}

# The signed bundle, trusted and installed in a fresh daemon; its events in $EVENTS from then on.
network_install() {
	make_signer ci
	cp "$BUILD/bundles/network.tar" "$E2E_TMP/network.tar"
	"$OBSPKG" sign "$E2E_TMP/network.tar" --key "$E2E_TMP/ci/signer.key" --cert "$E2E_TMP/ci/signer.pem" >/dev/null
	daemon_start
	load trust add "$E2E_TMP/ci/signer.pem" --names 'obs/*' >/dev/null
	load install "$E2E_TMP/network.tar" >"$E2E_TMP/install.log" 2>&1 || {
		echo "FAIL install: $(cat "$E2E_TMP/install.log" "$E2E_TMP/daemon.log")"
		exit 1
	}
	EVENTS=$E2E_TMP/events
	events_start "$EVENTS"
	at_exit "kill $E2E_EVENTS 2>/dev/null"
}

param() { load set obs/network "$@" >/dev/null; }

# Events that a jq condition holds for, one a line. A line that is being written is not read yet.
events_where() {
	jq -c -R "fromjson? | select($1)" "$EVENTS"
}

# seen COUNT CONDITION: at least so many are there.
seen() { [ "$(events_where "$2" | wc -l)" -ge "$1" ]; }

# check_seen NAME COUNT CONDITION: after five seconds at most there are so many, no fewer and no more.
check_seen() {
	wait_for 5 seen "$2" "$3" || true
	check_eq "$1" "$2" "$(events_where "$3" | wc -l)"
}

# missed PROGRAM...: runs that the kernel skipped because the program still ran on that CPU, as status tells.
missed() {
	load status obs/network --json | jq --args '[.bundles[].programs[] | select(.name | IN($ARGS.positional[])) | .missed] | add' "$@"
}

# Events that this test itself was too slow to read, on a machine that is busy, as it was told.
unread() { events_where '.event == "obs.lost" and .source == "subscriber"' | jq -s 'map(.count) | add // 0'; }

# check_counted NAME EXPECTED SEEN PROGRAM...: what was not seen is among the runs that the kernel is known to have skipped, and
# the events that were not read; where there are none of either, all must have been seen.
check_counted() {
	local name=$1 expected=$2 seen=$3
	shift 3
	if [ "$seen" -lt "$expected" ] && [ $((seen + $(missed "$@") + $(unread))) -ge "$expected" ]; then
		ok "$name"
	else
		check_eq "$name" "$expected" "$seen"
	fi
}

# The bundle and the worker lost nothing.
check_nothing_lost() {
	check_eq nothing_lost '' "$(events_where '.event == "obs.lost" and .source != "missed" and .source != "subscriber"')"
}

# check_field NAME EXPECTED CONDITION PATH: of the one event.
check_field() {
	wait_for 5 seen 1 "$3" || true
	check_eq "$1" "$2" "$(events_where "$3" | jq -r "$4" | sort -u | paste -sd ' ')"
}

# background LOG COMMAND...: started, stopped at exit; $STARTED is its process.
background() {
	local log=$1
	shift
	"$@" >"$log" 2>&1 &
	STARTED=$!
	at_exit "kill $STARTED 2>/dev/null"
}

# play ADDRESS PORT SEND WANT [END [HOLD]] in A; $PLAY_PORT is the local port, $PLAY_PID the process.
play() {
	local log=$E2E_TMP/play
	"${IN_A[@]}" python3 "$TOOLS/tcp_play.py" play "$@" >"$log" 2>&1 &
	PLAY_PID=$!
	wait "$PLAY_PID" || true
	PLAY_PORT=$(head -n 1 "$log")
}
