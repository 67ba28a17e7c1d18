//! Processes of the world, as the supervisor sees them.

use super::fd::{self, AsFd, OwnedFd};
use super::{Errno, enter, pass};
use crate::world::kernel::Thing;
use crate::world::{self, World};

pub use pisup::sys::child::{KILL, Reaped, Stat};

pub fn reap(max: usize) -> Reaped {
    pass();
    world::with(|world| {
        let mut dead = Vec::new();
        while dead.len() < max {
            match world.reap_any() {
                Some(each) => dead.push(each),
                None => return Reaped { dead, has_more: false },
            }
        }
        Reaped { dead, has_more: true }
    })
}

pub fn pidfd(pid: u32) -> Option<OwnedFd> {
    enter(&fd::SHORT).ok()?;
    world::with(|world| {
        let serial = world.pids.get(&pid).copied().filter(|_| world.has_pidfd)?;
        world.tell(|| format!("  a descriptor of {pid}"));
        let id = world.kernel.make(Thing::Pidfd(serial));
        Some(fd::hand_out(world, id))
    })
}

pub fn has_died(pidfd: &OwnedFd) -> bool {
    super::pass();
    let died = fd::look(pidfd.as_fd(), |world, id| match world.kernel.get(id) {
        Some(Thing::Pidfd(serial)) => {
            Ok(world.procs.get(serial).is_none_or(world::procs::Proc::is_dead))
        }
        _ => Err(Errno::BADF),
    });
    died.unwrap_or(false)
}

pub fn signal(pidfd: Option<&OwnedFd>, pid: u32, number: u8) -> Result<(), Errno> {
    pass();
    let Some(pidfd) = pidfd else {
        return world::with(|world| {
            let serial = world.pids.get(&pid).copied().ok_or(Errno::SRCH)?;
            world.signal_from_supervisor(serial, number)
        });
    };
    fd::look(pidfd.as_fd(), |world, id| match world.kernel.get(id) {
        Some(Thing::Pidfd(serial)) => {
            let serial = *serial;
            world.signal_from_supervisor(serial, number)
        }
        _ => Err(Errno::BADF),
    })
}

pub fn signal_group(group: u32, number: u8) -> Result<(), Errno> {
    pass();
    world::with(|world| {
        let members = in_group(world, group);
        if members.is_empty() {
            return Err(Errno::SRCH);
        }
        for serial in members {
            let _ = world.signal_from_supervisor(serial, number);
        }
        Ok(())
    })
}

fn in_group(world: &World, group: u32) -> Vec<u64> {
    let members = world.procs.values().filter(|each| each.group == group);
    members.map(|each| each.serial).collect()
}

pub fn signal_leader(pid: u32, number: u8) -> Result<(), Errno> {
    signal_group(pid, number).or_else(|errno| match errno {
        Errno::SRCH => signal(None, pid, number),
        errno => Err(errno),
    })
}

pub fn has_group(group: u32) -> bool {
    pass();
    world::with(|world| world.procs.values().any(|each| each.group == group && !each.is_dead()))
}

pub fn is_there(pid: u32) -> bool {
    pass();
    world::with(|world| world.proc_of(pid).is_some())
}

pub fn is_own(stat: &Stat) -> bool {
    stat.parent == world::with(|world| world.supervisor)
}

pub fn become_subreaper() -> Result<(), Errno> {
    Ok(())
}

pub fn stat(pid: u32) -> Option<Stat> {
    enter(&[Errno::MFILE]).ok()?;
    world::with(|world| {
        let each = world.proc_of(pid)?;
        Some(Stat {
            state: if each.is_dead() { 'Z' } else { 'S' },
            parent: world.parent_pid(each),
            group: each.group,
            session: each.session,
            // In clock ticks.
            start_time: each.start / 10,
        })
    })
}

pub fn first_word(pid: u32) -> Vec<u8> {
    if enter(&[Errno::MFILE]).is_err() {
        return Vec::new();
    }
    world::with(|world| {
        let each = world.proc_of(pid).filter(|each| !each.is_dead());
        each.map(|each| each.argv.first().cloned().unwrap_or_default().into_bytes())
            .unwrap_or_default()
    })
}

pub fn descendants(pid: u32) -> Vec<u32> {
    pass();
    world::with(|world| {
        let mut found = Vec::new();
        let mut parents = vec![pid];
        while let Some(parent) = parents.pop() {
            for each in world.procs.values() {
                let is_below = world.parent_pid(each) == parent || each.session == pid;
                if is_below && each.pid != pid && !found.contains(&each.pid) {
                    found.push(each.pid);
                    parents.push(each.pid);
                }
            }
        }
        found
    })
}
