//! What happens to names in directories of the world.

use std::ffi::OsString;
use std::path::Path;

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, Fault, enter};
use crate::world::kernel::{Notices, Thing};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(pub usize);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Made(OsString),
    Written(OsString),
    Taken(OsString),
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub watch: Watch,
    pub change: Change,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub events: Vec<Event>,
    pub is_overflown: bool,
    pub is_last: bool,
}

#[derive(Debug)]
pub struct Inotify(OwnedFd);

impl Inotify {
    pub fn new() -> Result<Self, Fault> {
        let fd = fd::open(|_| Thing::Inotify(Notices::default()));
        fd.map(Self).map_err(Fault::of("making", "an inotify instance"))
    }

    fn notices<T>(&self, change: impl FnOnce(&mut Notices) -> T) -> Result<T, Errno> {
        fd::look(self.0.as_fd(), |world, id| match world.kernel.get_mut(id) {
            Some(Thing::Inotify(notices)) => Ok(change(notices)),
            _ => Err(Errno::BADF),
        })
    }

    pub fn watch(&self, directory: &Path) -> Result<Watch, Fault> {
        let fault = Fault::of("watching", directory.display());
        enter(&[Errno::NOSPC, Errno::NOMEM]).map_err(&fault)?;
        let path = directory.to_str().unwrap_or_default();
        let is_there = crate::world::with(|world| world.files.is_dir(path));
        if !is_there {
            return Err(fault(Errno::NOENT));
        }
        let watch = self.notices(|notices| {
            let mut all = notices.watches.iter();
            let old = all.position(|watch| watch.as_deref() == Some(path));
            Watch(old.unwrap_or_else(|| {
                notices.watches.push(Some(path.to_owned()));
                notices.watches.len() - 1
            }))
        });
        watch.map_err(fault)
    }

    pub fn unwatch(&self, watch: Watch) {
        super::pass();
        let _ = self.notices(|notices| {
            if let Some(path) = notices.watches.get_mut(watch.0) {
                *path = None;
            }
        });
    }

    pub fn nudge(&self) -> Result<(), Fault> {
        let fault = Fault::of("watching", "nothing");
        enter(&[Errno::NOSPC]).map_err(&fault)?;
        self.notices(|notices| notices.is_nudged = true).map_err(fault)
    }

    pub fn read(&self) -> Result<Batch, Fault> {
        let fault = Fault::of("reading", "file events");
        match enter(&[Errno::INTR]) {
            Err(Errno::INTR) => return Ok(Batch::default()),
            other => other.map_err(&fault)?,
        }
        let batch = self.notices(|notices| {
            let count = notices.queue.len().min(256);
            let events = notices.queue.drain(..count);
            let events = events.map(|(watch, change)| Event { watch, change }).collect();
            notices.is_nudged = false;
            let is_overflown = std::mem::take(&mut notices.is_overflown);
            Batch { events, is_overflown, is_last: notices.queue.is_empty() }
        });
        batch.map_err(fault)
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
