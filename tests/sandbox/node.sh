#!/bin/bash
# A sandbox node to play with; `make node` and its sisters call this.
#
#     node.sh up                 a master: PROFILE=classic|native, KUBE and FLANNEL=real|double
#     node.sh worker             a second node beside it
#     node.sh ctl ARGS...        pisup ctl in it; NODE=worker for the other one
#     node.sh kubectl ARGS...
#     node.sh shell [COMMAND...]
#     node.sh plug | boot        the power cut, and the power back: the disk stays
#     node.sh stop               ends all of it and leaves nothing
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
node=${NODE:-master}

must_run() {
    node_is_running "$node" || sandbox_die "no $node is running: make node"
}

# What make gives us is in the environment; what the master was made with wins for the worker.
as_the_master() {
    local file
    file=$(node_dir master)/node
    PROFILE=$(sed -n 's/^profile=//p' "$file")
    KUBE=$(sed -n 's/^kube=//p' "$file")
    FLANNEL=$(sed -n 's/^flannel=//p' "$file")
    export PROFILE KUBE FLANNEL
}

say_doubles() {
    local doubles=
    if [ "${KUBE:-real}" = double ]; then doubles="kubelet and kube-proxy"; fi
    if [ "${FLANNEL:-real}" = double ]; then doubles+="${doubles:+ and }flannel"; fi
    if [ -n "$doubles" ]; then sandbox_say "DOUBLES, not the real programs: $doubles"; fi
}

# follow NAME SECONDS: its changes as they come, until every unit is ready.
follow() {
    local status=0
    # shellcheck disable=SC2016
    (node_enter "$1" sh -c 'echo $$ >/run/follow; exec pisup ctl events -f' |
        sed -u 's/^/    /') 2>/dev/null &
    disown
    node_wait_ready "$1" "$2" || status=$?
    # From in there: what is killed outside is only nsenter.
    # shellcheck disable=SC2016
    node_enter "$1" sh -c 'kill $(cat /run/follow)' 2>/dev/null || true
    return "$status"
}

# not_ready NAME: everything there is to say about it, and where to look.
not_ready() {
    node_ctl "$1" status || true
    tail -n 20 "$(node_dir "$1")/log/pisup.log" >&2 || true
    sandbox_say "$1 did not become ready; it still runs: make node-ctl ARGS=\"why UNIT\"" >&2
    exit 1
}

# bring_up NAME ROLE ADDRESS
bring_up() {
    local began=$SECONDS
    # Until it stands, an interruption takes back what there is.
    trap 'trap - INT TERM; echo; undo "$interrupted"; exit 130' INT TERM
    interrupted=$1
    sandbox_say "$1: profile ${PROFILE:-classic}"
    say_doubles
    node_create "$@"
    node_boot "$1"
    sandbox_say "$1: pisup has the node"
    follow "$1" 300 || { trap - INT TERM; not_ready "$1"; }
    if [ "${KUBE:-real}" = real ]; then
        sandbox_say "$1: all units are ready; now kubelet joins the cluster"
        node_wait_joined "$1" 180 || { trap - INT TERM; not_ready "$1"; }
    fi
    trap - INT TERM
    sandbox_say "$1: up after $((SECONDS - began)) s"
    node_ctl "$1" status
    if [ "${KUBE:-real}" = real ]; then
        echo
        echo "\$ kubectl get nodes"
        node_kubectl get nodes
    fi
}

undo() {
    sandbox_say "interrupted; taking $1 back"
    if [ "$1" = master ]; then sandbox_remove; else node_remove "$1"; fi
}

hints() {
    echo
    say_doubles
    echo 'Go on with:'
    echo '  make node-ctl ARGS="status etcd"            what pisup knows'
    echo '  make node-ctl ARGS="restart flannel"        what moves, and what does not'
    if [ "${KUBE:-real}" = real ]; then
        echo '  make node-kubectl ARGS="get pods -A"'
    fi
    echo '  make node-shell                             a shell in it'
    if [ "$1" = master ]; then
        echo '  make node-worker                            a second node'
    else
        echo '  make node-ctl NODE=worker ARGS=status       the same for the worker'
    fi
    echo '  make node-stop                              ends all of it'
}

up() {
    ! node_is_running master || sandbox_die "a node is running already: make node-stop"
    sandbox_remove
    bring_up master master "$sandbox_master"
    hints master
}

worker() {
    [ -e "$(node_dir master)/node" ] || sandbox_die "no master: make node"
    as_the_master
    ! node_is_running worker || sandbox_die "a worker is running already"
    node_remove worker
    bring_up worker worker 198.51.100.2
    hints worker
}

[ "$(id -u)" = 0 ] || sandbox_die "has to be root, for namespaces and for real daemons in them"
command=${1-}
[ $# -eq 0 ] || shift
case $command in
up) up ;;
worker) worker ;;
ctl) must_run; node_ctl "$node" "$@" ;;
kubectl) must_run; node_kubectl "$@" ;;
shell) must_run
    [ $# -gt 0 ] || set -- bash --rcfile /etc/bash.bashrc -i
    node_enter "$node" "$@" ;;
plug) node_plug "$node" ;;
boot) node_boot "$node" ;;
stop) sandbox_remove ;;
*) sed -n '4,10s/^#  *//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
