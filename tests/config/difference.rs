//! What a changed configuration leads to: what starts anew, and what is just taken over.

use pisup::config::plan::Plan;
use pisup::config::{Change, difference, made_of, of_release};
use pisup::machine::{Action, Event, Machine, Tick};

use super::common::MASTER;
use super::good::plan_of;

const COMMAND: &str = r#"
[unit]
description = "d"
requires = ["b"]
[wait]
clock = "sane"
[[prepare]]
exec = ["p", "${b.KEY}"]
[command]
exec = ["a", "${b.KEY}"]
user = "root"
env  = { K = "v" }
nice = 1
[ready]
tcp = "127.0.0.1:80"
[health]
tcp = "127.0.0.1:80"
[exports]
file    = "/run/a.env"
require = ["X"]
[restart]
delay = "1s"
[stop]
timeout = "10s"
[reload]
signal = "HUP"
[cgroup]
pids-max = 10
[log]
ring = "64K"
"#;

const CONTAINER: &str = r#"
[unit]
requires = ["b"]
[container]
engine = "/run/e.sock"
image  = "i"
command = ["${b.KEY}"]
pull   = "missing"
[stop]
timeout = "10s"
"#;

const OTHER: &str = "[command]\nexec = [\"b\"]\n[exports]\nfile = \"/b\"\nrequire = [\"KEY\"]\n";

/// What the process of `a` is made of.
fn made_of_a(plan: &Plan) -> u64 {
    let unit = plan.find("a").unwrap();
    made_of(plan, plan.units.get(unit.index()).unwrap())
}

/// What becomes of `a` when a text in it is replaced.
fn after(text: &str, from: &str, to: &str) -> Option<Change> {
    assert!(text.contains(from), "{from}");
    let old = plan_of(MASTER, &[("a", text), ("b", OTHER)]);
    let new = plan_of(MASTER, &[("a", &text.replacen(from, to, 1)), ("b", OTHER)]);
    let mut changes = difference(&old, &new);
    assert!(changes.len() <= 1, "{changes:?}");
    let restarts = matches!(changes.as_slice(), [(_, Change::Restart(_))]);
    assert_eq!(made_of_a(&old) != made_of_a(&new), restarts, "{from} -> {to}");
    changes.pop().map(|(name, change)| {
        assert_eq!(name, "a");
        change
    })
}

#[test]
fn what_is_executed_starts_anew() {
    for (from, to, word) in [
        ("exec = [\"a\"", "exec = [\"a\", \"-v\"", "exec"),
        ("K = \"v\"", "K = \"w\"", "env"),
        ("user = \"root\"", "user = \"nobody\"", "user"),
        ("nice = 1", "nice = 2", "process"),
        ("[ready]\ntcp = \"127.0.0.1:80\"", "[ready]\ntcp = \"127.0.0.1:81\"", "ready"),
        ("exec = [\"p\"", "exec = [\"q\"", "prepare"),
        ("pids-max = 10", "pids-max = 11", "cgroup"),
        ("/run/a.env", "/run/b.env", "exports"),
        ("[unit]", "[socket]\nlisten = [\"/run/a\"]\n[unit]", "socket"),
        ("[health]", "[health]\nwatchdog = \"9s\"", "watchdog"),
    ] {
        assert_eq!(after(COMMAND, from, to), Some(Change::Restart(vec![word])), "{to}");
    }
    let oneshot = "[unit]\nkind = \"oneshot\"\n[command]\nexec = [\"a\"]\n";
    let change = after(oneshot, "oneshot", "service");
    assert_eq!(change, Some(Change::Restart(vec!["kind"])));
}

#[test]
fn rules_are_taken_over() {
    for (from, to, word) in [
        ("\"d\"", "\"e\"", "description"),
        ("clock = \"sane\"", "clock = \"synced\"", "wait"),
        ("[unit]", "[unit]\nenabled = false", "enabled"),
        ("[ready]", "[ready]\ntimeout = \"1m\"", "timeouts"),
        ("[[prepare]]", "[[prepare]]\ntimeout = \"1m\"", "timeouts"),
        ("[health]\ntcp = \"127.0.0.1:80\"", "[health]\ntcp = \"127.0.0.1:81\"", "health"),
        ("[\"X\"]", "[\"Y\"]", "exports"),
        ("delay = \"1s\"", "policy = \"never\"", "restart"),
        ("timeout = \"10s\"", "kill = \"main\"", "stop"),
        ("\"HUP\"", "\"USR1\"", "reload"),
        ("\"64K\"", "\"128K\"", "log"),
    ] {
        assert_eq!(after(COMMAND, from, to), Some(Change::Adopt(vec![word])), "{to}");
    }
    let edges = "[unit]\nrequires = [\"b\"]\n[command]\nexec = [\"a\"]\n";
    let change = after(edges, "requires", "binds");
    assert_eq!(change, Some(Change::Adopt(vec!["dependencies"])));
    let conflict = "[unit]\nenabled = false\n[command]\nexec = [\"a\"]\n";
    let old = plan_of(MASTER, &[("a", conflict), ("b", OTHER)]);
    let new = conflict.replace("[unit]", "[unit]\nconflicts = [\"b\"]");
    let new = plan_of(MASTER, &[("a", &new), ("b", OTHER)]);
    let adopted = || Change::Adopt(vec!["dependencies"]);
    let both = ["a", "b"].map(|name| (name.to_owned(), adopted()));
    assert_eq!(difference(&old, &new), both, "a conflict is one of both");
}

#[test]
fn a_restart_says_all_that_it_is_for_and_nothing_else() {
    let to = "exec = [\"c\"]\nnice = 3\n#";
    let text = COMMAND.replace("\"d\"", "\"e\"");
    let old = plan_of(MASTER, &[("a", COMMAND), ("b", OTHER)]);
    let text = text.replace("exec = [\"a\", \"${b.KEY}\"]", to).replace("nice = 1", "");
    let new = plan_of(MASTER, &[("a", &text), ("b", OTHER)]);
    let changes = difference(&old, &new);
    assert_eq!(changes, [("a".to_owned(), Change::Restart(vec!["exec", "process"]))]);
}

#[test]
fn a_container_is_made_anew_for_what_it_is_made_from() {
    for (from, to) in [
        ("image  = \"i\"", "image = \"j\""),
        ("/run/e.sock", "/run/f.sock"),
        ("[\"${b.KEY}\"]", "[\"x\", \"${b.KEY}\"]"),
        ("[stop]", "[stop]\nsignal = \"INT\""),
        ("timeout = \"10s\"", "timeout = \"20s\""),
    ] {
        let change = after(CONTAINER, from, to);
        assert_eq!(change, Some(Change::Restart(vec!["container"])), "{to}");
    }
    for (from, to) in [
        ("pull   = \"missing\"", "pull = \"never\""),
        ("pull   = \"missing\"", "pull-timeout = \"1m\""),
    ] {
        assert_eq!(after(CONTAINER, from, to), Some(Change::Adopt(vec!["pull"])), "{to}");
    }
    let change = after(CONTAINER, "[stop]", "[stop]\nkill = \"main\"");
    assert_eq!(change, Some(Change::Adopt(vec!["stop"])));
}

#[test]
fn numbers_of_units_are_no_change() {
    let old = plan_of(MASTER, &[("a", COMMAND), ("b", OTHER)]);
    let idle = "[command]\nexec = [\"0\"]\n";
    let new = plan_of(MASTER, &[("0", idle), ("a", COMMAND), ("aa", idle), ("b", OTHER)]);
    let added = ["0", "aa"].map(|name| (name.to_owned(), Change::Added));
    assert_eq!(difference(&old, &new), added);
    let removed = ["0", "aa"].map(|name| (name.to_owned(), Change::Removed));
    assert_eq!(difference(&new, &old), removed);
    assert_eq!(difference(&new, &new), []);
    assert_eq!(made_of_a(&new), made_of_a(&old));
    assert!(of_release(made_of_a(&new)) && !of_release(!made_of_a(&new)));
}

#[test]
fn a_value_of_the_node_changes_those_who_use_it() {
    let text = "[command]\nexec = [\"a\", \"${vars.port}\"]\n";
    let idle = "[command]\nexec = [\"b\"]\n";
    let old = plan_of(MASTER, &[("a", text), ("b", idle)]);
    let new = plan_of(&MASTER.replace("4001", "2379"), &[("a", text), ("b", idle)]);
    let changes = difference(&old, &new);
    assert_eq!(changes, [("a".to_owned(), Change::Restart(vec!["exec"]))]);
}

#[test]
fn what_concerns_the_node_as_a_whole_is_taken_over() {
    let old = plan_of(MASTER, &[]);
    for (section, line) in [
        ("shutdown", "timeout = \"5m\""),
        ("watchdog", "timeout = \"9s\""),
        ("control", "read-group = \"adm\""),
    ] {
        let new = plan_of(&format!("{MASTER}[{section}]\n{line}\n"), &[]);
        let adopted = Change::Adopt(vec![section]);
        assert_eq!(difference(&old, &new), [(String::new(), adopted)]);
    }
}

#[test]
fn a_plan_for_a_new_configuration_names_its_units() {
    let text = |program: &str| format!("[command]\nexec = [\"{program}\"]\n");
    let old = plan_of(MASTER, &[("b", &text("b")), ("gone", &text("x"))]);
    let new = plan_of(MASTER, &[("a", &text("a")), ("b", &text("c"))]);
    let specs = |plan: &Plan| plan.units.iter().map(|unit| unit.spec.clone()).collect::<Vec<_>>();
    let mut machine = Machine::new(specs(&old), 1);
    let mut todo = machine.step(Event::Boot, Tick(1));
    while let Some(action) = todo.pop() {
        if let Action::Spawn(unit, run) = action {
            todo.extend(machine.step(Event::Spawned(unit, run), Tick(1)));
        }
    }
    let restarted = [new.find("b").unwrap()];
    let (steps, after) = machine.plan_reload(specs(&new), &restarted, Tick(2));
    let mut told: Vec<(&str, &str)> =
        steps.iter().map(|step| (step.what.word(), after.name(step.unit))).collect();
    told.sort_unstable();
    assert_eq!(told, [("start", "a"), ("start", "b"), ("stop", "b"), ("stop", "gone")]);
}
