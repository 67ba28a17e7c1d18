#!/bin/sh
# Builds the real parts of a node that Debian does not package: flanneld, kubelet, kube-proxy and
# the control plane, from the pinned Go modules beside this file, and a static pause program.
#
#     tests/real/build.sh [ARCH] [PROGRAM...]      ARCH: amd64 (default) | armv7
#
# Results: target/real/ARCH/. What has not changed since the last run is not built again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
arch=${1:-amd64}
[ $# -eq 0 ] || shift
wanted=${*:-pause flanneld kubelet kube-proxy kube-apiserver kube-controller-manager kube-scheduler}
out=$here/../../target/real/$arch
# Debian's Go 1.19 and no other: flannel 0.15.1 built with 1.22 or later panics at start.
go=${GO:-/usr/lib/go-1.19/bin/go}

die() { echo "build.sh: $*" >&2; exit 1; }

case $arch in
amd64) GOARCH=amd64; cc=gcc; package="gcc libc6-dev" ;;
armv7) GOARCH=arm GOARM=7; cc=arm-linux-gnueabihf-gcc
    package="gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"; export GOARM ;;
*) die "unknown architecture '$arch'; known: amd64 armv7" ;;
esac
# Static programs: they go into images that hold nothing else.
GOFLAGS=-buildvcs=false GOTOOLCHAIN=local
export GOARCH GOFLAGS GOTOOLCHAIN

# module_of PROGRAM: the folder with its go.mod.
module_of() {
    case $1 in
    flanneld) echo flannel ;;
    kubelet | kube-proxy) echo node ;;
    kube-apiserver | kube-controller-manager | kube-scheduler) echo control ;;
    *) die "unknown program '$1'" ;;
    esac
}

# import_of PROGRAM: its Go package.
import_of() {
    case $1 in
    flanneld) echo github.com/flannel-io/flannel ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
    esac
}

# version_of MODULE: the version its go.mod pins.
version_of() {
    sed -n 's,^require \(github.com/flannel-io/flannel\|k8s.io/kubernetes\) ,,p
            s,^[[:space:]]\(github.com/flannel-io/flannel\|k8s.io/kubernetes\) ,,p' \
        "$here/$1/go.mod" | head -n 1
}

# cgo_of MODULE: flannel's udp backend is C on amd64 (and absent elsewhere); all else is pure Go.
cgo_of() {
    if [ "$1 $GOARCH" = "flannel amd64" ]; then echo 1; else echo 0; fi
}

# ldflags_of MODULE: without the version Kubernetes misreports itself or refuses its peers.
ldflags_of() {
    version=$(version_of "$1")
    case $1 in
    flannel)
        static=
        [ "$(cgo_of flannel)" = 0 ] || static=" -linkmode external -extldflags -static"
        echo "-s -w -X github.com/flannel-io/flannel/version.Version=$version$static" ;;
    *)
        minor=${version#v1.}
        k=k8s.io/component-base/version
        echo "-s -w -X $k.gitVersion=$version -X $k.gitMajor=1 -X $k.gitMinor=${minor%%.*}" ;;
    esac
}

# How long it takes cold on two cores, so that nobody thinks it hangs.
time_of() {
    case $1 in
    flanneld) echo "about 1.5 minutes" ;;
    kubelet) echo "about 6 minutes" ;;
    kube-apiserver) echo "about 4 minutes" ;;
    *) echo "about 1 minute" ;;
    esac
}

# unchanged PROGRAM KEY: true if the built program is there and was made from just this.
unchanged() {
    [ -x "$out/$1" ] && [ "$(cat "$out/.$1.key" 2>/dev/null)" = "$2" ]
}

# keep PROGRAM KEY: takes over a finished build; the key last, so a cut in between builds again.
keep() {
    rm -f "$out/.$1.key"
    mv -f "$out/.$1.new" "$out/$1"
    printf '%s\n' "$2" >"$out/.$1.key.new"
    mv -f "$out/.$1.key.new" "$out/.$1.key"
}

build_go() {
    module=$(module_of "$1")
    flags=$(ldflags_of "$module")
    [ -x "$go" ] || die "$go not found: apt-get install golang-1.19-go"
    command -v "$cc" >/dev/null || die "$cc not found: apt-get install $package"
    key=$({ "$go" version; echo "$arch $flags"
        cat "$here/$module/go.mod" "$here/$module/go.sum"; } | sha256sum | cut -d' ' -f1)
    if unchanged "$1" "$key"; then return 0; fi
    echo "$1 $(version_of "$module"): building for $arch, $(time_of "$1") on 2 cores"
    (cd "$here/$module" &&
        CGO_ENABLED=$(cgo_of "$module") "$go" build -trimpath -tags netgo,osusergo \
            -ldflags "$flags" -o "$out/.$1.new" "$(import_of "$1")") ||
        die "$1: the build failed"
    keep "$1" "$key"
    echo "$1: built, $(($(stat -c %s "$out/$1") / 1000000)) MB"
}

build_pause() {
    command -v "$cc" >/dev/null || die "$cc not found: apt-get install $package"
    key=$({ "$cc" --version; cat "$here/pause.c"; } | sha256sum | cut -d' ' -f1)
    if unchanged pause "$key"; then return 0; fi
    "$cc" -static -Os -s -Wall -Wextra -Werror -o "$out/.pause.new" "$here/pause.c" ||
        die "pause: the build failed"
    keep pause "$key"
    echo "pause: built"
}

mkdir -p "$out"
# Two builds at once would tread on each other's temporary files: the second waits, and says so.
exec 9>"$out/.lock"
flock -n 9 || { echo "build.sh: waiting for another build"; flock 9; }
for program in $wanted; do
    if [ "$program" = pause ]; then build_pause; else build_go "$program"; fi
done
