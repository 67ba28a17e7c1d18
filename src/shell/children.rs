//! Every process that the supervisor started, and what its end means.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::machine::{Run, Tick, UnitId};
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
    /// When it was forked.
    pub since: Tick,
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

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Child)> {
        self.0.iter_mut().map(|(pid, child)| (*pid, child))
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
