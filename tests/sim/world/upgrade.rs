//! `pisup ctl upgrade`: a program that is tried, another one in the place of this one, and the
//! guard beside it.
//!
//! What is so here: the self-test is a child that ends well, badly, or never. All that is handed
//! over goes through a socket pair that is full now and then. Exec fails, or leaves the process
//! with its number, its children, the signals that were held back and one descriptor. The new
//! program supervises; or is killed at one of its first calls; or dies at once; or hangs. The guard
//! does what `helper/guard.rs` says, with a descriptor of the supervisor or without; and
//! pisup-init, an init above, or the guard itself begins again.
//!
//! What is not so: the guard's own code is not run here, nor is a second version of the state file.
//! A program that is executed is the same shell.

use std::collections::{BTreeMap, VecDeque};

use super::kernel::{Id, Thing};
use super::kind::Kind;
use super::procs::State;
use super::role::Role;
use super::{Event, Groups, World};
use crate::machine::Exit;
use crate::sys::Errno;
use crate::sys::init_link::{CLIENT, Frame, LINK, Name};
use crate::wire::ctl::{Done, Reply, Request, code};

/// Milliseconds that the guard gives the new program.
const PATIENCE_MS: u64 = 10_000;
/// Milliseconds that it waits for the end of the supervisor.
const DEATH_MS: u64 = 5_000;
/// Milliseconds after which somebody else ends a program that hangs.
const HANG_MS: u64 = 60_000;
/// Frames that a socket holds.
const FRAMES_MAX: usize = 250;

/// The end of a pair that is handed to another process.
const FAR: usize = 1;

/// Two ends of a socket: what each has not read yet, and whether it is open.
#[derive(Debug)]
pub struct Pair {
    inbox: [VecDeque<(Frame, Option<Id>)>; 2],
    is_open: [bool; 2],
}

/// What a socket has to say to who reads it.
#[derive(Debug)]
pub enum Word {
    Frame(Frame, Option<Id>),
    Nothing,
    End,
}

/// What the guard waits for.
#[derive(Debug)]
enum Waits {
    ForVerdict(u64),
    ForDeath(u64),
}

#[derive(Debug)]
struct Guard {
    pair: usize,
    /// Which process it watches over.
    process: u64,
    waits: Waits,
    handed: Vec<(Name, Id)>,
}

/// How the next supervisor comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Somebody starts a process.
    #[default]
    Started,
    /// Another program is executed in the same one.
    Replaced,
    /// The guard executes it.
    Guard(u64),
}

/// All that there is of upgrades.
#[derive(Debug, Default)]
pub struct Upgrades {
    /// There are some in this history.
    pub are_made: bool,
    /// An init that is not pisup-init starts the supervisor again.
    pub has_above: bool,
    pairs: Vec<Pair>,
    guards: BTreeMap<u64, Guard>,
    /// The socket that is the next program's standard input.
    pub inherited: Option<Id>,
    pub origin: Origin,
    /// Counts the processes that have been the supervisor.
    process: u64,
    /// Signals wait for the next program.
    pub holds_signals: bool,
    /// The supervisor's process was killed by the guard.
    is_killed: bool,
}

impl Upgrades {
    pub fn of(kind: Kind) -> Self {
        Self { are_made: kind.upgrades, has_above: kind.has_above, ..Self::default() }
    }
}

impl World {
    pub fn make_pair(&mut self) -> (Id, Id) {
        let inbox = [VecDeque::new(), VecDeque::new()];
        self.upgrades.pairs.push(Pair { inbox, is_open: [true; 2] });
        let pair = self.upgrades.pairs.len() - 1;
        (self.kernel.make(Thing::End(pair, 0)), self.kernel.make(Thing::End(pair, FAR)))
    }

    /// Something is said to the other end; whether there was room.
    pub fn say_to_other(
        &mut self,
        (pair, side): (usize, usize),
        frame: Frame,
        id: Option<Id>,
    ) -> Result<bool, Errno> {
        let each = &mut self.upgrades.pairs[pair];
        if !each.is_open[1 - side] {
            return Err(Errno::PIPE);
        }
        if each.inbox[1 - side].len() >= FRAMES_MAX {
            return Ok(false);
        }
        each.inbox[1 - side].push_back((frame, id));
        if let Some(id) = id {
            self.kernel.hold(id);
        }
        self.wake_guards();
        Ok(true)
    }

    /// Who takes a descriptor from it holds it.
    pub fn hear_other(&mut self, (pair, side): (usize, usize)) -> Word {
        let each = &mut self.upgrades.pairs[pair];
        match each.inbox[side].pop_front() {
            Some((frame, id)) => Word::Frame(frame, id),
            None if each.is_open[1 - side] => Word::Nothing,
            None => Word::End,
        }
    }

    /// Whether an end has something to read, and whether the other is closed.
    pub fn pair_readiness(&self, (pair, side): (usize, usize)) -> (bool, bool, bool) {
        let each = &self.upgrades.pairs[pair];
        let is_over = !each.is_open[1 - side];
        (is_over || !each.inbox[side].is_empty(), true, is_over)
    }

    /// An end of a pair is gone, with all that nobody has taken from it.
    pub fn pair_closed(&mut self, (pair, side): (usize, usize)) {
        self.upgrades.pairs[pair].is_open[side] = false;
        for (_, id) in std::mem::take(&mut self.upgrades.pairs[pair].inbox[side]) {
            if let Some(id) = id {
                self.let_go(id);
            }
        }
        self.wake_guards();
    }

    fn wake_guards(&mut self) {
        let guards: Vec<u64> = self.upgrades.guards.keys().copied().collect();
        for serial in guards {
            self.at(1, Event::Guard(serial));
        }
    }

    /// Somebody asks for another program.
    pub fn ask_for_upgrade(&mut self) {
        if self.upgrades.are_made {
            let kind = if self.rng.one_in(6) {
                super::client::Kind::Vanishes
            } else {
                super::client::Kind::Asks
            };
            self.connect(kind, Request::Upgrade { program: None }.to_line());
            self.counts.count("upgrade asked for");
        }
    }

    /// A program tests itself: what it cannot load it cannot run.
    pub fn test_itself(&mut self, serial: u64, after: u64, is_good: bool) {
        if self.graph.is_broken {
            self.counts.count("self-test: broken configuration");
            return self.at(after, Event::Die(serial, Exit::Code(1)));
        }
        if is_good {
            self.counts.count("self-test: good");
            return self.at(after, Event::Die(serial, Exit::Code(0)));
        }
        if self.rng.one_in(2) {
            // It comes to no end.
            return self.counts.count("self-test: hangs");
        }
        self.counts.count("self-test: bad");
        let exit = *self.rng.pick(&[Exit::Code(1), Exit::Code(2), Exit::Signal(11)]);
        self.at(after, Event::Die(serial, exit));
    }

    /// Another program in the place of the supervisor, with this as its standard input.
    pub fn replace_program(&mut self, link: usize) -> Result<(), Errno> {
        let link = self.id(link)?;
        if self.is_ending {
            self.fail("another program is executed in the middle of a shutdown".to_owned());
        }
        if !self.is_calm() && self.rng.one_in(6) {
            self.counts.count("exec in place fails");
            return Err(*self.rng.pick(&[Errno::NOENT, Errno::NOMEM, Errno::ACCESS]));
        }
        let is_lost = !self.upgrades.holds_signals && (self.signals.term || self.signals.hup);
        if is_lost {
            self.fail("a signal is lost between two programs".to_owned());
        }
        self.counts.count("exec in place");
        self.tell(|| "another program is in the place of the supervisor".to_owned());
        self.kernel.hold(link);
        self.upgrades.inherited = Some(link);
        self.upgrades.origin = Origin::Replaced;
        self.is_dead = true;
        Ok(())
    }

    /// The old program is gone, and the new one begins; whether it gets as far as that.
    pub fn begin_other_program(&mut self) -> bool {
        for fd in 0..self.kernel.fds.len() {
            self.close(fd);
        }
        self.upgrades.is_killed = false;
        // Without groups nobody finds what no file tells of, so there no supervisor is killed.
        let is_good = self.is_calm() || self.groups_are == Groups::None;
        let fate = if is_good { 0 } else { self.rng.below(10) };
        match fate {
            7 => {
                self.counts.count("new program killed at its beginning");
                self.crash_at = Some(self.counts.calls + 1 + self.rng.below(150));
                true
            }
            8 => {
                self.counts.count("new program dies at once");
                self.tell(|| "it dies at once".to_owned());
                let after = self.rng.below(300);
                self.pass(after);
                self.never_began()
            }
            9 => {
                self.counts.count("new program hangs");
                self.tell(|| "it hangs".to_owned());
                let until = self.now + HANG_MS;
                while !self.upgrades.is_killed && self.now < until && self.wrong.is_none() {
                    self.pass(50);
                }
                self.never_began()
            }
            _ => {
                let after = self.rng.below(200);
                self.pass(after);
                true
            }
        }
    }

    /// The process in which it was to be is gone.
    fn never_began(&mut self) -> bool {
        self.crash_at = None;
        self.upgrades.origin = Origin::Started;
        false
    }

    /// A process is the supervisor from now on; its number, and how it came to be that.
    pub fn become_supervisor(&mut self) -> Origin {
        let origin = std::mem::take(&mut self.upgrades.origin);
        if origin != Origin::Replaced {
            self.upgrades.process += 1;
            self.upgrades.holds_signals = false;
            self.signals = crate::sys::signals::Arrived::default();
        }
        match origin {
            Origin::Started => self.supervisor = self.new_pid(),
            Origin::Replaced => self.signals.child = false,
            Origin::Guard(serial) => {
                // Its children, if it had any, would stay its own.
                self.supervisor = match self.procs.remove(&serial) {
                    Some(guard) => {
                        self.pids.remove(&guard.pid);
                        guard.pid
                    }
                    // It was killed, and somebody begins with what it had.
                    None => self.new_pid(),
                };
            }
        }
        origin
    }

    /// What a program was to find, and nobody has taken.
    pub fn forget_inherited(&mut self) {
        if let Some(id) = self.upgrades.inherited.take() {
            self.let_go(id);
        }
        self.upgrades.holds_signals = false;
    }

    /// The guard begins: it takes all that is there.
    pub fn begin_guard(&mut self, serial: u64) {
        let Some(stdin) = self.procs.get(&serial).and_then(|each| each.stdin) else {
            return;
        };
        let Some(Thing::End(pair, _)) = self.kernel.get(stdin) else {
            return;
        };
        let pair = *pair;
        let mut handed = Vec::new();
        loop {
            match self.hear_other((pair, FAR)) {
                Word::Frame(Frame::Kept(name), Some(id)) => handed.push((name, id)),
                Word::Frame(Frame::Begin, _) | Word::Nothing | Word::End => break,
                Word::Frame(..) => {}
            }
        }
        if let Some(each) = self.procs.get_mut(&serial) {
            each.holds.extend(handed.iter().map(|(_, id)| *id));
        }
        let waits = Waits::ForVerdict(self.now + PATIENCE_MS);
        let process = self.upgrades.process;
        self.upgrades.guards.insert(serial, Guard { pair, process, waits, handed });
        self.at(PATIENCE_MS, Event::Guard(serial));
        self.at(0, Event::Guard(serial));
    }

    /// Whether the process is still there that a guard watches over.
    fn is_there(&self, guard: &Guard) -> bool {
        self.upgrades.process == guard.process && self.supervisor != 0
    }

    /// The guard does what it can do now.
    pub fn guard_goes_on(&mut self, serial: u64) {
        let Some(guard) = self.upgrades.guards.remove(&serial) else {
            return;
        };
        if self.procs.get(&serial).is_none_or(|each| each.state != State::Live) {
            return;
        }
        match guard.waits {
            Waits::ForVerdict(until) => match self.hear_other((guard.pair, FAR)) {
                Word::Frame(Frame::Begin, _) => self.die(serial, Exit::Code(0)),
                Word::Frame(_, id) => {
                    if let Some(id) = id {
                        self.let_go(id);
                    }
                    self.upgrades.guards.insert(serial, guard);
                    self.at(1, Event::Guard(serial));
                }
                Word::End => self.guard_acts(serial, guard),
                Word::Nothing if self.now >= until => self.guard_acts(serial, guard),
                Word::Nothing => {
                    self.upgrades.guards.insert(serial, guard);
                }
            },
            Waits::ForDeath(until) if self.is_there(&guard) && self.now < until => {
                self.upgrades.guards.insert(serial, guard);
                self.at(10, Event::Guard(serial));
            }
            Waits::ForDeath(_) => self.guard_ends(serial, &guard),
        }
    }

    fn guard_acts(&mut self, serial: u64, mut guard: Guard) {
        if self.is_there(&guard) {
            self.counts.count("guard kills the supervisor");
            self.tell(|| "the guard kills the supervisor".to_owned());
            self.upgrades.is_killed = true;
            self.crash_at = Some(0);
        }
        guard.waits = Waits::ForDeath(self.now + DEATH_MS);
        self.upgrades.guards.insert(serial, guard);
        self.at(1, Event::Guard(serial));
    }

    /// The new program does not supervise, and its process is gone.
    fn guard_ends(&mut self, serial: u64, guard: &Guard) {
        if self.is_there(guard) {
            return self.fail("a guard goes on beside a supervisor that lives".to_owned());
        }
        let find = |name: &str| guard.handed.iter().find(|(own, _)| own.text() == name);
        let is_linked = find(LINK).is_some();
        if let Some((_, id)) = find(CLIENT)
            && let Some(Thing::Stream(conn)) = self.kernel.get(*id)
        {
            let message = "the old program goes on".to_owned();
            let line = Reply::Done(Done { code: code::FAILED, message }).to_line();
            let _ = self.send(*conn, line.as_bytes());
        }
        if is_linked || self.upgrades.has_above {
            return self.die(serial, Exit::Code(1));
        }
        self.counts.count("guard supervises");
        self.tell(|| "the guard is the supervisor from now on".to_owned());
        let (near, far) = self.make_pair();
        self.kernel.hold(near);
        self.kernel.hold(far);
        let near_end = (self.upgrades.pairs.len() - 1, 0);
        let _ = self.say_to_other(near_end, Frame::Hello(false), None);
        for (name, id) in guard.handed.iter().filter(|(name, _)| name.text() != CLIENT) {
            let _ = self.say_to_other(near_end, Frame::Kept(*name), Some(*id));
        }
        let _ = self.say_to_other(near_end, Frame::Begin, None);
        let holds = self.procs.get_mut(&serial).map(|each| std::mem::take(&mut each.holds));
        for id in holds.into_iter().flatten().chain([near]) {
            self.let_go(id);
        }
        self.upgrades.inherited = Some(far);
        self.upgrades.origin = Origin::Guard(serial);
    }

    /// Where nobody else starts a supervisor again, a guard does: whether it has.
    pub fn await_guard(&mut self) -> bool {
        let until = self.now + HANG_MS;
        let is_awaited = !self.init.is_there && !self.upgrades.has_above;
        while is_awaited && self.upgrades.origin == Origin::Started && self.now < until {
            let is_one = |p: &super::procs::Proc| p.role == Role::Guard && !p.is_dead();
            if !self.procs.values().any(is_one) || self.wrong.is_some() {
                return false;
            }
            self.pass(10);
        }
        self.upgrades.origin != Origin::Started
    }
}
