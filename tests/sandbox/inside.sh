#!/bin/bash
# The first process of a sandbox node, in namespaces of its own: makes them look like a machine that
# has just booted, brings the images in, and then becomes pisup. Started by lib.sh, as
#
#     inside.sh DIR        DIR: the node's folder, made by node_create
set -euo pipefail

dir=$1
# /proc is still that of the machine outside: this is how it knows us, and what it may kill.
read -r stat </proc/self/stat
read -r pid _ <<<"$stat"
read -ra rest <<<"${stat##*) }"
outside="$pid ${rest[19]}"
echo "$outside" >"$dir/pid.new"
mv "$dir/pid.new" "$dir/pid"
node='' address='' profile='' wire='' init=''
# shellcheck source=/dev/null
source "$dir/settings"

say() { echo "$node: $*"; }
die() { say "$*"; exit 1; }

# A wire to the switch; its end outside is gone with us.
plug_in() {
    local port=to-$node
    # $$ is 1: the kernel counts as we do, in our namespace.
    nsenter --net="/proc/$wire/ns/net" \
        ip link add "$port" type veth peer name eth0 address "$(mac)" netns $$
    nsenter --net="/proc/$wire/ns/net" ip link set "$port" master switch up
    ip link set lo up
    ip link set eth0 up
    ip addr add "$address/24" dev eth0
    # The switch knows no way out and says so at once; without any default route flannel and
    # kubelet find no interface.
    ip route add default via 198.51.100.254
}

# The same hardware address at each boot, as a machine has: the neighbours remember it.
mac() { printf '02:00:c6:33:64:%02x' "${address##*.}"; }

mount_cgroups() {
    local hierarchy
    if [ "$(cut -d: -f1 "$dir/cgroups")" = unified ]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        # A group with processes in it can give its children no controllers.
        mkdir -p /sys/fs/cgroup/init
        echo 1 >/sys/fs/cgroup/init/cgroup.procs
        cd /sys/fs/cgroup
        sed 's/^/+/; s/ / +/g' cgroup.controllers >cgroup.subtree_control
        return 0
    fi
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    while IFS=: read -r hierarchy _; do
        case $hierarchy in
        unified) mkdir /sys/fs/cgroup/unified
            mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified ;;
        *) mkdir "/sys/fs/cgroup/${hierarchy#name=}"
            mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/${hierarchy#name=}" ;;
        esac
    done <"$dir/cgroups"
}

mount_all() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount_cgroups
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock /run/doubles
    mount --bind "$dir/etc" /etc
    mount --bind "$dir/lib" /var/lib
    mount --bind "$dir/log" /var/log
    mount --bind "$dir/bin" /usr/local/sbin
}

# load NAME DATA LIST: brings images into a daemon's data while it does not run.
load() {
    local tag tar instruction daemon run=/run/loader-$1 log=$dir/log/loader-$1.log
    if cmp -s "$3" "$2/sandbox-images"; then return 0; fi
    mkdir -p "$2"
    dockerd -H "unix://$run.sock" --data-root="$2" --exec-root="$run" --pidfile="$run.pid" \
        --bridge=none --iptables=false --ip-masq=false --ip-forward=false >"$log" 2>&1 &
    daemon=$!
    until docker_ping "$run.sock"; do
        kill -0 "$daemon" 2>/dev/null || die "dockerd did not start: see $log"
        sleep 0.1
    done
    while IFS=$'\t' read -r tag tar instruction; do
        say "image $tag into $1"
        /usr/bin/docker -H "unix://$run.sock" import -c "$instruction" - "$tag" <"$tar" >/dev/null
    done <"$3"
    kill "$daemon"
    wait "$daemon" || true
    umount -l "$2" 2>/dev/null || true      # dockerd binds its data on itself
    rm -rf "$run" "$run".*
    cp "$3" "$2/sandbox-images"
}

docker_ping() {
    [ "$(curl -s -m 2 --unix-socket "$1" http://localhost/_ping 2>/dev/null)" = OK ]
}

plug_in
# The folders of our groups are below the machine's, which the new mounts hide.
mount_all
hostname "$node"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
loaders=()
if [ "$profile" = classic ]; then
    load bootstrap /var/lib/docker-bootstrap "$dir/images.bootstrap" &
    loaders+=($!)
fi
load main /var/lib/docker "$dir/images.main" &
loaders+=($!)
for loader in "${loaders[@]}"; do wait "$loader"; done

# What a machine has on which Docker ran before, with its default bridge: pisup must move it.
ip link add docker0 type bridge
ip addr add 172.17.42.1/16 dev docker0
ip link set docker0 up

touch "$dir/up"
cd /
# shellcheck disable=SC2086
exec $init >>"$dir/log/pisup.log" 2>&1
