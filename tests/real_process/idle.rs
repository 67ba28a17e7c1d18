//! What the supervisor costs when nothing happens, and when much does.

use std::fs;
use std::time::{Duration, Instant};

use crate::again::children;
use crate::harness::*;

/// Times that the supervisor was woken so far.
fn wake_ups(node: &Node) -> u64 {
    proc_status(node.pid(), "voluntary_ctxt_switches").parse().unwrap()
}

/// Memory of its own that it has written to, in KiB.
fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_Dirty:"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Ten units of all kinds that have something to wait for.
fn busy_node() -> Node {
    let mut node = Node::new();
    node.unit(
        "notify",
        "[command]\nexec = [\"@double\", \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n",
    );
    node.unit("sock", "[socket]\nlisten = [\"@dir/s\"]\n[command]\nexec = [\"sleep\", \"1000\"]\n");
    node.unit(
        "values",
        "[command]\nexec = [\"@double\", \"write @dir/values A=1\", \"wait\"]\n\
         [ready]\nfile = \"@dir/values\"\n[exports]\nfile = \"@dir/values\"\nkeep = true\n",
    );
    node.unit("waiting", "[wait]\npath = \"@dir/never\"\n[command]\nexec = [\"true\"]\n");
    node.unit("once", "[unit]\nkind = \"oneshot\"\n[command]\nexec = [\"true\"]\n");
    node.unit("probed", "[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nexec = [\"true\"]\n");
    for name in ["a", "b", "c", "d"] {
        node.unit(name, "[command]\nexec = [\"sleep\", \"1000\"]\n");
    }
    node.start();
    for name in ["notify", "sock", "values", "probed", "a", "b", "c", "d"] {
        node.ready(name);
    }
    node.until_state("once", "done");
    until("the copy is there", || path("state/exports/values").exists());
    node
}

pub fn an_idle_supervisor_is_never_woken() {
    let node = busy_node();
    // What was still under way may wake it; then a whole stretch without a wake-up must come.
    let stretch = Duration::from_secs(6);
    let count = retry(|| {
        let (before, start) = (wake_ups(&node), Instant::now());
        until("the time is over", || start.elapsed() >= stretch);
        match wake_ups(&node) - before {
            0 => Ok(0),
            count => Err(format!("{count} wake-ups in {stretch:?}")),
        }
    });
    note(&format!("{count} wake-ups in {} s with 10 units", stretch.as_secs()));
    let (private, sleeper) = (private_kib(node.pid()), private_kib(node.ready("a")));
    note(&format!("private memory with 10 units: {private} KiB (`sleep`: {sleeper} KiB)"));
}

pub fn orphans_are_reaped_and_no_dead_are_left() {
    let orphans = (0..20).map(|_| "\"fork session; fork sleep 30\", ").collect::<String>();
    let node = Node::with(&[(
        "parent",
        &format!(
            "[command]\nexec = [\"@double\", {orphans} \"sleep 200\", \"notify READY=1\", \
             \"wait\"]\n[ready]\nnotify = true\n"
        ),
    )]);
    let pid = node.ready("parent");
    until("only the service is left", || children(node.pid()) == [pid.to_string()]);
}

pub fn a_flood_of_output_neither_stops_the_service_nor_the_supervisor() {
    let node = Node::with(&[
        ("spam", "[command]\nexec = [\"sh\", \"-c\", \"yes\"]\n[stop]\ntimeout = \"1h\"\n"),
        ("calm", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
    ]);
    let calm = node.ready("calm");
    node.until("spam", |seen| seen["log_dropped"].as_u64() > Some(1_000_000));
    let start = Instant::now();
    for _ in 0..10 {
        node.status();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "ten answers took {took:?}");
    kill("KILL", calm);
    node.until("calm", |seen| seen["starts"] == 2);
    node.ctl(&["stop", "spam"]).expect_code(0);
    let lines = node.lines("spam");
    assert!(!lines.is_empty() && lines.iter().all(|line| line.chars().all(|c| c == 'y')));
}

pub fn a_line_without_end_and_binary_rubbish_are_kept_in_bounds() {
    let node = Node::with(&[
        (
            "endless",
            "[command]\nexec = [\"sh\", \"-c\", \"head -c 3000000 /dev/zero | tr '\\\\0' x; \
             echo; echo end; exec sleep 1000\"]\n[ready]\nlog = \"end\"\n",
        ),
        (
            "binary",
            "[command]\nexec = [\"sh\", \"-c\", \"head -c 300000 /dev/urandom; echo; echo end; \
             exec sleep 1000\"]\n[ready]\nlog = \"end\"\n",
        ),
    ]);
    for unit in ["endless", "binary"] {
        node.ready(unit);
        let shown = node.ctl(&["logs", unit]).expect_code(0).out;
        assert!(shown.len() < 1_200_000, "{}", shown.len());
        assert!(node.lines(unit).contains(&"end".to_owned()));
    }
}
