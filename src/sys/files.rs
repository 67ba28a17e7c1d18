//! Files: bounded reads, atomic writes, directories and the lock.
//!
//! Refuses to read what is not a regular file, so that a pipe or a device in place of one cannot
//! hold the supervisor up.

use core::fmt;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, fsync, openat,
    renameat, unlinkat,
};
use rustix::io::Errno;

use super::{Fault, errno};

/// Why the lock was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockFault {
    /// Another process has it; its id as far as it could be read.
    Held(PathBuf, Option<u32>),
    /// The file cannot be used.
    Fault(Fault),
}

impl fmt::Display for LockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(path, pid) => {
                write!(f, "locking {}: another supervisor", path.display())?;
                if let Some(pid) = pid {
                    write!(f, " (pid {pid})")?;
                }
                write!(f, " has it; stop that one, or give this one a --run of its own")
            }
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// Reads a regular file of at most so many bytes.
pub fn read_bytes(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty());
    let file = file.map_err(Fault::of("reading", path.display()))?;
    read_open(file, path, max_bytes)
}

/// Reads a regular file of at most so many bytes of UTF-8.
pub fn read_bounded(path: &Path, max_bytes: usize) -> Result<String, Fault> {
    let bytes = read_bytes(path, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| {
        let what = format!("{} (not UTF-8)", path.display());
        Fault::of("reading", what)(Errno::ILSEQ)
    })
}

/// Whether a write must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// It must: the disk is waited for.
    Yes,
    /// It need not (tmpfs).
    No,
}

/// Replaces a file as a whole: it has its old bytes or the new ones, never some of both.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> Result<(), Fault> {
    let fault = Fault::of("writing", path.display());
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = write_new(&new, bytes, mode, durable)
        .and_then(|()| renameat(CWD, &new, CWD, path))
        .and_then(|()| match durable {
            Durable::Yes => sync_parent(path),
            Durable::No => Ok(()),
        });
    written.map_err(|errno| {
        let _ = rustix::fs::unlink(&new);
        fault(errno)
    })
}

/// Removes a directory of ours and all that is in it; links in it are not followed. What cannot be
/// removed stays.
pub fn remove_all(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}

/// Makes a directory and its parents, mode 0755; one that is there is fine.
pub fn make_dir(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| Fault::of("making", path.display())(errno(&error)))
}

/// Gives a file or a directory its mode, whatever the umask was when it was made.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    let done = rustix::fs::chmod(path, Mode::from_raw_mode(mode));
    done.map_err(Fault::of("changing the mode of", path.display()))
}

/// The names in a directory, sorted; those after the first `max` that the kernel tells are left
/// out.
pub fn names(path: &Path, max: usize) -> Result<Vec<String>, Fault> {
    let fault = Fault::of("reading", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty()).map_err(&fault)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory).map_err(&fault)? {
        let name = entry.map_err(&fault)?.file_name().to_string_lossy().into_owned();
        if names.len() == max {
            break;
        }
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What a symbolic link says; `None` when there is none.
#[must_use]
pub fn link(path: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let text = rustix::fs::readlink(path, Vec::new()).ok()?;
    Some(std::ffi::OsString::from_vec(text.into_bytes()).into())
}

/// Whether there is a file that this process may execute.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    let is_file = matches!(look(path), Found::Something | Found::EmptyFile);
    is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Bytes that are free for everybody on the disk of a path.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Which file a path or a descriptor means, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file without a byte in it.
    EmptyFile,
    /// A directory.
    Directory,
    /// A regular file with something in it, a socket, a device, ...
    Something,
}

/// Looks at what a path leads to.
#[must_use]
pub fn look(path: &Path) -> Found {
    let stat = rustix::fs::stat(path);
    match stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_size)) {
        Err(_) => Found::Nothing,
        Ok((FileType::Directory, _)) => Found::Directory,
        Ok((FileType::RegularFile, 0)) => Found::EmptyFile,
        Ok(_) => Found::Something,
    }
}

/// What a path means now; `None` when nothing is there.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    rustix::fs::stat(path).ok().map(|stat| identity_of(&stat))
}

/// The [`stamp`] of nothing.
pub const NO_FILE: &str = "none";

/// Which file a path means, and when it was changed last: another one if it was replaced or
/// written to.
#[must_use]
pub fn stamp(path: &Path) -> String {
    match rustix::fs::stat(path) {
        Ok(stat) => {
            let Identity { device, inode } = identity_of(&stat);
            format!("{device}:{inode}:{}:{}", stat.st_ctime, stat.st_ctime_nsec)
        }
        Err(_) => NO_FILE.to_owned(),
    }
}

/// A file that is only ever added to.
#[derive(Debug)]
pub struct AppendFile {
    file: OwnedFd,
    /// Which one it is.
    pub identity: Identity,
    /// Bytes it had when it was opened.
    pub size_bytes: u64,
}

impl AppendFile {
    /// Opens or makes a regular file, mode 0640; a link in its place is refused.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let fault = Fault::of("opening", path.display());
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::from_raw_mode(0o640)).map_err(&fault)?;
        let stat = fstat(&file).map_err(&fault)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            let what = format!("{} (not a regular file)", path.display());
            return Err(Fault::of("opening", what)(Errno::INVAL));
        }
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Self { file, identity: identity_of(&stat), size_bytes })
    }

    /// Adds to the end; how many bytes, which may be fewer than given when the disk is full.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.file, bytes))
    }
}

/// Gives a file another name, in place of what had it.
pub fn rename(from: &Path, to: &Path) -> Result<(), Fault> {
    rustix::fs::rename(from, to).map_err(Fault::of("renaming", from.display()))
}

/// Removes a file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<(), Fault> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Fault::of("removing", path.display())(errno)),
    }
}

/// Takes the lock for as long as the descriptor is open, and writes our pid into it. Of a holder
/// that is dead only children can be left that it forked and that are not executed yet: they are
/// waited for.
pub fn lock(path: &Path) -> Result<OwnedFd, LockFault> {
    let fault = |errno| LockFault::Fault(Fault::of("locking", path.display())(errno));
    let flags = OFlags::RDWR
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::from_raw_mode(0o644)).map_err(fault)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let holder = read_bounded(path, 32).ok();
            let pid: Option<u32> = holder.and_then(|text| text.trim().parse().ok());
            let is_alive = |pid| super::child::stat(pid).is_some_and(|stat| !stat.is_zombie());
            if pid.is_none_or(is_alive) {
                return Err(LockFault::Held(path.to_owned(), pid));
            }
            flock(&file, FlockOperation::LockExclusive).map_err(fault)?;
        }
        Err(errno) => return Err(fault(errno)),
    }
    rustix::fs::ftruncate(&file, 0).map_err(fault)?;
    let pid = format!("{}\n", std::process::id());
    rustix::io::pwrite(&file, pid.as_bytes(), 0).map_err(fault)?;
    Ok(file)
}

pub(super) fn read_open(file: OwnedFd, path: &Path, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let fault = Fault::of("reading", path.display());
    let stat = fstat(&file).map_err(&fault)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(fault(Errno::ISDIR)),
        _ => {
            let what = format!("{} (not a regular file)", path.display());
            return Err(Fault::of("reading", what)(Errno::INVAL));
        }
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    let mut file = std::fs::File::from(file).take(limit.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(|error| fault(errno(&error)))?;
    if bytes.len() > max_bytes {
        return Err(fault(Errno::FBIG));
    }
    Ok(bytes)
}

/// Devices and inodes are numbers of 32 bits on some machines.
#[allow(clippy::useless_conversion, reason = "the width of the fields differs between machines")]
fn identity_of(stat: &Stat) -> Identity {
    Identity { device: u64::from(stat.st_dev), inode: u64::from(stat.st_ino) }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> Result<(), Errno> {
    // What a power cut left behind is in the way of nobody.
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::from_raw_mode(mode))?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).map_err(|error| errno(&error))?;
    match durable {
        Durable::Yes => fsync(&file),
        Durable::No => Ok(()),
    }
}

/// The rename itself is on disk only when the directory is.
fn sync_parent(path: &Path) -> Result<(), Errno> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, parent.unwrap_or_else(|| Path::new(".")), flags, Mode::empty())?;
    fsync(parent)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of a test's own, removed with it.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new(what: &str) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("pisup-test-{what}-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn reads_are_bounded() {
        let dir = TempDir::new("read");
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), "12345");
        assert_eq!(read_bounded(&path, 4).unwrap_err().errno, Errno::FBIG);
        assert_eq!(read_bytes(Path::new("/dev/zero"), 9).unwrap_err().errno, Errno::INVAL);
        assert_eq!(read_bytes(dir.path(), 9).unwrap_err().errno, Errno::ISDIR);
    }

    #[test]
    fn a_write_replaces_the_whole_file() {
        let dir = TempDir::new("write");
        let path = dir.path().join("file");
        let new = dir.path().join("file.new");
        std::fs::write(&new, "left by a power cut").unwrap();
        write_atomic(&path, b"one", 0o600, Durable::No).unwrap();
        write_atomic(&path, b"two", 0o640, Durable::Yes).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!new.exists());

        let nowhere = dir.path().join("no/file");
        let fault = write_atomic(&nowhere, b"x", 0o600, Durable::No).unwrap_err();
        assert!(fault.to_string().ends_with("no such file or directory"));
        make_dir(&dir.path().join("no/deeper")).unwrap();
        make_dir(&dir.path().join("no/deeper")).unwrap();
        write_atomic(&nowhere, b"x", 0o600, Durable::Yes).unwrap();
        remove(&nowhere).unwrap();
        remove(&nowhere).unwrap();
        assert_eq!(make_dir(&path).unwrap_err().errno, Errno::EXIST);
    }

    #[test]
    fn a_file_to_add_to_is_a_file() {
        let dir = TempDir::new("append");
        let path = dir.path().join("log");
        std::fs::write(&path, "old ").unwrap();
        let file = AppendFile::open(&path).unwrap();
        assert_eq!(file.size_bytes, 4);
        assert_eq!(file.write(b"new"), Ok(3));
        assert_eq!(std::fs::read(&path).unwrap(), b"old new");
        assert_eq!(identity(&path), Some(file.identity));
        rename(&path, &dir.path().join("log.1")).unwrap();
        assert_eq!(identity(&path), None);
        assert_ne!(AppendFile::open(&path).unwrap().identity, file.identity);

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(AppendFile::open(&link).unwrap_err().errno, Errno::LOOP);
        assert_eq!(AppendFile::open(Path::new("/dev/null")).unwrap_err().errno, Errno::INVAL);
    }

    #[test]
    fn names_are_sorted_and_bounded_and_modes_exact() {
        let dir = TempDir::new("names");
        for name in ["c", "a", "b"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names(dir.path(), 9).unwrap(), ["a", "b", "c"]);
        assert_eq!(names(dir.path(), 2).unwrap().len(), 2);
        assert_eq!(names(&dir.path().join("a"), 9).unwrap_err().errno, Errno::NOTDIR);
        let path = dir.path().join("a");
        assert!(!is_program(&path));
        set_mode(&path, 0o777).unwrap();
        assert!(is_program(&path) && !is_program(dir.path()));
        assert_eq!(link(&path), None);
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        assert_eq!(link(&dir.path().join("link")), Some(PathBuf::from("a")));
        assert!(free_bytes(dir.path()).is_some() && free_bytes(&path.join("no")).is_none());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o777);
    }

    #[test]
    fn a_look_tells_what_is_there() {
        let dir = TempDir::new("look");
        let path = dir.path().join("file");
        assert_eq!(look(&path), Found::Nothing);
        std::fs::write(&path, "").unwrap();
        assert_eq!(look(&path), Found::EmptyFile);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(look(&path), Found::Something);
        assert_eq!(look(dir.path()), Found::Directory);
        assert_eq!(look(Path::new("/dev/null")), Found::Something);
    }

    #[test]
    fn the_lock_has_one_holder_and_names_it() {
        let dir = TempDir::new("lock");
        let path = dir.path().join("lock");
        std::fs::write(&path, "999999999999 stale and longer\n").unwrap();
        let held = lock(&path).unwrap();
        let refused = lock(&path).unwrap_err();
        assert_eq!(refused, LockFault::Held(path.clone(), Some(std::process::id())));
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())));
        drop(held);
        lock(&path).unwrap();
    }
}
