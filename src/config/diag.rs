//! What is wrong with a text, where, and how to make it right.
//!
//! Nothing here knows what a unit is. The excerpt that a [`Diagnostic`] carries is bounded and has
//! no control characters: it is printed on a terminal, and the text may be anybody's.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// So many errors of one file are told; who has more knows enough.
const MAX_PER_FILE: usize = 100;

/// Letters of a sentence; the word that is wrong in it may be as long as the file.
const MAX_SENTENCE: usize = 600;

/// Columns of a line that are shown; longer ones are cut on both sides.
const MAX_COLUMNS: usize = 100;

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub path: PathBuf,
    /// Counted from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// Characters, counted from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// One sentence.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
    /// Whether only the host's interface or address is missing, which may be known a moment later.
    pub is_undetected: bool,
    excerpt: Option<Box<Excerpt>>,
    at: usize,
}

/// The line that is meant, and where the carets go, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    indent: usize,
    width: usize,
}

impl Diagnostic {
    /// An error of a file as a whole.
    #[must_use]
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            help: None,
            is_undetected: false,
            excerpt: None,
            at: 0,
        }
    }

    /// An error at a range of bytes of a text, without its sentence.
    fn of_text(path: &Path, text: &str, span: &Range<usize>) -> Self {
        let at = floor(text, span.start);
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        let head = before.rsplit('\n').next().unwrap_or_default();
        let tail = after.split('\n').next().unwrap_or_default();
        let length = floor(tail, span.end.saturating_sub(at));
        let marked = tail.get(..length).unwrap_or_default();
        let column = head.chars().count();
        Self {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            excerpt: Some(Box::new(Excerpt::cut(
                head,
                tail,
                column,
                marked.trim_end().chars().count(),
            ))),
            at,
            ..Self::of_file(path, "")
        }
    }
}

impl Excerpt {
    fn cut(head: &str, tail: &str, column: usize, width: usize) -> Self {
        let skipped = if column < MAX_COLUMNS * 3 / 4 { 0 } else { column - MAX_COLUMNS / 2 };
        let line = || head.chars().chain(tail.trim_end().chars());
        let mut text: String = line()
            .skip(skipped)
            .take(MAX_COLUMNS)
            .map(|c| if is_odd(c) { ' ' } else { c })
            .collect();
        if skipped > 0 {
            text.insert(0, '…');
        }
        if line().nth(skipped + MAX_COLUMNS).is_some() {
            text.push('…');
        }
        let indent = column - skipped + usize::from(skipped > 0);
        Self { text, indent, width: width.clamp(1, MAX_COLUMNS.saturating_sub(indent).max(1)) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: String = clean(&self.path.to_string_lossy());
        write!(f, "error: {}", clean(&self.message))?;
        let number = self.line.to_string();
        let gutter = number.len() + 1;
        match self.excerpt.as_deref() {
            None => write!(f, "\n{:gutter$}--> {path}", "")?,
            Some(Excerpt { text, indent, width }) => {
                let carets = "^".repeat(*width);
                write!(f, "\n{:gutter$}--> {path}:{number}:{}", "", self.column)?;
                write!(f, "\n{:gutter$} |\n{number:>gutter$} | {text}", "")?;
                write!(f, "\n{:gutter$} | {:indent$}{carets}", "", "")?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n{:gutter$} = help: {}", "", clean(help)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// A file that is read, and what was found wrong in it so far.
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    faults: RefCell<Vec<Diagnostic>>,
}

impl<'a> File<'a> {
    pub(super) const fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, faults: RefCell::new(Vec::new()) }
    }

    /// Notes an error at a range of bytes.
    pub(super) fn report(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.push_at(span, |fault| Diagnostic { help, message: message.into(), ..fault });
    }

    /// Notes an error of the file as a whole.
    pub(super) fn report_whole(&self, message: impl Into<String>, help: Option<String>) {
        self.push(Diagnostic { help, ..Diagnostic::of_file(self.path, message) });
    }

    /// Notes that a default of the host is missing at a range of bytes.
    pub(super) fn report_undetected(&self, span: &Range<usize>, message: String, help: String) {
        self.push_at(span, |fault| Diagnostic {
            help: Some(help),
            is_undetected: true,
            message,
            ..fault
        });
    }

    /// Looks up the place, which takes as long as the text is: not of what will not be shown.
    fn push_at(&self, span: &Range<usize>, fill: impl FnOnce(Diagnostic) -> Diagnostic) {
        if self.faults.borrow().len() <= MAX_PER_FILE {
            self.push(fill(Diagnostic::of_text(self.path, self.text, span)));
        }
    }

    fn push(&self, mut fault: Diagnostic) {
        clip(&mut fault.message);
        fault.help.iter_mut().for_each(clip);
        let mut faults = self.faults.borrow_mut();
        match faults.len() {
            MAX_PER_FILE => {
                let message = format!("more than {MAX_PER_FILE} errors; the rest is not shown");
                faults
                    .push(Diagnostic { at: usize::MAX, ..Diagnostic::of_file(self.path, message) });
            }
            0..MAX_PER_FILE if !faults.contains(&fault) => faults.push(fault),
            _ => {}
        }
    }

    /// What was found, by place.
    pub(super) fn into_faults(self) -> Vec<Diagnostic> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.at);
        faults
    }
}

/// `did you mean ...?` for the candidate nearest to a word, if one is near enough.
pub(super) fn suggest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|name| format!("did you mean `{name}`?"))
}

/// The candidate that is a typing error or two away, big letters or small.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |word: &str| -> Vec<char> {
        word.chars().take(MAX_COLUMNS).flat_map(char::to_lowercase).collect()
    };
    let word = letters(word);
    let limit = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|name| (distance(&word, &letters(name)), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut least = (get(&above, j) + usize::from(x != y))
                .min(get(&above, j + 1) + 1)
                .min(get(&row, j) + 1);
            let is_swap = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if is_swap {
                least = least.min(get(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

fn clip(sentence: &mut String) {
    if let Some((end, _)) = sentence.char_indices().nth(MAX_SENTENCE) {
        sentence.truncate(end);
        sentence.push('…');
    }
}

/// The text without what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and those that turn the direction of writing.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The greatest border of a character that is not beyond `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        let file = File::new(Path::new("units/a.toml"), text);
        file.report(&span, "wrong", Some("right".to_owned()));
        file.into_faults().remove(0).to_string()
    }

    #[test]
    fn points_at_the_word() {
        let text = "[unit]\n\nrequries = [\"etcd\"]\n";
        assert_eq!(
            shown(text, 8..16),
            [
                "error: wrong",
                "  --> units/a.toml:3:1",
                "   |",
                " 3 | requries = [\"etcd\"]",
                "   | ^^^^^^^^",
                "   = help: right",
            ]
            .join("\n")
        );
    }

    #[test]
    fn survives_any_range() {
        let text = "a\u{1f600}\x1b[31m\r\n";
        for start in 0..12 {
            for end in 0..12 {
                assert!(!shown(text, start..end).contains('\x1b'));
            }
        }
        assert!(shown("", 0..0).contains(":1:1"));
    }

    #[test]
    fn cuts_long_lines() {
        let text = format!("{}wrong{}", "a".repeat(5000), "b".repeat(5000));
        let lines: Vec<String> = shown(&text, 5000..5005).lines().map(str::to_owned).collect();
        assert!(lines[3].chars().count() < 120, "{}", lines[3]);
        let caret = lines[4].chars().position(|c| c == '^').unwrap();
        let under: String = lines[3].chars().skip(caret).take(5).collect();
        assert_eq!(under, "wrong");
    }

    #[test]
    fn nearest_is_near() {
        let names = ["requires", "binds", "wants", "env", "exec", "max-delay"];
        for (word, name) in [
            ("requries", Some("requires")),
            ("Requires", Some("requires")),
            ("bind", Some("binds")),
            ("max_delay", Some("max-delay")),
            ("exce", Some("exec")),
            ("xyz", None),
            ("", None),
            ("e", None),
        ] {
            assert_eq!(nearest(word, names), name, "{word}");
        }
    }

    #[test]
    fn many_errors_end() {
        let file = File::new(Path::new("a"), "abc");
        for at in 0..1000 {
            file.report(&(0..1), format!("{at}"), None);
        }
        let faults = file.into_faults();
        assert_eq!(faults.len(), MAX_PER_FILE + 1);
        assert!(faults[MAX_PER_FILE].message.contains("more than"));
    }
}
