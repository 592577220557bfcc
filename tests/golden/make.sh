#!/usr/bin/env bash
# How golden bundles are made: docs/examples/hello for both architectures, signed in each accepted way by keys that live in
# a temporary folder and are thrown away at the end. What is here is never made again: it stays accepted for ever. When the
# format grows, another one is made beside it.
#
#	tests/golden/make.sh NAME    writes NAME.tar, NAME.json, and NAME.KIND.pem, which is trusted, of each signer
set -euo pipefail
cd "$(dirname "$0")/../.."
obspkg=${BUILD:-build}/bin/obspkg
out=tests/golden/$1
[ ! -e "$out.tar" ] || { echo "$out.tar is there, and golden: give another name" >&2; exit 1; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# A host judges expiry when it installs: valid from long ago until long after.
cat >"$tmp/ca.conf" <<'CONF'
[ca]
default_ca = golden
[golden]
database = $ENV::GOLDEN/index
rand_serial = yes
default_md = sha384
policy = any
default_startdate = 20200101000000Z
default_enddate = 21200101000000Z
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = codeSigning
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
CONF
: >"$tmp/index"
export GOLDEN=$tmp

# issue NAME EXTENSIONS ISSUER KEY_OPTION...: ISSUER is a name, or the same one.
issue() {
	local name=$1 extensions=$2 by=$3 self=()
	shift 3
	[ "$by" != "$name" ] || self=(-selfsign)
	openssl req -new -nodes "$@" -subj "/CN=golden $name" -keyout "$tmp/$name.key" -out "$tmp/$name.csr" 2>/dev/null
	[ "$by" = "$name" ] || self=(-cert "$tmp/$by.pem")
	openssl ca -config "$tmp/ca.conf" -batch -notext -extensions "$extensions" "${self[@]}" -keyfile "$tmp/$by.key" \
		-in "$tmp/$name.csr" -outdir "$tmp" -out "$tmp/$name.pem" 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
}
issue p256 leaf p256 -newkey ec -pkeyopt ec_paramgen_curve:P-256
issue rsa leaf rsa -newkey rsa:3072
issue root root root -newkey ec -pkeyopt ec_paramgen_curve:P-384
issue p384 leaf root -newkey ec -pkeyopt ec_paramgen_curve:P-384

SOURCE_DATE_EPOCH=1700000000 "$obspkg" build docs/examples/hello -o "$tmp/golden.tar"
for signer in p256 rsa p384; do
	"$obspkg" sign --key "$tmp/$signer.key" --cert "$tmp/$signer.pem" "$tmp/golden.tar"
done
for trusted in p256 rsa root; do
	cp "$tmp/$trusted.pem" "$out.$trusted.pem"
done
"$obspkg" inspect --json "$tmp/golden.tar" >"$out.json"
cp "$tmp/golden.tar" "$out.tar"
