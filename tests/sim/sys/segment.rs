//! Files in RAM that the kernel fills from a pipe.

use std::path::Path;

use super::fd::{self, AsFd, OwnedFd};
use super::stream::Got;
use super::{Errno, Fault, enter};
use crate::world;
use crate::world::kernel::Thing;

/// The file, and how much is in it.
#[derive(Debug)]
pub struct Segment {
    path: String,
    file: OwnedFd,
    len: u64,
}

impl Segment {
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let fault = Fault::of("opening", path.display());
        enter(&[Errno::NOSPC, Errno::ROFS]).map_err(&fault)?;
        let path = path.to_str().unwrap_or_default().to_owned();
        let len = world::with(|world| world.open_file(&path)).map_err(&fault)?;
        let file = fd::open(|_| Thing::Segment).map_err(fault)?;
        Ok(Self { path, file, len: len as u64 })
    }

    pub const fn len(&self) -> u64 {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn take(&mut self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<Got, Errno> {
        match enter(&[Errno::NOSPC, Errno::AGAIN, Errno::INTR]) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Got::Later),
            other => other?,
        }
        fd::look(self.file.as_fd(), |_, _| Ok(()))?;
        let got = super::stream::take(pipe, buffer)?;
        if let Got::Bytes(count) = got {
            world::with(|world| world.files.append(&self.path, &buffer[..count]));
            self.len += count as u64;
        }
        Ok(got)
    }

    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        enter(&[Errno::NOSPC])?;
        world::with(|world| world.files.append(&self.path, bytes));
        self.len += bytes.len() as u64;
        Ok(())
    }

    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        super::pass();
        let bytes = world::with(|world| world.files.read(&self.path))?;
        let (at, len) = (at as usize, buffer.len());
        buffer.copy_from_slice(bytes.get(at..at + len).ok_or(Errno::IO)?);
        Ok(())
    }
}
