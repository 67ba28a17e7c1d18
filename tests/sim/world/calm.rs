//! The end of a history: nothing goes wrong any more, and then everything has to be well.

use std::collections::BTreeMap;

use super::client::Kind;
use super::kernel::Thing;
use super::procs::{Parent, State};
use super::role::Role;
use super::{Event, Groups, World};
use crate::graph::Scope;
use crate::machine::Exit;
use crate::wire::ctl::reply::UnitDoc;
use crate::wire::ctl::{Reply, Request, StatusDoc};

/// How long everything may take to be well again, in milliseconds.
const PATIENCE_MS: u64 = 1_200_000;
/// How long a shutdown may take: its own deadline, and what is killed has a moment to vanish.
const SHUTDOWN_MS: u64 = 140_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Reload,
    Start,
    Status,
    Ending,
}

#[derive(Debug)]
pub struct Calm {
    step: Step,
    since: u64,
    judge: Option<u64>,
    /// Looks in a row at which all was well.
    good_looks: u32,
    /// What was not.
    complaint: String,
}

impl World {
    /// Nothing goes wrong any more.
    pub fn begin_calm(&mut self) {
        self.tell(|| "all is calm from now on".to_owned());
        self.fault_rate = None;
        self.crash_at = None;
        self.is_sink_full = false;
        self.graph.is_broken = false;
        self.is_synced = true;
        self.set_wall(0);
        self.set_route(true);
        for unit in self.graph.units.clone() {
            let path = unit.wait_path();
            if let Some((directory, _)) = path.rsplit_once('/') {
                self.make_dir(directory);
            }
            let _ = self.write_file(&path, b"x");
            if unit.exports {
                // Somebody has seen to what a command that is done did not say.
                let _ = self.write_file(&unit.values_file(), b"NET=10.0.0.0/16\n");
            }
        }
        let calm = Calm {
            step: Step::Reload,
            since: self.now,
            judge: None,
            good_looks: 0,
            complaint: String::new(),
        };
        self.calm = Some(calm);
        self.dismiss_clients();
        self.engine_back();
        let mains: Vec<u64> = self
            .procs
            .values()
            .filter(|p| p.is_main && p.role != Role::Owner || p.role == Role::Inside)
            .map(|each| each.serial)
            .collect();
        for serial in mains {
            self.at(50, Event::Act(serial, super::act::Act::Better));
        }
        // Services that were made badly stay so; whoever is stuck for ever is not waited for.
        let stuck: Vec<u64> = self
            .procs
            .values()
            .filter(|p| !matches!(p.role, Role::Main | Role::Child))
            .filter(|p| matches!(p.role, Role::Reload | Role::Step | Role::Stop | Role::SelfTest))
            .map(|p| p.serial)
            .collect();
        for serial in stuck {
            self.at(1_000, Event::Die(serial, Exit::Code(1)));
        }
        self.at(100, Event::Calm);
    }

    pub fn calm_goes_on(&mut self) {
        let Some(mut calm) = self.calm.take() else {
            return;
        };
        let age = self.now - calm.since;
        if calm.step == Step::Ending {
            if age > SHUTDOWN_MS {
                self.fail("the shutdown does not end".to_owned());
            }
        } else {
            if age > PATIENCE_MS {
                let what = calm.complaint.clone();
                self.fail(format!("{:?} is not well after {age} ms: {what}", calm.step));
            }
            self.judge(&mut calm);
        }
        let again = if age < 20_000 { 500 } else { 5_000 };
        self.calm = Some(calm);
        self.at(again, Event::Calm);
    }

    fn judge(&mut self, calm: &mut Calm) {
        let Some(id) = calm.judge else {
            return self.ask(calm);
        };
        let Some(client) = self.clients.get(&id) else {
            calm.judge = None;
            return;
        };
        let is_cut_off = !self.conns[client.conn].is_ours_open;
        let is_late = self.now - client.since > 60_000;
        if client.is_answered {
            let conn = client.conn;
            self.conns[conn].is_theirs_open = false;
            let replies = self.clients.remove(&id).map(|client| client.replies);
            calm.judge = None;
            self.hear_answer(calm, &replies.unwrap_or_default());
        } else if is_cut_off {
            self.clients.remove(&id);
            calm.judge = None;
        } else if is_late {
            self.fail(format!("no answer to {:?} for a minute", calm.step));
        }
    }

    fn ask(&mut self, calm: &mut Calm) {
        let request = match calm.step {
            Step::Reload => Request::ReloadConfig { no_wait: true, dry_run: false },
            Step::Start => {
                let units = self.graph.units.iter().map(|unit| unit.name.clone()).collect();
                Request::Start { units, no_wait: true }
            }
            Step::Status | Step::Ending => Request::Status { unit: None },
        };
        calm.judge = self.connect(Kind::Judge, request.to_line());
    }

    fn hear_answer(&mut self, calm: &mut Calm, replies: &[Reply]) {
        if self.is_ending {
            calm.step = Step::Ending;
            return;
        }
        if let Some(Reply::Error(error)) = replies.last() {
            let what = format!("{:?} is refused: {}", calm.step, error.message);
            return self.fail(what);
        }
        match calm.step {
            Step::Reload => calm.step = Step::Start,
            Step::Start => calm.step = Step::Status,
            Step::Status | Step::Ending => {
                let status = replies.iter().find_map(|reply| match reply {
                    Reply::Status(status) => Some(status),
                    _ => None,
                });
                let complaint = status.and_then(|status| self.complaint(status));
                calm.good_looks = if complaint.is_none() { calm.good_looks + 1 } else { 0 };
                calm.complaint = complaint.unwrap_or_default();
                let has_failed = |doc: &UnitDoc| ["failed", "down"].contains(&doc.state.as_str());
                if status.is_some_and(|status| status.units.iter().any(has_failed)) {
                    // What is left of the bad times may end for good; only a command leads out.
                    calm.step = Step::Start;
                }
                if calm.good_looks >= 3 {
                    self.begin_end(calm);
                }
            }
        }
    }

    fn begin_end(&mut self, calm: &mut Calm) {
        self.tell(|| "all is well".to_owned());
        calm.step = Step::Ending;
        calm.since = self.now;
        if self.rng.one_in(2) {
            self.signals.term = true;
        } else {
            let no_wait = self.rng.one_in(2);
            self.connect(Kind::Asks, Request::Shutdown { no_wait }.to_line());
        }
    }

    /// What is not well, if anything.
    fn complaint(&self, status: &StatusDoc) -> Option<String> {
        if status.units.len() != self.graph.units.len() {
            return Some(format!("{} units are known", status.units.len()));
        }
        for doc in &status.units {
            let is_container = self.graph.find(&doc.name).is_some_and(|unit| unit.is_container);
            if let Some(what) = is_container.then(|| self.container_complaint(doc)).flatten() {
                return Some(what);
            }
            let mains = self.procs.values().filter(|p| p.is_main && p.unit == doc.name);
            let mains: Vec<u32> = mains.filter(|p| !p.is_dead()).map(|each| each.pid).collect();
            match doc.state.as_str() {
                "ready"
                    if mains.len() == 1 && [doc.pid, doc.main_pid].contains(&Some(mains[0])) => {}
                "done" if mains.is_empty() => {}
                // Without a record of the earlier life a child may be taken for its dead parent.
                "ready" if self.lives > 1 && self.is_of(doc) => {}
                state => {
                    let (name, waits) = (&doc.name, &doc.waiting_for);
                    let (pid, cause) = (doc.pid, &doc.cause);
                    return Some(format!(
                        "{name} is {state} ({cause}; {waits:?}) as {pid:?}, and {mains:?} run"
                    ));
                }
            }
        }
        self.stray().or_else(|| self.descriptor_too_many()).or_else(|| self.client_left())
    }

    /// Whether what is called a unit's main process is a process of that unit.
    fn is_of(&self, doc: &UnitDoc) -> bool {
        let own = doc.pid.and_then(|pid| self.proc_of(pid));
        own.is_some_and(|each| each.unit == doc.name && !each.is_dead())
    }

    /// A process that nobody should have left.
    fn stray(&self) -> Option<String> {
        self.procs.values().find_map(|each| {
            let (pid, role, unit) = (each.pid, &each.role, &each.unit);
            if each.is_dead() && each.parent == Parent::Supervisor {
                return Some(format!("{pid} ({role:?} of {unit}) is a zombie"));
            }
            match role {
                Role::Step
                | Role::Stop
                | Role::Reload
                | Role::Own(_)
                | Role::SelfTest
                | Role::Guard => Some(format!("{pid} ({role:?} of {unit}) still runs")),
                Role::Main if !each.is_main && each.state == State::Live => {
                    Some(format!("{pid} of {unit} still runs, although it handed over"))
                }
                Role::Child => {
                    let is_swept = self.graph.scopes.get(unit) == Some(&Scope::Tree);
                    let is_told = self.groups_are != Groups::None && each.cgroup.is_some();
                    let has_family = self
                        .procs
                        .values()
                        .any(|main| main.is_main && main.family == each.family && !main.is_dead());
                    let is_stray = is_swept && is_told && !has_family && self.lives == 1;
                    is_stray.then(|| format!("{pid}, a child of a dead {unit}, still runs"))
                }
                _ => None,
            }
        })
    }

    /// A descriptor that nobody needs.
    fn descriptor_too_many(&self) -> Option<String> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for thing in self.kernel.held() {
            *count.entry(thing.word()).or_default() += 1;
            if let Thing::Pidfd(serial) = thing
                && !self.procs.contains_key(serial)
            {
                return Some("a descriptor of a process that is gone is open".to_owned());
            }
        }
        let units = &self.graph.units;
        let has = |what: fn(&crate::graph::Unit) -> bool| units.iter().filter(|u| what(u)).count();
        let services = has(|unit| !unit.is_oneshot);
        let most: [(&str, usize); 17] = [
            ("epoll", 1),
            ("signals", 1),
            ("inotify", 1),
            ("lock", 1),
            ("sink", 1),
            ("link", 1),
            ("end", 0),
            ("alarm", 0),
            ("monitor", 0),
            ("emptied", 0),
            ("watchdog", 1),
            ("datagrams", has(|unit| unit.is_notified() && !unit.is_oneshot)),
            ("listener", 2 + has(|unit| unit.has_socket)),
            ("stream", self.clients.len() + 2 * services + 2),
            ("reader", 3 * units.len()),
            ("writer", 2 * units.len()),
            ("segment", units.len()),
        ];
        most.iter().find_map(|(word, most)| {
            let open = count.get(word).copied().unwrap_or_default();
            let own = self.kernel.held().filter(|thing| thing.word() == *word);
            (open > *most).then(|| {
                let own: Vec<&Thing> = own.collect();
                format!("{open} descriptors ({word}) are open, not {most}: {own:?}")
            })
        })
    }

    /// A client that still waits.
    fn client_left(&self) -> Option<String> {
        let asks = self.clients.values().find(|client| client.kind == Kind::Asks)?;
        Some(format!("a client still waits: {}", asks.asks))
    }

    /// The node's own file.
    pub fn node_text(&self) -> String {
        let mut text = "role = \"master\"\nname = \"pi\"\ninterface = \"eth0\"\n".to_owned();
        text += "address = \"10.0.0.7\"\n";
        if self.graph.has_watchdog {
            text += "[watchdog]\ndevice = \"/dev/watchdog\"\n";
        }
        text
    }
}

impl World {
    /// The supervisor has ended as it was asked to: what is left?
    pub fn after_the_end(&self) -> Result<(), String> {
        if !self.was_asked {
            return Err("the supervisor ended, and nobody had asked for it".to_owned());
        }
        let is_told = self.groups_are != Groups::None;
        let left = self.procs.values().find(|each| {
            let scope = self.graph.find(&each.unit).map(|unit| unit.scope);
            let is_tree = scope == Some(Scope::Tree) && is_told && each.cgroup.is_some();
            (each.is_main || is_tree && !each.is_dead()) && self.lives == 1
        });
        match left {
            Some(each) => {
                let (pid, role, unit) = (each.pid, &each.role, &each.unit);
                Err(format!("{pid} ({role:?} of {unit}) outlives the shutdown"))
            }
            None if self.is_calm() => self.container_left().map_or(Ok(()), Err),
            None => Ok(()),
        }
    }
}
