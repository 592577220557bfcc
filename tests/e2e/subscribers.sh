#!/usr/bin/env bash
# The event socket as strangers use it: stock tools, half-close, malformed requests, slow readers.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

sock=$E2E_TMP/run/events.sock
make_signer signer
"$OBSPKG" build "$E2E_ROOT/docs/examples/hello" -o "$E2E_TMP/hello.tar" --key "$E2E_TMP/signer/signer.key" \
	--cert "$E2E_TMP/signer/signer.pem" >/dev/null
daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names '*/*' >/dev/null
load install "$E2E_TMP/hello.tar" >/dev/null

# Starts /bin/true until the file has a line that the jq expression selects.
until_seen() {
	local file=$1 expression=$2
	for _ in $(seq 50); do
		/bin/true
		[ -n "$(jq -c "select($expression)" "$file" 2>/dev/null)" ] && return 0
		sleep 0.1
	done
	echo "nothing that is $expression in: $(head -c 2000 "$file")"
	return 1
}

# ask REQUEST: what the worker answers until it closes the connection.
ask() { timeout 10 socat -t 10 - "UNIX-CONNECT:$sock" <<<"$1"; }
code_of() { ask "$1" | jq -r .error.code; }

install_big() {
	"$OBSPKG" build "$E2E_TMP/big" -o "$E2E_TMP/big.tar" --key "$E2E_TMP/signer/signer.key" \
		--cert "$E2E_TMP/signer/signer.pem" && load install "$E2E_TMP/big.tar"
}

# ---- stock tools ----
echo '{"events":["hello.*"]}' | timeout 20 socat -t 20 - "UNIX-CONNECT:$sock" >"$E2E_TMP/socat" &
reader=$!
check "socat gets events after it has closed its sending side" until_seen "$E2E_TMP/socat" \
	'.event == "hello.exec" and .process.executable.name == "true"'
check "each event has the whole envelope" test "$(head -n 1 "$E2E_TMP/socat" |
	jq -r '[.time, .event, .bundle, .host, .seq] | map(. != null) | all')" = true
check "its time is now" test "$(head -n 1 "$E2E_TMP/socat" |
	jq -r '(.time[:19] + "Z" | fromdate) - now | fabs < 60')" = true
kill "$reader" 2>/dev/null || true
wait "$reader" 2>/dev/null || true

cat >"$E2E_TMP/ten.py" <<-'END'
	import json, socket, sys
	with socket.socket(socket.AF_UNIX) as s:
	    s.connect(sys.argv[1])
	    s.sendall(b'{"events": ["hello.*"], "where": [{"field": "process.executable.name", "op": "=", "value": "true"}]}\n')
	    for line in s.makefile(encoding="utf-8"):
	        event = json.loads(line)
	        print(json.dumps([event["event"], event["process"]["executable"]["name"]]), flush=True)
	        break
END
timeout 20 python3 "$E2E_TMP/ten.py" "$sock" >"$E2E_TMP/python" &
reader=$!
check "ten lines of Python get the event that they ask for" until_seen "$E2E_TMP/python" '. == ["hello.exec", "true"]'
wait "$reader" 2>/dev/null || true

# ---- last, sample ----
# A name of its own: others run `true` on this machine too, and the stream goes on after the last three.
cp /bin/true "$E2E_TMP/t.last"
for _ in 1 2 3 4 5; do "$E2E_TMP/t.last"; done
sleep 0.3
echo '{"last":3,"where":[{"field":"process.executable.name","op":"=","value":"t.last"}]}' |
	timeout 2 socat -t 2 - "UNIX-CONNECT:$sock" >"$E2E_TMP/last" || true
check_eq "last sends the newest matching ones" "3" "$(jq -r .process.executable.name "$E2E_TMP/last" | grep -c '^t.last$')"

echo '{"events":["hello.*"],"sample":10}' | timeout 20 socat -t 20 - "UNIX-CONNECT:$sock" >"$E2E_TMP/sample" &
reader=$!
check "a sampling subscriber is told what was left out" until_seen "$E2E_TMP/sample" \
	'.event == "obs.lost" and .source == "sampling" and .count > 0'
kill "$reader" 2>/dev/null || true
wait "$reader" 2>/dev/null || true

# ---- refusals ----
while IFS='|' read -r name request; do
	check_eq "$name is refused" request.invalid "$(code_of "$request")"
done <<-'LIST'
	empty line|
	broken JSON|{"events":
	array|[]
	unknown key|{"event":["tcp.*"]}
	key twice|{"last":1,"last":2}
	wrong type|{"sample":"ten"}
	text for a number|{"where":[{"field":"process.pid","op":"<","value":"1"}]}
LIST
check_eq "second line is refused" request.invalid "$(code_of $'{}\n{}')"
check_eq "escape sequences in a request do not come back raw" 0 "$(ask $'{"\033[31m":1}' | grep -c $'\033' || true)"
check_eq "more than 64 KiB are refused" request.too_large "$(head -c 70000 /dev/zero | tr '\0' ' ' |
	timeout 10 socat -t 10 - "UNIX-CONNECT:$sock" 2>/dev/null | jq -r .error.code)"
check_eq "half a request times out" request.timeout \
	"$( (printf '{'; sleep 7) | timeout 12 socat -t 1 - "UNIX-CONNECT:$sock" 2>/dev/null | jq -r .error.code)"

# ---- a slow reader loses its own, and only its own ----
# Lines of 8 KiB, so that a few hundred fill queue and socket.
mkdir "$E2E_TMP/big"
sed -e 's/hello.exec/big.exec/; s/256 \* 1024/1024 * 1024/; s/struct obs_process process;/& __u8 filler[4000];/' \
	"$E2E_ROOT/docs/examples/hello/hello.bpf.c" >"$E2E_TMP/big/big.bpf.c"
jq '.name = "demo/big"' "$E2E_ROOT/docs/examples/hello/bundle.json" >"$E2E_TMP/big/bundle.json"
check "a bundle with big events installs" install_big
cat >"$E2E_TMP/slow.py" <<-'END'
	import json, socket, sys, time
	s = socket.socket(socket.AF_UNIX)
	s.connect(sys.argv[1])
	s.sendall(sys.argv[2].encode() + b"\n")
	input()
	seen = lost = 0
	s.settimeout(3)
	rest = b""
	try:
	    while chunk := s.recv(1 << 20):
	        *lines, rest = (rest + chunk).split(b"\n")
	        for line in lines:
	            event = json.loads(line)
	            if event["event"] == "obs.lost":
	                lost += event["count"]
	            else:
	                seen += 1
	except TimeoutError:
	    pass
	print(seen, lost)
END
# Other programs of this machine start too: only the ones meant here.
request='{"events":["big.*"],"where":[{"field":"process.executable.name","op":"=","value":"true"}]}'
mkfifo "$E2E_TMP/go"
timeout 60 python3 "$E2E_TMP/slow.py" "$sock" "$request" <"$E2E_TMP/go" >"$E2E_TMP/slow" &
reader=$!
exec 9>"$E2E_TMP/go"
sleep 0.3
echo "$request" | timeout 60 socat -t 60 - "UNIX-CONNECT:$sock" >"$E2E_TMP/quick" &
quick=$!
sleep 0.2
python3 -c 'import os
for _ in range(600):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)'
sleep 0.5
echo go >&9
wait "$reader" || true
kill "$quick" 2>/dev/null || true
wait "$quick" 2>/dev/null || true
read -r seen lost <"$E2E_TMP/slow" || true
check "slow reader is told what it lost ($seen seen, $lost lost)" test "${lost:-0}" -gt 0
check "seen and lost make up everything" test "$((seen + lost))" -ge 600
check "quick reader beside it lost nothing" test "$(grep -c big.exec "$E2E_TMP/quick")" -ge 600
check_eq "quick reader was told of no loss" 0 "$(grep -c obs.lost "$E2E_TMP/quick" || true)"

daemon_stop
e2e_done
