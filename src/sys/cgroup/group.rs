//! The group of one unit: who is in it, and how it ends.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::hierarchy::parse_memberships;
use crate::sys::child;
use crate::sys::fault::{errno, reason};

/// How often members are read again for processes that were forked meanwhile.
const MAX_ROUNDS: usize = 16;
/// Groups below one unit's that are looked at: kubelet keeps some ten per pod.
const MAX_GROUPS: usize = 8_192;
/// Processes of one unit that are looked at: `pid_max` of a 32-bit kernel.
const MAX_MEMBERS: usize = 32_768;

/// A unit's folder in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) is_v2: bool,
    pub(super) label: String,
    pub(super) path: String,
    pub(super) dir: PathBuf,
    pub(super) controllers: Vec<String>,
}

/// The group of one unit; dropping it leaves the kernel's groups as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The first one tells who is a member.
    places: Vec<Place>,
}

/// In error for epoll ([`Interest::Nothing`] will do) when its group may have become empty, until
/// somebody looks.
///
/// [`Interest::Nothing`]: crate::sys::poll::Interest::Nothing
#[derive(Debug)]
pub struct Emptied(fs::File);

impl Emptied {
    /// Takes note; the next change is told anew. Whether nobody is left: it says so also when there
    /// is no descriptor for [`Group::is_empty`].
    pub fn look(&self) -> bool {
        let mut events = [0; 256];
        let count = self.0.read_at(&mut events, 0).unwrap_or(0);
        let mut lines = events.get(..count).unwrap_or_default().split(|byte| *byte == b'\n');
        lines.any(|line| line == b"populated 0")
    }
}

impl AsFd for Emptied {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Group {
    pub(super) const fn new(places: Vec<Place>) -> Self {
        Self { places }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether the kernel tells who belongs to the unit. If not, everything here does nothing.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        !self.places.is_empty()
    }

    /// The folder that lists the members, for people.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        Some(&self.places.first()?.dir)
    }

    /// The files through which a child enters, each with its name, opened for one spawn.
    pub(in crate::sys) fn entrances(&self) -> Vec<(String, io::Result<OwnedFd>)> {
        let open = |place: &Place| {
            let file = fs::OpenOptions::new().write(true).open(place.dir.join("cgroup.procs"));
            (place.dir.display().to_string(), file.map(OwnedFd::from))
        };
        self.places.iter().map(open).collect()
    }

    /// Tells from now on that the group may have become empty; `None` in version 1, where only
    /// deaths say it.
    #[must_use]
    pub fn emptied(&self) -> Option<Emptied> {
        let place = self.places.first().filter(|place| place.is_v2)?;
        let emptied = Emptied(fs::File::open(place.dir.join("cgroup.events")).ok()?);
        let _ = emptied.look();
        Some(emptied)
    }

    /// Processes in the group and in those below it, by the numbers of this pid namespace.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        for dir in self.places.first().map(|place| tree(&place.dir)).unwrap_or_default() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            // 0 is a process that this pid namespace cannot see.
            let pids = text.lines().filter_map(|pid| pid.parse::<u32>().ok());
            members.extend(pids.filter(|pid| *pid != 0));
            if members.len() >= MAX_MEMBERS {
                break;
            }
        }
        members
    }

    /// Whether nobody is in the group or below it; not, if nobody can say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Some(place) = self.places.first() else { return true };
        match fs::read_to_string(place.dir.join("cgroup.events")) {
            Ok(events) if place.is_v2 => !events.lines().any(|line| line == "populated 1"),
            Err(error) if place.is_v2 && error.kind() != io::ErrorKind::NotFound => false,
            _ => self.members().is_empty(),
        }
    }

    /// Whether that process belongs to the unit (also as a zombie).
    #[must_use]
    pub fn contains(&self, pid: u32) -> bool {
        let Some(place) = self.places.first() else { return false };
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        parse_memberships(&text).any(|(label, path)| {
            let below = path.strip_prefix(&place.path);
            label == place.label
                && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Bytes of memory in use, the kernel's cache for it included.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        let has_memory = |place: &&Place| place.controllers.iter().any(|one| one == "memory");
        let place = self.places.iter().find(has_memory)?;
        let file = if place.is_v2 { "memory.current" } else { "memory.usage_in_bytes" };
        fs::read_to_string(place.dir.join(file)).ok()?.trim().parse().ok()
    }

    /// Sends a signal to every member, also to those that are forked meanwhile; returns how many
    /// got it. CONT follows as in [`child::signal`].
    pub fn signal(&self, number: u8) -> usize {
        let mut done: Vec<u32> = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let members = self.members();
            let fresh: Vec<u32> = members.into_iter().filter(|pid| !done.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in &fresh {
                self.signal_one(*pid, number);
            }
            done.extend(fresh);
        }
        done.len()
    }

    /// Kills everybody in the group and below it.
    ///
    /// Their deaths are still to come; [`Group::is_empty`] says when all are gone.
    ///
    /// # Errors
    ///
    /// A sentence, if this very process is in the group.
    pub fn kill(&self) -> Result<(), String> {
        let Some(place) = self.places.first() else { return Ok(()) };
        if self.contains(std::process::id()) {
            return Err(format!("{}: the supervisor itself is in it", place.dir.display()));
        }
        if fs::write(place.dir.join("cgroup.kill"), "1").is_err() {
            self.kill_one_by_one();
        }
        Ok(())
    }

    /// What [`Group::kill`] does before Linux 5.14: nobody forks while frozen, and in version 1
    /// nobody dies before the thaw.
    pub fn kill_one_by_one(&self) {
        self.freeze(true);
        self.signal(child::KILL);
        self.freeze(false);
    }

    /// Removes the group and those below it.
    ///
    /// # Errors
    ///
    /// A sentence that names the first one that is still in use; all others are gone.
    pub fn remove(&self) -> Result<(), String> {
        let mut result = Ok(());
        for place in &self.places {
            for dir in tree(&place.dir).into_iter().rev() {
                match fs::remove_dir(&dir) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        let failed = format!(
                            "cannot remove cgroup {}: {}",
                            dir.display(),
                            reason(errno(&error))
                        );
                        result = result.and(Err(failed));
                    }
                    _ => {}
                }
            }
        }
        result
    }

    /// Makes a group that an earlier run left fit for the next one.
    pub(super) fn refresh(&self) {
        self.freeze(false);
        if !self.is_empty() {
            // Who is left may be about to use the groups below.
            return;
        }
        for place in &self.places {
            for dir in tree(&place.dir).iter().skip(1).rev() {
                let _ = fs::remove_dir(dir);
            }
            // A delegate that handed controllers down has shut the door for its successor.
            let control = place.dir.join("cgroup.subtree_control");
            for controller in fs::read_to_string(&control).unwrap_or_default().split_whitespace() {
                let _ = fs::write(&control, format!("-{controller}"));
            }
        }
    }

    fn freeze(&self, is_frozen: bool) {
        let Some(place) = self.places.first() else { return };
        let (file, value) = match (place.is_v2, is_frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let _ = fs::write(place.dir.join(file), value);
    }

    /// Through a descriptor, and only if the number still means a member.
    fn signal_one(&self, pid: u32, number: u8) {
        let pidfd = child::pidfd(pid);
        if self.contains(pid) {
            let _ = child::signal(pidfd.as_ref(), pid, number);
        }
    }
}

/// A group and those below it, parents first.
fn tree(top: &Path) -> Vec<PathBuf> {
    let mut all = vec![top.to_owned()];
    let mut next = 0;
    while let Some(dir) = all.get(next).filter(|_| all.len() < MAX_GROUPS) {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
        all.extend(below);
        next += 1;
    }
    all
}
