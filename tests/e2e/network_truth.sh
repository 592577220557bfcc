#!/usr/bin/env bash
# The same numbers as other eyes see: ss and nstat on a slow wire that loses packets, nginx under wrk, bpftool.
# Functions are called by check and wait_for:
# shellcheck disable=SC2317
. "$(dirname "$0")/network_lib.sh"
e2e_init "$@"
namespaces_make
network_install
param flow_interval_ms=1000

# ---- a wire with 10 ms each way that loses every 20th segment of payload ----
if [ ! -c /dev/net/tun ]; then
	skip slow_wire "/dev/net/tun is missing"
else
	mkfifo "$E2E_TMP/wire"
	python3 "$TOOLS/wire.py" "$NET_A" "$NET_B" wire0 10 20 <"$E2E_TMP/wire" >"$E2E_TMP/wire.log" 2>&1 &
	exec 9>"$E2E_TMP/wire"
	wait_for 5 grep -q ready "$E2E_TMP/wire.log"
	ip -n "$NET_A" addr add 10.78.0.1 peer 10.78.0.2 dev wire0
	ip -n "$NET_B" addr add 10.78.0.2 peer 10.78.0.1 dev wire0
	ip -n "$NET_A" link set wire0 up
	ip -n "$NET_B" link set wire0 up
	background "$E2E_TMP/serve" "${IN_B[@]}" python3 "$TOOLS/tcp_play.py" serve 10.78.0.2 7300
	wait_for 5 grep -q ready "$E2E_TMP/serve"
	"${IN_A[@]}" nstat -n >/dev/null
	before=$("${IN_A[@]}" nstat -asz TcpRetransSegs | awk '$1 == "TcpRetransSegs" {print $2}')
	"${IN_A[@]}" python3 "$TOOLS/tcp_play.py" play 10.78.0.2 7300 1500000 200000 fin 4 >"$E2E_TMP/lossy" 2>&1 &
	LOSSY=$!
	wait_for 30 grep -q moved "$E2E_TMP/lossy"
	port=$(head -n 1 "$E2E_TMP/lossy")
	sleep 2.2 # a flow event of the connection at rest
	"${IN_A[@]}" ss -tinHO "sport = :$port" >"$E2E_TMP/ss"
	after=$("${IN_A[@]}" nstat -asz TcpRetransSegs | awk '$1 == "TcpRetransSegs" {print $2}')
	wait "$LOSSY"
	number() { grep -oE "(^| )$1:[0-9./]+" "$E2E_TMP/ss" | head -n 1 | cut -d: -f2; }
	ss_retrans=$(number retrans | cut -d/ -f2)
	ss_sent=$(($(number bytes_sent) - $(number bytes_retrans)))
	ss_received=$(number bytes_received)
	ss_rtt_us=$(number rtt | cut -d/ -f1 | awk '{printf "%d", $1 * 1000 + 0.5}')
	mine=".network.local.port == $port and .network.peer.port == 7300"
	wait_for 5 seen 1 ".event == \"tcp.close\" and $mine" || true
	last() { events_where ".event == \"$1\" and $mine" | jq -s -r "last | \"$2\""; }
	check_eq ss_agrees_with_flow "$ss_sent $ss_received $ss_retrans" "$(last tcp.flow '\(.tcp.sent_bytes) \(.tcp.received_bytes) \(.tcp.retransmits)')"
	check_eq ss_agrees_with_payload '1500000 200000' "$ss_sent $ss_received"
	check_eq ss_rtt_is_flow_rtt 0 "$(last tcp.flow "\(.tcp.srtt_us - $ss_rtt_us | fabs | floor)")"
	check_eq close_agrees "$ss_sent $ss_received $ss_retrans" "$(last tcp.close '\(.tcp.sent_bytes) \(.tcp.received_bytes) \(.tcp.retransmits)')"
	check_eq close_rtt_is_the_wire true "$(last tcp.close '\(.tcp.srtt_us >= 20000 and .tcp.srtt_us < 60000)')"
	check_eq handshake_is_the_wire true "$(last tcp.connect '\(.tcp.handshake_ns >= 20e6 and .tcp.handshake_ns < 60e6)')"
	if [ "$ss_retrans" -gt 10 ]; then ok wire_loses; else fail wire_loses "only $ss_retrans retransmissions"; fi
	check_counted retransmit_events "$ss_retrans" \
		"$(events_where ".event == \"tcp.retransmit\" and $mine" | jq -s 'map(.tcp.segments) | add')" tcp_retransmitted
	check_counted nstat_agrees "$((after - before))" \
		"$(events_where '.event == "tcp.retransmit" and (.network.peer.address == "10.78.0.2")' | jq -s 'map(.tcp.segments) | add')" \
		tcp_retransmitted
	exec 9>&-
fi

# ---- nginx under wrk: a connection a request ----
mkdir "$E2E_TMP/www"
echo hello >"$E2E_TMP/www/index.html"
cat >"$E2E_TMP/nginx.conf" <<CONF
user root;
worker_processes 2;
daemon off;
pid $E2E_TMP/nginx.pid;
error_log $E2E_TMP/nginx.err;
events { worker_connections 512; }
http {
	log_format each '\$connection';
	access_log $E2E_TMP/access each;
	server { listen 10.77.0.2:7400; root $E2E_TMP/www; location = /status { stub_status; access_log off; } }
}
CONF
background "$E2E_TMP/nginx.log" "${IN_B[@]}" nginx -c "$E2E_TMP/nginx.conf" -e "$E2E_TMP/nginx.err"
wait_for 5 "${IN_B[@]}" sh -c 'ss -tlnH sport = :7400 | grep -q .'
"${IN_A[@]}" wrk -t 1 -c 10 -d 2 -H 'Connection: close' http://10.77.0.2:7400/index.html >"$E2E_TMP/wrk"
accepts=$("${IN_B[@]}" curl -s http://10.77.0.2:7400/status | awk 'NR == 3 {print $1 - 1}')
logged=$(sort -u "$E2E_TMP/access" | wc -l)
served='.event == "tcp.accept" and .network.local.port == 7400 and .network.peer.address == "10.77.0.1"'
wait_for 10 seen "$accepts" "$served" || true
check_counted nginx_accepts "$accepts" "$(events_where "$served" | wc -l)" tcp_accept_exit tcp_accept4_exit tcp_accepted
# When wrk's time is up, ten may be open without a request that is logged; one more was to see whether the server is there.
if [ "$logged" -le "$accepts" ] && [ "$logged" -ge $((accepts - 11)) ] && [ "$logged" -gt 100 ]; then
	ok nginx_access_log
else
	fail nginx_access_log "$logged connections logged, $accepts accepted, 10 at once"
fi
check_eq nginx_process nginx "$(events_where "$served" | jq -r .process.executable.name | sort -u)"
check_eq nginx_workers 0 "$(events_where "$served" | jq -r .process.pid | sort -u | grep -cx "$(cat "$E2E_TMP/nginx.pid")" || true)"
closed='.event == "tcp.close" and .network.local.port == 7400 and .network.peer.address == "10.77.0.1"'
wait_for 10 seen "$accepts" "$closed" || true
check_counted nginx_closes "$accepts" "$(events_where "$closed" | wc -l)" tcp_state tcp_destroy

# ---- 10,000 at once, then gone ----
# Of the daemon's maps: id and, where the kernel tells, the memory of those that grow with lookups and UDP sockets.
memory() { bpftool map show --json | jq -c '[.[] | select(.name == "owners" or .name == "lookups") | {id, name, bytes_memlock}]'; }
# States of connections whose process is gone, or was never known.
orphans() {
	local id pid total=0
	for id in $(bpftool map show --json | jq '.[] | select(.name == "conns") | .id'); do
		for pid in $(bpftool map dump id "$id" --json | jq '.[].formatted.value.process.pid'); do
			[ "$pid" != 0 ] && [ -d "/proc/$pid" ] || total=$((total + 1))
		done
	done
	echo "$total"
}
orphans_before=$(orphans)
orphans_left() { [ "$(orphans)" -le "$orphans_before" ]; }
memory_before=$(memory)
# As seen, without jq: to read so much again and again would starve the reader of the events.
many_seen() { [ "$(grep -cE "\"event\":\"$2\".*\"port\":$port\b" "$EVENTS")" -ge "$1" ]; }
mkfifo "$E2E_TMP/many"
"${IN_A[@]}" python3 "$TOOLS/tcp_many.py" 10000 <"$E2E_TMP/many" >"$E2E_TMP/many.log" 2>&1 &
MANY=$!
exec 8>"$E2E_TMP/many"
wait_for 60 grep -q open "$E2E_TMP/many.log"
port=$(awk '{print $2; exit}' "$E2E_TMP/many.log")
ended="(.network.local.port == $port or .network.peer.port == $port)"
wait_for 60 many_seen 10000 tcp.accept || true
held=$(bpftool map dump name conns --json | jq -s 'map(length) | add')
if [ "$held" -ge 20000 ]; then ok many_are_held; else fail many_are_held "$held entries in conns"; fi
echo >&8
exec 8>&-
wait "$MANY"
wait_for 60 many_seen 20000 tcp.close || true
for want in tcp.connect:10000 tcp.accept:10000 tcp.close:20000; do
	check_counted "many_${want%:*}" "${want#*:}" "$(events_where ".event == \"${want%:*}\" and $ended" | wc -l)" \
		tcp_state tcp_destroy tcp_accept_exit tcp_accept4_exit tcp_accepted
done
check many_leave_no_entry wait_for 10 orphans_left
check_eq many_leave_no_memory "$memory_before" "$(memory)"
check_eq many_closed 0 "$("${IN_A[@]}" ss -tnH state established "sport = :$port" | wc -l)"

events_stop
check_nothing_lost
e2e_done
