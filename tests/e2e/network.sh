#!/usr/bin/env bash
# TCP connections and UDP flows as the network bundle reports them, on traffic whose numbers are known.
# Functions are called by check:
# shellcheck disable=SC2317
. "$(dirname "$0")/network_lib.sh"
e2e_init "$@"
namespaces_make

serve() { background "$E2E_TMP/serve-$2" "${IN_B[@]}" python3 "$TOOLS/tcp_play.py" serve "$1" "$2"; }

serve :: 7000
SERVER=$STARTED
wait_for 5 grep -q ready "$E2E_TMP/serve-7000"

# ---- a connection from before the attach ----
"${IN_A[@]}" python3 "$TOOLS/tcp_play.py" play 10.77.0.2 7000 5000 3000 fin "$E2E_TMP/end" >"$E2E_TMP/old" &
OLD=$!
wait_for 5 grep -q moved "$E2E_TMP/old"
network_install
param flow_interval_ms=1000

client() { printf '.network.local.port == %s and .network.peer.port == 7000' "$PLAY_PORT"; }
server() { printf '.network.local.port == 7000 and .network.peer.port == %s' "$PLAY_PORT"; }

# ---- IPv4 on a dual-stack server: v4-mapped there ----
play 10.77.0.2 7000 100000 50000
check_seen connect_once 1 ".event == \"tcp.connect\" and $(client)"
check_field connect_process "$PLAY_PID python3" ".event == \"tcp.connect\" and $(client)" \
	'"\(.process.pid) \(.process.executable.name)"'
check_field connect_addresses '10.77.0.1 10.77.0.2 ipv4 tcp' ".event == \"tcp.connect\" and $(client)" \
	'"\(.network.local.address) \(.network.peer.address) \(.network.type) \(.network.transport)"'
check_field connect_handshake true ".event == \"tcp.connect\" and $(client)" '.tcp.handshake_ns > 0 and .tcp.handshake_ns < 1e9'
check_seen accept_once 1 ".event == \"tcp.accept\" and $(server)"
check_field accept_process "$SERVER python3" ".event == \"tcp.accept\" and $(server)" \
	'"\(.process.pid) \(.process.executable.name)"'
check_field accept_v4_mapped '10.77.0.2 10.77.0.1 ipv4' ".event == \"tcp.accept\" and $(server)" \
	'"\(.network.local.address) \(.network.peer.address) \(.network.type)"'
check_field close_client_bytes '100000 50000 client local none' ".event == \"tcp.close\" and $(client)" \
	'"\(.tcp.sent_bytes) \(.tcp.received_bytes) \(.tcp.role) \(.tcp.closed_by) \(.tcp.reset)"'
check_field close_server_bytes '50000 100000 server remote none' ".event == \"tcp.close\" and $(server)" \
	'"\(.tcp.sent_bytes) \(.tcp.received_bytes) \(.tcp.role) \(.tcp.closed_by) \(.tcp.reset)"'
check_field close_process "$SERVER" ".event == \"tcp.close\" and $(server)" .process.pid
check_field close_cgroup true ".event == \"tcp.close\" and $(client)" '.process.cgroup.id > 0'

# ---- IPv6 ----
play fd77::2 7000 17 1
check_field connect_ipv6 'fd77::1 fd77::2 ipv6' ".event == \"tcp.connect\" and $(client)" \
	'"\(.network.local.address) \(.network.peer.address) \(.network.type)"'
check_field close_ipv6_bytes '17 1' ".event == \"tcp.close\" and $(client)" '"\(.tcp.sent_bytes) \(.tcp.received_bytes)"'

# ---- who ends it, and how ----
play 10.77.0.2 7000 100 100 server
check_field close_by_server 'remote none' ".event == \"tcp.close\" and $(client)" '"\(.tcp.closed_by) \(.tcp.reset)"'
check_field close_by_server_itself 'local none' ".event == \"tcp.close\" and $(server)" '"\(.tcp.closed_by) \(.tcp.reset)"'
play 10.77.0.2 7000 100 100 rst
check_field close_reset_sent 'local sent' ".event == \"tcp.close\" and $(client)" '"\(.tcp.closed_by) \(.tcp.reset)"'
check_field close_reset_received 'remote received' ".event == \"tcp.close\" and $(server)" '"\(.tcp.closed_by) \(.tcp.reset)"'
check_seen reset_sent 1 ".event == \"tcp.reset\" and .network.io.direction == \"transmit\" and $(client)"
check_seen reset_received 1 ".event == \"tcp.reset\" and .network.io.direction == \"receive\" and $(server)"
check_field reset_process "$SERVER" ".event == \"tcp.reset\" and .network.io.direction == \"receive\" and $(server)" .process.pid
play 10.77.0.2 7000 100 100 crash
check_field close_reset_by_server 'remote received' ".event == \"tcp.close\" and $(client)" '"\(.tcp.closed_by) \(.tcp.reset)"'

# ---- a SYN-ACK that goes astray, until one was sent again ----
counted() { "${IN_B[@]}" nstat -asz "$1" | awk -v name="$1" '$1 == name {print $2}'; }
synack_again() { [ "$(counted TcpExtTCPSynRetrans)" -gt "$synacks" ]; }
synacks=$(counted TcpExtTCPSynRetrans) again=$(counted TcpRetransSegs)
astray
"${IN_A[@]}" python3 "$TOOLS/tcp_play.py" play 10.77.0.2 7000 100 200 >"$E2E_TMP/astray" &
ASTRAY=$!
check synack_is_sent_again wait_for 10 synack_again
arriving
wait "$ASTRAY"
PLAY_PORT=$(head -n 1 "$E2E_TMP/astray")
wait_for 5 seen 1 ".event == \"tcp.close\" and $(server)" || true
again=$(($(counted TcpRetransSegs) - again)) synacks=$(($(counted TcpExtTCPSynRetrans) - synacks))
check_counted synack_retransmits "$synacks" \
	"$(events_where ".event == \"tcp.retransmit\" and .tcp.state == \"new_syn_recv\" and $(server)" | jq -s 'map(.tcp.segments) | add // 0')" \
	tcp_retransmitted_synack
check_field synack_process "$SERVER 0" ".event == \"tcp.retransmit\" and .tcp.state == \"new_syn_recv\" and $(server)" \
	'"\(.process.pid) \(.tcp.segment_bytes)"'
check_field synack_counted_for_connection "$again 200 100" ".event == \"tcp.close\" and $(server)" \
	'"\(.tcp.retransmits) \(.tcp.sent_bytes) \(.tcp.received_bytes)"'

# ---- connections that fail ----
"${IN_A[@]}" sysctl -qw net.ipv4.tcp_syn_retries=1
ip -n "$NET_A" route add 10.99.0.0/24 via 10.77.0.2 # B does not forward: silence
ip -n "$NET_A" route add unreachable 10.98.0.0/24
check_failed() {
	check_field "failed_$1" "$2 $ATTEMPT" ".event == \"tcp.connect_failed\" and .network.peer.port == $3" \
		'"\(.error.type) \(.process.pid)"'
}
attempt 10.77.0.2 7101
check_failed refused refused 7101
attempt fd77::2 7102
check_failed refused_ipv6 refused 7102
attempt 203.0.113.1 7103
check_failed no_route network_unreachable 7103
attempt 10.98.0.1 7104
check_failed unreachable host_unreachable 7104
attempt 10.99.0.1 7105
check_failed timed_out timed_out 7105
attempt 10.99.0.1 7106 0.5
check_failed cancelled cancelled 7106

# ---- a connection that nobody accepts ends with its listener ----
mkfifo "$E2E_TMP/unaccepted"
"${IN_B[@]}" python3 -c 'import socket, sys
s = socket.socket(); s.bind(("10.77.0.2", 7110)); s.listen(8); print("ready", flush=True); sys.stdin.read()' \
	<"$E2E_TMP/unaccepted" >"$E2E_TMP/listening" &
LISTENING=$!
exec 7>"$E2E_TMP/unaccepted"
wait_for 5 grep -q ready "$E2E_TMP/listening"
"${IN_A[@]}" python3 -c 'import socket
s = socket.create_connection(("10.77.0.2", 7110)); print(s.getsockname()[1], flush=True)
try: s.recv(1)
except ConnectionResetError: pass' >"$E2E_TMP/waiting" 7>&- &
WAITING=$!
wait_for 5 grep -q . "$E2E_TMP/waiting"
exec 7>&-
wait "$LISTENING" "$WAITING"
check_field unaccepted_is_nobodys null '.event == "tcp.close" and .network.local.port == 7110' .process.pid
check_seen unaccepted_is_not_accepted 0 '.event == "tcp.accept" and .network.local.port == 7110'

# ---- what the other end's kernel did with the SYN to a closed port ----
if kernel_has_enum skb_drop_reason; then
	check_field drop_reason no_socket '.event == "tcp.drop" and .network.local.port == 7101' .tcp.drop_reason
else
	skip drop_reason "this kernel has no drop reasons"
fi
if kernel_has_enum sk_rst_reason; then
	check_field reset_reason no_socket '.event == "tcp.reset" and .network.local.port == 7101' .tcp.reset_reason
else
	skip reset_reason "this kernel has no reset reasons"
fi

# ---- connections that stay, also the one from before the attach ----
play 10.77.0.2 7000 40000 20000 fin 3.5
check_field flow_bytes '40000 20000 established client' ".event == \"tcp.flow\" and $(client)" \
	'"\(.tcp.sent_bytes) \(.tcp.received_bytes) \(.tcp.state) \(.tcp.role)"'
if [ "$(events_where ".event == \"tcp.flow\" and $(client)" | wc -l)" -ge 2 ]; then
	ok flow_repeats
else
	fail flow_repeats "fewer than two tcp.flow events in 3.5 s at an interval of 1 s"
fi
touch "$E2E_TMP/end"
wait "$OLD"
PLAY_PORT=$(head -n 1 "$E2E_TMP/old")
check_field old_connection_client "$OLD python3 5000 3000" ".event == \"tcp.close\" and $(client)" \
	'"\(.process.pid) \(.process.executable.name) \(.tcp.sent_bytes) \(.tcp.received_bytes)"'
check_field old_connection_server "$SERVER 3000 5000" ".event == \"tcp.close\" and $(server)" \
	'"\(.process.pid) \(.tcp.sent_bytes) \(.tcp.received_bytes)"'

# ---- UDP ----
background "$E2E_TMP/udp" "${IN_B[@]}" python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7200))
while True:
	data, peer = s.recvfrom(2000); s.sendto(data[:100], peer)'
RECEIVER=$STARTED
wait_for 5 "${IN_B[@]}" sh -c 'ss -ulnH sport = :7200 | grep -q .'
"${IN_A[@]}" python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7201))
for i in range(50):
	s.sendto(bytes(1000), ("10.77.0.2", 7200)); s.recv(2000)' &
SENDER=$!
wait "$SENDER"
sum() { events_where ".event == \"udp.flow\" and .network.local.port == $1" | jq -s -r "\"\(map($2) | add) \(map(.process.pid) | unique | join(\",\"))\""; }
wait_for 5 seen 1 '.event == "udp.flow" and .network.local.port == 7200' || true
sleep 1.2
check_eq udp_sender "50000 $SENDER" "$(sum 7201 .udp.sent_bytes)"
check_eq udp_sender_received "5000 $SENDER" "$(sum 7201 .udp.received_bytes)"
check_eq udp_receiver "50000 $RECEIVER" "$(sum 7200 .udp.received_bytes)"
check_eq udp_packets "50 $RECEIVER" "$(sum 7200 .udp.received_packets)"

events_stop
check_nothing_lost
e2e_done
