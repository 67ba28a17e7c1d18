//! For those who walk through all states: machines that differ only in names of runs or in how
//! far away their deadlines are can be made the same.
//!
//! Nothing here decides anything, and the supervisor calls none of it.

use alloc::vec::Vec;

use super::ids::{Run, Tick, UnitId};
use super::unit::{Next, Phase, Stage};
use super::{Machine, UnitState};

impl Machine {
    /// Moves every instant that a unit knows; with `None`, the deadline of the shutdown.
    pub fn map_ticks(&mut self, unit: Option<UnitId>, mut map: impl FnMut(Tick) -> Tick) {
        match unit {
            Some(unit) => {
                if let Some(state) = self.unit_mut(unit) {
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

    /// Counts failures only up to `most`.
    pub fn cap_failures(&mut self, most: u32) {
        for state in &mut self.units {
            state.failures = state.failures.min(most);
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

    /// The units, as they stand.
    #[must_use]
    pub fn states(&self) -> &[UnitState] {
        &self.units
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
    present.into_iter().chain(state.undead.as_mut())
}
