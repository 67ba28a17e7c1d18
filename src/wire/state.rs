//! The state file, version 1: what a supervisor that was killed leaves to the next one. This text
//! is the reference.
//!
//! ```text
//! pisup-state 1 CHECKSUM BOOT_ID
//! at 81234
//! unit docker
//! want on
//! phase ready 7 80100
//! ...
//! ```
//!
//! Lines of words with a space between them, `\n` at the end of each. A text is one word: `\s` is
//! a space in it, `\n` a line end, `\\` a backslash, `\e` an empty text. `-` is no number. The
//! checksum is the CRC-32 of all that follows it, as eight digits of base 16. Instants are
//! milliseconds of CLOCK_BOOTTIME, so a file of another boot is refused.
//!
//! A line `unit NAME` begins a unit, a line `body RUN` in it what belongs to its run. Numbers of
//! units count these lines from 0. Every other line sets one thing, and is written by
//! [`State::render`] and read by [`State::parse`] in the same order. A line that nobody knows makes
//! the whole file nonsense: who adds one raises [`VERSION`].

mod read;
mod text;
mod write;

use core::fmt;

use crate::machine::view::State as Shown;
use crate::machine::{Exit, Memory, Run, Tick};

/// The version that this program writes.
pub const VERSION: u64 = 1;

/// Longest file that is looked at, in bytes: 256 units with all their values are not as long.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The file's name in the run directory.
pub const FILE_NAME: &str = "state";

/// The first word.
const MAGIC: &str = "pisup-state";

/// All that is left to the next supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The boot that all of it belongs to.
    pub boot_id: String,
    /// When it was written.
    pub at: Tick,
    /// Changes of state ever.
    pub changes: u64,
    /// What the machine knows.
    pub memory: Memory,
    /// What the shell knows, in the order of the machine's units.
    pub lives: Vec<Life>,
}

/// What the shell knows of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When its state changed last.
    pub since: Tick,
    /// Why.
    pub cause: String,
    /// Starts of its process.
    pub starts: u64,
    /// What its last start was made of; 0 if that is not known.
    pub made_of: u64,
    /// Failures ever.
    pub failures: u64,
    /// The last one.
    pub failure: String,
    /// How its last process ended.
    pub exit: Option<Exit>,
    /// Notes on it.
    pub notes: Vec<String>,
    /// Its last changes of state.
    pub changes: Vec<Change>,
    /// What an earlier supervisor left running, to be taken over when its turn comes.
    pub left: Option<Process>,
    /// What belongs to its run.
    pub body: Option<Body>,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: Tick,
    /// The state before.
    pub from: Shown,
    /// The state after.
    pub to: Shown,
    /// Why.
    pub cause: String,
}

/// What belongs to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The run.
    pub run: Run,
    /// The service's process.
    pub main: Option<Process>,
    /// The prepare step that runs, whether its failure is passed over, and its process.
    pub step: Option<(u8, bool, Process)>,
    /// The session of what was started last.
    pub session: Option<u32>,
    /// The first process of its container.
    pub container: Option<u32>,
    /// What the service says of itself.
    pub status_text: Option<String>,
    /// Until when a reload has to be over.
    pub reloads_until: Option<Tick>,
    /// What its readiness file was before it started; `None` when it has none.
    pub ready_file: Option<String>,
    /// It was told to end.
    pub is_asked: bool,
}

/// A process, for ever: no other one of this boot has both numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is something else.
    Foreign,
    /// A newer program wrote it.
    Newer(u64),
    /// It has bytes that were not written so.
    Torn,
    /// The machine was started anew since.
    OtherBoot,
    /// It has everything right but this line.
    Nonsense(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is not a state file of pisup"),
            Self::Newer(version) => {
                write!(
                    f,
                    "it has version {version}, and this pisup reads no later one than {VERSION}"
                )
            }
            Self::Torn => f.write_str("it is torn: its checksum is another one"),
            Self::OtherBoot => f.write_str("it is of an earlier boot"),
            Self::Nonsense(line) => write!(f, "its line {line} makes no sense"),
        }
    }
}

impl State {
    /// This state, if it is of that boot.
    pub fn of_boot(self, boot_id: &str) -> Result<Self, Refusal> {
        if self.boot_id == boot_id { Ok(self) } else { Err(Refusal::OtherBoot) }
    }
}

impl Body {
    /// A run of which nothing is known.
    #[must_use]
    pub const fn new(run: Run) -> Self {
        Self {
            run,
            main: None,
            step: None,
            session: None,
            container: None,
            status_text: None,
            reloads_until: None,
            ready_file: None,
            is_asked: false,
        }
    }
}

/// CRC-32 as zlib and Ethernet have it, without a table: a file is a few KB.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests;
