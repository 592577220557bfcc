#!/usr/bin/env bash
# Connections that begin or end in unusual ways: each is told once, with what really happened.
# Functions are called by check:
# shellcheck disable=SC2317
. "$(dirname "$0")/network_lib.sh"
e2e_init "$@"
namespaces_make
network_install

# turns NAME COMMAND...: a process with one socket, below a namespace's command; tell NAME WORDS... has it do something, and
# $ANSWER is what came of it.
declare -A PID
turns() {
	local name=$1
	shift
	mkfifo "$E2E_TMP/$name.turns"
	background "$E2E_TMP/$name.said" "$@" python3 "$TOOLS/tcp_turns.py" "$E2E_TMP/$name.turns"
	PID[$name]=$STARTED
	: >>"$E2E_TMP/$name.said"
}
said() { [ "$(wc -l <"$E2E_TMP/$1.said")" -gt "$2" ]; }
tell() {
	local name=$1 before
	shift
	before=$(wc -l <"$E2E_TMP/$name.said")
	echo "$*" >"$E2E_TMP/$name.turns"
	wait_for 10 said "$name" "$before" || fail "$name $*" "no answer: $(cat "$E2E_TMP/$name.said")"
	ANSWER=$(tail -n 1 "$E2E_TMP/$name.said")
}
# connected NAME PORT: NAME.a in A has a connection to NAME.b in B; $PORT_A is A's port.
connected() {
	turns "$1.a" "${IN_A[@]}"
	turns "$1.b" "${IN_B[@]}"
	tell "$1.b" listen 10.77.0.2 "$2"
	tell "$1.a" connect 10.77.0.2 "$2"
	tell "$1.b" accept
	tell "$1.a" port
	PORT_A=$ANSWER
}
at_b() { printf '.network.local.port == %s and .network.peer.port == %s' "$1" "$PORT_A"; }
closed() { printf '.event == "tcp.close" and %s' "$1"; }
ending='"\(.process.pid) \(.tcp.closed_by) \(.tcp.reset) \(.error.type)"'

arriving

# ---- connect() again, to learn what became of the first: one failure, not two ----
turns again "${IN_A[@]}"
tell again nonblocking
tell again connect 10.77.0.2 7501
check_eq again_in_progress EINPROGRESS "$ANSWER"
tell again ready
tell again connect 10.77.0.2 7501
check_eq again_refused ECONNREFUSED "$ANSWER"
tell again connect 203.0.113.1 7502
check_eq again_no_route ENETUNREACH "$ANSWER"
failed() { printf '.event == "tcp.connect_failed" and .network.peer.port == %s' "$1"; }
check_seen again_next_failure_is_told 1 "$(failed 7502)"
check_field again_first_failure_is_told_once "${PID[again]} refused true" "$(failed 7501)" \
	'"\(.process.pid) \(.error.type) \(.tcp.duration_ns > 0)"'
check_seen again_once 1 "$(failed 7501)"

# ---- data that comes after close() is answered with a reset ----
connected late 7510
astray # so that the other end does not know yet
tell late.b close
tell late.a send 100
check_field late_data_is_answered "${PID[late.b]} local sent null" "$(closed "$(at_b 7510)")" "$ending"
arriving
late=".event == \"tcp.reset\" and .network.local.port == 7510"
# The listener sends another, for the data when it comes again.
check_seen late_reset_has_its_process 1 "$late and .network.io.direction == \"transmit\" and .tcp.state == \"close\" and .process.pid == ${PID[late.b]}"
check_eq late_none_received 0 "$(events_where "$late and .network.io.direction == \"receive\"" | wc -l)"

# ---- a reset that comes after close() ----
connected crossing 7511
astray
tell crossing.b close
tell crossing.a abort
check_field crossing_reset_is_received "${PID[crossing.b]} local received reset" "$(closed "$(at_b 7511)")" "$ending"
arriving

# ---- the kernel gives up: keepalive ----
connected silent 7512
tell silent.b keepalive
astray
check_field silent_is_reset "${PID[silent.b]} local sent timed_out" "$(closed "$(at_b 7512)")" "$ending"
arriving

# ---- a fast open that is accepted, and ends before its handshake ----
"${IN_A[@]}" sysctl -qw net.ipv4.tcp_fastopen=$((1 | 4))
"${IN_B[@]}" sysctl -qw net.ipv4.tcp_fastopen=$((2 | 0x200 | 0x400))
turns fast.a "${IN_A[@]}"
turns fast.b "${IN_B[@]}"
tell fast.b listen 10.77.0.2 7513
astray
tell fast.a nonblocking
tell fast.a fastopen 10.77.0.2 7513 100
tell fast.b accept
check_eq fast_is_accepted ok "$ANSWER"
tell fast.b close # with 100 bytes unread
fast='.network.local.port == 7513'
check_seen fast_accept 1 ".event == \"tcp.accept\" and $fast"
check_field fast_close "${PID[fast.b]} local sent null" ".event == \"tcp.close\" and $fast" "$ending"
arriving

# ---- what could not be sent again was not: the kernel tells of it since 6.17 ----
connected routeless 7514
segments() { events_where ".event == \"tcp.retransmit\" and .network.local.port == $PORT_A" | jq -s 'map(.tcp.segments) | add // 0'; }
backoff() { "${IN_A[@]}" ss -tinHO "sport = :$PORT_A" | grep -q 'backoff:[2-9]'; }
astray # so that it is not acknowledged
tell routeless.a send 100
ip -n "$NET_A" route del 10.77.0.0/24 dev veth0
check routeless_tries wait_for 10 backoff
ip -n "$NET_A" route add 10.77.0.0/24 dev veth0 src 10.77.0.1
arriving
tell routeless.a close
routeless=$(closed ".network.local.port == $PORT_A and .network.peer.port == 7514")
check_seen routeless_ends 1 "$routeless"
check_counted routeless_segments "$(events_where "$routeless" | jq .tcp.retransmits)" "$(segments)" tcp_retransmitted

# ---- the copies of a sniffer that does not keep up are no loss ----
background "$E2E_TMP/sniffer" "${IN_A[@]}" python3 -c 'import socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
s.bind(("veth0", 3)); print("ready", flush=True); time.sleep(60)'
wait_for 5 grep -q ready "$E2E_TMP/sniffer"
connected sniffed 7515
for _ in $(seq 20); do tell sniffed.a send 5000; done
tell sniffed.a close
tell sniffed.b close
check_seen sniffed_ends 1 "$(closed ".network.local.port == $PORT_A and .network.peer.port == 7515")"
check_eq sniffed_drops_nothing 0 "$(events_where ".event == \"tcp.drop\" and .network.io.direction == \"transmit\" and .network.peer.port == 7515" | wc -l)"

events_stop
check_nothing_lost
e2e_done
