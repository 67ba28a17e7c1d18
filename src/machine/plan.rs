//! What a command would do: the machine itself, played forward in a world where all goes well.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Machine;
use super::cause::Cause;
use super::event::{Action, Event, Exit};
use super::ids::{Tick, UnitId};
use super::spec::{Conditions, Kind, Spec};
use super::unit::Phase;

/// What is done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// It is asked to end.
    Stop,
    /// Its prepare steps run.
    Prepare,
    /// Its process is started.
    Start,
}

impl Do {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Prepare => "prepare",
            Self::Start => "start",
        }
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub what: Do,
    /// To whom.
    pub unit: UnitId,
    /// Why.
    pub because: Cause,
    /// The value on whose change it depends.
    pub condition: Option<(UnitId, String)>,
}

/// More steps than any real command has; a plan that is longer is cut.
const MAX_STEPS: usize = 4096;

impl Machine {
    /// What these events would lead to, in order, if every step went well.
    ///
    /// Values that a restarted unit exports may come back changed; what that would lead to follows
    /// as conditional steps.
    #[must_use]
    pub fn plan(&self, events: &[Event], now: Tick) -> Vec<Planned> {
        let mut world = World::new(self.clone(), now);
        for event in events {
            world.feed(event.clone());
        }
        world.play()
    }

    /// What a new table of units would lead to, and the machine after it: the steps speak of units
    /// by the ids that they have there. See [`Machine::reload`].
    #[must_use]
    pub fn plan_reload(
        &self,
        specs: Vec<Spec>,
        changed: &[UnitId],
        now: Tick,
    ) -> (Vec<Planned>, Self) {
        let mut world = World::new(self.clone(), now);
        let (actions, _) = world.machine.reload(specs, changed, now);
        world.todo.extend(actions);
        let steps = world.play();
        (steps, world.machine)
    }
}

struct World {
    machine: Machine,
    now: Tick,
    todo: VecDeque<Action>,
    steps: Vec<Planned>,
}

impl World {
    const fn new(machine: Machine, now: Tick) -> Self {
        Self { machine, now, todo: VecDeque::new(), steps: Vec::new() }
    }

    /// Plays on until nothing more is to be done, then once more for each value that may change.
    fn play(&mut self) -> Vec<Planned> {
        self.run(None);
        let starts = self.steps.iter().filter(|step| step.what == Do::Start);
        let restarted: Vec<UnitId> = starts.map(|step| step.unit).collect();
        for unit in restarted {
            for key in self.keys_in_use(unit) {
                let state = self.machine.unit(unit);
                let mut values = state.map_or_else(Default::default, |state| state.exports.clone());
                values.entry(key.clone()).or_default().push_str(" (changed)");
                self.feed(Event::Exports(unit, values));
                self.run(Some(&(unit, key)));
            }
        }
        core::mem::take(&mut self.steps)
    }

    fn feed(&mut self, event: Event) {
        self.todo.extend(self.machine.step(event, self.now));
    }

    /// The keys of a unit that a live unit was given; the first key of each user stands for all.
    fn keys_in_use(&self, unit: UnitId) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (_, spec, state) in self.machine.units() {
            let first = spec.uses.iter().find(|each| each.unit == unit);
            if let Some(each) = first
                && !state.used.is_empty()
                && !keys.contains(&each.key)
            {
                keys.push(each.key.clone());
            }
        }
        keys
    }

    fn run(&mut self, condition: Option<&(UnitId, String)>) {
        let mut causes: Vec<(UnitId, Cause)> = Vec::new();
        while let Some(action) = self.todo.pop_front() {
            if self.steps.len() >= MAX_STEPS {
                return;
            }
            if let Action::Changed { unit, cause, .. } = &action
                && !(cause.is_aftermath() && causes.iter().any(|(other, _)| other == unit))
            {
                causes.retain(|(other, _)| other != unit);
                causes.push((*unit, cause.clone()));
            }
            let what = match action {
                Action::Prepare(unit, _, 0) => Some((Do::Prepare, unit)),
                Action::Spawn(unit, _) => Some((Do::Start, unit)),
                Action::Terminate(unit, _) => Some((Do::Stop, unit)),
                _ => None,
            };
            if let Some((what, unit)) = what {
                let because = causes.iter().find(|(other, _)| *other == unit);
                let because = because.map_or(Cause::Clear, |(_, cause)| cause.clone());
                self.steps.push(Planned { what, unit, because, condition: condition.cloned() });
            }
            self.answer(&action);
        }
    }

    /// The answer of a world in which all goes well.
    fn answer(&mut self, action: &Action) {
        match action {
            Action::Prepare(unit, run, step) => {
                self.feed(Event::Prepared(*unit, *run, *step, Ok(())));
            }
            Action::Spawn(unit, run) => {
                self.feed(Event::Spawned(*unit, *run));
                let Some(spec) = self.machine.spec(*unit) else {
                    return;
                };
                let (kind, gates) = (spec.kind, spec.readiness.gates);
                if kind == Kind::Oneshot {
                    self.feed(Event::Exited(*unit, *run, Exit::Code(0)));
                }
                for gate in gates.iter() {
                    self.feed(Event::Held(*unit, *run, gate));
                }
            }
            Action::Terminate(unit, run) | Action::Kill(unit, run) => {
                let phase = self.machine.unit(*unit).map(|state| &state.phase);
                if matches!(phase, Some(Phase::Stopping { .. })) {
                    self.feed(Event::Exited(*unit, *run, Exit::Code(0)));
                }
            }
            Action::Look(unit) => self.feed(Event::World(*unit, Conditions::NONE)),
            Action::Sweep(unit, run) => self.feed(Event::Swept(*unit, *run)),
            Action::Release(..)
            | Action::Changed { .. }
            | Action::Note(..)
            | Action::Refused(..)
            | Action::Halt(_) => {}
        }
    }
}

impl Planned {
    /// The condition for people: `FLANNEL_SUBNET changes`.
    #[must_use]
    pub fn condition_text(&self) -> Option<String> {
        self.condition.as_ref().map(|(_, key)| key.to_string() + " changes")
    }
}
