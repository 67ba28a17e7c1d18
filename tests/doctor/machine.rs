//! A machine that is a folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pisup::config::{self, Defaults, Source};
use pisup::setup::doctor::facts::{Facts, Live};
use pisup::setup::doctor::judge::judge;
use pisup::setup::doctor::read::{self, Root};
use pisup::setup::doctor::wants::Wants;
use pisup::setup::doctor::{Finding, tell};

/// Removed with its value.
pub struct Machine(PathBuf);

impl Machine {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pisup-doctor-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let machine = Self(path);
        machine.write("etc/hosts", "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n");
        machine
    }

    /// A Pi 2 under pisup-init on which all is well.
    pub fn pi_2() -> Self {
        let pi = Self::new();
        pi.write("proc/device-tree/model", "Raspberry Pi 2 Model B\0");
        pi.kernel("6.1.0-44-armmp", "kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/x.ko\n");
        pi.write("lib/modules/6.1.0-44-armmp/modules.builtin", "kernel/drivers/net/veth.ko\n");
        pi.write(
            "proc/modules",
            "bridge 20480 1 br_netfilter, Live 0x0\niptable_nat 1 0 - Live 0\n",
        );
        pi.dir("sys/module/overlay");
        pi.write("proc/cmdline", "console=ttyAMA0 cgroup_enable=memory\n");
        pi.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
        pi.write("sys/class/watchdog/watchdog0/identity", "Broadcom BCM2835 Watchdog timer\n");
        pi.process(1, "pisup-init", 0, "0::/");
        pi.process(60, "dockerd", 1, "0::/pisup/docker");
        pi.write("proc/sys/net/ipv4/ip_forward", "1\n");
        pi.write("proc/sys/kernel/hostname", "pi-1\n");
        pi.routes(&[
            ("eth0", "0.0.0.0", 0, true),
            ("eth0", "192.168.1.0", 24, false),
            ("eth0", "10.1.9.0", 24, true),
            ("docker0", "172.17.0.0", 16, false),
        ]);
        pi.link("usr/sbin/iptables", "iptables-legacy");
        pi.rights(!0);
        for name in
            ["sbin/sysctl", "bin/dockerd", "sbin/modprobe", "usr/local/bin/flanneld", "opt/dockerd"]
        {
            pi.program(name);
        }
        pi
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn dir(&self, name: &str) {
        fs::create_dir_all(self.at(name)).unwrap();
    }

    pub fn link(&self, name: &str, to: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    pub fn program(&self, name: &str) {
        self.write(name, "");
        fs::set_permissions(self.at(name), Permissions::from_mode(0o755)).unwrap();
    }

    /// A kernel, and what it can load.
    pub fn kernel(&self, release: &str, loadable: &str) {
        self.write("proc/sys/kernel/osrelease", &format!("{release}\n"));
        self.write(&format!("lib/modules/{release}/modules.dep"), loadable);
    }

    pub fn process(&self, pid: u32, name: &str, parent: u32, groups: &str) {
        self.write(&format!("proc/{pid}/comm"), &format!("{name}\n"));
        self.write(&format!("proc/{pid}/cmdline"), &format!("{name}\0--flag\0"));
        let status = format!("Name:\t{name}\nPPid:\t{parent}\n");
        self.write(&format!("proc/{pid}/status"), &status);
        self.write(&format!("proc/{pid}/cgroup"), &format!("{groups}\n"));
    }

    pub fn rights(&self, bits: u64) {
        self.write("proc/self/status", &format!("Name:\tpisup\nCapEff:\t{bits:016x}\n"));
    }

    /// Interface, network, bits, and whether there is a gateway.
    pub fn routes(&self, routes: &[(&str, &str, u32, bool)]) {
        let mut text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n".to_owned();
        for (interface, network, bits, has_gateway) in routes {
            let network: std::net::Ipv4Addr = network.parse().unwrap();
            let network = u32::from(network).swap_bytes();
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0).swap_bytes();
            let (gateway, flags) = if *has_gateway { ("0101A8C0", 3) } else { ("00000000", 1) };
            text += &format!(
                "{interface}\t{network:08X}\t{gateway}\t{flags:04X}\t0\t0\t0\t{mask:08X}\t0\t0\t0\n"
            );
        }
        self.write("proc/net/route", &text);
    }

    pub fn facts(&self) -> Facts {
        self.seen(live(), Ok(wants()))
    }

    pub fn findings(&self, live: Live, wants: Result<Wants, usize>) -> Vec<Finding> {
        judge(&self.seen(live, wants))
    }

    fn seen(&self, live: Live, wants: Result<Wants, usize>) -> Facts {
        read::facts(&Root::new(&self.0), live, Path::new("/etc/pisup"), wants)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn live() -> Live {
    Live {
        machine: "armv7l".to_owned(),
        date: "2026-01-31".to_owned(),
        is_sane: true,
        is_synced: true,
        free_bytes: Some(11 << 30),
    }
}

/// What two units want of a machine.
pub fn wants() -> Wants {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
    let node = "role = \"master\"\nname = \"pi-1\"\n\
                interface = \"eth0\"\naddress = \"192.168.1.10\"\n\
                [network]\ncidr = \"10.1.0.0/16\"\nbackend = \"host-gw\"\n";
    let docker = "[[prepare]]\nexec = [\"sysctl\", \"-w\", \"net.ipv4.ip_forward=1\"]\n\
                  [[prepare]]\nexec = [\"modprobe\", \"x\"]\nignore-failure = true\n\
                  [[prepare]]\nbridge-reset = \"docker0\"\n[command]\nexec = [\"dockerd\"]\n";
    let flannel = "[command]\nexec = [\"/usr/local/bin/flanneld\"]\nenv = { PATH = \"/opt\" }\n\
                   [ready]\nexec = [\"dockerd\"]\n";
    let units = vec![source("docker.toml", docker), source("flannel.toml", flannel)];
    Wants::of(&config::load(source("node.toml", node), units, &Defaults::default()).unwrap())
}

pub fn told(findings: &[Finding]) -> String {
    let mut out = Vec::new();
    tell(findings, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

pub fn golden(name: &str, found: &str) {
    let path = format!("{}/tests/doctor/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} (BLESS=1 writes it anew):\n{found}\nnot:\n{expected}");
}
