#!/usr/bin/env bash
# The manuals list every error code below its exit status, and no other: bundles/base/err_codes.h is what holds. Statuses
# from 30 on are obspkg's own. Prints what differs.
#
#	tests/lint/codes.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

# "status code" of each code in the section on exit statuses of a manual.
listed() {
	awk '/^\.Sh / { here = ($0 == ".Sh EXIT STATUS") }
		here && /^\.It [0-9]+$/ { status = $2 }
		here && /^\.It Li / { print status, $3 }' "$1" | sort
}

codes=$(sed -n 's/^[[:space:]]*X([A-Z0-9_]*, "\([a-z_.]*\)", \([0-9]*\),.*/\2 \1/p' bundles/base/err_codes.h)
[ -n "$codes" ] || { echo "no code in bundles/base/err_codes.h" >&2; exit 1; }
diff -u --label err_codes.h --label obsload.8 <(awk '$1 < 30' <<<"$codes" | sort) <(listed docs/man/obsload.8)
diff -u --label err_codes.h --label obspkg.1 <(awk '$1 >= 30' <<<"$codes" | sort) <(listed docs/man/obspkg.1)
