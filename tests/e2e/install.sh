#!/usr/bin/env bash
# make install puts a working system below DESTDIR, make uninstall takes exactly that away.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

cd "$E2E_ROOT"
root=$E2E_TMP/root
prefix=$root/usr/local
unset MAKEFLAGS MAKELEVEL MFLAGS
# What was built is installed as it is: with other options, make would build anew.
run_make() { make --no-print-directory -o all "$@" BUILD="$BUILD" DESTDIR="$root" PREFIX=/usr/local; }

check "make install succeeds" run_make install
while read -r mode file; do
	check_eq "$file is installed" "$mode" "$(stat -c %a "$prefix/$file" 2>&1)"
done <<-'LIST'
	755 bin/obspkg
	755 bin/obsload
	755 libexec/obsload/monitor
	755 libexec/obsload/worker
	755 libexec/obsload/unpacker
	644 share/obs/bundles/network.tar
	644 share/obs/definitions/network/bundle.json
	644 include/obs/obs.h
	644 include/obs/event.h
	644 share/man/man8/obsload.8
	644 share/man/man5/obs-events.5
	644 share/man/man1/obspkg.1
	644 share/man/man5/obs-bundle.5
	644 share/man/man5/obs-manifest.5
	644 share/man/man5/obs-policy.5
	644 lib/systemd/system/obsload.service
	644 lib/sysusers.d/obsload.conf
	644 lib/tmpfiles.d/obsload.conf
	644 share/bash-completion/completions/obsload
	644 share/bash-completion/completions/obspkg
LIST

for program in obspkg obsload; do
	check_eq "installed $program tells its version" "$("$BUILD/bin/$program" --version)" \
		"$("$prefix/bin/$program" --version 2>&1)"
done

unit=$prefix/lib/systemd/system/obsload.service
check_eq "unit starts the installed program" "ExecStart=/usr/local/bin/obsload run" "$(grep ^ExecStart= "$unit")"
check_eq "unit waits for readiness" "Type=notify" "$(grep ^Type= "$unit")"

# The source tree must not help: another copy of the definition, with the installed headers.
cp -r docs/examples/hello "$E2E_TMP/hello"
cp -r "$E2E_TMP/hello" "$E2E_TMP/usdt"
sed -i 's/#include <obs\/obs.h>/#include <obs\/usdt.h>/' "$E2E_TMP/usdt/hello.bpf.c"
check "every header that an author includes is installed" "$prefix/bin/obspkg" build "$E2E_TMP/usdt" -o "$E2E_TMP/usdt.tar"
check "hello builds from the installed headers" "$prefix/bin/obspkg" build "$E2E_TMP/hello" -o "$E2E_TMP/hello.tar"
check "stock definition builds from the installed headers" \
	"$prefix/bin/obspkg" build "$prefix/share/obs/definitions/network" -o "$E2E_TMP/network.tar"
check "installed definition gives the installed bundle" cmp "$E2E_TMP/network.tar" "$prefix/share/obs/bundles/network.tar"

# With no more than the unit gives.
caps=$(sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr ' \n' ',,' | sed 's/CAP_/+/g; s/,$//' | tr '[:upper:]' '[:lower:]')
cat >"$E2E_TMP/as-unit" <<-END
	#!/bin/sh
	exec setpriv --bounding-set=-all,$caps --inh-caps=-all "$prefix/bin/obsload" "\$@"
END
chmod 755 "$E2E_TMP/as-unit"
export OBSPKG=$prefix/bin/obspkg
OBSLOAD=$E2E_TMP/as-unit
daemon_start
make_signer signer
"$OBSPKG" sign --key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" "$E2E_TMP/hello.tar" >/dev/null
check "trust under the unit's capabilities" load trust add "$E2E_TMP/signer/signer.pem" --names 'demo/*'
check "install under the unit's capabilities" load install "$E2E_TMP/hello.tar"
load events --json --count 1 'hello.*' --where 'process.executable.name = "true"' >"$E2E_TMP/line" &
reader=$!
for _ in $(seq 30); do
	/bin/true
	kill -0 "$reader" 2>/dev/null || break
	sleep 0.1
done
wait "$reader" || true
check_eq "first bundle's event arrives" "hello.exec true" \
	"$(jq -r '.event + " " + .process.executable.name' "$E2E_TMP/line")"
check "remove under the unit's capabilities" load remove demo/hello
daemon_stop

# What a user types at a prompt: words typed so far, then what completion offers for the last.
complete_word() {
	bash -c '. "$1"; program=$2; shift 2; COMP_WORDS=("$program" "$@"); COMP_CWORD=$#
		"_$program"; echo "${COMPREPLY[*]}"' - "$prefix/share/bash-completion/completions/$1" "$@"
}
check_eq "completion knows the commands" "install" "$(complete_word obsload ins)"
check_eq "completion knows options" "--allow-downgrade" "$(complete_word obsload install --all)"
check_eq "completion knows trust's words" "remove" "$(complete_word obsload trust rem)"
check_eq "completion knows obspkg" "keygen" "$(complete_word obspkg key)"

# The README shows the example as it is.
for file in bundle.json hello.bpf.c; do
	check "README shows $file" python3 -c 'import sys; sys.exit(open(sys.argv[1]).read() not in open("README.md").read())' \
		"docs/examples/hello/$file"
done

touch "$prefix/include/obs/mine.h" "$prefix/bin/mine"
check "make uninstall succeeds" run_make uninstall
check_eq "uninstall leaves what it did not install" "bin/mine include/obs/mine.h" \
	"$(cd "$prefix" && find . -type f | sort | sed 's|^./||' | tr '\n' ' ' | sed 's/ $//')"
rm "$prefix/include/obs/mine.h" "$prefix/bin/mine"
check "make uninstall again succeeds" run_make uninstall
check_eq "no folder of the project is left" "" "$(cd "$prefix" && find . -name 'obs*')"
e2e_done
