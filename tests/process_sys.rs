//! Real children of `sys::spawn`: the state they are born in, the sentences when they are not,
//! how they are kept together, and their end.
//!
//! The tests reap whatever is a child of this process, so they run one at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "process_sys/birth.rs"]
mod birth;
#[path = "process_sys/cgroup.rs"]
mod cgroup;
#[path = "process_sys/death.rs"]
mod death;
#[path = "process_sys/nested.rs"]
mod nested;
#[path = "process_sys/rights.rs"]
mod rights;

use std::fs;
use std::io::{Read, Write, stderr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pisup::machine::Exit;
use pisup::sys::child;
use pisup::sys::spawn::{Request, SpawnError, Spawned, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// Far more than anything here takes; only a broken test gets there.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Says that a test, or a part of it, cannot be done here.
fn skipped(what: &str, why: &str) {
    let mut out = stderr();
    writeln!(out, "skipped: {what}: {why}").unwrap();
}

fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped(what, "needs root");
    }
    is_root
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

fn shell(script: &str) -> Request<'static> {
    let mut request = Request::new(words(&["sh", "-c", script]));
    request.env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    request
}

/// Runs a request to its end: what it wrote to its standard output, how it ended, its warnings.
fn run(request: Request<'_>) -> (String, Exit, Spawned) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut request: Request<'_> = request;
    request.stdout = Some(writer.as_fd());
    let spawned = spawn(&request).unwrap();
    drop(request);
    drop(writer);
    let mut text = String::new();
    fs::File::from(reader).read_to_string(&mut text).unwrap();
    let exit = wait_for(spawned.pid);
    (text, exit, spawned)
}

fn fails(request: &Request<'_>) -> SpawnError {
    let error = spawn(request).unwrap_err();
    assert!(child::reap(64).dead.is_empty(), "a failed child is left to nobody");
    error
}

/// Reaps until that child is dead.
fn wait_for(pid: u32) -> Exit {
    loop {
        let found = child::reap(64).dead.into_iter().find(|(dead, _)| *dead == pid);
        match found {
            Some((_, exit)) => return exit,
            None => until_readable(child::pidfd(pid).unwrap()),
        }
    }
}

fn until_readable(fd: impl AsFd) {
    let count = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&PATIENCE)).unwrap();
    assert_eq!(count, 1, "nothing came");
}

/// Waits for what no descriptor tells of.
fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

/// A child that waits to be looked at and ends with its standard input.
struct Living {
    pid: u32,
    warnings: Vec<String>,
    stdin: Option<OwnedFd>,
}

impl Living {
    fn new(request: Request<'_>) -> Self {
        let mut request: Request<'_> = request;
        let (stdin, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        request.argv = words(&["cat"]);
        request.stdin = Some(stdin.as_fd());
        let spawned = spawn(&request).unwrap();
        // Once it has read something, the dynamic loader has closed its files.
        rustix::io::write(&write, b"x").unwrap();
        until(|| rustix::io::ioctl_fionread(&write).unwrap() == 0);
        Self { pid: spawned.pid, warnings: spawned.warnings, stdin: Some(write) }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap()
    }

    fn link(&self, file: &str) -> String {
        let link = fs::read_link(format!("/proc/{}/{file}", self.pid)).unwrap();
        link.to_str().unwrap().to_owned()
    }

    /// A line of `/proc/PID/status`.
    fn status(&self, key: &str) -> String {
        let status = self.read("status");
        let line = status.lines().find(|line| line.split(':').next() == Some(key)).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn fds(&self) -> Vec<i32> {
        let names = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        let mut fds: Vec<i32> = names
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        fds.sort_unstable();
        fds
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        drop(self.stdin.take());
        wait_for(self.pid);
    }
}
