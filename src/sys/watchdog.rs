//! The hardware watchdog: a machine on which nobody feeds it for its time starts anew.
//!
//! A Pi's counter holds less than 16 seconds, and some kernels take a longer time and then count
//! it modulo 16: so 15 is the most that is ever asked for, and what the kernel made of it is read
//! back. Closing it without [`quiet`] leaves it running, which is the point of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Fault, foreign};

/// Longest time that is asked for, in seconds.
pub const SECONDS_MAX: u64 = 15;

/// WDIOC_SETTIMEOUT and WDIOC_GETTIMEOUT.
const SET_TIMEOUT: u32 = 0xC004_5706;
const GET_TIMEOUT: u32 = 0x8004_5707;

/// So often in its time is it fed.
const MEALS: u64 = 3;

/// A time that a driver which tells none is taken to have.
const USUAL_SECONDS: u64 = SECONDS_MAX;

/// Opens and starts a watchdog, and asks for a time.
///
/// # Errors
///
/// It is not there, or somebody else feeds it (EBUSY).
pub fn open(path: &Path, seconds: u64) -> Result<OwnedFd, Fault> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let fd = opened.map_err(Fault::of("opening", path.display()))?;
    if let Ok(mut seconds) = i32::try_from(seconds.min(SECONDS_MAX)) {
        // One that cannot be set has its own time, which is asked for next.
        let _ = foreign::ioctl(fd.as_fd(), SET_TIMEOUT.into(), &mut seconds);
    }
    Ok(fd)
}

/// The time that it has now, in seconds; `None` when the driver does not tell.
#[must_use]
pub fn seconds(watchdog: impl AsFd) -> Option<u64> {
    let mut seconds = 0;
    let told = foreign::ioctl(watchdog.as_fd(), GET_TIMEOUT.into(), &mut seconds);
    u64::try_from(seconds).ok().filter(|seconds| told == 0 && *seconds > 0)
}

/// How often it is to be fed, in milliseconds.
#[must_use]
pub fn feed_every_ms(watchdog: impl AsFd) -> u64 {
    seconds(watchdog).unwrap_or(USUAL_SECONDS) * 1000 / MEALS
}

/// Feeds it: its time begins anew.
pub fn feed(watchdog: BorrowedFd<'_>) {
    // If it fails there is nobody to tell who could do better.
    let _ = rustix::io::write(watchdog, b"\0");
}

/// Says that the next close is meant: the machine goes on without it. Nothing may be written
/// after that.
pub fn quiet(watchdog: BorrowedFd<'_>) {
    let _ = rustix::io::write(watchdog, b"V");
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::TempDir;
    use super::*;

    #[test]
    fn a_double_is_fed_and_closed() {
        let dir = TempDir::new("watchdog");
        let path = dir.path().join("watchdog");
        assert!(open(&path, 15).is_err());
        std::fs::write(&path, "").unwrap();
        let fd = open(&path, 60).unwrap();
        assert_eq!(seconds(&fd), None, "a file has no time");
        assert_eq!(feed_every_ms(&fd), 5000);
        feed(fd.as_fd());
        quiet(fd.as_fd());
        assert_eq!(std::fs::read(&path).unwrap(), b"\0V");
    }

    #[test]
    fn the_numbers_are_those_of_the_kernel() {
        // _IOWR('W', 6, int) and _IOR('W', 7, int) of linux/watchdog.h.
        let number =
            |direction: u32, nr: u32| direction << 30 | 4 << 16 | u32::from(b'W') << 8 | nr;
        assert_eq!((SET_TIMEOUT, GET_TIMEOUT), (number(3, 6), number(2, 7)));
    }
}
