//! What keeps a wanted unit from starting, and for how long it lets itself be kept.

use super::cause::Hold;
use super::ids::{Tick, UnitId};
use super::unit::{Phase, Want};
use super::{Machine, PREFERENCE_MS};

/// How a unit that another one prefers is getting on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There is nothing to wait for.
    Settled,
    /// It moves by itself, and will be ready or fail.
    Moving,
    /// It is held up by something that may take for ever.
    Stuck,
}

impl Machine {
    /// The first thing that keeps a waiting unit from starting.
    pub(super) fn hold(&self, unit: UnitId) -> Option<Hold> {
        let (spec, state) = self.spec(unit).zip(self.unit(unit))?;
        if state.undead.is_some() {
            return Some(Hold::Undead);
        }
        if let Some(hold) = self.hold_by_needs(unit) {
            return Some(hold);
        }
        // A binder of its old life would otherwise meet its new one.
        let is_leaver = |id: UnitId| self.spec(id).is_some_and(|s| s.binds.contains(&unit));
        let leaver = self.units().find(|(id, _, state)| state.is_live() && is_leaver(*id));
        if let Some((id, _, _)) = leaver {
            return Some(Hold::Leaver(id));
        }
        if let Some(hold) =
            spec.uses.iter().find_map(|each| self.hold_by_value(each.unit, &each.key))
        {
            return Some(hold);
        }
        let goes_alone = matches!(state.phase, Phase::Waiting { goes_alone: true, .. });
        if !goes_alone && let Some(dep) = spec.prefers().find(|dep| self.way(*dep) != Way::Settled)
        {
            return Some(Hold::Wants(dep));
        }
        let unmet = state.unmet.and(spec.conditions);
        (!unmet.is_empty()).then_some(Hold::World(unmet))
    }

    /// Until when the present hold of a waiting unit is respected; `None` is for good.
    pub(super) fn patience(&self, unit: UnitId) -> Option<Tick> {
        let (spec, state) = self.spec(unit).zip(self.unit(unit))?;
        let Phase::Waiting { on, since, .. } = &state.phase else {
            return None;
        };
        match on {
            Hold::World(_) => spec.conditions_timeout_ms.map(|ms| since.after(ms)),
            Hold::Wants(dep) if self.way(*dep) == Way::Stuck => Some(since.after(PREFERENCE_MS)),
            Hold::Needs(_)
            | Hold::Wants(_)
            | Hold::Stopped(_)
            | Hold::Broken(_)
            | Hold::Ended(_)
            | Hold::Value(..)
            | Hold::Leaver(_)
            | Hold::Undead => None,
        }
    }

    /// The first of its needs that is not up.
    pub(super) fn hold_by_needs(&self, unit: UnitId) -> Option<Hold> {
        self.spec(unit)?.needs().find_map(|dep| self.hold_by_need(dep))
    }

    fn hold_by_need(&self, dep: UnitId) -> Option<Hold> {
        let state = self.unit(dep)?;
        if state.is_up() {
            return None;
        }
        Some(match (state.want, &state.phase) {
            (Want::Stopped | Want::Idle, _) => Hold::Stopped(dep),
            (Want::Rest, Phase::Down) => Hold::Ended(dep),
            (_, Phase::Failed) => Hold::Broken(dep),
            _ => Hold::Needs(dep),
        })
    }

    /// What keeps a waiting unit, or one that it waits for, until somebody gives a command.
    #[must_use]
    pub fn dead_end(&self, unit: UnitId) -> Option<&Hold> {
        let mut at = unit;
        // Needs make no circle; the bound only guards against one that slipped in.
        for _ in 0..self.specs.len() {
            match &self.unit(at)?.phase {
                Phase::Waiting { on: Hold::Needs(next), .. } => at = *next,
                Phase::Waiting {
                    on: on @ (Hold::Stopped(_) | Hold::Broken(_) | Hold::Ended(_)),
                    ..
                } => return Some(on),
                _ => return None,
            }
        }
        None
    }

    fn hold_by_value(&self, dep: UnitId, key: &str) -> Option<Hold> {
        let required = self.spec(dep)?.exports.iter().map(alloc::string::String::as_str);
        let missing =
            core::iter::once(key).chain(required).find(|k| self.value(dep, k).is_none())?;
        Some(Hold::Value(dep, missing.into()))
    }

    fn way(&self, dep: UnitId) -> Way {
        let Some(state) = self.unit(dep) else {
            return Way::Settled;
        };
        if state.want != Want::On && !state.is_live() {
            return Way::Settled;
        }
        match &state.phase {
            Phase::Stopping { .. } => Way::Moving,
            _ if state.failures > 0 => Way::Settled,
            Phase::Down | Phase::Preparing { .. } | Phase::Starting { .. } => Way::Moving,
            Phase::Ready { .. } | Phase::Done | Phase::Backoff { .. } | Phase::Failed => {
                Way::Settled
            }
            Phase::Waiting { on, .. } => match on {
                Hold::Needs(next) | Hold::Wants(next) | Hold::Leaver(next) => {
                    // What moves behind a unit that moves will move; a need that failed once may
                    // go on failing, and the one behind it would then wait for good.
                    match self.way(*next) {
                        Way::Moving => Way::Moving,
                        Way::Settled | Way::Stuck => Way::Stuck,
                    }
                }
                Hold::Stopped(_) | Hold::Broken(_) | Hold::Ended(_) => Way::Settled,
                Hold::Value(..) | Hold::World(_) | Hold::Undead => Way::Stuck,
            },
        }
    }
}
