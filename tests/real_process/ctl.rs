//! `pisup ctl` against a real supervisor: exit codes, who may, who waits, who came second.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::harness::*;

pub fn exit_codes_are_the_ones_that_are_documented() {
    let mut node = Node::with(&[
        ("up", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
        ("off", "[unit]\nenabled = false\n[command]\nexec = [\"sleep\", \"1000\"]\n"),
        ("bad", "[unit]\nenabled = false\n[command]\nexec = [\"no-such-program\"]\n"),
        (
            "slow",
            "[unit]\nenabled = false\n[command]\nexec = [\"sleep\", \"1000\"]\n\
             [ready]\nunix = \"@dir/none\"\n",
        ),
    ]);
    node.ready("up");
    node.ctl(&["status"]).expect_code(0);
    node.ctl(&["status", "up"]).expect_code(0);
    let failed = node.ctl(&["start", "bad"]).expect_code(1);
    assert!(failed.err.contains("no-such-program: not found in PATH"), "{failed:?}");
    node.ctl(&["kill", "TERM", "off"]).expect_code(1);
    node.ctl(&["explode"]).expect_code(2);
    node.ctl(&["start"]).expect_code(2);
    node.ctl(&["kill", "NONE", "up"]).expect_code(2);
    node.ctl(&["status", "off"]).expect_code(3);
    let unknown = node.ctl(&["start", "upp"]).expect_code(4);
    assert!(unknown.err.contains("no unit \"upp\"; did you mean \"up\"?"), "{unknown:?}");
    let late = node.ctl(&["start", "slow", "--timeout", "200ms"]).expect_code(6);
    assert!(late.err.contains("not done within 200ms; the start of slow goes on"), "{late:?}");
    assert_eq!(node.of("slow")["state"], "starting", "the job goes on");
    // Nobody else may, and then nobody is there.
    let pisup = node.command();
    // Where anybody may execute it.
    fs::copy(pisup.get_program(), path("pisup")).unwrap();
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    stranger.arg(path("pisup")).args(pisup.get_args()).args(["ctl", "status"]);
    let refused = run(&mut stranger).expect_code(5);
    assert!(refused.err.to_lowercase().contains("permission"), "{refused:?}");
    node.signal("TERM");
    assert_eq!(node.wait_end(), Some(0));
    let nobody = node.ctl(&["status"]).expect_code(5);
    assert!(nobody.err.contains(node.socket().to_str().unwrap()), "{nobody:?}");
}

pub fn interrupting_the_waiting_leaves_the_job() {
    let node = Node::with(&[(
        "slow",
        "[unit]\nenabled = false\n[command]\nexec = [\"@double\", \"await-file @dir/go\", \
         \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n",
    )]);
    let waiting = node.ctl_waiting(&["start", "slow"]);
    node.until_state("slow", "starting");
    kill("INT", waiting.id());
    let ended = waiting.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("the start of slow goes on"));
    write("go", "");
    node.ready("slow");
    assert_eq!(node.of("slow")["starts"], 1);
}

pub fn only_root_may_talk_unless_there_is_a_group() {
    let mut node = Node::with(&[("up", "[command]\nexec = [\"sleep\", \"1000\"]\n")]);
    let mode = || fs::metadata(path("run/ctl.sock")).unwrap();
    let has_group = fs::read_to_string("/etc/group").unwrap().contains("pisup:");
    if !has_group {
        assert_eq!((mode().permissions().mode() & 0o777, mode().gid()), (0o600, 0));
        let groups = fs::read_to_string("/etc/group").unwrap() + "pisup:x:4711:\n";
        write("group", &groups);
        let mut mount = Command::new("mount");
        run(mount.arg("--bind").arg(path("group")).arg("/etc/group")).expect_code(0);
    }
    node.signal("TERM");
    assert_eq!(node.wait_end(), Some(0));
    node.start();
    assert_eq!(mode().permissions().mode() & 0o777, 0o660);
    assert_ne!(mode().gid(), 0);
}

pub fn a_second_supervisor_names_the_first_and_moves_nothing() {
    let mut node = Node::with(&[("up", "[command]\nexec = [\"sleep\", \"1000\"]\n")]);
    let pid = node.ready("up");
    let second = run(node.command().arg("supervise")).expect_code(1);
    assert!(second.err.contains(&format!("pid {}", node.pid())), "{second:?}");
    assert_eq!(node.ready("up"), pid);
    // One that was killed is in nobody's way: neither its lock nor its socket.
    node.ctl(&["stop", "up"]).expect_code(0);
    node.signal("KILL");
    node.wait_end();
    assert!(node.socket().exists(), "it could not clean up");
    node.start();
    assert_eq!(node.of("up")["state"], "down", "it was stopped by name");
    node.ctl(&["start", "up"]).expect_code(0);
}

pub fn a_bad_configuration_at_the_start_is_exit_1_with_all_that_is_wrong() {
    let node = Node::new();
    node.unit("bad", "[command]\nexecc = [\"sleep\"]\n");
    node.unit("worse", "[unit]\nrequires = [\"nobody\"]\n[command]\nexec = [\"true\"]\n");
    let refused = run(node.command().arg("supervise")).expect_code(1);
    for part in ["bad.toml:2:1", "did you mean `exec`?", "worse.toml:2:13", "nobody"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }
    assert!(!node.socket().exists());
}

pub fn logs_are_merged_counted_and_followed() {
    let node = Node::with(&[
        ("one", "[command]\nexec = [\"@double\", \"say a\", \"say b\", \"wait\"]\n"),
        (
            "two",
            "[command]\nexec = [\"@double\", \"await-file @dir/go\", \"say c\", \"say d\", \
             \"wait\"]\n",
        ),
    ]);
    until("one has spoken", || node.lines("one") == ["a", "b"]);
    let mut follower = Wire::of(&node);
    follower.say(b"{\"v\":1,\"do\":\"logs\",\"follow\":true,\"n\":1}\n");
    assert_eq!(follower.reply().unwrap()["line"], "b");
    write("go", "");
    let more = [follower.reply().unwrap(), follower.reply().unwrap()];
    assert_eq!((&more[0]["line"], &more[1]["line"]), (&"c".into(), &"d".into()));
    assert_eq!(more[0]["unit"], "two");
    let last = node.ctl(&["logs", "-n", "3"]).expect_code(0).out;
    let lines: Vec<char> = last.lines().filter_map(|line| line.chars().last()).collect();
    assert_eq!(lines, ['b', 'c', 'd'], "{last}");
    let none = node.ctl(&["logs", "-n", "0", "one"]).expect_code(0);
    assert_eq!(none.out, "");
}

pub fn a_reload_is_a_signal_or_a_command_and_its_failure_is_told() {
    let node = Node::with(&[
        (
            "by-signal",
            "[command]\nexec = [\"@double\", \"trap HUP\", \"notify READY=1\", \"await\", \
             \"append @dir/heard HUP\", \"wait\"]\n[ready]\nnotify = true\n\
             [reload]\nsignal = \"HUP\"\n",
        ),
        (
            "by-command",
            "[command]\nexec = [\"sleep\", \"1000\"]\n\
             [reload]\nexec = [\"sh\", \"-c\", \"echo no; exit 5\"]\n",
        ),
        ("not", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
    ]);
    let pid = node.ready("by-signal");
    node.ctl(&["reload", "by-signal"]).expect_code(0);
    until("it has heard", || read("heard") == "HUP\n");
    assert_eq!(node.ready("by-signal"), pid);
    node.ready("by-command");
    let failed = node.ctl(&["reload", "by-command"]).expect_code(1);
    assert!(failed.err.contains("exit code 5: no"), "{failed:?}");
    node.ready("not");
    let refused = node.ctl(&["reload", "not"]).expect_code(1);
    assert!(refused.err.contains("has no [reload] section; restart it instead"), "{refused:?}");
}

/// The fields that are promised; others may be added.
pub fn status_has_the_fields_that_are_promised() {
    let node = Node::with(&[
        ("up", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
        ("failing", "[command]\nexec = [\"false\"]\n[ready]\nnotify = true\n"),
    ]);
    node.ready("up");
    let failing = node.until_state("failing", "backoff");
    assert_eq!(failing["exit"], serde_json::json!({"code": 1}));
    let status = node.ctl(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["version"], 1);
    for key in ["pid", "boot_id", "uptime_ms", "config"] {
        assert!(!status["supervisor"][key].is_null(), "{key}: {status:#}");
    }
    let units = status["units"].as_array().unwrap();
    for unit in units {
        for key in [
            "name",
            "kind",
            "state",
            "ready",
            "pid",
            "main_pid",
            "since_ms",
            "starts",
            "failures",
            "degraded",
            "waiting_for",
            "cause",
            "retry_in_ms",
            "exit",
            "exports",
            "memory_bytes",
            "log_dropped",
        ] {
            assert!(unit.get(key).is_some(), "{key}: {unit:#}");
        }
    }
    let one = node.ctl(&["status", "up", "--json"]).expect_code(0).json();
    assert_eq!(one["units"].as_array().unwrap().len(), 1);
    let events = node.ctl(&["events", "up", "--json"]).expect_code(0).out;
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    for key in ["at_ms", "wall", "unit", "from", "to", "cause"] {
        assert!(!last[key].is_null(), "{key}: {last}");
    }
}
