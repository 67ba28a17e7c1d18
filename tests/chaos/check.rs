//! Whether all is as it should be. Each function answers with the first thing that is not.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::model::{Model, Names};
use crate::units::{Rest, UNITS, find};
use crate::wire;
use crate::world::{World, kinds};

/// What is not as it should be.
pub type Complaint = Result<(), String>;

/// Whether all units have come to rest, and nothing is there that belongs to none.
pub fn settled(world: &World, model: &Model, here: &Path) -> Complaint {
    for unit in UNITS {
        let seen = world.unit(unit.name);
        if !model.allows(unit, &seen.state) {
            let wanted = if model.is_up(unit) { "up" } else { "not up" };
            return Err(format!("{} is {}, and should be {wanted}", unit.name, seen.state));
        }
        let is_running = model.is_up(unit) && unit.rest == Rest::Ready;
        if is_running != seen.main.is_some() && unit.rest != Rest::Never {
            return Err(format!("{} is {} with {:?}", unit.name, seen.state, seen.main));
        }
        let count = world.processes.iter().filter(|each| each.unit == Some(unit.name)).count();
        let most = if model.is_up(unit) { unit.most } else { 0 };
        if count > most {
            return Err(format!("{} has {count} processes: {:?}", unit.name, of(world, unit.name)));
        }
        if here.join(format!("locks/{}.doubled", unit.name)).exists() {
            return Err(format!("{} ran twice at a time", unit.name));
        }
    }
    strays(world)
}

fn of(world: &World, name: &str) -> Vec<String> {
    let own = world.processes.iter().filter(|each| each.unit == Some(name));
    own.map(|each| format!("{} {} of {}", each.pid, each.state, each.parent)).collect()
}

/// Processes that nobody has, and dead ones that nobody has reaped.
fn strays(world: &World) -> Complaint {
    let own = std::process::id();
    for process in &world.processes {
        let is_known = [1, own, world.supervisor].contains(&process.pid) || process.parent == own;
        if process.state == 'Z' && [1, world.supervisor].contains(&process.parent) {
            return Err(format!("{} is dead and not reaped", process.pid));
        }
        if !is_known && process.unit.is_none() {
            let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            return Err(format!("{process:?} is a stray: {line}"));
        }
    }
    Ok(())
}

/// Whether nothing has moved that had no reason to.
pub fn unmoved(before: &World, after: &World, moves: &Names) -> Complaint {
    for unit in UNITS.iter().filter(|unit| unit.rest != Rest::Never) {
        let (old, new) = (before.unit(unit.name), after.unit(unit.name));
        if moves.contains(unit.name) {
            if new.starts < old.starts {
                return Err(format!("{}: starts {} -> {}", unit.name, old.starts, new.starts));
            }
        } else if (&old.state, old.main, old.starts) != (&new.state, new.main, new.starts) {
            return Err(format!("{} has moved without a reason: {old:?} -> {new:?}", unit.name));
        }
    }
    Ok(())
}

/// Whether as many starts were counted as there were: a start may end before it is noted. What runs
/// to its end while a supervisor dies is run once more, for nobody is left who knows of it.
pub fn counted(world: &World, here: &Path) -> Complaint {
    for unit in UNITS.iter().filter(|unit| unit.rest == Rest::Ready) {
        let noted = fs::read_to_string(here.join(format!("starts/{}", unit.name)));
        let noted = noted.unwrap_or_default().lines().count() as u64;
        let counted = world.unit(unit.name).starts;
        if noted > counted {
            return Err(format!("{} started {noted} times, counted are {counted}", unit.name));
        }
    }
    Ok(())
}

/// Whether each runs with the values and the configuration that are in force.
pub fn current(world: &World, generations: &BTreeMap<&'static str, u64>, value: u64) -> Complaint {
    for (name, generation) in generations {
        if let Some((pid, _)) = world.unit(name).main.filter(|_| find(name).rest == Rest::Ready) {
            has(pid, &format!("GENERATION={generation}"))
                .map_err(|why| format!("{name}: {why}"))?;
        }
    }
    match world.unit("using").main {
        Some((pid, _)) => {
            has(pid, &format!("VALUE=v{value}")).map_err(|why| format!("using: {why}"))
        }
        None => Ok(()),
    }
}

fn has(pid: u32, word: &str) -> Complaint {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let is_there = environment.split('\0').any(|own| own == word);
    let found = environment.replace('\0', " ");
    if is_there { Ok(()) } else { Err(format!("{pid} has no {word}, but {found}")) }
}

/// Whether who knocks is let in by the one who is meant.
pub fn reached(world: &World, here: &Path) -> Complaint {
    for name in ["listening", "listening-too"] {
        let Some((pid, _)) = world.unit(name).main else { continue };
        let why = |error: std::io::Error| format!("{name}.sock: {error}");
        let mut stream = UnixStream::connect(here.join(format!("{name}.sock"))).map_err(why)?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(why)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(why)?;
        if text != pid.to_string() {
            return Err(format!("{name}.sock: {pid} should have answered, and not {text:?}"));
        }
    }
    Ok(())
}

/// What is open for a moment, of each kind: a probe and what crashes all the time, each with its
/// pidfd, its pipe and its message of how it began.
const PASSING: usize = 6;

/// Descriptors when all had come up for the first time.
pub struct Descriptors {
    init: BTreeMap<String, usize>,
    supervisor: BTreeMap<String, usize>,
}

impl Descriptors {
    /// Of a world in which everything is up.
    pub fn of(world: &World) -> Self {
        Self { init: kinds(1), supervisor: kinds(world.supervisor) }
    }

    /// Whether init and the supervisor have no more of anything than they had.
    pub fn hold(&self, world: &World) -> Complaint {
        no_more("init", kinds(1), &self.init, 0)?;
        no_more("the supervisor", kinds(world.supervisor), &self.supervisor, PASSING)
    }
}

fn no_more(
    whose: &str,
    own: BTreeMap<String, usize>,
    had: &BTreeMap<String, usize>,
    more: usize,
) -> Complaint {
    for (kind, count) in own {
        if had.get(&kind).is_none_or(|had| count > had + more) {
            return Err(format!("descriptors of {whose}: {count} {kind}; it had {had:?}"));
        }
    }
    Ok(())
}

/// The numbered lines, over all supervisors.
#[derive(Default)]
pub struct Numbers {
    last: Option<(u32, u64)>,
    /// Lines that were seen, each once.
    pub seen: u64,
}

impl Numbers {
    /// Looks at all lines that are kept.
    pub fn look(&mut self, run: &Path) -> Complaint {
        let replies = wire::ask(run, r#"{"v":1,"do":"logs","units":["counting"]}"#);
        let mut replies = replies.ok_or("no log")?;
        replies.pop();
        let mut before = None;
        for reply in &replies {
            let line = reply["line"].as_str().unwrap_or_default();
            let (own, number) =
                line.split_once(' ').ok_or_else(|| format!("half a line: {line}"))?;
            let line = (own.parse().unwrap_or_default(), number.parse().unwrap_or(u64::MAX));
            if before.is_some_and(|before| !follows(before, line)) {
                return Err(format!("a line is missing or there twice: {before:?} -> {line:?}"));
            }
            before = Some(line);
        }
        let lines = replies.iter().filter_map(|reply| {
            let (own, number) = reply["line"].as_str()?.split_once(' ')?;
            Some((own.parse::<u32>().ok()?, number.parse::<u64>().ok()?))
        });
        let lines: Vec<_> = lines.collect();
        let known = lines.iter().position(|line| Some(*line) == self.last);
        let fresh = match (known, self.last) {
            (Some(at), _) => &lines[at + 1..],
            (None, Some(last)) if lines.first().is_some_and(|first| !follows(last, *first)) => {
                return Err(format!("the log begins at {:?} after {last:?}", lines[0]));
            }
            (None, _) => &lines[..],
        };
        self.seen += fresh.len() as u64;
        self.last = lines.last().copied().or(self.last);
        Ok(())
    }
}

/// Whether one line follows the other; a successor begins at zero.
const fn follows(before: (u32, u64), after: (u32, u64)) -> bool {
    if before.0 == after.0 { after.1 == before.1 + 1 } else { after.1 == 0 }
}
