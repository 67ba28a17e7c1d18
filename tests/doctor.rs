//! `pisup doctor` on machines that are a folder each: a Pi 2, a PC with Debian, a Pi on which most
//! is wrong. Then single facts, each with the finding that it leads to.
//!
//! The golden texts are in `tests/doctor`; `BLESS=1` writes what is found.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "doctor/facts.rs"]
mod facts;
#[path = "doctor/machine.rs"]
mod machine;

use std::process::Command;

use machine::{Machine, golden, live, told, wants};
use pisup::setup::doctor::facts::{Live, Power};
use pisup::setup::doctor::{Level, tell};

/// Where a Pi tells its power, before and after the kernel had a sensor for it.
const THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

#[test]
fn a_pi_2_is_fit() {
    let pi = Machine::pi_2();
    let findings = pi.findings(live(), Ok(wants()));
    assert!(findings.iter().all(|finding| finding.level == Level::Pass), "{findings:#?}");
    golden("pi-2.txt", &told(&findings));
}

#[test]
fn a_pc_has_an_engine_of_its_own() {
    let pc = Machine::new();
    pc.kernel(
        "6.1.0-44-amd64",
        "kernel/net/bridge/bridge.ko:\nkernel/drivers/net/veth.ko.xz:\n\
        kernel/net/bridge/br_netfilter.ko:\nkernel/fs/overlayfs/overlay.ko.zst: x\n\
        kernel/net/netfilter/nft_chain_nat.ko:\n",
    );
    pc.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
    pc.dir("run/systemd/system");
    for name in ["multi-user.target.wants/docker.service", "sockets.target.wants/docker.socket"] {
        pc.link(&format!("etc/systemd/system/{name}"), "/lib/systemd/system/x");
    }
    pc.link("etc/systemd/system/multi-user.target.wants/containerd.service", "/x");
    pc.link("etc/systemd/system/containerd.service", "/dev/null");
    pc.process(1, "systemd", 0, "0::/init.scope");
    pc.process(700, "containerd", 1, "0::/system.slice/containerd.service");
    pc.process(710, "dockerd", 1, "0::/system.slice/docker.service");
    // Neither a dead one, nor one in a container, nor ours.
    pc.process(711, "dockerd", 1, "0::/system.slice/docker.service");
    pc.write("proc/711/cmdline", "");
    pc.process(720, "dockerd", 1, "0::/system.slice/docker-0123.scope");
    pc.process(730, "pisup", 1, "0::/system.slice/x.service");
    pc.process(731, "dockerd", 730, "0::/system.slice/x.service");
    pc.link("proc/1/fd/9", "/dev/watchdog0");
    pc.write("sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n");
    pc.routes(&[("enp3s0", "0.0.0.0", 0, true), ("enp3s0", "192.168.1.0", 24, false)]);
    pc.write("proc/sys/net/ipv4/ip_forward", "0\n");
    pc.write("proc/sys/kernel/hostname", "desk\n");
    pc.link("usr/sbin/iptables", "/etc/alternatives/iptables");
    pc.link("etc/alternatives/iptables", "/usr/sbin/iptables-nft");
    pc.write("proc/net/ip_tables_names", "nat\n");
    pc.rights(!(1 << 24));
    for name in ["dockerd", "sysctl", "flanneld"] {
        pc.program(&format!("usr/sbin/{name}"));
    }
    let live = Live { machine: "x86_64".to_owned(), ..live() };
    golden("pc.txt", &told(&pc.findings(live, Ok(wants()))));
}

#[test]
fn a_broken_pi_is_told_all_at_once() {
    let pi = Machine::new();
    pi.write("proc/device-tree/model", "Raspberry Pi 2 Model B Rev 1.1\0");
    pi.kernel("6.12.34-v7+", "kernel/net/bridge/bridge.ko:\n");
    pi.write("proc/cmdline", "coherent_pool=1M cgroup_disable=memory root=/dev/mmcblk0p2\n");
    pi.write("boot/firmware/cmdline.txt", "root=/dev/mmcblk0p2\n");
    pi.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
    pi.write("proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t44\t0\n");
    pi.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
    pi.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n");
    pi.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
    pi.write("proc/sys/net/ipv4/ip_forward", "0\n");
    pi.write("proc/sys/kernel/hostname", "raspberrypi\n");
    pi.write("etc/hosts", "127.0.1.1 raspberrypi\n# 127.0.0.1 localhost\n");
    pi.routes(&[("cni0", "10.1.3.0", 24, false), ("eth0", "10.1.0.0", 16, false)]);
    pi.dir("sys/class/net/cni0/bridge");
    pi.dir("sys/class/net/eth0");
    pi.link("etc/runlevels/default/docker", "/etc/init.d/docker");
    pi.process(300, "evil\x1b[2J", 1, "0::/");
    pi.link("proc/300/fd/3", "/dev/watchdog");
    pi.write("dev/watchdog", "");
    pi.rights(!0);
    let mut wants = wants();
    wants.name = "raspberrypi".to_owned();
    wants.backend = Some("vxlan".to_owned());
    wants.watchdog = Some("/dev/watchdog".to_owned());
    wants.turns_on_forwarding = false;
    let live = Live {
        date: "1970-01-01".to_owned(),
        is_sane: false,
        is_synced: false,
        free_bytes: Some(300 << 20),
        ..live()
    };
    golden("broken-pi.txt", &told(&pi.findings(live, Ok(wants))));
}

#[test]
fn a_machine_that_tells_nothing_is_survived() {
    let machine = Machine::new();
    let findings = machine.findings(Live::default(), Err(3));
    golden("nothing.txt", &told(&findings));
    let mut out = Vec::new();
    let failures = tell(&findings, true, &mut out).unwrap();
    let json = String::from_utf8(out).unwrap();
    assert!(
        failures > 0 && json.starts_with("{\"ok\":false,\"findings\":[{\"level\":\""),
        "{json}"
    );
    assert_eq!(json.find('\n'), Some(json.len() - 1), "one line");
}

#[test]
fn power_is_never_made_up() {
    let pi = Machine::pi_2();
    assert_eq!(pi.facts().power, Power::NoSensor);
    pi.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
    pi.write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n");
    assert_eq!(pi.facts().power, Power::NoSensor, "another sensor's alarm");
    for (text, power) in [
        ("50005\n", Power::Throttled(0x50005)),
        ("0x80008\n", Power::Throttled(0x80008)),
        ("0\n", Power::Throttled(0)),
        ("", Power::NoSensor),
        ("nonsense", Power::NoSensor),
    ] {
        pi.write(THROTTLED, text);
        assert_eq!(pi.facts().power, power, "{text:?}");
    }
    pi.write("sys/class/hwmon/hwmon3/name", "rpi_volt\n");
    assert_eq!(pi.facts().power, Power::NoSensor, "a sensor without its file");
    pi.write("sys/class/hwmon/hwmon3/in0_lcrit_alarm", "0\n");
    pi.write(THROTTLED, "1\n");
    assert_eq!(pi.facts().power, Power::Voltage(false), "the kernel's sensor comes first");
}

#[test]
fn the_program_tells_of_this_machine() {
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        command.args(["--config", "/nonexistent", "doctor"]).args(words).output().unwrap()
    };
    let ended = run(&[]);
    assert_eq!(ended.status.code(), Some(1), "there is no configuration");
    let out = String::from_utf8(ended.stdout).unwrap();
    let fix = "fail  configuration: /nonexistent has 1 error\n      fix: pisup check --config \
               /nonexistent names them, pisup setup writes one\n";
    assert!(out.contains(fix), "{out}");
    for line in out.lines() {
        let starts = ["pass  ", "warn  ", "fail  ", "      fix: "];
        assert!(starts.iter().any(|start| line.starts_with(start)), "{line}");
    }
    let failures = out.lines().filter(|line| line.starts_with("fail")).count();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(err.starts_with(&format!("pisup: {failures} of ")), "{err}");
    let ended = run(&["--json"]);
    let json = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.code() == Some(1) && json.starts_with("{\"ok\":false,"), "{json}");
}
