#!/bin/bash
# Power cuts at random moments: after each, pi-1 has to come back by itself with all ready, on the
# card as it was left.
#
#     cuts.sh CHAIN N [SEED]
#
# Every other one falls into a start, the rest while it runs and writes. The same seed gives the
# same moments: seconds of writing, and thousandths of the time that the last start took.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

chain=${1-} cuts=${2-} seed=${3:-$$}
pi_check_chain "$chain"
[[ $cuts =~ ^[0-9]+$ ]] || pi_die "how many cuts?"
RANDOM=$seed
moments=()
for ((cut = 0; cut < cuts; cut++)); do moments+=($((RANDOM % 1000))); done
failures=0 said=()

# What a node writes: etcd a value, the rest files as dockerd does.
# shellcheck disable=SC2016
writing='{ i=0; while i=$((i + 1)); do
dd if=/dev/urandom of=/var/lib/waste.$((i % 8)) bs=64k count=32 2>/dev/null;
etcdctl --endpoints=http://127.0.0.1:4001 put waste $i >/dev/null 2>&1; done & }'

# card_is_whole: as it was left, its journal gives back a file system without a fault.
card_is_whole() {
    local copy=$pi_out/pi-1.fsck status=0
    cp --sparse=always "$pi_out/pi-1.img" "$copy"
    e2fsck -fp "$copy" >"$pi_out/pi-1.fsck.log" 2>&1 || status=$?
    rm -f "$copy"
    # 1: what a journal is for has been put right; from 4 on somebody has to be asked.
    [ $status -le 1 ]
}

# fault SENTENCE
fault() {
    echo "not ok cut $cut: $1"
    failures=$((failures + 1))
}

# cut_in SECONDS WHAT: the plug is pulled so long after now.
cut_in() {
    sleep "$1"
    pi_off pi-1
    when="$2, at $1 s"
    pi_say "cut $cut: $when"
    card_is_whole || fault "e2fsck asks for help: $(tail -n 1 "$pi_out/pi-1.fsck.log")"
}

# back: it comes up again, and nothing of what was before is in its way.
back() {
    local stale
    if ! pi_boot pi-1 >"$pi_out/pi-1.boot" 2>&1; then
        tail -n 40 "$pi_out/pi-1.boot"
        fault "not ready again"
        return 0
    fi
    usual=$(pi_seconds pi-1)
    [ "$(pi_subnet pi-1)" = "$first" ] || fault "the subnet is $(pi_subnet pi-1), was $first"
    stale=$(pi_ask pi-1 "$looking" | grep -aE '^ +(FOUND|.*EXT4-fs error)') || stale=
    [ -z "$stale" ] || fault "it says: $stale"
    said+=("ready after $usual s, cut $when")
    echo "ok cut $cut: $when; ready again after $usual s, $first"
}
# What only its log would show: a pidfile that dockerd took for another one's, a broken card.
looking="pisup ctl logs -n 5000 | sed -n 's/.*pid file found.*/FOUND &/p'; dmesg | grep EXT4-fs"

pi_stop
"$pi_here/image.sh" pi-1 "$chain"
pi_tied=1
trap pi_stop EXIT
pi_say "$cuts power cuts, seed $seed"
pi_boot pi-1 >"$pi_out/pi-1.boot" 2>&1 || { tail -n 40 "$pi_out/pi-1.boot"; exit 1; }
first=$(pi_subnet pi-1)
[ -n "$first" ] || pi_die "pi-1 has no subnet"
usual=$(pi_seconds pi-1)
pi_say "ready after $usual s, with $first"
for ((cut = 1; cut <= cuts; cut++)); do
    moment=${moments[cut - 1]}
    if [ $((cut % 2)) = 0 ]; then
        # From running to off, on again, and off while it starts.
        pi_off pi-1
        pi_on pi-1
        cut_in $((5 + usual * moment / 1000)) "while starting"
    else
        pi_ask pi-1 "${writing//$'\n'/ }" >/dev/null || fault "it does not answer"
        cut_in $((moment % 30)) "while running and writing"
    fi
    back
done
echo
printf '%s\n' "${said[@]}"
[ $failures = 0 ] || pi_die "$failures faults after $cuts cuts, seed $seed"
pi_say "$cuts power cuts, seed $seed: each time all was ready again, with the same subnet"
