//! Inotify: what happens to the names in a directory, decoded.
//!
//! Refuses to watch files themselves: who replaces a file by rename would slip away.

use core::mem::MaybeUninit;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify;
use rustix::io::Errno;

use super::Fault;

/// Bytes read in one call; the longest event has 16 + 256.
const BUFFER: usize = 4096;

/// Most events of one [`Inotify::read`]; the descriptor stays readable when there are more.
const MAX_EVENTS: usize = 256;

/// A directory in which nothing is ever told: to watch it for a moment leaves one event behind.
const NEVER_WATCHED: &str = "/proc/self/fdinfo";

/// A watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(i32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This name was made in the directory; a file may still have to be written.
    Made(OsString),
    /// This name was renamed to, or its writer has closed it.
    Written(OsString),
    /// This name was removed or renamed away.
    Taken(OsString),
    /// The directory itself is gone, moved or unmounted.
    Gone,
}

/// Something happened in a watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where.
    pub watch: Watch,
    /// What.
    pub change: Change,
}

/// What one read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which it happened.
    pub events: Vec<Event>,
    /// The kernel has dropped events: look at everything again.
    pub is_overflown: bool,
    /// There was nothing more to take.
    pub is_last: bool,
}

/// A set of watched directories.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
}

impl Inotify {
    /// An empty set.
    pub fn new() -> Result<Self, Fault> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(Fault::of("making", "an inotify instance"))?;
        Ok(Self { fd })
    }

    /// Watches a directory; the same one again gives the same watch.
    pub fn watch(&self, directory: &Path) -> Result<Watch, Fault> {
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&self.fd, directory, flags)
            .map(Watch)
            .map_err(Fault::of("watching", directory.display()))
    }

    /// Stops watching; a directory that is gone is fine.
    pub fn unwatch(&self, watch: Watch) {
        let _ = inotify::remove_watch(&self.fd, watch.0);
    }

    /// Makes the descriptor ready to read, with an event that means nothing.
    pub fn nudge(&self) -> Result<(), Fault> {
        let fault = Fault::of("watching", NEVER_WATCHED);
        let flags = inotify::WatchFlags::DELETE_SELF;
        let watch = inotify::add_watch(&self.fd, NEVER_WATCHED, flags).map_err(&fault)?;
        inotify::remove_watch(&self.fd, watch).map_err(&fault)
    }

    /// Takes what has happened, without waiting.
    pub fn read(&self) -> Result<Batch, Fault> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut batch = Batch::default();
        while batch.events.len() < MAX_EVENTS {
            match reader.next() {
                Ok(event) if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) => {
                    batch.is_overflown = true;
                }
                Ok(event) => batch.events.extend(decode(&event)),
                Err(Errno::AGAIN) => {
                    batch.is_last = true;
                    break;
                }
                Err(Errno::INTR) => break,
                Err(errno) => return Err(Fault::of("reading", "file events")(errno)),
            }
        }
        // The reader holds what the kernel handed over last; leaving it there would lose it.
        while !reader.is_buffer_empty() {
            if let Ok(event) = reader.next() {
                batch.events.extend(decode(&event));
            }
        }
        Ok(batch)
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn decode(event: &inotify::Event<'_>) -> Option<Event> {
    let flags = event.events();
    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
    let written = inotify::ReadFlags::CLOSE_WRITE | inotify::ReadFlags::MOVED_TO;
    let taken = inotify::ReadFlags::DELETE | inotify::ReadFlags::MOVED_FROM;
    let gone = inotify::ReadFlags::DELETE_SELF
        | inotify::ReadFlags::MOVE_SELF
        | inotify::ReadFlags::UNMOUNT
        | inotify::ReadFlags::IGNORED;
    let change = match name {
        Some(name) if flags.intersects(inotify::ReadFlags::CREATE) => Change::Made(name),
        Some(name) if flags.intersects(written) => Change::Written(name),
        Some(name) if flags.intersects(taken) => Change::Taken(name),
        None if flags.intersects(gone) => Change::Gone,
        _ => return None,
    };
    Some(Event { watch: Watch(event.wd()), change })
}
