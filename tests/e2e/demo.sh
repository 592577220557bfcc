#!/usr/bin/env bash
# The demo, as a user runs it: it shows what it promises, and leaves nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

demo=$E2E_ROOT/tests/demo.sh
out=$E2E_TMP/out
# What a demo could leave beside programs, which `obsload remove` takes away (lifecycle.sh).
left() {
	find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'obs-demo.*'
	ip -brief link
	cut -d' ' -f5- /proc/self/mountinfo
}

left >"$E2E_TMP/before"
check "the demo ends well" bash -c "TERM=dumb bash '$demo' >'$out' 2>&1" || cat "$out"
shown() { check "$1" grep -qE "$2" "$out"; }
shown "an HTTP connection with its process" 'tcp\.connect +curl\[[0-9]+\] .* 127\.0\.0\.1:8080 .*handshake='
shown "its end with bytes" 'tcp\.close +curl\[[0-9]+\] .*received_bytes='
shown "a DNS lookup with its answer" 'dns\.lookup +dig\[[0-9]+\] .*question\.name=www\.demo\.example .*answers=192\.0\.2\.7'
shown "a refused connection with the reason" 'tcp\.connect_failed +curl\[[0-9]+\] .*error\.type=refused'
shown "the status of the daemon" '^obs/network .* running$'
shown "the end" '^Done\.$'
left >"$E2E_TMP/after"
check "the machine is as it was" diff "$E2E_TMP/before" "$E2E_TMP/after"

# A container has less: one sentence says what is missing.
without() {
	local name=$1 capabilities=$2 sentence=$3 status=0
	capsh --drop="$capabilities" -- -c "bash '$demo'" >"$out" 2>"$E2E_TMP/err" || status=$?
	check "$name: status" test "$status" -eq 1
	check "$name: told" grep -q "$sentence" "$E2E_TMP/err"
}
without "no namespaces" cap_sys_admin,cap_bpf,cap_perfmon 'demo: this container may not make namespaces'
check "in one line, and nothing else" test "$(cat "$out" "$E2E_TMP/err" | wc -l)" -eq 1
without "no BPF" cap_bpf,cap_perfmon 'this process does not have cap_bpf'
left >"$E2E_TMP/after"
check "nothing is left of these either" diff "$E2E_TMP/before" "$E2E_TMP/after"

e2e_done
