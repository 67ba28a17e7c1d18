//! Bytes to lines, bounded: keeps what has come of a line until the rest comes, and no more.

/// A line is longer than allowed; where the next one begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Collects the bytes of a stream and gives them back as lines.
///
/// It holds less than one whole line and what was fed last, so a reader that empties it with
/// [`FrameBuffer::next_line`] after every read is bounded by the limit and the size of a read.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Up to here lines have been given back.
    start: usize,
    /// There is no newline between `start` and here.
    scanned: usize,
    limit: usize,
    is_broken: bool,
}

impl FrameBuffer {
    /// A buffer for lines of at most `limit` bytes, the newline counted.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, scanned: 0, limit, is_broken: false }
    }

    /// Takes bytes as they come; after `TooLong` it throws them away.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.is_broken {
            return;
        }
        self.bytes.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line without its newline; `None` when it takes more bytes.
    ///
    /// `TooLong` is told once, and nothing comes after it: the stream cannot be read any further.
    pub fn next_line(&mut self) -> Option<Result<Vec<u8>, TooLong>> {
        let fresh = self.bytes.get(self.scanned..).unwrap_or_default();
        let end = fresh.iter().position(|byte| *byte == b'\n').map(|at| self.scanned + at);
        let needed = end.unwrap_or(self.bytes.len()) + 1 - self.start;
        if needed > self.limit && !self.is_broken {
            *self = Self { is_broken: true, ..Self::new(self.limit) };
            return Some(Err(TooLong));
        }
        let Some(end) = end else {
            self.scanned = self.bytes.len();
            return None;
        };
        let line = self.bytes.get(self.start..end).unwrap_or_default().to_vec();
        self.start = end + 1;
        self.scanned = self.start;
        Some(Ok(line))
    }

    /// Whether bytes are left that may be the beginning of a line.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.bytes.len() > self.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(buffer: &mut FrameBuffer) -> Vec<Result<String, TooLong>> {
        std::iter::from_fn(|| buffer.next_line())
            .map(|line| line.map(|line| String::from_utf8(line).unwrap()))
            .collect()
    }

    #[test]
    fn two_requests_in_a_packet_are_two_lines() {
        let mut buffer = FrameBuffer::new(100);
        buffer.feed(b"one\ntwo\nthr");
        assert_eq!(lines(&mut buffer), [Ok("one".into()), Ok("two".into())]);
        assert!(buffer.is_partial());
        buffer.feed(b"ee\n\n");
        assert_eq!(lines(&mut buffer), [Ok("three".into()), Ok(String::new())]);
        assert!(!buffer.is_partial());
    }

    #[test]
    fn a_line_of_just_the_limit_passes_and_one_byte_more_does_not() {
        let mut buffer = FrameBuffer::new(4);
        buffer.feed(b"abc\nabc");
        assert_eq!(lines(&mut buffer), [Ok("abc".into())]);
        buffer.feed(b"d");
        assert_eq!(lines(&mut buffer), [Err(TooLong)]);
        buffer.feed(b"e\nnext\n");
        assert_eq!(lines(&mut buffer), []);
        assert!(!buffer.is_partial());
    }

    #[test]
    fn whole_lines_before_one_that_is_too_long_are_given_back() {
        let mut buffer = FrameBuffer::new(4);
        buffer.feed(b"a\nabcdefgh\nb\n");
        assert_eq!(lines(&mut buffer), [Ok("a".into()), Err(TooLong)]);
    }

    proptest! {
        #[test]
        fn packets_do_not_matter(
            text in prop::collection::vec(prop::sample::select(b"ab\n".to_vec()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
            limit in 1usize..8,
        ) {
            let mut whole = FrameBuffer::new(limit);
            whole.feed(&text);
            let expected = lines(&mut whole);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut cut = FrameBuffer::new(limit);
            let mut found = Vec::new();
            for pair in cuts.windows(2) {
                cut.feed(&text[pair[0]..pair[1]]);
                found.extend(lines(&mut cut));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
