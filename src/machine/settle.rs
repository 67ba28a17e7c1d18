//! The second half of a step: units move until none has a reason to move.

use alloc::vec;
use alloc::vec::Vec;

use super::Machine;
use super::cause::{Cause, Hold};
use super::event::Action;
use super::ids::{Run, Tick, UnitId};
use super::spec::Gates;
use super::unit::{Body, Next, Phase, Stage, Want};

/// Milliseconds from TERM to KILL for a prepare step of a unit whose own stop has no end.
const STEP_KILL_MS: u64 = 10_000;

impl Machine {
    pub(super) fn settle(&mut self, now: Tick) {
        // Each round but the last moves a unit, and no unit can move more than a few times without
        // an event; the bound only guards against a bug here.
        for _ in 0..self.specs.len() * 8 + 8 {
            let has_moved = self.send_away() || self.ask_to_end(now) || self.move_idle(now);
            if !has_moved {
                break;
            }
        }
        self.halt_if_all_is_over();
    }

    /// Whatever has to go is stopping from here on, all at once, before any of it is signalled.
    fn send_away(&mut self) -> bool {
        let leaves = self.leaves();
        let mut has_moved = false;
        for (index, cause) in leaves.into_iter().enumerate() {
            let (Ok(index), Some(cause)) = (u16::try_from(index), cause) else {
                continue;
            };
            let unit = UnitId(index);
            if self.unit(unit).is_some_and(|state| state.phase == Phase::Done) {
                self.undo(unit, cause);
                has_moved = true;
            } else {
                has_moved |= self.end(unit, Next::Again, cause);
            }
        }
        has_moved
    }

    /// What a oneshot did counts no more.
    fn undo(&mut self, unit: UnitId, cause: Cause) {
        self.forget_run(unit);
        let is_wanted = self.unit(unit).is_some_and(|state| state.want == Want::On);
        if is_wanted && !self.is_shutting_down() {
            self.wait(unit, cause);
        } else {
            self.enter(unit, Phase::Down, cause);
        }
    }

    /// Signals those whose followers are gone; behind the deadline of all, kills at once.
    fn ask_to_end(&mut self, now: Tick) -> bool {
        let is_late = self.shutdown.is_some_and(|shutdown| shutdown.by.is_none());
        let followers = self.followers_to_go();
        let mut has_moved = false;
        for index in (0..self.order.len()).rev() {
            let Some(&unit) = self.order.get(index) else {
                continue;
            };
            let is_free = followers.get(unit.index()).is_some_and(Option::is_none);
            has_moved |= match is_late {
                true => self.kill(unit, now),
                false => is_free && self.is_ordered(unit) && self.terminate(unit, now),
            };
        }
        has_moved
    }

    fn is_ordered(&self, unit: UnitId) -> bool {
        let phase = self.unit(unit).map(|state| &state.phase);
        matches!(phase, Some(Phase::Stopping { stage: Stage::Ordered, .. }))
    }

    /// For every unit one that has to end before it may: a stopping follower, also one that
    /// follows by way of units that have no process (a oneshot that is done).
    #[must_use]
    pub fn followers_to_go(&self) -> Vec<Option<UnitId>> {
        let mut found: Vec<Option<UnitId>> = vec![None; self.specs.len()];
        for &unit in self.order.iter().rev() {
            let Some((spec, state)) = self.spec(unit).zip(self.unit(unit)) else {
                continue;
            };
            let beyond = found.get(unit.index()).copied().flatten();
            let blocker = match state.is_live() {
                true => state.is_stopping().then_some(unit),
                false => beyond,
            };
            for dep in spec.follows() {
                if let Some(slot) = found.get_mut(dep.index()) {
                    *slot = slot.or(blocker);
                }
            }
        }
        found
    }

    fn terminate(&mut self, unit: UnitId, now: Tick) -> bool {
        let Some((spec, state)) = self.both(unit) else {
            return false;
        };
        // A process that is still to be born cannot be asked; it is when it is there.
        let Phase::Stopping { run, body, stage, .. } = &mut state.phase else {
            return false;
        };
        if *body == Body::Unborn {
            return false;
        }
        let (run, is_step) = (*run, matches!(body, Body::Step(_)));
        // A service may be worth waiting for without end; a step that does not heed TERM is not.
        let step_ms = is_step.then_some(STEP_KILL_MS);
        let patience_ms = spec.stop.timeout_ms.or(step_ms);
        *stage = Stage::Asked { kill_at: patience_ms.map(|ms| now.after(ms)) };
        self.tell(Action::Terminate(unit, run));
        true
    }

    /// Starts what nothing holds, and puts the rest where it belongs.
    fn move_idle(&mut self, now: Tick) -> bool {
        let stopped = self.stopped_needs();
        for index in 0..self.order.len() {
            let Some(&unit) = self.order.get(index) else {
                continue;
            };
            let stopped = stopped.get(unit.index()).copied().flatten();
            if self.move_one_idle(unit, stopped, now) {
                return true;
            }
        }
        false
    }

    fn move_one_idle(&mut self, unit: UnitId, stopped: Option<UnitId>, now: Tick) -> bool {
        let Some(state) = self.unit(unit) else {
            return false;
        };
        let is_wanted = state.want == Want::On && !self.is_shutting_down();
        match &state.phase {
            Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::Failed if !is_wanted => {
                let is_stop = state.want == Want::Stopped;
                let cause = if is_stop { Cause::StopAsked } else { Cause::Shutdown };
                self.enter(unit, Phase::Down, cause);
                true
            }
            Phase::Waiting { .. } => self.move_waiting(unit, now),
            Phase::Backoff { until } if *until <= now => {
                self.wait(unit, Cause::BackoffOver);
                true
            }
            Phase::Backoff { .. } => match stopped {
                Some(dep) => {
                    self.wait(unit, Cause::DependencyStopped(dep));
                    true
                }
                None => false,
            },
            Phase::Down
            | Phase::Preparing { .. }
            | Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Done
            | Phase::Stopping { .. }
            | Phase::Failed => false,
        }
    }

    fn move_waiting(&mut self, unit: UnitId, now: Tick) -> bool {
        let hold = self.hold(unit);
        let Some((spec, state)) = self.both(unit) else {
            return false;
        };
        let Phase::Waiting { on, since, .. } = &mut state.phase else {
            return false;
        };
        let is_world = |hold: &Hold| matches!(hold, Hold::World(_));
        let is_last = hold.as_ref().is_none_or(is_world);
        if is_last && !is_world(on) && !spec.conditions.is_empty() {
            // Only the world is left to ask; what held when it was last looked at need not hold.
            (*on, *since) = (Hold::World(spec.conditions), now);
            state.unmet = spec.conditions;
            self.tell(Action::Look(unit));
            return false;
        }
        let Some(hold) = hold else {
            self.begin(unit, Cause::Clear, now);
            return true;
        };
        if core::mem::discriminant(on) != core::mem::discriminant(&hold) {
            *since = now;
        }
        *on = hold.clone();
        let is_over = self.patience(unit).is_some_and(|until| until <= now);
        if is_over {
            self.lose_patience(unit, hold, now);
        }
        is_over
    }

    /// Goes on in spite of a hold that has lasted long enough.
    fn lose_patience(&mut self, unit: UnitId, hold: Hold, now: Tick) {
        match hold {
            Hold::World(set) => {
                self.tell(Action::Note(unit, Cause::WaitedEnough(set)));
                self.begin(unit, Cause::WaitedEnough(set), now);
            }
            Hold::Wants(other) => {
                self.tell(Action::Note(unit, Cause::WentOnWithout(other)));
                if let Some(Phase::Waiting { goes_alone, .. }) =
                    self.unit_mut(unit).map(|state| &mut state.phase)
                {
                    *goes_alone = true;
                }
            }
            Hold::Needs(_)
            | Hold::Stopped(_)
            | Hold::Broken(_)
            | Hold::Ended(_)
            | Hold::Value(..)
            | Hold::Leaver(_)
            | Hold::Undead => {}
        }
    }

    /// A new life: the values of now, and a run of its own.
    fn begin(&mut self, unit: UnitId, cause: Cause, now: Tick) {
        let run = Run(self.next_run);
        self.next_run = self.next_run.wrapping_add(1);
        let used: Vec<_> = self
            .spec(unit)
            .into_iter()
            .flat_map(|spec| &spec.uses)
            .map(|each| self.value(each.unit, &each.key).unwrap_or_default().into())
            .collect();
        if let Some(state) = self.unit_mut(unit) {
            state.used = used;
            state.bounce = None;
        }
        self.prepare_for(unit, run, 0, cause, now);
    }

    /// Goes on with this prepare step, or with the process itself behind the last one.
    pub(super) fn prepare(&mut self, unit: UnitId, run: Run, step: u8, now: Tick) {
        // What it needs may have gone down meanwhile; it prepares anew when that is back.
        if let Some(hold) = self.hold_by_needs(unit) {
            self.gone(unit, run, Next::Again, Cause::Held(hold), now);
            return;
        }
        self.prepare_for(unit, run, step, Cause::Prepared, now);
    }

    fn prepare_for(&mut self, unit: UnitId, run: Run, step: u8, cause: Cause, now: Tick) {
        let Some(spec) = self.spec(unit) else {
            return;
        };
        let until = |ms: Option<u64>| ms.map(|ms| now.after(ms));
        if let Some(ms) = spec.prepare_ms.get(usize::from(step)) {
            self.enter(unit, Phase::Preparing { run, step, until: until(*ms) }, cause);
            self.tell(Action::Prepare(unit, run, step));
        } else {
            let until = until(spec.readiness.timeout_ms);
            let phase = Phase::Starting { run, alive: false, held: Gates::NONE, until };
            self.enter(unit, phase, cause);
            self.tell(Action::Spawn(unit, run));
        }
    }

    /// Turns to waiting; what holds it is found out when it is looked at next.
    pub(super) fn wait(&mut self, unit: UnitId, cause: Cause) {
        let on = Hold::Undead;
        self.enter(unit, Phase::Waiting { on, since: Tick(0), goes_alone: false }, cause);
    }

    /// A unit that runs ends it because it is not well.
    pub(super) fn give_up(&mut self, unit: UnitId, cause: Cause, now: Tick) {
        let next = self.fail(unit, None, now);
        self.end(unit, next, cause);
    }

    /// A unit that runs turns to stopping; it is signalled when its turn comes.
    fn end(&mut self, unit: UnitId, next: Next, cause: Cause) -> bool {
        let Some(state) = self.unit(unit) else {
            return false;
        };
        let (run, body) = match state.phase {
            Phase::Preparing { run, step, .. } => (run, Body::Step(step)),
            Phase::Starting { run, alive: false, .. } => (run, Body::Unborn),
            Phase::Starting { run, .. } | Phase::Ready { run, .. } => (run, Body::Main),
            Phase::Down
            | Phase::Waiting { .. }
            | Phase::Done
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed => return false,
        };
        self.enter(unit, Phase::Stopping { run, body, stage: Stage::Ordered, next }, cause);
        true
    }

    /// Nothing is left of a run.
    pub(super) fn gone(&mut self, unit: UnitId, run: Run, next: Next, cause: Cause, now: Tick) {
        self.tell(Action::Release(unit, run));
        self.go_on(unit, next, cause, now);
    }

    /// Where a unit goes after its run, whether or not something undead is left of it.
    pub(super) fn go_on(&mut self, unit: UnitId, next: Next, cause: Cause, now: Tick) {
        let is_wanted =
            !self.is_shutting_down() && self.unit(unit).is_some_and(|state| state.want == Want::On);
        if next == Next::Done && is_wanted {
            // The values stay with it: a oneshot is done for these, and not for others.
            self.enter(unit, Phase::Done, cause);
            if let Some(state) = self.unit_mut(unit) {
                state.failures = 0;
            }
            return;
        }
        self.forget_run(unit);
        match next {
            _ if !is_wanted => self.enter(unit, Phase::Down, cause),
            Next::Retry(until) if until > now => self.enter(unit, Phase::Backoff { until }, cause),
            Next::Again | Next::Retry(_) | Next::Done => self.wait(unit, cause),
            Next::Failed => self.enter(unit, Phase::Failed, cause),
            Next::Rest => {
                if let Some(state) = self.unit_mut(unit) {
                    state.want = Want::Rest;
                }
                self.enter(unit, Phase::Down, cause);
            }
        }
    }

    fn forget_run(&mut self, unit: UnitId) {
        if let Some(state) = self.unit_mut(unit) {
            state.used = Vec::new();
            state.bounce = None;
            state.watchdog_ms = None;
        }
    }

    fn halt_if_all_is_over(&mut self) {
        if self.units.iter().any(super::UnitState::is_live) {
            return;
        }
        let undead = self.units().filter(|(_, _, state)| state.undead.is_some());
        let undead: Vec<UnitId> = undead.map(|(id, _, _)| id).collect();
        if let Some(shutdown) = &mut self.shutdown
            && !shutdown.has_halted
        {
            shutdown.has_halted = true;
            self.tell(Action::Halt(undead));
        }
    }
}
