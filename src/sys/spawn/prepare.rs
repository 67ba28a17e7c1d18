//! From a request to what a child needs, in the supervisor, before the fork.

use std::ffi::{CString, c_char};
use std::fs;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::process::{Resource, getegid, geteuid, getpriority_process, getrlimit};
use rustix::thread::{CpuSet, Gid, Uid};

use super::Request;
use super::sentence::SpawnError;

/// The highest number that a promised descriptor may get.
const HIGHEST_TARGET: i32 = 255;
/// How far to look for descriptors to close where `/proc` does not tell which are open.
const BLIND_CLOSE_END: u64 = 4096;

pub(super) fn text(what: &str, text: &str) -> Result<CString, SpawnError> {
    CString::new(text).map_err(|_| SpawnError::request(format!("{what} contains a zero byte")))
}

pub(super) type Vectors = (Vec<CString>, Vec<*const c_char>, Vec<*const c_char>);

/// The argument and environment vectors; the first place of the environment is for LISTEN_PID.
pub(super) fn vectors(request: &Request<'_>) -> Result<Vectors, SpawnError> {
    if request.argv.first().is_none_or(String::is_empty) {
        return Err(SpawnError::request("nothing to execute: the command is empty".to_owned()));
    }
    let mut strings = Vec::new();
    for (index, argument) in request.argv.iter().enumerate() {
        strings.push(text(&format!("argument {index}"), argument)?);
    }
    let mut own = Vec::new();
    if !request.sockets.is_empty() {
        let names: Vec<&str> = request.sockets.iter().map(|(_, name)| name.as_str()).collect();
        own.push("LISTEN_PID=".to_owned());
        own.push(format!("LISTEN_FDS={}", names.len()));
        own.push(format!("LISTEN_FDNAMES={}", names.join(":")));
    }
    for (key, value) in &request.env {
        if !request.sockets.is_empty() && key.starts_with("LISTEN_") {
            continue;
        }
        if key.is_empty() || key.contains('=') {
            return Err(SpawnError::request(format!("{key:?} cannot be a variable's name")));
        }
        own.push(format!("{key}={value}"));
    }
    for entry in own {
        let key = entry.split('=').next().unwrap_or_default().to_owned();
        strings.push(text(&format!("the variable {key}"), &entry)?);
    }
    let (argv, envp) = strings.split_at(request.argv.len());
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    Ok((strings, argv, envp))
}

/// Sources and targets by rising target; no target is promised twice.
pub(super) fn descriptors<'a>(
    request: &Request<'a>,
) -> Result<Vec<(Option<BorrowedFd<'a>>, i32)>, SpawnError> {
    let mut fds = vec![(request.stdin, 0), (request.stdout, 1), (request.stderr, 2)];
    for (target, (socket, _)) in (3..).zip(&request.sockets) {
        fds.push((Some(*socket), target));
    }
    for (fd, target) in &request.extra_fds {
        fds.push((Some(*fd), *target));
    }
    fds.sort_by_key(|(_, target)| *target);
    for pair in fds.windows(2) {
        if let [(_, one), (_, other)] = pair
            && one == other
        {
            let message = format!("descriptor {one} is promised twice");
            return Err(SpawnError::request(message));
        }
    }
    match fds.iter().find(|(_, target)| !(0..=HIGHEST_TARGET).contains(target)) {
        Some((_, target)) => {
            Err(SpawnError::request(format!("descriptor {target} is not within 3 to 255")))
        }
        None => Ok(fds),
    }
}

/// The score to write; a supervisor's protection is not for its children.
pub(super) fn oom_score_adj(wanted: Option<i32>) -> Option<String> {
    if let Some(score) = wanted {
        return Some(score.to_string());
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok()?;
    own.trim_start().starts_with('-').then(|| "0".to_owned())
}

pub(super) fn nice(wanted: Option<i32>) -> Option<i32> {
    wanted.or_else(|| (getpriority_process(None).ok()? < 0).then_some(0))
}

pub(super) fn cpus(wanted: &[usize]) -> Result<Option<CpuSet>, SpawnError> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut set = CpuSet::new();
    for cpu in wanted {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(SpawnError::request(format!("there is no CPU {cpu}")));
        }
        set.set(*cpu);
    }
    Ok(Some(set))
}

/// The ids to change to; none when that changes nothing, so that it needs no right either.
pub(super) fn ids(request: &Request<'_>) -> Option<(Uid, Gid, Vec<Gid>)> {
    let ids = request.ids.as_ref()?;
    let (own_uid, own_gid) = (geteuid(), getegid());
    if !own_uid.is_root() && ids.uid == own_uid.as_raw() && ids.gid == own_gid.as_raw() {
        return None;
    }
    let groups = ids.groups.iter().map(|group| Gid::from_raw_unchecked(*group)).collect();
    Some((Uid::from_raw_unchecked(ids.uid), Gid::from_raw_unchecked(ids.gid), groups))
}

/// Every descriptor above 2 that is open now; where that cannot be known, all that might be.
pub(super) fn open_descriptors() -> Vec<i32> {
    let names = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut open: Vec<i32> =
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    if open.is_empty() {
        let soft = getrlimit(Resource::Nofile).current.unwrap_or(BLIND_CLOSE_END);
        open = (0..)
            .take_while(|fd| u64::try_from(*fd).is_ok_and(|fd| fd < soft.min(BLIND_CLOSE_END)))
            .collect();
    }
    open.retain(|fd| *fd > 2);
    open
}
