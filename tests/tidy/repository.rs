//! Rules on the repository: its papers, its packages, its units, its first level.

use std::collections::BTreeSet;

use super::source::{Report, Tree};

/// What may stand on the first level. A visitor reads this list before anything else.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "Makefile",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "src",
    "units",
    "cross",
    "tests",
];

/// Packages in Cargo.lock: ours, 36 that the program is made of or built with, 12 of proptest, 2 of
/// clap_mangen, and those that the crates above name for systems we never build for (windows-sys,
/// wasip2, ...). A new crate is a decision: raise this in the same commit, with its line in
/// ARCHITECTURE.md.
const PACKAGES: usize = 62;

const CHANGES: &[&str] = &["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// The form of keepachangelog.com.
pub fn changelog(tree: &Tree, report: &mut Report) {
    let Some(file) = tree.find("CHANGELOG.md") else {
        return;
    };
    if !file.text.starts_with("# Changelog\n") {
        report.say(&file.path, 0, "opens with `# Changelog`");
    }
    let mut is_unreleased_first = None;
    for (index, line) in file.text.lines().enumerate() {
        let Some((marks, title)) = line.split_once(' ').filter(|(marks, _)| is_marks(marks)) else {
            continue;
        };
        match marks.len() {
            1 if index == 0 => {}
            2 if title == "[Unreleased]" => _ = is_unreleased_first.get_or_insert(true),
            2 if is_release(title) => _ = is_unreleased_first.get_or_insert(false),
            2 => report.say(&file.path, index, "`[Unreleased]` or `[1.2.3] - 2026-01-31`"),
            3 if CHANGES.contains(&title) => {}
            3 => report.say(&file.path, index, format!("one of {}", CHANGES.join(", "))),
            _ => report.say(&file.path, index, "no heading of that level in a changelog"),
        }
    }
    if is_unreleased_first != Some(true) {
        report.say(&file.path, 0, "`## [Unreleased]` is the first section");
    }
}

fn is_marks(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter == '#')
}

/// `[1.2.3] - 2026-01-31`.
fn is_release(title: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|l| l.is_ascii_digit());
    let Some((version, date)) = title.strip_prefix('[').and_then(|t| t.split_once("] - ")) else {
        return false;
    };
    let lengths: Vec<usize> = date.split('-').map(str::len).collect();
    version.split('.').count() == 3
        && version.split('.').all(is_number)
        && lengths == [4, 2, 2]
        && date.split('-').all(is_number)
}

/// The tree that ARCHITECTURE.md draws is the tree there is.
pub fn architecture(tree: &Tree, report: &mut Report) {
    const PATH: &str = "ARCHITECTURE.md";
    let Some(file) = tree.find(PATH) else {
        return;
    };
    let mut drawn = BTreeSet::new();
    let mut folders: Vec<(usize, String)> = Vec::new();
    let lines = file.text.lines().enumerate();
    for (index, line) in lines.skip_while(|(_, line)| line.trim() != "src/") {
        if line.starts_with("```") {
            break;
        }
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        folders.retain(|(depth, _)| *depth < indent);
        let above = folders.last().map(|(_, path)| path.as_str()).unwrap_or_default();
        let path = format!("{above}{name}");
        if name.ends_with('/') {
            folders.push((indent, path));
        } else if name.ends_with(".rs") {
            if tree.find(&path).is_none() {
                report.say(PATH, index, format!("draws {path}, which does not exist"));
            }
            drawn.insert(path);
        }
    }
    for source in tree.sources().filter(|source| !drawn.contains(&source.path)) {
        report.say(PATH, 0, format!("its tree lacks {}", source.path));
    }
}

/// Every package is somebody else's code that runs as root.
pub fn package_count(tree: &Tree, report: &mut Report) {
    let Some(lock) = tree.find("Cargo.lock") else {
        return;
    };
    let count = lock.text.lines().filter(|line| *line == "[[package]]").count();
    if count > PACKAGES {
        let sentence = format!("{count} packages; {PACKAGES} were argued for");
        report.say(&lock.path, 0, sentence);
    }
}

/// One registry, and nothing from a branch of a repository.
pub fn package_source(tree: &Tree, report: &mut Report) {
    const SOURCE: &str = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
    let Some(lock) = tree.find("Cargo.lock") else {
        return;
    };
    for (index, line) in lock.text.lines().enumerate() {
        if line.starts_with("source = ") && line != SOURCE {
            report.say(&lock.path, index, "not from crates.io");
        }
    }
}

/// A short first level.
pub fn top_level(tree: &Tree, report: &mut Report) {
    for file in &tree.files {
        let first = file.path.split('/').next().unwrap_or_default();
        let is_known = TOP_LEVEL.contains(&first)
            || first.starts_with("LICENSE")
            || first.starts_with('.') && first.len() > 1;
        if !is_known {
            report.say(&file.path, 0, format!("{first} has no place on the first level"));
        }
    }
}

/// A unit file says what it starts and why, before the first key.
pub fn unit_comment(tree: &Tree, report: &mut Report) {
    let is_unit = |path: &str| path.starts_with("units/") && path.ends_with(".toml");
    for file in tree.files.iter().filter(|file| is_unit(&file.path)) {
        for (index, line) in file.text.lines().take(2).enumerate() {
            if !line.starts_with("# ") {
                report.say(&file.path, index, "opens with two lines of comment: what, and why");
                break;
            }
        }
    }
}
