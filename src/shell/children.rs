//! Every process that the supervisor started, and what its end means.

use std::collections::BTreeMap;

use crate::machine::{Run, Tick, UnitId};
use crate::sys::fd::OwnedFd;
use crate::sys::spawn::Pending;

/// What a child is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The unit's main process.
    Main,
    /// A prepare step; whether its failure is passed over.
    Step(u8, bool),
    /// A probe: its slot.
    Probe(u8),
    /// The stop command.
    Stop,
    /// The reload command.
    Reload,
    /// The copy of its values is being written.
    Keep,
    /// Its output is written to a file.
    Log,
    /// Another program of the supervisor is tried; it is no unit's.
    SelfTest,
}

/// One child.
#[derive(Debug)]
pub struct Child {
    /// Whose it is.
    pub unit: UnitId,
    /// Of which run.
    pub run: Run,
    /// What it is for.
    pub part: Part,
    /// It has not yet said whether it could execute its program.
    pub pending: Option<Pending>,
    /// For signals that cannot hit another process.
    pub pidfd: Option<OwnedFd>,
    /// When it was forked, or taken over.
    pub since: Tick,
    /// Its start in clock ticks after boot.
    pub start_time: u64,
    /// An earlier supervisor made it: somebody else reaps it, and its pidfd, if it lives, tells.
    pub is_foreign: bool,
    /// It is one of these, and was dead when it was looked for.
    pub is_gone: bool,
}

impl Child {
    /// A child of which only that is known.
    #[must_use]
    pub const fn new(unit: UnitId, run: Run, part: Part, since: Tick) -> Self {
        let (pending, pidfd) = (None, None);
        let (is_foreign, is_gone) = (false, false);
        Self { unit, run, part, pending, pidfd, since, start_time: 0, is_foreign, is_gone }
    }
}

/// All children, by process id.
#[derive(Debug, Default)]
pub struct Children(BTreeMap<u32, Child>);

impl Children {
    /// A new child.
    pub fn add(&mut self, pid: u32, child: Child) {
        self.0.insert(pid, child);
    }

    /// The child of that process id.
    pub fn get_mut(&mut self, pid: u32) -> Option<&mut Child> {
        self.0.get_mut(&pid)
    }

    /// The child of that process id.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Child> {
        self.0.get(&pid)
    }

    /// A child that was reaped.
    pub fn remove(&mut self, pid: u32) -> Option<Child> {
        self.0.remove(&pid)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Child)> {
        self.0.iter().map(|(pid, child)| (*pid, child))
    }

    /// Gives every child's unit its new id; the end of a child without one means nothing any more.
    pub fn renumber(&mut self, new_id: impl Fn(UnitId) -> Option<UnitId>) {
        self.0.retain(|_, child| match new_id(child.unit) {
            Some(new) => {
                child.unit = new;
                true
            }
            None => child.part == Part::SelfTest,
        });
    }

    /// Those of an earlier supervisor that were dead when they were looked for.
    #[must_use]
    pub fn gone(&self) -> Vec<u32> {
        self.0.keys().copied().filter(|pid| self.is_gone(*pid)).collect()
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn is_gone(&self, pid: u32) -> bool {
        self.get(pid).is_some_and(|child| child.is_gone)
    }

    /// Those of an earlier supervisor that live, and that no descriptor means: there was none, or
    /// the kernel has no pidfds. Nobody tells of their end.
    pub fn unwatched(&self) -> impl Iterator<Item = u32> {
        let is_one = |child: &Child| child.is_foreign && !child.is_gone && child.pidfd.is_none();
        self.iter().filter(move |(_, child)| is_one(child)).map(|(pid, _)| pid)
    }

    /// Whether any unit's output is being written to a file.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.0.values().any(|child| child.part == Part::Log)
    }

    /// Whether the copy of a unit's values is being written.
    #[must_use]
    pub fn keeps(&self, unit: UnitId) -> bool {
        self.0.values().any(|child| child.unit == unit && child.part == Part::Keep)
    }

    /// When the first of them has been silent about its program since.
    #[must_use]
    pub fn oldest_pending(&self) -> Option<Tick> {
        let silent = self.0.values().filter(|child| child.pending.is_some());
        silent.map(|child| child.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_follows_its_unit_and_is_forgotten_with_it() {
        let child = |unit, part| Child::new(UnitId(unit), Run(1), part, Tick(0));
        let mut children = Children::default();
        children.add(10, child(0, Part::Keep));
        children.add(11, child(1, Part::Keep));
        // Unit 0 is gone, and unit 1 has taken its number.
        children.renumber(|old| old.0.checked_sub(1).map(UnitId));
        assert!(children.get(10).is_none());
        assert!(children.keeps(UnitId(0)) && !children.keeps(UnitId(1)));
    }
}
