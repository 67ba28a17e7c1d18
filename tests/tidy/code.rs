//! Rules on the shape of Rust: who imports whom, how long things are, where `unsafe` stands.

use super::source::{File, Report, Tree, has_word};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// In a test a table of cases may be longer: it is data, and one case says no less than ten.
const TEST_FUNCTION_LINES: usize = 120;
const COLUMNS: usize = 100;
const UNSAFE_BLOCKS: usize = 1;
/// Where foreign functions are declared, each with why it is safe to call.
const DECLARATIONS: [&str; 2] = ["src/sys/clock.rs", "src/sys/foreign.rs"];

/// Which folders of `src` a folder may name besides itself. Data flows down this table: what
/// decides stands at the top and knows nobody.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("machine", &[]),
    ("config", &["machine"]),
    ("wire", &["machine"]),
    ("sys", &["machine"]),
    ("helper", &["wire", "sys"]),
    ("shell", &["machine", "config", "wire", "sys"]),
    ("setup", &["config", "wire", "sys"]),
    ("ctl", &["wire", "config", "machine"]),
    ("bin", &["sys"]),
];

/// The dependency rule.
pub fn imports(tree: &Tree, report: &mut Report) {
    for file in tree.sources() {
        if file.path == "src/main.rs" || file.path == "src/lib.rs" {
            continue;
        }
        let folder = file.folder().unwrap_or_default();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == folder) else {
            let sentence = "is in no folder of the dependency rule; add it to tests/tidy/code.rs";
            report.say(&file.path, 0, sentence);
            continue;
        };
        for (index, name) in named_modules(file) {
            // The machine is compiled alone, as a crate of its own: there `crate` is itself.
            let is_own = name == folder && folder != "machine";
            if !is_own && !allowed.contains(&name.as_str()) {
                report.say(&file.path, index, format!("{folder} may not import {name}"));
            }
        }
        for (index, line) in file.lines.iter().enumerate() {
            let depth = module_depth(&file.path) + usize::from(line.is_test);
            if has_word(&line.code, &vec!["super"; depth].join("::")) {
                report.say(&file.path, index, "climbs out of its folder; write crate::");
            }
        }
    }
}

/// How many `super` lead from a file to the root of the crate.
fn module_depth(path: &str) -> usize {
    let slashes = path.matches('/').count();
    if path.ends_with("/mod.rs") { slashes - 1 } else { slashes }
}

/// The modules that a file names after `crate::` or `pisup::`, also in braces, with their lines.
fn named_modules(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in file.lines.iter().enumerate() {
        for root in ["crate::", "pisup::"] {
            let mut rest = line.code.as_str();
            while let Some(at) = super::source::word_at(rest, root) {
                rest = rest.get(at + root.len()..).unwrap_or_default();
                let below = file.lines.iter().skip(index + 1).map(|line| line.code.as_str());
                let text: String =
                    std::iter::once(rest).chain(below.take(40)).collect::<Vec<_>>().join("\n");
                found.extend(heads(&text).into_iter().map(|name| (index, name)));
            }
        }
    }
    found
}

/// `["a", "c"]` of `{a::b, c}` and `["a"]` of `a::b`.
fn heads(text: &str) -> Vec<String> {
    let head = |item: &str| -> String {
        item.trim().chars().take_while(|&l| l.is_alphanumeric() || l == '_').collect()
    };
    let Some(list) = text.strip_prefix('{') else {
        return vec![head(text)];
    };
    let mut names = vec![String::new()];
    let mut depth = 0_i32;
    for letter in list.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if depth < 0 {
            break;
        } else if depth == 0 && letter == ',' {
            names.push(String::new());
        } else if let Some(name) = names.last_mut() {
            name.push(letter);
        }
    }
    names.iter().map(|item| head(item)).filter(|name| !name.is_empty()).collect()
}

/// A file that is longer is two files.
pub fn file_length(tree: &Tree, report: &mut Report) {
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        let count = file.text.lines().count();
        if count > FILE_LINES {
            report.say(&file.path, FILE_LINES, format!("{count} lines; {FILE_LINES} is the most"));
        }
    }
}

/// A function that is longer does two things.
pub fn function_length(tree: &Tree, report: &mut Report) {
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        for (index, line) in file.lines.iter().enumerate() {
            if !opens_function(&line.code) {
                continue;
            }
            let most = if line.is_test { TEST_FUNCTION_LINES } else { FUNCTION_LINES };
            let count = function_lines(file, index);
            if count > most {
                let sentence = format!("a function of {count} lines; {most} is the most");
                report.say(&file.path, index, sentence);
            }
        }
    }
}

fn opens_function(code: &str) -> bool {
    let mut words = code.split_whitespace();
    let is_prefix = |word: &str| {
        word.starts_with("pub")
            || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"\"")
            || word == "super)"
            || word == "crate)"
    };
    words.find(|word| !is_prefix(word)) == Some("fn")
}

/// Lines from the `fn` to the brace that closes it; 0 for one without a body.
fn function_lines(file: &File, start: usize) -> usize {
    let (mut braces, mut brackets) = (0_i32, 0_i32);
    for (index, line) in file.lines.iter().enumerate().skip(start) {
        for letter in line.code.chars() {
            match letter {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' if braces == 1 => return index + 1 - start,
                '}' => braces -= 1,
                ';' if braces == 0 && brackets == 0 => return 0,
                _ => {}
            }
        }
    }
    file.lines.len() - start
}

/// Two files side by side on a laptop.
pub fn line_length(tree: &Tree, report: &mut Report) {
    let is_ours = |path: &str| {
        [".rs", ".sh", ".toml", ".c", ".py"].iter().any(|end| path.ends_with(end))
            || path == "Makefile"
            || path == ".ci/run"
    };
    for file in tree.files.iter().filter(|file| is_ours(&file.path) && file.path != "Cargo.toml") {
        for (index, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS {
                let sentence = format!("{columns} columns; {COLUMNS} is the most");
                report.say(&file.path, index, sentence);
            }
        }
    }
}

/// A module that cannot say what it is has not been thought through.
pub fn module_doc(tree: &Tree, report: &mut Report) {
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        let first = file.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            report.say(&file.path, 0, "opens without `//!`: say what it is and what it refuses");
        }
    }
}

/// The compiler does not mind a file that no `mod` names.
pub fn orphan_module(tree: &Tree, report: &mut Report) {
    for file in tree.sources() {
        let path = file.path.strip_prefix("src/").unwrap_or_default();
        if ["lib.rs", "main.rs"].contains(&path) || path.starts_with("bin/") {
            continue;
        }
        let module =
            path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs")).unwrap_or_default();
        let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
        let parents = match folder {
            "" => vec!["src/lib.rs".to_owned()],
            _ => vec![format!("src/{folder}/mod.rs"), format!("src/{folder}.rs")],
        };
        let wanted = format!("mod {name};");
        let mut owners = parents.iter().filter_map(|parent| tree.find(parent));
        if !owners.any(|owner| owner.lines.iter().any(|line| has_word(&line.code, &wanted))) {
            report.say(&file.path, 0, format!("is compiled by nobody: no `{wanted}` above it"));
        }
    }
}

/// The kernel is asked in safe words; the exceptions are the one block between fork and exec, and
/// the declarations of foreign functions that no package wraps.
pub fn one_unsafe_block(tree: &Tree, report: &mut Report) {
    let mut blocks = 0;
    for file in tree.sources() {
        let is_allowed = file.path.starts_with("src/sys/spawn");
        for (index, line) in file.lines.iter().enumerate() {
            let is_declaration = line.code.starts_with("unsafe extern");
            let is_granted = DECLARATIONS.contains(&file.path.as_str()) && is_declaration;
            if is_granted || !has_word(&line.code, "unsafe") {
                continue;
            }
            blocks += line.code.matches("unsafe {").count();
            if !is_allowed {
                report.say(&file.path, index, "unsafe code stands in src/sys/spawn*.rs only");
            } else if blocks > UNSAFE_BLOCKS {
                report.say(&file.path, index, "a second unsafe block; the program has one");
            }
        }
    }
}
