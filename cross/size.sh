#!/bin/bash
# Each binary against its budget; 1 when one is over it.
#
#     cross/size.sh [ARCH...]      default: whatever has been built
#
# The budgets are for armv7, where memory and the SD card are smallest; others are only shown.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=target.sh
source "$(dirname "${BASH_SOURCE[0]}")/target.sh"

# budget_of PROGRAM: in bytes.
budget_of() {
    case $1 in
    pisup) echo 1000000 ;;
    pisup-init) echo $((250 * 1024)) ;;
    *) die "$1 has no budget" ;;
    esac
}

status=0 shown=0
show() {
    local size budget verdict=
    size=$(stat -c %s "$dist/$2")
    budget=$(budget_of "$2")
    if [ "$1" = armv7 ]; then
        verdict=$(printf 'of %9d, %3d %%' "$budget" $((size * 100 / budget)))
        if [ "$size" -gt "$budget" ]; then
            verdict+=": $((size - budget)) bytes over"
            status=1
        fi
    fi
    printf '%-8s %-11s %9d bytes %s\n' "$1" "$2" "$size" "$verdict"
    shown=$((shown + 1))
}

wanted=("$@")
if [ $# -eq 0 ]; then wanted=(armv7 aarch64 x86_64); fi
for arch in "${wanted[@]}"; do
    cross_arch "$arch"
    for bin in $(cross_bins); do
        if [ -e "$dist/$bin" ]; then
            show "$arch" "$bin"
        elif [ $# -gt 0 ]; then
            die "$arch: $bin is not built: make $arch"
        fi
    done
done
[ "$shown" -gt 0 ] || die "nothing is built: make armv7"
exit $status
