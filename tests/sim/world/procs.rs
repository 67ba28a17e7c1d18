//! Processes: born, executed, signalled, dead, reaped.

use super::kernel::{Id, Thing};
use super::role::{Role, role_of};
use super::{Event, World};
use crate::machine::Exit;
use crate::sys::Errno;
use crate::sys::init_link::Frame;

/// Who reaps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    Supervisor,
    Init,
    /// Of containers; nobody hears of their ends.
    Engine,
    Proc(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not executed its program yet.
    Forked,
    Live,
    Dead(Exit),
}

/// What a forked child says of its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Nothing,
    Runs,
    Failed(String),
}

/// What TERM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heeds {
    /// It ends after so many milliseconds.
    After(u64, Exit),
    Never,
}

/// What a child is made of.
pub struct Birth {
    pub argv: Vec<String>,
    pub notify: Option<(String, String)>,
    pub stdin: Option<Id>,
    pub stdout: Option<Id>,
    pub sockets: Vec<Id>,
    pub extra: Vec<Id>,
    pub cgroup: Option<String>,
}

#[derive(Debug)]
pub struct Proc {
    /// Never given twice, unlike its pid.
    pub serial: u64,
    pub pid: u32,
    pub parent: Parent,
    pub group: u32,
    pub session: u32,
    pub cgroup: Option<String>,
    pub state: State,
    pub role: Role,
    pub unit: String,
    /// The process that the supervisor started, of which it comes.
    pub family: u64,
    pub argv: Vec<String>,
    pub notify: Option<String>,
    pub stdin: Option<Id>,
    pub stdout: Option<Id>,
    pub ready_fd: Option<Id>,
    /// All that it holds open.
    pub holds: Vec<Id>,
    pub start: u64,
    pub heeds: Heeds,
    pub is_stopped: bool,
    pub pending: Option<u8>,
    pub report: Report,
    /// It answers on its unit's port and socket.
    pub serves: bool,
    /// It is its unit's main process.
    pub is_main: bool,
    /// What it does it does well.
    pub is_good: bool,
}

impl Proc {
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead(_))
    }

    /// Whether it counts as a member of that group.
    pub fn is_in(&self, group: &str) -> bool {
        !self.is_dead() && self.cgroup.as_deref() == Some(group)
    }
}

impl World {
    pub fn new_pid(&mut self) -> u32 {
        if self.freed.len() > 2 && self.rng.one_in(3) {
            let pid = self.freed.pop_front().unwrap_or_default();
            if self.is_pid_free(pid) {
                self.counts.count("pid used again");
                return pid;
            }
        }
        self.next_pid += 1;
        self.next_pid
    }

    /// The kernel gives a number to nobody while a group or a session has it.
    fn is_pid_free(&self, pid: u32) -> bool {
        pid != 0
            && pid != self.supervisor
            && !self.procs.values().any(|p| [p.pid, p.group, p.session].contains(&pid))
    }

    pub fn free_pid(&mut self, pid: u32) {
        self.freed.push_back(pid);
        if self.freed.len() > 16 {
            self.freed.pop_front();
        }
    }

    pub fn proc_of(&self, pid: u32) -> Option<&Proc> {
        self.procs.get(self.pids.get(&pid)?)
    }

    pub fn parent_pid(&self, of: &Proc) -> u32 {
        match of.parent {
            Parent::Supervisor => self.supervisor,
            Parent::Init | Parent::Engine => 1,
            Parent::Proc(serial) => self.procs.get(&serial).map_or(1, |parent| parent.pid),
        }
    }

    /// The supervisor forks.
    pub fn fork(&mut self, birth: Birth) -> (u64, u32) {
        let pid = self.new_pid();
        self.next_serial += 1;
        let serial = self.next_serial;
        let (unit, role) = role_of(&birth.argv, birth.cgroup.as_deref());
        // It closes all others before it does anything that may take its time.
        let passed = birth.sockets.iter().chain(&birth.extra).copied();
        let holds: Vec<Id> = passed.chain(birth.stdin).chain(birth.stdout).collect();
        for id in &holds {
            self.kernel.hold(*id);
        }
        let ready_fd = birth.extra.first().copied();
        let each = Proc {
            serial,
            pid,
            parent: Parent::Supervisor,
            group: pid,
            session: pid,
            cgroup: birth.cgroup,
            state: State::Forked,
            role,
            unit,
            family: serial,
            argv: birth.argv,
            notify: birth.notify.map(|(_, path)| path),
            stdin: birth.stdin,
            stdout: birth.stdout,
            ready_fd,
            holds,
            start: self.now,
            heeds: Heeds::After(0, Exit::Signal(15)),
            is_stopped: false,
            pending: None,
            report: Report::Nothing,
            serves: false,
            is_main: false,
            is_good: true,
        };
        self.tell(|| format!("  fork {pid}: {}", each.argv.join(" ")));
        self.check_begun(&each.unit, &each.role);
        self.procs.insert(serial, each);
        self.pids.insert(pid, serial);
        self.counts.count("fork");
        let delay = match self.rng.below(20) {
            0 if !self.is_calm() && self.rng.one_in(6) => 40_000,
            0 => self.rng.below(2_000),
            1..6 => self.rng.below(20),
            _ => 0,
        };
        self.at(delay, Event::Exec(serial));
        (serial, pid)
    }

    /// A process makes another one.
    pub fn fork_from(&mut self, parent: u64, role: Role, has_own_session: bool) -> Option<u64> {
        let pid = self.new_pid();
        self.next_serial += 1;
        let serial = self.next_serial;
        let start = self.now;
        let from = self.procs.get(&parent)?;
        let (group, session) =
            if has_own_session { (pid, pid) } else { (from.group, from.session) };
        let holds = from.holds.clone();
        let each = Proc {
            serial,
            pid,
            parent: Parent::Proc(parent),
            group,
            session,
            cgroup: from.cgroup.clone(),
            state: State::Live,
            role,
            unit: from.unit.clone(),
            family: from.family,
            argv: from.argv.clone(),
            notify: from.notify.clone(),
            stdin: None,
            stdout: from.stdout,
            ready_fd: from.ready_fd,
            holds,
            start,
            heeds: Heeds::After(0, Exit::Signal(15)),
            is_stopped: false,
            pending: None,
            report: Report::Runs,
            serves: false,
            is_main: false,
            is_good: from.is_good,
        };
        for id in &each.holds {
            self.kernel.hold(*id);
        }
        self.tell(|| format!("  child {pid} of {}", each.unit));
        self.procs.insert(serial, each);
        self.pids.insert(pid, serial);
        self.counts.count("child");
        Some(serial)
    }

    /// A forked child executes its program, or cannot.
    pub fn exec(&mut self, serial: u64) {
        let fails = !self.is_calm() && self.rng.one_in(40);
        let Some(each) = self.procs.get_mut(&serial) else {
            return;
        };
        if each.state != State::Forked {
            return;
        }
        if fails {
            each.report = Report::Failed("no such file or directory".to_owned());
            self.counts.count("exec fails");
            return self.die(serial, Exit::Code(127));
        }
        each.state = State::Live;
        each.report = Report::Runs;
        let pending = each.pending.take();
        self.begin_script(serial);
        if let Some(signal) = pending {
            self.die(serial, Exit::Signal(signal));
        }
    }

    /// Whether a child has said something of its program.
    pub fn has_report(&self, serial: u64) -> bool {
        self.procs.get(&serial).is_none_or(|p| p.report != Report::Nothing || p.is_dead())
    }

    /// What a child said; who says that it failed is reaped by that.
    pub fn report(&mut self, serial: u64) -> Option<Result<Vec<String>, String>> {
        let Some(each) = self.procs.get(&serial) else {
            return Some(self.failed.remove(&serial).map_or_else(|| Ok(Vec::new()), Err));
        };
        match (&each.report, each.is_dead()) {
            (Report::Nothing, false) => None,
            (Report::Failed(why), _) => {
                let why = why.clone();
                self.forget(serial);
                self.failed.remove(&serial);
                Some(Err(why))
            }
            _ => Some(Ok(Vec::new())),
        }
    }

    pub fn signal_from_supervisor(&mut self, serial: u64, number: u8) -> Result<(), Errno> {
        let Some(each) = self.procs.get(&serial) else {
            return Err(Errno::SRCH);
        };
        let (pid, is_family) = (each.pid, each.parent);
        self.tell(|| format!("  signal {number} to {pid} ({is_family:?})"));
        if matches!(number, 9 | 15) {
            self.check_found(serial);
        }
        self.signal(serial, number);
        Ok(())
    }

    /// A signal reaches a process.
    pub fn signal(&mut self, serial: u64, number: u8) {
        let Some(each) = self.procs.get_mut(&serial).filter(|each| !each.is_dead()) else {
            return;
        };
        match number {
            9 => self.die(serial, Exit::Signal(9)),
            18 => each.is_stopped = false,
            19 | 20 => each.is_stopped = true,
            _ if each.state == State::Forked => each.pending = Some(number),
            1 | 10 | 12 if each.role.heeds_hup() => {}
            2 | 15 if each.role == Role::Owner => self.owner_asked(serial),
            2 | 15 => {
                // A process that is stopped is continued by whoever ends it.
                if let Heeds::After(ms, exit) = each.heeds {
                    each.heeds = Heeds::Never;
                    self.at(ms, Event::Die(serial, exit));
                }
            }
            other => self.die(serial, Exit::Signal(other)),
        }
    }

    /// The end of a process, whose body waits for its parent.
    pub fn die(&mut self, serial: u64, exit: Exit) {
        let Some(each) = self.procs.get_mut(&serial).filter(|each| !each.is_dead()) else {
            return;
        };
        each.state = State::Dead(exit);
        each.serves = false;
        let main = std::mem::take(&mut each.is_main).then(|| each.unit.clone());
        let holds = std::mem::take(&mut each.holds);
        let (pid, parent, group) = (each.pid, each.parent, each.cgroup.clone());
        self.tell(|| format!("  {pid} ends: {exit:?}"));
        if let Some(name) = main {
            self.note_end(&name, parent, exit);
        }
        for id in holds {
            self.let_go(id);
        }
        for conn in 0..self.conns.len() {
            if self.conns[conn].server == Some(serial) {
                self.conns[conn].is_theirs_open = false;
            }
        }
        self.counts.count("death");
        if self.engine.is_there {
            self.contained_ended(serial, exit);
        }
        self.leave_children(serial);
        if let Some(group) = group
            && !self.procs.values().any(|each| each.is_in(&group))
        {
            for open in self.kernel.open.iter_mut().flatten() {
                if let Thing::Emptied(name, is_told) = &mut open.thing
                    && *name == group
                {
                    *is_told = true;
                }
            }
        }
        match parent {
            Parent::Supervisor => self.signals.child = true,
            Parent::Init => self.init_reaps(serial),
            Parent::Proc(_) | Parent::Engine => self.forget(serial),
        }
    }

    /// Children of a dead process go to the nearest one that takes orphans.
    fn leave_children(&mut self, serial: u64) {
        let is_ours = self.comes_from_supervisor(serial);
        let heir = if is_ours && self.is_up { Parent::Supervisor } else { Parent::Init };
        let children: Vec<u64> = self
            .procs
            .values()
            .filter(|each| each.parent == Parent::Proc(serial))
            .map(|each| each.serial)
            .collect();
        for child in children {
            self.adopt(child, heir);
        }
    }

    fn comes_from_supervisor(&self, serial: u64) -> bool {
        let mut parent = self.procs.get(&serial).map(|each| each.parent);
        while let Some(Parent::Proc(next)) = parent {
            parent = self.procs.get(&next).map(|each| each.parent);
        }
        parent == Some(Parent::Supervisor)
    }

    fn adopt(&mut self, child: u64, heir: Parent) {
        let Some(each) = self.procs.get_mut(&child) else {
            return;
        };
        each.parent = heir;
        if each.is_dead() {
            match heir {
                Parent::Supervisor => self.signals.child = true,
                _ => self.init_reaps(child),
            }
        }
    }

    /// The supervisor is gone: its children are init's, and the dead among them are told.
    pub fn orphan_all(&mut self) {
        let children: Vec<u64> = self
            .procs
            .values()
            .filter(|each| each.parent == Parent::Supervisor)
            .map(|each| each.serial)
            .collect();
        for child in children {
            self.adopt(child, Parent::Init);
        }
    }

    fn init_reaps(&mut self, serial: u64) {
        if let Some(Proc { pid, state: State::Dead(exit), .. }) = self.procs.get(&serial) {
            let frame = Frame::Exit(*pid, *exit);
            self.forget(serial);
            self.init_tells_exit(frame);
        }
    }

    /// One of the supervisor's dead, in any order.
    pub fn reap_any(&mut self) -> Option<(u32, Exit)> {
        let dead = self.procs.values().filter(|each| each.parent == Parent::Supervisor);
        let dead: Vec<(u64, u32, Exit)> = dead
            .filter_map(|each| match each.state {
                State::Dead(exit) => Some((each.serial, each.pid, exit)),
                _ => None,
            })
            .collect();
        if dead.is_empty() {
            return None;
        }
        let (serial, pid, exit) = *self.rng.pick(&dead);
        self.forget(serial);
        self.counts.count("reaped");
        Some((pid, exit))
    }

    /// Nothing is left of it.
    fn forget(&mut self, serial: u64) {
        if let Some(each) = self.procs.remove(&serial) {
            if let Report::Failed(why) = each.report {
                self.failed.insert(serial, why);
            }
            self.pids.remove(&each.pid);
            self.free_pid(each.pid);
        }
    }
}
