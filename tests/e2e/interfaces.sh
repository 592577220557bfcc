#!/usr/bin/env bash
# Interfaces that come and go while bundles run: in network namespaces of the test's own, with traffic of known number.
# Functions are called by check:
# shellcheck disable=SC2317,SC2119
[ -n "${INTERFACES_INSIDE:-}" ] || INTERFACES_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

PORT=4242
PEER=obs-i-$$
mkdir "$E2E_TMP/src"
cat >"$E2E_TMP/src/count.bpf.c" <<'END'
#include <obs/obs.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 slot)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &slot);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* IPv4 without options, UDP, port 4242. */
static __always_inline int ours(const __u8 *p)
{
	return p[12] == 8 && p[13] == 0 && p[23] == 17 && p[36] == 4242 >> 8 && p[37] == (4242 & 255);
}

#ifdef NAMED
#define ON OBS_ATTACH("interface=named")
#else
#define ON
#endif

ON SEC("xdp") int e2e_xdp(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data;

	if (data + 38 <= (const __u8 *)(long)ctx->data_end && ours(data))
		count(0);
	return XDP_PASS;
}

#ifndef XDP_ONLY
ON SEC("tc") int e2e_tc(struct __sk_buff *skb)
{
	__u8 bytes[38];

	if (bpf_skb_load_bytes(skb, 0, bytes, sizeof(bytes)) == 0 && ours(bytes))
		count(1);
	return TC_ACT_UNSPEC;
}

ON SEC("socket") int e2e_socket(struct __sk_buff *skb)
{
	__u8 bytes[38];

	/* 4: PACKET_OUTGOING */
	if (skb->pkt_type != 4 && bpf_skb_load_bytes(skb, 0, bytes, sizeof(bytes)) == 0 && ours(bytes))
		count(2);
	return 0;
}
#endif
OBS_LICENSE("GPL");
END

# bundle NAME SERIAL [NAMED|XDP_ONLY]: a signed bundle in $E2E_TMP/NAME-SERIAL.tar.
bundle() {
	rm -rf "$E2E_TMP/def"
	mkdir "$E2E_TMP/def"
	{
		[ -z "${3:-}" ] || echo "#define $3"
		cat "$E2E_TMP/src/count.bpf.c"
	} >"$E2E_TMP/def/count.bpf.c"
	printf '{"schema": 1, "name": "test/%s", "version": "%s.0", "serial": %s, "description": "Counts.", "licence": "GPL-2.0-only"}' \
		"$1" "$2" "$2" >"$E2E_TMP/def/bundle.json"
	"$OBSPKG" build "$E2E_TMP/def" -o "$E2E_TMP/$1-$2.tar" --key "$E2E_TMP/signer/signer.key" \
		--cert "$E2E_TMP/signer/signer.pem" >/dev/null
}

# counted NAME SERIAL SLOT
pins() { printf '%s' "$E2E_TMP/bpf/obsload/test/$1/$2"; }
counted_in() { bpftool map lookup pinned "$1" key "$2" 0 0 0 -j | jq '.formatted.value // (.value | to_entries | map((.value | ltrimstr("0x") | explode | map(if . > 96 then . - 87 else . - 48 end) | .[0] * 16 + .[1]) * pow(256; .key)) | add)'; }
counted() { counted_in "$(pins "$1" "$2")/maps/count:counts" "$3"; }

in_peer() { nsenter --net="/run/netns/$PEER" "$@"; }
# interface NAME INDEX: a veth with 10.78.0.1, whose other end is 10.78.0.2 in the peer's namespace.
interface() {
	ip link add "$1" index "$2" type veth peer name far netns "$PEER"
	ip addr add 10.78.0.1/24 dev "$1"
	ip link set "$1" up
	in_peer ip addr add 10.78.0.2/24 dev far
	in_peer ip link set far up
	# Known to each other, so that no packet waits for an address.
	in_peer ip neigh replace 10.78.0.1 lladdr "$(ip -j link show "$1" | jq -r '.[0].address')" dev far
}
# send COUNT [PAUSE]: UDP packets from the peer.
send() {
	in_peer python3 - "$1" "${2:-0}" "$PORT" <<'END'
import socket, sys, time
count, pause, port = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(count):
    s.sendto(b"x", ("10.78.0.1", port))
    if pause:
        time.sleep(pause)
END
}
xdp_on() { bpftool net -j | jq -e --arg n "$1" '.[0].xdp[] | select(.devname == $n)' >/dev/null; }
tc_on() { bpftool net -j | jq -e --arg n "$1" '.[0].tc[] | select(.devname == $n)' >/dev/null; }
covered() { xdp_on "$1" && tc_on "$1"; }
links_pinned() { find "$(pins "$1" "$2")/links" "$(pins "$1" "$2")/tc" -type f | wc -l; }
has_pinned() { [ "$(links_pinned "$1" "$2")" -eq "$3" ]; }
reason_of() { load status --json | jq -r --arg p "$1" '.bundles[].programs[] | select(.name == $p) | .reason'; }
told() { reason_of "$1" | grep -qF "$2"; }
untold() { [ -z "$(reason_of "$1")" ]; }
pid_of() { load status --json | jq -r ".daemon.$1"; }
other_pid() { local now; now=$(pid_of "$1") && [ "$now" -gt 0 ] && [ "$now" != "$2" ]; }
left_in_kernel() { bpftool prog show -j | jq -r '.[].name // empty' | grep -c '^e2e_\(xdp\|tc\|socket\)' || true; }
nothing_left() { [ "$(left_in_kernel)" -eq "$1" ]; }

ip link set lo up
ip netns add "$PEER"
at_exit "ip netns del $PEER"
before_all=$(left_in_kernel)
make_signer signer
bundle all 1
daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*' >/dev/null

# ---- one that comes later ----
check install load install "$E2E_TMP/all-1.tar"
check_eq install_is_on_loopback "lo lo" "$(bpftool net -j | jq -r '[.[0].xdp[].devname, .[0].tc[].devname] | join(" ")')"
check_eq install_pins 2 "$(links_pinned all 1)"
interface late 300
check late_interface_covered wait_for 10 covered late
send 100
check_eq late_interface_xdp_counts 100 "$(counted all 1 0)"
check_eq late_interface_tc_counts 100 "$(counted all 1 1)"
check_eq late_interface_socket_counts 100 "$(counted all 1 2)"
check_eq late_interface_pinned 4 "$(links_pinned all 1)"

# ---- restarts ----
id=$(bpftool net -j | jq -r '.[0].xdp[] | select(.devname == "late") | .id')
monitor=$(pid_of pid)
kill -9 "$monitor"
check monitor_restarted wait_for 10 other_pid pid "$monitor"
check killed_keeps_late_interface covered late
check_eq killed_keeps_program "$id" "$(bpftool net -j | jq -r '.[0].xdp[] | select(.devname == "late") | .id')"
send 50
check_eq killed_counts_on 150 "$(counted all 1 0)"
daemon_stop
ip tuntap add stays mode tap
ip link set stays up
ip link del late
interface late2 301
daemon_start
check start_finds_new_interface wait_for 10 covered late2
check start_pins_those_that_are has_pinned all 1 6 # lo, stays, late2
check_eq start_drops_old_interface "" "$(find "$E2E_TMP/bpf/obsload" -name '*:300:*' -o -name 300)"
send 10
check_eq start_counts_new_interface 160 "$(counted all 1 0)"
ip link del late2

# ---- the same index, another device ----
interface first 302
check first_covered wait_for 10 covered first
# At once: the daemon may see both as one change.
ip link del first
interface second 302
check second_covered wait_for 10 covered second
send 40
check_eq second_counts 200 "$(counted all 1 0)"
check_eq second_counts_tc 200 "$(counted all 1 1)"
ip link del second
check interface_gone_no_pin_stale wait_for 10 has_pinned all 1 4
check_eq interface_gone_no_note_stale "" "$(find "$E2E_TMP/bpf/obsload/+clsact" -name 302)"

# ---- refusal ----
cat >"$E2E_TMP/other.c" <<'END'
__attribute__((section("xdp"), used)) int other(void *ctx)
{
	return 2;
}
END
clang -target bpf -O2 -g -c -o "$E2E_TMP/other.o" "$E2E_TMP/other.c"
ip link add taken index 303 type veth peer name far netns "$PEER"
ip link set taken xdpgeneric obj "$E2E_TMP/other.o" sec xdp
ip link set taken up
check refusal_in_status wait_for 10 told e2e_xdp "not on taken: xdp on interface taken, which has another XDP program"
check refusal_harms_no_other wait_for 10 tc_on taken
check refusal_logged grep -q 'taken.*another XDP program' "$E2E_TMP/daemon.log"
ip link del taken
check refusal_forgotten wait_for 10 untold e2e_xdp

# ---- many at once ----
for i in $(seq 100); do
	ip tuntap add "many$i" mode tap
	ip link set "many$i" up
done
check many_covered wait_for 20 has_pinned all 1 204
for i in $(seq 100); do ip link del "many$i"; done
check many_gone wait_for 20 has_pinned all 1 4

# ---- remove ----
check remove load remove test/all
check remove_no_program_left wait_for 10 nothing_left "$before_all"
check_eq remove_no_pin "" "$(find "$E2E_TMP/bpf/obsload" -mindepth 1)"
check_eq remove_nothing_attached '[[],[]]' "$(bpftool net -j | jq -c '[.[0].xdp, .[0].tc]')"
check_eq remove_no_qdisc "" "$(tc qdisc show | grep clsact || true)"

# ---- one interface, by its name ----
bundle named 1 NAMED
check_refused named_absent_refused kernel.attach 17 load install "$E2E_TMP/named-1.tar"
interface named 304
check named_install load install "$E2E_TMP/named-1.tar"
send 10
ip link del named
for program in e2e_xdp e2e_tc e2e_socket; do
	check "named_${program}_waits" wait_for 10 told "$program" "waits for named to be up"
done
check_eq named_state running "$(load list --json | jq -r '.bundles[].state')"
interface named 305
check named_covered wait_for 10 covered named
for program in e2e_xdp e2e_tc e2e_socket; do
	check "named_${program}_waits_no_more" wait_for 10 untold "$program"
done
send 10
check_eq named_counts "20 20 20" "$(counted named 1 0) $(counted named 1 1) $(counted named 1 2)"
# As after a boot: nothing is pinned, and the interface comes later than the daemon.
daemon_stop
ip link del named
rm -r "$E2E_TMP/bpf/obsload/test"
daemon_start
check_eq named_boot_state running "$(load list --json | jq -r '.bundles[].state')"
check named_boot_waits told e2e_socket "waits for named to be up"
interface named 306
check named_boot_covered wait_for 10 covered named
check named_boot_socket wait_for 10 untold e2e_socket
send 10
check_eq named_boot_counts "10 10 10" "$(counted named 1 0) $(counted named 1 1) $(counted named 1 2)"
ip link del named
check named_remove load remove test/named
check named_no_program_left wait_for 10 nothing_left "$before_all"
check_eq named_no_pin "" "$(find "$E2E_TMP/bpf/obsload" -mindepth 1)"

# ---- an upgrade while packets come in ----
for serial in 1 2 3; do bundle up "$serial" XDP_ONLY; done
interface busy 310
ip tuntap add quiet mode tap
ip link set quiet up
check up_install load install "$E2E_TMP/up-1.tar"
link_of() { bpftool link show -j | jq -r --arg n "$1" '.[] | select(.type == "xdp" and .devname == $n) | .id'; }
program_of() { bpftool net -j | jq -r --arg n "$1" '.[0].xdp[] | select(.devname == $n) | .id'; }
hold() { bpftool map pin pinned "$(pins up "$1")/maps/count:counts" "$E2E_TMP/bpf/held$1"; }
link=$(link_of busy) old=$(program_of busy)
hold 1
send 4000 0.0005 &
sender=$!
counts_some() { [ "$(counted_in "$1" 0)" -gt 0 ]; }
check up_old_counts wait_for 10 counts_some "$E2E_TMP/bpf/held1"
check up_upgrade load install "$E2E_TMP/up-2.tar"
check_eq up_upgraded_in_the_link "$link" "$(link_of busy)"
check up_other_program test "$old" != "$(program_of busy)"
hold 2
check up_new_counts wait_for 10 counts_some "$E2E_TMP/bpf/held2"
wait "$sender"
check_eq up_each_packet_counted_once 4000 "$(($(counted_in "$E2E_TMP/bpf/held1" 0) + $(counted_in "$E2E_TMP/bpf/held2" 0)))"
check_eq up_pins_of_new_only 2 "$(ls "$E2E_TMP/bpf/obsload/test/up")"

# ---- one that fails at its last step, after the programs were swapped ----
before=$(counted up 2 0) old=$(program_of busy)
mv "$E2E_TMP/state/state.json" "$E2E_TMP/state.json"
mkdir "$E2E_TMP/state/state.json"
check_refused up_failure_told state.io 18 load install "$E2E_TMP/up-3.tar"
rmdir "$E2E_TMP/state/state.json"
mv "$E2E_TMP/state.json" "$E2E_TMP/state/state.json"
check_eq up_failure_keeps_link "$link" "$(link_of busy)"
check_eq up_failure_keeps_program "$old" "$(program_of busy)"
send 100
check_eq up_failure_old_counts "$((before + 100))" "$(counted up 2 0)"
check_eq up_failure_leaves_no_pin 2 "$(ls "$E2E_TMP/bpf/obsload/test/up")"

# ---- killed during upgrades: old or new, on every interface ----
one_of_both() {
	local serial programs
	serial=$(load list --json | jq -r '.bundles[] | select(.name == "test/up") | .serial')
	programs=$(bpftool net -j | jq -r '[.[0].xdp[].id] | unique | length')
	[ "$(ls "$E2E_TMP/bpf/obsload/test/up")" = "$serial" ] && [ "$programs" -eq 1 ] && [ "$(link_of busy)" = "$link" ]
}
for serial in $(seq 4 13); do
	bundle up "$serial" XDP_ONLY
		load install "$E2E_TMP/up-$serial.tar" >/dev/null 2>&1 &
	asker=$!
	# At another moment each time: an upgrade takes some 50 to 100 ms.
	sleep "$(printf '0.%03d' $((serial * 10 - 30)))"
	kill -9 "$E2E_DAEMON"
	wait "$E2E_DAEMON" "$asker" 2>/dev/null || true
	daemon_start
	check "up_killed_leaves_one_$serial" wait_for 10 one_of_both
	at=$(load list --json | jq -r '.bundles[] | select(.name == "test/up") | .serial')
	from=$(counted up "$at" 0)
	send 20
	check_eq "up_killed_counts_$serial" "$((from + 20))" "$(counted up "$at" 0)"
done
rm "$E2E_TMP"/bpf/held*
check up_remove load remove test/up
check up_no_program_left wait_for 10 nothing_left "$before_all"
check_eq up_no_pin "" "$(find "$E2E_TMP/bpf/obsload" -mindepth 1)"
check_eq log_tells_no_crash "" "$(grep -E 'Sanitizer|runtime error|by signal' "$E2E_TMP/daemon.log" | grep -v 'signal 9' || true)"
e2e_done
