//! What happens in a round: chosen by the seed, done, and what it may have moved.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pisup::sys::child;

use crate::model::{Model, Names, above, below, bound_to};
use crate::random::Random;
use crate::units::{Rest, UNITS, find};
use crate::wire::{self, Wire};
use crate::world::{Identity, World, is_alive, supervisor};

const KILL: u8 = 9;

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Kills the supervisor so many milliseconds after what was done before it.
    KillSupervisor(u64),
    /// Kills a unit's main process by this signal.
    Kill(&'static str, u8),
    Restart(&'static str),
    Stop(&'static str),
    Start(&'static str),
    /// HUP, by way of [reload].
    Reload(&'static str),
    /// A unit's file is another one.
    Reconfigure(&'static str),
    /// The value that one unit gives to another is another one.
    Value,
    /// The supervisor is replaced by a copy of itself.
    Upgrade,
}

impl Deed {
    /// The word that chooses it on the command line.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::KillSupervisor(_) => "kill-supervisor",
            Self::Kill(..) => "kill",
            Self::Restart(_) => "restart",
            Self::Stop(_) => "stop",
            Self::Start(_) => "start",
            Self::Reload(_) => "reload",
            Self::Reconfigure(_) => "reconfigure",
            Self::Value => "value",
            Self::Upgrade => "upgrade",
        }
    }

    /// The units that it may move.
    pub fn moves(&self) -> Names {
        match self {
            Self::KillSupervisor(_) | Self::Reload(_) | Self::Upgrade => Names::new(),
            Self::Kill(unit, _) | Self::Restart(unit) | Self::Reconfigure(unit) => bound_to(unit),
            Self::Stop(unit) => above(unit),
            Self::Start(unit) => below(unit).iter().flat_map(|each| above(each)).collect(),
            Self::Value => bound_to("using"),
        }
    }

    /// What is said to the supervisor for it.
    fn request(&self) -> Option<String> {
        let of = |verb: &str, unit: &str| format!(r#"{{"v":1,"do":"{verb}","units":["{unit}"]}}"#);
        match self {
            Self::Restart(unit) | Self::Stop(unit) | Self::Start(unit) | Self::Reload(unit) => {
                Some(of(self.word(), unit))
            }
            Self::Reconfigure(_) => Some(r#"{"v":1,"do":"reload-config"}"#.to_owned()),
            Self::Upgrade => Some(r#"{"v":1,"do":"upgrade"}"#.to_owned()),
            Self::KillSupervisor(_) | Self::Kill(..) | Self::Value => None,
        }
    }

    /// The units of which another thing is wanted after it.
    pub fn wishes(&self) -> Names {
        match self {
            Self::Stop(unit) => Names::from([*unit]),
            Self::Start(unit) => below(unit),
            _ => Names::new(),
        }
    }
}

/// What is done in one round.
pub struct Plan {
    pub deeds: Vec<Deed>,
    /// The next supervisor is killed, too, while it starts, so many milliseconds after its birth.
    pub again: Option<u64>,
}

impl Plan {
    /// The next one.
    pub fn choose(random: &mut Random, model: &Model, allowed: &[String]) -> Self {
        let is_allowed =
            |deed: &Deed| allowed.is_empty() || allowed.iter().any(|word| word == deed.word());
        let mut deeds = Vec::new();
        while deeds.is_empty() {
            deeds.extend(choose_one(random, model).filter(is_allowed));
        }
        if random.percent(25)
            && let Some(other) = choose_one(random, model).filter(is_allowed)
            && other.moves().is_disjoint(&deeds[0].moves())
            && !matches!(other, Deed::KillSupervisor(_))
        {
            deeds.push(other);
        }
        let kill = Deed::KillSupervisor(random.below(50));
        let has_kill = deeds.iter().any(|deed| matches!(deed, Deed::KillSupervisor(_)));
        if !has_kill && is_allowed(&kill) && random.percent(35) {
            deeds.push(kill);
        }
        let is_killed = deeds.iter().any(|deed| matches!(deed, Deed::KillSupervisor(_)));
        let again = (is_killed && random.percent(20)).then(|| random.below(30));
        Self { deeds, again }
    }

    pub fn kills_supervisor(&self) -> bool {
        self.deeds.iter().any(|deed| matches!(deed, Deed::KillSupervisor(_)))
    }

    /// Whether the supervisor is another one after it.
    pub fn replaces_supervisor(&self) -> bool {
        self.kills_supervisor() || self.deeds.contains(&Deed::Upgrade)
    }

    pub fn moves(&self) -> Names {
        self.deeds.iter().flat_map(Deed::moves).collect()
    }
}

fn choose_one(random: &mut Random, model: &Model) -> Option<Deed> {
    let up = |rest: &[Rest]| -> Vec<&'static str> {
        let is_up = |name: &&str| model.is_up(find(name)) && rest.contains(&find(name).rest);
        UNITS.iter().map(|unit| unit.name).filter(is_up).collect()
    };
    let stopped: Vec<&'static str> = model.stopped.iter().copied().collect();
    let signals = [KILL, 15, 6, 3];
    Some(match random.below(100) {
        0..20 => Deed::KillSupervisor(random.below(20)),
        20..38 => match *random.pick(&up(&[Rest::Ready]))? {
            "deaf" => Deed::Kill("deaf", KILL),
            unit => Deed::Kill(unit, *random.pick(&signals)?),
        },
        38..54 => Deed::Restart(random.pick(&up(&[Rest::Ready, Rest::Done]))?),
        // What is stopped is started again sooner or later: most of them are up most of the time.
        54..64 if stopped.len() < 4 => Deed::Stop(random.pick(&up(&[Rest::Ready, Rest::Done]))?),
        54..78 => Deed::Start(random.pick(&stopped)?),
        78..81 if model.is_up(find("reloading")) => Deed::Reload("reloading"),
        78..87 => Deed::Reconfigure(random.pick(&up(&[Rest::Ready]))?),
        87..91 => Deed::Value,
        _ => Deed::Upgrade,
    })
}

/// Does what is planned.
pub struct Hand {
    pub here: PathBuf,
    pub run: PathBuf,
    pub program: PathBuf,
    /// Counts changes of files.
    pub generation: u64,
    /// What each unit's file says.
    pub generations: BTreeMap<&'static str, u64>,
    /// What the value is.
    pub value: u64,
    /// From a supervisor's death to the first answer of the next one.
    pub gaps: Vec<Duration>,
}

impl Hand {
    /// Carries a plan out and waits for its answers; what was done of it for certain.
    pub fn carry_out(&mut self, plan: &Plan, before: &World) -> Result<Vec<Deed>, String> {
        let (mut waiting, mut killed) = (Vec::new(), Vec::new());
        for deed in &plan.deeds {
            match deed {
                Deed::KillSupervisor(after_ms) => self.kill_supervisor(*after_ms, plan.again)?,
                Deed::Kill(unit, signal) => {
                    if let Some(process) = before.unit(unit).main {
                        let _ = child::signal(None, process.0, *signal);
                        killed.push(process);
                    }
                }
                Deed::Value => self.change_value(),
                Deed::Reconfigure(unit) => self.rewrite(unit),
                _ => {}
            }
            if let Some(request) = deed.request() {
                let mut wire = Wire::to(&self.run).ok_or("nobody listens")?;
                wire.say(&request);
                waiting.push((deed, wire));
            }
        }
        await_deaths(&killed)?;
        let mut certain = Vec::new();
        for (deed, mut wire) in waiting {
            let answer = wire.answer();
            let is_alone = plan.deeds.len() == 1;
            match answer.as_deref().and_then(<[_]>::last) {
                Some(last) if last["code"] == 0 => certain.push(deed.clone()),
                Some(last) if is_alone => return Err(format!("{deed:?} was answered: {last}")),
                None if !plan.replaces_supervisor() => return Err(format!("{deed:?}: no answer")),
                // A unit that is killed while it starts fails to start, for one.
                Some(_) | None => {}
            }
        }
        Ok(certain)
    }

    fn kill_supervisor(&mut self, after_ms: u64, again: Option<u64>) -> Result<(), String> {
        // This is no waiting for something: it is the random instant.
        sleep(Duration::from_millis(after_ms));
        let old = newborn(None)?;
        let _ = child::signal(None, old, KILL);
        let mut dead = Instant::now();
        if let Some(after_ms) = again {
            let next = newborn(Some(old))?;
            sleep(Duration::from_millis(after_ms));
            let _ = child::signal(None, next, KILL);
            dead = Instant::now();
        }
        let start = Instant::now();
        while wire::ask(&self.run, r#"{"v":1,"do":"status"}"#).is_none() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err("no supervisor came back".to_owned());
            }
            sleep(Duration::from_micros(500));
        }
        self.gaps.push(dead.elapsed());
        Ok(())
    }

    pub fn change_value(&mut self) {
        self.generation += 1;
        self.value = self.generation;
        let text = format!("VALUE=v{}\n", self.value);
        // What the unit leases when it starts, then what it has now: a start in between is no harm.
        for name in ["value", "exports.env"] {
            let new = self.here.join("value.new");
            fs::write(&new, &text).unwrap();
            fs::rename(new, self.here.join(name)).unwrap();
        }
    }

    /// Writes a unit's file with another generation.
    pub fn rewrite(&mut self, unit: &'static str) {
        self.generation += 1;
        self.generations.insert(unit, self.generation);
        let text = find(unit).text(&self.program, &self.here, self.generation);
        write_config(&self.here.join(format!("etc/units/{unit}.toml")), &text);
    }
}

/// A file that nobody sees half of.
fn write_config(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Waits until they are dead: before that, all looks as if nothing had happened.
fn await_deaths(processes: &[Identity]) -> Result<(), String> {
    let start = Instant::now();
    while let Some(process) = processes.iter().find(|process| is_alive(**process)) {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("{process:?} does not die"));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The supervisor after that one, as soon as it exists; one that is executing another program has
/// no name for a moment.
fn newborn(old: Option<u32>) -> Result<u32, String> {
    let start = Instant::now();
    loop {
        match supervisor().filter(|pid| Some(*pid) != old) {
            Some(pid) => return Ok(pid),
            None if start.elapsed() > Duration::from_secs(30) => {
                return Err("no other supervisor was started".to_owned());
            }
            None => sleep(Duration::from_micros(200)),
        }
    }
}
