//! A new configuration under a real supervisor: units change their ids, and nobody is mistaken for
//! another. It needs neither root nor a namespace.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "reload/node.rs"]
mod node;

use std::fs;

use node::{Client, Node};
use pisup::wire::ctl::{Reply, Request};

/// It is up at once and stays.
const PLAIN: &str = r#"
[command]
exec = ["sleep", "1000"]
"#;

/// It says "up" when it is told to go on, and is ready then.
const HELD: &str = r#"
[command]
exec = ["sh", "-c", '''
until [ -e DIR/go ]; do sleep 0.1; done
echo up
: >DIR/said
exec sleep 1000
''']

[ready]
log = "up"
"#;

const RELOAD: Request = Request::ReloadConfig { no_wait: false, dry_run: false };

fn logs(node: &Node, unit: &str) -> Client {
    let mut client = node.client();
    let units = vec![unit.to_owned()];
    client.ask(&Request::Logs { units, n: None, follow: true });
    client
}

#[test]
fn what_happened_before_a_reload_is_told_to_whom_it_happened() {
    let node = Node::new(&[("b", HELD)]);
    node.wait_for_state("b", "starting");
    node.in_one_turn(|| {
        fs::write(node.path("go"), "").unwrap();
        node.wait_for_file("said");
        node.write_unit("a", PLAIN);
        node.hang_up();
    });
    assert_eq!(node.start("b"), (0, "b is ready".to_owned()));
    assert_eq!(node.start("a"), (0, "a is ready".to_owned()));
}

#[test]
fn a_file_that_is_replaced_while_units_change_their_ids_is_read() {
    let exports = r#"
[command]
exec = ["sh", "-c", "echo NET=old >DIR/b.env; exec sleep 1000"]

[ready]
file = "DIR/b.env"

[exports]
file = "DIR/b.env"
require = ["NET"]
"#;
    let node = Node::new(&[("b", exports)]);
    assert_eq!(node.start("b").0, 0);
    node.wait_for("a value", || node.unit("b").exports.contains_key("NET"));
    let mut client = node.client();
    // The supervisor has taken this connection when it has answered on it once.
    client.ask(&Request::Status { unit: None });
    client.end();
    node.in_one_turn(|| {
        node.write_unit("a", PLAIN);
        client.ask(&RELOAD);
        fs::write(node.path("b.new"), "NET=new\n").unwrap();
        fs::rename(node.path("b.new"), node.path("b.env")).unwrap();
    });
    assert_eq!(client.end(), (0, "a is ready".to_owned()));
    node.wait_for("the new value", || node.unit("b").exports["NET"] == "new");
}

#[test]
fn a_unit_that_was_removed_and_is_added_while_it_stops_starts_again() {
    let slow = r#"
[command]
exec = ["sh", "-c", '''
trap "until [ -e DIR/go ]; do sleep 0.1; done; exit" TERM
: >DIR/up
while :; do sleep 0.1; done
''']

[stop]
timeout = "never"
"#;
    let node = Node::new(&[("a", PLAIN), ("b", slow)]);
    node.wait_for_file("up");
    node.remove_unit("b");
    let reload_only = Request::ReloadConfig { no_wait: true, dry_run: false };
    assert_eq!(node.ask(&reload_only).0, 0);
    assert_eq!(node.unit("b").state, "stopping");
    assert_eq!(node.ask(&RELOAD), (0, "nothing has changed".to_owned()), "it goes, as it should");

    node.write_unit("b", slow);
    let mut client = node.client();
    client.ask(&RELOAD);
    match client.next() {
        Reply::Plan(plan) => assert_eq!(plan.changes[0].what, "added"),
        other => panic!("{other:?}"),
    }
    fs::write(node.path("go"), "").unwrap();
    assert_eq!(client.end(), (0, "b is ready".to_owned()));
    assert_eq!(node.unit("b").starts, 2);
}

#[test]
fn a_unit_that_leaves_stops_with_the_values_that_it_lived_with() {
    let exporter = |value: &str| {
        format!(
            r#"
[command]
exec = ["sh", "-c", "echo NET={value} >DIR/{value}.env; exec sleep 1000"]

[ready]
file = "DIR/{value}.env"

[exports]
file = "DIR/{value}.env"
require = ["NET"]
"#
        )
    };
    let user = r#"
[unit]
requires = ["net"]

[command]
exec = ["sleep", "1000"]

[stop]
exec = ["sh", "-c", "echo $$0 >DIR/stopped; kill $$MAINPID", "${net.NET}"]
"#;
    let node = Node::new(&[("net", &exporter("right")), ("user", user)]);
    assert_eq!(node.start("user").0, 0);
    // It takes the number that net had.
    node.write_unit("another", &exporter("wrong"));
    node.remove_unit("user");
    let (code, message) = node.ask(&RELOAD);
    assert_eq!(code, 0, "{message}");
    assert_eq!(node.text("stopped"), "right");
}

#[test]
fn the_plan_of_a_reload_calls_units_by_their_names() {
    let node = Node::new(&[("b", PLAIN), ("c", PLAIN)]);
    assert_eq!((node.start("b").0, node.start("c").0), (0, 0));
    node.write_unit("a", PLAIN);
    node.write_unit("b", &PLAIN.replace("1000", "1001"));
    node.remove_unit("c");
    let mut client = node.client();
    client.ask(&Request::ReloadConfig { no_wait: false, dry_run: true });
    let Reply::Plan(plan) = client.next() else { panic!("no plan") };
    let mut steps: Vec<String> =
        plan.plan.iter().map(|step| format!("{:?} {}", step.kind, step.unit)).collect();
    steps.sort();
    assert_eq!(steps, ["Start a", "Start b", "Stop b", "Stop c"]);
}

#[test]
fn jobs_and_views_of_others_go_on() {
    let node = Node::new(&[("b", HELD)]);
    let mut job = node.client();
    job.ask(&Request::Start { units: vec!["b".to_owned()], no_wait: false });
    let mut view = logs(&node, "b");
    node.write_unit("a", PLAIN);
    assert_eq!(node.ask(&RELOAD), (0, "a is ready".to_owned()));
    fs::write(node.path("go"), "").unwrap();
    assert_eq!(view.next_line(), "up");
    assert_eq!(job.end(), (0, "b is ready".to_owned()));
}

#[test]
fn the_first_line_of_a_unit_that_is_followed_before_its_start_is_told() {
    let node = Node::new(&[("b", &format!("[unit]\nenabled = false\n{HELD}"))]);
    fs::write(node.path("go"), "").unwrap();
    let mut view = logs(&node, "b");
    let mut last = node.client();
    let units = vec!["b".to_owned()];
    last.ask(&Request::Logs { units, n: Some(10), follow: true });
    assert_eq!(node.start("b").0, 0);
    assert_eq!((view.next_line(), last.next_line()), ("up".to_owned(), "up".to_owned()));
}

#[test]
fn a_start_ends_when_only_another_command_could_help() {
    let fails = r#"
[unit]
enabled = false

[command]
exec = ["false"]

[ready]
fd = 3

[restart]
policy = "never"
"#;
    let user = "[unit]\nenabled = false\nrequires = [\"a\"]\n\n[command]\nexec = [\"true\"]\n";
    let node = Node::new(&[("a", fails), ("b", user)]);
    let want = "b: a has failed; start a to try again".to_owned();
    assert_eq!(node.start("b"), (1, want));
}

#[test]
fn a_state_directory_that_cannot_be_made_is_a_warning() {
    let node = Node::with_state(&[("a", PLAIN)], "file/state");
    assert_eq!(node.start("a").0, 0);
    let mut client = node.client();
    client.ask(&Request::Status { unit: None });
    let Reply::Status(doc) = client.next() else { panic!("no status") };
    let is_told = |warning: &String| warning.starts_with("nothing is kept over a power cut: ");
    assert!(doc.supervisor.warnings.iter().any(is_told), "{:?}", doc.supervisor.warnings);
}
