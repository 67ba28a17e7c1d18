//! The machine decides, and touches nothing: `step(event, now)` returns what is to be done.
//!
//! # What it knows
//!
//! Each unit has a [`Want`] (what is wanted of it) and a [`Phase`] (where it stands), and the two
//! are only joined by [`settle`]. A step has two halves, after dinit: *absorb* moves at most the
//! one unit that an event speaks of, *settle* then moves units until none has a reason to move.
//! Settling is level-triggered: it looks at how things are, never at what just happened, so an
//! event that is lost, late or told twice cannot leave a unit stranded.
//!
//! # Who may run
//!
//! A wanted unit waits as long as something holds it, and every [`Hold`] is a sentence for
//! `status`. What it needs (`requires`, `binds`) must be up and stay so; what it prefers (`wants`,
//! `after`) only delays it. It never fails because of another unit.
//!
//! # Who has to go
//!
//! [`leave`] answers that for all units at once, from what is so now: shutdown, a stop by name
//! (of the unit or of anything it needs), a restart by name, a value that changed, or something
//! it is bound to that is not up. A unit that has to go turns to `Stopping` at once, and gets its
//! signal when all that follow it and have to go too are gone. A dependency that crashes moves
//! its binders and nobody else.
//!
//! # Time
//!
//! Deadlines live inside the phases and are pulled with [`Machine::next_deadline`]. All instants
//! are of CLOCK_BOOTTIME; the machine has no clock and no random numbers, so one history of events
//! always gives one history of actions.
//!
//! # Proofs
//!
//! `make pure` compiles this folder alone, without std. `tests/model.rs` walks every state of
//! every small graph, with lost, late and doubled events. [`Machine::check`] holds in each.
#![cfg_attr(pure, no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod absorb;
pub mod cause;
mod check;
mod deadline;
pub mod event;
pub mod explore;
pub mod graph;
mod hold;
pub mod ids;
mod leave;
pub mod memory;
pub mod plan;
mod reload;
mod restart;
mod settle;
pub mod spec;
pub mod unit;
pub mod view;

pub use cause::{Cause, Hold};
pub use event::{Action, Event, Exit, Values};
pub use ids::{Run, Tick, UnitId};
pub use memory::{Memory, Remembered};
pub use spec::Spec;
pub use unit::{Body, Next, Phase, Stage, UnitState, Want};
pub use view::State;

use alloc::vec::Vec;

/// How long a killed run may take to vanish before it is called undead, in milliseconds.
pub const KILL_GRACE_MS: u64 = 5_000;

/// How long a unit waits for one that it merely prefers and that is held up itself.
pub const PREFERENCE_MS: u64 = 60_000;

/// All units and what is wanted of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    specs: Vec<Spec>,
    units: Vec<UnitState>,
    /// Every unit behind those that it follows.
    order: Vec<UnitId>,
    next_run: u32,
    /// Spreads the jitter of machines that are otherwise alike.
    seed: u64,
    shutdown: Option<Shutdown>,
    out: Vec<Action>,
}

/// Everything has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shutdown {
    /// When what still lives is killed; `None` once that is done.
    by: Option<Tick>,
    has_halted: bool,
}

impl Machine {
    /// A machine of these units, all of them down; `seed` moves the jitter.
    #[must_use]
    pub fn new(specs: Vec<Spec>, seed: u64) -> Self {
        let order = graph::in_order(&specs);
        let units = specs.iter().map(|_| UnitState::new()).collect();
        Self { specs, units, order, next_run: 1, seed, shutdown: None, out: Vec::new() }
    }

    /// Absorbs one event and says what is to be done, in order. A spurious call does no harm.
    pub fn step(&mut self, event: Event, now: Tick) -> Vec<Action> {
        self.absorb(event, now);
        self.pass_deadlines(now);
        self.settle(now);
        debug_assert_eq!(self.check(), Ok(()));
        core::mem::take(&mut self.out)
    }

    /// What is known of a unit from its configuration.
    #[must_use]
    pub fn spec(&self, unit: UnitId) -> Option<&Spec> {
        self.specs.get(unit.index())
    }

    /// Where a unit stands.
    #[must_use]
    pub fn unit(&self, unit: UnitId) -> Option<&UnitState> {
        self.units.get(unit.index())
    }

    /// All units, in the order of their ids.
    pub fn units(&self) -> impl Iterator<Item = (UnitId, &Spec, &UnitState)> {
        let specs = self.specs.iter().zip(&self.units);
        graph::ids(self.specs.len()).zip(specs).map(|(id, (spec, state))| (id, spec, state))
    }

    /// Every unit behind those that it follows.
    #[must_use]
    pub fn order(&self) -> &[UnitId] {
        &self.order
    }

    /// The unit of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<UnitId> {
        self.units().find(|(_, spec, _)| spec.name == name).map(|(id, _, _)| id)
    }

    /// A unit's name; a question mark for one that does not exist.
    #[must_use]
    pub fn name(&self, unit: UnitId) -> &str {
        self.spec(unit).map_or("?", |spec| spec.name.as_str())
    }

    /// Whether everything has been told to end.
    #[must_use]
    pub const fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// A value that a unit exports.
    #[must_use]
    pub fn value(&self, unit: UnitId, key: &str) -> Option<&str> {
        let value = self.unit(unit)?.exports.get(key)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// A value as the present run of `user` was given it.
    #[must_use]
    pub fn value_in_use(&self, user: UnitId, unit: UnitId, key: &str) -> Option<&str> {
        let uses = &self.spec(user)?.uses;
        let index = uses.iter().position(|each| each.unit == unit && each.key == key)?;
        self.unit(user)?.used.get(index).map(alloc::string::String::as_str)
    }

    fn unit_mut(&mut self, unit: UnitId) -> Option<&mut UnitState> {
        self.units.get_mut(unit.index())
    }

    fn both(&mut self, unit: UnitId) -> Option<(&Spec, &mut UnitState)> {
        self.specs.get(unit.index()).zip(self.units.get_mut(unit.index()))
    }

    /// The only place where a phase is written.
    fn enter(&mut self, unit: UnitId, phase: Phase, cause: Cause) {
        let Some(state) = self.unit_mut(unit) else {
            return;
        };
        let from = state.state();
        state.phase = phase;
        let to = state.state();
        if from != to {
            self.tell(Action::Changed { unit, from, to, cause });
        }
    }

    fn tell(&mut self, action: Action) {
        self.out.push(action);
    }
}
