//! The tree as text: which files there are, and of a Rust file what is code, what is a string,
//! what is a comment and what is a test.

use std::path::Path;
use std::process::Command;

/// What the rules have to say.
#[derive(Default)]
pub struct Report(Vec<(String, usize, String)>);

impl Report {
    /// Adds a sentence on line `index` (counted from 0) of a file.
    pub fn say(&mut self, path: &str, index: usize, sentence: impl Into<String>) {
        self.0.push((path.to_owned(), index + 1, sentence.into()));
    }

    /// `file:line: sentence`, in the order of the tree.
    pub fn lines(mut self) -> Vec<String> {
        self.0.sort();
        let show = |(path, line, text): (String, usize, String)| format!("{path}:{line}: {text}");
        self.0.into_iter().map(show).collect()
    }
}

/// All files that are, or could be, committed.
pub struct Tree {
    pub files: Vec<File>,
}

/// A text file.
pub struct File {
    pub path: String,
    pub text: String,
    /// Of a Rust file its lines, taken apart; else empty.
    pub lines: Vec<Line>,
}

/// A line of Rust.
#[derive(Default)]
pub struct Line {
    /// Without comments, and with nothing between the quotes of strings.
    pub code: String,
    /// Without comments.
    pub text: String,
    /// Stands under `#[cfg(test)]`.
    pub is_test: bool,
}

impl Tree {
    /// The checkout this test was built from: tracked files, and new ones that are not ignored.
    pub fn of_checkout() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("git")
            .args(["-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|why| format!("running git ls-files: {why}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("git ls-files: {why}"));
        }
        let list = String::from_utf8_lossy(&output.stdout);
        let mut paths: Vec<&str> = list.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut files = Vec::new();
        for path in paths {
            // A file that was just deleted, and one that is not text, is nobody's business here.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push(File::new(path, &text));
            }
        }
        Ok(Self { files })
    }

    /// A tree made of samples.
    pub fn of_texts(texts: &[(&str, &str)]) -> Self {
        Self { files: texts.iter().map(|(path, text)| File::new(path, text)).collect() }
    }

    /// The file of that path.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files of the program.
    pub fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust() && file.path.starts_with("src/"))
    }
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let mut lines = if path.ends_with(".rs") { take_apart(text) } else { Vec::new() };
        mark_tests(&mut lines, path);
        Self { path: path.to_owned(), text: text.to_owned(), lines }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// This test names what it bans.
    pub fn is_tidy_itself(&self) -> bool {
        self.path == "tests/tidy.rs" || self.path.starts_with("tests/tidy/")
    }

    /// `shell` of `src/shell/perform.rs`; nothing for the files directly in `src`.
    pub fn folder(&self) -> Option<&str> {
        let (folder, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        Some(folder)
    }
}

/// Where the words of a line begin: `needle` counts only where no longer word is meant.
pub fn word_at(line: &str, needle: &str) -> Option<usize> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let starts_open = needle.starts_with(is_part);
    let ends_open = needle.ends_with(is_part);
    line.match_indices(needle).map(|(at, _)| at).find(|&at| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let after = line.get(at + needle.len()..).and_then(|tail| tail.chars().next());
        !(starts_open && before.is_some_and(is_part) || ends_open && after.is_some_and(is_part))
    })
}

/// Whether the line has that word.
pub fn has_word(line: &str, needle: &str) -> bool {
    word_at(line, needle).is_some()
}

enum Mode {
    Code,
    LineComment,
    BlockComment(u32),
    /// The number of `#` of a raw string; `None` where backslashes escape.
    Str(Option<usize>),
}

/// Splits Rust into code, strings and comments, well enough for formatted code.
fn take_apart(source: &str) -> Vec<Line> {
    let letters: Vec<char> = source.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let mut lines = Vec::new();
    let mut line = Line::default();
    let mut mode = Mode::Code;
    let mut here = 0;
    while here < letters.len() {
        let letter = at(here);
        if letter == '\n' {
            lines.push(std::mem::take(&mut line));
            if matches!(mode, Mode::LineComment) {
                mode = Mode::Code;
            }
            here += 1;
            continue;
        }
        let (length, next) = match &mode {
            Mode::Code => in_code(&letters, here),
            Mode::LineComment => (1, None),
            Mode::BlockComment(depth) => match (letter, at(here + 1)) {
                ('*', '/') if *depth == 1 => (2, Some(Mode::Code)),
                ('*', '/') => (2, Some(Mode::BlockComment(depth - 1))),
                ('/', '*') => (2, Some(Mode::BlockComment(depth + 1))),
                _ => (1, None),
            },
            Mode::Str(None) if letter == '\\' && at(here + 1) != '\n' => (2, None),
            Mode::Str(hashes) => {
                let count = hashes.unwrap_or(0);
                let ends = letter == '"' && (1..=count).all(|more| at(here + more) == '#');
                if ends { (1 + count, Some(Mode::Code)) } else { (1, None) }
            }
        };
        let taken: String = letters.iter().skip(here).take(length).collect();
        let opens = matches!(next, Some(Mode::Str(_)));
        let closes = matches!((&mode, &next), (Mode::Str(_), Some(Mode::Code)));
        let is_comment = |mode: &Mode| matches!(mode, Mode::LineComment | Mode::BlockComment(_));
        if !is_comment(&mode) && !next.as_ref().is_some_and(is_comment) {
            line.text.push_str(&taken);
            if length > 2 && letter == '\'' {
                line.code.push_str("''");
            } else if matches!(mode, Mode::Code) || opens || closes {
                line.code.push_str(&taken);
            }
        }
        mode = next.unwrap_or(mode);
        here += length;
    }
    if !line.text.is_empty() {
        lines.push(line);
    }
    lines
}

/// What begins here, in code: how many letters to take, and what comes after them.
fn in_code(letters: &[char], here: usize) -> (usize, Option<Mode>) {
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    match (at(here), at(here + 1)) {
        ('/', '/') => (2, Some(Mode::LineComment)),
        ('/', '*') => (2, Some(Mode::BlockComment(1))),
        ('"', _) => (1, Some(Mode::Str(None))),
        ('\'', '\\') => {
            let end = (here + 3..here + 12).find(|&index| at(index) == '\'');
            (end.map_or(1, |end| end + 1 - here), None)
        }
        ('\'', _) if at(here + 2) == '\'' => (3, None),
        ('r', '"' | '#')
            if here == 0 || !is_part(at(here - 1)) || is_byte_prefix(letters, here) =>
        {
            let hashes = (here + 1..).take_while(|&index| at(index) == '#').count();
            if at(here + 1 + hashes) == '"' {
                (2 + hashes, Some(Mode::Str(Some(hashes))))
            } else {
                (1, None)
            }
        }
        _ => (1, None),
    }
}

/// The `b` or `c` of `br"..."`, standing alone.
fn is_byte_prefix(letters: &[char], here: usize) -> bool {
    let at = |back: usize| here.checked_sub(back).and_then(|index| letters.get(index)).copied();
    matches!(at(1), Some('b' | 'c')) && !at(2).is_some_and(|l| l.is_alphanumeric() || l == '_')
}

/// Marks the item after each `#[cfg(test)]`, down to its closing brace.
fn mark_tests(lines: &mut [Line], path: &str) {
    let stem = path.rsplit('/').next().unwrap_or_default();
    let is_all_test = path.starts_with("tests/")
        || stem == "tests.rs"
        || stem.ends_with("_tests.rs")
        || path.contains("/tests/");
    let mut inside = false;
    let mut depth = 0_i32;
    let mut opened = false;
    for line in lines {
        if !inside && line.code.trim_start().starts_with("#[cfg(test)]") {
            (inside, depth, opened) = (true, 0, false);
        }
        line.is_test = inside || is_all_test;
        if !inside {
            continue;
        }
        for letter in line.code.chars() {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            opened |= letter == '{';
        }
        if opened && depth <= 0 || !opened && line.code.trim_end().ends_with(';') {
            inside = false;
        }
    }
}
