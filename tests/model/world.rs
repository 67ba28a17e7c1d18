//! The world of the model: which processes there really are, and what was done to them. It learns
//! from actions and events alone and knows nothing of the machine's mind, so the two can disagree,
//! and then the machine is wrong.

use pisup::machine::spec::{Gates, Kind};
use pisup::machine::{Action, Event, Exit, Machine, Run, Stage, State, Tick, UnitId};
use pisup::machine::{Body, Phase, UnitState};

/// What there is of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// This prepare step runs.
    Step(u8),
    /// This prepare step ended well, and the machine was told.
    StepDone(u8),
    /// This prepare step is gone, and the machine was told that nobody knows how.
    StepLost(u8),
    /// The process was asked for; whether it exists was not told yet.
    Unborn,
    /// The process exists, and the machine knows.
    Main,
    /// It has ended, and the machine was told: how.
    Over(Option<Exit>),
    /// What it left behind is being killed.
    Leftovers,
}

/// A run in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub run: Run,
    pub what: What,
    /// It was asked to end.
    pub is_asked: bool,
    /// It was killed.
    pub is_killed: bool,
    /// Gates that hold.
    pub held: Gates,
}

/// What the world knows of one unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// Its state, as told by `Changed`.
    pub seen: State,
    pub process: Option<Process>,
    /// Its conditions were said to hold since they were last asked for.
    pub is_clear: bool,
}

/// All units.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub lives: Vec<Life>,
    pub has_halted: bool,
}

type Verdict = Result<(), String>;

pub fn is_so(holds: bool, sentence: &str) -> Verdict {
    if holds { Ok(()) } else { Err(sentence.to_owned()) }
}

impl World {
    pub fn new(count: usize) -> Self {
        let life = Life { seen: State::Down, process: None, is_clear: false };
        Self { lives: vec![life; count], has_halted: false }
    }

    /// The event comes true before the machine hears of it.
    pub fn happen(&mut self, event: &Event) {
        match event {
            Event::Prepared(unit, run, step, result) => match result {
                Ok(()) => self.become_(*unit, *run, What::StepDone(*step)),
                Err(_) => self.become_(*unit, *run, What::Over(None)),
            },
            Event::StepLost(unit, run, step) => self.become_(*unit, *run, What::StepLost(*step)),
            Event::Spawned(unit, run) => self.become_(*unit, *run, What::Main),
            Event::SpawnFailed(unit, run, _) | Event::Short(unit, run, _) => {
                self.become_(*unit, *run, What::Over(None))
            }
            Event::Exited(unit, run, exit) => self.become_(*unit, *run, What::Over(Some(*exit))),
            Event::Swept(unit, run) => self.become_(*unit, *run, What::Over(None)),
            Event::Held(unit, run, gate) => {
                if let Some(process) = &mut self.lives[unit.index()].process
                    && process.run == *run
                {
                    process.held = process.held.with(*gate);
                }
            }
            Event::World(unit, unmet) => self.lives[unit.index()].is_clear = unmet.is_empty(),
            _ => {}
        }
    }

    fn become_(&mut self, unit: UnitId, run: Run, what: What) {
        if let Some(process) = &mut self.lives[unit.index()].process
            && process.run == run
        {
            process.what = what;
        }
    }

    /// Does what the machine asks for; an error is a deed that must not be done.
    pub fn perform(&mut self, machine: &Machine, action: &Action) -> Verdict {
        match action {
            Action::Prepare(unit, run, step) if self.has_lost(*unit, *step) => {
                self.go_on(machine, *unit, *run, What::StepLost(*step), What::Step(*step))
            }
            Action::Prepare(unit, run, 0) => self.begin(machine, *unit, *run, What::Step(0)),
            Action::Prepare(unit, run, step) => {
                let before = What::StepDone(step - 1);
                self.go_on(machine, *unit, *run, before, What::Step(*step))
            }
            Action::Spawn(unit, run) => {
                let steps = machine.spec(*unit).map_or(0, |spec| spec.prepare_ms.len());
                match u8::try_from(steps).unwrap_or(u8::MAX).checked_sub(1) {
                    None => self.begin(machine, *unit, *run, What::Unborn),
                    Some(last) => {
                        self.go_on(machine, *unit, *run, What::StepDone(last), What::Unborn)
                    }
                }
            }
            Action::Terminate(unit, run) => {
                let process = self.signalled(*unit, *run)?;
                is_so(!process.is_asked, "a second TERM for one run")?;
                is_so(!process.is_killed, "TERM after KILL")?;
                process.is_asked = true;
                Ok(())
            }
            Action::Kill(unit, run) => {
                let process = self.signalled(*unit, *run)?;
                is_so(!process.is_killed, "a second KILL for one run")?;
                process.is_killed = true;
                Ok(())
            }
            Action::Sweep(unit, run) => {
                let process = self.process(*unit, *run)?;
                let is_over = is_over(process.what);
                is_so(is_over, "a sweep behind what still runs, or a second one")?;
                process.what = What::Leftovers;
                Ok(())
            }
            Action::Release(unit, run) => {
                let process = self.process(*unit, *run)?;
                let is_over = is_over(process.what);
                is_so(is_over, "released while something of it is there")?;
                let sweeps = machine.spec(*unit).is_some_and(|spec| spec.stop.sweeps);
                let is_swept = !matches!(process.what, What::Over(Some(_)));
                is_so(is_swept || !sweeps, "released, and not swept")?;
                self.lives[unit.index()].process = None;
                Ok(())
            }
            Action::Look(unit) => {
                self.lives[unit.index()].is_clear = false;
                Ok(())
            }
            Action::Changed { unit, from, to, .. } => self.change(machine, *unit, *from, *to),
            Action::Halt(undead) => self.halt(machine, undead),
            Action::Note(..) | Action::Refused(..) => Ok(()),
        }
    }

    fn has_lost(&self, unit: UnitId, step: u8) -> bool {
        let process = self.lives[unit.index()].process.as_ref();
        process.is_some_and(|process| process.what == What::StepLost(step))
    }

    fn process(&mut self, unit: UnitId, run: Run) -> Result<&mut Process, String> {
        let process = self.lives[unit.index()].process.as_mut();
        process
            .filter(|process| process.run == run)
            .ok_or_else(|| "a deed on a run that is gone".to_owned())
    }

    fn signalled(&mut self, unit: UnitId, run: Run) -> Result<&mut Process, String> {
        let process = self.process(unit, run)?;
        let is_there = matches!(process.what, What::Step(_) | What::Main);
        is_so(is_there, "a signal to what is dead, or not born")?;
        Ok(process)
    }

    fn begin(&mut self, machine: &Machine, unit: UnitId, run: Run, what: What) -> Verdict {
        is_so(self.lives[unit.index()].process.is_none(), "a second process for one unit")?;
        self.may_start(machine, unit)?;
        for (id, spec, _) in machine.units() {
            let is_there = id != unit && self.lives[id.index()].process.is_some();
            let own = machine.spec(unit).is_some_and(|own| own.conflicts.contains(&id));
            is_so(!(is_there && (own || spec.conflicts.contains(&unit))), "rivals both run")?;
            let is_live = is_there && !self.is_undead(machine, id);
            is_so(!(is_live && spec.binds.contains(&unit)), "a binder meets the next life")?;
        }
        let process = Process { run, what, is_asked: false, is_killed: false, held: Gates::NONE };
        self.lives[unit.index()].process = Some(process);
        Ok(())
    }

    fn go_on(
        &mut self,
        machine: &Machine,
        unit: UnitId,
        run: Run,
        before: What,
        what: What,
    ) -> Verdict {
        let process = self.process(unit, run)?;
        is_so(process.what == before, "the next step before the last one was done")?;
        is_so(!process.is_asked && !process.is_killed, "a step for a run that has to end")?;
        process.what = what;
        self.may_start(machine, unit)
    }

    fn may_start(&self, machine: &Machine, unit: UnitId) -> Verdict {
        let spec = machine.spec(unit).ok_or("no such unit")?;
        is_so(!machine.is_shutting_down(), "a start during shutdown")?;
        for dep in spec.needs() {
            let seen = self.lives[dep.index()].seen;
            is_so(matches!(seen, State::Ready | State::Done), "a start before a need is ready")?;
        }
        Ok(())
    }

    fn is_undead(&self, machine: &Machine, unit: UnitId) -> bool {
        let run = self.lives[unit.index()].process.map(|process| process.run);
        run.is_some() && machine.unit(unit).is_some_and(|state| undead_run(state) == run)
    }

    fn change(&mut self, machine: &Machine, unit: UnitId, from: State, to: State) -> Verdict {
        let life = &mut self.lives[unit.index()];
        is_so(life.seen == from && from != to, "a change from a state that it was not in")?;
        life.seen = to;
        let spec = machine.spec(unit).ok_or("no such unit")?;
        let process = life.process;
        match to {
            State::Ready => {
                let process = process.ok_or("ready without a process")?;
                is_so(process.what == What::Main, "ready before the process is known to exist")?;
                let missing = spec.readiness.gates.without(process.held);
                is_so(missing.is_empty(), "ready while a gate does not hold")?;
                is_so(spec.kind == Kind::Service, "a oneshot is ready only when it is done")
            }
            State::Done | State::Down | State::Waiting | State::Backoff | State::Failed => {
                let is_free = process.is_none() || self.is_undead(machine, unit);
                is_so(is_free, "a unit at rest with a process")
            }
            State::Preparing | State::Starting | State::Stopping => Ok(()),
        }
    }

    fn halt(&mut self, machine: &Machine, undead: &[UnitId]) -> Verdict {
        is_so(machine.is_shutting_down() && !self.has_halted, "a second halt, or unasked")?;
        self.has_halted = true;
        for (unit, _, _) in machine.units() {
            let is_there = self.lives[unit.index()].process.is_some();
            is_so(is_there == undead.contains(&unit), "halted, and what still lives is not named")?;
            is_so(!is_there || self.is_undead(machine, unit), "halted over a living unit")?;
        }
        Ok(())
    }

    /// After a step the machine and the world have to see every unit alike.
    pub fn agrees(&self, machine: &Machine, now: Tick) -> Verdict {
        for (unit, _, state) in machine.units() {
            let life = &self.lives[unit.index()];
            is_so(life.seen == state.state(), "a state changed, and nobody was told")?;
            is_so(sees_alike(life.process, state), "machine and world see different processes")?;
            if let Some(process) = life.process {
                is_so(stage_is_true(&process, state, now), "a stage that did not come about")?;
            }
        }
        Ok(())
    }
}

fn sees_alike(process: Option<Process>, state: &UnitState) -> bool {
    let Some(process) = process else {
        return state.run().is_none() && state.undead.is_none();
    };
    if let Some((run, body)) = state.undead {
        return run == process.run && state.run().is_none() && is_alike(body, process.what);
    }
    let is_same = state.run() == Some(process.run) && state.undead.is_none();
    is_same
        && match (&state.phase, process.what) {
            (Phase::Preparing { step, .. }, What::Step(real)) => *step == real,
            (Phase::Starting { alive, .. }, What::Unborn) => !alive,
            (Phase::Starting { alive, .. }, What::Main) => *alive,
            (Phase::Ready { .. }, What::Main) => true,
            (Phase::Stopping { body, .. }, what) => is_alike(*body, what),
            _ => false,
        }
}

fn is_alike(body: Body, what: What) -> bool {
    match what {
        What::Step(step) => body == Body::Step(step),
        What::Unborn => body == Body::Unborn,
        What::Main => body == Body::Main,
        What::Leftovers => body == Body::Leftovers,
        What::StepDone(_) | What::StepLost(_) | What::Over(_) => false,
    }
}

/// Nothing of it runs, but for what it may have left behind.
const fn is_over(what: What) -> bool {
    matches!(what, What::Over(_) | What::StepDone(_) | What::StepLost(_))
}

/// The run of a unit that was killed and given up.
pub fn undead_run(state: &UnitState) -> Option<Run> {
    state.undead.map(|(run, _)| run)
}

/// TERM and KILL were sent when the stage says so, and only then.
fn stage_is_true(process: &Process, state: &UnitState, now: Tick) -> bool {
    match &state.phase {
        Phase::Stopping { stage, .. } => match stage {
            Stage::Ordered => !process.is_asked && !process.is_killed,
            Stage::Asked { .. } => process.is_asked && !process.is_killed,
            Stage::Killed { until } => {
                process.is_killed == (process.what != What::Unborn) && *until > now
            }
            Stage::Sweeping { until } => *until > now,
        },
        Phase::Preparing { .. } | Phase::Starting { .. } | Phase::Ready { .. } => {
            !process.is_asked && !process.is_killed
        }
        _ => true,
    }
}
