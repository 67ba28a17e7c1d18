//! What has taken too long although no machine counts it: commands and promises of a reload, and a
//! control socket that could not be answered.

use super::Shell;
use super::children::{Child, Part};
use super::live::Live;
use super::token::Token;
use crate::config::plan::{KillScope, Reload, Unit};
use crate::machine::cause::duration;
use crate::machine::{Event, Tick, UnitId};
use crate::sys::fd::AsFd;
use crate::sys::poll::Interest;

/// How long, in milliseconds, nobody is let in after there was no descriptor for a client.
const DEAF_MS: u64 = 1_000;

/// How often, in milliseconds, is looked for what could not be seen for want of a descriptor or of
/// memory: who is left of a run, and what a path has become.
const LOOK_MS: u64 = 1_000;

impl Shell {
    /// When the first of it is due.
    pub(super) fn patience_deadline(&self) -> Option<Tick> {
        let commands = self.children.iter().filter_map(|(_, child)| self.reload_until(child));
        let bodies = self.lives.iter().filter_map(|live| live.body.as_ref());
        let promises = bodies.filter_map(|body| body.reloads_until);
        let captures = self.lives.iter().filter_map(|live| live.capture.as_ref());
        let files = captures.filter_map(|capture| capture.file()?.retry_at());
        let others = self.deaf_until.into_iter().chain(self.init_until);
        let others = others.chain(self.trial.as_ref().map(|trial| trial.until));
        let others = others.chain(self.look_again_at());
        commands.chain(promises).chain(files).chain(others).min()
    }

    /// When to look again for what was not told, or could not be seen when it was.
    fn look_again_at(&self) -> Option<Tick> {
        // That a tree is empty is told by a descriptor, however long it takes.
        let is_silent = |(live, plan): (&Live, &Unit)| {
            live.body.as_ref().is_some_and(|body| {
                let is_told = plan.stop.kill == KillScope::Tree && body.emptied.is_some();
                body.is_sweeping && !is_told
            })
        };
        let is_wanted = self.watching.is_lame()
            || self.lives.iter().zip(&self.plan.units).any(is_silent)
            || self.children.unwatched().next().is_some();
        is_wanted.then(|| self.looked.after(LOOK_MS))
    }

    fn look_again(&mut self) {
        if self.look_again_at().is_none_or(|at| at > self.now) {
            return;
        }
        self.looked = self.now;
        for index in 0..self.lives.len() {
            if let Ok(index) = u16::try_from(index) {
                self.look_behind(UnitId(index));
            }
        }
        if self.children.unwatched().next().is_some() {
            self.look_at_unwatched();
        }
        if self.watching.mend() {
            self.on_watch();
        }
    }

    /// When a reload command has taken too long; `None` for other children.
    fn reload_until(&self, child: &Child) -> Option<Tick> {
        match &self.plan.units.get(child.unit.index())?.reload {
            Some(Reload::Exec { timeout_ms: Some(ms), .. }) if child.part == Part::Reload => {
                Some(child.since.after(*ms))
            }
            _ => None,
        }
    }

    /// Gives up on what is due.
    pub(super) fn pass_patience(&mut self) {
        let now = self.now;
        let is_late = |at: Option<Tick>| at.is_some_and(|at| at <= now);
        let late = self.children.iter().filter(|(_, child)| is_late(self.reload_until(child)));
        let late: Vec<_> = late.map(|(pid, child)| (pid, child.unit, child.since)).collect();
        for (pid, unit, since) in late {
            self.disown(pid);
            let why = format!("its command did not end within {}", duration(now.since(since)));
            self.reload_ended(unit, Err(why));
        }
        for index in 0..self.lives.len() {
            let Ok(index) = u16::try_from(index) else {
                break;
            };
            self.start_log_writer(UnitId(index));
            let live = self.lives.get_mut(usize::from(index));
            if let Some(body) = live.and_then(|live| live.body.as_mut())
                && is_late(body.reloads_until)
            {
                body.reloads_until = None;
                let run = body.run;
                let why = "it said RELOADING=1, and READY=1 did not follow in time".to_owned();
                self.push(Event::Unhealthy(UnitId(index), run, why));
            }
        }
        self.pass_trial();
        if is_late(self.init_until) {
            self.look_for_adopted();
        }
        self.look_again();
        if is_late(self.deaf_until) {
            self.deaf_until = None;
            self.listen_to_control(Interest::Read);
        }
    }

    /// Lets nobody in for a moment: a listener that cannot be served would wake us at once.
    pub(super) fn turn_deaf(&mut self) {
        self.deaf_until = Some(self.now.after(DEAF_MS));
        self.listen_to_control(Interest::Nothing);
    }

    fn listen_to_control(&self, interest: Interest) {
        let token = Token::Control.to_number();
        let queries = self.queries.as_ref();
        let doors = [
            Some((self.control.as_fd(), token)),
            queries.map(|queries| (queries.as_fd(), Token::Queries.to_number())),
        ];
        for (door, token) in doors.into_iter().flatten() {
            if let Err(fault) = self.poll.modify(door, token, interest) {
                log::warn!("{fault}");
            }
        }
    }
}
