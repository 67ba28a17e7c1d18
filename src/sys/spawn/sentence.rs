//! What a child has reported, as sentences; the supervisor kept the names for them.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::io::Errno;

use super::report::{Inbox, Record, Stage};
use super::{RESOURCES, Request};
use crate::sys::cgroup::Group;
use crate::sys::fault::{errno, reason};

/// Why a program could not be started: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    sentence: String,
    is_transient: bool,
}

impl SpawnError {
    /// The system is short of something now; the same request can succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.is_transient
    }

    pub(super) const fn request(sentence: String) -> Self {
        Self { sentence, is_transient: false }
    }

    pub(super) fn system(doing: &str, errno: Errno) -> Self {
        Self { sentence: format!("{doing}: {}", reason(errno)), is_transient: is_shortage(errno) }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.sentence)
    }
}

impl Error for SpawnError {}

/// The names that make sentences of records.
#[derive(Debug)]
pub(super) struct Context {
    program: String,
    candidates: Vec<String>,
    directory: String,
    user: String,
    nice: i32,
    oom_score_adj: i32,
    cpus: Vec<usize>,
    limits: Vec<(&'static str, u64)>,
    /// Names of the groups that could be opened, in the order of their descriptors.
    groups: Vec<String>,
    /// What was missing before the fork.
    early: Vec<String>,
}

impl Context {
    /// The names in a request, and the open doors of its groups.
    pub(super) fn new(request: &Request<'_>) -> Result<(Self, Vec<OwnedFd>), SpawnError> {
        let (mut groups, mut early, mut entrances) = (Vec::new(), Vec::new(), Vec::new());
        let all = request.cgroup.map(Group::entrances).unwrap_or_default();
        for (index, (name, entrance)) in all.into_iter().enumerate() {
            match entrance {
                Ok(entrance) => {
                    groups.push(name);
                    entrances.push(entrance);
                }
                Err(error) if index == 0 && request.needs_cgroup => {
                    let doing = format!("entering cgroup {name}");
                    return Err(SpawnError::system(&doing, errno(&error)));
                }
                Err(error) => early.push(format!("cannot enter cgroup {name}: {error}")),
            }
        }
        let name = |wanted| {
            let entry = RESOURCES.iter().find(|(_, resource)| *resource == wanted);
            entry.map_or("?", |(name, _)| *name)
        };
        let context = Self {
            program: request.argv.first().cloned().unwrap_or_default(),
            candidates: candidates(request),
            directory: request.directory.clone(),
            user: match &request.ids {
                Some(ids) => format!("user id {}", ids.uid),
                None => "this user".to_owned(),
            },
            nice: request.nice.unwrap_or(0),
            oom_score_adj: request.oom_score_adj.unwrap_or(0),
            cpus: request.cpus.clone(),
            limits: request.limits.iter().map(|(which, value)| (name(*which), *value)).collect(),
            groups,
            early,
        };
        Ok((context, entrances))
    }

    pub(super) fn warnings(&self, inbox: &Inbox) -> Vec<String> {
        let late = inbox.warnings.iter().map(|record| self.warning(*record));
        self.early.iter().cloned().chain(late).collect()
    }

    pub(super) fn fork(&self, errno: Errno) -> SpawnError {
        let reason = match errno {
            Errno::AGAIN => "the limit of processes is reached; tried again later".to_owned(),
            Errno::NOMEM => "not enough memory; tried again later".to_owned(),
            other => reason(other),
        };
        let sentence = format!("{}: cannot make a process: {reason}", self.program);
        SpawnError { sentence, is_transient: is_shortage(errno) }
    }

    pub(super) fn stuck(&self, waited: Duration) -> SpawnError {
        let sentence = format!(
            "{}: could not be executed within {}s; is it, or {}, on a dead file system?",
            self.program,
            waited.as_secs(),
            self.directory
        );
        SpawnError { sentence, is_transient: true }
    }

    pub(super) fn failure(&self, record: Record) -> SpawnError {
        let errno = Errno::from_raw_os_error(record.errno);
        let reason = reason(errno);
        let sentence = match record.stage {
            Stage::Exec => self.exec_failure(usize::from(record.index), errno),
            Stage::Directory => format!("cannot enter directory {}: {reason}", self.directory),
            Stage::Session => format!("cannot start a session: {reason}"),
            Stage::Descriptors => format!("cannot set up descriptor {}: {reason}", record.index),
            Stage::Groups => format!("cannot set the groups of {}: {reason}", self.user),
            Stage::Group => format!("cannot change to the group of {}: {reason}", self.user),
            Stage::User => format!("cannot become {}: {reason}", self.user),
            Stage::NoNewPrivileges => format!("cannot set no-new-privileges: {reason}"),
            Stage::Cgroup
            | Stage::OomScore
            | Stage::Nice
            | Stage::Ionice
            | Stage::Cpus
            | Stage::Limit
            | Stage::Capabilities => format!("cannot {}: {reason}", self.attempt(record)),
        };
        SpawnError { sentence, is_transient: is_shortage(errno) }
    }

    fn warning(&self, record: Record) -> String {
        let reason = reason(Errno::from_raw_os_error(record.errno));
        format!("cannot {}: {reason}; started without", self.attempt(record))
    }

    /// What was attempted, to follow "cannot".
    fn attempt(&self, record: Record) -> String {
        let index = usize::from(record.index);
        match record.stage {
            Stage::Cgroup => match self.groups.get(index) {
                Some(name) => format!("enter cgroup {name}"),
                None => "enter its cgroup".to_owned(),
            },
            Stage::OomScore => format!("set oom-score-adj to {}", self.oom_score_adj),
            Stage::Nice => format!("set nice to {}", self.nice),
            Stage::Ionice => "set ionice".to_owned(),
            Stage::Cpus => format!("keep to cpus {:?}", self.cpus),
            Stage::Limit => match self.limits.get(index) {
                Some((name, u64::MAX)) => format!("set limit {name} to infinity"),
                Some((name, value)) => format!("set limit {name} to {value}"),
                None => "set a limit".to_owned(),
            },
            Stage::Capabilities => "limit capabilities".to_owned(),
            Stage::Session
            | Stage::Descriptors
            | Stage::Groups
            | Stage::Group
            | Stage::User
            | Stage::Directory
            | Stage::NoNewPrivileges
            | Stage::Exec => "go on".to_owned(),
        }
    }

    fn exec_failure(&self, index: usize, errno: Errno) -> String {
        let fallback = self.program.clone();
        let path = self.candidates.get(index).unwrap_or(&fallback);
        match errno {
            Errno::NOENT | Errno::NOTDIR => self.absent(),
            Errno::ACCESS => format!("{path}: permission denied: {}", self.denied(path)),
            Errno::NOEXEC => format!(
                "{path}: not a program for this machine (another architecture, or a script \
                 without #! in its first line)"
            ),
            Errno::TOOBIG => format!("{path}: arguments and environment are too long"),
            Errno::TXTBSY => format!("{path}: being written just now; tried again later"),
            other => format!("{path}: {}", reason(other)),
        }
    }

    /// No candidate could be found; perhaps one is there and what it needs is not.
    fn absent(&self) -> String {
        for path in &self.candidates {
            let Ok(found) = fs::symlink_metadata(path) else {
                continue;
            };
            if found.is_symlink() && fs::metadata(path).is_err() {
                return format!("{path}: a link to something that does not exist");
            }
            return match interpreter(path) {
                Some(interpreter) => {
                    format!("{path}: its interpreter {interpreter} does not exist")
                }
                None => format!("{path}: its dynamic loader does not exist (another libc?)"),
            };
        }
        if self.program.contains('/') {
            return format!("{}: no such file", self.program);
        }
        format!("{}: not found in PATH (tried {})", self.program, self.candidates.join(", "))
    }

    fn denied(&self, path: &str) -> String {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => "it is a directory".to_owned(),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => "not executable".to_owned(),
            _ => format!("{} may not execute it, or its file system is noexec", self.user),
        }
    }
}

/// The files to try, in order; a name with a slash stands for itself.
pub(super) fn candidates(request: &Request<'_>) -> Vec<String> {
    let program = request.argv.first().map(String::as_str).unwrap_or_default();
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let folders = request.path.split(':').filter(|folder| !folder.is_empty());
    folders.map(|folder| format!("{}/{program}", folder.trim_end_matches('/'))).collect()
}

/// The interpreter of a script.
fn interpreter(path: &str) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = String::from_utf8_lossy(line);
    word.split_whitespace().next().map(str::to_owned)
}

fn is_shortage(errno: Errno) -> bool {
    [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::TXTBSY].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::spawn::report::Level;

    fn context(program: &str) -> Context {
        let mut request = Request::new(vec![program.to_owned()]);
        request.path = "/no/where:/not/here/".to_owned();
        request.limits = vec![(rustix::process::Resource::Nofile, 7)];
        request.oom_score_adj = Some(-999);
        Context::new(&request).unwrap().0
    }

    fn failure(stage: Stage, errno: Errno) -> Record {
        Record { level: Level::Failure, stage, index: 0, errno: errno.raw_os_error() }
    }

    #[test]
    fn an_absent_program_says_what_was_tried() {
        let error = context("dockerd").failure(failure(Stage::Exec, Errno::NOENT));
        let text = "dockerd: not found in PATH (tried /no/where/dockerd, /not/here/dockerd)";
        assert_eq!(error.to_string(), text);
        assert!(!error.is_transient());
        let error = context("/no/such").failure(failure(Stage::Exec, Errno::NOENT));
        assert_eq!(error.to_string(), "/no/such: no such file");
    }

    #[test]
    fn a_shortage_is_transient() {
        assert!(context("x").fork(Errno::AGAIN).is_transient());
        assert!(context("x").fork(Errno::NOMEM).is_transient());
        assert!(!context("x").fork(Errno::NOSYS).is_transient());
        let error = context("x").failure(failure(Stage::User, Errno::PERM));
        assert!(!error.is_transient());
    }

    #[test]
    fn warnings_name_what_is_missing() {
        let record = Record { level: Level::Warning, ..failure(Stage::Limit, Errno::PERM) };
        let text = "cannot set limit nofile to 7: operation not permitted; started without";
        assert_eq!(context("x").warning(record), text);
        let record = Record { level: Level::Warning, ..failure(Stage::OomScore, Errno::ACCESS) };
        let text = "cannot set oom-score-adj to -999: permission denied; started without";
        assert_eq!(context("x").warning(record), text);
    }
}
