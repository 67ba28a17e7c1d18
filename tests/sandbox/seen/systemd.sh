#!/bin/bash
# pisup as a service of Debian's systemd, the first process of a container (systemd-nspawn):
# units/init/pisup.service does what it says.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

base=$sandbox_tree/target/sandbox/systemd-base
root=$sandbox_dir/machine
log=$sandbox_dir/nspawn.log

# A root of Debian's packages, unpacked; 15 seconds once.
base_up() {
    local packages=systemd,systemd-sysv,dbus,base-files,dash,coreutils,util-linux,bash,procps,libc6
    local list=$base.list key
    key=$(sha256sum <"${BASH_SOURCE[0]}")
    if [ "$(cat "$base/key" 2>/dev/null)" = "$key" ]; then return 0; fi
    rm -rf "$base"
    mkdir -p "${base%/*}"
    "$sandbox_tree/tests/mirror.sh" >"$list"
    mmdebstrap --quiet --variant=extract --include=$packages bookworm "$base" "$list"
    rm "$list"
    printf '%s\n' root:x:0:0:root:/root:/bin/sh messagebus:x:100:100::/:/bin/false \
        >"$base/etc/passwd"
    printf '%s\n' root:x:0: messagebus:x:100: tty:x:5: >"$base/etc/group"
    : >"$base/etc/machine-id"
    # The journal outlives the container.
    mkdir "$base/var/log/journal"
    rm -f "$base/etc/resolv.conf"
    echo "$key" >"$base/key"
}

# unit NAME: its text comes from the standard input.
unit() { cat >"$root/etc/pisup/units/$1.toml"; }

machine_fill() {
    mkdir -p "$sandbox_dir"
    cp -a "$base" "$root"
    echo pi-1 >"$root/etc/hostname"
    install -m 755 "$sandbox_tree/target/release/pisup" "$root/usr/bin/"
    install -m 644 "$sandbox_tree/units/init/pisup.service" "$root/lib/systemd/system/"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s /lib/systemd/system/pisup.service "$root/etc/systemd/system/multi-user.target.wants/"
    # What the distribution's Docker brings, enabled, and what must not run beside pisup.
    printf '[Socket]\nListenStream=/run/docker.sock\n[Install]\nWantedBy=sockets.target\n' \
        >"$root/lib/systemd/system/docker.socket"
    printf '[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n' \
        >"$root/lib/systemd/system/docker.service"
    mkdir -p "$root/etc/systemd/system/sockets.target.wants"
    ln -s /lib/systemd/system/docker.socket "$root/etc/systemd/system/sockets.target.wants/"
    ln -s /lib/systemd/system/docker.service "$root/etc/systemd/system/multi-user.target.wants/"
    mkdir -p "$root/etc/pisup/units"
    printf '%s\n' 'role = "master"' 'name = "pi-1"' 'address = "198.51.100.1"' \
        'interface = "lo"' >"$root/etc/pisup/node.toml"
    unit writer <<'EOF'
[command]
exec = ["sh", "-c", """
    systemd-notify --ready; i=0
    while :; do i=$$((i+1)); echo $$i; sleep 0.05; done
"""]
[ready]
notify = true
EOF
    unit bound <<'EOF'
[unit]
binds = ["writer"]
[command]
exec = ["sleep", "100000"]
EOF
    unit other <<'EOF'
[command]
exec = ["sleep", "100000"]
EOF
    chmod -R go-w "$root/etc/pisup"
}

machine_on() {
    groups_up "$sandbox_dir"
    (
        join_groups "$sandbox_dir"
        exec setsid unshare --mount --pid --fork --kill-child=KILL --mount-proc \
            systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit \
            --console=pipe --private-network --kill-signal=SIGRTMIN+3
    ) </dev/null >"$log" 2>&1 &
    machine=$!
}

machine_off() {
    [ -z "${machine-}" ] || kill -KILL "$machine" 2>/dev/null || true
    groups_down "$sandbox_dir"
}
trap 'machine_off; cleanup' EXIT

# children PID: of a process.
children() { cat "/proc/$1/task/$1/children"; }

# first_process: the container's, as this machine counts.
first_process() {
    local nspawn pid
    nspawn=$(children "$machine")
    for pid in $(children "${nspawn% }"); do
        if [ "$(cat "/proc/$pid/comm")" = systemd ]; then echo "$pid"; return 0; fi
    done
    return 1
}

# inside COMMAND...: in the container.
inside() {
    nsenter --target "$(first_process)" --mount --net --uts --ipc --pid --cgroup --wd=/ \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@"
}

# common.sh asks a node by these.
ctl() { inside pisup ctl "$@"; }

property() { inside systemctl show --property="$1" --value pisup.service; }
is_active() { [ "$(property ActiveState)" = active ]; }
all_units_ready() { json | jq -e '(.units | length) == 3 and all(.units[]; .ready)'; }
supervisor() { json | jq .supervisor.pid; }
writes() { ctl logs -n 100000 writer --json | jq -r .line; }

has_written() { [ "$(writes | wc -l)" -gt "$1" ]; }
is_another_than() { local pid; pid=$(supervisor) && [ "$pid" -gt 0 ] && [ "$pid" != "$1" ]; }
has_moved() { is_state "$1" ready && [ "$(field "$1" pid)" != "$2" ]; }
is_gone() { ! kill -0 "$1"; }

# The numbers that it wrote, as far as the supervisor has them, have no gap and none comes twice.
numbers_have_no_gap() { writes | awk 'NR > 1 && $1 != last + 1 { exit 1 } { last = $1 }'; }

boots_and_tells_systemd_that_it_is_ready() {
    await 60 is_active
    await 60 all_units_ready
    # READY=1 came from its own process, not from that of a unit.
    [ "$(property MainPID)" = "$(supervisor)" ]
    inside systemctl is-enabled pisup.service
}

keeps_the_docker_of_the_distribution_down() {
    [ "$(inside systemctl is-active docker.service docker.socket | sort -u)" = inactive ]
}

keeps_units_in_groups_below_its_own() {
    local group pid
    group=$(property ControlGroup)
    for unit in writer bound other; do
        pid=$(field $unit pid)
        inside cat "/proc/$pid/cgroup" | grep -q "$group/.*/$unit\$"
    done
}

names_the_docker_of_the_distribution() {
    inside pisup doctor --json >"$test_log.doctor" || [ $? = 1 ]
    cat "$test_log.doctor"
    jq -r '.findings[] | tostring' "$test_log.doctor" | grep -F docker.service
    jq -r '.findings[] | tostring' "$test_log.doctor" | grep -F docker.socket
    rm "$test_log.doctor"
}

is_killed_and_nobody_else_moves() {
    local before old
    await 60 has_written 20
    before=$(json | jq -r '.units[] | "\(.name) \(.pid)"')
    old=$(supervisor)
    inside kill -KILL "$old"
    await 60 is_another_than "$old"
    await 60 all_units_ready
    await 60 is_active
    [ "$(json | jq -r '.units[] | "\(.name) \(.pid)"')" = "$before" ]
    await 60 has_written 40
    numbers_have_no_gap
}

reloads_its_configuration() {
    local writer other
    writer=$(field writer pid)
    other=$(field other pid)
    sed -i s/100000/200000/ "$root/etc/pisup/units/other.toml"
    inside systemctl reload pisup.service
    await 60 has_moved other "$other"
    [ "$(field writer pid)" = "$writer" ]
}

stops_in_order_and_leaves_nothing() {
    local group
    group=$(property ControlGroup)
    inside systemctl stop pisup.service
    [ "$(property ActiveState)" = inactive ]
    [ "$(property Result)" = success ]
    inside journalctl --unit=pisup.service --output=cat --no-pager >"$test_log.journal"
    # Whoever is bound goes first.
    grep -n 'bound: stopping -> down' "$test_log.journal"
    awk '/bound: stopping -> down/ { bound = NR } /writer: stopping -> down/ { writer = NR }
        END { exit !(bound && writer > bound) }' "$test_log.journal"
    rm "$test_log.journal"
    [ -z "$(inside pgrep -x sleep)" ]
    [ -z "$(inside find /sys/fs/cgroup -path "*$group/*" -type d)" ]
}

starts_again_by_hand() {
    inside systemctl start pisup.service
    await 60 all_units_ready
}

goes_down_with_the_machine() {
    local pid
    pid=$(first_process)
    inside systemctl poweroff
    await 60 is_gone "$pid"
    await 60 is_gone "$machine"
    journalctl --directory="$root/var/log/journal" --output=cat --no-pager 2>/dev/null |
        grep -F 'all units are down'
}

base_up
machine_fill
machine_on
await 60 first_process
check "systemd is told when pisup is ready" boots_and_tells_systemd_that_it_is_ready
or_stop
check "no docker of the distribution runs beside it" keeps_the_docker_of_the_distribution_down
check "its units are below its own cgroup" keeps_units_in_groups_below_its_own
check "doctor names docker.service and docker.socket" names_the_docker_of_the_distribution
check "kill -9: systemd starts it again, no unit moves, no line is lost" \
    is_killed_and_nobody_else_moves
check "systemctl reload takes over what changed" reloads_its_configuration
check "systemctl stop is an ordered shutdown" stops_in_order_and_leaves_nothing
check "systemctl start brings all back" starts_again_by_hand
check "the machine's end is an ordered shutdown, too" goes_down_with_the_machine
