#!/bin/bash
# Emulated Raspberry Pi 2s; `make pi` and its sisters call this.
#
#     pi.sh up CHAIN        switches pi-1 on with a new card, and waits until all is ready
#     pi.sh test CHAIN      the same, then a power cut and the same card again; leaves nothing on
#     pi.sh cluster CHAIN   a master and a worker on one wire; a container here reaches one there
#     pi.sh shell [NAME]    a shell on its console; Ctrl-] leaves it
#     pi.sh stop            pulls all plugs
#
# CHAIN: docker (etcd, flannel, the Docker daemon), or node (kubelet, kube-proxy, API server too),
# which has not been seen to work yet.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How long a boot may take: a busy machine with two cores takes thrice as long as a free one.
limit=${PI_LIMIT:-1500}

# follow NAME: its console as it comes, to this one.
follow() {
    tail -n +1 -F "$pi_out/$1.log" 2>/dev/null > >(sed -u 's/\r//; s/^/    /') &
    following=$!
}

unfollow() {
    [ -n "${following-}" ] || return 0
    kill "$following" 2>/dev/null || true
    wait "$following" 2>/dev/null || true
    following=
}

# ask NAME COMMAND: has its shell run it, and shows what it says.
ask() {
    local mark="asked-$RANDOM" before
    before=$(stat -c %s "$pi_out/$1.log")
    # The line as it is typed is echoed, and must not be taken for the answer.
    # shellcheck disable=SC2016
    printf '\n%s; echo ; echo asked-$((%s))\n' "$2" "${mark#asked-}" \
        >"$pi_out/$1.console"
    pi_wait "$1" "$mark" 180 || true
    tail -c "+$((before + 1))" "$pi_out/$1.log" | sed 's/\r//; s/^/    /'
}

# told NAME: what its report says.
told() {
    sed -n 's/\r//; /^PI-READY/,/^PI-END/{/^PI-END/!p}' "$pi_out/$1.log"
}

# boot NAME [NETDEV]: switches it on, and waits until all is ready.
boot() {
    local began=$SECONDS
    pi_on "$@"
    pi_say "$1: power"
    follow "$1"
    await "$1" "$began"
}

# await NAME BEGAN: shows its report; what fell short is said, and the exit code is 1.
await() {
    if ! pi_wait "$1" PI-END "$limit"; then
        unfollow
        pi_say "$1 is not ready $((SECONDS - $2)) s after power-on; it says:" >&2
        if pi_is_on "$1"; then ask "$1" "pisup ctl status; free -m; uptime" >&2; fi
        pi_say "its whole console: ${pi_out#"$pi_tree"/}/$1.log" >&2
        return 1
    fi
    unfollow
    echo
    told "$1"
    pi_say "$1: all ready $(sed -n 's/^PI-READY \([0-9]*\).*/\1/p' "$pi_out/$1.log") s after" \
        "power-on as the Pi counts, $((SECONDS - $2)) s with its report as this machine does"
}

subnet() { sed -n 's/\r//; s/^FLANNEL_SUBNET=//p' "$pi_out/$1.log" | tail -n 1; }

up() {
    stop
    "$pi_here/image.sh" pi-1 "$1"
    trap 'unfollow; stop' EXIT
    boot pi-1
    trap - EXIT
    pi_say "it runs on: make pi-shell, make pi-stop"
}

# The plug is pulled from a running machine, and the card put to the test as it is.
proof() {
    local first
    stop
    "$pi_here/image.sh" pi-1 "$1"
    trap 'unfollow; stop' EXIT
    boot pi-1
    first=$(subnet pi-1)
    cp "$pi_out/pi-1.log" "$pi_out/pi-1.first.log"
    pi_say "pi-1: the plug is pulled, and put in again"
    pi_off pi-1
    boot pi-1
    if [ -z "$first" ] || [ "$(subnet pi-1)" != "$first" ]; then
        pi_die "after the power cut the subnet is $(subnet pi-1), and was $first"
    fi
    pi_say "ready both times, with the same subnet, $first"
}

# cluster CHAIN: the wire is a socket between the two emulators.
cluster() {
    local began port=${PI_PORT:-24790} address
    stop
    "$pi_here/image.sh" pi-1 "$1"
    "$pi_here/image.sh" pi-2 "$1"
    trap 'unfollow; stop' EXIT
    began=$SECONDS
    pi_on pi-1 "socket,listen=127.0.0.1:$port"
    # The one that calls has to find the other there.
    until grep -aq . "$pi_out/pi-1.log"; do
        pi_is_on pi-1 || pi_die "pi-1 went off at once: $(cat "$pi_out/pi-1.qemu")"
        sleep 0.5
    done
    pi_on pi-2 "socket,connect=127.0.0.1:$port"
    pi_say "pi-1 and pi-2: power"
    await pi-1 "$began"
    await pi-2 "$began"
    pi_say "a container on pi-2, and one on pi-1 that asks it for a file"
    ask pi-2 "/usr/lib/pisup/box serve"
    address=$(sed -n 's/\r//; s/^BOX-ADDRESS //p' "$pi_out/pi-2.log" | tail -n 1)
    [ -n "$address" ] || pi_die "no container runs on pi-2"
    ask pi-1 "/usr/lib/pisup/box fetch $address"
    grep -aq "^BOX-HEARD pi-2" "$pi_out/pi-1.log" || pi_die "pi-1 did not reach $address on pi-2"
    pi_say "a container on pi-1 reached $address, one on pi-2"
}

shell() {
    pi_is_on "$1" || pi_die "$1 is off: make pi"
    pi_say "$1's console; press Enter, and Ctrl-] to leave it"
    socat "-,raw,echo=0,escape=0x1d" \
        "OPEN:$pi_out/$1.log,rdonly,seek-end=0,ignoreeof!!OPEN:$pi_out/$1.console,wronly"
}

stop() {
    pi_off pi-1
    pi_off pi-2
}

case ${1-} in
up | test | cluster)
    case ${2-} in docker | node) ;; *) pi_die "CHAIN is docker or node, not '${2-}'" ;; esac
    case $1 in up) up "$2" ;; test) proof "$2" ;; cluster) cluster "$2" ;; esac ;;
shell) shell "${2:-pi-1}" ;;
stop) stop ;;
*) sed -n '4,10s/^#  *//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
