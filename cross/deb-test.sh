#!/bin/bash
# What is in the packages, and that they can be unpacked and run.
#
#     cross/deb-test.sh ARCH...       ARCH as Debian says: armhf | arm64 | amd64
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=target.sh
source "$(dirname "${BASH_SOURCE[0]}")/target.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n '/^version = /{s/.*"\(.*\)".*/\1/p;q}' "$cross_tree/Cargo.toml")
failures=0

# expect SENTENCE COMMAND...
expect() {
    local sentence=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "PASS $deb: $sentence"
    else
        echo "FAIL $deb: $sentence"
        sed 's/^/     /' "$work/said"
        failures=$((failures + 1))
    fi
}

# has MODE PATH: the list of the package says so.
has() { grep -E "^$1 .* \./$2\$" "$work/list"; }

# field NAME VALUE
field() {
    local found
    found=$(dpkg-deb -f "$file" "$1")
    [ "$found" = "$2" ] || { echo "$1 is '$found', not '$2'"; return 1; }
}

# lists_none FILTER: no line of the list passes it.
lists_none() { ! grep -E "$1" "$work/list"; }

scripts_are_calm() {
    dpkg-deb -e "$file" "$work/control"
    # Neither an installation nor an upgrade starts, stops or enables anything.
    ! grep -E 'deb-systemd-invoke.*(start|stop)|deb-systemd-helper enable' \
        "$work/control/postinst" "$work/control/preinst" 2>/dev/null
}

for arch in "$@"; do
    case $arch in
    armhf) cross_arch armv7 ;;
    arm64) cross_arch aarch64 ;;
    amd64) cross_arch x86_64 ;;
    *) die "unknown architecture '$arch'; known: armhf arm64 amd64" ;;
    esac
    deb=pisup_$version-1_$arch.deb file=$cross_tree/target/dist/pisup_$version-1_$arch.deb
    [ -e "$file" ] || die "$deb is not built: make deb"
    rm -rf "$work/root" "$work/control"
    dpkg-deb -c "$file" >"$work/list"
    dpkg-deb -x "$file" "$work/root"
    expect "is of its architecture" field Architecture "$arch"
    expect "depends on nothing" field Depends ""
    for bin in $(cross_bins); do
        expect "has $bin as it was built" cmp "$dist/$bin" "$work/root/usr/bin/$bin"
        expect "$bin can be executed" has -rwxr-xr-x "usr/bin/$bin"
    done
    expect "has every unit" diff -r "$cross_tree/units" "$work/root/usr/share/pisup/units"
    expect "has pages of the manual" has -rw-r--r-- usr/share/man/man1/pisup-ctl-status.1.gz
    expect "has the systemd service" has -rw-r--r-- usr/lib/systemd/system/pisup.service
    expect "has the licence" has -rw-r--r-- usr/share/doc/pisup/copyright
    expect "nobody but root may write" lists_none '^.(.{4}w|.{7}w)'
    expect "is all root's" lists_none '^[^ ]+ +(0*[1-9]|[^0])'
    expect "leaves alone what runs" scripts_are_calm
done
[ $failures = 0 ] || die "$failures of them failed"
