//! For those who walk through all states: a machine without its configuration, which can be
//! kept, compared and put back, and machines that differ only in names made the same.
//!
//! Nothing here decides anything, and the supervisor calls none of it.

use alloc::vec::Vec;

use super::ids::{Run, Tick, UnitId};
use super::unit::{Next, Phase, Stage};
use super::{Machine, Shutdown, Spec, UnitState};

/// All that a machine remembers between two steps, without its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The units, as they stand.
    pub units: Vec<UnitState>,
    next_run: u32,
    shutdown: Option<Shutdown>,
}

impl Machine {
    /// What the machine remembers.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (units, next_run) = (self.units.clone(), self.next_run);
        Snapshot { units, next_run, shutdown: self.shutdown }
    }

    /// Takes over what a machine of the same units remembered.
    pub fn restore(&mut self, from: &Snapshot) {
        self.units.clone_from(&from.units);
        (self.next_run, self.shutdown) = (from.next_run, from.shutdown);
    }

    /// A unit's configuration, to be changed between two steps.
    pub fn spec_mut(&mut self, unit: UnitId) -> Option<&mut Spec> {
        self.specs.get_mut(unit.index())
    }
}

impl Snapshot {
    /// Moves every instant of a unit; with `None`, the deadline of the shutdown.
    pub fn map_ticks(&mut self, unit: Option<UnitId>, mut map: impl FnMut(Tick) -> Tick) {
        match unit {
            Some(unit) => {
                if let Some(state) = self.units.get_mut(unit.index()) {
                    for tick in ticks(&mut state.phase) {
                        *tick = map(*tick);
                    }
                }
            }
            None => {
                if let Some(shutdown) = &mut self.shutdown {
                    shutdown.by = shutdown.by.map(map);
                }
            }
        }
    }

    /// Gives the runs that units have the numbers from 1 on; the answer is how they were called.
    pub fn rename_runs(&mut self) -> Vec<Run> {
        let mut old = Vec::new();
        for state in &mut self.units {
            for run in runs(state) {
                old.push(*run);
                *run = Run(u32::try_from(old.len()).unwrap_or(u32::MAX));
            }
        }
        self.next_run = u32::try_from(old.len()).unwrap_or(u32::MAX).saturating_add(1);
        old
    }

    /// Whether everything has been told to end.
    #[must_use]
    pub const fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Whether a shutdown is under way whose deadline has not passed.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        self.shutdown.is_some_and(|shutdown| shutdown.by.is_some())
    }

    /// Whether the end of everything was told.
    #[must_use]
    pub fn has_halted(&self) -> bool {
        self.shutdown.is_some_and(|shutdown| shutdown.has_halted)
    }
}

fn ticks(phase: &mut Phase) -> impl Iterator<Item = &mut Tick> {
    let (first, second): (Option<&mut Tick>, Option<&mut Tick>) = match phase {
        Phase::Waiting { since, .. } => (Some(since), None),
        Phase::Preparing { until, .. } | Phase::Starting { until, .. } => (until.as_mut(), None),
        Phase::Ready { since, watchdog, .. } => (Some(since), watchdog.as_mut()),
        Phase::Stopping { stage, next, .. } => {
            let stage = match stage {
                Stage::Ordered => None,
                Stage::Asked { kill_at } => kill_at.as_mut(),
                Stage::Killed { until } | Stage::Sweeping { until } => Some(until),
            };
            let next = match next {
                Next::Retry(at) => Some(at),
                Next::Again | Next::Failed | Next::Done | Next::Rest => None,
            };
            (stage, next)
        }
        Phase::Backoff { until } => (Some(until), None),
        Phase::Down | Phase::Done | Phase::Failed => (None, None),
    };
    first.into_iter().chain(second)
}

fn runs(state: &mut UnitState) -> impl Iterator<Item = &mut Run> {
    let present = match &mut state.phase {
        Phase::Preparing { run, .. }
        | Phase::Starting { run, .. }
        | Phase::Ready { run, .. }
        | Phase::Stopping { run, .. } => Some(run),
        Phase::Down
        | Phase::Waiting { .. }
        | Phase::Done
        | Phase::Backoff { .. }
        | Phase::Failed => None,
    };
    present.into_iter().chain(state.undead.as_mut().map(|(run, _)| run))
}
