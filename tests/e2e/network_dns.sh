#!/usr/bin/env bash
# DNS lookups against the query log of a resolver: over UDP and TCP, IPv4 and IPv6, answered or not.
. "$(dirname "$0")/network_lib.sh"
e2e_init "$@"
namespaces_make
background "$E2E_TMP/dnsmasq" "${IN_B[@]}" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --log-queries \
	--log-facility="$E2E_TMP/queries" --listen-address=10.77.0.2 --listen-address=fd77::2 --bind-interfaces --user=root \
	--pid-file= --address=/test.obs/192.0.2.7 --address=/none.obs/
wait_for 5 "${IN_B[@]}" sh -c 'ss -ulnH sport = :53 | grep -q .'
network_install
param dns_timeout_ms=1000

ask() {
	"${IN_A[@]}" python3 "$TOOLS/dns_ask.py" "$@" >"$E2E_TMP/answers" 2>&1 &
	ASKER=$!
	wait "$ASKER" || true
}
names() { for i in $(seq "$2"); do printf '%s%s.test.obs ' "$1" "$i"; done; }
lookup() { printf '.event == "dns.lookup" and (.dns.question.name | startswith("%s"))' "$1"; }
asked() { events_where "$(lookup "$1")" | jq -r .dns.question.name | sort; }
logged() { sed -nE 's/.* query\[[A-Z]+\] ([^ ]+) from .*/\1/p' "$E2E_TMP/queries" | grep "^$1" | sort; }

for mode in connected sendto tcp tcp-split tcp-pipelined; do
	for server in 10.77.0.2 fd77::2; do
		prefix=$mode${server:0:2}x
		count=20
		# shellcheck disable=SC2046
		ask "$mode" "$server" $(names "$prefix" "$count")
		wait_for 5 seen "$count" "$(lookup "$prefix")" || true
		check_eq "names_$mode-$server" "$(logged "$prefix")" "$(asked "$prefix")"
		check_eq "count_$mode-$server" "$count" "$(asked "$prefix" | wc -l)"
		transport=udp
		[ "${mode#tcp}" = "$mode" ] || transport=tcp
		check_field "fields_$mode-$server" "$ASKER python3 $transport $server 53 A NOERROR 192.0.2.7 true client" "$(lookup "$prefix")" \
			'"\(.process.pid) \(.process.executable.name) \(.network.transport) \(.network.peer.address) \(.network.peer.port) \(.dns.question.type) \(.dns.response_code) \(.dns.answers | join(",")) \(.dns.lookup.duration_ns > 0) \(.dns.role)"'
	done
done

# The C library asks for A and AAAA at once, with sendmmsg.
mkdir -p "$E2E_TMP/resolv"
echo 'nameserver 10.77.0.2' >"$E2E_TMP/resolv/resolv.conf"
# shellcheck disable=SC2016
"${IN_A[@]}" unshare -m sh -c 'mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && getent ahosts libc.test.obs' sh "$E2E_TMP/resolv/resolv.conf" \
	>"$E2E_TMP/getent" 2>&1 || true
check_seen libc_lookup 2 "$(lookup libc.test)"
check_eq libc_types 'A AAAA' "$(events_where "$(lookup libc.test)" | jq -r .dns.question.type | sort | paste -sd ' ')"
check_field libc_process getent "$(lookup libc.test)" .process.executable.name

ask connected 10.77.0.2 nothere.none.obs
check_field nxdomain NXDOMAIN "$(lookup nothere)" .dns.response_code

# Never answered, at a resolver that is not there.
"${IN_B[@]}" ip addr add 10.77.0.3/24 dev veth0
background "$E2E_TMP/deaf" "${IN_B[@]}" python3 -c 'import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.77.0.3", 53)); time.sleep(60)'
wait_for 5 "${IN_B[@]}" sh -c 'ss -ulnH src 10.77.0.3:53 | grep -q .'
ask ignored 10.77.0.3 unanswered.test.obs
check_field unanswered "$ASKER timeout true" "$(lookup unanswered)" \
	'"\(.process.pid) \(.error.type) \(.dns.lookup.duration_ns >= 1e9)"'

# A name with a control sequence in it stays data.
ask connected 10.77.0.2 $'bad\e[31m.test.obs'
wait_for 5 seen 1 "$(lookup bad)" || true
check_eq hostile_name_is_seen 1 "$(events_where "$(lookup bad)" | wc -l)"
check_eq hostile_name_is_escaped 0 "$(grep -c $'\e' "$EVENTS" || true)"

# The answering side, when asked for.
param dns_servers=true
ask connected 10.77.0.2 both.test.obs
check_seen server_side 2 "$(lookup both)"
check_field server_side_process dnsmasq "$(lookup both) and .dns.role == \"server\"" .process.executable.name
ask tcp 10.77.0.2 stream.test.obs
check_seen server_side_tcp 2 "$(lookup stream)"
check_field server_side_tcp_process dnsmasq "$(lookup stream) and .dns.role == \"server\"" .process.executable.name
# A server may ask another from its own port.
ask own-port 10.77.0.2 own1.test.obs
check_eq own_port_both_sides 'client server' "$(wait_for 5 seen 2 "$(lookup own1)"; events_where "$(lookup own1)" | jq -r .dns.role | sort | paste -sd ' ')"
param dns_servers=false
ask own-port 10.77.0.2 own2.test.obs
check_field own_port_asking_side client "$(lookup own2)" .dns.role

param dns=false
ask connected 10.77.0.2 off.test.obs
param dns=true
ask connected 10.77.0.2 on.test.obs
check_seen dns_on 1 "$(lookup on.)"
check_eq dns_off 0 "$(events_where "$(lookup off.)" | wc -l)"
events_stop
check_nothing_lost
e2e_done
