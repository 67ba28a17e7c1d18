//! One fact changed on a machine that is fit, and the line that it leads to.

use pisup::setup::doctor::facts::{
    Facts, Init, Iptables, Memory, Module, Power, Process, Route, Watchdog,
};
use pisup::setup::doctor::judge::judge;

use super::machine::{Machine, told};

type Change = fn(&mut Facts);

/// What changes, and what is told then and not before.
const CASES: &[(Change, &str)] = &[
    (|f| f.live.machine = "armv6l".into(), "fail  machine: armv6l"),
    (|f| f.live.machine = "riscv64".into(), "warn  machine: riscv64"),
    (|f| f.live.is_sane = false, "fail  clock: 2026-01-31"),
    (|f| f.live.is_synced = false, "warn  clock: 2026-01-31"),
    (|f| f.live.free_bytes = Some(300 << 20), "fail  space: 0.2 GiB"),
    (|f| f.live.free_bytes = Some(3 << 29), "warn  space: 1.5 GiB"),
    (|f| f.live.free_bytes = None, "warn  space:"),
    (|f| f.capabilities = Some(0), "fail  rights: this is not root"),
    (|f| f.capabilities = Some(!(1 << 24)), "warn  rights: CAP_SYS_RESOURCE is missing"),
    (|f| f.capabilities = None, "warn  rights:"),
    (|f| f.power = Power::Voltage(false), "pass  power: the voltage is right"),
    (|f| f.power = Power::Voltage(true), "fail  power: the voltage is too low\n      fix: a "),
    (|f| f.power = Power::Throttled(0), "pass  power: never too low"),
    (
        |f| f.power = Power::Throttled(0x5_0000),
        "warn  power: since power-on: the voltage is too low, throttled (0x50000)\n      fix: a",
    ),
    (
        |f| f.power = Power::Throttled(0x8_0008),
        "fail  power: too hot (0x80008)\n      fix: a heat sink",
    ),
    (
        |f| f.memory = Memory { in_kernel: true, in_v1: true, in_v2: Some(false) },
        "pass  memory control: effective (cgroup v1)",
    ),
    (
        |f| f.memory = Memory { in_kernel: true, in_v1: false, in_v2: None },
        "fail  memory control: in the kernel, but no hierarchy is mounted",
    ),
    (
        |f| f.memory = Memory { in_kernel: true, in_v1: false, in_v2: Some(false) },
        "warn  memory control: in the kernel, but not in",
    ),
    (
        |f| f.memory = Memory::default(),
        "fail  memory control: off, although the kernel was told cgroup_enable=memory\n      \
         fix: another kernel: 6.1.0-44-armmp ignores it",
    ),
    (
        |f| {
            f.memory = Memory::default();
            f.command_line.clear();
            f.command_line_file = Some("/boot/cmdline.txt".into());
        },
        "fail  memory control: switched off\n      fix: sed -i '1s/$/ cgroup_enable=memory/' \
         /boot/cmdline.txt && reboot",
    ),
    (
        |f| {
            f.memory = Memory::default();
            f.command_line.clear();
            f.model = None;
        },
        "      fix: cgroup_enable=memory in the boot loader's kernel line",
    ),
    (|f| _ = f.modules.insert("veth", Module::Missing), "fail  kernel: 6.1.0-44-armmp has no veth"),
    (
        |f| _ = f.modules.insert("overlay", Module::Unknown),
        "warn  kernel: overlay is not loaded, and /lib/modules/6.1.0-44-armmp lists none\n      \
         fix: modprobe overlay",
    ),
    (
        |f| {
            f.modules.insert("iptable_nat", Module::Missing);
            f.modules.insert("nft_chain_nat", Module::Loadable);
        },
        "; can load br_netfilter, nft_chain_nat\n",
    ),
    (
        |f| _ = f.modules.insert("iptable_nat", Module::Missing),
        "fail  kernel: 6.1.0-44-armmp has no",
    ),
    (
        |f| f.wants.as_mut().unwrap().backend = Some("udp".into()),
        "fail  kernel: 6.1.0-44-armmp has no tun",
    ),
    (|f| f.forwards = Some(false), "pass  forwarding: off; a unit switches it on"),
    (|f| f.forwards = None, "warn  forwarding:"),
    (|f| f.routes.clear(), "warn  default route: none"),
    (
        |f| {
            f.wants = None;
            f.config_errors = 2;
            f.routes.clear();
        },
        "fail  default route: none",
    ),
    (|f| f.hostname = "alarmpi".into(), "pass  name: pi-1 (this host is alarmpi)"),
    (|f| f.wants.as_mut().unwrap().name = "pi_1".into(), "fail  name: pi_1"),
    (|f| f.has_localhost = false, "fail  localhost: not in /etc/hosts"),
    (
        |f| f.services.push(("docker.socket".into(), Init::Systemd)),
        "pass  other engines: docker.socket is enabled, but it is not systemd",
    ),
    (
        |f| {
            f.is_systemd = true;
            f.services.push(("docker.service".into(), Init::Systemd));
            f.services.push(("docker.socket".into(), Init::Systemd));
        },
        "fail  other engines: docker.service, docker.socket are started at boot by systemd\n      \
         fix: systemctl disable --now docker.service docker.socket && \
         systemctl mask docker.service docker.socket\n",
    ),
    (
        |f| f.services.push(("docker".into(), Init::OpenRc)),
        "      fix: rc-update del docker && rc-service docker stop\n",
    ),
    (
        |f| f.engines.push(Process { pid: 7, name: "dockerd".into() }),
        "fail  running engines: dockerd (pid 7): two on one machine fight over sockets and \
         bridges\n      fix: kill 7\n",
    ),
    (
        |f| f.engines.push(Process { pid: 8, name: "containerd".into() }),
        "warn  running engines: containerd (pid 8): units that start their own use it instead\n",
    ),
    (
        |f| {
            f.is_systemd = true;
            f.services.push(("containerd.service".into(), Init::Systemd));
        },
        "warn  other engines: containerd.service is started at boot by systemd",
    ),
    (|f| f.iptables = None, "fail  iptables: not found"),
    (|f| f.has_nft_rules = true, "warn  iptables: legacy, and there are rules over nf_tables too"),
    (
        |f| {
            f.iptables = Some(Iptables::Nft);
            f.has_legacy_tables = true;
        },
        "warn  iptables: over nf_tables, and there are legacy tables too",
    ),
    (|f| f.watchdog = None, "pass  watchdog: none, and [watchdog] asks for none"),
    (
        |f| {
            f.watchdog = None;
            f.wants.as_mut().unwrap().watchdog = Some("/dev/watchdog".into());
        },
        "fail  watchdog: none, and [watchdog] asks for /dev/watchdog\n      \
         fix: modprobe bcm2835_wdt",
    ),
    (|f| held(f, "systemd", false), "pass  watchdog: w, held by systemd (pid 1)"),
    (
        |f| held(f, "systemd", true),
        "fail  watchdog: w, held by systemd (pid 1), and wanted here\n      \
         fix: RuntimeWatchdogSec=0",
    ),
    (|f| held(f, "pisup-init", true), "pass  watchdog: w, held by pisup-init (pid 1)"),
    (
        |f| f.routes.push(route("eth1", 24)),
        "fail  pods' network: eth1 has 10.1.7.0/24, which is part of the pods' 10.1.0.0/16\n      \
         fix: another `cidr` under [network] in /etc/pisup/node.toml",
    ),
    (
        |f| {
            f.routes.push(route("cni0", 24));
            f.bridges.push("cni0".into());
        },
        "which is part of the pods' 10.1.0.0/16: left over from another cluster?\n      \
         fix: ip link delete cni0\n",
    ),
    (|f| f.routes.push(route("docker0", 24)), "pass  bridge: docker0 has 10.1.7.0/24\n"),
    (|f| f.missing.push(0), "fail  programs: docker needs dockerd, not found in PATH"),
];

fn route(interface: &str, prefix: u32) -> Route {
    let network = std::net::Ipv4Addr::new(10, 1, 7, 0);
    Route { interface: interface.to_owned(), network, prefix, has_gateway: false }
}

fn held(facts: &mut Facts, name: &str, is_wanted: bool) {
    let holder = Some(Process { pid: 1, name: name.to_owned() });
    facts.watchdog = Some(Watchdog { identity: "w".to_owned(), holder });
    let wanted = is_wanted.then(|| "/dev/watchdog".to_owned());
    facts.wants.as_mut().unwrap().watchdog = wanted;
}

#[test]
fn every_fact_leads_to_its_finding() {
    let good = Machine::pi_2().facts();
    let before = told(&judge(&good));
    for (change, line) in CASES {
        let mut facts = good.clone();
        change(&mut facts);
        let after = told(&judge(&facts));
        assert!(after.contains(line), "no {line:?} in\n{after}");
        assert!(!before.contains(line), "{line:?} is told of every machine");
    }
}

#[test]
fn who_fails_or_warns_says_what_to_do() {
    let good = Machine::pi_2().facts();
    for (change, _) in CASES {
        let mut facts = good.clone();
        change(&mut facts);
        for finding in judge(&facts) {
            let is_fine = finding.level == pisup::setup::doctor::Level::Pass;
            assert_eq!(finding.fix.is_none(), is_fine, "{finding:?}");
        }
    }
}

#[test]
fn a_tunnel_of_the_cluster_is_in_its_network() {
    let mut facts = Machine::pi_2().facts();
    facts.routes.push(route("flannel0", 16));
    facts.tunnels.push("flannel0".to_owned());
    assert!(!told(&judge(&facts)).contains("fail"));
}
