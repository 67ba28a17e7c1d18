//! A program that is made ready once and can be started any number of times without a byte of
//! new memory: for a process that must go on when there is none.

use std::ffi::{CString, c_char, c_long};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::signal::SigSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{chdir, ioctl_tiocsctty, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::image::{Failed, decimal};
use super::prepare;
use super::sentence::{self, SpawnError};
use super::{Newborn, Request, fork_and_exec};

/// A program, its arguments and its environment.
pub struct Standing {
    candidates: Vec<CString>,
    /// The strings that `argv` and `envp` point into.
    _strings: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    takes_terminal: bool,
}

/// The first three descriptors of a child; all others of the parent are closed by exec, or leak.
#[derive(Clone, Copy, Debug)]
pub struct Stdio<'a> {
    /// Descriptor 0.
    pub stdin: BorrowedFd<'a>,
    /// Descriptors 1 and 2.
    pub output: BorrowedFd<'a>,
}

impl Standing {
    /// Makes a program ready. Of the request its command, environment and path count.
    ///
    /// # Errors
    ///
    /// The request makes no sense, in a sentence.
    pub fn new(request: &Request<'_>) -> Result<Self, SpawnError> {
        let text = |path: &String| prepare::text("the program's name", path);
        let candidates =
            sentence::candidates(request).iter().map(text).collect::<Result<_, _>>()?;
        let (strings, argv, envp) = prepare::vectors(request)?;
        Ok(Self { candidates, _strings: strings, argv, envp, takes_terminal: false })
    }

    /// Tries these files instead, in order; the name that the program sees stays.
    ///
    /// # Errors
    ///
    /// A name has a zero in it.
    pub fn among(mut self, files: &[&str]) -> Result<Self, SpawnError> {
        let text = |path: &&str| prepare::text("the program's name", path);
        self.candidates = files.iter().map(text).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The child is to be asked by ^C and ^Z on the terminal that its standard input is.
    #[must_use]
    pub const fn on_terminal(mut self) -> Self {
        self.takes_terminal = true;
        self
    }

    /// Starts the program in a session of its own; the answer is its process id. One that cannot
    /// be executed ends with exit code 127.
    ///
    /// # Errors
    ///
    /// The system is short of processes or memory.
    pub fn start(&self, stdio: Stdio<'_>) -> Result<u32, Errno> {
        fork_and_exec(&mut Birth {
            program: self,
            stdio,
            file: None,
            has_tried_file: false,
            next: 0,
        })
    }

    /// Starts what this file holds, or the program if that cannot be executed.
    ///
    /// # Errors
    ///
    /// As for [`Standing::start`].
    pub fn start_file(&self, stdio: Stdio<'_>, file: BorrowedFd<'_>) -> Result<u32, Errno> {
        let file = Some(path_of(file));
        fork_and_exec(&mut Birth { program: self, stdio, file, has_tried_file: false, next: 0 })
    }
}

/// One start.
struct Birth<'a> {
    program: &'a Standing,
    stdio: Stdio<'a>,
    /// What is tried first.
    file: Option<[u8; PATH_BYTES]>,
    has_tried_file: bool,
    next: usize,
}

/// `/proc/self/fd/`, ten digits, and the zero at the end.
const PATH_BYTES: usize = DESCRIPTORS.len() + 11;
const DESCRIPTORS: &[u8] = b"/proc/self/fd/";

/// The path of a descriptor, without memory.
fn path_of(file: BorrowedFd<'_>) -> [u8; PATH_BYTES] {
    let mut path = [0; PATH_BYTES];
    let mut digits = [0_u8; 10];
    let digits = decimal(file.as_raw_fd().unsigned_abs(), &mut digits);
    for (to, from) in path.iter_mut().zip(DESCRIPTORS.iter().chain(digits)) {
        *to = *from;
    }
    path
}

impl Birth<'_> {
    fn file_is_next(&mut self) -> bool {
        !std::mem::replace(&mut self.has_tried_file, true) && self.file.is_some()
    }
}

impl Newborn for Birth<'_> {
    fn ionice(&self) -> Option<c_long> {
        None
    }

    fn ionice_failed(&self, _: Errno) {}

    fn set_up(&mut self) -> Result<(), Failed> {
        let set_up = || {
            setsid()?;
            dup2_stdin(self.stdio.stdin)?;
            dup2_stdout(self.stdio.output)?;
            dup2_stderr(self.stdio.output)?;
            if self.program.takes_terminal {
                // A console that can be none is still good to read from.
                let _ = ioctl_tiocsctty(self.stdio.stdin);
            }
            umask(Mode::from_raw_mode(0o022));
            chdir(c"/")
        };
        let result: Result<(), Errno> = set_up();
        let _ = SigSet::empty().thread_set_mask();
        result.map_err(|_| Failed)
    }

    fn next_candidate(&mut self) -> Option<*const c_char> {
        if self.file_is_next() {
            return self.file.as_ref().map(|path| path.as_ptr().cast());
        }
        let candidate = self.program.candidates.get(self.next)?;
        self.next += 1;
        Some(candidate.as_ptr())
    }

    fn exec_failed(&mut self, _: Errno) {}

    fn argv(&self) -> *const *const c_char {
        self.program.argv.as_ptr()
    }

    fn envp(&self) -> *const *const c_char {
        self.program.envp.as_ptr()
    }
}
