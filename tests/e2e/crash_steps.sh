#!/usr/bin/env bash
# The monitor killed at every system call of an install, an upgrade, a remove, a revocation, a parameter's and a trust change: the next
# start finds the old state or the new one, on the disk, on bpffs, in the kernel, on the interface.
#
# OBS_CRASH_ALL=1: at all calls, also those that change nothing. OBS_CRASH_STEPS: only these changes.
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"

crash_bundles
read -ra steps <<<"${OBS_CRASH_STEPS:-install trust_add trust_remove remove upgrade set revoke}"
python3 "$E2E_ROOT/tests/e2e/tools/crash_steps.py" "$([ -n "${OBS_CRASH_ALL:-}" ] && echo all || echo changes)" "${steps[@]}" || E2E_FAILED=1
e2e_done
