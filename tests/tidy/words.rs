//! Rules on words: what is banned, and where.

use super::source::{File, Report, Tree, has_word};

/// A word that code may not have outside some places.
struct Ban {
    word: &'static str,
    /// Starts of paths in which it is banned.
    within: &'static [&'static str],
    /// Starts of paths in which it is allowed all the same.
    except: &'static [&'static str],
    because: &'static str,
}

const SRC: &[&str] = &["src/"];

const BANNED: &[Ban] = &[
    ban("print!", SRC, &[], "panics when stdout is gone; write to a handle"),
    ban("println!", SRC, &[], "panics when stdout is gone; write to a handle"),
    ban("eprint!", SRC, &[], "panics when stderr is gone; write to a handle or log"),
    ban("eprintln!", SRC, &[], "panics when stderr is gone; write to a handle or log"),
    ban("dbg!", SRC, &[], "panics when stderr is gone"),
    ban("todo!", SRC, &[], "write it, or leave its name out"),
    ban("unimplemented!", SRC, &[], "write it, or leave its name out"),
    ban("std::thread", &["src/shell/"], &[], "the daemon has one thread"),
    ban("thread::spawn", &["src/"], &["src/ctl/"], "the program has one thread"),
    ban("sleep(", SRC, &[], "wait for the event, with a deadline"),
    ban("nanosleep(", SRC, &[], "wait for the event, with a deadline"),
    ban("nix::", SRC, &["src/sys/"], "system calls are made in src/sys"),
    ban("rustix::", SRC, &["src/sys/"], "system calls are made in src/sys"),
    ban("signal_hook::", SRC, &["src/sys/"], "system calls are made in src/sys"),
    ban("libc::", SRC, &["src/sys/spawn.rs"], "use rustix, and where it refuses, nix"),
    ban("toml::", SRC, &["src/config/"], "src/config is the only home of TOML"),
    ban("serde::", SRC, &["src/config/", "src/wire/"], "values are parsed at the border"),
    ban("Serialize", SRC, &["src/config/", "src/wire/"], "values are written at the border"),
    ban("Deserialize", SRC, &["src/config/", "src/wire/"], "values are parsed at the border"),
    ban("serde_json::", SRC, &["src/wire/"], "src/wire is the only home of JSON"),
    ban("httparse::", SRC, &["src/wire/"], "src/wire is the only home of HTTP"),
    ban("simple_logger::", SRC, &["src/main.rs", "src/ctl/"], "it aborts when stderr breaks"),
    ban("clap::", SRC, &["src/main.rs", "src/ctl/"], "arguments are the client's business"),
];

const fn ban(
    word: &'static str,
    within: &'static [&'static str],
    except: &'static [&'static str],
    because: &'static str,
) -> Ban {
    Ban { word, within, except, because }
}

/// Words that code may not have.
pub fn banned(tree: &Tree, report: &mut Report) {
    for ban in BANNED {
        let is_in = |file: &File, starts: &[&str]| starts.iter().any(|s| file.path.starts_with(s));
        let files = tree.files.iter().filter(|file| file.is_rust());
        for file in files.filter(|file| is_in(file, ban.within) && !is_in(file, ban.except)) {
            for (index, line) in file.lines.iter().enumerate() {
                if has_word(&line.code, ban.word) {
                    let word = ban.word.trim_end_matches([':', '(']);
                    report.say(&file.path, index, format!("`{word}` here: {}", ban.because));
                }
            }
        }
    }
}

/// What is not finished is not committed.
pub fn unfinished(tree: &Tree, report: &mut Report) {
    for file in tree.files.iter().filter(|file| !file.is_tidy_itself()) {
        for (index, line) in file.text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX"] {
                if has_word(line, word) {
                    report.say(&file.path, index, format!("{word}: do it, or open an issue"));
                }
            }
        }
    }
}

/// Names of what the units run. The program supervises anything, so it knows none of them.
const NAMES: &[&str] = &["flannel", "etcd", "dockerd", "kubelet", "docker0"];

/// Where a name may stand all the same: start of path, name, and why.
const ARGUED: &[(&str, &str, &str)] = &[
    ("src/helper/mod.rs", "etcd", "it names the helpers"),
    ("src/helper/etcd.rs", "etcd", "a prepare step of its own that speaks this protocol"),
    ("src/wire/mod.rs", "etcd", "it names the module of these documents"),
    ("src/wire/etcd.rs", "etcd", "the documents of that protocol"),
    ("src/helper/owner.rs", "dockerd", "no bridge is deleted under its engine, whose name it is"),
    ("src/setup/doctor/read/process.rs", "dockerd", "a second engine is told, whose name it is"),
    ("src/helper/owner.rs", "docker0", "the bridge of an engine that was told none"),
];

/// The program is general: nothing outside `units` knows what flannel is.
pub fn general(tree: &Tree, report: &mut Report) {
    for file in tree.sources() {
        for (index, line) in file.lines.iter().enumerate().filter(|(_, line)| !line.is_test) {
            let lower = line.text.to_lowercase();
            for name in NAMES.iter().filter(|name| lower.contains(*name)) {
                let is_argued = ARGUED
                    .iter()
                    .any(|(path, word, _)| file.path.starts_with(path) && word == name);
                if !is_argued {
                    let sentence = format!("knows the name {name}; that belongs into units/");
                    report.say(&file.path, index, sentence);
                }
            }
        }
    }
}

/// Nothing depends on where it was written.
pub fn machine_path(tree: &Tree, report: &mut Report) {
    for file in tree.files.iter().filter(|file| !file.is_tidy_itself()) {
        for (index, line) in file.text.lines().enumerate() {
            for path in ["/work/", "/root/", "/tmp/wt/"] {
                if starts_a_path(line, path) {
                    report.say(&file.path, index, format!("{path} is a path of one machine"));
                }
            }
        }
    }
}

/// Whether `path` stands there as the beginning of an absolute path.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|l| l.is_alphanumeric() || "_-.})/*~".contains(l))
    })
}

/// Which registry a package comes from is for the machine to say.
pub fn registry_host(tree: &Tree, report: &mut Report) {
    let hosts = [
        "proxy.golang.org",
        "sum.golang.org",
        "index.crates.io",
        "static.crates.io",
        "pypi.org",
        "deb.debian.org",
        "registry.npmjs.org",
        "GOPROXY=",
        "GOSUMDB=",
        "GONOSUMDB=",
        "GONOSUMCHECK=",
        "GOINSECURE=",
        "replace-with",
        "--index-url",
        "[source.",
        "sources.list",
    ];
    for file in tree.files.iter().filter(|file| !file.is_tidy_itself()) {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(host) = hosts.iter().find(|host| line.contains(*host)) {
                let sentence = format!("{host}: leave the choice of a registry to the machine");
                report.say(&file.path, index, sentence);
            }
        }
    }
}
