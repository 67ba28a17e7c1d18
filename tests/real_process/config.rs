//! A new configuration under running units: refused whole, or only what changed moves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use crate::harness::*;

const PLAIN: &str = "[command]\nexec = [\"sleep\", \"1000\"]\n";

fn three() -> Node {
    Node::with(&[("b", PLAIN), ("d", PLAIN), ("f", PLAIN)])
}

fn pids(node: &Node) -> [u32; 3] {
    ["b", "d", "f"].map(|unit| node.ready(unit))
}

pub fn a_bad_configuration_is_refused_whole() {
    let node = three();
    let before = pids(&node);
    let changed = format!("{PLAIN}nice = 5\n");
    let good = |name: &str| fs::read(node.unit_file(name)).unwrap();
    let (b, d) = (good("b"), good("d"));
    let deep = "[command]\nexec = [\"true\"]\nenv = { A = ".to_owned() + &"[".repeat(5000);
    let texts: &[(&str, &str, &str)] = &[
        ("syntax", "[command\nexec = 1", "d.toml"),
        ("unknown key", "[command]\nexecc = [\"x\"]\n", "did you mean `exec`?"),
        ("unknown section", "[comand]\nexec = [\"x\"]\n", "did you mean"),
        ("unknown unit", "[unit]\nrequires = [\"q\"]\n[command]\nexec = [\"x\"]\n", "\"q\""),
        ("cycle", "[unit]\nrequires = [\"d\"]\n[command]\nexec = [\"x\"]\n", "itself"),
        ("value", "[unit]\nrequires = [\"f\"]\n[command]\nexec = [\"${f.X}\"]\n", "exports"),
        ("duration", "[command]\nexec = [\"x\"]\n[stop]\ntimeout = \"soon\"\n", "soon"),
        ("type", "[command]\nexec = \"x\"\n", "exec"),
        ("nothing", "", "neither [command] nor [container]"),
        ("nul", "[command]\nexec = [\"a\\u0000\"]\n", "exec"),
        ("deep", &deep, "d.toml"),
    ];
    let refused = |what: &str, part: &str| {
        // Another unit has changed for good; it must not move for that.
        node.unit("b", &changed);
        for words in [&["reload-config"][..], &["reload-config", "--dry-run"]] {
            let answer = node.ctl(words).expect_code(1);
            assert!(answer.err.contains("the one in force stays"), "{what}: {answer:?}");
            assert!(answer.err.contains(part), "{what}: {part}: {answer:?}");
        }
        assert_eq!(pids(&node), before, "{what}");
        fs::write(node.unit_file("b"), &b).unwrap();
    };
    for (what, text, part) in texts {
        node.unit("d", text);
        refused(what, part);
    }
    fs::write(node.unit_file("d"), [0xff, 0xfe, 0x00]).unwrap();
    refused("no text", "d.toml");
    fs::write(node.unit_file("d"), &d).unwrap();
    let with_mode = |mode: u32| {
        fs::set_permissions(node.unit_file("d"), fs::Permissions::from_mode(mode)).unwrap();
    };
    with_mode(0o666);
    refused("writable by others", "d.toml");
    with_mode(0o644);
    chown(node.unit_file("d"), Some(65534), None).unwrap();
    refused("somebody else's", "d.toml");
    fs::remove_file(node.unit_file("d")).unwrap();
    symlink("/dev/null", node.unit_file("d")).unwrap();
    refused("a link", "d.toml");
    fs::remove_file(node.unit_file("d")).unwrap();
    fs::write(node.unit_file("d"), &d).unwrap();
    let node_toml = fs::read(path("config/node.toml")).unwrap();
    fs::remove_file(path("config/node.toml")).unwrap();
    refused("no node.toml", "node.toml");
    fs::write(path("config/node.toml"), node_toml).unwrap();
    // Put right again, it is as if nothing had been.
    let same = node.ctl(&["reload-config"]).expect_code(0);
    assert!(same.out.contains("nothing has changed"), "{same:?}");
    assert_eq!(pids(&node), before);
}

pub fn only_what_changed_is_restarted() {
    let node = three();
    let before = pids(&node);
    for change in ["nice = 5", "env = { A = \"1\" }", "umask = \"077\"", "user = \"nobody\""] {
        let old = pids(&node);
        node.unit("d", &format!("{PLAIN}{change}\n"));
        let plan = node.ctl(&["reload-config", "--dry-run", "--json"]).expect_code(0).json();
        let steps: Vec<&str> =
            plan["plan"].as_array().unwrap().iter().filter_map(|s| s["do"].as_str()).collect();
        assert_eq!(steps, ["stop", "start"], "{plan:#}");
        assert_eq!(pids(&node), old, "only planned");
        let done = node.ctl(&["reload-config"]).expect_code(0);
        assert!(done.out.contains("d is ready"), "{done:?}");
        let new = pids(&node);
        assert_ne!(new[1], old[1], "{change}");
        assert_eq!((new[0], new[2]), (before[0], before[2]), "{change}");
    }
}

pub fn rules_are_taken_over_while_it_runs() {
    let node = Node::with(&[
        ("b", PLAIN),
        (
            "d",
            "[command]\nexec = [\"@double\", \"ignore TERM\", \"notify READY=1\", \"wait\"]\n\
             [ready]\nnotify = true\n[stop]\ntimeout = \"1h\"\n",
        ),
        ("f", PLAIN),
    ]);
    let before = pids(&node);
    let text = fs::read_to_string(node.unit_file("d")).unwrap();
    let text = text.replace("\"1h\"", "\"200ms\"")
        + "[restart]\npolicy = \"never\"\n[unit]\ndescription = \"other\"\nwants = [\"b\"]\n";
    fs::write(node.unit_file("d"), text).unwrap();
    let done = node.ctl(&["reload-config"]).expect_code(0);
    assert!(done.out.contains("no unit had to move"), "{done:?}");
    assert_eq!(pids(&node), before);
    assert_eq!(node.of("d")["description"], "other");
    kill("KILL", before[1]);
    node.until_state("d", "failed");
    node.ctl(&["start", "d"]).expect_code(0);
    // With the old timeout this would take an hour.
    node.ctl(&["stop", "d"]).expect_code(0);
    assert_eq!(node.of("d")["exit"]["signal"], "KILL");
}

pub fn units_come_and_go() {
    let node = three();
    let before = pids(&node);
    node.unit("a", PLAIN);
    node.unit("e", "[unit]\nenabled = false\n[command]\nexec = [\"sleep\", \"1000\"]\n");
    let done = node.ctl(&["reload-config"]).expect_code(0);
    assert!(done.out.contains("a is ready"), "{done:?}");
    assert_eq!(pids(&node), before);
    assert_eq!(node.of("e")["state"], "down");
    let a = node.ready("a");
    fs::remove_file(node.unit_file("a")).unwrap();
    fs::remove_file(node.unit_file("e")).unwrap();
    let done = node.ctl(&["reload-config"]).expect_code(0);
    assert!(done.out.contains("removed; it is stopped"), "{done:?}");
    assert!(!is_alive(a));
    assert_eq!(pids(&node), before);
    node.ctl(&["status", "a"]).expect_code(4);
    let again = node.ctl(&["reload-config"]).expect_code(0);
    assert!(again.out.contains("nothing has changed"), "{again:?}");
    assert_eq!(node.status()["units"].as_array().unwrap().len(), 3);
    // And once more, under the old name.
    node.unit("a", PLAIN);
    node.ctl(&["reload-config"]).expect_code(0);
    assert_ne!(node.ready("a"), a);
}

pub fn a_new_unit_moves_nobody_and_wakes_nobody_who_was_stopped() {
    let node = three();
    node.ready("f");
    let starts = |unit: &str| (node.path(unit), node.of(unit)["starts"].clone());
    node.ctl(&["stop", "d"]).expect_code(0);
    let before = (starts("f"), starts("d"));
    // One before those that it needs, one behind them.
    for name in ["a", "z"] {
        node.unit(name, &format!("[unit]\nrequires = [\"d\", \"f\"]\n{PLAIN}"));
    }
    node.ctl(&["reload-config", "--no-wait"]).expect_code(0);
    for name in ["a", "z"] {
        node.until(name, |seen| seen["waiting_for"] == "d was stopped; start d to go on");
    }
    assert_eq!((starts("f"), starts("d")), before);
    node.ctl(&["start", "a"]).expect_code(0);
    node.ready("z");
}

pub fn a_unit_that_is_removed_while_it_hangs_is_still_seen_to_its_end() {
    let node = Node::with(&[
        ("b", PLAIN),
        (
            "hanging",
            "[command]\nexec = [\"@double\", \"trap TERM\", \"notify READY=1\", \"await\", \
             \"await-file @dir/go\", \"exit 0\"]\n[ready]\nnotify = true\n\
             [stop]\ntimeout = \"1h\"\n",
        ),
    ]);
    let pid = node.ready("hanging");
    fs::remove_file(node.unit_file("hanging")).unwrap();
    node.ctl(&["reload-config", "--no-wait"]).expect_code(0);
    assert_eq!(node.of("hanging")["state"], "stopping");
    // Meanwhile it comes back: the new one waits for the old one to be gone.
    node.unit("hanging", PLAIN);
    node.ctl(&["reload-config", "--no-wait"]).expect_code(0);
    node.ctl(&["status"]).expect_code(0);
    assert!(is_alive(pid));
    write("go", "");
    let seen = node.until("hanging", |seen| seen["state"] == "ready" && pid_of(seen) != pid);
    assert!(!is_alive(pid), "{seen:#}");
}

/// Everything that is known by number: output, messages, probes, files, deaths.
pub fn units_keep_what_is_theirs_when_others_come_before_them() {
    let node = Node::with(&[
        (
            "m-notify",
            "[command]\nexec = [\"@double\", \"notify READY=1\", \"await-file @dir/1\", \
             \"notify STATUS=still me\", \"say still me\", \"wait\"]\n[ready]\nnotify = true\n",
        ),
        (
            "n-values",
            "[command]\nexec = [\"sleep\", \"1000\"]\n[exports]\nfile = \"@dir/values\"\n",
        ),
        ("o-file", "[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nfile = \"@dir/file\"\n"),
        ("p-path", "[wait]\npath = \"@dir/path\"\n[command]\nexec = [\"sleep\", \"1000\"]\n"),
        (
            "q-probe",
            "[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nevery = \"100ms\"\n\
             exec = [\"test\", \"-e\", \"@dir/probe\"]\n",
        ),
        (
            "r-fd",
            "[command]\nexec = [\"@double\", \"await-file @dir/fd\", \"newline 3\", \"wait\"]\n\
             [ready]\nfd = 3\n",
        ),
        (
            "s-health",
            "[command]\nexec = [\"sleep\", \"1000\"]\n[health]\nevery = \"100ms\"\n\
             failures = 2\naction = \"report\"\nexec = [\"test\", \"!\", \"-e\", \"@dir/sick\"]\n",
        ),
        (
            "t-socket",
            "[socket]\nlisten = [\"@dir/a.sock\"]\n[command]\nexec = [\"@double\", \"serve 3\", \
             \"wait\"]\n[restart]\ndelay = \"100ms\"\n",
        ),
        (
            "u-step",
            "[[prepare]]\nexec = [\"@double\", \"await-file @dir/step\"]\n\
             [command]\nexec = [\"sleep\", \"1000\"]\n",
        ),
        ("v-plain", PLAIN),
    ]);
    node.ready("m-notify");
    node.ready("n-values");
    node.until("o-file", |seen| !seen["pid"].is_null());
    node.until("r-fd", |seen| !seen["pid"].is_null());
    node.until("u-step", |seen| !seen["pid"].is_null());
    let (health, socket, plain) =
        (node.ready("s-health"), node.ready("t-socket"), node.ready("v-plain"));
    for round in ["a", "b", "c"] {
        node.unit(&format!("{round}-first"), PLAIN);
        node.unit(&format!("n{round}-middle"), PLAIN);
        node.ctl(&["reload-config"]).expect_code(0);
    }
    fs::remove_file(node.unit_file("a-first")).unwrap();
    node.ctl(&["reload-config"]).expect_code(0);
    ["1", "file", "path", "probe", "fd", "sick", "step"].iter().for_each(|file| write(file, "x"));
    write("values", "A=1\n");
    node.until("m-notify", |seen| seen["status_text"] == "still me");
    until("its line is its own", || node.lines("m-notify") == ["still me"]);
    node.until("n-values", |seen| seen["exports"]["A"] == "1");
    for unit in ["o-file", "p-path", "q-probe", "r-fd", "u-step"] {
        assert_eq!(node.until_state(unit, "ready")["starts"], 1, "{unit}");
    }
    node.until("s-health", |seen| seen["notes"].to_string().contains("not well"));
    assert_eq!(node.ready("s-health"), health);
    kill("KILL", socket);
    node.until("t-socket", |seen| seen["state"] == "ready" && pid_of(seen) != socket);
    kill("KILL", plain);
    node.until("v-plain", |seen| seen["exit"]["signal"] == "KILL");
    assert_eq!(node.of("v-plain")["starts"].as_u64().map(|starts| starts > 0), Some(true));
}

pub fn a_hangup_is_a_reload_of_the_configuration() {
    let node = three();
    let before = pids(&node);
    node.unit("d", &format!("{PLAIN}nice = 5\n"));
    node.signal("HUP");
    node.until("d", |seen| seen["state"] == "ready" && pid_of(seen) != before[1]);
    assert_eq!((pids(&node)[0], pids(&node)[2]), (before[0], before[2]));
    node.unit("d", "nonsense");
    node.signal("HUP");
    until("it is refused in the log", || node.said().contains("the one in force stays"));
    assert!(node.said().contains("d.toml:1"), "{}", node.said());
    node.ready("d");
}

pub fn a_new_dependency_is_respected_from_then_on() {
    let node = three();
    let before = pids(&node);
    node.unit("d", &format!("[unit]\nbinds = [\"b\"]\n{PLAIN}"));
    node.ctl(&["reload-config"]).expect_code(0);
    assert_eq!(pids(&node), before);
    kill("KILL", before[0]);
    node.until("d", |seen| seen["state"] == "ready" && pid_of(seen) != before[1]);
    node.ctl(&["stop", "b"]).expect_code(0);
    assert_eq!(node.of("d")["waiting_for"], "b was stopped; start b to go on");
    // Without it, nothing holds d any more.
    node.unit("d", PLAIN);
    node.ctl(&["reload-config"]).expect_code(0);
    node.ready("d");
}

pub fn who_reads_and_who_waits_goes_on_over_a_reload() {
    let node = Node::with(&[
        ("d", PLAIN),
        (
            "late",
            "[command]\nexec = [\"@double\", \"say hello\", \"await-file @dir/go\", \
             \"say it is me\", \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n",
        ),
    ]);
    let mut follower = Wire::of(&node);
    follower.say(b"{\"v\":1,\"do\":\"logs\",\"follow\":true}\n");
    let mut waiting = Wire::of(&node);
    waiting.say(b"{\"v\":1,\"do\":\"start\",\"units\":[\"late\"]}\n");
    assert_eq!(waiting.reply().unwrap()["is"], "progress");
    assert_eq!(follower.reply().unwrap()["line"], "hello");
    // All numbers are others now.
    node.unit("a", PLAIN);
    node.ctl(&["reload-config"]).expect_code(0);
    write("go", "");
    let line = follower.reply().unwrap();
    assert_eq!((&line["unit"], &line["line"]), (&"late".into(), &"it is me".into()));
    let last = waiting.answer().pop().unwrap();
    assert_eq!((&last["code"], &last["message"]), (&0.into(), &"late is ready".into()));
    // One who waits for what is no more is not left waiting.
    let mut waiting = Wire::of(&node);
    waiting.say(b"{\"v\":1,\"do\":\"logs\",\"units\":[\"d\"],\"follow\":true}\n");
    fs::remove_file(node.unit_file("d")).unwrap();
    node.ctl(&["reload-config"]).expect_code(0);
    node.ctl(&["status", "d"]).expect_code(4);
    node.ready("late");
}
