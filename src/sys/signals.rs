//! Signals that reach the supervisor, as something to wait for.
//!
//! A handler only raises a flag and writes a byte; the loop finds both when it gets there. Nothing
//! is blocked in the mask, so children have nothing to inherit but handlers, which exec clears.
//! For the moment in which another program takes the place of this one all of them are blocked:
//! between the handlers of the two a TERM would end the process, and before that be forgotten.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::SigSet;
use rustix::io::read;
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::SigId;
use signal_hook::consts::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::{flag, low_level};

/// Signals that would end the supervisor and mean nothing to it. (A log file at its size limit
/// gives SIGXFSZ; the failed write says it as well.)
const IGNORED: [i32; 2] = [SIGALRM, SIGXFSZ];

/// What has come since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// SIGTERM.
    pub term: bool,
    /// SIGINT.
    pub int: bool,
    /// SIGHUP.
    pub hup: bool,
    /// SIGUSR1.
    pub usr1: bool,
    /// SIGUSR2.
    pub usr2: bool,
    /// SIGCHLD: one or many children have died; reap until nobody is left.
    pub child: bool,
}

/// The signals of this process. After it is dropped they are still caught, and lost.
#[derive(Debug)]
pub struct Signals {
    pipe: OwnedFd,
    flags: [(i32, Arc<AtomicBool>); 6],
    registered: Vec<SigId>,
}

impl Signals {
    /// Catches TERM, INT, HUP, USR1, USR2 and CHLD; ALRM and XFSZ have no effect any more. (A Rust
    /// program ignores SIGPIPE from its start.)
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub fn install() -> io::Result<Self> {
        let (pipe, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let flags = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD];
        let flags = flags.map(|signal| (signal, Arc::default()));
        let mut signals = Self { pipe, flags, registered: Vec::new() };
        for (signal, is_raised) in &signals.flags {
            // The flag first: who is woken by the byte is to find it raised.
            signals.registered.push(flag::register(*signal, Arc::clone(is_raised))?);
            signals.registered.push(low_level::pipe::register(*signal, write.try_clone()?)?);
        }
        // A parent that has blocked some would have us wait for them for ever.
        SigSet::empty().thread_set_mask()?;
        for signal in IGNORED {
            signals.registered.push(flag::register(signal, Arc::default())?);
        }
        Ok(signals)
    }

    /// From now on what comes waits, for [`Signals::let_in`] or for the next program's
    /// [`Signals::install`].
    pub fn hold_back(&self) {
        // Where the kernel refuses, it is as it was.
        let _ = SigSet::all().thread_block();
    }

    /// Ends that.
    pub fn let_in(&self) {
        let _ = SigSet::empty().thread_set_mask();
    }

    /// Takes what has arrived; never blocks, and misses nothing that comes meanwhile.
    #[must_use]
    pub fn take(&self) -> Arrived {
        let mut bytes = [0; 64];
        while read(&self.pipe, &mut bytes).is_ok_and(|count| count == bytes.len()) {}
        let taken = |wanted| {
            let entry = self.flags.iter().find(|(signal, _)| *signal == wanted);
            entry.is_some_and(|(_, is_raised)| is_raised.swap(false, Ordering::SeqCst))
        };
        Arrived {
            term: taken(SIGTERM),
            int: taken(SIGINT),
            hup: taken(SIGHUP),
            usr1: taken(SIGUSR1),
            usr2: taken(SIGUSR2),
            child: taken(SIGCHLD),
        }
    }
}

impl AsFd for Signals {
    /// Readable when something has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, for all tests of a program share its signals.
    #[test]
    fn signals_arrive_once_and_together_and_a_flood_does_not_block() {
        SigSet::all().thread_block().unwrap();
        let signals = Signals::install().unwrap();
        let take = || Arrived { child: false, ..signals.take() };
        assert_eq!(take(), Arrived::default());
        for signal in [SIGTERM, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ, SIGALRM] {
            low_level::raise(signal).unwrap();
        }
        let (term, hup, usr1, usr2) = (true, true, true, true);
        assert_eq!(take(), Arrived { term, hup, usr1, usr2, ..Arrived::default() });
        assert_eq!(take(), Arrived::default());
        // More than the pipe holds.
        for _ in 0..100_000 {
            low_level::raise(SIGINT).unwrap();
        }
        assert_eq!(take(), Arrived { int: true, ..Arrived::default() });
        low_level::raise(SIGCHLD).unwrap();
        assert!(signals.take().child);
        // What is held back is not lost.
        signals.hold_back();
        low_level::raise(SIGTERM).unwrap();
        assert_eq!(take(), Arrived::default());
        signals.let_in();
        assert_eq!(take(), Arrived { term, ..Arrived::default() });
    }
}
