#!/bin/bash
# The comparison that a user would make: the same card, kernel and programs up to the Docker daemon,
# once under pisup and once under Debian's systemd with units written by hand (peer/systemd). What
# each took to be ready, holds in memory, and writes to the card in ten idle minutes.
#
#     peer.sh [pisup | systemd]        default: both, one after the other; 25 minutes
#
# IDLE=60 makes the ten minutes one.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

idle=${IDLE:-600}
peer=$pi_here/peer
packages=systemd,systemd-sysv,dbus,udev,util-linux,login,procps

# systemd_base: Debian's packages of systemd, unpacked; fetched once.
systemd_base() {
    local base=$pi_out/systemd key
    key=$packages
    if [ "$(cat "$base/key" 2>/dev/null)" = "$key" ]; then return 0; fi
    pi_say "fetching Debian's systemd for armhf"
    rm -rf "$base"
    mkdir -p "$base"
    "$pi_tree/tests/mirror.sh" >"$base.list"
    mmdebstrap --quiet --architectures=armhf --variant=extract --include=$packages \
        bookworm "$base/root" "$base.list"
    rm -rf "$base/root/usr/share/"{doc,man,locale,info}
    echo "$key" >"$base/key"
}

# systemd_fill ROOT: what a person would set up who does the same without pisup.
systemd_fill() {
    local units=$1/etc/systemd/system unit link
    cp -a --remove-destination "$pi_out/systemd/root/." "$1/"
    # With the other programs, where they are compressed.
    cp -a "$1/lib/systemd/." "$1/usr/lib/systemd/"
    rm -rf "$1/lib/systemd"
    ln -s ../usr/lib/systemd "$1/lib/systemd"
    # The initrd hands over to this name.
    rm "$1/usr/bin/pisup-init"
    ln -s /lib/systemd/systemd "$1/usr/bin/pisup-init"
    rm -rf "$1/etc/pisup" "$1/usr/bin/pisup"
    printf '%s\n' root::0:0:root:/root:/bin/sh messagebus:x:100:100::/:/bin/false \
        systemd-network:x:998:998::/:/bin/false systemd-journal:x:997:997::/:/bin/false \
        >"$1/etc/passwd.new"
    mv "$1/etc/passwd.new" "$1/etc/passwd"
    printf '%s:x:%s:\n' root 0 tty 5 disk 6 lp 7 dialout 20 cdrom 24 tape 26 audio 29 video 44 \
        kvm 105 render 106 input 107 sgx 108 kmem 15 messagebus 100 docker 999 \
        systemd-network 998 systemd-journal 997 utmp 43 >"$1/etc/group.new"
    mv "$1/etc/group.new" "$1/etc/group"
    tr -d - </proc/sys/kernel/random/uuid >"$1/etc/machine-id"
    # As the package makes it: the journal is kept.
    mkdir -p "$1/var/log/journal" "$units"/{multi-user,sockets,network-online}.target.wants
    mkdir -p "$1/etc/systemd/network" "$1/etc/modules-load.d" "$1/etc/sysctl.d"
    # The name that pisup's units know, and not one made of its address.
    for link in 73-usb-net-by-mac 99-default; do
        ln -s /dev/null "$1/etc/systemd/network/$link.link"
    done
    cp "$peer/systemd/eth0.network" "$1/etc/systemd/network/"
    printf '%s\n' bridge br_netfilter veth overlay vxlan tun bcm2835_wdt \
        >"$1/etc/modules-load.d/node.conf"
    echo net.ipv4.ip_forward=1 >"$1/etc/sysctl.d/node.conf"
    # There is nobody to keep out.
    for unit in auth account session password; do
        echo "$unit sufficient pam_permit.so" >"$1/etc/pam.d/common-$unit"
    done
    # What the packages' scripts have made at the installation is not to be made at the first start.
    touch -d tomorrow "$1/etc/.updated" "$1/var/.updated"
    # An emulated Pi takes longer than the 90 s that a unit and a device have.
    mkdir -p "$1/etc/systemd/system.conf.d"
    printf '%s\n' '[Manager]' DefaultTimeoutStartSec=15min DefaultDeviceTimeoutSec=15min \
        >"$1/etc/systemd/system.conf.d/slow.conf"
    for unit in etcd flannel-config flannel docker measure; do
        cp "$peer/systemd/$unit.service" "$units/"
        ln -s "../$unit.service" "$units/multi-user.target.wants/"
    done
    for unit in containerd systemd-networkd; do
        ln -s "/lib/systemd/system/$unit.service" "$units/multi-user.target.wants/"
    done
    ln -s /lib/systemd/system/docker.socket "$units/sockets.target.wants/"
    ln -s /lib/systemd/system/systemd-networkd-wait-online.service \
        "$units/network-online.target.wants/"
    mkdir -p "$units/getty.target.wants"
    ln -s /lib/systemd/system/serial-getty@.service \
        "$units/getty.target.wants/serial-getty@ttyAMA0.service"
}

# card INIT: makes pi-1's card one that measures.
card() {
    local root=$pi_out/peer.root
    # The files of pi-1's own card, which is made for it here.
    "$pi_here/image.sh" pi-1 docker
    rm -rf "$root"
    mkdir "$root"
    debugfs -R "rdump / $root" "$pi_out/pi-1.card" >/dev/null 2>&1
    rmdir "$root/usr"
    unsquashfs -quiet -no-progress -dest "$root/usr" "$root/usr.squashfs" >/dev/null
    rm "$root/usr.squashfs"
    if [ "$1" = systemd ]; then
        systemd_base
        systemd_fill "$root"
    else
        install -m 644 "$peer/measure.toml" "$root/etc/pisup/units/"
    fi
    install -m 755 "$peer/measure" "$root/usr/lib/pisup/measure"
    sed -i "s/:-600}/:-$idle}/" "$root/usr/lib/pisup/measure"
    pi_format "$root" "$pi_out/pi-1.img.new"
    mv "$pi_out/pi-1.img.new" "$pi_out/pi-1.img"
}

# measure INIT
measure() {
    local log=$pi_out/pi-1.log
    card "$1"
    pi_say "$1: power"
    pi_on pi-1
    pi_wait pi-1 PEER-READY "$pi_limit" || pi_die "$1: not ready; see ${log#"$pi_tree"/}"
    pi_say "$1: ready; now nothing for $((idle / 60 + 1)) minutes"
    pi_wait pi-1 PEER-END $((idle * 2 + 600)) || pi_die "$1: no figures; see ${log#"$pi_tree"/}"
    pi_off pi-1
    sed 's/\r//' "$log" >"$pi_out/peer.$1.log"
    table "$1" <"$pi_out/peer.$1.log"
}

# table INIT: its figures, from the console.
table() {
    awk -v init="$1" -v idle="$idle" '
        $1 == "PEER-READY" { ready = $2 }
        $1 == "PEER-MEMORY" { rss += $4; pss += $5; private += $6; n++; names = names " " $3 }
        $1 == "PEER-WRITTEN" { requests = $4 - $2; kb = $5 - $3 }
        $1 == "PEER-FILE" { files++; if (files <= 12) list = list "\n      " $2 }
        END {
            printf "%s\n", init
            printf "  ready after power-on      %.0f s\n", ready
            printf "  processes of the init     %d:%s\n", n, names
            printf "  resident, all of it       %d kB\n", rss
            printf "  proportional (PSS)        %d kB\n", pss
            printf "  private                   %d kB\n", private
            printf "  written in %d s idle     %d kB in %d requests\n", idle, kb, requests
            printf "  files written meanwhile   %d%s\n", files, list
        }'
}

case ${1-} in pisup | systemd) inits=$1 ;; '') inits="pisup systemd" ;;
*) sed -n '6,8s/^#  *//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;; esac
pi_stop
pi_tied=1
trap 'pi_stop; rm -rf "$pi_out/peer.root"' EXIT
for init in $inits; do measure "$init"; done
