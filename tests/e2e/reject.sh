#!/usr/bin/env bash
# Hostile bundles before a real daemon: each file of tests/reject is refused with the code in its name and the status of
# that code, is audited, and leaves the host as it was; and so does a file that changes while it is installed.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"
cd "$E2E_ROOT"

bad=$E2E_TMP/bad
mkdir "$bad"
"$BUILD/tests/bin/reject" write "$bad" || {
	fail setup "the bundles cannot be written"
	e2e_done
}
mv "$bad/etc" "$E2E_TMP/etc"
daemon_start
check "the good one installs" load install "$bad/good-6.tar"

# refuse_all FOLDER: see tools/refuse.py.
refuse_all() {
	local line
	while read -r line; do
		case $line in
		"ok "*) ok "${line#ok }" ;;
		*)
			line=${line#FAIL }
			fail "${line%%: *}" "${line#*: }"
			;;
		esac
	done < <(python3 tests/e2e/tools/refuse.py "$OBSLOAD" "$E2E_TMP/run" "$E2E_TMP/state" "$E2E_TMP/bpf" "$E2E_TMP/etc" \
		bundles/base/err_codes.h "$1" 2>&1)
}
refuse_all "$bad"
for file in "$bad"/ok~*.tar; do
	check "at the limit, and accepted: $(basename "$file" .tar)" load verify "$file"
done
truncate -s 1T "$bad/sparse"
check_refused "a file with a hole of a terabyte" archive.too_large 10 load install "$bad/sparse"
check_refused "standard input without end" archive.too_large 10 load install - </dev/zero

# ---- a file that changes while it is installed ----
# The command hands over sealed memory. With the monitor stopped, that has not been read yet; with the supervisor stopped, it
# has been, and the monitor waits for somebody to take it apart.
file=$E2E_TMP/changing.tar
serial() { load list --json | jq -r '.bundles[] | select(.name == "obs/test") | .serial'; }
stored() { sha256sum <"$E2E_TMP/state/bundles/obs/test/$(serial).tar"; }
copied() { find "/proc/$1/fd" -lname '*obsload-input*' | grep -q . && ! find "/proc/$1/fd" -lname "$file" | grep -q .; }
stopped() { grep -q '^State:.*[tT] (stopped)' "/proc/$1/status"; }
has_read() { find "/proc/$monitor/fd" -lname '*obsload-bundle*' | grep -q .; }
monitor=$(load status --json | jq -r .daemon.pid)

overwrite() { cat "$bad/capability.refused~sends_signals.tar" >"$file"; }
truncate_it() { truncate -s 3000 "$file"; }
append() { printf x >>"$file"; }
swap() {
	cp "$bad/capability.refused~sends_signals.tar" "$file.new"
	mv "$file.new" "$file"
}
unlink_it() { rm "$file"; }

# install_while PID READY BUNDLE CHANGE: the status of an install of BUNDLE; meanwhile PID is stopped, and when READY, CHANGE.
install_while() {
	local status=0 client
	cp "$bad/$3" "$file"
	kill -STOP "$1"
	wait_for 20 stopped "$1" || echo "not stopped"
	"$OBSLOAD" install --run-dir "$E2E_TMP/run" "$file" >"$E2E_TMP/out" 2>&1 &
	client=$!
	wait_for 20 "$2" "$client" || echo "not $2"
	"$4"
	kill -CONT "$1"
	wait "$client" || status=$?
	echo "$status $(grep -oE '\[[a-z_]+\.[a-z_]+\]' "$E2E_TMP/out" | head -n 1)"
}

next=7
for change in overwrite swap; do
	check_eq "$change after it is handed over: it counts no more" "0 " "$(install_while "$monitor" copied good-$next.tar $change)"
	check_eq "$change after it is handed over: what was read is stored" "$next $(sha256sum <"$bad/good-$next.tar")" "$(serial) $(stored)"
	next=$((next + 1))
done
for change in truncate_it append unlink_it; do
	check_eq "$change after it is read: it counts no more" "0 " "$(install_while "$E2E_DAEMON" has_read good-$next.tar $change)"
	check_eq "$change after it is read: what was read is stored" "$next $(sha256sum <"$bad/good-$next.tar")" "$(serial) $(stored)"
	next=$((next + 1))
done

# Through a pipe, slowly, with its path taken by another file in between: refused for its serial, so it was read to its end.
mkfifo "$E2E_TMP/fifo"
load install "$E2E_TMP/fifo" >"$E2E_TMP/out" 2>&1 &
client=$!
exec 3>"$E2E_TMP/fifo"
head -c 2000 "$bad/good-9.tar" >&3
cp "$bad/good-$next.tar" "$E2E_TMP/other.tar"
mv "$E2E_TMP/other.tar" "$E2E_TMP/fifo"
tail -c +2001 "$bad/good-9.tar" >&3
exec 3>&-
status=0
wait "$client" || status=$?
check_eq "a slow pipe is read to its end, whatever takes its path" "15 serial.downgrade" \
	"$status $(grep -o 'serial\.downgrade' "$E2E_TMP/out")"
check_eq "and changes nothing" "11 $(sha256sum <"$bad/good-11.tar")" "$(serial) $(stored)"
cut() { head -c 2000 "$bad/good-$next.tar" | load install -; }
check_refused "a pipe that ends early" archive.truncated 10 cut
check "the audit log's chain holds" load audit --last 1

# ---- a kernel that holds another map than was asked for ----
# No bundle can bring that about that passes the gate: between libbpf and the kernel stands something that lies.
daemon_stop
if grep -qa libasan "$OBSLOAD"; then
	skip "kernel's view" "nothing can be loaded before the sanitizer"
	e2e_done
fi
cp -a /etc "$E2E_TMP/etc.host"
cc -shared -fPIC -o "$E2E_TMP/liar.so" tests/e2e/tools/liar.c
echo "$E2E_TMP/liar.so" >"$E2E_TMP/etc.host/ld.so.preload"
mount --bind "$E2E_TMP/etc.host" /etc
at_exit "umount /etc"
daemon_start
mkdir "$E2E_TMP/view"
cp "$bad/good-13.tar" "$E2E_TMP/view/kernel.view~other_map.tar"
refuse_all "$E2E_TMP/view"
e2e_done
