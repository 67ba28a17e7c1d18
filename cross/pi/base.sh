#!/bin/bash
# What is the same on every emulated Pi, from Debian's armhf packages (as root): target/pi/base/ has
# card/, the files of one, and beside it kernel, device tree and initrd.
#
#     cross/pi/base.sh
#
# Half a minute and 570 MB to fetch once; after that only when this file changes. PI_MIRROR is where
# packages come from, unless it is this machine's own.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages=docker.io,containerd,runc,etcd-server,etcd-client,kubernetes-client,busybox-static
packages+=,iptables,iproute2,kmod,conntrack,mount,linux-image-armmp,libc6
# What no node needs.
unwanted="usr/share/doc usr/share/man usr/share/locale usr/share/perl usr/share/info usr/bin/dnet
    usr/bin/ctr usr/sbin/ovrouter usr/bin/containerd-stress usr/lib/linux-image-* usr/share/zsh
    usr/bin/etcddump* usr/share/bash-completion var/cache usr/bin/containerd-shim
    usr/bin/containerd-shim-runc-v1 usr/share/lintian"
# Folders of kernel modules that it needs.
modules="arch crypto lib net fs/ext4 fs/jbd2 fs/mbcache.ko fs/overlayfs fs/nls fs/fuse fs/squashfs
    drivers/block/loop.ko drivers/mmc drivers/net/tun.ko drivers/net/veth.ko drivers/net/vxlan
    drivers/net/dummy.ko drivers/net/mii.ko drivers/net/usb drivers/usb drivers/watchdog
    drivers/char/hw_random"

# fetch ROOT: packages, unpacked and not configured: no program of theirs has to run here.
fetch() {
    local list=$pi_out/base.new.list
    pi_say "fetching Debian's packages for armhf"
    "$pi_tree/tests/mirror.sh" >"$list"
    mmdebstrap --quiet --architectures=armhf --variant=extract --include="$packages" \
        bookworm "$1" "$list"
    rm -f "$list"
}

# keep_modules ROOT: of the kernel's modules those that are needed, and what those need.
keep_modules() {
    local all version wanted
    all=$(echo "$1"/lib/modules/*)
    version=$(basename "$all")
    depmod -b "$1" "$version"
    wanted=$(echo "$modules" | xargs -n 1 | sed 's,.*,^kernel/&[/:],' | paste -sd '|')
    grep -E "$wanted" "$all/modules.dep" | tr -d : | xargs -n 1 |
        sort -u >"$all/wanted"
    (cd "$all" && find kernel -name '*.ko' | sort | comm -23 - wanted | xargs rm -f)
    find "$all/kernel" -type d -empty -delete
    rm -f "$all/wanted"
    depmod -b "$1" "$version"
}

# fill ROOT: what the packages' own scripts would have made.
fill() {
    local applet folder
    mkdir -p "$1"/{proc,sys,dev,run,root,tmp,mnt,etc,var/lib,var/log,usr/local/sbin}
    chmod 1777 "$1/tmp"
    ln -sfn /run "$1/var/run"
    for applet in $(qemu-arm-static "$1/bin/busybox" --list); do
        for folder in bin sbin usr/bin usr/sbin; do
            if [ -e "$1/$folder/$applet" ] || [ -L "$1/$folder/$applet" ]; then continue 2; fi
        done
        ln -s /bin/busybox "$1/bin/$applet"
    done
    for applet in iptables iptables-save iptables-restore ip6tables ip6tables-save \
        ip6tables-restore; do
        ln -sfn xtables-nft-multi "$1/usr/sbin/$applet"
    done
    echo "root::0:0:root:/root:/bin/sh" >"$1/etc/passwd"
    printf '%s\n' root:x:0: tty:x:5: docker:x:999: >"$1/etc/group"
    echo "hosts: files dns" >"$1/etc/nsswitch.conf"
    rm -f "$1/etc/hostname" "$1/etc/hosts" "$1/etc/resolv.conf"
}

# initrd ROOT FILE: finds the card and hands over to what is on it. Checksums by instructions of
# ARMv8 (arm-ce) are of no use to a Pi 2.
initrd() {
    local root=$1 dir=$pi_out/initrd.new version path
    version=$(basename "$root"/lib/modules/*)
    rm -rf "$dir"
    mkdir -p "$dir"/{bin,dev,proc,card,lib/modules}
    cp "$root/bin/busybox" "$dir/bin/"
    order() {
        local what=$1
        shift
        modprobe -d "$root" -S "$version" -a --show-depends "$@" |
            sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | grep -v arm-ce \
            >"$dir/order.$what"
        while read -r path; do cp "$path" "$dir/lib/modules/"; done <"$dir/order.$what"
        sed -i 's,.*/,,' "$dir/order.$what"
    }
    order card sdhci-iproc crc32c_generic ext4 loop squashfs
    order usb phy_generic dwc2 cdc_ether rndis_host
    order dummy dummy
    install -m 755 "$pi_here/initrd-init" "$dir/init"
    (cd "$dir" && find . | cpio --quiet -o -H newc | gzip -1) >"$2"
    rm -rf "$dir"
}

# use_sdhci DTB: the card in the hands of the other of the two controllers that a Pi 2 has for it.
# When the machine is so busy that a transfer takes 10 seconds, the driver of its own one goes on
# with what was not read: a broken dockerd, or a kernel that oopses.
use_sdhci() {
    local own=/soc/mmc@7e202000 other=/soc/mmc@7e300000 pins
    pins=$(fdtget -t x "$1" /soc/gpio@7e200000/emmc_gpio48 phandle)
    fdtput -t s "$1" $own status disabled
    fdtput -t s "$1" $other status okay
    fdtput -t i "$1" $other bus-width 4
    fdtput -t s "$1" $other pinctrl-names default
    fdtput -t x "$1" $other pinctrl-0 "$pins"
}

key=$(cat "$0" "$pi_here/initrd-init" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$pi_base/key" 2>/dev/null)" = "$key" ]; then exit 0; fi
[ "$(id -u)" = 0 ] || pi_die "has to be root, for a card's files belong to root"
mkdir -p "$pi_out"
new=$pi_out/base.new
rm -rf "$new" "$pi_base"
mkdir -p "$new"
fetch "$new/card"
cp "$new"/card/boot/vmlinuz-*-armmp "$new/vmlinuz"
cp "$new"/card/usr/lib/linux-image-*/bcm2836-rpi-2-b.dtb "$new/pi.dtb"
use_sdhci "$new/pi.dtb"
keep_modules "$new/card"
rm -rf "$new/card/boot"
initrd "$new/card" "$new/initrd"
for path in $unwanted; do
    # shellcheck disable=SC2086
    rm -rf "$new/card/"$path
done
fill "$new/card"
echo "$key" >"$new/key"
mv "$new" "$pi_base"
pi_say "base: $(du -sm "$pi_base/card" | cut -f1) MB of files"
