#!/usr/bin/env bash
# What the README shows, as it stands there: on a host, a first bundle, subscribers in socat and in Python.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"
daemon_start

# ---- the programs by their names, against this daemon ----
mkdir "$E2E_TMP/path" "$E2E_TMP/work"
cat >"$E2E_TMP/path/sudo" <<'END'
#!/bin/sh
exec "$@"
END
cat >"$E2E_TMP/path/obspkg" <<END
#!/bin/sh
exec "$OBSPKG" "\$@"
END
cat >"$E2E_TMP/path/obsload" <<END
#!/bin/sh
exec "$OBSLOAD" --run-dir "$E2E_TMP/run" "\$@"
END
# It would wait for ever; jq then writes what it has.
cat >"$E2E_TMP/path/socat" <<END
#!/bin/sh
exec timeout 3 "$(command -v socat)" "\$@"
END
chmod 755 "$E2E_TMP"/path/*
PATH=$E2E_TMP/path:$PATH
ln -s "$E2E_ROOT/docs" "$E2E_TMP/work/docs"
cd "$E2E_TMP/work"

# block HEADING LANGUAGE: the code of that language below the heading, on this test's paths.
block() {
	awk -v heading="## $1" -v fence="\`\`\`$2" '
		/^## / { here = ($0 == heading) }
		here && $0 == fence { code = 1; next }
		/^```$/ { code = 0 }
		code' "$E2E_ROOT/README.md" |
		sed -e "s|/run/obsload|$E2E_TMP/run|" -e "s|/usr/local/share/obs|$BUILD|" -e '/systemctl/d'
}
without_events() { sed '/obsload events/d'; }
# run_block HEADING LANGUAGE: its commands, one after the other.
run_block() { block "$1" "$2" | without_events | bash -eux; }

traffic=$E2E_TMP/traffic.py
cat >"$traffic" <<'END'
import socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for _ in range(50):
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b"x" * 5000)
    client.close()
    while server.recv(65536):
        pass
    server.close()
END

check "commands for a host work" run_block "On a host" sh
check_eq "the network bundle runs" running "$(load list --json | jq -r '.bundles[] | select(.name == "obs/network").state')"
check_eq "the parameter is set" 10 \
	"$(load params --json obs/network | jq -r '.bundles[0].parameters[] | select(.name == "sample_every").value')"
check "sampling is turned off again" load set obs/network sample_every=1

# subscribe NAME COMMAND: reads events to $E2E_TMP/NAME while there is traffic.
subscribe() {
	timeout 5 bash -c "$2" >"$E2E_TMP/$1" 2>"$E2E_TMP/$1.err" &
	local reader=$!
	wait_for 5 subscribed
	unshare --net python3 "$traffic"
	wait_for 5 test -s "$E2E_TMP/$1" || true
	wait "$reader" || true
}
subscribed() { [ "$(load status --json | jq .daemon.subscribers)" -gt 0 ]; }

socat_line=$(block "Reading events" sh)
subscribe socat "$socat_line"
check "socat and jq show events" \
	jq -es 'length > 0 and all(.event | startswith("tcp.")) and any(.event == "tcp.close")' "$E2E_TMP/socat"

block "Reading events" python >"$E2E_TMP/subscriber.py"
check_eq "the subscriber in Python has ten lines" 10 "$(grep -c . "$E2E_TMP/subscriber.py")"
subscribe python "python3 -u '$E2E_TMP/subscriber.py'"
check "the subscriber in Python shows events" grep -qx "python3 127.0.0.1 5000" "$E2E_TMP/python"

# A connection from before the start, that no process holds any more.
sed "s|$E2E_TMP/run/events.sock|$E2E_TMP/old.sock|" "$E2E_TMP/subscriber.py" >"$E2E_TMP/old.py"
echo '{"event":"tcp.close","network":{"peer":{"address":"192.0.2.1"}},"tcp":{"sent_bytes":5000}}' |
	timeout 10 socat - "UNIX-LISTEN:$E2E_TMP/old.sock" >/dev/null &
wait_for 5 test -S "$E2E_TMP/old.sock"
check_eq "and those of no process" "None 192.0.2.1 5000" "$(python3 "$E2E_TMP/old.py" 2>&1)"

check "commands for a first bundle work" run_block "A first bundle" sh
events_line=$(block "A first bundle" sh | grep 'obsload events')
timeout 3 bash -c "$events_line" >"$E2E_TMP/hello" &
reader=$!
wait_for 3 subscribed
for _ in $(seq 5); do /bin/true; done
wait "$reader" || true
check "the first bundle's events are readable" grep -qE 'hello\.exec +true\[[0-9]+\]' "$E2E_TMP/hello"
# The job in CI: what follows its `- `, with a key behind a passphrase.
echo "a passphrase" >"$E2E_TMP/passphrase"
obspkg keygen --out "$E2E_TMP/ci" --passphrase-file "$E2E_TMP/passphrase" >/dev/null
cp "$E2E_TMP/ci/signer.pem" ci.pem
ln -s "$E2E_ROOT/docs/examples/hello" my-bundle
ci_job() {
	block "In CI" yaml | sed -n 's/^ *- \(build.bin.obspkg\)/\1/p' |
		sed -e "s|build/bin/obspkg|$OBSPKG|" -e "s|bundles/my-bundle|my-bundle|" |
		SIGNER_KEY=$E2E_TMP/ci/signer.key SIGNER_PASSPHRASE=$E2E_TMP/passphrase bash -eux
}
check "the job in CI builds, signs and verifies" ci_job
check "it made a signed bundle" tar tf my-bundle.tar --wildcards 'sig/*.p7s'

for bundle in demo/hello obs/network; do
	check "$bundle is removed" load remove "$bundle"
done
e2e_done
