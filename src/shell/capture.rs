//! A unit's output: one pipe for all its runs, read in bounded batches, cut into lines.
//!
//! Both ends of the pipe are kept, so there is no end of file to wait for or to be fooled by: an
//! orphan that holds the pipe is heard like anyone else, and the next run writes into the same
//! one. Output never waits for a disk or a client.

use super::log_file::LogFile;
use super::ring::{MAX_LINE_BYTES, Ring};
use super::spool::{Left, Spool};
use crate::config::plan::LogSpec;
use crate::machine::Tick;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::stream::{self, Got};
use crate::sys::{Errno, Fault};

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// Reads of one call: 64 KiB, what a pipe holds, so that one call usually empties it and a service
/// that floods costs the loop no more than that a turn.
const MAX_READS: usize = 4;

/// A unit's captured output.
#[derive(Debug)]
pub struct Capture {
    reader: OwnedFd,
    writer: OwnedFd,
    lines: Lines,
    file: Option<LogFile>,
    ring: Ring,
    spool: Option<Spool>,
    /// The line was in the spool by which the run that began last is ready.
    pub has_spoken: bool,
}

impl Capture {
    /// A pipe and an empty ring.
    pub fn new(spec: &LogSpec) -> Result<Self, Fault> {
        let (reader, writer) = stream::pipe()?;
        // Without /proc the plain one has to do.
        let writer = stream::writer_of(reader.as_fd()).unwrap_or(writer);
        Ok(Self::resume(spec, reader, writer))
    }

    /// Goes on with a pipe from an earlier life of the supervisor.
    #[must_use]
    pub fn resume(spec: &LogSpec, reader: OwnedFd, writer: OwnedFd) -> Self {
        Self {
            reader,
            writer,
            lines: Lines::default(),
            file: LogFile::of(spec),
            ring: Ring::new(spec.ring_bytes),
            spool: None,
            has_spoken: false,
        }
    }

    /// Lets all output pass through a spool, and takes up what an earlier supervisor left in it;
    /// `on_line` sees the lines of the run that began last.
    pub fn spool(&mut self, spool: Spool, left: &Left, now: Tick, on_line: &mut dyn FnMut(&str)) {
        self.spool = Some(spool);
        let (old, own) = left.bytes.split_at_checked(left.run_from).unwrap_or_default();
        let mut ignore = |_: &str| {};
        let mut batch = Batch { ring: &mut self.ring, now, on_line: &mut ignore, raw: Vec::new() };
        self.lines.feed(old, &mut batch);
        let mut batch = Batch { ring: &mut self.ring, now, on_line, raw: Vec::new() };
        self.lines.feed(own, &mut batch);
    }

    /// The unit is known no more, and neither is what it has said.
    pub fn forget(self) {
        if let Some(spool) = self.spool {
            spool.remove();
        }
    }

    /// What is said from now on is said by another run.
    pub fn begin(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.begin();
        }
    }

    /// Takes output out of the pipe. Where there is no room to keep it, it is just taken.
    fn take(&mut self, buffer: &mut [u8]) -> Result<Got, Errno> {
        match self.spool.as_mut().map(|spool| spool.take(&self.reader, buffer)) {
            Some(Ok(got)) => Ok(got),
            Some(Err(_)) | None => stream::read(&self.reader, buffer),
        }
    }

    /// Takes over changed limits and another file; what was captured stays.
    pub fn configure(&mut self, spec: &LogSpec) {
        self.ring.resize(spec.ring_bytes);
        if let Some(spool) = &mut self.spool {
            spool.resize(spec.ring_bytes);
        }
        if !self.file.as_ref().is_some_and(|file| file.is_for(spec)) {
            self.file = LogFile::of(spec);
        }
    }

    /// The file on disk, if there is to be one.
    pub const fn file_mut(&mut self) -> Option<&mut LogFile> {
        self.file.as_mut()
    }

    /// The same, to look at.
    #[must_use]
    pub const fn file(&self) -> Option<&LogFile> {
        self.file.as_ref()
    }

    /// The end for the standard output and error of every run.
    #[must_use]
    pub fn write_end(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// The lines so far.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Takes what is there, at most 64 KiB; `on_line` sees every line. The sentence, if any, says
    /// that the file on disk begins to fail or works again.
    ///
    /// Call it before a spawn, too: what an earlier run wrote must not count for the new one.
    pub fn drain(&mut self, now: Tick, on_line: &mut dyn FnMut(&str)) -> Option<String> {
        let mut buffer = [0; READ_BYTES];
        let mut raw = Vec::new();
        for _ in 0..MAX_READS {
            let Ok(Got::Bytes(count)) = self.take(&mut buffer) else {
                break;
            };
            let mut batch = Batch { ring: &mut self.ring, now, on_line, raw };
            self.lines.feed(buffer.get(..count).unwrap_or_default(), &mut batch);
            raw = batch.raw;
        }
        write(self.file.as_mut(), &raw)
    }

    /// Ends a line that a dead run has left without an end; after a last [`Capture::drain`].
    pub fn end_line(&mut self, now: Tick, on_line: &mut dyn FnMut(&str)) -> Option<String> {
        if let Some(spool) = self.spool.as_mut().filter(|_| self.lines.is_open()) {
            spool.end_line();
        }
        let mut batch = Batch { ring: &mut self.ring, now, on_line, raw: Vec::new() };
        self.lines.end(&mut batch);
        let raw = batch.raw;
        write(self.file.as_mut(), &raw)
    }
}

impl AsFd for Capture {
    /// The end to watch for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

fn write(file: Option<&mut LogFile>, raw: &[u8]) -> Option<String> {
    file.filter(|_| !raw.is_empty())?.write(raw)
}

/// Where the lines of one call go.
struct Batch<'a> {
    ring: &'a mut Ring,
    now: Tick,
    on_line: &'a mut dyn FnMut(&str),
    /// As they are written to the file: pieces of a cut line are joined again.
    raw: Vec<u8>,
}

impl Batch<'_> {
    fn line(&mut self, text: &[u8], is_cut: bool) {
        (self.on_line)(&String::from_utf8_lossy(text));
        self.ring.push(self.now, text, is_cut);
        self.raw.extend_from_slice(text);
        if !is_cut {
            self.raw.push(b'\n');
        }
    }
}

/// Bytes to lines of at most [`MAX_LINE_BYTES`].
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line whose end has not come.
    pending: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], batch: &mut Batch<'_>) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (text, rest) =
                bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or_default();
            self.add(text, batch);
            bytes = rest;
            if end.is_some() {
                batch.line(&self.pending, false);
                self.pending.clear();
                bytes = rest.get(1..).unwrap_or_default();
            }
        }
    }

    /// Whether the last line has no end.
    const fn is_open(&self) -> bool {
        !self.pending.is_empty()
    }

    fn end(&mut self, batch: &mut Batch<'_>) {
        if !self.pending.is_empty() {
            batch.line(&self.pending, false);
        }
        self.pending = Vec::new();
    }

    /// Adds text without a line end, and hands out pieces as long as there is too much.
    fn add(&mut self, mut text: &[u8], batch: &mut Batch<'_>) {
        while self.pending.len() + text.len() > MAX_LINE_BYTES {
            let room = MAX_LINE_BYTES.saturating_sub(self.pending.len());
            let (head, tail) = text.split_at_checked(room).unwrap_or((text, &[]));
            self.pending.extend_from_slice(head);
            text = tail;
            let cut = cut_point(&self.pending);
            let left = self.pending.split_off(cut);
            batch.line(&self.pending, true);
            self.pending = left;
        }
        self.pending.extend_from_slice(text);
    }
}

/// The end of a piece that splits no UTF-8 character.
fn cut_point(bytes: &[u8]) -> usize {
    let is_start = |byte: &u8| *byte & 0b1100_0000 != 0b1000_0000;
    let tail = bytes.iter().rev().take(4).position(is_start).unwrap_or(0);
    let is_whole = match bytes.iter().rev().nth(tail) {
        Some(0xf0..) => tail == 3,
        Some(0xe0..) => tail == 2,
        Some(0xc0..) => tail == 1,
        _ => true,
    };
    if is_whole { bytes.len() } else { bytes.len().saturating_sub(tail + 1) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::shell::log_file::tests::read as written;

    const SPEC: LogSpec =
        LogSpec { ring_bytes: 1 << 20, file: None, rotate_bytes: 1 << 20, rotate_keep: 1 };

    fn capture() -> (Capture, File) {
        let capture = Capture::new(&SPEC).unwrap();
        let service = File::from(capture.write_end().try_clone_to_owned().unwrap());
        (capture, service)
    }

    fn read(capture: &mut Capture, at: u64) -> Vec<String> {
        let mut seen = Vec::new();
        assert_eq!(capture.drain(Tick(at), &mut |line| seen.push(line.to_owned())), None);
        seen
    }

    #[test]
    fn lines_are_seen_and_stamped() {
        let (mut capture, mut service) = capture();
        assert_eq!(read(&mut capture, 1), Vec::<String>::new());
        service.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(read(&mut capture, 2), ["one", "two"]);
        service.write_all(b"ee\n\n").unwrap();
        assert_eq!(read(&mut capture, 3), ["three", ""]);
        let stamps: Vec<_> = capture.ring().tail(9).iter().map(|line| line.at.0).collect();
        assert_eq!(stamps, [2, 2, 3, 3]);
    }

    #[test]
    fn the_pipe_outlives_a_run_and_its_last_words_count() {
        let (mut capture, mut service) = capture();
        service.write_all(b"dying").unwrap();
        drop(service);
        assert_eq!(read(&mut capture, 1), Vec::<String>::new());
        let mut seen = Vec::new();
        capture.end_line(Tick(2), &mut |line| seen.push(line.to_owned()));
        capture.end_line(Tick(2), &mut |line| seen.push(line.to_owned()));
        assert_eq!(seen, ["dying"]);
        let mut next = File::from(capture.write_end().try_clone_to_owned().unwrap());
        next.write_all(b"again\n").unwrap();
        assert_eq!(read(&mut capture, 3), ["again"]);
    }

    #[test]
    fn a_flood_without_a_line_end_costs_one_batch_and_no_memory() {
        let (mut capture, service) = capture();
        let mut written = 0;
        for _ in 0..200 {
            let mut service = &service;
            // The pipe holds 64 KiB and is empty: this does not block.
            service.write_all(&[b'x'; 60_000]).unwrap();
            written += 60_000;
            read(&mut capture, 0);
            assert!(capture.lines.pending.capacity() <= 2 * MAX_LINE_BYTES);
            assert!(capture.ring().used_bytes() <= 1 << 20);
        }
        assert!(capture.ring().dropped() > 0);
        let tail = capture.ring().tail(1);
        assert!(tail[0].is_cut && tail[0].text.len() == MAX_LINE_BYTES);
        assert_eq!(tail[0].seq + 1, written / MAX_LINE_BYTES as u64);
    }

    #[test]
    fn the_file_has_the_output_as_it_was() {
        let spec = LogSpec { file: Some("/no/such/x.log".into()), ..SPEC };
        let mut capture = Capture::new(&spec).unwrap();
        let mut service = File::from(capture.write_end().try_clone_to_owned().unwrap());
        let mut wanted = vec![b'y'; 20_000];
        wanted.extend(b"\r\n\xff\n");
        service.write_all(&wanted).unwrap();
        service.write_all(b"half").unwrap();
        read(&mut capture, 1);
        assert_eq!(written(capture.file().unwrap()), wanted);
        capture.end_line(Tick(1), &mut |_| {});
        capture.configure(&spec);
        assert_eq!(written(capture.file().unwrap()), b"half\n", "the same file goes on");
        capture.configure(&SPEC);
        assert!(capture.file().is_none());
    }

    #[test]
    fn characters_are_not_cut() {
        for (text, cut) in [
            (&b"ab"[..], 2),
            ("aé".as_bytes(), 3),
            (b"a\xc3", 1),
            (b"a\xe2\x82", 1),
            ("a€".as_bytes(), 4),
            (b"a\xf0\x9f\x8d", 1),
            (b"\x80\x80\x80\x80\x80", 5),
            (b"", 0),
        ] {
            assert_eq!(cut_point(text), cut, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_up_the_whole(
            chunks in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    (0..30_000_usize).prop_map(|len| "é".repeat(len).into_bytes()),
                    Just(b"\n".to_vec()),
                ],
                0..12,
            ),
        ) {
            let mut ring = Ring::new(1 << 30);
            let mut lines = Lines::default();
            let mut batch =
                Batch { ring: &mut ring, now: Tick(0), on_line: &mut |_| {}, raw: Vec::new() };
            for chunk in &chunks {
                lines.feed(chunk, &mut batch);
            }
            lines.end(&mut batch);
            let (mut whole, raw) = (chunks.concat(), batch.raw);
            if !whole.is_empty() && !whole.ends_with(b"\n") {
                whole.push(b'\n');
            }
            prop_assert_eq!(raw, whole);
        }
    }
}
