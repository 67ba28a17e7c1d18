//! The client as its user has it: what it writes, where, and with which exit code.
//!
//! The golden texts are in `tests/cli`; `BLESS=1` writes what is found.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "cli/answer.rs"]
mod answer;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/common.rs"]
mod common;
#[path = "cli/double.rs"]
mod double;
#[path = "cli/job.rs"]
mod job;
#[path = "cli/query.rs"]
mod query;
#[path = "cli/usage.rs"]
mod usage;
