//! The link to the supervisor: what it deposits and says, what it is told, and whether it answers.

use std::os::fd::{AsFd, OwnedFd};

use pisup::sys::child::{self, KILL};
use pisup::sys::init_link::{Frame, Heard, Link, Name, PROGRAM, WATCHDOG};
use pisup::sys::poll::Interest;
use pisup::sys::spawn::Stdio;
use pisup::sys::{clock, watchdog};

use super::run::{BATCH, Init, LINK};

/// Pings that may stay unanswered.
pub const PINGS: u32 = 3;
/// What is added to the time that a shutdown was said to take.
const GRACE_MS: u64 = 15_000;

/// Whether it still turns its loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    pub(super) next: u64,
    number: u32,
    unanswered: u32,
}

/// A supervisor that was killed: when it has to be gone, and whether that has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doom {
    pub(super) by: u64,
    pub(super) is_past: bool,
}

/// The hardware watchdog's meals: how often, and when next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meals {
    every_ms: u64,
    pub(super) next: u64,
}

impl Init {
    pub(super) fn try_start(&mut self) -> Result<u32, pisup::sys::Errno> {
        let (link, far) = Link::pair()?;
        link.say(&Frame::Hello(self.is_pid_1), None)?;
        for (name, fd) in self.store.iter() {
            link.say(&Frame::Kept(name), Some(fd))?;
        }
        while let Some(frame) = self.exits.next() {
            if !link.say(&frame, None)? {
                break;
            }
            self.exits.told();
        }
        link.say(&Frame::Begin, None)?;
        self.poll.add(link.as_fd(), LINK, Interest::Read).map_err(|fault| fault.errno)?;
        self.link = Some(link);
        let stdio = Stdio { stdin: far.as_fd(), output: self.console.output() };
        match self.store.find(PROGRAM) {
            Some(file) => self.supervisor.start_file(stdio, file),
            None => self.supervisor.start(stdio),
        }
    }

    pub(super) fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            self.poll.remove(link.as_fd());
        }
        self.pulse = None;
        self.is_asked = false;
        self.exits.tell_again();
    }

    /// What the supervisor says.
    pub(super) fn hear(&mut self) {
        for _ in 0..BATCH {
            let Some(link) = &self.link else {
                return;
            };
            match link.hear() {
                Heard::Frame(frame, fd) => self.heed(frame, fd),
                Heard::Nonsense => {}
                Heard::Nothing => return,
                Heard::End => return self.drop_link(),
            }
        }
    }

    fn heed(&mut self, frame: Frame, fd: Option<OwnedFd>) {
        match (frame, fd) {
            (Frame::Keep(name), Some(fd)) => self.keep(name, fd),
            (Frame::Drop(name), None) => self.store.drop(name),
            (Frame::Pong(number), None) => {
                if let Some(pulse) = self.pulse.as_mut().filter(|pulse| pulse.number == number) {
                    pulse.unanswered = 0;
                }
            }
            (Frame::Watch, None) => {
                let next = clock::boottime().0 + self.ping_every_ms;
                self.pulse = Some(Pulse { next, number: 0, unanswered: 0 });
            }
            (Frame::Ending(ms), None) => {
                let by = clock::boottime().0 + u64::from(ms) + GRACE_MS;
                self.ending_by = Some(by);
            }
            (Frame::Next(power), None) if self.is_pid_1 => self.next = Some(power),
            (Frame::Ask, None) => self.is_asked = true,
            (Frame::Recorded(count), None) => self.exits.recorded(count),
            // Not for us, or from somebody who is confused.
            _ => {}
        }
    }

    fn keep(&mut self, name: Name, fd: OwnedFd) {
        if name.text() == WATCHDOG {
            let every_ms = watchdog::feed_every_ms(&fd);
            self.meals = Some(Meals { every_ms, next: clock::boottime().0 });
        }
        if !self.store.keep(name, fd) {
            self.say(format_args!("no room to keep {}", name.text()));
        }
    }

    /// Tells the supervisor who has died; what there is no room for waits until there is.
    pub(super) fn relay(&mut self) {
        let Some(link) = &self.link else {
            return;
        };
        let mut is_full = false;
        while let Some(frame) = self.exits.next() {
            match link.say(&frame, None) {
                Ok(true) => self.exits.told(),
                Ok(false) => {
                    is_full = true;
                    break;
                }
                Err(_) => return,
            }
        }
        if !is_full && self.is_asked && !self.has_more_dead {
            self.is_asked = !link.say(&Frame::Begin, None).unwrap_or(true);
        }
        let interest = if is_full { Interest::ReadWrite } else { Interest::Read };
        let _ = self.poll.modify(link.as_fd(), LINK, interest);
    }

    /// Kills the supervisor, which need not be its end: no signal reaches who waits for a device
    /// that does not answer, or is frozen.
    pub(super) fn kill_supervisor(&mut self, pid: u32, now: u64) {
        let _ = child::signal(None, pid, KILL);
        let by = now + self.ping_every_ms * u64::from(PINGS);
        self.doom = self.doom.or(Some(Doom { by, is_past: false }));
    }

    pub(super) fn look_at_doom(&mut self, now: u64) {
        let Some(doom) = self.doom.as_mut().filter(|doom| !doom.is_past && doom.by <= now) else {
            return;
        };
        doom.is_past = true;
        self.say(format_args!(
            "pisup supervise was killed and does not die: a watchdog is fed no more"
        ));
    }

    /// A supervisor that hangs is replaced, and fed for meanwhile: that costs no service anything.
    /// What the watchdog is for is that nobody comes here any more, and that a supervisor cannot be
    /// replaced, because it does not die.
    pub(super) fn feed_watchdog(&mut self, now: u64) {
        let Some(meals) = self.meals.as_mut().filter(|meals| meals.next <= now) else {
            return;
        };
        meals.next = now + meals.every_ms;
        if self.doom.is_some_and(|doom| doom.is_past) {
            return;
        }
        match self.store.watchdog() {
            Some(fd) => watchdog::feed(fd),
            None => self.meals = None,
        }
    }

    /// Finds out whether the supervisor's loop still turns. One that sleeps until something happens
    /// is seen to do so, and sleeps on; only one that looks otherwise is asked, and has to answer.
    pub(super) fn feel_pulse(&mut self, pid: u32, now: u64) {
        let Some(pulse) = self.pulse.as_mut().filter(|pulse| pulse.next <= now) else {
            return;
        };
        pulse.next = now + self.ping_every_ms;
        if child::sleeps_in_epoll(pid) {
            pulse.unanswered = 0;
            return;
        }
        if pulse.unanswered >= PINGS {
            self.pulse = None;
            self.say(format_args!("pisup supervise (pid {pid}) hangs: it is killed and replaced"));
            return self.kill_supervisor(pid, now);
        }
        pulse.unanswered += 1;
        pulse.number = pulse.number.wrapping_add(1);
        let ping = Frame::Ping(pulse.number);
        if let Some(link) = &self.link {
            let _ = link.say(&ping, None);
        }
    }
}
