//! A unit's output on its way to a file, for those who asked for one, and never at the cost of the
//! unit or of the loop.
//!
//! A pipe leads to a process that may wait for the disk (`pisup log-writer`). What the pipe has no
//! room for is gone from the file (the ring has it), and told. Both ends are kept: what is in the
//! pipe when its writer fails is for the next one, a little later.

use std::path::{Path, PathBuf};

use crate::config::plan::LogSpec;
use crate::machine::Tick;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::stream;

/// Milliseconds between two writers where one fails.
const RETRY_MS: u64 = 5_000;

/// A file, as far as the loop knows of it.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    rotate_bytes: u64,
    rotate_keep: u32,
    /// Made with the first output.
    pipe: Option<Pipe>,
    writer: Writer,
    lost_bytes: u64,
    /// The last line in the pipe has no end, because the rest of it was lost.
    is_cut: bool,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// The process that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// There was nothing to write yet.
    Unwanted,
    /// It runs.
    Runs(u32),
    /// It has ended; another one is started at that instant.
    Gone(Tick),
}

impl LogFile {
    /// The file that the unit asks for, if it does.
    #[must_use]
    pub fn of(spec: &LogSpec) -> Option<Self> {
        Some(Self {
            path: spec.file.clone()?,
            rotate_bytes: spec.rotate_bytes,
            rotate_keep: spec.rotate_keep,
            pipe: None,
            writer: Writer::Unwanted,
            lost_bytes: 0,
            is_cut: false,
        })
    }

    /// Whether this is the file that a unit asks for, in the same way.
    #[must_use]
    pub fn is_for(&self, spec: &LogSpec) -> bool {
        let own = (Some(&self.path), self.rotate_bytes, self.rotate_keep);
        own == (spec.file.as_ref(), spec.rotate_bytes, spec.rotate_keep)
    }

    /// Adds whole lines; a sentence when the first is lost, and when it works again.
    pub fn write(&mut self, bytes: &[u8]) -> Option<String> {
        let path = self.path.display();
        let pipe = match &self.pipe {
            Some(pipe) => pipe,
            None => match stream::pipe_to_child() {
                Ok((reader, writer)) => self.pipe.insert(Pipe { reader, writer }),
                Err(fault) => {
                    let is_news = self.lost_bytes == 0;
                    self.lost_bytes = self.lost_bytes.saturating_add(bytes.len() as u64);
                    return is_news.then(|| format!("{fault}; {path} is not written"));
                }
            },
        };
        let end = if self.is_cut { &b"\n"[..] } else { &[] };
        let bytes = [end, bytes].concat();
        let count = stream::write(&pipe.writer, &bytes).unwrap_or(0);
        if let Some(last) = count.checked_sub(1).and_then(|last| bytes.get(last)) {
            self.is_cut = count < bytes.len() && *last != b'\n';
        }
        let lost_before = self.lost_bytes;
        if count < bytes.len() {
            self.lost_bytes = lost_before.saturating_add((bytes.len() - count) as u64);
            let advice = "the output is kept in memory only";
            return (lost_before == 0)
                .then(|| format!("writing {path} does not keep up; {advice}"));
        }
        self.lost_bytes = 0;
        (lost_before > 0).then(|| {
            format!("writing {path} works again; {lost_before} bytes of output are not in it")
        })
    }

    /// Whether a writer has to be started.
    #[must_use]
    pub fn wants_writer(&self, now: Tick) -> bool {
        match self.writer {
            Writer::Unwanted => self.pipe.is_some(),
            Writer::Runs(_) => false,
            Writer::Gone(retry_at) => retry_at <= now,
        }
    }

    /// The command line of a writer, and its standard input.
    pub fn writer(&self, own_program: &Path) -> Option<(Vec<String>, BorrowedFd<'_>)> {
        let words = [
            own_program.display().to_string(),
            "log-writer".to_owned(),
            self.path.display().to_string(),
            self.rotate_bytes.to_string(),
            self.rotate_keep.to_string(),
        ];
        Some((words.to_vec(), self.pipe.as_ref()?.reader.as_fd()))
    }

    /// A writer was started as this process, or could not be.
    pub fn began(&mut self, pid: Option<u32>, now: Tick) {
        self.writer = pid.map_or_else(|| Writer::Gone(now.after(RETRY_MS)), Writer::Runs);
    }

    /// That process has ended; whether it was the writer of this file.
    pub fn ended(&mut self, pid: u32, now: Tick) -> bool {
        let is_own = self.writer == Writer::Runs(pid);
        if is_own {
            self.began(None, now);
        }
        is_own
    }

    /// When another writer is to be started.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Tick> {
        match self.writer {
            Writer::Gone(at) => Some(at),
            Writer::Unwanted | Writer::Runs(_) => None,
        }
    }
}

#[cfg(test)]
#[expect(missing_docs, reason = "one function of it is for the tests of the capture")]
pub mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    /// What a writer would read now.
    pub fn read(log: &LogFile) -> Vec<u8> {
        let reader = &log.pipe.as_ref().unwrap().reader;
        let mut bytes = vec![0; 1 << 20];
        let mut file = File::from(reader.try_clone().unwrap());
        let count = file.read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    fn log_file() -> LogFile {
        let file = Some("/no/such/x.log".into());
        LogFile::of(&LogSpec { ring_bytes: 0, file, rotate_bytes: 4, rotate_keep: 2 }).unwrap()
    }

    #[test]
    fn what_has_no_room_is_counted_and_told_and_no_line_is_joined() {
        let mut log = log_file();
        assert!(!log.wants_writer(Tick(0)), "an idle unit costs no process");
        assert_eq!(log.write(b"one\n"), None);
        assert!(log.wants_writer(Tick(0)));
        let flood = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        let told = log.write(&flood).unwrap();
        assert_eq!(
            told,
            "writing /no/such/x.log does not keep up; the output is kept in memory only"
        );
        assert_eq!(log.write(b"lost\n"), None, "told once");
        let mut seen = read(&log);
        let told = log.write(b"back\n").unwrap();
        seen.extend(read(&log));
        let lost = flood.len() + 4 + 6 - (seen.len() - 6);
        let lost = format!("works again; {lost} bytes of output are not in it");
        assert!(told.ends_with(&lost), "{told} {lost}");
        assert!(seen.starts_with(b"one\nxx") && seen.ends_with(b"xx\nback\n"));
    }

    #[test]
    fn a_writer_that_ends_is_followed_by_another() {
        let mut log = log_file();
        let _ = log.write(b"one\n");
        log.began(Some(7), Tick(0));
        assert!(!log.wants_writer(Tick(0)) && log.retry_at().is_none());
        assert!(!log.ended(8, Tick(1)), "that of an earlier file");
        assert!(log.ended(7, Tick(1)));
        assert_eq!(log.retry_at(), Some(Tick(1 + RETRY_MS)));
        assert!(!log.wants_writer(Tick(RETRY_MS)) && log.wants_writer(Tick(1 + RETRY_MS)));
        let (words, _) = log.writer(Path::new("/pisup")).unwrap();
        assert_eq!(words, ["/pisup", "log-writer", "/no/such/x.log", "4", "2"]);
    }
}
