//! Processes that exist: reaping, signals that reach the right one, and what `/proc` tells.
//!
//! A pid is only used while its process is known to be unreaped; a pidfd is used where the kernel
//! has them. This module starts nothing and remembers nothing.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::path::DecInt;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    pidfd_open, pidfd_send_signal, set_child_subreaper, test_kill_process, test_kill_process_group,
    wait, waitpid,
};

pub use crate::machine::Exit;
use crate::machine::Tick;

/// SIGKILL.
pub const KILL: u8 = 9;
const CONT: u8 = 18;
const MS_PER_CLOCK_TICK: u64 = 10;

/// Processes that are looked at, at most: more than a Pi can hold.
const MAX_PROCESSES: usize = 32_768;

/// The dead, and whether there may be more of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Pid and how it ended, in the order of the kernel.
    pub dead: Vec<(u32, Exit)>,
    /// The batch was full: call again before waiting for the next SIGCHLD.
    pub has_more: bool,
}

/// Takes at most `max` dead children of this process off the kernel; never blocks.
#[must_use]
pub fn reap(max: usize) -> Reaped {
    let mut dead = Vec::new();
    while dead.len() < max {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => dead.push((number(pid), exit(status))),
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => {
                return Reaped { dead, has_more: false };
            }
        }
    }
    Reaped { dead, has_more: true }
}

/// What [`reap_one`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A child that has died, and how.
    Dead(u32, Exit),
    /// All children live.
    Alive,
    /// There are no children.
    Nobody,
}

/// Takes one dead child off the kernel; never blocks, never allocates.
#[must_use]
pub fn reap_one() -> Found {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Found::Dead(number(pid), exit(status)),
            Ok(None) => return Found::Alive,
            Err(Errno::INTR) => {}
            Err(_) => return Found::Nobody,
        }
    }
}

/// Waits for a child that is about to end and forgets it.
pub(super) fn discard(pid: u32) {
    if let Some(pid) = to_pid(pid) {
        while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
    }
}

/// A descriptor that means this process and no later one with its number; readable once it is
/// dead. `None` when it is gone, and before Linux 5.3.
#[must_use]
pub fn pidfd(pid: u32) -> Option<OwnedFd> {
    pidfd_open(to_pid(pid)?, PidfdFlags::empty()).ok()
}

/// Whether the process that a descriptor means has died, reaped or not.
#[must_use]
pub fn has_died(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|count| count > 0)
}

/// Sends a signal to one process, by pidfd where there is one. A process that is stopped is
/// continued after anything but a stop, for it could not act on the signal otherwise.
///
/// Without a pidfd the caller vouches that `pid` has not been reaped.
///
/// # Errors
///
/// ESRCH when it is gone, EINVAL for a number that is not a signal, EPERM for a foreign process.
pub fn signal(pidfd: Option<&OwnedFd>, pid: u32, number: u8) -> Result<(), Errno> {
    send(number, |signal| match pidfd {
        Some(pidfd) => pidfd_send_signal(pidfd.as_fd(), signal),
        None => kill_process(to_pid(pid).ok_or(Errno::SRCH)?, signal),
    })
}

/// Sends a signal to a process group, and CONT after it as [`signal`] does.
///
/// # Errors
///
/// ESRCH when nobody is in it, EINVAL for a number that is not a signal.
pub fn signal_group(group: u32, number: u8) -> Result<(), Errno> {
    // Group 1 cannot be anyone's of ours; to the kernel "-1" is everybody.
    let group = to_pid(group).filter(|group| !group.is_init()).ok_or(Errno::SRCH)?;
    send(number, |signal| kill_process_group(group, signal))
}

/// Sends a signal to the group of a child that leads it, or is about to: between its fork and its
/// own session it is alone, and TERM waits until it is ready to die.
///
/// The caller vouches that the child has not been reaped.
///
/// # Errors
///
/// As for [`signal`].
pub fn signal_leader(pid: u32, number: u8) -> Result<(), Errno> {
    signal_group(pid, number).or_else(|errno| match errno {
        Errno::SRCH => signal(None, pid, number),
        errno => Err(errno),
    })
}

/// Whether anybody lives in a process group. The dead whom their parents leave there do not count.
#[must_use]
pub fn has_group(group: u32) -> bool {
    let known = to_pid(group).filter(|group| !group.is_init());
    if known.is_none_or(|group| test_kill_process_group(group) == Err(Errno::SRCH)) {
        return false;
    }
    processes().iter().any(|(_, stat)| stat.group == group && !stat.is_zombie())
}

/// Makes orphans among the descendants children of this process.
///
/// # Errors
///
/// The system refused (before Linux 3.4).
pub fn become_subreaper() -> Result<(), Errno> {
    set_child_subreaper(Some(getpid()))
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `T`, `Z`, ...
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// Clock ticks after boot; with the pid and the boot id it names one process for ever.
    pub start_time: u64,
}

impl Stat {
    /// Whether it was started behind that instant, as far as clock ticks can tell.
    #[must_use]
    pub const fn started_after(&self, at: Tick) -> bool {
        // USER_HZ is 100 on all machines that there are Pis of.
        self.start_time.saturating_add(1).saturating_mul(MS_PER_CLOCK_TICK) > at.0
    }

    /// Whether it was started by that instant, as far as clock ticks can tell.
    #[must_use]
    pub const fn started_by(&self, at: Tick) -> bool {
        self.start_time.saturating_mul(MS_PER_CLOCK_TICK) <= at.0
    }

    /// Dead, but not yet reaped.
    #[must_use]
    pub const fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Whether there is a process of that number, dead or alive; asked without a descriptor, of which
/// there may be none to look at it.
#[must_use]
pub fn is_there(pid: u32) -> bool {
    to_pid(pid).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Whether it is a child of this process.
#[must_use]
pub fn is_own(stat: &Stat) -> bool {
    stat.parent == std::process::id()
}

/// What the kernel tells about a process; `None` when it is gone.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The first word of a process's command line; empty for a zombie and for one that is gone.
#[must_use]
pub fn first_word(pid: u32) -> Vec<u8> {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.truncate(line.iter().position(|byte| *byte == 0).unwrap_or_default());
    line
}

/// Whether a process sleeps in epoll: all that has happened to it is done, and it wakes up when
/// more does. `false` also where the kernel does not tell. Takes no memory.
#[must_use]
pub fn sleeps_in_epoll(pid: u32) -> bool {
    let mut name = [0; 64];
    let count = place_of_sleep(pid, &mut name).unwrap_or(0);
    // The function is called one or the other, as the kernel's compiler likes; a process that is
    // stopped or frozen sleeps elsewhere.
    [&b"ep_poll"[..], b"do_epoll_wait"].contains(&name.get(..count).unwrap_or_default())
}

fn place_of_sleep(pid: u32, name: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let proc = open("/proc", flags | OFlags::PATH, Mode::empty())?;
    let process = openat(&proc, DecInt::new(pid).as_c_str(), flags | OFlags::PATH, Mode::empty())?;
    let file = openat(&process, "wchan", flags, Mode::empty())?;
    rustix::io::read(&file, name)
}

/// All processes below this one or in its session, also after its death; without itself.
///
/// A snapshot for machines without cgroups: who was made meanwhile is missing, and an orphan that
/// has left the session cannot be told from others.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, u32, u32)> =
        processes().iter().map(|(pid, stat)| (*pid, stat.parent, stat.session)).collect();
    below(pid, &all)
}

fn processes() -> Vec<(u32, Stat)> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.take(MAX_PROCESSES).filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// The same in a list of processes, their parents and their sessions.
fn below(root: u32, all: &[(u32, u32, u32)]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|(_, of, session)| *of == parent || *session == root);
        for (child, ..) in children {
            // A number that was used anew while we read could make a circle.
            if *child != root && !found.contains(child) {
                found.push(*child);
                parents.push(*child);
            }
        }
    }
    found
}

fn send(number: u8, to: impl Fn(Signal) -> Result<(), Errno>) -> Result<(), Errno> {
    let signal = Signal::from_named_raw(i32::from(number)).ok_or(Errno::INVAL)?;
    to(signal)?;
    let is_about_stopping =
        matches!(signal, Signal::STOP | Signal::TSTP | Signal::TTIN | Signal::TTOU | Signal::CONT);
    if !is_about_stopping
        && number != KILL
        && let Some(signal) = Signal::from_named_raw(i32::from(CONT))
    {
        let _ = to(signal);
    }
    Ok(())
}

fn exit(status: WaitStatus) -> Exit {
    let small = |number: i32| u8::try_from(number).ok();
    if let Some(code) = status.exit_status() {
        return small(code).map_or(Exit::Unknown, Exit::Code);
    }
    status.terminating_signal().and_then(small).map_or(Exit::Unknown, Exit::Signal)
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// The name in parentheses may contain anything, parentheses too: fields count from the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut next = || fields.next()?.parse().ok();
    let (parent, group, session) = (next()?, next()?, next()?);
    // Fields 7 to 21 lie between the session (6) and the start time (22).
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, parent, group, session, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_is_no_trap() {
        let line = b"42 (a) R 1 (b) S 7 8 9 0 -1 4194560 103 0 0 0 1 2 0 0 20 0 1 0 5555 2 3 4";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat.state, 'S');
        assert_eq!((stat.parent, stat.group, stat.session), (7, 8, 9));
        assert_eq!(stat.start_time, 5555);
    }

    #[test]
    fn a_broken_line_is_none() {
        for line in ["", "1", "1 (x", "1 (x)", "1 (x) S", "1 (x) S 1 2 3", "1 (x) S a b c"] {
            assert_eq!(parse_stat(line.as_bytes()), None);
        }
    }

    #[test]
    fn descendants_are_found_in_any_order_and_circles_end() {
        let all = [(30, 20, 3), (20, 10, 3), (11, 10, 3), (99, 1, 3), (40, 30, 3)];
        assert_eq!(below(10, &all), vec![20, 11, 30, 40]);
        assert_eq!(below(5, &[(6, 7, 0), (7, 6, 0), (7, 5, 0)]), vec![7, 6]);
        assert_eq!(below(5, &[]), Vec::<u32>::new());
    }

    #[test]
    fn an_orphan_of_the_session_counts_with_its_children() {
        let all = [(10, 1, 10), (11, 1, 10), (12, 11, 12), (13, 1, 13)];
        assert_eq!(below(10, &all), vec![11, 12]);
    }

    #[test]
    fn nonsense_is_not_signalled() {
        assert_eq!(signal(None, 0, KILL), Err(Errno::SRCH));
        assert_eq!(signal(None, u32::MAX, KILL), Err(Errno::SRCH));
        assert_eq!(signal_group(1, KILL), Err(Errno::SRCH));
        assert_eq!(signal_group(0, KILL), Err(Errno::SRCH));
        assert_eq!(signal(None, std::process::id(), 0), Err(Errno::INVAL));
        assert_eq!(signal(None, std::process::id(), 99), Err(Errno::INVAL));
    }

    #[test]
    fn a_command_line_begins_with_the_program() {
        let own = std::env::args().next().unwrap();
        assert_eq!(first_word(std::process::id()), own.as_bytes());
        assert_eq!(first_word(u32::MAX), b"");
    }

    #[test]
    fn this_process_has_a_start_time() {
        let stat = stat(std::process::id()).unwrap();
        assert!(is_there(std::process::id()) && !is_there(u32::MAX) && !is_there(0));
        assert!(stat.start_time > 0);
        assert!(!stat.is_zombie());
    }
}
