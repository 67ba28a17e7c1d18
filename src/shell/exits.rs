//! The dead: who they were, and what their end means.

use super::Shell;
use super::children::{Child, Part};
use crate::config::plan::Step;
use crate::machine::{Event, Exit, Run, UnitId, cause};
use crate::sys::child;
use crate::sys::fd::AsFd;

/// The dead that are looked at in one turn; the rest comes with the next one.
const REAPED_MAX: usize = 64;

impl Shell {
    /// Reaps all that have died.
    pub(super) fn on_child(&mut self) {
        let reaped = child::reap(REAPED_MAX);
        for (pid, exit) in reaped.dead {
            self.dead(pid, exit);
        }
        self.has_more_dead = reaped.has_more;
        for index in 0..self.lives.len() {
            if let Ok(index) = u16::try_from(index) {
                self.look_behind(UnitId(index));
            }
        }
    }

    pub(super) fn dead(&mut self, pid: u32, exit: Exit) {
        self.record.is_stale = true;
        // What it said before it died counts: first its program, then its messages and its output.
        self.on_program(pid);
        let Some(child) = self.children.remove(pid) else {
            self.orphan_died(pid, exit);
            return;
        };
        if let Some(pidfd) = child.pidfd.as_ref().filter(|_| child.is_foreign) {
            self.poll.remove(pidfd.as_fd());
        }
        let Child { unit, run, part, .. } = child;
        match part {
            Part::Main | Part::Step(..) => self.end_output(unit),
            // The main process may be in the middle of a line.
            Part::Probe(_) | Part::Stop | Part::Reload | Part::Keep | Part::Log => {
                self.on_output(unit);
            }
            Part::SelfTest => return self.tested(pid, exit),
        }
        match part {
            Part::Main => {
                self.end_notify(unit);
                self.main_died(unit, run, pid, exit);
            }
            Part::Step(number, ignores_failure) => {
                if let Some(body) = self.lives.get_mut(unit.index()).and_then(|l| l.body_of(run)) {
                    body.step = None;
                }
                if exit == Exit::Unknown {
                    return self.push(Event::StepLost(unit, run, number));
                }
                let result = self.verdict(unit, exit);
                self.step_ended(unit, run, number, ignores_failure, result);
            }
            Part::Probe(slot) => {
                let result = self.verdict(unit, exit);
                self.probe_command_ended(unit, run, slot, result);
            }
            Part::Stop => {
                if let Err(why) = self.verdict(unit, exit) {
                    self.note(unit, format!("its stop command failed: {why}"));
                }
            }
            Part::Reload => {
                let result = self.verdict(unit, exit);
                self.reload_ended(unit, result);
            }
            Part::Log => {
                let result = self.verdict(unit, exit);
                self.log_writer_ended(unit, pid, result);
            }
            Part::SelfTest => {}
            Part::Keep => match self.verdict(unit, exit) {
                // They may have changed meanwhile.
                Ok(()) => self.read_exports(unit),
                // The next change is the next try: a full disk would fail the next copy, too.
                Err(why) => self.note(unit, format!("its values are not kept: {why}")),
            },
        }
    }

    /// A process that was left to us, or that an earlier supervisor had made; of the others one
    /// that a service named as its main process counts.
    pub(super) fn orphan_died(&mut self, pid: u32, exit: Exit) {
        if self.children.get(pid).is_some() {
            return self.dead(pid, exit);
        }
        let named = self.machine.units().find_map(|(unit, _, _)| {
            let body = self.lives.get(unit.index())?.body.as_ref()?;
            let (named, _) = body.named.as_ref()?;
            (*named == pid).then_some((unit, body.run))
        });
        if let Some((unit, run)) = named {
            self.named_died(unit, run, exit);
        }
    }

    /// The end of a process that a service named as its main one.
    pub(super) fn named_died(&mut self, unit: UnitId, run: Run, exit: Exit) {
        self.end_output(unit);
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return;
        };
        if let Some(body) = live.body_of(run)
            && let Some((_, pidfd)) = body.named.take()
        {
            self.poll.remove(pidfd.as_fd());
            body.main = None;
            live.exit = Some(exit);
            self.push(Event::Exited(unit, run, exit));
        }
    }

    fn main_died(&mut self, unit: UnitId, run: Run, pid: u32, exit: Exit) {
        let Some(live) = self.lives.get_mut(unit.index()) else {
            return;
        };
        if let Some(body) = live.body_of(run) {
            if body.main == Some(pid) {
                body.main = None;
            }
            if body.named.is_some() {
                // It handed its work to another process, which lives.
                return;
            }
        }
        live.exit = Some(exit);
        self.push(Event::Exited(unit, run, exit));
    }

    /// The end of a command in words, with the last line that it said.
    fn verdict(&self, unit: UnitId, exit: Exit) -> Result<(), String> {
        if exit.is_success() {
            return Ok(());
        }
        let how = cause::exit(exit);
        let capture = self.lives.get(unit.index()).and_then(|live| live.capture.as_ref());
        match capture.and_then(|capture| capture.ring().tail(1).pop()) {
            Some(line) => Err(format!("{how}: {}", line.text)),
            None => Err(how),
        }
    }

    /// A prepare step has ended.
    pub(super) fn step_ended(
        &mut self,
        unit: UnitId,
        run: Run,
        number: u8,
        ignores_failure: bool,
        result: Result<(), String>,
    ) {
        let result = match result {
            Err(why) if ignores_failure => {
                log::info!("{}: passed over: {why}", self.machine.name(unit));
                Ok(())
            }
            Ok(()) => {
                self.note_what_step_did(unit, number);
                Ok(())
            }
            Err(why) => Err(why),
        };
        self.push(Event::Prepared(unit, run, number, result));
    }

    /// What pisup itself did to the network is worth a note: others may wonder.
    fn note_what_step_did(&mut self, unit: UnitId, number: u8) {
        let step =
            self.plan.units.get(unit.index()).and_then(|plan| {
                plan.prepare.get(usize::from(number)).map(|prepare| &prepare.step)
            });
        if !matches!(step, Some(Step::BridgeReset { .. })) {
            return;
        }
        let live = self.lives.get_mut(unit.index());
        let line = live.and_then(|live| live.capture.as_ref()?.ring().tail(1).pop());
        if let (Some(line), Some(live)) = (line, self.lives.get_mut(unit.index())) {
            live.note(line.text);
        }
    }

    /// A reload command has ended.
    pub(super) fn reload_ended(&mut self, unit: UnitId, result: Result<(), String>) {
        if let Err(why) = &result {
            self.note(unit, format!("its reload failed: {why}"));
        }
        if let Some(live) = self.lives.get_mut(unit.index()) {
            live.reloads = (live.reloads.0 + 1, result);
        }
        self.touched.insert(unit);
    }
}
