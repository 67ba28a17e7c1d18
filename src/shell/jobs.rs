//! Commands: what each leads to, and how its end is found out.

use super::Shell;
use super::children::Part;
use super::client::{Asking, Goal, Job};
use crate::config::plan::{self, Reload};
use crate::machine::graph::needed;
use crate::machine::plan::{Do, Planned};
use crate::machine::{Event, Machine, Phase, State, UnitId, Want};
use crate::sys::init_link::Power;
use crate::sys::reason;
use crate::wire::ctl::{
    PlanDoc, PlanStep, Progress, Reply, Request, StepKind, code, signal_number,
};

/// HUP, INT, USR1, USR2, TERM: what `container-run` does something about.
const OWNER_HEEDS: [u8; 5] = [1, 2, 10, 12, 15];

impl Shell {
    /// Answers one request, or begins to.
    pub(super) fn answer(&mut self, id: u32, request: Request) {
        match request {
            Request::Status { unit } => self.answer_status(id, unit.as_deref()),
            Request::Start { units, no_wait } => self.job(id, &units, no_wait, false, Event::Start),
            Request::Stop { units, no_wait, dry_run } => {
                self.job(id, &units, no_wait, dry_run, Event::Stop);
            }
            Request::Restart { units, no_wait, dry_run } => {
                self.job(id, &units, no_wait, dry_run, Event::Restart);
            }
            Request::Reload { units, no_wait } => self.answer_reload(id, &units, no_wait),
            Request::Logs { units, n, follow } => self.answer_logs(id, &units, n, follow),
            Request::Events { units, n, follow } => self.answer_events(id, &units, n, follow),
            Request::Why { unit } => self.answer_why(id, &unit),
            Request::Env { unit } => self.answer_env(id, &unit),
            Request::Kill { unit, signal } => self.answer_kill(id, &unit, &signal),
            Request::ReloadConfig { no_wait, dry_run } => {
                self.answer_reload_config(id, no_wait, dry_run);
            }
            Request::Upgrade { program } => self.answer_upgrade(id, program),
            Request::Shutdown { no_wait } => self.answer_shutdown(id, no_wait, None),
            Request::Poweroff { no_wait } => self.answer_shutdown(id, no_wait, Some(Power::Off)),
            Request::Reboot { no_wait } => self.answer_shutdown(id, no_wait, Some(Power::Reboot)),
        }
    }

    fn answer_shutdown(&mut self, id: u32, no_wait: bool, next: Option<Power>) {
        if let Some(Err(message)) = next.map(|next| self.init.wish(next)) {
            return self.refuse(id, code::FAILED, message);
        }
        self.shut_down();
        if no_wait {
            self.done(id, code::DONE, "everything is being shut down".to_owned());
        } else {
            let all = self.machine.units().map(|(unit, _, _)| unit).collect();
            self.wait_for(id, vec![], all);
        }
    }

    /// Begins an ordered shutdown; a second wish does no harm.
    pub(super) fn shut_down(&mut self) {
        let by = self.now.after(self.plan.node.shutdown_timeout_ms);
        self.above.tell("STOPPING=1");
        self.init.ending(self.plan.node.shutdown_timeout_ms);
        self.push(Event::Shutdown { by });
        self.pump();
    }

    fn job(
        &mut self,
        id: u32,
        names: &[String],
        no_wait: bool,
        dry_run: bool,
        event: fn(UnitId) -> Event,
    ) {
        let units = match self.units_of(names) {
            Ok(units) => units,
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let events: Vec<Event> = units.iter().map(|unit| event(*unit)).collect();
        let plan = self.machine.plan(&events, self.now);
        let is_start = matches!(events.first(), Some(Event::Start(_)));
        if !is_start {
            self.reply(id, &Reply::Plan(plan_doc(&plan, &self.machine)));
        }
        if dry_run {
            return self.done(id, code::DONE, String::new());
        }
        let goals: Vec<(UnitId, Goal)> =
            events.iter().map(|event| self.goal(event)).collect::<Option<_>>().unwrap_or_default();
        for event in events {
            self.refused = None;
            self.push(event);
            self.pump();
            if let Some((unit, rivals)) = self.refused.take() {
                let message = self.refusal(unit, &rivals);
                return self.refuse(id, code::FAILED, message);
            }
        }
        if no_wait {
            return self.done(id, code::DONE, format!("{}: under way", names.join(", ")));
        }
        let mut scope: Vec<UnitId> =
            plan.iter().filter(|s| s.condition.is_none()).map(|s| s.unit).collect();
        scope.extend(units.iter().flat_map(|unit| needed(&self.specs(), *unit)));
        self.wait_for(id, goals, scope);
    }

    fn goal(&self, event: &Event) -> Option<(UnitId, Goal)> {
        let (unit, is_restart) = match event {
            Event::Stop(unit) => return Some((*unit, Goal::Down)),
            Event::Start(unit) => (*unit, false),
            Event::Restart(unit) => (*unit, true),
            _ => return None,
        };
        let live = self.lives.get(unit.index())?;
        // Any start is after this one, unless there was one and it is to be replaced.
        let starts = if is_restart { Some(live.starts) } else { None };
        Some((unit, Goal::Up { starts, failures: live.failures }))
    }

    pub(super) fn refusal(&self, unit: UnitId, rivals: &[UnitId]) -> String {
        let name = self.machine.name(unit);
        if self.machine.is_shutting_down() {
            return format!("{name} is not started: everything is being shut down");
        }
        let rivals: Vec<&str> = rivals.iter().map(|rival| self.machine.name(*rival)).collect();
        match rivals.as_slice() {
            [] => format!("{name} is not started: it is in the configuration no more"),
            rivals => {
                let rivals = rivals.join(", ");
                format!("{name} is not started: it conflicts with {rivals}; stop {rivals} first")
            }
        }
    }

    /// Makes a client wait for the end of a job.
    pub(super) fn wait_for(&mut self, id: u32, goals: Vec<(UnitId, Goal)>, scope: Vec<UnitId>) {
        let mut told: Vec<(UnitId, String)> = Vec::new();
        for unit in scope {
            if !told.iter().any(|(other, _)| *other == unit) {
                // What is up already and stays so is no news.
                let is_up = self.machine.unit(unit).is_some_and(|state| state.is_up());
                let line = if is_up { line_of(&self.progress(unit)) } else { String::new() };
                told.push((unit, line));
            }
        }
        let job = Job { goals, ended: Vec::new(), has_failed: false, scope: told };
        self.advance_job(id, job);
    }

    /// Tells a job's client what is new, and ends the job if it has ended.
    pub(super) fn advance_job(&mut self, id: u32, mut job: Job) {
        for index in 0..job.scope.len() {
            let Some((unit, told)) = job.scope.get_mut(index) else {
                continue;
            };
            let progress = self.progress(*unit);
            let line = line_of(&progress);
            if *told != line {
                *told = line;
                self.reply(id, &Reply::Progress(progress));
            }
        }
        let is_shutdown = job.goals.is_empty() && job.ended.is_empty();
        let goals = std::mem::take(&mut job.goals);
        for (unit, goal) in goals {
            match self.outcome(unit, goal) {
                None => job.goals.push((unit, goal)),
                Some(Ok(sentence)) => job.ended.push(sentence),
                Some(Err(sentence)) => {
                    job.has_failed = true;
                    job.ended.push(sentence);
                }
            }
        }
        if job.goals.is_empty() && !is_shutdown {
            let code = if job.has_failed { code::FAILED } else { code::DONE };
            self.done(id, code, job.ended.join("; "));
        } else if let Some(client) = self.clients.get_mut(&id) {
            client.asking = Asking::Job(job);
        }
    }

    fn progress(&self, unit: UnitId) -> Progress {
        let state = self.machine.unit(unit).map_or(State::Down, |state| state.state());
        let cause = self.lives.get(unit.index()).map(|live| live.cause.clone());
        Progress {
            unit: self.machine.name(unit).to_owned(),
            state: state.word().to_owned(),
            sentence: self.waiting_for(unit).or(cause).unwrap_or_default(),
        }
    }

    /// How a job on a unit has ended; `None` while it goes on.
    fn outcome(&self, unit: UnitId, goal: Goal) -> Option<Result<String, String>> {
        let name = self.machine.name(unit);
        let Some((state, live)) = self.machine.unit(unit).zip(self.lives.get(unit.index())) else {
            return Some(Ok(format!("{name} is gone")));
        };
        match goal {
            Goal::Up { starts, failures } => {
                let is_new = starts.is_none_or(|old| live.starts > old);
                if state.is_up() && state.bounce.is_none() && is_new {
                    return Some(Ok(format!("{name} is {}", state.state())));
                }
                if live.failures > failures {
                    let next =
                        if state.state() == State::Failed { "" } else { "; it is tried again" };
                    return Some(Err(format!("{name}: {}{next}", live.failure)));
                }
                if state.phase == Phase::Failed {
                    return Some(Err(format!("{name}: {}", live.failure)));
                }
                if let Some(hold) = self.machine.dead_end(unit) {
                    let why = hold.sentence(|unit| self.machine.name(unit));
                    return Some(Err(format!("{name}: {why}")));
                }
                let is_given_up = state.want != Want::On || self.machine.is_shutting_down();
                is_given_up.then(|| Err(format!("{name} was stopped meanwhile")))
            }
            Goal::Down if state.undead.is_some() => {
                Some(Err(format!("{name} will not die: it was killed and is still there")))
            }
            Goal::Down if state.want == Want::On => {
                Some(Err(format!("{name} was started again meanwhile")))
            }
            Goal::Down => (state.phase == Phase::Down).then(|| Ok(format!("{name} is down"))),
            Goal::Reloaded(before) => match &live.reloads {
                (count, Ok(())) if *count > before => Some(Ok(format!("{name} was reloaded"))),
                (count, Err(why)) if *count > before => Some(Err(format!("{name}: {why}"))),
                _ => None,
            },
        }
    }

    /// A plan in words.
    fn answer_reload(&mut self, id: u32, names: &[String], no_wait: bool) {
        let units = match self.units_of(names) {
            Ok(units) => units,
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let mut goals = Vec::new();
        for unit in units {
            let before = self.lives.get(unit.index()).map_or(0, |live| live.reloads.0);
            if let Err(message) = self.reload_unit(unit) {
                return self.refuse(id, code::FAILED, message);
            }
            goals.push((unit, Goal::Reloaded(before)));
        }
        if no_wait {
            return self.done(id, code::DONE, format!("{}: told to reload", names.join(", ")));
        }
        let scope = goals.iter().map(|(unit, _)| *unit).collect();
        self.wait_for(id, goals, scope);
    }

    fn reload_unit(&mut self, unit: UnitId) -> Result<(), String> {
        let plan = self.plan.units.get(unit.index()).ok_or("no such unit")?;
        let name = plan.spec.name.clone();
        let Some(reload) = plan.reload.clone() else {
            return Err(format!("{name} has no [reload] section; restart it instead"));
        };
        let state = self.machine.unit(unit);
        let run = match state.map(|state| &state.phase) {
            Some(Phase::Ready { run, .. }) => *run,
            _ => return Err(format!("{name} is not ready; only a ready unit can be reloaded")),
        };
        match reload {
            Reload::Signal(number) if number > super::perform::LAST_NAMED => {
                return Err(format!("{name} cannot be sent signal {number}"));
            }
            Reload::Signal(number) => {
                self.send(unit, u8::try_from(number).unwrap_or_default())?;
                self.reload_ended(unit, Ok(()));
            }
            Reload::Exec { exec, .. } => drop(self.run_beside(unit, run, Part::Reload, &exec)?),
        }
        Ok(())
    }

    fn answer_kill(&mut self, id: u32, name: &str, signal: &str) {
        let unit = match self.unit_of(name) {
            Ok(unit) => unit,
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let Some(number) = signal_number(signal) else {
            return self.refuse(id, code::USAGE, format!("no signal \"{signal}\""));
        };
        if self.lives.get(unit.index()).and_then(super::live::Live::main).is_none() {
            let message = format!("{name} has no process to send a signal to");
            return self.refuse(id, code::FAILED, message);
        }
        match self.send(unit, number) {
            Ok(()) => self.done(id, code::DONE, format!("{name} was sent {signal}")),
            Err(message) => self.refuse(id, code::FAILED, message),
        }
    }

    /// Sends a signal to the service itself, because somebody asked for it.
    fn send(&self, unit: UnitId, number: u8) -> Result<(), String> {
        let name = self.machine.name(unit);
        let plan = self.plan.units.get(unit.index());
        if plan.is_some_and(|plan| matches!(plan.job, plan::Job::Container(_)))
            && !OWNER_HEEDS.contains(&number)
        {
            return Err(format!(
                "{name} is a container: its owner passes HUP, USR1 and USR2 on and ends it on TERM \
                 and INT; only the engine can send it another signal"
            ));
        }
        let what = crate::machine::cause::signal(number);
        self.signal_main(unit, number)
            .map_err(|errno| format!("{name} was not sent {what}: {}", reason(errno)))
    }
}

/// A plan as it is told; the machine is the one whose ids the steps have.
pub(super) fn plan_doc(plan: &[Planned], machine: &Machine) -> PlanDoc {
    let step = |step: &Planned| PlanStep {
        kind: match step.what {
            Do::Stop => StepKind::Stop,
            Do::Prepare => StepKind::Prepare,
            Do::Start => StepKind::Start,
        },
        unit: machine.name(step.unit).to_owned(),
        because: step.because.sentence(|unit| machine.name(unit)),
        condition: step.condition_text(),
    };
    PlanDoc { plan: plan.iter().map(step).collect(), changes: vec![] }
}

/// What a client is told of a unit, as far as it can be news.
fn line_of(progress: &Progress) -> String {
    format!("{} {}", progress.state, progress.sentence)
}
