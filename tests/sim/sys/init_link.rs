//! The link to the `pisup-init` of the world.

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, Fault, enter};
use crate::world;
use crate::world::kernel::Thing;

pub use pisup::sys::init_link::{
    CLIENT, CONTROL, Frame, GUARD, KEPT_MAX, LINK, LOCK, Name, PROGRAM, Power, WATCHDOG,
};

#[derive(Debug)]
pub enum Heard {
    Frame(Frame, Option<OwnedFd>),
    Nonsense,
    Nothing,
    End,
}

#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Nobody upgrades here.
    pub const fn pair() -> Result<(Self, OwnedFd), Errno> {
        Err(Errno::MFILE)
    }

    pub const fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub fn inherited() -> Result<Option<Self>, Fault> {
        if !world::with(|world| world.init.is_there) {
            return Ok(None);
        }
        let link = fd::open(|_| Thing::Link).map(Self).map(Some);
        link.map_err(Fault::of("taking", "the link to pisup-init"))
    }

    pub fn say(&self, frame: &Frame, with: Option<BorrowedFd<'_>>) -> Result<bool, Errno> {
        if enter(&[Errno::AGAIN, Errno::NOBUFS]).is_err() {
            return Ok(false);
        }
        world::with(|world| {
            let id = with.map(|fd| world.id(fd.fd)).transpose()?;
            world.init_hears(*frame, id);
            Ok(true)
        })
    }

    pub fn hear(&self) -> Heard {
        super::pass();
        world::with(|world| {
            let Some(heard) = world.init.to_supervisor.pop_front() else {
                return Heard::Nothing;
            };
            let Some((frame, id)) = heard else {
                return Heard::Nonsense;
            };
            let fd = id.map(|id| {
                let fd = fd::hand_out(world, id);
                world.let_go(id);
                fd
            });
            Heard::Frame(frame, fd)
        })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
