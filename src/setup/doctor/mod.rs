//! `pisup doctor`: is this machine fit to be a node, and if not, what makes it so.
//!
//! [`read`] looks and judges nothing, [`judge`] judges and looks at nothing. Nothing is changed,
//! loaded or started: what would help is said.

pub mod facts;
pub mod judge;
pub mod read;
pub mod wants;

use std::io::{self, Write};

use crate::wire::ctl::to_json;
use crate::wire::doctor::{DoctorDoc, FindingDoc};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Pass,
    /// A node can live with it.
    Warn,
    /// No node comes of it.
    Fail,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub finding: String,
    /// What makes it right; `None` exactly when it passes.
    pub fix: Option<String>,
}

impl Finding {
    fn pass(what: &'static str, finding: impl Into<String>) -> Self {
        Self { level: Level::Pass, what, finding: finding.into(), fix: None }
    }

    fn warn(what: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warn, what, finding: finding.into(), fix: Some(fix.into()) }
    }

    fn fail(what: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, what, finding: finding.into(), fix: Some(fix.into()) }
    }
}

/// Tells the findings; the number of those that fail.
///
/// # Errors
///
/// Standard output does not take them.
pub fn tell(findings: &[Finding], is_json: bool, out: &mut dyn Write) -> io::Result<usize> {
    let failures = findings.iter().filter(|each| each.level == Level::Fail).count();
    if is_json {
        let doc = |each| {
            let Finding { level, what, finding, fix }: &Finding = each;
            FindingDoc { level: level.word(), what, finding, fix: fix.as_deref() }
        };
        let findings = findings.iter().map(doc).collect();
        writeln!(out, "{}", to_json(&DoctorDoc { ok: failures == 0, findings }))?;
        return Ok(failures);
    }
    for Finding { level, what, finding, fix } in findings {
        writeln!(out, "{}  {}", level.word(), clean(&format!("{what}: {finding}")))?;
        if let Some(fix) = fix {
            writeln!(out, "      fix: {}", clean(fix))?;
        }
    }
    Ok(failures)
}

/// Names of processes and files are anybody's, and a terminal obeys what it is sent.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
