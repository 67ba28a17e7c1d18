#!/bin/bash
# The how-to's last line, on real parts: `kubectl get nodes`, with one node, then with two.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

the_master_is_ready() {
    create_master
    node_boot master
    all_ready 300
    node_wait_joined master 180
    node_kubectl get nodes | tee /dev/stderr | grep -E '^master +Ready '
}

the_worker_is_ready() {
    create_worker
    node_boot worker
    node_wait_ready worker 300
    node_wait_joined worker 180
    node_kubectl get nodes | tee /dev/stderr | grep -cE '^(master|worker) +Ready ' | grep -qx 2
}

# pod NAME NODE COMMAND...: a pod on that node, once the cluster lets it be made.
pod() {
    local name=$1 node=$2 command
    shift 2
    command=$(jq -cn '$ARGS.positional' --args -- "$@")
    node_enter master sh -c "cat >/run/$name.json" <<EOF
{ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "$name" },
  "spec": { "nodeName": "$node", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
    "automountServiceAccountToken": false,
    "containers": [ { "name": "c", "image": "$(image_of "$(node_dir "$node")" busybox)",
      "imagePullPolicy": "Never", "command": $command } ] } }
EOF
    # The namespace's service account is made a moment after the namespace.
    await 120 node_kubectl apply -f "/run/$name.json"
}
phase() { node_kubectl get pod "$1" -o 'jsonpath={.status.phase}'; }
is_phase() { [ "$(phase "$1")" = "$2" ]; }

a_pod_on_the_master_reaches_one_on_the_worker() {
    local address
    pod far worker sh -c 'trap "exit 0" TERM; while :; do sleep 0.2; done'
    await 180 is_phase far Running
    address=$(node_kubectl get pod far -o 'jsonpath={.status.podIP}')
    [[ "$address" == 10.1.* ]]
    pod near master ping -c 3 -W 10 -w 60 "$address"
    await 180 is_phase near Succeeded || { node_kubectl describe pod near; return 1; }
    node_kubectl get pods -o wide
    node_kubectl logs near | tee /dev/stderr | grep -F ' 0% packet loss'
    node_kubectl delete pod near far --wait=false
}

# The control plane is pods of kubelet, which is stopped and started.
restart_of_kubelet_leaves_the_cluster_alone() {
    local before
    before=$(snapshot)
    ctl restart kubelet
    all_ready 120
    same_but "$before" kubelet
    await 120 eval 'node_kubectl get nodes | grep -cE " Ready " | grep -qx 2'
}

the_plug_of_both() {
    local subnets
    subnets=$(for node in master worker; do here_node=$node; subnet; done)
    node_plug worker
    node_plug master
    node_boot master
    node_boot worker
    node_wait_ready master 300
    node_wait_ready worker 300
    [ "$(for node in master worker; do here_node=$node; subnet; done)" = "$subnets" ]
    # Both say so again: what the API server remembers of before the plug does not count.
    await 180 eval 'node_kubectl get nodes | grep -cE " Ready " | grep -qx 2'
    await 180 is_fresh master
    await 180 is_fresh worker
}
# The node's lease was renewed after this boot.
is_fresh() {
    local renewed
    renewed=$(node_kubectl get lease -n kube-node-lease "$1" -o 'jsonpath={.spec.renewTime}')
    [ "$(date -d "$renewed" +%s)" -ge "$(($(date +%s) - 20))" ]
}

check "kubectl get nodes shows the master Ready" the_master_is_ready
or_stop
check "with the worker it shows both Ready" the_worker_is_ready
or_stop
check "a pod on the master reaches a pod on the worker" \
    a_pod_on_the_master_reaches_one_on_the_worker
check "restart kubelet leaves the cluster alone" restart_of_kubelet_leaves_the_cluster_alone
check "the plug of both nodes: both are Ready again, with their subnets" the_plug_of_both
