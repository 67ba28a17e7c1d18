//! A child between fork and exec: everything it needs, and what it does with it.
//!
//! [`Image::new`] runs in the supervisor and may allocate and fail with a sentence; all else runs
//! in the child, only makes system calls and reports numbers.

use std::ffi::{CString, c_char, c_long};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd, write};
use rustix::process::{
    Pid, Resource, Rlimit, chdir, getpid, getppid, getrlimit, setpriority_process, setrlimit,
    setsid, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    CpuSet, Gid, Uid, sched_setaffinity, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::report::{Level, Record, Stage};
use super::sentence::{self, SpawnError};
use super::{Newborn, Request, prepare};
use crate::sys::caps::Caps;
use crate::sys::own;

const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// `LISTEN_PID=`, ten digits, and the zero at the end.
const LISTEN_PID_BYTES: usize = LISTEN_PID.len() + 11;

/// The prepared child.
pub(super) struct Image<'a> {
    candidates: Vec<CString>,
    next_candidate: usize,
    denied: Option<usize>,
    /// The strings that `argv` and `envp` point into.
    _strings: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// Empty when it is not wanted.
    listen_pid: Vec<u8>,
    entrances: Vec<OwnedFd>,
    /// Whether the first of them has to be passed.
    needs_cgroup: bool,
    umask: Mode,
    null: OwnedFd,
    /// What goes where, by rising target; `None` is `/dev/null`.
    fds: Vec<(Option<BorrowedFd<'a>>, i32)>,
    /// Copies of `fds` above all targets; its capacity is reserved.
    moved: Vec<OwnedFd>,
    open: Vec<i32>,
    report: OwnedFd,
    oom_score_adj: Option<String>,
    nice: Option<i32>,
    ionice: Option<u16>,
    cpus: Option<CpuSet>,
    descriptors: Option<Rlimit>,
    limits: Vec<(Resource, u64)>,
    caps: Option<Caps>,
    ids: Option<(Uid, Gid, Vec<Gid>)>,
    directory: CString,
    no_new_privileges: bool,
    /// Who makes the child.
    parent: Pid,
}

/// The child cannot go on; it has said why.
pub(super) struct Failed;

impl<'a> Image<'a> {
    /// Makes everything ready; `report` is where the child says how it went.
    pub(super) fn new(
        request: &Request<'a>,
        entrances: Vec<OwnedFd>,
        report: OwnedFd,
    ) -> Result<Self, SpawnError> {
        let candidates = sentence::candidates(request)
            .iter()
            .map(|path| prepare::text("the program's name", path))
            .collect::<Result<_, _>>()?;
        let (strings, argv, envp) = prepare::vectors(request)?;
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| SpawnError::system("opening /dev/null", errno))?;
        let fds = prepare::descriptors(request)?;
        Ok(Self {
            candidates,
            next_candidate: 0,
            denied: None,
            _strings: strings,
            argv,
            envp,
            listen_pid: vec![0; if request.sockets.is_empty() { 0 } else { LISTEN_PID_BYTES }],
            entrances,
            needs_cgroup: request.needs_cgroup,
            umask: Mode::from_raw_mode(request.umask & 0o777),
            null,
            moved: Vec::with_capacity(fds.len()),
            fds,
            report,
            oom_score_adj: prepare::oom_score_adj(request.oom_score_adj),
            nice: prepare::nice(request.nice),
            ionice: request.ionice,
            cpus: prepare::cpus(&request.cpus)?,
            descriptors: own::inherited_descriptors(),
            limits: request.limits.clone(),
            caps: request.capabilities.as_deref().map(Caps::keep),
            ids: prepare::ids(request),
            directory: prepare::text("the working directory", &request.directory)?,
            no_new_privileges: request.no_new_privileges,
            open: prepare::open_descriptors(),
            parent: getpid(),
        })
    }

    /// First everything out of the way, then everything else closed, then each to its place.
    fn arrange_fds(&mut self) -> Result<(), Failed> {
        let above = self.fds.last().map_or(3, |(_, target)| (target + 1).max(3));
        let report = fcntl_dupfd_cloexec(&self.report, above);
        self.report = self.check(Stage::Descriptors, report)?;
        for (source, target) in &self.fds {
            let copy = fcntl_dupfd_cloexec(source.unwrap_or(self.null.as_fd()), above);
            match copy {
                Ok(copy) => self.moved.push(copy),
                Err(errno) => return Err(self.fail_at(Stage::Descriptors, *target, errno)),
            }
        }
        for fd in &self.open {
            let is_ours = self.moved.iter().chain([&self.report]).any(|own| own.as_raw_fd() == *fd);
            if !is_ours {
                let _ = nix::unistd::close(*fd);
            }
        }
        for (copy, (_, target)) in self.moved.iter().zip(&self.fds) {
            if let Err(errno) = place(copy.as_fd(), *target) {
                return Err(self.fail_at(Stage::Descriptors, *target, errno));
            }
        }
        Ok(())
    }

    fn set_priorities(&self) -> Result<(), Failed> {
        if let Some(score) = &self.oom_score_adj {
            let file =
                open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            let written = file.and_then(|file| write(&file, score.as_bytes()));
            self.tolerate(Stage::OomScore, 0, written)?;
        }
        if let Some(nice) = self.nice {
            self.tolerate(Stage::Nice, 0, setpriority_process(None, nice))?;
        }
        if let Some(cpus) = &self.cpus
            && let Err(errno) = sched_setaffinity(None, cpus)
        {
            self.warn(Stage::Cpus, 0, errno);
        }
        Ok(())
    }

    fn set_limits(&self) -> Result<(), Failed> {
        if let Some(limit) = &self.descriptors {
            let _ = setrlimit(Resource::Nofile, *limit);
        }
        for (index, (resource, value)) in self.limits.iter().enumerate() {
            let value = (*value != u64::MAX).then_some(*value);
            let both = Rlimit { current: value, maximum: value };
            let set = setrlimit(*resource, both).inspect_err(|_| {
                // The hard limit is out of reach; the soft one may go up to it.
                let hard = getrlimit(*resource).maximum;
                let _ = setrlimit(*resource, Rlimit { current: hard, maximum: hard });
            });
            self.tolerate(Stage::Limit, index, set)?;
        }
        Ok(())
    }

    fn change_identity(&self) -> Result<(), Failed> {
        if let Some(caps) = &self.caps {
            self.check(Stage::Capabilities, caps.limit())?;
        }
        if let Some((uid, gid, groups)) = &self.ids {
            self.check(Stage::Groups, set_thread_groups(groups))?;
            self.check(Stage::Group, set_thread_res_gid(*gid, *gid, *gid))?;
            self.check(Stage::User, set_thread_res_uid(*uid, *uid, *uid))?;
        }
        if let Some(caps) = &self.caps {
            self.check(Stage::Capabilities, caps.apply())?;
        }
        Ok(())
    }

    /// Writes the child's own number into the place that was kept for it in the environment.
    fn tell_listen_pid(&mut self) {
        if self.listen_pid.is_empty() {
            return;
        }
        let mut digits = [0_u8; 10];
        let digits = decimal(getpid().as_raw_nonzero().get().unsigned_abs(), &mut digits);
        for (to, from) in self.listen_pid.iter_mut().zip(LISTEN_PID.iter().chain(digits)) {
            *to = *from;
        }
        if let Some(slot) = self.envp.first_mut() {
            *slot = self.listen_pid.as_ptr().cast();
        }
    }

    /// A right that the supervisor lacks is a warning, everything else ends the attempt.
    fn tolerate<T>(
        &self,
        stage: Stage,
        index: usize,
        done: Result<T, Errno>,
    ) -> Result<(), Failed> {
        match done {
            Ok(_) => Ok(()),
            Err(errno @ (Errno::PERM | Errno::ACCESS)) => {
                self.warn(stage, index, errno);
                Ok(())
            }
            Err(errno) => Err(self.fail(stage, index, errno)),
        }
    }

    fn check<T>(&self, stage: Stage, done: Result<T, Errno>) -> Result<T, Failed> {
        done.map_err(|errno| self.fail(stage, 0, errno))
    }

    fn fail_at(&self, stage: Stage, target: i32, errno: Errno) -> Failed {
        self.fail(stage, usize::try_from(target).unwrap_or_default(), errno)
    }

    fn fail(&self, stage: Stage, index: usize, errno: Errno) -> Failed {
        self.send(Level::Failure, stage, index, errno);
        Failed
    }

    fn warn(&self, stage: Stage, index: usize, errno: Errno) {
        self.send(Level::Warning, stage, index, errno);
    }

    fn send(&self, level: Level, stage: Stage, index: usize, errno: Errno) {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let record = Record { level, stage, index, errno: errno.raw_os_error() };
        let _ = write(&self.report, &record.bytes());
    }
}

impl Newborn for Image<'_> {
    fn ionice(&self) -> Option<c_long> {
        self.ionice.map(c_long::from)
    }

    fn ionice_failed(&self, errno: Errno) {
        self.warn(Stage::Ionice, 0, errno);
    }

    fn argv(&self) -> *const *const c_char {
        self.argv.as_ptr()
    }

    fn envp(&self) -> *const *const c_char {
        self.envp.as_ptr()
    }

    /// The next file to try to execute.
    fn next_candidate(&mut self) -> Option<*const c_char> {
        let candidate = self.candidates.get(self.next_candidate)?;
        self.next_candidate += 1;
        Some(candidate.as_ptr())
    }

    /// Goes on with the next file, as a shell would, or says why not.
    fn exec_failed(&mut self, errno: Errno) {
        let tried = self.next_candidate.saturating_sub(1);
        match errno {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => self.denied = self.denied.or(Some(tried)),
            _ => {
                self.next_candidate = self.candidates.len();
                self.fail(Stage::Exec, tried, errno);
                return;
            }
        }
        if self.next_candidate >= self.candidates.len() {
            match self.denied {
                Some(index) => self.fail(Stage::Exec, index, Errno::ACCESS),
                None => self.fail(Stage::Exec, 0, Errno::NOENT),
            };
        }
    }

    /// Puts the child into the state that the request describes.
    fn set_up(&mut self) -> Result<(), Failed> {
        self.check(Stage::Session, setsid())?;
        for (index, entrance) in self.entrances.iter().enumerate() {
            match write(entrance, b"0") {
                Ok(_) => {}
                Err(errno) if index == 0 && self.needs_cgroup => {
                    return Err(self.fail(Stage::Cgroup, index, errno));
                }
                Err(errno) => self.warn(Stage::Cgroup, index, errno),
            }
        }
        if getppid() != Some(self.parent) {
            // The next supervisor may have looked into the group already, and found nobody.
            return Err(Failed);
        }
        umask(self.umask);
        self.arrange_fds()?;
        self.set_priorities()?;
        self.set_limits()?;
        self.change_identity()?;
        self.check(Stage::Directory, chdir(self.directory.as_c_str()))?;
        if self.no_new_privileges {
            self.check(Stage::NoNewPrivileges, set_no_new_privs(true))?;
        }
        self.tell_listen_pid();
        let _ = SigSet::empty().thread_set_mask();
        Ok(())
    }
}

/// Gives `target` to a copy of `fd`.
fn place(fd: BorrowedFd<'_>, target: i32) -> Result<(), Errno> {
    match target {
        0 => dup2_stdin(fd),
        1 => dup2_stdout(fd),
        2 => dup2_stderr(fd),
        // All others are closed by now, so the lowest free number is the one wanted.
        _ => {
            let copy = fcntl_dupfd_cloexec(fd, target)?;
            fcntl_setfd(&copy, FdFlags::empty())?;
            if copy.into_raw_fd() == target { Ok(()) } else { Err(Errno::BUSY) }
        }
    }
}

pub(super) fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut start = buffer.len();
    for (index, digit) in buffer.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        start = index;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}
