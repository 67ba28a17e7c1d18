//! The world in memory: a clock, processes, files, connections, and whoever does something next.
//!
//! The supervisor runs until it waits; then the next thing happens, at its own time. In the middle
//! of the supervisor's work time may pass too, and more things happen.

pub mod act;
pub mod calm;
pub mod chaos;
pub mod client;
pub mod conn;
pub mod container;
pub mod files;
pub mod found;
pub mod init;
pub mod kernel;
pub mod kind;
pub mod procs;
pub mod role;
pub mod upgrade;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::calm::Calm;
use self::client::Client;
use self::conn::Conn;
use self::container::Engine;
use self::files::Files;
use self::found::Found;
use self::init::Init;
use self::kernel::{Id, Kernel, Thing};
use self::kind::Kind;
use self::procs::Proc;
use self::upgrade::{Origin, Upgrades};
use crate::graph::Graph;
use crate::rng::Rng;
use crate::sys::Errno;
use crate::sys::poll::Ready;
use crate::sys::signals::Arrived;

/// Turns of the loop in which nothing happens in the world: more is a loop that spins.
const SPINS_MAX: u32 = 3_000;
/// Calls of one turn: more is a turn that does not end.
const CALLS_MAX: u32 = 300_000;
/// Where the clock begins: pids of a machine that has just been started are young.
const START_MS: u64 = 10_000;
/// The wall clock at that instant; it is 2026.
const START_WALL_MS: i64 = 1_780_000_000_000;
const JOURNAL_LINES: usize = 400;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Does something in the world.
pub fn with<T>(deed: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| {
        deed(world.get_or_insert_with(|| World::new(0, Kind::PLAIN, false)))
    })
}

/// Begins another world.
pub fn begin(world: World) {
    WORLD.with_borrow_mut(|old| *old = Some(world));
}

/// Why a supervisor does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was killed.
    Crash,
    /// Another program is in its place.
    Replaced,
    /// Something is wrong, and the world says what.
    Wrong,
}

/// In which form control groups are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    V2,
    V1,
    None,
}

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub enum Event {
    Exec(u64),
    Act(u64, act::Act),
    Die(u64, crate::machine::Exit),
    Serve(usize),
    Client(u64),
    Guard(u64),
    EngineBack,
    Chaos,
    FaultsEnd,
    Calm,
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub turns: u64,
    pub calls: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub things: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub fn count(&mut self, what: &'static str) {
        *self.things.entry(what).or_default() += 1;
    }
}

pub struct World {
    /// Tells descriptors of earlier worlds from those of this one.
    pub history: u64,
    pub rng: Rng,
    pub now: u64,
    wall_offset: i64,
    pub kernel: Kernel,
    pub files: Files,
    pub procs: BTreeMap<u64, Proc>,
    pub pids: BTreeMap<u32, u64>,
    pub freed: VecDeque<u32>,
    /// What children said that were reaped before they were heard.
    pub failed: BTreeMap<u64, String>,
    pub next_serial: u64,
    pub next_pid: u32,
    pub conns: Vec<Conn>,
    pub clients: BTreeMap<u64, Client>,
    pub next_client: u64,
    pub groups: BTreeSet<String>,
    pub groups_are: Groups,
    pub has_pidfd: bool,
    pub init: Init,
    pub upgrades: Upgrades,
    pub engine: Engine,
    /// What the supervisor that begins has to leave as it is.
    pub found: Found,
    /// How the last main process of each unit ended, and whether it was the supervisor's child.
    pub ends: BTreeMap<String, (bool, crate::machine::Exit)>,
    pub graph: Graph,
    pub signals: Arrived,
    pub is_sink_full: bool,
    pub is_synced: bool,
    pub has_route: bool,
    pub watchdog_fed: u64,
    /// The supervisor's pid.
    pub supervisor: u32,
    pub lives: u32,
    /// Those that ended in a row while the system refused nothing.
    pub barren: u32,
    /// It is killed, or ending for another reason: nothing that it does counts.
    pub is_dead: bool,
    /// It is killed at that call.
    pub crash_at: Option<u64>,
    pub is_up: bool,
    pub events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// Errors come once in so many calls.
    pub fault_rate: Option<u64>,
    pub calm: Option<Calm>,
    /// Events before all is calm.
    pub wild_events: u64,
    pub is_ending: bool,
    /// Somebody has asked for the end, this supervisor or one before it.
    pub was_asked: bool,
    pub turns: u64,
    spins: u32,
    turn_calls: u32,
    pub counts: Counts,
    pub wrong: Option<String>,
    /// What happened, for people who want to see one history.
    pub tale: Option<VecDeque<String>>,
    pub lines: Vec<u8>,
}

impl World {
    pub fn new(seed: u64, kind: Kind, tells: bool) -> Self {
        let mut rng = Rng::new(seed);
        let graph = Graph::new(&mut rng, kind.containers);
        let groups_are = match rng.below(10) {
            0 => Groups::None,
            1 | 2 => Groups::V1,
            _ => Groups::V2,
        };
        let mut world = Self {
            history: seed,
            now: START_MS,
            wall_offset: START_WALL_MS,
            kernel: Kernel::default(),
            files: Files::default(),
            procs: BTreeMap::new(),
            pids: BTreeMap::new(),
            freed: VecDeque::new(),
            failed: BTreeMap::new(),
            next_serial: 1,
            next_pid: 300,
            conns: Vec::new(),
            clients: BTreeMap::new(),
            next_client: 1,
            groups: BTreeSet::new(),
            groups_are,
            has_pidfd: !rng.one_in(10),
            init: Init { is_there: !rng.one_in(4), ..Init::default() },
            upgrades: Upgrades::of(kind),
            engine: Engine::of(kind),
            found: Found::default(),
            ends: BTreeMap::new(),
            graph,
            signals: Arrived::default(),
            is_sink_full: false,
            is_synced: rng.one_in(2),
            has_route: rng.one_in(2),
            watchdog_fed: 0,
            supervisor: 0,
            lives: 0,
            barren: 0,
            is_dead: false,
            crash_at: None,
            is_up: false,
            events: BTreeMap::new(),
            next_event: 0,
            fault_rate: None,
            calm: None,
            wild_events: rng.range(200, 400),
            is_ending: false,
            was_asked: false,
            turns: 0,
            spins: 0,
            turn_calls: 0,
            counts: Counts::default(),
            wrong: None,
            tale: tells.then(VecDeque::new),
            lines: Vec::new(),
            rng,
        };
        for directory in ["/", "/run", "/etc", "/var", "/var/log", "/u"] {
            world.files.add_dir(directory);
        }
        world.at(0, Event::Chaos);
        world
    }

    pub fn wall(&self) -> i64 {
        self.wall_offset.saturating_add(self.now as i64)
    }

    pub const fn is_calm(&self) -> bool {
        self.calm.is_some()
    }

    /// The wall clock is set by so much.
    pub fn set_wall(&mut self, by: i64) {
        self.wall_offset += by;
        for open in self.kernel.open.iter_mut().flatten() {
            if let Thing::Alarm(_, is_set) = &mut open.thing {
                *is_set = true;
            }
        }
    }

    pub fn set_route(&mut self, has_route: bool) {
        self.has_route = has_route;
        for open in self.kernel.open.iter_mut().flatten() {
            if let Thing::Monitor(is_changed) = &mut open.thing {
                *is_changed = true;
            }
        }
    }

    /// Something is not as it has to be; the first word counts.
    pub fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(tale) = &mut self.tale {
            tale.push_back(format!("{:>8} {}", self.now, what()));
            if tale.len() > JOURNAL_LINES * 40 {
                tale.pop_front();
            }
        }
    }

    /// The supervisor's own log.
    pub fn journal(&mut self, bytes: &[u8]) {
        if self.tale.is_some() {
            self.lines.extend_from_slice(bytes);
            while let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let line = line.get(25..).unwrap_or_default().to_owned();
                self.tell(|| format!("                    | {line}"));
            }
        }
    }

    pub fn told_above(&mut self, lines: &str) {
        match lines {
            "STOPPING=1" => (self.is_ending, self.was_asked) = (true, true),
            "READY=1" => self.end_found(),
            _ => {}
        }
    }

    /// Something happens after so many milliseconds.
    pub fn at(&mut self, after: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + after, self.next_event), event);
    }

    /// A call of the supervisor.
    pub fn call(&mut self, errors: &[Errno]) -> Result<Result<(), Errno>, Stop> {
        if self.is_dead {
            return Ok(Ok(()));
        }
        self.counts.calls += 1;
        self.turn_calls += 1;
        if self.turn_calls > CALLS_MAX {
            self.fail("a turn of the loop does not end".to_owned());
        }
        if self.wrong.is_some() {
            self.is_dead = true;
            return Err(Stop::Wrong);
        }
        self.killed()?;
        if self.rng.one_in(512) {
            let span = if self.rng.one_in(8) { 200 } else { 4 };
            let span = self.rng.below(span);
            self.pass(span);
        }
        Ok(self.draw_fault(errors))
    }

    /// Whether it is killed now.
    fn killed(&mut self) -> Result<(), Stop> {
        if self.crash_at.is_none_or(|at| at > self.counts.calls) {
            return Ok(());
        }
        self.crash_at = None;
        self.is_dead = true;
        self.counts.count("crash");
        self.tell(|| "the supervisor is killed".to_owned());
        Err(Stop::Crash)
    }

    /// Time goes on, with all that happens in it.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some((&(time, number), _)) = self.events.first_key_value() {
            if time > until || self.wrong.is_some() {
                break;
            }
            if let Some(event) = self.events.remove(&(time, number)) {
                self.now = self.now.max(time);
                self.happen(event);
            }
        }
        self.now = self.now.max(until);
    }

    /// The supervisor waits.
    pub fn wait(
        &mut self,
        epoll: Id,
        timeout_ms: Option<u64>,
        out: &mut Vec<Ready>,
    ) -> Result<(), Stop> {
        if self.is_dead {
            return Ok(());
        }
        self.turns += 1;
        self.counts.turns += 1;
        self.turn_calls = 0;
        self.spins += 1;
        if self.spins > SPINS_MAX {
            self.fail("the loop turns, and nothing happens".to_owned());
        }
        if self.turns.is_multiple_of(16) {
            self.pass(1);
        }
        let deadline = timeout_ms.map(|ms| self.now + ms);
        loop {
            if self.wrong.is_some() {
                self.is_dead = true;
                return Err(Stop::Wrong);
            }
            self.killed()?;
            self.ready(epoll, out);
            if !out.is_empty() {
                if self.rng.one_in(6) {
                    // Busy elsewhere: more comes together.
                    let span = self.rng.below(20);
                    self.pass(span);
                    out.clear();
                    self.ready(epoll, out);
                }
                return Ok(());
            }
            let next = self.events.first_key_value().map(|(&(time, _), _)| time);
            match (next, deadline) {
                (Some(next), deadline) if deadline.is_none_or(|at| next <= at) => {
                    self.pass(next.saturating_sub(self.now));
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    return Ok(());
                }
                _ => self.fail("nothing will ever happen again".to_owned()),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        self.spins = 0;
        self.counts.events += 1;
        match event {
            Event::Exec(serial) => self.exec(serial),
            Event::Act(serial, act) => self.act(serial, act),
            Event::Die(serial, exit) => self.die(serial, exit),
            Event::Serve(conn) => self.serve(conn),
            Event::Client(id) => self.client_goes_on(id),
            Event::Guard(serial) => self.guard_goes_on(serial),
            Event::EngineBack => self.engine_back(),
            Event::Chaos => self.chaos(),
            Event::FaultsEnd => self.fault_rate = None,
            Event::Calm => self.calm_goes_on(),
        }
    }

    /// A supervisor begins.
    pub fn begin_life(&mut self) {
        let origin = self.become_supervisor();
        self.is_dead = false;
        self.is_up = true;
        self.is_ending = false;
        (self.spins, self.turn_calls) = (0, 0);
        match origin {
            // It reads the configuration anew, and leaves what is in that no more; and it knows
            // what the program before it knew if the system does not refuse to read it.
            Origin::Replaced | Origin::Guard(_) => self.lives += 1,
            Origin::Started => {
                self.lives += 1;
                self.init_begins();
            }
        }
        self.look_at_found(origin);
        let (groups, init, pidfd) = (self.groups_are, self.init.is_there, self.has_pidfd);
        self.tell(|| format!("a supervisor begins; groups {groups:?}, init {init}, pidfd {pidfd}"));
        let state = self.files.read("/run/pisup/state").unwrap_or_default();
        self.tell(|| format!("its state file:\n{}", String::from_utf8_lossy(&state)));
    }

    /// It has ended as it was asked to. Where it could not remove its file, the next one reads that
    /// a shutdown is under way, and ends, too.
    pub fn end_well(&mut self) {
        self.was_asked = self.files.kind("/run/pisup/state").is_some();
        self.counts.count("end, and begun again");
        if self.lives == 1 {
            self.lives = 0;
        }
    }

    /// It has ended: all that it held is closed, and its children are init's.
    pub fn end_life(&mut self) {
        self.is_up = false;
        self.is_dead = true;
        for fd in 0..self.kernel.fds.len() {
            self.close(fd);
        }
        self.forget_inherited();
        self.init_loses_supervisor();
        self.orphan_all();
        let pid = self.supervisor;
        self.free_pid(pid);
        self.supervisor = 0;
    }
}
