//! What goes on: lines of output and changes of state, told in order, as fast as a client reads.

use std::collections::BTreeSet;

use super::Shell;
use super::capture::Capture;
use super::client::{Asking, Client, Follow, Followed};
use super::ring::Ring;
use crate::machine::UnitId;
use crate::sys::clock::Wall;
use crate::wire::ctl::{EventDoc, LogDoc, Reply, code};

/// Lines of one batch, and batches told to one client in one turn: however fast it reads, others
/// are heard.
const LINES_MAX: usize = 256;
const BATCHES_MAX: usize = 4;

impl Shell {
    pub(super) fn answer_logs(&mut self, id: u32, names: &[String], n: Option<u32>, goes_on: bool) {
        let units = match self.units_of(names) {
            Ok(units) if units.is_empty() => {
                self.machine.units().map(|(unit, _, _)| unit).collect()
            }
            Ok(units) => units,
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let cursors = self.log_cursors(&units, n);
        let what = Followed::Logs(cursors);
        self.advance_follow(id, Follow { what, goes_on, has_more: true });
    }

    /// Where each unit's lines begin, if only the last `n` of all are to be told.
    fn log_cursors(&self, units: &[UnitId], n: Option<u32>) -> Vec<(UnitId, u64)> {
        let Some(n) = n else {
            return units.iter().map(|unit| (*unit, 0)).collect();
        };
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        // A unit that has not started yet has no ring, and will be told from its first line on.
        let ring = |unit: &UnitId| {
            self.lives.get(unit.index()).and_then(|live| live.capture.as_ref()).map(Capture::ring)
        };
        let mut stamps = Vec::new();
        for (unit, ring) in units.iter().filter_map(|unit| Some((unit, ring(unit)?))) {
            stamps.extend(ring.tail(n).into_iter().map(|line| (line.at, *unit, line.seq)));
        }
        stamps.sort_unstable();
        let told = stamps.split_off(stamps.len().saturating_sub(n));
        let first = |unit: UnitId| told.iter().find(|(_, other, _)| *other == unit);
        let cursor = |unit: &UnitId| match first(*unit) {
            Some((_, _, seq)) => *seq,
            None => ring(unit).map_or(0, Ring::next),
        };
        units.iter().map(|unit| (*unit, cursor(unit))).collect()
    }

    pub(super) fn answer_events(
        &mut self,
        id: u32,
        names: &[String],
        n: Option<u32>,
        goes_on: bool,
    ) {
        let units: BTreeSet<UnitId> = match self.units_of(names) {
            Ok(units) => units.into_iter().collect(),
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let after = n.map_or(0, |n| {
            let mut numbers: Vec<u64> =
                self.events_after(0, &units).map(|(_, e)| e.number).collect();
            numbers.sort_unstable();
            let skipped = numbers.len().saturating_sub(usize::try_from(n).unwrap_or(usize::MAX));
            numbers.get(skipped).map_or(self.changes, |first| first.saturating_sub(1))
        });
        let what = Followed::Events(after, units);
        self.advance_follow(id, Follow { what, goes_on, has_more: true });
    }

    fn events_after<'a>(
        &'a self,
        number: u64,
        units: &'a BTreeSet<UnitId>,
    ) -> impl Iterator<Item = (UnitId, &'a super::history::Entry)> {
        let wanted = move |unit: &UnitId| units.is_empty() || units.contains(unit);
        self.machine.units().map(|(unit, _, _)| unit).filter(wanted).flat_map(move |unit| {
            let live = self.lives.get(unit.index());
            live.into_iter()
                .flat_map(move |live| live.history.after(number))
                .map(move |e| (unit, e))
        })
    }

    /// Tells a client what is new, as long as it reads.
    pub(super) fn advance_follow(&mut self, id: u32, mut follow: Follow) {
        let mut has_more = true;
        for _ in 0..BATCHES_MAX {
            if !has_more || self.clients.get(&id).is_none_or(Client::is_crowded) {
                break;
            }
            let (replies, rest) = match &mut follow.what {
                Followed::Logs(cursors) => self.next_lines(cursors),
                Followed::Events(after, units) => self.next_events(after, units),
            };
            has_more = rest;
            for reply in replies {
                self.reply(id, &reply);
            }
            self.flush_client(id);
        }
        if !has_more && !follow.goes_on {
            return self.done(id, code::DONE, String::new());
        }
        follow.has_more = has_more;
        if let Some(client) = self.clients.get_mut(&id) {
            client.asking = Asking::Follow(follow);
        }
    }

    /// The next lines of all units, in order of time; whether there are more.
    fn next_lines(&self, cursors: &mut [(UnitId, u64)]) -> (Vec<Reply>, bool) {
        let wall = Wall::now();
        let mut replies = Vec::new();
        while replies.len() < LINES_MAX {
            let lines = cursors.iter().enumerate().filter_map(|(index, (unit, cursor))| {
                let capture = self.lives.get(unit.index())?.capture.as_ref()?;
                Some((index, *unit, capture.ring().get(*cursor)?))
            });
            let Some((index, unit, line)) = lines.min_by_key(|(_, _, line)| line.at) else {
                return (replies, false);
            };
            replies.push(Reply::Log(LogDoc {
                at_ms: line.at.0,
                wall: wall.at(line.at, self.now).to_string(),
                unit: self.machine.name(unit).to_owned(),
                line: line.text,
            }));
            if let Some((_, cursor)) = cursors.get_mut(index) {
                *cursor = line.seq + 1;
            }
        }
        (replies, true)
    }

    fn next_events(&self, after: &mut u64, units: &BTreeSet<UnitId>) -> (Vec<Reply>, bool) {
        let wall = Wall::now();
        let mut entries: Vec<_> = self.events_after(*after, units).collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.number);
        let has_more = entries.len() > LINES_MAX;
        entries.truncate(LINES_MAX);
        if let Some((_, last)) = entries.last() {
            *after = last.number;
        }
        let told = entries.into_iter().map(|(unit, entry)| {
            Reply::Event(EventDoc {
                at_ms: entry.at.0,
                wall: wall.at(entry.at, self.now).to_string(),
                unit: self.machine.name(unit).to_owned(),
                from: entry.from.word().to_owned(),
                to: entry.to.word().to_owned(),
                cause: entry.cause.clone(),
            })
        });
        (told.collect(), has_more)
    }
}
