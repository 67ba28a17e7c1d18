//! Another program in the place of the supervisor.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::*;

const PISUP: &str = env!("CARGO_BIN_EXE_pisup");

const SERVICE: &str = "[command]\nexec = [\"@double\", \"append @dir/starts x\", \
                       \"notify READY=1\", \"await-file @dir/go\", \"exit 5\"]\n\
                       [ready]\nnotify = true\n[restart]\ndelay = \"1h\"\nmax-delay = \"1h\"\n\
                       stable = \"1h\"\n";

const WRITER: &str = "[command]\nexec = [\"@double\", \"append @dir/starts x\", \
                      \"await-file @dir/write\", \"spam 500\", \"wait\"]\n";

fn program(name: &str, text: &str) -> String {
    let script = text.replace("@pisup", PISUP).replace("@dir", folder().to_str().unwrap());
    write(name, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
    path(name).display().to_string()
}

fn is_there_once(node: &Node, pids: &[u32; 2]) {
    assert_eq!([node.ready("service"), node.ready("writer")], *pids);
    assert_eq!(read("starts"), "x\nx\n");
}

fn exe(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap().display().to_string()
}

fn units(node: &Node) {
    node.unit("service", SERVICE);
    node.unit("writer", WRITER);
}

fn takes_over(node: &mut Node, supervisor: u32) {
    let pids = [node.ready("service"), node.ready("writer")];
    fs::copy(PISUP, path("pisup-new")).unwrap();
    let done = node.ctl(&["upgrade", path("pisup-new").to_str().unwrap()]).expect_code(0);
    assert!(done.out.contains("supervises now"), "{}", done.out);
    assert_eq!(node.own_pid(), supervisor, "it is the same process");
    assert_eq!(exe(supervisor), path("pisup-new").display().to_string());
    is_there_once(node, &pids);
    assert!(!path("run/upgrade").exists());
    // The lock was held all the while.
    let second = run(node.command().arg("supervise")).expect_code(1);
    assert!(second.err.contains(&format!("pid {supervisor}")), "{}", second.err);
    write("write", "");
    until("all lines", || node.lines("writer").len() == 500);
    // Its services are still its children.
    write("go", "");
    let seen = node.until_state("service", "backoff");
    assert_eq!(seen["exit"]["code"], 5);
    until("the guard is gone", || {
        let text = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
        text.unwrap().split_whitespace().count() == 1
    });
    assert_eq!(node.status()["supervisor"]["warnings"].to_string(), "[]");
}

pub fn another_program_takes_over_and_nobody_notices() {
    let mut node = Node::new();
    units(&node);
    node.start();
    let before = descriptors(node.pid()).len();
    let supervisor = node.pid();
    takes_over(&mut node, supervisor);
    until("no more descriptors than before", || descriptors(supervisor).len() <= before);
    // Without a path it is the file that the supervisor was started from.
    node.ctl(&["upgrade"]).expect_code(0);
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0));
}

pub fn under_pisup_init_it_is_the_same() {
    let mut node = Node::new();
    units(&node);
    node.start_kept();
    let supervisor = node.own_pid();
    takes_over(&mut node, supervisor);
    // The link to init is, too, and what runs is what is started again.
    let writer = node.ready("writer");
    node.replaced();
    assert_eq!(node.ready("writer"), writer);
    assert_eq!(exe(node.own_pid()), path("pisup-new").display().to_string());
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0));
}

pub fn a_program_that_fails_its_test_is_refused() {
    let mut node = Node::new();
    units(&node);
    node.start();
    let pids = [node.ready("service"), node.ready("writer")];
    let broken = program("broken", "echo this machine is too old >&2; exit 3");
    for (name, why) in [
        (broken.as_str(), "its self-test ended with exit code 3: this machine is too old"),
        ("/no/such/program", "no such file"),
        ("/proc/version", "permission denied"),
    ] {
        let refused = node.ctl(&["upgrade", name]).expect_code(1);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    node.unit("typo", "[command]\nexce = [\"true\"]\n");
    let refused = node.ctl(&["upgrade", PISUP]).expect_code(1);
    assert!(refused.err.contains("exce"), "{}", refused.err);
    fs::remove_file(node.unit_file("typo")).unwrap();
    is_there_once(&node, &pids);
    assert_eq!((node.own_pid(), exe(node.pid())), (node.pid(), PISUP.to_owned()));
    assert!(!path("run/upgrade").exists());
}

/// It passes its test, and then does nothing.
const HANGS: &str = "[ \"$1\" = --self-test ] && exec @pisup \"$@\"; exec sleep 1000";

pub fn a_program_that_hangs_is_undone() {
    let mut node = Node::new();
    units(&node);
    node.start();
    let pids = [node.ready("service"), node.ready("writer")];
    let hangs = program("hangs", HANGS);
    let undone = node.ctl(&["upgrade", &hangs]).expect_code(1);
    assert!(undone.err.contains("was not ready within 10s"), "{}", undone.err);
    assert_ne!(node.own_pid(), node.pid());
    assert_eq!(exe(node.own_pid()), PISUP);
    is_there_once(&node, &pids);
    let status = node.status();
    let warnings = status["supervisor"]["warnings"].to_string();
    assert!(warnings.contains(&format!("the upgrade to {hangs} was undone")), "{warnings}");
    node.ctl(&["stop", "writer"]).expect_code(0);
    assert!(!is_alive(pids[1]));
}

pub fn under_pisup_init_a_program_that_hangs_is_undone() {
    let mut node = Node::new();
    units(&node);
    node.start_kept();
    let pids = [node.ready("service"), node.ready("writer")];
    let hangs = program("hangs", HANGS);
    let undone = node.ctl(&["upgrade", &hangs]).expect_code(1);
    assert!(undone.err.contains("was not ready within 10s"), "{}", undone.err);
    until("the old one is back", || std::os::unix::net::UnixStream::connect(node.socket()).is_ok());
    assert_eq!(exe(node.own_pid()), PISUP);
    is_there_once(&node, &pids);
    let warnings = node.status()["supervisor"]["warnings"].to_string();
    assert!(warnings.contains("was undone"), "{warnings}");
    // Who dies is told with its code, as before.
    write("go", "");
    assert_eq!(node.until_state("service", "backoff")["exit"]["code"], 5);
}

pub fn a_program_that_dies_at_once_is_undone() {
    let mut node = Node::new();
    units(&node);
    node.start();
    let pids = [node.ready("service"), node.ready("writer")];
    let dies = program("dies", "[ \"$1\" = --self-test ] && exec @pisup \"$@\"; exit 4");
    node.ctl(&["upgrade", &dies]).expect_code(1);
    assert_eq!(exe(node.own_pid()), PISUP);
    is_there_once(&node, &pids);
    // And the next one is tried as if nothing had been.
    node.ctl(&["upgrade", PISUP]).expect_code(0);
    is_there_once(&node, &pids);
}
