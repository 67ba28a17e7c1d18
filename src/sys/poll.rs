//! Epoll: which descriptors can be read or written, and nothing about what they are.
//!
//! Level-triggered: whoever leaves bytes behind is told again, so drivers may stop after a bounded
//! batch. Descriptors are not owned; who owns one removes it before closing it.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::Fault;

/// Most descriptors told in one call; the rest comes with the next one, so that timers and
/// signals are never more than so many reads away.
pub const MAX_READY: usize = 64;

/// Longest wait in one call (a day): it fits the kernel's 32-bit milliseconds.
const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1000;

/// What to be told of. Hang-ups and errors are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, connections or datagrams to take.
    Read,
    /// Room for bytes.
    Write,
    /// Both.
    ReadWrite,
    /// Only hang-ups and errors.
    Nothing,
}

/// A descriptor that can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The number it was added with.
    pub token: u64,
    /// A read will not block; it may still find the end.
    pub readable: bool,
    /// A write will not block; it may still fail.
    pub writable: bool,
    /// The other side is gone or the descriptor is in error; there may be bytes left to read.
    pub hangup: bool,
}

/// A set of watched descriptors.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// An empty set.
    pub fn new() -> Result<Self, Fault> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(Fault::of("making", "an epoll instance"))?;
        Ok(Self { epoll, events: Vec::with_capacity(MAX_READY) })
    }

    /// Watches a descriptor. Regular files cannot be watched (`EPERM`): they are always ready.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Fault> {
        let data = epoll::EventData::new_u64(token);
        epoll::add(&self.epoll, fd, data, flags(interest)).map_err(Fault::of("watching", "a file"))
    }

    /// Changes what is told of a descriptor.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Fault> {
        let data = epoll::EventData::new_u64(token);
        epoll::modify(&self.epoll, fd, data, flags(interest))
            .map_err(Fault::of("watching", "a file"))
    }

    /// Forgets a descriptor; one that was never added is fine.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // The only failures are "not there" and "not watchable", and both are the wanted end.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until a descriptor can go on or the time (milliseconds; `None` is for ever) is over,
    /// and puts at most [`MAX_READY`] of them into `out`, which is emptied first.
    ///
    /// A signal ends the wait with nothing told.
    pub fn wait(&mut self, timeout_ms: Option<u64>, out: &mut Vec<Ready>) -> Result<(), Fault> {
        out.clear();
        self.events.clear();
        let timeout = timeout_ms.map(timespec);
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(Fault::of("waiting for", "descriptors")(errno)),
        }
        out.extend(self.events.iter().map(ready));
        Ok(())
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::Write => epoll::EventFlags::OUT,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        Interest::Nothing => epoll::EventFlags::empty(),
    }
}

fn ready(event: &epoll::Event) -> Ready {
    // The structure is packed on some machines: its fields are copied, never borrowed.
    let (flags, data) = (event.flags, event.data);
    Ready {
        token: data.u64(),
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        hangup: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR),
    }
}

/// Whole milliseconds: there is nothing to round down to zero and spin on.
fn timespec(ms: u64) -> Timespec {
    let ms = i64::try_from(ms.min(MAX_WAIT_MS)).unwrap_or(0);
    Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn tells_what_can_go_on() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut out = Vec::new();
        poll.add(near.as_fd(), 7, Interest::Read).unwrap();
        poll.wait(Some(0), &mut out).unwrap();
        assert_eq!(out, []);

        far.write_all(b"x").unwrap();
        poll.wait(None, &mut out).unwrap();
        let told = Ready { token: 7, readable: true, writable: false, hangup: false };
        assert_eq!(out, [told]);

        poll.modify(near.as_fd(), 8, Interest::ReadWrite).unwrap();
        poll.wait(None, &mut out).unwrap();
        assert!(out[0].readable && out[0].writable && out[0].token == 8);

        near.read_exact(&mut [0]).unwrap();
        drop(far);
        poll.modify(near.as_fd(), 8, Interest::Nothing).unwrap();
        poll.wait(None, &mut out).unwrap();
        assert!(out[0].hangup && !out[0].readable);

        poll.remove(near.as_fd());
        poll.remove(near.as_fd());
        poll.wait(Some(0), &mut out).unwrap();
        assert_eq!(out, []);
    }

    #[test]
    fn a_batch_is_bounded_and_nothing_is_lost() {
        let pairs: Vec<_> = (0..100).map(|_| UnixStream::pair().unwrap()).collect();
        let mut poll = Poll::new().unwrap();
        for (token, (near, far)) in (0_u64..).zip(&pairs) {
            poll.add(near.as_fd(), token, Interest::Read).unwrap();
            let mut far = far;
            far.write_all(b"x").unwrap();
        }
        let (mut seen, mut out) = (Vec::new(), Vec::new());
        while seen.len() < 100 {
            poll.wait(Some(10_000), &mut out).unwrap();
            assert!(!out.is_empty() && out.len() <= MAX_READY);
            for ready in &out {
                assert!(!seen.contains(&ready.token));
                seen.push(ready.token);
                let (near, _) = &pairs[usize::try_from(ready.token).unwrap()];
                let mut near = near;
                near.read_exact(&mut [0]).unwrap();
            }
        }
    }

    #[test]
    fn any_timeout_is_taken() {
        for ms in [0, 1, 999, 1000, u64::from(u32::MAX), u64::MAX] {
            let spec = timespec(ms);
            assert!(spec.tv_sec <= 86_400 && (0..1_000_000_000).contains(&spec.tv_nsec));
            assert!(ms == 0 || spec.tv_sec > 0 || spec.tv_nsec >= 1_000_000);
        }
    }
}
