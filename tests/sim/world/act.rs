//! What processes do: scripts that the seed chooses, good ones and bad ones.

use super::container::Step;
use super::kernel::Thing;
use super::procs::{Heeds, State};
use super::role::Role;
use super::{Event, Groups, World};
use crate::graph::{Scope, Unit};
use crate::machine::Exit;
use crate::sys::Errno;
use crate::sys::notify_socket::Datagram;

/// A deed.
#[derive(Clone, Debug)]
pub enum Act {
    Notify(&'static str),
    Say(usize, bool),
    ReadyLine,
    ReadyFd,
    ReadyFile,
    Touch,
    Serve,
    Export,
    Hand,
    Alive,
    Live,
    TermMain,
    Drain,
    Done,
    /// A service that did badly does well.
    Better,
    /// Of an owner of a container.
    Own(Step),
}

impl World {
    fn unit_of(&self, serial: u64) -> Option<Unit> {
        let each = self.procs.get(&serial)?;
        self.graph.find(&each.unit).cloned()
    }

    fn then(&mut self, after: u64, serial: u64, act: Act) {
        self.at(after, Event::Act(serial, act));
    }

    /// A program begins.
    pub fn begin_script(&mut self, serial: u64) {
        let Some(role) = self.procs.get(&serial).map(|each| each.role.clone()) else {
            return;
        };
        let is_good = self.is_calm() || self.rng.percent(70);
        let heeds = self.heeds(is_good);
        if let Some(each) = self.procs.get_mut(&serial) {
            (each.is_good, each.heeds) = (is_good, heeds);
        }
        let soon = self.rng.below(if self.is_calm() { 20 } else { 600 });
        match role {
            Role::Main => {
                self.lock(serial);
                self.begin_service(serial);
            }
            Role::Owner => self.begin_owner(serial),
            Role::Inside => self.begin_service(serial),
            Role::Log => self.then(soon, serial, Act::Drain),
            Role::Own(_) | Role::Keep(..) => self.then(soon, serial, Act::Done),
            Role::Stop => {
                if is_good || self.rng.one_in(2) {
                    self.then(soon / 2, serial, Act::TermMain);
                }
                self.ends(serial, soon, is_good);
            }
            Role::Step | Role::Probe | Role::Reload => {
                if !is_good && self.rng.one_in(2) {
                    self.then(0, serial, Act::Say(40, true));
                }
                self.ends(serial, soon, is_good);
            }
            Role::SelfTest => self.test_itself(serial, soon, is_good),
            Role::Guard => self.begin_guard(serial),
            Role::Child => {}
        }
    }

    /// A command ends well, badly or not at all.
    fn ends(&mut self, serial: u64, after: u64, is_good: bool) {
        if is_good {
            self.at(after, Event::Die(serial, Exit::Code(0)));
        } else if !self.rng.one_in(4) {
            let code = *self.rng.pick(&[1, 42, 0]);
            self.at(after, Event::Die(serial, Exit::Code(code)));
        }
    }

    fn heeds(&mut self, is_good: bool) -> Heeds {
        let exit = *self.rng.pick(&[Exit::Code(0), Exit::Signal(15), Exit::Code(3)]);
        match self.rng.below(8) {
            _ if self.is_calm() => Heeds::After(self.rng.below(50), exit),
            0 if !is_good => Heeds::Never,
            1 => Heeds::After(self.rng.range(500, 8_000), exit),
            _ => Heeds::After(self.rng.below(300), exit),
        }
    }

    fn begin_service(&mut self, serial: u64) {
        let Some(unit) = self.unit_of(serial) else {
            return;
        };
        let is_good = self.procs.get(&serial).is_some_and(|each| each.is_good);
        let mut at = self.rng.below(if self.is_calm() { 50 } else { 500 });
        if unit.exports && (is_good || self.rng.one_in(2)) {
            self.then(at, serial, Act::Export);
            at += 1;
        }
        if unit.is_oneshot {
            return self.ends(serial, at + 5, is_good);
        }
        let fate = if is_good { 9 } else { self.rng.below(5) };
        if fate == 0 {
            let code = *self.rng.pick(&[0, 1, 2, 42]);
            self.at(at, Event::Die(serial, Exit::Code(code)));
            return;
        }
        // Elsewhere the parent alone can be told to be the service.
        let hands = unit.scope == Scope::Tree && unit.gates.contains(&"notify");
        if hands && fate != 1 && !self.is_calm() && self.rng.one_in(8) {
            return self.then(at, serial, Act::Hand);
        }
        if fate == 1 {
            // It is never ready.
            return;
        }
        self.open_gates(serial, &unit, at);
        if fate == 2 {
            let after = at + self.rng.below(5_000);
            let exit = *self.rng.pick(&[Exit::Code(1), Exit::Code(0), Exit::Signal(11)]);
            self.at(after, Event::Die(serial, exit));
        }
        let life = self.rng.range(200, 5_000);
        self.then(life, serial, Act::Live);
    }

    /// All that a service does to be called ready.
    fn open_gates(&mut self, serial: u64, unit: &Unit, mut at: u64) {
        let serves = ["http", "tcp", "unix"];
        self.then(at, serial, Act::Serve);
        for gate in &unit.gates {
            at += self.rng.below(if self.is_calm() { 5 } else { 100 });
            let act = match *gate {
                "notify" => Act::Notify("READY=1"),
                "fd" => Act::ReadyFd,
                "file" if self.rng.one_in(2) => Act::Touch,
                "file" => Act::ReadyFile,
                "log" => Act::ReadyLine,
                gate if serves.contains(&gate) => continue,
                _ => continue,
            };
            self.then(at, serial, act);
        }
        if unit.watchdog_ms.is_some() {
            self.then(at, serial, Act::Alive);
        }
    }

    /// No unit has two main processes.
    pub fn lock(&mut self, serial: u64) {
        let Some(name) = self.procs.get(&serial).map(|each| each.unit.clone()) else {
            return;
        };
        let other = self.procs.values().find(|p| p.is_main && p.unit == name && !p.is_dead());
        if let Some(other) = other {
            let pid = other.pid;
            self.fail(format!("{name} was started while its main process {pid} still runs"));
        }
        if let Some(each) = self.procs.get_mut(&serial) {
            each.is_main = true;
        }
        self.counts.count("main process");
    }

    /// A process does something.
    pub fn act(&mut self, serial: u64, act: Act) {
        if self.procs.get(&serial).is_none_or(|each| each.state != State::Live) {
            return;
        }
        match act {
            Act::Notify(text) => self.notify(serial, text.to_owned()),
            Act::Say(count, ends) => self.say(serial, count, ends),
            Act::ReadyLine => {
                self.write(serial, b"it is up and running\n");
            }
            Act::ReadyFd => self.write_ready(serial),
            Act::ReadyFile | Act::Touch => self.make_ready_file(serial, &act),
            Act::Serve => {
                if let Some(each) = self.procs.get_mut(&serial) {
                    each.serves = true;
                }
            }
            Act::Export => self.export(serial),
            Act::Hand => self.hand_over(serial),
            Act::Alive => {
                self.notify(serial, "WATCHDOG=1".to_owned());
                if self.is_calm() || !self.rng.one_in(8) {
                    self.then(5_000, serial, Act::Alive);
                }
            }
            Act::Live => self.live(serial),
            Act::TermMain => self.term_main(serial),
            Act::Drain => self.drain_log(serial),
            Act::Done => self.do_own(serial),
            Act::Own(step) => self.own(serial, step),
            Act::Better => {
                if let Some(each) = self.procs.get_mut(&serial) {
                    each.serves = true;
                }
                if self.unit_of(serial).is_some_and(|unit| unit.exports) {
                    self.export(serial);
                }
                self.notify(serial, "WATCHDOG=1".to_owned());
            }
        }
    }

    pub fn notify(&mut self, serial: u64, text: String) {
        let Some(each) = self.procs.get(&serial) else {
            return;
        };
        let pid = Some(each.pid);
        let Some(path) = each.notify.clone() else {
            return;
        };
        let Some(super::files::Kind::Socket(id)) = self.files.kind(&path) else {
            return;
        };
        let id = *id;
        self.tell(|| format!("  notify of {pid:?}: {text:?}"));
        if let Some(Thing::Datagrams(queue)) = self.kernel.get_mut(id)
            && queue.len() < 512
        {
            let bytes = text.into_bytes();
            queue.push_back(Datagram { pid, uid: 0, bytes, is_cut: false });
        }
    }

    /// Writes on standard output; with nobody to read it, the process is killed.
    fn write(&mut self, serial: u64, bytes: &[u8]) {
        let voice = self.voice_of(serial).and_then(|voice| self.procs.get(&voice));
        let Some(id) = voice.and_then(|each| each.stdout) else {
            return;
        };
        if let Some(pipe) = self.kernel.writes(id)
            && self.write_pipe(pipe, bytes) == Err(Errno::PIPE)
        {
            self.counts.count("broken pipe");
            self.die(serial, Exit::Signal(13));
        }
    }

    /// Bytes into a pipe; as many as there is room for.
    pub fn write_pipe(&mut self, pipe: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let each = &mut self.kernel.pipes[pipe];
        if each.readers == 0 {
            return Err(Errno::PIPE);
        }
        let count = bytes.len().min(each.room.saturating_sub(each.bytes.len()));
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        each.bytes.extend(&bytes[..count]);
        self.wake_log_writer(pipe);
        Ok(count)
    }

    /// Whoever writes the output to a file reads it from this pipe.
    pub fn wake_log_writer(&mut self, pipe: usize) {
        let reads = |id: Option<usize>| {
            id.is_some_and(|id| matches!(self.kernel.get(id), Some(Thing::Reader(p)) if *p == pipe))
        };
        let live = self.procs.values().filter(|p| p.role == Role::Log && p.state == State::Live);
        let Some(serial) = live.filter(|p| reads(p.stdin)).map(|p| p.serial).next() else {
            return;
        };
        let slow = if self.is_calm() { 1 } else { self.rng.below(3_000) };
        self.then(slow, serial, Act::Drain);
    }

    fn drain_log(&mut self, serial: u64) {
        let Some(id) = self.procs.get(&serial).and_then(|each| each.stdin) else {
            return;
        };
        let Some(Thing::Reader(pipe)) = self.kernel.get(id) else {
            return;
        };
        let pipe = *pipe;
        let pipe = &mut self.kernel.pipes[pipe];
        pipe.bytes.clear();
        if pipe.writers == 0 {
            return self.die(serial, Exit::Code(0));
        }
        if !self.is_calm() && self.rng.one_in(8) {
            self.die(serial, Exit::Code(1));
        }
    }

    pub fn say(&mut self, serial: u64, count: usize, ends: bool) {
        let mut bytes = vec![b'x'; count];
        if ends {
            bytes.push(b'\n');
        }
        self.write(serial, &bytes);
    }

    fn write_ready(&mut self, serial: u64) {
        let id = self.procs.get(&serial).and_then(|each| each.ready_fd);
        if let Some(pipe) = id.and_then(|id| self.kernel.writes(id)) {
            let _ = self.write_pipe(pipe, b"\n");
        }
    }

    fn make_ready_file(&mut self, serial: u64, act: &Act) {
        let Some(unit) = self.unit_of(serial) else {
            return;
        };
        let path = unit.ready_file();
        if matches!(act, Act::Touch) {
            self.remove_file(&path);
            self.touch_file(&path);
            return self.then(1, serial, Act::ReadyFile);
        }
        let _ = self.write_file(&path, b"x");
    }

    fn export(&mut self, serial: u64) {
        let Some(unit) = self.unit_of(serial) else {
            return;
        };
        let mut number = self.rng.below(2);
        if self.is_calm() {
            number = 0;
        }
        let text = format!("NET=10.{number}.0.0/16\n");
        let _ = self.write_file(&unit.values_file(), text.as_bytes());
    }

    /// A child becomes the service, and its parent ends.
    fn hand_over(&mut self, serial: u64) {
        // Without groups nobody finds who leaves the session.
        let has_own_session = self.groups_are != Groups::None && self.rng.one_in(2);
        let Some(child) = self.fork_from(serial, Role::Child, has_own_session) else {
            return;
        };
        let heeds = self.heeds(true);
        if let Some(each) = self.procs.get_mut(&serial) {
            each.is_main = false;
        }
        if let Some(each) = self.procs.get_mut(&child) {
            (each.is_main, each.heeds) = (true, heeds);
        }
        let pid = self.procs.get(&child).map_or(0, |each| each.pid);
        self.notify(serial, format!("MAINPID={pid}\nREADY=1"));
        if let Some(unit) = self.unit_of(serial) {
            self.open_gates(child, &unit, 0);
        }
        self.counts.count("main process handed over");
        let after = self.rng.below(500);
        self.at(after, Event::Die(serial, Exit::Code(0)));
        self.then(3_000, child, Act::Live);
    }

    /// The stop command ends the service in its own way.
    fn term_main(&mut self, serial: u64) {
        let Some(name) = self.procs.get(&serial).map(|each| each.unit.clone()) else {
            return;
        };
        let main = self.procs.values().find(|p| p.is_main && p.unit == name && !p.is_dead());
        if let Some(serial) = main.map(|each| each.serial) {
            self.signal(serial, 15);
        }
    }

    /// A step that the supervisor's own program does.
    fn do_own(&mut self, serial: u64) {
        let Some(role) = self.procs.get(&serial).map(|each| each.role.clone()) else {
            return;
        };
        let is_good = self.is_calm() || !self.rng.one_in(8);
        match role {
            Role::Keep(from, to) => {
                if let (true, Ok(bytes)) = (is_good, self.files.read(&from)) {
                    let directory = to.rsplit_once('/').map_or("/", |(directory, _)| directory);
                    self.make_dir(directory);
                    let _ = self.write_file(&to, &bytes);
                }
            }
            Role::Own(argv) => match argv.get(1).map(String::as_str) {
                Some("make-directory") => self.make_dir(&argv[2]),
                Some("remove-files") => argv.iter().skip(2).for_each(|path| self.remove_file(path)),
                _ => {}
            },
            _ => {}
        }
        self.die(serial, if is_good { Exit::Code(0) } else { Exit::Code(1) });
    }

    /// A service lives, more or less well.
    fn live(&mut self, serial: u64) {
        if self.is_calm() {
            return self.say(serial, 30, true);
        }
        let again = self.rng.range(500, 6_000);
        match self.rng.below(16) {
            0..3 => self.say(serial, 60, true),
            3 => self.say(serial, 100_000, true),
            4 => self.say(serial, 5_000, false),
            5 => self.notify(serial, "STATUS=well".to_owned()),
            6 => self.notify(serial, "\u{0}=\nMAINPID=1\nEXTEND_TIMEOUT_USEC=x".to_owned()),
            7 => {
                self.notify(serial, "RELOADING=1".to_owned());
                if !self.rng.one_in(4) {
                    self.then(300, serial, Act::Notify("READY=1"));
                }
            }
            8 => self.then(0, serial, Act::Export),
            // What a container makes ends with it.
            9 | 10 if self.voice_of(serial) == Some(serial) => self.make_child(serial),
            11 => self.notify(serial, "EXTEND_TIMEOUT_USEC=1000000".to_owned()),
            12 => {
                let exit = *self.rng.pick(&[Exit::Code(0), Exit::Code(1), Exit::Signal(6)]);
                return self.die(serial, exit);
            }
            13 => {
                if let Some(each) = self.procs.get_mut(&serial) {
                    each.serves = !each.serves;
                }
            }
            14 => self.notify(serial, "WATCHDOG=trigger".to_owned()),
            _ => {}
        }
        self.then(again, serial, Act::Live);
    }

    fn make_child(&mut self, serial: u64) {
        // One that outlives its service would be taken for it by the next supervisor.
        let is_swept = self.unit_of(serial).is_some_and(|unit| unit.scope == Scope::Tree);
        let has_own_session = is_swept && self.rng.one_in(3);
        let Some(child) = self.fork_from(serial, Role::Child, has_own_session) else {
            return;
        };
        let heeds = self.heeds(false);
        if let Some(each) = self.procs.get_mut(&child) {
            each.heeds = heeds;
        }
        match self.rng.below(3) {
            0 => self.at(50, Event::Die(child, Exit::Code(0))),
            1 => {
                let after = self.rng.below(10_000);
                self.at(after, Event::Die(child, Exit::Code(1)));
            }
            // It stays for ever, with all that it holds open.
            _ => {}
        }
    }
}
