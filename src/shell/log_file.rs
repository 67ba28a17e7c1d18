//! A unit's output in a file on disk: for those who asked for it, and never at the cost of the
//! unit.
//!
//! What cannot be written is gone from the file (the ring has it) and told once; the next attempt
//! comes a little later. Nothing is synced: a power cut may take the last seconds, an SD card
//! lives longer.

use std::path::{Path, PathBuf};

use crate::config::plan::LogSpec;
use crate::machine::Tick;
use crate::sys::files::{self, AppendFile};
use crate::sys::{Errno, Fault};

/// Milliseconds between two attempts at a file that fails.
const RETRY_MS: u64 = 5_000;

/// A file that is rotated when it has grown.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    rotate_bytes: u64,
    rotate_keep: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not opened yet.
    Closed,
    Open {
        file: AppendFile,
        size_bytes: u64,
    },
    /// It failed, and that was told.
    Failing {
        retry_at: Tick,
        lost_bytes: u64,
    },
}

impl LogFile {
    /// The file that the unit asks for, if it does; it is opened with the first output.
    #[must_use]
    pub fn of(spec: &LogSpec) -> Option<Self> {
        Some(Self {
            path: spec.file.clone()?,
            rotate_bytes: spec.rotate_bytes,
            rotate_keep: spec.rotate_keep,
            state: State::Closed,
        })
    }

    /// Adds whole lines; a sentence when the file begins to fail or works again.
    pub fn write(&mut self, bytes: &[u8], now: Tick) -> Option<String> {
        let count = bytes.len() as u64;
        let lost_before = match &mut self.state {
            State::Failing { retry_at, lost_bytes } if now < *retry_at => {
                *lost_bytes = lost_bytes.saturating_add(count);
                return None;
            }
            State::Failing { lost_bytes, .. } => Some(*lost_bytes),
            State::Closed | State::Open { .. } => None,
        };
        match (self.try_write(bytes), lost_before) {
            (Ok(()), None) => None,
            (Ok(()), Some(lost)) => {
                let path = self.path.display();
                Some(format!("writing {path} works again; {lost} bytes of output are not in it"))
            }
            (Err((fault, lost)), before) => {
                let lost_bytes = before.unwrap_or(0).saturating_add(lost);
                self.state = State::Failing { retry_at: now.after(RETRY_MS), lost_bytes };
                let advice = "the output is kept in memory only";
                before.is_none().then(|| format!("{fault}; {advice}"))
            }
        }
    }

    /// Writes all, or says why not and how many bytes were lost.
    fn try_write(&mut self, bytes: &[u8]) -> Result<(), (Fault, u64)> {
        let mut rest = bytes;
        self.prepare().map_err(|fault| (fault, rest.len() as u64))?;
        let State::Open { file, size_bytes } = &mut self.state else {
            return Ok(());
        };
        while !rest.is_empty() {
            let doing = Fault::of("writing", self.path.display());
            let count = file.write(rest).map_err(|errno| (doing(errno), rest.len() as u64))?;
            *size_bytes = size_bytes.saturating_add(count as u64);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes sure that the open file is the one that the path means, and not too large.
    fn prepare(&mut self) -> Result<(), Fault> {
        if let State::Open { file, size_bytes } = &self.state {
            if files::identity(&self.path) != Some(file.identity) {
                // Removed or moved away by somebody else: theirs is the old one.
                self.state = State::Closed;
            } else if *size_bytes >= self.rotate_bytes {
                self.rotate()?;
                self.state = State::Closed;
            }
        }
        if !matches!(self.state, State::Open { .. }) {
            let file = self.open()?;
            self.state = State::Open { size_bytes: file.size_bytes, file };
        }
        Ok(())
    }

    fn open(&self) -> Result<AppendFile, Fault> {
        match AppendFile::open(&self.path) {
            Err(fault) if fault.errno == Errno::NOENT => {
                files::make_dir(self.path.parent().unwrap_or_else(|| Path::new("/")))?;
                AppendFile::open(&self.path)
            }
            result => result,
        }
    }

    /// `x.log` becomes `x.log.1`, that one `x.log.2`; the oldest goes.
    fn rotate(&self) -> Result<(), Fault> {
        if self.rotate_keep == 0 {
            return files::remove(&self.path);
        }
        for number in (1..self.rotate_keep).rev() {
            match files::rename(&self.old(number), &self.old(number + 1)) {
                Err(fault) if !fault.is_missing() => return Err(fault),
                _ => {}
            }
        }
        files::rename(&self.path, &self.old(1))
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::tests::TempDir;

    fn log_file(path: &Path, rotate_bytes: u64, rotate_keep: u32) -> LogFile {
        let spec =
            LogSpec { ring_bytes: 0, file: Some(path.to_owned()), rotate_bytes, rotate_keep };
        LogFile::of(&spec).unwrap()
    }

    fn text(path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn rotates_by_size_and_keeps_so_many() {
        let dir = TempDir::new("log");
        let path = dir.path().join("x.log");
        let mut log = log_file(&path, 4, 2);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            assert_eq!(log.write(line.as_bytes(), Tick(0)), None);
        }
        assert_eq!(text(&path), "four\n");
        assert_eq!(text(dir.path().join("x.log.1")), "three\n");
        assert_eq!(text(dir.path().join("x.log.2")), "two\n");
        assert!(!dir.path().join("x.log.3").exists());

        let mut log = log_file(&path, 4, 0);
        assert_eq!(log.write(b"five\n", Tick(0)), None);
        assert_eq!(text(&path), "four\nfive\n", "a file that was there is gone on with");
        assert_eq!(log.write(b"six\n", Tick(0)), None);
        assert_eq!(text(&path), "six\n");
    }

    #[test]
    fn a_deleted_or_moved_file_is_made_again() {
        let dir = TempDir::new("log");
        let path = dir.path().join("deep/er/x.log");
        let mut log = log_file(&path, 1000, 1);
        assert_eq!(log.write(b"one\n", Tick(0)), None);
        std::fs::remove_dir_all(dir.path().join("deep")).unwrap();
        assert_eq!(log.write(b"two\n", Tick(0)), None);
        assert_eq!(text(&path), "two\n");
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        assert_eq!(log.write(b"three\n", Tick(0)), None);
        assert_eq!(text(&path), "three\n");
    }

    #[test]
    fn a_failure_is_told_once_and_so_is_its_end() {
        let dir = TempDir::new("log");
        let path = dir.path().join("in/x.log");
        std::fs::write(dir.path().join("in"), "in the way").unwrap();
        let mut log = log_file(&path, 1000, 1);
        let told = log.write(b"one\n", Tick(0)).unwrap();
        assert!(told.contains("not a directory; the output is kept in memory only"), "{told}");
        assert_eq!(log.write(b"two\n", Tick(1)), None);
        assert_eq!(log.write(b"three\n", Tick(RETRY_MS)), None);

        std::fs::remove_file(dir.path().join("in")).unwrap();
        assert_eq!(log.write(b"four\n", Tick(RETRY_MS)), None, "too early to try again");
        let told = log.write(b"five\n", Tick(2 * RETRY_MS)).unwrap();
        assert!(told.ends_with("works again; 19 bytes of output are not in it"), "{told}");
        assert_eq!(text(&path), "five\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = TempDir::new("log");
        let (path, target) = (dir.path().join("x.log"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(log_file(&path, 1000, 1).write(b"one\n", Tick(0)).is_some());
        assert!(!target.exists());
    }
}
