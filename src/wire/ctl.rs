//! The control protocol, version 1: what is said over `RUN/ctl.sock`. This text is the reference.
//!
//! A unix stream socket; one JSON object a line, `\n` at its end, UTF-8. The client asks, the
//! supervisor answers; requests of one connection are answered one after the other, so two of
//! them in one packet are two requests. This module turns bytes into values and back; it knows no
//! socket, no unit and no clock.
//!
//! # Requests
//!
//! Every request has `"v":1` and `"do"`; other keys are listed here, those with `?` may be absent.
//!
//! | do | keys | answered with |
//! |---|---|---|
//! | `status` | `unit?` | `status` |
//! | `start` | `units`, `no_wait?` | `progress`... |
//! | `stop`, `restart` | `units`, `no_wait?`, `dry_run?` | `plan`, `progress`... |
//! | `reload` | `units`, `no_wait?` | `progress`... |
//! | `logs` | `units?` (none: all), `n?`, `follow?` | `log`... in order of time |
//! | `events` | `units?` (none: all), `n?`, `follow?` | `event`... in order of time |
//! | `why` | `unit` | `why` |
//! | `env` | `unit` | `env` |
//! | `kill` | `unit`, `signal` (`HUP`, `SIGHUP` or `1`) | |
//! | `reload-config` | `no_wait?`, `dry_run?` | `plan`, `progress`... |
//! | `upgrade` | `program?` (none: the file it was started from) | |
//! | `shutdown`, `poweroff`, `reboot` | `no_wait?` | `progress`... |
//!
//! An unknown command, an unknown key or a wrong type is an error, never ignored: a client that
//! meant something by it must hear that nothing came of it. Names to be given to commands that do
//! not exist yet: `pi`, `metrics`, `blame`, `graph`.
//!
//! # Replies
//!
//! Every reply line has `"is"`, one of the words above, and the fields of the document of that
//! name ([`Reply`]). Each answer ends with exactly one `done` or `error`:
//!
//! * `{"is":"done","code":0,"message":"docker is ready"}`: the job or the question has ended.
//! * `{"is":"error","code":4,"message":"no unit \"x\"; did you mean \"y\"?"}`: nothing was done.
//!
//! `code` is the exit code for a client's process, one of [`code`]. With `no_wait` the job's `done`
//! comes as soon as the job was taken on, with `dry_run` as soon as the plan was told. A client
//! ignores fields and `is` words that it does not know. Times: `at_ms` is CLOCK_BOOTTIME, `wall`
//! is RFC 3339 in UTC and for display only.
//!
//! # Limits and manners
//!
//! * A request is at most [`REQUEST_BYTES_MAX`] long, with its newline. A longer one is answered
//!   with an `error`, and the connection is closed, since where the next one begins is unknown.
//!   Garbage within a line is answered with an `error`, and the connection stays. Replies may be
//!   longer.
//! * With `follow` the answer ends when the client closes the connection.
//! * The end of an `upgrade` is told by whoever supervises then, over the same connection.
//! * A client that closes the connection ends the waiting, never the job.
//!
//! ```text
//! > {"v":1,"do":"restart","units":["docker"]}
//! < {"is":"plan","plan":[{"do":"stop","unit":"docker","because":"restarted by name"},...]}
//! < {"is":"progress","unit":"docker","state":"stopping","sentence":"restarted by name"}
//! < {"is":"progress","unit":"docker","state":"ready","sentence":"ready"}
//! < {"is":"done","code":0,"message":"docker is ready"}
//! ```

pub mod frame;
pub mod reply;
pub mod request;

pub use frame::{FrameBuffer, TooLong};
pub use reply::{
    ChangeDoc, Done, EnvDoc, ErrorDoc, EventDoc, ExitDoc, LogDoc, PlanDoc, PlanStep, Progress,
    Reply, StatusDoc, StepKind, SupervisorDoc, UnitDoc, WhyDoc, WhyStep, to_json,
};
pub use request::{Request, signal_number};

/// The version of the protocol that this program speaks.
pub const VERSION: u32 = 1;

/// Longest request in bytes, with its newline: room for a name of 63 bytes for each of 256 units
/// (17 KB) three times over.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The socket's name in the run directory.
pub const SOCKET_NAME: &str = "ctl.sock";

/// Beside it, where node.toml names a `read-group`: for those who may only ask
/// ([`Request::is_question`]).
pub const QUERY_SOCKET_NAME: &str = "query.sock";

/// What `code` in a `done` or an `error` means; also the exit codes of the client.
pub mod code {
    /// Done.
    pub const DONE: u8 = 0;
    /// The operation failed.
    pub const FAILED: u8 = 1;
    /// The request or the command line makes no sense.
    pub const USAGE: u8 = 2;
    /// The unit is not running; only the client says so, of `status UNIT`.
    pub const NOT_RUNNING: u8 = 3;
    /// There is no unit of that name.
    pub const NO_SUCH_UNIT: u8 = 4;
    /// No supervisor, or no permission.
    pub const NO_SUPERVISOR: u8 = 5;
    /// Timed out; only the client says so.
    pub const TIMED_OUT: u8 = 6;
}
