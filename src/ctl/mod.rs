//! The client: asks the supervisor over its socket and shows the answer.
//!
//! It makes no system call beyond reading and writing, and never ends the process: what it needs
//! of the terminal it is given, and how it ended it gives back ([`Failure`]).

pub mod args;
pub mod check;
mod client;
mod job;
mod query;
pub mod show;

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::wire::ctl::{ErrorDoc, SOCKET_NAME, code};
use args::{Ctl, CtlCommand};
use client::{Connection, Patience};
use show::Look;

/// Why a command is not done.
#[derive(Debug)]
pub enum Failure {
    /// The operation failed.
    Failed(String),
    /// The command line, or the request made of it, makes no sense.
    Usage(String),
    /// The unit that was asked for is down or failed; all has been shown.
    NotRunning,
    /// There is no unit of that name.
    NoSuchUnit(String),
    /// There is no supervisor, or no permission to talk to it.
    NoSupervisor(String),
    /// The time that was given is over.
    TimedOut(String),
    /// ^C ended the waiting.
    Interrupted(String),
    /// Standard output does not take what is written.
    Output(io::Error),
}

impl Failure {
    /// The failure that a reply with this code and message means; `None` is none.
    fn of(code: u8, message: &str) -> Option<Self> {
        let message = message.to_owned();
        match code {
            code::DONE => None,
            code::USAGE => Some(Self::Usage(message)),
            code::NOT_RUNNING => Some(Self::NotRunning),
            code::NO_SUCH_UNIT => Some(Self::NoSuchUnit(message)),
            code::NO_SUPERVISOR => Some(Self::NoSupervisor(message)),
            code::TIMED_OUT => Some(Self::TimedOut(message)),
            _ => Some(Self::Failed(message)),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ErrorDoc> for Failure {
    fn from(ErrorDoc { code, message }: ErrorDoc) -> Self {
        Self::of(code, &message).unwrap_or(Self::Failed(message))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message)
            | Self::Usage(message)
            | Self::NoSuchUnit(message)
            | Self::NoSupervisor(message)
            | Self::TimedOut(message)
            | Self::Interrupted(message) => {
                let lines: Vec<String> = message.lines().map(show::clean).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::NotRunning => f.write_str("the unit is not running"),
            Self::Output(error) => write!(f, "writing to standard output: {error}"),
        }
    }
}

/// Where the client writes, and how it may look there.
pub struct Screen<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// How it may look.
    pub look: Look,
    /// Gives the stream that gets a byte at ^C; called only by what waits.
    pub interrupts: fn() -> io::Result<UnixStream>,
}

/// Runs `pisup ctl ...` against the supervisor whose run directory is `run`.
pub fn run(run: &Path, ctl: &Ctl, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let request = ctl.command.request();
    let patience = match ctl.timeout {
        Some(timeout) => Patience::Given(timeout),
        None if job::is_waiting(&request) => Patience::Endless,
        None => Patience::Usual,
    };
    let mut connection = Connection::open(&run.join(SOCKET_NAME), patience)?;
    match &ctl.command {
        _ if job::is_job(&request) => job::run(&mut connection, &request, ctl.is_json, screen),
        CtlCommand::Status { unit: Some(unit) } if !ctl.is_json => {
            query::unit(&mut connection, unit, screen)
        }
        _ => query::run(&mut connection, &request, ctl.is_json, screen),
    }
}
