//! Files of the world.

use core::fmt;
use std::path::Path;

use super::fd::{self, OwnedFd};
use super::{Errno, Fault, enter};
use crate::world;
use crate::world::kernel::Thing;

pub use pisup::sys::files::{Durable, Found, NO_FILE};

/// Why a file cannot be written.
const NO_ROOM: [Errno; 4] = [Errno::NOSPC, Errno::ROFS, Errno::IO, Errno::MFILE];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockFault {
    Held,
    Fault(Fault),
}

impl fmt::Display for LockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("another supervisor has it"),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub u64);

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

pub fn read_bytes(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let fault = Fault::of("reading", path.display());
    enter(&[Errno::MFILE, Errno::IO, Errno::NOMEM]).map_err(&fault)?;
    let bytes = world::with(|world| world.files.read(text(path))).map_err(&fault)?;
    if bytes.len() > max_bytes { Err(fault(Errno::FBIG)) } else { Ok(bytes) }
}

pub fn read_bounded(path: &Path, max_bytes: usize) -> Result<String, Fault> {
    let bytes = read_bytes(path, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| Fault::of("reading", path.display())(Errno::ILSEQ))
}

pub fn write_atomic(path: &Path, bytes: &[u8], _mode: u32, _how: Durable) -> Result<(), Fault> {
    let fault = Fault::of("writing", path.display());
    enter(&NO_ROOM).map_err(&fault)?;
    world::with(|world| world.write_file(text(path), bytes)).map_err(fault)
}

pub fn make_dir(path: &Path) -> Result<(), Fault> {
    let fault = Fault::of("making", path.display());
    let is_there = world::with(|world| world.files.is_dir(text(path)));
    if is_there {
        return Ok(());
    }
    enter(&NO_ROOM).map_err(&fault)?;
    world::with(|world| world.make_dir(text(path)));
    Ok(())
}

pub fn look(path: &Path) -> Found {
    super::pass();
    world::with(|world| world.files.look(text(path)))
}

pub fn identity(path: &Path) -> Option<Identity> {
    super::pass();
    world::with(|world| world.files.inode(text(path)).map(Identity))
}

pub fn stamp(path: &Path) -> String {
    super::pass();
    let inode = world::with(|world| world.files.inode(text(path)));
    inode.map_or_else(|| NO_FILE.to_owned(), |inode| inode.to_string())
}

pub fn rename(from: &Path, to: &Path) -> Result<(), Fault> {
    let fault = Fault::of("renaming", from.display());
    enter(&NO_ROOM).map_err(&fault)?;
    world::with(|world| world.rename_file(text(from), text(to))).map_err(fault)
}

/// As many as there are: nobody else writes where this is asked.
pub fn names(path: &Path, _max: usize) -> Result<Vec<String>, Fault> {
    let fault = Fault::of("reading", path.display());
    enter(&[Errno::MFILE, Errno::IO]).map_err(&fault)?;
    world::with(|world| world.files.names(text(path))).map_err(fault)
}

pub fn remove_all(path: &Path) {
    super::pass();
    world::with(|world| world.remove_tree(text(path)));
}

pub fn remove(path: &Path) -> Result<(), Fault> {
    let fault = Fault::of("removing", path.display());
    enter(&[Errno::ROFS]).map_err(fault)?;
    world::with(|world| world.remove_file(text(path)));
    Ok(())
}

pub fn lock(path: &Path) -> Result<OwnedFd, LockFault> {
    let fault = |errno| LockFault::Fault(Fault::of("locking", path.display())(errno));
    enter(&fd::SHORT).map_err(fault)?;
    let is_held = world::with(|world| {
        world.kernel.open.iter().flatten().any(|open| matches!(open.thing, Thing::Lock))
    });
    if is_held {
        return Err(LockFault::Held);
    }
    fd::open(|_| Thing::Lock).map_err(fault)
}
