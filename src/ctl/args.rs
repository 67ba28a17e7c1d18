//! The command line: what can be written, and what `--help` says about it.
//!
//! It only takes the words apart. Whether there is a unit of that name is for the supervisor.

mod setup;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use setup::{Setup, SetupOptions, SetupRole};

use crate::wire::ctl::{Request, signal_number};

/// Makes a Raspberry Pi a Kubernetes node and keeps it one, without systemd.
#[derive(Debug, Parser)]
#[command(name = "pisup", version, disable_help_subcommand = true)]
pub struct Args {
    /// The directories.
    #[command(flatten)]
    pub places: Places,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The directories of one supervisor.
#[derive(Debug, clap::Args)]
pub struct Places {
    /// Where the configuration is
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/etc/pisup",
        display_order = 61
    )]
    pub config: PathBuf,
    /// Where the control socket is
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/run/pisup",
        display_order = 62
    )]
    pub run: PathBuf,
    /// Where values are kept over a power cut
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/pisup",
        display_order = 63
    )]
    pub state: PathBuf,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Command {
    /// Write a configuration for this node
    Setup(Setup),
    /// Look whether this machine is fit to be a node, and say what makes it so
    Doctor {
        /// Print JSON
        #[arg(long = "json")]
        is_json: bool,
    },
    /// Check the configuration and tell all that is wrong with it
    Check {
        /// Print JSON
        #[arg(long = "json")]
        is_json: bool,
    },
    /// Run the supervisor, in the foreground
    Supervise,
    /// Talk to the supervisor that runs
    Ctl(Ctl),
}

/// `pisup ctl ...`.
#[derive(Debug, clap::Args)]
pub struct Ctl {
    /// Print JSON
    #[arg(long = "json", global = true, display_order = 51)]
    pub is_json: bool,
    /// Wait no longer than that (300ms, 10s, 2m, 1h); the job goes on
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, display_order = 52)]
    pub timeout: Option<Duration>,
    /// What to ask.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What to ask the supervisor.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum CtlCommand {
    /// Show the state of all units, or all about one
    Status {
        /// Name of the unit
        unit: Option<String>,
    },
    /// Tell why a unit is not ready, down to the root cause
    Why {
        /// Name of the unit
        unit: String,
    },
    /// Show captured output, merged by time
    Logs {
        /// Names of the units; none is all
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Go on with new lines until ^C
        #[arg(short, long)]
        follow: bool,
        /// Only the last N lines in total
        #[arg(short, value_name = "N")]
        n: Option<u32>,
    },
    /// Show changes of state
    Events {
        /// Names of the units; none is all
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Go on with new events until ^C
        #[arg(short, long)]
        follow: bool,
        /// Only the last N events in total
        #[arg(short, value_name = "N")]
        n: Option<u32>,
    },
    /// Show the command line, environment and values of a unit
    Env {
        /// Name of the unit
        unit: String,
    },
    /// Start units, and what they need
    Start(Units),
    /// Stop units, after those that need them
    Stop(PlannedUnits),
    /// Start units anew, and those that use a value of them when it changed
    Restart(PlannedUnits),
    /// Have services read their configuration again
    Reload(Units),
    /// Send a signal to the main process of a unit
    Kill {
        /// Name or number: HUP, SIGHUP, 1
        #[arg(value_parser = signal)]
        signal: String,
        /// Name of the unit
        unit: String,
    },
    /// Read the configuration again and restart only what changed
    ReloadConfig(PlannedWait),
    /// Put another pisup in the supervisor's place; services do not notice
    Upgrade {
        /// The new program; without it the file that the supervisor was started from
        program: Option<PathBuf>,
    },
    /// Stop all units in order, then the supervisor
    Shutdown(Wait),
    /// Stop all units in order, then switch the machine off
    Poweroff(Wait),
    /// Stop all units in order, then start the machine anew
    Reboot(Wait),
}

/// Whether the end is waited for.
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// Whether anything is done, and its end waited for.
#[derive(Debug, clap::Args)]
pub struct PlannedWait {
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
    /// Only show what is different and what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Units of a job.
#[derive(Debug, clap::Args)]
pub struct Units {
    /// Names of the units
    #[arg(required = true, value_name = "UNIT")]
    pub units: Vec<String>,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

/// Units of a job that has a plan.
#[derive(Debug, clap::Args)]
pub struct PlannedUnits {
    /// The units.
    #[command(flatten)]
    pub units: Units,
    /// Only show the plan
    #[arg(long)]
    pub dry_run: bool,
}

/// Takes the words of a command line apart; the first one is the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    Args::from_arg_matches(&matches)
}

impl CtlCommand {
    /// The command as a request.
    #[must_use]
    pub fn request(&self) -> Request {
        match self {
            Self::Status { unit } => Request::Status { unit: unit.clone() },
            Self::Why { unit } => Request::Why { unit: unit.clone() },
            Self::Logs { units, follow, n } => {
                Request::Logs { units: units.clone(), n: *n, follow: *follow }
            }
            Self::Events { units, follow, n } => {
                Request::Events { units: units.clone(), n: *n, follow: *follow }
            }
            Self::Env { unit } => Request::Env { unit: unit.clone() },
            Self::Start(Units { units, wait }) => {
                Request::Start { units: units.clone(), no_wait: wait.no_wait }
            }
            Self::Stop(PlannedUnits { units: Units { units, wait }, dry_run }) => {
                Request::Stop { units: units.clone(), no_wait: wait.no_wait, dry_run: *dry_run }
            }
            Self::Restart(PlannedUnits { units: Units { units, wait }, dry_run }) => {
                Request::Restart { units: units.clone(), no_wait: wait.no_wait, dry_run: *dry_run }
            }
            Self::Reload(Units { units, wait }) => {
                Request::Reload { units: units.clone(), no_wait: wait.no_wait }
            }
            Self::Kill { signal, unit } => {
                Request::Kill { unit: unit.clone(), signal: signal.clone() }
            }
            Self::ReloadConfig(PlannedWait { wait, dry_run }) => {
                Request::ReloadConfig { no_wait: wait.no_wait, dry_run: *dry_run }
            }
            Self::Upgrade { program } => {
                Request::Upgrade { program: program.as_deref().map(absolute) }
            }
            Self::Shutdown(wait) => Request::Shutdown { no_wait: wait.no_wait },
            Self::Poweroff(wait) => Request::Poweroff { no_wait: wait.no_wait },
            Self::Reboot(wait) => Request::Reboot { no_wait: wait.no_wait },
        }
    }
}

/// The supervisor stands in another directory than whoever asks.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The commands beside `pisup ctl`, in the order in which they are needed.
const FIRST: (&str, &[&str]) = ("Become a node", &["setup", "doctor", "check", "supervise"]);

/// The commands of `pisup ctl` as `--help` groups them.
const GROUPS: [(&str, &[&str]); 3] = [
    ("Ask the supervisor", &["status", "why", "logs", "events", "env"]),
    ("Change units", &["start", "stop", "restart", "reload", "kill"]),
    ("Change the supervisor", &["reload-config", "upgrade", "shutdown", "poweroff", "reboot"]),
];

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the unit is not running, 4 no such unit,
            5 no supervisor or no permission, 6 timed out, 130 ended by ^C";

/// The commands with their help texts, in groups, which clap itself has none of.
fn command() -> clap::Command {
    let mut root = Args::command();
    root.build();
    let ctl = root.find_subcommand("ctl").cloned().unwrap_or_default();
    let below = group("", &root, FIRST) + &GROUPS.map(|names| group("ctl ", &ctl, names)).concat();
    let ctl_text: String = GROUPS.map(|names| group("", &ctl, names)).concat();
    let template = |commands: &str| {
        format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{commands}Options:\n{{options}}\n\n\
             {EXIT_CODES}"
        )
    };
    Args::command()
        .help_template(template(&below))
        .mut_subcommand("ctl", |command| command.help_template(template(&ctl_text)))
}

fn group(prefix: &str, parent: &clap::Command, (heading, names): (&str, &[&str])) -> String {
    let lines = names.iter().filter_map(|name| {
        let about = parent.find_subcommand(name)?.get_about()?;
        Some(format!("  {:<19} {about}\n", format!("{prefix}{name}")))
    });
    format!("{heading}:\n{}\n", lines.collect::<String>())
}

/// A time that is waited: `300ms`, `10s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit: 300ms, 10s, 2m or 1h".to_owned();
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(number.saturating_mul(unit_ms)))
}

fn signal(text: &str) -> Result<String, String> {
    match signal_number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("a signal is a name or a number: TERM, SIGTERM or 15".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctl(line: &str) -> Ctl {
        let words = line.split_whitespace().map(OsString::from);
        match parse(words).unwrap().command {
            Command::Ctl(ctl) => ctl,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group() {
        let root = Args::command();
        let ctl = root.find_subcommand("ctl").unwrap();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.to_vec()).collect();
        let mut all: Vec<&str> = ctl.get_subcommands().map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
        let first = root.get_subcommands().map(clap::Command::get_name);
        assert_eq!(first.filter(|name| *name != "ctl").collect::<Vec<_>>(), FIRST.1);
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "pisup --run /r ctl --json --timeout 2m status a",
            "pisup ctl --run /r status --timeout 2m --json a",
            "pisup ctl status a --timeout 120s --json --run /r",
        ] {
            let args = parse(line.split_whitespace().map(OsString::from)).unwrap();
            assert_eq!(args.places.run, PathBuf::from("/r"), "{line}");
            assert_eq!(args.places.config, PathBuf::from("/etc/pisup"));
            let Command::Ctl(ctl) = args.command else { panic!("{:?}", args.command) };
            assert!(ctl.is_json);
            assert_eq!(ctl.timeout, Some(Duration::from_secs(120)));
            assert_eq!(ctl.command.request(), Request::Status { unit: Some("a".to_owned()) });
        }
    }

    #[test]
    fn words_become_requests() {
        let ab = || vec!["a".to_owned(), "b".to_owned()];
        for (line, request) in [
            (
                "restart --dry-run a b",
                Request::Restart { units: ab(), no_wait: false, dry_run: true },
            ),
            ("start a b --no-wait", Request::Start { units: ab(), no_wait: true }),
            ("logs -f -n 5", Request::Logs { units: vec![], n: Some(5), follow: true }),
            ("events -n5 a b", Request::Events { units: ab(), n: Some(5), follow: false }),
            ("kill SIGHUP a", Request::Kill { unit: "a".to_owned(), signal: "SIGHUP".to_owned() }),
            ("reload-config", Request::ReloadConfig { no_wait: false, dry_run: false }),
            ("shutdown --no-wait", Request::Shutdown { no_wait: true }),
            ("poweroff", Request::Poweroff { no_wait: false }),
            ("reboot --no-wait", Request::Reboot { no_wait: true }),
        ] {
            assert_eq!(ctl(&format!("pisup ctl {line}")).command.request(), request, "{line}");
        }
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in [
            "pisup",
            "pisup ctl",
            "pisup fly",
            "pisup ctl start",
            "pisup ctl start --dry-run a",
            "pisup ctl kill a",
            "pisup ctl kill NOSUCH a",
            "pisup ctl why",
            "pisup ctl status a b",
            "pisup ctl logs -n x",
            "pisup ctl --timeout 10 status",
            "pisup ctl --timeout s status",
            "pisup ctl --timeout 99999999999999999999s status",
            "pisup supervise now",
            "pisup setup",
            "pisup setup worker",
            "pisup setup master --master 10.0.0.1",
        ] {
            assert!(parse(line.split_whitespace().map(OsString::from)).is_err(), "{line}");
        }
    }
}
