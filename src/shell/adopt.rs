//! What an earlier supervisor left running: taken over where its main process can be told, else
//! killed before anything is started in its place. Nothing runs twice.
//!
//! This is for a start without a state file ([`super::resume`] is with one): then a unit's main
//! process is the oldest session leader of its group whose parent is not in it: the supervisor
//! starts each one in a session of its own. That it was ready is believed where only the past could
//! show it (a message, a line, a file).

use super::Shell;
use super::children::{Child, Part};
use super::init_link::notify_name;
use super::perform::NoStart;
use crate::config::plan::{Job, KillScope, Reload, Step, Text, Unit};
use crate::machine::spec::Gate;
use crate::machine::{Event, Run, UnitId};
use crate::sys::cgroup::Group;
use crate::sys::child::{self, Stat};
use crate::sys::fd::OwnedFd;
use crate::sys::notify_socket::NotifySocket;
use crate::wire::state::Process;

/// Gates of which nothing more comes from a process that was ready before.
const PAST: [Gate; 4] = [Gate::Notify, Gate::Fd, Gate::File, Gate::Log];

/// What is left of a unit's earlier run.
#[derive(Debug, Default)]
pub enum Leftover {
    /// Nothing.
    #[default]
    Nothing,
    /// Its main process, and a descriptor that means it.
    Main(u32, OwnedFd),
    /// Processes of which none can be told to be the main one.
    Others,
}

impl Shell {
    /// Looks for what is left of all units; before the first step of the machine.
    pub(super) fn find_leftovers(&mut self) {
        for (live, plan) in self.lives.iter_mut().zip(&self.plan.units) {
            let Some(group) = self.cgroups.find(&plan.spec.name) else {
                continue;
            };
            let (members, pids, is_whole) = look_at(&group);
            let found = main_of(&members, &pids).filter(|pid| is_main(plan, *pid));
            // Opened before it is looked at again, so that it is the one that was found.
            let main = found.and_then(|pid| Some((pid, child::pidfd(pid)?)));
            let keeps = plan.stop.kill == KillScope::Main && found.is_none();
            live.leftover = match main.filter(|(pid, _)| group.contains(*pid)) {
                Some((pid, pidfd)) => Leftover::Main(pid, pidfd),
                // A service that keeps its children when it is stopped keeps them now.
                None if is_whole && (keeps || members.is_empty()) => Leftover::Nothing,
                None => Leftover::Others,
            };
            if let Leftover::Main(pid, _) = live.leftover {
                log::info!("{}: still runs as pid {pid}: to be taken over", plan.spec.name);
            }
        }
        self.tell_unknown();
    }

    /// Names what runs of units that are in the configuration no more. It is left: whoever took
    /// them out did not say that they are to be stopped, and nobody knows how they want to be.
    fn tell_unknown(&self) {
        for name in self.cgroups.left() {
            let is_known = self.plan.units.iter().any(|unit| unit.spec.name == name);
            let group = self.cgroups.find(&name).filter(|_| !is_known);
            let pids = group.map(|group| group.members()).unwrap_or_default();
            if let Some(pid) = pids.first() {
                log::warn!("{name} is in the configuration no more; its process {pid} is left");
            }
        }
    }

    /// Wants those that run: whoever was started by name before is not enabled, perhaps.
    pub(super) fn want_leftovers(&mut self) {
        for (index, live) in (0_u16..).zip(&self.lives) {
            if matches!(live.leftover, Leftover::Main(..)) {
                self.inbox.push_back(Event::Start(UnitId(index)));
            }
        }
    }

    /// Leaves a process to the next start of its unit; `false` when it is gone.
    pub(super) fn leave_to(&mut self, unit: UnitId, main: Process) -> bool {
        let pidfd = child::pidfd(main.pid);
        let is_it = child::stat(main.pid).is_some_and(|stat| stat.start_time == main.start_time);
        match (self.lives.get_mut(unit.index()), pidfd.filter(|_| is_it)) {
            (Some(live), Some(pidfd)) => live.leftover = Leftover::Main(main.pid, pidfd),
            _ => return false,
        }
        true
    }

    /// What runs of a unit has to go before its next start.
    pub(super) fn leave_others(&mut self, unit: UnitId) {
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.leftover = Leftover::Others;
        }
    }

    /// Whether a unit's process is there already.
    pub(super) fn is_left_over(&self, unit: UnitId) -> bool {
        let live = self.lives.get(unit.index());
        live.is_some_and(|live| matches!(live.leftover, Leftover::Main(..)))
    }

    /// Ends what was never taken over, because its unit waited for something else all the time.
    pub(super) fn end_leftovers(&mut self) {
        for (live, plan) in self.lives.iter_mut().zip(&self.plan.units) {
            let is_tree = plan.stop.kill == KillScope::Tree;
            match std::mem::take(&mut live.leftover) {
                Leftover::Nothing => {}
                Leftover::Main(pid, pidfd) if !is_tree => {
                    let _ = child::signal(Some(&pidfd), pid, child::KILL);
                }
                Leftover::Main(..) | Leftover::Others => {
                    if let Some(Err(why)) = self.cgroups.find(&plan.spec.name).map(|g| g.kill()) {
                        log::warn!("{why}");
                    }
                }
            }
        }
    }

    /// Kills what cannot be taken over.
    ///
    /// # Errors
    ///
    /// A sentence, while it is not gone: the unit tries again later, as after any failure.
    pub(super) fn clear_the_way(&mut self, unit: UnitId) -> Result<(), String> {
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return Ok(());
        };
        let Some(group) = live.group.as_ref().filter(|_| matches!(live.leftover, Leftover::Others))
        else {
            return Ok(());
        };
        if group.is_empty() {
            live.leftover = Leftover::Nothing;
            return Ok(());
        }
        group.kill()?;
        Err("processes of an earlier run were there without their main one: killed".to_owned())
    }

    /// Takes over the process that runs; `false` when there is none.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be done; the process is left to the next try.
    pub(super) fn take_over_main(&mut self, unit: UnitId, run: Run) -> Result<bool, NoStart> {
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return Ok(false);
        };
        let (pid, pidfd) = match std::mem::take(&mut live.leftover) {
            Leftover::Main(pid, pidfd) => (pid, pidfd),
            other => {
                live.leftover = other;
                return Ok(false);
            }
        };
        // By the descriptor: the number may be another one's by now.
        if child::has_died(&pidfd) {
            return Ok(false);
        }
        if let Err(why) = self.hear_main(unit, run, pid) {
            if let Some(live) = self.lives.get_mut(unit.index()) {
                live.leftover = Leftover::Main(pid, pidfd);
            }
            return Err(NoStart::short(why));
        }
        let start_time = child::stat(pid).map_or(0, |stat| stat.start_time);
        let child = Child::new(unit, run, Part::Main, self.now);
        self.adopt(child, Process { pid, start_time }, self.now);
        drop(pidfd);
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.main = Some(pid);
            body.session = Some(pid);
        }
        self.note(unit, format!("taken over from an earlier supervisor as pid {pid}"));
        self.push(Event::Spawned(unit, run));
        let gates = self.plan.units.get(unit.index()).map(|plan| plan.spec.readiness.gates);
        for gate in PAST.into_iter().filter(|gate| gates.is_some_and(|all| all.has(*gate))) {
            self.push(Event::Held(unit, run, gate));
        }
        Ok(true)
    }

    /// Listens to a process that runs already.
    fn hear_main(&mut self, unit: UnitId, run: Run, pid: u32) -> Result<(), String> {
        self.resume_output(unit, pid);
        self.embody(unit, run)?;
        // One that nobody kept is still open in the process itself.
        if let Err(why) = self.open_sockets(unit) {
            self.note(unit, why);
        }
        let name = self.machine.name(unit).to_owned();
        let path = self.options.run.join("notify").join(&name);
        let kept = self.init.take(&notify_name(&name));
        match kept.and_then(|fd| NotifySocket::resume(&path, fd)) {
            Some(socket) => self.take_notify(unit, run, socket),
            None => self.open_notify(unit, run).map(drop),
        }
    }
}

/// Whether a leader is the main process: no command beside it and, where children outlive it, none
/// of these. A container's owner has no children.
fn is_main(plan: &Unit, pid: u32) -> bool {
    let Job::Command(command) = &plan.job else {
        return true;
    };
    let word = child::first_word(pid);
    let is = |exec: &[Text]| {
        let first = exec.first().and_then(|text| text.render(|_, _| None).ok());
        first.is_some_and(|first| first.into_bytes() == word)
    };
    if word.is_empty() || is(&command.exec) {
        return true;
    }
    // A script goes by the name of its interpreter.
    plan.stop.kill != KillScope::Main && !beside(plan).any(is)
}

/// What is executed for a unit beside its main process, and before it.
fn beside(plan: &Unit) -> impl Iterator<Item = &[Text]> {
    let steps = plan.prepare.iter().filter_map(|prepare| match &prepare.step {
        Step::Exec(exec) => Some(exec.as_slice()),
        _ => None,
    });
    let reload = plan.reload.iter().filter_map(|reload| match reload {
        Reload::Exec { exec, .. } => Some(exec.as_slice()),
        Reload::Signal(_) => None,
    });
    let health = plan.health.iter().filter_map(|health| health.probes.exec.as_deref());
    let probes = plan.ready.probes.exec.as_deref().into_iter().chain(health);
    steps.chain(reload).chain(probes).chain([plan.stop.exec.as_slice()])
}

/// The session leaders of a group whose parents are not in it, and whether all could be looked at.
pub(super) fn leaders(group: &Group) -> (Vec<(u32, Stat)>, bool) {
    let (members, all, is_whole) = look_at(group);
    (leaders_of(&members, &all).collect(), is_whole)
}

/// The living of a group, the numbers of all who are in it, and whether all of those could be
/// looked at: who could not, for want of a descriptor, may be the one that is searched for.
fn look_at(group: &Group) -> (Vec<(u32, Stat)>, Vec<u32>, bool) {
    let all = group.members();
    let mut is_whole = !all.is_empty() || group.is_empty();
    let mut members = Vec::new();
    for pid in &all {
        match child::stat(*pid) {
            Some(stat) if !stat.is_zombie() => members.push((*pid, stat)),
            Some(_) => {}
            None => is_whole &= !child::is_there(*pid),
        }
    }
    (members, all, is_whole)
}

/// `all` has those, too, of whom nothing more is known than that they are there.
fn leaders_of(members: &[(u32, Stat)], all: &[u32]) -> impl Iterator<Item = (u32, Stat)> {
    let is_member = |pid: u32| all.contains(&pid);
    let leaders = members.iter().filter(|(pid, stat)| stat.session == *pid);
    leaders.filter(move |(_, stat)| !is_member(stat.parent)).copied()
}

/// The oldest session leader whose parent is not among them.
fn main_of(members: &[(u32, Stat)], all: &[u32]) -> Option<u32> {
    let oldest = leaders_of(members, all).min_by_key(|(_, stat)| stat.start_time);
    oldest.map(|(pid, _)| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: u32, session: u32, start_time: u64) -> Stat {
        Stat { state: 'S', parent, group: session, session, start_time }
    }

    #[test]
    fn the_main_process_leads_a_session_and_is_the_oldest() {
        let service = (10, stat(1, 10, 5));
        let worker = (11, stat(10, 10, 6));
        // A shell that the service gave a session of its own.
        let shell = (12, stat(10, 12, 7));
        let probe = (13, stat(1, 13, 9));
        let all = [10, 11, 12, 13];
        assert_eq!(main_of(&[probe, shell, worker, service], &all), Some(10));
        assert_eq!(main_of(&[shell, worker], &all), None, "its parent cannot be looked at");
        assert_eq!(main_of(&[worker], &[11]), None);
        assert_eq!(main_of(&[], &[]), None);
    }
}
