//! Liveness: from every state a fair schedule ends where the wants say.
//!
//! A schedule picks one move in every state, and no command. So each state has one future, and
//! states whose futures meet share the rest of it: every state is played from once.

use pisup::machine::explore::Snapshot;
use pisup::machine::spec::{Conditions, Gate, Kind};
use pisup::machine::{Event, Exit, Hold, Machine, Phase, UnitId, Want};

use crate::graph::KEY;
use crate::moves::{self, Move};
use crate::safety;
use crate::walk::{Print, Prints, State, advance, closure, print_of};
use crate::world::{Process, What, World, is_so};

/// How the world behaves when it is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// All goes well.
    Kind,
    /// As before, but nothing heeds TERM: only KILL ends a process.
    Stubborn,
    /// Nothing answers any more, only time passes.
    Mute,
}

const TEMPERS: [Temper; 3] = [Temper::Kind, Temper::Stubborn, Temper::Mute];

/// The states whose future is known to be good, for each temper.
#[derive(Default)]
pub struct Known([Prints; 3]);

/// Plays on from a state in every temper.
pub fn ends_well(
    machine: &mut Machine,
    state: &State,
    mark: Print,
    known: &mut Known,
) -> Result<(), String> {
    for (temper, known) in TEMPERS.into_iter().zip(&mut known.0) {
        play(machine, state, mark, temper, known)?;
    }
    Ok(())
}

fn play(
    machine: &mut Machine,
    from: &State,
    mark: Print,
    temper: Temper,
    known: &mut Prints,
) -> Result<(), String> {
    let mut way: Vec<(Print, Move)> = Vec::new();
    let mut mark = mark;
    let mut state: Option<State> = None;
    loop {
        let now = state.as_ref().unwrap_or(from);
        let tell = |way: &[(Print, Move)], why: &str| {
            let moves: Vec<&Move> = way.iter().map(|(_, step)| step).collect();
            format!("{temper:?} world, left alone: {moves:?}\n  {:?}\n  {why}", now.snap.units)
        };
        if !known.insert(mark) {
            // Known from an earlier way, which came to rest, or from this one, which then does not.
            let is_circle = way.iter().any(|(print, _)| *print == mark);
            return if is_circle { Err(tell(&way, "goes round in circles")) } else { Ok(()) };
        }
        let Some(step) = choose(machine, now, temper) else {
            return is_at_rest(machine, now, temper).map_err(|why| tell(&way, &why));
        };
        let next = advance(machine, now, &step).map_err(|why| tell(&way, &why))?;
        way.push((mark, step));
        mark = print_of(&next);
        state = Some(next);
    }
}

/// What happens next in a world of that temper; `None` when it has come to rest.
fn choose(machine: &Machine, state: &State, temper: Temper) -> Option<Move> {
    let State { snap, world } = state;
    if temper != Temper::Mute
        && let Some(step) = machine.units().find_map(|(unit, spec, _)| {
            let process = world.lives[unit.index()].process.as_ref()?;
            answer(snap, unit, process, spec.kind, temper)
        })
    {
        return Some(step);
    }
    if temper != Temper::Mute
        && let Some(event) = machine.units().find_map(|(unit, _, _)| improve(machine, snap, unit))
    {
        return Some(Move::Tell(event));
    }
    for (unit, spec, state) in snap_units(machine, snap) {
        let mut times = moves::times(unit, &state.phase);
        times.retain(|step| match step {
            // What is well gives signs of life.
            Move::Due(_) if temper != Temper::Mute => {
                matches!(state.phase, Phase::Backoff { .. })
            }
            Move::Due(_) => true,
            Move::Old(_) => match &state.phase {
                Phase::Ready { .. } => state.failures > 0,
                Phase::Waiting { on: Hold::Wants(_), .. } => true,
                Phase::Waiting { on: Hold::World(_), .. } => spec.conditions_timeout_ms.is_some(),
                _ => false,
            },
            _ => false,
        });
        if let Some(step) = times.pop() {
            return Some(step);
        }
    }
    (temper == Temper::Mute && snap.is_patient()).then_some(Move::OutOfTime)
}

fn snap_units<'a>(
    machine: &'a Machine,
    snap: &'a Snapshot,
) -> impl Iterator<Item = (UnitId, &'a pisup::machine::Spec, &'a pisup::machine::UnitState)> {
    machine.units().map(|(unit, spec, _)| (unit, spec, &snap.units[unit.index()]))
}

/// What a process does that behaves.
fn answer(
    snap: &Snapshot,
    unit: UnitId,
    process: &Process,
    kind: Kind,
    temper: Temper,
) -> Option<Move> {
    let run = process.run;
    let phase = &snap.units[unit.index()].phase;
    let heeds = temper == Temper::Kind && process.is_asked || process.is_killed;
    let exited = |exit| Some(Move::Tell(Event::Exited(unit, run, exit)));
    let ends = || match process.what {
        What::Step(step) => Some(Move::Tell(Event::Prepared(unit, run, step, Ok(())))),
        _ => exited(Exit::Signal(15)),
    };
    match process.what {
        What::Unborn => Some(Move::Tell(Event::Spawned(unit, run))),
        What::Leftovers => Some(Move::Tell(Event::Swept(unit, run))),
        What::Step(_) if heeds || matches!(phase, Phase::Preparing { .. }) => ends(),
        What::Main if heeds => ends(),
        What::Step(_) | What::Main if process.is_asked => {
            // It does not heed TERM; without a timeout it is waited for, as the unit says.
            let due = moves::times(unit, phase).into_iter().find(|t| matches!(t, Move::Due(_)));
            due.or_else(|| snap.is_patient().then_some(Move::OutOfTime))
                .or_else(|| if snap.is_shutting_down() { None } else { ends() })
        }
        What::Main => match phase {
            Phase::Starting { .. } if kind == Kind::Oneshot => exited(Exit::Code(0)),
            Phase::Starting { .. } => Some(Move::Tell(Event::Held(unit, run, Gate::Notify))),
            _ => None,
        },
        What::Step(_) | What::Over(_) | What::StepDone(_) | What::StepLost(_) => None,
    }
}

/// What a world does in which all goes well.
fn improve(machine: &Machine, snap: &Snapshot, unit: UnitId) -> Option<Event> {
    let (spec, state) = machine.spec(unit).zip(snap.units.get(unit.index()))?;
    if matches!(state.phase, Phase::Waiting { on: Hold::World(_), .. }) {
        return Some(Event::World(unit, Conditions::NONE));
    }
    if !spec.exports.is_empty() && state.exports.is_empty() && state.is_up() {
        return Some(Event::Exports(unit, [(KEY.to_owned(), "a".to_owned())].into()));
    }
    None
}

/// Where the wants say that all has to end.
fn is_at_rest(machine: &Machine, state: &State, temper: Temper) -> Result<(), String> {
    let State { snap, world } = state;
    if snap.is_shutting_down() {
        is_so(snap.has_halted() && world.has_halted, "shut down, and no halt")?;
    }
    if temper == Temper::Mute {
        return Ok(());
    }
    for (unit, _, _) in machine.units() {
        unit_at_rest(machine, snap, world, unit).map_err(|why| format!("u{}: {why}", unit.0))?;
    }
    Ok(())
}

fn unit_at_rest(
    machine: &Machine,
    snap: &Snapshot,
    world: &World,
    unit: UnitId,
) -> Result<(), String> {
    let spec = machine.spec(unit).ok_or("no such unit")?;
    let state = &snap.units[unit.index()];
    let has_process = world.lives[unit.index()].process.is_some();
    if snap.is_shutting_down() || state.want != Want::On {
        is_so(!has_process && state.phase == Phase::Down, "is not wanted, and not down")?;
        return Ok(());
    }
    if closure(machine, unit, safety::needs)
        .iter()
        .any(|dep| snap.units[dep.index()].want == Want::Stopped)
    {
        let is_held = matches!(state.phase, Phase::Waiting { .. } | Phase::Failed);
        is_so(is_held && !has_process, "what it needs was stopped, and it does not wait")?;
    }
    match &state.phase {
        Phase::Ready { .. } | Phase::Done | Phase::Failed => Ok(()),
        Phase::Waiting { on, .. } => {
            let dep = match on {
                Hold::Needs(dep) | Hold::Stopped(dep) | Hold::Broken(dep) | Hold::Ended(dep) => dep,
                _ => return Err(format!("waits for ever: {on:?}")),
            };
            let is_up = snap.units[dep.index()].is_up();
            is_so(spec.needs().any(|need| need == *dep) && !is_up, "waits for nothing")
        }
        _ => Err("does not come to rest".to_owned()),
    }
}
