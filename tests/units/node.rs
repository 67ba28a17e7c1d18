//! A profile's files, and the two nodes for which they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pisup::config::plan::{Plan, Unit};
use pisup::config::{Defaults, Source, load};
use pisup::machine::{Event, Machine, Tick, UnitId};

/// The roles, each with its node's address.
pub const ROLES: [(&str, &str); 2] = [("master", MASTER), ("worker", WORKER)];

pub const MASTER: &str = "192.168.1.10";
pub const WORKER: &str = "192.168.1.11";

/// What flannel leases in all of these tests.
const LEASE: [(&str, &str); 3] = [
    ("FLANNEL_NETWORK", "10.1.0.0/16"),
    ("FLANNEL_SUBNET", "10.1.78.1/24"),
    ("FLANNEL_MTU", "1472"),
];

/// A profile, read for one role.
pub struct Node {
    pub plan: Plan,
    /// Knows what flannel has leased.
    pub machine: Machine,
}

impl Node {
    pub fn read(profile: &str, role: &str) -> Self {
        let folder = folder().join(profile);
        let (_, address) = ROLES.into_iter().find(|(name, _)| *name == role).unwrap();
        let defaults = Defaults {
            hostname: if role == "master" { "pi-1" } else { "pi-2" }.to_owned(),
            interface: Some("eth0".to_owned()),
            address: Some(address.to_owned()),
        };
        let node = Source { path: "node.toml".into(), text: node_text(&folder, role, address) };
        let plan = load(node, sources(&folder), &defaults).unwrap_or_else(|faults| {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            panic_with(&format!("{profile} as {role}:\n{}", texts.join("\n\n")))
        });
        let specs = plan.units.iter().map(|unit| unit.spec.clone()).collect();
        let mut machine = Machine::new(specs, 1);
        if let Some(flannel) = plan.find("flannel") {
            let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let values = LEASE.into_iter().map(pair).collect();
            machine.step(Event::Exports(flannel, values), Tick::default());
        }
        Self { plan, machine }
    }

    pub fn unit(&self, name: &str) -> &Unit {
        let id = self.plan.find(name).expect(name);
        self.plan.units.get(id.index()).expect(name)
    }

    pub fn ids(&self) -> impl Iterator<Item = (UnitId, &Unit)> {
        self.plan.units.iter().map(|unit| (self.plan.find(&unit.spec.name).unwrap(), unit))
    }
}

#[expect(clippy::panic, reason = "a test that can not read its units fails, with all errors")]
fn panic_with(text: &str) -> ! {
    panic!("{text}")
}

/// `units`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("units")
}

/// Every profile there is.
pub fn profiles() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).expect("units").map(|entry| entry.unwrap());
    // What other inits need is no profile.
    let folders = entries.filter(|entry| entry.path().is_dir() && entry.file_name() != *"init");
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Every unit file of a profile, by the unit's name.
pub fn files(profile: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder().join(profile)).expect(profile);
    let paths = entries.map(|entry| entry.unwrap().path());
    let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let is_unit =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "toml") && stem(path) != "node";
    paths.filter(is_unit).map(|path| (stem(&path), path)).collect()
}

fn sources(folder: &Path) -> Vec<Source> {
    let profile = folder.file_name().unwrap().to_string_lossy();
    let source = |(name, path): (String, PathBuf)| Source {
        path: format!("units/{name}.toml").into(),
        text: fs::read_to_string(path).unwrap(),
    };
    files(&profile).into_iter().map(source).collect()
}

/// The profile's `node.toml` as somebody fills it in for the role: `role`, `master`, and each value
/// that has a worker's behind its `#`. A profile without one is read under that of `classic`.
fn node_text(folder: &Path, role: &str, address: &str) -> String {
    let text = fs::read_to_string(folder.join("node.toml"))
        .or_else(|_| fs::read_to_string(folder.with_file_name("classic").join("node.toml")))
        .expect("a node.toml");
    if role == "master" {
        return text;
    }
    let is_example = |value: &str| value.starts_with("http://MASTER") || value.starts_with('/');
    let line = |line: &str| match line.split_once('#').map(|(is, other)| (is, other.trim())) {
        _ if line.starts_with("role") => format!("role = \"worker\"\nmaster = \"{MASTER}\"\n"),
        Some((is, value)) if is.contains('=') && (is_example(value) || value == "ADDRESS") => {
            let (key, _) = is.split_once('=').unwrap();
            let value = value.replace("MASTER", MASTER).replace("ADDRESS", address);
            format!("{key}= \"{value}\"\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
