//! Every signal as something to read, for a process that none of them may end; and what to do
//! when the process itself is broken.
//!
//! All signals are blocked, so that no system call is interrupted and no handler runs at a bad
//! moment; the kernel keeps them until they are read. Those that tell of a broken program cannot
//! be blocked with effect: they have a handler, which counts. Somebody's `kill -SEGV` is one count
//! and forgotten at the next turn of the loop; a broken instruction is tried again and again, and
//! counts until there is no doubt.

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;

use super::foreign;

/// Signals that a broken instruction gives. (An abort ends with one of them, too.)
const FAULTS: [Signal; 6] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Counts within one turn of the loop that nobody's `kill` can reach: a second or two of nothing
/// but faults.
const BEYOND_DOUBT: u32 = 100_000;

static COUNT: AtomicU32 = AtomicU32::new(0);
static LAST_RESORT: OnceLock<fn()> = OnceLock::new();

/// The signals of this process.
#[derive(Debug)]
pub struct EverySignal(SignalFd);

impl EverySignal {
    /// Blocks all signals. `last_resort` is called, and should not come back, when the program is
    /// broken.
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub fn take(last_resort: fn()) -> Result<Self, Errno> {
        let _ = LAST_RESORT.set(last_resort);
        let mut mask = SigSet::all();
        for fault in FAULTS {
            mask.remove(fault);
            foreign::signal(fault as c_int, on_fault);
        }
        let errno = |errno: nix::errno::Errno| Errno::from_raw_os_error(errno as i32);
        mask.thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(errno)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&mask, flags).map(Self).map_err(errno)
    }

    /// The number of the next signal that has come; never waits.
    #[must_use]
    pub fn next(&self) -> Option<u32> {
        // The program goes on, so it is well.
        COUNT.store(0, Ordering::Relaxed);
        self.0.read_signal().ok().flatten().map(|found| found.ssi_signo)
    }
}

impl AsFd for EverySignal {
    /// Readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lets all signals through again, for a program that takes the place of this one.
pub fn release() {
    let _ = SigSet::empty().thread_set_mask();
}

/// Touches nothing but the counter, so it may interrupt anything.
extern "C" fn on_fault(_: c_int) {
    if COUNT.fetch_add(1, Ordering::Relaxed) >= BEYOND_DOUBT {
        COUNT.store(0, Ordering::Relaxed);
        if let Some(last_resort) = LAST_RESORT.get() {
            last_resort();
        }
    }
}
