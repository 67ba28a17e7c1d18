#!/bin/bash
# What must be seen on a node of real dockerd, etcd and flanneld, each thing a test with a name.
#
#     tests/sandbox/test.sh [GROUP...]       default: every group; GROUP: see `groups` below
#
# KUBE=double runs the groups on behaviour, with doubles of kubelet and kube-proxy; KUBE=real runs
# those on the cluster. A group is one file in seen/, and has a sandbox of its own, which is gone
# when the group ends, however it ends. TEST_KEEP=1 keeps the sandbox of a group that failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# groups: a line NAME FILE SETTINGS... each.
groups() {
    if [ "${KUBE:-double}" = real ]; then
        echo 'kube-classic  kube.sh    PROFILE=classic'
        echo 'kube-native   kube.sh    PROFILE=native'
        return 0
    fi
    echo 'late-etcd       late.sh    PROFILE=classic'
    echo 'classic         master.sh  PROFILE=classic'
    echo 'native          master.sh  PROFILE=native'
    echo 'containers      containers.sh PROFILE=native FLANNEL=double'
    echo 'interrupt       interrupt.sh PROFILE=classic'
    echo 'flannel         flannel.sh PROFILE=native FLANNEL=double'
    echo 'worker-classic  worker.sh  PROFILE=classic'
    echo 'worker-native   worker.sh  PROFILE=native'
    echo 'systemd         systemd.sh PROFILE=native'
}

# run_group NAME FILE SETTINGS...
run_group() {
    local name=$1 file=$2
    env "${@:3}" KUBE="${KUBE:-double}" SANDBOX="test-$name" GROUP="$name" RESULTS="$results" \
        bash "$here/seen/$file" </dev/null
}

if [ "$(id -u)" != 0 ]; then
    echo "test.sh: has to be root, for namespaces and for real daemons in them" >&2
    exit 1
fi
wanted=" ${*:-$(groups | awk '{ print $1 }' | xargs)} "
slow=
while read -r name file settings; do
    case $wanted in *" $name "*) ;; *) continue ;; esac
    # Two minutes of waiting for a port: beside the others.
    if [ "$name" = late-etcd ]; then
        # shellcheck disable=SC2086
        run_group "$name" "$file" $settings &
        slow=$!
        continue
    fi
    # shellcheck disable=SC2086
    run_group "$name" "$file" $settings || true
done < <(groups)
[ -z "$slow" ] || wait "$slow" || true

passed=$(grep -c '^PASS' "$results" || true)
failed=$(grep -c '^FAIL' "$results" || true)
grep '^FAIL' "$results" || true
echo "sandbox: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
