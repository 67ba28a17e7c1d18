//! The order of units: who comes before whom, and what a start by name pulls in.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use super::ids::UnitId;
use super::spec::Spec;

impl Spec {
    /// The units that must be up before this one starts.
    pub fn needs(&self) -> impl Iterator<Item = UnitId> {
        self.requires.iter().chain(&self.binds).copied()
    }

    /// The units that this one would like to start after.
    pub fn prefers(&self) -> impl Iterator<Item = UnitId> {
        self.wants.iter().chain(&self.after).copied()
    }

    /// All units that come before this one when both start, and after it when both stop.
    pub fn follows(&self) -> impl Iterator<Item = UnitId> {
        self.needs().chain(self.prefers())
    }
}

/// The ids of a table of units.
pub fn ids(count: usize) -> impl Iterator<Item = UnitId> {
    (0..count).map_while(|index| u16::try_from(index).ok().map(UnitId))
}

/// All units, every one behind those that it follows.
///
/// Configuration refuses cycles; should there be one all the same, its units come last, so that
/// nothing is lost and nothing hangs.
#[must_use]
pub fn in_order(specs: &[Spec]) -> Vec<UnitId> {
    let mut order = Vec::with_capacity(specs.len());
    let mut is_placed = vec![false; specs.len()];
    let placed = |list: &[bool], unit: UnitId| list.get(unit.index()).copied().unwrap_or(true);
    loop {
        let before = order.len();
        for (unit, spec) in ids(specs.len()).zip(specs) {
            if !placed(&is_placed, unit) && spec.follows().all(|dep| placed(&is_placed, dep)) {
                order.push(unit);
                if let Some(slot) = is_placed.get_mut(unit.index()) {
                    *slot = true;
                }
            }
        }
        if order.len() == before {
            break;
        }
    }
    order.extend(ids(specs.len()).filter(|unit| !placed(&is_placed, *unit)));
    order
}

/// The unit and all that it needs, directly or not.
#[must_use]
pub fn needed(specs: &[Spec], unit: UnitId) -> BTreeSet<UnitId> {
    let mut found = BTreeSet::from([unit]);
    let mut rest = vec![unit];
    while let Some(spec) = rest.pop().and_then(|next| specs.get(next.index())) {
        rest.extend(spec.needs().filter(|dep| found.insert(*dep)));
    }
    found
}
