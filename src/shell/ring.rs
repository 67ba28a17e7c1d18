//! The last lines of a unit's output, in a bounded number of bytes.
//!
//! A line is stored whole and dropped whole, the oldest first. Each has a number that never comes
//! again, so any number of readers can go on where they were, and learn what they missed.

use std::collections::VecDeque;

use crate::machine::Tick;

/// Longest line, in bytes; what is longer is cut into pieces.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// What a line costs beside its bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// Smallest ring: one longest line.
const MIN_BYTES: usize = MAX_LINE_BYTES + ENTRY_BYTES;

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number; one more than that of the line before it.
    pub seq: u64,
    /// When its end was read.
    pub at: Tick,
    /// What it says, without the line end; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// It was too long: its next piece is the next line.
    pub is_cut: bool,
}

/// Lines for a reader who goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order.
    pub lines: Vec<Line>,
    /// Where to go on.
    pub next: u64,
    /// Lines that were dropped before this reader saw them.
    pub missed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Tick,
    /// Where it begins, counted in bytes since the first line ever.
    start: u64,
    is_cut: bool,
}

/// A bounded store of lines.
#[derive(Debug)]
pub struct Ring {
    bytes: VecDeque<u8>,
    entries: VecDeque<Entry>,
    /// Number of the oldest line that is kept, and so the count of those dropped.
    first: u64,
    /// Where the next line will begin.
    end: u64,
    max_bytes: usize,
}

impl Ring {
    /// An empty ring of at most so many bytes; it never has room for less than one line.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let max_bytes = clamp(max_bytes);
        Self { bytes: VecDeque::new(), entries: VecDeque::new(), first: 0, end: 0, max_bytes }
    }

    /// Changes the bound; the oldest lines go if there are too many now.
    pub fn resize(&mut self, max_bytes: u64) {
        self.max_bytes = clamp(max_bytes);
        self.make_room(0);
        self.bytes.shrink_to(self.max_bytes);
        self.entries.shrink_to(self.max_bytes / ENTRY_BYTES);
    }

    /// Adds a line of at most [`MAX_LINE_BYTES`]; of a longer one the rest is lost.
    pub fn push(&mut self, at: Tick, text: &[u8], is_cut: bool) {
        let text = text.get(..MAX_LINE_BYTES).unwrap_or(text);
        self.make_room(text.len() + ENTRY_BYTES);
        self.entries.push_back(Entry { at, start: self.end, is_cut });
        self.grow(text.len());
        self.bytes.extend(text);
        self.end = self.end.saturating_add(text.len() as u64);
    }

    /// Lines dropped so far.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.first
    }

    /// The number that the next line will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    /// Bytes in use, with what lines cost beside their text.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * ENTRY_BYTES
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<Line> {
        let skipped = self.entries.len().saturating_sub(count);
        (skipped..self.entries.len()).filter_map(|index| self.line(index)).collect()
    }

    /// The lines from number `cursor` on, as long as their text is at most `max_bytes`, but one
    /// line at least if there is one.
    #[must_use]
    pub fn since(&self, cursor: u64, max_bytes: usize) -> Batch {
        let cursor = cursor.min(self.next());
        let missed = self.first.saturating_sub(cursor);
        let from = usize::try_from(cursor.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut batch = Batch { lines: Vec::new(), next: cursor.max(self.first), missed };
        let mut bytes = 0_usize;
        for line in (from..self.entries.len()).filter_map(|index| self.line(index)) {
            bytes = bytes.saturating_add(line.text.len());
            if bytes > max_bytes && !batch.lines.is_empty() {
                break;
            }
            batch.next = line.seq.saturating_add(1);
            batch.lines.push(line);
        }
        batch
    }

    /// The first line from number `cursor` on.
    #[must_use]
    pub fn get(&self, cursor: u64) -> Option<Line> {
        self.line(usize::try_from(cursor.saturating_sub(self.first)).ok()?)
    }

    fn line(&self, index: usize) -> Option<Line> {
        let entry = self.entries.get(index)?;
        let base = self.entries.front()?.start;
        let next = self.entries.get(index + 1).map_or(self.end, |next| next.start);
        let from = usize::try_from(entry.start.saturating_sub(base)).ok()?;
        let to = usize::try_from(next.saturating_sub(base)).ok()?;
        let bytes: Vec<u8> =
            self.bytes.iter().skip(from).take(to.saturating_sub(from)).copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        Some(Line {
            seq: self.first.saturating_add(index as u64),
            at: entry.at,
            text: text.strip_suffix('\r').unwrap_or(&text).to_owned(),
            is_cut: entry.is_cut,
        })
    }

    /// Drops the oldest lines until there is room.
    fn make_room(&mut self, bytes: usize) {
        while self.used_bytes() + bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            let next = self.entries.front().map_or(self.end, |next| next.start);
            let count = usize::try_from(next.saturating_sub(oldest.start)).unwrap_or(usize::MAX);
            self.bytes.drain(..count.min(self.bytes.len()));
            self.first = self.first.saturating_add(1);
        }
    }

    /// Memory grows with what is in use, by doubling, and never beyond the bound.
    fn grow(&mut self, count: usize) {
        let need = self.bytes.len() + count;
        if need > self.bytes.capacity() {
            let want = (self.bytes.capacity() * 2).max(need).min(self.max_bytes);
            self.bytes.reserve_exact(want.saturating_sub(self.bytes.len()));
        }
    }
}

fn clamp(max_bytes: u64) -> usize {
    usize::try_from(max_bytes).unwrap_or(usize::MAX).max(MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_last_lines() {
        let mut ring = Ring::new(64 * 1024);
        assert_eq!(ring.tail(3), []);
        for (at, text) in [(1, "one"), (2, ""), (3, "three\r")] {
            ring.push(Tick(at), text.as_bytes(), false);
        }
        assert_eq!(texts(&ring.tail(2)), ["", "three"]);
        assert_eq!(texts(&ring.tail(9)), ["one", "", "three"]);
        assert_eq!((ring.tail(1)[0].seq, ring.tail(1)[0].at), (2, Tick(3)));
        ring.push(Tick(4), b"\xff bad", false);
        assert_eq!(texts(&ring.tail(1)), ["\u{fffd} bad"]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_learns_what_it_missed() {
        let mut ring = Ring::new(0);
        let long = [b'x'; 4080];
        ring.push(Tick(0), &long, false);
        ring.push(Tick(0), b"a", false);
        let first = ring.since(0, 10);
        assert_eq!((first.lines.len(), first.next, first.missed), (1, 1, 0));
        let second = ring.since(first.next, 10);
        assert_eq!((texts(&second.lines), second.next), (vec!["a"], 2));
        assert_eq!(ring.since(2, 10).lines, []);

        ring.push(Tick(0), &long, false);
        ring.push(Tick(0), &long, false);
        assert_eq!(ring.dropped(), 2);
        let late = ring.since(0, usize::MAX);
        assert_eq!((late.lines.len(), late.next, late.missed), (2, 4, 2));
        assert_eq!((ring.get(0).unwrap().seq, ring.get(3).unwrap().seq), (2, 3));
        assert_eq!(ring.get(4), None);
        // A cursor from a life before this one starts at what is there.
        assert_eq!(ring.since(99, 10), Batch { lines: vec![], next: 4, missed: 0 });
    }

    #[test]
    fn a_smaller_ring_keeps_the_newest() {
        let mut ring = Ring::new(1 << 20);
        for count in 0..100_u64 {
            ring.push(Tick(count), &[b'x'; 1000], false);
        }
        ring.resize(0);
        assert!(ring.used_bytes() <= MIN_BYTES && ring.bytes.capacity() <= 2 * MIN_BYTES);
        assert_eq!(ring.next(), 100);
        assert_eq!(ring.tail(1)[0].at, Tick(99));
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_lines_stay_whole(
            max in 0_u64..40_000,
            lines in prop::collection::vec((any::<u8>(), 0..12_000_usize), 0..60),
        ) {
            let mut ring = Ring::new(max);
            let bound = clamp(max);
            for (count, (letter, len)) in (0_u64..).zip(&lines) {
                let letter = b'a' + letter % 26;
                ring.push(Tick(count), &vec![letter; *len], false);
                prop_assert!(ring.used_bytes() <= bound);
                prop_assert!(ring.bytes.capacity() <= bound);
                prop_assert!(!ring.entries.is_empty(), "the newest line is always there");
            }
            let kept = ring.since(0, usize::MAX);
            prop_assert_eq!(kept.missed, ring.dropped());
            prop_assert_eq!(kept.next, lines.len() as u64);
            for line in kept.lines {
                let (letter, len) = lines[usize::try_from(line.seq).unwrap()];
                let want = char::from(b'a' + letter % 26).to_string();
                prop_assert_eq!(line.text, want.repeat(len.min(MAX_LINE_BYTES)));
            }
        }
    }
}
