//! Style as law: what a reviewer would otherwise have to say twice.
//!
//! Every rule reads the tree as text and answers `file:line: sentence`. A rule that cannot fire is
//! no rule, so each of them is shown to fire on a bad sample (`tidy/samples.rs`).

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/repository.rs"]
mod repository;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use source::{Report, Tree};

/// One rule of the house.
struct Rule {
    name: &'static str,
    check: fn(&Tree, &mut Report),
}

const RULES: &[Rule] = &[
    rule("imports", code::imports),
    rule("file-length", code::file_length),
    rule("function-length", code::function_length),
    rule("line-length", code::line_length),
    rule("module-doc", code::module_doc),
    rule("orphan-module", code::orphan_module),
    rule("one-unsafe-block", code::one_unsafe_block),
    rule("banned", words::banned),
    rule("unfinished", words::unfinished),
    rule("general", words::general),
    rule("machine-path", words::machine_path),
    rule("registry-host", words::registry_host),
    rule("changelog", repository::changelog),
    rule("architecture", repository::architecture),
    rule("package-count", repository::package_count),
    rule("package-source", repository::package_source),
    rule("top-level", repository::top_level),
    rule("unit-comment", repository::unit_comment),
];

const fn rule(name: &'static str, check: fn(&Tree, &mut Report)) -> Rule {
    Rule { name, check }
}

#[test]
fn the_tree_is_tidy() -> Result<(), String> {
    let tree = Tree::of_checkout()?;
    let mut report = Report::default();
    for rule in RULES {
        (rule.check)(&tree, &mut report);
    }
    let lines = report.lines();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    Ok(())
}

#[test]
fn every_rule_fires_on_its_bad_samples() {
    for rule in RULES {
        let own = samples::BAD.iter().filter(|bad| bad.rule == rule.name);
        let mut count = 0;
        for bad in own {
            let mut report = Report::default();
            (rule.check)(&Tree::of_texts(bad.files), &mut report);
            let lines = report.lines();
            let (path, _) = bad.files.first().copied().unwrap_or_default();
            assert!(
                lines.iter().any(|line| line.starts_with(&format!("{path}:"))),
                "{}: no word on {path} in {lines:?}:\n{:?}",
                rule.name,
                bad.files
            );
            count += 1;
        }
        assert!(count > 0, "{}: has no bad sample", rule.name);
    }
    for bad in samples::BAD {
        let is_known = RULES.iter().any(|rule| rule.name == bad.rule);
        assert!(is_known, "{}: a sample of no rule", bad.rule);
    }
}

#[test]
fn no_rule_fires_on_the_good_sample() {
    let tree = Tree::of_texts(samples::GOOD);
    for rule in RULES {
        let mut report = Report::default();
        (rule.check)(&tree, &mut report);
        let lines = report.lines();
        assert!(lines.is_empty(), "{}: {lines:?}", rule.name);
    }
}
