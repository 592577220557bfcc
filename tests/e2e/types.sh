#!/usr/bin/env bash
# Real programs in the real daemon: a known value of every kind of field, every kind of sampled map, every source of loss.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

make_signer signer
mkdir "$E2E_TMP/bin"
for letter in v c h b f t l; do
	cp /bin/true "$E2E_TMP/bin/t.$letter"
done
check "the author's bundle builds" "$OBSPKG" build "$E2E_ROOT/tests/e2e/bundles/types" -o "$E2E_TMP/types.tar" \
	--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem"
"$OBSPKG" inspect --json "$E2E_TMP/types.tar" | jq .manifest >"$E2E_TMP/manifest"

daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*' >/dev/null
load install "$E2E_TMP/types.tar" >"$E2E_TMP/install" 2>&1 || {
	fail "the bundle installs" "$(<"$E2E_TMP/install")"
	e2e_done
}
# The worker first reads the kernel's symbols, for the stack: who connects meanwhile is served after that.
events_start "$E2E_TMP/events" 'types.*'
served() { [ "$(load status --json | jq .daemon.subscribers)" = "$1" ]; }
wait_for 20 served 1 || fail "the reader is served" "$(load status --json)"
sleep 0.3

ask() { "$E2E_TMP/bin/t.$1"; }
# lines EVENT: all events of that name so far. seen COUNT EVENT: there are so many.
lines() { grep -F "\"event\":\"$1\"" "$E2E_TMP/events" || true; }
seen() { [ "$(lines "$2" | wc -l)" -ge "$1" ]; }
# fields EVENT: what follows the envelope, byte for byte: jq would round large numbers.
fields() { lines "$1" | sed 's/.*"seq":[0-9]*,//; s/}$//'; }
status() { load status test/types --json | jq -c ".bundles[0]$1"; }

# ---- every kind of value ----
ask v
wait_for 10 seen 2 types.tail || true
wait_for 5 seen 1 types.stack || true

# `at` is the header's time: the envelope shows the same.
check_eq "numbers, enums, bools, formats" \
	'"u64":18446744073709551615,"bytes_sent":9007199254740993,"s64":-9223372036854775808,"took_ns":1500000000,"took_us":7,"mask":"0xdeadbeef","at":TIME,"u32":4294967295,"s32":-2147483648,"named":"dark_blue","unnamed":77,"cold":"COLD","colder":-77,"u16":65535,"port":443,"s16":-32768,"u8":255,"byte_enum":"green","s8":-128,"yes":true,"no":false' \
	"$(fields types.numbers | sed 's/"at":"[^"]*"/"at":TIME/')"
check "time is RFC 3339, the envelope's, and now" test true = "$(lines types.numbers |
	jq '.at == .time and (.at | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{9}Z$")) and
		((.at[:19] + "Z" | fromdate) - now | fabs < 30)')"
nonchar=$'\xef\xbf\xbd'
check_eq "text and bytes" \
	'"full":"ABCDEFGH","stopped":"ab","empty":"","control":"\u0001\u0009\u000a\u000d\u0008\u000c\u007f\u001f.","c1":"\u009bx","invalid":"a'"$nonchar$nonchar($nonchar$nonchar"'","unicode":"ä€😀","quoted":"\"\\/<","terminal":{"title":"\u001b]0;pwn\u0007\u001b[31m"},"list":["one","four"],"text_bytes":"byte","raw":"dead00beef","raws":["010203","fdfeff"],"plain":[9,0,255],"used":3,"many":200,"part":"p\u0000r","cut":"102030","beyond":"aabb"' \
	"$(fields types.texts)"
check_eq "addresses" \
	'"v4":"192.0.2.255","v6":"2001:db8::1:0:0:2a","mapped":"10.1.2.3","any":"::","two":["127.0.0.1","8.8.4.4"],"mac":"02:42:ac:11:00:0f","number":"198.51.100.7"' \
	"$(fields types.addresses)"
check_eq "nested structs, arrays, lengths, what is left out" \
	'"tree":{"branch":{"length":12,"leaf":{"depth":3,"weight":4},"depth":5,"weight":6,"gone":7},"present":1},"used":2,"too_many":4000000000,"all":[1,0,4294967295],"some":[10,11],"clamped":[20,21],"below":[-1,-32768],"flags":[false,true,false],"colors":["red","green",99]' \
	"$(fields types.nested)"
check_eq "bit fields" \
	'"a":5,"b":85,"c":6844,"d":511,"e":-16,"f":-1,"g":32767,"h":737894400291,"i":16702650,"one":1,"wide":3074457345618258602,"last":1,"low":-4294967296,"high":1073741823,"color":"dark_blue","j":42,"k":true' \
	"$(fields types.bits)"
check_eq "bytes to the end of the record" $'"number":1,"data":"0a0b0c"\n"number":2,"data":""' "$(fields types.tail)"
# The tracepoint lies on the path of execve, below its system call. With kptr_restrict 2 nobody is told any address.
if [ "$(cat /proc/sys/kernel/kptr_restrict)" = 2 ]; then
	check "kernel stack as numbers" test true = "$(lines types.stack |
		jq '.stack | length > 3 and all(test("^0x[0-9a-f]+$"))')"
else
	check "kernel stack by symbol" test true = "$(lines types.stack |
		jq '.stack | length > 3 and all(test("^[A-Za-z_][A-Za-z0-9_.]*[+]0x[0-9a-f]+$|^0x[0-9a-f]+$")) and
			any(test("^__(x64|arm64)_sys_execve[+]0x"))')"
fi
check "every line is JSON" jq -es 'length > 7' "$E2E_TMP/events"

# ---- the manifest tells the same ----
described=$(jq -r '.events[] as $e | $e.fields[] | "\($e.name) \(.name)"' "$E2E_TMP/manifest" | sort -u)
shown=$(jq -r 'select(.event | startswith("types.")) | .event as $e | . as $all | paths(type != "object") |
	map(select(type == "string")) | join(".") | select(. | IN("time", "event", "bundle", "host", "seq") | not) | "\($e) \(.)"' \
	"$E2E_TMP/events" | grep -E '^types\.(numbers|texts|addresses|nested|bits|stack|tail) ' | sort -u)
check_eq "no field is shown that the manifest does not name" "" "$(comm -13 <(echo "$described") <(echo "$shown"))"
check_eq "only what is zero and may be left out is not shown" $'types.nested absent.a\ntypes.nested absent.b\ntypes.nested none\ntypes.nested tree.branch.leaf.gone' \
	"$(comm -23 <(echo "$described" | grep -E '^types\.(numbers|texts|addresses|nested|bits|stack|tail) ') <(echo "$shown"))"
# field EVENT NAME FILTER
field() { jq -c --arg e "$1" --arg f "$2" ".events[] | select(.name == \$e) | .fields[] | select(.name == \$f) | $3" "$E2E_TMP/manifest"; }
check_eq "manifest: kinds" '"uint" "int" "enum" "bool" "chars" "bytes"' \
	"$(for f in u64 s64 cold yes; do field types.numbers $f .kind; done | paste -sd' ') $(field types.texts full .kind) $(field types.addresses v4 .kind)"
check_eq "manifest: formats" '"ip" "mac" "port" "ns" "us" "bytes" "hex" "time" "kstack"' \
	"$( (field types.addresses v6 .format; field types.addresses mac .format
		for f in port took_ns took_us bytes_sent mask at; do field types.numbers $f .format; done
		field types.stack stack .format) | paste -sd' ')"
check_eq "manifest: bit field over a byte's border" '[16,3,7,2]' "$(field types.bits b '[.offset, .bit_offset, .bit_size, .size]')"
check_eq "manifest: array, its length, omit_zero" '[4,4,4,true]' \
	"$(jq -c '.events[] | select(.name == "types.nested") | .fields as $f | [($f[] | select(.name == "some") | .count, .stride, .size),
		($f[] | select(.name == "some") | $f[.length].name == "used")]' "$E2E_TMP/manifest")"
check_eq "manifest: enum of negative values" '{"COLD":-5,"WARM":5}' "$(jq -c '.enums[] | select(.name == "temperature") | .values' "$E2E_TMP/manifest")"
check_eq "manifest: sampled maps" 'counts lru_percpu_hash
flows hash
kept percpu_hash
latency percpu_array
levels array
linear array
networks lpm_trie
recent lru_hash
sums percpu_hash' "$(jq -r '(.objects[] | select(.arch == "x86_64") | .maps) as $m | .outputs[] | select(.kind == "sample") | .map as $n |
	"\($n) \($m[] | select(.name == $n) | .type)"' "$E2E_TMP/manifest" | LC_ALL=C sort)"
check "inspect shows events and fields to people" grep -q 'types.numbers' <("$OBSPKG" inspect "$E2E_TMP/types.tar")

# ---- sampled maps ----
cpus=0
for cpu in $(python3 -c 'import os; print(*os.sched_getaffinity(0))'); do
	taskset -c "$cpu" "$E2E_TMP/bin/t.c"
	cpus=$((cpus + 1))
done
wait_for 10 seen 6 types.flow || true
wait_for 5 seen 1 types.latency || true
check_eq "hash: keys and values are structs" \
	'"peer":{"address":"10.0.0.7","port":443},"color":"green","sent_bytes":9007199254740993,"balance":-7,"name":"curl"
"peer":{"address":"fd00::ffff:a00:7","port":443},"color":0,"sent_bytes":9007199254740993,"balance":-7,"name":"curl"' \
	"$(fields types.flow | sort -u)"
check "whole: it comes on every interval" seen 6 types.flow
check_eq "per-CPU hash: amounts add up, text is one CPU's" \
	"\"id\":18446744073709551615,\"total\":$((5 * cpus)),\"balance\":$((-3 * cpus)),\"name\":\"cpu\"" "$(fields types.sum | tail -n 1)"
check_eq "cleared: all samples together are what was counted" "$cpus 65535" \
	"$(sleep 0.5; lines types.count | jq -rs '"\(map(.count) | add) \(map(.id) | unique | map(tostring) | join(" "))"')"
check_eq "log2 histogram over CPUs" "\"latency\":{\"buckets\":[{\"le\":1,\"count\":$cpus},{\"le\":3,\"count\":0},{\"le\":7,\"count\":0},{\"le\":15,\"count\":$((10 * cpus))},$(
	for i in 4 5 6 7 8 9 10 11 12 13 14; do printf '{"le":%d,"count":0},' $(((2 << i) - 1)); done
){\"le\":65535,\"count\":$((2 * cpus))}],\"count\":$((13 * cpus))}" "$(fields types.latency | tail -n 1)"
check_eq "cleared entries are gone" 0 "$(before=$(lines types.count | wc -l); sleep 0.5; echo $(($(lines types.count | wc -l) - before)))"

ask h
wait_for 5 seen 1 types.linear || true
wait_for 5 seen 1 types.recent || true
sleep 0.5
check_eq "changed: once, however often it is read" '"id":4294967295,"count":1' "$(fields types.recent)"
check_eq "changed: of an array only what is not zero" '"slot":2,"level":-32768' "$(fields types.level)"
check_eq "trie: networks within networks" \
	$'"prefix":{"bits":12,"address":"10.16.0.0"},"count":2\n"prefix":{"bits":8,"address":"10.0.0.0"},"count":1' \
	"$(fields types.network | sort)"
check_eq "linear histogram" '"level":{"buckets":[{"le":-6,"count":1},{"le":-1,"count":0},{"le":4,"count":4},{"le":9,"count":0},{"le":14,"count":0},{"le":19,"count":0},{"le":24,"count":0},{"le":29,"count":2}],"count":7}' \
	"$(fields types.linear)"
ask h
wait_for 5 seen 2 types.recent || true
wait_for 5 seen 2 types.linear || true
sleep 0.3
check_eq "changed: the next change too" $'"id":4294967295,"count":1\n"id":4294967295,"count":2' "$(fields types.recent)"
check_eq "an unchanged array entry does not come again" 1 "$(lines types.level | wc -l)"
check_eq "a cleared histogram starts from zero" 1 "$(fields types.linear | sort -u | wc -l)"

# Entries of the map within a second: 2 entries every 200 ms, 100 ms, an hour.
rate() {
	local before
	before=$(lines types.flow | wc -l)
	sleep 1
	echo $(($(lines types.flow | wc -l) - before))
}
interval() { status '.outputs[] | select(.map == "flows") | .interval_ms'; }
check_eq "interval as the author wrote it" 200 "$(interval)"
load set test/types sample_ms=100 >/dev/null
sleep 0.3
now=$(rate)
check "a shorter interval takes effect ($now in a second)" test "$now" -ge 12
check_eq "status shows it" 100 "$(interval)"
load set test/types sample_ms=3600000 >/dev/null
sleep 0.3
check_eq "a longer one too" 0 "$(rate)"
load set test/types sample_ms=100 >/dev/null
sleep 0.3
now=$(rate)
check "and back, without waiting for the hour to end ($now in a second)" test "$now" -ge 12
load set test/types sample_ms=3600000 >/dev/null

# ---- a parameter of 4096 bytes ----
offsets=$(printf -- '-128,%.0s' {1..4096})
offsets=${offsets%,}
check "a long parameter is set" test "$offsets" = "$(load set test/types "offsets=$offsets" --json | jq -r .value)"
check "and shown whole" test "$offsets" = \
	"$(load params test/types --json | jq -r '.bundles[0].parameters[] | select(.name == "offsets") | .value')"
check "and what it was" test "$offsets" = "$(load set test/types offsets=-1 --json | jq -r .previous)"
check "the audit log has all of it" test "offsets=-1, was $offsets" = "$(load audit --last 1 --json | jq -r '.entries[0].detail')"

check_eq "all names that a parameter may have are shown" 16 \
	"$(load params test/types | grep -o 'a_word_that_makes_this_list_of_words_long_[01][0-9]' | sort -u | wc -l)"

# ---- loss ----
# told SOURCE: the sum of what the stream told of it. all_told SOURCE COUNT
told() { jq -s --arg s "$1" 'map(select(.event == "obs.lost" and .bundle == "test/types" and .source == $s) | .count) | add // 0' "$E2E_TMP/events"; }
all_told() { [ "$(told "$1")" -ge "$2" ]; }
# What the kernel skips is up to this machine: missed.sh has a program of its own for that.
check_eq "nothing was lost so far" '{"ring":0,"map":0,"parser":0,"subscriber":0,"sampling":0,"table":0}' "$(status '.lost | del(.missed)')"

# A worker that is quick enough would leave room.
worker=$(load status --json | jq .daemon.worker_pid)
kill -STOP "$worker"
ask b
kill -CONT "$worker"
burst_whole() { [ $(($(lines types.burst | wc -l) + $(told ring))) -eq 200 ]; }
check "ring full: delivered and lost are what was sent" wait_for 10 burst_whole
check "ring full: some were lost" test "$(told ring)" -gt 0
check_eq "ring full: status tells the same" "$(told ring)" "$(status .lost.ring)"

ask l
for pair in map:6 parser:6 table:2 sampling:5; do
	wait_for 10 all_told "${pair%:*}" "${pair#*:}" || true
	check_eq "loss of source ${pair%:*}" "${pair#*:}" "$(told "${pair%:*}")"
	check_eq "loss of source ${pair%:*} in status" "${pair#*:}" "$(status ".lost.${pair%:*}")"
done

# reader FILE REQUEST: asks, waits for a line on its input, reads until it is quiet; writes what it saw and lost by source.
cat >"$E2E_TMP/reader.py" <<-'END'
	import collections, json, socket, sys
	s = socket.socket(socket.AF_UNIX)
	s.connect(sys.argv[1])
	s.sendall(sys.argv[2].encode() + b"\n")
	input()
	count, rest = collections.Counter(), b""
	s.settimeout(3)
	try:
	    while chunk := s.recv(1 << 20):
	        *lines, rest = (rest + chunk).split(b"\n")
	        for line in lines:
	            event = json.loads(line)
	            if event["event"] == "obs.lost":
	                count[event["source"]] += event["count"]
	            else:
	                count["seen"] += 1
	except TimeoutError:
	    pass
	print(count["seen"], count["subscriber"], count["sampling"])
END
# read_late LETTER REQUEST: the counts of a reader that reads only after the events were sent.
read_late() {
	local reader
	rm -f "$E2E_TMP/go"
	mkfifo "$E2E_TMP/go"
	timeout 60 python3 "$E2E_TMP/reader.py" "$E2E_TMP/run/events.sock" "$2" <"$E2E_TMP/go" >"$E2E_TMP/read" &
	reader=$!
	exec 9>"$E2E_TMP/go"
	wait_for 10 served 2 || true
	sleep 0.3
	ask "$1"
	sleep 1
	echo go >&9
	exec 9>&-
	wait "$reader" || true
	wait_for 10 served 1 || true
	cat "$E2E_TMP/read"
}
read -r got slow sampled <<<"$(read_late f '{"events":["flood.record"]}')"
check "slow subscriber: it lost some ($got seen, $slow lost)" test "${slow:-0}" -gt 0
check_eq "slow subscriber: delivered and lost are what was sent" 600 "$((got + slow))"
check_eq "slow subscriber: status tells the same" "$slow" "$(status .lost.subscriber)"
read -r got slow sampled <<<"$(read_late t '{"events":["tick.one"],"sample":10}')"
check_eq "sampling subscriber: one of ten, and the others told" "10 0 90" "$got $slow $sampled"
check_eq "sampling subscriber: status tells all sampling" 95 "$(status .lost.sampling)"
check_eq "no other reader was told of it" "0 5" "$(told subscriber) $(told sampling)"

events_stop
check "remove" load remove test/types
daemon_stop
check_eq "the log tells no crash" "" "$(grep -E 'Sanitizer|runtime error|by signal' "$E2E_TMP/daemon.log" || true)"
e2e_done
