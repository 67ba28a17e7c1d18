//! What the kernel refused, as a sentence: `doing what: why`.

use core::fmt;

use rustix::io::Errno;

/// A refusal of the kernel: what was tried, on what, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The attempt, as a verb: `binding`, `reading`.
    pub doing: &'static str,
    /// What it was tried on: a path, an address, a program.
    pub what: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl Fault {
    /// A function for `map_err`.
    pub fn of<'a>(
        doing: &'static str,
        what: impl fmt::Display + 'a,
    ) -> impl Fn(Errno) -> Self + 'a {
        move |errno| Self { doing, what: what.to_string(), errno }
    }
}

impl Fault {
    /// Whether a path, or a directory on the way to it, is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.errno, Errno::NOENT | Errno::NOTDIR)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.what, reason(self.errno))
    }
}

impl core::error::Error for Fault {}

/// An error number for people: `connection refused`.
#[must_use]
pub fn reason(errno: Errno) -> String {
    let text = errno.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with("RPC") => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// The error number inside an error of the standard library; `EIO` when it has none.
#[must_use]
pub fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let fault = Fault::of("connecting to", "127.0.0.1:1")(Errno::CONNREFUSED);
        assert_eq!(fault.to_string(), "connecting to 127.0.0.1:1: connection refused");
        assert_eq!(reason(Errno::IO), "input/output error");
    }
}
