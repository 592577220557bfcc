#!/usr/bin/env bash
# A key that never leaves its token: SoftHSM, in a folder of this test. Needs neither root nor a daemon.
# Functions are called by check.
# shellcheck disable=SC2317
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_folder
cd "$E2E_TMP"

module=
for m in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
	[ -e "$m" ] && module=$m && break
done
if [ -z "$module" ] || ! command -v pkcs11-tool softhsm2-util >/dev/null; then
	skip "sign with a token" "needs softhsm2 and opensc"
	e2e_done
fi

mkdir tokens
echo "directories.tokendir = $E2E_TMP/tokens" >softhsm2.conf
export SOFTHSM2_CONF=$E2E_TMP/softhsm2.conf
softhsm2-util --init-token --free --label obs-test --so-pin 87654321 --pin 12345678 >/dev/null
printf '12345678\n' >pin
# In a build with LeakSanitizer: libp11 loses the tables that it registers with OpenSSL when it is unloaded. obspkg makes none.
printf 'leak:%s\n' EVP_PKEY_meth_new RSA_meth_dup EC_KEY_METHOD_new >lsan.supp
export LSAN_OPTIONS=suppressions=$E2E_TMP/lsan.supp:print_suppressions=0 ASAN_OPTIONS=fast_unwind_on_malloc=0
printf '00000000\n' >wrong
for key in EC:prime256v1/01/ci rsa:3072/02/rsa; do
	IFS=/ read -r kind id label <<<"$key"
	pkcs11-tool --module "$module" --token-label obs-test --login --pin 12345678 --keypairgen --key-type "$kind" \
		--id "$id" --label "$label" >/dev/null 2>&1
done

"$OBSPKG" build "$E2E_ROOT/docs/examples/hello" -o plain.tar 2>build.log || {
	cat build.log
	fail setup "build"
	e2e_done
}

# Certificates for the token's keys: openssl signs them through the same engine.
cat >engine.cnf <<END
openssl_conf = top
[top]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = $module
PIN = 12345678
init = 0
[req]
distinguished_name = dn
prompt = no
x509_extensions = ext
[dn]
CN = token
[ext]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = codeSigning
END
for label in ci rsa; do
	OPENSSL_CONF=$E2E_TMP/engine.cnf openssl req -x509 -new -engine pkcs11 -keyform engine \
		-key "pkcs11:token=obs-test;object=$label;type=private" -sha256 -days 10 -out "$label.pem" 2>req.log || cat req.log
done

uri="pkcs11:token=obs-test;object=ci;type=private?module-path=$module"
for label in ci rsa; do
	check "sign with the token's key, $label" "$OBSPKG" sign --key "${uri/object=ci/object=$label}" --cert "$label.pem" \
		--passphrase-file pin plain.tar -o "$label.tar"
	check "verify, $label" "$OBSPKG" verify --cert "$label.pem" "$label.tar"
done
from_fd() { "$OBSPKG" sign --key "$uri" --cert ci.pem --passphrase-fd 3 rsa.tar -o both.tar 3<pin; }
check "PIN from a descriptor" from_fd
check "two keys of one token are two signers" "$OBSPKG" verify --cert ci.pem --cert rsa.pem --threshold 2 both.tar
by_environment() { PKCS11_MODULE_PATH=$module "$OBSPKG" sign --key "${uri%%\?*}" --cert ci.pem --passphrase-file pin plain.tar -o e.tar; }
check "the module may come from PKCS11_MODULE_PATH" by_environment
check_refused "the key must be the certificate's" key.mismatch 33 "$OBSPKG" sign --key "$uri" --cert rsa.pem --passphrase-file pin plain.tar -o no.tar
check_refused "a wrong PIN" key.unreadable 33 "$OBSPKG" sign --key "$uri" --cert ci.pem --passphrase-file wrong plain.tar -o no.tar
check_refused "no PIN, and nobody to ask" key.unreadable 33 setsid -w "$OBSPKG" sign --key "$uri" --cert ci.pem plain.tar -o no.tar
check_refused "no such key" key.unreadable 33 "$OBSPKG" sign --key "${uri/object=ci/object=none}" --cert ci.pem --passphrase-file pin plain.tar -o no.tar
check_refused "no such module" key.unreadable 33 "$OBSPKG" sign --key "${uri%%\?*}?module-path=/nonexistent.so" --cert ci.pem --passphrase-file pin plain.tar -o no.tar
check_refused "a PIN on the command line" usage 2 "$OBSPKG" sign --key "$uri&pin-value=12345678" --cert ci.pem plain.tar -o no.tar
check "none of these wrote anything" test ! -e no.tar

e2e_done
