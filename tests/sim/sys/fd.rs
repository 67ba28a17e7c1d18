//! Descriptors of the supervisor: numbers of things in the world, given back when they are dropped.

use core::marker::PhantomData;
use std::io;

use crate::sys::Errno;
use crate::world::kernel::{Id, Thing};
use crate::world::{self, World};

/// A descriptor.
#[derive(Debug)]
pub struct OwnedFd {
    pub(super) fd: usize,
    /// The world that it is of: a later one has the same numbers.
    history: u64,
}

/// A descriptor that is somebody else's to close.
#[derive(Clone, Copy, Debug)]
pub struct BorrowedFd<'a> {
    pub(super) fd: usize,
    owner: PhantomData<&'a OwnedFd>,
}

pub trait AsFd {
    fn as_fd(&self) -> BorrowedFd<'_>;
}

impl AsFd for OwnedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        BorrowedFd { fd: self.fd, owner: PhantomData }
    }
}

impl AsFd for BorrowedFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        *self
    }
}

impl<T: AsFd> AsFd for &T {
    fn as_fd(&self) -> BorrowedFd<'_> {
        T::as_fd(self)
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        world::with(|world| {
            if world.history == self.history {
                world.close(self.fd);
            }
        });
    }
}

impl BorrowedFd<'_> {
    pub fn try_clone_to_owned(&self) -> io::Result<OwnedFd> {
        super::enter(&[Errno::MFILE]).map_err(io::Error::from)?;
        let copy = world::with(|world| world.id(self.fd).map(|id| hand_out(world, id)));
        copy.map_err(io::Error::from)
    }
}

/// Whether no descriptor is left, and no memory for what is behind one.
pub const SHORT: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Opens something, unless the system is short of descriptors.
pub fn open(thing: impl FnOnce(&mut World) -> Thing) -> Result<OwnedFd, Errno> {
    super::enter(&SHORT)?;
    Ok(world::with(|world| {
        let thing = thing(world);
        let id = world.kernel.make(thing);
        hand_out(world, id)
    }))
}

/// A descriptor for something that is open.
pub fn hand_out(world: &mut World, id: Id) -> OwnedFd {
    OwnedFd { fd: world.kernel.fd_of(id), history: world.history }
}

/// What is behind a descriptor.
pub fn look<T>(
    fd: BorrowedFd<'_>,
    look: impl FnOnce(&mut World, Id) -> Result<T, Errno>,
) -> Result<T, Errno> {
    world::with(|world| {
        let id = world.id(fd.fd)?;
        look(world, id)
    })
}
