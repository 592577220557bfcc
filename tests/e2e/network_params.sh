#!/usr/bin/env bash
# Every parameter of the network bundle takes effect at once and without a reload.
. "$(dirname "$0")/network_lib.sh"
e2e_init "$@"
namespaces_make
background "$E2E_TMP/serve" "${IN_B[@]}" python3 "$TOOLS/tcp_play.py" serve :: 7000
SERVER=$STARTED
wait_for 5 grep -q ready "$E2E_TMP/serve"
network_install

declare -A DEFAULT=([pid_include]='' [pid_exclude]='' [comm]='' [cgroup_include]='' [cgroup_exclude]='' [port_include]=''
	[port_exclude]='' [cidr_include]='' [cidr_exclude]='' [sample_every]=1 [tcp_events]=true)

of_play() { printf '(.event == "tcp.connect" or .event == "tcp.close") and .network.local.port == %s and .network.peer.port == 7000' "$1"; }

# expect NAME COUNT PARAM VALUE: of one connection, the client's connect and close events. The ring keeps its order: once the
# connection after it is there, what is missing was left out.
expect() {
	local port
	param "$3=$4"
	play 10.77.0.2 7000 100 100
	port=$PLAY_PORT
	# The socket's last change of state follows the process's end.
	wait_for 5 "${IN_A[@]}" sh -c "! ss -tnH state established state fin-wait-1 sport = :$port | grep -q ." || true
	param "$3=${DEFAULT[$3]}"
	play 10.77.0.2 7000 100 100
	wait_for 5 seen 2 "$(of_play "$PLAY_PORT")" || fail "$1" "no events after the parameter was taken back"
	check_eq "$1" "$2" "$(events_where "$(of_play "$port")" | wc -l)"
}

expect unlimited 2 sample_every 1
expect port_include_other 0 port_include 7001,7002
expect port_include_this 2 port_include 7001,7000
expect port_exclude_this 0 port_exclude 7001,7000
expect port_exclude_other 2 port_exclude 7001
expect cidr_include_other 0 cidr_include 10.78.0.0/16,fd77::/64
expect cidr_include_this 2 cidr_include 10.78.0.0/16,10.77.0.0/24
expect cidr_include_host 2 cidr_include 10.77.0.2
expect cidr_exclude_this 0 cidr_exclude 10.64.0.0/10
expect cidr_exclude_other 2 cidr_exclude 10.77.0.128/25,::/1
expect comm_other 0 comm python
expect comm_this 2 comm python3
expect pid_include_other 0 pid_include "$SERVER"
expect pid_exclude_other 2 pid_exclude "$SERVER"
expect cgroup_include_other 0 cgroup_include 18446744073709551615
CGROUP=$(events_where "$(of_play "$PLAY_PORT")" | jq -r .process.cgroup.id | head -n 1)
expect cgroup_include_this 2 cgroup_include "$CGROUP"
expect cgroup_exclude_this 0 cgroup_exclude "$CGROUP"
expect cgroup_exclude_other 2 cgroup_exclude 18446744073709551615
expect tcp_events_off 0 tcp_events false

# pid_include of a process that is to start: a shell says who it is, and becomes the client.
# shellcheck disable=SC2016
"${IN_A[@]}" sh -c 'echo $$ >"$1/pid"; while [ ! -e "$1/go" ]; do sleep 0.05; done
	exec python3 "$2" play 10.77.0.2 7000 100 100' sh "$E2E_TMP" "$TOOLS/tcp_play.py" >"$E2E_TMP/chosen" &
CHOSEN=$!
wait_for 5 test -s "$E2E_TMP/pid"
param "pid_include=$(cat "$E2E_TMP/pid")"
play 10.77.0.2 7000 100 100
OTHER=$PLAY_PORT
touch "$E2E_TMP/go"
wait "$CHOSEN"
check_seen pid_include_this 2 "$(of_play "$(head -n 1 "$E2E_TMP/chosen")")"
check_eq pid_include_leaves_others_out 0 "$(events_where "$(of_play "$OTHER")" | wc -l)"
param pid_include=
param "pid_exclude=$SERVER"
play 10.77.0.2 7000 100 100
check_seen pid_exclude_keeps_the_client 2 "$(of_play "$PLAY_PORT")"
check_eq pid_exclude_this 0 "$(events_where ".network.local.port == 7000 and .network.peer.port == $PLAY_PORT" | wc -l)"
param pid_exclude=

# A connection that a filter left out is found when it is wanted again.
param "pid_include=$SERVER"
"${IN_A[@]}" python3 "$TOOLS/tcp_play.py" play 10.77.0.2 7000 100 100 fin "$E2E_TMP/end" >"$E2E_TMP/late" &
LATE=$!
wait_for 5 grep -q moved "$E2E_TMP/late"
param pid_include=
touch "$E2E_TMP/end"
wait "$LATE"
late=".event == \"tcp.close\" and .network.local.port == $(head -n 1 "$E2E_TMP/late")"
check_field left_out_and_wanted_again "$LATE 100 100" "$late" '"\(.process.pid) \(.tcp.sent_bytes) \(.tcp.received_bytes)"'

# Resets too, of connections that nothing is kept of.
resets() { printf '.event == "tcp.reset" and .network.local.port == 7000 and .network.peer.port == %s' "$1"; }
param "pid_exclude=$SERVER"
play 10.77.0.2 7000 100 100 rst
EXCLUDED=$PLAY_PORT
param pid_exclude=
play 10.77.0.2 7000 100 100 rst
check_seen reset_of_a_process_that_is_wanted 1 "$(resets "$PLAY_PORT")"
check_eq reset_of_a_process_that_is_excluded 0 "$(events_where "$(resets "$EXCLUDED")" | wc -l)"

# Of a million sockets one; that it is one of these few is not to be feared.
param sample_every=1000000
play 10.77.0.2 7000 100 100 rst
SAMPLED=$PLAY_PORT
attempt 203.0.113.1 7010
param sample_every=1
play 10.77.0.2 7000 100 100 rst
attempt 203.0.113.1 7011
failures() { printf '.event == "tcp.connect_failed" and .network.peer.port == %s' "$1"; }
check_seen reset_without_sampling 1 "$(resets "$PLAY_PORT")"
check_seen failure_without_sampling 1 "$(failures 7011)"
check_eq reset_sampled_out 0 "$(events_where "$(resets "$SAMPLED")" | wc -l)"
check_eq failure_sampled_out 0 "$(events_where "$(failures 7010)" | wc -l)"

# One of two sockets, each wholly or not at all; what is left out is told.
param sample_every=2
for _ in $(seq 16); do
	play 10.77.0.2 7000 100 100
	echo "$PLAY_PORT" >>"$E2E_TMP/sampled"
done
param sample_every=1
play 10.77.0.2 7000 100 100
wait_for 5 seen 2 "$(of_play "$PLAY_PORT")" || true
whole=0 none=0
while read -r port; do
	case $(events_where "$(of_play "$port")" | wc -l) in
	2) whole=$((whole + 1)) ;;
	0) none=$((none + 1)) ;;
	esac
done <"$E2E_TMP/sampled"
check_eq sample_every_whole_or_none 16 $((whole + none))
if [ "$none" -ge 1 ] && [ "$whole" -ge 1 ]; then
	ok sample_every_some
else
	fail sample_every_some "$whole of 16 connections seen, $none not"
fi
wait_for 5 seen 1 '.event == "obs.lost" and .source == "sampling"' || true
check_eq sample_every_is_told true "$(events_where '.event == "obs.lost"' | jq -s 'any(.[]; tostring | contains("sampling"))')"
e2e_done
