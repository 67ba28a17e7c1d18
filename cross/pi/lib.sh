# The emulated Pis: where things are, how one is switched on and off, and how one talks to it.
# Sourced by the others.

# shellcheck shell=bash
pi_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pi_tree=$(cd "$pi_here/../.." && pwd)
pi_out=$pi_tree/target/pi
pi_base=$pi_out/base
# How long a boot may take: a busy machine with two cores takes thrice as long as a free one.
pi_limit=${PI_LIMIT:-2400}
# Processes of this script that are to end with it.
pi_following=()
# When each was switched on, by this script's clock.
declare -A pi_began

pi_say() { echo "pi: $*"; }
pi_die() { echo "pi: $*" >&2; exit 1; }

# One network for all of them; the first is the master.
pi_address() {
    case $1 in
    pi-1) echo 192.168.1.10 ;;
    pi-2) echo 192.168.1.11 ;;
    *) pi_die "unknown Pi '$1'; known: pi-1 pi-2" ;;
    esac
}

pi_role() { if [ "$1" = pi-1 ]; then echo master; else echo worker; fi; }

pi_check_chain() {
    case $1 in docker | node) ;; *) pi_die "CHAIN is docker or node, not '$1'" ;; esac
}

# pi_is_on NAME: the file holds "PID START", for a pid alone may be another process by now.
pi_is_on() {
    local pid start stat rest
    [ -e "$pi_out/$1.on" ] || return 1
    read -r pid start <"$pi_out/$1.on"
    read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
    read -ra rest <<<"${stat##*) }"
    [ "${rest[19]}" = "$start" ] && [ "${rest[0]}" != Z ]
}

# pi_format ROOT FILE: a card with these files, which are gone then. Programs go into one file that
# is compressed, for the card is the slowest part of an emulated Pi by far: its processor fetches
# each word by itself, 2 MB a second on a busy machine.
pi_format() {
    mksquashfs "$1/usr" "$1/usr.squashfs" -quiet -no-progress -comp zstd -b 64K \
        -Xcompression-level 6 >/dev/null
    rm -rf "${1:?}/usr"
    mkdir "$1/usr"
    truncate -s 2G "$2"
    mkfs.ext4 -q -F -L pi -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$2"
    rm -rf "$1"
}

# pi_on NAME [NETDEV]: power, until pi_off; also when this script has ended, unless pi_tied is set.
# What its console says goes to NAME.log, and what is written to the pipe NAME.console is typed.
# (QEMU's socket for a console stops the Pi when somebody has been there and left.)
#
# Without NETDEV its Ethernet leads nowhere and is the kernel's own: QEMU's is on USB, which
# interrupts the first processor a thousand times a second, and a slow machine does nothing else.
# Behind a hub, which QEMU adds where no port is named, it is lost more often.
pi_on() {
    local name=$1 tie=() net=(-net none) wire=none pid stat rest
    ! pi_is_on "$name" || pi_die "$name is on already: make pi-stop"
    if [ -n "${pi_tied-}" ]; then tie=(setpriv --pdeathsig KILL); fi
    if [ $# -gt 1 ]; then
        net=(-netdev "$2,id=wire"
            -device "usb-net,port=1,netdev=wire,mac=52:54:00:12:34:0${name#pi-}")
        wire=usb
    fi
    rm -f "$pi_out/$name.console"
    mkfifo "$pi_out/$name.console"
    # Nobody who waits for a line may find it in what an earlier boot said.
    : >"$pi_out/$name.log"
    # Its disk may forget to flush: killing QEMU takes nothing that it has written from the host.
    "${tie[@]}" setsid qemu-system-arm -M raspi2b -accel tcg,thread=multi -display none \
        -monitor none -no-reboot \
        -kernel "$pi_base/vmlinuz" -dtb "$pi_base/pi.dtb" -initrd "$pi_base/initrd" \
        -drive "file=$pi_out/$name.img,if=sd,format=raw,cache=unsafe" \
        "${net[@]}" -serial stdio \
        -append "console=ttyAMA0 panic=-1 quiet loglevel=3 cgroup_enable=memory wire=$wire" \
        <>"$pi_out/$name.console" >>"$pi_out/$name.log" 2>"$pi_out/$name.qemu" &
    pid=$!
    disown
    read -r stat <"/proc/$pid/stat"
    read -ra rest <<<"${stat##*) }"
    echo "$pid ${rest[19]}" >"$pi_out/$name.on"
}

# pi_off NAME: the plug is pulled; the card stays as it was that moment.
pi_off() {
    while pi_is_on "$1"; do
        kill -KILL "$(cut -d' ' -f1 "$pi_out/$1.on")" 2>/dev/null || true
        sleep 0.05
    done
    rm -f "$pi_out/$1.on" "$pi_out/$1.console"
}

# pi_stop: all plugs, and what shows a console.
pi_stop() {
    pi_unfollow
    pi_off pi-1
    pi_off pi-2
}

# pi_wait NAME TEXT SECONDS: until a line of its console begins so.
pi_wait() {
    local until=$((SECONDS + $3))
    while [ $SECONDS -le $until ]; do
        if grep -aq "^$2" "$pi_out/$1.log" 2>/dev/null; then return 0; fi
        pi_is_on "$1" || return 1
        sleep 0.5
    done
    return 1
}

# pi_follow NAME: its console as it comes, to this one.
pi_follow() {
    tail -n +1 -F "$pi_out/$1.log" 2>/dev/null > >(sed -u "s/\r//; s/^/    $1  /") &
    pi_following+=($!)
}

pi_unfollow() {
    local pid
    for pid in "${pi_following[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pi_following=()
}

# pi_ask NAME COMMAND [SECONDS]: has its shell run it, and shows what it says.
pi_ask() {
    local mark="asked-$RANDOM" before status=0
    before=$(stat -c %s "$pi_out/$1.log")
    # The line as it is typed is echoed, and must not be taken for the answer.
    # shellcheck disable=SC2016
    printf '\n%s; echo ; echo asked-$((%s))\n' "$2" "${mark#asked-}" \
        >"$pi_out/$1.console"
    pi_wait "$1" "$mark" "${3:-300}" || status=1
    tail -c "+$((before + 1))" "$pi_out/$1.log" | sed 's/\r//; /asked-/d; s/^/    /'
    return $status
}

# pi_await NAME: until all on it is ready; shows its report, or what fell short, and then the
# status is 1.
pi_await() {
    local log=$pi_out/$1.log
    if ! pi_wait "$1" PI-END "$pi_limit"; then
        pi_unfollow
        pi_say "$1 is not ready $((SECONDS - pi_began[$1])) s after power-on; it says:" >&2
        if pi_is_on "$1"; then pi_ask "$1" "pisup ctl status; free -m; uptime" >&2 || true; fi
        pi_say "its whole console: ${log#"$pi_tree"/}" >&2
        return 1
    fi
    pi_unfollow
    echo
    sed -n 's/\r//; /^PI-READY/,/^PI-END/{/^PI-END/!p}' "$log"
    pi_say "$1: all ready $(pi_seconds "$1") s after power-on as the Pi counts," \
        "$((SECONDS - pi_began[$1])) s with its report as this machine does"
}

# pi_seconds NAME: from power-on to all ready, by its own clock.
pi_seconds() { sed -n 's/^PI-READY \([0-9]*\).*/\1/p' "$pi_out/$1.log"; }

# pi_power NAME [NETDEV]: switches it on, and says so.
pi_power() {
    pi_on "$@"
    pi_began[$1]=$SECONDS
    pi_say "$1: power"
}

# pi_wired NAME NETDEV: until it has its Ethernet; where the emulator has lost that at the start,
# the plug is pulled, and put in again.
pi_wired() {
    local tries
    for tries in 1 2 3 4 5; do
        pi_follow "$1"
        pi_wait "$1" "PI-\(WIRE\|NO-WIRE\|END\)" "$pi_limit" || return 0
        grep -aq "^PI-NO-WIRE" "$pi_out/$1.log" || return 0
        pi_unfollow
        [ "$tries" != 5 ] || pi_die "$1: the emulator has lost its Ethernet five times"
        pi_say "$1: the emulator has lost its Ethernet; the plug is pulled"
        pi_off "$1"
        pi_power "$@"
    done
}

# pi_boot NAME: switches it on, and waits until all is ready.
pi_boot() {
    pi_power "$1"
    pi_follow "$1"
    pi_await "$1"
}

pi_subnet() { sed -n 's/\r//; s/^FLANNEL_SUBNET=//p' "$pi_out/$1.log" | tail -n 1; }
