//! A supervisor goes on where an earlier one of this boot was killed, by what that has left:
//! processes are checked by pid and start time, deadlines are those of before, and what happened
//! meanwhile is told to the machine as if it happened now.
//!
//! The state file says that a run begins before its process is made. So a process that leads a
//! session and is younger than the file is that of the run which begins; if there is none, none
//! was made, or it saw that its parent was dead and did not go on (`sys/spawn`): what the machine
//! asked for is done now. A signal is sent again if nobody knows that it was sent.

use super::Shell;
use super::children::{Child, Part};
use super::init_link::{notify_name, ready_name};
use super::live::Body;
use super::token::Token;
use crate::config::plan::KillScope;
use crate::machine::spec::{Gate, Gates};
use crate::machine::unit::Body as Piece;
use crate::machine::{Action, Event, Exit, Phase, Remembered, Run, Stage, Tick, UnitId, Want};
use crate::sys::cgroup::Group;
use crate::sys::child::{self, Stat};
use crate::sys::fd::AsFd;
use crate::sys::notify_socket::NotifySocket;
use crate::sys::poll::Interest;
use crate::wire::state::{self, Life, Process, State};

/// Milliseconds within which pisup-init has told all that it knows.
const INIT_PATIENCE_MS: u64 = 2_000;

/// How a child ends that was not executed.
const GIVEN_UP: Exit = Exit::Code(127);

/// Whether that is the process that started then. Where that is not known, because nobody could
/// look at it, any process is it that was there when its number was its own.
const fn is_it(stat: &Stat, start_time: u64, at: Tick) -> bool {
    if start_time == 0 { stat.started_by(at) } else { stat.start_time == start_time }
}

impl Shell {
    /// Takes over what an earlier supervisor has left; before the first step of the machine.
    pub(super) fn resume(&mut self, state: State, newcomers: Vec<UnitId>) {
        log::info!("goes on where a supervisor stopped {} ms ago", self.now.since(state.at));
        self.changes = state.changes;
        for (unit, life) in state.memory.units.iter().zip(state.lives) {
            match self.machine.find(&unit.name) {
                Some(id) => self.recall(id, life, state.at),
                None => self.leave_behind(unit, &life),
            }
        }
        self.inbox.push_back(Event::Resumed(newcomers));
        for index in 0..self.lives.len() {
            if let Ok(index) = u16::try_from(index) {
                self.go_on(UnitId(index), state.at);
                self.tell_spoken(UnitId(index));
                self.tell_outdated(UnitId(index));
            }
        }
        self.hear_of_the_dead();
    }

    /// A unit that is in the configuration no more: what was being stopped ends, the rest is left.
    fn leave_behind(&self, unit: &Remembered, life: &Life) {
        let Some(Process { pid, .. }) = life.body.as_ref().and_then(|body| body.main) else {
            return;
        };
        if unit.state.want == Want::On {
            log::warn!("{} is in the configuration no more; its process {pid} is left", unit.name);
        } else if let Some(group) = self.cgroups.find(&unit.name)
            && let Err(why) = group.kill()
        {
            log::warn!("{}: {why}", unit.name);
        }
    }

    fn recall(&mut self, unit: UnitId, life: Life, at: Tick) {
        let phase = self.machine.unit(unit).map(|state| (state.run(), state.undead));
        let Some((run, undead)) = phase else {
            return;
        };
        if let Some(live) = self.lives.get_mut(unit.index()) {
            (live.since, live.cause) = (life.since, life.cause);
            (live.starts, live.failures, live.failure) = (life.starts, life.failures, life.failure);
            (live.exit, live.notes) = (life.exit, life.notes.into());
            live.made_of = life.made_of;
        }
        self.remember_changes(unit, life.changes);
        if let Some(left) = life.left
            && !self.leave_to(unit, left)
            && child::is_there(left.pid)
        {
            self.leave_others(unit);
        }
        let Some(run) = run.or_else(|| undead.map(|(run, _)| run)) else {
            return;
        };
        let body = life.body.filter(|body| body.run == run);
        self.embody_again(unit, run, body.unwrap_or_else(|| state::Body::new(run)), at);
    }

    /// The body of a run, as it was.
    fn embody_again(&mut self, unit: UnitId, run: Run, mut body: state::Body, at: Tick) {
        let Some(name) = self.plan.units.get(unit.index()).map(|plan| plan.spec.name.clone())
        else {
            return;
        };
        let phase = self.machine.unit(unit).map(|state| state.phase.clone());
        // A process that was made and not written down; nor was it counted, then.
        let mut uncounted = 0;
        let group = self.cgroups.find(&name);
        let begun = group.as_ref().map(|group| self.youngest(unit, group, at));
        let (begun, is_whole) = begun.unwrap_or((None, true));
        let is_lost = begun.is_none() && !is_whole;
        match phase {
            Some(Phase::Preparing { step, .. }) if body.step.is_none() => {
                let ignores = self.ignores_failure(unit, step);
                body.step = begun.map(|process| (step, ignores, process));
                body.session = begun.map(|process| process.pid);
                if is_lost {
                    self.leave_others(unit);
                }
            }
            Some(
                Phase::Starting { alive: false, .. } | Phase::Stopping { body: Piece::Unborn, .. },
            ) if body.main.is_none() => {
                body.main = begun;
                body.session = begun.map(|process| process.pid);
                uncounted = u64::from(begun.is_some());
                if is_lost {
                    self.leave_others(unit);
                }
            }
            _ => {}
        }
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.starts = live.starts.saturating_add(uncounted);
            live.group = group;
            live.body = Some(Body {
                main: body.main.map(|process| process.pid),
                step: body.step.map(|(_, _, process)| process.pid),
                session: body.session,
                container: body.container,
                status_text: body.status_text,
                reloads_until: body.reloads_until,
                ready_file: body.ready_file,
                is_asked: body.is_asked,
                ..Body::new(run)
            });
        }
        if let Some(process) = body.main {
            self.adopt(Child::new(unit, run, Part::Main, self.now), process, at);
        }
        if let Some((number, ignores_failure, process)) = body.step {
            let part = Part::Step(number, ignores_failure);
            self.adopt(Child::new(unit, run, part, self.now), process, at);
        }
        self.listen_again(unit, &name);
    }

    fn ignores_failure(&self, unit: UnitId, step: u8) -> bool {
        let plan = self.plan.units.get(unit.index());
        let step = plan.and_then(|plan| plan.prepare.get(usize::from(step)));
        step.is_some_and(|step| step.ignores_failure)
    }

    /// What a run says is heard where it was said before. What can be heard no more, because
    /// nobody kept its channel, is taken as said: the service must not be ended for our deafness.
    fn listen_again(&mut self, unit: UnitId, name: &str) {
        let state = self.machine.unit(unit).map(|state| state.phase.clone());
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        if let Some(main) = body.and_then(|body| body.main) {
            self.resume_output(unit, main);
        }
        let has_log = self.lives.get(unit.index()).is_some_and(|live| live.capture.is_some());
        self.open_capture(unit);
        let path = self.options.run.join("notify").join(name);
        let socket = self.init.take(&notify_name(name));
        let socket = socket.and_then(|fd| NotifySocket::resume(&path, fd));
        let ready = self.init.take(&ready_name(name));
        let (run, held) = match state {
            Some(Phase::Starting { run, held, .. }) => (run, Some(held)),
            Some(Phase::Ready { run, .. } | Phase::Stopping { run, .. }) => (run, None),
            _ => return,
        };
        let had_socket = socket.is_some();
        let opened = match socket {
            Some(socket) => self.take_notify(unit, run, socket),
            None => self.open_notify(unit, run).map(drop),
        };
        if let Err(why) = opened {
            self.note(unit, why);
        }
        let Some(held) = held else {
            return;
        };
        let had_ready = ready.is_some();
        if let Some(fd) = ready {
            let token = Token::ReadyFd(unit).to_number();
            if self.poll.add(fd.as_fd(), token, Interest::Read).is_ok()
                && let Some(body) = self.lives.get_mut(unit.index()).and_then(|l| l.body_of(run))
            {
                body.ready_fd = Some(fd);
            }
        }
        let lost = [(Gate::Notify, had_socket), (Gate::Fd, had_ready), (Gate::Log, has_log)];
        let lost = lost.into_iter().filter(|(_, was_kept)| !was_kept);
        let lost = lost.fold(Gates::NONE, |set, (gate, _)| set.with(gate));
        self.believe(unit, run, lost.without(held));
        if let Err(why) = self.watch_ready_file_again(unit, run) {
            self.note(unit, why);
        }
    }

    /// Takes gates for held of which nothing can be heard any more, if the run is alive.
    pub(super) fn believe(&mut self, unit: UnitId, run: Run, lost: Gates) {
        let gates = self.plan.units.get(unit.index()).map(|plan| plan.spec.readiness.gates);
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        let main = body.and_then(|body| body.main);
        // It may have been made, and that was not written down; and have spoken since.
        let is_there = main.is_some_and(|pid| !self.children.is_gone(pid));
        let (is_alive, is_known) = match self.machine.unit(unit).map(|state| &state.phase) {
            Some(Phase::Starting { alive, .. }) => (*alive || is_there, *alive),
            _ => (false, true),
        };
        let lost = lost.iter().filter(|gate| is_alive && gates.is_some_and(|all| all.has(*gate)));
        let lost: Vec<Gate> = lost.collect();
        if !lost.is_empty() && !is_known {
            self.push(Event::Spawned(unit, run));
        }
        for gate in lost {
            let text = "could not be heard while there was no supervisor: taken as said";
            self.note(unit, format!("ready.{} {text}", gate.key()));
            self.inbox.push_back(Event::Held(unit, run, gate));
        }
    }

    /// The oldest session leader of a unit that is younger than the file, whose parent is not of
    /// the unit; and whether all could be looked at.
    fn youngest(&self, unit: UnitId, group: &Group, at: Tick) -> (Option<Process>, bool) {
        let known = |pid: u32| self.children.get(pid).is_some_and(|child| child.unit == unit);
        let (leaders, is_whole) = super::adopt::leaders(group);
        let found = leaders
            .into_iter()
            .filter(|(pid, stat)| !known(*pid) && stat.started_after(at))
            .min_by_key(|(_, stat)| stat.start_time)
            .map(|(pid, stat)| Process { pid, start_time: stat.start_time });
        (found, is_whole)
    }

    /// A process of an earlier supervisor: our child, if we are that supervisor with another
    /// program, else one that somebody else has to reap.
    ///
    /// `at` is an instant at which it was known to run.
    pub(super) fn adopt(&mut self, child: Child, process: Process, at: Tick) {
        let Process { pid, start_time } = process;
        // Opened before it is looked at, so that it is the one that was meant.
        let pidfd = child::pidfd(pid);
        let seen = child::stat(pid);
        let known = seen.filter(|stat| is_it(stat, start_time, at));
        let is_own = known.as_ref().is_some_and(child::is_own);
        let is_seen_alive = known.is_some_and(|stat| !stat.is_zombie());
        // For want of a descriptor it could not be looked at: it is looked at again later.
        let is_unseen = seen.is_none() && child::is_there(pid);
        let mut pidfd = pidfd.filter(|_| is_seen_alive);
        if !is_own && let Some(own) = &pidfd {
            let token = Token::Spawn(pid).to_number();
            if let Err(fault) = self.poll.add(own.as_fd(), token, Interest::Read) {
                log::warn!("{fault}");
                pidfd = None;
            }
        }
        let is_gone = !is_own && !is_seen_alive && !is_unseen;
        let start_time = known.map_or(start_time, |stat| stat.start_time);
        let is_foreign = !is_own;
        self.children.add(pid, Child { pidfd, start_time, is_foreign, is_gone, ..child });
    }

    /// Looks at those whose end nobody would tell.
    pub(super) fn look_at_unwatched(&mut self) {
        let unwatched: Vec<u32> = self.children.unwatched().collect();
        for pid in unwatched {
            if let Some(child) = self.children.remove(pid) {
                let process = Process { pid, start_time: child.start_time };
                let since = child.since;
                self.adopt(child, process, since);
            }
        }
        self.hear_of_the_dead();
    }

    /// Does what was asked for and was not done, as far as anybody knows.
    fn go_on(&mut self, unit: UnitId, at: Tick) {
        let Some(state) = self.machine.unit(unit) else {
            return;
        };
        let (phase, undead) = (state.phase.clone(), state.undead);
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        let (main, step) = body.map_or((None, None), |body| (body.main, body.step));
        let is_asked = body.is_some_and(|body| body.is_asked);
        if state.is_live() || state.is_up() {
            self.read_exports(unit);
        }
        match phase {
            Phase::Preparing { run, step: number, .. } if step.is_none() => {
                self.push(Event::StepLost(unit, run, number));
            }
            Phase::Starting { run, alive: false, .. }
                if main.is_none_or(|pid| self.was_never_executed(unit, pid)) =>
            {
                // If it was executed all the same, its work may be another process's by now.
                self.leave_what_is_swept(unit);
                self.perform(Action::Spawn(unit, run));
            }
            Phase::Starting { run, alive: false, .. } => self.push(Event::Spawned(unit, run)),
            Phase::Starting { run, .. } | Phase::Ready { run, .. } if main.is_none() => {
                self.push(Event::Exited(unit, run, Exit::Unknown));
            }
            Phase::Stopping { run, body, stage, .. } => {
                match body {
                    Piece::Unborn if main.is_some() => self.push(Event::Spawned(unit, run)),
                    Piece::Unborn | Piece::Main if main.is_none() => {
                        self.push(Event::Exited(unit, run, Exit::Unknown));
                    }
                    Piece::Step(number) if step.is_none() => {
                        self.push(Event::StepLost(unit, run, number));
                    }
                    Piece::Unborn | Piece::Main | Piece::Step(_) | Piece::Leftovers => {}
                }
                match stage {
                    Stage::Asked { .. } if !is_asked => self.perform(Action::Terminate(unit, run)),
                    Stage::Killed { .. } => self.perform(Action::Kill(unit, run)),
                    Stage::Sweeping { .. } => self.perform(Action::Sweep(unit, run)),
                    Stage::Asked { .. } | Stage::Ordered => {}
                }
            }
            Phase::Down | Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::Failed => {
                match undead {
                    Some((run, Piece::Leftovers)) => self.perform(Action::Sweep(unit, run)),
                    Some((run, _)) if main.is_none() => {
                        self.push(Event::Exited(unit, run, Exit::Unknown));
                    }
                    Some(_) => {}
                    None if self.is_left_over(unit) => {}
                    None => self.find_unwritten(unit, at),
                }
            }
            Phase::Preparing { .. }
            | Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Done => {}
        }
    }

    /// A process that was forked and is gone, and ended as one does that sees its parent dead.
    fn was_never_executed(&mut self, unit: UnitId, pid: u32) -> bool {
        let has_given_up = self.children.is_gone(pid)
            && self.init.exit_of(pid).is_none_or(|exit| exit == GIVEN_UP);
        if has_given_up {
            self.children.remove(pid);
            if let Some(body) = self.lives.get_mut(unit.index()).and_then(|l| l.body.as_mut()) {
                (body.main, body.session) = (None, None);
            }
        }
        has_given_up
    }

    /// What runs of a unit has to go before its next start, unless it may outlive a stop.
    fn leave_what_is_swept(&mut self, unit: UnitId) {
        let plan = self.plan.units.get(unit.index());
        let sweeps = plan.is_some_and(|plan| plan.stop.kill != KillScope::Main);
        let group = self.lives.get(unit.index()).and_then(|live| live.group.as_ref());
        if sweeps && group.is_some_and(|group| !group.is_empty()) {
            self.leave_others(unit);
        }
    }

    /// A process that no file tells of: the last ones could not be written.
    fn find_unwritten(&mut self, unit: UnitId, at: Tick) {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return;
        };
        let Some(group) = self.cgroups.find(&plan.spec.name) else {
            return;
        };
        let (main, is_whole) = self.youngest(unit, &group, at);
        let sweeps = plan.stop.kill != KillScope::Main;
        if let Some(main) = main
            && self.leave_to(unit, main)
        {
            self.inbox.push_back(Event::Start(unit));
        } else if main.is_some_and(|main| child::is_there(main.pid))
            || !is_whole
            || sweeps && !group.is_empty()
        {
            // Also a main process that there is no descriptor for: better it ends than runs twice.
            self.leave_others(unit);
        }
    }

    /// Those who died meanwhile: how, as far as anybody can tell.
    fn hear_of_the_dead(&mut self) {
        for pid in self.children.gone() {
            let exit = self.init.exit_of(pid);
            let is_step = self.children.get(pid).is_some_and(|c| matches!(c.part, Part::Step(..)));
            match exit {
                Some(GIVEN_UP) if is_step => self.dead(pid, Exit::Unknown),
                Some(exit) => self.dead(pid, exit),
                None if self.init.ask() => self.init_until = Some(self.now.after(INIT_PATIENCE_MS)),
                None => self.dead(pid, Exit::Unknown),
            }
        }
        self.init.forget_exits();
    }
}
