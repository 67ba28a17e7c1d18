//! What services say on their notify sockets, and who is believed.

use std::path::Path;

use super::Shell;
use super::launch::Values;
use super::token::Token;
use crate::machine::spec::Gate;
use crate::machine::{Event, Exit, Run, Tick, UnitId};
use crate::sys::fd::AsFd;
use crate::sys::files::{self, Found};
use crate::sys::notify_socket::{Datagram, NotifySocket};
use crate::sys::poll::Interest;
use crate::sys::{Fault, child};
use crate::wire::notify::{MAX_DATAGRAM, Message, parse};

/// Datagrams of one unit in one turn; the rest is told again.
const DATAGRAMS_MAX: usize = 64;

impl Shell {
    /// Takes what a service has said. What makes a difference for good stays in the queue until
    /// that difference is written down, one turn later: this process may be killed in between.
    pub(super) fn on_notify(&mut self, unit: UnitId) {
        for _ in 0..DATAGRAMS_MAX {
            if self.was_heeded(unit) {
                let _ = self.receive(unit, NotifySocket::receive);
                continue;
            }
            let Some((run, datagram)) = self.receive(unit, NotifySocket::peek) else {
                return;
            };
            let lasts = parse(&datagram.bytes).iter().any(lasts);
            if !lasts {
                let _ = self.receive(unit, NotifySocket::receive);
            }
            self.consider(unit, run, &datagram);
            if lasts {
                let live = self.lives.get_mut(unit.index());
                if let Some(body) = live.and_then(|live| live.body_of(run)) {
                    body.is_first_heeded = true;
                }
                return;
            }
        }
    }

    /// Takes the last words of a service that has ended.
    pub(super) fn end_notify(&mut self, unit: UnitId) {
        for _ in 0..DATAGRAMS_MAX {
            let is_new = !self.was_heeded(unit);
            let Some((run, datagram)) = self.receive(unit, NotifySocket::receive) else {
                return;
            };
            if is_new {
                self.consider(unit, run, &datagram);
            }
        }
    }

    /// Whether the first message in the queue was heeded already; told once.
    fn was_heeded(&mut self, unit: UnitId) -> bool {
        let body = self.lives.get_mut(unit.index()).and_then(|live| live.body.as_mut());
        body.is_some_and(|body| std::mem::take(&mut body.is_first_heeded))
    }

    fn receive(
        &self,
        unit: UnitId,
        how: impl Fn(&NotifySocket) -> Result<Option<Datagram>, Fault>,
    ) -> Option<(Run, Datagram)> {
        let body = self.lives.get(unit.index())?.body.as_ref()?;
        let datagram = how(body.notify.as_ref()?).ok()??;
        Some((body.run, datagram))
    }

    fn consider(&mut self, unit: UnitId, run: Run, datagram: &Datagram) {
        match datagram.pid {
            Some(pid) if self.is_of(unit, pid) => self.heed(unit, run, pid, datagram),
            _ => self.stranger(unit, datagram.pid),
        }
    }

    /// Whether a process belongs to a unit.
    fn is_of(&self, unit: UnitId, pid: u32) -> bool {
        let Some(live) = self.lives.get(unit.index()) else {
            return false;
        };
        let main = live.body.as_ref().and_then(|body| body.main);
        if Some(pid) == main || Some(pid) == live.main() {
            return true;
        }
        match &live.group {
            Some(group) if group.is_tracked() => group.contains(pid),
            // Its children are in its session, unless they left it.
            _ => child::stat(pid).is_some_and(|stat| Some(stat.session) == live.session()),
        }
    }

    fn stranger(&mut self, unit: UnitId, pid: Option<u32>) {
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.strangers += 1;
            let who =
                pid.map_or_else(|| "an unknown process".to_owned(), |pid| format!("pid {pid}"));
            let count = live.strangers;
            live.notes.retain(|note| !note.contains("notify messages from strangers"));
            live.note(format!(
                "{count} notify messages from strangers ignored, the last from {who}"
            ));
        }
    }

    fn heed(&mut self, unit: UnitId, run: Run, pid: u32, datagram: &Datagram) {
        if datagram.is_cut {
            // Where it was cut is not for the service to know: nothing of it counts.
            let text = format!("a notify message of more than {MAX_DATAGRAM} bytes ignored");
            return self.note(unit, text);
        }
        let asks = self.plan.units.get(unit.index()).is_some_and(|plan| plan.ready.notify);
        let live = self.lives.get(unit.index());
        let is_main = live.is_some_and(|live| {
            live.main() == Some(pid) || live.body.as_ref().and_then(|body| body.main) == Some(pid)
        });
        for message in parse(&datagram.bytes) {
            match message {
                Message::Ready => {
                    self.reloads_until(unit, run, None);
                    self.set_status(unit, run, None);
                    if asks {
                        self.push(Event::Held(unit, run, Gate::Notify));
                    }
                }
                Message::Reloading => {
                    let patience = self.plan.units.get(unit.index());
                    let ms = patience.and_then(|plan| plan.spec.readiness.timeout_ms);
                    self.reloads_until(unit, run, ms.map(|ms| self.now.after(ms)));
                    self.set_status(unit, run, Some("reloading".to_owned()));
                }
                Message::Stopping => {
                    self.set_status(unit, run, Some("stopping by itself".to_owned()))
                }
                Message::Status(text) => self.set_status(unit, run, Some(text)),
                Message::MainPid(named) if is_main => self.name_main(unit, run, named),
                Message::ContainerPid(container) if is_main => {
                    if let Some(body) =
                        self.lives.get_mut(unit.index()).and_then(|l| l.body_of(run))
                    {
                        body.container = Some(container);
                    }
                }
                Message::TakenOver if is_main => self.take_over_gates(unit, run),
                Message::MainPid(_) | Message::ContainerPid(_) | Message::TakenOver => {
                    self.stranger(unit, Some(pid))
                }
                Message::Watchdog => self.push(Event::Alive(unit, run)),
                Message::WatchdogTrigger => {
                    let why = "it said so itself (WATCHDOG=trigger)".to_owned();
                    self.push(Event::Unhealthy(unit, run, why));
                }
                Message::ExtendTimeoutMs(ms) => self.push(Event::Extend(unit, run, ms)),
                Message::Nonsense(text) => {
                    self.note(unit, format!("a notify message that is no number ignored: {text}"));
                }
                Message::WatchdogUsec(usec) => {
                    self.push(Event::AliveEvery(unit, run, usec.div_ceil(1000)));
                }
                Message::Barrier => {}
            }
        }
    }

    fn set_status(&mut self, unit: UnitId, run: Run, text: Option<String>) {
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.status_text = text.filter(|text| !text.is_empty());
        }
    }

    fn reloads_until(&mut self, unit: UnitId, run: Run, until: Option<Tick>) {
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.reloads_until = until;
        }
    }

    /// The service is older than its run: what it wrote when it became ready counts, the file that
    /// is there and the line that nobody kept.
    fn take_over_gates(&mut self, unit: UnitId, run: Run) {
        self.push(Event::Held(unit, run, Gate::Log));
        let plan = self.plan.units.get(unit.index());
        let Some(file) = plan.and_then(|plan| plan.ready.file.as_ref()) else {
            return;
        };
        let path = Values::of(&self.machine, unit).fill(file);
        if path.is_ok_and(|path| files::look(Path::new(&path)) != Found::Nothing) {
            self.push(Event::Held(unit, run, Gate::File));
        }
    }

    /// From now on this process is the service, and its end is the service's end.
    fn name_main(&mut self, unit: UnitId, run: Run, named: u32) {
        let is_own = self.is_of(unit, named) && child::stat(named).is_some_and(|s| !s.is_zombie());
        let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) else {
            return;
        };
        if body.named.as_ref().is_some_and(|(pid, _)| *pid == named) {
            return;
        }
        if body.main == Some(named) {
            if let Some((_, old)) = body.named.take() {
                self.poll.remove(old.as_fd());
            }
            return;
        }
        let pidfd = if is_own { child::pidfd(named) } else { None };
        let Some(pidfd) = pidfd else {
            self.note(unit, format!("MAINPID={named} ignored: not a process of this unit"));
            return;
        };
        // The one it has keeps its descriptor until there is another: its end must not be missed.
        match self.poll.add(pidfd.as_fd(), Token::MainPid(unit).to_number(), Interest::Read) {
            Ok(()) => {
                if let Some((_, old)) = body.named.replace((named, pidfd)) {
                    self.poll.remove(old.as_fd());
                }
            }
            Err(fault) => log::warn!("{fault}"),
        }
    }

    /// A process that a service named as its main one has ended.
    pub(super) fn on_main_pid(&mut self, unit: UnitId) {
        // If it was left to us, reaping tells how it ended.
        self.on_child();
        if self.is_for_init_to_tell(unit) {
            // It is a zombie of init by now, and told of as soon as it is reaped.
            if let Some((_, pidfd)) = self
                .lives
                .get(unit.index())
                .and_then(|live| live.body.as_ref().and_then(|body| body.named.as_ref()))
            {
                self.poll.remove(pidfd.as_fd());
            }
            return;
        }
        let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        if let Some(body) = body.filter(|body| body.named.is_some()) {
            let run = body.run;
            self.named_died(unit, run, Exit::Unknown);
        }
    }
}

/// Whether a message is one after which things are otherwise, and stay so.
const fn lasts(message: &Message) -> bool {
    matches!(
        message,
        Message::Ready
            | Message::Reloading
            | Message::MainPid(_)
            | Message::ContainerPid(_)
            | Message::TakenOver
    )
}
