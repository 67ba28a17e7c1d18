//! How services end: who is told, who is killed, and what is left.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::runner::has_groups;

/// A service with a child in its own session and one in its own group, which write who they are.
fn family(stop: &str) -> String {
    format!(
        "[command]\nexec = [\"@double\", \"fork session; replace @dir/orphan %pid; wait\", \
         \"fork replace @dir/child %pid; wait\", \"await-file @dir/orphan\", \
         \"await-file @dir/child\", \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n\
         [stop]\n{stop}\n"
    )
}

fn pid_in(file: &str) -> u32 {
    retry(|| read(file).trim().parse().map_err(|_| format!("no pid in {file}")))
}

pub fn tree_takes_orphans_of_their_own_session_along() {
    let node = Node::with(&[("family", &family("kill = \"tree\""))]);
    let main = node.ready("family");
    let (orphan, child) = (pid_in("orphan"), pid_in("child"));
    assert!(is_alive(orphan) && is_alive(child));
    if !has_groups() {
        return note("no cgroup here: orphans of their own session cannot be found");
    }
    node.ctl(&["stop", "family"]).expect_code(0);
    assert!(!is_alive(main) && !is_alive(orphan) && !is_alive(child));
}

pub fn tree_is_swept_after_a_crash_before_the_next_start() {
    if !has_groups() {
        return note("no cgroup here");
    }
    let unit = family("kill = \"tree\"") + "[restart]\ndelay = \"100ms\"\n";
    let node = Node::with(&[("family", &unit)]);
    let main = node.ready("family");
    let orphan = pid_in("orphan");
    kill("KILL", main);
    let next = node.until("family", |seen| seen["state"] == "ready" && pid_of(seen) != main);
    assert!(!is_alive(orphan), "an orphan of the last run lives beside {next:#}");
}

pub fn group_leaves_those_of_another_session() {
    let node = Node::with(&[("family", &family("kill = \"group\""))]);
    let main = node.ready("family");
    let (orphan, child) = (pid_in("orphan"), pid_in("child"));
    node.ctl(&["stop", "family"]).expect_code(0);
    assert!(!is_alive(main) && is_alive(orphan));
    until("the child of its group is gone", || !is_alive(child));
}

pub fn main_leaves_everybody_else() {
    let node = Node::with(&[("family", &family("kill = \"main\""))]);
    let main = node.ready("family");
    let (orphan, child) = (pid_in("orphan"), pid_in("child"));
    node.ctl(&["stop", "family"]).expect_code(0);
    assert!(!is_alive(main) && is_alive(orphan) && is_alive(child));
    node.ctl(&["start", "family"]).expect_code(0);
    assert!(is_alive(orphan) && is_alive(child), "containers live on");
}

pub fn a_stopped_process_stops() {
    let node = Node::with(&[
        ("frozen", "[command]\nexec = [\"sleep\", \"1000\"]\n[stop]\ntimeout = \"1h\"\n"),
        (
            "one",
            "[command]\nexec = [\"sleep\", \"1000\"]\n[stop]\ntimeout = \"1h\"\nkill = \"main\"\n",
        ),
    ]);
    for unit in ["frozen", "one"] {
        let pid = node.ready(unit);
        kill("STOP", pid);
        until("it is stopped", || proc_status(pid, "State").starts_with('T'));
        node.ctl(&["stop", unit]).expect_code(0);
        assert!(!is_alive(pid));
    }
}

pub fn who_ignores_the_signal_is_killed_once_after_the_timeout() {
    let node = Node::with(&[(
        "stubborn",
        "[command]\nexec = [\"@double\", \"ignore TERM\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\n[stop]\ntimeout = \"300ms\"\n",
    )]);
    let pid = node.ready("stubborn");
    let start = Instant::now();
    node.ctl(&["stop", "stubborn"]).expect_code(0);
    assert!(start.elapsed() >= Duration::from_millis(300), "it was not given its time");
    assert!(!is_alive(pid));
    let seen = node.of("stubborn");
    assert_eq!((&seen["state"], &seen["exit"]["signal"]), (&"down".into(), &"KILL".into()));
    assert_eq!(seen["failures"], 0);
    assert!(seen["notes"].to_string().contains("did not stop within 300ms: killed"), "{seen:#}");
}

pub fn the_stop_signal_is_the_one_that_is_asked_for_and_comes_once() {
    let node = Node::with(&[(
        "counting",
        "[command]\nexec = [\"@double\", \"trap USR2\", \"notify READY=1\", \"await\", \
         \"append @dir/heard USR2\", \"await-file @dir/go\", \"exit 3\"]\n[ready]\nnotify = true\n\
         [stop]\nsignal = \"USR2\"\n",
    )]);
    node.ready("counting");
    let first = node.ctl_waiting(&["stop", "counting"]);
    node.until_state("counting", "stopping");
    // Those who ask again do not make it more urgent.
    for _ in 0..3 {
        node.ctl(&["stop", "counting", "--no-wait"]).expect_code(0);
    }
    write("go", "");
    assert!(first.wait_with_output().unwrap().status.success());
    assert_eq!(read("heard"), "USR2\n");
    let seen = node.of("counting");
    assert_eq!((&seen["exit"]["code"], &seen["failures"]), (&3.into(), &0.into()));
    assert_eq!(seen["cause"], "stopped by name");
}

pub fn a_stop_command_takes_the_place_of_the_signal() {
    let node = Node::with(&[
        (
            "polite",
            "[command]\nexec = [\"@double\", \"ignore TERM\", \"await-file @dir/please\", \
             \"exit 0\"]\n[stop]\nexec = [\"sh\", \"-c\", \"echo $$MAINPID > @dir/please\"]\n",
        ),
        (
            "lame",
            "[command]\nexec = [\"sleep\", \"1000\"]\n\
             [stop]\nexec = [\"no-such-command\"]\ntimeout = \"1h\"\n",
        ),
        (
            "broken",
            "[command]\nexec = [\"sleep\", \"1000\"]\n\
             [stop]\nexec = [\"sh\", \"-c\", \"echo not today; exit 4\"]\ntimeout = \"300ms\"\n",
        ),
    ]);
    let pid = node.ready("polite");
    node.ctl(&["stop", "polite"]).expect_code(0);
    assert_eq!(read("please").trim(), pid.to_string());
    assert_eq!(node.of("polite")["exit"]["code"], 0);
    node.ready("lame");
    node.ctl(&["stop", "lame"]).expect_code(0);
    let notes = node.of("lame")["notes"].to_string();
    assert!(notes.contains("its stop command did not start: no-such-command"), "{notes}");
    node.ready("broken");
    node.ctl(&["stop", "broken"]).expect_code(0);
    let notes = node.of("broken")["notes"].to_string();
    assert!(notes.contains("its stop command failed: exit code 4: not today"), "{notes}");
}

pub fn an_orphan_that_holds_stdout_does_not_keep_a_stop_waiting() {
    let node = Node::with(&[(
        "holding",
        "[command]\nexec = [\"@double\", \"fork session; replace @dir/orphan %pid; wait\", \
         \"await-file @dir/orphan\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\n[stop]\nkill = \"main\"\ntimeout = \"1h\"\n",
    )]);
    node.ready("holding");
    node.ctl(&["stop", "holding"]).expect_code(0);
    let orphan = pid_in("orphan");
    assert!(is_alive(orphan));
    assert!(descriptors(orphan)[1].1.starts_with("pipe:"), "it holds the pipe");
    // And a crash is seen by the exit, not by the end of the output.
    node.ctl(&["start", "holding"]).expect_code(0);
    kill("KILL", node.ready("holding"));
    node.until("holding", |seen| seen["exit"]["signal"] == "KILL");
}

pub fn a_death_that_was_asked_for_is_no_failure() {
    let unit = |end: &str| {
        format!(
            "[command]\nexec = [\"@double\", \"trap TERM\", \"notify READY=1\", \"await\", \
             \"{end}\"]\n[ready]\nnotify = true\n"
        )
    };
    let ends = ["exit 0", "exit 1", "exit 143", "die KILL", "die ABRT"];
    let mut node = Node::new();
    for (index, end) in ends.iter().enumerate() {
        node.unit(&format!("end-{index}"), &unit(end));
    }
    node.start();
    for index in 0..ends.len() {
        let name = format!("end-{index}");
        node.ready(&name);
        node.ctl(&["stop", &name]).expect_code(0);
        let seen = node.of(&name);
        assert_eq!((&seen["state"], &seen["failures"]), (&"down".into(), &0.into()), "{seen:#}");
        assert_eq!(node.path(&name).iter().filter(|state| *state == "backoff").count(), 0);
    }
}

pub fn a_signal_by_name_is_a_crash_like_any_other() {
    let node = Node::with(&[(
        "service",
        "[command]\nexec = [\"sleep\", \"1000\"]\n[restart]\ndelay = \"100ms\"\n",
    )]);
    let pid = node.ready("service");
    node.ctl(&["kill", "USR1", "service"]).expect_code(0);
    let seen = node.until("service", |seen| seen["state"] == "ready" && pid_of(seen) != pid);
    assert_eq!(seen["exit"]["signal"], "USR1");
    let text = node.events("service").iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("ended with SIGUSR1 without being asked"), "{text}");
}

pub fn shutdown_is_the_start_backwards_and_exit_0() {
    let unit = |name: &str, requires: &str| {
        format!(
            "[unit]\nrequires = [{requires}]\n[command]\nexec = [\"@double\", \"trap TERM\", \
             \"append @dir/order +{name}\", \"notify READY=1\", \"await\", \"sleep 100\", \
             \"append @dir/order -{name}\", \"exit 0\"]\n[ready]\nnotify = true\n"
        )
    };
    for signal in ["TERM", "INT"] {
        let mut node = Node::new();
        node.unit("a", &unit("a", ""));
        node.unit("b", &unit("b", "\"a\""));
        node.unit("c", &unit("c", "\"b\""));
        node.start();
        node.ready("c");
        node.signal(signal);
        assert_eq!(node.wait_end(), Some(0));
        assert_eq!(read("order"), "+a\n+b\n+c\n-c\n-b\n-a\n");
        assert!(!node.socket().exists() && node.said().contains("all units are down"));
        write("order", "");
    }
}

pub fn shutdown_by_name_is_waited_for_and_nothing_starts_meanwhile() {
    let mut node = Node::with(&[
        (
            "slow",
            "[command]\nexec = [\"@double\", \"trap TERM\", \"notify READY=1\", \"await\", \
             \"await-file @dir/go\", \"exit 0\"]\n[ready]\nnotify = true\n",
        ),
        ("idle", "[unit]\nenabled = false\n[command]\nexec = [\"sleep\", \"1000\"]\n"),
    ]);
    node.ready("slow");
    let waiting = node.ctl_waiting(&["shutdown"]);
    node.until_state("slow", "stopping");
    let refused = node.ctl(&["start", "idle"]).expect_code(1);
    assert!(refused.err.contains("everything is being shut down"), "{refused:?}");
    write("go", "");
    let done = waiting.wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("everything is down"));
    assert_eq!(node.wait_end(), Some(0));
}

pub fn the_shutdown_deadline_is_above_all_stop_timeouts() {
    let mut node = Node::new();
    node.node_toml("[shutdown]\ntimeout = \"1s\"\n");
    node.unit(
        "stubborn",
        "[command]\nexec = [\"@double\", \"ignore TERM\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\n[stop]\ntimeout = \"1h\"\n",
    );
    node.start();
    let pid = node.ready("stubborn");
    let start = Instant::now();
    node.signal("TERM");
    assert_eq!(node.wait_end(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(!is_alive(pid));
}

/// The first process of a namespace cannot end before all in it are reaped; one of them is a child
/// of a process from outside that does not reap. Nothing else hangs so reliably.
pub fn who_will_not_die_is_named_and_life_goes_on() {
    if !has_groups() {
        return note("no cgroup here");
    }
    let mut node = Node::with(&[
        (
            "undead",
            "[command]\nexec = [\"@double\", \"program unshare --pid --fork sleep 1000\", \
             \"await-file @dir/first\", \"notify-main @dir/first\", \"notify READY=1\", \
             \"wait\"]\n[ready]\nnotify = true\n[stop]\ntimeout = \"200ms\"\nkill = \"main\"\n",
        ),
        ("healthy", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
    ]);
    let child_of = |pid: u32| -> u32 {
        let children = || crate::again::children(pid);
        retry(|| children().first().cloned().ok_or_else(|| "no child".to_owned())).parse().unwrap()
    };
    let main = pid_of(&node.until("undead", |seen| !seen["pid"].is_null()));
    let first = child_of(child_of(main));
    write("first.new", &first.to_string());
    std::fs::rename(path("first.new"), path("first")).unwrap();
    let healthy = node.ready("healthy");
    assert_eq!(node.ready("undead"), first);
    let mut careless = Command::new("nsenter");
    careless.arg(format!("--pid=/proc/{first}/ns/pid")).args(["--no-fork", "sh", "-c"]);
    let mut careless = careless.arg("sleep 1000 & exec sleep 1001").spawn().unwrap();
    let inside = i32::try_from(child_of(careless.id())).unwrap();
    let stopped = node.ctl(&["stop", "undead"]).expect_code(1);
    let sentence = "undead will not die: it was killed and is still there";
    assert!(stopped.err.contains(sentence), "{stopped:?}");
    assert_eq!(node.ready("healthy"), healthy);
    // It is not started beside itself.
    node.ctl(&["start", "undead", "--no-wait"]).expect_code(0);
    let waits = "waits for its last process, which does not die";
    node.until("undead", |seen| seen["waiting_for"] == waits);
    node.ctl(&["stop", "undead", "--no-wait"]).expect_code(0);
    node.signal("TERM");
    assert_eq!(node.wait_end(), Some(0));
    assert!(node.said().contains(sentence), "{}", node.said());
    careless.kill().unwrap();
    careless.wait().unwrap();
    // Left to this test, as the first process of all.
    let inside = rustix::process::Pid::from_raw(inside);
    rustix::process::waitpid(inside, rustix::process::WaitOptions::empty()).unwrap();
}
