//! `pisup log-writer`: puts a unit's output into a file, for a disk may make its writer wait.
//!
//! The output is its standard input; with the end of that it ends. What it cannot do ends it, too,
//! with a sentence: the next one goes on with what is still in the pipe. Nothing is synced: a power
//! cut may take the last seconds, an SD card lives longer.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Failure, end, texts};
use crate::sys::files::{self, AppendFile};
use crate::sys::{Errno, Fault, errno};

/// Bytes of one read.
const PIECE: usize = 64 * 1024;

/// `pisup log-writer PATH ROTATE-BYTES ROTATE-KEEP`.
#[must_use]
pub fn main(args: Vec<OsString>) -> u8 {
    end(copy(args))
}

fn copy(args: Vec<OsString>) -> Result<String, Failure> {
    let usage = || Failure::Usage("usage: pisup log-writer PATH ROTATE-BYTES ROTATE-KEEP".into());
    let args = texts(args)?;
    let [path, bytes, keep] = args.as_slice() else {
        return Err(usage());
    };
    let (Ok(rotate_bytes), Ok(rotate_keep)) = (bytes.parse(), keep.parse()) else {
        return Err(usage());
    };
    let mut log = LogFile { path: path.into(), rotate_bytes, rotate_keep, open: None };
    let (mut piece, mut pending) = (vec![0; PIECE], Vec::new());
    loop {
        match io::stdin().read(&mut piece) {
            Ok(0) => {
                log.write(&pending).map_err(Failure::failed)?;
                return Ok(format!("{path} is written"));
            }
            Ok(count) => {
                pending.extend_from_slice(piece.get(..count).unwrap_or_default());
                let lines: Vec<u8> = pending.drain(..whole(&pending)).collect();
                log.write(&lines).map_err(Failure::failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::failed(Fault::of("reading", "output")(errno(&error))));
            }
        }
    }
}

/// How much of it is to be written now: whole lines, so that none is cut by a rotation.
fn whole(bytes: &[u8]) -> usize {
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => end + 1,
        None if bytes.len() >= PIECE => bytes.len(),
        None => 0,
    }
}

/// A file that is rotated when it has grown; opened with the first output.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    rotate_bytes: u64,
    rotate_keep: u32,
    /// And the bytes in it.
    open: Option<(AppendFile, u64)>,
}

impl LogFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let doing = Fault::of("writing", self.path.display().to_string());
            let (file, size_bytes) = self.prepare()?;
            let count = file.write(rest).map_err(doing)?;
            *size_bytes = size_bytes.saturating_add(count as u64);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes sure that the open file is the one that the path means, and not too large.
    fn prepare(&mut self) -> Result<&mut (AppendFile, u64), Fault> {
        let is_ours = |file: &AppendFile| files::identity(&self.path) == Some(file.identity);
        let file = match self.open.take() {
            // Removed or moved away by somebody else: theirs is the old one.
            Some((file, _)) if !is_ours(&file) => self.open_file()?,
            Some((_, size_bytes)) if size_bytes >= self.rotate_bytes => {
                self.rotate()?;
                self.open_file()?
            }
            Some(open) => open,
            None => self.open_file()?,
        };
        Ok(self.open.insert(file))
    }

    fn open_file(&self) -> Result<(AppendFile, u64), Fault> {
        let file = match AppendFile::open(&self.path) {
            Err(fault) if fault.errno == Errno::NOENT => {
                files::make_dir(self.path.parent().unwrap_or_else(|| Path::new("/")))?;
                AppendFile::open(&self.path)?
            }
            result => result?,
        };
        let size_bytes = file.size_bytes;
        Ok((file, size_bytes))
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
        LogFile { path: path.to_owned(), rotate_bytes, rotate_keep, open: None }
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
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&path), "four\n");
        assert_eq!(text(dir.path().join("x.log.1")), "three\n");
        assert_eq!(text(dir.path().join("x.log.2")), "two\n");
        assert!(!dir.path().join("x.log.3").exists());

        let mut log = log_file(&path, 4, 0);
        log.write(b"five\n").unwrap();
        assert_eq!(text(&path), "four\nfive\n", "a file that was there is gone on with");
        log.write(b"six\n").unwrap();
        assert_eq!(text(&path), "six\n");
    }

    #[test]
    fn a_deleted_or_moved_file_is_made_again() {
        let dir = TempDir::new("log");
        let path = dir.path().join("deep/er/x.log");
        let mut log = log_file(&path, 1000, 1);
        log.write(b"one\n").unwrap();
        std::fs::remove_dir_all(dir.path().join("deep")).unwrap();
        log.write(b"two\n").unwrap();
        assert_eq!(text(&path), "two\n");
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(text(&path), "three\n");
    }

    #[test]
    fn lines_stay_whole() {
        for (text, count) in [(&b""[..], 0), (b"a", 0), (b"a\n", 2), (b"a\nb", 2)] {
            assert_eq!(whole(text), count);
        }
        assert_eq!(whole(&vec![b'x'; PIECE]), PIECE, "nothing is held back without bound");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = TempDir::new("log");
        let (path, target) = (dir.path().join("x.log"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(log_file(&path, 1000, 1).write(b"one\n").is_err());
        assert!(!target.exists());
    }
}
