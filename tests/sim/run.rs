//! The whole shell in a simulated world: one seed is one history.
//!
//! The shell's own sources are compiled here with another `sys` (`sim/sys`), in which every call
//! goes to a world in memory with a clock of its own. A history is a graph of 1 to 12 units, and
//! some hundred events: services that serve and services that do not, clients, edits of the
//! configuration, errors of the system in bursts, a supervisor that is killed at any call. Then the
//! world grows calm, and everything has to be well: `sim/world/calm.rs` says what that is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a history that cannot go on fails")]
#![allow(clippy::indexing_slicing, reason = "a history that looks beyond an end fails")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a world are small"
)]

extern crate alloc;

mod graph;
mod history;
mod rng;
#[allow(
    dead_code,
    missing_docs,
    unused_imports,
    reason = "it is the shell of the program, where all is used"
)]
#[path = "../../src/shell/mod.rs"]
mod shell;
#[allow(dead_code, reason = "it has what the real one has")]
mod sys;
mod world;

use pisup::{config, machine, wire};

fn main() -> std::process::ExitCode {
    history::main()
}
