#!/bin/bash
# The cross-built programs, run: under qemu, or by the machine itself where it can.
#
#     cross/test.sh ARCH...
#
# Needs no root. All of it runs in a PID namespace of its own, so nothing outlives it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=target.sh
source "$(dirname "${BASH_SOURCE[0]}")/target.sh"

if [ "${1-}" != inside ]; then
    [ $# -gt 0 ] || die "which architecture? armv7, aarch64, x86_64"
    rights=()
    if [ "$(id -u)" != 0 ]; then rights=(--user --map-root-user); fi
    exec unshare "${rights[@]}" --pid --fork --kill-child=KILL --mount-proc "$0" inside "$@"
fi
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# try SENTENCE COMMAND...: a line with the verdict, and what was said where it is bad.
try() {
    local sentence=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "PASS $arch: $sentence"
    else
        echo "FAIL $arch: $sentence"
        sed 's/^/     /' "$work/said"
        failures=$((failures + 1))
    fi
}

becomes=
pisup() {
    # shellcheck disable=SC2086
    $becomes $emulator "$dist/pisup" --config "$work/etc" --run "$work/run" \
        --state "$work/state" "$@"
}

is_bare() {
    local file=$dist/$1 segments sections
    segments=$(readelf -lW "$file")
    sections=$(readelf -SW "$file")
    ! grep -E 'INTERP|DYNAMIC' <<<"$segments" || { echo "is linked dynamically"; return 1; }
    ! grep -E '\.(symtab|debug_)' <<<"$sections" || { echo "is not stripped"; return 1; }
}

has_no_path_of_this_machine() {
    ! grep -aoE "(${cross_tree}|${CARGO_HOME:-$HOME/.cargo})/[[:graph:]]*" "$dist/$1"
}

is_hard_float() { readelf -h "$dist/$1" | grep hard-float; }
sums_hold() { (cd "$dist" && sha256sum -c ./*.sha256); }

says_version() {
    local version
    version=$(sed -n '/^version = /{s/.*"\(.*\)".*/\1/p;q}' "$cross_tree/Cargo.toml")
    [ "$($emulator "$dist/pisup" --version)" = "pisup $version" ]
}

helps() { pisup --help | grep '^Usage: pisup '; }

# config FOLDER: a copy as it has to be: nobody else may write to it.
config() {
    rm -rf "${work:?}/etc"
    mkdir -p "$work/etc/units"
    cp "$1"/*.toml "$work/etc/units"
    mv "$work/etc/units/node.toml" "$work/etc/node.toml"
    # An address of its own, for machines that have no route.
    sed -i 's/^# *name .*/name = "pi-1"/; s/^# *interface .*/interface = "lo"/
        s/^# *address .*/address = "198.51.100.1"/' "$work/etc/node.toml"
    chmod -R go-w "$work/etc"
}

checks_classic() {
    config "$cross_tree/units/classic"
    pisup check
}

checks_mistakes() {
    config "$cross_tree/units/classic"
    sed -i 's/^requires/reqires/' "$work/etc/units/docker.toml"
    local status=0
    pisup check >"$work/mistakes" 2>&1 || status=$?
    [ $status = 1 ] && grep 'docker.toml:[0-9]*:' "$work/mistakes"
}

# until_true COMMAND...: within half a minute.
until_true() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ $SECONDS -lt $deadline ] || { echo "not within 30 s: $*"; return 1; }
        sleep 0.1
    done
}

# A value that a oneshot exports reaches the command line of a service; then all goes down.
supervises() {
    rm -rf "${work:?}/etc"
    mkdir -p "$work/etc/units"
    cat >"$work/etc/node.toml" <<-END
	role = "master"
	name = "pi-1"
	interface = "lo"
	address = "198.51.100.1"
	END
    cat >"$work/etc/units/one.toml" <<-END
	[unit]
	kind = "oneshot"
	[command]
	exec = ["cp", "$work/from", "$work/to"]
	[exports]
	file = "$work/to"
	require = ["SECONDS"]
	END
    cat >"$work/etc/units/two.toml" <<-'END'
	[unit]
	requires = ["one"]
	[command]
	exec = ["sleep", "${one.SECONDS}"]
	END
    echo 'SECONDS=1234' >"$work/from"
    chmod -R go-w "$work/etc"
    pisup check || return
    # The supervisor itself and not a shell around it: the signal is for it.
    (becomes="exec" && pisup supervise) &
    local supervisor=$! status=0
    until_true test -S "$work/run/ctl.sock" &&
        until_true is_ready two &&
        pgrep -fx 'sleep 1234' || status=$?
    kill -TERM $supervisor
    wait $supervisor || { echo "supervise: exit $?"; status=1; }
    ! pgrep -fx 'sleep 1234' || { echo "its service is still there"; status=1; }
    return $status
}

is_ready() { pisup ctl status "$1" --json 2>/dev/null | grep '"state":"ready"'; }

for arch in "$@"; do
    cross_arch "$arch"
    [ -z "$emulator" ] || command -v "$emulator" >/dev/null ||
        die "$emulator is missing; as root: tests/deps.sh cross"
    for bin in $(cross_bins); do
        [ -e "$dist/$bin" ] || die "$arch: $bin is not built: make $arch"
        try "$bin is static and stripped" is_bare "$bin"
        try "$bin names no path of this machine" has_no_path_of_this_machine "$bin"
        [ "$arch" != armv7 ] || try "$bin is for hard float" is_hard_float "$bin"
    done
    try "the sums are right" sums_hold
    try "pisup tells its version" says_version
    try "pisup helps" helps
    try "check passes units/classic" checks_classic
    try "check names file and line of a mistake" checks_mistakes
    try "supervise carries a value to a service, and ends" supervises
done
[ $failures = 0 ] || die "$failures of them failed"
