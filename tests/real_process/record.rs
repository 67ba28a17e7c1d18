//! The state file: when it is written, and what is made of one that is not as it should be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use pisup::machine::Phase;
use pisup::wire::state::State;

use crate::harness::*;
use crate::runner::has_groups;

const PLAIN: &str = "[command]\nexec = [\"@double\", \"append @dir/starts x\", \"wait\"]\n";

fn warnings(node: &Node) -> String {
    node.status()["supervisor"]["warnings"].to_string()
}

pub fn a_file_that_is_not_taken_is_told_and_processes_are_found() {
    if !has_groups() {
        return note("no groups: there is nothing to find processes by");
    }
    let mut node = Node::with(&[("plain", PLAIN)]);
    let plain = node.ready("plain");
    for (new, why) in [
        (None, "it is torn"),
        (Some("hello\n".to_owned()), "it is not a state file of pisup"),
        (Some("pisup-state 99 as yet unknown\n".to_owned()), "it has version 99"),
        (Some(include_str!("../state/version-1").to_owned()), "it is of an earlier boot"),
    ] {
        node.signal("KILL");
        node.wait_end();
        let text = read("run/state");
        let half = text.get(..text.len() / 2).unwrap().to_owned();
        write("run/state", &new.unwrap_or(half));
        node.start();
        assert!(warnings(&node).contains(why), "{}", warnings(&node));
        assert!(node.said().contains(why));
        assert_eq!(node.ready("plain"), plain);
        // From here on there is a good one again.
        node.replace();
        assert_eq!(warnings(&node), "[]");
        assert_eq!(node.ready("plain"), plain);
    }
    assert_eq!(read("starts"), "x\n");
}

pub fn what_waits_to_be_taken_over_is_not_forgotten() {
    if !has_groups() {
        return note("no groups: there is nothing to find processes by");
    }
    let mut node = Node::new();
    let first = "[command]\nexec = [\"@double\", \"await-file @dir/go\", \
                 \"replace @dir/first.ready x\", \"wait\"]\n\
                 [ready]\nfile = \"@dir/first.ready\"\n";
    node.unit("first", first);
    let user = "[unit]\nrequires = [\"first\"]\n[stop]\nkill = \"main\"\n";
    node.unit("plain", &format!("{user}{PLAIN}"));
    write("go", "");
    node.start();
    let plain = node.ready("plain");
    // Nothing is known of it, and its turn does not come before the other one is ready.
    node.signal("KILL");
    node.wait_end();
    let first = pid_of_unit("first");
    kill("KILL", first);
    until("it is gone", || !is_alive(first));
    fs::remove_file(path("run/state")).unwrap();
    fs::remove_file(path("go")).unwrap();
    node.start();
    node.until_state("first", "starting");
    for _ in 0..2 {
        node.replace();
        assert_eq!(node.of("plain")["state"], "waiting");
        assert!(is_alive(plain));
    }
    write("go", "");
    assert_eq!(node.ready("plain"), plain);
    assert_eq!(read("starts"), "x\n");
}

pub fn a_ready_file_that_came_before_anybody_watched_counts() {
    if !has_groups() {
        return note("no groups: there is nothing to find processes by");
    }
    let mut node = Node::new();
    let own = "[command]\nexec = [\"@double\", \"append @dir/begun x\", \
               \"await-file @dir/go\", \"replace @dir/own.ready x\", \"wait\"]\n\
               [ready]\nfile = \"@dir/own.ready\"\ntimeout = \"never\"\n";
    node.unit("own", own);
    node.start();
    let own = pid_of(&node.until("own", |s| s["state"] == "starting" && !s["pid"].is_null()));
    until("it runs", || path("begun").exists());
    node.signal("KILL");
    node.wait_end();
    // As if it had been killed before it wrote down what it had made.
    let mut state = State::parse(read("run/state").as_bytes()).unwrap();
    state.at = state.lives[0].since;
    let body = state.lives[0].body.as_mut().unwrap();
    (body.main, body.session, body.ready_file) = (None, None, None);
    let Phase::Starting { alive, .. } = &mut state.memory.units[0].state.phase else {
        panic!("{state:?}");
    };
    *alive = false;
    write("run/state", &state.render());
    write("go", "");
    until("it is made", || path("own.ready").exists());
    node.start();
    assert_eq!(node.ready("own"), own);
}

/// The process of a unit, by what the state file says.
fn pid_of_unit(name: &str) -> u32 {
    let text = read("run/state");
    let unit = text.split("\nunit ").find(|unit| unit.starts_with(name)).unwrap();
    let main = unit.lines().find_map(|line| line.strip_prefix("main ")).unwrap();
    main.split(' ').next().unwrap().parse().unwrap()
}

pub fn an_idle_supervisor_writes_nothing() {
    let node = Node::with(&[
        ("plain", PLAIN),
        (
            "beats",
            "[command]\nexec = [\"@double\", \"notify READY=1\", \"beat 20\", \"spam 100\", \
             \"wait\"]\n[ready]\nnotify = true\n[health]\nwatchdog = \"5s\"\n",
        ),
    ]);
    node.ready("plain");
    node.ready("beats");
    let file = || fs::metadata(path("run/state")).unwrap();
    let (inode, at) = (file().ino(), file().mtime_nsec());
    // Beats are heard all the while, and questions are answered.
    let since = || node.of("beats")["since_ms"].as_u64().unwrap();
    let start = since();
    until("a second has passed", || since() > start + 1000);
    assert_eq!((file().ino(), file().mtime_nsec()), (inode, at));
    node.ctl(&["stop", "plain"]).expect_code(0);
    assert_ne!(file().ino(), inode);
    let mode = file().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(!path("run/state.new").exists());
}

pub fn a_full_disk_is_told_and_stops_nothing() {
    let mut node = Node::new();
    node.unit("plain", PLAIN);
    node.unit("other", "[unit]\nenabled = false\n[command]\nexec = [\"@double\", \"wait\"]\n");
    fs::create_dir_all(path("run")).unwrap();
    let run = path("run");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=755", "x"])
        .arg(&run)
        .status();
    assert!(mounted.unwrap().success());
    node.start();
    let plain = node.ready("plain");
    let mut filler = vec![b'x'; 256 * 1024];
    while fs::write(path("run/filler"), &filler).is_err() && filler.len() > 1024 {
        filler.truncate(filler.len() / 2);
    }
    while fs::write(path(&format!("run/filler-{}", filler.len())), "x".repeat(4096)).is_ok() {
        filler.push(b'x');
    }
    node.ctl(&["start", "other"]).expect_code(0);
    let other = node.ready("other");
    if has_groups() {
        node.replace();
        assert_eq!((node.ready("plain"), node.ready("other")), (plain, other));
    }
    let done = |program: &str, words: &[&str]| {
        let done = Command::new(program).args(words).arg(&run).status();
        assert!(done.unwrap().success());
    };
    done("mount", &["--bind", run.to_str().unwrap()]);
    done("mount", &["-o", "remount,bind,ro"]);
    node.ctl(&["restart", "other"]).expect_code(0);
    node.ctl(&["restart", "other"]).expect_code(0);
    assert_eq!(warnings(&node).matches("will know less").count(), 1, "{}", warnings(&node));
    assert_eq!(node.said().matches("will know less").count(), 1);
    done("umount", &[]);
    node.ctl(&["stop", "other"]).expect_code(0);
    assert_eq!(warnings(&node).matches("will know less").count(), 0);
    assert!(read("run/state").starts_with("pisup-state 1 "));
    assert_eq!(node.ready("plain"), plain);
}

pub fn an_ordered_end_leaves_nothing_to_go_on_from() {
    let mut node = Node::with(&[("plain", PLAIN)]);
    node.ready("plain");
    node.ctl(&["stop", "plain"]).expect_code(0);
    node.replace();
    assert_eq!(node.of("plain")["state"], "down", "it was stopped by name");
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0));
    assert!(!path("run/state").exists());
    node.start();
    node.ready("plain");
}
