#!/usr/bin/env bash
# obspkg build: the same bytes everywhere, refusals with file and line, definitions that are data.
# shellcheck disable=SC2016 # what looks like an expansion is text that must not be expanded
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

hello=$E2E_ROOT/docs/examples/hello

# fresh NAME: a folder with a good definition and source, to break.
fresh() {
	rm -rf "${E2E_TMP:?}/$1"
	mkdir -p "$E2E_TMP/$1"
	cp "$hello"/bundle.json "$hello"/hello.bpf.c "$E2E_TMP/$1/"
}

# replace FILE PYTHON-EXPRESSION-FREE-TEXT NEW: one literal replacement, which must happen.
replace() {
	local text
	text=$(<"$1")
	[[ $text == *"$2"* ]] || { fail "setup of $1" "no '$2' in it"; return; }
	printf '%s\n' "${text/"$2"/"$3"}" >"$1"
}

# refused_at NAME CODE STATUS PLACE FOLDER: the message names code and place.
refused_at() {
	local name=$1 code=$2 want=$3 place=$4 folder=$5 out status=0
	out=$("$OBSPKG" build "$E2E_TMP/$folder" -o "$E2E_TMP/refused.tar" 2>&1) || status=$?
	if [ "$status" -eq "$want" ] && grep -qF "[$code]" <<<"$out" && grep -qF "$place" <<<"$out" &&
		[ ! -e "$E2E_TMP/refused.tar" ]; then
		ok "$name"
	else
		fail "$name" "expected [$code], status $want, '$place' and no file; got status $status: $out"
	fi
}

# ---- reproducible: folder, time, user, home, umask, locale, environment ----
fresh one
check "hello builds" "$OBSPKG" build "$E2E_TMP/one" -o "$E2E_TMP/one.tar"
mkdir -p "$E2E_TMP/a/much deeper/folder" "$E2E_TMP/home" "$E2E_TMP/tmp"
cp -r "$E2E_TMP/one" "$E2E_TMP/a/much deeper/folder/two"
touch -d '2001-01-01' "$E2E_TMP/a/much deeper/folder/two/"*
chmod -R a+rX "$E2E_TMP/a"
chmod 777 "$E2E_TMP/home" "$E2E_TMP/tmp"
# Others may not reach a clone below /root.
install -Dm755 "$OBSPKG" "$E2E_TMP/bin/obspkg"
cp -r "$E2E_ROOT/bpf/include" "$E2E_TMP/include"
chmod -R a+rX "$E2E_TMP/include"
sleep 1.1
(
	cd "$E2E_TMP/home"
	umask 077
	setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH="$PATH" HOME="$E2E_TMP/home" USER=somebody \
		LOGNAME=somebody LANG=tr_TR.UTF-8 LC_ALL=C.UTF-8 TZ=Asia/Tokyo TMPDIR="$E2E_TMP/tmp" CPATH=/nonexistent \
		OBS_INCLUDE="$E2E_TMP/include" \
		CCC_OVERRIDE_OPTIONS='# +-DEVIL' "$E2E_TMP/bin/obspkg" build "../a/much deeper/folder/two" -o two.tar
) 2>"$E2E_TMP/two.log" || fail "a build as another user" "$(<"$E2E_TMP/two.log")"
check "same bytes for another user, folder, time, home, umask, locale" cmp "$E2E_TMP/one.tar" "$E2E_TMP/home/two.tar"
check_eq "no temporary is left" "" "$(ls "$E2E_TMP/tmp")"
check_eq "mode of the bundle" 644 "$(stat -c %a "$E2E_TMP/home/two.tar")"
SOURCE_DATE_EPOCH=1700000000 "$OBSPKG" build "$E2E_TMP/one" -o "$E2E_TMP/dated.tar" 2>/dev/null
check_eq "created follows SOURCE_DATE_EPOCH" 2023-11-14T22:13:20Z \
	"$("$OBSPKG" inspect --json "$E2E_TMP/dated.tar" | jq -r .manifest.created)"
check_eq "no path of this machine is in a bundle" 0 "$(tr '\0' '\n' <"$E2E_TMP/one.tar" | grep -cF -e "$E2E_TMP" -e "$E2E_ROOT" || true)"
(cd "$E2E_TMP" && "$OBSPKG" build one 2>/dev/null)
check "the default name is name and serial" cmp "$E2E_TMP/one.tar" "$E2E_TMP/hello-1.tar"

# ---- what is in it ----
check_eq "two architectures" "aarch64 x86_64" \
	"$("$OBSPKG" inspect --json "$E2E_TMP/one.tar" | jq -r '[.manifest.objects[].arch] | join(" ")')"
check_eq "fields come from the struct" "process.pid process.cgroup.id process.executable.name" \
	"$("$OBSPKG" inspect --json "$E2E_TMP/one.tar" | jq -r '[.manifest.events[0].fields[].name] | join(" ")')"
tar xOf "$E2E_TMP/one.tar" obj/x86_64/hello.bpf.o >"$E2E_TMP/hello.o"
check_eq "no DWARF is left" "" "$(readelf -SW "$E2E_TMP/hello.o" | grep -o '\.debug[a-z_]*' || true)"
check_eq "BTF and BTF.ext are kept" 2 "$(readelf -SW "$E2E_TMP/hello.o" | grep -cE ' \.BTF(\.ext)? ')"
check "inspect is readable" grep -q 'tp_btf/sched_process_exec' <("$OBSPKG" inspect "$E2E_TMP/one.tar")

# ---- refusals ----
fresh kconfig
replace "$E2E_TMP/kconfig/hello.bpf.c" 'SEC("tp_btf' $'extern int LINUX_KERNEL_VERSION __kconfig;\nSEC("tp_btf'
replace "$E2E_TMP/kconfig/hello.bpf.c" 'if (!e)' 'if (!e || LINUX_KERNEL_VERSION == 1)'
refused_at "kconfig extern" build.kconfig 32 hello.bpf.c:9 kconfig

fresh licence
replace "$E2E_TMP/licence/hello.bpf.c" 'OBS_LICENSE("GPL");' ''
refused_at "no licence" build.licence 32 hello.bpf.c:10 licence

fresh output
replace "$E2E_TMP/output/hello.bpf.c" 'OBS_EVENT(exec, 1, "hello.exec")' ''
refused_at "a ring without event types" build.output 32 hello.bpf.c:7 output

# field NAME DECLARATION [LINE]: a member of the event that cannot be described, in line 6; names are a matter of the
# whole struct.
field() {
	fresh field
	replace "$E2E_TMP/field/hello.bpf.c" 'process;' "process;
	$2;"
	refused_at "$1" build.field 32 "hello.bpf.c:${3:-6}" field
}
field "a pointer" 'void *where'
field "floating point" 'double ratio'
field "a union without format" 'union { int a; long b; } either'
field "an unknown format" '__u32 x OBS_FORMAT("roman")'
field "an address of wrong size" '__u8 x[5] OBS_FORMAT("ip")'
field "a MAC of wrong size" '__u8 x[8] OBS_FORMAT("mac")'
field "an upper-case name" '__u32 x OBS_AS("Process.Pid")'
field "a name that is taken" '__u32 x OBS_AS("bundle")'
field "a name below one that is taken" '__u32 x OBS_AS("host.id")'
field "a name of thirteen words" '__u32 x OBS_AS("a.b.c.d.e.f.g.h.i.j.k.l.m")'
field "a log2 histogram of 65 slots" '__u64 x[65] OBS_FORMAT("log2")'
field "two DNS messages" '__u8 q[9] OBS_FORMAT("dns"); __u8 a[9] OBS_FORMAT("dns")' 3
field "a name that a DNS message is shown under" '__u8 q[9] OBS_FORMAT("dns"); __u32 x OBS_AS("dns.answers")' 3
field "a name within that of a DNS message" '__u8 dns[9] OBS_FORMAT("dns"); __u32 x OBS_AS("dns.latency")' 3
field "a line of more than 256 KiB" '__u8 x[12000]' 3
field "enumerators shown alike" 'enum way { in__a = 1, out__a = 2 } x'
field "a name within a value" '__u32 x OBS_AS("process.pid.more")' 3
field "a length without member" 'char x[8] OBS_LENGTH("nowhere")'

fresh header
replace "$E2E_TMP/header/hello.bpf.c" 'struct obs_header header;' '__u64 header[2];'
refused_at "an event without header" build.field 32 hello.bpf.c:3 header

fresh daemon
replace "$E2E_TMP/daemon/hello.bpf.c" hello.exec obs.exec
refused_at "an event of the daemon's own family" build.output 32 hello.bpf.c:3 daemon

fresh ids
replace "$E2E_TMP/ids/hello.bpf.c" 'OBS_RING' 'struct other { struct obs_header header; } OBS_EVENT(other, 1, "hello.other");
OBS_RING'
refused_at "two events with one number" build.output 32 hello.bpf.c: ids

# param NAME DECLARATION
param() {
	fresh param
	replace "$E2E_TMP/param/hello.bpf.c" 'SEC("tp_btf' "$2;
SEC(\"tp_btf"
	replace "$E2E_TMP/param/hello.bpf.c" 'if (!e)' 'if (!e || !*(volatile char *)&every)'
	refused_at "$1" build.parameter 32 hello.bpf.c:9 param
}
param "a parameter without bounds" 'volatile __u32 every SEC(".data.params") OBS_TAG("param=1") OBS_TAG("help=x") = 1'
param "a parameter without help" 'volatile __u32 every SEC(".data.params") OBS_TAG("param=1") OBS_TAG("min=0") OBS_TAG("max=2") = 1'
param "a default out of bounds" 'OBS_PARAM(__u32, every, 7, 1, 5, "x")'
param "bounds that do not fit" 'OBS_PARAM(__u8, every, 7, 1, 500, "x")'
param "a negative bound in parentheses" 'OBS_PARAM(__u64, every, 7, 1, (-5), "x")'
param "a list of yes and no" 'OBS_PARAM_LIST(bool, every, 4, 0, 1, "", "x")'
param "a list of more than 4096 bytes" 'OBS_PARAM_LIST(__u64, every, 513, 0, 1, "", "x")'
param "a default with a gap" 'volatile __u32 every[3] SEC(".data.params") OBS_TAG("param=1") OBS_TAG("min=1") OBS_TAG("max=9") OBS_TAG("help=x") = {1, 0, 2}'
param "a variable that is no parameter" 'volatile __u32 every SEC(".data.params") = 1'

fresh program
replace "$E2E_TMP/program/hello.bpf.c" 'tp_btf/sched_process_exec' 'tp_bft/sched_process_exec'
refused_at "an unknown section" build.program 32 hello.bpf.c:10 program
fresh target
replace "$E2E_TMP/target/hello.bpf.c" 'tp_btf/sched_process_exec' 'tp_btf'
refused_at "a program without target" build.program 32 hello.bpf.c:10 target

fresh syntax
replace "$E2E_TMP/syntax/hello.bpf.c" 'return 0;' 'return 0'
refused_at "a compiler error is shown as it is" build.compiler 31 "hello.bpf.c:15" syntax
fresh date
replace "$E2E_TMP/date/hello.bpf.c" 'return 0;' 'bpf_printk(__DATE__); return 0;'
refused_at "the date of the build" build.compiler 31 "hello.bpf.c:15" date
fresh tool
check_refused "no compiler" build.tool 31 env CLANG=/nonexistent "$OBSPKG" build "$E2E_TMP/tool" -o "$E2E_TMP/x.tar"

check_refused "no headers in OBS_INCLUDE" build.tool 31 env OBS_INCLUDE="$E2E_TMP/tool" "$OBSPKG" build "$E2E_TMP/tool" -o "$E2E_TMP/x.tar"

# ---- tools are the user's, never the author's ----
fresh author
mkdir -p "$E2E_TMP/author/bin" "$E2E_TMP/user/bin"
printf '#!/bin/sh\ntouch "%s"\nexit 1\n' "$E2E_TMP/ran" >"$E2E_TMP/author/bin/clang"
chmod +x "$E2E_TMP/author/bin/clang"
cp "$E2E_TMP/author/bin/clang" "$E2E_TMP/author/bin/helper"
ln -s "$(command -v clang)" "$E2E_TMP/user/bin/clang"
# A tool that calls another by its name alone.
printf '#!/bin/sh\nhelper 2>/dev/null; exec "%s" "$@"\n' "$(command -v clang)" >"$E2E_TMP/user/bin/calling"
chmod +x "$E2E_TMP/user/bin/calling"
cd "$E2E_TMP/user"
check "CLANG is relative to the working folder" env CLANG=bin/clang "$OBSPKG" build ../author -o named.tar
check "and PATH" env PATH="bin:$PATH" "$OBSPKG" build ../author -o path.tar
check "and the PATH of tools" env PATH="bin:$PATH" CLANG=calling "$OBSPKG" build ../author -o calling.tar
check "nothing of the author's ran" test ! -e "$E2E_TMP/ran"
cd "$E2E_ROOT"

# ---- a build that is ended leaves nothing ----
printf '#!/bin/sh\ncase $1 in --version) exec clang "$@";; esac\n: >"%s"\nexec sleep 60\n' "$E2E_TMP/sleeps" >"$E2E_TMP/user/bin/slow"
chmod +x "$E2E_TMP/user/bin/slow"
for signal in INT TERM HUP; do
	rm -f "$E2E_TMP/sleeps"
	env --default-signal="$signal" TMPDIR="$E2E_TMP/tmp" CLANG="$E2E_TMP/user/bin/slow" \
		"$OBSPKG" build "$E2E_TMP/one" -o "$E2E_TMP/ended.tar" 2>/dev/null &
	pid=$!
	check "a compiler runs" wait_for 20 test -e "$E2E_TMP/sleeps"
	check "in a temporary folder" test -n "$(ls "$E2E_TMP/tmp")"
	kill "-$signal" "$pid"
	status=0
	wait "$pid" || status=$?
	check_eq "SIG$signal ends a build" $((128 + $(kill -l "$signal"))) "$status"
	check_eq "and leaves nothing of it" "" "$(ls "$E2E_TMP/tmp")"
done

# ---- definitions: data, whatever they look like ----
# definition NAME CODE FROM TO
definition() {
	fresh definition
	replace "$E2E_TMP/definition/bundle.json" "$3" "$4"
	refused_at "definition: $1" "$2" 30 bundle.json: definition
}
definition "unknown key" definition.syntax '"schema": 1' '"schema": 1, "kernle": 1'
definition "duplicate key" definition.syntax '"schema": 1' '"schema": 1, "schema": 1'
definition "trailing text" definition.syntax '"requirements": {"kernel": "5.10"}' '"requirements": {}} {'
definition "wrong type" definition.syntax '"1.0.0"' '1.0'
definition "no name" definition.syntax '"name": "demo/hello",' ''
definition "bad name" definition.value demo/hello demo/../hello
definition "serial 0" definition.value '"serial": 1' '"serial": 0'
definition "serial of 2^53" definition.value '"serial": 1' '"serial": 9007199254740992'
definition "kernel" definition.value '"5.10"' '"5.10; reboot"'
for kernel in 6.-1 '6. 1' +6.1 ' 6.1' 6 6. 6.1000 06.1; do
	definition "kernel $kernel" definition.value '"5.10"' "\"$kernel\""
done
definition "65 options" definition.syntax '"5.10"' "\"5.10\", \"config\": [$(printf '"CONFIG_%d",' {1..64})\"CONFIG_X\"]"
definition "an option without name" definition.value '"5.10"' '"5.10", "config": ["CONFIG_"]'
definition "version" definition.value 1.0.0 '1.0.0 `id`'
for control in '\n' '\t' '\u001b[31m' '\u007f' '\u009b'; do
	definition "description with $control" definition.value 'Says hello' "Says${control}hello"
	definition "licence with $control" definition.value GPL-2.0-only "GPL-2.0${control}-only"
done
definition "unknown architecture" definition.value '"schema": 1' '"arches": ["mips"]'
for path in ../hello.bpf.c /etc/passwd "-o.bpf.c" '$(touch pwned).bpf.c' 'a;touch pwned;.bpf.c' './hello.bpf.c' nowhere.bpf.c; do
	definition "source $path" definition.value '"schema": 1' "\"sources\": [\"$path\"]"
done
for path in .. / "-include" 'x -Dy' '`id`' nowhere; do
	definition "include $path" definition.value '"schema": 1' "\"include\": [\"$path\"]"
done
fresh link
ln -s /usr/include "$E2E_TMP/link/outside"
replace "$E2E_TMP/link/bundle.json" '"schema": 1' '"include": ["outside"]'
refused_at "definition: a link out of the folder" definition.value 30 bundle.json: link

# Text fields are data: they reach the manifest as they are, and no shell.
fresh data
evil="\$(touch $E2E_TMP/pwned) \`touch $E2E_TMP/pwned\`; touch $E2E_TMP/pwned | & > ' %s %n"
replace "$E2E_TMP/data/bundle.json" 'Says hello to every program that starts.' "$evil"
check "a description with shell words builds" "$OBSPKG" build "$E2E_TMP/data" -o "$E2E_TMP/data.tar"
check_eq "and is what it was" "$evil" "$("$OBSPKG" inspect --json "$E2E_TMP/data.tar" | jq -r .manifest.description)"
check_eq "and ran nothing" "" "$(find "$E2E_TMP" -name 'pwned*')"

e2e_done
