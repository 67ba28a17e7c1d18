//! Stream sockets of the world.

use std::net::SocketAddr;
use std::path::Path;

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, Fault, enter};
use crate::world;
use crate::world::kernel::{Listener, Thing};

pub use pisup::sys::socket::{Access, Blocking};

#[derive(Debug)]
pub enum Connection {
    Open(OwnedFd),
    Pending(OwnedFd),
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Puts a socket's file where it is bound.
pub fn put(path: &Path, socket: &OwnedFd) -> Result<(), Errno> {
    fd::look(socket.as_fd(), |world, id| world.bind(text(path), id))
}

pub fn listen_unix(path: &Path, _access: Access, _how: Blocking) -> Result<OwnedFd, Fault> {
    let fault = Fault::of("listening on", path.display());
    let name = text(path).to_owned();
    let listener = Listener { name, ..Listener::default() };
    let socket = fd::open(|_| Thing::Listener(listener)).map_err(&fault)?;
    remove_stale(path)?;
    enter(&[Errno::NOSPC, Errno::ROFS, Errno::IO]).map_err(&fault)?;
    put(path, &socket).map_err(fault)?;
    Ok(socket)
}

pub fn is_bound_to_unix(socket: BorrowedFd<'_>, path: &Path) -> bool {
    is_named(socket, text(path))
}

pub fn is_bound_to_tcp(socket: BorrowedFd<'_>, address: SocketAddr) -> bool {
    is_named(socket, &address.to_string())
}

fn is_named(socket: BorrowedFd<'_>, name: &str) -> bool {
    super::pass();
    let found = fd::look(socket, |world, id| match world.kernel.get(id) {
        Some(Thing::Listener(listener)) => Ok(listener.name == name),
        _ => Ok(false),
    });
    found.unwrap_or(false)
}

pub fn listen_tcp(address: SocketAddr, _how: Blocking) -> Result<OwnedFd, Fault> {
    let fault = Fault::of("listening on", address);
    let name = address.to_string();
    let is_taken = world::with(|world| world.listener(&name).is_some());
    if is_taken {
        return Err(fault(Errno::ADDRINUSE));
    }
    let listener = Listener { name, ..Listener::default() };
    fd::open(|_| Thing::Listener(listener)).map_err(fault)
}

pub fn listen_ctl(path: &Path, _gid: Option<u32>) -> Result<OwnedFd, Fault> {
    listen_unix(path, Access { mode: 0o600, uid: None, gid: None }, Blocking::No)
}

pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Fault> {
    let fault = Fault::of("accepting", "a connection");
    match enter(&[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INTR]) {
        Err(Errno::INTR) => return Ok(None),
        other => other.map_err(&fault)?,
    }
    let got = fd::look(listener, |world, id| {
        let Some(Thing::Listener(listener)) = world.kernel.get_mut(id) else {
            return Err(Errno::BADF);
        };
        let Some(conn) = listener.backlog.pop_front() else {
            return Ok(None);
        };
        let id = world.kernel.make(Thing::Stream(conn));
        Ok(Some(fd::hand_out(world, id)))
    });
    got.map_err(fault)
}

pub fn connect_unix(path: &Path) -> Result<Connection, Errno> {
    enter(&fd::SHORT)?;
    world::with(|world| {
        let conn = world.connect_path(text(path))?;
        let id = world.kernel.make(Thing::Stream(conn));
        Ok(Connection::Open(fd::hand_out(world, id)))
    })
}

pub fn connect_tcp(address: SocketAddr) -> Result<Connection, Errno> {
    enter(&fd::SHORT)?;
    world::with(|world| {
        let conn = world.connect_tcp(&address.to_string());
        let id = world.kernel.make(Thing::Stream(conn));
        Ok(Connection::Pending(fd::hand_out(world, id)))
    })
}

pub fn connect_result(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    super::pass();
    fd::look(socket, |world, id| match world.kernel.get(id) {
        Some(Thing::Stream(conn)) => world.conns[*conn].outcome.unwrap_or(Ok(())),
        _ => Err(Errno::BADF),
    })
}

pub fn remove_stale(path: &Path) -> Result<(), Fault> {
    super::pass();
    let fault = Fault::of("listening on", path.display());
    world::with(|world| world.remove_stale(text(path))).map_err(fault)
}

pub fn set_access(path: &Path, _access: Access) -> Result<(), Fault> {
    enter(&[Errno::ROFS]).map_err(Fault::of("changing the mode of", path.display()))
}
