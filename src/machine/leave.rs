//! Who has to go, and why: a question about how things are, asked anew whenever they change.

use alloc::vec;
use alloc::vec::Vec;

use super::Machine;
use super::cause::Cause;
use super::ids::UnitId;
use super::unit::{Phase, Want};

impl Machine {
    /// For every unit the reason why it may not stay as it is, if there is one.
    pub(super) fn leaves(&self) -> Vec<Option<Cause>> {
        let mut leaves = vec![None; self.specs.len()];
        let stopped = self.stopped_needs();
        // Dependencies come first in the order, so each answer rests on final ones.
        for &unit in &self.order {
            let stopped = stopped.get(unit.index()).copied().flatten();
            let cause = self.leave(unit, stopped, &leaves);
            if let Some(slot) = leaves.get_mut(unit.index()) {
                *slot = cause;
            }
        }
        leaves
    }

    /// For every unit the need of it that was stopped by name, itself or through its own needs.
    pub(super) fn stopped_needs(&self) -> Vec<Option<UnitId>> {
        let mut stopped: Vec<Option<UnitId>> = vec![None; self.specs.len()];
        for &unit in &self.order {
            let is_down = |dep: &UnitId| {
                self.unit(*dep).is_some_and(|state| state.want == Want::Stopped)
                    || stopped.get(dep.index()).is_some_and(Option::is_some)
            };
            let need = self.spec(unit).and_then(|spec| spec.needs().find(is_down));
            if let Some(slot) = stopped.get_mut(unit.index()) {
                *slot = need;
            }
        }
        stopped
    }

    fn leave(
        &self,
        unit: UnitId,
        stopped: Option<UnitId>,
        leaves: &[Option<Cause>],
    ) -> Option<Cause> {
        let (spec, state) = self.spec(unit).zip(self.unit(unit))?;
        if !state.is_live() && state.phase != Phase::Done {
            return None;
        }
        if state.is_retired {
            return Some(Cause::ConfigChanged);
        }
        if self.is_shutting_down() {
            return Some(Cause::Shutdown);
        }
        if state.want != Want::On {
            return Some(Cause::StopAsked);
        }
        if let Some(cause) = &state.bounce {
            return Some(cause.clone());
        }
        if let Some(dep) = stopped {
            return Some(Cause::DependencyStopped(dep));
        }
        let goes = |dep: &UnitId| {
            leaves.get(dep.index()).is_some_and(Option::is_some)
                || self.unit(*dep).is_some_and(|state| !state.is_up())
        };
        if let Some(dep) = spec.binds.iter().find(|dep| goes(dep)) {
            return Some(Cause::BoundDown(*dep));
        }
        self.changed_value(unit)
    }

    /// A value that is known and is not the one that the unit's run was given.
    fn changed_value(&self, unit: UnitId) -> Option<Cause> {
        let (spec, state) = self.spec(unit).zip(self.unit(unit))?;
        let (each, _) = spec.uses.iter().zip(&state.used).find(|(each, used)| {
            self.value(each.unit, &each.key).is_some_and(|value| value != used.as_str())
        })?;
        Some(Cause::ValueChanged(each.unit, each.key.clone()))
    }
}
