#!/bin/bash
# etcd cannot be reached for the first two minutes of the master's life.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Nobody gets an answer from etcd's port, as behind a firewall: packets to it are dropped.
boots_with_the_port_blocked() {
    create_master
    NODE_INIT="$here_seen/blocked.sh" node_boot master
    await 60 is_state flannel-config waiting
    # etcd runs, and is not ready: it is waited for, with a reason, and nothing has failed.
    await 60 is_state etcd starting
    [ "$(field etcd failures)" = 0 ]
    field etcd waiting_for | tee /dev/stderr | grep -E 'http'
    [ "$(field flannel-config waiting_for)" = "etcd is not ready" ] ||
        field flannel-config waiting_for | tee /dev/stderr | grep -F etcd
    ctl why kube-proxy | tee /dev/stderr | grep -F etcd
}

waits_two_minutes_without_a_failure() {
    local end=$((SECONDS + 120))
    while [ $SECONDS -lt $end ]; do
        is_state flannel-config waiting
        json | jq -e 'all(.units[]; .state != "failed" and .state != "backoff")'
        sleep 2
    done
    [ "$(json | jq '[.units[].failures] | add')" = 0 ]
}

comes_up_by_itself() {
    enter iptables -D INPUT -p tcp --dport 4001 -j DROP
    all_ready 120
    [ "$(json | jq '[.units[].failures] | add')" = 0 ]
}

here_seen=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
check "etcd blocked at boot: flannel-config waits with a reason" boots_with_the_port_blocked
or_stop
check "etcd blocked for two minutes: nothing failed" waits_two_minutes_without_a_failure
check "when etcd appears all comes up by itself" comes_up_by_itself
