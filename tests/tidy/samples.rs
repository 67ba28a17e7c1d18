//! What the rules are for: trees that break each of them, and one that breaks none.

/// A tree that breaks a rule in its first file.
pub struct Bad {
    pub rule: &'static str,
    pub files: &'static [(&'static str, &'static str)],
}

const fn bad(rule: &'static str, files: &'static [(&'static str, &'static str)]) -> Bad {
    Bad { rule, files }
}

const LONG_FUNCTION: &str = concat!(
    "//! A.\npub(super) const fn long(\n    one: [u8; 2],\n) -> u8 {\n",
    "a();\na();\na();\na();\na();\na();\na();\na();\na();\na();\n",
    "a();\na();\na();\na();\na();\na();\na();\na();\na();\na();\n",
    "a();\na();\na();\na();\na();\na();\na();\na();\na();\na();\n",
    "a();\na();\na();\na();\na();\na();\na();\na();\na();\na();\n",
    "a();\na();\na();\na();\na();\na();\na();\na();\na();\na();\n",
    "a();\na();\na();\na();\na();\na();\na();\na();\na();\na();\n",
    "a();\na();\na();\na();\na();\na();\na();\n}\n"
);

const TEN: &str = "\n\n\n\n\n\n\n\n\n\n";

macro_rules! ten_times {
    ($text:expr) => {
        concat!($text, $text, $text, $text, $text, $text, $text, $text, $text, $text)
    };
}

pub const BAD: &[Bad] = &[
    bad("imports", &[("src/machine/a.rs", "use crate::sys::Now;\n")]),
    bad("imports", &[("src/machine/a.rs", "use crate::machine::Spec;\n")]),
    bad("imports", &[("src/wire/a.rs", "//! A.\nuse crate::{\n    machine,\n    shell::x,\n};\n")]),
    bad("imports", &[("src/ctl/a/b.rs", "fn f() { crate::shell::run() }\n")]),
    bad("imports", &[("src/config/a.rs", "use super::super::sys;\n")]),
    bad("imports", &[("src/sys/mod.rs", "use super::config;\n")]),
    bad("imports", &[("src/bin/init.rs", "use pisup::config;\n")]),
    bad("imports", &[("src/new/mod.rs", "//! New.\n")]),
    bad("file-length", &[("src/a/b.rs", ten_times!(ten_times!("\n\n\n\n\n\n")))]),
    bad("function-length", &[("src/a.rs", LONG_FUNCTION)]),
    bad("line-length", &[("Makefile", ten_times!("# 45678901234"))]),
    bad("module-doc", &[("src/a.rs", "// A.\n")]),
    bad("orphan-module", &[("src/a/b.rs", "//! B.\n"), ("src/a/mod.rs", "//! A.\n// mod b;\n")]),
    bad("orphan-module", &[("src/c.rs", "//! C.\n"), ("src/lib.rs", "//! A.\npub mod cc;\n")]),
    bad("one-unsafe-block", &[("src/shell/a.rs", "fn f() { unsafe { g() } }\n")]),
    bad("one-unsafe-block", &[("src/sys/clock.rs", "fn f() { unsafe { g() } }\n")]),
    bad("one-unsafe-block", &[("src/sys/foreign.rs", "fn f() { unsafe { g() } }\n")]),
    bad("one-unsafe-block", &[("src/sys/spawn.rs", "unsafe { a() }\nunsafe { b() }\n")]),
    bad("banned", &[("src/ctl/a.rs", "fn f() { println!(\"x\") }\n")]),
    bad("banned", &[("src/ctl/a.rs", "fn f() { eprintln!(\"x\") }\n")]),
    bad("banned", &[("src/wire/a.rs", "fn f() { dbg!(x) }\n")]),
    bad("banned", &[("src/wire/a.rs", "fn f() { todo!() }\n")]),
    bad("banned", &[("src/shell/a.rs", "use std::thread;\n")]),
    bad("banned", &[("src/helper/a.rs", "use std::time;\nfn f() { thread::sleep(x) }\n")]),
    bad("banned", &[("src/shell/a.rs", "use nix::unistd;\n")]),
    bad("banned", &[("src/shell/a.rs", "use rustix::event;\n")]),
    bad("banned", &[("src/wire/a.rs", "fn f() { toml::from_str(x) }\n")]),
    bad("banned", &[("src/machine/a.rs", "#[derive(Clone, Deserialize)]\n")]),
    bad("banned", &[("src/ctl/a.rs", "fn f() { serde_json::to_string(x) }\n")]),
    bad("banned", &[("src/shell/a.rs", "fn f() { simple_logger::init() }\n")]),
    bad("unfinished", &[("Makefile", "# TODO: later\n")]),
    bad("unfinished", &[("src/a.rs", "// FIXME\n")]),
    bad("unfinished", &[("README.md", "XXX\n")]),
    bad("general", &[("src/shell/a.rs", "const NAME: &str = \"flanneld\";\n")]),
    bad("general", &[("src/helper/engine.rs", "let etcd = 1; // etcd\n")]),
    bad("general", &[("src/config/a.rs", "#[cfg(test)]\nmod t {}\nconst A: B = Docker0;\n")]),
    bad("machine-path", &[("Makefile", "run:\n\tcd /work/main\n")]),
    bad("machine-path", &[("tests/a.sh", "cat \"/root/key\"\n")]),
    bad("registry-host", &[("tests/a.sh", "GOPROXY=direct go build\n")]),
    bad("registry-host", &[("README.md", "from https://index.crates.io/\n")]),
    bad("changelog", &[("CHANGELOG.md", "# Changes\n\n## [Unreleased]\n")]),
    bad("changelog", &[("CHANGELOG.md", "# Changelog\n\n## Unreleased\n")]),
    bad("changelog", &[("CHANGELOG.md", "# Changelog\n\n## [1.0.0] - 2026-01-31\n")]),
    bad("changelog", &[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n### New\n")]),
    bad("changelog", &[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [1.0] - today\n")]),
    bad("architecture", &[("ARCHITECTURE.md", "src/\n  lib.rs  the map\n")]),
    bad("architecture", &[("ARCHITECTURE.md", "src/\n```\n"), ("src/a/b.rs", "//! B.\n")]),
    bad("package-count", &[("Cargo.lock", ten_times!(ten_times!("[[package]]\n")))]),
    bad("package-source", &[("Cargo.lock", "source = \"git+https://example.org/x#1\"\n")]),
    bad("top-level", &[("notes.txt", "a\n")]),
    bad("unit-comment", &[("units/classic/a.toml", "# what\n[unit]\n")]),
];

pub const GOOD: &[(&str, &str)] = &[
    (
        "ARCHITECTURE.md",
        "# A\n```\nsrc/\n  lib.rs  map\n  wire/\n    mod.rs  c\n    a.rs  d\n```\n",
    ),
    ("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n### Added\n\n## [0.1.0] - 2026-01-31\n"),
    ("Cargo.lock", "[[package]]\nname = \"pisup\"\n"),
    ("LICENSE-MIT", TEN),
    (".ci/run", "overlay=$dir/work/x\n"),
    ("src/lib.rs", "//! Map.\npub mod wire;\n"),
    ("src/wire/mod.rs", "//! Wire: no sleep.\n\npub mod a;\n"),
    (
        "src/wire/a.rs",
        concat!(
            "//! Speaks of flannel and of `unsafe` in comments.\n",
            "use crate::machine::{self, Spec};\nuse super::{b, c};\nuse std::os::unix::fs;\n",
            "fn f<'a>(c: &'a str) { g('{', '\"', \"// no unsafe, sleep()\", '\\''); }\n",
            "fn sleep_ms() { r#\"dbg!(\"x\")\"#; /* todo!() /* nested */ unsafe */ }\n",
            "#[cfg(test)]\nmod tests {\n    use super::super::b;\n",
            "    const A: &str = \"etcd\";\n}\n",
        ),
    ),
    ("units/classic/etcd.toml", "# what\n# why\n[unit]\n"),
];
