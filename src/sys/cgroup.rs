//! Control groups: one per unit, below the supervisor's own, in whatever form the kernel has them.
//!
//! Version 2, version 1 and both at once are taken as they are found; nothing is mounted. One
//! hierarchy tells who belongs to a unit (version 2 if it is there at all, for `cgroup.kill`),
//! others only carry limits. A controller that is missing is told once in the supervisor's life.
//! Where no hierarchy can be written, groups are empty shells and the caller falls back on
//! sessions and parents ([`Group::is_tracked`]).
//!
//! This module waits for nothing: that a group has become empty is learnt from its events file
//! ([`Emptied`], version 2) or, as subreaper, from the deaths that SIGCHLD brings (version 1): ask
//! [`Group::is_empty`] after each.
//!
//! A Pi with memory and pids on version 1 and an empty version 2 beside them, unit `etcd`:
//!
//! ```text
//! /sys/fs/cgroup/unified/pisup.run-pisup-1f2e3d4c/etcd   members, kill, events
//! /sys/fs/cgroup/memory/pisup.run-pisup-1f2e3d4c/etcd    memory-max, memory in use
//! ```

mod group;
mod hierarchy;
mod limits;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use self::group::Place;
use self::hierarchy::Hierarchy;
use super::fault::{errno, reason};

pub use self::group::{Emptied, Group};
pub use self::limits::Limits;

/// Longest readable part of an instance's name; a file name may have 255 bytes.
const MAX_NAME_BYTES: usize = 100;

/// The hierarchies of this machine that a supervisor can use.
#[derive(Debug)]
pub struct Cgroups {
    /// The first one tells who belongs to a unit.
    hierarchies: Vec<Hierarchy>,
    /// Controllers whose absence has been told.
    told: BTreeSet<&'static str>,
}

impl Cgroups {
    /// Finds out what there is, and what is to be told about it.
    ///
    /// `run` is the supervisor's own run directory, which keeps several of them apart.
    /// `companions` are processes in the supervisor's group that may be moved aside with it where
    /// version 2 wants that (`pisup-init`, if it is the parent).
    #[must_use]
    pub fn discover(run: &Path, companions: &[u32]) -> (Self, Vec<String>) {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::among(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), run, companions)
    }

    /// The same among the hierarchies that are told, in the words of `/proc/self/mountinfo` and
    /// `/proc/self/cgroup`.
    #[must_use]
    pub fn among(
        mountinfo: &str,
        memberships: &str,
        run: &Path,
        companions: &[u32],
    ) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut hierarchies = hierarchy::find(mountinfo, memberships, &instance(run));
        hierarchies.retain(|hierarchy| hierarchy.claim().is_ok());
        if hierarchies.is_empty() {
            let text = "no cgroup hierarchy can be written: units are told apart by session and \
                        parent only, and their limits are not applied (run as root, with cgroups \
                        mounted read-write on /sys/fs/cgroup)";
            warnings.push(text.to_owned());
        }
        for hierarchy in hierarchies.iter_mut().filter(|one| one.is_v2) {
            warnings.extend(hierarchy.open_up(companions));
        }
        (Self { hierarchies, told: BTreeSet::new() }, warnings)
    }

    /// `v2`, `v1`, `hybrid` or `none`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        let has = |is_v2| self.hierarchies.iter().any(|one| one.is_v2 == is_v2);
        match (has(true), has(false)) {
            (true, true) => "hybrid",
            (true, false) => "v2",
            (false, true) => "v1",
            (false, false) => "none",
        }
    }

    /// The controllers that units can be limited by.
    #[must_use]
    pub fn controllers(&self) -> Vec<&str> {
        let known = ["memory", "cpu", "io", "blkio", "pids"];
        known.into_iter().filter(|name| self.hierarchies.iter().any(|one| one.has(name))).collect()
    }

    /// The group of a unit, made if it is not there, with these limits, and what to tell.
    ///
    /// What is left of an earlier run stays in it; limits that no longer hold are lifted.
    #[must_use]
    pub fn make(&mut self, unit: &str, limits: &Limits) -> (Group, Vec<String>) {
        let mut warnings = Vec::new();
        let mut places: Vec<Place> = Vec::new();
        for (index, hierarchy) in self.hierarchies.iter().enumerate() {
            let is_wanted = index == 0 || hierarchy.has("memory") || limits.need(hierarchy);
            if !is_wanted {
                continue;
            }
            let place = hierarchy.place(unit);
            match fs::create_dir_all(&place.dir) {
                Ok(()) => places.push(place),
                Err(why) => {
                    let (dir, why) = (place.dir.display(), reason(errno(&why)));
                    warnings.push(format!("cannot make cgroup {dir}: {why}"));
                    // Without members nothing else is of use.
                    if index == 0 {
                        break;
                    }
                }
            }
        }
        let group = Group::new(places);
        group.refresh();
        for (controller, advice) in limits.missing(&self.hierarchies) {
            if self.told.insert(controller) {
                warnings.push(format!(
                    "the {controller} controller is not available{advice}: the limits that need \
                     it (first seen in {unit}) are not applied"
                ));
            }
        }
        warnings.extend(limits.apply(unit, group.places()));
        (group, warnings)
    }

    /// The group of a unit that an earlier supervisor of this run directory has left.
    #[must_use]
    pub fn find(&self, unit: &str) -> Option<Group> {
        let places = self.hierarchies.iter().map(|hierarchy| hierarchy.place(unit));
        let places: Vec<Place> = places.filter(|place| place.dir.is_dir()).collect();
        let first = self.hierarchies.first()?.place(unit).dir;
        (places.first()?.dir == first).then(|| Group::new(places))
    }

    /// The units of which an earlier supervisor of this run directory has left groups.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let dir = self.hierarchies.first().map(|hierarchy| fs::read_dir(&hierarchy.dir));
        let entries = dir.into_iter().flatten().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = dirs.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name != hierarchy::LEAF).collect()
    }

    /// Removes what is empty of the supervisor's own folders; the last thing it does.
    pub fn remove(&self) {
        for hierarchy in &self.hierarchies {
            hierarchy.step_back();
            let _ = fs::remove_dir(&hierarchy.dir);
        }
    }
}

/// A name for the supervisor of that run directory: readable, and another one for the same path
/// in another mount namespace.
fn instance(run: &Path) -> String {
    let text = run.to_string_lossy();
    let readable: String = text
        .trim_matches('/')
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '-' })
        .take(MAX_NAME_BYTES)
        .collect();
    let (device, inode) = fs::metadata(run).map_or((0, 0), |found| (found.dev(), found.ino()));
    let identity = format!("{text}\0{device}\0{inode}");
    // FNV-1a: short, stable across builds, and nobody attacks it here.
    let hash = identity
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("pisup.{readable}-{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_readable_and_apart() {
        let one = instance(Path::new("/no/such-run"));
        assert!(one.starts_with("pisup.no-such-run-"), "{one}");
        assert_ne!(one, instance(Path::new("/no-such/run")));
        assert_eq!(one, instance(Path::new("/no/such-run")));
        assert!(instance(Path::new(&"x".repeat(4000))).len() < 255);
        assert_ne!(instance(Path::new("/proc")), instance(Path::new("/proc/")));
    }

    #[test]
    fn without_hierarchies_a_group_is_an_empty_shell() {
        let mut none = Cgroups { hierarchies: Vec::new(), told: BTreeSet::new() };
        assert_eq!(none.kind(), "none");
        let limits = Limits { memory_max: Some(1), ..Limits::default() };
        let (group, warnings) = none.make("etcd", &limits);
        assert!(!group.is_tracked());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("the memory controller is not available"));
        assert_eq!(none.make("etcd", &limits).1, Vec::<String>::new(), "told once");
        assert_eq!(group.members(), Vec::<u32>::new());
        assert!(!group.contains(std::process::id()));
        assert!(none.find("etcd").is_none());
    }
}
