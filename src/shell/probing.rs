//! The questions that units are asked: which, when, and what an answer means.
//!
//! Which questions a unit is asked follows from its phase alone, so a unit that stops is asked
//! nothing more, whatever made it stop. Two tries of one question never overlap.

use super::Shell;
use super::children::Part;
use super::launch::Values;
use super::probe::{Probe, Question};
use super::token::Token;
use crate::config::plan::{Probes, Text};
use crate::machine::spec::Gate;
use crate::machine::{Event, Phase, Run, Tick, UnitId};
use crate::sys::poll::Ready;

/// What a unit is asked for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// Whether it is ready.
    Ready,
    /// Whether it is well.
    Health,
}

/// The questions of one run.
#[derive(Debug, Default)]
pub struct Probing {
    mode: Mode,
    slots: Vec<Slot>,
    /// The last answer that was not a good one.
    said: Option<String>,
}

/// One question.
#[derive(Debug)]
struct Slot {
    gate: Gate,
    ask: Ask,
    every_ms: u64,
    timeout_ms: u64,
    next: Next,
    failures: u32,
}

#[derive(Debug)]
enum Ask {
    Socket(Question),
    Command(Vec<Text>),
}

#[derive(Debug)]
enum Next {
    /// It is asked at this instant.
    At(Tick),
    /// A socket is being talked to.
    Socket(Box<Probe>),
    /// A command runs, until then at the most.
    Command(u32, Tick),
    /// It has been answered for good.
    Never,
}

impl Probing {
    fn deadline(&self) -> Option<Tick> {
        let deadlines = self.slots.iter().filter_map(|slot| match &slot.next {
            Next::At(at) | Next::Command(_, at) => Some(*at),
            Next::Socket(probe) => Some(probe.deadline()),
            Next::Never => None,
        });
        deadlines.min()
    }
}

impl Shell {
    /// Asks what the phases want to be asked, and nothing else.
    pub(super) fn look_at_probes(&mut self) {
        for index in 0..self.lives.len() {
            let Ok(index) = u16::try_from(index) else {
                return;
            };
            let unit = UnitId(index);
            let wanted = self.wanted_mode(unit);
            let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
            if body.is_some_and(|body| body.probing.mode != wanted) {
                self.change_mode(unit, wanted);
            }
        }
    }

    fn wanted_mode(&self, unit: UnitId) -> Mode {
        match self.machine.unit(unit).map(|state| &state.phase) {
            Some(Phase::Starting { alive: true, .. }) => Mode::Ready,
            Some(Phase::Ready { .. }) => Mode::Health,
            _ => Mode::Off,
        }
    }

    fn change_mode(&mut self, unit: UnitId, mode: Mode) {
        let slots = match self.questions(unit, mode) {
            Ok(slots) => slots,
            Err(why) => {
                self.note(unit, format!("its probes cannot be asked: {why}"));
                Vec::new()
            }
        };
        let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body.as_mut())
        else {
            return;
        };
        let old = std::mem::replace(&mut body.probing, Probing { mode, slots, said: None });
        for slot in old.slots {
            self.call_off(slot.next);
        }
    }

    fn call_off(&mut self, next: Next) {
        match next {
            Next::Socket(probe) => probe.close(&self.poll),
            Next::Command(pid, _) => self.disown(pid),
            Next::At(_) | Next::Never => {}
        }
    }

    fn questions(&self, unit: UnitId, mode: Mode) -> Result<Vec<Slot>, String> {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return Ok(Vec::new());
        };
        let (probes, first) = match (mode, &plan.health) {
            (Mode::Ready, _) => (&plan.ready.probes, self.now),
            (Mode::Health, Some(health)) => {
                (&health.probes, self.now.after(health.probes.every_ms))
            }
            (Mode::Health, None) | (Mode::Off, _) => return Ok(Vec::new()),
        };
        let values = Values::of(&self.machine, unit);
        let asks = asks(probes, values)?;
        let slot = |(gate, ask)| Slot {
            gate,
            ask,
            every_ms: probes.every_ms,
            timeout_ms: probes.timeout_ms,
            next: Next::At(first),
            failures: 0,
        };
        Ok(asks.into_iter().map(slot).collect())
    }

    /// When the first question is to be asked or given up.
    pub(super) fn probes_deadline(&self) -> Option<Tick> {
        let bodies = self.lives.iter().filter_map(|live| live.body.as_ref());
        bodies.filter_map(|body| body.probing.deadline()).min()
    }

    /// Asks what is due, and gives up on answers that do not come.
    pub(super) fn pass_probe_deadlines(&mut self) {
        let now = self.now;
        for index in 0..self.lives.len() {
            let Ok(index) = u16::try_from(index) else {
                return;
            };
            let unit = UnitId(index);
            let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
            let Some(body) =
                body.filter(|body| body.probing.deadline().is_some_and(|at| at <= now))
            else {
                continue;
            };
            for slot in 0..body.probing.slots.len() {
                if let Ok(slot) = u8::try_from(slot) {
                    self.pass_slot_deadline(unit, slot);
                }
            }
        }
    }

    fn slot_mut(&mut self, unit: UnitId, slot: u8) -> Option<(&mut Slot, Run)> {
        let body = self.lives.get_mut(unit.index())?.body.as_mut()?;
        body.probing.slots.get_mut(usize::from(slot)).map(|slot| (slot, body.run))
    }

    fn pass_slot_deadline(&mut self, unit: UnitId, number: u8) {
        let now = self.now;
        let Some((slot, run)) = self.slot_mut(unit, number) else {
            return;
        };
        match &mut slot.next {
            Next::At(at) if *at <= now => self.ask(unit, run, number),
            Next::Socket(probe) if probe.deadline() <= now => {
                let why = probe.too_late();
                self.answered(unit, run, number, Err(why));
            }
            Next::Command(pid, at) if *at <= now => {
                let (pid, ms) = (*pid, slot.timeout_ms);
                self.disown(pid);
                let late = crate::machine::cause::duration(ms);
                self.answered(unit, run, number, Err(format!("exec: no answer within {late}")));
            }
            Next::At(_) | Next::Socket(_) | Next::Command(..) | Next::Never => {}
        }
    }

    fn ask(&mut self, unit: UnitId, run: Run, number: u8) {
        let now = self.now;
        let Some((slot, _)) = self.slot_mut(unit, number) else {
            return;
        };
        let timeout_ms = slot.timeout_ms;
        match &slot.ask {
            Ask::Socket(question) => {
                let question = question.clone();
                let token = Token::Probe(unit, number).to_number();
                match Probe::ask(&question, &self.poll, token, now, timeout_ms) {
                    Ok(probe) => self.set_next(unit, number, Next::Socket(Box::new(probe))),
                    Err(why) => self.answered(unit, run, number, Err(why)),
                }
            }
            Ask::Command(exec) => {
                let exec = exec.clone();
                match self.run_beside(unit, run, Part::Probe(number), &exec) {
                    Ok(pid) => {
                        self.set_next(unit, number, Next::Command(pid, now.after(timeout_ms)))
                    }
                    Err(why) => self.answered(unit, run, number, Err(why)),
                }
            }
        }
    }

    fn set_next(&mut self, unit: UnitId, number: u8, next: Next) {
        let Some((slot, _)) = self.slot_mut(unit, number) else {
            return;
        };
        let old = std::mem::replace(&mut slot.next, next);
        if let Next::Socket(probe) = old {
            probe.close(&self.poll);
        }
    }

    /// A socket that is being talked to can go on.
    pub(super) fn on_probe(&mut self, unit: UnitId, number: u8, _ready: Ready) {
        let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body.as_mut())
        else {
            return;
        };
        let run = body.run;
        let slot = body.probing.slots.get_mut(usize::from(number));
        if let Some(Slot { next: Next::Socket(probe), .. }) = slot
            && let Some(answer) = probe.go_on(&self.poll)
        {
            self.answered(unit, run, number, answer);
        }
    }

    /// The command of a question has ended.
    pub(super) fn probe_command_ended(
        &mut self,
        unit: UnitId,
        run: Run,
        number: u8,
        result: Result<(), String>,
    ) {
        let is_present = self
            .slot_mut(unit, number)
            .is_some_and(|(slot, own)| own == run && matches!(slot.next, Next::Command(..)));
        if is_present {
            let result = result.map_err(|why| format!("exec: {why}"));
            self.answered(unit, run, number, result);
        }
    }

    fn answered(&mut self, unit: UnitId, run: Run, number: u8, answer: Result<(), String>) {
        let now = self.now;
        let health = self.plan.units.get(unit.index()).and_then(|plan| plan.health.as_ref());
        let (limit, restarts) = health.map_or((0, false), |h| (h.failures, h.restarts));
        let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body.as_mut())
        else {
            return;
        };
        let mode = body.probing.mode;
        let Some(slot) = body.probing.slots.get_mut(usize::from(number)) else {
            return;
        };
        slot.failures = if answer.is_ok() { 0 } else { slot.failures.saturating_add(1) };
        let (gate, failures) = (slot.gate, slot.failures);
        let is_held = answer.is_ok() && mode == Mode::Ready;
        let next = if is_held { Next::Never } else { Next::At(now.after(slot.every_ms)) };
        body.probing.said = answer.as_ref().err().cloned();
        self.set_next(unit, number, next);
        self.touched.insert(unit);
        match answer {
            Ok(()) if mode == Mode::Ready => self.push(Event::Held(unit, run, gate)),
            Err(why) if mode == Mode::Health && failures == limit && restarts => {
                let why = format!("{failures} times in a row, {why}");
                self.push(Event::Unhealthy(unit, run, why));
            }
            Err(why) if mode == Mode::Health && failures == limit => {
                self.note(unit, format!("not well: {failures} times in a row, {why}"));
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// What the last question of a starting unit found out.
    pub(super) fn probing_says(&self, unit: UnitId) -> Option<&str> {
        let body = self.lives.get(unit.index())?.body.as_ref()?;
        body.probing.said.as_deref()
    }

    /// The questions of a run that has ended are asked no more.
    pub(super) fn stop_probing(&mut self, probing: Probing) {
        for slot in probing.slots {
            self.call_off(slot.next);
        }
    }
}

fn asks(probes: &Probes, values: Values<'_>) -> Result<Vec<(Gate, Ask)>, String> {
    let mut asks = Vec::new();
    if let Some(http) = &probes.http {
        let question = Question::http(&values.fill(&http.url)?, http.expect.clone())?;
        asks.push((Gate::Http, Ask::Socket(question)));
    }
    if let Some(address) = &probes.tcp {
        asks.push((Gate::Tcp, Ask::Socket(Question::tcp(&values.fill(address)?)?)));
    }
    if let Some(path) = &probes.unix {
        asks.push((Gate::Unix, Ask::Socket(Question::unix(&values.fill(path)?))));
    }
    if let Some(exec) = &probes.exec {
        asks.push((Gate::Exec, Ask::Command(exec.clone())));
    }
    Ok(asks)
}
