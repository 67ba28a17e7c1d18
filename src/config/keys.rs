//! Every section and key there is: what is not in this table is unknown.
//!
//! A test holds that each of them is read, and that nothing else is.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diag::{File, suggest};

/// Sections and their keys; a section named `""` is what stands before the first header.
pub(super) type Table = &'static [(&'static str, &'static [&'static str])];

/// `node.toml`. The keys of `images` and `vars` are free.
pub(super) const NODE: Table = &[
    ("", &["role", "master", "name", "interface", "address", "profile"]),
    ("network", &["cidr", "backend"]),
    ("images", FREE),
    ("vars", FREE),
    ("shutdown", &["timeout"]),
    ("watchdog", &["device", "timeout"]),
    ("control", &["read-group"]),
];

/// `units/*.toml`.
pub(super) const UNIT: Table = &[
    (
        "unit",
        &[
            "description",
            "kind",
            "roles",
            "requires",
            "binds",
            "wants",
            "after",
            "conflicts",
            "enabled",
        ],
    ),
    ("wait", &["clock", "route", "path", "timeout"]),
    (
        "command",
        &[
            "exec",
            "user",
            "group",
            "groups",
            "directory",
            "umask",
            "nice",
            "ionice",
            "oom-score-adj",
            "cpus",
            "capabilities",
            "no-new-privileges",
            "limits",
            "env",
            "env-file",
        ],
    ),
    (
        "container",
        &[
            "engine",
            "image",
            "command",
            "name",
            "network",
            "privileged",
            "pid",
            "cap-add",
            "volumes",
            "devices",
            "env",
            "user",
            "workdir",
            "pull",
            "pull-timeout",
        ],
    ),
    ("socket", &["listen", "names", "mode", "user", "group"]),
    (
        "prepare",
        &["bridge-reset", "address", "exec", "remove", "directory", "timeout", "ignore-failure"],
    ),
    (
        "ready",
        &[
            "notify",
            "fd",
            "file",
            "http",
            "expect",
            "tcp",
            "unix",
            "exec",
            "log",
            "timeout",
            "every",
            "probe-timeout",
        ],
    ),
    (
        "health",
        &[
            "http",
            "expect",
            "tcp",
            "unix",
            "exec",
            "every",
            "probe-timeout",
            "failures",
            "action",
            "watchdog",
        ],
    ),
    ("exports", &["file", "require", "keep"]),
    ("restart", &["policy", "delay", "max-delay", "stable", "degraded-after", "fatal-exit-codes"]),
    ("stop", &["signal", "timeout", "kill", "exec"]),
    ("reload", &["signal", "exec", "timeout"]),
    ("cgroup", &["memory-max", "memory-high", "cpu-weight", "io-weight", "pids-max", "delegate"]),
    ("log", &["ring", "file", "rotate-size", "rotate-keep"]),
];

/// Marks a section whose keys are the user's own.
const FREE: &[&str] = &[];

/// The one section that is written in double brackets.
const REPEATED: &str = "prepare";

/// Reports every section and key that is not in the table, and every section that is no table.
pub(super) fn check(file: &File<'_>, table: &DeTable<'_>, known: Table) {
    let top = keys_of(known, "").unwrap_or_default();
    for (key, value) in table {
        let name: &str = key.get_ref();
        if top.contains(&name) {
            continue;
        }
        match keys_of(known, name).filter(|_| !name.is_empty()) {
            None => unknown_at_top(file, key, value, known),
            Some(keys) => check_section(file, name, value, keys, known),
        }
    }
}

fn keys_of(known: Table, section: &str) -> Option<&'static [&'static str]> {
    known.iter().find(|(name, _)| *name == section).map(|(_, keys)| *keys)
}

fn unknown_at_top(
    file: &File<'_>,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    known: Table,
) {
    let name: &str = key.get_ref();
    let sections = known.iter().map(|(name, _)| *name).filter(|name| !name.is_empty());
    if value.get_ref().is_table() || value.get_ref().is_array() && home_of(known, name).is_none() {
        let help = suggest(name, sections.clone())
            .unwrap_or_else(|| format!("known are {}", list(sections)));
        file.report(&key.span(), format!("unknown section [{name}]"), Some(help));
        return;
    }
    let top = keys_of(known, "").unwrap_or_default().iter().copied();
    let help = suggest(name, top).or_else(|| misplaced(known, "", name));
    file.report(&key.span(), format!("unknown key `{name}` outside of any section"), help);
}

fn check_section(
    file: &File<'_>,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    keys: &[&'static str],
    known: Table,
) {
    let tables: Vec<&DeTable<'_>> = match value.get_ref() {
        DeValue::Table(table) if name != REPEATED => vec![table],
        DeValue::Array(items) if name == REPEATED && items.iter().all(is_table) => {
            items.iter().filter_map(|item| item.get_ref().as_table()).collect()
        }
        _ => {
            let (message, help) = match name {
                REPEATED => (
                    format!("[{name}] is a list of steps"),
                    format!("write [[{name}]], in double brackets, before each step"),
                ),
                _ => (
                    format!("`{name}` is a section, and there is one of it"),
                    format!("write [{name}] and its keys below"),
                ),
            };
            file.report(&value.span(), message, Some(help));
            return;
        }
    };
    if keys.is_empty() {
        return;
    }
    for (key, _) in tables.into_iter().flatten() {
        let word: &str = key.get_ref();
        if !keys.contains(&word) {
            let help = suggest(word, keys.iter().copied())
                .or_else(|| misplaced(known, name, word))
                .unwrap_or_else(|| format!("known are {}", list(keys.iter().copied())));
            let message = format!("unknown key `{word}` in [{name}]");
            file.report(&key.span(), message, Some(help));
        }
    }
}

fn is_table(item: &Spanned<DeValue<'_>>) -> bool {
    item.get_ref().is_table()
}

/// Where a key that is known elsewhere belongs.
fn misplaced(known: Table, here: &str, key: &str) -> Option<String> {
    let home = home_of(known, key).filter(|home| *home != here)?;
    match home {
        "" => Some(format!("`{key}` stands before the first section")),
        REPEATED => Some(format!("`{key}` belongs under [[{home}]]")),
        _ => Some(format!("`{key}` belongs under [{home}]")),
    }
}

fn home_of(known: Table, key: &str) -> Option<&'static str> {
    known.iter().find(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Defaults, Source, load};
    use super::*;

    /// A date is the right type for no key: whoever reads the key complains.
    #[test]
    fn every_key_is_read() {
        for (table, name) in [(NODE, "node.toml"), (UNIT, "units/a.toml")] {
            for (section, keys) in table.iter().filter(|(_, keys)| !keys.is_empty()) {
                for key in *keys {
                    let header = match *section {
                        "" => String::new(),
                        REPEATED => format!("[[{section}]]\n"),
                        _ => format!("[{section}]\n"),
                    };
                    let text = format!("{header}{key} = 1979-05-27\n");
                    let found = errors_of(name, &text);
                    let label = match *section {
                        "" => format!("`{key}` must be"),
                        _ => format!("`{key}` in [{section}] must be"),
                    };
                    assert!(found.contains(&label), "[{section}] {key}:\n{found}");
                }
            }
        }
    }

    fn errors_of(name: &str, text: &str) -> String {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
        let (node, units) = match name {
            "node.toml" => (source(name, text), Vec::new()),
            _ => (source("node.toml", "role = \"master\"\n"), vec![source(name, text)]),
        };
        let faults = load(node, units, &Defaults::default()).unwrap_err();
        faults.iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn every_section_is_known() {
        let file = File::new(Path::new("a.toml"), "");
        for (section, _) in UNIT {
            let text = match *section {
                REPEATED => format!("[[{section}]]\n"),
                _ => format!("[{section}]\n"),
            };
            check(&file, &DeTable::parse(&text).unwrap().into_inner(), UNIT);
        }
        assert!(file.into_faults().is_empty());
    }
}
