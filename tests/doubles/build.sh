#!/bin/bash
# Builds the doubles of kubelet, kube-proxy and flanneld, static, into target/doubles/ARCH/.
#
#     tests/doubles/build.sh [ARCH]        ARCH: amd64 (default) | armv7
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
arch=${1:-amd64}
out=$here/../../target/doubles/$arch
case $arch in
amd64) cc=gcc package="gcc libc6-dev" ;;
armv7) cc=arm-linux-gnueabihf-gcc package="gcc-arm-linux-gnueabihf libc6-dev-armhf-cross" ;;
*) echo "build.sh: unknown architecture '$arch'; known: amd64 armv7" >&2; exit 1 ;;
esac
if ! command -v "$cc" >/dev/null; then
    echo "build.sh: $cc not found: apt-get install $package" >&2
    exit 1
fi

mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
for name in kubelet kube-proxy flanneld; do
    new=
    for source in "$name.c" double.c double.h build.sh; do
        if [[ $here/$source -nt $out/$name ]]; then new=1; fi
    done
    if [ -z "$new" ]; then continue; fi
    "$cc" -static -Os -s -std=gnu11 -Wall -Wextra -Werror \
        -o "$out/.$name.new" "$here/$name.c" "$here/double.c"
    mv -f "$out/.$name.new" "$out/$name"
    echo "$name: its double is built"
done
