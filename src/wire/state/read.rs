//! Bytes to a state: bounded by their number, and whatever they are.

use super::text::Words;
use super::{Body, Change, Life, MAGIC, MAX_BYTES, Process, Refusal, State, VERSION, crc32};
use crate::machine::spec::{Conditions, Gates, Use};
use crate::machine::view::State as Shown;
use crate::machine::{
    Body as Part, Cause, Exit, Hold, Next, Phase, Remembered, Run, Stage, UnitId, UnitState, Want,
};

/// All states that are shown.
const SHOWN: [Shown; 9] = [
    Shown::Down,
    Shown::Waiting,
    Shown::Preparing,
    Shown::Starting,
    Shown::Ready,
    Shown::Done,
    Shown::Stopping,
    Shown::Backoff,
    Shown::Failed,
];

impl State {
    /// The state that a file holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_BYTES {
            return Err(Refusal::Foreign);
        }
        let version = version(bytes).ok_or(Refusal::Foreign)?;
        if version > VERSION {
            return Err(Refusal::Newer(version));
        }
        let text = core::str::from_utf8(bytes).map_err(|_| Refusal::Torn)?;
        let rest = checked(text).ok_or(Refusal::Torn)?;
        let mut state = Self::default();
        for (index, line) in rest.split_terminator('\n').enumerate() {
            let mut words = Words::of(line);
            let taken = match index {
                // What follows the checksum begins with a space.
                0 => {
                    words.word().and_then(|_| words.word()).map(|id| state.boot_id = id.to_owned())
                }
                _ => words.word().and_then(|key| state.take(key, &mut words)),
            };
            taken.and_then(|()| words.end()).ok_or(Refusal::Nonsense(index + 1))?;
        }
        Ok(state)
    }

    fn take(&mut self, key: &str, words: &mut Words<'_>) -> Option<()> {
        match (key, self.memory.units.last_mut(), self.lives.last_mut()) {
            ("unit", ..) => {
                u16::try_from(self.memory.units.len()).ok()?;
                let (name, uses, state) = (words.text()?, Vec::new(), UnitState::new());
                self.memory.units.push(Remembered { name, uses, state });
                self.lives.push(Life::default());
            }
            (_, Some(unit), Some(life)) => {
                return match &mut life.body {
                    Some(body) => self::body(body, key, words),
                    None if key == "body" => {
                        life.body = Some(Body::new(words.number().map(Run)?));
                        Some(())
                    }
                    None => self::unit(unit, key, words).or_else(|| self::life(life, key, words)),
                };
            }
            ("at", ..) => self.at = words.tick()?,
            ("changes", ..) => self.changes = words.number()?,
            ("next-run", ..) => self.memory.next_run = words.number()?,
            ("shutdown", ..) => self.memory.shutdown = Some(words.instant()?),
            _ => return None,
        }
        Some(())
    }
}

/// The version, of which the first line says so in every version.
fn version(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes())?.strip_prefix(b" ")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    core::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

/// What follows the checksum, if it has that.
fn checked(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(MAGIC)?.strip_prefix(' ')?;
    let (version, rest) = rest.split_once(' ')?;
    let (crc, rest) = rest.split_at_checked(8)?;
    let is_whole = version == VERSION.to_string() && rest.ends_with('\n');
    let is_it = crc == format!("{:08x}", crc32(rest.as_bytes()));
    (is_whole && is_it).then_some(rest)
}

fn unit(unit: &mut Remembered, key: &str, words: &mut Words<'_>) -> Option<()> {
    let state = &mut unit.state;
    match key {
        "use" => {
            let each = Use { unit: words.number().map(UnitId)?, key: words.text()? };
            unit.uses.push(each);
        }
        "given" => state.used.push(words.text()?),
        "want" => state.want = want(words.word()?)?,
        "phase" => state.phase = phase(words)?,
        "failures" => state.failures = words.number()?,
        "export" => drop(state.exports.insert(words.text()?, words.text()?)),
        "bounce" => {
            state.bounce = Some(match words.word()? {
                "restart" => Cause::RestartAsked,
                "config" => Cause::ConfigChanged,
                _ => return None,
            });
        }
        "unmet" => state.unmet = Conditions::from_bits(words.number()?)?,
        "watchdog" => state.watchdog_ms = Some(words.number()?),
        "undead" => state.undead = Some((words.number().map(Run)?, part(words)?)),
        "retired" => state.is_retired = true,
        _ => return None,
    }
    Some(())
}

fn want(word: &str) -> Option<Want> {
    Some(match word {
        "idle" => Want::Idle,
        "on" => Want::On,
        "stopped" => Want::Stopped,
        "rest" => Want::Rest,
        _ => return None,
    })
}

fn phase(words: &mut Words<'_>) -> Option<Phase> {
    let word = words.word()?;
    let run = match word {
        "preparing" | "starting" | "ready" | "stopping" => Run(words.number()?),
        _ => Run(0),
    };
    Some(match word {
        "down" => Phase::Down,
        "waiting" => {
            let (since, goes_alone) = (words.tick()?, words.flag()?);
            Phase::Waiting { on: hold(words)?, since, goes_alone }
        }
        "preparing" => Phase::Preparing { run, step: words.number()?, until: words.instant()? },
        "starting" => {
            let (alive, held) = (words.flag()?, Gates::from_bits(words.number()?)?);
            Phase::Starting { run, alive, held, until: words.instant()? }
        }
        "ready" => Phase::Ready { run, since: words.tick()?, watchdog: None },
        "done" => Phase::Done,
        "stopping" => {
            let (body, stage, next) = (part(words)?, stage(words)?, next(words)?);
            Phase::Stopping { run, body, stage, next }
        }
        "backoff" => Phase::Backoff { until: words.tick()? },
        "failed" => Phase::Failed,
        _ => return None,
    })
}

fn part(words: &mut Words<'_>) -> Option<Part> {
    Some(match words.word()? {
        "unborn" => Part::Unborn,
        "step" => Part::Step(words.number()?),
        "main" => Part::Main,
        "leftovers" => Part::Leftovers,
        _ => return None,
    })
}

fn stage(words: &mut Words<'_>) -> Option<Stage> {
    Some(match words.word()? {
        "ordered" => Stage::Ordered,
        "asked" => Stage::Asked { kill_at: words.instant()? },
        "killed" => Stage::Killed { until: words.tick()? },
        "sweeping" => Stage::Sweeping { until: words.tick()? },
        _ => return None,
    })
}

fn next(words: &mut Words<'_>) -> Option<Next> {
    Some(match words.word()? {
        "again" => Next::Again,
        "retry" => Next::Retry(words.tick()?),
        "failed" => Next::Failed,
        "done" => Next::Done,
        "rest" => Next::Rest,
        _ => return None,
    })
}

fn hold(words: &mut Words<'_>) -> Option<Hold> {
    let word = words.word()?;
    let mut unit = || words.number().map(UnitId);
    Some(match word {
        "needs" => Hold::Needs(unit()?),
        "stopped" => Hold::Stopped(unit()?),
        "broken" => Hold::Broken(unit()?),
        "ended" => Hold::Ended(unit()?),
        "wants" => Hold::Wants(unit()?),
        "leaver" => Hold::Leaver(unit()?),
        "value" => Hold::Value(unit()?, words.text()?),
        "undead" => Hold::Undead,
        "world" => Hold::World(Conditions::from_bits(words.number()?)?),
        _ => return None,
    })
}

fn life(life: &mut Life, key: &str, words: &mut Words<'_>) -> Option<()> {
    match key {
        "since" => (life.since, life.cause) = (words.tick()?, words.text()?),
        "starts" => life.starts = words.number()?,
        "made-of" => life.made_of = words.number()?,
        "failed" => (life.failures, life.failure) = (words.number()?, words.text()?),
        "exit" => {
            life.exit = Some(match words.word()? {
                "code" => Exit::Code(words.number()?),
                "signal" => Exit::Signal(words.number()?),
                "unknown" => Exit::Unknown,
                _ => return None,
            });
        }
        "left" => life.left = Some(process(words)?),
        "note" => life.notes.push(words.text()?),
        "change" => life.changes.push(Change {
            number: words.number()?,
            at: words.tick()?,
            from: shown(words)?,
            to: shown(words)?,
            cause: words.text()?,
        }),
        _ => return None,
    }
    Some(())
}

fn shown(words: &mut Words<'_>) -> Option<Shown> {
    let word = words.word()?;
    SHOWN.into_iter().find(|state| state.word() == word)
}

fn body(body: &mut Body, key: &str, words: &mut Words<'_>) -> Option<()> {
    match key {
        "main" => body.main = Some(process(words)?),
        "step" => body.step = Some((words.number()?, words.flag()?, process(words)?)),
        "session" => body.session = Some(words.number()?),
        "container" => body.container = Some(words.number()?),
        "status" => body.status_text = Some(words.text()?),
        "reloading" => body.reloads_until = Some(words.tick()?),
        "ready-file" => body.ready_file = Some(words.text()?),
        "asked" => body.is_asked = true,
        _ => return None,
    }
    Some(())
}

fn process(words: &mut Words<'_>) -> Option<Process> {
    Some(Process { pid: words.number()?, start_time: words.number()? })
}
