#!/bin/bash
# The image that `cross` builds in, from Debian packages of the archive that apt is set to: the
# compiler, linker and musl of build.sh, in a container.
#
#     cross/image.sh              its name is that in Cross.toml; DOCKER=... is another client
#
# No package is installed, no script of one is run, and no root is needed but for the engine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=target.sh
source "$(dirname "${BASH_SOURCE[0]}")/target.sh"

docker=${DOCKER:-docker}
name=$(cross_image)
work=$cross_tree/target/image
packages="rustc-web cargo-web rust-web-src gcc libc6-dev dash coreutils sed grep libc-bin"

[ -e "$cross_tools/python/.key" ] || die "the linker is missing: make armv7"
rm -rf "$work/root"
mkdir -p "$work/debs/partial" "$work/root/tmp"

say "fetching packages"
# As if nothing were installed, so that what these need comes along.
# shellcheck disable=SC2086
apt-get -qq -y -o Dir::State::status=/dev/null -o Dir::Cache::archives="$work/debs" \
    -o Debug::NoLocking=1 --download-only --no-install-recommends install $packages ||
    die "apt-get could not fetch: $packages"
say "unpacking"
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
rm -rf "$work/root/usr/share/"{doc,man,locale,info}
# What the scripts of dash and gcc would have done.
ln -sf gcc "$work/root/usr/bin/cc"
[ -e "$work/root/bin/sh" ] || ln -s dash "$work/root/bin/sh"
mkdir -p "$work/root/opt"
cp -a "$cross_tools/python" "$work/root/opt/python"

# linker ARCH ZIG-TARGET CPU: as cargo-zigbuild writes it.
env=(-c "ENV CARGO_ZIGBUILD_ZIG_PATH=/opt/python/ziglang/zig ZIG_GLOBAL_CACHE_DIR=/tmp/zig"
    -c "ENV ZIG_LOCAL_CACHE_DIR=/tmp/zig CARGO_ZIGBUILD_CACHE_DIR=/tmp/zigbuild")
linker() {
    cross_arch "$1"
    cat >"$work/root/usr/bin/link-$1" <<-END
	#!/bin/sh
	exec /opt/python/bin/cargo-zigbuild zig cc -- -g -fno-sanitize=all $3 -target $2 "\$@"
	END
    chmod 755 "$work/root/usr/bin/link-$1"
    local upper=${target//-/_}
    env+=(-c "ENV CARGO_TARGET_${upper^^}_LINKER=/usr/bin/link-$1")
}
linker armv7 arm-linux-musleabihf -mcpu=generic+v7a+vfp3-d32+thumb2-neon
linker aarch64 aarch64-linux-musl -mcpu=generic
linker x86_64 x86_64-linux-musl -mcpu=x86_64

say "importing $name"
tar -C "$work/root" --owner=0 --group=0 --numeric-owner -c . |
    $docker import "${env[@]}" -c 'ENV PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc' - "$name" >/dev/null
rm -rf "$work/root"
say "$name is there"
