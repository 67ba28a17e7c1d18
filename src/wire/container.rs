//! What `pisup container-run` is told: a container, and how to own it, as a command line.
//!
//! The supervisor writes the line and the small process reads it, so both stand here. Values are
//! rendered by now; nothing is expanded. The program's own name is not part of the line.

use std::fmt;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Image name.
    pub image: String,
    /// Container name.
    pub name: String,
    /// The unit that owns it.
    pub unit: String,
    /// The run directory of that unit's supervisor: two of them may share an engine.
    pub run: String,
    /// `host`, `none`, `container:NAME`; `None` is the engine's default.
    pub network: Option<String>,
    /// All capabilities and devices.
    pub is_privileged: bool,
    /// `host`.
    pub pid: Option<String>,
    /// Capabilities more than the engine's default.
    pub cap_add: Vec<String>,
    /// `HOST:CONTAINER[:OPTIONS]`.
    pub volumes: Vec<String>,
    /// `HOST[:CONTAINER[:PERMISSIONS]]`.
    pub devices: Vec<String>,
    /// Environment inside, in this order.
    pub env: Vec<(String, String)>,
    /// User inside.
    pub user: Option<String>,
    /// Working directory inside.
    pub workdir: Option<String>,
    /// What asks it to end; `None` is the image's own, usually TERM.
    pub stop_signal: Option<String>,
    /// Program and arguments inside; empty is the image's own.
    pub command: Vec<String>,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// When the engine has none of that name.
    #[default]
    Missing,
    /// Never: a missing image is an error.
    Never,
    /// Before every start.
    Always,
}

impl Pull {
    const ALL: [(Self, &str); 3] =
        [(Self::Missing, "missing"), (Self::Never, "never"), (Self::Always, "always")];
}

/// All that `pisup container-run` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerArgs {
    /// The engine's unix socket.
    pub engine: String,
    /// The container.
    pub spec: Spec,
    /// When the image is fetched.
    pub pull: Pull,
    /// Milliseconds that fetching may take; `None` is never too long.
    pub pull_timeout_ms: Option<u64>,
    /// Milliseconds from the stop signal to KILL. The supervisor ends this process by force after
    /// the unit's own stop timeout, and the container would outlive it: give less than that.
    /// `None` waits for ever.
    pub stop_timeout_ms: Option<u64>,
    /// Never take over a container that runs; make a new one.
    pub is_fresh: bool,
}

/// Why a command line is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadArgs {
    /// No such option.
    Unknown(String),
    /// The option needs a value.
    NoValue(String),
    /// The value is not one of this option.
    BadValue(String, String),
    /// This has to be given.
    Missing(&'static str),
}

impl fmt::Display for BadArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(option) => write!(f, "{option:?} is not an option"),
            Self::NoValue(option) => write!(f, "{option} needs a value"),
            Self::BadValue(option, value) => write!(f, "{option} does not take {value:?}"),
            Self::Missing(option) => write!(f, "{option} is missing"),
        }
    }
}

impl std::error::Error for BadArgs {}

/// Milliseconds that a container has to end, unless told otherwise.
pub const STOP_TIMEOUT_MS: u64 = 8_000;

/// What stands for a time without an end.
const NEVER: &str = "never";

impl ContainerArgs {
    /// The command line, from the subcommand on.
    #[must_use]
    pub fn to_argv(&self) -> Vec<String> {
        let spec = &self.spec;
        let mut out = vec!["container-run".to_owned()];
        let mut give = |option: &str, value: &str| out.push(format!("--{option}={value}"));
        give("engine", &self.engine);
        give("image", &spec.image);
        give("name", &spec.name);
        give("unit", &spec.unit);
        give("run", &spec.run);
        for (option, value) in [
            ("network", &spec.network),
            ("pid", &spec.pid),
            ("user", &spec.user),
            ("workdir", &spec.workdir),
            ("stop-signal", &spec.stop_signal),
        ] {
            if let Some(value) = value {
                give(option, value);
            }
        }
        for (option, values) in
            [("cap-add", &spec.cap_add), ("volume", &spec.volumes), ("device", &spec.devices)]
        {
            for value in values {
                give(option, value);
            }
        }
        for (key, value) in &spec.env {
            give("env", &format!("{key}={value}"));
        }
        if let Some((_, word)) = Pull::ALL.iter().find(|(pull, _)| *pull == self.pull) {
            give("pull", word);
        }
        if let Some(ms) = self.pull_timeout_ms {
            give("pull-timeout", &ms.to_string());
        }
        let patience = self.stop_timeout_ms.map(|ms| ms.to_string());
        give("stop-timeout", patience.as_deref().unwrap_or(NEVER));
        for (option, is_given) in [("--privileged", spec.is_privileged), ("--fresh", self.is_fresh)]
        {
            if is_given {
                out.push(option.to_owned());
            }
        }
        out.push("--".to_owned());
        out.extend(spec.command.iter().cloned());
        out
    }

    /// Reads a command line from behind the subcommand on; `--option=value` and `--option value`
    /// are the same.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, BadArgs> {
        let mut args = args.into_iter();
        let mut out = Self {
            engine: String::new(),
            spec: Spec::default(),
            pull: Pull::default(),
            pull_timeout_ms: None,
            stop_timeout_ms: Some(STOP_TIMEOUT_MS),
            is_fresh: false,
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--" => {
                    out.spec.command = args.by_ref().collect();
                    break;
                }
                "--privileged" => out.spec.is_privileged = true,
                "--fresh" => out.is_fresh = true,
                _ if !arg.starts_with("--") => return Err(BadArgs::Unknown(arg)),
                _ => {
                    let (option, value) = match arg.split_once('=') {
                        Some((option, value)) => (option, Some(value.to_owned())),
                        None => (arg.as_str(), args.next()),
                    };
                    out.set(option, value.ok_or_else(|| BadArgs::NoValue(option.to_owned()))?)?;
                }
            }
        }
        let needed = [
            ("--engine", &out.engine),
            ("--image", &out.spec.image),
            ("--name", &out.spec.name),
            ("--unit", &out.spec.unit),
        ];
        match needed.iter().find(|(_, value)| value.is_empty()) {
            Some((option, _)) => Err(BadArgs::Missing(option)),
            None => Ok(out),
        }
    }

    fn set(&mut self, option: &str, value: String) -> Result<(), BadArgs> {
        let bad = |value: &str| BadArgs::BadValue(option.to_owned(), value.to_owned());
        let number = |value: String| value.parse().map_err(|_| bad(&value));
        let spec = &mut self.spec;
        match option {
            "--engine" => self.engine = value,
            "--image" => spec.image = value,
            "--name" => spec.name = value,
            "--unit" => spec.unit = value,
            "--run" => spec.run = value,
            "--network" => spec.network = Some(value),
            "--pid" => spec.pid = Some(value),
            "--user" => spec.user = Some(value),
            "--workdir" => spec.workdir = Some(value),
            "--stop-signal" => spec.stop_signal = Some(value),
            "--cap-add" => spec.cap_add.push(value),
            "--volume" => spec.volumes.push(value),
            "--device" => spec.devices.push(value),
            "--env" => {
                let (key, value) = value.split_once('=').ok_or_else(|| bad(&value))?;
                spec.env.push((key.to_owned(), value.to_owned()));
            }
            "--pull" => {
                let known = Pull::ALL.into_iter().find(|(_, word)| *word == value);
                self.pull = known.ok_or_else(|| bad(&value))?.0;
            }
            "--pull-timeout" => self.pull_timeout_ms = Some(number(value)?),
            "--stop-timeout" if value == NEVER => self.stop_timeout_ms = None,
            "--stop-timeout" => self.stop_timeout_ms = Some(number(value)?),
            _ => return Err(BadArgs::Unknown(option.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<ContainerArgs, BadArgs> {
        ContainerArgs::parse(line.split_whitespace().map(ToOwned::to_owned))
    }

    const LEAST: &str = "--engine /run/e.sock --image=i --name n --unit u";

    #[test]
    fn the_least() {
        let args = parse(LEAST).unwrap();
        assert_eq!(args.engine, "/run/e.sock");
        assert_eq!((args.pull, args.stop_timeout_ms), (Pull::Missing, Some(STOP_TIMEOUT_MS)));
        assert!(args.spec.command.is_empty() && !args.is_fresh && !args.spec.is_privileged);
    }

    #[test]
    fn everything_after_the_dashes_is_the_command() {
        let args = parse(&format!("{LEAST} --env K=v=w -- /bin/x --name y --")).unwrap();
        assert_eq!(args.spec.command, ["/bin/x", "--name", "y", "--"]);
        assert_eq!(args.spec.env, [("K".into(), "v=w".into())]);
        assert_eq!(args.spec.name, "n");
    }

    #[test]
    fn bad_lines() {
        for (line, want) in [
            ("", "--engine is missing"),
            ("--engine e --image i --name n", "--unit is missing"),
            ("--engine", "--engine needs a value"),
            ("--nmae=x", "\"--nmae\" is not an option"),
            ("run --engine e", "\"run\" is not an option"),
            ("--env K", "--env does not take \"K\""),
            ("--pull often", "--pull does not take \"often\""),
            ("--stop-timeout -1", "--stop-timeout does not take \"-1\""),
            ("--pull-timeout 10s", "--pull-timeout does not take \"10s\""),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), want, "{line}");
        }
    }

    fn maybe() -> impl Strategy<Value = Option<String>> {
        prop::option::of(".{0,12}")
    }

    fn list() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(".{0,12}", 0..3)
    }

    prop_compose! {
        fn spec()(
            (image, name, unit, run) in (".{1,12}", ".{1,12}", ".{1,12}", ".{0,12}"),
            (network, pid, user, workdir, stop_signal) in
                (maybe(), maybe(), maybe(), maybe(), maybe()),
            (cap_add, volumes, devices, command) in (list(), list(), list(), list()),
            env in prop::collection::vec(("[A-Z]{1,4}", ".{0,12}"), 0..3),
            is_privileged in any::<bool>(),
        ) -> Spec {
            Spec {
                image, name, unit, run, network, is_privileged, pid, cap_add, volumes, devices, env,
                user, workdir, stop_signal, command,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            engine in ".{1,12}",
            spec in spec(),
            pull in prop::sample::select(vec![Pull::Missing, Pull::Never, Pull::Always]),
            pull_timeout_ms in any::<Option<u64>>(),
            stop_timeout_ms in any::<Option<u64>>(),
            is_fresh in any::<bool>(),
        ) {
            let args =
                ContainerArgs { engine, spec, pull, pull_timeout_ms, stop_timeout_ms, is_fresh };
            let argv = args.to_argv();
            prop_assert_eq!(&argv[0], "container-run");
            prop_assert_eq!(ContainerArgs::parse(argv.into_iter().skip(1)), Ok(args));
        }
    }
}
