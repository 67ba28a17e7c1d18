//! The machine as others see it: the nine states of the contract.

use core::fmt;

/// The state of a unit, as `status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing runs and nothing is wanted.
    Down,
    /// Wanted, and held by something.
    Waiting,
    /// A prepare step runs.
    Preparing,
    /// Its process runs and is not ready.
    Starting,
    /// Ready.
    Ready,
    /// A oneshot that ended well.
    Done,
    /// Told to end, or about to be.
    Stopping,
    /// Failed; tried again after a delay.
    Backoff,
    /// Failed for good.
    Failed,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Done => "done",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
