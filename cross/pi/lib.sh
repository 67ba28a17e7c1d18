# The emulated Pis: where things are, and how one is switched on and off. Sourced by the others.

# shellcheck shell=bash
pi_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pi_tree=$(cd "$pi_here/../.." && pwd)
pi_out=$pi_tree/target/pi
pi_base=$pi_out/base

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

# pi_is_on NAME: the file holds "PID START", for a pid alone may be another process by now.
pi_is_on() {
    local pid start stat rest
    [ -e "$pi_out/$1.on" ] || return 1
    read -r pid start <"$pi_out/$1.on"
    read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
    read -ra rest <<<"${stat##*) }"
    [ "${rest[19]}" = "$start" ] && [ "${rest[0]}" != Z ]
}

# pi_on NAME [NETDEV]: power. It runs on when this script has ended; pi_off ends it.
# What its console says goes to NAME.log, and what is written to the pipe NAME.console is typed.
# (QEMU's socket for a console stops the Pi when somebody has been there and left.)
pi_on() {
    local name=$1 netdev=${2:-user,restrict=on} pid stat rest
    ! pi_is_on "$name" || pi_die "$name is on already: make pi-stop"
    rm -f "$pi_out/$name.console"
    mkfifo "$pi_out/$name.console"
    # Nobody who waits for a line may find it in what an earlier boot said.
    : >"$pi_out/$name.log"
    # Its disk may forget to flush: killing QEMU takes nothing that it has written from the host.
    # Two cores are not enough for dockerd, which waits 15 s for its containerd.
    setsid qemu-system-arm -M raspi2b -accel tcg,thread=multi -display none -monitor none \
        -no-reboot -kernel "$pi_base/vmlinuz" -dtb "$pi_base/pi.dtb" -initrd "$pi_base/initrd" \
        -drive "file=$pi_out/$name.img,if=sd,format=raw,cache=unsafe" \
        -netdev "$netdev,id=wire" -device "usb-net,netdev=wire,mac=52:54:00:12:34:0${name#pi-}" \
        -serial stdio \
        -append "console=ttyAMA0 panic=-1 quiet loglevel=3 cgroup_enable=memory" \
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
