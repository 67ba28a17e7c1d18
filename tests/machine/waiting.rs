//! What a unit waits for beside other units: the world, and what it merely prefers.

use pisup::machine::spec::Condition;

use super::*;

const A: UnitId = UnitId(0);
const B: UnitId = UnitId(1);
const C: UnitId = UnitId(2);

const ROUTE: Conditions = Conditions::NONE.with(Condition::Route);
const NOW: Tick = Tick(0);

fn looks(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Look(_))).count()
}

#[test]
fn the_world_is_looked_at_when_all_else_is_there() {
    let b = Spec { requires: vec![A], conditions: ROUTE, ..spec("b") };
    let mut machine = Machine::new(vec![spec("a"), b], 1);
    assert_eq!(looks(&machine.step(Event::Boot, NOW)), 0, "a is not ready");
    let run = machine.unit(A).unwrap().run().unwrap();
    let actions = machine.step(Event::Spawned(A, run), NOW);
    assert_eq!(actions.last(), Some(&Action::Look(B)));
    machine.step(Event::World(B, ROUTE), NOW);

    // While a is away, nothing is heard of routes.
    machine.step(Event::Exited(A, run, Exit::Code(1)), NOW);
    let later = NOW.after(1000);
    machine.step(Event::Timer, later);
    let run = machine.unit(A).unwrap().run().unwrap();
    assert_eq!(looks(&machine.step(Event::Spawned(A, run), later)), 1);
    assert_eq!(machine.unit(B).unwrap().state(), State::Waiting);
    machine.step(Event::World(B, Conditions::NONE), later);
    assert_eq!(machine.unit(B).unwrap().state(), State::Starting);
}

#[test]
fn a_wanted_unit_that_conflicts_with_one_that_runs_is_left_out() {
    let mut world = World::new(vec![
        Spec { wants: vec![B], is_enabled: false, ..spec("a") },
        Spec { conflicts: vec![C], is_enabled: false, ..spec("b") },
        spec("c"),
    ]);
    world.feed(Event::Boot);
    let mut machine = world.machine.clone();
    let told = machine.step(Event::Start(A), world.now);
    assert!(told.contains(&Action::Note(A, Cause::LeftOut(B, C))), "{told:?}");
    world.feed(Event::Start(A));
    assert_eq!(world.states(), ["ready", "down", "ready"]);
    world.feed(Event::Stop(C));
    world.feed(Event::Start(A));
    assert_eq!(world.states(), ["ready", "ready", "down"]);
}

#[test]
fn at_boot_what_is_enabled_comes_before_what_is_wanted() {
    let mut world = World::new(vec![
        Spec { wants: vec![B], ..spec("a") },
        Spec { is_enabled: false, ..spec("b") },
        Spec { conflicts: vec![B], ..spec("c") },
    ]);
    world.feed(Event::Boot);
    assert_eq!(world.states(), ["ready", "down", "ready"]);
}
