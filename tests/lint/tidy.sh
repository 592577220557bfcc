#!/usr/bin/env bash
# clang-tidy on some files, without its counts of suppressed warnings.
#
#	tests/lint/tidy.sh COUNT FLAG... FILE...		COUNT flags of the compiler come first
set -euo pipefail
count=$1
shift
exec clang-tidy --quiet "${@:count+1}" -- -std=gnu11 "${@:1:count}" 2>/dev/null
