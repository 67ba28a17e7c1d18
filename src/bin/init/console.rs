//! Lines on the console, built on the stack, written without waiting: a serial line may stand
//! still for hours.

use std::fmt::{self, Write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pisup::sys::init_link::Exit;
use pisup::sys::stream::Sink;

/// Longest line; what is longer is cut.
const LINE_BYTES: usize = 256;

/// Where this program speaks and its children read and write.
pub struct Console {
    sink: Option<Sink>,
    input: OwnedFd,
    output: OwnedFd,
}

impl Console {
    /// The standard descriptors of this process.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            sink: Sink::of(io::stderr().as_fd()).ok(),
            input: io::stdin().as_fd().try_clone_to_owned()?,
            output: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }

    /// Says something; there may be nobody who hears it.
    pub fn say(&self, text: fmt::Arguments<'_>) {
        if let Some(sink) = &self.sink {
            let _ = sink.write(Line::of(text).bytes());
        }
    }

    /// What a person types.
    pub fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// What a person sees.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

/// Says something before there is a console, or when all is lost.
pub fn complain(text: fmt::Arguments<'_>) {
    let _ = io::Write::write_all(&mut io::stderr(), Line::of(text).bytes());
}

struct Line {
    bytes: [u8; LINE_BYTES],
    len: usize,
}

impl Line {
    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut line = Self { bytes: [0; LINE_BYTES], len: 0 };
        let _ = write!(line, "pisup-init: {text}");
        // The newline has a place of its own.
        if let Some(last) = line.bytes.get_mut(line.len) {
            *last = b'\n';
            line.len += 1;
        }
        line
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..LINE_BYTES - 1).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        self.len += room.len().min(text.len());
        Ok(())
    }
}

/// The end of a process in words.
pub struct Words(pub Exit);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(127) => f.write_str("cannot be executed (exit code 127)"),
            Exit::Code(code) => write!(f, "ended with exit code {code}"),
            Exit::Signal(number) => write!(f, "was killed by signal {number}"),
            Exit::Unknown => f.write_str("ended somehow"),
        }
    }
}

/// An error number, written without memory.
pub struct Errno(pub pisup::sys::Errno);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_ends() {
        assert_eq!(Line::of(format_args!("{} {}", "a", 1)).bytes(), b"pisup-init: a 1\n");
        let long = "x".repeat(1000);
        let line = Line::of(format_args!("{long}"));
        assert_eq!(line.bytes().len(), LINE_BYTES);
        assert_eq!(line.bytes().last(), Some(&b'\n'));
    }
}
