//! A unit's output where it outlives the supervisor: below the run directory, in RAM, bounded.
//!
//! The kernel moves it there from the pipe and only then it is looked at, so a supervisor that is
//! killed has taken no line along. The next one reads it all again.
//!
//! The folder has at most two files, each called by the number of bytes that came before it, and
//! `begun-N`: where the output of the present run begins.

use std::path::{Path, PathBuf};

use crate::sys::fd::AsFd;
use crate::sys::segment::Segment;
use crate::sys::stream::Got;
use crate::sys::{Errno, Fault, files};

/// Names that are looked at, at most: what else is there is not ours.
const NAMES_MAX: usize = 64;

/// A file is full when it has half of what the ring holds; the least is a line of the longest.
const FULL_BYTES_MIN: u64 = 8 * 1024;

/// The most: these files are memory of the supervisor, beside the ring, and no Pi swaps.
const FULL_BYTES_MAX: u64 = 128 * 1024;

/// What begins the name of the mark.
const MARK: &str = "begun-";

/// The folder, and the file that grows.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    full_bytes: u64,
    /// The bytes before the file that is full.
    older: Option<u64>,
    /// The bytes before the one that grows.
    start: u64,
    segment: Segment,
    /// Where the mark is.
    begun: Option<u64>,
}

/// What an earlier supervisor has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// All of it.
    pub bytes: Vec<u8>,
    /// From there on it is of the run that began last.
    pub run_from: usize,
}

impl Spool {
    /// The spool in that folder, and what is in it.
    ///
    /// # Errors
    ///
    /// There is no room for it.
    pub fn open(folder: &Path, ring_bytes: u64) -> Result<(Self, Left), Fault> {
        files::make_dir(folder)?;
        let names = files::names(folder, NAMES_MAX)?;
        let mut starts: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        starts.sort_unstable();
        let begun = names.iter().filter_map(|name| name.strip_prefix(MARK)?.parse().ok()).max();
        let start = starts.pop().unwrap_or(0);
        let older = starts.pop();
        // The supervisor was killed when it had begun a new file.
        starts.iter().for_each(|start| drop(files::remove(&folder.join(start.to_string()))));
        let segment = Segment::open(&folder.join(start.to_string()))?;
        let before =
            older.and_then(|start| Some((start, Segment::open(&name(folder, start)).ok()?)));
        let before = before.as_ref().map(|(start, segment)| (*start, segment));
        let mut left = Left::default();
        for (start, segment) in before.into_iter().chain([(start, &segment)]) {
            left.add(start, segment, begun.unwrap_or(0));
        }
        let (folder, full_bytes) = (folder.to_owned(), full_bytes(ring_bytes));
        Ok((Self { folder, full_bytes, older, start, segment, begun }, left))
    }

    /// Changes the bound.
    pub fn resize(&mut self, ring_bytes: u64) {
        self.full_bytes = full_bytes(ring_bytes);
    }

    /// Takes what is in the pipe, at most what `buffer` holds.
    ///
    /// # Errors
    ///
    /// There is no room; it is in the pipe still.
    pub fn take(&mut self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<Got, Errno> {
        if self.segment.len() >= self.full_bytes {
            self.turn_over().map_err(|fault| fault.errno)?;
        }
        self.segment.take(pipe, buffer)
    }

    fn turn_over(&mut self) -> Result<(), Fault> {
        let end = self.end();
        self.segment = Segment::open(&name(&self.folder, end))?;
        let older = self.older.replace(self.start);
        self.start = end;
        older.map_or(Ok(()), |start| files::remove(&name(&self.folder, start)))
    }

    /// Ends a line that has no end.
    pub fn end_line(&mut self) {
        // Without room for it two lines become one, for a supervisor that may never come.
        let _ = self.segment.add(b"\n");
    }

    /// What follows is of another run.
    pub fn begin(&mut self) {
        let mark = |at: u64| self.folder.join(format!("{MARK}{at}"));
        let end = self.end();
        let done = match self.begun {
            Some(at) if at == end => Ok(()),
            Some(at) => files::rename(&mark(at), &mark(end)),
            None => Segment::open(&mark(end)).map(drop),
        };
        if done.is_ok() {
            self.begun = Some(end);
        }
    }

    const fn end(&self) -> u64 {
        self.start.saturating_add(self.segment.len())
    }

    /// Removes all of it.
    pub fn remove(self) {
        files::remove_all(&self.folder);
    }
}

impl Left {
    /// Adds a file; the mark may be in it.
    fn add(&mut self, start: u64, segment: &Segment, begun: u64) {
        let at = self.bytes.len();
        let len = usize::try_from(segment.len()).unwrap_or(0);
        self.bytes.resize(at.saturating_add(len), 0);
        if segment.read(0, self.bytes.get_mut(at..).unwrap_or_default()).is_err() {
            self.bytes.truncate(at);
        }
        let passed = usize::try_from(begun.saturating_sub(start)).unwrap_or(len).min(len);
        if passed > 0 {
            self.run_from = at + passed;
        }
    }
}

fn full_bytes(ring_bytes: u64) -> u64 {
    (ring_bytes / 2).clamp(FULL_BYTES_MIN, FULL_BYTES_MAX)
}

fn name(folder: &Path, start: u64) -> PathBuf {
    folder.join(start.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use crate::sys::stream;

    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            files::remove_all(&self.0);
        }
    }

    fn place(name: &str) -> Place {
        let name = format!("pisup-spool-{}-{name}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }

    fn open(place: &Place) -> (Spool, Left) {
        Spool::open(&place.0, 16 * 1024).unwrap()
    }

    fn take_all(spool: &mut Spool, pipe: impl AsFd) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while let Got::Bytes(count) = spool.take(&pipe, &mut buffer).unwrap() {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    }

    #[test]
    fn what_was_taken_is_there_for_the_next_one() {
        let place = place("taken");
        let (mut spool, left) = open(&place);
        assert_eq!(left, Left::default());
        let (reader, writer) = stream::pipe().unwrap();
        let mut writer = File::from(writer);
        writer.write_all(b"one\ntw").unwrap();
        spool.begin();
        assert_eq!(take_all(&mut spool, &reader), b"one\ntw");
        spool.end_line();
        spool.begin();
        writer.write_all(b"three\n").unwrap();
        assert_eq!(take_all(&mut spool, &reader), b"three\n");
        drop(spool);
        let (mut spool, left) = open(&place);
        assert_eq!(left.bytes, b"one\ntw\nthree\n");
        assert_eq!(&left.bytes[left.run_from..], b"three\n", "of the run that began last");
        spool.begin();
        drop(spool);
        assert_eq!(open(&place).1.run_from, left.bytes.len());
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let place = place("bounded");
        let (reader, writer) = stream::pipe().unwrap();
        let (mut writer, mut sent) = (File::from(writer), Vec::new());
        let (mut spool, _) = open(&place);
        spool.begin();
        for round in 0..40 {
            let text = format!("{round} {}\n", "x".repeat(1000));
            writer.write_all(text.as_bytes()).unwrap();
            sent.extend_from_slice(text.as_bytes());
            assert_eq!(take_all(&mut spool, &reader), text.as_bytes());
        }
        assert!(files::names(&place.0, 9).unwrap().len() <= 3);
        drop(spool);
        let (mut spool, left) = open(&place);
        assert!(left.bytes.len() >= 8 * 1024 && left.bytes.len() < 20 * 1024);
        assert!(sent.ends_with(&left.bytes));
        assert_eq!(left.run_from, 0, "all of it is of that run");
        writer.write_all(b"more\n").unwrap();
        assert_eq!(take_all(&mut spool, &reader), b"more\n");
        spool.remove();
        assert!(!place.0.exists());
    }

    #[test]
    fn a_file_too_many_is_of_one_who_was_killed() {
        let place = place("killed");
        files::make_dir(&place.0).unwrap();
        for (name, text) in [("0", "a\n"), ("2", "b\n"), ("4", "c\n"), ("begun-3", ""), ("x", "y")]
        {
            std::fs::write(place.0.join(name), text).unwrap();
        }
        let (_, left) = open(&place);
        assert_eq!((left.bytes.as_slice(), left.run_from), (&b"b\nc\n"[..], 1));
        assert!(!place.0.join("0").exists());
    }

    #[test]
    fn a_link_is_no_file() {
        let place = place("link");
        files::make_dir(&place.0).unwrap();
        std::os::unix::fs::symlink("/dev/null", place.0.join("0")).unwrap();
        assert!(Spool::open(&place.0, 1).is_err());
    }
}
