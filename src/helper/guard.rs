//! `pisup upgrade-guard`: what is left of the old program while a new one takes its place.
//!
//! The supervisor executes the new program in its own process, so that its children stay its
//! children; no process can watch itself do that. This one, the old program, has copies of all
//! descriptors that were handed over. If the new program does not say within ten seconds that it
//! supervises, it is killed: it would hang, and nobody would know. Where no init starts the
//! supervisor again (pisup-init does so with the old program, which it keeps), this process becomes
//! the supervisor. Services notice nothing of all that.

use std::ffi::OsString;

use super::{Failure, end, texts};
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::init_link::{CLIENT, Frame, Heard, LINK, Link, Name};
use crate::sys::poll::{Interest, Poll};
use crate::sys::{Fault, child, clock, own, program, stream};
use crate::wire::ctl::{Done, Reply, code};

/// Milliseconds that the new program has.
const PATIENCE_MS: u64 = 10_000;

/// Milliseconds that a killed process may take to vanish.
const DEATH_MS: u64 = 5_000;

/// Descriptors that are handed over, at most.
const HANDED_MAX: usize = 1024;

/// `pisup upgrade-guard PID NEW-PROGRAM ARGUMENTS OF pisup`.
#[must_use]
pub fn main(args: Vec<OsString>) -> u8 {
    end(guard(args))
}

fn guard(args: Vec<OsString>) -> Result<String, Failure> {
    let args = texts(args)?;
    let usage = || Failure::Usage("this is a part of pisup ctl upgrade".to_owned());
    let [pid, new, words @ ..] = args.as_slice() else {
        return Err(usage());
    };
    let pid: u32 = pid.parse().map_err(|_| usage())?;
    // That number means the supervisor as long as that is the parent.
    let supervisor = child::pidfd(pid).filter(|_| own::parent() == pid);
    let link = Link::inherited().map_err(Failure::failed)?.ok_or_else(usage)?;
    let handed = Handed::take(&link);
    if verdict(&link).map_err(Failure::failed)? == Verdict::Good {
        return Ok(format!("{new} supervises"));
    }
    // Also one that seems to be dead: it may be the old program, which could not be replaced and
    // had no room to say so, and two must not supervise.
    if supervisor.is_some() || own::parent() == pid {
        let _ = child::signal(supervisor.as_ref(), pid, child::KILL);
    }
    if let Some(supervisor) = &supervisor {
        await_end(supervisor).map_err(Failure::failed)?;
    }
    handed.tell_client(&format!("{new} was not ready within 10s: the old program goes on"));
    let is_started_again =
        handed.find(LINK).is_some() || std::env::var_os("NOTIFY_SOCKET").is_some();
    if is_started_again {
        return Err(Failure::Failed(format!("{new} does not supervise; it is killed")));
    }
    Err(Failure::failed(handed.supervise(words)))
}

/// All that the old supervisor had.
struct Handed {
    is_pid_1: bool,
    fds: Vec<(Name, OwnedFd)>,
}

impl Handed {
    fn take(link: &Link) -> Self {
        let mut own = Self { is_pid_1: false, fds: Vec::new() };
        for _ in 0..HANDED_MAX {
            match link.hear() {
                Heard::Frame(Frame::Hello(is_pid_1), _) => own.is_pid_1 = is_pid_1,
                Heard::Frame(Frame::Kept(name), Some(fd)) => own.fds.push((name, fd)),
                Heard::Frame(Frame::Begin, _) | Heard::Nothing | Heard::End => break,
                Heard::Frame(..) | Heard::Nonsense => {}
            }
        }
        own
    }

    fn find(&self, name: &str) -> Option<BorrowedFd<'_>> {
        let own = self.fds.iter().find(|(own, _)| own.text() == name);
        own.map(|(_, fd)| fd.as_fd())
    }

    /// Whoever asked for the upgrade still waits.
    fn tell_client(&self, message: &str) {
        if let Some(client) = self.find(CLIENT) {
            let done = Done { code: code::FAILED, message: message.to_owned() };
            let _ = stream::send(client, Reply::Done(done).to_line().as_bytes());
        }
    }

    /// Becomes the supervisor; comes back only if that fails.
    fn supervise(&self, words: &[String]) -> Fault {
        let fault = Fault::of("handing over", "descriptors");
        let greeted = Link::pair().and_then(|(near, far)| {
            near.say(&Frame::Hello(self.is_pid_1), None)?;
            for (name, fd) in self.fds.iter().filter(|(name, _)| name.text() != CLIENT) {
                near.say(&Frame::Kept(*name), Some(fd.as_fd()))?;
            }
            near.say(&Frame::Begin, None)?;
            Ok(far)
        });
        match greeted {
            Ok(far) => program::replace(&own::program(), words, &far),
            Err(errno) => fault(errno),
        }
    }
}

/// What became of the new program.
#[derive(PartialEq, Eq)]
enum Verdict {
    Good,
    /// Nobody is at the other end.
    Gone,
    Late,
}

fn verdict(link: &Link) -> Result<Verdict, Fault> {
    let mut poll = Poll::new()?;
    poll.add(link.as_fd(), 0, Interest::Read)?;
    let until = clock::boottime().after(PATIENCE_MS);
    let mut ready = Vec::new();
    loop {
        let left = until.since(clock::boottime());
        if left == 0 {
            return Ok(Verdict::Late);
        }
        poll.wait(Some(left), &mut ready)?;
        match link.hear() {
            Heard::Frame(Frame::Begin, _) => return Ok(Verdict::Good),
            Heard::End => return Ok(Verdict::Gone),
            Heard::Frame(..) | Heard::Nonsense | Heard::Nothing => {}
        }
    }
}

/// Nobody may be started in the place of one who still lives.
fn await_end(process: &OwnedFd) -> Result<(), Fault> {
    let mut poll = Poll::new()?;
    poll.add(process.as_fd(), 0, Interest::Read)?;
    let mut ready = Vec::new();
    poll.wait(Some(DEATH_MS), &mut ready)
}
