//! What people write: units, node.toml, files with `${...}` in them, environment files.

use pisup::config::plan::Plan;
use pisup::config::{Defaults, Diagnostic, Source, difference, fill, hints, load};
use pisup::wire::envfile;

use super::assert_sentence;

const MASTER: &str = include_str!("../config/master.toml");

/// Beside the unit in question: one with values, one that may be required, one with a container.
const OTHERS: &[(&str, &str)] = &[
    (
        "flannel",
        "[command]\nexec = [\"f\"]\n[exports]\nfile = \"/run/f/subnet.env\"\n\
         require = [\"FLANNEL_SUBNET\", \"FLANNEL_MTU\"]\n",
    ),
    ("etcd", "[container]\nengine = \"/run/e.sock\"\nimage = \"${images.etcd}\"\n"),
    ("docker", "[unit]\nrequires = [\"flannel\"]\n[command]\nexec = [\"d\"]\n"),
];

/// The longest that a diagnostic gets: sentence and help, 600 letters each, excerpt and place.
const DIAGNOSTIC: usize = 1600;

/// A unit's file, beside others.
pub fn unit(bytes: &[u8]) {
    let Some(unit) = source("units/a.toml", bytes) else { return };
    let others = OTHERS.iter().map(|(name, text)| Source {
        path: format!("units/{name}.toml").into(),
        text: (*text).to_owned(),
    });
    let units: Vec<Source> = others.chain([unit]).collect();
    let node = Source { path: "node.toml".into(), text: MASTER.to_owned() };
    check(&node, &units);
}

/// A node's file, with units that use what it says.
pub fn node(bytes: &[u8]) {
    let Some(node) = source("node.toml", bytes) else { return };
    let _ = hints(&node.text);
    let text = "[unit]\nroles = [\"master\"]\n[command]\nexec = [\"a\", \"${node.master}\", \
                \"${node.address}\", \"${vars.port}\", \"${images.etcd}\"]\n";
    let units = [Source { path: "units/a.toml".into(), text: text.to_owned() }];
    check(&node, &units);
    check(&node, &[]);
}

/// A file of another program: only what is ours in it is touched.
pub fn foreign_file(bytes: &[u8]) {
    let Some(file) = source("manifests/a.json", bytes) else { return };
    let node = Source { path: "node.toml".into(), text: MASTER.to_owned() };
    match fill(&node, &file, &Defaults::default()) {
        Ok(filled) => {
            let ours = ["${node.", "${images.", "${vars."];
            if !ours.iter().any(|start| file.text.contains(start)) {
                assert_eq!(filled, file.text);
            }
        }
        Err(faults) => check_faults(&faults, 1),
    }
}

/// `KEY=VALUE`: what was read is what a file with the same values says.
pub fn env_file(bytes: &[u8]) {
    let file = envfile::parse(bytes);
    assert!(file.errors.len() <= envfile::MAX_ERRORS);
    for error in &file.errors {
        assert_sentence(&error.to_string(), 600);
    }
    let mut text = String::new();
    for (key, value) in &file.values {
        let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        assert!(is_name && !key.starts_with(|first: char| first.is_ascii_digit()), "{key:?}");
        assert!(!key.is_empty() && !value.contains('\0'));
        text.push_str(key);
        text.push_str("=\"");
        for letter in value.chars() {
            if "\"\\`$".contains(letter) {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push_str("\"\n");
    }
    if text.len() <= envfile::MAX_BYTES {
        let again = envfile::parse(text.as_bytes());
        assert_eq!((again.values, again.errors), (file.values, Vec::new()));
    }
}

fn source(path: &str, bytes: &[u8]) -> Option<Source> {
    match Source::from_bytes(path, bytes.to_vec()) {
        Ok(source) => Some(source),
        Err(fault) => {
            check_faults(&[fault], 1);
            None
        }
    }
}

/// A plan, or errors; the same ones each time, and in whatever order the files come.
fn check(node: &Source, units: &[Source]) {
    let load_it = |units: Vec<Source>| load(node.clone(), units, &Defaults::default());
    let found = load_it(units.to_vec());
    assert_eq!(found, load_it(units.iter().rev().cloned().collect()));
    match found {
        Ok(plan) => check_plan(&plan, units.len()),
        Err(faults) => check_faults(&faults, units.len() + 1),
    }
}

fn check_plan(plan: &Plan, files: usize) {
    assert!(plan.units.len() <= files);
    assert_eq!(difference(plan, plan), []);
    for note in &plan.notes {
        assert_sentence(note, DIAGNOSTIC);
    }
}

fn check_faults(faults: &[Diagnostic], files: usize) {
    assert!(!faults.is_empty() && faults.len() <= 101 * files, "{} errors", faults.len());
    for fault in faults {
        assert_sentence(&fault.to_string(), DIAGNOSTIC);
    }
}
