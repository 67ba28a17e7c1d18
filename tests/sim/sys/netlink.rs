//! Routes of the world: there is a default route, or there is none.

use std::io;
use std::time::Duration;

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, enter};
use crate::world;
use crate::world::kernel::Thing;

pub fn ask(request: &[u8], _ends: fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    enter(&[Errno::MFILE, Errno::NOBUFS])?;
    let is_routes = request.get(4..6) == Some(&26_u16.to_ne_bytes()[..]);
    let mut answer = Vec::new();
    if is_routes && world::with(|world| world.has_route) {
        // RTM_NEWROUTE to 0.0.0.0/0, main table, unicast, through interface 2.
        let body = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 4, 0, 2, 0, 0, 0];
        answer.extend(message(24, &body));
    }
    answer.extend(message(3, &[0; 4]));
    Ok(answer)
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

#[derive(Debug)]
pub struct Monitor(OwnedFd);

impl Monitor {
    pub fn open() -> io::Result<Self> {
        Ok(Self(fd::open(|_| Thing::Monitor(false))?))
    }

    pub fn drain(&self) -> io::Result<bool> {
        super::pass();
        let had = fd::look(self.0.as_fd(), |world, id| match world.kernel.get_mut(id) {
            Some(Thing::Monitor(is_changed)) => Ok(std::mem::take(is_changed)),
            _ => Err(Errno::BADF),
        });
        Ok(had?)
    }

    pub fn wait(&self, _timeout: Duration) -> io::Result<bool> {
        self.drain()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
