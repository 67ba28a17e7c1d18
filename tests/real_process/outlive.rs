//! The supervisor is killed: units are as they were, and what happened meanwhile is known.

use std::time::Duration;

use serde_json::Value;

use crate::harness::*;
use crate::runner::has_groups;

/// How long it may take until units are supervised again, on a machine that does other things too.
const RESUMED_MAX: Duration = Duration::from_secs(5);

fn command(deeds: &str, more: &str) -> String {
    format!("[command]\nexec = [\"@double\", {deeds}]\n{more}")
}

/// A service that leaves a mark if it is there twice, and counts its starts.
fn single(name: &str, deeds: &str, more: &str) -> String {
    let once = format!("\"lock @dir/{name}.lock\", \"append @dir/{name}.starts x\", ");
    command(&format!("{once}{deeds}"), more)
}

fn starts(name: &str) -> usize {
    read(&format!("{name}.starts")).lines().count()
}

fn no_double(name: &str) {
    assert!(!path(&format!("{name}.lock.doubled")).exists(), "there were two of {name} at once");
}

/// Thirty units of all kinds, and the state in which each of them stays.
fn all_kinds(node: &Node) -> Vec<(String, &'static str)> {
    let notify = "[ready]\nnotify = true\n";
    let later = "[restart]\ndelay = \"1h\"\nmax-delay = \"1h\"\n";
    let kinds: [(&str, usize, &'static str, &str, String); 14] = [
        ("plain", 6, "ready", "\"wait\"", String::new()),
        ("notify", 3, "ready", "\"notify READY=1\\\\nSTATUS=fine\", \"wait\"", notify.to_owned()),
        ("fd", 2, "ready", "\"newline 3\", \"wait\"", "[ready]\nfd = 3\n".to_owned()),
        (
            "file",
            2,
            "ready",
            "\"write @dir/NAME.ready x\", \"wait\"",
            "[ready]\nfile = \"@dir/NAME.ready\"\n".to_owned(),
        ),
        (
            "values",
            1,
            "ready",
            "\"replace @dir/NAME.env K=1\", \"wait\"",
            "[exports]\nfile = \"@dir/NAME.env\"\nrequire = [\"K\"]\n".to_owned(),
        ),
        (
            "user",
            2,
            "ready",
            "\"say ${values-0.K}\", \"wait\"",
            "[unit]\nrequires = [\"values-0\"]\n".to_owned(),
        ),
        ("parent", 2, "ready", "\"fork session; wait\", \"wait\"", String::new()),
        (
            "slow",
            2,
            "starting",
            "\"await-file @dir/go\", \"notify READY=1\", \"wait\"",
            notify.to_owned(),
        ),
        ("broken", 2, "backoff", "\"exit 3\"", later.to_owned()),
        ("given-up", 1, "failed", "\"exit 9\"", "[restart]\nfatal-exit-codes = [9]\n".to_owned()),
        ("job", 3, "done", "\"exit 0\"", "[unit]\nkind = \"oneshot\"\n".to_owned()),
        ("stopped", 2, "down", "\"wait\"", String::new()),
        ("asked", 1, "ready", "\"wait\"", "[unit]\nenabled = false\n".to_owned()),
        ("held", 1, "waiting", "\"wait\"", "[wait]\npath = \"@dir/never\"\n".to_owned()),
    ];
    let mut units = Vec::new();
    for (kind, count, state, deeds, more) in kinds {
        for number in 0..count {
            let name = format!("{kind}-{number}");
            let (deeds, more) = (deeds.replace("NAME", &name), more.replace("NAME", &name));
            node.unit(&name, &single(&name, &deeds, &more));
            units.push((name, state));
        }
    }
    units
}

/// What of a unit has to be the same.
fn constant(unit: &Value) -> Vec<Value> {
    let keys = [
        "name",
        "state",
        "ready",
        "pid",
        "main_pid",
        "starts",
        "failures",
        "degraded",
        "cause",
        "waiting_for",
        "exit",
        "exports",
        "status_text",
        "notes",
    ];
    keys.iter().map(|key| unit[key].clone()).collect()
}

pub fn thirty_units_are_as_they_were() {
    let mut node = Node::new();
    let units = all_kinds(&node);
    assert_eq!(units.len(), 30);
    node.start_kept();
    node.ctl(&["start", "asked-0"]).expect_code(0);
    node.ctl(&["stop", "stopped-0", "stopped-1"]).expect_code(0);
    for (name, state) in &units {
        node.until_state(name, state);
    }
    let counts: Vec<usize> = units.iter().map(|(name, _)| starts(name)).collect();
    let before: Vec<Value> = units.iter().map(|(name, _)| node.of(name)).collect();
    let fastest = (0..3).map(|_| node.replaced()).inspect(|_| {
        for ((name, _), before) in units.iter().zip(&before) {
            let now = node.of(name);
            assert_eq!(constant(&now), constant(before), "{name}");
            let number = |unit: &Value, key: &str| unit[key].as_u64();
            assert!(number(&now, "since_ms") >= number(before, "since_ms"), "{name}: {now:#}");
            // The deadline is the one of before.
            assert!(number(&now, "retry_in_ms") <= number(before, "retry_in_ms"), "{name}");
        }
    });
    let times: Vec<Duration> = fastest.collect();
    note(&format!("30 units are supervised again {:?} after the first kill -9", times[0]));
    assert!(times[0] < RESUMED_MAX);
    // They start because of what they wait for, and not because of the new supervisor.
    write("go", "");
    for (name, before) in units.iter().map(|(name, _)| name).zip(&before) {
        if name.starts_with("slow") {
            assert_eq!(node.ready(name), pid_of(before));
        }
    }
    let after: Vec<usize> = units.iter().map(|(name, _)| starts(name)).collect();
    assert_eq!(after, counts, "starts of each");
    units.iter().for_each(|(name, _)| no_double(name));
    let parent = node.ready("parent-0");
    node.ctl(&["stop", "parent-0", "notify-0", "plain-0"]).expect_code(0);
    assert!(!is_alive(parent));
    node.ctl(&["start", "stopped-0"]).expect_code(0);
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0));
}

pub fn who_died_meanwhile_is_known_by_how() {
    let mut node = Node::new();
    let go = |end: &str| format!("\"await-file @dir/go\", \"{end}\"");
    let later = "[restart]\ndelay = \"1h\"\nmax-delay = \"1h\"\nstable = \"1h\"\n";
    node.unit("code", &single("code", &go("exit 7"), later));
    node.unit("signal", &single("signal", &go("die USR1"), later));
    node.unit("job", &single("job", &go("exit 0"), "[unit]\nkind = \"oneshot\"\n"));
    let step =
        "[[prepare]]\nexec = [\"@double\", \"append @dir/steps x\", \"await-file @dir/go\"]\n";
    node.unit("prepared", &single("prepared", "\"wait\"", step));
    node.unit("lives", &single("lives", "\"wait\"", ""));
    node.start_kept();
    let lives = node.ready("lives");
    let dying = [node.ready("code"), node.ready("signal")];
    until("the job runs", || starts("job") == 1);
    node.until("prepared", |seen| seen["state"] == "preparing" && !read("steps").is_empty());
    // Nobody reaps them, and then init does.
    let supervisor = node.own_pid();
    kill("STOP", supervisor);
    write("go", "");
    until("they are dead", || !dying.iter().any(|pid| is_alive(*pid)));
    kill("KILL", supervisor);
    until("the supervisor is dead", || !is_alive(supervisor));
    let seen = node.until_state("code", "backoff");
    assert_eq!((&seen["exit"]["code"], &seen["failures"]), (&7.into(), &1.into()));
    assert_eq!(seen["cause"], "ended with exit code 7 without being asked");
    let seen = node.until_state("signal", "backoff");
    assert_eq!(seen["exit"]["signal"], "USR1");
    let seen = node.until_state("job", "done");
    assert_eq!((&seen["starts"], starts("job")), (&1.into(), 1));
    node.ready("prepared");
    assert_eq!(read("steps"), "x\n", "a step whose end is known is not done again");
    assert_eq!(node.ready("lives"), lives);
}

pub fn without_an_init_a_death_meanwhile_is_honestly_unknown() {
    let later = "[restart]\ndelay = \"1h\"\nmax-delay = \"1h\"\nstable = \"1h\"\n";
    let mut node = Node::with(&[
        ("dies", &single("dies", "\"wait\"", later)),
        ("lives", &single("lives", "\"wait\"", "")),
    ]);
    let (dies, lives) = (node.ready("dies"), node.ready("lives"));
    node.signal("KILL");
    node.wait_end();
    kill("KILL", dies);
    until("it is dead", || !is_alive(dies));
    node.start();
    let seen = node.until_state("dies", "backoff");
    assert_eq!(seen["cause"], "ended with an unknown exit status without being asked");
    assert_eq!((&seen["exit"], &seen["starts"]), (&Value::Null, &1.into()));
    assert_eq!(node.ready("lives"), lives);
    node.replace();
    // One that dies later is told of by its descriptor.
    kill("KILL", lives);
    node.until("lives", |seen| seen["starts"] == 2);
}

pub fn what_was_said_meanwhile_is_heard() {
    let mut node = Node::new();
    let ready = "[ready]\ntimeout = \"never\"\n";
    let go = "\"await-file @dir/go\"";
    node.unit(
        "notify",
        &single(
            "notify",
            &format!("{go}, \"notify READY=1\", \"append @dir/said x\", \"wait\""),
            &format!("{ready}notify = true\n"),
        ),
    );
    node.unit(
        "fd",
        &single(
            "fd",
            &format!("{go}, \"newline 3\", \"append @dir/said x\", \"wait\""),
            &format!("{ready}fd = 3\n"),
        ),
    );
    node.unit(
        "log",
        &single(
            "log",
            &format!("{go}, \"say API listens\", \"append @dir/said x\", \"wait\""),
            &format!("{ready}log = \"API listens\"\n"),
        ),
    );
    node.unit(
        "file",
        &single(
            "file",
            &format!("{go}, \"write @dir/ready x\", \"append @dir/said x\", \"wait\""),
            &format!("{ready}file = \"@dir/ready\"\n"),
        ),
    );
    // One of an earlier run counts no more than before.
    write("old", "");
    node.unit("old", &single("old", "\"wait\"", &format!("{ready}file = \"@dir/old\"\n")));
    node.start_kept();
    let names = ["notify", "fd", "log", "file"];
    let pids = names
        .map(|name| pid_of(&node.until(name, |s| s["state"] == "starting" && !s["pid"].is_null())));
    let supervisor = node.own_pid();
    kill("STOP", supervisor);
    write("go", "");
    until("all is said", || read("said").lines().count() == names.len());
    kill("KILL", supervisor);
    until("the supervisor is dead", || !is_alive(supervisor));
    assert_eq!(names.map(|name| node.ready(name)), pids);
    assert_eq!(node.of("old")["state"], "starting");
    names.into_iter().for_each(no_double);
}

pub fn a_value_that_changed_meanwhile_bounces_its_users_only() {
    let uses = "[unit]\nrequires = [\"flannel\"]\n";
    let mut node = Node::with(&[
        (
            "flannel",
            &single(
                "flannel",
                "\"replace @dir/env NET=1\\\\nMTU=2\", \"wait\"",
                "[exports]\nfile = \"@dir/env\"\nrequire = [\"NET\", \"MTU\"]\n",
            ),
        ),
        ("net", &single("net", "\"say ${flannel.NET}\", \"wait\"", uses)),
        ("mtu", &single("mtu", "\"say ${flannel.MTU}\", \"wait\"", uses)),
        ("other", &single("other", "\"wait\"", uses)),
    ]);
    let names = ["flannel", "net", "mtu", "other"];
    let before = names.map(|name| node.ready(name));
    node.replace();
    assert_eq!(names.map(|name| node.ready(name)), before, "nothing has changed");
    node.signal("KILL");
    node.wait_end();
    write("env", "NET=5\nMTU=2\n");
    node.start();
    let seen = node.until("net", |seen| seen["state"] == "ready" && pid_of(seen) != before[1]);
    assert_eq!(seen["starts"], 2);
    assert_eq!([0, 2, 3].map(|at| node.ready(names[at])), [before[0], before[2], before[3]]);
    names.into_iter().for_each(no_double);
}

pub fn a_stop_under_way_goes_on() {
    let mut node = Node::new();
    let told = "\"await\", \"append @dir/told x\"";
    let deeds = format!("\"trap TERM\", \"notify READY=1\", {told}, \"trap TERM\", {told}");
    let more = "[ready]\nnotify = true\n[stop]\ntimeout = \"3s\"\n";
    node.unit("slow", &single("slow", &deeds, more));
    let above = "[unit]\nrequires = [\"slow\"]\n";
    node.unit("above", &single("above", "\"wait\"", above));
    node.start_kept();
    node.ready("above");
    let slow = node.ready("slow");
    node.ctl(&["stop", "--no-wait", "slow"]).expect_code(0);
    until("it was told", || !read("told").is_empty());
    node.replaced();
    let seen = node.of("slow");
    assert_eq!((&seen["state"], pid_of(&seen)), (&"stopping".into(), slow));
    // It is not told once more, and killed when its time is over.
    node.until_state("slow", "down");
    assert_eq!(read("told"), "x\n");
    let seen = node.of("above");
    assert_eq!(seen["state"], "waiting", "{seen:#}");
    node.ctl(&["start", "slow"]).expect_code(0);
    node.ready("above");
    no_double("slow");
}

pub fn killed_again_and_again_nothing_is_doubled_or_lost() {
    if !has_groups() {
        return note("no groups: a process that was not written down cannot be found");
    }
    let mut node = Node::new();
    let names: Vec<String> = (0..8).map(|number| format!("u{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let step = "[[prepare]]\nexec = [\"@double\", \"sleep 3\"]\n";
        let needs = match number {
            0..3 => String::new(),
            _ => format!("[unit]\nrequires = [\"u{}\"]\n", number - 3),
        };
        let deeds = "\"sleep 2\", \"notify READY=1\", \"wait\"";
        let more = format!("{needs}{step}[ready]\nnotify = true\n[restart]\ndelay = \"100ms\"\n");
        node.unit(name, &single(name, deeds, &more));
    }
    // Each is killed a little later in its life than the one before.
    for round in 0..40_u32 {
        node.launch();
        std::thread::sleep(Duration::from_micros(u64::from(round) * 1500));
        node.signal("KILL");
        node.wait_end();
    }
    node.start();
    let pids: Vec<u32> = names.iter().map(|name| node.ready(name)).collect();
    names.iter().for_each(|name| no_double(name));
    node.replace();
    let again: Vec<u32> = names.iter().map(|name| node.ready(name)).collect();
    assert_eq!(again, pids);
    let total: usize = names.iter().map(|name| starts(name)).sum();
    note(&format!("40 deaths while 8 units start: {total} starts"));
    node.ctl(&["shutdown"]).expect_code(0);
    until("all are gone", || !pids.iter().any(|pid| is_alive(*pid)));
}
