//! The shell: owns every descriptor, carries events to the machine and does what it answers.
//!
//! One thread, one epoll. A turn of the loop is: wait, take what came (bounded), let the machine
//! step through all of it, let clients hear of it. Nothing here decides what becomes of a unit,
//! and nothing here waits for anything but epoll.

pub mod activation;
pub mod adopt;
pub mod boot;
pub mod capture;
pub mod children;
pub mod client;
pub mod conditions;
pub mod container;
pub mod control;
pub mod exits;
pub mod exports;
pub mod history;
pub mod init_link;
pub mod jobs;
pub mod journal;
pub mod launch;
pub mod live;
pub mod load;
pub mod log_file;
pub mod notify;
pub mod output;
pub mod patience;
pub mod perform;
pub mod probe;
pub mod probing;
pub mod queries;
pub mod record;
pub mod reload;
pub mod resume;
pub mod ring;
pub mod spool;
pub mod starting;
pub mod status;
pub mod token;
pub mod upgrade;
pub mod view;
pub mod watch;
pub mod watchdog;
pub mod watching;

pub use boot::supervise;
pub use load::{defaults, load};
pub use upgrade::self_test;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use self::activation::Activation;
use self::children::Children;
use self::client::Client;
use self::conditions::Conditions;
use self::init_link::InitLink;
use self::live::Live;
use self::queries::Queries;
use self::record::Record;
use self::token::Token;
use self::watching::Watching;
use crate::config::plan::Plan;
use crate::machine::{Action, Event, Machine, Spec, Tick, UnitId};
use crate::sys::Fault;
use crate::sys::cgroup::Cgroups;
use crate::sys::fd::OwnedFd;
use crate::sys::notifier::Notifier;
use crate::sys::poll::{Poll, Ready};
use crate::sys::signals::Signals;

/// Where a supervisor finds and puts its things.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration directory.
    pub config: PathBuf,
    /// The run-time directory.
    pub run: PathBuf,
    /// The directory for what outlives a power cut.
    pub state: PathBuf,
}

/// A supervisor.
pub struct Shell {
    options: Options,
    /// The configuration in force; indexed like the machine's units.
    plan: Plan,
    machine: Machine,
    lives: Vec<Live>,
    children: Children,
    inbox: VecDeque<Event>,
    poll: Poll,
    signals: Signals,
    init: InitLink,
    watchdog: Option<watchdog::Fed>,
    control: OwnedFd,
    /// For those who may only ask.
    queries: Option<Queries>,
    clients: BTreeMap<u32, Client>,
    next_client: u32,
    cgroups: Cgroups,
    activation: Activation,
    conditions: Conditions,
    watching: Watching,
    /// The init that started the supervisor, if it wants to know.
    above: Notifier,
    /// This program, for the helpers that are parts of it.
    own_program: PathBuf,
    boot_id: String,
    /// What is left to the next supervisor.
    record: Record,
    /// What an earlier one has left, and the units that it did not know.
    remembered: Option<record::Remembered>,
    /// Another program that is tried, to take the place of this one.
    trial: Option<upgrade::Trial>,
    /// Held as long as this process supervises.
    lock: OwnedFd,
    /// pisup-init has told all that it knows by then.
    init_until: Option<Tick>,
    /// What is wrong with the node as a whole.
    warnings: Vec<String>,
    started: Tick,
    /// CLOCK_BOOTTIME of this turn.
    now: Tick,
    /// Changes of state ever; numbers the history.
    changes: u64,
    /// Times that units got other ids.
    reloads: u64,
    /// Units that changed in this turn.
    touched: BTreeSet<UnitId>,
    /// No client is let in until then.
    deaf_until: Option<Tick>,
    /// When it was looked last for what could not be seen before.
    looked: Tick,
    /// There may be dead of whom no signal tells: more than one turn takes, or, at first, those of
    /// another program in this process.
    has_more_dead: bool,
    /// The machine did not carry out the last command: the unit, and whom it conflicts with.
    refused: Option<(UnitId, Vec<UnitId>)>,
    /// Everything has ended, but for these.
    halted: Option<Vec<UnitId>>,
}

impl Shell {
    /// Runs until everything has been shut down.
    ///
    /// # Errors
    ///
    /// The kernel refuses to wait, which nothing can be done about.
    fn run(&mut self) -> Result<(), Fault> {
        let mut ready = Vec::new();
        while self.halted.is_none() {
            let timeout = if self.has_more_dead {
                Some(0)
            } else {
                self.next_deadline().map(|at| at.since(self.now))
            };
            self.poll.wait(timeout, &mut ready)?;
            self.look_at_clock();
            self.turn(&ready);
        }
        Ok(())
    }

    fn turn(&mut self, ready: &[Ready]) {
        let mut has_signal = self.has_more_dead;
        let reloads = self.reloads;
        for each in ready {
            if self.reloads != reloads {
                // The other tokens name units by their old ids; epoll tells of them once more.
                break;
            }
            match Token::from_number(each.token) {
                // The dead are looked at last: what they said before counts.
                Some(Token::Signals) => has_signal = true,
                Some(token) => self.take(token, *each),
                None => {}
            }
        }
        if has_signal {
            self.on_signals();
        }
        self.pass_deadlines();
        self.pump();
        self.publish();
        self.advance_clients();
        self.end_trial();
        journal::drain(&self.poll, Token::Journal.to_number());
    }

    fn take(&mut self, token: Token, ready: Ready) {
        if matches!(token, Token::Notify(_) | Token::Spawn(_) | Token::MainPid(_)) {
            self.record.is_stale = true;
        }
        match token {
            Token::Signals => self.on_signals(),
            Token::Journal => {}
            Token::Control => self.on_control(),
            Token::Queries => self.on_queries(),
            Token::Client(id) => {
                // It must not see a half of what has happened: a dead process of a unit in force.
                self.pump();
                self.on_client(id, ready);
            }
            Token::Watch => self.on_watch(),
            Token::Network => self.on_network(),
            Token::Notify(unit) => self.on_notify(unit),
            Token::ReadyFd(unit) => self.on_ready_fd(unit),
            Token::Output(unit) => self.on_output(unit),
            Token::MainPid(unit) => self.on_main_pid(unit),
            Token::Probe(unit, slot) => self.on_probe(unit, slot, ready),
            Token::Spawn(pid) => self.on_spawn(pid),
            Token::Init => self.on_init(),
            Token::Emptied(unit) => self.on_emptied(unit),
        }
    }

    /// Hands an event to the machine, after the values that it may be about.
    fn push(&mut self, event: Event) {
        if let Event::Spawned(unit, _) | Event::Held(unit, ..) = event {
            // A value must be known before its unit is, or users start with the old one.
            self.read_exports(unit);
        }
        self.inbox.push_back(event);
    }

    /// Lets the machine step through all events, and does what it answers.
    fn pump(&mut self) {
        if self.machine.next_deadline().is_some_and(|at| at <= self.now) {
            self.inbox.push_back(Event::Timer);
        }
        while let Some(event) = self.inbox.pop_front() {
            let actions = self.machine.step(event, self.now);
            self.record.is_stale = true;
            if actions.iter().any(|each| matches!(each, Action::Spawn(..) | Action::Prepare(..))) {
                // The next supervisor must not take a process for that of an earlier run.
                self.publish();
            }
            for action in actions {
                self.perform(action);
            }
            if self.inbox.is_empty() {
                self.follow_phases();
            }
        }
        self.bury_the_retired();
        // Whoever is told of a change can rely on it.
        self.publish();
        if self.record.is_true() {
            self.init.recorded();
        }
    }

    /// Probes, watches and conditions are what the phases ask for, whatever led to them.
    fn follow_phases(&mut self) {
        self.look_at_conditions();
        self.look_at_probes();
    }

    fn next_deadline(&self) -> Option<Tick> {
        let silent = self.children.oldest_pending();
        [
            self.machine.next_deadline(),
            silent.map(|since| since.after(starting::EXEC_PATIENCE_MS)),
            self.conditions.next_deadline(),
            self.probes_deadline(),
            self.watchdog_deadline(),
            self.patience_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn pass_deadlines(&mut self) {
        self.abandon_the_silent();
        self.pass_probe_deadlines();
        self.feed_watchdog();
        self.pass_patience();
        if self.conditions.next_deadline().is_some_and(|at| at <= self.now) {
            self.look_at_world();
        }
    }

    /// What the machine knows of all units.
    fn specs(&self) -> Vec<Spec> {
        self.machine.units().map(|(_, spec, _)| spec.clone()).collect()
    }
}
