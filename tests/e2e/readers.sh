#!/usr/bin/env bash
# Readers that never read, read a byte a second, send 100 MB, connect and leave 10,000 times, hold half a request open: a good
# reader beside them misses nothing, each knows what it lost, and the worker's memory is bounded.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

make_signer signer
"$OBSPKG" build "$E2E_ROOT/tests/e2e/bundles/flow" -o "$E2E_TMP/flow.tar" \
	--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
reported python3 "$E2E_ROOT/tests/e2e/tools/readers.py"
e2e_done
