//! The rtnetlink socket: carries bytes to the kernel and back, and hears when the network changes.
//!
//! What the bytes mean is not known here. The kernel answers while the request is being sent, so
//! asking does not wait for anybody but the kernel itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recv, send, socket_with};

/// The kernel puts at most so much of a list into one datagram.
const DATAGRAM: usize = 32 * 1024;

/// Longest answer, in bytes: a link takes 1.5 KB, so this is some 700 of them, or 17 000 routes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Milliseconds after which the kernel is not expected to answer any more; deleting a link can
/// wait behind the end of a network namespace, which takes a second or two.
const TIMEOUT_MS: u64 = 10_000;

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40;

/// Sends one request and collects the datagrams of its answer up to the one of which `ends` says
/// that it is the last.
pub fn ask(request: &[u8], ends: fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let socket = open(SocketFlags::CLOEXEC, 0)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(TIMEOUT_MS)))?;
    send(&socket, request, SendFlags::empty())?;
    let mut answer = Vec::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let received = match recv(&socket, datagram.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, len)) => datagram.get(..len),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer"));
            }
            Err(error) => return Err(error.into()),
        };
        // TRUNC gives the full length, which is then beyond the buffer.
        let part = received.ok_or(Errno::MSGSIZE)?;
        if answer.len() + part.len() > MAX_ANSWER {
            return Err(Errno::MSGSIZE.into());
        }
        answer.extend_from_slice(part);
        if ends(part) {
            return Ok(answer);
        }
    }
}

/// Hears that links, IPv4 addresses or IPv4 routes have changed; never blocks.
#[derive(Debug)]
pub struct Monitor(OwnedFd);

impl Monitor {
    /// Hears everything from now on.
    pub fn open() -> io::Result<Self> {
        open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, GROUPS).map(Self)
    }

    /// Takes what has come in, at most 64 datagrams; whether anything had.
    ///
    /// What exactly it was is not told: who wants to know asks, since the kernel drops
    /// notifications when they come faster than they are read.
    pub fn drain(&self) -> io::Result<bool> {
        let mut datagram = [0; 1];
        for count in 0..64 {
            match recv(&self.0, datagram.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(Errno::AGAIN) => return Ok(count > 0),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Waits, for helpers that may block, until something comes in; `false` when nothing does.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Ok(false),
            Ok(_) => self.drain(),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}
