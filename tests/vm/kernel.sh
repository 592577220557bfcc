#!/usr/bin/env bash
# Gets one of Debian's kernels for a virtual machine, and prints the path of its image; beside it stand the modules that
# tests need (MODULES), uncompressed, named in the order in which to load them.
#
#	tests/vm/kernel.sh 5.10|6.1|6.12|7
#
# The package is whatever the suite's metapackage depends on, through apt with a source list and state folder of its own,
# on the mirror that this machine already uses: the machine's own sources stay as they are. Cached outside the tree
# ($OBS_VM_CACHE, /var/cache/obs-vm).
set -euo pipefail

want=${1:?kernel version}
cache=${OBS_VM_CACHE:-/var/cache/obs-vm}/$want

case $want in
5.10) suite=bullseye ;;
6.1) suite=bookworm ;;
6.12) suite=bookworm-backports ;;
7) suite=trixie-backports ;;
*)
	echo "$0: no kernel '$want': 5.10, 6.1, 6.12 or 7" >&2
	exit 2
	;;
esac

# tc programs need a qdisc and a classifier; a wire that is slow and loses packets is a veth pair with netem; ss asks by
# netlink; interfaces that come and go are tap devices. All are modules in Debian's kernels.
MODULES=(sch_ingress cls_bpf veth sch_netem inet_diag tcp_diag tun)

cached() {
	local i
	[ -f "$cache/vmlinuz" ] || return 1
	for i in "${!MODULES[@]}"; do
		[ -f "$cache/$i-${MODULES[$i]}.ko" ] || return 1
	done
}
if cached; then
	echo "$cache/vmlinuz"
	exit 0
fi

# apt expands $(SITE), not the shell.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk '$2 == "bookworm" {print $1; exit}')
if [ -z "$site" ]; then
	echo "$0: apt on this machine knows no bookworm mirror: apt-get indextargets lists none" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/etc"
echo "deb $site $suite main" >"$work/etc/sources.list"
touch "$work/status"
options=(-o "Dir::Etc::SourceList=$work/etc/sources.list" -o "Dir::Etc::SourceParts=/dev/null"
	-o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
	-o "APT::Sandbox::User=root" -o "Acquire::Check-Valid-Until=false" -o "APT::Get::AllowUnauthenticated=false")

apt-get "${options[@]}" -qq update >&2
# Depends of a package, one name a line.
depends() { apt-cache "${options[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces "$1" | awk '$1 == "Depends:" {print $2}'; }
image=$(depends linux-image-cloud-amd64 | grep '^linux-image-.*-cloud-amd64' | head -n 1)
# Since 7.x kernel and modules are in packages of their own.
mapfile -t parts < <(depends "$image" | grep -E '^linux-(binary|modules)-.*-cloud-amd64')
(cd "$work" && apt-get "${options[@]}" -qq download "$image" "${parts[@]}" >&2)
mkdir "$work/root"
for deb in "$work"/*.deb; do
	dpkg -x "$deb" "$work/root"
done
vmlinuz=$(find "$work/root" \( -name 'vmlinuz*' -o -name vmlinuz \) -type f | head -n 1)
if [ -z "$vmlinuz" ]; then
	echo "$0: $image ${parts[*]} hold no vmlinuz" >&2
	exit 1
fi
mkdir -p "$cache"
for i in "${!MODULES[@]}"; do
	module=$(find "$work/root" -name "${MODULES[$i]}.ko*" | head -n 1)
	case $module in
	*.xz) xz -dc "$module" >"$cache/$i-${MODULES[$i]}.ko" ;;
	*.zst) zstd -qdc "$module" >"$cache/$i-${MODULES[$i]}.ko" ;;
	*.ko) cp "$module" "$cache/$i-${MODULES[$i]}.ko" ;;
	*)
		echo "$0: $image ${parts[*]} hold no module ${MODULES[$i]}" >&2
		exit 1
		;;
	esac
done
cp "$vmlinuz" "$cache/vmlinuz.tmp"
mv "$cache/vmlinuz.tmp" "$cache/vmlinuz"
echo "$cache/vmlinuz"
