#!/bin/bash
# Static, stripped binaries for a Pi (and for this machine): by `cross` where a container engine has
# the image that cross/image.sh makes, else without any engine. Source, compiler, linker, flags and
# profile are the same.
#
#     cross/build.sh ARCH...      ARCH: armv7 | aarch64 | x86_64
#
# Results: target/dist/ARCH/, with a .sha256 beside each. Cold, it takes 3 minutes on two free
# cores for each; after that only what changed is built.
#
# The compiler is Debian's and not the one in PATH: it comes with its own source, from which std for
# musl is built, and one package manager keeps compiler, source and cargo in step.
# The linker and musl are zig's; nothing else on Debian 12 has musl for armv7.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=target.sh
source "$(dirname "${BASH_SOURCE[0]}")/target.sh"

# Debian keeps one version of these packages in its archive and no older one, so this is a least
# version: the edition and `rust-version` of Cargo.toml want 1.88, build-std for musl was tried with
# 1.96.
least_rust=1.96

# check_rust: the compiler, cargo and the source of std are Debian's, and of one version.
check_rust() {
    local source=/usr/lib/rustlib/src/rust/library version
    for file in /usr/bin/rustc /usr/bin/cargo "$source/std/Cargo.toml"; do
        [ -e "$file" ] || die "$file is missing; as root: tests/deps.sh cross"
    done
    version=$(/usr/bin/rustc --version | cut -d' ' -f2)
    printf '%s\n' "$least_rust" "$version" | sort -CV ||
        die "/usr/bin/rustc is $version, and $least_rust is needed: apt-get install rustc-web"
}

# install_tools: what requirements.txt pins, into target/; nothing of the machine is touched.
install_tools() {
    local key tools=$cross_tools/python
    key=$(sha256sum "$cross_here/requirements.txt" | cut -d' ' -f1)
    if [ "$(cat "$tools/.key" 2>/dev/null)" = "$key" ]; then return 0; fi
    /usr/bin/python3 -m pip --version >/dev/null 2>&1 ||
        die "pip is missing; as root: tests/deps.sh cross"
    say "installing the linker (90 MB, once)"
    rm -rf "$tools" "$tools.new"
    /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes --only-binary=:all: --target "$tools.new" \
        -r "$cross_here/requirements.txt" || die "pip could not install cross/requirements.txt"
    echo "$key" >"$tools.new/.key"
    mv "$tools.new" "$tools"
}

# build ARCH: through cargo, which knows what has changed.
build() {
    local start=$SECONDS way=zigbuild
    cross_arch "$1"
    upper=${target//-/_}
    if has_image; then way=cross; fi
    say "$1: building with $(/usr/bin/rustc --version | cut -d' ' -f1,2), by $way"
    by_$way || die "$1: the build failed"
    deliver "$cross_tree/target/$way/$target/release"
    say "$1: $((SECONDS - start)) s, in ${dist#"$cross_tree"/}"
}

# has_image: an engine answers, has the image, and there is a `cross` to use it.
has_image() {
    command -v cross >/dev/null && command -v rustup >/dev/null &&
        timeout 10 docker image inspect "$(cross_image)" >/dev/null 2>&1
}

# Paths of the machine have no place in the product, and would make each machine's differ.
by_zigbuild() {
    flags+=" --remap-path-prefix=$cross_tree=."
    flags+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=registry"
    env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS \
        PATH="$cross_tools/python/bin:/usr/bin:/bin" \
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        "CARGO_TARGET_${upper^^}_RUSTFLAGS=$flags" \
        CARGO_TARGET_DIR="$cross_tree/target/zigbuild" \
        CARGO_ZIGBUILD_ZIG_PATH="$cross_tools/python/ziglang/zig" \
        CARGO_ZIGBUILD_CACHE_DIR="$cross_tree/target/zigbuild/wrappers" \
        ZIG_GLOBAL_CACHE_DIR="$cross_tree/target/zigbuild/zig" \
        ZIG_LOCAL_CACHE_DIR="$cross_tree/target/zigbuild/zig" \
        /usr/bin/cargo zigbuild --manifest-path "$cross_tree/Cargo.toml" --locked --release \
        --bins --target "$target" "${cross_cargo[@]}"
}

# cross 0.2.5 does not understand the `(active, default)` of rustup 1.28 and later: it takes the
# toolchain in use for absent and has rustup "add" it, which updates the user's compiler. So it
# sees a rustup with a home of its own, in which Debian's compiler is linked and nothing is default.
by_cross() {
    local name=pisup-x86_64-unknown-linux-gnu rustup_home=$cross_tools/rustup
    local toolchain=$cross_tools/$name
    mkdir -p "$toolchain/bin" "$toolchain/lib" "$rustup_home"
    ln -sfn /usr/lib/rustlib "$toolchain/lib/rustlib"
    ln -sf /usr/bin/cargo "$toolchain/bin/cargo"
    printf '#!/bin/sh\nexec /usr/bin/rustc --sysroot "%s" "$@"\n' "$toolchain" \
        >"$toolchain/bin/rustc"
    chmod 755 "$toolchain/bin/rustc"
    RUSTUP_HOME=$rustup_home RUSTUP_AUTO_INSTALL=0 \
        rustup --quiet toolchain link "$name" "$toolchain" || return
    flags+=" --remap-path-prefix=/project=. --remap-path-prefix=/cargo/registry/src=registry"
    (cd "$cross_tree" && env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS \
        PATH="$toolchain/bin:$PATH" RUSTUP_HOME="$rustup_home" RUSTUP_AUTO_INSTALL=0 \
        CROSS_CUSTOM_TOOLCHAIN=1 CROSS_CONFIG="$cross_here/Cross.toml" RUSTC_BOOTSTRAP=1 \
        "CARGO_TARGET_${upper^^}_RUSTFLAGS=$flags" CARGO_TARGET_DIR="$cross_tree/target/cross" \
        cross build --locked --release --bins --target "$target" "${cross_cargo[@]}")
}

# deliver FOLDER: its programs to target/dist, each replaced at once, and only where it changed.
deliver() {
    local bin
    mkdir -p "$dist"
    for bin in $(cross_bins); do
        cmp -s "$1/$bin" "$dist/$bin" && [ -e "$dist/$bin.sha256" ] && continue
        rm -f "$dist/$bin.sha256"
        install -m 755 "$1/$bin" "$dist/.$bin.new"
        mv -f "$dist/.$bin.new" "$dist/$bin"
        (cd "$dist" && sha256sum "$bin" >"$bin.sha256")
    done
}

[ $# -gt 0 ] || die "which architecture? armv7, aarch64, x86_64"
for arch in "$@"; do cross_arch "$arch"; done
check_rust
mkdir -p "$cross_tools"
# Two at once would tread on each other: the second waits, and says so.
exec 9>"$cross_tools/.lock"
flock -n 9 || { say "waiting for another build"; flock 9; }
install_tools
for arch in "$@"; do build "$arch"; done
