//! What a client may ask, and the parser that survives whatever comes instead.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reply::ErrorDoc;
use super::{REQUEST_BYTES_MAX, VERSION, code};

/// A request; the module [`crate::wire::ctl`] says how each is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The state of all units, or of one.
    Status {
        /// `None` is all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// Starts units, and what they need.
    Start {
        /// Their names, at least one.
        units: Vec<String>,
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
    },
    /// Stops units, after those that need them.
    Stop {
        /// Their names, at least one.
        units: Vec<String>,
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
        /// Only the plan.
        #[serde(default, skip_serializing_if = "is_false")]
        dry_run: bool,
    },
    /// Gives units a new run, and those that use a value of them when it changed.
    Restart {
        /// Their names, at least one.
        units: Vec<String>,
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
        /// Only the plan.
        #[serde(default, skip_serializing_if = "is_false")]
        dry_run: bool,
    },
    /// Asks services to read their configuration again.
    Reload {
        /// Their names, at least one.
        units: Vec<String>,
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
    },
    /// Captured output.
    Logs {
        /// Their names; none is all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        units: Vec<String>,
        /// So many lines in total, the last ones; `None` is all that is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u32>,
        /// Goes on with new lines.
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    },
    /// Changes of state.
    Events {
        /// Their names; none is all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        units: Vec<String>,
        /// So many events in total, the last ones; `None` is all that are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u32>,
        /// Goes on with new events.
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    },
    /// The chain of reasons for a unit's state.
    Why {
        /// Its name.
        unit: String,
    },
    /// What a unit is started with.
    Env {
        /// Its name.
        unit: String,
    },
    /// Sends a signal to a unit's main process.
    Kill {
        /// Its name.
        unit: String,
        /// A word that [`signal_number`] knows; [`Request::parse`] lets no other pass.
        signal: String,
    },
    /// Reads the configuration again and restarts what has changed.
    ReloadConfig {
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
        /// Only the plan.
        #[serde(default, skip_serializing_if = "is_false")]
        dry_run: bool,
    },
    /// Puts another program in the place of the supervisor.
    Upgrade {
        /// Its path; `None` is the one that the supervisor was started from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<String>,
    },
    /// Stops everything, then the supervisor.
    Shutdown {
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
    },
    /// Stops everything, then the machine.
    Poweroff {
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
    },
    /// Stops everything, then starts the machine anew.
    Reboot {
        /// `done` comes at once.
        #[serde(default, skip_serializing_if = "is_false")]
        no_wait: bool,
    },
}

impl Request {
    /// Reads one line, without its newline; the error is the reply.
    pub fn parse(line: &[u8]) -> Result<Self, ErrorDoc> {
        let mut map: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
            wrong(&format!("not understood: {error}; a request is one JSON object a line, {HINT}"))
        })?;
        match map.remove("v") {
            Some(Value::Number(v)) if v.as_u64() == Some(u64::from(VERSION)) => {}
            Some(v) => {
                return Err(wrong(&format!(
                    "protocol version {} is not spoken here: this supervisor is pisup {} and \
                     speaks version {VERSION}; use a client of the same version",
                    clipped(&v.to_string()),
                    env!("CARGO_PKG_VERSION"),
                )));
            }
            None => {
                return Err(wrong(&format!("\"v\", the protocol version, is missing, {HINT}")));
            }
        }
        if !map.contains_key("do") {
            return Err(wrong(&format!("\"do\", the command, is missing, {HINT}")));
        }
        let request = serde_json::from_value(Value::Object(map))
            .map_err(|error| wrong(&format!("not understood: {}", clipped(&error.to_string()))))?;
        check(request)
    }

    /// Whether it moves nothing and tells no secret. An environment may hold passwords, so that
    /// `env` is not for those who may only ask.
    #[must_use]
    pub const fn is_question(&self) -> bool {
        match self {
            Self::Status { .. } | Self::Logs { .. } | Self::Events { .. } | Self::Why { .. } => {
                true
            }
            Self::Start { .. }
            | Self::Stop { .. }
            | Self::Restart { .. }
            | Self::Reload { .. }
            | Self::Env { .. }
            | Self::Kill { .. }
            | Self::ReloadConfig { .. }
            | Self::Upgrade { .. }
            | Self::Shutdown { .. }
            | Self::Poweroff { .. }
            | Self::Reboot { .. } => false,
        }
    }

    /// The request as a line, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        #[derive(Serialize)]
        struct Versioned<'a> {
            v: u32,
            #[serde(flatten)]
            request: &'a Request,
        }
        let mut line =
            serde_json::to_string(&Versioned { v: VERSION, request: self }).unwrap_or_default();
        line.push('\n');
        line
    }
}

impl ErrorDoc {
    /// The reply to a line that is too long, after which the connection has to be closed.
    #[must_use]
    pub fn too_long() -> Self {
        wrong(&format!(
            "a request is at most {REQUEST_BYTES_MAX} bytes long with its newline; \
             the connection is closed"
        ))
    }
}

/// The number of a signal by its name (`KILL`, `SIGKILL`, `kill`) or its number (`9`, 1 to 31).
#[must_use]
pub fn signal_number(word: &str) -> Option<u8> {
    if let Ok(number) = word.parse::<u8>() {
        return (1..=31).contains(&number).then_some(number);
    }
    let word = word.to_ascii_uppercase();
    let name = word.strip_prefix("SIG").unwrap_or(&word);
    let index = SIGNALS.iter().position(|known| *known == name)?;
    u8::try_from(index + 1).ok()
}

const HINT: &str = "like {\"v\":1,\"do\":\"status\"}";

/// Longest part of a client's words that an error repeats, in characters.
const ECHO_MAX: usize = 300;

/// In the order of their numbers on Arm and x86, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

fn check(request: Request) -> Result<Request, ErrorDoc> {
    match &request {
        Request::Start { units, .. }
        | Request::Stop { units, .. }
        | Request::Restart { units, .. }
        | Request::Reload { units, .. }
            if units.is_empty() =>
        {
            Err(wrong("\"units\" is empty: name at least one unit"))
        }
        Request::Kill { signal, .. } if signal_number(signal).is_none() => {
            Err(wrong(&format!("no signal \"{}\"; TERM, HUP or 15 would be one", clipped(signal))))
        }
        _ => Ok(request),
    }
}

fn wrong(message: &str) -> ErrorDoc {
    ErrorDoc { code: code::USAGE, message: message.to_owned() }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(ECHO_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Serde asks with a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(line: &str) -> String {
        let error = Request::parse(line.as_bytes()).unwrap_err();
        assert_eq!(error.code, code::USAGE);
        error.message
    }

    #[test]
    fn every_command_of_the_reference_is_understood() {
        let units = vec!["a".to_owned(), "b".to_owned()];
        let unit = "a".to_owned();
        for (line, request) in [
            (r#""do":"status""#, Request::Status { unit: None }),
            (r#""do":"status","unit":"a""#, Request::Status { unit: Some(unit.clone()) }),
            (
                r#""do":"start","units":["a","b"]"#,
                Request::Start { units: units.clone(), no_wait: false },
            ),
            (
                r#""do":"stop","units":["a","b"],"dry_run":true"#,
                Request::Stop { units: units.clone(), no_wait: false, dry_run: true },
            ),
            (
                r#""do":"restart","units":["a","b"],"no_wait":true"#,
                Request::Restart { units: units.clone(), no_wait: true, dry_run: false },
            ),
            (
                r#""do":"reload","units":["a","b"]"#,
                Request::Reload { units: units.clone(), no_wait: false },
            ),
            (r#""do":"logs""#, Request::Logs { units: vec![], n: None, follow: false }),
            (
                r#""do":"logs","units":["a","b"],"n":0,"follow":true"#,
                Request::Logs { units, n: Some(0), follow: true },
            ),
            (
                r#""do":"events","follow":true"#,
                Request::Events { units: vec![], n: None, follow: true },
            ),
            (r#""do":"why","unit":"a""#, Request::Why { unit: unit.clone() }),
            (r#""do":"env","unit":"a""#, Request::Env { unit: unit.clone() }),
            (
                r#""do":"kill","unit":"a","signal":"HUP""#,
                Request::Kill { unit, signal: "HUP".to_owned() },
            ),
            (
                r#""do":"reload-config","dry_run":true"#,
                Request::ReloadConfig { no_wait: false, dry_run: true },
            ),
            (r#""do":"upgrade""#, Request::Upgrade { program: None }),
            (
                r#""do":"upgrade","program":"/x""#,
                Request::Upgrade { program: Some("/x".to_owned()) },
            ),
            (r#""do":"shutdown""#, Request::Shutdown { no_wait: false }),
            (r#""do":"poweroff""#, Request::Poweroff { no_wait: false }),
            (r#""do":"reboot","no_wait":true"#, Request::Reboot { no_wait: true }),
        ] {
            let line = format!("{{\"v\":1,{line}}}");
            assert_eq!(Request::parse(line.as_bytes()), Ok(request.clone()), "{line}");
            assert_eq!(request.to_line(), format!("{line}\n"));
        }
    }

    #[test]
    fn a_wrong_request_gets_a_sentence_that_says_what_is_wrong() {
        for (line, part) in [
            ("", "not understood: EOF while parsing"),
            ("status", "a request is one JSON object a line, like {\"v\":1,\"do\":\"status\"}"),
            ("[1]", "expected a map"),
            ("{\"v\":1,\"do\":\"status\"", "EOF while parsing"),
            ("{\"v\":1,\"do\":\"status\"} x", "trailing characters"),
            ("{\"do\":\"status\"}", "\"v\", the protocol version, is missing"),
            ("{\"v\":2,\"do\":\"status\"}", "protocol version 2 is not spoken here"),
            ("{\"v\":\"1\",\"do\":\"status\"}", "protocol version \"1\" is not spoken here"),
            ("{\"v\":1}", "\"do\", the command, is missing"),
            ("{\"v\":1,\"do\":7}", "expected variant"),
            ("{\"v\":1,\"do\":\"fly\"}", "unknown variant `fly`, expected one of `status`"),
            ("{\"v\":1,\"do\":\"status\",\"unti\":\"a\"}", "unknown field `unti`"),
            ("{\"v\":1,\"do\":\"shutdown\",\"now\":1}", "unknown field `now`"),
            ("{\"v\":1,\"do\":\"start\"}", "missing field `units`"),
            ("{\"v\":1,\"do\":\"start\",\"units\":\"a\"}", "expected a sequence"),
            ("{\"v\":1,\"do\":\"start\",\"units\":[]}", "name at least one unit"),
            ("{\"v\":1,\"do\":\"start\",\"units\":[\"a\"],\"dry_run\":true}", "unknown field"),
            ("{\"v\":1,\"do\":\"stop\",\"units\":[\"a\"],\"no_wait\":1}", "expected a boolean"),
            ("{\"v\":1,\"do\":\"logs\",\"n\":-1}", "expected u32"),
            ("{\"v\":1,\"do\":\"kill\",\"unit\":\"a\",\"signal\":\"X\"}", "no signal \"X\""),
        ] {
            let message = refusal(line);
            assert!(message.contains(part), "{line}: {message}");
            assert!(!message.contains('\n'));
        }
        assert!(Request::parse(b"{\"v\":1,\"do\":\"\xff\"}").is_err());
        assert!(refusal(&"[".repeat(60_000)).len() < 200);
        let long = format!("{{\"v\":1,\"do\":\"{}\"}}", "x".repeat(60_000));
        assert!(refusal(&long).len() < 400);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (word, number) in [
            ("HUP", Some(1)),
            ("sigkill", Some(9)),
            ("TERM", Some(15)),
            ("SYS", Some(31)),
            ("31", Some(31)),
            ("0", None),
            ("32", None),
            ("-9", None),
            ("SIG", None),
            ("SIGSIGHUP", None),
        ] {
            assert_eq!(signal_number(word), number, "{word}");
        }
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let units = || prop::collection::vec(any::<String>(), 1..4);
        prop_oneof![
            any::<Option<String>>().prop_map(|unit| Request::Status { unit }),
            (units(), any::<bool>()).prop_map(|(units, no_wait)| Request::Start { units, no_wait }),
            (units(), any::<bool>(), any::<bool>()).prop_map(|(units, no_wait, dry_run)| {
                Request::Stop { units, no_wait, dry_run }
            }),
            (units(), any::<Option<u32>>(), any::<bool>())
                .prop_map(|(units, n, follow)| Request::Logs { units, n, follow }),
            any::<String>().prop_map(|unit| Request::Why { unit }),
            (any::<bool>(), any::<bool>())
                .prop_map(|(no_wait, dry_run)| Request::ReloadConfig { no_wait, dry_run }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_parsed(request in any_request()) {
            let line = request.to_line();
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert_eq!(Request::parse(line.trim_end().as_bytes()), Ok(request));
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Request::parse(&bytes).is_err());
        }

        #[test]
        fn a_damaged_request_never_panics(
            request in any_request(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut line = request.to_line().into_bytes();
            let at = at.index(line.len());
            line[at] = byte;
            if let Err(error) = Request::parse(&line) {
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
