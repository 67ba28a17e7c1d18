#!/bin/bash
# A container unit and a real engine, while those who hold it are killed: the supervisor below
# pisup-init, and `pisup container-run`. It is the same container after that, and there is one.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# It ends with 7 when it gets USR1.
keeper_unit() {
    cat <<EOF
[unit]
requires = ["docker"]

[container]
engine  = "/run/docker.sock"
image   = "$(busybox)"
network = "none"
pull    = "never"
command = ["sh", "-c", """
    trap 'exit 0' TERM; trap 'exit 7' USR1
    while :; do sleep 0.2; done
"""]

[restart]
delay = "200ms"
EOF
}

# As long as /run/hold is there, no supervisor is.
supervisor_that_can_be_held() {
    cat <<'EOF'
#!/bin/sh
while [ -e /run/hold ]; do sleep 0.1; done
exec pisup "$@"
EOF
}

comes_up_below_pisup_init() {
    local init=${PISUP:-$sandbox_tree/target/release/pisup}-init dir
    create_master
    dir=$(node_dir master)
    keeper_unit >"$dir/etc/pisup/units/keeper.toml"
    supervisor_that_can_be_held >"$dir/bin/supervisor"
    chmod 755 "$dir/bin/supervisor"
    NODE_INIT="$init --settled-after 0 --supervisor /usr/local/sbin/supervisor" node_boot master
    all_ready 180
    [ "$(supervisor)" != 1 ]
    [ "$(containers)" = 1 ]
}

supervisor() { json | jq .supervisor.pid; }
owner() { field keeper pid; }
is_another_than() { local pid; pid=$(supervisor) && [ "$pid" -gt 0 ] && [ "$pid" != "$1" ]; }
is_gone() { ! enter kill -0 "$1"; }
starts_again() { [ "$(field keeper starts)" -gt "$1" ]; }
inspect() { docker inspect -f "$1" pisup-keeper; }
# Which container it is: its number at the engine, when it was started, and its process.
identity() { inspect '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}'; }
is_container() { [ "$(inspect '{{.State.Status}}')" = "$1" ]; }
# However they are called, and whether they run or not.
containers() { docker ps -aq --filter label=pisup.unit=keeper | wc -l; }

# Ends the container, and waits until the engine has seen that.
container_ends_with_7() {
    docker kill --signal USR1 pisup-keeper
    await 30 is_container exited
    [ "$(inspect '{{.State.ExitCode}}')" = 7 ]
}

supervisor_is_killed() {
    local before same old
    before=$(snapshot)
    same=$(identity)
    old=$(supervisor)
    enter kill -9 "$old"
    await 60 is_another_than "$old"
    all_ready
    same_but "$before"
    [ "$(identity)" = "$same" ]
    [ "$(containers)" = 1 ]
}

# At once, and with nobody there for a while.
supervisor_and_owner_are_killed() {
    local before same old starts
    before=$(snapshot)
    same=$(identity)
    old=$(supervisor)
    starts=$(field keeper starts)
    if [ "$1" = held ]; then enter touch /run/hold; fi
    enter kill -9 "$old" "$(owner)"
    if [ "$1" = held ]; then
        await 30 is_gone "$old"
        is_container running
        [ "$(identity)" = "$same" ]
        enter rm /run/hold
    fi
    await 60 is_another_than "$old"
    await 60 starts_again "$starts"
    all_ready
    same_but "$before" keeper
    [ "$(identity)" = "$same" ]
    [ "$(containers)" = 1 ]
    ctl logs keeper | grep -F 'took over container pisup-keeper'
}

owner_is_killed() {
    local before same starts
    before=$(snapshot)
    same=$(identity)
    starts=$(field keeper starts)
    enter kill -9 "$(owner)"
    await 60 starts_again "$starts"
    all_ready
    same_but "$before" keeper
    [ "$(identity)" = "$same" ]
    [ "$(containers)" = 1 ]
}

# another_one BEFORE STARTS IDENTITY: the unit has one new container, and was started once.
another_one() {
    await 60 starts_again "$2"
    all_ready
    same_but "$1" keeper
    [ "$(field keeper starts)" = $(($2 + 1)) ]
    [ "$(identity)" != "$3" ]
    is_container running
    [ "$(containers)" = 1 ]
}

# ends_while_away [owner]: the container ends while there is no supervisor, and no owner either.
ends_while_away() {
    local before same old starts killed
    before=$(snapshot)
    same=$(identity)
    old=$(supervisor)
    starts=$(field keeper starts)
    killed=("$old")
    if [ $# -gt 0 ]; then killed+=("$(owner)"); fi
    enter touch /run/hold
    enter kill -9 "${killed[@]}"
    await 30 is_gone "$old"
    container_ends_with_7
    enter rm /run/hold
    await 60 is_another_than "$old"
    another_one "$before" "$starts" "$same"
}

ends_while_there_is_no_supervisor() {
    ends_while_away
    [ "$(field keeper exit.code)" = 7 ]
    ctl events keeper | grep -F 'exit code 7'
}

ends_while_there_is_neither() {
    ends_while_away owner
    # Nobody was there to hear of the container's end: what is told is that of its owner.
    [ "$(field keeper exit.signal)" = KILL ]
}

is_stopped_after_all() {
    local old
    old=$(supervisor)
    enter kill -9 "$old"
    await 60 is_another_than "$old"
    ctl stop keeper
    is_state keeper down
    is_container exited
    [ "$(inspect '{{.State.ExitCode}}')" = 0 ]
    [ "$(containers)" = 1 ]
}

check "a node below pisup-init: its container unit is ready" comes_up_below_pisup_init
or_stop
check "kill -9 of the supervisor: the same container, and no unit moves" supervisor_is_killed
check "kill -9 of the container's owner: the same container, with another owner" owner_is_killed
check "kill -9 of both: the same container, with another owner" supervisor_and_owner_are_killed now
check "both are away for a while: the same container, with another owner" \
    supervisor_and_owner_are_killed held
check "it ends while there is no supervisor: its code is told, and it is made anew once" \
    ends_while_there_is_no_supervisor
check "it ends while there is neither: it is made anew once" ends_while_there_is_neither
check "stop after that ends it as its own" is_stopped_after_all
