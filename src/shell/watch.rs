//! Paths that may appear or be replaced: told by inotify, never looked for.
//!
//! Directories are watched, not files: a file that is replaced by rename is another file. Where
//! the directory is not there yet, the nearest one that is stands in for it, and the watch moves
//! as directories come and go. Not seen are a mount over a directory, an ancestor of the directory
//! that is renamed, and the target of a link that leads nowhere yet. Whoever wants to know what is
//! there already looks after [`add`].
//!
//! [`add`]: Watches::add

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::sys::fd::{AsFd, BorrowedFd};
use crate::sys::files::{self, Found};
use crate::sys::inotify::{Change, Inotify, Watch};
use crate::sys::{Errno, Fault};

/// Times that a watch is moved because a directory came while it was being placed: each is a
/// directory more on the path, or somebody who makes and removes one in a loop.
const MAX_PLACINGS: usize = 32;

/// Batches read before a watch is added: more than the kernel queues (16384 events).
const MAX_BATCHES: usize = 256;

/// What is to be told of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// That it is there; also for a file that is made and not written yet.
    Presence,
    /// That it can be read: its writer has closed it or has put it there as a whole.
    Content,
}

/// What has happened.
#[derive(Debug)]
pub struct Fired<K> {
    /// The paths that may have appeared or been replaced. It can be a false alarm, never a miss.
    pub keys: BTreeSet<K>,
    /// The paths that were removed or renamed away, and may be there again by now.
    pub taken: BTreeSet<K>,
    /// What can no longer be watched, and why.
    pub faults: Vec<(K, Fault)>,
}

impl<K> Fired<K> {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.taken.is_empty() && self.faults.is_empty()
    }
}

impl<K> Default for Fired<K> {
    fn default() -> Self {
        Self { keys: BTreeSet::new(), taken: BTreeSet::new(), faults: Vec::new() }
    }
}

/// A set of watched paths; `K` is what a path is watched for.
#[derive(Debug)]
pub struct Watches<K> {
    inotify: Inotify,
    paths: BTreeMap<K, Watched>,
    /// Taken from the kernel, not told yet.
    fired: Fired<K>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    want: Want,
    place: Option<Place>,
}

/// Where a path is watched from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    watch: Watch,
    /// The name in the watched directory that leads to the path.
    name: OsString,
    /// Whether that name is the path itself.
    is_parent: bool,
}

impl<K: Copy + Ord> Watches<K> {
    /// An empty set.
    pub fn new() -> Result<Self, Fault> {
        Ok(Self { inotify: Inotify::new()?, paths: BTreeMap::new(), fired: Fired::default() })
    }

    /// Watches an absolute path from now on, instead of what `key` meant before: what happened
    /// until now is not told for it.
    pub fn add(&mut self, key: K, path: &Path, want: Want) -> Result<(), Fault> {
        self.remove(key);
        for _ in 0..MAX_BATCHES {
            if self.gather()? {
                break;
            }
        }
        if !self.fired.is_empty() {
            // The others are still to be told, and the kernel would not say so a second time.
            self.inotify.nudge()?;
        }
        let (place, result) = match self.place(path) {
            Ok(place) => (Some(place), Ok(())),
            // Without memory now, it can be watched later: see [`Watches::mend`].
            Err(fault) if fault.errno != Errno::INVAL => (None, Err(fault)),
            Err(fault) => return Err(fault),
        };
        self.paths.insert(key, Watched { path: path.to_owned(), want, place });
        result
    }

    /// Whether there is a path that could not be watched.
    pub fn is_lame(&self) -> bool {
        self.paths.values().any(|watched| watched.place.is_none())
    }

    /// Tries again to watch what could not be watched; whether there is something to take then.
    pub fn mend(&mut self) -> bool {
        let lame = self.paths.iter().filter(|(_, watched)| watched.place.is_none());
        for key in lame.map(|(key, _)| *key).collect::<Vec<_>>() {
            if self.move_watch(key).is_ok_and(|is_there| is_there) {
                self.fired.keys.insert(key);
            }
        }
        !self.fired.is_empty()
    }

    /// As [`Watches::add`], unless just that is watched already: then nothing is lost of it.
    pub fn keep(&mut self, key: K, path: &Path, want: Want) -> Result<(), Fault> {
        let is_same = |own: &Watched| own.path == path && own.want == want && own.place.is_some();
        if self.paths.get(&key).is_some_and(is_same) { Ok(()) } else { self.add(key, path, want) }
    }

    /// Gives every path its new key, with what is still to be told of it; those without one are
    /// watched no more.
    pub fn rename(&mut self, new_key: impl Fn(K) -> Option<K>) {
        let gone: Vec<K> = self.paths.keys().copied().filter(|k| new_key(*k).is_none()).collect();
        for key in gone {
            self.remove(key);
        }
        let paths = std::mem::take(&mut self.paths).into_iter();
        self.paths = paths.filter_map(|(key, path)| Some((new_key(key)?, path))).collect();
        let Fired { keys, taken, faults } = std::mem::take(&mut self.fired);
        self.fired.keys = keys.into_iter().filter_map(&new_key).collect();
        self.fired.taken = taken.into_iter().filter_map(&new_key).collect();
        let faults = faults.into_iter();
        self.fired.faults = faults.filter_map(|(key, why)| Some((new_key(key)?, why))).collect();
    }

    /// Watches it no more.
    pub fn remove(&mut self, key: K) {
        self.fired.keys.remove(&key);
        self.fired.taken.remove(&key);
        if let Some(Watched { place: Some(place), .. }) = self.paths.remove(&key) {
            self.drop_if_unused(place.watch);
        }
    }

    /// Takes a bounded batch of what has happened; the descriptor stays ready if there is more.
    pub fn take(&mut self) -> Result<Fired<K>, Fault> {
        self.gather()?;
        Ok(std::mem::take(&mut self.fired))
    }

    /// Reads one batch; whether it was the last.
    fn gather(&mut self) -> Result<bool, Fault> {
        let batch = self.inotify.read()?;
        let mut misplaced = BTreeSet::new();
        if batch.is_overflown {
            misplaced.extend(self.paths.keys().copied());
        }
        for event in &batch.events {
            for (key, watched) in &self.paths {
                match watched.concern(event.watch, &event.change) {
                    Concern::Nothing => {}
                    Concern::Fires => drop(self.fired.keys.insert(*key)),
                    Concern::Taken => drop(self.fired.taken.insert(*key)),
                    Concern::Misplaced => drop(misplaced.insert(*key)),
                }
            }
        }
        for key in misplaced {
            match self.move_watch(key) {
                Ok(true) => drop(self.fired.keys.insert(key)),
                Ok(false) => {}
                Err(fault) => self.fired.faults.push((key, fault)),
            }
        }
        Ok(batch.is_last)
    }

    /// Watches a path from where it can be watched now; whether it is there.
    fn move_watch(&mut self, key: K) -> Result<bool, Fault> {
        let Some(mut watched) = self.paths.remove(&key) else {
            return Ok(false);
        };
        let placed = self.place(&watched.path);
        let old = std::mem::take(&mut watched.place);
        let result = placed.map(|place| {
            watched.place = Some(place);
            watched.is_there()
        });
        self.paths.insert(key, watched);
        if let Some(old) = old {
            self.drop_if_unused(old.watch);
        }
        result
    }

    /// The nearest directory above a path, watched.
    fn place(&self, path: &Path) -> Result<Place, Fault> {
        let mut last = None;
        for _ in 0..MAX_PLACINGS {
            let (place, below) = self.nearest(path)?;
            // What came between the look and the watch would never be told: look once more.
            let is_settled = place.is_parent || files::look(below) != Found::Directory;
            if is_settled || last.as_ref() == Some(&place) {
                return Ok(place);
            }
            if let Some(Place { watch, .. }) = last.replace(place) {
                self.drop_if_unused(watch);
            }
        }
        last.ok_or_else(|| bad_path(path))
    }

    /// The nearest directory that can be watched, and the path to the name in it.
    fn nearest<'a>(&self, path: &'a Path) -> Result<(Place, &'a Path), Fault> {
        let mut below = path;
        while let (Some(directory), Some(name)) = (below.parent(), below.file_name()) {
            match self.inotify.watch(directory) {
                Ok(watch) => {
                    let is_parent = below == path;
                    return Ok((Place { watch, name: name.to_owned(), is_parent }, below));
                }
                Err(fault) if matches!(fault.errno, Errno::NOENT | Errno::NOTDIR) => {}
                Err(fault) => return Err(fault),
            }
            below = directory;
        }
        Err(bad_path(path))
    }

    fn drop_if_unused(&self, watch: Watch) {
        let mut places = self.paths.values().filter_map(|watched| watched.place.as_ref());
        if !places.any(|place| place.watch == watch) {
            self.inotify.unwatch(watch);
        }
    }
}

impl<K> AsFd for Watches<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// What an event means for a path.
enum Concern {
    Nothing,
    /// It may be there now.
    Fires,
    /// It is there no more.
    Taken,
    /// It has to be watched from elsewhere now.
    Misplaced,
}

impl Watched {
    fn concern(&self, watch: Watch, change: &Change) -> Concern {
        let Some(place) = self.place.as_ref().filter(|place| place.watch == watch) else {
            return Concern::Nothing;
        };
        match change {
            Change::Gone => Concern::Misplaced,
            Change::Made(name) | Change::Written(name) | Change::Taken(name)
                if *name != place.name =>
            {
                Concern::Nothing
            }
            // Of a directory on the way the directory itself tells.
            Change::Taken(_) if !place.is_parent => Concern::Nothing,
            Change::Taken(_) => Concern::Taken,
            Change::Made(_) | Change::Written(_) if !place.is_parent => Concern::Misplaced,
            Change::Written(_) => Concern::Fires,
            Change::Made(_) if self.is_there() => Concern::Fires,
            Change::Made(_) => Concern::Nothing,
        }
    }

    /// A file that is still empty is about to be written, and its writer will close it.
    fn is_there(&self) -> bool {
        match files::look(&self.path) {
            Found::Nothing => false,
            Found::EmptyFile => self.want == Want::Presence,
            Found::Directory | Found::Something => true,
        }
    }
}

fn bad_path(path: &Path) -> Fault {
    let what = format!("{} (not an absolute path to a file)", path.display());
    Fault::of("watching", what)(Errno::INVAL)
}

#[cfg(test)]
mod tests;
