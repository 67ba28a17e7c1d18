//! Small processes of their own, which may block: steps that prepare a start, and the owner of a
//! container.
//!
//! The supervisor starts them as it starts anything else, so that its loop waits for nobody. Each
//! says in one sentence what it did, on stdout, or why not, on stderr, and exits 0, 1 (refused or
//! failed) or 2 (it was not told rightly); `container-run` has codes of its own.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::Write;

pub mod bridge;
pub mod container;
pub mod engine;
pub mod etcd;
pub mod exchange;
pub mod files;
pub mod guard;
pub mod log_writer;
pub mod outage;
pub mod owner;

/// Runs the helper of that name; `None` when there is none.
#[must_use]
pub fn main(name: &OsStr, args: Vec<OsString>) -> Option<u8> {
    Some(match name.to_str()? {
        "bridge-reset" => bridge::main(args),
        "container-run" => container::main(args),
        "etcd-put" => etcd::main(args),
        "remove-files" => files::remove(&args),
        "make-directory" => files::make(&args),
        "log-writer" => log_writer::main(args),
        "keep-file" => files::keep(&args),
        "upgrade-guard" => guard::main(args),
        _ => return None,
    })
}

/// Why a helper did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// It was refused or did not succeed.
    Failed(String),
}

impl Failure {
    fn failed(sentence: impl Display) -> Self {
        Self::Failed(sentence.to_string())
    }
}

/// Says how it went; the exit code. Nobody may be listening, which changes nothing.
fn end(outcome: Result<String, Failure>) -> u8 {
    match outcome {
        Ok(sentence) => {
            let _ = writeln!(std::io::stdout(), "{sentence}");
            0
        }
        Err(Failure::Failed(sentence)) => {
            let _ = writeln!(std::io::stderr(), "{sentence}");
            1
        }
        Err(Failure::Usage(sentence)) => {
            let _ = writeln!(std::io::stderr(), "{sentence}");
            2
        }
    }
}

/// Arguments as text.
fn texts(args: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let text = |arg: OsString| {
        arg.into_string().map_err(|arg| Failure::Usage(format!("{arg:?} is not UTF-8")))
    };
    args.into_iter().map(text).collect()
}
