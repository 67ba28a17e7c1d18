#!/bin/bash
# A worker beside a master: another subnet, a way between containers, and patience.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

on() { local here_node=$1; shift; "$@"; }

a_worker_without_its_master_waits() {
    create_worker
    node_boot worker
    here_node=worker
    await 60 is_state flannel starting
    sleep_until_it_has_tried
    # It has no etcd and no flannel-config of its own, and what it waits for is flannel.
    json | jq -e 'all(.units[]; .name != "etcd" and .name != "flannel-config")'
    is_state docker waiting
    [ "$(json | jq '[.units[].failures] | add')" = 0 ]
    ctl why kubelet | tee /dev/stderr | grep -F flannel
}
# flanneld says each second that nobody answers; two of these lines are enough.
sleep_until_it_has_tried() {
    # shellcheck disable=SC2016
    await 60 eval '[ "$(ctl logs flannel | grep -c etcd)" -ge 2 ]'
}

the_worker_comes_up_when_its_master_does() {
    create_master
    node_boot master
    on master all_ready 180
    on worker all_ready 180
    [ "$(on worker json | jq '[.units[].failures] | add')" = 0 ]
}

the_worker_has_another_subnet() {
    local of_master of_worker
    of_master=$(on master subnet)
    of_worker=$(on worker subnet)
    [ "$of_master" != "$of_worker" ]
    [ "$(on worker docker0)" = "$of_worker" ]
}

containers_reach_each_other() {
    local address
    on worker start_container far
    address=$(on worker docker inspect -f '{{.NetworkSettings.IPAddress}}' far)
    on master docker run --rm --pull=never "$(on master busybox)" \
        ping -c 3 -W 10 -w 60 "$address"
    on worker docker rm -f far
}

the_worker_survives_the_plug_of_its_master() {
    local before subnet
    subnet=$(on worker subnet)
    before=$(on worker snapshot)
    node_plug master
    node_boot master
    on master all_ready 180
    on worker all_ready 60
    here_node=worker
    same_but "$before"
    [ "$(subnet)" = "$subnet" ]
    containers_reach_each_other
}

check "a worker started before its master waits, and says for what" \
    a_worker_without_its_master_waits
or_stop
check "it comes up when its master does, and nothing failed" \
    the_worker_comes_up_when_its_master_does
or_stop
check "it gets another subnet" the_worker_has_another_subnet
check "a container on the master reaches one on the worker" containers_reach_each_other
check "the master's plug moves nothing on the worker" the_worker_survives_the_plug_of_its_master
