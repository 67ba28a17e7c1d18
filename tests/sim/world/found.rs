//! What a supervisor finds that takes over, and what must not become of it: a service that is ready
//! is neither stopped nor begun again, and the end of an own child is not forgotten.

use std::collections::BTreeSet;

use super::World;
use super::procs::Parent;
use super::role::Role;
use super::upgrade::Origin;
use crate::machine::{Exit, Phase, Want};
use crate::wire::state::State;

/// What a supervisor finds that takes over, and has to leave as it is: services that are ready, as
/// far as the one before it knew.
#[derive(Debug, Default)]
pub struct Found {
    services: BTreeSet<u64>,
    units: BTreeSet<String>,
    deaths: u64,
    /// What the system has refused by then: who cannot look at a process ends it rather than have
    /// it twice, and who cannot read the file knows nothing of it.
    refusals: u64,
    /// Another program of the same process: it hears of every end.
    is_replaced: bool,
    /// Units of which it was not known already how they had ended.
    untold: BTreeSet<String>,
}

impl World {
    /// Looks at what there is for the next supervisor, unless anything is under way of which
    /// others may have to end.
    pub fn look_at_found(&mut self, origin: Origin) {
        let is_replaced = origin == Origin::Replaced;
        self.found = Found { is_replaced, ..Found::default() };
        let bytes = self.files.read("/run/pisup/state").unwrap_or_default();
        let Ok(state) = State::parse(&bytes) else {
            return;
        };
        let (deaths, refusals) = (self.deaths(), self.refusals());
        let mut found = Found { deaths, refusals, is_replaced, ..Found::default() };
        // A value that has changed meanwhile has others begun again, and who is bound to them.
        let mut is_quiet = self.graph.units.iter().all(|unit| unit.uses.is_empty());
        for (unit, life) in state.memory.units.iter().zip(&state.lives) {
            if life.exit == Some(Exit::Unknown) {
                found.untold.insert(unit.name.clone());
            }
            let has_watchdog =
                self.graph.find(&unit.name).is_none_or(|own| own.watchdog_ms.is_some());
            let main = life.body.as_ref().and_then(|body| body.main);
            let main = main.and_then(|main| {
                let own = self.proc_of(main.pid)?;
                let is_it = !own.is_dead() && own.start / 10 == main.start_time;
                is_it.then_some(own.serial)
            });
            is_quiet &= unit.state.undead.is_none();
            match (&unit.state.phase, main) {
                (Phase::Ready { .. }, Some(serial)) => {
                    if !has_watchdog && unit.state.want == Want::On {
                        found.services.insert(serial);
                        found.units.insert(unit.name.clone());
                    }
                }
                (Phase::Down | Phase::Done | Phase::Failed | Phase::Waiting { .. }, None) => {}
                _ => is_quiet = false,
            }
        }
        if !is_quiet {
            (found.services, found.units) = (BTreeSet::new(), BTreeSet::new());
        }
        self.found = found;
    }

    fn refusals(&self) -> u64 {
        self.counts.faults.values().sum()
    }

    /// Whether nothing has happened that changes what is right.
    fn is_as_found(&self) -> bool {
        self.found.deaths == self.deaths() && self.found.refusals == self.refusals()
    }

    fn deaths(&self) -> u64 {
        self.counts.things.get("death").copied().unwrap_or_default()
    }

    /// The supervisor ends a process, before it has said that it supervises.
    pub fn check_found(&mut self, serial: u64) {
        if self.found.services.contains(&serial) && self.is_as_found() {
            let name = self.procs.get(&serial).map_or_else(String::new, |own| own.unit.clone());
            self.fail(format!("{name} was ready, and is stopped by a supervisor that takes over"));
        }
    }

    /// It begins a process for a unit that was ready.
    pub fn check_begun(&mut self, name: &str, role: &Role) {
        let is_for_start = matches!(role, Role::Main | Role::Owner | Role::Step | Role::Stop);
        if is_for_start && self.found.units.contains(name) && self.is_as_found() {
            self.fail(format!(
                "{name} was ready, and a supervisor that takes over begins {role:?}"
            ));
        }
    }

    /// It supervises: from now on it does what it likes with its own.
    pub fn end_found(&mut self) {
        if !self.found.services.is_empty() {
            self.counts.count("supervisor that took over services");
        }
        self.found.services.clear();
        self.found.units.clear();
    }

    /// A main process has ended.
    pub fn note_end(&mut self, name: &str, parent: Parent, exit: Exit) {
        if parent != Parent::Supervisor {
            // Who is nobody's child any more may end without anybody who tells how.
            self.found.untold.insert(name.to_owned());
        }
        self.ends.insert(name.to_owned(), (parent == Parent::Supervisor, exit));
    }

    /// The supervisor writes down what it knows: the end of its own child is known.
    pub fn check_ends(&mut self, bytes: &[u8]) {
        if !self.found.is_replaced {
            return;
        }
        let Ok(state) = State::parse(bytes) else {
            return;
        };
        for (unit, life) in state.memory.units.iter().zip(&state.lives) {
            if life.exit != Some(Exit::Unknown) {
                self.found.untold.remove(&unit.name);
                continue;
            }
            if let Some((true, exit)) = self.ends.get(&unit.name)
                && !self.found.untold.contains(&unit.name)
            {
                let exit = *exit;
                self.fail(format!("{} ended as {exit:?}, and that is lost", unit.name));
            }
        }
    }
}
