//! Processes are made: fork, a while, exec or not.

use core::fmt;
use std::time::Duration;

use super::cgroup::Group;
use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, enter};
use crate::world;
use crate::world::kernel::Thing;
use crate::world::procs::Birth;

pub use pisup::sys::spawn::{DEFAULT_PATH, resource};
use pisup::sys::user::Ids;
use rustix::process::Resource;

#[derive(Debug)]
pub struct Request<'a> {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub path: String,
    pub ids: Option<Ids>,
    pub directory: String,
    pub umask: u32,
    pub nice: Option<i32>,
    pub ionice: Option<u16>,
    pub oom_score_adj: Option<i32>,
    pub cpus: Vec<usize>,
    pub capabilities: Option<Vec<u8>>,
    pub no_new_privileges: bool,
    pub limits: Vec<(Resource, u64)>,
    pub stdin: Option<BorrowedFd<'a>>,
    pub stdout: Option<BorrowedFd<'a>>,
    pub stderr: Option<BorrowedFd<'a>>,
    pub sockets: Vec<(BorrowedFd<'a>, String)>,
    pub extra_fds: Vec<(BorrowedFd<'a>, i32)>,
    pub cgroup: Option<&'a Group>,
    pub needs_cgroup: bool,
}

impl Request<'_> {
    pub fn new(argv: Vec<String>) -> Self {
        Self {
            argv,
            env: Vec::new(),
            path: DEFAULT_PATH.to_owned(),
            ids: None,
            directory: "/".to_owned(),
            umask: 0o022,
            nice: None,
            ionice: None,
            oom_score_adj: None,
            cpus: Vec::new(),
            capabilities: None,
            no_new_privileges: false,
            limits: Vec::new(),
            stdin: None,
            stdout: None,
            stderr: None,
            sockets: Vec::new(),
            extra_fds: Vec::new(),
            cgroup: None,
            needs_cgroup: false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct SpawnError {
    sentence: String,
    is_transient: bool,
}

impl SpawnError {
    pub const fn is_transient(&self) -> bool {
        self.is_transient
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.sentence)
    }
}

#[derive(Debug)]
pub struct Spawned {
    pub pidfd: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

#[derive(Debug)]
pub struct Pending {
    pid: u32,
    serial: u64,
    pidfd: Option<OwnedFd>,
    report: OwnedFd,
}

impl Pending {
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    pub fn take(&mut self) -> Option<Result<Spawned, SpawnError>> {
        super::pass();
        let report = world::with(|world| world.report(self.serial))?;
        Some(match report {
            Ok(warnings) => Ok(Spawned { pidfd: self.pidfd.take(), warnings }),
            Err(sentence) => Err(SpawnError { sentence, is_transient: false }),
        })
    }

    pub fn abandon(self, _waited: Duration) -> SpawnError {
        let _ = super::child::signal(self.pidfd.as_ref(), self.pid, super::child::KILL);
        SpawnError { sentence: "stuck".to_owned(), is_transient: false }
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// Waits until the program is executed.
pub fn spawn(request: &Request<'_>) -> Result<Spawned, SpawnError> {
    let mut pending = begin(request)?;
    world::with(|world| {
        let while_ms = world.rng.below(300);
        world.pass(while_ms);
        world.exec(pending.serial);
    });
    let answer = pending.take();
    answer.unwrap_or_else(|| Err(pending.abandon(Duration::from_secs(10))))
}

pub fn begin(request: &Request<'_>) -> Result<Pending, SpawnError> {
    let short = |errno: Errno| SpawnError {
        sentence: format!("cannot make a process: {}", super::reason(errno)),
        is_transient: true,
    };
    enter(&[Errno::AGAIN, Errno::NOMEM, Errno::MFILE]).map_err(short)?;
    let is_shut = request
        .cgroup
        .filter(|group| group.is_tracked())
        .is_some_and(|group| world::with(|world| !world.groups.contains(&group.unit)));
    if is_shut && request.needs_cgroup {
        return Err(SpawnError { sentence: "no such cgroup".to_owned(), is_transient: false });
    }
    let report = fd::open(|_| Thing::Report(0)).map_err(short)?;
    let (serial, pid) = world::with(|world| {
        let mut id = |fd: &BorrowedFd<'_>| world.id(fd.fd).ok();
        let birth = Birth {
            argv: request.argv.clone(),
            notify: request.env.iter().find(|(key, _)| key == "NOTIFY_SOCKET").cloned(),
            stdin: request.stdin.as_ref().and_then(&mut id),
            stdout: request.stdout.as_ref().and_then(&mut id),
            sockets: request.sockets.iter().filter_map(|(fd, _)| id(fd)).collect(),
            extra: request.extra_fds.iter().filter_map(|(fd, _)| id(fd)).collect(),
            cgroup: request.cgroup.filter(|group| group.is_tracked()).map(|g| g.unit.clone()),
        };
        let born = world.fork(birth);
        if let Ok(id) = world.id(report.fd)
            && let Some(thing) = world.kernel.get_mut(id)
        {
            *thing = Thing::Report(born.0);
        }
        born
    });
    Ok(Pending { pid, serial, pidfd: super::child::pidfd(pid), report })
}
