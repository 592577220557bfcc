# shellcheck shell=bash
# What tests of crashes and faults have in common, after lib.sh: a network namespace, two signers, test/crash in two serials.

# crash_lanes SCRIPT STEPS...: unless OBS_CRASH_STEPS tells which changes to walk, runs the script once for each list of them,
# side by side: a walk mostly waits for the kernel.
crash_lanes() {
	local script=$1 lanes=() failed=0 steps lane
	[ -z "${OBS_CRASH_STEPS:-}" ] || return 0
	shift
	for steps; do
		OBS_CRASH_STEPS=$steps CRASH_INSIDE='' bash "$script" &
		lanes+=($!)
	done
	for lane in "${lanes[@]}"; do
		wait "$lane" || failed=1
	done
	exit "$failed"
}

crash_bundles() {
	local serial
	ip link set lo up
	export OBS_TEST_PREFIX=c$$
	make_signer signer
	make_signer other
	for serial in 1 2; do
		cp -r "$E2E_ROOT/tests/e2e/bundles/crash" "$E2E_TMP/$serial"
		sed -i "s/\"serial\": 1/\"serial\": $serial/" "$E2E_TMP/$serial/bundle.json"
		sed -i "1i #define OBS_TEST_PREFIX $OBS_TEST_PREFIX" "$E2E_TMP/$serial/crash.bpf.c"
		"$OBSPKG" build "$E2E_TMP/$serial" -o "$E2E_TMP/$serial.tar" \
			--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
	done
}

# test/flow in two serials, and broken.tar, a third one that writes through a pointer which may be NULL.
flow_bundles() {
	local serial
	for serial in 1 2 3; do
		cp -r "$E2E_ROOT/tests/e2e/bundles/flow" "$E2E_TMP/flow$serial"
		sed -i "s/\"serial\": 1/\"serial\": $serial/" "$E2E_TMP/flow$serial/bundle.json"
		[ "$serial" != 3 ] || sed -i 's/if (!e)/if (0)/' "$E2E_TMP/flow$serial/flow.bpf.c"
		"$OBSPKG" build "$E2E_TMP/flow$serial" -o "$E2E_TMP/flow$serial.tar" \
			--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
	done
	mv "$E2E_TMP/flow3.tar" "$E2E_TMP/broken.tar"
}

# A kill takes nothing from the page cache, so nothing is shown by what a disk takes its time for.
crash_in_memory() {
	mkdir -m 700 "$E2E_TMP/state"
	mount -t tmpfs -o mode=700 state "$E2E_TMP/state"
	mkdir "$E2E_TMP/etc"
	mount -t tmpfs -o mode=755 etc "$E2E_TMP/etc"
	at_exit "umount $E2E_TMP/state $E2E_TMP/etc"
}

# other_program NAME PROGRAM: an installation below $E2E_TMP with another program as the daemon's NAME, which OBSLOAD is of.
other_program() {
	copied_daemon
	cp "$2" "$E2E_TMP/daemon/libexec/obsload/$1"
}
