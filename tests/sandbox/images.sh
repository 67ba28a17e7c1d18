#!/bin/bash
# Makes the container images of the sandbox from programs at hand, for `docker import`: no registry.
#
#     tests/sandbox/images.sh NAME...       NAME: busybox etcd flannel kube control pause
#
# KUBE=double and FLANNEL=double put doubles into kube and flannel. Prints a line for each image:
# its tag, a tar file, and a Dockerfile instruction; the tag changes when its programs do.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target
out=$target/sandbox/images
arch=amd64

die() { echo "images.sh: $*" >&2; exit 1; }

# parts real|double PROGRAM...: their paths.
parts() {
    local kind=$1 program folder=$target/real/$arch
    shift
    if [ "$kind" = double ]; then folder=$target/doubles/$arch; fi
    for program in "$@"; do
        [ -x "$folder/$program" ] || die "$folder/$program is not built"
        echo "$folder/$program"
    done
}

# What flannel, kubelet and kube-proxy call.
net_tools() {
    local name path
    for name in xtables-nft-multi xtables-legacy-multi conntrack ip mount umount nsenter; do
        if path=$(command -v "$name"); then echo "$path"; fi
    done
}

# libraries PROGRAM...: what they are linked with, and the loader.
libraries() {
    { ldd "$@" 2>/dev/null || true; } | grep -o '/[^ :]*\.so[^ :)]*' | sort -u
}

put() { install -D "$1" "$2/${3:-$1}"; }

put_libraries() {
    local library
    for library in $(libraries "${@:2}"); do put "$library" "$1"; done
}

put_busybox() {
    local applet
    put "$(command -v busybox)" "$1" /bin/busybox
    for applet in $(busybox --list); do
        [ -e "$1/bin/$applet" ] || ln -s busybox "$1/bin/$applet"
    done
}

# The same iptables as outside: rules in two kinds of table would not know of each other.
put_net_tools() {
    local tool tools plugins link suffix multi
    mapfile -t tools < <(net_tools)
    for tool in "${tools[@]}"; do put "$tool" "$1" "/usr/sbin/${tool##*/}"; done
    plugins=$(dirname "$(find /usr/lib -name libxt_tcp.so | head -n 1)")
    mkdir -p "$1$plugins"
    cp "$plugins"/*.so "$1$plugins/"
    put_libraries "$1" "${tools[@]}" "$plugins"/*.so
    multi=$(basename "$(readlink -f "$(command -v iptables)")")
    for link in iptables ip6tables; do
        for suffix in "" -save -restore; do ln -s "$multi" "$1/usr/sbin/$link$suffix"; done
    done
}

# inputs NAME: the programs that an image is made of.
inputs() {
    command -v busybox
    case $1 in
    busybox) ;;
    etcd) command -v etcd; command -v etcdctl ;;
    flannel) parts "${FLANNEL:-real}" flanneld; net_tools ;;
    kube) parts "${KUBE:-real}" kubelet kube-proxy; net_tools ;;
    control) parts real kube-apiserver kube-controller-manager kube-scheduler ;;
    pause) parts real pause ;;
    *) die "unknown image '$1'" ;;
    esac
}

# fill NAME TREE
fill() {
    local program
    mkdir -p "$2/tmp" "$2/etc" "$2/run"
    chmod 755 "$2"
    chmod 1777 "$2/tmp"
    if [ "$1" = pause ]; then
        put "$(parts real pause)" "$2" /pause
        return 0
    fi
    case $1 in
    etcd) for program in etcd etcdctl; do put "$(command -v $program)" "$2" "/bin/$program"; done
        put_libraries "$2" "$(command -v etcd)" "$(command -v etcdctl)" ;;
    flannel)
        put "$(parts "${FLANNEL:-real}" flanneld)" "$2" /opt/bin/flanneld
        put_net_tools "$2" ;;
    kube)
        for program in $(parts "${KUBE:-real}" kubelet kube-proxy); do
            put "$program" "$2" "/usr/bin/${program##*/}"
        done
        put_net_tools "$2" ;;
    control)
        for program in $(inputs control | tail -n +2); do
            put "$program" "$2" "/usr/bin/${program##*/}"
        done ;;
    esac
    put_busybox "$2"
}

instruction() {
    case $1 in
    pause) echo 'ENTRYPOINT ["/pause"]' ;;
    *) echo 'CMD ["/bin/sh"]' ;;
    esac
}

image() {
    local key tar tree used
    used=$(inputs "$1")
    # shellcheck disable=SC2086
    key=$({ stat -L -c '%n %s %Y' $used; cat "${BASH_SOURCE[0]}"; } | sha256sum | cut -c1-12)
    tar=$out/$1-$key.tar
    if [ ! -e "$tar" ]; then
        echo "image $1: making it" >&2
        tree=$(mktemp -d "$out/.tree.XXXXXX")
        fill "$1" "$tree"
        tar -C "$tree" --owner=0 --group=0 -cf "$tar.$$" .
        rm -rf "$tree"
        find "$out" -name "$1-*.tar" -mtime +0 -delete      # of programs that are no more
        mv "$tar.$$" "$tar"
    fi
    printf '%s\t%s\t%s\n' "pisup/$1:$key" "$tar" "$(instruction "$1")"
}

mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
find "$out" -maxdepth 1 \( -name '.tree.*' -o -name '*.tar.[0-9]*' \) -exec rm -rf {} +
for name in "$@"; do image "$name"; done
