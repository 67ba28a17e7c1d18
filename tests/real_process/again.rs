//! Restarts: by policy, after how long, and what beats what.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::harness::*;

/// A service that leaves a mark if it is ever there twice.
const ONCE_AT_A_TIME: &str = "\"lock @dir/lock\"";

fn no_double() {
    assert!(!path("lock.doubled").exists(), "there were two of it at once");
}

pub fn every_exit_of_a_daemon_brings_it_back() {
    let node = Node::with(&[(
        "daemon",
        "[command]\nexec = [\"@double\", \"append @dir/starts x\", \"notify READY=1\", \
         \"await-file @dir/go\", \"remove @dir/go\", \"exit 0\"]\n[ready]\nnotify = true\n\
         [restart]\nstable = \"1s\"\n",
    )]);
    let mut pid = node.ready("daemon");
    for _ in 0..3 {
        node.until("daemon", |seen| seen["since_ms"].as_u64() >= Some(1000));
        write("go", "");
        let seen = node.until("daemon", |seen| seen["state"] == "ready" && pid_of(seen) != pid);
        pid = pid_of(&seen);
        assert_eq!(seen["exit"]["code"], 0);
    }
    // It had been stable, so it came back without a pause.
    assert!(!node.path("daemon").contains(&"backoff".to_owned()));
    assert_eq!(node.of("daemon")["starts"], 4);
    assert_eq!(read("starts"), "x\nx\nx\nx\n");
}

pub fn policies_decide_what_follows_an_exit() {
    let unit = |policy: &str, code: u8| {
        format!(
            "[command]\nexec = [\"@double\", \"notify READY=1\", \"barrier\", \"sleep 50\", \
             \"exit {code}\"]\n[ready]\nnotify = true\n\
             [restart]\npolicy = \"{policy}\"\nfatal-exit-codes = [9]\n"
        )
    };
    let units = [
        ("always-0", unit("always", 0), "backoff"),
        ("failure-0", unit("on-failure", 0), "down"),
        ("failure-1", unit("on-failure", 1), "backoff"),
        ("never-0", unit("never", 0), "down"),
        ("never-1", unit("never", 1), "failed"),
        ("always-9", unit("always", 9), "failed"),
        ("failure-9", unit("on-failure", 9), "failed"),
    ];
    let mut node = Node::new();
    units.iter().for_each(|(name, text, _)| node.unit(name, text));
    node.start();
    for (name, _, state) in &units {
        node.until(name, |seen| seen["state"] == *state && !seen["exit"].is_null());
    }
    let fatal = node.of("always-9");
    assert_eq!(fatal["cause"], "ended with exit code 9, after which it is not tried again");
    assert_eq!((&fatal["retry_in_ms"], &fatal["starts"]), (&serde_json::Value::Null, &1.into()));
    assert_eq!(node.ctl(&["status", "always-9"]).code, Some(3));
    // Until told to.
    node.ctl(&["start", "always-9", "--no-wait"]).expect_code(0);
    node.until("always-9", |seen| seen["starts"] == 2 && seen["state"] == "failed");
}

pub fn an_exit_before_it_is_ready_is_a_failed_start_whatever_its_code() {
    let node = Node::with(&[(
        "early",
        "[command]\nexec = [\"@double\", \"exit 0\"]\n[ready]\nnotify = true\n\
         [restart]\npolicy = \"on-failure\"\n",
    )]);
    let seen = node.until_state("early", "backoff");
    assert_eq!(seen["cause"], "ended with exit code 0 before it was ready");
    assert_eq!(seen["failures"], 1);
}

pub fn backoff_doubles_and_tells_how_long_and_that_it_is_degraded() {
    let node = Node::with(&[(
        "failing",
        "[command]\nexec = [\"@double\", \"await-file @dir/tries\", \"exit 1\"]\n\
         [ready]\nnotify = true\n[restart]\ndelay = \"1s\"\nmax-delay = \"3s\"\n\
         degraded-after = 2\n",
    )]);
    write("tries", "");
    let mut longest = Vec::new();
    for failures in 1..=3 {
        let seen = node.until("failing", |seen| {
            seen["failures"] == failures && !seen["retry_in_ms"].is_null()
        });
        assert_eq!(seen["state"], "backoff");
        assert_eq!(seen["degraded"], failures >= 2, "{seen:#}");
        longest.push(seen["retry_in_ms"].as_u64().unwrap());
    }
    // With jitter of a fifth, and some of it gone until it was asked for.
    assert!(longest[0] <= 1200 && longest[1] <= 2400 && longest[2] <= 3600, "{longest:?}");
    let notes = node.of("failing")["notes"].to_string() + &node.said();
    assert!(notes.contains("failed 2 times in a row"), "{notes}");
}

pub fn failures_are_forgotten_once_it_is_stable() {
    let node = Node::with(&[(
        "recovering",
        "[command]\nexec = [\"@double\", \"await-file @dir/well\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\ntimeout = \"700ms\"\n\
         [restart]\ndelay = \"100ms\"\nmax-delay = \"100ms\"\n\
         stable = \"1s\"\ndegraded-after = 1\n",
    )]);
    node.until("recovering", |seen| seen["failures"].as_u64() >= Some(2));
    assert_eq!(node.of("recovering")["degraded"], true);
    write("well", "");
    let seen = node.until("recovering", |seen| seen["ready"] == true && seen["failures"] == 0);
    assert_eq!(seen["degraded"], false);
    node.until_state("recovering", "ready");
}

pub fn start_during_backoff_starts_now() {
    let node = Node::with(&[(
        "pausing",
        "[command]\nexec = [\"@double\", \"once @dir/failed\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\n[restart]\ndelay = \"1h\"\nmax-delay = \"1h\"\n",
    )]);
    let seen = node.until_state("pausing", "backoff");
    assert!(seen["retry_in_ms"].as_u64() > Some(2_000_000), "{seen:#}");
    node.ctl(&["start", "pausing"]).expect_code(0);
    assert_eq!(node.of("pausing")["state"], "ready");
}

pub fn stop_beats_backoff() {
    let node = Node::with(&[(
        "failing",
        "[command]\nexec = [\"false\"]\n[ready]\nnotify = true\n[restart]\ndelay = \"500ms\"\n",
    )]);
    node.until_state("failing", "backoff");
    node.ctl(&["stop", "failing"]).expect_code(0);
    let starts = node.of("failing")["starts"].as_u64();
    let start = Instant::now();
    // Its next try would have come within this time.
    until("a second has passed", || start.elapsed() > Duration::from_millis(1200));
    let seen = node.of("failing");
    assert_eq!((&seen["state"], seen["starts"].as_u64()), (&"down".into(), starts));
    assert_eq!(seen["pid"], serde_json::Value::Null);
}

pub fn stop_beats_waiting() {
    let node = Node::with(&[(
        "waiting",
        "[wait]\npath = \"@dir/late\"\n[command]\nexec = [\"sleep\", \"1000\"]\n",
    )]);
    let seen = node.until_state("waiting", "waiting");
    assert!(seen["waiting_for"].as_str().unwrap().contains(path("late").to_str().unwrap()));
    node.ctl(&["stop", "waiting"]).expect_code(0);
    write("late", "");
    node.ctl(&["status"]).expect_code(0);
    assert_eq!(node.of("waiting")["state"], "down");
    assert_eq!(node.of("waiting")["starts"], 0);
    node.ctl(&["start", "waiting"]).expect_code(0);
    assert_eq!(node.of("waiting")["state"], "ready");
}

pub fn stop_beats_restart() {
    let node = Node::with(&[(
        "slow",
        "[command]\nexec = [\"@double\", \"trap TERM\", \"notify READY=1\", \"await\", \
         \"await-file @dir/go\", \"exit 0\"]\n[ready]\nnotify = true\n[stop]\ntimeout = \"1h\"\n",
    )]);
    node.ready("slow");
    let restart = node.ctl_waiting(&["restart", "slow"]);
    node.until_state("slow", "stopping");
    let stop = node.ctl_waiting(&["stop", "slow"]);
    let restarted = restart.wait_with_output().unwrap();
    assert_eq!(restarted.status.code(), Some(1), "{restarted:?}");
    assert!(String::from_utf8_lossy(&restarted.stderr).contains("was stopped meanwhile"));
    write("go", "");
    assert!(stop.wait_with_output().unwrap().status.success());
    let seen = node.of("slow");
    assert_eq!((&seen["state"], &seen["starts"]), (&"down".into(), &1.into()));
}

pub fn stop_ends_a_start_that_is_under_way() {
    let node = Node::with(&[
        (
            "starting",
            "[command]\nexec = [\"sleep\", \"1000\"]\n\
             [ready]\nnotify = true\ntimeout = \"never\"\n",
        ),
        (
            "preparing",
            "[[prepare]]\nexec = [\"sleep\", \"1000\"]\ntimeout = \"never\"\n\
             [command]\nexec = [\"sleep\", \"1000\"]\n",
        ),
        (
            "stubborn",
            "[[prepare]]\nexec = [\"@double\", \"ignore TERM\", \"say up\", \"wait\"]\n\
             timeout = \"never\"\n[command]\nexec = [\"sleep\", \"1000\"]\n\
             [stop]\ntimeout = \"300ms\"\n",
        ),
    ]);
    until("the step is up", || node.lines("stubborn") == ["up"]);
    for unit in ["starting", "preparing", "stubborn"] {
        let seen = node.until(unit, |seen| !seen["pid"].is_null());
        let pid = u32::try_from(seen["pid"].as_u64().unwrap()).unwrap();
        node.ctl(&["stop", unit]).expect_code(0);
        assert!(!is_alive(pid), "{unit}");
        assert_eq!(node.of(unit)["failures"], 0);
    }
}

pub fn restart_never_doubles() {
    let unit = format!(
        "[command]\nexec = [\"@double\", {ONCE_AT_A_TIME}, \"trap TERM\", \"notify READY=1\", \
         \"await\", \"sleep 50\", \"exit 0\"]\n[ready]\nnotify = true\n\
         [restart]\ndelay = \"100ms\"\n"
    );
    let node = Node::with(&[("service", &unit)]);
    let first = node.ready("service");
    let jobs: Vec<_> = (0..8).map(|_| node.ctl_waiting(&["restart", "service"])).collect();
    kill("KILL", first);
    node.ctl(&["start", "service"]);
    node.ctl(&["restart", "service", "--no-wait"]).expect_code(0);
    for job in jobs {
        // Some may be told that the one they waited for was killed; none hangs.
        job.wait_with_output().unwrap();
    }
    node.ready("service");
    no_double();
}

pub fn restart_of_a_waiting_unit_makes_no_second_instance() {
    let unit = format!(
        "[unit]\nrequires = [\"gate\"]\n[command]\nexec = [\"@double\", {ONCE_AT_A_TIME}, \
         \"append @dir/starts x\", \"wait\"]\n"
    );
    let node = Node::with(&[
        (
            "gate",
            "[command]\nexec = [\"@double\", \"await-file @dir/go\", \"notify READY=1\", \
             \"wait\"]\n\
             [ready]\nnotify = true\n",
        ),
        ("behind", &unit),
    ]);
    node.until_state("behind", "waiting");
    let mut restart = node.ctl_waiting(&["restart", "behind"]);
    // The plan comes first: now it is asked for.
    let mut plan = String::new();
    BufReader::new(restart.stdout.as_mut().unwrap()).read_line(&mut plan).unwrap();
    node.ctl(&["restart", "behind", "--no-wait"]).expect_code(0);
    write("go", "");
    assert!(restart.wait_with_output().unwrap().status.success());
    node.ready("behind");
    until("it has started", || !read("starts").is_empty());
    assert_eq!((read("starts").as_str(), &node.of("behind")["starts"]), ("x\n", &1.into()));
    no_double();
}

pub fn a_oneshot_is_done_and_runs_again_only_when_restarted() {
    let node = Node::with(&[
        (
            "once",
            "[unit]\nkind = \"oneshot\"\n[command]\nexec = [\"@double\", \"append @dir/runs x\"]\n",
        ),
        (
            "flaky",
            "[unit]\nkind = \"oneshot\"\n[command]\nexec = [\"@double\", \"once @dir/flaked\"]\n\
             [restart]\ndelay = \"100ms\"\n",
        ),
        (
            "late",
            "[unit]\nkind = \"oneshot\"\n[command]\nexec = [\"sleep\", \"1000\"]\n\
             [ready]\ntimeout = \"200ms\"\n[restart]\npolicy = \"never\"\n",
        ),
    ]);
    let seen = node.until_state("once", "done");
    assert_eq!((&seen["ready"], &seen["pid"]), (&true.into(), &serde_json::Value::Null));
    node.ctl(&["start", "once"]).expect_code(0);
    assert_eq!(read("runs"), "x\n");
    node.ctl(&["restart", "once"]).expect_code(0);
    assert_eq!(read("runs"), "x\nx\n");
    node.ctl(&["status", "once"]).expect_code(0);
    node.ctl(&["stop", "once"]).expect_code(0);
    assert_eq!(node.of("once")["state"], "down");
    let seen = node.until_state("flaky", "done");
    assert_eq!((&seen["starts"], &seen["failures"]), (&2.into(), &0.into()));
    let seen = node.until_state("late", "failed");
    assert_eq!(seen["cause"], "not done within 200ms");
}

pub fn a_crash_loop_leaves_nothing_behind() {
    let node = Node::with(&[(
        "looping",
        "[command]\nexec = [\"@double\", \"fork session; wait\", \"notify READY=1\", \"sleep 1\"]\n\
         [ready]\nnotify = true\n[restart]\ndelay = \"100ms\"\n",
    )]);
    node.until("looping", |seen| seen["starts"].as_u64() >= Some(5));
    let count = || descriptors(node.pid()).len();
    let before = count();
    let mut wire = Wire::of(&node);
    while node.of("looping")["starts"].as_u64() < Some(105) {
        // It would not come back so soon by itself.
        wire.ask("{\"v\":1,\"do\":\"start\",\"units\":[\"looping\"]}");
    }
    drop(wire);
    node.ctl(&["stop", "looping"]).expect_code(0);
    until("no more descriptors than before", || count() <= before);
    until("no child is left, dead or alive", || children(node.pid()).is_empty());
}

/// All children of a process, dead ones too.
pub fn children(pid: u32) -> Vec<String> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(file).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}
