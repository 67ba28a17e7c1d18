//! The state of one unit: what is wanted of it, where it stands, and what it told.
//!
//! Every deadline lives inside the phase that it belongs to, so leaving the phase drops it.

use alloc::string::String;
use alloc::vec::Vec;

use super::cause::{Cause, Hold};
use super::event::Values;
use super::ids::{Run, Tick};
use super::spec::{Conditions, Gates, Spec};
use super::view::State;

/// What is wanted of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// Nobody asked for it yet.
    Idle,
    /// It shall be up.
    On,
    /// Stopped by name; only a start by name, of it or of what requires it, changes that.
    Stopped,
    /// It ended in peace and is not to come back by itself.
    Rest,
}

/// Where a unit stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing runs.
    Down,
    /// Wanted, and held.
    Waiting {
        /// By what.
        on: Hold,
        /// Since when by something of this kind.
        since: Tick,
        /// It has waited long enough for those that it merely prefers.
        goes_alone: bool,
    },
    /// A prepare step runs.
    Preparing {
        /// The run that it prepares.
        run: Run,
        /// Which one.
        step: u8,
        /// When it has taken too long.
        until: Option<Tick>,
    },
    /// The process was asked for, or runs and is not ready.
    Starting {
        /// The run.
        run: Run,
        /// Whether the process is known to exist.
        alive: bool,
        /// The gates that hold so far.
        held: Gates,
        /// When it has taken too long.
        until: Option<Tick>,
    },
    /// The process runs and is ready.
    Ready {
        /// The run.
        run: Run,
        /// Since when.
        since: Tick,
        /// When the next sign of life is due.
        watchdog: Option<Tick>,
    },
    /// A oneshot that ended well.
    Done,
    /// The run has to end.
    Stopping {
        /// The run.
        run: Run,
        /// What there is of it.
        body: Body,
        /// How far that has come.
        stage: Stage,
        /// Where the unit goes from here.
        next: Next,
    },
    /// Failed; waits for its next try.
    Backoff {
        /// When that is.
        until: Tick,
    },
    /// Failed; only a command leads out.
    Failed,
}

/// What there is of a run that has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Its process was asked for; whether it exists is not known.
    Unborn,
    /// This prepare step runs.
    Step(u8),
    /// Its main process.
    Main,
    /// What its main process left behind.
    Leftovers,
}

/// How far the end of a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Units that depend on it end first.
    Ordered,
    /// It was asked to end.
    Asked {
        /// When patience ends.
        kill_at: Option<Tick>,
    },
    /// It was killed, or is when it is born.
    Killed {
        /// When it is given up.
        until: Tick,
    },
    /// Its main process is gone; what it left behind is being killed.
    Sweeping {
        /// When that is given up.
        until: Tick,
    },
}

/// Where a unit goes when its run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Back to waiting if it is wanted, else down.
    Again,
    /// A try not before this instant.
    Retry(Tick),
    /// Failed for good.
    Failed,
    /// A oneshot that ended well.
    Done,
    /// It ended in peace and stays down.
    Rest,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnitState {
    /// What is wanted of it.
    pub want: Want,
    /// Where it stands.
    pub phase: Phase,
    /// Failures in a row.
    pub failures: u32,
    /// What it exports; outlives its runs.
    pub exports: Values,
    /// The values that its run was given, in the order of `Spec::uses`.
    pub used: Vec<String>,
    /// Why its run has to end and come back, if it has to.
    pub bounce: Option<Cause>,
    /// The conditions of the world that do not hold.
    pub unmet: Conditions,
    /// The milliseconds between two signs of life that its run asked for itself.
    pub watchdog_ms: Option<u64>,
    /// A run that was killed and did not die, and what there is of it.
    pub undead: Option<(Run, Body)>,
    /// It is in the configuration no more, and is forgotten when it is down.
    pub is_retired: bool,
}

impl UnitState {
    /// A unit that nobody asked for yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            want: Want::Idle,
            phase: Phase::Down,
            failures: 0,
            exports: Values::new(),
            used: Vec::new(),
            bounce: None,
            unmet: Conditions::NONE,
            watchdog_ms: None,
            undead: None,
            is_retired: false,
        }
    }

    /// The milliseconds between two signs of life; what the run said wins over its unit.
    #[must_use]
    pub fn watchdog_ms(&self, spec: &Spec) -> Option<u64> {
        self.watchdog_ms.or(spec.readiness.watchdog_ms).filter(|ms| *ms > 0)
    }

    /// The run that has, or may have, a process.
    #[must_use]
    pub const fn run(&self) -> Option<Run> {
        match &self.phase {
            Phase::Preparing { run, .. }
            | Phase::Starting { run, .. }
            | Phase::Ready { run, .. }
            | Phase::Stopping { run, .. } => Some(*run),
            Phase::Down
            | Phase::Waiting { .. }
            | Phase::Done
            | Phase::Backoff { .. }
            | Phase::Failed => None,
        }
    }

    /// Whether there is, or may be, a process.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.run().is_some()
    }

    /// Whether those that need it may start.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. } | Phase::Done)
    }

    /// Whether its run has been told to end.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// The state as `status` shows it.
    #[must_use]
    pub const fn state(&self) -> State {
        match &self.phase {
            Phase::Down => State::Down,
            Phase::Waiting { .. } => State::Waiting,
            Phase::Preparing { .. } => State::Preparing,
            Phase::Starting { .. } => State::Starting,
            Phase::Ready { .. } => State::Ready,
            Phase::Done => State::Done,
            Phase::Stopping { .. } => State::Stopping,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Failed => State::Failed,
        }
    }
}

impl Default for UnitState {
    fn default() -> Self {
        Self::new()
    }
}
