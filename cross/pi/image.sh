#!/bin/bash
# Makes the card of an emulated Pi (as root): target/pi/NAME.img, 2 GiB, mostly holes.
#
#     cross/pi/image.sh NAME CHAIN
#
# NAME: pi-1, the master, or pi-2. CHAIN: `docker` ends with the Docker daemon, `node` is a whole
# node with the control plane. A card that is there and of the same inputs stays as it is, and one
# that ran is made new from target/pi/NAME.card, which never ran.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=$1 chain=$2
role=$(pi_role "$name")
address=$(pi_address "$name")
master=$(pi_address pi-1)
deb=$(echo "$pi_tree"/target/dist/pisup_*_armhf.deb)
real=$pi_tree/target/real/armv7

# parts: the real programs that it needs beside Debian's.
parts() {
    echo flanneld
    if [ "$chain" = node ]; then
        echo kubelet kube-proxy
        if [ "$role" = master ]; then echo kube-apiserver; fi
    fi
}

# setup ROOT: as a user does it, by the package and `pisup setup`.
setup() {
    local units=$1/etc/pisup/units options=(--profile native --with-board --name "$name")
    options+=(--interface eth0 --address "$address" --from "$1/usr/share/pisup/units")
    options+=(--config "$1/etc/pisup" --manifests "$1/etc/kubernetes/manifests")
    if [ "$role" = worker ]; then options+=(--master "$master"); fi
    dpkg-deb -x "$deb" "$1"
    qemu-arm-static "$1/usr/bin/pisup" setup "$role" "${options[@]}" >"$pi_out/$name.setup"
    # There is nobody to keep out of an emulated Pi: `console` asks for no password.
    rm "$units/getty.toml"
    # The API server is a program here, not a pod.
    rm -rf "$1/etc/kubernetes/manifests"
    install -m 644 "$pi_here"/units/*.toml "$units"
    sed -i -e 's/^requires = \["flannel"/&, "containerd"/' \
        -e 's,^    "-H"\, "fd://"\,$,&\n    "--containerd=/run/containerd/containerd.sock"\,,' \
        "$units/docker.toml"
    # On a busy machine the first pod takes longer than the 2 minutes that it has.
    sed -i 's,^    "kubelet"\,$,&\n    "--runtime-request-timeout=15m"\,,' "$units/kubelet.toml"
    if [ "$chain" = docker ]; then
        rm "$units"/{kubelet,kube-proxy,kube-apiserver,pod-images}.toml
        sed -i '/"kubelet"/d' "$units/report.toml"
    fi
    qemu-arm-static "$1/usr/bin/pisup" check --config "$1/etc/pisup"
}

# fill ROOT: what makes it this Pi.
fill() {
    local part
    echo "$name" >"$1/etc/hostname"
    printf '%s\n' "127.0.0.1 localhost" "$master pi-1" "$(pi_address pi-2) pi-2" >"$1/etc/hosts"
    # kubelet makes no pod where this file is missing.
    echo "# Nobody knows names on this wire." >"$1/etc/resolv.conf"
    for part in $(parts); do install -m 755 "$real/$part" "$1/usr/local/sbin/$part"; done
    install -d -m 755 "$1/usr/lib/pisup" "$1/var/lib/pisup"
    install -m 755 "$pi_here"/{report,check,pod-images,pods} "$1/usr/lib/pisup/"
    if [ "$chain" = node ]; then
        install -m 755 "$real/pause" "$1/usr/lib/pisup/"
        credentials "$1/etc/kubernetes"
    fi
    setup "$1"
    # What dockerd does not use takes long to start.
    rm "$1/etc/containerd/config.toml"
    cat >"$1/etc/containerd/config.toml" <<EOF
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
EOF
    # As if it had been switched off now: the emulated board has no clock either.
    touch "$1/var/lib/pisup/clock"
}

# credentials DIR: of one cluster for all its Pis.
credentials() {
    "$pi_tree/tests/sandbox/credentials.sh" "$pi_out/kubernetes" "$master"
    mkdir -p "$1"
    if [ "$role" = master ]; then
        cp "$pi_out"/kubernetes/* "$1/"
    else
        cp "$pi_out"/kubernetes/{ca.crt,kubeconfig} "$1/"
    fi
}

inputs() {
    local part
    cat "$0" "$pi_here/lib.sh" "$pi_base/key" "$pi_here"/{report,check,pod-images,pods} \
        "$pi_here"/units/* "$deb"
    for part in $(parts); do cat "$real/$part"; done
    echo "$name $chain"
}

[ -e "$deb" ] || pi_die "there is no package for armhf in target/dist, or several: make pi-parts"
for part in $(parts); do
    [ -x "$real/$part" ] || pi_die "$real/$part is not built: tests/real/build.sh armv7 $part"
done
! pi_is_on "$name" || pi_die "$name is on: make pi-stop"
"$pi_here/base.sh"
card=$pi_out/$name.card
key=$(inputs | sha256sum | cut -d' ' -f1)
if [ "$(cat "$card.key" 2>/dev/null)" != "$key" ]; then
    [ "$(id -u)" = 0 ] || pi_die "has to be root, for a card's files belong to root"
    root=$pi_out/$name.root
    rm -rf "$root" "$card.key"
    # Names of its own for the same files: what differs is written anew, never changed in place.
    cp -al "$pi_base/card" "$root"
    fill "$root"
    pi_format "$root" "$card.new"
    mv "$card.new" "$card"
    echo "$key" >"$card.key"
    pi_say "$name: a card with $(du -sm "$card" | cut -f1) MB on it"
fi
cp --sparse=always "$card" "$pi_out/$name.img"
