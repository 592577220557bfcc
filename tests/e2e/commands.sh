#!/usr/bin/env bash
# Every command of obsload against the daemon, readable and as JSON, and what each refuses.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

# ---- a bundle with a parameter; every exec is an event ----
mkdir "$E2E_TMP/def"
cat >"$E2E_TMP/def/bundle.json" <<'END'
{"schema": 1, "name": "test/exec", "version": "1.2.3", "serial": 5, "description": "Every exec.", "licence": "GPL-2.0-only"}
END
cat >"$E2E_TMP/def/exec.bpf.c" <<'END'
#include <obs/obs.h>

OBS_PARAM(__u32, sample_every, 1, 1, 1000, "One of so many.");

struct exec {
	struct obs_header header;
	struct obs_process process;
	__u64 every OBS_AS("exec.every");
} OBS_EVENT(exec, 1, "exec.start");
OBS_RING(events, 256 * 1024);

SEC("tp_btf/sched_process_exec")
int on_exec(void *ctx)
{
	struct exec *e = obs_reserve(&events, struct exec, 1);

	if (!e)
		return 0;
	obs_process_fill(&e->process);
	e->every = sample_every;
	obs_submit(&events, e);
	return 0;
}
OBS_LICENSE("GPL");
END
"$OBSPKG" build "$E2E_TMP/def" -o "$E2E_TMP/exec.tar" >/dev/null
cp "$E2E_TMP/exec.tar" "$E2E_TMP/unsigned.tar"
make_signer signer
cert=$E2E_TMP/signer/signer.pem
"$OBSPKG" sign --key "$E2E_TMP/signer/signer.key" --cert "$cert" "$E2E_TMP/exec.tar" >/dev/null

subscribed() { [ "$(load status --json | jq .daemon.subscribers)" -gt 0 ]; }
lacks() { ! grep -qF -- "$1" "$2"; }
shows() { grep -qE -- "$1" <<<"$2"; }
# check_shows NAME PATTERN COMMAND...: it succeeds and its output has a line that matches.
check_shows() {
	local name=$1 pattern=$2 out
	shift 2
	if out=$("$@" 2>&1) && shows "$pattern" "$out"; then ok "$name"; else fail "$name" "no /$pattern/ in: $out"; fi
}
# check_json NAME FILTER COMMAND...: it succeeds and the filter holds for its output, which is one JSON text.
check_json() {
	local name=$1 filter=$2 out
	shift 2
	if out=$("$@" 2>"$E2E_TMP/err") && jq -es "length == 1 and (.[0] | $filter)" >/dev/null <<<"$out"; then
		ok "$name"
	else
		fail "$name" "not $filter in: $out $(cat "$E2E_TMP/err")"
	fi
}

# ---- without a daemon ----
mkdir "$E2E_TMP/run"
check_refused "without a daemon commands say so" daemon.absent 4 load list
check_refused "without a daemon events says so" daemon.absent 4 load events
check_eq "an error is JSON with --json" daemon.absent "$(load list --json 2>&1 >/dev/null | jq -r .error.code)"
rmdir "$E2E_TMP/run"
check_refused "an unknown command is refused" usage 2 "$OBSLOAD" lst
check_refused "a missing word is refused" usage 2 load install
check_refused "an option of another command is refused" usage 2 load list --where a=1
check_refused "options before run reach the daemon" usage 2 "$OBSLOAD" --run-dir not/absolute run
check_refused "output that cannot be written is told" system.io 3 bash -c "'$OBSLOAD' --help >/dev/full"

daemon_start

# ---- empty ----
check_shows "list says that there is nothing" "^no bundle is installed$" load list
check_json "list --json is an empty array" '.bundles == []' load list --json
check_shows "status shows the daemon" "^obsload [0-9.]+, pid [0-9]+, up .*, worker [0-9]+" load status
check_json "status --json shows the daemon" '.daemon.pid > 0 and .daemon.worker_pid > 0' load status --json
check_shows "trust list says that nobody is trusted" "^no signer is trusted" load trust list
check_json "trust list --json is an empty array" '.signers == []' load trust list --json
check_shows "params says that there is nothing" "^no bundle is installed$" load params

# ---- refusals change nothing ----
check_refused "install of an untrusted signer is refused" signature.untrusted 11 load install "$E2E_TMP/exec.tar"
check_refused "verify of an unsigned bundle is refused" signature.missing 11 load verify "$E2E_TMP/unsigned.tar"
check_refused "install of a folder is refused" system.io 3 load install "$E2E_TMP"
check_refused "install of no file is refused" system.io 3 load install "$E2E_TMP/none.tar"
check_refused "install of something else is refused" archive.truncated 10 load install /dev/null
check_refused "remove of an unknown bundle is refused" bundle.unknown 19 load remove test/exec
check_refused "status of an unknown bundle is refused" bundle.unknown 19 load status test/exec
check_refused "set of an unknown bundle is refused" bundle.unknown 19 load set test/exec sample_every=2
check_refused "trust of something else is refused" certificate.malformed 11 load trust add "$E2E_TMP/exec.tar"
check_refused "trust remove of an unknown signer is refused" trust.unknown 21 load trust remove 00000000
check_json "nothing was installed" '.bundles == []' load list --json

# ---- trust, verify, install ----
check_shows "trust add tells whom" "^trusted .*signer.* for the names test/\*$" load trust add "$cert" --names 'test/*'
check_shows "trust list shows the signer" "test/\*.*signer" load trust list
check_json "trust list --json shows the signer" '.signers | length == 1 and (.[0].signer | length == 64)' load trust list --json
check_refused "trust add twice is refused" trust.exists 21 load trust add "$cert" --names 'test/*'
check_shows "verify tells what it would run" "^verified test/exec 1.2.3 \(serial 5" load verify "$E2E_TMP/exec.tar"
check_json "verify --json" '.action == "verified" and .programs[0].state == "loaded"' load verify --json "$E2E_TMP/exec.tar"
check_json "verify installed nothing" '.bundles == []' load list --json
check_shows "install tells what runs" "^installed test/exec 1.2.3 \(serial 5" load install "$E2E_TMP/exec.tar"
check_shows "install shows the program" "on_exec .*attached" load install - <"$E2E_TMP/exec.tar"
piped() { dd if="$E2E_TMP/exec.tar" status=none | load install --json -; }
check_json "install takes a pipe" '.action == "already installed"' piped

# ---- list, status ----
check_shows "list shows the bundle" "^test/exec +1.2.3 +5 +running +1/1 " load list
check_json "list --json shows the bundle" \
	'.bundles[0] | .name == "test/exec" and .serial == 5 and .state == "running" and .attached == 1' load list --json
check_shows "status shows the program" "on_exec +tp_btf +sched_process_exec +attached" load status test/exec
check_shows "status shows losses" "^  lost nothing$" load status
check_json "status --json shows programs and outputs" \
	'.bundles[0] | .programs[0].name == "on_exec" and (.outputs | map(.map) | index("events") != null)' \
	load status --json test/exec

# ---- parameters ----
check_shows "params shows the parameter" "sample_every +1 +1 .*1 to 1000.*One of so many" load params test/exec
check_json "params --json shows the parameter" '.bundles[0].parameters[0] | .name == "sample_every" and .default == "1"' \
	load params --json
check_shows "set tells old and new" 'test/exec sample_every: "1" is now "7"' load set test/exec sample_every=7
check_json "set --json" '.previous == "7" and .value == "8"' load set --json test/exec sample_every=8
check_refused "set out of range is refused" parameter.value 20 load set test/exec sample_every=0
check_refused "set of no parameter is refused" parameter.unknown 20 load set test/exec nothing=1
check_refused "set without a value is refused" usage 2 load set test/exec sample_every
check_shows "status shows the value" "sample_every=8" load status

# ---- events ----
# collect FILE ARG...: runs `true` until the reader, which has a --count, has ended.
collect() {
	local file=$1 reader status=0
	shift
	"$OBSLOAD" events --run-dir "$E2E_TMP/run" "$@" >"$file" 2>"$file.err" &
	reader=$!
	for _ in $(seq 100); do
		/bin/true
		kill -0 "$reader" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$reader" 2>/dev/null || true
	wait "$reader" || status=$?
	return "$status"
}
named='process.executable.name = "true"'
check "events --json ends after --count" collect "$E2E_TMP/json" --json --count 3 'exec.*' --where "$named"
check_eq "events --json passes lines through" "exec.start exec.start exec.start" \
	"$(jq -r 'select(.process.executable.name == "true" and .bundle == "test/exec" and .exec.every == 8) | .event' \
		"$E2E_TMP/json" | xargs)"
check "events is readable" collect "$E2E_TMP/text" --count 1 --where "$named" --bundle 'test/*'
check "events shows time, name, process, fields" \
	grep -qE '^[0-9:]{8}\.[0-9]{3}  exec\.start +true\[[0-9]+\] .*every=8' "$E2E_TMP/text"
check "events in a pipe has no colour" lacks "$(printf '\033')" "$E2E_TMP/text"
check_shows "events --last starts with what was" '"exec.start"' timeout 10 "$OBSLOAD" events --run-dir "$E2E_TMP/run" --json --last 2 --count 1 --where "$named"
check "events --sample takes one of so many" collect "$E2E_TMP/sampled" --json --count 2 --sample 3 --where "$named"
# No event can be of this bundle: the reader must still be there when it is told to end.
quiet() { timeout --preserve-status -s INT 1 "$OBSLOAD" events --run-dir "$E2E_TMP/run" --bundle none/none; }
check "events ends cleanly on Ctrl-C" quiet
hung_up() {
	local reader
	(trap '' HUP; exec "$OBSLOAD" events --run-dir "$E2E_TMP/run" --bundle none/none) &
	reader=$!
	wait_for 5 subscribed || return 1
	kill -HUP "$reader"
	sleep 0.5
	kill -0 "$reader" && kill -TERM "$reader" && wait "$reader"
}
check "events stays under nohup when the terminal goes" hung_up
piped_status() {
	(load events --bundle none/none; echo "$?" >"$E2E_TMP/status") | head -n 0
	wait_for 5 test -s "$E2E_TMP/status" && cat "$E2E_TMP/status"
}
check_eq "events ends cleanly when its reader goes" 0 "$(piped_status)"
check_refused "events with a bad condition is refused" usage 2 load events --where 'no condition'
check_refused "events tells the worker's refusal" request.invalid 5 load events "$(printf '%01100d' 0)"

# ---- untrusted text ----
evil=$(printf 'e\033[31m\007')
cp /bin/true "$E2E_TMP/$evil"
(
	for _ in $(seq 50); do
		"$E2E_TMP/$evil"
		sleep 0.1
	done
) &
noise=$!
timeout 10 script -qec "TERM=xterm '$OBSLOAD' events --run-dir '$E2E_TMP/run' --count 1 --where 'process.executable.name ~ e*31m*'" \
	/dev/null >"$E2E_TMP/evil" </dev/null || true
kill "$noise" 2>/dev/null || true
wait "$noise" 2>/dev/null || true
check "escape sequence in a process name is shown harmless on a terminal" grep -qF 'e\x1b[31m\x07[' "$E2E_TMP/evil"
check "escape sequence in a process name does not reach a terminal" lacks "$(printf 'e\033[31m')" "$E2E_TMP/evil"
check "bell in a process name does not reach a terminal" lacks "$(printf '\007')" "$E2E_TMP/evil"
check "events on a terminal is coloured" grep -q "$(printf '\033\\[')" "$E2E_TMP/evil"

# The same in the name that somebody looks up.
cp "$BUILD/bundles/network.tar" "$E2E_TMP/network.tar"
"$OBSPKG" sign --key "$E2E_TMP/signer/signer.key" --cert "$cert" "$E2E_TMP/network.tar" >/dev/null
load trust add "$cert" --names 'obs/*' >/dev/null
check "the network bundle is installed beside" load install "$E2E_TMP/network.tar"
cat >"$E2E_TMP/lookup.py" <<'END'
import socket, struct, subprocess, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server, client = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
name = b"\x0aevil\x1b[31m\x07\x07example\x00"
for number in range(30):
    client.sendto(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1", ("127.0.0.1", 53))
    query, peer = server.recvfrom(512)
    server.sendto(query[:2] + b"\x81\x83" + query[4:], peer)
    client.recv(512)
    time.sleep(0.1)
END
timeout 10 script -qec "TERM=xterm '$OBSLOAD' events --run-dir '$E2E_TMP/run' --count 1 --where 'dns.question.name ~ evil*'" \
	/dev/null >"$E2E_TMP/lookup" </dev/null &
reader=$!
unshare --net python3 "$E2E_TMP/lookup.py"
wait "$reader" || true
check "escape sequence in a DNS name is shown harmless on a terminal" grep -qE 'question.name=.*evil\\(027|x1b)\[31m' "$E2E_TMP/lookup"
check "escape sequence in a DNS name does not reach a terminal" lacks "$(printf 'evil\033')" "$E2E_TMP/lookup"
check "bell in a DNS name does not reach a terminal" lacks "$(printf '\007')" "$E2E_TMP/lookup"
check "the network bundle is removed again" load remove obs/network

# ---- who may ask ----
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$OBSLOAD" "$@" --run-dir "$E2E_TMP/run"; }
check_refused "control is denied to others" daemon.denied 4 as_nobody list
check_refused "events are denied to others" daemon.denied 4 as_nobody events

# ---- audit ----
check_shows "audit shows a refusal with its code" "install +refused .*signature.untrusted" load audit
check_shows "audit shows who" "set +done +test/exec .*uid 0" load audit
check_json "audit --json --last 1" '.entries | length == 1' load audit --json --last 1
check_refused "audit shows no more than 10000" usage 2 load audit --last 10001

# ---- remove ----
check_shows "remove tells what is gone" "^removed test/exec \(serial 5\)$" load remove test/exec
check_json "list is empty again" '.bundles == []' load list --json
sed -i 's/"serial": 5/"serial": 4/' "$E2E_TMP/def/bundle.json"
"$OBSPKG" build "$E2E_TMP/def" -o "$E2E_TMP/old.tar" >/dev/null
"$OBSPKG" sign --key "$E2E_TMP/signer/signer.key" --cert "$cert" "$E2E_TMP/old.tar" >/dev/null
check_refused "an older serial is refused" serial.downgrade 15 load install "$E2E_TMP/old.tar"
check_json "with --allow-downgrade it is installed" '.action == "installed" and .serial == 4' \
	load install --json --allow-downgrade "$E2E_TMP/old.tar"
check_json "remove --json" '.name == "test/exec" and .serial == 4' load remove --json test/exec
signer=$(load trust list --json | jq -r '.signers[0].signer[:12]')
check_shows "trust remove takes a prefix" "^no longer trusted: .*$signer" load trust remove "$signer"
check_json "trust list is empty again" '.signers == []' load trust list --json

# ---- the end ----
"$OBSLOAD" events --run-dir "$E2E_TMP/run" 2>"$E2E_TMP/end" &
reader=$!
wait_for 5 subscribed
daemon_stop
status=0
wait "$reader" || status=$?
check_eq "events tells that the daemon ended" "4 1" "$status $(grep -cF '[daemon.failed]' "$E2E_TMP/end")"
e2e_done
