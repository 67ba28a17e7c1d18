//! In the namespaces of the machine: round after round, until the last one or until a complaint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::check::{self, Descriptors, Numbers};
use crate::model::{Model, Names};
use crate::random::Random;
use crate::rounds::{Deed, Hand, Plan};
use crate::units::{Rest, UNITS};
use crate::wire;
use crate::world::World;
use crate::{Options, tell};

/// Far longer than all that a round leads to, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Rounds between two words on how it goes.
const TOLD_EVERY: u64 = 100;

struct Chaos {
    hand: Hand,
    model: Model,
    random: Random,
    numbers: Numbers,
    counts: BTreeMap<&'static str, u64>,
    /// What was done in each round.
    story: Vec<String>,
}

/// Runs all rounds of a seed.
pub fn run(options: &Options, here: &Path) -> ExitCode {
    let mut chaos = Chaos {
        hand: Hand {
            here: here.to_owned(),
            run: here.join("run"),
            program: std::env::current_exe().unwrap(),
            generation: 0,
            generations: UNITS.iter().map(|unit| (unit.name, 0)).collect(),
            value: 0,
            gaps: Vec::new(),
        },
        model: Model::at_boot(),
        random: Random::new(options.seed),
        numbers: Numbers::default(),
        counts: BTreeMap::new(),
        story: Vec::new(),
    };
    match chaos.play(options) {
        Ok(()) => {
            chaos.tell_figures(options);
            ExitCode::SUCCESS
        }
        Err(why) => {
            chaos.tell_failure(options, &why);
            ExitCode::FAILURE
        }
    }
}

impl Chaos {
    fn play(&mut self, options: &Options) -> Result<(), String> {
        let start = Instant::now();
        let mut before = self.settle(None)?;
        // Once each, so that all that is opened at a first start is open.
        let run = self.hand.run.clone();
        wire::ask(&run, r#"{"v":1,"do":"start","units":["spare"]}"#).ok_or("no answer")?;
        wire::ask(&run, r#"{"v":1,"do":"upgrade"}"#);
        self.model.stopped.clear();
        before = self.settle(Some(&before))?;
        let descriptors = Descriptors::of(&before);
        for round in 1..=options.rounds {
            before = self.round(&before, &descriptors, options)?;
            if round % TOLD_EVERY == 0 {
                let seconds = start.elapsed().as_secs();
                tell(&format!("{round} rounds in {seconds} s, {} lines", self.numbers.seen));
            }
        }
        Ok(())
    }

    fn round(
        &mut self,
        before: &World,
        descriptors: &Descriptors,
        options: &Options,
    ) -> Result<World, String> {
        let plan = Plan::choose(&mut self.random, &self.model, &options.only);
        self.story.push(format!("{:?}, again {:?}", plan.deeds, plan.again));
        for deed in &plan.deeds {
            *self.counts.entry(deed.word()).or_default() += 1;
        }
        let certain = self.hand.carry_out(&plan, before)?;
        let mut unsure = Names::new();
        for deed in &plan.deeds {
            match deed {
                Deed::Stop(unit) if certain.contains(deed) => drop(self.model.stopped.insert(unit)),
                _ if certain.contains(deed) => {
                    deed.wishes().iter().for_each(|name| {
                        self.model.stopped.remove(name);
                    });
                }
                _ => unsure.extend(deed.wishes()),
            }
        }
        self.make_sure(&unsure)?;
        let is_broken_off =
            |deed: &Deed| matches!(deed, Deed::Reconfigure(_)) && !certain.contains(deed);
        if plan.deeds.iter().any(is_broken_off) {
            self.reload_again()?;
        }
        let after = self.settle(Some(before))?;
        check::unmoved(before, &after, &plan.moves())?;
        check::counted(&after, &self.hand.here)?;
        check::reached(&after, &self.hand.here)?;
        // A file that is read for a moment is no leak.
        self.until(|_, world| descriptors.hold(world))?;
        let run = self.hand.run.clone();
        self.numbers.look(&run)?;
        Ok(after)
    }

    /// Finds out what is wanted of units for which the answer never came: either was right.
    fn make_sure(&mut self, unsure: &Names) -> Result<(), String> {
        for name in unsure {
            let state = self.until(|_, world| match world.unit(name).state.as_str() {
                "stopping" | "preparing" | "starting" => Err(format!("{name} is on its way")),
                state => Ok(state.to_owned()),
            })?;
            if state == "down" {
                self.model.stopped.insert(name);
            } else {
                self.model.stopped.remove(name);
            }
        }
        Ok(())
    }

    /// Whoever sees a reload of the configuration break off does it once more.
    fn reload_again(&self) -> Result<(), String> {
        self.until(|own, _| {
            let replies = wire::ask(&own.hand.run, r#"{"v":1,"do":"reload-config"}"#);
            match replies.as_deref().and_then(<[_]>::last) {
                Some(last) if last["code"] == 0 => Ok(()),
                last => Err(format!("reload-config once more: {last:?}")),
            }
        })
    }

    /// Waits until all have come to rest.
    fn settle(&mut self, before: Option<&World>) -> Result<World, String> {
        let here = self.hand.here.clone();
        let is_first = before.is_none();
        self.until(|own, world| {
            check::settled(world, &own.model, &here)?;
            check::current(world, &own.hand.generations, own.hand.value)?;
            // What crashes all the time has done so, or a unit is looked at before it did.
            let has_failed = world.unit("crashing").starts > 0;
            if is_first && !has_failed { Err("crashing has not".into()) } else { Ok(world.clone()) }
        })
    }

    fn until<T>(&self, holds: impl Fn(&Self, &World) -> Result<T, String>) -> Result<T, String> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            let look = World::look(&self.hand.run).and_then(|world| holds(self, &world));
            match look {
                Ok(seen) => return Ok(seen),
                Err(why) if start.elapsed() > PATIENCE => return Err(why),
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(30));
        }
    }

    fn tell_figures(&mut self, options: &Options) {
        let counts: Vec<String> =
            self.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let gaps = &mut self.hand.gaps;
        gaps.sort();
        let ms = |gap: Option<&Duration>| gap.map_or(0, Duration::as_millis);
        tell(&format!(
            "seed {}: {} rounds, no loss: {}\n{} supervisors killed: supervision resumed after \
             {} ms (median), {} ms (longest); {} lines in order",
            options.seed,
            options.rounds,
            counts.join(", "),
            gaps.len(),
            ms(gaps.get(gaps.len() / 2)),
            ms(gaps.last()),
            self.numbers.seen,
        ));
    }

    fn tell_failure(&self, options: &Options, why: &str) {
        let round = self.story.len();
        tell(&format!("--- seed {}, round {round}: {why}", options.seed));
        for (number, deeds) in self.story.iter().enumerate().rev().take(8).rev() {
            tell(&format!("round {}: {deeds}", number + 1));
        }
        let ctl = |words: &[&str]| {
            let places = [("--config", "etc"), ("--run", "run"), ("--state", "state")];
            let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
            for (option, place) in places {
                command.arg(option).arg(self.hand.here.join(place));
            }
            let output = command.arg("ctl").args(words).output().unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        tell(&ctl(&["status"]));
        for unit in UNITS.iter().filter(|unit| why.starts_with(unit.name)) {
            tell(&ctl(&["status", unit.name]));
            tell(&ctl(&["why", unit.name]));
        }
        let console = fs::read_to_string(self.hand.here.join("console")).unwrap_or_default();
        let lines: Vec<&str> = console.lines().collect();
        let is_loud = |line: &str| !line.contains(" crashing: ");
        let lines: Vec<&str> = lines.into_iter().filter(|line| is_loud(line)).collect();
        let last = &lines[lines.len().saturating_sub(80)..];
        tell(&format!("--- its journal ends with\n{}", last.join("\n")));
    }
}

/// What everything starts with.
pub fn furnish(here: &Path, program: &Path) {
    for folder in ["locks", "starts", "ready"] {
        fs::create_dir_all(here.join(folder)).unwrap();
    }
    fs::write(here.join("value"), "VALUE=v0\n").unwrap();
    for unit in UNITS {
        let path: PathBuf = here.join(format!("etc/units/{}.toml", unit.name));
        fs::write(&path, unit.text(program, here, 0)).unwrap();
    }
    assert!(UNITS.iter().filter(|unit| unit.rest != Rest::Never).count() >= 30);
}
