//! The files that are written, and what stands in their place.

use std::path::{Path, PathBuf};

use crate::config::Source;
use crate::sys::config_dir::MAX_CONFIG_BYTES;
use crate::sys::files::{self, Durable, Found};
use crate::sys::{Errno, Fault};

const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// A file to be.
pub(super) struct Target {
    /// Where.
    pub(super) path: PathBuf,
    /// What is to be in it.
    pub(super) text: String,
}

/// What stands in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Absent,
    /// The same already.
    Same,
    /// Something else.
    Differs,
}

impl State {
    /// What was done about it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Absent => "new",
            Self::Same => "same",
            Self::Differs => "over",
        }
    }
}

impl From<Source> for Target {
    fn from(Source { path, text }: Source) -> Self {
        Self { path, text }
    }
}

impl Target {
    /// Writes it and makes the folders on the way.
    pub(super) fn write(&self) -> Result<(), Fault> {
        if let Some(folder) = self.path.parent() {
            make(folder)?;
        }
        files::write_atomic(&self.path, self.text.as_bytes(), FILE_MODE, Durable::Yes)?;
        files::set_mode(&self.path, FILE_MODE)
    }

    fn state(&self) -> Result<State, Fault> {
        match files::read_bytes(&self.path, MAX_CONFIG_BYTES) {
            Ok(bytes) if bytes == self.text.as_bytes() => Ok(State::Same),
            Ok(_) => Ok(State::Differs),
            Err(fault) if fault.errno == Errno::NOENT => Ok(State::Absent),
            Err(fault) if fault.errno == Errno::FBIG => Ok(State::Differs),
            Err(fault) => Err(fault),
        }
    }
}

/// What stands in the place of each.
pub(super) fn compare(targets: &[Target]) -> Result<Vec<State>, Fault> {
    targets.iter().map(Target::state).collect()
}

/// Makes a folder and those above it; what is there keeps its mode.
fn make(folder: &Path) -> Result<(), Fault> {
    let above = folder.ancestors().take_while(|path| files::look(path) == Found::Nothing);
    let made: Vec<&Path> = above.filter(|path| !path.as_os_str().is_empty()).collect();
    files::make_dir(folder)?;
    made.into_iter().try_for_each(|path| files::set_mode(path, DIRECTORY_MODE))
}
