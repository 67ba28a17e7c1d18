//! Containers, the engine that runs them, and the small processes that own them.
//!
//! What is so here is what the shell sees of `pisup container-run`: its exit codes (the container's
//! own; 125 without an engine, without an image, or when the end was not seen; 143 when TERM came
//! first), its messages on the notify socket, and how long it takes. The engine is quick or slow,
//! goes away and comes back, with its containers or without. A container is no child of its owner:
//! it lives on when the owner is killed, and the next owner takes it over, or stops it if it was
//! made of something else.
//!
//! What is not so: the owner's own code is not run here (tests/engine_real.rs does that), nor does
//! a byte go to the engine. A container is made and started at once, and its name is never
//! another's. The engine is no unit. What is left of a unit that was taken out is not looked for.

use std::collections::BTreeMap;

use super::World;
use super::act::Act;
use super::kind::Kind;
use super::procs::{Parent, State};
use super::role::Role;
use super::{Event, procs};
use crate::machine::Exit;
use crate::wire::container::ContainerArgs;
use crate::wire::ctl::reply::UnitDoc;
use crate::wire::engine::fingerprint;

/// How the owner ends that has no container.
const NO_CONTAINER: Exit = Exit::Code(125);
/// How it ends that was told to before there was one, or while nobody could say how that ended.
const TERMINATED: Exit = Exit::Code(143);

/// A deed of an owner.
#[derive(Clone, Debug)]
pub enum Step {
    /// Asks the engine what there is.
    Look,
    /// Fetches the image.
    Fetch,
    /// Makes the container and starts it.
    Make,
    /// Has the engine stop it.
    Stop,
    /// TERM came.
    GiveUp,
    /// The container has ended.
    Ended(Exit),
}

#[derive(Debug)]
struct Owner {
    args: ContainerArgs,
    inside: Option<u64>,
    is_asked: bool,
}

#[derive(Debug)]
struct Container {
    /// Its first process.
    inside: u64,
    /// What it was made of.
    made_of: String,
}

/// The engine, with all that it knows.
#[derive(Debug, Default)]
pub struct Engine {
    /// There are containers in this history.
    pub is_there: bool,
    is_away: bool,
    is_slow: bool,
    /// By the unit.
    containers: BTreeMap<String, Container>,
    owners: BTreeMap<u64, Owner>,
}

impl Engine {
    pub fn of(kind: Kind) -> Self {
        Self { is_there: kind.containers, ..Self::default() }
    }
}

impl World {
    /// How long the engine takes for an answer.
    fn lag(&mut self) -> u64 {
        match self.rng.below(40) {
            _ if self.is_calm() => self.rng.below(5),
            // Longer than a start or a stop may take.
            0 if self.engine.is_slow => 60_000,
            _ if self.engine.is_slow => self.rng.below(4_000),
            _ => self.rng.below(60),
        }
    }

    fn owner_does(&mut self, after: u64, serial: u64, step: Step) {
        self.at(after, Event::Act(serial, Act::Own(step)));
    }

    pub fn begin_owner(&mut self, serial: u64) {
        self.lock(serial);
        let words = self.procs.get(&serial).map(|each| each.argv.clone()).unwrap_or_default();
        let Ok(args) = ContainerArgs::parse(words.into_iter().skip(2)) else {
            return self.fail("a container's command line is none".to_owned());
        };
        self.engine.owners.insert(serial, Owner { args, inside: None, is_asked: false });
        let lag = self.lag();
        self.owner_does(lag, serial, Step::Look);
    }

    /// A container's process that lives.
    fn living(&self, serial: u64) -> bool {
        self.procs.get(&serial).is_some_and(|each| !each.is_dead())
    }

    /// An owner does something.
    pub fn own(&mut self, serial: u64, step: Step) {
        let Some(owner) = self.engine.owners.get(&serial) else {
            return;
        };
        let (inside, is_asked, is_away) = (owner.inside, owner.is_asked, self.engine.is_away);
        match step {
            Step::GiveUp if inside.is_none() => self.die(serial, TERMINATED),
            Step::GiveUp => {}
            Step::Look | Step::Fetch | Step::Make if is_asked => self.die(serial, TERMINATED),
            Step::Look | Step::Fetch | Step::Make if is_away => self.no_container(serial),
            Step::Look => self.look_for_container(serial),
            Step::Fetch => self.fetch(serial),
            Step::Make => self.make_container(serial),
            Step::Stop => {
                if let Some(inside) = inside {
                    self.stop_container(serial, inside);
                }
            }
            Step::Ended(_) if is_away && is_asked => self.die(serial, TERMINATED),
            Step::Ended(_) if is_away => self.no_container(serial),
            Step::Ended(Exit::Code(code)) => self.die(serial, Exit::Code(code)),
            Step::Ended(Exit::Signal(number)) => self.die(serial, Exit::Code(128 + number)),
            Step::Ended(Exit::Unknown) => self.no_container(serial),
        }
    }

    fn no_container(&mut self, serial: u64) {
        self.counts.count("container-run without its engine");
        self.say(serial, 60, true);
        self.die(serial, NO_CONTAINER);
    }

    fn look_for_container(&mut self, serial: u64) {
        let Some(Owner { args, .. }) = self.engine.owners.get(&serial) else {
            return;
        };
        let made_of = fingerprint(&args.spec);
        let found = self.engine.containers.get(&args.spec.unit);
        let found = found.map(|found| (found.inside, found.made_of == made_of));
        let found = found.filter(|(inside, _)| self.living(*inside));
        let lag = self.lag();
        match found {
            Some((inside, true)) => {
                if let Some(owner) = self.engine.owners.get_mut(&serial) {
                    owner.inside = Some(inside);
                }
                self.counts.count("container taken over");
                let running = self.running(inside);
                self.notify(serial, format!("X_PISUP_TAKEN_OVER=1\n{running}"));
            }
            Some((inside, false)) => {
                self.counts.count("container made differently");
                self.stop_container(serial, inside);
                self.owner_does(lag + 100, serial, Step::Look);
            }
            None if !self.is_calm() && self.rng.one_in(4) => {
                let usec = 600_000_000_u64;
                self.notify(serial, format!("EXTEND_TIMEOUT_USEC={usec}\nSTATUS=pulling"));
                let span = self.rng.below(20_000);
                self.owner_does(lag + span, serial, Step::Fetch);
            }
            None => self.owner_does(lag, serial, Step::Make),
        }
    }

    fn fetch(&mut self, serial: u64) {
        if !self.is_calm() && self.rng.one_in(4) {
            return self.no_container(serial);
        }
        let lag = self.lag();
        self.owner_does(lag, serial, Step::Make);
    }

    fn make_container(&mut self, serial: u64) {
        let Some(Owner { args, .. }) = self.engine.owners.get(&serial) else {
            return;
        };
        let (unit, made_of) = (args.spec.unit.clone(), fingerprint(&args.spec));
        let old = self.engine.containers.get(&unit).map(|old| old.inside);
        if old.is_some_and(|old| self.living(old)) {
            return self.fail(format!("the container of {unit} is made while another one runs"));
        }
        let Some(inside) = self.fork_from(serial, Role::Inside, true) else {
            return;
        };
        let holds = self.procs.get_mut(&inside).map(|each| {
            (each.parent, each.cgroup, each.notify) = (Parent::Engine, None, None);
            (each.stdout, each.ready_fd) = (None, None);
            std::mem::take(&mut each.holds)
        });
        for id in holds.into_iter().flatten() {
            self.let_go(id);
        }
        self.counts.count("container");
        self.engine.containers.insert(unit, Container { inside, made_of });
        if let Some(owner) = self.engine.owners.get_mut(&serial) {
            owner.inside = Some(inside);
        }
        let running = self.running(inside);
        self.notify(serial, running);
        self.begin_script(inside);
    }

    fn running(&self, inside: u64) -> String {
        let pid = self.procs.get(&inside).map_or(0, |each| each.pid);
        format!("X_PISUP_CONTAINER_PID={pid}\nREADY=1\nSTATUS=\n")
    }

    /// The engine asks a container to end, and kills it after whole seconds, as it counts.
    fn stop_container(&mut self, serial: u64, inside: u64) {
        self.signal(inside, 15);
        let timeout = self.engine.owners.get(&serial).and_then(|own| own.args.stop_timeout_ms);
        if let Some(ms) = timeout {
            self.at((ms / 1000).max(1) * 1000, Event::Die(inside, Exit::Signal(9)));
        }
    }

    /// TERM has reached an owner.
    pub fn owner_asked(&mut self, serial: u64) {
        let Some(owner) = self.engine.owners.get_mut(&serial) else {
            // It has not even begun.
            return self.die(serial, Exit::Signal(15));
        };
        owner.is_asked = true;
        let lag = if self.engine.is_away { 0 } else { self.lag() };
        let soon = self.rng.below(20);
        self.owner_does(lag, serial, Step::Stop);
        self.owner_does(soon, serial, Step::GiveUp);
    }

    /// An owner or a container has ended.
    pub fn contained_ended(&mut self, serial: u64, exit: Exit) {
        self.engine.owners.remove(&serial);
        let owns = |(owner, own): (&u64, &Owner)| (own.inside == Some(serial)).then_some(*owner);
        if let Some(owner) = self.engine.owners.iter().find_map(owns) {
            let lag = self.lag();
            self.owner_does(lag, owner, Step::Ended(exit));
        }
    }

    /// Who hands on what a container says.
    pub fn voice_of(&self, serial: u64) -> Option<u64> {
        let is_inside = self.procs.get(&serial).is_some_and(|each| each.role == Role::Inside);
        if !is_inside {
            return Some(serial);
        }
        let mut owners = self.engine.owners.iter();
        owners.find(|(_, own)| own.inside == Some(serial)).map(|(owner, _)| *owner)
    }

    /// The engine goes away, with its containers or without, or is slow for a while.
    pub fn move_engine(&mut self) {
        if !self.engine.is_there || self.engine.is_away {
            return;
        }
        let span = self.rng.below(15_000);
        self.at(span, Event::EngineBack);
        if self.rng.one_in(2) {
            self.engine.is_slow = true;
            return;
        }
        self.counts.count("engine away");
        self.tell(|| "  the engine goes away".to_owned());
        self.engine.is_away = true;
        if self.rng.one_in(4) {
            let all: Vec<u64> = self.engine.containers.values().map(|each| each.inside).collect();
            for inside in all {
                self.die(inside, Exit::Signal(9));
            }
        }
        for owner in self.owners_of_some() {
            // Of a container in another PID namespace nobody knows whether it lives.
            if self.rng.one_in(8) {
                self.no_container(owner);
            } else {
                self.notify(owner, "STATUS=its engine is away\n".to_owned());
            }
        }
    }

    fn owners_of_some(&self) -> Vec<u64> {
        let live = |serial: &u64| self.procs.get(serial).is_some_and(|p| p.state == State::Live);
        let owners = self.engine.owners.iter().filter(|(_, own)| own.inside.is_some());
        owners.map(|(serial, _)| *serial).filter(live).collect()
    }

    pub fn engine_back(&mut self) {
        self.engine.is_slow = false;
        if std::mem::take(&mut self.engine.is_away) {
            self.tell(|| "  the engine is back".to_owned());
            for owner in self.owners_of_some() {
                self.notify(owner, "STATUS=\n".to_owned());
            }
        }
    }

    /// What is not well with the container of a unit, if anything.
    pub fn container_complaint(&self, doc: &UnitDoc) -> Option<String> {
        let insides = self.procs.values().filter(|p| p.role == Role::Inside && !p.is_dead());
        let own: Vec<&procs::Proc> = insides.filter(|p| p.unit == doc.name).collect();
        let pids: Vec<u32> = own.iter().map(|each| each.pid).collect();
        let is_known = own.iter().any(|each| {
            self.voice_of(each.serial).is_some()
                // Without a record of the earlier life its number is not known.
                && (doc.main_pid == Some(each.pid) || self.lives > 1)
        });
        let name = &doc.name;
        match doc.state.as_str() {
            "ready" if own.len() == 1 && is_known => None,
            "done" if own.is_empty() => None,
            state => Some(format!("{name} is {state}, and its containers are {pids:?}")),
        }
    }

    /// A container that outlives the shutdown of its unit.
    pub fn container_left(&self) -> Option<String> {
        let mut insides = self.procs.values().filter(|p| p.role == Role::Inside && !p.is_dead());
        let left = insides.find(|each| self.graph.find(&each.unit).is_some_and(|u| u.is_container));
        left.map(|each| format!("the container of {} outlives the shutdown", each.unit))
    }
}
