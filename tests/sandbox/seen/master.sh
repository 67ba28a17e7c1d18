#!/bin/bash
# A master node: it comes up, keeps what need not move, and is back after the plug.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

comes_up() {
    create_master
    node_boot master
    all_ready 180
}

the_network_is_as_flannel_says() {
    local subnet mtu config
    subnet=$(subnet)
    mtu=$(field flannel exports.FLANNEL_MTU)
    [ "$subnet" != null ] && [ "$mtu" != null ]
    config=$(docker network inspect bridge)
    [ "$(jq -r '.[0].IPAM.Config[0].Gateway' <<<"$config")" = "${subnet%/*}" ]
    [ "$(jq -r '.[0].Options["com.docker.network.driver.mtu"]' <<<"$config")" = "$mtu" ]
    [ "$(docker0)" = "$subnet" ]
    etcdctl get /coreos.com/network/config |
        jq -e '.Network == "10.1.0.0/16" and .Backend.Type == "vxlan"'
}

docker0_was_reset_and_status_says_so() {
    ctl status docker | grep -F 'docker0 had 172.17.42.1/16 and was deleted'
    json docker | jq -e '.units[0].notes | any(contains("172.17.42.1/16"))'
}

# kill_and_see UNIT MOVES...: after a kill -9 all is ready again, and only these have moved.
kill_and_see() {
    local unit=$1 before pid starts
    before=$(snapshot)
    pid=$(field "$unit" main_pid)
    starts=$(field "$unit" starts)
    enter kill -9 "$pid"
    await 60 has_started_again "$unit" "$starts"
    all_ready 120
    same_but "$before" "$@"
}
has_started_again() { [ "$(field "$1" starts)" -gt "$2" ]; }

restart_of_flannel_with_the_same_subnet() {
    local before pid
    start_container stays
    pid=$(container_pid stays)
    before=$(snapshot)
    ctl restart flannel
    all_ready
    same_but "$before" flannel
    [ "$(container_pid stays)" = "$pid" ]
    docker rm -f stays
}

stop_of_etcd_stops_its_dependents_first() {
    local since plan
    since=$(last_event_ms)
    plan=$(ctl stop etcd --dry-run --json)
    ctl stop etcd | tee /dev/stderr | grep -F 'kube-proxy'
    is_state etcd down
    # What the plan said is what was done. Two that are bound to the same may end in either order.
    diff <(planned stop "$plan" | sort) <(ends "$since" | sort)
    [ "$(ends "$since" | tail -n 1)" = etcd ]
    [ "$(ends "$since" | grep -nx docker | cut -d: -f1)" -gt \
        "$(ends "$since" | grep -nxE 'kubelet|kube-proxy' | tail -n 1 | cut -d: -f1)" ]
    field kube-proxy waiting_for | tee /dev/stderr | grep -F docker
    ctl why kube-proxy | tee /dev/stderr | grep -F 'etcd'
    ctl start etcd
    all_ready
}

start_of_the_last_starts_all_it_needs() {
    local unit
    for unit in $(snapshot | awk '{ print $1 }'); do ctl stop "$unit"; done
    [ "$(json | jq '[.units[] | select(.state == "down")] | length')" = "$(snapshot | wc -l)" ]
    ctl start kube-proxy
    [ "$(field kube-proxy state)" = ready ]
    # kubelet only stands beside it in the order, and nobody asked for it.
    is_state kubelet down
    ctl start kubelet
    all_ready
}

stop_wins_and_stays() {
    # While it waits.
    ctl stop etcd
    is_state kube-proxy waiting
    ctl stop kube-proxy
    is_state kube-proxy down
    ctl start etcd
    await 60 is_state docker ready
    is_state kube-proxy down
    ctl start kube-proxy
    all_ready
    # While it restarts.
    ctl restart kubelet --no-wait
    ctl stop kubelet
    is_state kubelet down
    # In backoff: it can not start.
    enter sh -c 'echo exit=3 >/run/doubles/kubelet'
    ctl start kubelet --no-wait
    await 60 is_state kubelet backoff
    ctl stop kubelet
    is_state kubelet down
    enter rm -f /run/doubles/kubelet
    # It stays: what would bring it back has had its time.
    ctl restart kube-proxy
    is_state kubelet down
    ctl start kubelet
    all_ready
}

# new_network CIDR: another key, and no lease that would bring the old subnet back.
new_network() {
    etcdctl rm --recursive /coreos.com/network/subnets
    etcdctl set /coreos.com/network/config '{"Network":"'"$1"'","Backend":{"Type":"vxlan"}}'
}

another_network_moves_exactly_what_uses_it() {
    local before since subnet plan
    subnet=$(subnet)
    before=$(snapshot)
    start_container goes
    new_network 10.2.0.0/16
    plan=$(ctl restart flannel --dry-run --json)
    jq -e '.plan | map(select(.if)) | map(.if) | unique == ["FLANNEL_SUBNET changes"]' <<<"$plan"
    since=$(last_event_ms)
    ctl restart flannel
    await 120 is_bounced "$subnet"
    all_ready
    [[ "$(subnet)" == 10.2.* ]]
    ctl status docker | grep -F "docker0 had $subnet and was deleted"
    same_but "$before" flannel docker kubelet kube-proxy
    # Exactly what the plan said, in its order.
    diff <(planned stop "$plan" | sort) <(first_to stopping "$since" | sort)
    diff <(planned start "$plan") <(first_to starting "$since")
    # In reverse order: docker ended after those that are bound to it.
    [ "$(ends "$since" | grep -xE 'docker|kubelet|kube-proxy' | tail -n 1)" = docker ]
    docker rm -f goes
}

# And back, which is what node.toml says.
the_network_of_before_comes_back() {
    local subnet
    subnet=$(subnet)
    new_network 10.1.0.0/16
    ctl restart flannel
    await 120 is_bounced "$subnet"
    all_ready
    [[ "$(subnet)" == 10.1.* ]]
}
is_bounced() {
    is_state docker ready && [ "$(docker0)" = "$(subnet)" ] && [ "$(docker0)" != "$1" ]
}

a_client_waits_while_docker_restarts() {
    local out
    out=$(mktemp)
    ctl restart docker --no-wait
    await 30 eval '! is_state docker ready'
    docker version --format '{{.Server.Version}}' >"$out"
    grep -E '^[0-9]+\.' "$out"
    rm -f "$out"
    all_ready
}

bad_input_moves_nothing() {
    local before
    before=$(snapshot)
    enter python3 -I "$here_seen/hostile.py" ctl /run/pisup/ctl.sock
    enter python3 -I "$here_seen/hostile.py" notify /run/pisup/notify
    same_but "$before"
    all_ready 5
    [ "$(json | jq .supervisor.pid)" = 1 ]
}

# Each folder in tests/config/bad, in place of the node's own units and perhaps of its node.toml.
bad_configurations_are_refused_whole() {
    local before case etc count=0
    before=$(snapshot)
    etc=$(node_dir master)/etc/pisup
    cp -a "$etc" "$etc.good"
    for case in "$sandbox_tree"/tests/config/bad/*/; do
        rm "$etc"/units/*.toml
        install -m 644 "$case"/units/*.toml "$etc/units/"
        install -m 644 "$etc.good/node.toml" "$etc/node.toml"
        if [ -e "$case/node.toml" ]; then install -m 644 "$case/node.toml" "$etc/node.toml"; fi
        if ctl reload-config >"$etc.said" 2>&1; then
            echo "taken: $case"
            return 1
        fi
        grep -q 'error: ' "$etc.said"
        count=$((count + 1))
    done
    [ $count -ge 30 ]
    same_but "$before"
    rm -rf "$etc/units" "$etc.said"
    cp -a "$etc.good/." "$etc/"
    rm -rf "$etc.good"
    ctl reload-config
    same_but "$before"
}

the_plug() {
    local subnet
    subnet=$(subnet)
    start_container left-over
    node_plug master
    node_boot master
    all_ready 180
    [ "$(subnet)" = "$subnet" ]
    [ "$(docker0)" = "$subnet" ]
    [ -z "$(docker ps -q --filter name=left-over)" ]
    # Nothing failed on the way.
    [ "$(json | jq '[.units[].failures] | add')" = 0 ]
    docker rm left-over
}

shutdown_ends_all_in_order() {
    ctl shutdown
    await 60 eval '! node_is_running master'
    grep -F 'all units are down' "$(node_dir master)/log/pisup.log"
}

here_seen=$(dirname "${BASH_SOURCE[0]}")
here_seen=$(cd "$here_seen" && pwd)
check "all units of the master become ready" comes_up
or_stop
check "docker has flannel's subnet and MTU, etcd has the key" the_network_is_as_flannel_says
check "docker0 held 172.17.42.1/16, was reset, and status says so" \
    docker0_was_reset_and_status_says_so
if [ "$PROFILE" = classic ]; then
    check "kill -9 of dockerd-bootstrap moves nothing else" kill_and_see dockerd-bootstrap
fi
check "kill -9 of etcd moves only what is bound to it" kill_and_see etcd flannel-config
check "kill -9 of flannel moves nothing else" kill_and_see flannel
check "kill -9 of docker moves those bound to it" kill_and_see docker kubelet kube-proxy
check "kill -9 of kubelet moves nothing else" kill_and_see kubelet
check "kill -9 of kube-proxy moves nothing else" kill_and_see kube-proxy
check "restart flannel with the same subnet leaves docker and containers alone" \
    restart_of_flannel_with_the_same_subnet
check "stop etcd stops its dependents first, as the plan said" \
    stop_of_etcd_stops_its_dependents_first
check "start kube-proxy from nothing starts all it needs" start_of_the_last_starts_all_it_needs
check "stop while waiting, restarting or in backoff stops and stays" stop_wins_and_stays
check "another network: docker and those bound to it move, as the plan said" \
    another_network_moves_exactly_what_uses_it
check "the network of before comes back the same way" the_network_of_before_comes_back
check "a client that comes while docker restarts just waits" a_client_waits_while_docker_restarts
check "bad ctl frames and notify datagrams move nothing" bad_input_moves_nothing
check "bad configurations are refused whole and move nothing" bad_configurations_are_refused_whole
check "the plug: all is ready again, with the same subnet" the_plug
check "shutdown ends all in order" shutdown_ends_all_in_order
