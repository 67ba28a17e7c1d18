//! What was seen of a machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::wants::Wants;

/// What was seen of a machine; a value that could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What no file tells.
    pub live: Live,
    /// What the configuration wants, or how many errors it has.
    pub wants: Option<Wants>,
    /// How many errors the configuration has.
    pub config_errors: usize,
    /// Where the configuration is.
    pub config: String,
    /// What the firmware calls the board.
    pub model: Option<String>,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's command line.
    pub command_line: String,
    /// The file in which a Pi's owner writes it.
    pub command_line_file: Option<String>,
    /// Effective capabilities of this process, a bit each.
    pub capabilities: Option<u64>,
    /// Whether systemd runs.
    pub is_systemd: bool,
    /// The control of memory.
    pub memory: Memory,
    /// Watchdogs.
    pub watchdog: Option<Watchdog>,
    /// Parts of the kernel, by name.
    pub modules: BTreeMap<&'static str, Module>,
    /// Whether packets for others are passed on.
    pub forwards: Option<bool>,
    /// Routes of IPv4.
    pub routes: Vec<Route>,
    /// Network interfaces that are bridges.
    pub bridges: Vec<String>,
    /// Network interfaces that are tunnels of a program.
    pub tunnels: Vec<String>,
    /// The host name.
    pub hostname: String,
    /// Whether `/etc/hosts` has a `localhost`.
    pub has_localhost: bool,
    /// Services of the distribution that are started at boot: name, and which init starts it.
    pub services: Vec<(String, Init)>,
    /// Container engines that live and are not ours.
    pub engines: Vec<Process>,
    /// Programs of the configuration that are not there: indices into [`Wants::programs`].
    pub missing: Vec<usize>,
    /// Which iptables there is.
    pub iptables: Option<Iptables>,
    /// Whether the old kind of iptables has tables.
    pub has_legacy_tables: bool,
    /// Whether the new kind has rules that iptables made.
    pub has_nft_rules: bool,
    /// What tells whether the power is enough.
    pub power: Power,
}

/// What no file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// `armv7l`, `aarch64`, ...
    pub machine: String,
    /// The day, `2026-01-31`.
    pub date: String,
    /// Whether the clock is later than the making of this program.
    pub is_sane: bool,
    /// Whether somebody vouches for the clock.
    pub is_synced: bool,
    /// Bytes that are free under `/var/lib`.
    pub free_bytes: Option<u64>,
}

/// The control of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Whether the second version of control groups has it; `None` when that is not mounted.
    pub in_v2: Option<bool>,
    /// Whether the kernel has it at all.
    pub in_kernel: bool,
    /// Whether a hierarchy of the first version has it.
    pub in_v1: bool,
}

/// A watchdog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watchdog {
    /// What its driver calls it.
    pub identity: String,
    /// Who has it open.
    pub holder: Option<Process>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// A part of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// It is there.
    Present,
    /// It can be loaded.
    Loadable,
    /// This kernel does not have it.
    Missing,
    /// There is no list of what can be loaded.
    Unknown,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub interface: String,
    /// The network.
    pub network: Ipv4Addr,
    /// Its bits.
    pub prefix: u32,
    /// Whether it leads over another machine.
    pub has_gateway: bool,
}

/// Who starts services at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    OpenRc,
}

/// The kind of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iptables {
    /// Over nf_tables.
    Nft,
    /// The old tables.
    Legacy,
    /// It does not say.
    Unknown,
}

/// What tells whether the power is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// Nothing does.
    #[default]
    NoSensor,
    /// The kernel's sensor: whether the voltage was too low at the last look.
    Voltage(bool),
    /// The firmware's bits.
    Throttled(u32),
}
