//! Values that flow from unit to unit: watched, waited for, kept, and never passed on empty.

use crate::harness::*;

/// `source` exports; `user` has the value on its command line, `further` depends on `user` only.
fn chain(source: &str) -> Vec<(&'static str, String)> {
    let user = |name: &str, requires: &str, value: &str| {
        format!(
            "[unit]\nrequires = [{requires}]\n[[prepare]]\nexec = [\"@double\", \
             \"append @dir/order ~{name}\"]\n[command]\nexec = [\"@double\", \"trap TERM\", \
             \"append @dir/order +{name}{value}\", \"notify READY=1\", \"await\", \
             \"append @dir/order -{name}\", \"exit 0\"]\n[ready]\nnotify = true\n"
        )
    };
    vec![
        ("source", source.to_owned()),
        ("user", user("user", "\"source\"", "=${source.NET}")),
        ("further", user("further", "\"user\"", "")),
        ("bystander", user("bystander", "\"source\"", "")),
        ("second", user("second", "\"source\", \"user\"", "=${source.NET}")),
    ]
}

fn node_of(units: &[(&str, String)]) -> Node {
    let mut node = Node::new();
    units.iter().for_each(|(name, text)| node.unit(name, text));
    node.start();
    node
}

/// A source that leaves its file to the test.
const SILENT: &str = "[command]\nexec = [\"sleep\", \"1000\"]\n\
                      [exports]\nfile = \"@dir/values\"\nrequire = [\"NET\"]\n";

fn pids(node: &Node, names: &[&str]) -> Vec<u32> {
    names.iter().map(|name| node.ready(name)).collect()
}

pub fn a_value_is_waited_for_and_said_to_be() {
    let node = node_of(&chain(SILENT));
    let seen = node.until("user", |seen| {
        seen["waiting_for"] == "waits for source to export NET" && seen["state"] == "waiting"
    });
    assert_eq!(seen["failures"], 0);
    node.ready("bystander");
    let notes = node.until("source", |seen| !seen["notes"].as_array().unwrap().is_empty());
    assert!(notes["notes"].to_string().contains("is ready, but has not exported NET"));
    let why = node.ctl(&["why", "further"]).expect_code(0).out;
    assert!(why.contains("waits for source to export NET"), "{why}");
    write("values", "NET=\n");
    write("values", "OTHER=1\n");
    assert_eq!(node.until("user", |seen| seen["state"] == "waiting")["starts"], 0);
    write("values", "NET=10.1.2.0/24\n");
    node.ready("further");
    let env = node.ctl(&["env", "user", "--json"]).expect_code(0).json();
    assert_eq!(env["values"]["source.NET"], "10.1.2.0/24");
    assert_eq!(node.of("source")["exports"]["NET"], "10.1.2.0/24");
}

/// Changes the value while all run, and looks who moved.
fn value_changes(change: impl Fn(&str)) {
    write("values", "NET=1\nOTHER=1\n");
    let node = node_of(&chain(SILENT));
    let names = ["source", "bystander", "further", "user", "second"];
    let before = pids(&node, &names);
    let starts = |name: &str| node.of(name)["starts"].as_u64().unwrap();
    // Nothing that anybody uses.
    change("NET=1\nOTHER=2\n");
    node.until("source", |seen| seen["exports"]["OTHER"] == "2");
    change("NET=1\nOTHER=2\n");
    write("order", "");
    change("NET=2\nOTHER=2\n");
    until("the users are there again", || starts("user") == 2 && starts("second") == 2);
    let after = pids(&node, &names);
    // `further` requires `user` alone, and a restart of that is not its concern.
    assert_eq!(before[..3], after[..3], "who uses no value moved");
    assert!(before[3] != after[3] && before[4] != after[4]);
    let order = "-second\n-user\n~user\n+user=2\n~second\n+second=2\n";
    assert_eq!(read("order"), order);
    let events = node.events("user").iter().map(ToString::to_string).collect::<String>();
    assert!(events.contains("NET of source changed"), "{events}");
}

pub fn a_value_that_changes_in_place_bounces_its_users_in_order() {
    value_changes(|text| write("values", text));
}

pub fn a_value_that_changes_by_rename_bounces_its_users_in_order() {
    value_changes(|text| {
        write("values.new", text);
        std::fs::rename(path("values.new"), path("values")).unwrap();
    });
}

pub fn a_value_or_file_that_vanishes_moves_nobody() {
    write("values", "NET=1\nMARK=1\n");
    let node = node_of(&chain(SILENT));
    let names = ["source", "bystander", "further", "user", "second"];
    let before = pids(&node, &names);
    write("values", "MARK=2\n");
    node.until("source", |seen| seen["exports"]["MARK"] == "2");
    std::fs::remove_file(path("values")).unwrap();
    node.ctl(&["status"]).expect_code(0);
    assert_eq!(pids(&node, &names), before);
    // But its next start waits for it.
    kill("KILL", before[3]);
    node.until("user", |seen| seen["waiting_for"] == "waits for source to export NET");
    write("values", "NET=1\n");
    node.ready("user");
    assert_eq!(pids(&node, &names[..3]), before[..3]);
}

/// A source that takes its lease anew at every start.
fn leasing() -> String {
    "[command]\nexec = [\"@double\", \"lease @dir/lease @dir/values\", \"notify READY=1\", \
     \"wait\"]\n[ready]\nnotify = true\nfile = \"@dir/values\"\n\
     [exports]\nfile = \"@dir/values\"\nrequire = [\"NET\"]\n"
        .to_owned()
}

pub fn a_restart_with_the_same_value_moves_nobody_else() {
    write("lease", "NET=7\n");
    let node = node_of(&chain(&leasing()));
    let names = ["bystander", "further", "user", "second"];
    let (source, before) = (node.ready("source"), pids(&node, &names));
    node.ctl(&["restart", "source"]).expect_code(0);
    assert_ne!(node.ready("source"), source);
    assert_eq!(pids(&node, &names), before);
    kill("KILL", node.ready("source"));
    node.until("source", |seen| seen["starts"] == 3 && seen["state"] == "ready");
    assert_eq!(pids(&node, &names), before);
}

/// `do unit` of a plan, the steps with a condition apart.
fn plan(document: &serde_json::Value) -> (Vec<String>, Vec<String>) {
    let steps = document["plan"].as_array().unwrap();
    let words = |step: &serde_json::Value| {
        format!("{} {}", step["do"].as_str().unwrap(), step["unit"].as_str().unwrap())
    };
    let (sure, perhaps): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step["if"].is_null());
    (sure.into_iter().map(words).collect(), perhaps.into_iter().map(words).collect())
}

pub fn what_is_planned_is_what_happens() {
    write("lease", "NET=1\n");
    let node = node_of(&chain(&leasing()));
    let names = ["bystander", "further", "source", "user", "second"];
    let before = pids(&node, &names);
    let dry = node.ctl(&["restart", "source", "--dry-run", "--json"]).expect_code(0).json();
    let (sure, perhaps) = plan(&dry);
    assert_eq!(sure, ["stop source", "start source"]);
    assert_eq!(
        perhaps,
        [
            "stop second",
            "stop user",
            "prepare user",
            "start user",
            "prepare second",
            "start second"
        ]
    );
    assert!(dry.to_string().contains("\"if\":\"NET changes\""), "{dry}");
    assert_eq!(pids(&node, &names), before, "only planned");
    write("lease", "NET=2\n");
    write("order", "");
    node.ctl(&["restart", "source"]).expect_code(0);
    until("all are there again", || read("order").ends_with("+second=2\n"));
    let happened = read("order");
    let as_file = |step: &String| {
        let (verb, unit) = step.split_once(' ').unwrap();
        match verb {
            "stop" => format!("-{unit}\n"),
            "prepare" => format!("~{unit}\n"),
            _ => format!("+{unit}=2\n"),
        }
    };
    assert_eq!(happened, perhaps.iter().map(as_file).collect::<String>());
    assert_eq!(pids(&node, &names[..2]), before[..2]);
    // A stop takes all with it that need it.
    let dry = node.ctl(&["stop", "source", "--dry-run", "--json"]).expect_code(0).json();
    let (planned, _) = plan(&dry);
    write("order", "");
    node.ctl(&["stop", "source"]).expect_code(0);
    let happened: Vec<String> =
        read("order").lines().map(|l| format!("stop {}", &l[1..])).collect();
    let mut both = [planned.clone(), [happened.clone(), vec!["stop source".into()]].concat()];
    assert_eq!(both[0].last(), both[1].last());
    both.iter_mut().for_each(|steps| steps.sort_unstable());
    assert_eq!(both[0], both[1], "{planned:?} {happened:?}");
    assert!(
        happened.iter().position(|s| s == "stop further").unwrap()
            < happened.iter().position(|s| s == "stop user").unwrap()
    );
}

pub fn kept_values_are_there_after_a_power_cut() {
    let source = "[command]\nexec = [\"@double\", \"append @dir/seen +\", \"await-file @dir/go\", \
                  \"replace @dir/tmp/values NET=3\", \"notify READY=1\", \"wait\"]\n\
                  [ready]\nnotify = true\n[exports]\nfile = \"@dir/tmp/values\"\n\
                  require = [\"NET\"]\nkeep = true\n";
    std::fs::create_dir(path("tmp")).unwrap();
    write("go", "");
    let mut node = Node::with(&[("source", source)]);
    node.ready("source");
    until("the copy is there", || read("state/exports/source") == "NET=3");
    let written = std::fs::metadata(path("state/exports/source")).unwrap().modified().unwrap();
    node.ctl(&["restart", "source"]).expect_code(0);
    node.signal("TERM");
    assert_eq!(node.wait_end(), Some(0));
    // The plug: what is in RAM is gone.
    for gone in ["run", "tmp"] {
        std::fs::remove_dir_all(path(gone)).unwrap();
    }
    std::fs::remove_file(path("go")).unwrap();
    node.start();
    assert_eq!(read("tmp/values"), "NET=3", "there before the first start");
    node.until_state("source", "starting");
    std::fs::create_dir_all(path("tmp")).unwrap();
    write("go", "");
    node.ready("source");
    let now = std::fs::metadata(path("state/exports/source")).unwrap().modified().unwrap();
    assert_eq!(now, written, "an SD card is written only when something changed");
}

pub fn a_broken_file_of_values_is_told_and_what_is_right_in_it_counts() {
    let node = node_of(&chain(SILENT));
    node.ready("source");
    write("values", "NET=5\nthis is no line\n=x\n\u{1}\u{2}\nOTHER='unclosed\n");
    node.ready("user");
    let seen = node.of("source");
    assert_eq!(seen["exports"]["NET"], "5");
    assert!(seen["notes"].to_string().contains("line 2"), "{seen:#}");
    let pid = node.ready("user");
    std::fs::remove_file(path("values")).unwrap();
    std::fs::create_dir(path("values")).unwrap();
    node.ctl(&["status"]).expect_code(0);
    assert_eq!(node.ready("user"), pid);
}

pub fn a_value_reaches_every_place_and_a_oneshot_is_done_anew() {
    write("values", "NET=1\n");
    let node = node_of(&[
        ("source", SILENT.to_owned()),
        (
            "setting",
            "[unit]\nkind = \"oneshot\"\nrequires = [\"source\"]\n[command]\nexec = [\"@double\", \
             \"append @dir/set ${source.NET}\"]\n"
                .to_owned(),
        ),
        (
            "everywhere",
            "[unit]\nrequires = [\"source\", \"setting\"]\n\
             [[prepare]]\ndirectory = \"@dir/at-${source.NET}\"\n\
             [command]\nexec = [\"@double\", \"write @dir/ready-${source.NET} x\", \"wait\"]\n\
             env = { NET = \"is ${source.NET}\" }\ndirectory = \"@dir/at-${source.NET}\"\n\
             [ready]\nfile = \"@dir/ready-${source.NET}\"\n"
                .to_owned(),
        ),
    ]);
    for value in ["1", "2", "3"] {
        write("values", &format!("NET={value}\n"));
        let wanted = format!("NET=is {value}");
        let pid = retry(|| {
            let pid = node.ready("everywhere");
            if environment(pid).contains(&wanted) { Ok(pid) } else { Err(wanted.clone()) }
        });
        let place = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(place, path(&format!("at-{value}")));
    }
    assert_eq!(read("set"), "1\n2\n3\n");
}
