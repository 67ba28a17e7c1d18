//! What a unit writes: kept in its ring, and looked through for the line that says it is ready.

use super::Shell;
use super::capture::Capture;
use super::children::Part;
use super::init_link::{notify_name, ready_name, socket_name};
use super::live::{Body, Live};
use super::log_file::LogFile;
use super::spool::Spool;
use super::token::Token;
use super::watching::Purpose;
use crate::config::plan::Unit;
use crate::machine::spec::Gate;
use crate::machine::{Event, Phase, Run, UnitId, UnitState};
use crate::sys::fd::{AsFd, BorrowedFd};
use crate::sys::files;
use crate::sys::poll::Interest;
use crate::sys::spawn::Request;
use crate::sys::stream::{self, Got};

/// The folder of all output, in the run directory.
const LOG_FOLDER: &str = "log";

/// What pisup-init keeps a unit's pipe as.
pub(super) fn log_name(unit: &str) -> String {
    format!("log/{unit}")
}

impl Shell {
    /// The pipe and the ring of a unit, made at its first start and kept.
    pub(super) fn open_capture(&mut self, unit: UnitId) {
        let Some((live, plan)) =
            self.lives.get_mut(unit.index()).zip(self.plan.units.get(unit.index()))
        else {
            return;
        };
        if live.capture.is_some() {
            return;
        }
        let name = log_name(&plan.spec.name);
        let kept = self.init.take(&name);
        let kept = kept.and_then(|reader| Some((stream::writer_of(reader.as_fd()).ok()?, reader)));
        let is_new = kept.is_none();
        let opened = match kept {
            Some((writer, reader)) => Ok(Capture::resume(&plan.log, reader, writer)),
            None => Capture::new(&plan.log),
        };
        let opened = opened.and_then(|capture| {
            self.poll.add(capture.as_fd(), Token::Output(unit).to_number(), Interest::Read)?;
            Ok(capture)
        });
        match opened {
            Ok(capture) => {
                if is_new {
                    self.init.keep(&name, capture.as_fd());
                }
                live.capture = Some(capture);
                self.open_spool(unit);
            }
            Err(fault) => self.note(unit, format!("its output is lost: {fault}")),
        }
    }

    /// Reads on what a process writes that an earlier supervisor started, if nobody kept the pipe.
    pub(super) fn resume_output(&mut self, unit: UnitId, pid: u32) {
        let live = self.lives.get_mut(unit.index()).filter(|live| live.capture.is_none());
        let Some((live, plan)) = live.zip(self.plan.units.get(unit.index())) else {
            return;
        };
        let Some(reader) = stream::reader_of_output(pid) else {
            return;
        };
        let token = Token::Output(unit).to_number();
        if let Ok(writer) = stream::writer_of(reader.as_fd())
            && self.poll.add(reader.as_fd(), token, Interest::Read).is_ok()
        {
            self.init.keep(&log_name(&plan.spec.name), reader.as_fd());
            live.capture = Some(Capture::resume(&plan.log, reader, writer));
            self.open_spool(unit);
        }
    }

    /// Keeps what a unit says where it outlives this process.
    fn open_spool(&mut self, unit: UnitId) {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return;
        };
        let folder = self.options.run.join(LOG_FOLDER).join(&plan.spec.name);
        match Spool::open(&folder, plan.log.ring_bytes) {
            Ok((spool, left)) => {
                let live = self.lives.get_mut(unit.index());
                if let Some(capture) = live.and_then(|live| live.capture.as_mut()) {
                    let awaited = plan.ready.log.as_deref();
                    let mut has_spoken = false;
                    let mut on_line =
                        |line: &str| has_spoken |= awaited.is_some_and(|text| line.contains(text));
                    capture.spool(spool, &left, self.now, &mut on_line);
                    capture.has_spoken = has_spoken;
                }
            }
            Err(fault) => {
                let advice = "its output ends with this supervisor";
                self.note(unit, format!("{advice}: {fault}"));
            }
        }
    }

    /// The line by which a unit is ready was read before, but perhaps nobody was told of it.
    pub(super) fn tell_spoken(&mut self, unit: UnitId) {
        let live = self.lives.get(unit.index());
        let has_spoken =
            live.is_some_and(|live| live.capture.as_ref().is_some_and(|c| c.has_spoken));
        let phase = self.machine.unit(unit).map(|state| &state.phase);
        if let (true, Some(Phase::Starting { run, .. })) = (has_spoken, phase) {
            self.push(Event::Held(unit, *run, Gate::Log));
        }
    }

    /// What a unit says from now on is said by another run.
    pub(super) fn begin_output(&mut self, unit: UnitId) {
        self.end_output(unit);
        let live = self.lives.get_mut(unit.index());
        if let Some(capture) = live.and_then(|live| live.capture.as_mut()) {
            capture.begin();
        }
    }

    /// Forgets what all units have said.
    pub(super) fn forget_output(&self) {
        files::remove_all(&self.options.run.join(LOG_FOLDER));
    }

    /// Takes over changed limits of a unit's output.
    pub(super) fn reconfigure_output(&mut self, unit: UnitId) {
        let live = self.lives.get_mut(unit.index());
        if let Some((live, plan)) = live.zip(self.plan.units.get(unit.index()))
            && let Some(capture) = &mut live.capture
        {
            capture.configure(&plan.log);
        }
    }

    /// A unit has written something.
    pub(super) fn on_output(&mut self, unit: UnitId) {
        let now = self.now;
        self.capture(unit, |capture, on_line| capture.drain(now, on_line));
    }

    /// A run has ended: a line that it did not end is a line now.
    pub(super) fn end_output(&mut self, unit: UnitId) {
        self.on_output(unit);
        let now = self.now;
        self.capture(unit, |capture, on_line| capture.end_line(now, on_line));
    }

    fn capture(
        &mut self,
        unit: UnitId,
        take: impl FnOnce(&mut Capture, &mut dyn FnMut(&str)) -> Option<String>,
    ) {
        let live = self.lives.get_mut(unit.index());
        let Some((live, plan)) = live.zip(self.plan.units.get(unit.index())) else {
            return;
        };
        let Some(capture) = &mut live.capture else {
            return;
        };
        let mut is_found = false;
        let mut on_line = |line: &str| {
            is_found |= plan.ready.log.as_ref().is_some_and(|text| line.contains(text.as_str()));
        };
        let news = take(capture, &mut on_line);
        let run = live.body.as_ref().filter(|body| body.main.is_some()).map(|body| body.run);
        if let (true, Some(run)) = (is_found, run) {
            self.push(Event::Held(unit, run, Gate::Log));
        }
        if let Some(news) = news {
            self.note(unit, news);
        }
        self.start_log_writer(unit);
    }

    /// Starts the process that writes a unit's output to its file, where one is missing.
    pub(super) fn start_log_writer(&mut self, unit: UnitId) {
        let (now, live) = (self.now, self.lives.get(unit.index()));
        let file = live.and_then(|live| live.capture.as_ref()?.file());
        let Some(file) = file.filter(|file| file.wants_writer(now)) else {
            return;
        };
        let Some((argv, output)) = file.writer(&self.own_program) else {
            return;
        };
        let result = output.try_clone_to_owned().map_err(|error| error.to_string());
        let result = result.and_then(|output| {
            let request = Request { stdin: Some(output.as_fd()), ..Request::new(argv) };
            self.spawn(unit, Run(0), Part::Log, request).map_err(|error| error.why)
        });
        match result {
            Ok(pid) => {
                if let Some(file) = self.log_file_mut(unit) {
                    file.began(Some(pid), now);
                }
            }
            Err(why) => self.log_writer_not_begun(unit, why),
        }
    }

    fn log_file_mut(&mut self, unit: UnitId) -> Option<&mut LogFile> {
        self.lives.get_mut(unit.index())?.capture.as_mut()?.file_mut()
    }

    pub(super) fn log_writer_not_begun(&mut self, unit: UnitId, why: String) {
        let now = self.now;
        if let Some(file) = self.log_file_mut(unit) {
            file.began(None, now);
        }
        self.note(unit, format!("its output is not written to its file: {why}"));
    }

    /// Only a failure ends one whose pipe is still there.
    pub(super) fn log_writer_ended(&mut self, unit: UnitId, pid: u32, how: Result<(), String>) {
        let now = self.now;
        let is_own = self.log_file_mut(unit).is_some_and(|file| file.ended(pid, now));
        if is_own && let Err(why) = how {
            self.note(unit, format!("its output is not written to its file: {why}"));
        }
    }

    /// A unit has written to its readiness descriptor.
    pub(super) fn on_ready_fd(&mut self, unit: UnitId) {
        let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body.as_mut())
        else {
            return;
        };
        let Some(fd) = &body.ready_fd else {
            return;
        };
        let mut bytes = [0; 256];
        let run = body.run;
        // It stays in the pipe until it is written down that it was there.
        let is_told = std::mem::take(&mut body.is_ready_told);
        if let (false, Ok(count)) = (is_told, stream::peek(fd, &mut bytes))
            && bytes.get(..count).is_some_and(|bytes| bytes.contains(&b'\n'))
        {
            body.is_ready_told = true;
            return self.push(Event::Held(unit, run, Gate::Fd));
        }
        match stream::read(fd, &mut bytes) {
            Ok(Got::Bytes(_)) => {}
            Ok(Got::Later) => {}
            Ok(Got::End) | Err(_) => {
                if let Some(fd) = body.ready_fd.take() {
                    self.poll.remove(fd.as_fd());
                    self.init.forget(&ready_name(self.machine.name(unit)));
                }
            }
        }
    }

    /// Lets go of all that belonged to a run.
    pub(super) fn forget(&mut self, unit: UnitId, body: &mut Body) {
        if let Some(socket) = body.notify.take() {
            self.poll.remove(socket.as_fd());
            self.init.forget(&notify_name(self.machine.name(unit)));
        }
        if let Some(fd) = body.ready_fd.take() {
            self.poll.remove(fd.as_fd());
            self.init.forget(&ready_name(self.machine.name(unit)));
        }
        if let Some((_, fd)) = body.named.take() {
            self.poll.remove(fd.as_fd());
        }
        if let Some(emptied) = body.emptied.take() {
            self.poll.remove(emptied.as_fd());
        }
        self.watching.remove(Purpose::Ready(unit));
        self.stop_probing(std::mem::take(&mut body.probing));
    }

    /// Lets go of units that were taken out of the configuration, and have ended by now.
    pub(super) fn bury_the_retired(&mut self) {
        let is_over = |state: &UnitState| {
            state.is_retired && !state.is_live() && !state.is_up() && state.undead.is_none()
        };
        let over = self.machine.units().filter(|(_, _, state)| is_over(state));
        let over: Vec<UnitId> = over.map(|(id, _, _)| id).collect();
        for id in over {
            self.activation.close_of(id);
            let has_left = |live: &&mut Live| live.capture.is_some() || live.group.is_some();
            let live = self.lives.get_mut(id.index()).filter(has_left);
            if let Some((live, plan)) = live.zip(self.plan.units.get(id.index()).cloned()) {
                let mut live = std::mem::replace(live, Live::new(self.now));
                self.bury(&plan, &mut live);
            }
        }
    }

    /// Lets go of a unit that is known no more.
    pub(super) fn bury(&mut self, plan: &Unit, live: &mut Live) {
        let name = &plan.spec.name;
        (0..plan.sockets.len()).for_each(|index| self.init.forget(&socket_name(name, index)));
        if let Some(capture) = live.capture.take() {
            self.poll.remove(capture.as_fd());
            self.init.forget(&log_name(name));
            capture.forget();
        }
        if let Some(group) = live.group.take() {
            let _ = group.remove();
        }
    }

    /// What epoll calls a unit's descriptors has to follow its new id.
    pub(super) fn rewatch(&mut self, unit: UnitId) {
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return;
        };
        let poll = &self.poll;
        let rename = |fd: BorrowedFd<'_>, token: Token| {
            let _ = poll.modify(fd, token.to_number(), Interest::Read);
        };
        if let Some(capture) = &live.capture {
            rename(capture.as_fd(), Token::Output(unit));
        }
        let Some(body) = &mut live.body else {
            return;
        };
        if let Some(socket) = &body.notify {
            rename(socket.as_fd(), Token::Notify(unit));
        }
        if let Some(fd) = &body.ready_fd {
            rename(fd.as_fd(), Token::ReadyFd(unit));
        }
        if let Some((_, fd)) = &body.named {
            rename(fd.as_fd(), Token::MainPid(unit));
        }
        if let Some(emptied) = &body.emptied {
            let _ =
                poll.modify(emptied.as_fd(), Token::Emptied(unit).to_number(), Interest::Nothing);
        }
        // Its questions are asked anew, under its new name.
        let probing = std::mem::take(&mut body.probing);
        self.stop_probing(probing);
    }

    /// Removes the socket of a control that has ended; nobody answers there any more.
    pub(super) fn remove_control(&self) {
        for name in [crate::wire::ctl::SOCKET_NAME, crate::wire::ctl::QUERY_SOCKET_NAME] {
            let _ = files::remove(&self.options.run.join(name));
        }
    }
}
