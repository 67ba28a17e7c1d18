//! The loop: one supervisor at a time, its link, the dead, and the signals.

use std::fmt;
use std::os::fd::AsFd;

use pisup::sys::every_signal::EverySignal;
use pisup::sys::init_link::{Link, Name, PROGRAM, Power, VARIABLE};
use pisup::sys::poll::{Interest, MAX_READY, Poll, Ready};
use pisup::sys::spawn::{DEFAULT_PATH, Request, SpawnError, Standing, Stdio};
use pisup::sys::{child, clock, reason};

use child::{Exit, Found};

use super::console::{Console, Errno, Words};
use super::exits::Exits;
use super::keeper::{Keeper, Verdict};
use super::options::Options;
use super::store::Store;
use super::talk::{Doom, Meals, PINGS, Pulse};
use super::{end, last_resort};

/// Signals by number; these are the same on every machine that there are Pis of.
const HUP: u32 = 1;
const INT: u32 = 2;
const USR1: u32 = 10;
const USR2: u32 = 12;
const PWR: u32 = 30;
/// SIGTERM.
pub const TERM: u8 = 15;

const SIGNALS: u64 = 0;
/// What epoll calls the link.
pub(super) const LINK: u64 = 1;

/// Signals, frames and dead children that are looked at in one turn, each.
pub(super) const BATCH: usize = 64;

/// Milliseconds for an ordered shutdown about which the supervisor has said nothing: its default
/// of two minutes, and some.
const PATIENCE_MS: u64 = 150_000;
/// Milliseconds after which a start is tried again that the kernel had no room for.
const RETRY_MS: u64 = 1000;
/// Milliseconds between starts of a supervisor that nobody can rescue.
const HOPELESS_MS: u64 = 30_000;

/// What the supervisor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is to be started then.
    Waiting(u64),
    /// It runs: its process, and since when.
    Running(u32, u64),
    /// A person looks.
    Rescue,
    /// It has ended, and meant it.
    Ended,
}

/// The whole of this program.
pub struct Init {
    pub(super) is_pid_1: bool,
    pub(super) console: Console,
    signals: EverySignal,
    pub(super) poll: Poll,
    ready: Vec<Ready>,
    pub(super) supervisor: Standing,
    rescue: Standing,
    let_go: Standing,
    phase: Phase,
    keeper: Keeper,
    pub(super) link: Option<Link>,
    pub(super) store: Store,
    pub(super) exits: Exits,
    pub(super) pulse: Option<Pulse>,
    pub(super) ping_every_ms: u64,
    /// The supervisor was killed, and has not died yet.
    pub(super) doom: Option<Doom>,
    pub(super) meals: Option<Meals>,
    /// A hook, the rescue shell or another child that is no orphan; and how the last one ended.
    helper: Option<u32>,
    helper_exit: Option<Exit>,
    /// What comes after the supervisor, if the machine is to end.
    pub(super) next: Option<Power>,
    /// An ordered shutdown was asked for, and is given up then.
    pub(super) ending_by: Option<u64>,
    has_children: bool,
    /// More have died than one turn takes.
    pub(super) has_more_dead: bool,
    /// The supervisor wants to know of all who have died.
    pub(super) is_asked: bool,
    code: u8,
}

/// A program with the environment that this one was given.
pub fn program(argv: Vec<String>) -> Result<Standing, SpawnError> {
    Standing::new(&with_environment(argv))
}

fn with_environment(argv: Vec<String>) -> Request<'static> {
    let mut request = Request::new(argv);
    let own = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let is_fit = |key: &str| key != VARIABLE && !key.is_empty() && !key.contains('=');
    request.env = own.filter(|(key, _)| is_fit(key)).collect();
    if !request.env.iter().any(|(key, _)| key == "PATH") {
        request.env.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    request
}

impl Init {
    /// Makes everything ready; all memory is taken here.
    pub fn new(options: &Options, is_pid_1: bool) -> Result<Self, String> {
        let text = |error: SpawnError| error.to_string();
        let console = Console::open().map_err(|error| error.to_string())?;
        let signals = EverySignal::take(last_resort).map_err(reason)?;
        let poll = Poll::new().map_err(|fault| fault.to_string())?;
        poll.add(signals.as_fd(), SIGNALS, Interest::Read).map_err(|fault| fault.to_string())?;
        let mut argv = vec![options.supervisor.clone(), "supervise".to_owned()];
        argv.extend(options.arguments.iter().cloned());
        let mut request = with_environment(argv);
        request.env.push((VARIABLE.to_owned(), "0".to_owned()));
        let rescue: Vec<&str> = options.rescue.iter().map(String::as_str).collect();
        let own = "/proc/self/exe".to_owned();
        if !is_pid_1 && child::become_subreaper().is_err() {
            console.say(format_args!("orphans go to the init above: no PR_SET_CHILD_SUBREAPER"));
        }
        Ok(Self {
            is_pid_1,
            console,
            signals,
            poll,
            ready: Vec::with_capacity(MAX_READY),
            supervisor: Standing::new(&request).map_err(text)?,
            rescue: program(vec!["sh".to_owned()])
                .and_then(|shell| shell.among(&rescue))
                .map_err(text)?
                .on_terminal(),
            let_go: program(vec![own, end::LET_GO.to_owned()]).map_err(text)?,
            phase: Phase::Waiting(0),
            keeper: Keeper::new(options.settled_after_ms),
            link: None,
            store: Store::new(),
            exits: Exits::new(),
            pulse: None,
            ping_every_ms: options.hang_after_ms / u64::from(PINGS),
            doom: None,
            meals: None,
            helper: None,
            helper_exit: None,
            next: None,
            ending_by: None,
            has_children: false,
            has_more_dead: false,
            is_asked: false,
            code: 0,
        })
    }

    /// Says something on the console.
    pub fn say(&self, text: fmt::Arguments<'_>) {
        self.console.say(text);
    }

    /// Goes on until there is nothing to go on for; never, as PID 1.
    pub fn run(&mut self) -> u8 {
        loop {
            self.pass_deadlines();
            if self.phase == Phase::Ended {
                if !self.is_pid_1 {
                    return self.code;
                }
                if let Some(power) = self.next.take() {
                    self.power_down(power);
                }
            }
            self.turn(None);
        }
    }

    /// Waits for what comes, until `by` or until something of our own is due, and takes it.
    fn turn(&mut self, by: Option<u64>) {
        let now = clock::boottime().0;
        let at_once = self.has_more_dead.then_some(now);
        let due = [by, self.deadline(), at_once].into_iter().flatten().min();
        let mut ready = std::mem::take(&mut self.ready);
        let _ = self.poll.wait(due.map(|at| at.saturating_sub(now)), &mut ready);
        self.ready = ready;
        for _ in 0..BATCH {
            match self.signals.next() {
                Some(number) => self.on_signal(number),
                None => break,
            }
        }
        self.hear();
        self.reap();
        self.relay();
    }

    fn deadline(&self) -> Option<u64> {
        let start = match self.phase {
            Phase::Waiting(at) => Some(at),
            Phase::Running(..) | Phase::Rescue | Phase::Ended => None,
        };
        let ping = self.pulse.map(|pulse| pulse.next);
        let doom = self.doom.filter(|doom| !doom.is_past).map(|doom| doom.by);
        let meal = self.meals.map(|meals| meals.next);
        [start, self.ending_by, ping, doom, meal].into_iter().flatten().min()
    }

    fn pass_deadlines(&mut self) {
        let now = clock::boottime().0;
        self.look_at_doom(now);
        self.feed_watchdog(now);
        match self.phase {
            Phase::Waiting(at) if at <= now => self.start_supervisor(now),
            Phase::Running(pid, _) if self.ending_by.is_some_and(|by| by <= now) => {
                self.say(format_args!("the shutdown takes too long: pisup supervise is killed"));
                self.kill_supervisor(pid, now);
                self.ending_by = Some(now + PATIENCE_MS);
            }
            Phase::Running(pid, _) => self.feel_pulse(pid, now),
            Phase::Rescue if self.helper.is_none() => self.phase = Phase::Waiting(now),
            Phase::Waiting(_) | Phase::Rescue | Phase::Ended => {}
        }
    }

    fn start_supervisor(&mut self, now: u64) {
        match self.try_start() {
            Ok(pid) => {
                self.phase = Phase::Running(pid, now);
                self.has_children = true;
            }
            Err(errno) => {
                self.say(format_args!("starting pisup supervise: {}", Errno(errno)));
                self.drop_link();
                self.phase = Phase::Waiting(now + RETRY_MS);
            }
        }
    }

    fn on_signal(&mut self, number: u32) {
        match (number, self.is_pid_1) {
            (HUP, _) => self.on_hup(),
            (INT, true) => self.wish(Some(Power::Reboot)),
            (USR1, true) => self.wish(Some(Power::Halt)),
            (USR2 | PWR, true) => self.wish(Some(Power::Off)),
            (number, true) if number == u32::from(TERM) => self.wish(Some(Power::Reboot)),
            (number, false) if number == INT || number == u32::from(TERM) => self.wish(None),
            _ => {}
        }
    }

    fn on_hup(&mut self) {
        match self.phase {
            Phase::Running(pid, _) => drop(child::signal(None, pid, 1)),
            Phase::Waiting(_) | Phase::Ended if self.next.is_none() => {
                self.phase = Phase::Waiting(0);
                self.ending_by = None;
            }
            Phase::Waiting(_) | Phase::Rescue | Phase::Ended => {}
        }
    }

    /// An ordered end; of the machine, if there is something to come after it.
    fn wish(&mut self, next: Option<Power>) {
        self.next = next;
        match self.phase {
            Phase::Running(pid, _) => {
                if self.ending_by.is_none() {
                    self.ending_by = Some(clock::boottime().0 + PATIENCE_MS);
                }
                let _ = child::signal(None, pid, TERM);
            }
            Phase::Waiting(_) | Phase::Rescue | Phase::Ended => self.phase = Phase::Ended,
        }
    }

    /// Takes the dead, at most a batch of them.
    fn reap(&mut self) {
        self.has_more_dead = false;
        for _ in 0..BATCH {
            let (pid, exit) = match child::reap_one() {
                Found::Dead(pid, exit) => (pid, exit),
                Found::Alive => return,
                Found::Nobody => return self.has_children = false,
            };
            match self.phase {
                Phase::Running(own, since) if own == pid => self.supervisor_died(exit, since),
                _ if self.helper == Some(pid) => {
                    self.helper = None;
                    self.helper_exit = Some(exit);
                }
                _ => self.exits.push(pid, exit),
            }
        }
        self.has_more_dead = true;
    }

    fn supervisor_died(&mut self, exit: Exit, since: u64) {
        // Its last words count, however many they are.
        while self.link.is_some() {
            self.hear();
        }
        self.doom = None;
        let now = clock::boottime().0;
        let is_meant = exit == Exit::Code(0);
        if is_meant || self.ending_by.is_some() || self.next.is_some() {
            if !is_meant {
                self.say(format_args!("pisup supervise: {}", Words(exit)));
                self.code = 1;
            }
            // Nobody comes back for what it kept.
            self.store.clear();
            self.ending_by = None;
            self.phase = Phase::Ended;
            if self.is_pid_1 && self.next.is_none() {
                self.say(format_args!("all is down; kill -HUP 1 starts it again"));
            }
            return;
        }
        let verdict = self.keeper.died(since, now);
        if verdict == Verdict::Rescue
            && let Some(name) = Name::new(PROGRAM)
        {
            // What is installed may be better than what was kept.
            self.store.drop(name);
        }
        self.phase = match verdict {
            Verdict::StartIn(ms) => {
                self.say(format_args!(
                    "pisup supervise: {}; started again in {} s",
                    Words(exit),
                    ms / 1000
                ));
                Phase::Waiting(now + ms)
            }
            Verdict::Rescue if self.is_pid_1 => self.call_a_person(exit, now),
            Verdict::Rescue => {
                self.say(format_args!("pisup supervise: {}; it keeps dying", Words(exit)));
                Phase::Waiting(now + HOPELESS_MS)
            }
        };
    }

    fn call_a_person(&mut self, exit: Exit, now: u64) -> Phase {
        self.say(format_args!("pisup supervise: {}, for the fifth time in a minute", Words(exit)));
        self.say(format_args!("services go on; this is a shell, and its end is another try"));
        let stdio = Stdio { stdin: self.console.input(), output: self.console.output() };
        match self.rescue.start(stdio) {
            Ok(pid) => {
                self.helper = Some(pid);
                Phase::Rescue
            }
            Err(errno) => {
                self.say(format_args!("starting a shell: {}", Errno(errno)));
                Phase::Waiting(now + HOPELESS_MS)
            }
        }
    }

    /// Starts a child that is waited for.
    pub fn start_helper(&mut self, program: &Standing) -> Result<u32, String> {
        let stdio = Stdio { stdin: self.console.input(), output: self.console.output() };
        let pid = program.start(stdio).map_err(reason)?;
        self.helper = Some(pid);
        self.helper_exit = None;
        self.has_children = true;
        Ok(pid)
    }

    /// Starts the helper that lets go of the disks.
    pub fn start_let_go(&mut self) -> Result<u32, Errno> {
        let stdio = Stdio { stdin: self.console.input(), output: self.console.output() };
        let pid = self.let_go.start(stdio).map_err(Errno)?;
        self.helper = Some(pid);
        self.helper_exit = None;
        Ok(pid)
    }

    /// How the helper ended; `None` if it has not until then (CLOCK_BOOTTIME, milliseconds).
    pub fn await_helper(&mut self, until: u64) -> Option<Exit> {
        while self.helper.is_some() && clock::boottime().0 < until {
            self.turn(Some(until));
        }
        if self.helper.is_some() { None } else { self.helper_exit }
    }

    /// Whether no process is left at that time.
    pub fn await_nobody(&mut self, until: u64) -> bool {
        self.has_children = true;
        self.reap();
        while self.has_children && clock::boottime().0 < until {
            self.turn(Some(until));
        }
        !self.has_children
    }
}
