//! Control groups: where a unit's processes are kept together.

use std::os::fd::OwnedFd;

/// The group of one unit.
#[derive(Debug)]
pub struct Group {
    entrances: Vec<OwnedFd>,
    names: Vec<String>,
}

impl Group {
    /// Files into which a process writes `0` to enter.
    #[must_use]
    pub fn entrances(&self) -> &[OwnedFd] {
        &self.entrances
    }

    /// A name for each entrance.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.clone()
    }
}
