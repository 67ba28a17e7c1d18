//! What the machine knows of a unit: times, policies and edges, never a path or a command line.

use alloc::string::String;
use alloc::vec::Vec;

use super::ids::UnitId;

/// Whether a unit stays or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Runs until it is stopped.
    Service,
    /// Runs to completion and then counts as ready.
    Oneshot,
}

/// What an exit without being asked leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Every exit is followed by a start.
    Always,
    /// Exit 0 ends the unit in peace, everything else is followed by a start.
    OnFailure,
    /// No exit is followed by a start.
    Never,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Always, Self::OnFailure, Self::Never];
}

/// How a unit comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Restart {
    /// When it comes back.
    pub policy: Policy,
    /// First delay, in milliseconds; it doubles with every failure in a row.
    pub delay_ms: u64,
    /// Longest delay, in milliseconds.
    pub max_delay_ms: u64,
    /// Ready for so long (milliseconds) and the failures are forgotten.
    pub stable_ms: u64,
    /// So many failures in a row and the unit is degraded; 0 is never.
    pub degraded_after: u32,
    /// Exit codes after which only a command starts it again.
    pub fatal_exit_codes: Vec<u8>,
    /// Delays are moved by up to 20 % either way; off in models, where time must be exact.
    pub has_jitter: bool,
}

/// What a unit needs before it counts as ready; the bits of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// `READY=1` on the notify socket.
    Notify,
    /// A newline on a descriptor.
    Fd,
    /// A file appeared or was replaced since the start.
    File,
    /// An HTTP answer.
    Http,
    /// A TCP connection.
    Tcp,
    /// A unix socket connection.
    Unix,
    /// A command that exits 0.
    Exec,
    /// A line of output.
    Log,
}

impl Gate {
    /// All gates, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Notify,
        Self::Fd,
        Self::File,
        Self::Http,
        Self::Tcp,
        Self::Unix,
        Self::Exec,
        Self::Log,
    ];

    /// The key under `[ready]` that asks for this gate.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Fd => "fd",
            Self::File => "file",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Exec => "exec",
            Self::Log => "log",
        }
    }
}

/// A set of gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gates(u8);

impl Gates {
    /// The set without a gate.
    pub const NONE: Self = Self(0);

    /// This set and one gate more.
    #[must_use]
    pub const fn with(self, gate: Gate) -> Self {
        Self(self.0 | 1 << gate as u8)
    }

    /// Whether the gate is in the set.
    #[must_use]
    pub const fn has(self, gate: Gate) -> bool {
        self.0 & 1 << gate as u8 != 0
    }

    /// The gates of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as a number.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set that a number stands for; `None` if it has what is not known.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        let all = Gate::ALL.into_iter().fold(Self::NONE, Self::with);
        (bits & !all.0 == 0).then_some(Self(bits))
    }

    /// Whether the set has no gate.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The gates in the order in which they are shown.
    pub fn iter(self) -> impl Iterator<Item = Gate> {
        Gate::ALL.into_iter().filter(move |gate| self.has(*gate))
    }
}

/// A condition of the world, from `[wait]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The clock is right enough.
    Clock,
    /// There is a way to where the unit wants to go.
    Route,
    /// A path exists.
    Path,
}

impl Condition {
    /// All conditions, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Clock, Self::Route, Self::Path];
}

/// A set of conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions(u8);

impl Conditions {
    /// The set without a condition.
    pub const NONE: Self = Self(0);

    /// This set and one condition more.
    #[must_use]
    pub const fn with(self, condition: Condition) -> Self {
        Self(self.0 | 1 << condition as u8)
    }

    /// Whether the condition is in the set.
    #[must_use]
    pub const fn has(self, condition: Condition) -> bool {
        self.0 & 1 << condition as u8 != 0
    }

    /// The conditions that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The set as a number.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set that a number stands for; `None` if it has what is not known.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        let all = Condition::ALL.into_iter().fold(Self::NONE, Self::with);
        (bits & !all.0 == 0).then_some(Self(bits))
    }

    /// Whether the set has no condition.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How a unit becomes ready.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Readiness {
    /// What must hold; empty is ready as soon as it runs.
    pub gates: Gates,
    /// Milliseconds from start to ready (for a oneshot: to its end); `None` is never too late.
    pub timeout_ms: Option<u64>,
    /// Milliseconds between two `WATCHDOG=1`; `None` asks for none.
    pub watchdog_ms: Option<u64>,
}

/// How a unit ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stop {
    /// Milliseconds from the stop signal to KILL; `None` waits for ever.
    pub timeout_ms: Option<u64>,
    /// Whether what it left behind is killed after its main process is gone (`tree`, `group`).
    pub sweeps: bool,
}

/// A value that a unit uses: a key that another unit exports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// Who exports it; always also in `requires` or `binds`.
    pub unit: UnitId,
    /// The key, `FLANNEL_SUBNET`.
    pub key: String,
}

/// One unit, as the machine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The unit's name; it only appears in sentences.
    pub name: String,
    /// Whether it stays or ends.
    pub kind: Kind,
    /// Ready before this unit starts; an explicit stop of one stops this unit first.
    pub requires: Vec<UnitId>,
    /// Like `requires`, and this unit goes down and comes back with it.
    pub binds: Vec<UnitId>,
    /// Pulled in, and waited for until ready or once failed.
    pub wants: Vec<UnitId>,
    /// Order only.
    pub after: Vec<UnitId>,
    /// Never wanted at the same time.
    pub conflicts: Vec<UnitId>,
    /// Values that its command line, environment or steps use.
    pub uses: Vec<Use>,
    /// Keys that must be known before a user of this unit's values starts.
    pub exports: Vec<String>,
    /// Whether it starts at boot.
    pub is_enabled: bool,
    /// Conditions of the world that it waits for.
    pub conditions: Conditions,
    /// Milliseconds after which it goes on without them; `None` is never.
    pub conditions_timeout_ms: Option<u64>,
    /// Milliseconds that each prepare step may take, in order.
    pub prepare_ms: Vec<Option<u64>>,
    /// How it becomes ready.
    pub readiness: Readiness,
    /// How it comes back.
    pub restart: Restart,
    /// How it ends.
    pub stop: Stop,
}
