//! Safety: what no step may do. Each rule is worked out anew here from the edges, the wants and
//! the world; nothing is asked of the machine but where its units stand.

use pisup::machine::explore::Snapshot;
use pisup::machine::{
    Action, Cause, Event, Hold, Machine, Next, Phase, Spec, Stage, UnitId, UnitState, Want,
};

use crate::moves::Move;
use crate::walk::{NOW, State, closure};
use crate::world::{World, is_so, undead_run};

/// A step, before and after.
pub struct Step<'a> {
    pub machine: &'a Machine,
    pub before: &'a State,
    pub after: &'a Snapshot,
    pub step: &'a Move,
    pub actions: &'a [Action],
}

type Verdict = Result<(), String>;

/// Which units a unit leads to, along some kinds of edges.
pub type Along = fn(&Spec) -> Vec<UnitId>;

pub fn needs(spec: &Spec) -> Vec<UnitId> {
    [spec.requires.as_slice(), &spec.binds].concat()
}

pub fn binds(spec: &Spec) -> Vec<UnitId> {
    spec.binds.clone()
}

pub fn follows(spec: &Spec) -> Vec<UnitId> {
    [spec.requires.as_slice(), &spec.binds, &spec.wants, &spec.after].concat()
}

/// Whether it may be asked, or forced, to end now: what follows it and has to go is gone.
pub fn may_signal(
    machine: &Machine,
    world: &World,
    action: &Action,
    unit: UnitId,
    step: &Move,
) -> Verdict {
    if matches!(action, Action::Kill(..)) {
        let process = world.lives[unit.index()].process;
        let is_born = matches!(step, Move::Tell(Event::Spawned(own, _)) if *own == unit);
        let is_late = *step == Move::OutOfTime || is_born;
        let is_asked = process.is_some_and(|process| process.is_asked);
        let is_due = is_asked && *step == Move::Due(unit);
        return is_so(is_late || is_due, "KILL before its time, or without TERM");
    }
    let is_over = machine.is_shutting_down();
    let is_ordered = is_over
        || machine.unit(unit).is_some_and(|state| state.want != Want::On)
        || is_need_stopped(machine, unit);
    for (other, spec, state) in machine.units() {
        let process = world.lives[other.index()].process;
        let is_live = process.is_some_and(|process| undead_run(state) != Some(process.run));
        if other == unit || !is_live {
            continue;
        }
        let depends = |along| closure(machine, other, along).contains(&unit);
        let goes_too = state.is_stopping() && follows(spec).contains(&unit);
        let must_be_gone = depends(binds)
            || is_ordered && depends(needs)
            || is_over && depends(follows)
            || goes_too;
        is_so(!must_be_gone, "TERM under a live dependent")?;
    }
    Ok(())
}

fn is_need_stopped(machine: &Machine, unit: UnitId) -> bool {
    closure(machine, unit, needs)
        .into_iter()
        .filter_map(|dep| machine.unit(dep))
        .any(|state| state.want == Want::Stopped)
}

/// All rules that compare before and after.
pub fn judge(step: &Step<'_>, world: &World) -> Verdict {
    step.machine.check()?;
    command(step)?;
    for (unit, spec, _) in step.machine.units() {
        let told = |why: String| format!("u{}: {why}", unit.0);
        let before = &step.before.snap.units[unit.index()];
        let after = &step.after.units[unit.index()];
        stands_well(step, unit, after).map_err(told)?;
        if must_leave(step, unit, spec, after) && is_staying(after) {
            return Err(told("has to go, and stays".to_owned()));
        }
        if is_staying(before) && !is_same_life(before, after) {
            moved(step, unit, spec, before).map_err(told)?;
        }
        if after.run().is_some() && after.run() != before.run() {
            began(step, world, unit, spec, before, after).map_err(told)?;
        }
        if let Phase::Waiting { on, .. } = &after.phase {
            is_so(holds(step, unit, spec, after, on), "waits for what is there").map_err(told)?;
        }
        crate::outcome::of_unit(step, unit, spec, before, after).map_err(told)?;
    }
    let is_late = step.after.is_shutting_down() && !step.after.is_patient();
    let has_time = |state| matches!(stage_of(state), Some(Stage::Ordered | Stage::Asked { .. }));
    let is_spared = step.after.units.iter().any(has_time);
    is_so(!(is_late && is_spared), "behind the deadline of the shutdown, and not killed")?;
    let is_over = step.after.units.iter().all(|state| !state.is_live());
    let must_halt = step.after.is_shutting_down() && is_over;
    is_so(!must_halt || step.after.has_halted(), "all is over, and no halt")?;
    is_so(step.after.has_halted() == world.has_halted, "a halt that nobody was told of")
}

/// The wants change as commands say, and not otherwise.
fn command(step: &Step<'_>) -> Verdict {
    let before = &step.before.snap;
    let Move::Tell(event) = step.step else {
        return wants_stay(step, &[]);
    };
    let is_refused = step.actions.iter().any(|action| matches!(action, Action::Refused(..)));
    match event {
        Event::Start(unit) | Event::Restart(unit) => {
            let must = before.is_shutting_down() || has_rivals(step, before, *unit);
            is_so(is_refused == must, "refused without a reason, or not in spite of one")?;
            if is_refused {
                let is_same = *before == *step.after && step.actions.len() == 1;
                return is_so(is_same, "refused, and all the same something moved");
            }
            started(step, *unit)?;
            if let Event::Restart(_) = event {
                let (old, new) = (&before.units[unit.index()], &step.after.units[unit.index()]);
                let is_new = new.phase != Phase::Done
                    && !matches!(new.phase, Phase::Stopping { next: Next::Done, .. })
                    && (!is_staying(new) || new.run() != old.run());
                return is_so(is_new, "restarted, and still the same run");
            }
            Ok(())
        }
        Event::Stop(unit) => {
            let own = &step.after.units[unit.index()];
            is_so(own.want == Want::Stopped, "stopped, and wanted")?;
            wants_stay(step, &[*unit])
        }
        Event::Boot => {
            for (unit, _, _) in step.machine.units().filter(|(_, spec, _)| spec.is_enabled) {
                let is_on = step.after.units[unit.index()].want == Want::On;
                let is_kept = has_rivals(step, step.after, unit);
                is_so(is_on || is_kept, "enabled, and not wanted")?;
            }
            Ok(())
        }
        _ => wants_stay(step, &[]),
    }
}

fn wants_stay(step: &Step<'_>, but: &[UnitId]) -> Verdict {
    for (unit, _, _) in step.machine.units().filter(|(unit, _, _)| !but.contains(unit)) {
        let index = unit.index();
        let (old, new) = (step.before.snap.units[index].want, step.after.units[index].want);
        // That it comes to rest is judged with the outcome.
        is_so(old == new || new == Want::Rest, "a want changed without a command")?;
    }
    Ok(())
}

/// After a start by name: it and all its needs are wanted, and none of them rests.
fn started(step: &Step<'_>, unit: UnitId) -> Verdict {
    for action in step.actions {
        if let Action::Changed { unit: own, cause, .. } = action {
            let is_named = *own == unit;
            is_so(*cause != Cause::StartAsked || is_named, "by name, and not named")?;
            is_so(*cause != Cause::PulledBy(unit) || !is_named, "pulled in by itself")?;
        }
    }
    let mut on = closure(step.machine, unit, needs);
    on.push(unit);
    for each in &on {
        let state = &step.after.units[each.index()];
        is_so(state.want == Want::On, "started, and not wanted")?;
        let is_under_way = match &state.phase {
            Phase::Down | Phase::Failed | Phase::Backoff { .. } => false,
            Phase::Stopping { next, .. } => {
                matches!(next, Next::Again | Next::Done)
            }
            _ => true,
        };
        is_so(is_under_way, "started, and not under way")?;
    }
    let pulled = closure(step.machine, unit, |spec| [needs(spec), spec.wants.clone()].concat());
    // Who is not started himself, since he was stopped by name or is in the way, pulls nobody.
    let pullers = |id: UnitId| {
        let is_new = step.before.snap.units[id.index()].want == Want::Idle;
        on.contains(&id) || is_new && step.after.units[id.index()].want == Want::On
    };
    let due = |id: UnitId| {
        let pulls = |by: UnitId| closure(step.machine, by, needs).contains(&id);
        step.machine
            .units()
            .filter(|(by, _, _)| pullers(*by))
            .any(|(by, spec, _)| pulls(by) || spec.wants.contains(&id))
    };
    for (other, _, _) in step.machine.units().filter(|(other, _, _)| !on.contains(other)) {
        let index = other.index();
        let (old, new) = (step.before.snap.units[index].want, step.after.units[index].want);
        let is_pulled = old == Want::Idle && pulled.contains(&other);
        let rivals =
            has_rivals(step, &step.before.snap, other) || has_rivals(step, step.after, other);
        is_so(new == old || is_pulled && new == Want::On, "a start moved a stranger")?;
        let is_due = is_pulled && due(other);
        is_so(!is_due || rivals || new == Want::On, "a start left out what is wanted")?;
    }
    Ok(())
}

/// Whether something is there, or wanted, that conflicts with a unit or its needs.
fn has_rivals(step: &Step<'_>, snap: &Snapshot, unit: UnitId) -> bool {
    let mut own = closure(step.machine, unit, needs);
    own.push(unit);
    step.machine.units().any(|(other, spec, _)| {
        let state = &snap.units[other.index()];
        let is_there = state.want == Want::On || state.is_live() || state.undead.is_some();
        (is_there || own.contains(&other)) && own.iter().any(|each| spec.conflicts.contains(each))
    })
}

/// The rules for a unit that hold whatever happened.
fn stands_well(step: &Step<'_>, unit: UnitId, state: &UnitState) -> Verdict {
    let is_wanted = state.want == Want::On && !step.after.is_shutting_down();
    let is_leaving = matches!(state.phase, Phase::Down | Phase::Stopping { .. });
    is_so(is_wanted || is_leaving, "not wanted, and not down")?;
    is_so(!is_wanted || state.phase != Phase::Down, "wanted, and down")?;
    let is_delayed = matches!(state.phase, Phase::Backoff { .. });
    let is_held = is_need_stopped(step.machine, unit);
    is_so(!(is_delayed && is_held), "to be tried again, though what it needs was stopped")?;
    if let Phase::Waiting { on: Hold::Wants(dep), since, .. } = &state.phase {
        let on = &step.after.units[dep.index()].phase;
        let is_stuck = matches!(
            on,
            Phase::Waiting { on: Hold::World(_) | Hold::Value(..) | Hold::Undead, .. }
        );
        is_so(*since == NOW || !is_stuck, "waits for good for one that it merely wants")?;
    }
    let has_values = is_staying(state) || state.is_stopping();
    is_so(has_values || state.used.is_empty(), "values of a run that is gone")?;
    is_so(has_values || state.watchdog_ms.is_none(), "a watchdog of a run that is gone")?;
    is_so(has_values || state.bounce.is_none(), "an order for a run that is gone")
}

/// Live or done, and not on its way down.
fn is_staying(state: &UnitState) -> bool {
    (state.is_live() || state.phase == Phase::Done) && !state.is_stopping()
}

fn is_same_life(before: &UnitState, after: &UnitState) -> bool {
    is_staying(after)
        && (before.run() == after.run() || before.run().is_some() && after.phase == Phase::Done)
}

/// Whether a unit may not stay as it is.
fn must_leave(step: &Step<'_>, unit: UnitId, spec: &Spec, state: &UnitState) -> bool {
    let units = &step.after.units;
    step.after.is_shutting_down()
        || units[unit.index()].want != Want::On
        || is_need_stopped(step.machine, unit)
        || spec.binds.iter().any(|dep| !units[dep.index()].is_up())
        || has_changed_value(step, spec, state)
}

fn has_changed_value(step: &Step<'_>, spec: &Spec, state: &UnitState) -> bool {
    spec.uses.iter().zip(&state.used).any(|(each, used)| {
        let now = step.after.units[each.unit.index()].exports.get(&each.key);
        now.is_some_and(|now| now != used)
    })
}

/// What stayed does not stay any more: there has to be a reason.
fn moved(step: &Step<'_>, unit: UnitId, spec: &Spec, before: &UnitState) -> Verdict {
    let is_own = match step.step {
        Move::Due(own)
        | Move::Tell(
            Event::Exited(own, ..)
            | Event::Prepared(own, ..)
            | Event::StepLost(own, ..)
            | Event::SpawnFailed(own, ..)
            | Event::Short(own, ..)
            | Event::Unhealthy(own, ..)
            | Event::Restart(own),
        ) => *own == unit,
        _ => false,
    };
    is_so(is_own || must_leave(step, unit, spec, before), "moved, and had no reason to")
}

/// A new run: nothing may have held it.
fn began(
    step: &Step<'_>,
    world: &World,
    unit: UnitId,
    spec: &Spec,
    before: &UnitState,
    after: &UnitState,
) -> Verdict {
    is_so(after.want == Want::On, "a start that nobody wants")?;
    for (index, each) in spec.uses.iter().enumerate() {
        let now = step.after.units[each.unit.index()].exports.get(&each.key);
        is_so(now.is_some() && after.used.get(index) == now, "a start without its values")?;
    }
    is_so(after.used.len() == spec.uses.len(), "a start with a wrong number of values")?;
    is_so(before.undead.is_none() || after.undead.is_none(), "a start beside an undead run")?;
    let is_old = *step.step == Move::Old(unit);
    let life = &world.lives[unit.index()];
    let is_clear = spec.conditions.is_empty() || life.is_clear || is_old;
    is_so(is_clear, "a start before its conditions hold")?;
    let goes_alone = match &before.phase {
        Phase::Waiting { goes_alone, on, since } => {
            *goes_alone || matches!(on, Hold::Wants(_)) && *since != NOW
        }
        _ => false,
    };
    for dep in spec.wants.iter().chain(&spec.after) {
        let state = &step.after.units[dep.index()];
        let is_coming = match state.phase {
            Phase::Stopping { .. } => true,
            Phase::Preparing { .. } | Phase::Starting { .. } => state.failures == 0,
            Phase::Waiting { on: Hold::World(_), .. } => state.failures == 0,
            _ => false,
        };
        is_so(!is_coming || goes_alone || is_old, "a start before one it prefers to follow")?;
    }
    Ok(())
}

/// Whether what is said to hold a unit does.
fn holds(step: &Step<'_>, unit: UnitId, spec: &Spec, state: &UnitState, on: &Hold) -> bool {
    let of = |dep: &UnitId| &step.after.units[dep.index()];
    let needs_it = |dep: &UnitId| needs(spec).contains(dep) && !of(dep).is_up();
    match on {
        Hold::Needs(dep) => needs_it(dep),
        Hold::Stopped(dep) => needs_it(dep) && of(dep).want != Want::On,
        Hold::Broken(dep) => needs_it(dep) && of(dep).phase == Phase::Failed,
        Hold::Ended(dep) => needs_it(dep) && of(dep).want == Want::Rest,
        Hold::Wants(dep) => spec.prefers().any(|each| each == *dep) && is_on_its_way(of(dep)),
        Hold::Value(dep, key) => !of(dep).exports.contains_key(key),
        Hold::Leaver(dep) => of(dep).is_live() && follows_bound(step, *dep, unit),
        Hold::Undead => state.undead.is_some(),
        Hold::World(set) => !set.is_empty() && *set == state.unmet,
    }
}

/// Whether one that is merely preferred is worth waiting for: it was never up, and never failed.
fn is_on_its_way(state: &UnitState) -> bool {
    let is_wanted = state.want == Want::On || state.is_live();
    let has_failed = matches!(state.phase, Phase::Backoff { .. } | Phase::Failed)
        || state.failures > 0 && !state.is_stopping();
    is_wanted && !has_failed && !state.is_up()
}

fn follows_bound(step: &Step<'_>, binder: UnitId, unit: UnitId) -> bool {
    step.machine.spec(binder).is_some_and(|spec| spec.binds.contains(&unit))
}

/// The stage of a run that ends, if it does.
pub fn stage_of(state: &UnitState) -> Option<&Stage> {
    match &state.phase {
        Phase::Stopping { stage, .. } => Some(stage),
        _ => None,
    }
}
