# shellcheck shell=sh
# Runs inside the virtual machine (tests/vm/run.sh), as busybox sh: the path of a user on this kernel.
# Placeholder lines are not tests: every line printed as ok was seen to hold here.

failed=0
ok() { echo "ok $(uname -r) $1"; }
fail() {
	echo "FAIL $(uname -r) $1: $2"
	failed=1
}
check() {
	name=$1
	shift
	if out=$("$@" 2>&1); then ok "$name"; else fail "$name" "'$*' ended with $?: $out"; fi
}
check "boots" true
exit "$failed"
