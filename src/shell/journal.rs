//! The supervisor's own log: lines in a bounded queue, written to standard error as it takes them.
//!
//! Standard error may be a pipe whose reader is stuck or gone, a full disk, a terminal that was
//! stopped. None of that blocks or ends the supervisor: lines wait, then they are lost, and how
//! many were lost is told.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

use crate::machine::Tick;
use crate::sys::Fault;
use crate::sys::clock::{Wall, boottime};
use crate::sys::fd::AsFd;
use crate::sys::poll::{Interest, Poll};
use crate::sys::stream::{PIPE_BYTES, Sink};

/// Bytes of lines that wait: some 600 usual ones, more than a boot writes.
const MAX_BYTES: usize = 64 * 1024;

/// Longest line; a pipe takes it whole, so nobody else's output gets into it.
const MAX_LINE_BYTES: usize = PIPE_BYTES;

static JOURNAL: Journal = Journal::new();

/// Makes this the log of the program, on standard error.
pub fn install(level: LevelFilter) -> Result<(), Fault> {
    // Nothing of an earlier supervisor in this process, which only a simulation has.
    *JOURNAL.queue() = Queue::new();
    JOURNAL.queue().sink = Some(Sink::stderr()?);
    // An error means that it is installed already.
    let _ = log::set_logger(&JOURNAL);
    log::set_max_level(level);
    Ok(())
}

/// Tells what is wrong with a configuration; a text of several lines stays readable.
pub fn tell_faults(faults: &[String]) {
    for line in faults.iter().flat_map(|fault| fault.lines()) {
        log::error!("{line}");
    }
}

/// Writes what standard error takes now; while it takes nothing more, epoll tells `token` when it
/// does. Called once a turn, and for the token.
pub fn drain(poll: &Poll, token: u64) {
    JOURNAL.queue().drain(poll, token);
}

/// Writes what standard error takes now, where no loop turns: before the first turn, and after the
/// last.
pub fn flush_at_end() {
    JOURNAL.queue().write();
}

/// A log in memory.
#[derive(Debug)]
struct Journal(Mutex<Queue>);

impl Journal {
    const fn new() -> Self {
        Self(Mutex::new(Queue::new()))
    }

    /// There is one thread, and nothing is logged while the queue is held.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(record, Wall::now(), boottime());
            self.queue().push(line);
        }
    }

    fn flush(&self) {
        self.queue().write();
    }
}

#[derive(Debug)]
struct Queue {
    sink: Option<Sink>,
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Bytes of the first line that are written already.
    written: usize,
    /// Lines that were dropped since that was told.
    dropped: u64,
    is_watched: bool,
}

impl Queue {
    const fn new() -> Self {
        Self {
            sink: None,
            lines: VecDeque::new(),
            bytes: 0,
            written: 0,
            dropped: 0,
            is_watched: false,
        }
    }

    fn push(&mut self, line: Vec<u8>) {
        if self.bytes.saturating_add(line.len()) > MAX_BYTES {
            // What came first says how the trouble began.
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
    }

    fn drain(&mut self, poll: &Poll, token: u64) {
        self.write();
        let Some(sink) = &self.sink else {
            return;
        };
        if self.lines.is_empty() {
            if self.is_watched {
                poll.remove(sink.as_fd());
                self.is_watched = false;
            }
        } else if !self.is_watched {
            // A file cannot be watched, and never makes us wait either.
            self.is_watched = poll.add(sink.as_fd(), token, Interest::Write).is_ok();
        }
    }

    fn write(&mut self) {
        while let (Some(sink), Some(line)) = (&self.sink, self.lines.front()) {
            let rest = line.get(self.written..).unwrap_or_default();
            match sink.write(rest) {
                Ok(0) => return,
                Ok(count) if count < rest.len() => self.written += count,
                Ok(_) => self.pop(),
                Err(_) => {
                    self.lose();
                    return;
                }
            }
            if self.lines.is_empty() && self.dropped > 0 {
                let told = format!("{} lines of this log were lost here\n", self.dropped);
                self.dropped = 0;
                self.push(told.into_bytes());
            }
        }
    }

    fn pop(&mut self) {
        self.written = 0;
        let len = self.lines.pop_front().map_or(0, |line| line.len());
        self.bytes = self.bytes.saturating_sub(len);
    }

    /// What cannot be written now will not become better by waiting.
    fn lose(&mut self) {
        self.dropped = self.dropped.saturating_add(self.lines.len() as u64);
        self.lines.clear();
        (self.bytes, self.written) = (0, 0);
    }
}

/// Wall clock for people, seconds since boot for when the wall clock lies, level, text.
fn line(record: &Record<'_>, wall: Wall, now: Tick) -> Vec<u8> {
    let level = match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    };
    let mut line = Bounded(Vec::new());
    let (seconds, ms) = (now.0 / 1000, now.0 % 1000);
    // Only the bound makes this fail, and what fits is what is wanted.
    let _ = write!(line, "{wall} {seconds:>6}.{ms:03} {level:<5} {}", record.args());
    let mut line = line.0;
    for byte in &mut line {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    line
}

/// A line that takes no more than it may have, cut between two characters.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len() + 1);
        if bytes.len() <= room {
            self.0.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let text = core::str::from_utf8(bytes).unwrap_or_default();
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.0.extend_from_slice(bytes.get(..end).unwrap_or_default());
        Err(io::ErrorKind::WriteZero.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn text(args: core::fmt::Arguments<'_>) -> String {
        let record = Record::builder().level(log::Level::Warn).args(args).build();
        let wall = Wall { unix_ms: 0 };
        String::from_utf8(line(&record, wall, Tick(12_345))).unwrap()
    }

    fn queue(fd: impl AsFd) -> Queue {
        Queue { sink: Some(Sink::of(fd.as_fd()).unwrap()), ..Queue::new() }
    }

    fn pipe() -> (File, OwnedFd) {
        let (reader, writer) = crate::sys::stream::pipe().unwrap();
        (File::from(reader), writer)
    }

    fn read(reader: &mut File) -> String {
        let mut bytes = Vec::new();
        // The reader does not block: the end of what is there is an error.
        let _ = reader.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_both_clocks_and_is_one_line() {
        assert_eq!(
            text(format_args!("etcd: {}", "two\nlines\x1b[0m")),
            "1970-01-01T00:00:00.000Z     12.345 warn  etcd: two lines [0m\n"
        );
        let long = text(format_args!("{}", "é".repeat(5000)));
        assert!(long.len() <= MAX_LINE_BYTES && long.len() >= MAX_LINE_BYTES - 2);
        assert!(long.ends_with("é\n"));
    }

    #[test]
    fn a_full_pipe_makes_lines_wait_and_then_drops_and_counts_them() {
        let (mut reader, writer) = pipe();
        let mut queue = queue(&writer);
        let mut poll = Poll::new().unwrap();
        let mut out = Vec::new();
        let line = [vec![b'x'; 999], vec![b'\n']].concat();
        for _ in 0..300 {
            queue.push(line.clone());
            queue.drain(&poll, 5);
        }
        assert!(queue.is_watched && queue.bytes <= MAX_BYTES && queue.dropped > 0);
        let dropped = queue.dropped;
        poll.wait(Some(0), &mut out).unwrap();
        assert_eq!(out, [], "nothing can be written");

        let mut all = read(&mut reader);
        poll.wait(Some(10_000), &mut out).unwrap();
        assert!(out[0].writable && out[0].token == 5);
        while queue.is_watched {
            queue.drain(&poll, 5);
            all.push_str(&read(&mut reader));
        }
        let (last, lines) =
            all.lines().collect::<Vec<_>>().split_last().map(|(l, r)| (*l, r.len())).unwrap();
        assert_eq!(lines as u64 + dropped, 300);
        assert_eq!(last, format!("{dropped} lines of this log were lost here"));
        poll.wait(Some(0), &mut out).unwrap();
        assert_eq!(out, [], "an empty queue is not watched");
    }

    #[test]
    fn a_reader_that_has_gone_ends_nothing() {
        let (reader, writer) = pipe();
        let mut queue = queue(&writer);
        let poll = Poll::new().unwrap();
        drop(reader);
        for _ in 0..10 {
            queue.push(b"x\n".to_vec());
            queue.drain(&poll, 0);
        }
        assert!(queue.lines.is_empty() && !queue.is_watched && queue.dropped == 10);
    }

    #[test]
    fn a_full_disk_loses_lines_and_tells_when_there_is_room() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut queue = queue(&full);
        let poll = Poll::new().unwrap();
        queue.push(b"lost\n".to_vec());
        queue.drain(&poll, 0);
        assert!(!queue.is_watched && queue.dropped == 1);

        let (near, mut far) = UnixStream::pair().unwrap();
        queue.sink = Some(Sink::of(near.as_fd()).unwrap());
        queue.push(b"kept\n".to_vec());
        queue.drain(&poll, 0);
        let mut bytes = [0; 100];
        let count = far.read(&mut bytes).unwrap();
        let text = core::str::from_utf8(&bytes[..count]).unwrap();
        assert!(text.starts_with("kept\n"));
    }
}
