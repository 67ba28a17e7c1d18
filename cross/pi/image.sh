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
dist=$pi_tree/target/dist/armv7
real=$pi_tree/target/real/armv7

# parts: the real programs that it needs beside Debian's.
parts() {
    echo flanneld
    if [ "$chain" = node ]; then
        echo kubelet kube-proxy
        if [ "$role" = master ]; then echo kube-apiserver; fi
    fi
}

# units: all files of its units.
units() {
    local unit
    for unit in etcd flannel flannel-config docker; do
        echo "$pi_tree/units/native/$unit.toml"
    done
    for unit in "$pi_tree"/units/board/*.toml; do
        # There is nobody to keep out of an emulated Pi: console.toml asks for no password.
        [ "${unit##*/}" = getty.toml ] || echo "$unit"
    done
    for unit in console containerd; do echo "$pi_here/units/$unit.toml"; done
    if [ "$chain" = node ]; then
        for unit in kubelet kube-proxy; do echo "$pi_tree/units/native/$unit.toml"; done
        echo "$pi_here/units/kube-apiserver.toml"
    fi
}

node_toml() {
    cat <<EOF
role      = "$role"
master    = "$master"
name      = "$name"
interface = "usb0"
address   = "$address"
profile   = "native"

[network]
cidr    = "10.1.0.0/16"
backend = "vxlan"

[images]
pause = "pause:3.5"

[vars]
arch     = "arm"
etcd-api = "v2"
EOF
}

# fill ROOT: what makes it this Pi.
fill() {
    local part
    echo "$name" >"$1/etc/hostname"
    printf '%s\n' "127.0.0.1 localhost" "$master pi-1" "$(pi_address pi-2) pi-2" >"$1/etc/hosts"
    install -m 755 "$dist/pisup-init" "$1/sbin/pisup-init"
    install -m 755 "$dist/pisup" "$1/usr/bin/pisup"
    for part in $(parts); do install -m 755 "$real/$part" "$1/usr/local/sbin/$part"; done
    install -d -m 755 "$1/etc/pisup" "$1/etc/pisup/units" "$1/usr/lib/pisup" "$1/var/lib/pisup"
    install -m 755 "$pi_here/report" "$pi_here/box" "$1/usr/lib/pisup/"
    node_toml >"$1/etc/pisup/node.toml"
    mapfile -t files < <(units)
    install -m 644 "${files[@]}" "$1/etc/pisup/units"
    report >"$1/etc/pisup/units/report.toml"
    # They drive the emulated Ethernet, which is no Pi's own.
    sed -i 's/^    # Pods: /    "phy_generic", "dwc2", "cdc_ether", "rndis_host",\n&/' \
        "$1/etc/pisup/units/modules.toml"
    sed -i -e 's/^requires = \["flannel"/&, "containerd"/' \
        -e 's,^    "-H"\, "fd://"\,$,&\n    "--containerd=/run/containerd/containerd.sock"\,,' \
        "$1/etc/pisup/units/docker.toml"
    # What dockerd does not use takes long to start.
    rm "$1/etc/containerd/config.toml"
    cat >"$1/etc/containerd/config.toml" <<EOF
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
EOF
    if [ "$chain" = node ]; then credentials "$1/etc/kubernetes"; fi
    # As if it had been switched off now: the emulated board has no clock either.
    touch "$1/var/lib/pisup/clock"
}

# report: asks for what there is.
report() {
    if [ "$chain" = node ]; then
        cat "$pi_here/units/report.toml"
    else
        sed '/"kubelet"/d' "$pi_here/units/report.toml"
    fi
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
    cat "$0" "$pi_here/lib.sh" "$pi_base/key" "$pi_here/report" "$pi_here/box" "$pi_here"/units/*
    mapfile -t files < <(units)
    cat "${files[@]}" "$dist/pisup" "$dist/pisup-init"
    for part in $(parts); do cat "$real/$part"; done
    echo "$name $chain"
}

for file in "$dist/pisup" "$dist/pisup-init"; do
    [ -x "$file" ] || pi_die "$file is not built: make armv7"
done
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
    truncate -s 2G "$card.new"
    mkfs.ext4 -q -F -L pi -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$card.new"
    rm -rf "$root"
    mv "$card.new" "$card"
    echo "$key" >"$card.key"
    pi_say "$name: a card with $(du -sm "$card" | cut -f1) MB on it"
fi
cp --sparse=always "$card" "$pi_out/$name.img"
