//! Time: when the machine wants to be asked again, and what it does when it is late.

use super::cause::Cause;
use super::event::Action;
use super::graph;
use super::ids::{Tick, UnitId};
use super::spec::{Gates, Kind};
use super::unit::{Body, Phase, Stage};
use super::{KILL_GRACE_MS, Machine};

impl Machine {
    /// The next instant at which `step` has something to do without an event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let units = graph::ids(self.specs.len()).filter_map(|unit| self.deadline(unit));
        units.chain(self.shutdown.and_then(|shutdown| shutdown.by)).min()
    }

    fn deadline(&self, unit: UnitId) -> Option<Tick> {
        let (spec, state) = self.spec(unit).zip(self.unit(unit))?;
        match &state.phase {
            Phase::Waiting { .. } => self.patience(unit),
            Phase::Preparing { until, .. } | Phase::Starting { until, .. } => *until,
            Phase::Ready { since, watchdog, .. } => {
                let stable = since.after(spec.restart.stable_ms);
                [(state.failures > 0).then_some(stable), *watchdog].into_iter().flatten().min()
            }
            Phase::Stopping { stage, .. } => match stage {
                Stage::Ordered => None,
                Stage::Asked { kill_at } => *kill_at,
                Stage::Killed { until } | Stage::Sweeping { until } => Some(*until),
            },
            Phase::Backoff { until } => Some(*until),
            Phase::Down | Phase::Done | Phase::Failed => None,
        }
    }

    /// Does what is due. Waiting, backoff and what the end of a shutdown kills are looked at by
    /// settling.
    pub(super) fn pass_deadlines(&mut self, now: Tick) {
        for unit in graph::ids(self.specs.len()) {
            if self.deadline(unit).is_some_and(|at| at <= now) {
                self.pass_deadline(unit, now);
            }
        }
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.by.is_some_and(|by| by <= now)
        {
            shutdown.by = None;
        }
    }

    fn pass_deadline(&mut self, unit: UnitId, now: Tick) {
        let Some((spec, state)) = self.both(unit) else {
            return;
        };
        match state.phase {
            Phase::Preparing { step, .. } => {
                let ms = spec.prepare_ms.get(usize::from(step)).copied().flatten();
                self.give_up(unit, Cause::StepTimeout(step, ms.unwrap_or_default()), now);
            }
            Phase::Starting { held, .. } => {
                let ms = spec.readiness.timeout_ms.unwrap_or_default();
                let missing = spec.readiness.gates.without(held);
                let cause = match spec.kind {
                    Kind::Oneshot => Cause::FinishTimeout(ms),
                    Kind::Service if missing.is_empty() => Cause::ReadyTimeout(ms, Gates::NONE),
                    Kind::Service => Cause::ReadyTimeout(ms, missing),
                };
                self.give_up(unit, cause, now);
            }
            Phase::Ready { watchdog: Some(due), .. } if due <= now => {
                let ms = state.watchdog_ms(spec).unwrap_or_default();
                self.give_up(unit, Cause::Watchdog(ms), now);
            }
            Phase::Ready { .. } => {
                state.failures = 0;
                self.tell(Action::Note(unit, Cause::Stable));
            }
            Phase::Stopping { stage: Stage::Asked { .. }, .. } => {
                let ms = spec.stop.timeout_ms.unwrap_or_default();
                self.tell(Action::Note(unit, Cause::StopTimeout(ms)));
                self.kill(unit, now);
            }
            Phase::Stopping { run, body, next, stage: Stage::Killed { .. } }
            | Phase::Stopping { run, body, next, stage: Stage::Sweeping { .. } } => {
                state.undead = Some((run, body));
                self.tell(Action::Note(unit, Cause::WillNotDie));
                self.go_on(unit, next, Cause::WillNotDie, now);
            }
            Phase::Stopping { stage: Stage::Ordered, .. }
            | Phase::Down
            | Phase::Waiting { .. }
            | Phase::Done
            | Phase::Backoff { .. }
            | Phase::Failed => {}
        }
    }

    /// Ends a stopping run by force, once; whether this was the time.
    pub(super) fn kill(&mut self, unit: UnitId, now: Tick) -> bool {
        let Some(state) = self.unit_mut(unit) else {
            return false;
        };
        if let Phase::Stopping { run, body, stage, .. } = &mut state.phase
            && matches!(stage, Stage::Ordered | Stage::Asked { .. })
        {
            let (run, body) = (*run, *body);
            *stage = Stage::Killed { until: now.after(KILL_GRACE_MS) };
            // A process that is still to be born is killed when it is there.
            if body != Body::Unborn {
                self.tell(Action::Kill(unit, run));
            }
            return true;
        }
        false
    }
}
