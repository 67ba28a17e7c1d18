//! Control groups of the world: version 2, version 1 (nobody tells when one is empty), or none.

use std::path::Path;

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, enter};
use crate::world::kernel::Thing;
use crate::world::{self, Groups};

pub use pisup::sys::cgroup::Limits;

#[derive(Debug)]
pub struct Cgroups;

impl Cgroups {
    pub fn discover(_run: &Path, _companions: &[u32]) -> (Self, Vec<String>) {
        super::pass();
        (Self, Vec::new())
    }

    pub fn make(&mut self, unit: &str, _limits: &Limits) -> (Group, Vec<String>) {
        let unit = unit.to_owned();
        if world::with(|world| world.groups_are == Groups::None) {
            return (Group { unit, is_tracked: false }, Vec::new());
        }
        let is_there = world::with(|world| world.groups.contains(&unit));
        let made = if is_there { Ok(()) } else { enter(&[Errno::NOSPC, Errno::NOMEM]) };
        if let Err(errno) = made {
            let why = format!("cannot make cgroup {unit}: {}", super::reason(errno));
            return (Group { unit, is_tracked: false }, vec![why]);
        }
        world::with(|world| world.groups.insert(unit.clone()));
        (Group { unit, is_tracked: true }, Vec::new())
    }

    pub fn find(&self, unit: &str) -> Option<Group> {
        super::pass();
        let is_there =
            world::with(|world| world.groups_are != Groups::None && world.groups.contains(unit));
        world::with(|world| world.tell(|| format!("  group {unit}: {is_there}")));
        is_there.then(|| Group { unit: unit.to_owned(), is_tracked: true })
    }

    pub fn left(&self) -> Vec<String> {
        world::with(|world| world.groups.iter().cloned().collect())
    }

    pub fn kind(&self) -> &'static str {
        match world::with(|world| world.groups_are) {
            Groups::None => "none",
            Groups::V1 => "v1",
            Groups::V2 => "v2",
        }
    }

    pub fn remove(&self) {}
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub(super) unit: String,
    is_tracked: bool,
}

#[derive(Debug)]
pub struct Emptied(OwnedFd);

impl Emptied {
    pub fn look(&self) -> bool {
        let looked = fd::look(self.0.as_fd(), |world, id| {
            let Some(Thing::Emptied(name, is_told)) = world.kernel.get_mut(id) else {
                return Err(Errno::BADF);
            };
            *is_told = false;
            let name = name.clone();
            Ok(!world.procs.values().any(|each| each.is_in(&name)))
        });
        looked.unwrap_or(false)
    }
}

impl AsFd for Emptied {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Group {
    pub const fn is_tracked(&self) -> bool {
        self.is_tracked
    }

    pub fn emptied(&self) -> Option<Emptied> {
        let is_told = world::with(|world| world.groups_are == Groups::V2);
        if !self.is_tracked || !is_told {
            return None;
        }
        fd::open(|_| Thing::Emptied(self.unit.clone(), false)).ok().map(Emptied)
    }

    pub fn members(&self) -> Vec<u32> {
        if enter(&[Errno::MFILE]).is_err() {
            return Vec::new();
        }
        self.all()
    }

    fn all(&self) -> Vec<u32> {
        if !self.is_tracked {
            return Vec::new();
        }
        world::with(|world| {
            let live = world.procs.values().filter(|each| each.is_in(&self.unit));
            let all: Vec<u32> = live.map(|each| each.pid).collect();
            world.tell(|| format!("  in {}: {all:?}", self.unit));
            all
        })
    }

    pub fn is_empty(&self) -> bool {
        enter(&[Errno::MFILE]).is_ok() && self.all().is_empty()
    }

    /// Also of a zombie.
    pub fn contains(&self, pid: u32) -> bool {
        super::pass();
        world::with(|world| {
            let each = world.proc_of(pid).filter(|_| self.is_tracked);
            each.is_some_and(|each| each.cgroup.as_deref() == Some(self.unit.as_str()))
        })
    }

    pub const fn memory_bytes(&self) -> Option<u64> {
        None
    }

    pub fn signal(&self, number: u8) -> usize {
        let members = self.members();
        for pid in &members {
            let _ = super::child::signal(None, *pid, number);
        }
        members.len()
    }

    pub fn kill(&self) -> Result<(), String> {
        super::pass();
        for pid in self.all() {
            let _ = super::child::signal(None, pid, super::child::KILL);
        }
        Ok(())
    }

    pub fn remove(&self) -> Result<(), String> {
        if !self.all().is_empty() {
            return Err("it is in use".to_owned());
        }
        world::with(|world| {
            world.tell(|| format!("  group {} is removed", self.unit));
            world.groups.remove(&self.unit)
        });
        Ok(())
    }
}
