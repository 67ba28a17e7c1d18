#!/bin/bash
# Sandbox nodes, for node.sh and for tests: a node is a set of namespaces (mount, network, PID, UTS,
# IPC, cgroup) in which pisup is the first process, and a folder with its disk. When that process
# dies, the kernel ends all others and takes mounts and interfaces back: that is "the plug".
#
#     SANDBOX=mine source tests/sandbox/lib.sh
#     node_create master master 198.51.100.1      # NAME ROLE ADDRESS; PROFILE, KUBE, FLANNEL
#     node_boot master
#     node_wait_ready master 60
#     node_enter master ip addr show docker0
#     node_plug master; node_boot master          # the same disk
#     sandbox_remove
#
# Sandboxes of different names do not meet; nodes of one sandbox are on one switch.

sandbox_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sandbox_tree=$(cd "$sandbox_here/../.." && pwd)
SANDBOX=${SANDBOX:-node}
sandbox_dir=$sandbox_tree/target/sandbox/$SANDBOX

sandbox_say() { echo "sandbox: $*"; }
sandbox_die() { echo "sandbox: $*" >&2; exit 1; }

node_dir() { echo "$sandbox_dir/$1"; }

# ---- processes ------------------------------------------------------------------------------

# is_alive FILE: FILE holds "PID START"; a pid alone may be another process by now.
is_alive() {
    local pid start stat rest
    [ -e "$1" ] || return 1
    read -r pid start <"$1"
    read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
    read -ra rest <<<"${stat##*) }"
    [ "${rest[19]}" = "$start" ] && [ "${rest[0]}" != Z ]
}

# end FILE: kills it, waits until it is gone. With the first process of a namespace all others go.
end() {
    local tries=0
    while is_alive "$1"; do
        kill -KILL "$(cut -d' ' -f1 "$1")" 2>/dev/null || true
        sleep 0.05
        tries=$((tries + 1))
        [ $tries -lt 400 ] || sandbox_die "process $(cat "$1") will not die"
    done
    rm -f "$1"
}

node_is_running() { is_alive "$(node_dir "$1")/pid"; }

# ---- the switch: a bridge in a network namespace of its own -----------------------------------

# A process holds it, not a mount: what is killed leaves nothing.
switch_up() {
    local file=$sandbox_dir/switch pid stat rest
    if is_alive "$file"; then return 0; fi
    mkdir -p "$sandbox_dir"
    setsid unshare --net sleep infinity </dev/null >/dev/null 2>&1 9>&- &
    pid=$!
    disown
    # unshare becomes sleep only when the namespace is there.
    until [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; do
        kill -0 "$pid" || sandbox_die "cannot make a network namespace"
        sleep 0.02
    done
    read -r stat <"/proc/$pid/stat"
    read -ra rest <<<"${stat##*) }"
    echo "$pid ${rest[19]}" >"$file"
    nsenter --net="/proc/$pid/ns/net" sh -c '
        ip link set lo up
        ip link add switch type bridge
        ip addr add 198.51.100.254/24 dev switch
        ip link set switch up
        # It forwards and knows no way out: so it answers "unreachable", instead of nothing.
        echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# ---- cgroups --------------------------------------------------------------------------------

# own_groups: a line HIERARCHY:FOLDER for each cgroup hierarchy: where this process is.
own_groups() {
    local id controllers path mount name
    while IFS=: read -r id controllers path; do
        if [ "$id" = 0 ]; then
            mount=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
            # With cgroup2 alone, only the groups at the top are given controllers.
            name=unified
            if [ "$mount" = /sys/fs/cgroup ]; then path=/; fi
        else
            name=$controllers
            mount=$(awk -v want="${controllers%%,*}" '/ - cgroup / {
                n = split($NF, options, ",")
                for (i = 1; i <= n; i++) if (options[i] == want) { print $5; exit }
            }' /proc/self/mountinfo)
        fi
        [ -z "$mount" ] || echo "$name:$mount${path%/}"
    done </proc/self/cgroup
}

# groups_up DIR: a group for the node in each hierarchy, below our own; DIR/cgroups lists them.
groups_up() {
    local name path group list=
    group=pisup-sandbox-$SANDBOX-$(basename "$1")
    while IFS=: read -r name path; do
        list+="$name:$path/$group"$'\n'
    done < <(own_groups)
    printf '%s' "$list" >"$1/cgroups"
    while IFS=: read -r name path; do
        mkdir -p "$path"
        # A v1 cpuset is empty when it is made, and then takes no process.
        if [ -e "$path/cpuset.cpus" ] && [ ! -e "$path/cgroup.controllers" ]; then
            cat "${path%/*}/cpuset.cpus" >"$path/cpuset.cpus"
            cat "${path%/*}/cpuset.mems" >"$path/cpuset.mems"
            echo 1 >"$path/cgroup.clone_children"
        fi
    done <"$1/cgroups"
}

# kill_group PATH: all that is in it and below. A node that was interrupted before it wrote down
# its first process is found in no other way.
kill_group() {
    local pids
    pids=$(find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u || true)
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
}

groups_down() {
    local path tries
    [ -e "$1/cgroups" ] || return 0
    while IFS=: read -r _ path; do
        kill_group "$path"
        # What has died is still in its group until it is reaped, which can take seconds.
        for ((tries = 0; tries < 100; tries++)); do
            [ -d "$path" ] || break
            find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
        done
        [ ! -d "$path" ] || sandbox_say "cannot remove $path"
    done <"$1/cgroups"
    rm -f "$1/cgroups"
}

# ---- a node's disk ----------------------------------------------------------------------------

# fill_etc DIR: the little of /etc that the programs read, so that nothing of the machine's changes.
fill_etc() {
    local name
    mkdir -p "$1"
    for name in alternatives passwd group nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d \
        protocols services ethertypes iproute2 ssl ca-certificates bash.bashrc terminfo; do
        [ ! -e "/etc/$name" ] || cp -a "/etc/$name" "$1/"
    done
    printf '127.0.0.1 localhost\n%s %s\n' "$3" "$2" >"$1/hosts"
    echo "$2" >"$1/hostname"
    # Nobody answers names here, and nobody should wait for that.
    echo "options timeout:1 attempts:1" >"$1/resolv.conf"
}

# fill_docker DIR: only where root lacks CAP_SYS_RESOURCE (bit 24).
fill_docker() {
    local effective
    mkdir -p "$1"
    effective=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    if (((0x$effective >> 24) & 1)); then return 0; fi
    sandbox_say "no CAP_SYS_RESOURCE on this machine: containers run without it" \
        "(tests/sandbox/runc-nores)"
    cat >"$1/daemon.json" <<EOF
{ "runtimes": { "nores": { "path": "$sandbox_here/runc-nores" } }, "default-runtime": "nores" }
EOF
}

# fill_bin DIR KUBE FLANNEL: what goes first in PATH.
fill_bin() {
    local name kind
    mkdir -p "$1"
    ln -sfn "${PISUP:-$sandbox_tree/target/release/pisup}" "$1/pisup"
    for name in kubelet kube-proxy flanneld; do
        kind=$2
        if [ "$name" = flanneld ]; then kind=$3; fi
        case $kind in
        real) ln -sfn "$sandbox_tree/target/real/amd64/$name" "$1/$name" ;;
        double) ln -sfn "$sandbox_tree/target/doubles/amd64/$name" "$1/$name" ;;
        *) sandbox_die "KUBE and FLANNEL are real or double, not '$kind'" ;;
        esac
    done
}

# fill_images DIR ROLE PROFILE KUBE FLANNEL: lists for both daemons, and node.toml's [images].
fill_images() {
    local dir=$1 role=$2 profile=$3 boot="flannel" main="busybox"
    export KUBE=$4 FLANNEL=$5
    if [ "$profile" = classic ]; then
        main+=" kube"
        if [ "$role" = master ]; then boot+=" etcd"; fi
    fi
    if [ "$KUBE" = real ]; then
        main+=" pause"
        if [ "$role" = master ]; then main+=" control"; fi
    fi
    if [ "$profile" != classic ]; then boot=; fi
    # shellcheck disable=SC2086
    "$sandbox_here/images.sh" $boot >"$dir/images.bootstrap"
    # shellcheck disable=SC2086
    "$sandbox_here/images.sh" $main >"$dir/images.main"
}

# image_of DIR NAME: its tag. A name that this node has no image of is still one that reads well.
image_of() {
    local tag
    tag=$(cat "$1"/images.* | cut -f1 | grep "^pisup/$2:" | head -n 1 || true)
    echo "${tag:-pisup/$2:none}"
}

images_toml() {
    local pair
    for pair in etcd:etcd flannel:flannel kubelet:kube kube-proxy:kube kube-apiserver:control \
        kube-controller-manager:control kube-scheduler:control pause:pause; do
        echo "${pair%%:*} = \"$(image_of "$1" "${pair#*:}")\""
    done
}

# fill_pisup DIR NAME ROLE ADDRESS PROFILE KUBE FLANNEL
fill_pisup() {
    local dir=$1/etc/pisup unit
    mkdir -p "$dir/units"
    cat >"$dir/node.toml" <<EOF
role = "$3"
master = "$sandbox_master"
name = "$2"
interface = "eth0"
address = "$4"
profile = "$5"

[network]
cidr = "10.1.0.0/16"
backend = "${BACKEND:-vxlan}"

[images]
$(images_toml "$1")

[vars]
arch = "amd64"
etcd-api = "v2"
EOF
    for unit in "$sandbox_tree/units/$5"/*.toml; do
        [ "${unit##*/}" = node.toml ] || install -m 644 "$unit" "$dir/units/"
    done
    # Status must not call real what is not.
    if [ "$6" = double ]; then mark_double "$dir/units" kubelet kube-proxy; fi
    if [ "$7" = double ]; then mark_double "$dir/units" flannel; fi
    chmod -R go-w "$dir"
}

mark_double() {
    local name
    for name in "${@:2}"; do
        sed -i "s/^description = \"$name:.*/description = \"$name: A DOUBLE, not the real one\"/" \
            "$1/$name.toml"
    done
}

# fill_kubernetes DIR ROLE ADDRESS KUBE: credentials, and on a master the control plane's pods.
fill_kubernetes() {
    local dir=$1/etc/kubernetes file name
    mkdir -p "$dir/manifests"
    if [ "$4" != real ]; then return 0; fi
    if [ "$2" != master ]; then
        cp "$(node_dir master)"/etc/kubernetes/{ca.crt,kubeconfig} "$dir/"
        return 0
    fi
    "$sandbox_here/credentials.sh" "$dir" "$3"
    for file in "$sandbox_tree"/units/classic/manifests/*.yaml; do
        name=$(basename "$file" .yaml)
        sed -e "s,\${node.address},$3,g" \
            -e "s,\${images.$name},$(image_of "$1" control),g" "$file" >"$dir/manifests/$name.yaml"
    done
}

# Where every node of a sandbox finds its master.
sandbox_master=198.51.100.1

# node_create NAME ROLE ADDRESS: its disk.
# PROFILE=classic|native KUBE=real|double FLANNEL=real|double BACKEND=vxlan|host-gw|udp
node_create() {
    local name=$1 role=$2 address=$3 dir
    local profile=${PROFILE:-classic} kube=${KUBE:-real} flannel=${FLANNEL:-real}
    dir=$(node_dir "$name")
    [ -d "$sandbox_tree/units/$profile" ] || sandbox_die "no profile '$profile'"
    ! node_is_running "$name" || sandbox_die "node $name is running"
    mkdir -p "$dir/lib/pisup" "$dir/log"
    "$sandbox_tree/tests/doubles/build.sh" amd64
    fill_etc "$dir/etc" "$name" "$address"
    fill_docker "$dir/etc/docker"
    fill_bin "$dir/bin" "$kube" "$flannel"
    fill_images "$dir" "$role" "$profile" "$kube" "$flannel"
    fill_pisup "$dir" "$name" "$role" "$address" "$profile" "$kube" "$flannel"
    fill_kubernetes "$dir" "$role" "$address" "$kube"
    printf '%s\n' "node=$name" "role=$role" "address=$address" "profile=$profile" "kube=$kube" \
        "flannel=$flannel" >"$dir/node"
}

# ---- power ------------------------------------------------------------------------------------

# node_boot NAME: returns when pisup has the node. NODE_INIT=COMMAND is run in its place.
node_boot() {
    local dir child seen=0 lines
    dir=$(node_dir "$1")
    [ -e "$dir/node" ] || sandbox_die "no node $1: it was never created"
    ! node_is_running "$1" || sandbox_die "node $1 is running"
    [ -n "${NODE_INIT-}" ] || [ -x "$dir/bin/pisup" ] ||
        sandbox_die "$(readlink "$dir/bin/pisup") is not built"
    switch_up
    groups_down "$dir"
    groups_up "$dir"
    rm -f "$dir/up" "$dir/pid"
    { cat "$dir/node"
        echo "wire=$(cut -d' ' -f1 "$sandbox_dir/switch")"
        echo "init='${NODE_INIT:-pisup supervise}'"; } >"$dir/settings"
    power_on "$dir" >"$dir/boot.log" 2>&1 9>&- &
    child=$!
    disown
    until [ -e "$dir/up" ]; do
        sleep 0.1
        lines=$(wc -l <"$dir/boot.log")
        if [ "$lines" -gt "$seen" ]; then sed -n "$((seen + 1)),${lines}p" "$dir/boot.log"; fi
        seen=$lines
        kill -0 "$child" 2>/dev/null || [ -e "$dir/up" ] || {
            cat "$dir/boot.log" >&2
            node_plug "$1"
            sandbox_die "node $1 did not boot"
        }
    done
}

# join_groups DIR: this process, into the node's groups.
join_groups() {
    local path
    while IFS=: read -r _ path; do
        # With cgroup2 alone, a booted node's own group takes no process any more.
        if [ -d "$path/init" ]; then path+=/init; fi
        echo "$BASHPID" >"$path/cgroup.procs"
    done <"$1/cgroups"
}

power_on() {
    join_groups "$1"
    exec setsid unshare --mount --net --uts --ipc --pid --cgroup --fork --kill-child=KILL \
        "$sandbox_here/inside.sh" "$1" </dev/null
}

# node_plug NAME: pulls it. The disk stays as it was that moment.
node_plug() {
    local dir
    dir=$(node_dir "$1")
    end "$dir/pid"
    groups_down "$dir"
    rm -f "$dir/up"
}

# node_remove NAME: the plug, and the disk too.
node_remove() {
    local dir tries
    dir=$(node_dir "$1")
    [ -d "$dir" ] || return 0
    node_plug "$1"
    # The kernel takes the node's mounts back a moment after its last process.
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        if rm -rf "$dir" 2>/dev/null; then return 0; fi
        sleep "0.$tries"
    done
    rm -rf "$dir"
}

# sandbox_remove: all nodes, their disks, and the switch.
sandbox_remove() {
    local dir
    for dir in "$sandbox_dir"/*/; do
        if [ -d "$dir" ]; then node_remove "$(basename "$dir")"; fi
    done
    end "$sandbox_dir/switch"
    rm -rf "$sandbox_dir"
}

# ---- from outside -----------------------------------------------------------------------------

# node_enter NAME COMMAND...: runs it in the node.
node_enter() {
    local dir pid
    dir=$(node_dir "$1")
    node_is_running "$1" || sandbox_die "node $1 is not running"
    pid=$(cut -d' ' -f1 "$dir/pid")
    (join_groups "$dir" && exec env -i TERM="${TERM:-dumb}" HOME=/run USER=root \
        KUBECONFIG=/etc/kubernetes/kubeconfig \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        nsenter --target "$pid" --mount --net --uts --ipc --pid --cgroup --wd=/ "${@:2}")
}

# node_kubectl ARGS...: from the master, whose network reaches the API server.
node_kubectl() { node_enter master kubectl "$@"; }

# node_wait_joined NAME SECONDS: until `kubectl get nodes` shows it Ready.
node_wait_joined() {
    local until=$((SECONDS + $2))
    while [ $SECONDS -le $until ]; do
        case $(node_kubectl get node "$1" --no-headers 2>/dev/null) in
        "$1 "*" Ready "*) return 0 ;;
        esac
        node_is_running "$1" || return 1
        sleep 0.5
    done
    return 1
}

node_ctl() { node_enter "$1" pisup ctl "${@:2}"; }

# node_wait_ready NAME SECONDS: until every unit is.
node_wait_ready() {
    local until=$((SECONDS + $2)) status
    while node_is_running "$1" && [ $SECONDS -le $until ]; do
        status=$(node_ctl "$1" status --json 2>/dev/null || true)
        case $status in
        *'"ready":false'*) ;;
        *'"ready":true'*) return 0 ;;
        esac
        sleep 0.5
    done
    return 1
}
