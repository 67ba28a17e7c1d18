//! What comes before a start: the world as it should be, and the steps.

use std::fs;
use std::process::Command;

use crate::harness::*;

pub fn the_world_is_waited_for_with_a_reason() {
    let wait = |what: &str| format!("[wait]\n{what}\n[command]\nexec = [\"sleep\", \"1000\"]\n");
    let node = Node::with(&[
        ("path", &wait("path = \"@dir/a/b\"")),
        ("route", &wait("route = \"default\"")),
        ("to", &wait("route = \"10.20.30.40\"")),
        ("sane", &wait("clock = \"sane\"")),
        ("brief", &wait("path = \"@dir/never\"\ntimeout = \"300ms\"")),
    ]);
    node.ready("sane");
    node.ready("brief");
    let told = node.events("brief").iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("went on without a path"), "{told}");
    for (unit, part) in [("path", path("a/b").display().to_string()), ("route", "route".into())] {
        let seen = node.until_state(unit, "waiting");
        assert!(seen["waiting_for"].as_str().unwrap().contains(&part), "{seen:#}");
        assert_eq!(seen["failures"], 0);
    }
    fs::create_dir_all(path("a/b")).unwrap();
    node.ready("path");
    let ip = |words: &[&str]| run(Command::new("ip").args(words)).expect_code(0);
    ip(&["route", "add", "10.20.30.0/24", "dev", "lo"]);
    node.ready("to");
    assert_eq!(node.of("route")["state"], "waiting");
    ip(&["route", "add", "default", "dev", "lo"]);
    node.ready("route");
}

pub fn steps_are_done_in_order_before_every_start() {
    write("stale.pid", "4711");
    fs::write(path("kept"), "").unwrap();
    let node = Node::with(&[(
        "stepping",
        "[[prepare]]\nexec = [\"@double\", \"append @dir/order 1\"]\n\
         [[prepare]]\nremove = [\"@dir/stale.pid\", \"@dir/absent\"]\n\
         [[prepare]]\ndirectory = \"@dir/made/deep\"\n\
         [[prepare]]\nexec = [\"false\"]\nignore-failure = true\n\
         [[prepare]]\nexec = [\"no-such-step\"]\nignore-failure = true\n\
         [[prepare]]\nexec = [\"@double\", \"append @dir/order 2\"]\n\
         [command]\nexec = [\"@double\", \"append @dir/order 3\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\n[restart]\ndelay = \"100ms\"\n",
    )]);
    let pid = node.ready("stepping");
    assert!(path("made/deep").is_dir() && !path("stale.pid").exists() && path("kept").exists());
    assert_eq!(read("order"), "1\n2\n3\n");
    kill("KILL", pid);
    node.until("stepping", |seen| seen["starts"] == 2 && seen["state"] == "ready");
    assert_eq!(read("order"), "1\n2\n3\n1\n2\n3\n");
}

pub fn a_step_that_fails_or_hangs_is_a_failed_start_with_its_words() {
    let node = Node::with(&[
        (
            "failing",
            "[[prepare]]\nexec = [\"true\"]\n\
             [[prepare]]\nexec = [\"sh\", \"-c\", \"echo no module; exit 3\"]\n\
             [command]\nexec = [\"@double\", \"write @dir/started x\", \"wait\"]\n",
        ),
        ("absent", "[[prepare]]\nexec = [\"no-such-step\"]\n[command]\nexec = [\"true\"]\n"),
        (
            "hanging",
            "[[prepare]]\nexec = [\"@double\", \"ignore TERM\", \"append @dir/hung %pid\", \
             \"wait\"]\ntimeout = \"2s\"\n\
             [command]\nexec = [\"true\"]\n[stop]\ntimeout = \"200ms\"\n",
        ),
    ]);
    for (unit, part) in [
        ("failing", "prepare step 2 failed: exit code 3: no module"),
        ("absent", "prepare step 1 failed: no-such-step: not found in PATH"),
        ("hanging", "prepare step 1 was not done within 2s"),
    ] {
        let seen = node.until_state(unit, "backoff");
        assert!(seen["cause"].as_str().unwrap().starts_with(part), "{seen:#}");
        assert_eq!((&seen["starts"], &seen["failures"]), (&0.into(), &1.into()));
    }
    assert!(!path("started").exists());
    let hung: u32 = read("hung").lines().next().unwrap().parse().unwrap();
    assert!(!is_alive(hung));
}
