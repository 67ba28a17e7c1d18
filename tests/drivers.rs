//! The shell's drivers with real processes, disks and networks.
//!
//! What needs a file system or a network of its own runs itself again under `unshare`; without
//! root it says so and is skipped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pisup::config::plan::{LogSpec, RouteWait, Wait};
use pisup::machine::spec::Condition;
use pisup::machine::{Tick, UnitId};
use pisup::shell::capture::Capture;
use pisup::shell::conditions::Conditions;
use pisup::shell::journal;
use pisup::shell::watch::{Want, Watches};
use pisup::sys::files::{self, Found};
use pisup::sys::poll::{Interest, Poll, Ready};

const PATIENCE_MS: u64 = 30_000;

const SPEC: LogSpec =
    LogSpec { ring_bytes: 256 * 1024, file: None, rotate_bytes: 1 << 20, rotate_keep: 1 };

/// A directory of a test's own, removed with it.
struct TempDir(PathBuf);

impl TempDir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pisup-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this is the inner one, in a namespace of its own; otherwise runs it.
fn is_inside(namespace: &str, test: &str) -> bool {
    if std::env::var_os("PISUP_TEST_INSIDE").is_some() {
        return true;
    }
    let tried = Command::new("unshare").args([namespace, "true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        let line = format!("skipped: {test} needs root, for a namespace\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return false;
    }
    let status = Command::new("unshare")
        .arg(namespace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PISUP_TEST_INSIDE", "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
    false
}

fn run(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status().unwrap();
    assert!(status.success(), "{line}");
}

/// A shell whose output goes to the capture, as a service's would.
fn service(capture: &Capture, script: &str) -> Killed {
    let copy = || Stdio::from(capture.write_end().try_clone_to_owned().unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(copy()).stderr(copy());
    Killed(command.spawn().unwrap())
}

struct Loop {
    poll: Poll,
    out: Vec<Ready>,
}

impl Loop {
    fn new() -> Self {
        Self { poll: Poll::new().unwrap(), out: Vec::new() }
    }

    fn add(&self, what: &impl AsFd, token: u64) {
        self.poll.add(what.as_fd(), token, Interest::Read).unwrap();
    }

    /// Who can go on; a loop that is told of nobody for long has lost something.
    fn turn(&mut self) -> Vec<u64> {
        self.poll.wait(Some(PATIENCE_MS), &mut self.out).unwrap();
        assert!(!self.out.is_empty(), "nothing happened for {PATIENCE_MS} ms");
        self.out.iter().map(|ready| ready.token).collect()
    }
}

fn drained(capture: &mut Capture) -> Vec<String> {
    let mut lines = Vec::new();
    assert_eq!(capture.drain(Tick(0), &mut |line| lines.push(line.to_owned())), None);
    lines
}

#[test]
fn a_flood_does_not_keep_others_from_being_heard() {
    let (mut flood, mut quiet) = (Capture::new(&SPEC).unwrap(), Capture::new(&SPEC).unwrap());
    let mut turns = Loop::new();
    turns.add(&flood, 0);
    turns.add(&quiet, 1);
    let _flooding = service(&flood, "exec cat /dev/zero");
    for _ in 0..50 {
        assert_eq!(turns.turn(), [0]);
        let before = flood.ring().next();
        drained(&mut flood);
        assert!(flood.ring().next() - before <= 9, "a turn takes 64 KiB at the most");
        assert!(flood.ring().used_bytes() <= 256 * 1024);
    }
    let mut speaking = service(&quiet, "echo I am here");
    assert!(speaking.0.wait().unwrap().success());
    assert!(turns.turn().contains(&1), "heard in the very next turn");
    assert_eq!(drained(&mut quiet), ["I am here"]);
}

#[test]
fn an_orphan_holds_the_pipe_and_nobody_waits_for_it() {
    let dir = TempDir::new("orphan");
    let go = dir.join("go");
    run(&format!("mkfifo {}", go.display()));
    let mut capture = Capture::new(&SPEC).unwrap();
    let mut turns = Loop::new();
    turns.add(&capture, 0);
    let script = format!("(read x <{}; echo orphan) & printf unfinished", go.display());
    let mut first = service(&capture, &script);
    assert!(first.0.wait().unwrap().success());
    assert_eq!(drained(&mut capture), Vec::<String>::new());
    let mut last = Vec::new();
    capture.end_line(Tick(0), &mut |line| last.push(line.to_owned()));
    assert_eq!(last, ["unfinished"], "the end of the service, not of its output, is the end");

    let mut second = service(&capture, "echo second run");
    assert!(second.0.wait().unwrap().success());
    turns.turn();
    assert_eq!(drained(&mut capture), ["second run"]);
    fs::write(&go, "go\n").unwrap();
    turns.turn();
    assert_eq!(drained(&mut capture), ["orphan"]);
}

#[test]
fn a_file_that_comes_at_any_moment_is_told() {
    let dir = TempDir::new("race");
    let mut turns = Loop::new();
    let mut watches = Watches::new().unwrap();
    turns.add(&watches, 0);
    for round in 0..300_u32 {
        let path = dir.join(&format!("{round}/a/b/file"));
        let writer = path.clone();
        let thread = std::thread::spawn(move || {
            fs::create_dir_all(writer.parent().unwrap()).unwrap();
            let new = writer.with_extension("new");
            fs::write(&new, "A=1").unwrap();
            fs::rename(&new, &writer).unwrap();
        });
        // The writer is let go a little further each round.
        for _ in 0..round % 50 {
            std::thread::yield_now();
        }
        watches.add(round, &path, Want::Content).unwrap();
        let mut is_told = files::look(&path) == Found::Something;
        while !is_told {
            turns.turn();
            let fired = watches.take().unwrap();
            assert!(fired.faults.is_empty(), "{:?}", fired.faults);
            is_told = fired.keys.contains(&round);
        }
        assert_eq!(files::look(&path), Found::Something);
        thread.join().unwrap();
        watches.remove(round);
    }
}

#[test]
fn a_full_disk_costs_the_file_and_nothing_else() {
    if !is_inside("--mount", "a_full_disk_costs_the_file_and_nothing_else") {
        return;
    }
    let dir = TempDir::new("full");
    run(&format!("mount -t tmpfs -o size=64k none {}", dir.0.display()));
    let path = dir.join("x.log");
    let write = |text: &str| {
        let mut writer = Command::new(env!("CARGO_BIN_EXE_pisup"));
        writer.arg("log-writer").arg(&path).args(["1000000", "1"]).stdin(Stdio::piped());
        let mut writer = writer.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have given up before it has read all.
        let _ = writer.stdin.take().unwrap().write_all(text.as_bytes());
        let done = writer.wait_with_output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let full = format!("writing {}: no space left on device\n", path.display());
    assert_eq!(write(&format!("{}\n", "x".repeat(999)).repeat(100)), (Some(1), full));
    fs::remove_file(&path).unwrap();
    assert_eq!(write("there is room again\n"), (Some(0), String::new()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "there is room again\n");
    run(&format!("umount {}", dir.0.display()));
}

#[test]
fn a_route_that_comes_is_heard_of() {
    if !is_inside("--net", "a_route_that_comes_is_heard_of") {
        return;
    }
    let (unit, other) = (UnitId(0), UnitId(1));
    let mut turns = Loop::new();
    let mut conditions = Conditions::new(4);
    let default = Wait { route: Some(RouteWait::Default), ..Wait::default() };
    let master = Ipv4Addr::new(192, 168, 1, 10);
    let to = Wait { route: Some(RouteWait::To(master)), ..Wait::default() };
    for (unit, wait) in [(unit, &default), (other, &to)] {
        let unmet = conditions.add(unit, wait, &turns.poll, Tick(0));
        assert!(unmet.has(Condition::Route));
    }
    assert_eq!(conditions.reason(unit), Some("no default route"));
    assert_eq!(conditions.reason(other), Some("no route to 192.168.1.10"));
    assert_eq!(conditions.next_deadline(), None, "nobody has to look");

    run("ip link add eth0 type veth peer name eth1 && ip addr add 192.168.1.2/24 dev eth0");
    run("ip link set eth1 up && ip link set eth0 up && ip route add default via 192.168.1.1");
    let mut unmet = vec![unit, other];
    while !unmet.is_empty() {
        assert_eq!(turns.turn(), [4]);
        conditions.hear();
        let found = conditions.look_again(Tick(0));
        unmet = found.iter().filter(|(_, what)| !what.is_empty()).map(|(unit, _)| *unit).collect();
    }
}

/// What the daemon does with its log, in a process of its own: standard error is broken there.
#[test]
fn log_into_a_broken_standard_error() {
    if std::env::var_os("PISUP_TEST_BROKEN").is_none() {
        return;
    }
    journal::install(log::LevelFilter::Info).unwrap();
    let poll = Poll::new().unwrap();
    for count in 0..5_000 {
        log::warn!("line {count} of many, into nothing");
        journal::drain(&poll, 0);
    }
    journal::flush_at_end();
}

fn survives(stderr: OwnedFd) {
    let status = Command::new("timeout")
        .arg("60")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "log_into_a_broken_standard_error", "--nocapture"])
        .env("PISUP_TEST_BROKEN", "1")
        .stdout(Stdio::null())
        .stderr(stderr)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn no_standard_error_ends_or_blocks_the_daemon() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // Nobody reads: it fills up.
    survives(writer.try_clone().unwrap());
    drop(reader);
    survives(writer);
    survives(fs::File::options().write(true).open("/dev/full").unwrap().into());
    survives(fs::File::open(Path::new("/dev/null")).unwrap().into());
}
