#!/usr/bin/env bash
# Runs a program under valgrind, with everything that it starts; any error or leak makes it fail with status 99.
#
#	tests/valgrind.sh PROGRAM [ARGUMENT...]
#
# Reports go to standard error: the only descriptor that a process without privileges keeps. VALGRIND_OPTIONS adds options.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
kinds=definite,indirect,possible skip='/bin/*,/usr/bin/*,/sbin/*,/usr/sbin/*'
options=(--error-exitcode=99 --leak-check=full --show-leak-kinds="$kinds" --errors-for-leak-kinds="$kinds"
	--num-callers=30 --vgdb=no --trace-children=yes --trace-children-skip="$skip" --suppressions="$here/valgrind.supp")
# shellcheck disable=SC2206
options+=(${VALGRIND_OPTIONS:-})
exec valgrind "${options[@]}" "$@"
