# What both ways of building have in common: architectures, targets, flags. Sourced by the others.
#
# A target is built with its own std (`build-std`): Debian has none for musl, and one that is built
# for size and together with the program is 300 KB smaller.

# shellcheck shell=bash disable=SC2034
cross_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cross_tree=$(cd "$cross_here/.." && pwd)
cross_tools=$cross_tree/target/tools
cross_cargo=("-Zbuild-std=std,panic_abort" "-Zbuild-std-features=optimize_for_size")

die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { echo "${0##*/}: $*"; }

# cross_arch ARCH: sets target, flags, emulator (empty: this machine runs it by itself).
cross_arch() {
    # A panic aborts, so no table is needed to unwind by.
    flags="-C link-self-contained=no -C force-unwind-tables=no"
    case $1 in
    armv7)
        target=armv7-unknown-linux-musleabihf emulator=qemu-arm-static
        # Every ARMv7 has Thumb-2, and the program is a third smaller in it.
        flags+=" -C target-feature=+thumb-mode -C llvm-args=-enable-machine-outliner=always" ;;
    aarch64) target=aarch64-unknown-linux-musl emulator=qemu-aarch64-static ;;
    x86_64) target=x86_64-unknown-linux-musl emulator=qemu-x86_64-static ;;
    *) die "unknown architecture '$1'; known: armv7 aarch64 x86_64" ;;
    esac
    if [ "$(uname -m)" = "$1" ]; then emulator=; fi
    dist=$cross_tree/target/dist/$1
}

# cross_bins: the programs that Cargo.toml names.
cross_bins() {
    awk '/^\[/ { bin = $0 == "[[bin]]" } bin && $1 == "name" { gsub(/"/, "", $3); print $3 }' \
        "$cross_tree/Cargo.toml"
}

# cross_image: the name of the image that `cross` builds in.
cross_image() { sed -n 's/^image = "\(.*\)"$/\1/p' "$cross_here/Cross.toml" | sort -u; }
