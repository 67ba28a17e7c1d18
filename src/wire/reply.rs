//! An HTTP/1 reply that grows as its bytes come in, in pieces of any size.
//!
//! Pure, so that a helper may read from a blocking socket and the supervisor from one that never
//! blocks. Bodies by length, in chunks, or up to the end of the connection; every size is bounded,
//! and a reply that ends early is never taken for a whole one.
//!
//! ```
//! use pisup::wire::reply::{Progress, Reply};
//! let mut reply = Reply::new(1024);
//! assert_eq!(reply.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), Ok(Progress::More));
//! assert_eq!(reply.feed(b"k"), Ok(Progress::Done));
//! assert_eq!((reply.status(), reply.body()), (Some(200), &b"ok"[..]));
//! ```

use std::fmt;

/// Longest head of a reply, and longest line between chunks, in bytes.
pub const MAX_HEAD: usize = 8 * 1024;

/// Most header fields of a reply; a dozen is usual.
pub const MAX_HEADERS: usize = 64;

/// How far a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to come.
    More,
    /// The reply is complete; what follows is not part of it.
    Done,
}

/// Why a reply cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// It is not HTTP/1.
    Malformed(&'static str),
    /// The head has more than [`MAX_HEAD`] bytes or [`MAX_HEADERS`] fields.
    HeadTooLong,
    /// The body has more than so many bytes.
    BodyTooLong(usize),
    /// The connection ended in the middle of it.
    Truncated(&'static str),
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed reply: {what}"),
            Self::HeadTooLong => write!(f, "malformed reply: its head is over {MAX_HEAD} bytes"),
            Self::BodyTooLong(limit) => write!(f, "the reply's body is over {limit} bytes"),
            Self::Truncated(part) => write!(f, "truncated reply: it ends in its {part}"),
        }
    }
}

impl std::error::Error for BadReply {}

/// A reply that grows as its bytes come in.
#[derive(Clone, Debug)]
pub struct Reply {
    state: State,
    /// The head, or a line between chunks, until it is whole.
    pending: Vec<u8>,
    status: Option<u16>,
    body: Vec<u8>,
    max_body: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of body are still to come.
    Sized(u64),
    /// The body ends with the connection.
    ToTheEnd,
    /// A chunk's size line comes next.
    ChunkSize,
    /// So many bytes of a chunk are still to come.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// The fields behind the last chunk.
    Trailer,
    Done,
}

impl Reply {
    /// An empty reply whose body, as far as it was not taken, may have `max_body` bytes.
    #[must_use]
    pub const fn new(max_body: usize) -> Self {
        Self { state: State::Head, pending: Vec::new(), status: None, body: Vec::new(), max_body }
    }

    /// The status code, once the head is in.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// The body as far as it is in and was not taken.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Hands out the body as far as it is in, for those that follow a stream.
    pub fn take_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Takes the next bytes; after an error the reply is of no use any more.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Progress, BadReply> {
        while !bytes.is_empty() && self.state != State::Done {
            bytes = match self.state {
                State::Head => self.head(bytes)?,
                State::Sized(left) => {
                    let (left, rest) = self.take(left, bytes)?;
                    self.state = if left == 0 { State::Done } else { State::Sized(left) };
                    rest
                }
                State::ToTheEnd => self.take(u64::MAX, bytes)?.1,
                State::Chunk(left) => {
                    let (left, rest) = self.take(left, bytes)?;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    rest
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => self.line(bytes)?,
                State::Done => &[],
            };
        }
        Ok(self.progress())
    }

    /// The connection has ended.
    pub fn end(&mut self) -> Result<(), BadReply> {
        match self.state {
            State::Done => Ok(()),
            State::ToTheEnd => {
                self.state = State::Done;
                Ok(())
            }
            State::Head if self.pending.is_empty() => Err(BadReply::Truncated("beginning")),
            State::Head => Err(BadReply::Truncated("head")),
            _ => Err(BadReply::Truncated("body")),
        }
    }

    fn progress(&self) -> Progress {
        if self.state == State::Done { Progress::Done } else { Progress::More }
    }

    /// Adds at most `left` bytes to the body; what is left of both.
    fn take<'a>(&mut self, left: u64, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), BadReply> {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (body, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
        if self.body.len().saturating_add(count) > self.max_body {
            return Err(BadReply::BodyTooLong(self.max_body));
        }
        self.body.extend_from_slice(body);
        Ok((left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX)), rest))
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], BadReply> {
        let before = self.pending.len();
        let room = MAX_HEAD.saturating_sub(before).min(bytes.len());
        self.pending.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let used = match head.parse(&self.pending) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) if self.pending.len() < MAX_HEAD => return Ok(&[]),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(BadReply::HeadTooLong);
            }
            Err(_) => return Err(BadReply::Malformed("it does not begin as HTTP/1 does")),
        };
        let status = head.code.unwrap_or(0);
        let next = after_head(status, head.headers)?;
        self.pending.clear();
        if (100..200).contains(&status) {
            // "100 Continue" announces the real reply.
            self.state = State::Head;
        } else {
            self.status = Some(status);
            self.state = next;
        }
        Ok(bytes.get(used.saturating_sub(before)..).unwrap_or(&[]))
    }

    /// The short lines around chunks.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], BadReply> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let (line, rest) =
            bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        if self.pending.len().saturating_add(line.len()) > MAX_HEAD {
            return Err(BadReply::Malformed("a line between chunks does not end"));
        }
        self.pending.extend_from_slice(line);
        if end.is_none() {
            return Ok(rest);
        }
        let line = std::mem::take(&mut self.pending);
        self.state = match (self.state, line.trim_ascii_end().is_empty()) {
            (State::ChunkEnd, true) => State::ChunkSize,
            (State::ChunkEnd, false) => {
                return Err(BadReply::Malformed("a chunk is longer than it said"));
            }
            (State::Trailer, true) => State::Done,
            (State::Trailer, false) => State::Trailer,
            _ => match chunk_size(&line) {
                Some(0) => State::Trailer,
                Some(size) => State::Chunk(size),
                None => return Err(BadReply::Malformed("a chunk without a size")),
            },
        };
        Ok(rest)
    }
}

/// Hexadecimal, up to an extension that nobody uses.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// How the body comes, by the fields of the head.
fn after_head(status: u16, headers: &[httparse::Header<'_>]) -> Result<State, BadReply> {
    if status == 101 {
        return Err(BadReply::Malformed("it switches to another protocol"));
    }
    if status == 204 || status == 304 {
        return Ok(State::Done);
    }
    let mut state = State::ToTheEnd;
    for header in headers {
        let value = std::str::from_utf8(header.value).unwrap_or("").trim();
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(BadReply::Malformed("an unknown transfer encoding"));
            }
            state = State::ChunkSize;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            let Some(length) = value.parse().ok().filter(|_| is_number) else {
                return Err(BadReply::Malformed("a content length that is no number"));
            };
            state = match state {
                State::ToTheEnd => State::Sized(length),
                State::Sized(other) if other != length => {
                    return Err(BadReply::Malformed("two content lengths"));
                }
                other => other,
            };
        }
    }
    Ok(if state == State::Sized(0) { State::Done } else { state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whole, and byte by byte: both must agree.
    fn read(bytes: &[u8]) -> Result<(u16, Vec<u8>), BadReply> {
        let read_in = |step: usize| {
            let mut reply = Reply::new(64);
            for piece in bytes.chunks(step) {
                reply.feed(piece)?;
            }
            reply.end()?;
            Ok((reply.status().unwrap(), reply.body().to_vec()))
        };
        let whole = read_in(bytes.len().max(1));
        assert_eq!(read_in(1), whole);
        whole
    }

    #[test]
    fn replies() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, "ok"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.0 200 OK\r\n\r\nall of it", 200, "all of it"),
            ("HTTP/1.0 500 Oh\r\n\r\n", 500, ""),
            ("HTTP/1.1 204 No\r\n\r\nx", 204, ""),
            ("HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n", 304, ""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""),
            ("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", 200, "x"),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n\n3\nabc\n0\n\n", 200, "abc"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n\
                 0123456789\r\n0\r\nT: 1\r\n\r\nHTTP",
                200,
                "abc0123456789",
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Ok((status, body.into())), "{text:?}");
        }
    }

    #[test]
    fn bad_replies() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (text, want) in [
            ("".to_owned(), "truncated reply: it ends in its beginning"),
            ("HTTP/1.1 20".to_owned(), "truncated reply: it ends in its head"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n".to_owned(), "truncated reply: it ends in its head"),
            ("SSH-2.0-x\r\n".to_owned(), "malformed reply: it does not begin as HTTP/1 does"),
            ("HTTP/2 200\r\n".to_owned(), "malformed reply: it does not begin as HTTP/1 does"),
            ("HTTP/1.1 xyz\r\n".to_owned(), "malformed reply: it does not begin as HTTP/1 does"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc".to_owned(),
                "truncated reply: it ends in its body",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
                "malformed reply: a content length that is no number",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
                "malformed reply: two content lengths",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
                "malformed reply: an unknown transfer encoding",
            ),
            (
                "HTTP/1.1 101 Sure\r\n\r\n".to_owned(),
                "malformed reply: it switches to another protocol",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n".to_owned() + &"x".repeat(65),
                "the reply's body is over 64 bytes",
            ),
            (
                format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD)),
                "malformed reply: its head is over 8192 bytes",
            ),
            (
                format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1)),
                "malformed reply: its head is over 8192 bytes",
            ),
            (format!("{chunked}zz\r\n"), "malformed reply: a chunk without a size"),
            (format!("{chunked}\r\n"), "malformed reply: a chunk without a size"),
            (format!("{chunked}3\r\nabcd\r\n"), "malformed reply: a chunk is longer than it said"),
            (format!("{chunked}3\r\nab"), "truncated reply: it ends in its body"),
            (format!("{chunked}3\r\nabc\r\n0\r\n"), "truncated reply: it ends in its body"),
            (
                format!("{chunked}3\r\nabc\r\n{}", "1".repeat(MAX_HEAD + 1)),
                "malformed reply: a line between chunks does not end",
            ),
            (format!("{chunked}fffffffffffffffff\r\n"), "malformed reply: a chunk without a size"),
            (
                format!("{chunked}ffffffffffffffff\r\n{}", "x".repeat(65)),
                "the reply's body is over 64 bytes",
            ),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), want, "{text:?}");
        }
    }

    #[test]
    fn a_stream_is_bounded_by_what_was_not_taken() {
        let mut reply = Reply::new(4);
        reply.feed(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        for _ in 0..100 {
            reply.feed(b"abcd").unwrap();
            assert_eq!(reply.take_body(), b"abcd");
        }
        assert_eq!(reply.feed(b"abcde"), Err(BadReply::BodyTooLong(4)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            reply.extend(bytes);
            let _ = read(&reply);
        }
    }
}
