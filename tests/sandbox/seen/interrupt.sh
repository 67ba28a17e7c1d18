#!/bin/bash
# ^C while a node comes up leaves nothing behind, whenever it comes.
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# As a terminal does: INT to all processes of the job. A shell's background jobs ignore INT, so
# python makes the job; its session is its process group.
in_a_terminal() {
    exec python3 -I -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])' "$@"
}

# interrupted_after SIGNAL SECONDS: from its first line on.
interrupted_after() {
    local job status=0
    (in_a_terminal "$sandbox_here/node.sh" up >"$test_log.up" 2>&1) &
    job=$!
    await 60 grep -q "^sandbox" "$test_log.up"
    sleep "$2"
    kill "-$1" -- "-$job"
    wait $job || status=$?
    cat "$test_log.up"
    rm "$test_log.up"
    [ $status != 0 ]
    nothing_is_left
}

nothing_is_left() {
    [ ! -e "$sandbox_dir" ]
    [ -z "$(find /sys/fs/cgroup -type d -name "pisup-sandbox-$SANDBOX-*" 2>/dev/null)" ]
    # Loaders, daemons and shims of this sandbox have its folder in their command lines.
    ! grep -lzF -f <(echo "sandbox/$SANDBOX/") /proc/[0-9]*/cmdline 2>/dev/null
}

for seconds in 0.2 0.7 1.5 2.5 4 6; do
    check "^C after $seconds s leaves nothing behind" interrupted_after INT $seconds
done
check "TERM after 3 s leaves nothing behind" interrupted_after TERM 3
