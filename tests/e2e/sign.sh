#!/usr/bin/env bash
# Keys and signatures: keygen, sign, several signers, an offline signer with stock openssl, what is refused, and checking
# a bundle with nothing but tar, openssl and sha256sum. Needs neither root nor a daemon.
# Functions are called by check.
# shellcheck disable=SC2317
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_folder
cd "$E2E_TMP"

signer_of() { # the identity as obs-policy(5) tells to compute it
	openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1
}

SOURCE_DATE_EPOCH=1700000000 "$OBSPKG" build "$E2E_ROOT/docs/examples/hello" -o plain.tar 2>build.log || {
	cat build.log
	fail setup "build"
	e2e_done
}

# ---- keygen ----
check "keygen writes a pair" "$OBSPKG" keygen --out alice --name alice
check "keygen --json tells the signer" test "$("$OBSPKG" keygen --out bob --name "Bob's team" --json | jq -r .signer)" = "$(signer_of bob/signer.pem)"
check_eq "the key is for its owner alone" "600 644" "$(stat -c %a alice/signer.key alice/signer.pem | xargs)"
check_eq "the certificate is for code signing" "Code Signing" "$(openssl x509 -in alice/signer.pem -noout -ext extendedKeyUsage | tail -1 | xargs)"
before=$(sha256sum alice/*)
check_refused "keygen never overwrites" key.exists 33 "$OBSPKG" keygen --out alice
mkdir half && echo mine >half/signer.pem
check_refused "keygen never overwrites a certificate" key.exists 33 "$OBSPKG" keygen --out half
check_eq "a refused keygen changes nothing" "$before signer.pem" "$(sha256sum alice/*) $(ls -A half)"
check_refused "keygen needs a folder" usage 2 "$OBSPKG" keygen
check_refused "keygen refuses odd names" usage 2 "$OBSPKG" keygen --out odd --name $'a\033[31m'
check "help is on standard output" grep -q "^usage: obspkg keygen" <("$OBSPKG" keygen --help)

# ---- passphrases ----
printf 'correct horse\n' >pass
printf 'battery staple\n' >wrong
"$OBSPKG" keygen --out carol --name carol --passphrase-fd 3 >/dev/null 3<pass
check "a key with passphrase is encrypted" grep -q "BEGIN ENCRYPTED PRIVATE KEY" carol/signer.key
cp plain.tar c.tar
check_refused "without passphrase it stays closed" key.unreadable 33 setsid -w "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem c.tar
check_refused "with a wrong one too" key.unreadable 33 "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem --passphrase-file wrong c.tar
check "a refused sign changes nothing" cmp plain.tar c.tar
check "passphrase from a file" "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem --passphrase-file pass c.tar
from_fd() { "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem --passphrase-fd 3 plain.tar -o c2.tar 3<pass; }
check "passphrase from a descriptor" from_fd
check "both verify" "$OBSPKG" verify --cert carol/signer.pem c2.tar

cat >ask.py <<'END'
# Answers the question on a terminal of its own: ask.py ANSWER COMMAND... . The answer must not be echoed.
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b""
try:
    while b"Passphrase" not in said:
        said += os.read(fd, 1000)
    os.write(fd, sys.argv[1].encode().decode("unicode_escape").encode())
    while chunk := os.read(fd, 1000):
        said += chunk
except OSError:
    pass
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(said.decode(), "status", status)
sys.exit(99 if b"correct horse" in said else status if status >= 0 else 128 - status)
END
check "passphrase from the terminal, without echo" timeout 20 python3 ask.py 'correct horse\n' "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem plain.tar -o c3.tar
check_refused "a wrong one from the terminal" key.unreadable 33 timeout 20 python3 ask.py 'donkey\n' "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem plain.tar -o no.tar
interrupt() { timeout 20 python3 ask.py '\x03' "$OBSPKG" sign --key carol/signer.key --cert carol/signer.pem plain.tar -o no.tar; }
check "the question can be interrupted" test "$(interrupt >/dev/null && echo 0 || echo $?)" = 130

# ---- one signer, two signers ----
alice=$(signer_of alice/signer.pem) bob=$(signer_of bob/signer.pem)
check_refused "unsigned is refused" signature.missing 11 "$OBSPKG" verify --cert alice/signer.pem plain.tar
check "sign to another file" "$OBSPKG" sign --key alice/signer.key --cert alice/signer.pem plain.tar -o one.tar
check_refused "the source stays unsigned" signature.missing 11 "$OBSPKG" verify --cert alice/signer.pem plain.tar
chmod 755 alice
check "verify" "$OBSPKG" verify --cert alice/signer.pem one.tar
if [ "$(id -u)" -eq 0 ]; then
	check "verify needs no root and no network" unshare -n setpriv --reuid 65534 --regid 65534 --clear-groups \
		--bounding-set=-all --inh-caps=-all "$OBSPKG" verify --cert alice/signer.pem one.tar
else
	check "verify needs no root and no network" unshare -rn "$OBSPKG" verify --cert alice/signer.pem one.tar
fi
check_refused "by a stranger" signature.untrusted 11 "$OBSPKG" verify --cert bob/signer.pem one.tar
check_refused "nothing is trusted by itself" usage 2 "$OBSPKG" verify one.tar
check_refused "one is not two" policy.threshold 14 "$OBSPKG" verify --cert alice/signer.pem --cert bob/signer.pem --threshold 2 one.tar
cp one.tar two.tar
check "sign in place" "$OBSPKG" sign --key bob/signer.key --cert bob/signer.pem two.tar
check "two are two" "$OBSPKG" verify --cert alice/signer.pem --cert bob/signer.pem --threshold 2 two.tar
check "either is enough" "$OBSPKG" verify --cert bob/signer.pem two.tar
cp plain.tar real.tar && ln -s real.tar latest.tar
check "sign through a link" "$OBSPKG" sign --key bob/signer.key --cert bob/signer.pem latest.tar
check "signs what it leads to" "$OBSPKG" verify --cert bob/signer.pem real.tar
check_eq "and leaves the link" real.tar "$(readlink latest.tar)"
ln -s /dev/null nowhere
check "sign to a device" "$OBSPKG" sign --key bob/signer.key --cert bob/signer.pem plain.tar -o nowhere
check "leaves it one" test -c nowhere -a -L nowhere
check_eq "each signer is a file" "$(printf 'sig/%s.p7s\n' "$alice" "$bob" | sort | xargs)" "$(tar tf two.tar | grep ^sig/ | xargs)"
check_eq "verify --json names signers and what was ignored" "$bob $alice signature.untrusted" \
	"$("$OBSPKG" verify --json --cert bob/signer.pem two.tar | jq -r '[.signers[0].signer, .ignored[0].signer, .ignored[0].code] | join(" ")')"
check_eq "an error in JSON has its code" signature.untrusted \
	"$("$OBSPKG" verify --json --cert carol/signer.pem two.tar 2>&1 >/dev/null | jq -r .error.code || true)"
"$OBSPKG" sign --key alice/signer.key --cert alice/signer.pem two.tar -o again.tar 2>/dev/null
check_eq "signing again replaces one's own" 2 "$(tar tf again.tar | grep -c ^sig/)"
check_eq "times stay" "$(tar tvf plain.tar | awk '{print $4}' | sort -u)" "$(tar tvf again.tar | awk '{print $4}' | sort -u)"
check_refused "the key must be the certificate's" key.mismatch 33 "$OBSPKG" sign --key alice/signer.key --cert bob/signer.pem plain.tar -o no.tar
check "a refused sign writes nothing" test ! -e no.tar
cat >policy.json <<END
{"schema": 1, "grants": [{"names": ["other/*"], "signers": ["$alice"]}]}
END
check_refused "verify --policy asks as a host would" policy.name 14 "$OBSPKG" verify --cert alice/signer.pem --policy policy.json one.tar
sed -i s/other/demo/ policy.json
check "and passes as one would" "$OBSPKG" verify --cert alice/signer.pem --policy policy.json one.tar

# ---- a configuration of OpenSSL under which it finds no algorithm ----
printf 'openssl_conf = all\n[all]\nalg_section = algorithms\n[algorithms]\ndefault_properties = fips=yes\n' >odd.cnf
check_eq "openssl obeys its configuration" refused "$(OPENSSL_CONF=odd.cnf openssl dgst -sha256 one.tar >/dev/null 2>&1 || echo refused)"
check "verify does not read it" env OPENSSL_CONF=odd.cnf "$OBSPKG" verify --cert alice/signer.pem one.tar

# ---- an offline signer: stock openssl, its own certificate, no obspkg ----
check "prepare" "$OBSPKG" sign --prepare plain.tar -o manifest.json
check "what is signed is the manifest" cmp manifest.json <(tar xOf plain.tar manifest.json)
mkdir offline
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 30 -subj "/CN=offline" \
	-addext "extendedKeyUsage=codeSigning" -addext "keyUsage=digitalSignature" \
	-keyout offline/k.pem -out offline/c.pem 2>/dev/null
openssl cms -sign -binary -outform DER -in manifest.json -signer offline/c.pem -inkey offline/k.pem -out offline/sig.p7s
check "attach" "$OBSPKG" sign --attach offline/sig.p7s plain.tar -o offline.tar
check "the answer verifies" "$OBSPKG" verify --cert offline/c.pem offline.tar
openssl req -x509 -newkey rsa:3072 -nodes -days 30 -subj "/CN=rsa" -addext "extendedKeyUsage=codeSigning" \
	-addext "keyUsage=digitalSignature" -keyout offline/rk.pem -out offline/rc.pem 2>/dev/null
openssl cms -sign -binary -outform DER -in manifest.json -signer offline/rc.pem -inkey offline/rk.pem -out offline/rsa.p7s
check "attach, RSA" "$OBSPKG" sign --attach offline/rsa.p7s offline.tar
check "both offline signers" "$OBSPKG" verify --cert offline/c.pem --cert offline/rc.pem --threshold 2 offline.tar
echo '{}' >other.json
openssl cms -sign -binary -outform DER -in other.json -signer offline/c.pem -inkey offline/k.pem -out offline/other.p7s
check_refused "an answer to something else" signature.invalid 11 "$OBSPKG" sign --attach offline/other.p7s plain.tar -o no.tar
openssl cms -sign -binary -outform PEM -in manifest.json -signer offline/c.pem -inkey offline/k.pem -out offline/pem.p7s
check_refused "an answer in PEM" signature.malformed 11 "$OBSPKG" sign --attach offline/pem.p7s plain.tar -o no.tar
openssl cms -sign -binary -nodetach -outform DER -in manifest.json -signer offline/c.pem -inkey offline/k.pem -out offline/in.p7s
check_refused "an answer with the content inside" signature.malformed 11 "$OBSPKG" sign --attach offline/in.p7s plain.tar -o no.tar
openssl req -x509 -key offline/k.pem -days 30 -subj "/CN=web" -out offline/web.pem
openssl cms -sign -binary -outform DER -in manifest.json -signer offline/web.pem -inkey offline/k.pem -out offline/web.p7s
check_refused "a certificate for something else" certificate.usage 11 "$OBSPKG" sign --attach offline/web.p7s plain.tar -o no.tar
check "none of these wrote anything" test ! -e no.tar
check_refused "build signs nothing that a host would refuse" certificate.usage 11 "$OBSPKG" build \
	"$E2E_ROOT/docs/examples/hello" --key offline/k.pem --cert offline/web.pem -o no.tar
check "and writes nothing then" test ! -e no.tar

# ---- an offline root above the signers ----
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 30 -subj "/CN=root" \
	-addext "keyUsage=critical,keyCertSign" -keyout root.key -out root.pem 2>/dev/null
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=ci" -keyout ci.key -out ci.csr 2>/dev/null
openssl x509 -req -in ci.csr -CA root.pem -CAkey root.key -days 10 -out ci.pem \
	-extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n') 2>/dev/null
check "sign below a root" "$OBSPKG" sign --key ci.key --cert ci.pem plain.tar -o ci.tar
check "trusting the root is enough" "$OBSPKG" verify --cert root.pem ci.tar
check_eq "the signer is the leaf" "$(signer_of ci.pem)" "$("$OBSPKG" verify --json --cert root.pem ci.tar | jq -r '.signers[0].signer')"

# ---- stock tools alone ----
stock() {
	rm -rf stock && mkdir stock && cd stock || return
	tar xf ../two.tar && openssl cms -verify -binary -inform DER -in "sig/$alice.p7s" -content manifest.json \
		-CAfile ../alice/signer.pem -purpose any >/dev/null &&
		jq -r '.objects[] | "\(.sha256)  obj/\(.arch)/\(.name).bpf.o"' manifest.json | sha256sum --check --strict
}
check "tar, openssl and sha256sum check a bundle" bash -c "$(declare -f stock); alice=$alice; stock"

# ---- changed bundles: bytes of the tar are patched in place, so only the one thing differs ----
patch_at() { # FILE OFFSET: flips the lowest bit
	local byte
	byte=$(od -An -tu1 -j "$2" -N1 "$1" | tr -d ' ')
	printf '%b' "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
offset_of() { # FILE ENTRY [end]: where its bytes start, or end, by walking the headers
	python3 - "$@" <<'END'
import sys, tarfile
entry = tarfile.open(sys.argv[1]).getmember(sys.argv[2])
print(entry.offset_data + (entry.size if len(sys.argv) > 3 else 0))
END
}
cp one.tar t.tar && patch_at t.tar $(($(offset_of t.tar manifest.json) + 20))
check_refused "a bit of the manifest" signature.invalid 11 "$OBSPKG" verify --cert alice/signer.pem t.tar
cp one.tar t.tar && patch_at t.tar $(($(offset_of t.tar obj/x86_64/hello.bpf.o) + 700))
check_refused "a bit of an object" object.digest 13 "$OBSPKG" verify --cert alice/signer.pem t.tar
# Its last bytes are those of the number s, wherever they begin: an ECDSA signature is not always as long.
cp one.tar t.tar && patch_at t.tar $(($(offset_of t.tar "sig/$alice.p7s" end) - 20))
check_refused "a bit of the signature" signature.invalid 11 "$OBSPKG" verify --cert alice/signer.pem t.tar
head -c $(($(stat -c %s one.tar) - 600)) one.tar >t.tar
check_refused "its end cut off" archive.truncated 10 "$OBSPKG" verify --cert alice/signer.pem t.tar
{ cat one.tar && printf x; } >t.tar
check_refused "a byte behind it" archive.trailing 10 "$OBSPKG" verify --cert alice/signer.pem t.tar
yes text | head -c 10240 >t.tar || true
check_refused "no bundle at all" archive.malformed 10 "$OBSPKG" verify --cert alice/signer.pem t.tar

e2e_done
