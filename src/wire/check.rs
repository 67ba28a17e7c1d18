//! `check --json`: what came of reading a configuration.

use serde::Serialize;

/// The document; either `errors` or `units` is empty.
#[derive(Debug, Serialize)]
pub struct CheckDoc<'a> {
    /// Whether there is no error.
    pub ok: bool,
    /// The units of this node, by name.
    pub units: &'a [&'a str],
    /// What is no error but good to know, a sentence each.
    pub notes: &'a [String],
    /// What is wrong, with its place and a way out; each has several lines.
    pub errors: &'a [String],
}
