//! The supervisor's side of the link to pisup-init: what outlives this process, who died without
//! being our child, and what becomes of the machine.
//!
//! Without pisup-init all of this does nothing.

use std::collections::BTreeMap;

use super::Shell;
use super::children::Child;
use super::token::Token;
use crate::machine::{Exit, UnitId};
use crate::sys::Fault;
use crate::sys::child;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::init_link::{Frame, GUARD, Heard, LINK, LOCK, Link, Name, PROGRAM, Power};
use crate::sys::poll::Interest;

/// Frames taken in one turn; the rest is told again.
const FRAMES_MAX: usize = 64;

/// Frames that wait for a new supervisor, at most: a bound against a parent that is confused.
const GREETING_MAX: usize = 1024;

/// The link, and what came over it.
#[derive(Debug, Default)]
pub struct InitLink {
    link: Option<Link>,
    /// pisup-init is PID 1: the machine can be ended through it.
    is_pid_1: bool,
    /// What an earlier supervisor deposited and nobody has asked for yet.
    kept: BTreeMap<String, OwnedFd>,
    /// Who died while there was no supervisor, and how.
    exits: Vec<(u32, Exit)>,
    /// So many exits were told, and what came of them is not written down.
    unrecorded: u32,
    /// What comes after the shutdown.
    next: Option<Power>,
}

impl InitLink {
    /// The link that this process was started with, and what was left for it. Never waits: it is
    /// all there from the start.
    ///
    /// # Errors
    ///
    /// As for [`Link::inherited`]: whoever began without it would be deaf to what is kept there.
    pub fn open() -> Result<Self, Fault> {
        let mut own = Self { link: Link::inherited()?, ..Self::default() };
        let mut is_handed_over = false;
        for _ in 0..GREETING_MAX {
            match own.link.as_ref().map(Link::hear) {
                Some(Heard::Frame(Frame::Hello(is_pid_1), _)) => own.is_pid_1 = is_pid_1,
                Some(Heard::Frame(Frame::Kept(name), Some(fd))) => {
                    is_handed_over |= name.text() == GUARD || name.text() == LOCK;
                    own.kept.insert(name.text().to_owned(), fd);
                }
                Some(Heard::Frame(Frame::Exit(pid, exit), _)) => {
                    own.exits.push((pid, exit));
                    own.unrecorded += 1;
                }
                Some(Heard::Frame(Frame::Begin, _) | Heard::Nothing | Heard::End) | None => break,
                Some(Heard::Frame(..) | Heard::Nonsense) => {}
            }
        }
        if is_handed_over {
            // It was another program of this process that spoke, and it had a link of its own.
            own.link = own.kept.remove(LINK).map(Link::of);
        }
        Ok(own)
    }

    /// What an earlier supervisor deposited under a name.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.kept.remove(name)
    }

    /// Whether an earlier supervisor deposited something under a name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.kept.contains_key(name)
    }

    /// How a process ended while there was no supervisor, as far as that was told.
    #[must_use]
    pub fn exit_of(&self, pid: u32) -> Option<Exit> {
        self.exits.iter().rfind(|(dead, _)| *dead == pid).map(|(_, exit)| *exit)
    }

    /// All have been looked up.
    pub fn forget_exits(&mut self) {
        self.exits.clear();
    }

    /// Asks for the ends of all that have died by now; whether there is anybody to ask. `begin`
    /// follows when all is told.
    pub fn ask(&self) -> bool {
        self.say(&Frame::Ask);
        self.link.is_some()
    }

    /// What came of all that was told by now is written down.
    pub fn recorded(&mut self) {
        if let Some(link) = self.link.as_ref().filter(|_| self.unrecorded > 0)
            && link.say(&Frame::Recorded(self.unrecorded), None) == Ok(true)
        {
            self.unrecorded = 0;
        }
    }

    /// Gives up what no unit has asked for: its unit is in the configuration no more.
    pub fn forget_unclaimed(&mut self) {
        for name in std::mem::take(&mut self.kept).into_keys().filter(|name| name != PROGRAM) {
            self.forget(&name);
        }
    }

    /// The link itself, for a program in the place of this one.
    #[must_use]
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(Link::as_fd)
    }

    /// Whether pisup-init is PID 1.
    #[must_use]
    pub const fn is_pid_1(&self) -> bool {
        self.is_pid_1
    }

    /// Deposits a descriptor; without init, or without room there, it ends with this process.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        if let (Some(link), Some(name)) = (&self.link, Name::new(name))
            && !link.say(&Frame::Keep(name), Some(fd)).unwrap_or(false)
        {
            log::warn!("{} is not kept by pisup-init", name.text());
        }
    }

    /// Takes a deposit back.
    pub fn forget(&self, name: &str) {
        if let Some(name) = Name::new(name) {
            self.say(&Frame::Drop(name));
        }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.link.is_some()
    }

    /// Asks to be ended when the loop turns no more.
    fn ask_to_be_watched(&self) {
        self.say(&Frame::Watch);
    }

    /// An ordered shutdown has begun.
    pub fn ending(&self, within_ms: u64) {
        self.say(&Frame::Ending(u32::try_from(within_ms).unwrap_or(u32::MAX)));
    }

    /// Has the machine ended after the shutdown.
    ///
    /// # Errors
    ///
    /// A sentence, if pisup-init is not PID 1.
    pub fn wish(&mut self, next: Power) -> Result<(), String> {
        if self.link.is_none() || !self.is_pid_1 {
            return Err("pisup-init is not PID 1 here: use the machine's own poweroff or reboot, \
                        and pisup ctl shutdown to stop the units only"
                .to_owned());
        }
        self.next = Some(next);
        Ok(())
    }

    /// The last word: everything is down.
    pub fn say_goodbye(&self) {
        if let Some(next) = self.next {
            self.say(&Frame::Next(next));
        }
    }

    fn say(&self, frame: &Frame) {
        if let Some(link) = &self.link
            && !link.say(frame, None).unwrap_or(false)
        {
            log::warn!("pisup-init does not listen");
        }
    }
}

/// What a unit's listening socket is kept as.
pub(super) fn socket_name(unit: &str, index: usize) -> String {
    format!("socket/{unit}/{index}")
}

/// What a run's notify socket is kept as.
pub(super) fn notify_name(unit: &str) -> String {
    format!("notify/{unit}")
}

/// What the reading end of a run's readiness descriptor is kept as.
pub(super) fn ready_name(unit: &str) -> String {
    format!("ready/{unit}")
}

impl Shell {
    /// Deposits the listening sockets of a unit.
    pub(super) fn keep_sockets(&self, unit: UnitId) {
        let name = self.machine.name(unit);
        for (index, (socket, _)) in self.activation.sockets(unit).into_iter().enumerate() {
            self.init.keep(&socket_name(name, index), socket);
        }
    }

    /// Watches the link, and is watched: from here to the loop there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// It cannot be watched: nobody would hear how adopted processes end.
    pub(super) fn listen_to_init(&self) -> Result<(), Fault> {
        self.init.ask_to_be_watched();
        match &self.init.link {
            Some(link) => self.poll.add(link.as_fd(), Token::Init.to_number(), Interest::Read),
            None => Ok(()),
        }
    }

    /// Takes what init has said.
    pub(super) fn on_init(&mut self) {
        for _ in 0..FRAMES_MAX {
            match self.init.link.as_ref().map(Link::hear) {
                Some(Heard::Frame(Frame::Exit(pid, exit), _)) => {
                    self.init.unrecorded = self.init.unrecorded.saturating_add(1);
                    // A child of ours has that number by now, and we reap it ourselves.
                    if self.children.get(pid).is_none_or(|child| child.is_foreign) {
                        self.orphan_died(pid, exit);
                    }
                }
                Some(Heard::Frame(Frame::Ping(number), _)) => self.init.say(&Frame::Pong(number)),
                Some(Heard::Frame(Frame::Lost | Frame::Begin, _)) => self.look_for_adopted(),
                Some(Heard::End) => {
                    log::error!("pisup-init is gone");
                    if let Some(link) = self.init.link.take() {
                        self.poll.remove(link.as_fd());
                    }
                    return self.look_for_adopted();
                }
                Some(Heard::Frame(..) | Heard::Nonsense) => {}
                Some(Heard::Nothing) | None => return,
            }
        }
    }

    /// A process of an earlier supervisor has ended. Its pidfd tells no more than that.
    pub(super) fn on_foreign_end(&mut self, pid: u32) {
        // If it was left to us, reaping tells how it ended.
        self.on_child();
        let Some(child) = self.children.get(pid).filter(|child| child.is_foreign) else {
            return;
        };
        if self.init.link.is_none() {
            return self.dead(pid, Exit::Unknown);
        }
        // It is a zombie of init by now, and told of as soon as it is reaped.
        if let Some(pidfd) = &child.pidfd {
            self.poll.remove(pidfd.as_fd());
        }
    }

    /// Whether init will tell how a process of this unit ends: it is its child, not ours.
    pub(super) fn is_for_init_to_tell(&self, unit: UnitId) -> bool {
        let of_unit = |child: &Child| child.unit == unit && child.is_foreign;
        self.init.link.is_some() && self.children.iter().any(|(_, child)| of_unit(child))
    }

    /// Finds processes of an earlier supervisor whose end nobody will tell any more.
    pub(super) fn look_for_adopted(&mut self) {
        self.init_until = None;
        let is_gone = |pid: u32, child: &Child| {
            child.is_foreign
                && match child::stat(pid) {
                    Some(stat) => {
                        let is_other = ![0, stat.start_time].contains(&child.start_time);
                        stat.is_zombie() || is_other
                    }
                    None => !child::is_there(pid),
                }
        };
        let gone = self.children.iter().filter(|(pid, child)| is_gone(*pid, child));
        let gone: Vec<u32> = gone.map(|(pid, _)| pid).collect();
        for pid in gone {
            self.dead(pid, Exit::Unknown);
        }
    }
}
