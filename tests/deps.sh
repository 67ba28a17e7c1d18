#!/bin/bash
# Says which Debian packages are missing for a target of the Makefile, and installs them as root.
#
#     tests/deps.sh GROUP...      GROUP: build | node | test | real | cross | pi | fuzz | deny
#
# A program that is there is used, wherever it came from. No service is started by the
# installation: the sandbox has its own daemons, and the machine's are none of our business.
set -euo pipefail

# What has to be there, and the package that brings it.
# Any Rust from 1.88 on will do; what Debian 12 calls `cargo` is 0.66, and `cargo-web` is not.
build="git:git cc:gcc cargo:cargo-web rustc:rustc-web rustfmt:rustfmt-web"
node="dockerd:docker.io containerd:containerd runc:runc etcd:etcd-server etcdctl:etcd-client
    ip:iproute2 iptables:iptables unshare:util-linux busybox:busybox-static openssl:openssl
    kubectl:kubernetes-client conntrack:conntrack curl:curl python3:python3-minimal"
test="jq:jq systemd-nspawn:systemd-container mmdebstrap:mmdebstrap"
# libFuzzer is compiled from its sources, which come with a crate.
fuzz="g++:g++ awk:mawk"
deny="/usr/bin/pip3:python3-pip"
real="/usr/lib/go-1.19/bin/go:golang-1.19-go gcc:gcc /usr/include/stdio.h:libc6-dev"
# Debian's Rust comes with the source of its std, and with a cargo of the same version.
cross="/usr/bin/cargo:cargo-web /usr/bin/rustc:rustc-web
    /usr/lib/rustlib/src/rust/library/std/Cargo.toml:rust-web-src /usr/bin/pip3:python3-pip cc:gcc
    qemu-arm-static:qemu-user-static unshare:util-linux readelf:binutils pgrep:procps"
pi="qemu-system-arm:qemu-system-arm qemu-arm-static:qemu-user-static mmdebstrap:mmdebstrap
    mkfs.ext4:e2fsprogs cpio:cpio depmod:kmod socat:socat openssl:openssl
    fdtput:device-tree-compiler mksquashfs:squashfs-tools
    arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf
    /usr/arm-linux-gnueabihf/include/stdio.h:libc6-dev-armhf-cross"

die() { echo "deps.sh: $*" >&2; exit 1; }

missing() {
    local group pair
    for group in "$@"; do
        case $group in
        build | node | test | real | cross | pi | fuzz | deny) ;;
        *) die "unknown group '$group'" ;;
        esac
        for pair in ${!group}; do
            local wanted=${pair%:*}
            [ -e "$wanted" ] || command -v "$wanted" >/dev/null || echo "${pair#*:}"
        done
    done | sort -u | xargs
}

packages=$(missing "$@")
[ -n "$packages" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    die "missing: $packages; as root: apt-get install $packages"
fi
if ! command -v apt-get >/dev/null; then
    die "missing: $packages (names as in Debian 12), and there is no apt-get to install them"
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
echo "installing $packages"
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
$apt update
# shellcheck disable=SC2086
$apt install -y --no-install-recommends $packages </dev/null >/dev/null

packages=$(missing "$@")
[ -z "$packages" ] || die "installed, and still not found: $packages"
