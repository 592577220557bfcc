#!/usr/bin/env bash
# Bundles of earlier releases stay accepted for ever: tests/golden/*.tar verify, tell what they told, and run.
# daemon_start takes no words of this script:
# shellcheck disable=SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

bundle=$E2E_ROOT/tests/golden/hello.tar
trusted=("$E2E_ROOT"/tests/golden/hello.{p256,rsa,root}.pem)
name=demo/hello
# What is golden is these bytes.
check_eq "the golden bundle was not made again" c0501387ecae81e1e52c27a1b5789e36273bb0015a7ef71f91376f4c41e60a04 \
	"$(tar xOf "$bundle" manifest.json | sha256sum | cut -d' ' -f1)"

for pem in "${trusted[@]}"; do
	check "it verifies for who trusts ${pem##*/}" "$OBSPKG" verify --cert "$pem" "$bundle"
done
check "all its signers count" "$OBSPKG" verify --threshold 3 "${trusted[@]/#/--cert=}" "$bundle"
make_signer stranger
check_refused "nobody else's" signature.untrusted 11 "$OBSPKG" verify --cert "$E2E_TMP/stranger/signer.pem" "$bundle"
check_eq "inspect tells what it told" "$(jq -S . "${bundle%.tar}.json")" "$("$OBSPKG" inspect --json "$bundle" | jq -S .)"

daemon_start
for pem in "${trusted[@]}"; do
	check "a host trusts ${pem##*/}" load trust add "$pem" --names "$name"
done
check "it installs" load install "$bundle"
check_eq "it runs, and all its signers counted" '["running",3]' \
	"$(load list --json | jq -c '.bundles[0] | [.state, (.signers | length)]')"
timeout 20 "$OBSLOAD" events --run-dir "$E2E_TMP/run" --json --count 1 hello.exec \
	--where 'process.executable.name = "true"' >"$E2E_TMP/event" 2>&1 &
reader=$!
while kill -0 "$reader" 2>/dev/null; do
	/bin/true
	sleep 0.1
done
wait "$reader" || true
check_eq "its events arrive" "hello.exec $name" "$(jq -r '.event + " " + .bundle' "$E2E_TMP/event")"
check "it goes" load remove "$name"
e2e_done
