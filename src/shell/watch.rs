//! Files that may appear or be replaced: told by inotify, never looked for.
//!
//! Directories are watched, not files, because a file that is replaced by rename is another file.
//! Where the directory is not there yet, the nearest one that is stands in for it. This module
//! does not read what it watches.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::sys::inotify::{Batch, Change, Inotify, Watch};
use crate::sys::{Errno, Fault};

/// Tries to keep up with directories that come and go while a watch is being placed.
const PLACINGS_MAX: usize = 16;

/// A set of watched files; `K` is what a file is watched for.
#[derive(Debug)]
pub struct Watches<K> {
    inotify: Inotify,
    files: BTreeMap<K, File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    place: Option<Place>,
}

/// Where a file is watched from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    watch: Watch,
    /// The name in the watched directory that leads to the file.
    name: OsString,
    /// Whether that name is the file itself.
    is_parent: bool,
}

impl<K: Copy + Ord> Watches<K> {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// The system is short of inotify instances.
    pub fn new() -> Result<Self, Fault> {
        Ok(Self { inotify: Inotify::new()?, files: BTreeMap::new() })
    }

    /// Watches a file from now on; whatever `key` watched before is forgotten.
    ///
    /// # Errors
    ///
    /// No directory above the file can be watched.
    pub fn add(&mut self, key: K, path: &Path) -> Result<(), Fault> {
        self.remove(key);
        let place = self.place(path)?;
        self.files.insert(key, File { path: path.to_owned(), place: Some(place) });
        Ok(())
    }

    /// Watches nothing more.
    pub fn clear(&mut self) {
        let keys: Vec<K> = self.files.keys().copied().collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// Watches it no more.
    pub fn remove(&mut self, key: K) {
        if let Some(File { place: Some(place), .. }) = self.files.remove(&key) {
            self.drop_if_unused(place.watch);
        }
    }

    /// What may have appeared or been replaced since the last call; bounded, the rest is told
    /// again.
    ///
    /// # Errors
    ///
    /// The kernel does not answer; nothing is lost by it.
    pub fn take(&mut self) -> Result<BTreeSet<K>, Fault> {
        let batch = self.inotify.read()?;
        let mut fired = BTreeSet::new();
        let mut misplaced = BTreeSet::new();
        if batch.is_overflown {
            misplaced.extend(self.files.keys().copied());
            fired.extend(self.files.iter().filter(|(_, f)| f.path.exists()).map(|(key, _)| *key));
        }
        self.sort(&batch, &mut fired, &mut misplaced);
        for key in misplaced {
            if self.move_watch(key) {
                fired.insert(key);
            }
        }
        Ok(fired)
    }

    /// Which files an event concerns, and which watches have to move.
    fn sort(&self, batch: &Batch, fired: &mut BTreeSet<K>, misplaced: &mut BTreeSet<K>) {
        for event in &batch.events {
            for (key, file) in &self.files {
                let Some(place) = file.place.as_ref().filter(|place| place.watch == event.watch)
                else {
                    continue;
                };
                match &event.change {
                    Change::Gone => drop(misplaced.insert(*key)),
                    Change::Appeared(name) | Change::Written(name) if *name == place.name => {
                        let _ = match place.is_parent {
                            true => fired.insert(*key),
                            false => misplaced.insert(*key),
                        };
                    }
                    Change::Appeared(_) | Change::Written(_) | Change::Vanished(_) => {}
                }
            }
        }
    }

    /// Watches a file from where it can be watched now; whether it is there.
    fn move_watch(&mut self, key: K) -> bool {
        let Some(file) = self.files.get(&key) else {
            return false;
        };
        let path = file.path.clone();
        let place = self.place(&path).ok();
        let Some(file) = self.files.get_mut(&key) else {
            return false;
        };
        let old = std::mem::replace(&mut file.place, place);
        if let Some(old) = old
            && file.place.as_ref().is_none_or(|place| place.watch != old.watch)
        {
            self.drop_if_unused(old.watch);
        }
        path.exists()
    }

    fn place(&self, path: &Path) -> Result<Place, Fault> {
        let mut found = self.nearest(path)?;
        for _ in 0..PLACINGS_MAX {
            // What appeared between the look and the watch would never be told.
            let again = self.nearest(path)?;
            if again == found {
                break;
            }
            self.drop_if_unused(found.watch);
            found = again;
        }
        Ok(found)
    }

    fn nearest(&self, path: &Path) -> Result<Place, Fault> {
        let mut name = path.file_name().unwrap_or_else(|| OsStr::new("/")).to_owned();
        let mut fault = None;
        for (depth, directory) in path.ancestors().skip(1).enumerate() {
            match self.inotify.watch(directory) {
                Ok(watch) => return Ok(Place { watch, name, is_parent: depth == 0 }),
                Err(error) => fault = Some(error),
            }
            name = directory.file_name().unwrap_or_else(|| OsStr::new("/")).to_owned();
        }
        Err(fault.unwrap_or_else(|| Fault::of("watching", path.display())(NOT_A_PATH)))
    }

    fn drop_if_unused(&self, watch: Watch) {
        let mut places = self.files.values().filter_map(|file| file.place.as_ref());
        if !places.any(|place| place.watch == watch) {
            self.inotify.unwatch(watch);
        }
    }
}

/// A path without a parent cannot be watched.
const NOT_A_PATH: Errno = Errno::INVAL;

impl<K> AsFd for Watches<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory of a test's own.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pisup-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn taken(watches: &mut Watches<u8>) -> Vec<u8> {
        watches.take().unwrap().into_iter().collect()
    }

    #[test]
    fn a_file_that_appears_or_is_replaced_is_told() {
        let directory = directory("watch");
        let path = directory.join("subnet.env");
        let mut watches = Watches::new().unwrap();
        watches.add(1, &path).unwrap();
        assert!(taken(&mut watches).is_empty());
        fs::write(directory.join(".subnet.env"), "a").unwrap();
        assert!(taken(&mut watches).is_empty());
        fs::rename(directory.join(".subnet.env"), &path).unwrap();
        assert_eq!(taken(&mut watches), [1]);
        fs::write(&path, "b").unwrap();
        assert_eq!(taken(&mut watches), [1]);
        watches.remove(1);
        fs::write(&path, "c").unwrap();
        assert!(taken(&mut watches).is_empty());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn directories_may_come_later_and_go_again() {
        let directory = directory("watch-later");
        let path = directory.join("a/b/file");
        let mut watches = Watches::new().unwrap();
        watches.add(1, &path).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(taken(&mut watches).is_empty());
        fs::write(&path, "").unwrap();
        assert_eq!(taken(&mut watches), [1]);
        fs::remove_dir_all(directory.join("a")).unwrap();
        while !taken(&mut watches).is_empty() {}
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(taken(&mut watches), [1]);
        fs::remove_dir_all(directory).unwrap();
    }
}
