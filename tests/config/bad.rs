//! Golden errors.

use std::fs;
use std::path::{Path, PathBuf};

use pisup::config::{Source, load};

use super::common::{MASTER, defaults, folder, told, try_load, units_of};

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join("bad")).expect("tests/config/bad");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn errors_of(case: &Path) -> String {
    let text = fs::read_to_string(case.join("node.toml")).unwrap_or_else(|_| MASTER.to_owned());
    let node = Source { path: "node.toml".into(), text };
    match load(node, units_of(&case.join("units")), &defaults()) {
        Ok(_) => String::from("nothing is wrong\n"),
        Err(faults) => told(&faults),
    }
}

#[test]
fn every_mistake_is_told_as_expected() {
    let is_blessing = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    for case in cases {
        let found = errors_of(&case);
        let path = case.join("expected.txt");
        if is_blessing {
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected || !found.starts_with("error: ") {
            let name = case.file_name().unwrap().to_string_lossy();
            wrong.push_str(&format!("--- {name}, expected:\n{expected}--- found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}\nBLESS=1 writes what is found");
}

#[test]
fn every_error_names_a_way_out_or_its_place() {
    for case in cases() {
        let text = fs::read_to_string(case.join("expected.txt")).unwrap_or_default();
        for error in text.split("\n\n").filter(|error| !error.trim().is_empty()) {
            let says = error.contains("= help: ")
                || error.contains("no valid TOML")
                || error.contains("must be")
                || error.contains(", not a");
            assert!(says, "{}: no help in\n{error}", case.display());
        }
    }
}

#[test]
fn errors_come_by_file_and_line() {
    let faults = try_load(
        "role = \"master\"\nx = 1\n",
        &[("b", "[unit]\nz = 1\na = 1\n[command]\nexec = [\"b\"]\n"), ("a", "[comand]\n")],
    )
    .unwrap_err();
    let places: Vec<(String, usize)> =
        faults.iter().map(|fault| (fault.path.display().to_string(), fault.line)).collect();
    let expected = [
        ("node.toml", 2),
        ("units/a.toml", 0),
        ("units/a.toml", 1),
        ("units/b.toml", 2),
        ("units/b.toml", 3),
    ];
    assert_eq!(places, expected.map(|(path, line)| (path.to_owned(), line)));
}

#[test]
fn what_the_network_does_not_tell_yet_is_marked() {
    let units =
        || super::common::units(&[("a", "[command]\nexec = [\"a\", \"${node.address}\"]\n")]);
    let node = || Source { path: "node.toml".into(), text: "role = \"master\"\n".to_owned() };
    let faults = load(node(), units(), &pisup::config::Defaults::default()).unwrap_err();
    assert!(faults.iter().all(|fault| fault.is_undetected), "{}", told(&faults));
    assert!(load(node(), units(), &defaults()).is_ok());
}

#[test]
fn more_units_than_a_node_can_have_are_refused() {
    let names: Vec<String> = (0..257).map(|number| format!("u{number}")).collect();
    let units: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "[command]\nexec = [\"a\"]\n")).collect();
    assert!(try_load(MASTER, &units[..256]).is_ok());
    let faults = try_load(MASTER, &units).unwrap_err();
    assert!(told(&faults).contains("257 units are too many"), "{}", told(&faults));
}

#[test]
fn names_of_files_are_checked() {
    let long = "a".repeat(64);
    for name in ["Docker", "a b", "-a", "a.b", "node", "vars", &long] {
        let faults = try_load(MASTER, &[(name, "[command]\nexec = [\"a\"]\n")]).unwrap_err();
        assert!(told(&faults).contains("can not be the name of a unit"), "{name}");
    }
    let units = ["units/a.toml", "more/a.toml"]
        .map(|path| Source { path: path.into(), text: "[command]\nexec = [\"a\"]\n".to_owned() });
    let node = Source { path: "node.toml".into(), text: MASTER.to_owned() };
    let faults = load(node, units.to_vec(), &defaults()).unwrap_err();
    assert!(told(&faults).contains("a second unit `a`"), "{}", told(&faults));
}

#[test]
fn what_is_no_text_is_refused() {
    let fault = Source::from_bytes("units/a.toml", b"[unit]\n\xff".to_vec()).unwrap_err();
    assert!(fault.to_string().contains("line 2"), "{fault}");
    let long = format!("# {}", "a".repeat(300 << 10));
    let faults = try_load(MASTER, &[("a", &long)]).unwrap_err();
    assert!(told(&faults).contains("is longer than"), "{}", told(&faults));
}
