//! When a unit counts as ready: every kind of evidence, alone, together, late and never.

use crate::harness::*;

/// A service that says nothing until `@dir/go-NAME` is there, and then does one deed.
fn service(name: &str, deed: &str, ready: &str) -> String {
    format!(
        "[command]\nexec = [\"@double\", \"await-file @dir/go-{name}\", \"{deed}\", \"wait\"]\n\
         [ready]\nevery = \"100ms\"\n{ready}\n"
    )
}

pub fn every_kind_of_evidence_is_waited_for_and_believed() {
    let kinds = [
        ("bare", "notify READY=1", "notify = true", "notify"),
        ("newline", "notify READY=1\\\\n", "notify = true", "notify"),
        ("among", "notify STATUS=up\\\\nREADY=1\\\\nX_OTHER=1\\\\n", "notify = true", "notify"),
        ("fd", "newline 3", "fd = 3", "fd"),
        ("file", "write @dir/file x", "file = \"@dir/file\"", "file"),
        ("renamed", "replace @dir/renamed x", "file = \"@dir/renamed\"", "file"),
        ("tcp", "tcp 127.0.0.1:7001", "tcp = \"127.0.0.1:7001\"", "tcp"),
        ("unix", "unix @dir/unix.sock", "unix = \"@dir/unix.sock\"", "unix"),
        (
            "http",
            "http 127.0.0.1:7002 200 all is well",
            "http = \"http://127.0.0.1:7002/health\"\nexpect = \"is well\"",
            "http",
        ),
        (
            "http-unix",
            "http-unix @dir/http.sock 204",
            "http = \"http+unix://@dir/http.sock:/_ping\"",
            "http",
        ),
        ("exec", "write @dir/exec x", "exec = [\"test\", \"-e\", \"@dir/exec\"]", "exec"),
        ("log", "say the API listen on a socket", "log = \"API listen on\"", "log"),
    ];
    let mut node = Node::new();
    for (name, deed, ready, _) in kinds {
        node.unit(name, &service(name, deed, ready));
    }
    node.start();
    let mut pids = Vec::new();
    for (name, _, _, gate) in kinds {
        let seen = node.until(name, |seen| seen["state"] == "starting" && !seen["pid"].is_null());
        let sentence = seen["waiting_for"].as_str().unwrap();
        assert!(sentence.starts_with(&format!("waits for {gate}")), "{sentence}");
        assert_eq!(seen["missing"], serde_json::json!([gate]));
        pids.push(seen["pid"].clone());
    }
    for (index, (name, ..)) in kinds.iter().enumerate() {
        write(&format!("go-{name}"), "");
        let seen = node.until_state(name, "ready");
        assert_eq!((&seen["starts"], &seen["pid"]), (&1.into(), &pids[index]), "{name}");
        assert_eq!(seen["waiting_for"], serde_json::Value::Null);
    }
    assert_eq!(node.of("among")["status_text"], serde_json::Value::Null, "READY clears it");
}

pub fn a_file_counts_only_if_it_came_after_the_start() {
    write("old", "of an earlier life");
    let node = Node::with(&[
        ("old", &service("old", "write @dir/old again", "file = \"@dir/old\"")),
        (
            "deep",
            "[command]\nexec = [\"@double\", \"await-file @dir/go-deep\", \"folder @dir/a/b/c\", \
             \"sleep 50\", \"replace @dir/a/b/c/file x\", \"wait\"]\n\
             [ready]\nfile = \"@dir/a/b/c/file\"\n",
        ),
    ]);
    node.until("old", |seen| !seen["pid"].is_null());
    node.until("deep", |seen| !seen["pid"].is_null());
    // The supervisor has been told of other files meanwhile, so it would know of this one too.
    write("go-deep", "");
    node.ready("deep");
    assert_eq!(node.of("old")["state"], "starting");
    write("go-old", "");
    node.ready("old");
    // And a new start wants it anew.
    std::fs::remove_file(path("go-old")).unwrap();
    let restart = node.ctl_waiting(&["restart", "old"]);
    node.until("old", |seen| seen["state"] == "starting" && seen["starts"] == 2);
    write("go-old", "");
    assert!(restart.wait_with_output().unwrap().status.success());
}

pub fn all_that_is_asked_for_must_hold() {
    let node = Node::with(&[(
        "strict",
        "[command]\nexec = [\"@double\", \"await-file @dir/one\", \"notify READY=1\", \
         \"await-file @dir/two\", \"say here I am\", \"await-file @dir/three\", \
         \"tcp 127.0.0.1:7003\", \"wait\"]\n\
         [ready]\nnotify = true\nlog = \"here I\"\ntcp = \"127.0.0.1:7003\"\nevery = \"100ms\"\n",
    )]);
    let missing = |what: &[&str]| {
        node.until("strict", |seen| seen["missing"] == serde_json::json!(what));
        assert_eq!(node.of("strict")["state"], "starting");
    };
    missing(&["notify", "tcp", "log"]);
    write("one", "");
    missing(&["tcp", "log"]);
    write("two", "");
    missing(&["tcp"]);
    write("three", "");
    node.ready("strict");
}

pub fn who_is_not_ready_in_time_is_told_what_is_missing() {
    let node = Node::with(&[(
        "late",
        "[command]\nexec = [\"@double\", \"say half\", \"wait\"]\n\
         [ready]\nlog = \"half\"\nnotify = true\nunix = \"@dir/none\"\ntimeout = \"2s\"\n\
         [restart]\ndelay = \"1h\"\nmax-delay = \"1h\"\n",
    )]);
    let seen = node.until_state("late", "backoff");
    assert_eq!(seen["cause"], "not ready within 2s (missing: notify, unix)");
    assert_eq!((&seen["failures"], &seen["pid"]), (&1.into(), &serde_json::Value::Null));
    let job = node.ctl(&["start", "late"]).expect_code(1);
    assert!(job.err.contains("not ready within 2s"), "{job:?}");
}

pub fn what_a_probe_finds_out_is_told() {
    let probe = |deed: &str, ready: &str| {
        format!(
            "[command]\nexec = [\"@double\", \"{deed}\", \"wait\"]\n\
             [ready]\nevery = \"100ms\"\nprobe-timeout = \"200ms\"\n{ready}\n"
        )
    };
    let cases = [
        ("refused", "sleep 1", "tcp = \"127.0.0.1:7100\"", "connection refused"),
        ("absent", "sleep 1", "unix = \"@dir/absent.sock\"", "no such file"),
        ("error", "http 127.0.0.1:7101 500 no", "http = \"http://127.0.0.1:7101/\"", "500"),
        (
            "body",
            "http 127.0.0.1:7102 200 starting",
            "http = \"http://127.0.0.1:7102/\"\nexpect = \"started\"",
            "started",
        ),
        ("mute", "mute 127.0.0.1:7103", "http = \"http://127.0.0.1:7103/\"", "200ms"),
        ("exec", "sleep 1", "exec = [\"sh\", \"-c\", \"echo not yet; exit 3\"]", "not yet"),
        ("hangs", "sleep 1", "exec = [\"sleep\", \"1000\"]", "no answer within 200ms"),
        ("no-exec", "sleep 1", "exec = [\"no-such-probe\"]", "no-such-probe: not found"),
    ];
    let mut node = Node::new();
    cases.iter().for_each(|(name, deed, ready, _)| node.unit(name, &probe(deed, ready)));
    node.start();
    for (name, _, _, part) in cases {
        node.until(name, |seen| seen["waiting_for"].as_str().is_some_and(|s| s.contains(part)));
        let seen = node.of(name);
        assert_eq!((&seen["state"], &seen["starts"]), (&"starting".into(), &1.into()));
    }
    let why = node.ctl(&["why", "refused"]).expect_code(0);
    assert!(why.out.contains("connection refused"), "{why:?}");
}

pub fn probes_never_overlap_and_end_with_the_unit() {
    let node = Node::with(&[
        (
            "asked",
            "[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nevery = \"100ms\"\n\
             exec = [\"@double\", \"lock @dir/probe\", \"append @dir/asked %pid\", \"sleep 250\", \
             \"exit 1\"]\n",
        ),
        (
            "hangs",
            "[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nevery = \"100ms\"\n\
             probe-timeout = \"150ms\"\n\
             exec = [\"@double\", \"append @dir/hung %pid\", \"ignore TERM\", \"wait\"]\n",
        ),
    ]);
    let asked = |file: &str| -> Vec<u32> {
        read(file).lines().filter_map(|line| line.parse().ok()).collect()
    };
    until("it was asked a few times", || asked("asked").len() > 4 && asked("hung").len() > 4);
    assert!(!path("probe.doubled").exists(), "two probes at once");
    for unit in ["asked", "hangs"] {
        node.ctl(&["stop", unit]).expect_code(0);
    }
    let all = [asked("asked"), asked("hung")].concat();
    until("no probe is left", || !all.iter().any(|pid| is_alive(*pid)));
    assert_eq!((asked("asked").len(), asked("hung").len()).0, all.len() - asked("hung").len());
}

pub fn a_service_that_ends_before_it_is_ready_is_not_asked_any_more() {
    let node = Node::with(&[(
        "short",
        "[command]\nexec = [\"@double\", \"sleep 150\", \"exit 1\"]\n\
         [ready]\nevery = \"100ms\"\nexec = [\"sleep\", \"1000\"]\n[restart]\ndelay = \"100ms\"\n",
    )]);
    node.until("short", |seen| seen["starts"].as_u64() >= Some(4));
    node.ctl(&["stop", "short"]).expect_code(0);
    until("no child is left", || crate::again::children(node.pid()).is_empty());
}

pub fn a_line_of_the_last_run_counts_for_nothing() {
    let node = Node::with(&[(
        "chatty",
        "[command]\nexec = [\"@double\", \"once @dir/once\", \"say starting\", \"wait\"]\n\
         [ready]\nlog = \"up and running\"\n[restart]\ndelay = \"100ms\"\n",
    )]);
    // The first run ends before it says a word; what stood in the pipe is not of the second.
    node.until("chatty", |seen| seen["starts"] == 2 && seen["state"] == "starting");
    until("it has said something", || node.lines("chatty").contains(&"starting".to_owned()));
    assert_eq!(node.of("chatty")["state"], "starting");
}

pub fn health_that_fails_restarts_or_is_reported() {
    let unit = |name: &str, action: &str| {
        format!(
            "[command]\nexec = [\"sleep\", \"1000\"]\n[health]\nevery = \"100ms\"\nfailures = 3\n\
             exec = [\"sh\", \"-c\", \"echo x >> @dir/{name}.asked; test ! -e @dir/{name}.sick\"]\n\
             action = \"{action}\"\n[restart]\ndelay = \"100ms\"\nstable = \"1h\"\n"
        )
    };
    let node =
        Node::with(&[("cured", &unit("cured", "restart")), ("told", &unit("told", "report"))]);
    let (cured, told) = (node.ready("cured"), node.ready("told"));
    until("both were asked", || !read("cured.asked").is_empty() && !read("told.asked").is_empty());
    assert_eq!(node.ready("cured"), cured);
    write("told.sick", "");
    let seen = node.until("told", |seen| seen["notes"].to_string().contains("not well"));
    assert!(seen["notes"].to_string().contains("3 times in a row, exec: exit code 1"), "{seen:#}");
    assert_eq!((node.ready("told"), &seen["failures"]), (told, &0.into()));
    write("cured.sick", "");
    let seen = node.until("cured", |seen| seen["starts"] == 2);
    std::fs::remove_file(path("cured.sick")).unwrap();
    assert_eq!(seen["failures"], 1);
    let events = node.events("cured").iter().map(ToString::to_string).collect::<String>();
    assert!(events.contains("not well: 3 times in a row, exec: exit code 1"), "{events}");
    node.ready("cured");
}

pub fn health_is_not_asked_of_what_is_not_ready() {
    let node = Node::with(&[(
        "starting",
        "[command]\nexec = [\"sleep\", \"1000\"]\n\
         [ready]\nunix = \"@dir/none\"\nevery = \"100ms\"\n\
         timeout = \"600ms\"\n[health]\nevery = \"100ms\"\nfailures = 1\n\
         exec = [\"@double\", \"append @dir/asked x\", \"exit 1\"]\n",
    )]);
    let seen = node.until_state("starting", "backoff");
    assert_eq!(seen["cause"], "not ready within 600ms (missing: unix)");
    assert_eq!(read("asked"), "");
}
