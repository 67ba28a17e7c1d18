//! Why: every change of state carries a cause, and every cause reads as a sentence.

use alloc::format;
use alloc::string::{String, ToString};

use super::event::Exit;
use super::ids::UnitId;
use super::spec::{Condition, Conditions, Gates};

/// What keeps a wanted unit from starting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// A unit it needs is not ready yet.
    Needs(UnitId),
    /// A unit it needs was stopped by name, or never started.
    Stopped(UnitId),
    /// A unit it needs has failed and will not come back by itself.
    Broken(UnitId),
    /// A unit it needs has ended in peace.
    Ended(UnitId),
    /// A unit it would like to have is on its way.
    Wants(UnitId),
    /// A value is not known yet.
    Value(UnitId, String),
    /// A unit of its old life has to end first.
    Leaver(UnitId),
    /// Its own last process has not died.
    Undead,
    /// The world is not as `[wait]` wants it.
    World(Conditions),
}

/// Why something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The supervisor started.
    Boot,
    /// By name.
    StartAsked,
    /// Another unit, started by name, requires or wants it.
    PulledBy(UnitId),
    /// By name.
    StopAsked,
    /// By name.
    RestartAsked,
    /// Its configuration changed.
    ConfigChanged,
    /// Everything ends.
    Shutdown,
    /// It has to wait.
    Held(Hold),
    /// Nothing holds it any more.
    Clear,
    /// It went on without what `[wait]` asked for.
    WaitedEnough(Conditions),
    /// It went on without a unit it would have liked to have.
    WentOnWithout(UnitId),
    /// A unit was not started, because it conflicts with another one.
    LeftOut(UnitId, UnitId),
    /// All prepare steps are done.
    Prepared,
    /// A prepare step failed.
    StepFailed(u8, String),
    /// A prepare step took too long.
    StepTimeout(u8, u64),
    /// The process could not be made.
    SpawnFailed(String),
    /// All readiness gates hold.
    AllHeld,
    /// A oneshot ended well.
    Finished,
    /// It was not ready in time.
    ReadyTimeout(u64, Gates),
    /// A oneshot did not end in time.
    FinishTimeout(u64),
    /// It ended before it was ready.
    DiedStarting(Exit),
    /// It ended without being asked.
    Died(Exit),
    /// It ended with a code that says: do not try again.
    FatalExit(Exit),
    /// It ended as it was asked to.
    Ended(Exit),
    /// It ended well and is not to come back.
    EndedWell,
    /// WATCHDOG=1 did not come.
    Watchdog(u64),
    /// A health probe, or the service itself, says that it is not well.
    Unhealthy(String),
    /// A unit it requires is being stopped by name.
    DependencyStopped(UnitId),
    /// A unit it binds to went down or is going down.
    BoundDown(UnitId),
    /// A value it uses has changed.
    ValueChanged(UnitId, String),
    /// It did not end in time and was killed.
    StopTimeout(u64),
    /// Killed, and still there.
    WillNotDie,
    /// What it left behind is gone.
    Swept,
    /// The delay is over.
    BackoffOver,
    /// It has been ready for long enough: old failures are forgotten.
    Stable,
    /// It failed so many times in a row.
    Degraded(u32),
}

/// A duration for people: `10s`, `2m`, `300ms`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms}ms"),
        1000..=119_999 if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        1000..=9_999 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        10_000..=119_999 => format!("{}s", ms / 1000),
        120_000..=7_199_999 => match ms / 1000 % 60 {
            0 => format!("{}m", ms / 60_000),
            seconds => format!("{}m{seconds}s", ms / 60_000),
        },
        _ => match ms / 60_000 % 60 {
            0 => format!("{}h", ms / 3_600_000),
            minutes => format!("{}h{minutes}m", ms / 3_600_000),
        },
    }
}

/// A signal for people: `SIGTERM`.
#[must_use]
pub fn signal(number: u8) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_string()
}

/// An exit for people.
#[must_use]
pub fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(number) => signal(number),
        Exit::Unknown => "an unknown exit status".to_string(),
    }
}

fn conditions(set: Conditions) -> String {
    let mut out = String::new();
    for condition in Condition::ALL {
        if set.has(condition) {
            if !out.is_empty() {
                out.push_str(" and ");
            }
            out.push_str(match condition {
                Condition::Clock => "the clock",
                Condition::Route => "a route",
                Condition::Path => "a path",
            });
        }
    }
    out
}

fn gates(set: Gates) -> String {
    let mut out = String::new();
    for gate in set.iter() {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(gate.key());
    }
    out
}

impl Hold {
    /// The hold as a sentence without a full stop.
    pub fn sentence<'a>(&self, name: impl Fn(UnitId) -> &'a str) -> String {
        match self {
            Self::Needs(unit) => format!("waits for {} to be ready", name(*unit)),
            Self::Stopped(unit) => format!("{0} was stopped; start {0} to go on", name(*unit)),
            Self::Broken(unit) => format!("{0} has failed; start {0} to try again", name(*unit)),
            Self::Ended(unit) => format!("{0} has ended; start {0} to go on", name(*unit)),
            Self::Wants(unit) => format!("waits a while for {}, which it wants", name(*unit)),
            Self::Value(unit, key) => format!("waits for {} to export {key}", name(*unit)),
            Self::Leaver(unit) => format!("waits for {} to stop first", name(*unit)),
            Self::Undead => "waits for its last process, which does not die".to_string(),
            Self::World(set) => format!("waits for {}", conditions(*set)),
        }
    }
}

impl Cause {
    /// Whether it only says that what was under way has come about: the reason is the one before.
    #[must_use]
    pub const fn is_aftermath(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Swept | Self::Clear | Self::Prepared)
    }

    /// Whether it is a failure of the unit that it happened to.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::StepFailed(..)
                | Self::StepTimeout(..)
                | Self::SpawnFailed(_)
                | Self::ReadyTimeout(..)
                | Self::FinishTimeout(_)
                | Self::DiedStarting(_)
                | Self::Died(_)
                | Self::FatalExit(_)
                | Self::Watchdog(_)
                | Self::Unhealthy(_)
        )
    }

    /// The cause as a sentence without a full stop; `name` gives a unit's name.
    pub fn sentence<'a>(&self, name: impl Fn(UnitId) -> &'a str) -> String {
        match self {
            Self::Boot => "started with the supervisor".to_string(),
            Self::StartAsked => "started by name".to_string(),
            Self::PulledBy(unit) => format!("{} needs it", name(*unit)),
            Self::StopAsked => "stopped by name".to_string(),
            Self::RestartAsked => "restarted by name".to_string(),
            Self::ConfigChanged => "its configuration changed".to_string(),
            Self::Shutdown => "everything is being shut down".to_string(),
            Self::Held(hold) => hold.sentence(name),
            Self::Clear => "nothing holds it any more".to_string(),
            Self::WaitedEnough(set) => format!("went on without {}", conditions(*set)),
            Self::WentOnWithout(unit) => format!("went on without {}", name(*unit)),
            Self::LeftOut(unit, rival) => {
                format!("{} is not started: it conflicts with {}", name(*unit), name(*rival))
            }
            Self::Prepared => "prepared".to_string(),
            Self::StepFailed(step, why) => format!("prepare step {} failed: {why}", step + 1),
            Self::StepTimeout(step, ms) => {
                format!("prepare step {} was not done within {}", step + 1, duration(*ms))
            }
            Self::SpawnFailed(why) => why.clone(),
            Self::AllHeld => "ready".to_string(),
            Self::Finished => "done, exit code 0".to_string(),
            Self::ReadyTimeout(ms, missing) if missing.is_empty() => {
                format!("not ready within {}", duration(*ms))
            }
            Self::ReadyTimeout(ms, missing) => {
                format!("not ready within {} (missing: {})", duration(*ms), gates(*missing))
            }
            Self::FinishTimeout(ms) => format!("not done within {}", duration(*ms)),
            Self::DiedStarting(how) => format!("ended with {} before it was ready", exit(*how)),
            Self::Died(how) => format!("ended with {} without being asked", exit(*how)),
            Self::FatalExit(how) => {
                format!("ended with {}, after which it is not tried again", exit(*how))
            }
            Self::Ended(how) => format!("ended with {}, as asked", exit(*how)),
            Self::EndedWell => "ended with exit code 0".to_string(),
            Self::Watchdog(ms) => format!("gave no sign of life for {}", duration(*ms)),
            Self::Unhealthy(why) => format!("not well: {why}"),
            Self::DependencyStopped(unit) => format!("{} is being stopped", name(*unit)),
            Self::BoundDown(unit) => format!("{}, which it is bound to, went down", name(*unit)),
            Self::ValueChanged(unit, key) => format!("{key} of {} changed", name(*unit)),
            Self::StopTimeout(ms) => format!("did not stop within {}: killed", duration(*ms)),
            Self::WillNotDie => "will not die: killed, and still there".to_string(),
            Self::Swept => "what it left behind is gone".to_string(),
            Self::BackoffOver => "the delay is over".to_string(),
            Self::Stable => "ready for long enough: old failures are forgotten".to_string(),
            Self::Degraded(count) => format!("failed {count} times in a row"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (ms, text) in [
            (0, "0ms"),
            (300, "300ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (90_000, "90s"),
            (120_000, "2m"),
            (125_000, "2m5s"),
            (7_200_000, "2h"),
            (7_260_000, "2h1m"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
