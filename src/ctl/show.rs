//! Documents to text: tables that fit the terminal, and words that it does not obey.
//!
//! Everything here writes to a handle and knows nothing of where it leads but its [`Look`].

mod table;
mod unit;

use std::io::{self, Write};

pub use table::{status, why_not};
pub use unit::unit;

use crate::machine::cause;
use crate::wire::ctl::{EnvDoc, EventDoc, LogDoc, PlanDoc, WhyDoc};

/// How output may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether a person looks at it.
    pub is_terminal: bool,
    /// Whether colours are welcome.
    pub has_colours: bool,
    /// Columns of the terminal; `None` is as many as it takes.
    pub columns: Option<usize>,
}

impl Look {
    /// A state in its colour; blanks after it do not matter.
    fn state(self, state: &str) -> String {
        let colour = match state.trim_end() {
            _ if !self.has_colours => None,
            "ready" | "done" => Some(32),
            "waiting" | "preparing" | "starting" | "stopping" => Some(33),
            "backoff" | "failed" => Some(31),
            _ => Some(2),
        };
        match colour {
            Some(colour) => format!("\x1b[{colour}m{state}\x1b[0m"),
            None => state.to_owned(),
        }
    }
}

/// The text without what a terminal would obey: a service's words are anybody's.
#[must_use]
pub fn clean(text: &str) -> String {
    let is_odd = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

/// The text cut to so many columns; a character is taken for one column.
#[must_use]
pub fn clip(text: &str, columns: usize) -> String {
    if text.chars().nth(columns).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// Bytes for people, three digits at most: `38M`, `1.2G`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut unit_bytes = 1_u64;
    for unit in ["B", "K", "M", "G"] {
        let next = unit_bytes.saturating_mul(1024);
        // From 999.5 on it would be written as 1000.
        if bytes < unit_bytes.saturating_mul(1000) || unit == "G" {
            let tenths = bytes.saturating_mul(10) / unit_bytes;
            return match tenths {
                0..100 if unit_bytes > 1 => format!("{}.{}{unit}", tenths / 10, tenths % 10),
                _ => format!("{}{unit}", tenths / 10),
            };
        }
        unit_bytes = next;
    }
    String::new()
}

/// What of the configuration has changed.
pub fn changes(out: &mut dyn Write, doc: &PlanDoc) -> io::Result<()> {
    for change in &doc.changes {
        let unit = if change.unit.is_empty() { "node" } else { &change.unit };
        writeln!(out, "{}", clean(&format!("{unit}: {}", change.what)))?;
    }
    Ok(())
}

/// What a job is going to do.
pub fn plan(out: &mut dyn Write, doc: &PlanDoc) -> io::Result<()> {
    changes(out, doc)?;
    if doc.plan.is_empty() {
        return writeln!(out, "nothing to do");
    }
    let width = doc.plan.iter().map(|step| step.unit.chars().count()).max().unwrap_or_default();
    for step in &doc.plan {
        let condition = match &step.condition {
            Some(condition) => format!(" (only if {condition})"),
            None => String::new(),
        };
        let (word, unit, because) = (step.kind.word(), &step.unit, &step.because);
        writeln!(out, "{}", clean(&format!("{word:<7}  {unit:<width$}  {because}{condition}")))?;
    }
    Ok(())
}

/// A change of state.
pub fn event(out: &mut dyn Write, look: Look, doc: &EventDoc) -> io::Result<()> {
    let (wall, unit, cause) = (clean(&doc.wall), clean(&doc.unit), clean(&doc.cause));
    let to = look.state(&clean(&doc.to));
    match doc.from == doc.to {
        true => writeln!(out, "{wall}  {unit}: {to}: {cause}"),
        false => writeln!(out, "{wall}  {unit}: {} -> {to}: {cause}", clean(&doc.from)),
    }
}

/// A line of output; `prefix` is the width of the unit's name before it, if it is wanted there.
pub fn log(out: &mut dyn Write, look: Look, prefix: Option<usize>, doc: &LogDoc) -> io::Result<()> {
    if let Some(width) = prefix {
        write!(out, "{:<width$} | ", clean(&doc.unit))?;
    }
    match look.is_terminal {
        true => writeln!(out, "{}", clean(&doc.line)),
        false => writeln!(out, "{}", doc.line),
    }
}

/// A chain of reasons, each indented below what it is the reason for.
pub fn why(out: &mut dyn Write, look: Look, doc: &WhyDoc) -> io::Result<()> {
    for (depth, step) in doc.chain.iter().enumerate() {
        let indent = "  ".repeat(depth);
        let (unit, state) = (clean(&step.unit), look.state(&clean(&step.state)));
        let since = cause::duration(step.since_ms);
        writeln!(out, "{indent}{unit} ({state}, {since}): {}", clean(&step.sentence))?;
    }
    Ok(())
}

/// What a unit is started with: the environment as lines that a shell can read back, the rest as
/// comments.
pub fn env(out: &mut dyn Write, doc: &EnvDoc) -> io::Result<()> {
    let exec: Vec<String> = doc.exec.iter().map(|word| quoted(word)).collect();
    if !exec.is_empty() {
        writeln!(out, "# {}", exec.join(" "))?;
    }
    for (name, value) in &doc.values {
        match value {
            Some(value) => writeln!(out, "# {} is {}", clean(name), clean(value))?,
            None => writeln!(out, "# {} is not known yet", clean(name))?,
        }
    }
    for note in &doc.notes {
        writeln!(out, "# {}", clean(note))?;
    }
    for (name, value) in &doc.env {
        writeln!(out, "{}={}", clean(name), quoted(value))?;
    }
    Ok(())
}

/// The word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", clean(word).replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ctl::{ChangeDoc, PlanStep, StepKind, WhyStep};

    fn text(show: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        show(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "0.9K"),
            (1024, "1.0K"),
            (10 * 1024, "10K"),
            (39 * 1024 * 1024 + 5, "39M"),
            (1_288_490_189, "1.2G"),
            (u64::MAX, "1717986918G"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_terminal_obeys_nothing() {
        assert_eq!(clean("a\x1b[2J\r\n\u{202e}b\tö"), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}b\tö");
        let doc = LogDoc { line: "\x1b[31mred".to_owned(), ..LogDoc::default() };
        let look = Look { is_terminal: true, ..Look::default() };
        assert_eq!(text(|out| log(out, look, None, &doc)), "\u{fffd}[31mred\n");
        assert_eq!(text(|out| log(out, Look::default(), None, &doc)), "\x1b[31mred\n");
    }

    #[test]
    fn clipping_counts_characters() {
        for (columns, cut) in [(0, ""), (1, "…"), (3, "äb…"), (4, "äbcd"), (9, "äbcd")] {
            assert_eq!(clip("äbcd", columns), cut);
        }
    }

    #[test]
    fn a_plan_is_a_list() {
        let step = |kind, unit: &str, condition: Option<&str>| PlanStep {
            kind,
            unit: unit.to_owned(),
            because: "restarted by name".to_owned(),
            condition: condition.map(str::to_owned),
        };
        let change = ChangeDoc { unit: "web".to_owned(), what: "command.exec changed".to_owned() };
        let doc = PlanDoc {
            plan: vec![
                step(StepKind::Stop, "db", None),
                step(StepKind::Prepare, "web-front", Some("PORT changes")),
            ],
            changes: vec![change],
        };
        assert_eq!(
            text(|out| plan(out, &doc)),
            "web: command.exec changed\n\
             stop     db         restarted by name\n\
             prepare  web-front  restarted by name (only if PORT changes)\n"
        );
        assert_eq!(text(|out| plan(out, &PlanDoc::default())), "nothing to do\n");
    }

    #[test]
    fn reasons_are_below_what_they_are_the_reason_for() {
        let step = |unit: &str, state: &str, sentence: &str| WhyStep {
            unit: unit.to_owned(),
            state: state.to_owned(),
            since_ms: 5000,
            sentence: sentence.to_owned(),
        };
        let chain = vec![
            step("web", "waiting", "waits for db to be ready"),
            step("db", "backoff", "ended with exit code 1 before it was ready"),
        ];
        let doc = WhyDoc { unit: "web".to_owned(), chain };
        assert_eq!(
            text(|out| why(out, Look::default(), &doc)),
            "web (waiting, 5s): waits for db to be ready\n  \
               db (backoff, 5s): ended with exit code 1 before it was ready\n"
        );
    }

    #[test]
    fn an_environment_can_be_read_back() {
        let doc = EnvDoc {
            exec: vec!["/bin/web".to_owned(), "--say=it's".to_owned()],
            env: [("A".to_owned(), String::new()), ("PATH".to_owned(), "/bin".to_owned())].into(),
            values: [("db.PORT".to_owned(), None)].into(),
            ..EnvDoc::default()
        };
        assert_eq!(
            text(|out| env(out, &doc)),
            "# /bin/web '--say=it'\\''s'\n# db.PORT is not known yet\nA=''\nPATH=/bin\n"
        );
    }

    #[test]
    fn an_event_that_changed_no_state_has_no_arrow() {
        let doc = EventDoc {
            wall: "2024-01-01T00:00:00Z".to_owned(),
            unit: "web".to_owned(),
            from: "ready".to_owned(),
            to: "ready".to_owned(),
            cause: "reloaded".to_owned(),
            ..EventDoc::default()
        };
        let look = Look { has_colours: true, ..Look::default() };
        assert_eq!(
            text(|out| event(out, look, &doc)),
            "2024-01-01T00:00:00Z  web: \x1b[32mready\x1b[0m: reloaded\n"
        );
        let doc = EventDoc { from: "down".to_owned(), ..doc };
        assert_eq!(
            text(|out| event(out, Look::default(), &doc)),
            "2024-01-01T00:00:00Z  web: down -> ready: reloaded\n"
        );
    }
}
