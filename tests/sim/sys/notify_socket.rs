//! Where services of the world say how they are.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, Fault, enter};
use crate::world;
use crate::world::kernel::Thing;

pub use pisup::sys::notify_socket::Datagram;

#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    path: PathBuf,
}

impl NotifySocket {
    pub fn bind(path: &Path) -> Result<Self, Fault> {
        let fault = Fault::of("binding", path.display());
        super::files::remove(path)?;
        let socket = fd::open(|_| Thing::Datagrams(VecDeque::new())).map_err(&fault)?;
        enter(&[Errno::NOSPC, Errno::ROFS]).map_err(&fault)?;
        super::socket::put(path, &socket).map_err(fault)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    pub fn resume(path: &Path, socket: OwnedFd) -> Option<Self> {
        let own = fd::look(socket.as_fd(), |_, id| Ok(id)).ok()?;
        let name = path.to_str().unwrap_or_default();
        let is_it = world::with(|world| world.files.is_socket(name, own));
        is_it.then(|| Self { socket, path: path.to_owned() })
    }

    pub fn receive(&self) -> Result<Option<Datagram>, Fault> {
        self.look(VecDeque::pop_front)
    }

    pub fn peek(&self) -> Result<Option<Datagram>, Fault> {
        self.look(|queue| queue.front().cloned())
    }

    fn look(
        &self,
        take: impl FnOnce(&mut VecDeque<Datagram>) -> Option<Datagram>,
    ) -> Result<Option<Datagram>, Fault> {
        let fault = Fault::of("receiving from", self.path.display());
        match enter(&[Errno::INTR]) {
            Err(Errno::INTR) => return Ok(None),
            other => other.map_err(&fault)?,
        }
        let got = fd::look(self.socket.as_fd(), |world, id| match world.kernel.get_mut(id) {
            Some(Thing::Datagrams(queue)) => Ok(take(queue)),
            _ => Err(Errno::BADF),
        });
        got.map_err(fault)
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // Whoever was killed removes nothing.
        world::with(|world| {
            if !world.is_dead {
                world.remove_file(self.path.to_str().unwrap_or_default());
            }
        });
    }
}
