#!/bin/bash
# What the groups of test.sh share. A test is a function; `check SENTENCE FUNCTION` runs it in a
# shell of its own and reports; inside it every command that fails ends it.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=../lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here_node=master
has_failed=
test_log=$(mktemp)

cleanup() {
    trap - EXIT INT TERM
    rm -f "$test_log"
    if [ -n "$has_failed" ] && [ -n "${TEST_KEEP-}" ]; then
        sandbox_say "kept: SANDBOX=$SANDBOX tests/sandbox/node.sh ctl status"
    else
        sandbox_remove
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM
sandbox_remove

# check SENTENCE COMMAND...
check() {
    local began=$SECONDS status=0
    (set -euo pipefail; set -x; "${@:2}") >"$test_log" 2>&1 &
    wait $! || status=$?
    if [ $status = 0 ]; then
        echo "PASS $GROUP: $1 ($((SECONDS - began)) s)" | tee -a "$RESULTS"
        return 0
    fi
    has_failed=1
    echo "FAIL $GROUP: $1 ($((SECONDS - began)) s)" | tee -a "$RESULTS"
    tail -n 40 "$test_log" | cut -c1-300 | sed 's/^/    /'
    for node in master worker; do
        if node_is_running $node; then
            (node_ctl $node status; node_ctl $node events -n 30; node_ctl $node logs -n 30) 2>&1 |
                cut -c1-200 | sed 's/^/    | /'
        fi
    done
}

# or_stop: the rest of a group means nothing when this has failed.
or_stop() { [ -z "$has_failed" ] || exit 1; }

ctl() { node_ctl "$here_node" "$@"; }
enter() { node_enter "$here_node" "$@"; }
json() { ctl status ${1+"$1"} --json || [ $? = 3 ]; }

# field UNIT NAME: of its status.
field() { json "$1" | jq -r ".units[0].$2"; }

# snapshot: a line UNIT PID MAIN-PID STARTS each.
snapshot() { json | jq -r '.units[] | "\(.name) \(.pid) \(.main_pid) \(.starts)"'; }

# await SECONDS COMMAND...: until it succeeds.
await() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $until ]; then
            echo "not in time: $*"
            return 1
        fi
        sleep 0.2
    done
}

is_state() { [ "$(field "$1" state)" = "$2" ]; }
all_ready() { node_wait_ready "$here_node" "${1:-120}"; }

# same_but BEFORE UNIT...: no unit but these has another process or was started again.
same_but() {
    local before=$1 after line
    after=$(snapshot)
    shift
    while read -r line; do
        case " $* " in *" ${line%% *} "*) continue ;; esac
        grep -qxF "$line" <<<"$after" || { echo "moved: $line; now: $after"; return 1; }
    done <<<"$before"
}

# events SINCE: "unit from to" lines of what changed after that many milliseconds.
events() {
    ctl events --json | jq -r --argjson since "$1" 'select(.at_ms > $since and .from != .to)
        | "\(.unit) \(.from) \(.to)"'
}
# first_to STATE SINCE: units, in the order in which they first came to a state.
first_to() { events "$2" | awk -v to="$1" '$3 == to && !seen[$1]++ { print $1 }'; }
# ends SINCE: units, in the order in which their processes ended.
ends() { events "$1" | awk '$2 == "stopping" && !seen[$1]++ { print $1 }'; }
# planned WHAT PLAN: units, in the plan's order.
planned() { jq -r --arg what "$1" '.plan[] | select(.do == $what) | .unit' <<<"$2"; }
last_event_ms() { ctl events --json | jq -s 'map(.at_ms) | max'; }

docker() { enter /usr/bin/docker -H unix:///run/docker.sock "$@"; }
docker0() { enter ip -4 -o addr show docker0 | awk '{ print $4 }'; }
subnet() { field flannel exports.FLANNEL_SUBNET; }
etcdctl() { enter env ETCDCTL_API=2 etcdctl --endpoints http://127.0.0.1:4001 "$@"; }

# image: the tag of the busybox that each node's main daemon has.
busybox() { image_of "$(node_dir "$here_node")" busybox; }

# start_container NAME: one that stays.
start_container() {
    docker run -d --pull=never --name "$1" "$(busybox)" \
        sh -c 'trap "exit 0" TERM; while :; do sleep 0.2; done' >/dev/null
}
container_pid() { docker inspect -f '{{.State.Pid}}' "$1"; }

create_master() { node_create master master "$sandbox_master" >/dev/null; }
create_worker() { node_create worker worker 198.51.100.2 >/dev/null; }
