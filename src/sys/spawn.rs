//! From a request to a running program: fork, a clean state, exec, and a true answer.
//!
//! The child gets its own session, default signal dispositions, an empty mask, and no descriptor
//! but 0 to 2 and those promised. What keeps it from executing comes back as a sentence; what it
//! can do without (a raised limit, a negative OOM score) comes back as a warning. Nothing is
//! inherited by accident: the environment is exactly what the request says.
//!
//! This module refuses to know units, to look up users (see `sys::user`), to retry, and to wait
//! without bound: a program on a dead file system costs [`spawn`] ten seconds, [`begin`] nothing.
//!
//! ```no_run
//! use pisup::sys::spawn::{Request, spawn};
//! let request = Request::new(vec!["dockerd".into(), "--bridge=none".into()]);
//! match spawn(&request) {
//!     Ok(child) => { let _ = child.pid; }
//!     Err(error) => { let _ = error.to_string(); }  // "dockerd: not found in PATH (tried ...)"
//! }
//! ```

mod image;
mod prepare;
mod report;
mod sentence;
mod standing;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Resource;

use self::image::{Failed, Image};
use self::report::Inbox;
use self::sentence::Context;
use super::cgroup::Group;
use super::child;
use super::user::Ids;

pub use self::sentence::SpawnError;
pub use self::standing::{Standing, Stdio};

/// Where programs are looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long [`spawn`] waits for exec: long for a tired SD card, short for a supervisor.
const EXEC_PATIENCE: Duration = Duration::from_secs(10);

/// The highest signal of Linux; those that a C library keeps to itself (32 to 34) are among them,
/// and posix_spawn of glibc leaves them ignored.
const LAST_SIGNAL: libc::c_long = 64;
/// What rt_sigaction wants to hear about the size of a signal mask.
const SIGNAL_SET_BYTES: libc::c_long = 8;
/// To ioprio_set: one process, this one.
const WHO_PROCESS: libc::c_long = 1;
const SELF: libc::c_long = 0;
/// A `struct sigaction` of the kernel that says SIG_DFL: zero on every architecture.
static DEFAULT_ACTION: [u64; 8] = [0; 8];

/// Names of resource limits, as `limits` spells them.
const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// The resource limit of that name (`nofile`).
#[must_use]
pub fn resource(name: &str) -> Option<Resource> {
    let entry = RESOURCES.iter().find(|(known, _)| *known == name)?;
    Some(entry.1)
}

/// A program and the state it is to be started in.
#[derive(Debug)]
pub struct Request<'a> {
    /// Program and arguments; a program without a slash is looked for in `path`.
    pub argv: Vec<String>,
    /// The whole environment; only `LISTEN_*` is added, where there are `sockets`.
    pub env: Vec<(String, String)>,
    /// Folders in which the program is looked for, separated by colons.
    pub path: String,
    /// Whom the program runs as; `None` stays as the supervisor is.
    pub ids: Option<Ids>,
    /// Working directory.
    pub directory: String,
    /// File mode creation mask.
    pub umask: u32,
    /// -20 to 19; `None` is the supervisor's, but not better than 0.
    pub nice: Option<i32>,
    /// As the kernel's `ioprio_set` takes it: class << 13 | level.
    pub ionice: Option<u16>,
    /// -1000 to 1000; `None` is the supervisor's, but not below 0.
    pub oom_score_adj: Option<i32>,
    /// CPUs it may run on; empty is the supervisor's.
    pub cpus: Vec<usize>,
    /// Numbers of the capabilities it keeps; `None` is all that its user has.
    pub capabilities: Option<Vec<u8>>,
    /// Set-user-id programs and file capabilities give it nothing.
    pub no_new_privileges: bool,
    /// Soft and hard at once; `u64::MAX` is infinity.
    pub limits: Vec<(Resource, u64)>,
    /// Descriptor 0; `None` is `/dev/null`.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Descriptor 1; `None` is `/dev/null`.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Descriptor 2; `None` is `/dev/null`.
    pub stderr: Option<BorrowedFd<'a>>,
    /// Activation sockets with their names: descriptors 3, 4, ... and `LISTEN_FDS`,
    /// `LISTEN_FDNAMES`, and `LISTEN_PID`, which is the child's own.
    pub sockets: Vec<(BorrowedFd<'a>, String)>,
    /// Further descriptors and the numbers they get (3 to 255).
    pub extra_fds: Vec<(BorrowedFd<'a>, i32)>,
    /// The group that the child enters before it executes anything.
    pub cgroup: Option<&'a Group>,
    /// Better not started than outside of the part of that group which tells its members.
    pub needs_cgroup: bool,
}

impl Request<'_> {
    /// A request with the state that children get by default, and an empty environment.
    #[must_use]
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

/// A program that runs.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id, also that of its session and its process group.
    pub pid: u32,
    /// Readable when it has died; `None` before Linux 5.3.
    pub pidfd: Option<OwnedFd>,
    /// What it had to go without, a sentence each.
    pub warnings: Vec<String>,
}

/// A child that has been forked and has not yet said whether it could execute its program.
///
/// Readable ([`AsFd`]) when there is something to [`Pending::take`]. The child can be reaped
/// before that: its death is then to be handled after the answer. Keep it until it has answered.
#[derive(Debug)]
pub struct Pending {
    pid: u32,
    pidfd: Option<OwnedFd>,
    report: OwnedFd,
    inbox: Inbox,
    context: Context,
}

impl Pending {
    /// The child's process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The answer, if it is there; never blocks. After `Some` the value is spent.
    pub fn take(&mut self) -> Option<Result<Spawned, SpawnError>> {
        let failed = match self.inbox.fill(self.report.as_fd())? {
            None => {
                return Some(Ok(Spawned {
                    pid: self.pid,
                    pidfd: self.pidfd.take(),
                    warnings: self.context.warnings(&self.inbox),
                }));
            }
            Some(failed) => failed,
        };
        // It is on its way out, and nobody else has to hear of it.
        child::discard(self.pid);
        Some(Err(self.context.failure(failed)))
    }

    /// Gives up on a child that neither executes nor fails: kills it. Its death is still to come.
    #[must_use]
    pub fn abandon(self, waited: Duration) -> SpawnError {
        let _ = child::signal(self.pidfd.as_ref(), self.pid, child::KILL);
        self.context.stuck(waited)
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// Forks; the answer comes through [`Pending`].
///
/// # Errors
///
/// The request makes no sense, or the system is short of processes, memory or descriptors
/// ([`SpawnError::is_transient`]).
pub fn begin(request: &Request<'_>) -> Result<Pending, SpawnError> {
    let (context, entrances) = Context::new(request)?;
    let (report, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|errno| SpawnError::system("making a pipe", errno))?;
    let mut image = Image::new(request, entrances, write)?;
    let pid = fork_and_exec(&mut image).map_err(|errno| context.fork(errno))?;
    Ok(Pending { pid, pidfd: child::pidfd(pid), report, inbox: Inbox::default(), context })
}

/// Starts a program and waits until it executes or has failed to, ten seconds at most.
///
/// # Errors
///
/// A sentence that says what could not be done and why.
pub fn spawn(request: &Request<'_>) -> Result<Spawned, SpawnError> {
    let mut pending = begin(request)?;
    let start = Instant::now();
    loop {
        if let Some(answer) = pending.take() {
            return answer;
        }
        let left = EXEC_PATIENCE.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(pending.abandon(EXEC_PATIENCE));
        }
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let _ = poll(&mut [PollFd::new(&pending, PollFlags::IN)], Some(&timeout));
    }
}

/// A child between fork and exec: it only makes system calls, and what it needs is ready.
trait Newborn {
    /// What ioprio_set is to be told, if anything.
    fn ionice(&self) -> Option<libc::c_long>;
    /// It did not take it.
    fn ionice_failed(&self, errno: Errno);
    /// Puts the child into the state that it is to have.
    fn set_up(&mut self) -> Result<(), Failed>;
    /// The next file to try to execute, ended by a zero.
    fn next_candidate(&mut self) -> Option<*const libc::c_char>;
    /// That file was not executed.
    fn exec_failed(&mut self, errno: Errno);
    /// Texts ended by zeroes, and a null pointer at the end.
    fn argv(&self) -> *const *const libc::c_char;
    /// The same for the environment.
    fn envp(&self) -> *const *const libc::c_char;
}

/// The program's only unsafe block: what no safe wrapper offers, and nothing else.
///
/// All signals are blocked meanwhile, so that none of the supervisor's handlers runs in the child.
#[expect(unsafe_code, reason = "fork, exec, signal dispositions and ioprio_set have no safe form")]
fn fork_and_exec(image: &mut impl Newborn) -> Result<u32, Errno> {
    let old = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    // SAFETY: The child is a copy of this thread alone. Until exec or _exit it only makes system
    // calls and touches memory that `image` holds ready: it allocates and frees nothing and takes
    // no lock, and every `Newborn::set_up` keeps that promise too, so that it does not matter what
    // other threads did at the time of the fork (the supervisor has none). rt_sigaction reads
    // `DEFAULT_ACTION`, which is larger than any kernel's struct, and installs no code.
    // ioprio_set takes three integers. The pointers given to execve come from CStrings and a
    // buffer that `image` owns, and both arrays end with a null pointer.
    let forked = unsafe {
        match nix::unistd::fork() {
            Ok(ForkResult::Child) => {
                for signal in 1..=LAST_SIGNAL {
                    let (new, old) = (DEFAULT_ACTION.as_ptr(), ptr::null::<u64>());
                    libc::syscall(libc::SYS_rt_sigaction, signal, new, old, SIGNAL_SET_BYTES);
                }
                if let Some(priority) = image.ionice()
                    && libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, SELF, priority) == -1
                {
                    image.ionice_failed(last_errno());
                }
                if image.set_up().is_ok() {
                    while let Some(candidate) = image.next_candidate() {
                        libc::execve(candidate, image.argv(), image.envp());
                        image.exec_failed(last_errno());
                    }
                }
                libc::_exit(127)
            }
            Ok(ForkResult::Parent { child }) => Ok(child),
            Err(errno) => Err(Errno::from_raw_os_error(errno as i32)),
        }
    };
    if let Ok(mask) = old {
        let _ = mask.thread_set_mask();
    }
    Ok(forked?.as_raw().unsigned_abs())
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(nix::errno::Errno::last_raw())
}
