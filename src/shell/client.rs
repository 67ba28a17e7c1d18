//! One connection to the control socket: bytes in, bytes out, and what it is waiting for.

use std::collections::BTreeSet;

use crate::machine::graph::ids;
use crate::machine::{Tick, UnitId};
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::poll::Interest;
use crate::sys::stream::{self, Got};
use crate::wire::ctl::{FrameBuffer, REQUEST_BYTES_MAX, Reply};

/// Bytes read at one go; the rest is told again by epoll.
const READ_BYTES: usize = 16 * 1024;

/// Bytes that may wait for a client before a follower is given no more: it reads, or it waits.
const CROWDED_BYTES: usize = 64 * 1024;

/// Bytes that may wait for a client at all: the status of 256 units, four times over.
const OUT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a connection is waiting for.
#[derive(Debug)]
pub enum Asking {
    /// Its next request.
    Nothing,
    /// The end of a job.
    Job(Job),
    /// Lines and events, as they come.
    Follow(Follow),
}

/// What a job is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Up.
    Up {
        /// Starts that do not count; `None` if any start will do.
        starts: Option<u64>,
        /// Failures that do not count.
        failures: u64,
    },
    /// Down.
    Down,
    /// So many reloads have ended, and one more.
    Reloaded(u64),
}

/// A command whose end a client waits for.
#[derive(Debug)]
pub struct Job {
    /// What is still to be reached.
    pub goals: Vec<(UnitId, Goal)>,
    /// How units got on that have reached it, or never will.
    pub ended: Vec<String>,
    /// Whether one of them never will.
    pub has_failed: bool,
    /// The units whose changes are told meanwhile, with the last sentence.
    pub scope: Vec<(UnitId, String)>,
}

/// A view that goes on.
#[derive(Debug)]
pub struct Follow {
    /// Lines of output, or changes of state.
    pub what: Followed,
    /// Whether it ends when there is no more.
    pub goes_on: bool,
    /// It is given more as soon as it can take it.
    pub has_more: bool,
}

/// What is followed.
#[derive(Debug)]
pub enum Followed {
    /// The next line of each unit.
    Logs(Vec<(UnitId, u64)>),
    /// Changes with a greater number, of these units (all, if there are none).
    Events(u64, BTreeSet<UnitId>),
}

impl Asking {
    /// Calls units by their new ids: `kept` has them in the order of the old ones, `total` units
    /// are there now. What was asked of a unit that is known no more has an answer.
    pub fn renumber(
        &mut self,
        kept: &[Option<UnitId>],
        total: usize,
        old_name: impl Fn(UnitId) -> String,
    ) {
        let new_id = |old: UnitId| kept.get(old.index()).copied().flatten();
        match self {
            Self::Nothing => {}
            Self::Job(job) => {
                for (unit, goal) in std::mem::take(&mut job.goals) {
                    match (new_id(unit), goal) {
                        (Some(new), goal) => job.goals.push((new, goal)),
                        (None, Goal::Down) => job.ended.push(format!("{} is gone", old_name(unit))),
                        (None, Goal::Up { .. } | Goal::Reloaded(_)) => {
                            let name = old_name(unit);
                            job.has_failed = true;
                            job.ended.push(format!("{name} is in the configuration no more"));
                        }
                    }
                }
                let scope = std::mem::take(&mut job.scope).into_iter();
                job.scope = scope.filter_map(|(old, told)| Some((new_id(old)?, told))).collect();
            }
            Self::Follow(follow) => follow.renumber(kept, total),
        }
    }
}

impl Follow {
    fn renumber(&mut self, kept: &[Option<UnitId>], total: usize) {
        let new_id = |old: UnitId| kept.get(old.index()).copied().flatten();
        let has_units = match &mut self.what {
            Followed::Logs(cursors) => {
                let is_all = cursors.len() == kept.len();
                let old = std::mem::take(cursors).into_iter();
                cursors.extend(old.filter_map(|(old, cursor)| Some((new_id(old)?, cursor))));
                if is_all {
                    let is_new = |id: &UnitId| !kept.contains(&Some(*id));
                    cursors.extend(ids(total).filter(is_new).map(|id| (id, 0)));
                }
                !cursors.is_empty()
            }
            Followed::Events(after, units) => {
                let is_all = units.is_empty();
                *units = std::mem::take(units).into_iter().filter_map(new_id).collect();
                if !is_all && units.is_empty() {
                    // No units would stand for all of them.
                    *after = u64::MAX;
                }
                is_all || !units.is_empty()
            }
        };
        self.goes_on &= has_units;
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    input: FrameBuffer,
    out: Vec<u8>,
    /// What it waits for.
    pub asking: Asking,
    /// When it last said something.
    pub heard: Tick,
    /// It will not be heard any more, and is closed when all is said.
    pub is_leaving: bool,
    /// Whether it may do more than ask.
    pub may_act: bool,
}

/// What came of reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The connection stands.
    Up,
    /// It does not.
    Down,
}

impl Client {
    /// A connection that was just taken.
    #[must_use]
    pub fn new(socket: OwnedFd, may_act: bool, now: Tick) -> Self {
        Self {
            socket,
            input: FrameBuffer::new(REQUEST_BYTES_MAX),
            out: Vec::new(),
            asking: Asking::Nothing,
            heard: now,
            is_leaving: false,
            may_act,
        }
    }

    /// Takes some of what it said.
    pub fn read(&mut self, now: Tick) -> Link {
        let mut bytes = [0; READ_BYTES];
        match stream::read(&self.socket, &mut bytes) {
            Ok(Got::End) => self.is_leaving = true,
            Ok(Got::Bytes(count)) => {
                self.heard = now;
                self.input.feed(bytes.get(..count).unwrap_or_default());
            }
            Ok(Got::Later) => {}
            Err(_) => return Link::Down,
        }
        Link::Up
    }

    /// The next request, if it is done with the last one.
    pub fn next_line(&mut self) -> Option<Result<Vec<u8>, crate::wire::ctl::TooLong>> {
        match self.asking {
            Asking::Nothing => self.input.next_line(),
            Asking::Job(_) | Asking::Follow(_) => None,
        }
    }

    /// Says something, as soon as it listens.
    pub fn say(&mut self, reply: &Reply) -> Link {
        let line = reply.to_line();
        if self.out.len() + line.len() > OUT_BYTES_MAX {
            return Link::Down;
        }
        self.out.extend_from_slice(line.as_bytes());
        Link::Up
    }

    /// Whether so much waits for it that a follower can wait too.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.out.len() >= CROWDED_BYTES
    }

    /// Writes what it takes.
    pub fn write(&mut self) -> Link {
        while !self.out.is_empty() {
            match stream::send(&self.socket, &self.out) {
                Ok(0) => return Link::Up,
                Ok(count) => drop(self.out.drain(..count)),
                Err(_) => return Link::Down,
            }
        }
        let is_done = matches!(self.asking, Asking::Nothing) && self.is_leaving;
        if is_done { Link::Down } else { Link::Up }
    }

    /// What epoll has to tell of it.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let has_more = matches!(&self.asking, Asking::Follow(follow) if follow.has_more);
        let hears = matches!(self.asking, Asking::Nothing) && !self.is_leaving;
        match (hears, self.out.is_empty() && !has_more) {
            (true, true) => Interest::Read,
            (true, false) => Interest::ReadWrite,
            (false, true) => Interest::Nothing,
            (false, false) => Interest::Write,
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit 0 is gone, unit 1 has become 2, and 0 and 1 are new.
    const KEPT: [Option<UnitId>; 2] = [None, Some(UnitId(2))];
    const TOTAL: usize = 3;

    fn renumbered(mut asking: Asking) -> Asking {
        asking.renumber(&KEPT, TOTAL, |unit| format!("unit {}", unit.0));
        asking
    }

    fn follow(what: Followed) -> (Followed, bool) {
        match renumbered(Asking::Follow(Follow { what, goes_on: true, has_more: false })) {
            Asking::Follow(Follow { what, goes_on, .. }) => (what, goes_on),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_goes_on_with_what_is_left_of_it() {
        let up = Goal::Up { starts: None, failures: 0 };
        let job = Job {
            goals: vec![(UnitId(0), up), (UnitId(0), Goal::Down), (UnitId(1), Goal::Down)],
            ended: Vec::new(),
            has_failed: false,
            scope: vec![(UnitId(0), "a".to_owned()), (UnitId(1), "b".to_owned())],
        };
        let Asking::Job(job) = renumbered(Asking::Job(job)) else { panic!("no job any more") };
        assert_eq!(job.goals, [(UnitId(2), Goal::Down)]);
        assert_eq!(job.scope, [(UnitId(2), "b".to_owned())]);
        assert!(job.has_failed);
        assert_eq!(job.ended, ["unit 0 is in the configuration no more", "unit 0 is gone"]);
    }

    #[test]
    fn a_view_of_all_lines_gets_new_units_too_and_one_of_some_does_not() {
        let logs = |cursors| match follow(Followed::Logs(cursors)) {
            (Followed::Logs(cursors), goes_on) => (cursors, goes_on),
            other => panic!("{other:?}"),
        };
        let all = [(UnitId(2), 7), (UnitId(0), 0), (UnitId(1), 0)];
        assert_eq!(logs(vec![(UnitId(0), 5), (UnitId(1), 7)]), (all.to_vec(), true));
        assert_eq!(logs(vec![(UnitId(1), 7)]), (vec![(UnitId(2), 7)], true));
        assert_eq!(logs(vec![(UnitId(0), 5)]), (vec![], false));
    }

    #[test]
    fn a_view_of_events_ends_with_the_last_of_its_units() {
        let events = |units: &[u16]| {
            let units = units.iter().copied().map(UnitId).collect();
            match follow(Followed::Events(9, units)) {
                (Followed::Events(after, units), goes_on) => (after, units.len(), goes_on),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(events(&[]), (9, 0, true));
        assert_eq!(events(&[0, 1]), (9, 1, true));
        assert_eq!(events(&[0]), (u64::MAX, 0, false));
    }
}
