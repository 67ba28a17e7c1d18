//! What an end leads to, and until when: policies, failures, deadlines.

use pisup::machine::spec::{Kind, Policy};
use pisup::machine::{
    Body, Cause, Event, Exit, KILL_GRACE_MS, Next, Phase, Spec, Stage, Tick, UnitId, UnitState,
    Want,
};

use pisup::machine::Action;

use crate::graph::{DEGRADED_AFTER, DELAY_MS, FATAL, MAX_DELAY_MS, STEP_KILL_MS};
use crate::moves::Move;
use crate::safety::{Step, stage_of};
use crate::walk::{FAR, NOW};
use crate::world::is_so;

type Verdict = Result<(), String>;

/// An extension by so much is later than all else.
pub const EXTENSION_MS: u64 = 5_000_000_000;

pub fn of_unit(
    step: &Step<'_>,
    unit: UnitId,
    spec: &Spec,
    before: &UnitState,
    after: &UnitState,
) -> Verdict {
    deadlines(step, spec, before, after)?;
    match expected(step, unit, spec, before) {
        Some(Outcome::Failure(next)) => {
            let was_stable = next == Next::Retry(NOW);
            let count = if was_stable { 1 } else { before.failures + 1 };
            is_so(after.failures == count, "a failure that was not counted")?;
            let is_told = notes(step, unit).any(|cause| *cause == Cause::Degraded(count));
            let must_be_told = count == DEGRADED_AFTER && next != Next::Failed;
            is_so(is_told == must_be_told, "degraded, and not told, or told twice")?;
            comes_to(after, next)
        }
        Some(Outcome::Peace(next)) => comes_to(after, next),
        None => {
            let is_stable = matches!(before.phase, Phase::Ready { .. })
                && *step.step == Move::Old(unit)
                && before.failures > 0;
            let is_done = after.phase == Phase::Done && before.phase != Phase::Done;
            is_so(keeps_its_way(step, before, after), "goes elsewhere than its end said")?;
            let count = if is_stable || is_done { 0 } else { before.failures };
            is_so(after.failures == count, "failures counted out of turn")?;
            let is_resting = after.want == Want::Rest && before.want != Want::Rest;
            let may_rest = matches!(before.phase, Phase::Stopping { next: Next::Rest, .. });
            is_so(!is_resting || may_rest, "at rest, and did not end in peace")
        }
    }
}

fn notes<'a>(step: &'a Step<'_>, unit: UnitId) -> impl Iterator<Item = &'a Cause> {
    step.actions.iter().filter_map(move |action| match action {
        Action::Note(own, cause) if *own == unit => Some(cause),
        _ => None,
    })
}

/// Without an end of its own a unit goes where it was going, or comes back.
fn keeps_its_way(step: &Step<'_>, before: &UnitState, after: &UnitState) -> bool {
    let way = |state: &UnitState| match state.phase {
        Phase::Stopping { next, .. } => Some(next),
        _ => None,
    };
    let was_done = before.phase == Phase::Done || way(before) == Some(Next::Done);
    let is_as_told = match (way(before), way(after)) {
        (Some(old), Some(new)) => old == new || new == Next::Again,
        (None, Some(new)) => new == Next::Again,
        (_, None) => true,
    };
    let is_time = matches!(step.step, Move::RetryPast(_));
    (is_as_told || is_time) && (after.phase != Phase::Done || was_done)
}

enum Outcome {
    Failure(Next),
    Peace(Next),
}

/// What the contract says on how a unit that was not told to end has ended.
fn expected(step: &Step<'_>, unit: UnitId, spec: &Spec, before: &UnitState) -> Option<Outcome> {
    let is_ready = matches!(before.phase, Phase::Ready { .. });
    let is_starting = matches!(before.phase, Phase::Starting { .. });
    let is_preparing = matches!(before.phase, Phase::Preparing { .. });
    let exit = match step.step {
        Move::Tell(Event::Exited(own, _, exit)) if *own == unit && (is_ready || is_starting) => {
            Some(*exit)
        }
        Move::Tell(Event::Prepared(own, _, _, Err(_))) if *own == unit && is_preparing => None,
        Move::Tell(Event::SpawnFailed(own, ..)) if *own == unit && is_starting => None,
        Move::Tell(Event::Short(own, ..)) if *own == unit && (is_preparing || is_starting) => {
            return Some(Outcome::Failure(Next::Retry(NOW.after(delay(before, false)))));
        }
        Move::Tell(Event::Unhealthy(own, ..)) if *own == unit && is_ready => None,
        Move::Due(own) if *own == unit && (is_preparing || is_starting || is_ready) => None,
        _ => return None,
    };
    let is_well = exit == Some(Exit::Code(0));
    if is_well && is_starting && spec.kind == Kind::Oneshot {
        return Some(Outcome::Peace(Next::Done));
    }
    if is_well && is_ready && spec.restart.policy != Policy::Always {
        return Some(Outcome::Peace(Next::Rest));
    }
    if exit == Some(Exit::Code(FATAL)) || spec.restart.policy == Policy::Never {
        return Some(Outcome::Failure(Next::Failed));
    }
    let was_stable = matches!(before.phase, Phase::Ready { since, .. } if since != NOW);
    Some(Outcome::Failure(Next::Retry(NOW.after(delay(before, was_stable)))))
}

/// Milliseconds to the next try.
const fn delay(before: &UnitState, was_stable: bool) -> u64 {
    match before.failures {
        _ if was_stable => 0,
        0 => DELAY_MS,
        _ => MAX_DELAY_MS,
    }
}

/// Where a unit stands whose run leads to `next`, now or when it has been swept.
fn comes_to(after: &UnitState, next: Next) -> Verdict {
    if let Phase::Stopping { next: own, .. } = &after.phase {
        return is_so(*own == next, "will go elsewhere than its end says");
    }
    let is_there = match next {
        Next::Done => after.phase == Phase::Done,
        Next::Rest => after.phase == Phase::Down && after.want == Want::Rest,
        Next::Failed => after.phase == Phase::Failed,
        Next::Retry(at) if at > NOW => {
            // When a need was stopped it waits for that instead.
            matches!(after.phase, Phase::Backoff { until } if until == at)
                || matches!(after.phase, Phase::Waiting { .. })
        }
        Next::Retry(_) | Next::Again => !matches!(after.phase, Phase::Backoff { .. }),
    };
    is_so(is_there, "went elsewhere than its end says")
}

/// Every deadline is the one it was, or counts from now.
fn deadlines(step: &Step<'_>, spec: &Spec, before: &UnitState, after: &UnitState) -> Verdict {
    let is_kept = std::mem::discriminant(&before.phase) == std::mem::discriminant(&after.phase)
        && before.run() == after.run();
    let is_extended =
        |run| matches!(step.step, Move::Tell(Event::Extend(_, own, _)) if Some(*own) == run);
    let is_lost =
        |run| matches!(step.step, Move::Tell(Event::StepLost(_, own, _)) if Some(*own) == run);
    let from = |ms: Option<u64>| ms.map(|ms| NOW.after(ms));
    let extended = |wanted: Option<Tick>| match wanted {
        Some(_) if is_extended(after.run()) => from(Some(EXTENSION_MS)),
        other => other,
    };
    let is_right = match (&before.phase, &after.phase) {
        (_, Phase::Preparing { step, until, .. }) => {
            let is_same =
                matches!(before.phase, Phase::Preparing { step: old, .. } if old == *step);
            let is_again = is_lost(after.run());
            let limit = spec.prepare_ms.get(usize::from(*step)).copied().flatten();
            *until == if is_kept && is_same && !is_again { limit.map(|_| FAR) } else { from(limit) }
        }
        (_, Phase::Starting { until, .. }) => {
            let limit = spec.readiness.timeout_ms;
            *until == extended(if is_kept { limit.map(|_| FAR) } else { from(limit) })
        }
        (Phase::Ready { since: old, .. }, Phase::Ready { since, watchdog, .. }) if is_kept => {
            let is_alive = matches!(step.step,
                Move::Tell(Event::Alive(_, own) | Event::AliveEvery(_, own, _))
                if Some(*own) == after.run());
            let limit = after.watchdog_ms(spec);
            (since == old || since.0 == 0)
                && *watchdog == if is_alive { from(limit) } else { limit.map(|_| FAR) }
        }
        (_, Phase::Ready { since, watchdog, .. }) => {
            *since == NOW && *watchdog == from(after.watchdog_ms(spec))
        }
        (_, Phase::Stopping { stage, body, .. }) => {
            let step_ms = matches!(body, Body::Step(_)).then_some(STEP_KILL_MS);
            let limit = spec.stop.timeout_ms.or(step_ms);
            let old = stage_of(before).filter(|_| is_kept);
            match (old, stage) {
                (_, Stage::Ordered) => true,
                (Some(Stage::Asked { .. }), Stage::Asked { kill_at }) => {
                    *kill_at == extended(limit.map(|_| FAR))
                }
                (_, Stage::Asked { kill_at }) => *kill_at == from(limit),
                (Some(Stage::Killed { until: old }), Stage::Killed { until })
                | (Some(Stage::Sweeping { until: old }), Stage::Sweeping { until }) => old == until,
                (_, Stage::Killed { until } | Stage::Sweeping { until }) => {
                    *until == NOW.after(KILL_GRACE_MS)
                }
            }
        }
        (_, Phase::Backoff { until }) => *until == FAR || *until <= NOW.after(MAX_DELAY_MS),
        _ => true,
    };
    is_so(is_right, "a deadline that does not count from now")
}
