//! What the supervisor answers: plain documents, easy to fill, with the fields of `--json`.
//!
//! Fields may be added, never renamed or dropped. A reader ignores those that it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::{self, cause};

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Reply {
    /// The state of units.
    Status(StatusDoc),
    /// What a job is going to do.
    Plan(PlanDoc),
    /// A unit of the job has changed.
    Progress(Progress),
    /// A line of output.
    Log(LogDoc),
    /// A change of state.
    Event(EventDoc),
    /// A chain of reasons.
    Why(WhyDoc),
    /// What a unit is started with.
    Env(EnvDoc),
    /// The end of an answer: the job or the question has ended.
    Done(Done),
    /// The end of an answer: nothing was done.
    Error(ErrorDoc),
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

impl Reply {
    /// The reply as a line, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = to_json(self);
        line.push('\n');
        line
    }

    /// Reads one line, without its newline; the error is a sentence.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| error.to_string())
    }
}

/// A document as `--json` prints it: one line, without its newline.
#[must_use]
pub fn to_json<T: Serialize>(document: &T) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDoc {
    /// [`crate::wire::ctl::VERSION`].
    pub version: u32,
    /// The supervisor itself.
    pub supervisor: SupervisorDoc,
    /// All units, or the one that was asked for; sorted by name.
    pub units: Vec<UnitDoc>,
}

/// The supervisor, in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorDoc {
    /// Its process.
    pub pid: u32,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// Milliseconds since it was started.
    pub uptime_ms: u64,
    /// Its configuration directory.
    pub config: String,
    /// The version of the program.
    #[serde(default)]
    pub release: String,
    /// Whether everything is being shut down.
    #[serde(default)]
    pub is_stopping: bool,
    /// What is wrong with the node as a whole, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A unit, in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitDoc {
    /// Its name.
    pub name: String,
    /// `service` or `oneshot`.
    pub kind: String,
    /// One of the nine words of [`machine::State`].
    pub state: String,
    /// Whether those who require it may run; true for a oneshot that is done.
    pub ready: bool,
    /// The process that the supervisor started.
    pub pid: Option<u32>,
    /// The service itself: of a container its own first process, else what MAINPID said.
    pub main_pid: Option<u32>,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// Starts of its process since the supervisor knows it.
    pub starts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Whether these are so many that it is called degraded.
    pub degraded: bool,
    /// What it waits for, a sentence.
    pub waiting_for: Option<String>,
    /// Why it is in this state, a sentence.
    pub cause: String,
    /// Milliseconds to the next try.
    pub retry_in_ms: Option<u64>,
    /// How its last process ended; also while it runs again.
    pub exit: Option<ExitDoc>,
    /// Its values for others.
    pub exports: BTreeMap<String, String>,
    /// Memory of its cgroup.
    pub memory_bytes: Option<u64>,
    /// Lines of output that were lost.
    pub log_dropped: u64,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// What the service said of itself (`STATUS=`).
    #[serde(default)]
    pub status_text: Option<String>,
    /// Keys under `[ready]` that do not hold yet, while starting.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What to know about it that is no state: a warning, what a prepare step did, a reload that
    /// is still to be made; a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitDoc {
    /// By itself, with this code.
    Code(u8),
    /// By this signal: `KILL`, or its number if it has no name.
    Signal(String),
}

impl ExitDoc {
    /// The document of an exit; `None` when nobody knows it.
    #[must_use]
    pub fn of(exit: machine::Exit) -> Option<Self> {
        match exit {
            machine::Exit::Code(code) => Some(Self::Code(code)),
            machine::Exit::Signal(number) => {
                let name = cause::signal(number);
                let short = name.strip_prefix("SIG").or_else(|| name.strip_prefix("signal "));
                Some(Self::Signal(short.unwrap_or(&name).to_owned()))
            }
            machine::Exit::Unknown => None,
        }
    }
}

/// A change of state, or, where `from` and `to` are the same, something else worth telling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDoc {
    /// When, milliseconds of CLOCK_BOOTTIME.
    pub at_ms: u64,
    /// When, for people.
    pub wall: String,
    /// The unit.
    pub unit: String,
    /// Its state before.
    pub from: String,
    /// Its state after.
    pub to: String,
    /// Why, a sentence.
    pub cause: String,
}

/// A line of output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDoc {
    /// When, milliseconds of CLOCK_BOOTTIME.
    pub at_ms: u64,
    /// When, for people.
    pub wall: String,
    /// The unit.
    pub unit: String,
    /// The line without its newline; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// What a job is going to do, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDoc {
    /// The steps; none is nothing to do.
    pub plan: Vec<PlanStep>,
    /// What of the configuration has changed; only `reload-config` has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeDoc>,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// What is done.
    #[serde(rename = "do")]
    pub kind: StepKind,
    /// To which unit.
    pub unit: String,
    /// Why, a sentence.
    pub because: String,
    /// Only if this turns out to be so: `FLANNEL_SUBNET changes`.
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// What a step of a plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Ends its process.
    Stop,
    /// Runs its prepare steps.
    Prepare,
    /// Starts its process.
    Start,
}

impl StepKind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Prepare => "prepare",
            Self::Start => "start",
        }
    }
}

/// A difference between the configuration in force and the one on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeDoc {
    /// The unit; empty for the node as a whole.
    pub unit: String,
    /// What is different, a sentence: `added`, `removed`, `command.exec changed`.
    pub what: String,
}

/// News of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The unit.
    pub unit: String,
    /// Its state now.
    pub state: String,
    /// Why it is so, or what it waits for.
    pub sentence: String,
}

/// The chain of reasons for a unit's state: each step is the reason for the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyDoc {
    /// The unit that was asked for.
    pub unit: String,
    /// From that unit to the root cause; never empty.
    pub chain: Vec<WhyStep>,
}

/// A step of a chain of reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyStep {
    /// The unit.
    pub unit: String,
    /// Its state.
    pub state: String,
    /// Milliseconds in that state.
    pub since_ms: u64,
    /// Why it is so.
    pub sentence: String,
}

/// What a unit is started with, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvDoc {
    /// The unit.
    pub unit: String,
    /// Program and arguments; empty while a value is missing.
    pub exec: Vec<String>,
    /// The whole environment of its process.
    pub env: BTreeMap<String, String>,
    /// The values of other units that it uses, `flannel.FLANNEL_SUBNET`; null while missing.
    pub values: BTreeMap<String, Option<String>>,
    /// What could not be told and why (an environment file that cannot be read), a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The end of an answer: the job or the question has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// One of [`crate::wire::ctl::code`].
    pub code: u8,
    /// How it ended, a sentence; may be empty.
    pub message: String,
}

/// The end of an answer: nothing was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDoc {
    /// One of [`crate::wire::ctl::code`], never 0.
    pub code: u8,
    /// What is wrong and what to do about it, a sentence.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_status_document_has_the_fields_of_the_contract_in_their_order() {
        let unit = UnitDoc {
            name: "flannel".to_owned(),
            exit: Some(ExitDoc::Signal("KILL".to_owned())),
            exports: BTreeMap::from([("K".to_owned(), "V".to_owned())]),
            ..UnitDoc::default()
        };
        let status = StatusDoc { version: 1, units: vec![unit], ..StatusDoc::default() };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"version":1,"supervisor":{"pid":0,"boot_id":"","uptime_ms":0,"config":"","#,
                r#""release":"","is_stopping":false,"warnings":[]},"#,
                r#""units":[{"name":"flannel","kind":"","state":"","ready":false,"pid":null,"#,
                r#""main_pid":null,"since_ms":0,"starts":0,"failures":0,"degraded":false,"#,
                r#""waiting_for":null,"cause":"","retry_in_ms":null,"exit":{"signal":"KILL"},"#,
                r#""exports":{"K":"V"},"memory_bytes":null,"log_dropped":0,"description":"","#,
                r#""status_text":null,"missing":[],"notes":[]}]}"#
            )
        );
    }

    #[test]
    fn lines_are_those_of_the_reference() {
        let step = PlanStep {
            kind: StepKind::Stop,
            unit: "docker".to_owned(),
            because: "FLANNEL_SUBNET of flannel changed".to_owned(),
            condition: Some("FLANNEL_SUBNET changes".to_owned()),
        };
        for (reply, line) in [
            (
                Reply::Plan(PlanDoc { plan: vec![step], changes: vec![] }),
                concat!(
                    r#"{"is":"plan","plan":[{"do":"stop","unit":"docker","#,
                    r#""because":"FLANNEL_SUBNET of flannel changed","#,
                    r#""if":"FLANNEL_SUBNET changes"}]}"#
                ),
            ),
            (
                Reply::Done(Done { code: 0, message: "docker is ready".to_owned() }),
                r#"{"is":"done","code":0,"message":"docker is ready"}"#,
            ),
            (
                Reply::Event(EventDoc { at_ms: 7, to: "down".to_owned(), ..EventDoc::default() }),
                r#"{"is":"event","at_ms":7,"wall":"","unit":"","from":"","to":"down","cause":""}"#,
            ),
        ] {
            assert_eq!(reply.to_line(), format!("{line}\n"));
            assert_eq!(Reply::parse(line.as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn a_reader_ignores_what_a_later_version_adds() {
        assert_eq!(Reply::parse(br#"{"is":"song","text":"la"}"#), Ok(Reply::Unknown));
        assert_eq!(
            Reply::parse(br#"{"is":"done","code":0,"message":"","song":"la"}"#),
            Ok(Reply::Done(Done::default()))
        );
        assert!(Reply::parse(br#"{"is":"done"}"#).is_err());
        assert!(Reply::parse(b"HTTP/1.1 400 Bad Request").is_err());
    }

    #[test]
    fn exits_are_told_by_code_or_by_name() {
        assert_eq!(ExitDoc::of(machine::Exit::Code(3)), Some(ExitDoc::Code(3)));
        let signal = |number| ExitDoc::of(machine::Exit::Signal(number));
        assert_eq!(signal(9), Some(ExitDoc::Signal("KILL".to_owned())));
        assert_eq!(signal(40), Some(ExitDoc::Signal("40".to_owned())));
        assert_eq!(ExitDoc::of(machine::Exit::Unknown), None);
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_parsed(
            at_ms in any::<u64>(), unit in any::<String>(), line in any::<String>(),
            values in prop::collection::btree_map(
                any::<String>(), any::<Option<String>>(), 0..3),
        ) {
            let log = LogDoc { at_ms, unit: unit.clone(), line, ..LogDoc::default() };
            let env = EnvDoc { unit, values, ..EnvDoc::default() };
            for reply in [Reply::Log(log), Reply::Env(env)] {
                let line = reply.to_line();
                prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
                prop_assert_eq!(Reply::parse(line.trim_end().as_bytes()), Ok(reply));
            }
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Reply::parse(&bytes).is_err());
        }
    }
}
