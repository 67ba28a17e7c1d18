//! A unit's main process: what is made ready for it, and how its birth is told.

use super::Shell;
use super::activation::Activation;
use super::children::Part;
use super::init_link::{notify_name, ready_name};
use super::launch::{Launch, Values};
use super::perform::NoStart;
use super::token::Token;
use crate::config::{
    self,
    plan::{Job, Unit},
};
use crate::machine::{Event, Run, UnitId};
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::notify_socket::NotifySocket;
use crate::sys::poll::Interest;
use crate::sys::spawn::SpawnError;
use crate::sys::{Fault, stream};

/// How long a child may take to execute its program, in milliseconds: a dead file system must not
/// leave a unit between life and death.
pub const EXEC_PATIENCE_MS: u64 = 30_000;

impl Shell {
    /// Starts the main process of a run.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be done.
    pub(super) fn start_main(&mut self, unit: UnitId, run: Run) -> Result<(), NoStart> {
        if self.take_over_main(unit, run)? {
            return Ok(());
        }
        self.embody(unit, run)?;
        self.clear_the_way(unit)?;
        self.open_sockets(unit)?;
        self.drop_channels(unit, run);
        // What an earlier run wrote must not count for this one.
        self.begin_output(unit);
        let made_of = self.plan.units.get(unit.index()).map(|own| config::made_of(&self.plan, own));
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.made_of = made_of.unwrap_or(0);
        }
        let notify = self.open_notify(unit, run)?;
        let ready = self.open_ready_fd(unit, run).map_err(|fault| fault.to_string())?;
        self.watch_ready_file(unit, run)?;
        // Taken out for a moment, so that its sockets can be lent while a child is made.
        let activation = std::mem::take(&mut self.activation);
        let result = self.spawn_main(unit, run, notify, ready.as_ref(), &activation);
        self.activation = activation;
        let pid = result?;
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.starts += 1;
            if let Some(body) = live.body_of(run) {
                body.main = Some(pid);
                body.session = Some(pid);
                body.step = None;
            }
        }
        Ok(())
    }

    fn spawn_main(
        &mut self,
        unit: UnitId,
        run: Run,
        notify: Option<String>,
        ready: Option<&OwnedFd>,
        activation: &Activation,
    ) -> Result<u32, NoStart> {
        let plan = self.plan.units.get(unit.index()).ok_or("no such unit")?;
        let values = Values::of(&self.machine, unit);
        let mut launch = Launch::main(plan, values, &self.own_program, &self.options.run)?;
        if let Some(path) = notify {
            launch.env.insert("NOTIFY_SOCKET".to_owned(), path);
        }
        if let Some(ms) = plan.spec.readiness.watchdog_ms {
            let microseconds = ms.saturating_mul(1000).to_string();
            launch.env.insert("WATCHDOG_USEC".to_owned(), microseconds);
        }
        let notes = std::mem::take(&mut launch.notes);
        let extra = ready.zip(plan.ready.fd);
        let sockets = activation.sockets(unit);
        let mut request = launch.request(None);
        request.sockets = sockets.iter().map(|(fd, name)| (fd.as_fd(), name.clone())).collect();
        request.extra_fds = extra.map(|(fd, number)| (fd.as_fd(), number)).into_iter().collect();
        let pid = self.spawn(unit, run, Part::Main, request)?;
        for note in notes {
            self.note(unit, note);
        }
        Ok(pid)
    }

    /// Listening sockets that could not be opened before, or whose files are gone, are made anew.
    pub(super) fn open_sockets(&mut self, unit: UnitId) -> Result<(), String> {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return Ok(());
        };
        let opened = self.activation.open(unit, &plan.sockets);
        self.keep_sockets(unit);
        opened
    }

    /// A run that is begun once more, since its process was never executed, has some already.
    fn drop_channels(&mut self, unit: UnitId, run: Run) {
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            if let Some(socket) = body.notify.take() {
                self.poll.remove(socket.as_fd());
            }
            if let Some(fd) = body.ready_fd.take() {
                self.poll.remove(fd.as_fd());
            }
        }
    }

    /// The notify socket of a run, where its unit has a use for one.
    pub(super) fn open_notify(&mut self, unit: UnitId, run: Run) -> Result<Option<String>, String> {
        let plan = self.plan.units.get(unit.index()).ok_or("no such unit")?;
        if !wants_notify(plan) {
            return Ok(None);
        }
        let path = self.options.run.join("notify").join(&plan.spec.name);
        let socket = NotifySocket::bind(&path).map_err(|fault| fault.to_string())?;
        self.init.keep(&notify_name(&plan.spec.name), socket.as_fd());
        self.take_notify(unit, run, socket)?;
        Ok(Some(path.display().to_string()))
    }

    /// Listens to a run on this socket.
    pub(super) fn take_notify(
        &mut self,
        unit: UnitId,
        run: Run,
        socket: NotifySocket,
    ) -> Result<(), String> {
        self.poll
            .add(socket.as_fd(), Token::Notify(unit).to_number(), Interest::Read)
            .map_err(|fault| fault.to_string())?;
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.notify = Some(socket);
        }
        Ok(())
    }

    /// A pipe of which the service gets the writing end.
    fn open_ready_fd(&mut self, unit: UnitId, run: Run) -> Result<Option<OwnedFd>, Fault> {
        let number = self.plan.units.get(unit.index()).and_then(|plan| plan.ready.fd);
        if number.is_none() {
            return Ok(None);
        }
        let (read, write) = stream::pipe()?;
        self.poll.add(read.as_fd(), Token::ReadyFd(unit).to_number(), Interest::Read)?;
        self.init.keep(&ready_name(self.machine.name(unit)), read.as_fd());
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.ready_fd = Some(read);
        }
        Ok(Some(write))
    }

    /// A child has something to say about its program, or one of an earlier supervisor has ended.
    pub(super) fn on_spawn(&mut self, pid: u32) {
        match self.children.get(pid) {
            Some(child) if child.is_foreign => self.on_foreign_end(pid),
            _ => self.on_program(pid),
        }
    }

    /// What a child says about its program.
    pub(super) fn on_program(&mut self, pid: u32) {
        let Some(child) = self.children.get_mut(pid) else {
            return;
        };
        let Some(pending) = &mut child.pending else {
            return;
        };
        let Some(answer) = pending.take() else {
            return;
        };
        self.poll.remove(pending.as_fd());
        child.pending = None;
        let (unit, run, part) = (child.unit, child.run, child.part);
        match answer {
            Ok(mut spawned) => {
                child.pidfd = spawned.pidfd.take();
                for warning in spawned.warnings {
                    self.note(unit, warning);
                }
                if part == Part::Main {
                    self.push(Event::Spawned(unit, run));
                }
            }
            Err(error) => {
                self.children.remove(pid);
                self.stillborn(unit, run, part, &error);
            }
        }
    }

    /// A child could not execute its program.
    fn stillborn(&mut self, unit: UnitId, run: Run, part: Part, error: &SpawnError) {
        let why = error.to_string();
        let is_transient = error.is_transient();
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            match part {
                Part::Main => (body.main, body.session) = (None, None),
                Part::Step(..) => body.step = None,
                Part::Probe(_) | Part::Stop | Part::Reload | Part::Keep | Part::Log => {}
                Part::SelfTest => {}
            }
        }
        match part {
            Part::Main if is_transient => self.push(Event::Short(unit, run, why)),
            Part::Main => self.push(Event::SpawnFailed(unit, run, why)),
            Part::Step(number, ignores_failure) => {
                self.step_ended(unit, run, number, ignores_failure, Err(why));
            }
            Part::Probe(slot) => self.probe_command_ended(unit, run, slot, Err(why)),
            Part::Stop => {
                self.note(unit, format!("its stop command did not start: {why}"));
                let live = self.lives.get_mut(unit.index());
                // After so long a silence it may be another run that lives.
                if live.is_some_and(|live| live.body_of(run).is_some()) {
                    self.signal(unit, 15);
                }
            }
            Part::Reload => self.reload_ended(unit, Err(why)),
            Part::Log => self.log_writer_not_begun(unit, why),
            Part::SelfTest => self.not_tried(&why),
            Part::Keep => self.note(unit, format!("its values are not kept: {why}")),
        }
    }

    /// Gives up on children that neither execute nor fail.
    pub(super) fn abandon_the_silent(&mut self) {
        let now = self.now;
        let silent: Vec<u32> = self
            .children
            .iter()
            .filter(|(_, c)| c.pending.is_some() && now.since(c.since) >= EXEC_PATIENCE_MS)
            .map(|(pid, _)| pid)
            .collect();
        for pid in silent {
            if let Some(mut child) = self.children.remove(pid)
                && let Some(pending) = child.pending.take()
            {
                self.poll.remove(pending.as_fd());
                let error = pending.abandon(std::time::Duration::from_millis(EXEC_PATIENCE_MS));
                self.stillborn(child.unit, child.run, child.part, &error);
            }
        }
    }
}

/// Whether a unit's process is told where to notify.
fn wants_notify(plan: &Unit) -> bool {
    plan.ready.notify
        || plan.spec.readiness.watchdog_ms.is_some()
        || matches!(plan.job, Job::Container(_))
}
