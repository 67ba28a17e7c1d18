//! What may happen in a state, and what may be told again without a consequence.

use pisup::machine::event::Values;
use pisup::machine::explore::Snapshot;
use pisup::machine::spec::{Conditions, Gate, Kind, Policy, Spec};
use pisup::machine::{Event, Exit, Machine, Next, Phase, Run, Stage, Tick, UnitId};

use crate::graph::{ALIVE_MS, FATAL, KEY};
use crate::outcome::EXTENSION_MS;
use crate::walk::{BY, FAR, NOW};
use crate::world::{Process, What, World};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// The machine is told.
    Tell(Event),
    /// As the move in it, while its unit is of this kind and has this policy.
    Under(Kind, Policy, Box<Move>),
    /// The deadline of a unit's phase comes.
    Due(UnitId),
    /// A unit has been where it is for very long.
    Old(UnitId),
    /// The delay of a unit's next try is over while it still ends.
    RetryPast(UnitId),
    /// The deadline of the shutdown comes.
    OutOfTime,
}

fn why() -> String {
    String::new()
}

/// All that may happen next. In a mixed graph kinds and policies are no traits of units: every
/// event that they bear on is told once under each.
pub fn all(
    machine: &Machine,
    snap: &Snapshot,
    world: &World,
    is_first: bool,
    is_mixed: bool,
) -> Vec<Move> {
    let moves = plain(machine, snap, world, is_first);
    if !is_mixed {
        return moves;
    }
    let mixed = moves.into_iter().flat_map(|step| {
        let readings = readings(snap, &step);
        let under = |(kind, policy)| Move::Under(kind, policy, Box::new(step.clone()));
        let mut all: Vec<Move> = readings.iter().copied().map(under).collect();
        all.push(step);
        all
    });
    mixed.collect()
}

/// The kinds and policies under which a move leads elsewhere than for a service that always comes
/// back. `OnFailure` differs from `Always` in the end of a ready unit alone.
fn readings(snap: &Snapshot, step: &Move) -> &'static [(Kind, Policy)] {
    const NEVER: (Kind, Policy) = (Kind::Service, Policy::Never);
    const ONESHOT: (Kind, Policy) = (Kind::Oneshot, Policy::Always);
    let unit = match step {
        Move::Due(unit) => *unit,
        Move::Tell(
            Event::Exited(unit, ..)
            | Event::Prepared(unit, _, _, Err(_))
            | Event::SpawnFailed(unit, ..)
            | Event::Short(unit, ..)
            | Event::Spawned(unit, _)
            | Event::Held(unit, ..)
            | Event::Unhealthy(unit, ..),
        ) => *unit,
        _ => return &[],
    };
    match (&snap.units[unit.index()].phase, step) {
        (Phase::Starting { .. }, Move::Tell(Event::Spawned(..) | Event::Held(..))) => &[ONESHOT],
        (Phase::Starting { .. }, Move::Tell(Event::Exited(..))) => &[ONESHOT, NEVER],
        (Phase::Ready { .. }, Move::Tell(Event::Exited(..))) => {
            &[(Kind::Service, Policy::OnFailure), NEVER]
        }
        (Phase::Preparing { .. } | Phase::Starting { .. } | Phase::Ready { .. }, _) => &[NEVER],
        _ => &[],
    }
}

fn plain(machine: &Machine, snap: &Snapshot, world: &World, is_first: bool) -> Vec<Move> {
    let mut moves = Vec::new();
    if is_first {
        moves.push(Move::Tell(Event::Boot));
    }
    moves.push(Move::Tell(Event::Shutdown { by: BY }));
    if snap.is_patient() {
        moves.push(Move::OutOfTime);
    }
    for (unit, spec, _) in machine.units() {
        moves.extend([Event::Start(unit), Event::Stop(unit), Event::Restart(unit)].map(Move::Tell));
        let phase = &snap.units[unit.index()].phase;
        moves.extend(times(unit, phase));
        if let Some(process) = &world.lives[unit.index()].process {
            moves.extend(news(unit, process, spec).into_iter().map(Move::Tell));
        }
        if matches!(phase, Phase::Waiting { .. }) && !spec.conditions.is_empty() {
            moves.push(Move::Tell(Event::World(unit, Conditions::NONE)));
            moves.push(Move::Tell(Event::World(unit, spec.conditions)));
        }
        if !spec.exports.is_empty() {
            moves.extend(values(machine, snap, unit).into_iter().map(Move::Tell));
        }
    }
    moves
}

/// The deadlines that a unit has.
pub fn times(unit: UnitId, phase: &Phase) -> Vec<Move> {
    let mut moves = Vec::new();
    let has_deadline = match phase {
        Phase::Preparing { until, .. } | Phase::Starting { until, .. } => until.is_some(),
        Phase::Ready { watchdog, .. } => watchdog.is_some(),
        Phase::Stopping { stage, .. } => match stage {
            Stage::Ordered => false,
            Stage::Asked { kill_at } => kill_at.is_some(),
            Stage::Killed { .. } | Stage::Sweeping { .. } => true,
        },
        Phase::Backoff { .. } => true,
        Phase::Down | Phase::Waiting { .. } | Phase::Done | Phase::Failed => false,
    };
    if has_deadline {
        moves.push(Move::Due(unit));
    }
    match phase {
        Phase::Ready { since, .. } | Phase::Waiting { since, .. } if *since == NOW => {
            moves.push(Move::Old(unit));
        }
        Phase::Stopping { next: Next::Retry(at), .. } if *at == FAR => {
            moves.push(Move::RetryPast(unit));
        }
        _ => {}
    }
    moves
}

/// What the process of a run may bring about.
fn news(unit: UnitId, process: &Process, spec: &Spec) -> Vec<Event> {
    let run = process.run;
    let exits = [Exit::Code(0), Exit::Code(1), Exit::Code(FATAL), Exit::Signal(9)];
    let exits = exits.map(|exit| Event::Exited(unit, run, exit));
    let mut events = Vec::new();
    match process.what {
        What::Step(step) => {
            events.push(Event::Prepared(unit, run, step, Ok(())));
            events.push(Event::Prepared(unit, run, step, Err(why())));
            events.push(Event::StepLost(unit, run, step));
            // A shortage is told at once, and not of what was killed.
            if !process.is_killed {
                events.push(Event::Short(unit, run, why()));
            }
        }
        What::Unborn => {
            events.push(Event::Spawned(unit, run));
            events.push(Event::SpawnFailed(unit, run, why()));
            events.push(Event::Short(unit, run, why()));
            // That it exists may be told too late, when it is gone.
            events.extend(exits);
        }
        What::Main => {
            events.push(Event::Unhealthy(unit, run, why()));
            events.push(Event::Extend(unit, run, EXTENSION_MS));
            if spec.readiness.watchdog_ms.is_some() {
                events.push(Event::Alive(unit, run));
                events.extend([0, ALIVE_MS].map(|ms| Event::AliveEvery(unit, run, ms)));
            }
            events.extend(exits);
        }
        What::Leftovers => events.push(Event::Swept(unit, run)),
        What::Over(_) | What::StepDone(_) | What::StepLost(_) => {}
    }
    let misses = !spec.readiness.gates.without(process.held).is_empty();
    if misses && matches!(process.what, What::Unborn | What::Main) {
        events.push(Event::Held(unit, run, Gate::Notify));
    }
    events
}

/// A unit exports nothing, a value that somebody was given, or a new one.
fn values(machine: &Machine, snap: &Snapshot, unit: UnitId) -> Vec<Event> {
    let mut known: Vec<String> = Vec::new();
    for (user, spec, _) in machine.units() {
        let used = spec.uses.iter().zip(&snap.units[user.index()].used);
        known.extend(used.filter(|(each, _)| each.unit == unit).map(|(_, value)| value.clone()));
    }
    known.extend(snap.units[unit.index()].exports.values().cloned());
    known.sort_unstable();
    known.dedup();
    let fresh = ["a", "b", "c", "d"].into_iter().find(|name| !known.iter().any(|k| k == name));
    known.extend(fresh.map(str::to_owned));
    let told = |value: String| Event::Exports(unit, [(KEY.to_owned(), value)].into());
    core::iter::once(Event::Exports(unit, Values::new()))
        .chain(known.into_iter().map(told))
        .collect()
}

/// What is told late or again: news of a run that is over, and old news of the present one. None
/// of it may have a consequence.
pub fn echoes(machine: &Machine, snap: &Snapshot, world: &World) -> Vec<Event> {
    let mut events = vec![Event::Timer];
    for (unit, spec, _) in machine.units() {
        let old = Run(9_999);
        events.extend([
            Event::Prepared(unit, old, 0, Ok(())),
            Event::Prepared(unit, old, 0, Err(why())),
            Event::StepLost(unit, old, 0),
            Event::Spawned(unit, old),
            Event::SpawnFailed(unit, old, why()),
            Event::Short(unit, old, why()),
            Event::Held(unit, old, Gate::Notify),
            Event::Extend(unit, old, 1_000),
            Event::Alive(unit, old),
            Event::AliveEvery(unit, old, ALIVE_MS),
            Event::Unhealthy(unit, old, why()),
            Event::Exited(unit, old, Exit::Code(0)),
            Event::Exited(unit, old, Exit::Signal(9)),
            Event::Swept(unit, old),
        ]);
        let state = &snap.units[unit.index()];
        events.push(Event::Exports(unit, state.exports.clone()));
        events.push(Event::World(unit, state.unmet));
        if let Some(process) = &world.lives[unit.index()].process {
            again(unit, process, spec, &state.phase, &mut events);
        }
    }
    events
}

/// News of the present run that were told before, or that come where nobody can use them.
fn again(unit: UnitId, process: &Process, spec: &Spec, phase: &Phase, events: &mut Vec<Event>) {
    let run = process.run;
    let steps = u8::try_from(spec.prepare_ms.len()).unwrap_or(u8::MAX);
    let done = if let What::Step(step) = process.what { step } else { steps };
    for step in 0..done {
        events.push(Event::Prepared(unit, run, step, Ok(())));
        events.push(Event::Prepared(unit, run, step, Err(why())));
        events.push(Event::StepLost(unit, run, step));
    }
    if process.what == What::Main {
        events.push(Event::Spawned(unit, run));
        events.push(Event::SpawnFailed(unit, run, why()));
        events.push(Event::Short(unit, run, why()));
    }
    if process.what == What::Leftovers {
        events.push(Event::Exited(unit, run, Exit::Code(0)));
        events.push(Event::Exited(unit, run, Exit::Code(1)));
        events.push(Event::Spawned(unit, run));
    } else {
        events.push(Event::Swept(unit, run));
    }
    // In a mixed graph one that was a oneshot becomes ready when it is told again.
    let is_starting = matches!(phase, Phase::Starting { alive: true, .. });
    if !is_starting
        && !spec.readiness.gates.is_empty()
        && spec.readiness.gates.without(process.held).is_empty()
    {
        events.push(Event::Held(unit, run, Gate::Notify));
    }
    if !matches!(phase, Phase::Ready { .. }) {
        events.push(Event::Unhealthy(unit, run, why()));
        events.push(Event::Alive(unit, run));
    }
}

/// The snapshot as it is when the time of this move has come.
pub fn pass(snap: &mut Snapshot, step: &Move) {
    let mut count = 0;
    match step {
        Move::Tell(_) | Move::Under(..) => {}
        Move::Due(unit) => {
            // Of a ready unit the first instant is since when, of one that stops the second its
            // next try.
            let is_ready = matches!(snap.units[unit.index()].phase, Phase::Ready { .. });
            let place = usize::from(is_ready);
            snap.map_ticks(Some(*unit), |tick| {
                count += 1;
                if count == place + 1 { NOW } else { tick }
            });
        }
        Move::Old(unit) => {
            snap.map_ticks(Some(*unit), |tick| {
                count += 1;
                if count == 1 { Tick(0) } else { tick }
            });
        }
        Move::RetryPast(unit) => {
            if let Phase::Stopping { next, .. } = &mut snap.units[unit.index()].phase {
                *next = Next::Retry(NOW);
            }
        }
        Move::OutOfTime => snap.map_ticks(None, |_| NOW),
    }
}
