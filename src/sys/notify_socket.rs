//! The socket on which a service says how it is (sd_notify): datagrams, each with its sender.
//!
//! Whatever arrives is survived. Descriptors that come along are closed at once: nobody here wants
//! them, and the sender of a barrier waits for just that.

use core::mem::MaybeUninit;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, socket_with, sockopt,
};

use super::Fault;
use super::socket::{self, Access};

/// Longest message taken; the protocol's own bound. What is longer is cut and marked.
pub const MAX_BYTES: usize = 4096;

/// Descriptors taken with one message, only to be closed; the kernel closes those beyond.
const MAX_FDS: usize = 4;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, as the kernel vouches; `None` for a process that cannot be seen from here.
    pub pid: Option<u32>,
    /// The sender's user.
    pub uid: u32,
    /// What it says; any bytes, or none.
    pub bytes: Vec<u8>,
    /// It was longer than [`MAX_BYTES`]: the rest is lost.
    pub is_cut: bool,
}

/// A bound datagram socket; its file goes when it goes.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    path: PathBuf,
}

impl NotifySocket {
    /// Binds a path that any user may write to: who may speak is decided by the sender's process.
    /// What has the path is replaced: pisup-init may still hold the socket of an earlier run.
    pub fn bind(path: &Path) -> Result<Self, Fault> {
        let fault = Fault::of("binding", path.display());
        let address = SocketAddrUnix::new(path).map_err(&fault)?;
        super::files::remove(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        let socket = socket.map_err(&fault)?;
        // Before the bind: no message may slip in without its sender.
        sockopt::set_socket_passcred(&socket, true).map_err(&fault)?;
        bind(&socket, &address).map_err(&fault)?;
        let bound = Self { socket, path: path.to_owned() };
        let anyone = Access { mode: 0o666, uid: None, gid: None };
        socket::set_access(path, anyone)?;
        Ok(bound)
    }

    /// A socket of an earlier supervisor with all that was said to it meanwhile; `None` if it is
    /// another one.
    #[must_use]
    pub fn resume(path: &Path, socket: OwnedFd) -> Option<Self> {
        let is_it = socket::is_bound_to_unix(socket.as_fd(), path);
        is_it.then(|| Self { socket, path: path.to_owned() })
    }

    /// Where it is bound.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes one message; `None` when there is none.
    pub fn receive(&self) -> Result<Option<Datagram>, Fault> {
        self.look(RecvFlags::empty())
    }

    /// The message that comes next, which stays there; `None` when there is none.
    pub fn peek(&self) -> Result<Option<Datagram>, Fault> {
        self.look(RecvFlags::PEEK)
    }

    fn look(&self, more: RecvFlags) -> Result<Option<Datagram>, Fault> {
        let mut bytes = vec![0; MAX_BYTES];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | more;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&self.socket, &mut parts, &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(Fault::of("receiving from", self.path.display())(errno)),
        };
        let mut sender = None;
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmCredentials(found) => sender = Some(found),
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.for_each(drop),
                _ => {}
            }
        }
        bytes.truncate(received.bytes);
        Ok(Some(Datagram {
            pid: sender.and_then(|found| socket::pid(found.pid)),
            uid: sender.map_or(u32::MAX, |found| found.uid.as_raw()),
            bytes,
            is_cut: received.flags.contains(ReturnFlags::TRUNC),
        }))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use proptest::prelude::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg_addr};

    use super::super::files::tests::TempDir;
    use super::*;

    fn bound(dir: &TempDir) -> (NotifySocket, UnixDatagram) {
        let path = dir.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        (socket, UnixDatagram::unbound().unwrap())
    }

    fn send_fds(to: &Path, from: &UnixDatagram, fds: &[BorrowedFd<'_>]) {
        let mut space = vec![MaybeUninit::uninit(); 4096];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        let address = SocketAddrUnix::new(to).unwrap();
        let text = [IoSlice::new(b"BARRIER=1")];
        sendmsg_addr(from, &address, &text, &mut control, SendFlags::empty()).unwrap();
    }

    #[test]
    fn every_message_has_its_sender() {
        let dir = TempDir::new("notify");
        let (socket, service) = bound(&dir);
        assert_eq!(socket.receive().unwrap(), None);
        service.send_to(b"READY=1", socket.path()).unwrap();
        service.send_to(b"", socket.path()).unwrap();
        let shown = socket.peek().unwrap().unwrap();
        let first = socket.receive().unwrap().unwrap();
        assert_eq!(shown, first, "it stays there");
        assert_eq!(first.pid, Some(std::process::id()));
        assert_eq!(first.uid, rustix::process::getuid().as_raw());
        assert_eq!(first.bytes, b"READY=1");
        let second = socket.receive().unwrap().unwrap();
        assert!(second.bytes.is_empty() && second.pid.is_some());
        assert_eq!(socket.receive().unwrap(), None);
    }

    #[test]
    fn an_oversized_message_is_cut_and_marked() {
        let dir = TempDir::new("notify");
        let (socket, service) = bound(&dir);
        service.send_to(&[b'x'; 9000], socket.path()).unwrap();
        service.send_to(&[b'y'; MAX_BYTES], socket.path()).unwrap();
        let cut = socket.receive().unwrap().unwrap();
        assert!(cut.is_cut && cut.bytes.len() == MAX_BYTES);
        let whole = socket.receive().unwrap().unwrap();
        assert!(!whole.is_cut && whole.bytes.len() == MAX_BYTES);
    }

    #[test]
    fn descriptors_are_closed_however_many() {
        let dir = TempDir::new("notify");
        let (socket, service) = bound(&dir);
        for count in [1, 3, 4, 5, 100] {
            let (mut near, far) = UnixStream::pair().unwrap();
            send_fds(socket.path(), &service, &vec![far.as_fd(); count]);
            drop(far);
            let barrier = socket.receive().unwrap().unwrap();
            assert_eq!(barrier.bytes, b"BARRIER=1");
            assert_eq!(barrier.pid, Some(std::process::id()));
            // The end of the stream is seen once the last copy is closed.
            near.set_nonblocking(true).unwrap();
            assert_eq!(near.read(&mut [0]).unwrap(), 0, "{count} descriptors");
        }
    }

    #[test]
    fn the_file_goes_with_the_socket() {
        let dir = TempDir::new("notify");
        let (socket, _) = bound(&dir);
        let path = socket.path().to_owned();
        // Its supervisor is killed, and pisup-init holds it still.
        std::mem::forget(socket);
        let socket = NotifySocket::bind(&path).unwrap();
        assert!(path.exists());
        drop(socket);
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn any_bytes_arrive_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
            let dir = TempDir::new("notify");
            let (socket, service) = bound(&dir);
            service.send_to(&bytes, socket.path()).unwrap();
            let got = socket.receive().unwrap().unwrap();
            prop_assert_eq!(got.is_cut, bytes.len() > MAX_BYTES);
            prop_assert!(bytes.starts_with(&got.bytes));
            prop_assert_eq!(got.bytes.len(), bytes.len().min(MAX_BYTES));
            prop_assert_eq!(socket.receive().unwrap(), None);
        }
    }
}
