//! Looks at a machine, below a root that tests choose. Every read is bounded, and what cannot be
//! read is absent.

mod network;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::facts::{Facts, Init, Iptables, Live, Memory, Module, Power};
use super::wants::{Program, Wants};
use crate::sys::clock::{SYNC_MARKER, Wall, is_synced};
use crate::sys::files::{self, Found};
use crate::sys::host;

/// Longest file that is looked at; the list of a kernel's modules is the longest there is.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Most names of a folder that are looked at.
const MAX_NAMES: usize = 65_536;

/// Parts of the kernel that may be wanted.
pub const MODULES: [&str; 8] =
    ["bridge", "br_netfilter", "veth", "overlay", "vxlan", "tun", "iptable_nat", "nft_chain_nat"];

/// Services of distributions that start a container engine, or hand one its connections.
const SERVICES: [&str; 3] = ["docker.service", "docker.socket", "containerd.service"];

/// Where a Pi's owner writes the kernel's command line: Debian 12 and later, and before.
const COMMAND_LINES: [&str; 2] = ["boot/firmware/cmdline.txt", "boot/cmdline.txt"];

/// The file system of a machine.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The machine whose root directory this is.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> Option<String> {
        let bytes = files::read_bytes(&self.at(path), MAX_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of one value.
    fn value(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned())
    }

    fn names(&self, path: &str) -> Vec<String> {
        files::names(&self.at(path), MAX_NAMES).unwrap_or_default()
    }

    fn has(&self, path: &str) -> bool {
        files::look(&self.at(path)) != Found::Nothing
    }
}

/// What no file tells, of the machine that this runs on.
#[must_use]
pub fn live() -> Live {
    let now = Wall::now();
    let place = ["/var/lib", "/var", "/"].into_iter().find(|path| Path::new(path).exists());
    Live {
        machine: host::machine(),
        date: now.date(),
        is_sane: now.is_sane(),
        is_synced: is_synced(Path::new(SYNC_MARKER)),
        free_bytes: files::free_bytes(Path::new(place.unwrap_or("/"))),
    }
}

/// Looks at a machine, and for what a configuration wants of it.
#[must_use]
pub fn facts(root: &Root, live: Live, config: &Path, wants: Result<Wants, usize>) -> Facts {
    let kernel = root.value("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (wants, config_errors) = match wants {
        Ok(wants) => (Some(wants), 0),
        Err(count) => (None, count),
    };
    let programs = wants.as_ref().map(|wants| wants.programs.as_slice()).unwrap_or_default();
    let missing = programs.iter().enumerate().filter(|(_, each)| !is_there(root, each));
    let hosts = root.text("/etc/hosts").unwrap_or_default();
    let words = |line: &str| line.split_whitespace().skip(1).any(|word| word == "localhost");
    Facts {
        missing: missing.map(|(index, _)| index).collect(),
        model: root.value("/proc/device-tree/model"),
        command_line: root.value("/proc/cmdline").unwrap_or_default(),
        command_line_file: COMMAND_LINES
            .into_iter()
            .find(|path| root.has(path))
            .map(|path| format!("/{path}")),
        capabilities: process::capabilities(root),
        is_systemd: root.has("/run/systemd/system"),
        memory: memory(root),
        watchdog: process::watchdog(root),
        modules: modules(root, &kernel),
        forwards: root.value("/proc/sys/net/ipv4/ip_forward").map(|value| value == "1"),
        routes: network::routes(root),
        bridges: network::interfaces(root, "bridge"),
        tunnels: network::interfaces(root, "tun_flags"),
        hostname: root.value("/proc/sys/kernel/hostname").unwrap_or_default(),
        has_localhost: hosts.lines().filter(|line| !line.starts_with('#')).any(words),
        services: services(root),
        engines: process::engines(root),
        iptables: iptables(root),
        has_legacy_tables: !root.value("/proc/net/ip_tables_names").unwrap_or_default().is_empty(),
        has_nft_rules: network::has_nft_rules(&root.text("/proc/modules").unwrap_or_default()),
        power: power(root),
        config: config.display().to_string(),
        live,
        wants,
        config_errors,
        kernel,
    }
}

fn is_there(root: &Root, program: &Program) -> bool {
    if program.name.starts_with('/') {
        return files::is_program(&root.at(&program.name));
    }
    let mut folders = program.path.split(':').filter(|folder| !folder.is_empty());
    folders.any(|folder| files::is_program(&root.at(folder).join(&program.name)))
}

fn memory(root: &Root) -> Memory {
    let controllers = root.value("/sys/fs/cgroup/cgroup.controllers");
    let table = root.text("/proc/cgroups").unwrap_or_default();
    // Name, hierarchy, groups, enabled.
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = row.into_iter().find(|row| row.first() == Some(&"memory"));
    let column = |index| row.as_ref().and_then(|row| row.get(index).copied());
    let in_kernel = column(3) == Some("1");
    Memory {
        in_v2: controllers.map(|text| text.split_whitespace().any(|word| word == "memory")),
        in_kernel,
        in_v1: in_kernel && column(1).is_some_and(|hierarchy| hierarchy != "0"),
    }
}

fn modules(root: &Root, kernel: &str) -> BTreeMap<&'static str, Module> {
    let loaded = root.text("/proc/modules").unwrap_or_default();
    let list = |name: &str| {
        ["/lib/modules", "/usr/lib/modules"]
            .into_iter()
            .find_map(|folder| root.text(&format!("{folder}/{kernel}/{name}")))
    };
    let (builtin, loadable) = (list("modules.builtin"), list("modules.dep"));
    let is_listed = |text: &Option<String>, name: &str| {
        text.iter().flat_map(|text| text.lines()).any(|line| module_of(line) == name)
    };
    let look = |name: &'static str| {
        let is_loaded = loaded.lines().any(|line| line.split(' ').next() == Some(name));
        let is_present = is_loaded
            || root.has(&format!("/sys/module/{name}"))
            || is_listed(&builtin, name)
            || name == "tun" && root.has("/dev/net/tun");
        let module = match (is_present, &loadable) {
            (true, _) => Module::Present,
            (false, Some(_)) if is_listed(&loadable, name) => Module::Loadable,
            (false, Some(_)) => Module::Missing,
            (false, None) => Module::Unknown,
        };
        (name, module)
    };
    MODULES.into_iter().map(look).collect()
}

/// `br_netfilter` of `kernel/net/bridge/br-netfilter.ko.xz: kernel/...`.
fn module_of(line: &str) -> String {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

/// What is started at boot; a unit that is masked is not.
fn services(root: &Root) -> Vec<(String, Init)> {
    let mut found = Vec::new();
    let folders = root.names("/etc/systemd/system");
    let folders = folders.iter().filter(|name| name.ends_with(".wants"));
    let enabled: Vec<String> =
        folders.flat_map(|folder| root.names(&format!("/etc/systemd/system/{folder}"))).collect();
    for service in SERVICES {
        let own = root.at(&format!("/etc/systemd/system/{service}"));
        let is_masked = files::link(&own).is_some_and(|to| to == Path::new("/dev/null"));
        if !is_masked && enabled.iter().any(|name| name == service) {
            found.push((service.to_owned(), Init::Systemd));
        }
    }
    for level in root.names("/etc/runlevels") {
        for service in root.names(&format!("/etc/runlevels/{level}")) {
            if SERVICES.iter().any(|other| other.strip_suffix(".service") == Some(&service)) {
                found.push((service, Init::OpenRc));
            }
        }
    }
    found
}

fn iptables(root: &Root) -> Option<Iptables> {
    let mut path = ["/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| {
            files::link(&root.at(&path.to_string_lossy())).is_some()
                || root.has(&path.to_string_lossy())
        })?;
    // Debian's way leads over /etc/alternatives.
    for _ in 0..8 {
        let Some(next) = files::link(&root.at(&path.to_string_lossy())) else { break };
        path = path.parent().unwrap_or_else(|| Path::new("/")).join(next);
    }
    let name = path.file_name()?.to_string_lossy().into_owned();
    Some(match (name.contains("nft"), name.contains("legacy")) {
        (true, _) => Iptables::Nft,
        (_, true) => Iptables::Legacy,
        _ => Iptables::Unknown,
    })
}

fn power(root: &Root) -> Power {
    let sensors = root.names("/sys/class/hwmon").into_iter();
    let mut sensors = sensors.map(|name| format!("/sys/class/hwmon/{name}"));
    let sensor =
        sensors.find(|path| root.value(&format!("{path}/name")).as_deref() == Some("rpi_volt"));
    let alarm = sensor.and_then(|path| root.value(&format!("{path}/in0_lcrit_alarm")));
    if let Some(alarm) = alarm {
        return Power::Voltage(alarm != "0");
    }
    let platform = "/sys/devices/platform";
    for soc in root.names(platform).iter().filter(|name| name.starts_with("soc")) {
        let below = root.names(&format!("{platform}/{soc}"));
        for firmware in below.iter().filter(|name| name.contains("firmware")) {
            let bits = root.value(&format!("{platform}/{soc}/{firmware}/get_throttled"));
            let bits =
                bits.and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
            if let Some(bits) = bits {
                return Power::Throttled(bits);
            }
        }
    }
    Power::NoSensor
}
