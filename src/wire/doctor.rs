//! `doctor --json`: what was found of a machine.

use serde::Serialize;

/// The document.
#[derive(Debug, Serialize)]
pub struct DoctorDoc<'a> {
    /// Whether nothing fails.
    pub ok: bool,
    /// All findings, in the order in which a person would read them.
    pub findings: Vec<FindingDoc<'a>>,
}

/// One finding.
#[derive(Debug, Serialize)]
pub struct FindingDoc<'a> {
    /// `pass`, `warn` or `fail`.
    pub level: &'a str,
    /// What was looked at.
    pub what: &'a str,
    /// What was found, a sentence.
    pub finding: &'a str,
    /// What makes it right; absent when nothing is wrong.
    pub fix: Option<&'a str>,
}
