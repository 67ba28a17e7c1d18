//! Files: names, what is in them, and who hears that they change.

use std::collections::BTreeMap;

use super::World;
use super::kernel::{Id, Thing};
use crate::sys::Errno;
use crate::sys::files::Found;
use crate::sys::inotify::{Change, Watch};

/// Notices that the kernel keeps; the rest is told as an overflow.
const NOTICES_MAX: usize = 512;

#[derive(Debug)]
pub enum Kind {
    Directory,
    File(Vec<u8>),
    Socket(Id),
}

#[derive(Debug)]
struct Node {
    inode: u64,
    kind: Kind,
}

/// All files, by path.
#[derive(Debug, Default)]
pub struct Files {
    nodes: BTreeMap<String, Node>,
    last: u64,
}

impl Files {
    fn put(&mut self, path: &str, kind: Kind) {
        self.last += 1;
        self.nodes.insert(path.to_owned(), Node { inode: self.last, kind });
    }

    pub fn add_dir(&mut self, path: &str) {
        self.put(path, Kind::Directory);
    }

    pub fn kind(&self, path: &str) -> Option<&Kind> {
        self.nodes.get(path).map(|node| &node.kind)
    }

    pub fn is_dir(&self, path: &str) -> bool {
        matches!(self.kind(path), Some(Kind::Directory))
    }

    pub fn inode(&self, path: &str) -> Option<u64> {
        self.nodes.get(path).map(|node| node.inode)
    }

    /// Whether that socket is bound there.
    pub fn is_socket(&self, path: &str, own: Id) -> bool {
        matches!(self.kind(path), Some(Kind::Socket(id)) if *id == own)
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        match self.kind(path) {
            None => Err(Errno::NOENT),
            Some(Kind::File(bytes)) => Ok(bytes.clone()),
            Some(Kind::Directory) => Err(Errno::ISDIR),
            Some(Kind::Socket(_)) => Err(Errno::INVAL),
        }
    }

    /// Adds to a file, if it is still there.
    pub fn append(&mut self, path: &str, bytes: &[u8]) {
        if let Some(Node { kind: Kind::File(all), .. }) = self.nodes.get_mut(path) {
            all.extend_from_slice(bytes);
        }
    }

    /// What is in a directory.
    pub fn names(&self, path: &str) -> Result<Vec<String>, Errno> {
        if !self.is_dir(path) {
            return Err(Errno::NOENT);
        }
        let inside = self.nodes.keys().map(|each| split(each));
        Ok(inside.filter(|(above, _)| *above == path).map(|(_, name)| name.to_owned()).collect())
    }

    pub fn look(&self, path: &str) -> Found {
        match self.kind(path) {
            None => Found::Nothing,
            Some(Kind::Directory) => Found::Directory,
            Some(Kind::File(bytes)) if bytes.is_empty() => Found::EmptyFile,
            Some(_) => Found::Something,
        }
    }
}

/// Directory and name.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("/", path),
    }
}

impl World {
    fn notice(&mut self, directory: &str, change: &Change) {
        for open in self.kernel.open.iter_mut().flatten() {
            let Thing::Inotify(notices) = &mut open.thing else {
                continue;
            };
            let all = notices.watches.iter();
            let Some(index) = all.into_iter().position(|w| w.as_deref() == Some(directory)) else {
                continue;
            };
            if notices.queue.len() >= NOTICES_MAX {
                notices.is_overflown = true;
            } else {
                notices.queue.push_back((Watch(index), change.clone()));
            }
            if *change == Change::Gone {
                notices.watches[index] = None;
            }
        }
    }

    /// A file is put there as a whole.
    pub fn write_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Errno> {
        let (directory, name) = split(path);
        if !self.files.is_dir(directory) {
            return Err(Errno::NOENT);
        }
        self.files.put(path, Kind::File(bytes.to_vec()));
        self.notice(directory, &Change::Written(name.into()));
        if path == "/run/pisup/state" {
            self.check_ends(bytes);
        }
        Ok(())
    }

    /// A file is made, and is empty for a while.
    pub fn touch_file(&mut self, path: &str) {
        let (directory, name) = split(path);
        if self.files.is_dir(directory) && self.files.kind(path).is_none() {
            self.files.put(path, Kind::File(Vec::new()));
            self.notice(directory, &Change::Made(name.into()));
        }
    }

    /// Opens a file, or makes it; how long it is.
    pub fn open_file(&mut self, path: &str) -> Result<usize, Errno> {
        match self.files.kind(path) {
            Some(Kind::File(bytes)) => Ok(bytes.len()),
            Some(_) => Err(Errno::INVAL),
            None if !self.files.is_dir(split(path).0) => Err(Errno::NOENT),
            None => {
                self.touch_file(path);
                Ok(0)
            }
        }
    }

    pub fn rename_file(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let bytes = self.files.read(from)?;
        self.remove_file(from);
        self.write_file(to, &bytes)
    }

    /// A directory with those above it.
    pub fn make_dir(&mut self, path: &str) {
        if self.files.is_dir(path) || path.is_empty() {
            return;
        }
        let (above, name) = split(path);
        self.make_dir(above);
        self.files.put(path, Kind::Directory);
        self.notice(above, &Change::Made(name.into()));
    }

    pub fn remove_file(&mut self, path: &str) {
        if self.files.nodes.remove(path).is_some() {
            let (directory, name) = split(path);
            self.notice(directory, &Change::Taken(name.into()));
        }
    }

    /// A directory with all that is in it.
    pub fn remove_tree(&mut self, path: &str) {
        let below = format!("{path}/");
        let inside: Vec<String> =
            self.files.nodes.keys().filter(|name| name.starts_with(&below)).cloned().collect();
        for name in inside.iter().rev() {
            self.remove_file(name);
        }
        if self.files.is_dir(path) {
            self.notice(path, &Change::Gone);
            self.remove_file(path);
        }
    }

    /// A socket gets its name.
    pub fn bind(&mut self, path: &str, id: Id) -> Result<(), Errno> {
        let (directory, name) = split(path);
        if self.files.kind(path).is_some() {
            return Err(Errno::ADDRINUSE);
        }
        if !self.files.is_dir(directory) {
            return Err(Errno::NOENT);
        }
        self.files.put(path, Kind::Socket(id));
        self.notice(directory, &Change::Made(name.into()));
        Ok(())
    }

    /// Removes a socket on which nobody listens.
    pub fn remove_stale(&mut self, path: &str) -> Result<(), Errno> {
        match self.files.kind(path) {
            None => Ok(()),
            Some(Kind::Socket(id)) => {
                if self.kernel.get(*id).is_some() {
                    return Err(Errno::ADDRINUSE);
                }
                self.remove_file(path);
                Ok(())
            }
            Some(_) => Err(Errno::EXIST),
        }
    }
}
