#!/bin/bash
# What a node costs, measured on one: `make bench` calls this. Nothing here passes or fails.
#
#     tests/sandbox/measure.sh          PROFILE, KUBE as for node.sh; SECONDS_IDLE (60)
set -euo pipefail

SANDBOX=${SANDBOX:-measure}
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap sandbox_remove EXIT
trap 'exit 130' INT TERM
sandbox_remove
idle=${SECONDS_IDLE:-60}

json() { node_ctl master status --json; }

# private PID: kB that are this process's alone; pages of the program file are not.
private() { node_enter master awk '/^Anonymous:/ { print $2 }' "/proc/$1/smaps_rollup"; }
resident() { node_enter master awk '/^Rss:/ { print $2 }' "/proc/$1/smaps_rollup"; }
# switches PID: how often it went to sleep and was woken.
switches() { node_enter master awk '/^voluntary_ctxt/ { print $2 }' "/proc/$1/status"; }

node_create master master "$sandbox_master" >/dev/null
node_boot master >/dev/null
node_wait_ready master 300
ready_ms=$(json | jq '.supervisor.uptime_ms - ([.units[] | .since_ms] | min)')
echo "profile ${PROFILE:-classic}, kubelet and kube-proxy: ${KUBE:-real}"
echo "start of pisup to all $(json | jq '.units | length') units ready: $ready_ms ms"
echo "pisup supervise: $(private 1) kB private, $(resident 1) kB resident"
owner=$(json | jq -r '[.units[] | select(.pid != .main_pid and .pid != null)][0].pid')
if [ "$owner" != null ]; then
    echo "one container-run: $(private "$owner") kB private, $(resident "$owner") kB resident"
fi
# Let old failures be forgotten, which is the last timer of a node that is ready.
sleep 15
before=$(switches 1)
sleep "$idle"
after=$(switches 1)
echo "wake-ups of the idle supervisor in $idle s: $((after - before))"
# Asking cost none of these: /proc was read, and nobody spoke to it.
