//! The graphs that are walked: which units there are, and how they hang together.

use pisup::machine::spec::{
    Condition, Conditions, Gate, Gates, Kind, Policy, Readiness, Restart, Stop, Use,
};
use pisup::machine::{Spec, UnitId};

/// How a later unit depends on an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    None,
    Requires,
    Binds,
    Wants,
    After,
    /// `requires`, and it uses a value.
    RequiresValue,
    /// `binds`, and it uses a value.
    BindsValue,
}

pub const EDGES: [Edge; 7] = [
    Edge::None,
    Edge::Requires,
    Edge::Binds,
    Edge::Wants,
    Edge::After,
    Edge::RequiresValue,
    Edge::BindsValue,
];

/// What one unit is like, beside its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    pub kind: Kind,
    pub policy: Policy,
    pub steps: u8,
    pub gate: bool,
    pub condition: bool,
    pub sweeps: bool,
    pub watchdog: bool,
    /// Nothing of it has a timeout.
    pub patient: bool,
}

pub const PLAIN: Traits = Traits {
    kind: Kind::Service,
    policy: Policy::Always,
    steps: 0,
    gate: false,
    condition: false,
    sweeps: false,
    watchdog: false,
    patient: false,
};

/// Units u0, u1, u2; each may depend on those before it.
#[derive(Clone, Debug)]
pub struct Graph {
    pub units: Vec<Traits>,
    /// Of (u1, u0), (u2, u0), (u2, u1).
    pub edges: Vec<Edge>,
    /// Pairs that conflict.
    pub conflicts: Vec<(u16, u16)>,
    /// Kinds and policies are those of the moment, all of them at every event.
    pub is_mixed: bool,
}

/// The pairs of units, in the order of `Graph::edges`.
const PAIRS: [(usize, u16); 3] = [(1, 0), (2, 0), (2, 1)];

/// The key of all values.
pub const KEY: &str = "V";

/// An exit code after which a unit is not tried again.
pub const FATAL: u8 = 7;

pub const STEP_MS: u64 = 30_000;
pub const READY_MS: u64 = 600_000;
/// A step whose unit would be waited for without end has this long after TERM.
pub const STEP_KILL_MS: u64 = 10_000;
pub const STOP_MS: u64 = 10_000;
pub const WATCHDOG_MS: u64 = 20_000;
/// How often a run may say that it will say that it is alive.
pub const ALIVE_MS: u64 = 25_000;
pub const WAIT_MS: u64 = 40_000;
pub const STABLE_MS: u64 = 15_000;
pub const DELAY_MS: u64 = 1_000;
pub const MAX_DELAY_MS: u64 = 1_500;
pub const DEGRADED_AFTER: u32 = 2;

impl Graph {
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs: Vec<Spec> = self.units.iter().zip(0..).map(|(t, n)| spec(t, n)).collect();
        for ((user, dep), edge) in PAIRS.into_iter().zip(&self.edges) {
            let own = &mut specs[user];
            let unit = UnitId(dep);
            match edge {
                Edge::None => continue,
                Edge::Requires | Edge::RequiresValue => own.requires.push(unit),
                Edge::Binds | Edge::BindsValue => own.binds.push(unit),
                Edge::Wants => own.wants.push(unit),
                Edge::After => own.after.push(unit),
            }
            if matches!(edge, Edge::RequiresValue | Edge::BindsValue) {
                own.uses.push(Use { unit, key: KEY.to_owned() });
                specs[usize::from(dep)].exports = vec![KEY.to_owned()];
            }
        }
        for (one, other) in &self.conflicts {
            specs[usize::from(*one)].conflicts.push(UnitId(*other));
            specs[usize::from(*other)].conflicts.push(UnitId(*one));
            specs[usize::from(*other)].is_enabled = false;
        }
        specs
    }

    /// The graph in one line.
    pub fn name(&self) -> String {
        let edges: Vec<String> = PAIRS
            .iter()
            .zip(&self.edges)
            .map(|((user, dep), edge)| format!("u{user}-{edge:?}->u{dep}"))
            .collect();
        format!("{} conflicts {:?} {:?}", edges.join(" "), self.conflicts, self.units)
    }
}

fn spec(traits: &Traits, number: u16) -> Spec {
    let limit = |ms: u64| (!traits.patient).then_some(ms);
    let some = Conditions::NONE.with(Condition::Route);
    Spec {
        name: format!("u{number}"),
        kind: traits.kind,
        requires: vec![],
        binds: vec![],
        wants: vec![],
        after: vec![],
        conflicts: vec![],
        uses: vec![],
        exports: vec![],
        is_enabled: true,
        conditions: if traits.condition { some } else { Conditions::NONE },
        conditions_timeout_ms: limit(WAIT_MS),
        prepare_ms: (0..traits.steps).map(|_| limit(STEP_MS)).collect(),
        readiness: Readiness {
            gates: if traits.gate { Gates::NONE.with(Gate::Notify) } else { Gates::NONE },
            timeout_ms: limit(READY_MS),
            watchdog_ms: traits.watchdog.then_some(WATCHDOG_MS),
        },
        restart: Restart {
            policy: traits.policy,
            delay_ms: DELAY_MS,
            max_delay_ms: MAX_DELAY_MS,
            stable_ms: STABLE_MS,
            degraded_after: DEGRADED_AFTER,
            fatal_exit_codes: vec![FATAL],
            has_jitter: false,
        },
        stop: Stop { timeout_ms: limit(STOP_MS), sweeps: traits.sweeps },
    }
}
