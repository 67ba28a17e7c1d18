//! A file in RAM that the kernel fills from a pipe: what has left the pipe is in the file, at
//! every instant at which this process may be killed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread, pwrite};
use rustix::pipe::{SpliceFlags, splice};

use super::Fault;
use super::stream::Got;

/// The file, and how much is in it.
#[derive(Debug)]
pub struct Segment {
    file: OwnedFd,
    len: u64,
}

impl Segment {
    /// Opens or makes a regular file, mode 0600; a link in its place is refused.
    ///
    /// # Errors
    ///
    /// There is no room, or something else has the name.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let fault = Fault::of("opening", path.display());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::from_raw_mode(0o600)).map_err(&fault)?;
        let stat = fstat(&file).map_err(&fault)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(fault(Errno::INVAL));
        }
        Ok(Self { file, len: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    /// Bytes in it.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves what is in a pipe, at most what `buffer` holds, behind what is in the file, and shows
    /// it in `buffer`.
    ///
    /// # Errors
    ///
    /// There is no room; it is in the pipe still.
    pub fn take(&mut self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<Got, Errno> {
        let (mut end, flags) = (self.len, SpliceFlags::NONBLOCK);
        let moved = splice(pipe, None, &self.file, Some(&mut end), buffer.len(), flags);
        let count = match moved {
            Ok(0) => return Ok(Got::End),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Got::Later),
            Err(errno) => return Err(errno),
        };
        let start = self.len;
        self.len = start.saturating_add(count as u64);
        self.read(start, buffer.get_mut(..count).unwrap_or_default())?;
        Ok(Got::Bytes(count))
    }

    /// Adds bytes to its end.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let count = pwrite(&self.file, bytes, self.len)?;
        self.len = self.len.saturating_add(count as u64);
        Ok(())
    }

    /// Fills `buffer` with what stands in the file from byte `at` on.
    ///
    /// # Errors
    ///
    /// There is less in it.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match pread(&self.file, rest, at.saturating_add(filled as u64)) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
