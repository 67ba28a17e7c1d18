//! What is wanted of the units, and so what each has to be once all is quiet.

use std::collections::BTreeSet;

use crate::units::{Rest, UNITS, Unit, find};

/// Names of units.
pub type Names = BTreeSet<&'static str>;

/// What was asked for so far.
pub struct Model {
    /// Those that are not wanted: stopped by name, or never started.
    pub stopped: Names,
}

impl Model {
    pub fn at_boot() -> Self {
        let spares = UNITS.iter().filter(|unit| unit.is_spare);
        Self { stopped: spares.map(|unit| unit.name).collect() }
    }

    /// Whether a unit can be up.
    pub fn is_up(&self, unit: &Unit) -> bool {
        !self.stopped.contains(unit.name)
            && unit.needed().all(|name| {
                let needed = find(name);
                needed.rest != Rest::Never && needed.rest != Rest::Failed && self.is_up(needed)
            })
    }

    /// Whether this is a state that a unit may have when all is quiet.
    pub fn allows(&self, unit: &Unit, state: &str) -> bool {
        if self.stopped.contains(unit.name) {
            return state == "down";
        }
        match (self.is_up(unit), unit.rest) {
            (false, _) => state == "waiting",
            (true, Rest::Ready) => state == "ready",
            (true, Rest::Done) => state == "done",
            (true, Rest::Failed) => state == "failed",
            (true, Rest::Never) => !matches!(state, "failed" | "down" | "done"),
        }
    }
}

fn closure(of: &str, leads: impl Fn(&Unit, &str) -> bool) -> Names {
    let mut found = Names::from([find(of).name]);
    loop {
        let more: Vec<&str> = UNITS
            .iter()
            .filter(|unit| !found.contains(unit.name) && found.iter().any(|of| leads(unit, of)))
            .map(|unit| unit.name)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more.iter().map(|name| find(name).name));
    }
}

/// A unit, and those that go down whenever it does.
pub fn bound_to(name: &str) -> Names {
    closure(name, |unit, of| unit.binds.contains(&of))
}

/// A unit, and those that cannot be up without it.
pub fn above(name: &str) -> Names {
    closure(name, |unit, of| unit.needed().any(|needed| needed == of))
}

/// A unit, and those that it cannot be up without.
pub fn below(name: &str) -> Names {
    let mut found = Names::from([find(name).name]);
    for needed in find(name).needed() {
        found.extend(below(needed));
    }
    found
}
