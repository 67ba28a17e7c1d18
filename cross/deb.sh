#!/bin/bash
# Debian packages of the binaries in target/dist, by cargo-deb and the metadata in Cargo.toml.
#
#     cross/deb.sh ARCH...        ARCH: armv7 (armhf) | aarch64 (arm64) | x86_64 (amd64)
#
# Results: target/dist/pisup_*.deb. The binaries and target/man have to be there: `make deb`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=target.sh
source "$(dirname "${BASH_SOURCE[0]}")/target.sh"

# The last one that a compiler of `rust-version` in Cargo.toml builds.
cargo_deb_version=3.8.0

# install_cargo_deb: into target/, with the compiler of the cross builds.
install_cargo_deb() {
    local tool=$cross_tools/cargo-deb
    local found
    found=$("$tool/bin/cargo-deb" --version 2>/dev/null) || found=
    if [ "$found" = "cargo-deb $cargo_deb_version" ]; then return 0; fi
    say "building cargo-deb $cargo_deb_version (2 minutes, once)"
    env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc \
        CARGO_TARGET_DIR="$cross_tree/target/zigbuild/tools" \
        /usr/bin/cargo install --quiet --locked \
        --force --root "$tool" --version "=$cargo_deb_version" cargo-deb ||
        die "cargo-deb cannot be built"
}

# package ARCH: cargo-deb looks where cargo would have built; so the binaries are put there.
package() {
    local built file
    cross_arch "$1"
    built=$cross_tree/target/deb/$target/release
    rm -rf "$built"
    mkdir -p "$built"
    for bin in $(cross_bins); do
        [ -e "$dist/$bin" ] || die "$1: $bin is not built: make $1"
        (cd "$dist" && sha256sum --quiet -c "$bin.sha256") || die "$1: $bin is not what was built"
        cp "$dist/$bin" "$built/$bin"
    done
    # All times in it are that of the commit, so that the same commit gives the same package.
    file=$(cd "$cross_tree" && env -u RUSTUP_TOOLCHAIN PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc \
        SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" CARGO_TARGET_DIR="$cross_tree/target/deb" \
        "$cross_tools/cargo-deb/bin/cargo-deb" --quiet --no-build --no-strip --locked \
        --target "$target" --output "$cross_tree/target/dist/") || die "$1: cargo-deb failed"
    say "${file#"$cross_tree"/}, $(stat -c %s "$file") bytes"
}

[ $# -gt 0 ] || die "which architecture? armv7, aarch64, x86_64"
[ -e "$cross_tree/target/man/pisup.1" ] || die "no man pages: make man"
mkdir -p "$cross_tools"
install_cargo_deb
for arch in "$@"; do package "$arch"; done
