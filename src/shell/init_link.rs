//! The supervisor's side of the link to pisup-init: what outlives this process, who died without
//! being our child, and what becomes of the machine.
//!
//! Without pisup-init all of this does nothing.

use std::collections::BTreeMap;

use super::Shell;
use super::token::Token;
use crate::machine::{Exit, UnitId};
use crate::sys::child;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::init_link::{Frame, Heard, Link, Name, Power};
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
    /// What comes after the shutdown.
    next: Option<Power>,
}

impl InitLink {
    /// The link that this process was started with, and what was left for it. Never waits: it is
    /// all there from the start.
    #[must_use]
    pub fn open() -> Self {
        let mut own = Self { link: Link::inherited(), ..Self::default() };
        for _ in 0..GREETING_MAX {
            match own.link.as_ref().map(Link::hear) {
                Some(Heard::Frame(Frame::Hello(is_pid_1), _)) => own.is_pid_1 = is_pid_1,
                Some(Heard::Frame(Frame::Kept(name), Some(fd))) => {
                    own.kept.insert(name.text().to_owned(), fd);
                }
                Some(Heard::Frame(Frame::Begin, _) | Heard::Nothing | Heard::End) | None => break,
                // Whose end it was is not known any more.
                Some(Heard::Frame(..) | Heard::Nonsense) => {}
            }
        }
        own
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

    /// Gives up what no unit has asked for: its unit is in the configuration no more.
    pub fn forget_unclaimed(&mut self) {
        for name in std::mem::take(&mut self.kept).into_keys() {
            self.forget(&name);
        }
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

    /// Asks for pings, which find out whether the loop still turns, or for none.
    pub fn ask_for_pings(&self, is_wanted: bool) {
        self.say(&Frame::Watch(is_wanted));
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

impl Shell {
    /// Deposits the listening sockets of a unit.
    pub(super) fn keep_sockets(&self, unit: UnitId) {
        let name = self.machine.name(unit);
        for (index, (socket, _)) in self.activation.sockets(unit).into_iter().enumerate() {
            self.init.keep(&socket_name(name, index), socket);
        }
    }

    /// Watches the link.
    pub(super) fn listen_to_init(&self) {
        if let Some(link) = &self.init.link
            && let Err(fault) = self.poll.add(link.as_fd(), Token::Init.to_number(), Interest::Read)
        {
            log::warn!("{fault}");
        }
    }

    /// Takes what init has said.
    pub(super) fn on_init(&mut self) {
        for _ in 0..FRAMES_MAX {
            match self.init.link.as_ref().map(Link::hear) {
                Some(Heard::Frame(Frame::Exit(pid, exit), _)) => self.orphan_died(pid, exit),
                Some(Heard::Frame(Frame::Ping(number), _)) => self.init.say(&Frame::Pong(number)),
                Some(Heard::Frame(Frame::Lost, _)) => self.look_for_adopted(),
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

    /// Whether init will tell how this unit's main process ended: it is its child, not ours.
    pub(super) fn is_for_init_to_tell(&self, unit: UnitId) -> bool {
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        self.init.link.is_some() && body.is_some_and(|body| body.is_adopted)
    }

    /// Finds adopted processes whose end nobody will tell any more.
    fn look_for_adopted(&mut self) {
        for index in 0..self.lives.len() {
            let body = self.lives.get(index).and_then(|live| live.body.as_ref());
            let gone = body.filter(|body| body.is_adopted).and_then(|body| {
                let (pid, _) = body.named.as_ref()?;
                let is_there = child::stat(*pid).is_some_and(|stat| !stat.is_zombie());
                (!is_there).then_some(body.run)
            });
            if let (Some(run), Ok(index)) = (gone, u16::try_from(index)) {
                self.named_died(UnitId(index), run, Exit::Unknown);
            }
        }
    }
}
