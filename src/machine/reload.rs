//! A new configuration under a running machine: units keep their lives by name.

use alloc::vec::Vec;

use super::cause::{Cause, Hold};
use super::event::Action;
use super::ids::{Tick, UnitId};
use super::spec::{Spec, Use};
use super::unit::{Phase, UnitState, Want};
use super::{Machine, graph};

impl Machine {
    /// Takes over a new table of units; `changed` are those (by new id) that need a new life.
    ///
    /// Answers with the actions and, for every unit of the new table, the id it had before. Units
    /// that are gone from the configuration and still live follow the new ones; they are stopped.
    pub fn reload(
        &mut self,
        specs: Vec<Spec>,
        changed: &[UnitId],
        now: Tick,
    ) -> (Vec<Action>, Vec<Option<UnitId>>) {
        let kept = specs.len();
        let mut origin: Vec<Option<UnitId>> =
            specs.iter().map(|spec| self.find(&spec.name)).collect();
        let leavers: Vec<UnitId> = self
            .units()
            .filter(|(id, _, state)| {
                (state.is_live() || state.undead.is_some()) && !origin.contains(&Some(*id))
            })
            .map(|(id, _, _)| id)
            .collect();
        origin.extend(leavers.iter().copied().map(Some));
        let old = core::mem::replace(self, Self::new(specs, self.seed));
        self.next_run = old.next_run;
        self.shutdown = old.shutdown;
        let to_new =
            |id: UnitId| graph::ids(origin.len()).zip(&origin).find(|(_, o)| **o == Some(id));
        for id in leavers {
            self.retire(&old, id, |id| to_new(id).map(|(new, _)| new));
        }
        self.order = graph::in_order(&self.specs);
        let mut newcomers = Vec::new();
        for (new, before) in graph::ids(kept).zip(&origin) {
            let before = before.and_then(|id| old.unit(id).zip(old.spec(id)));
            if let Some((state, spec)) = before {
                let is_same = same_uses(&old, &spec.uses, self, new);
                self.carry(new, state, !is_same || changed.contains(&new));
            }
            if before.is_none_or(|(state, _)| state.is_retired) {
                newcomers.push(new);
            }
        }
        self.welcome(newcomers);
        self.settle(now);
        (core::mem::take(&mut self.out), origin)
    }

    /// A unit that is in the configuration no more keeps its place in the order until it is down.
    fn retire(&mut self, old: &Self, id: UnitId, to_new: impl Fn(UnitId) -> Option<UnitId>) {
        let Some((spec, state)) = old.spec(id).zip(old.unit(id)) else {
            return;
        };
        let spec = Spec {
            after: spec.follows().filter_map(to_new).collect(),
            requires: Vec::new(),
            binds: Vec::new(),
            wants: Vec::new(),
            conflicts: Vec::new(),
            uses: Vec::new(),
            ..spec.clone()
        };
        let state = UnitState {
            want: Want::Stopped,
            used: Vec::new(),
            bounce: None,
            is_retired: true,
            ..state.clone()
        };
        self.specs.push(spec);
        self.units.push(state);
    }

    fn carry(&mut self, unit: UnitId, before: &UnitState, is_changed: bool) {
        let Some(state) = self.unit_mut(unit) else {
            return;
        };
        let want = if before.is_retired { Want::Idle } else { before.want };
        *state = UnitState { want, is_retired: false, ..before.clone() };
        match &mut state.phase {
            // Its hold speaks of units by their old ids; it is found anew.
            Phase::Waiting { on, .. } => *on = Hold::Undead,
            Phase::Backoff { .. } | Phase::Failed if is_changed && want == Want::On => {
                self.wait(unit, Cause::ConfigChanged);
            }
            Phase::Preparing { .. }
            | Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Stopping { .. }
            | Phase::Done => {
                if is_changed {
                    state.used = Vec::new();
                    state.bounce = Some(Cause::ConfigChanged);
                }
            }
            Phase::Down | Phase::Backoff { .. } | Phase::Failed => {}
        }
    }

    /// Wants what is new and enabled, and what is needed or preferred only now; what was stopped
    /// by name stays so.
    fn welcome(&mut self, newcomers: Vec<UnitId>) {
        for unit in newcomers {
            if !self.spec(unit).is_some_and(|spec| spec.is_enabled) {
                continue;
            }
            match self.rivals(unit).first() {
                Some(rival) => self.tell(Action::Note(unit, Cause::LeftOut(unit, *rival))),
                None => self.ask(unit, Cause::ConfigChanged),
            }
        }
        self.pull(self.all_on());
    }
}

/// Whether a unit uses the values it used before, by the names of their owners.
fn same_uses(old: &Machine, uses: &[Use], new: &Machine, unit: UnitId) -> bool {
    let Some(spec) = new.spec(unit) else {
        return false;
    };
    uses.len() == spec.uses.len()
        && uses
            .iter()
            .zip(&spec.uses)
            .all(|(a, b)| a.key == b.key && old.name(a.unit) == new.name(b.unit))
}
