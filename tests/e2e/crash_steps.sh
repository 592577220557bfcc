#!/usr/bin/env bash
# The monitor killed at every system call of an install, an upgrade, a remove, a revocation, a parameter's and a trust change: the next
# start finds the old state or the new one, on the disk, on bpffs, in the kernel, on the interface.
#
# OBS_CRASH_CALLS: which calls (all), as tools/kill_at.c has them. OBS_CRASH_STEPS: only these changes.
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
crash_lanes "$0" "install trust_add trust_remove set" upgrade "remove revoke"
e2e_init "$@"

crash_bundles
crash_in_memory
read -ra steps <<<"$OBS_CRASH_STEPS"
python3 "$E2E_ROOT/tests/e2e/tools/crash_steps.py" "${OBS_CRASH_CALLS:-all}" "${steps[@]}" || E2E_FAILED=1
e2e_done
