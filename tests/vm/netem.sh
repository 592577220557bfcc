# shellcheck shell=sh
# Part of guest.sh: the numbers of obs/network, which is installed, against those of ss, nstat and tc on a wire that netem
# makes slow and lossy. Nothing is held against a clock: what is compared is equal by definition once the connections rest.
# Words: $A, $B and $python are several.
# shellcheck disable=SC2086

NETEM_PORT=7300
NETEM_RTT_MS=20
# Several segments a packet, so that counts of packets and of segments differ; few, so that enough packets are sent for some
# to be surely among the lost.
NETEM_GSO=4
A="nsenter --net=/run/netns/a" B="nsenter --net=/run/netns/b"

# Not busybox's.
ip() { /obs/tools/ip "$@"; }
tc() { /obs/tools/tc "$@"; }

netem_wire() {
	ip netns add a && ip netns add b && ip -n a link add veth0 type veth peer name veth0 netns b || return 1
	for side in a:1 b:2; do
		space=${side%:*} host=${side#*:}
		# Nothing but the connections' segments is on the wire: no discovery of neighbours.
		nsenter --net="/run/netns/$space" sysctl -qw net.ipv6.conf.veth0.disable_ipv6=1 || return 1
		ip -n "$space" addr add "10.78.0.$host/24" dev veth0 || return 1
		ip -n "$space" link set veth0 address "02:00:00:00:00:0$host" gso_max_segs "$NETEM_GSO" up || return 1
		ip -n "$space" neigh replace "10.78.0.$((3 - host))" lladdr "02:00:00:00:00:0$((3 - host))" nud permanent dev veth0 || return 1
	done
	netem_loses a 2 && netem_loses b 2
}
# netem_loses SPACE PERCENT
netem_loses() { tc -n "$1" qdisc replace dev veth0 root netem delay 10ms loss "$2%" limit 100000; }

# netem_ss SPACE: ports, payload sent and received, segments sent again and smoothed round trip (ms, six digits) of each
# connection, and what of the payload is acknowledged: the kernel counts the client's SYN too.
netem_ss() {
	nsenter --net="/run/netns/$1" /obs/tools/ss -tinHO "( sport = :$NETEM_PORT or dport = :$NETEM_PORT )" | awk -v port="$NETEM_PORT" '{
		delete n
		for (i = 6; i <= NF; i++) { split($i, part, ":"); n[part[1]] = part[2] }
		split($4, local, ":"); split($5, peer, ":"); split(n["retrans"], retrans, "/"); split(n["rtt"], rtt, "/")
		print local[2] ":" peer[2], n["bytes_sent"] - n["bytes_retrans"], n["bytes_received"] + 0, retrans[2] + 0,
			rtt[1], n["bytes_acked"] - (peer[2] == port)
	}' | sort
}
# netem_side SPACE: the condition of events of one end; a connects, b listens.
netem_side() {
	if [ "$1" = a ]; then side=peer; else side=local; fi
	echo ".network.$side.port == $NETEM_PORT and .network.$side.address == \"10.78.0.2\""
}
# netem_last EVENT SPACE: the same as netem_ss as the last event of each connection tells it.
netem_last() {
	jq -r -R "fromjson? | select(.event == \"$1\" and $(netem_side "$2")) | [\"\\(.network.local.port):\\(.network.peer.port)\",
		.tcp.sent_bytes, .tcp.received_bytes, .tcp.retransmits, .tcp.srtt_us] | join(\" \")" /tmp/events |
		awk '{$5 = sprintf("%g", $5 / 1000); last[$1] = $0} END {for (each in last) print last[each]}' | sort
}
# netem_sum EVENT SPACE NUMBER [CONDITION]
netem_sum() {
	jq -r -R "fromjson? | select(.event == \"$1\" and $(netem_side "$2") and (${4:-true})) | $3" /tmp/events |
		awk '{sum += $1} END {print sum + 0}'
}
netem_flow_agrees() { [ "$(cut -d' ' -f1-5 "/tmp/ss.$1")" = "$(netem_last tcp.flow "$1")" ]; }
netem_nstat() { nsenter --net="/run/netns/$1" /obs/tools/nstat -asz "$2" | awk -v name="$2" '$1 == name {print $2}'; }
netem_synacks_again() { [ "$(netem_nstat b TcpExtTCPSynRetrans)" -gt 0 ]; }
# Four connections at both ends, all that was sent is acknowledged: without keepalive nothing moves then.
netem_rests() {
	[ "$(cat /tmp/play.* | grep -c moved)" -eq 4 ] &&
		[ "$({ $A /obs/tools/ss -tnH; $B /obs/tools/ss -tnH; } | awk '$1 == "ESTAB" && $2 == 0 && $3 == 0' | wc -l)" -eq 8 ]
}
netem_closed() { [ "$(netem_last tcp.close a | wc -l)" -eq 4 ] && [ "$(netem_last tcp.close b | wc -l)" -eq 4 ]; }

netem_equal() {
	if [ "$2" = "$3" ]; then ok "netem: $1"; else fail "netem: $1" "expected '$2', got '$3'"; fi
}
# netem_counted NAME EXPECTED SEEN PROGRAM...: what was not seen is among the runs that the kernel says it skipped.
netem_counted() {
	name=$1 expected=$2 seen=$3
	shift 3
	missed=$(obsload status obs/network --json | jq --args '[.bundles[].programs[] | select(.name | IN($ARGS.positional[])) | .missed] | add' "$@")
	if [ "$seen" -lt "$expected" ] && [ $((seen + missed)) -ge "$expected" ]; then seen=$expected; fi
	netem_equal "$name" "$expected" "$seen"
}

netem() {
	check "netem: a wire" netem_wire
	obsload set obs/network flow_interval_ms=1000 >/dev/null
	python="/usr/bin/python3 -I -S /obs/tcp_play.py"
	$B $python serve 10.78.0.2 "$NETEM_PORT" >/tmp/serve 2>&1 &
	server=$!
	wait_for 20 grep -q ready /tmp/serve
	# The handshake is on that wire too: no SYN-ACK arrives until one was sent again.
	netem_loses b 100
	for bytes in "1500000 200000" "200000 1500000" "1000000 1000000" "17 300000"; do
		$A $python play 10.78.0.2 "$NETEM_PORT" $bytes fin /tmp/netem.end >"/tmp/play.${bytes% *}" 2>&1 &
	done
	if ! wait_for 20 netem_synacks_again; then fail "netem: SYN-ACK is lost" "$(cat /tmp/play.*)"; fi
	netem_loses b 2
	if ! wait_for 60 netem_rests; then fail "netem: connections rest" "$(cat /tmp/play.*; netem_ss a; netem_ss b)"; fi

	for space in a b; do netem_ss "$space" >"/tmp/ss.$space"; done
	netem_equal "ss tells the payload" "1000000 1000000 1000000,1500000 200000 1500000,17 300000 17,200000 1500000 200000" \
		"$(cut -d' ' -f2,3,6 /tmp/ss.a | sort | paste -sd,)"
	for space in a b; do
		# The next interval's are of connections at rest.
		wait_for 20 netem_flow_agrees "$space"
		netem_equal "tcp.flow tells what ss tells, $space" "$(cut -d' ' -f1-5 "/tmp/ss.$space")" "$(netem_last tcp.flow "$space")"
	done

	touch /tmp/netem.end
	if ! wait_for 60 netem_closed; then fail "netem: connections close" "$(netem_last tcp.close a; netem_last tcp.close b)"; fi
	for space in a b; do
		again=$(netem_nstat "$space" TcpRetransSegs)
		dropped=$(tc -n "$space" -s -j qdisc show dev veth0 | jq '.[0].drops')
		if [ "$again" -eq 0 ] || [ "$dropped" -eq 0 ]; then fail "netem: loses, $space" "$again sent again, $dropped dropped"; fi
		netem_equal "tcp.close tells the bytes of ss, $space" "$(cut -d' ' -f1-3 "/tmp/ss.$space")" "$(netem_last tcp.close "$space" | cut -d' ' -f1-3)"
		netem_equal "tcp.close tells the retransmits of nstat, $space" "$again" "$(netem_sum tcp.close "$space" .tcp.retransmits)"
		netem_counted "tcp.retransmit tells those of nstat, $space" "$again" "$(netem_sum tcp.retransmit "$space" .tcp.segments)" \
			tcp_retransmitted tcp_retransmitted_synack
		netem_equal "no round trip is below the wire's, $space" "" \
			"$({ netem_last tcp.flow "$space"; netem_last tcp.close "$space"; } | awk -v least="$NETEM_RTT_MS" '$5 < least')"
		if newer_than 5.17; then
			netem_counted "tcp.drop tells the drops of tc, $space" "$dropped" \
				"$(netem_sum tcp.drop "$space" 1 '.tcp.drop_reason == "qdisc_drop"')" tcp_dropped
		else
			echo "LACKS ${release:?} netem: tcp.drop, $space"
		fi
	done
	kill "$server"
	ip netns del a
	ip netns del b
}
