//! What happened to a unit: its last changes, bounded, numbered across all units.

use std::collections::VecDeque;

use crate::machine::{State, Tick};

/// Changes kept for each unit.
pub const KEPT: usize = 64;

/// One change of state, or a note (`from` and `to` are the same).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; later is greater, over all units.
    pub number: u64,
    /// When.
    pub at: Tick,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why, a sentence.
    pub cause: String,
}

/// The last changes of one unit.
#[derive(Debug, Default)]
pub struct History(VecDeque<Entry>);

impl History {
    /// Adds one, and forgets the oldest where there are too many.
    pub fn push(&mut self, entry: Entry) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    /// All that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.0.iter()
    }

    /// Those with a number greater than this one.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.number > number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut history = History::default();
        for number in 0..100 {
            let (from, to) = (State::Down, State::Waiting);
            history.push(Entry { number, at: Tick(number), from, to, cause: String::new() });
        }
        assert_eq!(history.iter().count(), KEPT);
        assert_eq!(history.iter().next().unwrap().number, 36);
        assert_eq!(history.after(97).count(), 2);
    }
}
