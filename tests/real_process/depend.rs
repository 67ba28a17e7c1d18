//! Dependencies: what a crash, a stop and a start of one unit mean for others.

use crate::harness::*;

/// A service that writes down when it starts and when it is asked to end.
fn noted(name: &str, head: &str) -> String {
    format!(
        "[unit]\n{head}\n[command]\nexec = [\"@double\", \"trap TERM\", \
         \"append @dir/order +{name}\", \"notify READY=1\", \"await\", \
         \"append @dir/order -{name}\", \"exit 0\"]\n[ready]\nnotify = true\n\
         [restart]\ndelay = \"100ms\"\n"
    )
}

/// Units of this name and head, all of them running.
fn running(units: &[(&str, &str)]) -> Node {
    let mut node = Node::new();
    units.iter().for_each(|(name, head)| node.unit(name, &noted(name, head)));
    node.start();
    for (name, _) in units {
        node.ready(name);
    }
    node
}

pub fn a_crash_takes_along_who_is_bound_and_nobody_else() {
    let node = running(&[
        ("base", ""),
        ("needs", "requires = [\"base\"]"),
        ("bound", "binds = [\"base\"]"),
        ("bound-too", "binds = [\"bound\"]"),
        ("above", "requires = [\"bound\"]"),
        ("prefers", "wants = [\"base\"]"),
    ]);
    let pid = |unit: &str| node.ready(unit);
    let still = ["needs", "above", "prefers"].map(|unit| (unit, pid(unit)));
    let moving = ["base", "bound", "bound-too"].map(|unit| (unit, pid(unit)));
    write("order", "");
    kill("KILL", pid("base"));
    for (unit, old) in moving {
        node.until(unit, |seen| seen["state"] == "ready" && pid_of(seen) != old);
    }
    assert_eq!(read("order"), "-bound-too\n-bound\n+base\n+bound\n+bound-too\n");
    for (unit, old) in still {
        assert_eq!(pid(unit), old, "{unit}");
    }
    let seen = node.events("bound").iter().map(ToString::to_string).collect::<String>();
    assert!(seen.contains("base, which it is bound to, went down"), "{seen}");
}

pub fn a_bound_oneshot_runs_again() {
    let node = Node::with(&[
        ("base", &noted("base", "")),
        (
            "once",
            "[unit]\nkind = \"oneshot\"\nbinds = [\"base\"]\n\
             [command]\nexec = [\"@double\", \"append @dir/runs x\"]\n",
        ),
        (
            "mere",
            "[unit]\nkind = \"oneshot\"\nrequires = [\"base\"]\n\
             [command]\nexec = [\"@double\", \"append @dir/mere x\"]\n",
        ),
    ]);
    node.until_state("once", "done");
    node.until_state("mere", "done");
    kill("KILL", node.ready("base"));
    node.until("once", |seen| seen["starts"] == 2 && seen["state"] == "done");
    assert_eq!((read("runs").as_str(), read("mere").as_str()), ("x\nx\n", "x\n"));
}

pub fn a_stop_takes_dependents_first_and_a_start_brings_them_back() {
    let node = running(&[
        ("etcd", ""),
        ("flannel", "requires = [\"etcd\"]"),
        ("docker", "requires = [\"flannel\"]"),
        ("kubelet", "requires = [\"docker\"]"),
        ("proxy", "requires = [\"docker\"]"),
        ("apart", ""),
    ]);
    let apart = node.ready("apart");
    node.ctl(&["stop", "proxy"]).expect_code(0);
    write("order", "");
    let told = node.ctl(&["stop", "etcd"]).expect_code(0);
    assert_eq!(read("order"), "-kubelet\n-docker\n-flannel\n-etcd\n");
    for unit in ["kubelet", "docker", "flannel", "etcd"] {
        assert!(told.out.contains(unit), "{told:?}");
    }
    assert_eq!(node.of("etcd")["state"], "down");
    let seen = node.of("kubelet");
    assert_eq!(seen["state"], "waiting");
    let why = node.ctl(&["why", "kubelet"]).expect_code(0).out;
    assert!(why.contains("etcd was stopped; start etcd to go on"), "{why}");
    write("order", "");
    node.ctl(&["start", "etcd"]).expect_code(0);
    node.ready("kubelet");
    assert_eq!(read("order"), "+etcd\n+flannel\n+docker\n+kubelet\n");
    assert_eq!(node.of("proxy")["state"], "down", "it was stopped by name itself");
    assert_eq!(node.ready("apart"), apart);
}

pub fn a_start_from_nothing_starts_all_that_is_needed_in_order() {
    let off = "enabled = false\n";
    let mut node = Node::new();
    for (name, requires) in
        [("a", ""), ("b", "\"a\""), ("c", "\"b\""), ("d", "\"b\", \"c\""), ("other", "\"a\"")]
    {
        node.unit(name, &noted(name, &format!("{off}requires = [{requires}]")));
    }
    node.start();
    assert_eq!(node.of("d")["state"], "down");
    node.ctl(&["start", "d"]).expect_code(0);
    assert_eq!(read("order"), "+a\n+b\n+c\n+d\n");
    assert_eq!(node.of("other")["state"], "down");
    // A unit that was stopped by name comes back when it is needed by name.
    node.ctl(&["stop", "b"]).expect_code(0);
    node.ctl(&["start", "d"]).expect_code(0);
    node.ready("b");
}

pub fn who_does_not_need_each_other_starts_side_by_side() {
    let meet = |name: &str, other: &str| {
        format!(
            "[command]\nexec = [\"@double\", \"write @dir/{name} x\", \"await-file @dir/{other}\", \
             \"notify READY=1\", \"trap TERM\", \"await\", \"write @dir/{name}.end x\", \
             \"await-file @dir/{other}.end\", \"exit 0\"]\n[ready]\nnotify = true\n\
             [stop]\ntimeout = \"1h\"\n"
        )
    };
    let mut node = Node::with(&[("left", &meet("l", "r")), ("right", &meet("r", "l"))]);
    node.ready("left");
    node.ready("right");
    node.signal("TERM");
    assert_eq!(node.wait_end(), Some(0));
    assert!(!node.said().contains("killed"), "{}", node.said());
}

pub fn conflicts_are_refused_with_the_others_name() {
    let node = Node::with(&[
        ("old", &noted("old", "")),
        ("new", &noted("new", "enabled = false\nconflicts = [\"old\"]")),
        ("above", &noted("above", "enabled = false\nrequires = [\"new\"]")),
    ]);
    let pid = node.ready("old");
    for unit in ["new", "above"] {
        let refused = node.ctl(&["start", unit]).expect_code(1);
        assert!(refused.err.contains("conflicts with old; stop old first"), "{refused:?}");
    }
    assert_eq!((node.ready("old"), &node.of("new")["state"]), (pid, &"down".into()));
    node.ctl(&["stop", "old"]).expect_code(0);
    node.ctl(&["start", "above"]).expect_code(0);
    let refused = node.ctl(&["start", "old"]).expect_code(1);
    assert!(refused.err.contains("conflicts with new"), "{refused:?}");
}

pub fn a_wish_never_blocks_for_good() {
    let node = Node::with(&[
        ("broken", "[command]\nexec = [\"false\"]\n[ready]\nnotify = true\n"),
        ("off", &noted("off", "enabled = false")),
        ("wants-broken", &noted("wants-broken", "wants = [\"broken\"]")),
        ("after-broken", &noted("after-broken", "after = [\"broken\"]")),
        ("after-off", &noted("after-off", "after = [\"off\"]")),
        (
            "slow",
            "[command]\nexec = [\"@double\", \"await-file @dir/go\", \"append @dir/order +slow\", \
             \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n",
        ),
        ("wants-slow", &noted("wants-slow", "wants = [\"slow\"]")),
        ("after-slow", &noted("after-slow", "after = [\"slow\"]")),
    ]);
    for unit in ["wants-broken", "after-broken", "after-off"] {
        node.ready(unit);
    }
    assert_eq!(node.of("off")["state"], "down", "an order pulls nobody in");
    let seen = node.of("wants-slow");
    assert_eq!(seen["waiting_for"], "waits a while for slow, which it wants");
    assert_eq!(node.of("after-slow")["state"], "waiting");
    write("go", "");
    node.ready("wants-slow");
    node.ready("after-slow");
    let order = read("order");
    let at = |word: &str| order.lines().position(|line| line == word).unwrap();
    assert!(at("+slow") < at("+wants-slow") && at("+slow") < at("+after-slow"), "{order}");
}

pub fn nobody_fails_because_of_another() {
    let node = Node::with(&[
        (
            "late",
            "[command]\nexec = [\"@double\", \"append @dir/tries x\", \"await-file @dir/go\", \
             \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\ntimeout = \"500ms\"\n\
             [restart]\ndelay = \"100ms\"\nmax-delay = \"100ms\"\ndegraded-after = 2\n",
        ),
        (
            "hopeless",
            "[command]\nexec = [\"false\"]\n[restart]\npolicy = \"never\"\n\
                      [ready]\nnotify = true\n",
        ),
        ("behind", &noted("behind", "requires = [\"late\"]")),
        ("beyond", &noted("beyond", "requires = [\"behind\"]")),
        ("stuck", &noted("stuck", "requires = [\"hopeless\"]")),
    ]);
    node.until("late", |seen| seen["degraded"] == true && seen["failures"].as_u64() > Some(3));
    for (unit, sentence) in [
        ("behind", "waits for late to be ready"),
        ("beyond", "waits for behind to be ready"),
        ("stuck", "hopeless has failed; start hopeless to try again"),
    ] {
        let seen = node.until(unit, |seen| seen["waiting_for"] == sentence);
        assert_eq!((&seen["state"], &seen["failures"]), (&"waiting".into(), &0.into()));
    }
    write("go", "");
    node.ready("beyond");
    assert_eq!(node.of("behind")["starts"], 1);
}

pub fn a_crash_while_another_prepares_makes_it_wait_again() {
    let node = Node::with(&[
        ("base", &noted("base", "")),
        (
            "above",
            "[unit]\nrequires = [\"base\"]\n[[prepare]]\nexec = [\"@double\", \
             \"append @dir/steps x\", \"await-file @dir/go\"]\n\
             [command]\nexec = [\"sleep\", \"1000\"]\n",
        ),
    ]);
    node.until_state("above", "preparing");
    until("the step is under way", || read("steps") == "x\n");
    node.ctl(&["stop", "base"]).expect_code(0);
    node.until_state("above", "waiting");
    write("go", "");
    node.ctl(&["start", "base"]).expect_code(0);
    node.ready("above");
    assert_eq!(read("steps"), "x\nx\n");
}
