//! Real children of `sys::spawn`: the state they are born in, the sentences when they are not,
//! and their end.
//!
//! The tests reap whatever is a child of this process, so they run one at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard};

use pisup::machine::Exit;
use pisup::sys::child;
use pisup::sys::spawn::{Request, SpawnError, Spawned, spawn};
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::{PipeFlags, pipe_with};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

fn wait_for(pid: u32) -> Exit {
    loop {
        let found = child::reap(64).dead.into_iter().find(|(dead, _)| *dead == pid);
        match found {
            Some((_, exit)) => return exit,
            // It lives: wait until the kernel says otherwise.
            None => until_readable(child::pidfd(pid).unwrap()),
        }
    }
}

fn until_readable(fd: impl AsFd) {
    rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).unwrap();
}

fn fails(request: &Request<'_>) -> SpawnError {
    let error = spawn(request).unwrap_err();
    assert!(child::reap(64).dead.is_empty(), "a failed child is left to nobody");
    error
}

#[test]
fn a_program_runs_and_its_code_comes_back() {
    let _alone = alone();
    let (text, exit, spawned) = run(shell("echo hello; exit 7"));
    assert_eq!((text.as_str(), exit), ("hello\n", Exit::Code(7)));
    assert_eq!(spawned.warnings, Vec::<String>::new());
    assert!(spawned.pidfd.is_some());
    assert_eq!(run(shell("kill -9 $$")).1, Exit::Signal(9));
}

#[test]
fn what_cannot_be_executed_is_said_in_a_sentence() {
    let _alone = alone();
    let mut request = Request::new(words(&["no-such-daemon"]));
    request.path = "/usr/sbin:/usr/bin".to_owned();
    let text = "no-such-daemon: not found in PATH \
                (tried /usr/sbin/no-such-daemon, /usr/bin/no-such-daemon)";
    assert_eq!(fails(&request).to_string(), text);
    for (program, text) in [
        ("/no/such", "/no/such: no such file"),
        ("/etc/passwd", "/etc/passwd: permission denied: not executable"),
        ("/etc", "/etc: permission denied: it is a directory"),
        ("", "nothing to execute: the command is empty"),
        ("a\0b", "the program's name contains a zero byte"),
    ] {
        assert_eq!(fails(&Request::new(words(&[program]))).to_string(), text);
    }
    let mut request = Request::new(words(&["true"]));
    request.directory = "/no/where".to_owned();
    let text = "cannot enter directory /no/where: no such file or directory";
    assert_eq!(fails(&request).to_string(), text);
}

#[test]
fn listen_pid_is_the_child_itself() {
    let _alone = alone();
    let file = fs::File::open("/dev/null").unwrap();
    let mut request = shell("echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES");
    request.env.push(("LISTEN_PID".to_owned(), "1".to_owned()));
    request.sockets = vec![(file.as_fd(), "api".to_owned()), (file.as_fd(), "tcp".to_owned())];
    let (text, _, spawned) = run(request);
    assert_eq!(text, format!("{0} {0} 2 api:tcp\n", spawned.pid));
}
