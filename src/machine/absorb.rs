//! The first half of a step: one event moves at most the unit that it speaks of.

use alloc::string::String;
use alloc::vec::Vec;

use super::Machine;
use super::cause::Cause;
use super::event::{Action, Event, Exit, Values};
use super::graph;
use super::ids::{Run, Tick, UnitId};
use super::spec::{Gate, Kind, Policy};
use super::unit::{Body, Next, Phase, Stage, Want};
use super::{KILL_GRACE_MS, Shutdown};

impl Machine {
    pub(super) fn absorb(&mut self, event: Event, now: Tick) {
        match event {
            Event::Boot => self.boot(),
            Event::Resumed(newcomers) => self.resumed(newcomers),
            Event::Start(unit) => self.start(unit),
            Event::Stop(unit) => self.stop(unit),
            Event::Restart(unit) => self.restart(unit),
            Event::Shutdown { by } => self.shut_down(by),
            Event::World(unit, unmet) => {
                if let Some(state) = self.unit_mut(unit) {
                    state.unmet = unmet;
                }
            }
            Event::Prepared(unit, run, step, result) => {
                self.prepared(unit, run, step, result, now);
            }
            Event::StepLost(unit, run, step) => self.step_lost(unit, run, step, now),
            Event::Spawned(unit, run) => self.spawned(unit, run, now),
            Event::SpawnFailed(unit, run, why) => self.spawn_failed(unit, run, why, now),
            Event::Short(unit, run, why) => self.short(unit, run, why, now),
            Event::Held(unit, run, gate) => self.held(unit, run, gate, now),
            Event::Extend(unit, run, ms) => self.extend(unit, run, now.after(ms)),
            Event::Alive(unit, run) => self.alive(unit, run, now),
            Event::AliveEvery(unit, run, ms) => {
                if let Some(state) = self.unit_mut(unit).filter(|s| s.run() == Some(run)) {
                    state.watchdog_ms = Some(ms);
                }
                self.alive(unit, run, now);
            }
            Event::Unhealthy(unit, run, why) => {
                if matches!(self.phase_of(unit, run), Some(Phase::Ready { .. })) {
                    self.give_up(unit, Cause::Unhealthy(why), now);
                }
            }
            Event::Exports(unit, values) => self.exported(unit, values),
            Event::Exited(unit, run, exit) => self.exited(unit, run, exit, now),
            Event::Swept(unit, run) => self.swept(unit, run, now),
            Event::Timer => {}
        }
    }

    /// The phase of a unit, if this is its present run: stale events find nothing.
    fn phase_of(&self, unit: UnitId, run: Run) -> Option<&Phase> {
        let state = self.unit(unit)?;
        (state.run() == Some(run)).then_some(&state.phase)
    }

    fn boot(&mut self) {
        let is_enabled = |unit: &UnitId| self.spec(*unit).is_some_and(|spec| spec.is_enabled);
        let enabled: Vec<UnitId> = graph::ids(self.specs.len()).filter(is_enabled).collect();
        for unit in enabled {
            let rivals = self.rivals(unit);
            if rivals.is_empty() {
                self.need(unit, &Cause::Boot);
            } else {
                self.tell(Action::Refused(unit, rivals));
            }
        }
        self.pull(self.all_on());
    }

    /// Wants a unit and all that it needs.
    fn need(&mut self, unit: UnitId, cause: &Cause) {
        for each in graph::needed(&self.specs, unit) {
            self.ask(each, if each == unit { cause.clone() } else { Cause::PulledBy(unit) });
        }
    }

    /// The units that are wanted.
    pub(super) fn all_on(&self) -> Vec<UnitId> {
        let on = self.units().filter(|(_, _, state)| state.want == Want::On);
        on.map(|(unit, _, _)| unit).collect()
    }

    /// Wants what these units need or prefer and nobody asked for yet.
    pub(super) fn pull(&mut self, mut pullers: Vec<UnitId>) {
        while let Some(unit) = pullers.pop() {
            for dep in graph::needed(&self.specs, unit) {
                pullers.extend(self.pull_one(dep, unit));
            }
            let wants = self.spec(unit).map_or_else(Vec::new, |spec| spec.wants.clone());
            for dep in wants {
                if !self.is_idle(dep) {
                    continue;
                }
                // A preference is no reason to break a conflict.
                if let Some(rival) = self.rivals(dep).first() {
                    self.tell(Action::Note(unit, Cause::LeftOut(dep, *rival)));
                    continue;
                }
                for each in graph::needed(&self.specs, dep) {
                    pullers.extend(self.pull_one(each, unit));
                }
            }
        }
    }

    /// Wants a unit that nobody asked for yet; who is pulled pulls in turn.
    fn pull_one(&mut self, unit: UnitId, by: UnitId) -> Option<UnitId> {
        self.is_idle(unit).then(|| {
            self.ask(unit, Cause::PulledBy(by));
            unit
        })
    }

    fn is_idle(&self, unit: UnitId) -> bool {
        self.unit(unit).is_some_and(|state| state.want == Want::Idle)
    }

    pub(super) fn ask(&mut self, unit: UnitId, cause: Cause) {
        let Some(state) = self.unit_mut(unit) else {
            return;
        };
        let is_new = state.want != Want::On;
        state.want = Want::On;
        match &mut state.phase {
            Phase::Failed | Phase::Backoff { .. } => self.wait(unit, cause),
            Phase::Down if is_new => self.wait(unit, cause),
            // Where it was going when its run is over, it goes no more.
            Phase::Stopping { next, .. } if *next != Next::Done => *next = Next::Again,
            Phase::Down
            | Phase::Waiting { .. }
            | Phase::Preparing { .. }
            | Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Done
            | Phase::Stopping { .. } => {}
        }
    }

    fn start(&mut self, unit: UnitId) {
        if self.is_shutting_down() || self.unit(unit).is_none_or(|state| state.is_retired) {
            self.tell(Action::Refused(unit, Vec::new()));
            return;
        }
        let rivals = self.rivals(unit);
        if rivals.is_empty() {
            self.need(unit, &Cause::StartAsked);
            self.pull(graph::needed(&self.specs, unit).into_iter().collect());
        } else {
            self.tell(Action::Refused(unit, rivals));
        }
    }

    /// The units that are wanted, or still there, and conflict with this one or what it needs.
    pub(super) fn rivals(&self, unit: UnitId) -> Vec<UnitId> {
        let needed = graph::needed(&self.specs, unit);
        let is_rival = |one: UnitId, other: UnitId| {
            let names = |a: UnitId, b| self.spec(a).is_some_and(|s| s.conflicts.contains(&b));
            names(one, other) || names(other, one)
        };
        let is_wanted = |id: UnitId| {
            needed.contains(&id)
                || self.unit(id).is_some_and(|state| {
                    state.want == Want::On || state.is_live() || state.undead.is_some()
                })
        };
        graph::ids(self.specs.len())
            .filter(|id| is_wanted(*id) && needed.iter().any(|each| is_rival(*each, *id)))
            .collect()
    }

    fn stop(&mut self, unit: UnitId) {
        if let Some(state) = self.unit_mut(unit) {
            state.want = Want::Stopped;
            state.bounce = None;
        }
    }

    fn restart(&mut self, unit: UnitId) {
        let refused = self.out.len();
        self.start(unit);
        if self.out.len() > refused && matches!(self.out.last(), Some(Action::Refused(..))) {
            return;
        }
        if let Some(state) = self.unit_mut(unit) {
            if let Phase::Stopping { next, .. } = &mut state.phase {
                *next = Next::Again;
            } else if state.is_live() || state.phase == Phase::Done {
                state.bounce = Some(Cause::RestartAsked);
            }
        }
    }

    fn shut_down(&mut self, by: Tick) {
        self.shutdown = Some(match self.shutdown {
            None => Shutdown { by: Some(by), has_halted: false },
            Some(before) => Shutdown { by: before.by.map(|old| old.min(by)), ..before },
        });
    }

    fn prepared(
        &mut self,
        unit: UnitId,
        run: Run,
        done: u8,
        result: Result<(), String>,
        now: Tick,
    ) {
        match self.phase_of(unit, run) {
            Some(Phase::Preparing { step, .. }) if *step == done => match result {
                Ok(()) => self.prepare(unit, run, done.saturating_add(1), now),
                Err(why) => {
                    let next = self.fail(unit, None, now);
                    self.process_gone(unit, run, next, Cause::StepFailed(done, why), now);
                }
            },
            _ => self.ended(unit, run, Body::Step(done), Exit::Unknown, now),
        }
    }

    /// Steps are made to be done at every start, so one of which nobody knows what came is done
    /// once more.
    fn step_lost(&mut self, unit: UnitId, run: Run, lost: u8, now: Tick) {
        match self.phase_of(unit, run) {
            Some(Phase::Preparing { step, .. }) if *step == lost => {
                self.prepare(unit, run, lost, now);
            }
            _ => self.ended(unit, run, Body::Step(lost), Exit::Unknown, now),
        }
    }

    fn spawned(&mut self, unit: UnitId, run: Run, now: Tick) {
        let Some(state) = self.unit_mut(unit) else {
            return;
        };
        match &mut state.phase {
            Phase::Starting { run: own, alive, .. } if *own == run && !*alive => {
                *alive = true;
                self.look_at_gates(unit, now);
            }
            Phase::Stopping { run: own, body, stage, .. }
                if *own == run && *body == Body::Unborn =>
            {
                *body = Body::Main;
                if matches!(stage, Stage::Killed { .. }) {
                    self.tell(Action::Kill(unit, run));
                }
            }
            _ if state.undead == Some((run, Body::Unborn)) => {
                state.undead = Some((run, Body::Main));
                self.tell(Action::Kill(unit, run));
            }
            _ => {}
        }
    }

    fn spawn_failed(&mut self, unit: UnitId, run: Run, why: String, now: Tick) {
        match self.phase_of(unit, run) {
            Some(Phase::Starting { alive: false, .. }) => {
                let next = self.fail(unit, None, now);
                self.gone(unit, run, next, Cause::SpawnFailed(why), now);
            }
            Some(Phase::Stopping { body: Body::Unborn, next, .. }) => {
                let next = *next;
                self.gone(unit, run, next, Cause::SpawnFailed(why), now);
            }
            _ => self.bury(unit, run, Body::Unborn, false),
        }
    }

    fn short(&mut self, unit: UnitId, run: Run, why: String, now: Tick) {
        let phase = self.phase_of(unit, run);
        if let Some(Phase::Stopping { body: body @ Body::Step(_), .. }) = phase {
            let body = *body;
            return self.ended(unit, run, body, Exit::Unknown, now);
        }
        let is_step = matches!(phase, Some(Phase::Preparing { .. }));
        if !is_step && !matches!(phase, Some(Phase::Starting { alive: false, .. })) {
            return self.spawn_failed(unit, run, why, now);
        }
        let next = self.count_failure(unit, false, now);
        let cause = Cause::SpawnFailed(why);
        if is_step {
            // The steps before it may have left something behind.
            self.process_gone(unit, run, next, cause, now);
        } else {
            self.gone(unit, run, next, cause, now);
        }
    }

    fn held(&mut self, unit: UnitId, run: Run, gate: Gate, now: Tick) {
        if let Some(state) = self.unit_mut(unit)
            && let Phase::Starting { run: own, held, .. } = &mut state.phase
            && *own == run
        {
            *held = held.with(gate);
            self.look_at_gates(unit, now);
        }
    }

    /// Ready, if it is a service that runs and misses no gate.
    fn look_at_gates(&mut self, unit: UnitId, now: Tick) {
        let Some((spec, state)) = self.both(unit) else {
            return;
        };
        if let Phase::Starting { run, alive: true, held, .. } = state.phase
            && spec.kind == Kind::Service
            && spec.readiness.gates.without(held).is_empty()
        {
            let watchdog = state.watchdog_ms(spec).map(|ms| now.after(ms));
            self.enter(unit, Phase::Ready { run, since: now, watchdog }, Cause::AllHeld);
        }
    }

    fn extend(&mut self, unit: UnitId, run: Run, to: Tick) {
        let Some(state) = self.unit_mut(unit) else {
            return;
        };
        match &mut state.phase {
            Phase::Starting { run: own, until: Some(until), .. } if *own == run => {
                *until = to.max(*until);
            }
            Phase::Stopping { run: own, stage: Stage::Asked { kill_at: Some(at) }, .. }
                if *own == run =>
            {
                *at = to.max(*at);
            }
            _ => {}
        }
    }

    fn alive(&mut self, unit: UnitId, run: Run, now: Tick) {
        let Some((spec, state)) = self.both(unit) else {
            return;
        };
        let due = state.watchdog_ms(spec).map(|ms| now.after(ms));
        if let Phase::Ready { run: own, watchdog, .. } = &mut state.phase
            && *own == run
        {
            *watchdog = due;
        }
    }

    fn exported(&mut self, unit: UnitId, values: Values) {
        if let Some(state) = self.unit_mut(unit) {
            state.exports = values;
        }
    }

    fn exited(&mut self, unit: UnitId, run: Run, exit: Exit, now: Tick) {
        let Some(spec) = self.spec(unit) else {
            return;
        };
        let (kind, policy) = (spec.kind, spec.restart.policy);
        match self.phase_of(unit, run) {
            Some(Phase::Starting { .. }) if kind == Kind::Oneshot && exit.is_success() => {
                self.process_gone(unit, run, Next::Done, Cause::Finished, now);
            }
            Some(Phase::Starting { .. }) => {
                let next = self.fail(unit, Some(exit), now);
                let is_fatal = next == Next::Failed && policy != Policy::Never;
                let cause =
                    if is_fatal { Cause::FatalExit(exit) } else { Cause::DiedStarting(exit) };
                self.process_gone(unit, run, next, cause, now);
            }
            Some(Phase::Ready { .. }) => {
                let (next, cause) = self.after_exit(unit, exit, now);
                self.process_gone(unit, run, next, cause, now);
            }
            _ => {
                // That it exists may not have been told yet.
                self.ended(unit, run, Body::Unborn, exit, now);
                self.ended(unit, run, Body::Main, exit, now);
            }
        }
    }

    /// The process of a run that was told to end, or was about to be told, has ended; it counts
    /// only if it is the one that there is, and not a prepare step of long ago.
    fn ended(&mut self, unit: UnitId, run: Run, gone: Body, exit: Exit, now: Tick) {
        match self.phase_of(unit, run) {
            Some(Phase::Stopping { body, next, .. }) if *body == gone => {
                let next = *next;
                self.process_gone(unit, run, next, Cause::Ended(exit), now);
            }
            _ => {
                let sweeps = self.spec(unit).is_some_and(|spec| spec.stop.sweeps);
                self.bury(unit, run, gone, sweeps);
            }
        }
    }

    fn swept(&mut self, unit: UnitId, run: Run, now: Tick) {
        match self.phase_of(unit, run) {
            Some(Phase::Stopping { stage: Stage::Sweeping { .. }, next, .. }) => {
                let next = *next;
                self.gone(unit, run, next, Cause::Swept, now);
            }
            _ => self.bury(unit, run, Body::Leftovers, false),
        }
    }

    /// What there was of an undead run has died after all.
    fn bury(&mut self, unit: UnitId, run: Run, gone: Body, sweeps: bool) {
        if let Some(state) = self.unit_mut(unit)
            && state.undead == Some((run, gone))
        {
            if sweeps {
                state.undead = Some((run, Body::Leftovers));
                self.tell(Action::Sweep(unit, run));
            } else {
                state.undead = None;
                self.tell(Action::Release(unit, run));
            }
        }
    }

    /// The main process is gone: sweep behind it, then go on to `next`.
    fn process_gone(&mut self, unit: UnitId, run: Run, next: Next, cause: Cause, now: Tick) {
        if self.spec(unit).is_some_and(|spec| spec.stop.sweeps) {
            let stage = Stage::Sweeping { until: now.after(KILL_GRACE_MS) };
            self.enter(unit, Phase::Stopping { run, body: Body::Leftovers, stage, next }, cause);
            self.tell(Action::Sweep(unit, run));
        } else {
            self.gone(unit, run, next, cause, now);
        }
    }
}
