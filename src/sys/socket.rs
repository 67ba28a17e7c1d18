//! Stream sockets: listening, accepting and connecting, all without waiting.
//!
//! A path in the way is removed only when it is a socket that nobody answers on. Everything else
//! is left alone and named.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    getpeername, getsockname, listen, socket_with, sockopt,
};

use super::Fault;

/// Connections that wait to be accepted; the kernel's own usual limit.
const BACKLOG: i32 = 4096;

/// Who may use a unix socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, `0o660`.
    pub mode: u32,
    /// Owner; `None` leaves it.
    pub uid: Option<u32>,
    /// Group; `None` leaves it.
    pub gid: Option<u32>,
}

/// Whether calls on a socket wait. It is a property of the socket and follows it to whoever gets
/// a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// They do; what a service expects of a socket it is given.
    Yes,
    /// They do not; for sockets of our own.
    No,
}

/// A connection that was asked for.
#[derive(Debug)]
pub enum Connection {
    /// It stands.
    Open(OwnedFd),
    /// It stands, or has failed, when the descriptor can be written: see [`connect_result`].
    Pending(OwnedFd),
}

/// Who is on the other side of a unix stream socket, at the time it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process; `None` for one that cannot be seen from here.
    pub pid: Option<u32>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Listens on a path. Nobody can connect before owner and mode are right.
pub fn listen_unix(path: &Path, access: Access, blocking: Blocking) -> Result<OwnedFd, Fault> {
    let fault = Fault::of("listening on", path.display());
    let address = SocketAddrUnix::new(path).map_err(&fault)?;
    let socket = new_socket(AddressFamily::UNIX, blocking).map_err(&fault)?;
    remove_stale(path)?;
    bind(&socket, &address).map_err(&fault)?;
    let ready = set_access(path, access).and_then(|()| listen(&socket, BACKLOG).map_err(&fault));
    if let Err(fault) = ready {
        let _ = rustix::fs::unlink(path);
        return Err(fault);
    }
    Ok(socket)
}

/// Whether a socket listens on that path.
#[must_use]
pub fn is_bound_to_unix(socket: BorrowedFd<'_>, path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let own = getsockname(socket).ok().and_then(|name| SocketAddrUnix::try_from(name).ok());
    let own = own.and_then(|name| name.path_bytes().map(<[u8]>::to_vec));
    own.is_some_and(|own| own == path.as_os_str().as_bytes())
}

/// Whether a socket listens on that address.
#[must_use]
pub fn is_bound_to_tcp(socket: BorrowedFd<'_>, address: SocketAddr) -> bool {
    let own = getsockname(socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
    own == Some(address)
}

/// Listens on an address, at once after an earlier listener has gone.
pub fn listen_tcp(address: SocketAddr, blocking: Blocking) -> Result<OwnedFd, Fault> {
    let fault = Fault::of("listening on", address);
    let socket = new_socket(family(address), blocking).map_err(&fault)?;
    sockopt::set_socket_reuseaddr(&socket, true).map_err(&fault)?;
    bind(&socket, &address).map_err(&fault)?;
    listen(&socket, BACKLOG).map_err(&fault)?;
    Ok(socket)
}

/// The control socket: for root and the given group, else for the owner alone.
pub fn listen_ctl(path: &Path, gid: Option<u32>) -> Result<OwnedFd, Fault> {
    let private = Access { mode: 0o600, uid: None, gid: None };
    let shared = Access { mode: 0o660, gid, ..private };
    if gid.is_some() {
        match listen_unix(path, shared, Blocking::No) {
            // Only root and members may give a file to a group; the owner still gets in.
            Err(fault) if fault.errno == Errno::PERM => {}
            result => return result,
        }
    }
    listen_unix(path, private, Blocking::No)
}

/// Takes one waiting connection; `None` when there is none.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Fault> {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(Fault::of("accepting", "a connection")(errno)),
    }
}

/// Who is on the other side.
pub fn peer(socket: BorrowedFd<'_>) -> Result<Peer, Fault> {
    let found = sockopt::socket_peercred(socket).map_err(Fault::of("asking for", "the peer"))?;
    Ok(Peer { pid: pid(found.pid), uid: found.uid.as_raw(), gid: found.gid.as_raw() })
}

/// Connects to a path. A listener that is too busy to queue us answers `AGAIN`.
pub fn connect_unix(path: &Path) -> Result<Connection, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = new_socket(AddressFamily::UNIX, Blocking::No)?;
    connect(&socket, &address)?;
    Ok(Connection::Open(socket))
}

/// Starts to connect to an address.
pub fn connect_tcp(address: SocketAddr) -> Result<Connection, Errno> {
    let socket = new_socket(family(address), Blocking::No)?;
    match connect(&socket, &address) {
        Ok(()) => Ok(Connection::Open(socket)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Connection::Pending(socket)),
        Err(errno) => Err(errno),
    }
}

/// How a pending connection ended; only meaningful once its descriptor can be written.
pub fn connect_result(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    sockopt::socket_error(socket)??;
    // Who connects to a free port of its own machine may be given that very port, and then talks
    // to itself. Nobody listens there.
    let here = SocketAddr::try_from(getsockname(socket)?).ok();
    let there = getpeername(socket).ok().flatten();
    let there = there.and_then(|there| SocketAddr::try_from(there).ok());
    let is_own = here.is_some() && here == there;
    if is_own { Err(Errno::CONNREFUSED) } else { Ok(()) }
}

/// Removes a socket's file that nobody listens on.
pub fn remove_stale(path: &Path) -> Result<(), Fault> {
    let fault = Fault::of("listening on", path.display());
    match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(fault(errno)),
        Ok(found) if rustix::fs::FileType::from_raw_mode(found.st_mode).is_socket() => {}
        Ok(_) => {
            let what = format!("{} (there is a file that is not a socket)", path.display());
            return Err(Fault::of("listening on", what)(Errno::EXIST));
        }
    }
    match connect_unix(path) {
        Err(Errno::CONNREFUSED) => match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(fault(errno)),
        },
        Err(Errno::NOENT) => Ok(()),
        // An answer, a full queue, another type of socket: somebody lives there.
        _ => {
            let what = format!("{} (another process listens there)", path.display());
            Err(Fault::of("listening on", what)(Errno::ADDRINUSE))
        }
    }
}

/// Gives a path its owner, then its mode (in this order: a change of owner clears bits).
pub fn set_access(path: &Path, access: Access) -> Result<(), Fault> {
    if access.uid.is_some() || access.gid.is_some() {
        let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
        rustix::fs::chown(path, uid, gid)
            .map_err(Fault::of("changing the owner of", path.display()))?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(access.mode))
        .map_err(Fault::of("changing the mode of", path.display()))
}

/// A process id that the kernel gave us, 0 being "somewhere else".
pub(super) fn pid(pid: rustix::process::Pid) -> Option<u32> {
    // The type has no zero but the kernel has; the value must be looked at as if it were new.
    let raw = core::hint::black_box(pid.as_raw_nonzero().get());
    u32::try_from(raw).ok().filter(|pid| *pid > 0)
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

fn new_socket(family: AddressFamily, blocking: Blocking) -> Result<OwnedFd, Errno> {
    let flags = match blocking {
        Blocking::Yes => SocketFlags::CLOEXEC,
        Blocking::No => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    };
    socket_with(family, SocketType::STREAM, flags, None)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::super::files::tests::TempDir;
    use super::super::poll::{Interest, Poll};
    use super::*;

    const ANY: Access = Access { mode: 0o640, uid: None, gid: None };

    #[test]
    fn listens_on_a_path_with_its_mode() {
        let dir = TempDir::new("socket");
        let path = dir.path().join("a.sock");
        let listener = listen_unix(&path, ANY, Blocking::No).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(accept(listener.as_fd()).unwrap().is_none());

        let client = connect_unix(&path).unwrap();
        assert!(matches!(client, Connection::Open(_)));
        let taken = accept(listener.as_fd()).unwrap().unwrap();
        let peer = peer(taken.as_fd()).unwrap();
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        drop(client);
        let end = UnixStream::from(taken).read(&mut [0; 8]);
        assert_eq!(end.unwrap(), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = TempDir::new("socket");
        let path = dir.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.metadata().unwrap().file_type().is_socket());
        let live = listen_unix(&path, ANY, Blocking::Yes).unwrap();

        let refused = listen_unix(&path, ANY, Blocking::Yes).unwrap_err();
        assert_eq!(refused.errno, Errno::ADDRINUSE);
        assert!(refused.to_string().contains("another process listens there"));
        assert!(connect_unix(&path).is_ok());
        drop(live);

        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let refused = listen_unix(&file, ANY, Blocking::Yes).unwrap_err();
        assert!(refused.to_string().contains("not a socket"));
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn a_full_queue_is_a_live_owner() {
        let dir = TempDir::new("socket");
        let path = dir.path().join("a.sock");
        let socket = new_socket(AddressFamily::UNIX, Blocking::No).unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let mut clients = Vec::new();
        let full = loop {
            match connect_unix(&path) {
                Ok(client) => clients.push(client),
                Err(errno) => break errno,
            }
        };
        assert_eq!(full, Errno::AGAIN);
        assert_eq!(remove_stale(&path).unwrap_err().errno, Errno::ADDRINUSE);
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let path = Path::new("/tmp").join("x".repeat(200));
        let refused = listen_unix(&path, ANY, Blocking::No).unwrap_err();
        assert_eq!(refused.errno, Errno::NAMETOOLONG);
    }

    #[test]
    fn tcp_connects_or_says_why_not() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), Blocking::No).unwrap();
        let name = rustix::net::getsockname(&listener).unwrap();
        let address = SocketAddr::try_from(name).unwrap();
        let taken = listen_tcp(address, Blocking::No).unwrap_err();
        assert_eq!(taken.to_string(), format!("listening on {address}: address already in use"));

        assert_eq!(outcome(connect_tcp(address)), Ok(()));
        drop(listener);
        assert_eq!(outcome(connect_tcp(address)), Err(Errno::CONNREFUSED));
    }

    #[test]
    fn a_socket_that_talks_to_itself_is_not_connected() {
        let socket = new_socket(AddressFamily::INET, Blocking::Yes).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let own = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        connect(&socket, &own).unwrap();
        assert_eq!(connect_result(socket.as_fd()), Err(Errno::CONNREFUSED));
    }

    fn outcome(connection: Result<Connection, Errno>) -> Result<(), Errno> {
        match connection? {
            Connection::Open(_) => Ok(()),
            Connection::Pending(socket) => {
                let mut poll = Poll::new().unwrap();
                poll.add(socket.as_fd(), 0, Interest::Write).unwrap();
                poll.wait(Some(10_000), &mut Vec::new()).unwrap();
                connect_result(socket.as_fd())
            }
        }
    }

    #[test]
    fn the_control_socket_is_private_without_a_group() {
        let dir = TempDir::new("socket");
        let path = dir.path().join("ctl.sock");
        let _ctl = listen_ctl(&path, None).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        drop(_ctl);
        let gid = rustix::process::getgid().as_raw();
        let _ctl = listen_ctl(&path, Some(gid)).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o660);
        assert_eq!(path.metadata().unwrap().gid(), gid);
    }
}
