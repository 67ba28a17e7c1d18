#!/bin/bash
# Emulated Raspberry Pi 2s; `make pi` and its sisters call this.
#
#     pi.sh up CHAIN        switches pi-1 on with a new card, and waits until all is ready
#     pi.sh test CHAIN      the same, puts it to the test, cuts its power, boots the card again
#     pi.sh cluster         a master and a worker on one wire; a pod on each reaches the other's
#     pi.sh shell [NAME]    a shell on its console; Ctrl-] leaves it
#     pi.sh stop            pulls all plugs
#
# CHAIN: docker (etcd, flannel, the Docker daemon), or node (API server, kubelet, kube-proxy too).
# Only `up` leaves one on.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

up() {
    pi_stop
    "$pi_here/image.sh" pi-1 "$1"
    trap pi_stop EXIT
    pi_boot pi-1
    trap - EXIT
    pi_say "it runs on: make pi-shell, make pi-stop"
}

# The plug is pulled from a running machine, and the card put to the test as it is.
proof() {
    local first
    pi_stop
    "$pi_here/image.sh" pi-1 "$1"
    pi_tied=1
    trap pi_stop EXIT
    pi_boot pi-1
    first=$(pi_subnet pi-1)
    echo
    # At once, so that its own messages do not come in between.
    pi_ask pi-1 "/usr/lib/pisup/check >/run/checks; cat /run/checks" 1200 |
        grep -aE '^ +(ok|not ok|#) ' || true
    grep -aq "^CHECKED [0-9]* 0" "$pi_out/pi-1.log" || pi_die "not all is well on pi-1"
    cp "$pi_out/pi-1.log" "$pi_out/pi-1.first.log"
    pi_say "pi-1: the plug is pulled, and put in again"
    pi_off pi-1
    pi_boot pi-1
    if [ -z "$first" ] || [ "$(pi_subnet pi-1)" != "$first" ]; then
        pi_die "after the power cut the subnet is $(pi_subnet pi-1), and was $first"
    fi
    pi_say "ready both times, with the same subnet, $first"
}

# The wire is a pair of ports of this machine's loopback, so that one Pi does not notice when the
# other is switched off.
cluster() {
    local began port=${PI_PORT:-24790} asking hearing
    pi_stop
    "$pi_here/image.sh" pi-1 node
    "$pi_here/image.sh" pi-2 node
    pi_tied=1
    trap pi_stop EXIT
    began=$SECONDS
    local wire=(socket,udp=127.0.0.1:$((port + 1)),localaddr=127.0.0.1:$port
        socket,udp=127.0.0.1:$port,localaddr=127.0.0.1:$((port + 1)))
    pi_power pi-1 "${wire[0]}"
    pi_power pi-2 "${wire[1]}"
    pi_wired pi-1 "${wire[0]}"
    pi_wired pi-2 "${wire[1]}"
    pi_await pi-1
    pi_await pi-2
    pi_say "a pod on each, which asks the other's for its name"
    pi_ask pi-1 "PAUSE=pause:3.5 /usr/lib/pisup/pods" 1800 || pi_die "pi-1 did not answer"
    for asking in pi-1 pi-2; do
        hearing=$([ $asking = pi-1 ] && echo pi-2 || echo pi-1)
        grep -aq "^PODS-HEARD box-$asking box-$hearing" "$pi_out/pi-1.log" ||
            pi_die "the pod on $asking did not reach the one on $hearing"
    done
    pi_say "both nodes are Ready, and their pods reach each other," \
        "$((SECONDS - began)) s after power-on"
}

shell() {
    pi_is_on "$1" || pi_die "$1 is off: make pi"
    pi_say "$1's console; press Enter, and Ctrl-] to leave it"
    socat "-,raw,echo=0,escape=0x1d" \
        "OPEN:$pi_out/$1.log,rdonly,seek-end=0,ignoreeof!!OPEN:$pi_out/$1.console,wronly"
}

case ${1-} in
up | test)
    pi_check_chain "${2-}"
    if [ "$1" = up ]; then up "$2"; else proof "$2"; fi ;;
cluster) cluster ;;
shell) shell "${2:-pi-1}" ;;
stop) pi_stop ;;
*) sed -n '4,8s/^#  *//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
