//! What a configuration means: every default filled in, every static value put in its place.
//!
//! The machine reads [`Unit::spec`]; everything else here is for the shell, which does the work.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::machine::{Spec, UnitId};

/// A whole node: what `/etc/pisup` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// This node.
    pub node: Node,
    /// The units of this node's role, sorted by name; the index is the [`UnitId`].
    pub units: Vec<Unit>,
    /// What `check` tells without calling it wrong (a dependency on a unit of another role).
    pub notes: Vec<String>,
}

impl Plan {
    /// The unit of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<UnitId> {
        let index = self.units.iter().position(|unit| unit.spec.name == name)?;
        u16::try_from(index).ok().map(UnitId)
    }
}

/// `node.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node {
    /// The keys that `${node.KEY}` knows: role, master, name, interface, address, profile,
    /// cidr, backend. A key without a value is absent.
    pub values: BTreeMap<String, String>,
    /// `[shutdown] timeout`, milliseconds (default 120 000).
    pub shutdown_timeout_ms: u64,
    /// `[watchdog]`.
    pub watchdog: Option<Watchdog>,
    /// `[control] read-group`: its members may ask, and nothing else; a name or a number.
    pub read_group: Option<String>,
}

/// What starts the machine anew when nothing else can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The device; without one there is none.
    pub device: Option<PathBuf>,
    /// Its time, milliseconds (default and most 15 000).
    pub timeout_ms: u64,
}

/// One unit: its part for the machine and its part for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What the machine decides by.
    pub spec: Spec,
    /// One line for people.
    pub description: String,
    /// Where it was read from.
    pub file: PathBuf,
    /// What the shell executes.
    pub job: Job,
    /// `[wait]`.
    pub wait: Wait,
    /// `[socket]`.
    pub sockets: Vec<Socket>,
    /// `[[prepare]]`, in order.
    pub prepare: Vec<Prepare>,
    /// `[ready]`.
    pub ready: Ready,
    /// `[health]`.
    pub health: Option<Health>,
    /// `[exports]`.
    pub exports: Option<Exports>,
    /// `[stop]`.
    pub stop: Stop,
    /// `[reload]`.
    pub reload: Option<Reload>,
    /// `[cgroup]`.
    pub cgroup: Cgroup,
    /// `[log]`.
    pub log: LogSpec,
}

/// A text with holes that the exports of other units fill.
///
/// Node, image and variable references are gone by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<Piece>);

/// A part of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Stands for itself.
    Literal(String),
    /// The value of a key that another unit exports.
    Value(UnitId, String),
}

impl Text {
    /// A text without holes.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self(vec![Piece::Literal(text.to_owned())])
    }

    /// The text with its holes filled by `lookup`; `Err` names the first value that is missing or
    /// empty.
    pub fn render<'a>(
        &'a self,
        mut lookup: impl FnMut(UnitId, &str) -> Option<&'a str>,
    ) -> Result<String, (UnitId, &'a str)> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Value(unit, key) => match lookup(*unit, key) {
                    Some(value) if !value.is_empty() => out.push_str(value),
                    _ => return Err((*unit, key)),
                },
            }
        }
        Ok(out)
    }
}

/// What a unit is, for the one who executes it.
#[expect(clippy::large_enum_variant, reason = "a node has a dozen of them, made once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// `[command]`.
    Command(Command),
    /// `[container]`.
    Container(Container),
}

/// `[command]`: a program and the state it is started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub exec: Vec<Text>,
    /// Everything else about the process.
    pub process: Process,
}

/// The state in which a process is started; also what prepare, probe and stop commands inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// User name or number; `None` stays as the supervisor is.
    pub user: Option<String>,
    /// Group name or number; `None` is the user's own.
    pub group: Option<String>,
    /// Supplementary groups; `None` is those of the user database.
    pub groups: Option<Vec<String>>,
    /// Working directory; default `/`.
    pub directory: Option<Text>,
    /// Default 0o022.
    pub umask: Option<u32>,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// As the kernel's `ioprio_set` takes it: class << 13 | level.
    pub ionice: Option<u16>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// CPU numbers it may run on; empty is all.
    pub cpus: Vec<usize>,
    /// Capabilities it keeps (numbers); `None` is all.
    pub capabilities: Option<Vec<u8>>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Resource limits: name as in `limits`, soft and hard; `u64::MAX` is infinity.
    pub limits: BTreeMap<String, u64>,
    /// Environment, wins over `env_files`.
    pub env: BTreeMap<String, Text>,
    /// Environment files, read at every start.
    pub env_files: Vec<EnvFile>,
}

/// One entry of `env-file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Where.
    pub path: Text,
    /// Written with a leading `-`: may be absent.
    pub is_optional: bool,
}

/// `[container]`: the arguments of `pisup container-run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's unix socket.
    pub engine: Text,
    /// Image name.
    pub image: Text,
    /// Program and arguments inside; empty is the image's own.
    pub command: Vec<Text>,
    /// Container name; default `pisup-UNIT`.
    pub name: Text,
    /// `--network`.
    pub network: Option<Text>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--pid`, "host".
    pub pid: Option<String>,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `HOST:CONTAINER[:OPTIONS]`.
    pub volumes: Vec<Text>,
    /// `HOST[:CONTAINER[:PERMISSIONS]]`.
    pub devices: Vec<Text>,
    /// Environment inside.
    pub env: BTreeMap<String, Text>,
    /// `--user`.
    pub user: Option<Text>,
    /// `--workdir`.
    pub workdir: Option<Text>,
    /// When the image is pulled.
    pub pull: Pull,
    /// Milliseconds that a pull may take; `None` is never too long.
    pub pull_timeout_ms: Option<u64>,
    /// State of the small process that owns the container.
    pub process: Process,
}

/// `pull`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// When the engine has no image of that name.
    Missing,
    /// Never: a missing image is an error.
    Never,
    /// Before every start.
    Always,
}

/// `[wait]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// `clock`.
    pub clock: Option<ClockWait>,
    /// `route`.
    pub route: Option<RouteWait>,
    /// `path`.
    pub path: Option<PathBuf>,
}

/// `clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockWait {
    /// Told by a time service or the kernel.
    Synced,
    /// Later than the build of this program.
    Sane,
}

/// `route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteWait {
    /// A default route.
    Default,
    /// A route to this address.
    To(std::net::Ipv4Addr),
}

/// One listening socket of `[socket]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Where.
    pub listen: Listen,
    /// Its name in LISTEN_FDNAMES; default the unit's name.
    pub name: String,
    /// Mode of a unix socket's file; default 0o660.
    pub mode: u32,
    /// Owner of a unix socket's file.
    pub user: Option<String>,
    /// Group of a unix socket's file.
    pub group: Option<String>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A unix stream socket.
    Unix(PathBuf),
    /// `tcp:ADDR:PORT`.
    Tcp(std::net::SocketAddr),
}

/// One step of `[[prepare]]`. Its timeout is in [`Spec::prepare_ms`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// What it does.
    pub step: Step,
    /// A failure is told and passed over.
    pub ignores_failure: bool,
}

/// What a prepare step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run a command.
    Exec(Vec<Text>),
    /// Remove files; absent ones are fine.
    Remove(Vec<Text>),
    /// Make a directory with its parents, mode 0755.
    Directory(Text),
    /// Make sure that a bridge is absent or already has this address.
    BridgeReset {
        /// Its name.
        bridge: Text,
        /// `10.1.78.1/24`; `None` deletes it whatever it has.
        address: Option<Text>,
    },
}

/// `[ready]`. What must hold is in [`Spec::readiness`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Give NOTIFY_SOCKET and wait for READY=1.
    pub notify: bool,
    /// A newline on this descriptor (3 to 255).
    pub fd: Option<i32>,
    /// A file that appears or is replaced.
    pub file: Option<Text>,
    /// A line of output contains this.
    pub log: Option<String>,
    /// Probes that run until they succeed once.
    pub probes: Probes,
}

/// `[health]`. The watchdog is in [`Spec::readiness`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Probes that run as long as the unit is ready.
    pub probes: Probes,
    /// So many failures in a row are bad health.
    pub failures: u32,
    /// What bad health leads to.
    pub restarts: bool,
}

/// Questions asked of a running service, again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// GET answers 2xx.
    pub http: Option<HttpProbe>,
    /// `HOST:PORT` takes a connection.
    pub tcp: Option<Text>,
    /// A unix socket takes a connection.
    pub unix: Option<Text>,
    /// A command exits 0.
    pub exec: Option<Vec<Text>>,
    /// Milliseconds between two tries (default 1 000; health 10 000).
    pub every_ms: u64,
    /// Milliseconds that a try may take (default 5 000).
    pub timeout_ms: u64,
}

/// `http` and `expect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// `http://ADDR:PORT/PATH` or `http+unix:///SOCKET:/PATH`.
    pub url: Text,
    /// The body must contain this.
    pub expect: Option<String>,
}

/// `[exports]`. The required keys are in [`Spec::exports`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exports {
    /// KEY=VALUE lines.
    pub file: PathBuf,
    /// Keep a copy in the state directory and put it back before the first start after boot.
    pub keeps: bool,
}

/// `[stop]`. The timeout is in [`Spec::stop`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Signal number, default TERM.
    pub signal: i32,
    /// Who gets it, and KILL later.
    pub kill: KillScope,
    /// A command instead of the signal; empty is none. `$MAINPID` is in its environment.
    pub exec: Vec<Text>,
}

/// `kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillScope {
    /// The whole cgroup (without one: the group and all known descendants).
    Tree,
    /// The process group.
    Group,
    /// The main process only.
    Main,
}

/// `[reload]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A signal to the main process.
    Signal(i32),
    /// A command; `$MAINPID` is in its environment.
    Exec {
        /// The command.
        exec: Vec<Text>,
        /// Milliseconds that it may take (default 90 s); `None` is never too long.
        timeout_ms: Option<u64>,
    },
}

/// `[cgroup]`; a value of `None` is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Bytes; `u64::MAX` is max.
    pub memory_max: Option<u64>,
    /// Bytes.
    pub memory_high: Option<u64>,
    /// 1 to 10000.
    pub cpu_weight: Option<u32>,
    /// 1 to 10000.
    pub io_weight: Option<u32>,
    /// Processes.
    pub pids_max: Option<u64>,
    /// The service manages the groups below its own.
    pub delegate: bool,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Bytes kept in RAM (default 256 KiB).
    pub ring_bytes: u64,
    /// A file on disk.
    pub file: Option<PathBuf>,
    /// Bytes after which the file is rotated (default 1 MiB).
    pub rotate_bytes: u64,
    /// Old files kept (default 3).
    pub rotate_keep: u32,
}
