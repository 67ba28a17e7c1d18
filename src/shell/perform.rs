//! Actions to deeds: what the machine asks for is done here, and its result becomes an event.

use super::Shell;
use super::children::{Child, Part};
use super::history::Entry;
use super::launch::{Launch, Values, process_of};
use super::live::{Body, Live};
use super::token::Token;
use crate::config::plan::{Job, KillScope, Unit};
use crate::machine::{Action, Cause, Event, Exit, Run, State, UnitId};
use crate::sys::cgroup::{Emptied, Group};
use crate::sys::fd::AsFd;
use crate::sys::poll::Interest;
use crate::sys::spawn::{self, Request, SpawnError};
use crate::sys::{Errno, child, clock, user};

impl Shell {
    /// Does one thing. What comes of it at once is in the inbox after that.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Look(unit) => self.look_for(unit),
            Action::Prepare(unit, run, step) => {
                let prepared = |why| Event::Prepared(unit, run, step, Err(why));
                if let Err(error) = self.prepare(unit, run, step) {
                    self.inbox.push_back(error.event(unit, run, prepared));
                }
            }
            Action::Spawn(unit, run) => {
                let failed = |why| Event::SpawnFailed(unit, run, why);
                if let Err(error) = self.start_main(unit, run) {
                    self.inbox.push_back(error.event(unit, run, failed));
                }
            }
            Action::Terminate(unit, run) => self.terminate(unit, run),
            Action::Kill(unit, run) => self.kill(unit, run),
            Action::Sweep(unit, run) => self.sweep(unit, run),
            Action::Release(unit, run) => self.release(unit, run),
            Action::Changed { unit, from, to, cause } => self.changed(unit, from, to, &cause),
            Action::Note(unit, cause) => {
                let state = self.machine.unit(unit).map_or(State::Down, |state| state.state());
                let sentence = self.sentence(&cause);
                self.remember(unit, state, state, &sentence);
                self.note(unit, sentence);
            }
            Action::Refused(unit, rivals) => {
                log::warn!("{}", self.refusal(unit, &rivals));
                self.refused = Some((unit, rivals));
            }
            Action::Halt(undead) => self.halted = Some(undead),
        }
    }

    /// A cause in words, with the names of units.
    pub(super) fn sentence(&self, cause: &Cause) -> String {
        cause.sentence(|unit| self.machine.name(unit))
    }

    /// Keeps a note on a unit, and writes it to the log; what is said again and again only once.
    pub(super) fn note(&mut self, unit: UnitId, text: String) {
        let live = self.lives.get_mut(unit.index());
        self.record.is_stale = true;
        if live.as_ref().is_none_or(|live| live.notes.back() != Some(&text)) {
            log::warn!("{}: {text}", self.machine.name(unit));
        }
        if let Some(live) = live {
            live.note(text);
        }
    }

    fn changed(&mut self, unit: UnitId, from: State, to: State, cause: &Cause) {
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return;
        };
        let sentence = cause.sentence(|unit| self.machine.name(unit));
        if cause.is_failure() {
            live.failures += 1;
            live.failure.clone_from(&sentence);
        }
        // How the process ended after it had failed is not why it failed.
        let sentence = match to {
            State::Backoff | State::Failed if !cause.is_failure() => live.failure.clone(),
            State::Down | State::Waiting | State::Done if cause.is_aftermath() => {
                live.cause.clone()
            }
            _ => sentence,
        };
        live.since = self.now;
        live.cause.clone_from(&sentence);
        log::info!("{}: {from} -> {to}: {sentence}", self.machine.name(unit));
        self.remember(unit, from, to, &sentence);
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return;
        };
        if to == State::Preparing || (to == State::Starting && from != State::Preparing) {
            live.notes.clear();
        }
        self.touched.insert(unit);
    }

    fn remember(&mut self, unit: UnitId, from: State, to: State, cause: &str) {
        self.changes += 1;
        let cause = cause.to_owned();
        let entry = Entry { number: self.changes, at: self.now, from, to, cause };
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.history.push(entry);
        }
    }

    /// The body of a run, made when the run begins.
    pub(super) fn embody(&mut self, unit: UnitId, run: Run) -> Result<(), String> {
        let live = self.lives.get_mut(unit.index()).ok_or("no such unit")?;
        if live.body_of(run).is_some() {
            return Ok(());
        }
        live.body = Some(Body::new(run));
        self.open_group(unit);
        self.open_capture(unit);
        Ok(())
    }

    /// Made anew for every run: limits may be others now, and a delegate may have shut the door.
    fn open_group(&mut self, unit: UnitId) {
        let Some((live, plan)) =
            self.lives.get_mut(unit.index()).zip(self.plan.units.get(unit.index()))
        else {
            return;
        };
        let (group, warnings) = self.cgroups.make(&plan.spec.name, &limits_of(plan));
        live.group = Some(group);
        for warning in warnings {
            self.note(unit, warning);
        }
    }

    fn prepare(&mut self, unit: UnitId, run: Run, number: u8) -> Result<(), NoStart> {
        if self.is_left_over(unit) {
            // What runs was prepared when it was started.
            self.inbox.push_back(Event::Prepared(unit, run, number, Ok(())));
            return Ok(());
        }
        self.embody(unit, run)?;
        self.clear_the_way(unit)?;
        let plan = self.plan.units.get(unit.index()).ok_or("no such unit")?;
        let step = plan.prepare.get(usize::from(number)).ok_or("no such step")?;
        let part = Part::Step(number, step.ignores_failure);
        let values = Values::of(&self.machine, unit);
        let launch = Launch::step(plan, &step.step, values, &self.own_program)?;
        let request = launch.request(None);
        let pid = self.spawn(unit, run, part, request)?;
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.step = Some(pid);
            body.session = Some(pid);
        }
        Ok(())
    }

    /// Forks a child of a unit, with its output going where the unit's output goes.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be done.
    pub(super) fn spawn(
        &mut self,
        unit: UnitId,
        run: Run,
        part: Part,
        request: Request<'_>,
    ) -> Result<u32, NoStart> {
        let live = self.lives.get(unit.index()).ok_or("no such unit")?;
        let output = live.capture.as_ref().map(|capture| capture.write_end());
        // What is written for the next boot is not the unit's, and does not end with it.
        let is_ours = matches!(part, Part::Keep | Part::Log);
        let cgroup = live.group.as_ref().filter(|_| !is_ours);
        // Who is outside would be neither swept nor found by the next supervisor.
        let needs_cgroup = matches!(part, Part::Main | Part::Step(..));
        let is_tracked = live.group.as_ref().is_some_and(Group::is_tracked);
        if needs_cgroup && !is_tracked && self.cgroups.kind() != "none" {
            return Err(NoStart::short("its cgroup was not made".to_owned()));
        }
        let request = Request { stdout: output, stderr: output, cgroup, needs_cgroup, ..request };
        let pending = spawn::begin(&request)?;
        let pid = pending.pid();
        let token = Token::Spawn(pid).to_number();
        if let Err(fault) = self.poll.add(pending.as_fd(), token, Interest::Read) {
            // It may run already, and nobody would know.
            drop(pending.abandon(std::time::Duration::ZERO));
            return Err(fault.to_string().into());
        }
        if self.children.get(pid).is_some() {
            // One of an earlier supervisor had that number: it is gone.
            self.dead(pid, self.init.exit_of(pid).unwrap_or(Exit::Unknown));
        }
        let pending = Some(pending);
        let start_time = child::stat(pid).map_or(0, |stat| stat.start_time);
        let child = Child { pending, start_time, ..Child::new(unit, run, part, self.now) };
        self.children.add(pid, child);
        self.record.is_stale = true;
        Ok(pid)
    }

    /// Kills a child that nobody waits for any more; its death is no news.
    pub(super) fn disown(&mut self, pid: u32) {
        if let Some(child) = self.children.remove(pid) {
            if let Some(pending) = &child.pending {
                self.poll.remove(pending.as_fd());
            }
            let _ = child::signal_leader(pid, child::KILL);
        }
    }

    /// Asks a run to end, in the way that its unit says.
    fn terminate(&mut self, unit: UnitId, run: Run) {
        let Some((live, plan)) =
            self.lives.get_mut(unit.index()).zip(self.plan.units.get(unit.index()))
        else {
            return;
        };
        let main = live.main();
        let Some(body) = live.body_of(run) else {
            return;
        };
        body.is_asked = true;
        if let Some(step) = body.step {
            let _ = child::signal_leader(step, TERM);
            return;
        }
        if !plan.stop.exec.is_empty() && main.is_some() {
            let exec = plan.stop.exec.clone();
            if let Err(why) = self.run_beside(unit, run, Part::Stop, &exec) {
                self.note(unit, format!("its stop command did not start: {why}"));
                self.signal(unit, TERM);
            }
            return;
        }
        if matches!(plan.job, Job::Container(_)) {
            // Its owner asks the engine to stop it, with the signal that the unit says.
            let _ = self.signal_main(unit, TERM);
            return;
        }
        let signal = plan.stop.signal;
        if signal > LAST_NAMED {
            self.note(unit, format!("signal {signal} cannot be sent; it is asked by SIGTERM"));
        }
        self.signal(
            unit,
            u8::try_from(signal).ok().filter(|_| signal <= LAST_NAMED).unwrap_or(TERM),
        );
        // A stopped process would keep the signal for later.
        self.signal(unit, CONT);
    }

    fn kill(&mut self, unit: UnitId, run: Run) {
        if let Some(live) = self.lives.get_mut(unit.index())
            && let Some(body) = live.body_of(run)
            && let Some(step) = body.step
        {
            let _ = child::signal_leader(step, child::KILL);
            return;
        }
        self.signal(unit, child::KILL);
    }

    /// Sends a signal to all whom the unit's `kill` names.
    pub(super) fn signal(&mut self, unit: UnitId, number: u8) {
        let Some((live, plan)) =
            self.lives.get(unit.index()).zip(self.plan.units.get(unit.index()))
        else {
            return;
        };
        let session = live.session();
        let is_apart = |pid| child::stat(pid).is_some_and(|stat| Some(stat.group) != session);
        // A main process that has left the group is the unit's all the same.
        let main = live.main();
        let has_left = main.is_some_and(is_apart);
        match (plan.stop.kill, &live.group) {
            (KillScope::Tree, Some(group)) if group.is_tracked() => {
                if number != child::KILL {
                    group.signal(number);
                } else if let Err(why) = group.kill() {
                    log::warn!("{}: {why}", plan.spec.name);
                }
                return;
            }
            (KillScope::Main, _) => {
                let _ = self.signal_main(unit, number);
                return;
            }
            (KillScope::Tree, _) => {
                let below = session.map(child::descendants).unwrap_or_default();
                // Nobody is told twice: to many a service a second signal means haste.
                for pid in below.into_iter().filter(|pid| Some(*pid) != main && is_apart(*pid)) {
                    let _ = child::signal(None, pid, number);
                }
            }
            (KillScope::Group, _) => {}
        }
        let _ = session.map(|session| child::signal_group(session, number));
        if has_left {
            let _ = self.signal_main(unit, number);
        }
    }

    /// Sends a signal to the unit's own main process and to nobody else.
    ///
    /// # Errors
    ///
    /// ESRCH when there is none, and what [`child::signal`] says.
    pub(super) fn signal_main(&self, unit: UnitId, number: u8) -> Result<(), Errno> {
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        let body = body.ok_or(Errno::SRCH)?;
        if let Some((pid, pidfd)) = &body.named {
            return child::signal(Some(pidfd), *pid, number);
        }
        let pid = body.main.ok_or(Errno::SRCH)?;
        let child = self.children.get(pid);
        let pidfd = child.and_then(|child| child.pidfd.as_ref());
        let is_it = |child: &Child| {
            let stat = child::stat(pid).filter(|_| !child.is_gone);
            stat.is_some_and(|stat| [0, stat.start_time].contains(&child.start_time))
        };
        if pidfd.is_none() && child.is_some_and(|child| child.is_foreign && !is_it(child)) {
            // It is gone, and its number may be another one's.
            return Err(Errno::SRCH);
        }
        child::signal(pidfd, pid, number)
    }

    fn sweep(&mut self, unit: UnitId, run: Run) {
        self.signal(unit, child::KILL);
        if let Some(live) = self.lives.get_mut(unit.index()) {
            let emptied = live.group.as_ref().and_then(Group::emptied);
            if let Some(body) = live.body_of(run) {
                body.is_sweeping = true;
                let token = Token::Emptied(unit).to_number();
                let is_watched =
                    |each: &Emptied| self.poll.add(each.as_fd(), token, Interest::Nothing).is_ok();
                body.emptied = emptied.filter(is_watched);
            }
        }
        self.look_behind(unit);
    }

    /// The dead of a group need not be our children, whose deaths we would hear of.
    pub(super) fn on_emptied(&mut self, unit: UnitId) {
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        if let Some(emptied) = body.and_then(|body| body.emptied.as_ref()) {
            let _ = emptied.look();
        }
        self.look_behind(unit);
    }

    /// Tells the machine when nothing is left of what is being swept.
    pub(super) fn look_behind(&mut self, unit: UnitId) {
        let Some((live, plan)) =
            self.lives.get_mut(unit.index()).zip(self.plan.units.get(unit.index()))
        else {
            return;
        };
        if live.body.as_ref().is_some_and(|body| body.is_sweeping)
            && is_swept(live, plan.stop.kill)
            && let Some(body) = &mut live.body
        {
            body.is_sweeping = false;
            if let Some(emptied) = body.emptied.take() {
                self.poll.remove(emptied.as_fd());
            }
            self.inbox.push_back(Event::Swept(unit, body.run));
        }
    }

    fn release(&mut self, unit: UnitId, run: Run) {
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return;
        };
        if let Some(mut body) = live.body.take_if(|body| body.run == run) {
            self.forget(unit, &mut body);
        }
    }

    /// Runs a command beside the main one.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be done.
    pub(super) fn run_beside(
        &mut self,
        unit: UnitId,
        run: Run,
        part: Part,
        exec: &[crate::config::plan::Text],
    ) -> Result<u32, String> {
        let plan = self.plan.units.get(unit.index()).ok_or("no such unit")?;
        let main = self.lives.get(unit.index()).and_then(super::live::Live::main);
        let launch = Launch::beside(plan, exec, main, Values::of(&self.machine, unit))?;
        let request = launch.request(None);
        self.spawn(unit, run, part, request).map_err(|error| error.why)
    }

    /// The time of CLOCK_BOOTTIME, taken anew.
    pub(super) fn look_at_clock(&mut self) {
        self.now = clock::boottime();
    }
}

/// Why a process was not made, and whether that can be otherwise a little later.
#[derive(Debug)]
pub(super) struct NoStart {
    pub(super) why: String,
    is_transient: bool,
}

impl NoStart {
    /// It can be otherwise a little later.
    pub(super) const fn short(why: String) -> Self {
        Self { why, is_transient: true }
    }

    /// What the machine is told: a shortage is one, all else is as `failed` says.
    pub(super) fn event(
        self,
        unit: UnitId,
        run: Run,
        failed: impl FnOnce(String) -> Event,
    ) -> Event {
        if self.is_transient { Event::Short(unit, run, self.why) } else { failed(self.why) }
    }
}

impl From<String> for NoStart {
    fn from(why: String) -> Self {
        Self { why, is_transient: false }
    }
}

impl From<&str> for NoStart {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl From<SpawnError> for NoStart {
    fn from(error: SpawnError) -> Self {
        Self { why: error.to_string(), is_transient: error.is_transient() }
    }
}

/// Whether nobody is left of those whom a unit's `kill` names.
fn is_swept(live: &Live, scope: KillScope) -> bool {
    let is_alive = |pid: &u32| child::stat(*pid).is_some_and(|stat| !stat.is_zombie());
    let session = live.session();
    match (scope, &live.group) {
        (KillScope::Main, _) => true,
        (KillScope::Tree, Some(group)) if group.is_tracked() => {
            let emptied = live.body.as_ref().and_then(|body| body.emptied.as_ref());
            emptied.is_some_and(Emptied::look) || group.is_empty()
        }
        (KillScope::Tree, _) => {
            session.is_none_or(|session| !child::descendants(session).iter().any(is_alive))
        }
        (KillScope::Group, _) => session.is_none_or(|session| !child::has_group(session)),
    }
}

/// SIGTERM.
const TERM: u8 = 15;
/// SIGCONT.
const CONT: u8 = 18;
/// The last signal that has a name; those behind it belong to the C library.
pub(super) const LAST_NAMED: i32 = 31;

fn limits_of(plan: &Unit) -> crate::sys::cgroup::Limits {
    let spec = &plan.cgroup;
    let process = process_of(plan);
    // A delegated group belongs to whom the service runs as.
    let owner = || {
        let user = process.user.as_deref();
        let account = user::resolve(user, process.group.as_deref(), None).ok()?;
        Some(account.ids.map_or((0, 0), |ids| (ids.uid, ids.gid)))
    };
    crate::sys::cgroup::Limits {
        memory_max: spec.memory_max,
        memory_high: spec.memory_high,
        cpu_weight: spec.cpu_weight,
        io_weight: spec.io_weight,
        pids_max: spec.pids_max,
        delegate_to: if spec.delegate { owner() } else { None },
    }
}
