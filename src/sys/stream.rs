//! Bytes over a descriptor that never blocks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Fault;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// The end: the other side will say nothing more.
    End,
    /// Nothing yet.
    Later,
}

/// Reads what is there.
///
/// # Errors
///
/// The connection is broken.
pub fn read(fd: impl AsFd, bytes: &mut [u8]) -> Result<Got, Errno> {
    match rustix::io::read(fd, bytes) {
        Ok(0) => Ok(Got::End),
        Ok(count) => Ok(Got::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Got::Later),
        Err(errno) => Err(errno),
    }
}

/// Sends on a socket what it takes, without SIGPIPE; 0 when it takes nothing now.
///
/// # Errors
///
/// The connection is broken.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(fd, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => result,
    }
}

/// A pipe: the reading end does not block, the writing end does.
///
/// # Errors
///
/// The system is short of descriptors.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Fault> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(Fault::of("making", "a pipe"))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(Fault::of("making", "a pipe"))?;
    Ok((read, write))
}
