//! Epoll, and the place where time passes.

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, Fault, enter, stop_now};
use crate::world::kernel::{Thing, Watched};

pub use pisup::sys::poll::{Interest, MAX_READY, Ready};

pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub fn new() -> Result<Self, Fault> {
        let epoll = fd::open(|_| Thing::Epoll(Vec::new()));
        Ok(Self { epoll: epoll.map_err(Fault::of("making", "an epoll instance"))? })
    }

    fn change(
        &self,
        fd: BorrowedFd<'_>,
        change: impl FnOnce(&mut Vec<Watched>, usize) -> Result<(), Errno>,
    ) -> Result<(), Fault> {
        let done = fd::look(self.epoll.as_fd(), |world, epoll| {
            let id = world.id(fd.fd)?;
            match world.kernel.get_mut(epoll) {
                Some(Thing::Epoll(watched)) => change(watched, id),
                _ => Err(Errno::INVAL),
            }
        });
        done.map_err(Fault::of("watching", "a file"))
    }

    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Fault> {
        enter(&[Errno::NOMEM, Errno::NOSPC]).map_err(Fault::of("watching", "a file"))?;
        self.change(fd, |watched, id| {
            if watched.iter().any(|each| each.id == id) {
                return Err(Errno::EXIST);
            }
            watched.push(Watched { id, token, interest });
            Ok(())
        })
    }

    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), Fault> {
        self.change(fd, |watched, id| {
            let each = watched.iter_mut().find(|each| each.id == id).ok_or(Errno::NOENT)?;
            (each.token, each.interest) = (token, interest);
            Ok(())
        })
    }

    pub fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = self.change(fd, |watched, id| {
            watched.retain(|each| each.id != id);
            Ok(())
        });
    }

    pub fn wait(&mut self, timeout_ms: Option<u64>, out: &mut Vec<Ready>) -> Result<(), Fault> {
        out.clear();
        let fault = Fault::of("waiting for", "descriptors");
        match enter(&[Errno::INTR]) {
            Err(Errno::INTR) => return Ok(()),
            other => other.map_err(&fault)?,
        }
        let waited =
            fd::look(self.epoll.as_fd(), |world, epoll| Ok(world.wait(epoll, timeout_ms, out)));
        match waited.map_err(fault)? {
            Ok(()) => Ok(()),
            Err(stop) => {
                stop_now(stop);
                Ok(())
            }
        }
    }
}
