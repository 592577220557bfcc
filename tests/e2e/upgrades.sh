#!/usr/bin/env bash
# Upgrades in a row leave no program, map, pin, descriptor or memory behind, and tell each event once.
#
# OBS_UPGRADES: how many, an even number (20).
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"

crash_bundles
flow_bundles
reported python3 "$E2E_ROOT/tests/e2e/tools/upgrades.py" "${OBS_UPGRADES:-20}"
e2e_done
