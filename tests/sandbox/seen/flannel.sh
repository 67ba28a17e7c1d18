#!/bin/bash
# What flannel can do to a node, on demand: a double of flanneld with lateness and faults.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

comes_up() {
    create_master
    node_boot master
    all_ready 120
}

status_says_that_it_is_a_double() {
    ctl status flannel | grep -F 'A DOUBLE, not the real one'
}

a_late_flannel_is_waited_for() {
    local before
    enter sh -c 'echo late=8000 >/run/doubles/flanneld'
    ctl stop flannel
    ctl start kube-proxy --no-wait
    await 30 is_state flannel starting
    is_state docker waiting
    field docker waiting_for | tee /dev/stderr | grep -F flannel
    all_ready 60
    enter rm /run/doubles/flanneld
    before=$(snapshot)
    same_but "$before"
}

# The lease is revoked: flanneld ends with code 0, which is no end for a daemon.
a_revoked_lease_is_no_end() {
    local before starts
    before=$(snapshot)
    starts=$(field flannel starts)
    ctl kill USR1 flannel
    await 30 eval '[ "$(field flannel starts)" -gt '"$starts"' ]'
    all_ready 60
    await 30 is_settled
    [ "$(docker0)" = "$(subnet)" ]
    same_but "$before" flannel docker kubelet kube-proxy
}
is_settled() { [ "$(docker0)" = "$(subnet)" ] && all_ready 1; }

# As flannel up to 0.7 does: the file is written anew by the same process.
a_rewritten_file_bounces_what_uses_it() {
    local before old flannel
    before=$(snapshot)
    old=$(subnet)
    flannel=$(field flannel main_pid)
    ctl kill USR2 flannel
    await 30 eval '[ "$(subnet)" != "'"$old"'" ]'
    await 60 is_settled
    [ "$(field flannel main_pid)" = "$flannel" ]
    same_but "$before" docker kubelet kube-proxy
    [ "$(field docker starts)" -gt "$(awk '$1 == "docker" { print $4 }' <<<"$before")" ]
}

the_same_values_written_again_move_nothing() {
    local before
    before=$(snapshot)
    enter sh -c 'cd /run/flannel && cp subnet.env .new && mv .new subnet.env &&
        cp subnet.env /run/x && cat /run/x >subnet.env'
    all_ready 5
    same_but "$before"
}

a_vanished_file_moves_nothing() {
    local before
    before=$(snapshot)
    enter mv /run/flannel/subnet.env /run/flannel/away
    all_ready 5
    same_but "$before"
    # The next start of docker waits for the value.
    ctl restart docker --no-wait
    await 60 is_state docker waiting
    field docker waiting_for | tee /dev/stderr | grep -F FLANNEL_
    enter mv /run/flannel/away /run/flannel/subnet.env
    all_ready 60
}

a_crashing_flannel_degrades_and_is_tried_again() {
    local before
    enter sh -c 'echo exit=2 >/run/doubles/flanneld'
    before=$(snapshot)
    ctl restart flannel --no-wait
    await 120 eval '[ "$(field flannel degraded)" = true ]'
    same_but "$before" flannel
    field flannel retry_in_ms | grep -E '^[0-9]+$'
    enter rm /run/doubles/flanneld
    # A start by name does not wait for the delay to end.
    ctl start flannel
    all_ready 30
    same_but "$before" flannel
}

check "a node with a double of flanneld becomes ready" comes_up
or_stop
check "status says that flannel is a double" status_says_that_it_is_a_double
check "a late flannel is waited for" a_late_flannel_is_waited_for
check "a revoked lease, exit code 0, is no end" a_revoked_lease_is_no_end
check "a file rewritten by the same process bounces what uses it" \
    a_rewritten_file_bounces_what_uses_it
check "the same values written again move nothing" the_same_values_written_again_move_nothing
check "a vanished file moves nothing; the next start waits for it" a_vanished_file_moves_nothing
check "a crashing flannel is degraded, tried again, and moves nobody" \
    a_crashing_flannel_degrades_and_is_tried_again
