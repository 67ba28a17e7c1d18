//! What each profile comes to, and that no file of it is left out.

use std::fs;
use std::path::Path;

use super::node::{Node, ROLES, files, profiles};
use super::render;

/// The profiles whose texts are kept.
const GOLDEN: [&str; 3] = ["classic", "native", "seed-2015"];

#[test]
fn every_file_is_read_for_both_roles() {
    let profiles = profiles();
    assert!(GOLDEN.iter().all(|profile| profiles.contains(*profile)), "{profiles:?}");
    for profile in profiles {
        let nodes = ROLES.map(|(role, _)| Node::read(&profile, role));
        let files = files(&profile);
        assert!(!files.is_empty(), "units/{profile} has no unit");
        for name in files.keys() {
            let is_used = nodes.iter().any(|node| node.plan.find(name).is_some());
            assert!(is_used, "units/{profile}/{name}.toml is a unit of no role");
        }
    }
}

#[test]
fn what_is_executed_is_a_golden_text() {
    let mut wrong = String::new();
    for profile in GOLDEN {
        for (role, _) in ROLES {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("tests/units/{profile}-{role}.txt"));
            let found = text(&Node::read(profile, role));
            if std::env::var_os("BLESS").is_some() {
                fs::write(&path, &found).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            if let Some(line) = first_difference(&expected, &found) {
                wrong.push_str(&format!("{profile}-{role}.txt:{line}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}BLESS=1 writes what is found");
}

fn text(node: &Node) -> String {
    let notes = node.plan.notes.iter().map(|note| format!("note: {note}\n"));
    let units = node.ids().map(|(id, unit)| render::unit(&node.machine, id, unit));
    notes.chain(units).collect::<Vec<_>>().join("\n")
}

/// The number of the first line that differs, with both.
fn first_difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let pairs = expected.lines().zip(found.lines());
    let equal = pairs.take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(equal).unwrap_or("(the end)").to_owned();
    Some(format!("{}: expected\n  {}\nfound\n  {}", equal + 1, line(expected), line(found)))
}
