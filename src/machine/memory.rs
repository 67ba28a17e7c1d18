//! What a machine has to know to go on where another one of the same boot has stopped.
//!
//! A memory names units by their place in its own list, so it can be taken over by a machine of
//! another table. What is not in it is found anew: what holds a unit, what may go next, and when a
//! sign of life is due (nobody was there to hear one).

use alloc::string::String;
use alloc::vec::Vec;

use super::cause::{Cause, Hold};
use super::event::Action;
use super::ids::{Run, Tick, UnitId};
use super::spec::{Kind, Spec, Use};
use super::unit::{Body, Next, Phase, Stage, UnitState, Want};
use super::{Machine, Shutdown};

/// All that a machine remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The units; ids in them are places in this list.
    pub units: Vec<Remembered>,
    /// The number of the next run.
    pub next_run: u32,
    /// Everything has to end: when patience does, if it has not.
    pub shutdown: Option<Option<Tick>>,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its name.
    pub name: String,
    /// The values that its run was given, as `UnitState::used` has them, and whose they are.
    pub uses: Vec<Use>,
    /// Where it stands.
    pub state: UnitState,
}

impl Machine {
    /// What another machine has to know to go on from here.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let units = self.units().map(|(_, spec, state)| Remembered {
            name: spec.name.clone(),
            uses: spec.uses.clone(),
            state: UnitState { phase: without_watchdog(&state.phase), ..state.clone() },
        });
        Memory {
            units: units.collect(),
            next_run: self.next_run,
            shutdown: self.shutdown.map(|shutdown| shutdown.by),
        }
    }

    /// A machine of these units that goes on where another one stopped, and the units that it did
    /// not know; tell it `Resumed` when the world is ready for its actions. Units that are in
    /// `memory` only are forgotten.
    ///
    /// # Errors
    ///
    /// No machine can have been like that: the rule that it breaks.
    pub fn resume(
        specs: Vec<Spec>,
        seed: u64,
        memory: &Memory,
        now: Tick,
    ) -> Result<(Self, Vec<UnitId>), &'static str> {
        let mut own = Self::new(specs, seed);
        let new_ids: Vec<Option<UnitId>> =
            memory.units.iter().map(|each| own.find(&each.name)).collect();
        let mut first_free = memory.next_run;
        for (each, id) in memory.units.iter().zip(&new_ids) {
            if let Some(id) = id {
                own.recall(*id, each, &new_ids, now);
            }
            let undead = each.state.undead.map(|(run, _)| run);
            for Run(run) in each.state.run().into_iter().chain(undead) {
                first_free = first_free.max(run.saturating_add(1));
            }
        }
        own.next_run = first_free;
        // All may be down by now: it was killed before it could say so.
        own.shutdown = memory.shutdown.map(|by| Shutdown { by, has_halted: false });
        own.check()?;
        let is_new = |unit: &UnitId| !new_ids.contains(&Some(*unit));
        let newcomers = super::graph::ids(own.specs.len()).filter(is_new).collect();
        Ok((own, newcomers))
    }

    fn recall(&mut self, unit: UnitId, from: &Remembered, new: &[Option<UnitId>], now: Tick) {
        let new_id = |old: UnitId| new.get(old.index()).copied().flatten();
        let Some((spec, state)) = self.both(unit) else {
            return;
        };
        *state = from.state.clone();
        let is_own =
            |(own, old): (&Use, &Use)| own.key == old.key && new_id(old.unit) == Some(own.unit);
        let is_same =
            spec.uses.len() == from.uses.len() && spec.uses.iter().zip(&from.uses).all(is_own);
        if !is_same {
            // It was given other values than it would be now; that moves nobody.
            state.used = Vec::new();
        }
        if state.is_retired {
            (state.is_retired, state.want) = (false, Want::Idle);
        }
        let due = state.watchdog_ms(spec).map(|ms| now.after(ms));
        match &mut state.phase {
            Phase::Waiting { on, .. } => *on = renamed(on, new_id).unwrap_or(Hold::Undead),
            Phase::Preparing { run, step, .. } if usize::from(*step) >= spec.prepare_ms.len() => {
                // A step of another configuration; its unit begins anew.
                let (run, body) = (*run, Body::Step(*step));
                let (stage, next) = (Stage::Ordered, Next::Again);
                state.phase = Phase::Stopping { run, body, stage, next };
            }
            Phase::Ready { watchdog, .. } => *watchdog = due,
            Phase::Done if spec.kind == Kind::Service => {
                let on = Hold::Undead;
                state.phase = Phase::Waiting { on, since: now, goes_alone: false };
            }
            Phase::Down
            | Phase::Preparing { .. }
            | Phase::Starting { .. }
            | Phase::Done
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed => {}
        }
    }

    /// Wants what is enabled and was not known before, and asks after the world for those that
    /// wait for it.
    pub(super) fn resumed(&mut self, newcomers: Vec<UnitId>) {
        for unit in newcomers {
            if !self.spec(unit).is_some_and(|spec| spec.is_enabled) {
                continue;
            }
            match self.rivals(unit).first() {
                Some(rival) => self.tell(Action::Note(unit, Cause::LeftOut(unit, *rival))),
                None => self.ask(unit, Cause::Boot),
            }
        }
        self.pull(self.all_on());
        for unit in super::graph::ids(self.specs.len()) {
            let phase = self.unit(unit).map(|state| &state.phase);
            if matches!(phase, Some(Phase::Waiting { on: Hold::World(_), .. })) {
                self.tell(Action::Look(unit));
            }
        }
    }
}

fn without_watchdog(phase: &Phase) -> Phase {
    match phase {
        Phase::Ready { run, since, .. } => {
            Phase::Ready { run: *run, since: *since, watchdog: None }
        }
        other => other.clone(),
    }
}

/// The hold, with the new id of the unit that it speaks of.
fn renamed(hold: &Hold, new_id: impl Fn(UnitId) -> Option<UnitId>) -> Option<Hold> {
    Some(match hold {
        Hold::Needs(unit) => Hold::Needs(new_id(*unit)?),
        Hold::Stopped(unit) => Hold::Stopped(new_id(*unit)?),
        Hold::Broken(unit) => Hold::Broken(new_id(*unit)?),
        Hold::Ended(unit) => Hold::Ended(new_id(*unit)?),
        Hold::Wants(unit) => Hold::Wants(new_id(*unit)?),
        Hold::Value(unit, key) => Hold::Value(new_id(*unit)?, key.clone()),
        Hold::Leaver(unit) => Hold::Leaver(new_id(*unit)?),
        Hold::Undead => Hold::Undead,
        Hold::World(set) => Hold::World(*set),
    })
}
